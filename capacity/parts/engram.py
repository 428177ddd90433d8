"""The memory `engram`: hashed tables of n-grams, read in front of a block (standard library only;
see `model.parts.engram`).

O orders of n-grams (2 to the longest), H heads of each, m numbers of a row, R rows of all heads.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from capacity.base.rng import derived_seed
from capacity.parts import base
from capacity.parts.base import TAPS, Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

WORD = 2**63 - 1  # the largest number of int64


def orders(model: Model) -> range:
    """Lengths of its n-grams."""
    return range(2, model.engram_longest + 1)


@cache
def primes(first: int, number: int) -> tuple[int, ...]:
    """The smallest distinct primes from `first` on. Every head of a block has one as its number of
    rows, so that n-grams which collide in one head do not in another (Engram, arXiv 2601.07372, and
    its released code)."""
    found: list[int] = []
    candidate = max(2, first)
    while len(found) < number:
        if all(candidate % k for k in range(2, int(candidate**0.5) + 1)):
            found.append(candidate)
        candidate += 1
    return tuple(found)


def sizes(model: Model) -> tuple[int, ...]:
    """Rows of each head, those of bigrams first, [O H]."""
    return primes(model.engram_rows, len(orders(model)) * model.engram_heads)


def multipliers(model: Model, layer: int, ids: int) -> tuple[int, ...]:
    """Odd factors of the last token, the one before it, and so on, for token numbers below `ids`:
    so small that a product stays a positive int64. Every block has its own. They are part of the
    architecture, and the same for every seed."""
    most = WORD // ids
    return tuple(
        derived_seed(layer, f"engram multiplier {k}", 80) % max(1, most // 2) * 2 + 1
        for k in range(model.engram_longest)
    )


def read(model: Model) -> int:
    """O H m, numbers that a token reads: the inputs of its maps to key and value."""
    return len(sizes(model)) * model.engram_width


def count(model: Model, rows: int) -> Count:
    """R m of the tables; 2 O H m d of key and value with their biases; 2 d of the norms of state
    and key; with a convolution 4 d, and d of the norm in front of it."""
    d, table = model.d_model, sum(sizes(model)) * model.engram_width
    maps = 2 * read(model) * d + 2 * d * model.bias
    conv = (TAPS + 1) * d * model.engram_conv
    return Count(table + maps + 2 * d + conv, idle=table - read(model), read=read(model))


def flops(model: Model, length: int) -> int:
    return 2 * (2 * read(model) * model.d_model + TAPS * model.d_model * model.engram_conv)


def state(model: Model, length: int) -> int:
    """The last tokens, and the last inputs of the convolution, whose taps lie a longest n-gram
    apart."""
    longest = model.engram_longest
    return longest - 1 + (TAPS - 1) * longest * model.d_model * model.engram_conv


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """What was read with its row numbers; in fp32 state and key as they come, normalized and with
    their gains, and value; of the convolution its input, and what is in front of and behind the
    activation."""
    d, size = model.d_model, base.bytes_of(train)
    rows = 8 * len(sizes(model)) + size * read(model)
    return rows + 28 * d + 16 * d * model.engram_conv


def inputs(model: Model) -> dict[str, int]:
    return {
        "model.engram_width": model.engram_width,
        "what model.memory=engram reads": read(model),
    }
