"""Elementary functions and sums that have the same bits on every machine.

IEEE 754 fixes the result of +, -, x, /, square roots and roundings to whole numbers, and nothing
else: exp, tanh or cos of a library differ in their last place between vector widths, and the order
of a sum differs between batch shapes, threads and processors. So functions here are polynomials of
single additions and products in one written order, each an operation of torch of its own, which no
compiler joins to a fused multiply-add. Sums and products of matrices are those of whole numbers
below 2^53, which fp64 adds exactly in any order: operands are rounded to as many places, counted
from the largest of their row, as leave every partial sum exact (the idea of Ozaki, Ogita, Oishi and
Rump, Numerical Algorithms 59, 2012, section 3, with one slice). Of 16 summands an operand keeps 24
bits, of 1,024 it keeps 21; fp32 has 24.

Tensors are fp64 on the CPU; x is finite where nothing else is said.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

MANTISSA, EXPONENT_BIAS = 52, 1023  # of fp64, IEEE 754
EXACT = MANTISSA + 1  # bits of the whole numbers that fp64 has all of
SMALLEST = 128  # biased exponent from which powers of two stay normal numbers in what follows
LOWEST, HIGHEST = -708.0, 709.0  # of arguments of exp: results are normal numbers
# written out, since a library's logarithm may differ in the last place: 1 / ln 2, and ln 2 in two
# parts, of which the first has 32 bits, so that its products with exponents are exact
PER_LN2, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
# pi / 2 likewise
TURN_HIGH, TURN_LOW = 1.5707963267341256, 6.077100506506192e-11
AT_ONCE = 2**14  # numbers that a function's passes go over: 128 KiB
EXP_TERMS, LOG_TERMS, TURN_TERMS = 13, 11, 10  # the next term is below 2^-53
# A. and S. 7.1.26 (Abramowitz and Stegun, Handbook of Mathematical Functions, 1964)
ERF_P = 0.3275911
ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def _power(exponent: Tensor) -> Tensor:
    """2^exponent of int64 within fp64's normal range, as fp64."""
    return ((exponent + EXPONENT_BIAS) << MANTISSA).view(torch.float64)


def _exponent(x: Tensor) -> Tensor:
    """e with 2^(e - 1) <= |x| < 2^e, int64; of numbers near 0 the one from which powers stay
    normal."""
    field = (x.contiguous().view(torch.int64) >> MANTISSA) & 0x7FF
    return field.clamp(min=SMALLEST) - (EXPONENT_BIAS - 1)


def whole(x: Tensor, dim: int | list[int], bits: int) -> tuple[Tensor, Tensor]:
    """x as whole numbers of at most 2^bits in magnitude, and the exponent of what 1 stands for:
    x ~ whole x 2^exponent, by slices along dim."""
    if x.numel() == 0:
        return x, torch.zeros_like(x, dtype=torch.int64)
    exponent = _exponent(x.abs().amax(dim, keepdim=True)) - bits
    return (x * _power(-exponent)).round(), exponent


def times_power(x: Tensor, exponent: Tensor) -> Tensor:
    """x 2^exponent."""
    return x * _power(exponent)


def total(x: Tensor, dim: int | list[int], keepdim: bool = False) -> Tensor:
    """The sum along dim, whose summands are rounded to 2^-(53 - log2 n) of the largest."""
    dims = [dim] if isinstance(dim, int) else dim
    n = math.prod(x.shape[d] for d in dims)
    if n == 0:
        return x.sum(dims, keepdim=keepdim)
    rounded, exponent = whole(x, dims, EXACT - _log2(n))
    out = rounded.sum(dims, keepdim=True) * _power(exponent)
    for d in sorted((d % x.dim() for d in dims), reverse=True) if not keepdim else ():
        out = out.squeeze(d)
    return out


def running_total(x: Tensor, dim: int) -> Tensor:
    """The cumulative sum along dim, with the rounding of `total`."""
    rounded, exponent = whole(x, dim, EXACT - _log2(x.shape[dim]))
    return rounded.cumsum(dim) * _power(exponent)


def product(a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices a [..., N, K] and b [..., K, F]: rows of a and columns of b in so
    many places that every sum of K products is exact."""
    bits = (EXACT - _log2(a.shape[-1])) // 2
    (a, a_exponent), (b, b_exponent) = whole(a, -1, bits), whole(b, -2, bits)
    return torch.matmul(a, b) * _power(a_exponent) * _power(b_exponent)


def _log2(n: int) -> int:
    return max(1, n - 1).bit_length()


def _polynomial(x: Tensor, coefficients: list[float]) -> Tensor:
    """sum_i c_i x^i, from the last one on, each step a product and a sum."""
    out = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        out.mul_(x).add_(c)
    return out


def _in_cache(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """An elementwise function whose many passes go over as much at once as a core's cache holds."""

    @functools.wraps(function)
    def by_parts(x: Tensor) -> Tensor:
        if x.numel() <= AT_ONCE:
            return function(x)
        parts = [function(part) for part in x.reshape(-1).split(AT_ONCE)]
        return torch.cat(parts).view(x.shape)

    return by_parts


@_in_cache
def exp(x: Tensor) -> Tensor:
    """e^x; 0 below -708, also of -inf, infinite above 709."""
    inside = x.clamp(LOWEST, HIGHEST)
    n = (inside * PER_LN2).round()
    rest = (inside - n * LN2_HIGH) - n * LN2_LOW
    terms = [1 / math.factorial(i) for i in range(EXP_TERMS + 1)]
    out = _polynomial(rest, terms) * _power(n.clamp(min=-1022).to(torch.int64))
    out = torch.where(x < LOWEST, torch.zeros_like(out), out)
    return torch.where(x > HIGHEST, torch.full_like(out, math.inf), out)


@_in_cache
def log(x: Tensor) -> Tensor:
    """ln x of normal numbers x > 0; -inf of 0 and of what is smaller than those."""
    bits = x.contiguous().view(torch.int64)
    exponent = ((bits >> MANTISSA) & 0x7FF) - EXPONENT_BIAS
    one = EXPONENT_BIAS << MANTISSA
    mantissa = ((bits & ((1 << MANTISSA) - 1)) | one).view(torch.float64)
    large = mantissa > math.sqrt(2)
    mantissa = torch.where(large, mantissa * 0.5, mantissa)
    n = (exponent + large).to(torch.float64)
    s = (mantissa - 1) / (mantissa + 1)
    series = _polynomial(s * s, [2 / (2 * i + 1) for i in range(LOG_TERMS + 1)]) * s
    out = n * LN2_HIGH + (n * LN2_LOW + series)
    return torch.where(exponent <= -EXPONENT_BIAS, torch.full_like(out, -math.inf), out)


@_in_cache
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return 1 / (1 + exp(-x))


@_in_cache
def tanh(x: Tensor) -> Tensor:
    """1 - 2 / (1 + e^2x), odd in x; below 1/4 by sinh, whose series keeps small numbers."""
    size = x.abs()
    small = size.clamp(max=0.25)
    square = small * small
    sinh = _polynomial(square, [1 / math.factorial(2 * i + 1) for i in range(8)]) * small
    cosh = _polynomial(square, [1 / math.factorial(2 * i) for i in range(8)])
    large = 1 - 2 / (1 + exp(2 * size))
    return torch.where(size < 0.25, sinh / cosh, large) * x.sign()


@_in_cache
def erf(x: Tensor) -> Tensor:
    """The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26), which is what fp32 tells."""
    size = x.abs()
    t = 1 / (1 + size * ERF_P)
    return (1 - _polynomial(t, [0.0, *ERF]) * exp(-(size * size))) * x.sign()


@_in_cache
def softplus(x: Tensor) -> Tensor:
    """ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)."""
    small = exp(-x.abs())
    sum_ = 1 + small
    # ln(1 + s) = ln(u) s / (u - 1) of u = 1 + s as it is rounded
    rest = sum_ - 1
    logged = torch.where(rest == 0, small, log(sum_) * (small / torch.where(rest == 0, 1, rest)))
    return x.clamp(min=0) + logged


def cos_sin(x: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine, to 1e-12 of angles up to 10^4."""
    quarter = (x * (2 / math.pi)).round()
    r = (x - quarter * TURN_HIGH) - quarter * TURN_LOW
    square = r * r
    signs = [(-1) ** i for i in range(TURN_TERMS)]
    c = _polynomial(square, [s / math.factorial(2 * i) for i, s in enumerate(signs)])
    s = _polynomial(square, [s / math.factorial(2 * i + 1) for i, s in enumerate(signs)]) * r
    turn = quarter.to(torch.int64) & 3
    cos = torch.where(turn == 0, c, torch.where(turn == 1, -s, torch.where(turn == 2, -c, s)))
    sin = torch.where(turn == 0, s, torch.where(turn == 1, c, torch.where(turn == 2, -s, -c)))
    return cos, sin


def softmax(x: Tensor, dim: int) -> Tensor:
    """e^(x - max) over its sum along dim; -inf has 0."""
    e = exp(x - x.amax(dim, keepdim=True))
    return e / total(e, dim, keepdim=True)
