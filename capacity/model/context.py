"""What the parts of a block share: how positions lie in sequences, the input tokens, and the two
operations of the model that its settings choose, linear maps and norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from capacity.model.weights import Weight
from capacity.settings.model import Model

Named = dict[str, Tensor]  # weights of a stack by name, each [M, *shape]
# (block and part such as "1 engram", int64 numbers of the rows or experts that tokens read, how
# many there are)
Watch = Callable[[str, Tensor, int], None]


@dataclass
class Context:
    """Of one forward pass. Shape letters are those of `gpt`."""

    model: Model
    B: int
    T: int
    tokens_MBT: Tensor  # as `GPT.nll` takes them
    vocab_size: int
    bos: bool
    linear: Callable[[Tensor, Named, str], Tensor]  # x W + b of a map by name
    product: Callable[[Tensor, Tensor], Tensor]  # of matrices, in the format of products
    norm: Callable[[Named, str, Tensor], Tensor]
    mask: Tensor | None = None  # bool [M B, T, T], see `attention.document_mask`
    # int64 [M B, T]: number of the document that a position is of; where they are kept apart
    document_NT: Tensor | None = None
    training: bool = False
    kernels: bool = False  # see `kernels.dispatch`
    tf32: bool = False
    balance: list[Tensor] = field(default_factory=list)  # of experts: a loss fp32 [M] per layer
    terms: list[Tensor] = field(default_factory=list)  # further losses, fp32 [M], in training
    watch: Watch | None = None  # told which rows a part reads; no step of training has one

    def ids(self) -> Tensor:
        """The input token of each position, int64 [M, B, T]; V stands for the BOS vector."""
        seen_MBT = self.tokens_MBT[:, :, :-1]
        return F.pad(seen_MBT, (1, 0), value=self.vocab_size) if self.bos else seen_MBT

    def reads(self, at: str, kind: str, rows: Tensor, number: int) -> None:
        """A part of this kind in the block `at` (blocks.3.) reads these of so many rows."""
        if self.watch is not None:
            self.watch(f"{at.split('.')[1]} {kind}", rows, number)


class Part(Protocol):
    """A module of `model.parts`. What it says of itself in closed formulas stands in the module of
    its name in `capacity.parts`."""

    def weights(self, model: Model, at: str, rows: int) -> list[Weight]:
        """Its weights in the block `at` (blocks.3.), in the order of their places in a row of the
        flat matrix; rows: V, and one more where a BOS vector stands in front of the tokens."""
        ...

    def forward(self, w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
        """What it adds to the residual stream, [M, N, D]: of each position from this one and those
        before it in its sequence and document, and of each member from its own weights."""
        ...
