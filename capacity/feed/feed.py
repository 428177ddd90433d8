"""What a stack trains on, step by step: rows of a table of sequences, or windows of streams of
biographies.

Both give the tokens of consecutive steps in chunks, hold nothing that a seed and a cursor do not
restore, and count exposures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import uniform
from capacity.feed import batches
from capacity.feed import canary_schedule as views
from capacity.settings.data import UniformData

INDEX_CHUNK = 2**21  # batch indices prepared at once (16 MiB)
CHUNK_TOKENS = (
    2**18
)  # tokens of one member rendered at once; a constant, because chunks begin at multiples of it
CURSOR = 4


class TableFeed:
    """Sequences that are all in memory, uniform tokens or text; batches in permutations of the
    training set."""

    def __init__(self, configs: list[Config], device: torch.device) -> None:
        self.configs, self.device = configs, device
        tables = [TABLES[c.data.kind](c) for c in configs]
        self.first_row = np.cumsum([0] + [len(t) for t in tables])
        self.tokens = torch.from_numpy(np.concatenate(tables).astype(np.int32)).to(device)
        self.orders = [batches.Order(c.seed, c.trained_items) for c in configs]

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
        per_step = len(self.configs) * self.configs[0].train.batch_size
        rows = self.batch_rows(step, min(most, max(1, INDEX_CHUNK // per_step)))
        return (self.tokens[rows_MB].long() for rows_MB in rows)

    def batch_rows(self, first_step: int, n_steps: int) -> Tensor:
        """Rows of `tokens` for each step, int64 [n_steps, M, B] on the device."""
        batch_size = self.configs[0].train.batch_size
        rows = [
            order.steps(batch_size, first_step, n_steps) + self.first_row[m]
            for m, order in enumerate(self.orders)
        ]
        for m, config in enumerate(self.configs):
            if views.timed(config):
                views.insert(rows[m], config, first_step, self.first_row[m] + config.trained_items)
        return torch.from_numpy(np.stack(rows, axis=1)).to(self.device)

    def exposures(self, m: int, step: int) -> dict[str, float]:
        """Fewest, mean and most times that a sequence of member m was seen in `step` steps."""
        config = self.configs[m]
        if views.timed(config):
            return views.exposures(config, step)
        fewest, most = batches.exposure_counts(config.trained_items, config.train.batch_size, step)
        return {
            "min": fewest,
            "mean": step * config.train.batch_size / config.trained_items,
            "max": most,
        }


def _uniform_table(config: Config) -> np.ndarray:
    data = config.data
    assert isinstance(data, UniformData)
    return uniform.tokens(config.seed, config.items, data.seq_len, data.vocab_size)


def _text_table(config: Config) -> np.ndarray:
    from capacity.feed import split

    return split.of(config).trained_tokens


TABLES = {"uniform": _uniform_table, "text": _text_table}


class StreamFeed:
    """Windows of streams that are rendered on the device while training goes on."""

    def __init__(self, configs: list[Config], device: torch.device) -> None:
        from capacity.feed.stream import MemberStream

        self.batch_size, self.seq_len = configs[0].train.batch_size, configs[0].data.seq_len
        self.steps_per_chunk = max(1, CHUNK_TOKENS // (self.batch_size * self.seq_len))
        self.members = [MemberStream(config, device) for config in configs]
        self.loaded: int | None = None  # number of the chunk in memory
        self.tokens: Tensor | None = None  # int32 [steps, M, B, T + 1]

    def chunk(self, cursor_MC: Tensor, step: int, most: int) -> Iterator[Tensor]:
        """Tokens int64 [M, B, T + 1] of up to `most` steps from `step` on, one by one.

        cursor_MC: int64 [M, 4], on the CPU, of the chunk that the last step was in (at the start
        zeros); moved on here.
        """
        if self.loaded is None and step:  # resumed
            self._load((step - 1) // self.steps_per_chunk, cursor_MC)
        self._load(step // self.steps_per_chunk, cursor_MC)
        assert self.tokens is not None
        begin = step % self.steps_per_chunk
        return (tokens.long() for tokens in self.tokens[begin : begin + most])

    def first_rows(self, m: int, n: int) -> Tensor:
        """The first n windows that member m was trained on, int64 [n, T + 1]."""
        member = self.members[m]
        kept = member.kept
        rows = member.windows([0] * CURSOR, 0, n).long()
        member.kept = kept  # positions are still asked for in what training read last
        return rows

    def _load(self, number: int, cursor_MC: Tensor) -> None:
        if number == self.loaded:
            return
        per_chunk = self.steps_per_chunk * self.batch_size
        if self.loaded is not None:
            assert number == self.loaded + 1, f"chunk {number} does not follow chunk {self.loaded}"
            for m, member in enumerate(self.members):
                cursor_MC[m] = torch.tensor(member.cursor_at(number * per_chunk))
        windows = [
            member.windows(cursor_MC[m].tolist(), number * per_chunk, per_chunk)
            for m, member in enumerate(self.members)
        ]
        self.tokens = (
            torch.stack(windows)
            .view(len(windows), self.steps_per_chunk, self.batch_size, -1)
            .transpose(0, 1)
        )
        self.loaded = number

    def exposures(self, m: int, step: int) -> dict[str, float]:
        """Fewest, mean and most renderings of a person of member m in the first `step` steps, which
        end in the loaded chunk."""
        return self.members[m].exposures(self.members[m].cursor_at(step * self.batch_size))


FEEDS = {
    "uniform": TableFeed,
    "text": TableFeed,
    "bios": StreamFeed,
    "biod": StreamFeed,
    "corpus": StreamFeed,
}
