"""Forms of membership, extraction, forgetting and loss of models of text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from capacity.fitting import curves
from capacity.fitting.form import (
    MORRIS,
    PARAMETERS,
    Arrays,
    Box,
    Form,
    Parameter,
    Starts,
    Variable,
    grid,
)
from capacity.fitting.solve import bounded_least_squares

HOFFMANN = "Hoffmann et al., arXiv 2203.15556, section 3.3"

_T = Variable(
    "tokens_per_parameter", "tokens", "tokens of the training set per parameter", positive=True
)
_N = Variable("times_seen", "times", "how often the sequence is seen", positive=True)
_LAG = Variable("lag", "updates", "updates since the last view", low=0.0)
_F = Variable("score", "", "F1 of half of all flagged, or AUC; chance is 0.5", low=0.5, high=1.0)
_X = Variable(
    "extracted", "", "part of the sequences that greedy decoding writes", low=0.0, high=1.0
)
_D = Variable("tokens", "tokens", "tokens of training", positive=True)
_H = Variable(
    "held",
    "",
    "part of the code length of a sequence that is held: 0 of one that was never seen, and below "
    "by noise",
    high=1.0,
)
_M = Variable("memory", "bits", "bits above controls that were never seen")
_L = Variable("loss", "nats per token", "loss on held-out text", positive=True)
_SIGMOID_C = Parameter("c", "", "height: the score at small t is (1 + c) / 2, at most 1", 1e-3, 2.0)


def _quantiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, (0.1, 0.35, 0.65, 0.9))


def _sigmoid_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    t = x["tokens_per_parameter"]
    return np.array(
        [
            [c, s / max(m, 1e-9), m]
            for c in (0.7, 1.0, 1.34)
            for m in _quantiles(t)
            for s in (1.0, 2.0, 4.0)
        ]
    )


def _sigmoid_box(x: Arrays, y: np.ndarray) -> Box:
    top = float(x["tokens_per_parameter"].max())
    return {
        "s": (1e-3 / top, 1e3 / float(x["tokens_per_parameter"].min())),
        "t0": (-10 * top, 10 * top),
    }


def _log_sigmoid_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    return grid([0.7, 1.0, 1.34], [0.7, 1.5, 3.0], _quantiles(x["tokens_per_parameter"]))


def _log_sigmoid_box(x: Arrays, y: np.ndarray) -> Box:
    t = x["tokens_per_parameter"]
    return {"t0": (float(t.min()) / 100, float(t.max()) * 100)}


def _line(x: Arrays, target: np.ndarray) -> np.ndarray:
    columns = [np.ones(len(target)), np.log2(x["times_seen"]), np.log2(x["parameters"])]
    if "tokens" in x:
        columns.append(-np.log2(x["tokens"]))
    return np.linalg.lstsq(np.column_stack(columns), target, rcond=None)[0]


def _extraction_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    inner = (y > 0.02) & (y < 0.98)
    part = {name: values[inner] for name, values in x.items()} if inner.sum() >= 3 else x
    return np.array([_line(x, y), _line(part, y[inner] if inner.sum() >= 3 else y)])


def _logistic_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    by_logit = [
        _line(x, np.log(p / (1 - p)))
        for low in (0.005, 0.02, 0.1)
        for p in [np.clip(y, low, 1 - low)]
    ]
    return np.array([*by_logit, 2 * by_logit[-1], 4 * by_logit[-1]])


def _lag_starts(amounts: Callable[[np.ndarray], list[float]]) -> Starts:
    def starts(x: Arrays, y: np.ndarray) -> np.ndarray:
        lag = x["lag"]
        return grid(
            [max(float(y.max()), 1e-9)],
            np.geomspace(lag[lag > 0].min(), lag.max(), 6),
            amounts(y),
        )

    return starts


def _lag_box(name: str) -> Callable[[Arrays, np.ndarray], Box]:
    return lambda x, y: {
        name: (float(x["lag"][x["lag"] > 0].min()) / 100, 10 * float(x["lag"].max()))
    }


CHINCHILLA_GRID = {
    "alpha": np.arange(0, 2.1, 0.5),
    "beta": np.arange(0, 2.1, 0.5),
    "log_e": np.arange(-1, 1.1, 0.5),
    "log_a": np.arange(0, 26, 5.0),
    "log_b": np.arange(0, 26, 5.0),
}


def chinchilla_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    """The 4,500 published starts (Hoffmann et al., appendix D.2, as in Besiroglu et al., arXiv
    2404.10102); pass them to `fit.fit` to search as they did. The form's own starts project E,
    A and B instead: a finer grid of alpha and beta is all that remains."""
    log_e, log_a, log_b, alpha, beta = (
        CHINCHILLA_GRID[n] for n in ("log_e", "log_a", "log_b", "alpha", "beta")
    )
    return grid(np.exp(log_e), np.exp(log_a), np.exp(log_b), alpha, beta)


def _chinchilla_projected(x: Arrays, y: np.ndarray) -> np.ndarray:
    exponents = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.3, 1.7, 2.0)
    return grid([1.0], [1.0], [1.0], exponents, exponents)


def _repeated_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    """A grid of exponents and of both limits; E, A and B by least squares of relative residuals, at
    the effective tokens of the limit and all parameters."""
    exponents, limits = (0.1, 0.2, 0.3, 0.4, 0.55, 0.8), (2.0, 10.0, 50.0)
    chosen = grid(exponents, exponents, limits)
    log_n, log_d = np.log(x["parameters"]), np.log(x["tokens"])
    log_u = np.minimum(np.log(x["unique_tokens"]), log_d)
    more, limit = np.expm1(log_d - log_u), chosen[:, 2:]
    log_d = log_u + np.log1p(-limit * np.expm1(-more / limit))
    n, d = np.exp(-chosen[:, :1] * log_n), np.exp(-chosen[:, 1:2] * log_d)
    basis = np.stack([np.ones_like(n), n, d], axis=-1) / y[:, None]
    terms = bounded_least_squares(basis, np.ones(n.shape), np.zeros(3))
    # a term of 0 has no logarithm to start from
    terms = np.maximum(terms, 1e-3 * y.min() / np.stack([np.ones(len(n)), n.max(1), d.max(1)], -1))
    rows = np.repeat(np.column_stack([terms, chosen]), len(limits), axis=0)
    return np.column_stack([rows, np.tile(limits, len(chosen))])


FORMS = (
    Form(
        name="membership",
        formula="F = min(1, (1 + c sigma(-s (t - t0))) / 2)",
        target=_F,
        variables=(_T,),
        parameters=(
            _SIGMOID_C,
            Parameter("s", "per token per parameter", "steepness", 0.0, scale="log"),
            Parameter("t0", "tokens per parameter", "middle"),
        ),
        domain="t > 0",
        asymptotes="0.5 for t >> t0, at most 1 for t << t0",
        source=f"{MORRIS}, section 5.2.1, repaired (see `membership`)",
        curve=curves.membership,
        starts=_sigmoid_starts,
        transform="identity",
        linear=("c",),
        box=_sigmoid_box,
    ),
    Form(
        name="membership_log",
        formula="F = min(1, (1 + c / (1 + (t / t0)^s)) / 2)",
        target=_F,
        variables=(_T,),
        parameters=(
            _SIGMOID_C,
            Parameter("s", "", "steepness in log t", 0.05, 50.0, "log"),
            Parameter("t0", "tokens per parameter", "middle", 0.0, scale="log"),
        ),
        domain="t > 0",
        asymptotes="0.5 for t >> t0, with a power of t; at most 1 for t << t0",
        source="not published; the tail of `membership` is exponential, this one's is not",
        curve=curves.membership_logarithmic,
        starts=_log_sigmoid_starts,
        transform="identity",
        linear=("c",),
        box=_log_sigmoid_box,
    ),
    Form(
        name="extraction_linear",
        formula="X = a + b log2 n + c log2 P, cut off at 0 and 1",
        target=_X,
        variables=(_N, PARAMETERS),
        parameters=(
            Parameter("a", "", "at n = P = 1"),
            Parameter("b", "per doubling of n", "slope"),
            Parameter("c", "per doubling of P", "slope"),
        ),
        domain="n, P > 0; between 0 and 1",
        asymptotes="0 and 1 outside of its range",
        source="Carlini et al., arXiv 2202.07646, section 4",
        curve=curves.extraction_linear,
        starts=_extraction_starts,
        transform="identity",
        robust=False,
    ),
    Form(
        name="extraction_logistic",
        formula="X = sigma(a + b log2 n + c log2 P)",
        target=_X,
        variables=(_N, PARAMETERS),
        parameters=(
            Parameter("a", "", "logit at n = P = 1"),
            Parameter("b", "logits per doubling of n", "slope"),
            Parameter("c", "logits per doubling of P", "slope"),
        ),
        domain="n, P > 0",
        asymptotes="0 for few views, 1 for many (b > 0)",
        source="not published; stays between 0 and 1 where the line does not",
        curve=curves.extraction_logistic,
        starts=_logistic_starts,
        transform="identity",
        robust=False,
    ),
    Form(
        name="held_logistic",
        formula="X = sigma(a + b log2 n + c log2 P - d log2 T)",
        target=_H,
        variables=(_N, PARAMETERS, _D),
        parameters=(
            Parameter("a", "", "logit at n = P = T = 1"),
            Parameter("b", "logits per doubling of n", "slope"),
            Parameter("c", "logits per doubling of P", "slope"),
            Parameter("d", "logits per doubling of T", "dilution"),
        ),
        domain="n, P, T > 0",
        asymptotes="0 for few views among many tokens, 1 for many (b > 0)",
        source="not published; axes of Hubble, arXiv 2510.19811: d = b where the share of training "
        "decides alone, d < b where dilution is the weaker",
        curve=curves.held_logistic,
        starts=_logistic_starts,
        transform="identity",
        robust=False,
    ),
    Form(
        name="forgetting_exponential",
        formula="m = c + (a - c) exp(-lag / tau)",
        target=_M,
        variables=(_LAG,),
        parameters=(
            Parameter("a", "bits", "at lag 0", 0.0),
            Parameter("tau", "updates", "time constant", 0.0, scale="log"),
            Parameter("c", "bits", "baseline that is kept", 0.0),
        ),
        domain="lag >= 0",
        asymptotes="a at lag 0, c for lag >> tau",
        source="Tirumala et al., arXiv 2205.10770, section 5",
        curve=curves.forgetting_exponential,
        starts=_lag_starts(lambda y: [0.0]),
        transform="identity",
        linear=("a", "c"),
        box=_lag_box("tau"),
    ),
    Form(
        name="forgetting_power",
        formula="m = a (1 + lag / t0)^-b",
        target=_M,
        variables=(_LAG,),
        parameters=(
            Parameter("a", "bits", "at lag 0", 0.0),
            Parameter("t0", "updates", "where the fall begins", 0.0, scale="log"),
            Parameter("b", "", "exponent", 0.0, 20.0),
        ),
        domain="lag >= 0",
        asymptotes="a at lag 0, 0 for lag >> t0",
        source="the form of Wixted & Ebbesen 1991, Psychol. Sci. 2, 409, for human memory",
        curve=curves.forgetting_power,
        starts=_lag_starts(lambda y: [0.1, 0.3, 1.0, 3.0]),
        transform="identity",
        linear=("a",),
        box=_lag_box("t0"),
    ),
    Form(
        name="forgetting_log",
        formula="m = a - b log2(1 + lag / t0)",
        target=_M,
        variables=(_LAG,),
        parameters=(
            Parameter("a", "bits", "at lag 0", 0.0),
            Parameter("t0", "updates", "where the fall begins", 0.0, scale="log"),
            Parameter("b", "bits per doubling", "loss", 0.0),
        ),
        domain="lag >= 0, up to where m = 0",
        asymptotes="no limit: below 0 in the end",
        source="Chang et al., arXiv 2406.11813, fit a line in log lag",
        curve=curves.forgetting_logarithmic,
        starts=_lag_starts(lambda y: [0.0]),
        transform="identity",
        linear=("a", "b"),
        box=_lag_box("t0"),
    ),
    Form(
        name="chinchilla",
        formula="L = E + A / N^alpha + B / D^beta",
        target=_L,
        variables=(PARAMETERS, _D),
        parameters=(
            Parameter("e", "nats per token", "entropy of text", np.exp(-50), np.exp(50), "log"),
            Parameter("a", "nats per token at N = 1", "size term", np.exp(-50), np.exp(50), "log"),
            Parameter("b", "nats per token at D = 1", "data term", np.exp(-50), np.exp(50), "log"),
            Parameter("alpha", "", "exponent of N", 0.0, 4.0),
            Parameter("beta", "", "exponent of D", 0.0, 4.0),
        ),
        domain="N, D > 0",
        asymptotes="E for N and D without limit",
        source=HOFFMANN + "; fitted as in Besiroglu et al., arXiv 2404.10102",
        curve=curves.chinchilla,
        starts=_chinchilla_projected,
        linear=("e", "a", "b"),
        lowest_best=True,
    ),
    Form(
        name="chinchilla_repeated",
        formula="L = E + A / N'^alpha + B / D'^beta, "
        "D' = U (1 + R_D (1 - exp(-(D/U - 1) / R_D))), "
        "N' = V (1 + R_N (1 - exp(-(N/V - 1) / R_N))), "
        "V = min(N, (U^beta alpha A / (beta B))^(1/alpha))",
        target=_L,
        variables=(
            PARAMETERS,
            Variable("tokens", "tokens", "tokens of training, repeats counted", positive=True),
            Variable("unique_tokens", "tokens", "different tokens of training", positive=True),
        ),
        parameters=(
            Parameter("e", "nats per token", "entropy of text", np.exp(-50), np.exp(50), "log"),
            Parameter("a", "nats per token at N = 1", "size term", np.exp(-50), np.exp(50), "log"),
            Parameter("b", "nats per token at D = 1", "data term", np.exp(-50), np.exp(50), "log"),
            Parameter("alpha", "", "exponent of N", 0.01, 4.0),
            Parameter("beta", "", "exponent of D", 0.01, 4.0),
            Parameter("r_d", "repeats", "what all repeats of the data are worth", 0.01, 1e4, "log"),
            Parameter("r_n", "sizes", "what all excess parameters are worth", 0.01, 1e4, "log"),
        ),
        domain="N, D, U > 0; U above D counts as D",
        asymptotes="D' = U (1 + R_D) for D >> U, N' = V (1 + R_N) for N >> V; chinchilla for D <= "
        "U and N <= V, the size at which U tokens are spent best",
        source="Muennighoff et al., arXiv 2305.16264, section 3; their C4 constants, with alpha = "
        "beta = 0.353: R_D 15.4, R_N 5.31",
        curve=curves.chinchilla_repeated,
        starts=_repeated_starts,
        linear=("e",),
        lowest_best=True,
    ),
)
