"""Data parallel ranks: W processes train one stack, each a neighbouring part of every batch.

A batch is cut into K parts, `cluster.micro_batches`, a power of two that W divides. Rank r computes
K/W neighbouring parts. Losses and gradients of parts are summed by the binary tree over the numbers
of the parts: the parts of a rank are a subtree, and above it each rank sums the columns that it
keeps, of all ranks, by the same tree. So what is summed in which order depends on K and not on W,
and one rank, two or four end with the same bits.

The columns of the flat matrix [M, P] are cut into blocks of BLOCK and every rank keeps the moments
of a run of whole blocks (Rajbhandari et al., arXiv 1910.02054, stage 2 has this split): it updates
its columns of the weights, and all get all of them. The norm that clips is a tree over the squares
of a block, then one over blocks. Muon needs whole matrices, so there every rank makes the whole
update.

Every rank draws the tokens of the whole batch and takes its rows, so that exposures and feeds know
nothing of ranks. Experts are refused (`config`): their places depend on the whole batch.

Shape letters beside those of `model.gpt`: W ranks, S columns that a rank keeps (padded with zeros),
C blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from capacity.train.loop import Stack, State, conclude, of_part
from capacity.train.loss_scale import rescale, scale_of
from capacity.train.optim import Gradient, Weights

# Columns that are never divided: whole vectors of every instruction set, so that no number is
# computed by other instructions where a shard ends.
BLOCK = 1024

_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # its old name

Terms = tuple[Tensor, ...]


def tree_sum(terms: Iterable[Terms]) -> Terms:
    """Sums of 2^n terms, each a tuple of tensors, by the binary tree over their numbers: (0 + 1) +
    (2 + 3) and so on. At most n + 1 terms are held at once. ValueError where they are not a power
    of two."""
    held: list[tuple[int, Terms]] = []
    for term in terms:
        height = 0
        while held and held[-1][0] == height:
            _, before = held.pop()
            term = tuple(a + b for a, b in zip(before, term, strict=True))
            height += 1
        held.append((height, term))
    if len(held) != 1:
        raise ValueError(f"a tree over {len(held)} terms of different heights; need a power of two")
    return held[0][1]


def halved(x: Tensor) -> Tensor:
    """The sum over the last axis, whose length is a power of two, by halves: elementwise sums
    only, whose bits depend on no layout, [...]."""
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x[..., 0]


class Ranks:
    """The processes that train one stack, seen from one of them: rank `rank` of `size`.

    With a size above 1 the default group of torch.distributed has to be there, one whose backend
    takes the tensors of the stack's device.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def width(self, columns: int) -> int:
        """S, the columns that each rank keeps of so many: whole blocks."""
        return -(-_blocks(columns) // self.size) * BLOCK

    def shard(self, rows_MP: Tensor) -> Tensor:
        """This rank's columns, copied, with zeros behind the last, [M, S]."""
        width = self.width(rows_MP.shape[1])
        first = self.rank * width
        return _padded(rows_MP[:, first : first + width], width)

    def whole(self, shard_MS: Tensor, columns: int) -> Tensor:
        """All columns from everybody's, [M, P]."""
        return self._gathered(shard_MS).transpose(0, 1).reshape(len(shard_MS), -1)[:, :columns]

    def gradient(
        self, stack: Stack, flat_MP: Tensor, tokens_MBT: Tensor, scale_M: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `loop.gradient`, summed by the tree over parts: the loss of each member, fp32 [M], and
        this rank's columns of its gradient, [M, S]. tokens: the whole batch, on every rank."""
        leaf = flat_MP.detach().requires_grad_()
        pieces = tokens_MBT.tensor_split(stack.parts, dim=1)
        each = stack.parts // self.size
        mine = pieces[self.rank * each : (self.rank + 1) * each]
        loss_M, grad_MP = tree_sum(
            of_part(stack, leaf, part, part.shape[1] / tokens_MBT.shape[1], scale_M)
            for part in mine
        )
        (total_M,) = tree_sum((loss,) for loss in self._gathered(loss_M))
        return total_M, self._summed(grad_MP)

    def norm(self, shard_MS: Tensor, columns: int) -> Tensor:
        """The Euclidean norm of each member's row of P columns from everybody's shards, [M]."""
        M, S = shard_MS.shape
        block_MC = halved(shard_MS.view(M, S // BLOCK, BLOCK).square())
        all_MC = self._gathered(block_MC).transpose(0, 1).reshape(M, -1)[:, : _blocks(columns)]
        return halved(_padded(all_MC, 1 << (_blocks(columns) - 1).bit_length())).sqrt()

    def take(self, stack: Stack, state: State) -> State:
        """The state with this rank's columns of the moments."""
        return self._moments(stack, state, self.shard)

    def give(self, stack: Stack, state: State) -> State:
        """The state with all columns of the moments, as one process has it; to be called by all
        ranks together."""
        columns = state.flat_MP.shape[1]
        return self._moments(stack, state, lambda shard_MS: self.whole(shard_MS, columns))

    def _moments(self, stack: Stack, state: State, change: Callable[[Tensor], Tensor]) -> State:
        if not _by_columns(stack):
            return state
        return dataclasses.replace(state, m_MP=change(state.m_MP), v_MP=change(state.v_MP))

    def step(self, stack: Stack, state: State, tokens_MBT: Tensor, now_MC: Tensor) -> None:
        """As `loop.step`, by all ranks together; state: as `take` gives it."""
        P = state.flat_MP.shape[1]
        scale_M, skipped_M = scale_of(state.scaling_M3) if stack.scaled else None, None
        loss_M, grad_MS = self.gradient(stack, state.flat_MP, tokens_MBT, scale_M)
        norm_M, tables = self.norm(grad_MS, P), stack.tables
        if stack.scaled:
            skipped_M = rescale(state.scaling_M3, grad_MS, loss_M, norm_M)
            norm_M = torch.where(skipped_M, 0.0, norm_M)  # their gradients are zeros now
        norms_M2 = None
        if tables is not None:
            shard_S = self.shard(tables.is_table_P[None])[0]
            parts = (grad_MS * (1.0 - shard_S), grad_MS * shard_S)
            norms_M2 = torch.stack([self.norm(part, P) for part in parts], 1)
            if _by_columns(stack):
                tables = tables._replace(is_table_P=shard_S)
        if not _by_columns(stack):
            weights = Weights(state.flat_MP, state.m_MP, state.v_MP, stack.decay_P, tables)
            grad_MS = self.whole(grad_MS, P)
        else:
            decay_S = self.shard(stack.decay_P[None])[0]
            weights = Weights(self.shard(state.flat_MP), state.m_MP, state.v_MP, decay_S, tables)
        gradient = Gradient(grad_MS, loss_M, skipped_M, norm_M, norms_M2)
        alive_M = stack.update(weights, gradient, stack.hyper, now_MC, state.alive_M)
        if _by_columns(stack):
            state.flat_MP.copy_(self.whole(weights.flat_MP, P))
        conclude(stack, state, loss_M, alive_M, now_MC)

    def _summed(self, rows_MP: Tensor) -> Tensor:
        """This rank's columns, [M, S], of the sum over ranks by the upper tree."""
        M, width = len(rows_MP), self.width(rows_MP.shape[1])
        rows = _padded(rows_MP, self.size * width)
        if self.size == 1:
            return rows
        sent_WMS = rows.view(M, self.size, width).transpose(0, 1).contiguous()
        return tree_sum((one,) for one in self._exchanged(sent_WMS))[0]

    def _exchanged(self, sent_WMS: Tensor) -> Tensor:
        """What everybody has sent to this rank, [W, M, S]; sent: by rank, what it is to get."""
        got_WMS = torch.empty_like(sent_WMS)
        dist.all_to_all_single(got_WMS.view(-1), sent_WMS.view(-1))
        return got_WMS

    def _gathered(self, mine: Tensor) -> Tensor:
        """Everybody's tensor of this shape, [W, ...]."""
        if self.size == 1:
            return mine[None]
        everybody = mine.new_empty(self.size, *mine.shape)
        _gather(everybody.view(-1), mine.contiguous().view(-1))
        return everybody


def _by_columns(stack: Stack) -> bool:
    """Whether the update of a column needs no other column."""
    return stack.configs[0].train.optimizer != "muon"


def _blocks(columns: int) -> int:
    """C, blocks that hold so many columns."""
    return -(-columns // BLOCK)


def _padded(rows_MP: Tensor, columns: int) -> Tensor:
    """Rows of so many columns, zeros behind those that are there; a copy."""
    out = rows_MP.new_zeros(len(rows_MP), columns)
    out[:, : rows_MP.shape[1]] = rows_MP
    return out
