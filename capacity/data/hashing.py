"""Random draws as pure functions of integers, on any device: people, templates and orders are never
stored.

Everything is int64 arithmetic modulo 2^64, exact and equal on CPUs and GPUs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from capacity.base.rng import derived_seed

# of `permute`; four give a pseudo-random permutation (Luby and Rackoff 1988), more cost little
ROUNDS = 8


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


GOLDEN = _signed(0x9E3779B97F4A7C15)
MIX1, MIX2 = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def key(seed: int, name: str) -> int:
    """The key of one purpose, 62 bits."""
    return derived_seed(seed, name, 62)


def words(base: int | Tensor, *indices: int | Tensor) -> Tensor:
    """A random word, int64 in [0, 2^62), for every broadcast combination of the key and the
    indices.

    A chain of the SplitMix64 finalizer (Steele, Lea and Flood 2014), one link per index.
    """
    state = torch.tensor(base) if isinstance(base, int) else base
    for index in indices:
        step = (
            _signed(GOLDEN * (index + 1) % 2**64)
            if isinstance(index, int)
            else GOLDEN * (index + 1)
        )
        state = _mix(state + step)
    return state & (2**62 - 1)


def short_words(base: Tensor, index: Tensor) -> Tensor:
    """The last 16 bits of `words` of one index, int32 in [0, 2^16), in fewer passes: what is masked
    of the last shift and of a word reaches none of them."""
    z = base + GOLDEN * (index + 1)
    z = z.bitwise_xor_(_shifted(z, 30)).mul_(MIX1)
    z = z.bitwise_xor_(_shifted(z, 27)).mul_(MIX2)
    return z.bitwise_xor_(z >> 31).int().bitwise_and_(0xFFFF)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * MIX1
    z = z.bitwise_xor_(_shifted(z, 27)).mul_(MIX2)
    return z.bitwise_xor_(_shifted(z, 31))


def _shifted(z: Tensor, by: int) -> Tensor:
    return (z >> by).bitwise_and_(
        (1 << (64 - by)) - 1
    )  # int64 shifts keep the sign, the mix needs zeros


def permute(base: int | Tensor, index: Tensor, n: int) -> Tensor:
    """A keyed permutation of [0, n): index int64 -> its image, without a table.

    A generalized Feistel network on a x b >= n cells (Black and Rogaway 2002, section 5: numeric
    forms) and cycle walking: an image outside [0, n) is mapped again until it falls inside; about
    sqrt(n) of the cells are outside.
    """
    if n < 1 or n > 2**60:
        raise ValueError(f"permute: n={n}: expected 1 to 2^60")
    a = max(1, round(n**0.5))
    b = -(-n // a)
    out = _feistel(base, index, a, b)
    outside = out >= n
    while bool(outside.any()):
        out = torch.where(outside, _feistel(base, out, a, b), out)
        outside = out >= n
    return out


def permute_by(base: int | Tensor, index: Tensor, n: Tensor) -> Tensor:
    """`permute` of every element within a range of its own, int64 n of the same shape."""
    a = n.double().sqrt().round().long().clamp(min=1)
    b = (n + a - 1) // a
    out = _feistel(base, index, a, b)
    outside = out >= n
    while bool(outside.any()):
        out = torch.where(outside, _feistel(base, out, a, b), out)
        outside = out >= n
    return out


def _feistel(base: int | Tensor, index: Tensor, a: int | Tensor, b: int | Tensor) -> Tensor:
    left, right = torch.div(index, b, rounding_mode="floor"), index % b
    for i in range(0, ROUNDS, 2):
        left = (left + words(base, right, i) % a) % a
        right = (right + words(base, left, i + 1) % b) % b
    return left * b + right
