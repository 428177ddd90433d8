"""What a stack trains on, step by step: rows of a table of sequences, or windows of streams of
biographies.

Both give the tokens of consecutive steps in chunks, hold nothing that a seed and a cursor do not
restore, and count exposures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import uniform
from capacity.data.tiers import Tiers
from capacity.feed import batches
from capacity.feed import canary_schedule as views
from capacity.feed.fresh import FreshFeed
from capacity.feed.prefetch import Block, Prefetch, prefetches
from capacity.feed.tiers import TieredOrder, by_tier, order_of
from capacity.settings.data import UniformData

if TYPE_CHECKING:
    from capacity.feed.stream import Windows

INDEX_CHUNK = 2**21  # batch indices prepared at once (16 MiB)
TABLE_STEPS = 1024  # most steps whose batches are prepared at once
CHUNK_TOKENS = (
    2**18
)  # tokens of one member rendered at once; a constant, because chunks begin at multiples of it
# most tokens that members of equal worlds render at once, unless one member has more: on a GPU so
# many that operations are worth their launches, on a CPU so few that they stay in its cache
TOGETHER = {"cuda": 2**22, "cpu": 2**18}
CURSOR = 4


@dataclass(frozen=True)
class _Batches(Block):
    """Rows of the table for consecutive steps."""

    first: int  # step
    rows: Tensor  # int64 [steps, M, B]

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.rows,)


class TableFeed:
    """Sequences that are all in memory, uniform tokens or text; batches in permutations of the
    training set."""

    def __init__(self, configs: list[Config], device: torch.device) -> None:
        self.configs, self.device = configs, device
        tables = [TABLES[c.data.kind](c) for c in configs]
        self.first_row = np.cumsum([0] + [len(t) for t in tables])
        self.tokens = torch.from_numpy(np.concatenate(tables).astype(np.int32)).to(device)
        self.orders = [order_of(c) for c in configs]
        self.last_step = min(c.steps for c in configs)
        self.ahead = prefetches(configs, device)
        self.next: Prefetch[_Batches] = Prefetch(self._batches, device)
        self.loaded: _Batches | None = None

    def member_tokens(self, m: int) -> Tensor:
        """Training set of member m, int32 [N, S] on the device."""
        return self.tokens[self.first_row[m] : self.first_row[m] + self.configs[m].trained_items]

    def first_rows(self, m: int, n: int) -> Tensor:
        """The first n sequences of member m's training set, or all of it, int64 [n, S]."""
        return self.member_tokens(m)[:n].long()

    def canaries(self, m: int) -> Tensor:
        """Sequences of member m that are seen at set steps only, int32 [n, S] on the device."""
        return self.tokens[
            self.first_row[m] + self.configs[m].trained_items : self.first_row[m + 1]
        ]

    def chunk(self, cursor_MC: Tensor, step: int, most: int) -> Iterator[Tensor]:
        """Tokens int64 [M, B, S] of up to `most` steps from `step` on, one by one."""
        if self.loaded is None or not 0 <= step - self.loaded.first < len(self.loaded.rows):
            self.loaded = self.next.take(step)
            following = step + len(self.loaded.rows)
            if self.ahead and following < self.last_step:
                self.next.start(following)
        begin = step - self.loaded.first
        return (self.tokens[rows_MB].long() for rows_MB in self.loaded.rows[begin : begin + most])

    def rest(self) -> None:
        """Wait for the thread that prepares the next block."""
        self.next.rest()

    def close(self) -> None:
        """End the thread that prepares the next block; training may go on."""
        self.next.close()

    def _batches(self, first_step: int) -> _Batches:
        """The block that begins at a step."""
        per_step = len(self.configs) * self.configs[0].train.batch_size
        steps = min(TABLE_STEPS, max(1, INDEX_CHUNK // per_step))
        left = self.last_step - first_step
        return _Batches(
            first_step, self.batch_rows(first_step, min(steps, left) if left > 0 else steps)
        )

    def batch_rows(self, first_step: int, n_steps: int) -> Tensor:
        """Rows of `tokens` for each step, int64 [n_steps, M, B] on the device."""
        batch_size, rows = self.configs[0].train.batch_size, []
        for m, order in enumerate(self.orders):
            self.next.check()
            rows.append(order.steps(batch_size, first_step, n_steps) + self.first_row[m])
        for m, config in enumerate(self.configs):
            if views.timed(config):
                views.insert(rows[m], config, first_step, self.first_row[m] + config.trained_items)
        together = torch.from_numpy(np.stack(rows, axis=1))
        if self.ahead and self.device.type == "cuda":
            return together.pin_memory().to(self.device, non_blocking=True)
        return together.to(self.device)

    def exposures(self, m: int, step: int) -> dict[str, float]:
        """Fewest, mean and most times that a sequence of member m was seen in `step` steps."""
        config, order = self.configs[m], self.orders[m]
        if views.timed(config):
            return views.exposures(config, step)
        if isinstance(order, TieredOrder):
            count_N = order.counts(step * config.train.batch_size)
            return {
                "min": int(count_N.min()),
                "mean": float(count_N.double().mean()),
                "max": int(count_N.max()),
            }
        fewest, most = batches.exposure_counts(config.trained_items, config.train.batch_size, step)
        return {
            "min": fewest,
            "mean": step * config.train.batch_size / config.trained_items,
            "max": most,
        }

    def classes(self, m: int) -> tuple[Tiers, np.ndarray] | None:
        """Tiers of member m and the number of each of its sequences', int64 [N], if it has any."""
        order = self.orders[m]
        return (order.turns.tiers, order.tier_N.numpy()) if isinstance(order, TieredOrder) else None

    def tiers(self, m: int, step: int) -> list[dict] | None:
        """The same of each tier of member m, ready for its record; None where there are none."""
        order, config = self.orders[m], self.configs[m]
        if not isinstance(order, TieredOrder):
            return None
        counted = order.counts(step * config.train.batch_size)
        return by_tier(order.turns.tiers, order.tier_N, counted, None)


def _uniform_table(config: Config) -> np.ndarray:
    data = config.data
    assert isinstance(data, UniformData)
    return uniform.tokens(config.seed, config.items, data.seq_len, data.vocab_size, data.skip)


def _text_table(config: Config) -> np.ndarray:
    from capacity.feed import split

    return split.of(config).trained_tokens


TABLES = {"uniform": _uniform_table, "text": _text_table}


@dataclass(frozen=True)
class _Chunk(Block):
    """Windows of consecutive steps of all members, and where each member stood in front of them."""

    number: int
    tokens: Tensor  # int32 [steps, M, B, T + 1]
    cursors: list[list[int]]  # by member
    reads: list[Windows]  # by group of members

    def tensors(self) -> tuple[Tensor, ...]:
        read = [t for r in self.reads for t in (r.tokens, r.is_main, *r.ends) if t is not None]
        return (self.tokens, *read)


class StreamFeed:
    """Windows of streams that are rendered on the device while training goes on. Members that
    differ in nothing but their seeds are rendered together, others one by one."""

    def __init__(self, configs: list[Config], device: torch.device) -> None:
        from capacity.feed.stream import MemberStream, Streams

        self.batch_size, self.seq_len = configs[0].train.batch_size, configs[0].data.seq_len
        self.steps_per_chunk = max(1, CHUNK_TOKENS // (self.batch_size * self.seq_len))
        self.last_step = min(c.steps for c in configs)
        steps = min(self.steps_per_chunk, self.last_step)
        together = TOGETHER["cpu" if device.type == "cpu" else "cuda"]
        most = max(1, together // (steps * self.batch_size * self.seq_len))
        self.groups = _alike(configs, most)
        self.streams = [Streams([configs[m] for m in group], device) for group in self.groups]
        self.members: list[MemberStream] = [None] * len(configs)  # pyright: ignore
        for group, streams in zip(self.groups, self.streams, strict=True):
            for i, m in enumerate(group):
                self.members[m] = MemberStream(configs[m], device, streams.alone(i))
        self.ahead = prefetches(configs, device)
        self.next: Prefetch[_Chunk] = Prefetch(self._render, device)
        self.loaded: _Chunk | None = None
        self.begin: list[list[int]] = []  # cursors of the first chunk

    def chunk(self, cursor_MC: Tensor, step: int, most: int) -> Iterator[Tensor]:
        """Tokens int64 [M, B, T + 1] of up to `most` steps from `step` on, one by one.

        cursor_MC: int64 [M, 4], on the CPU, of the chunk that the last step was in (at the start
        zeros); moved on here.
        """
        number = step // self.steps_per_chunk
        if self.loaded is None:
            # of a run that goes on, the cursor is that of the chunk that its last step was in
            self._load(max(0, step - 1) // self.steps_per_chunk, cursor_MC)
        chunk = self._load(number, cursor_MC)
        begin = step % self.steps_per_chunk
        if begin >= len(chunk.tokens):  # of a stack that goes on behind the end of a member
            self.next.close()
            self.last_step, self.loaded = sys.maxsize, None
            chunk = self._load(number, cursor_MC)
        return (tokens.long() for tokens in chunk.tokens[begin : begin + most])

    def first_rows(self, m: int, n: int) -> Tensor:
        """The first n windows that member m was trained on, int64 [n, T + 1]."""
        return self.members[m].windows([0] * CURSOR, 0, n).long()

    def _load(self, number: int, cursor_MC: Tensor) -> _Chunk:
        """The chunk of this number, the one that is loaded or the next."""
        if self.loaded is None or self.loaded.number != number:
            if self.loaded is not None:
                after = self.loaded.number + 1
                assert number == after, f"chunk {number} does not follow chunk {after - 1}"
            self.begin = cursor_MC.tolist()
            self.loaded = self.next.take(number)
            # of the chunk that is read now, whatever the thread has rendered: a checkpoint keeps it
            cursor_MC.copy_(torch.tensor(self.loaded.cursors))
            if self.ahead and (number + 1) * self.steps_per_chunk < self.last_step:
                self.next.start(number + 1)
        return self.loaded

    def rest(self) -> None:
        """Wait for the thread that prepares the next chunk."""
        self.next.rest()

    def close(self) -> None:
        """End the thread that prepares the next chunk; training may go on."""
        self.next.close()

    def _render(self, number: int) -> _Chunk:
        """The chunk behind the one that is loaded; the first one begins at given cursors."""
        first = number * self.steps_per_chunk
        left = self.last_step - first
        steps = min(self.steps_per_chunk, left) if left > 0 else self.steps_per_chunk
        count, cursors = steps * self.batch_size, self.begin
        if self.loaded is not None:
            cursors = self._cursors_at(self.loaded, first)
        reads = []
        for group, streams in zip(self.groups, self.streams, strict=True):
            self.next.check()
            some = [cursors[m] for m in group]
            reads.append(streams.windows(some, first * self.batch_size, count))
        parts = [r.tokens.view(len(r.tokens), steps, self.batch_size, -1) for r in reads]
        tokens = torch.cat(parts)
        places = sorted(
            range(len(tokens)), key=[m for group in self.groups for m in group].__getitem__
        )
        if places != list(range(len(tokens))):
            tokens = tokens[torch.tensor(places, device=tokens.device)]
        return _Chunk(number, tokens.transpose(0, 1), cursors, reads)

    def _cursors_at(self, chunk: _Chunk, step: int) -> list[list[int]]:
        """Of each member, the cursor in front of a step of a chunk, or right behind it."""
        out: list[list[int]] = [[]] * len(self.members)
        for group, streams, read in zip(self.groups, self.streams, chunk.reads, strict=True):
            found = streams.cursors_at(read, step * self.batch_size)
            for m, cursor in zip(group, found, strict=True):
                out[m] = cursor
        return out

    def exposures(self, m: int, step: int) -> dict[str, float]:
        """Fewest, mean and most renderings of a person of member m in the first `step` steps, which
        end in the loaded chunk."""
        assert self.loaded is not None, "no windows have been read"
        return self.members[m].exposures(self._cursors_at(self.loaded, step)[m])

    def tiers(self, m: int, step: int) -> list[dict] | None:
        """The same of each tier of member m, ready for its record; None where there are none."""
        assert self.loaded is not None, "no windows have been read"
        return self.members[m].tiers(self._cursors_at(self.loaded, step)[m])

    def counts(self, m: int, step: int) -> Tensor:
        """Whole renderings of each person of member m in the first `step` steps, int64 [N]."""
        assert self.loaded is not None, "no windows have been read"
        return self.members[m].counts(self._cursors_at(self.loaded, step)[m])


def _alike(configs: list[Config], most: int) -> list[list[int]]:
    """Members in groups of equal worlds (data but for their seeds), at most so many in one."""
    alike: dict[tuple, list[int]] = {}
    for m, config in enumerate(configs):
        alike.setdefault((config.data, config.items), []).append(m)
    return [group[i : i + most] for group in alike.values() for i in range(0, len(group), most)]


FEEDS = {
    "uniform": TableFeed,
    "text": TableFeed,
    "bios": StreamFeed,
    "mixed": StreamFeed,
    "biod": StreamFeed,
    "corpus": StreamFeed,
    "copy": FreshFeed,
    "mqar": FreshFeed,
}
