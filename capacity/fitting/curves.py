"""The formulas of `forms` with their exact derivatives, on arrays that broadcast.

Every function takes a dict of variables and its parameters in natural units, in the order of
`forms`, and returns the value and a tuple with its derivative by each parameter. Points run along
the last axis, parameter sets along those before it: x [n], parameters [B, 1], value [B, n]. Where a
formula is cut off its derivatives are zero. A parameter is an array that broadcasts, or a number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from capacity.fitting.form import Arrays

Slopes = tuple[Any, tuple[Any, ...]]  # value and its derivative by each parameter

LN4 = float(np.log(4.0))


def proportional(x: Arrays, alpha: Any) -> Slopes:
    """alpha P."""
    p = x["parameters"]
    return alpha * p, (p,)


def affine(x: Arrays, c0: Any, alpha: Any) -> Slopes:
    """c0 + alpha P."""
    p = x["parameters"]
    return c0 + alpha * p, (1.0, p)


def idle(x: Arrays, alpha: Any, kappa: Any) -> Slopes:
    """alpha (P_active + kappa P_idle)."""
    at_rest = x["parameters_idle"]
    size = x["parameters_active"] + kappa * at_rest
    return alpha * size, (size, alpha * at_rest)


def power(x: Arrays, a: Any, gamma: Any) -> Slopes:
    """a P^gamma."""
    log_p = np.log(x["parameters"])
    shape = np.exp(gamma * log_p)
    return a * shape, (shape, a * shape * log_p)


def hard_corner(x: Arrays, alpha: Any) -> Slopes:
    """min(alpha P, H)."""
    p, h = x["parameters"], x["ceiling_bits"]
    room = alpha * p < h
    return np.where(room, alpha * p, h), (np.where(room, p, 0.0),)


def smooth_corner(x: Arrays, alpha: Any, k: Any) -> Slopes:
    """H (1 + (H / (alpha P))^k)^(-1/k), through its logarithm, so that no power overflows."""
    log_h = np.log(x["ceiling_bits"])
    load = log_h - np.log(x["parameters"]) - np.log(alpha)
    softplus, share = _log1pexp_and_sigma(k * load)
    value = np.exp(log_h - softplus / k)
    return value, (value * share / alpha, value * (softplus / k - share * load) / k)


def saturating_exponential(x: Arrays, r_inf: Any, e0: Any, b: Any) -> Slopes:
    """R_inf (1 - exp(-(E / E0)^b))."""
    log_x = np.log(x["exposures"]) - np.log(e0)
    z = np.exp(np.minimum(b * log_x, 500.0))
    rest = np.exp(-z)
    slope = r_inf * rest * z
    return -r_inf * np.expm1(-z), (-np.expm1(-z), -slope * b / e0, slope * log_x)


def saturating_power(x: Arrays, r_inf: Any, e0: Any, b: Any) -> Slopes:
    """R_inf (1 - (1 + E / E0)^(-b))."""
    ratio = x["exposures"] / e0
    level = np.log1p(ratio)
    rest = np.exp(-b * level)
    return -r_inf * np.expm1(-b * level), (
        -np.expm1(-b * level),
        -r_inf * b * rest * ratio / (1 + ratio) / e0,
        r_inf * rest * level,
    )


def log_power(x: Arrays, c: Any, g: Any) -> Slopes:
    """c log2(1 + E)^g."""
    level = np.log2(1 + x["exposures"])
    shape = level**g
    return c * shape, (shape, c * shape * np.log(level))


def effective_parameters(x: Arrays, c: Any, b0: Any) -> Slopes:
    """C (1 - exp(-b / b0))."""
    z = x["bits_per_weight"] / b0
    return -c * np.expm1(-z), (-np.expm1(-z), -c * np.exp(-z) * z / b0)


def shifted_exponential(x: Arrays, c: Any, a: Any, b0: Any) -> Slopes:
    """max(0, C (1 - A exp(-b / b0)))."""
    z = x["bits_per_weight"] / b0
    loss = a * np.exp(-z)
    return _above_zero(c * (1 - loss), (1 - loss, -c * np.exp(-z), -c * loss * z / b0))


def quantization_noise(x: Arrays, c: Any, a: Any) -> Slopes:
    """max(0, C (1 - A 4^-b))."""
    step = np.exp(-LN4 * x["bits_per_weight"])
    return _above_zero(c * (1 - a * step), (1 - a * step, -c * step))


def storage_limit(x: Arrays, s: Any, c: Any) -> Slopes:
    """min(s b, C)."""
    b = x["bits_per_weight"]
    short = s * b < c
    return np.where(short, s * b, c), (np.where(short, b, 0.0), np.where(short, 0.0, 1.0))


def membership(x: Arrays, c: Any, s: Any, t0: Any) -> Slopes:
    """min(1, (1 + c sigma(-s (t - t0))) / 2)."""
    away = x["tokens_per_parameter"] - t0
    share = _sigma(-s * away)
    slope = 0.5 * c * share * (1 - share)
    return _below_one(0.5 * (1 + c * share), (0.5 * share, -slope * away, slope * s))


def membership_logarithmic(x: Arrays, c: Any, s: Any, t0: Any) -> Slopes:
    """min(1, (1 + c / (1 + (t / t0)^s)) / 2)."""
    away = np.log(x["tokens_per_parameter"]) - np.log(t0)
    share = _sigma(-s * away)
    slope = 0.5 * c * share * (1 - share)
    return _below_one(0.5 * (1 + c * share), (0.5 * share, -slope * away, slope * s / t0))


def extraction_linear(x: Arrays, a: Any, b: Any, c: Any) -> Slopes:
    """a + b log2(n) + c log2(P), cut off at 0 and 1."""
    seen, size = np.log2(x["times_seen"]), np.log2(x["parameters"])
    line = a + b * seen + c * size
    inside = (line > 0) & (line < 1)
    return np.clip(line, 0.0, 1.0), (
        np.where(inside, 1.0, 0.0),
        np.where(inside, seen, 0.0),
        np.where(inside, size, 0.0),
    )


def extraction_logistic(x: Arrays, a: Any, b: Any, c: Any) -> Slopes:
    """sigma(a + b log2(n) + c log2(P))."""
    seen, size = np.log2(x["times_seen"]), np.log2(x["parameters"])
    p = _sigma(a + b * seen + c * size)
    slope = p * (1 - p)
    return p, (slope, slope * seen, slope * size)


def held_logistic(x: Arrays, a: Any, b: Any, c: Any, d: Any) -> Slopes:
    """sigma(a + b log2(n) + c log2(P) - d log2(T))."""
    seen, size = np.log2(x["times_seen"]), np.log2(x["parameters"])
    tokens = np.log2(x["tokens"])
    p = _sigma(a + b * seen + c * size - d * tokens)
    slope = p * (1 - p)
    return p, (slope, slope * seen, slope * size, -slope * tokens)


def forgetting_exponential(x: Arrays, a: Any, tau: Any, c: Any) -> Slopes:
    """c + (a - c) exp(-lag / tau)."""
    z = x["lag"] / tau
    left = np.exp(-z)
    return c + (a - c) * left, (left, (a - c) * left * z / tau, 1 - left)


def forgetting_power(x: Arrays, a: Any, t0: Any, b: Any) -> Slopes:
    """a (1 + lag / t0)^-b."""
    ratio = x["lag"] / t0
    level = np.log1p(ratio)
    left = np.exp(-b * level)
    return a * left, (left, a * left * b * ratio / (1 + ratio) / t0, -a * left * level)


def forgetting_logarithmic(x: Arrays, a: Any, t0: Any, b: Any) -> Slopes:
    """a - b log2(1 + lag / t0)."""
    ratio = x["lag"] / t0
    level = np.log2(1 + ratio)
    return a - b * level, (1.0, b * ratio / (1 + ratio) / t0 / np.log(2), -level)


def chinchilla(x: Arrays, e: Any, a: Any, b: Any, alpha: Any, beta: Any) -> Slopes:
    """E + A / N^alpha + B / D^beta, summed as a log-sum-exp, so that terms of any size neither
    overflow nor vanish."""
    log_n, log_d = np.log(x["parameters"]), np.log(x["tokens"])
    value, of_n, of_d = _sum_of_powers(e, a, b, alpha * log_n, beta * log_d)
    return value, (1.0, of_n / a, of_d / b, -of_n * log_n, -of_d * log_d)


def chinchilla_repeated(  # noqa: PLR0913 (its parameters)
    x: Arrays, e: Any, a: Any, b: Any, alpha: Any, beta: Any, r_d: Any, r_n: Any
) -> Slopes:
    """E + A / N'^alpha + B / D'^beta with D' = U (1 + R_D* (1 - exp(-(D/U - 1) / R_D*))), and N'
    likewise from V, the N at which U tokens are spent best: alpha A / V^alpha = beta B / U^beta.

    All in logarithms; V moves with the parameters, and its share w in N' with them."""
    log_n, log_d = np.log(x["parameters"]), np.log(x["tokens"])
    log_u = np.minimum(np.log(x["unique_tokens"]), log_d)
    with np.errstate(divide="ignore"):
        log_v = (beta * log_u + np.log(alpha * a) - np.log(beta * b)) / alpha
    of_data, data_slope, _ = _worth_of_more(log_d - log_u, r_d)
    excess = np.maximum(log_n - log_v, 0.0)
    of_size, size_slope, w = _worth_of_more(excess, r_n)
    log_n, log_d = log_n - excess + of_size, log_u + of_data
    value, of_n, of_d = _sum_of_powers(e, a, b, alpha * log_n, beta * log_d)
    return value, (
        1.0,
        of_n * (1 - w) / a,
        (of_d + of_n * w) / b,
        -of_n * (log_n + w * (1 / alpha - log_v)),
        -of_d * log_d - of_n * w * (log_u - 1 / beta),
        -beta * of_d * data_slope,
        -alpha * of_n * size_slope,
    )


def _worth_of_more(log_times: np.ndarray, limit: Any) -> tuple[Any, Any, Any]:
    """log(1 + R* (1 - exp(-R / R*))) of R = exp(log_times) - 1 more than there is, its derivative
    by R* = limit, and what it leaves to the base: 1 minus its derivative by log_times."""
    more = np.expm1(np.minimum(log_times, 600.0))
    spent = np.exp(-more / limit)
    worth = 1 - limit * np.expm1(-more / limit)
    slope = (-np.expm1(-more / limit) - more / limit * spent) / worth
    return np.log(worth), slope, 1 - (1 + more) * spent / worth


def _sum_of_powers(
    e: Any, a: Any, b: Any, powers_n: np.ndarray, powers_d: np.ndarray
) -> tuple[Any, Any, Any]:
    """E + A exp(-powers_n) + B exp(-powers_d), and the last two terms alone."""
    with np.errstate(divide="ignore"):
        terms = np.broadcast_arrays(np.log(e), np.log(a) - powers_n, np.log(b) - powers_d)
    most = np.maximum(np.maximum(terms[0], terms[1]), terms[2])
    value = np.exp(most + np.log(sum(np.exp(term - most) for term in terms)))
    return value, np.exp(terms[1]), np.exp(terms[2])


def _sigma(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def _log1pexp_and_sigma(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    small = np.exp(-np.abs(z))
    return np.maximum(z, 0.0) + np.log1p(small), np.where(z >= 0, 1.0, small) / (1.0 + small)


def _above_zero(value: np.ndarray, slopes: tuple[Any, ...]) -> Slopes:
    open_ = value > 0
    return np.where(open_, value, 0.0), tuple(np.where(open_, s, 0.0) for s in slopes)


def _below_one(value: np.ndarray, slopes: tuple[Any, ...]) -> Slopes:
    open_ = value < 1
    return np.where(open_, value, 1.0), tuple(np.where(open_, s, 0.0) for s in slopes)
