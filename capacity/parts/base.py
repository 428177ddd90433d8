"""What every part of a block says of itself, in closed formulas (standard library only).

A part is a mixer (tokens look at others), a channel (each token by itself) or a memory (a table
that is read by what stands before). Its module here has the five functions of `Part`; its module in
`capacity.model.parts`, of the same name, has its weights and its forward pass. The two are written
apart and asserted against each other when a model is built.

L layers, d width, F hidden width of a channel, V vocabulary rows, S positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

# tokens; on a CPU, contexts up to here keep their attention scores (model/attention.py)
SHORT_CONTEXT = 128
# taps of a causal convolution: this token and the three before it (Allen-Zhu, Physics of Language
# Models 4.1, arXiv 2512.17351: the default of its released code; Engram's is as wide)
TAPS = 4


@dataclass(frozen=True)
class Count:
    """Numbers of one part of one block.

    total     its weights
    idle      those that take no part in what is computed of one token: experts that it does not
              visit, rows of a table that it does not read
    read      numbers of table rows that a token fetches
    by_token  numbers of its tables that belong to one row of the vocabulary, so that a token that
              no text has leaves them without use
    """

    total: int
    idle: int = 0
    read: int = 0
    by_token: int = 0


class Part(Protocol):
    """A module of this package that is one part of a block."""

    def count(self, model: Model, rows: int) -> Count:
        """rows: V, and one more where a BOS vector stands in front of the tokens."""
        ...

    def flops(self, model: Model, length: int) -> int:
        """Floating-point operations of its forward pass per token: 2 per multiply-add of a matrix
        product or a convolution, none of a look-up."""
        ...

    def state(self, model: Model, length: int) -> int:
        """Numbers that it has to keep of one sequence of so many tokens to go on with it."""
        ...

    def kept(self, model: Model, length: int, train: Train, device: str) -> float:
        """Bytes that it keeps for its backward pass, by token."""
        ...

    def inputs(self, model: Model) -> dict[str, int]:
        """Widths that groups of a quantizer must divide, by the words for them: inputs of its maps
        and, of a table, the numbers of a row."""
        ...


def linear(model: Model, fan_in: int, *fan_out: int) -> int:
    """Weights of maps of one input: in out each, and r (in + out) of one of rank r."""
    r = model.map_rank
    return sum(fan_in * out if r is None else r * (fan_in + out) for out in fan_out)


def norm(model: Model) -> int:
    """Weights of a norm: gain and, of a LayerNorm with biases, bias."""
    return 2 * model.d_model if model.norm == "layernorm" else model.d_model


def kept_norm(model: Model, train: Train) -> int:
    """Bytes by token of a norm: its input and the normalized numbers in fp32, and what it hands
    on."""
    return (8 + bytes_of(train)) * model.d_model


def kept_factors(model: Model, train: Train, number: int) -> int:
    """Bytes by token of so many maps where they are products: what stands between the factors."""
    return bytes_of(train) * number * (model.map_rank or 0)


def bytes_of(train: Train) -> int:
    """Of a number that products take and give."""
    return 2 if train.precision in ("bf16", "fp16") else 4


def canon(model: Model, where: str, width: int) -> int:
    """Weights of the Canon layer at A, B, C or D over so many channels; 0 without one."""
    return TAPS * width * (where in model.canon)


def kept_canon(model: Model, where: str, width: int) -> int:
    """Bytes by token of that layer: its input once, padded, in fp32."""
    return 4 * width * (where in model.canon)
