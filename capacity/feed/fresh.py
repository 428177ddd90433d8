"""Batches of sequences of which none is seen twice: row b of step s is sequence s B + b of the
member's stream, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import fresh
from capacity.feed.prefetch import Block, Prefetch, prefetches
from capacity.settings.fresh import fresh_data

CHUNK_TOKENS = 2**18  # of all members, drawn at once


@dataclass(frozen=True)
class _Drawn(Block):
    """The batches of consecutive steps."""

    first: int  # step
    tokens: Tensor  # int64 [steps, M, B, T], those that are not asked for as ~token

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.tokens,)


class FreshFeed:
    """Batches of all members, drawn block by block. It holds nothing that the step does not
    restore."""

    def __init__(self, configs: list[Config], device: torch.device) -> None:
        self.configs, self.device = configs, device
        self.data = [fresh_data(c.data) for c in configs]
        self.batch_size = configs[0].train.batch_size
        each = len(configs) * self.batch_size * self.data[0].seq_len
        self.steps_per_block = max(1, CHUNK_TOKENS // each)
        self.last_step = min(c.steps for c in configs)
        self.ahead = prefetches(configs, device)
        self.next: Prefetch[_Drawn] = Prefetch(self._draw, device)
        self.loaded: _Drawn | None = None

    def chunk(self, cursor_MC: Tensor, step: int, most: int) -> Iterator[Tensor]:
        """Tokens int64 [M, B, T] of up to `most` steps from `step` on, one by one; those that are
        not asked for as ~token, see `GPT.asked`."""
        if self.loaded is None or not 0 <= step - self.loaded.first < len(self.loaded.tokens):
            self.loaded = self.next.take(step)
            following = step + len(self.loaded.tokens)
            if self.ahead and following < self.last_step:
                self.next.start(following)
        begin = step - self.loaded.first
        return iter(self.loaded.tokens[begin : begin + most])

    def sequences(
        self, m: int, stream: str, first: int, count: int, times: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Sequences of a stream of member m, of `times` the length, int64 [count, T], and which
        tokens are asked for, bool [count, T], on the device."""
        data = self.data[m].longer(times) if times > 1 else self.data[m]
        tokens, asked = fresh.tokens(data, self.configs[m].seed, stream, first, count)
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(asked).to(self.device)

    def first_rows(self, m: int, n: int) -> Tensor:
        """The first n sequences that member m was trained on, int64 [n, T]."""
        n = min(n, self.configs[m].trained_items)
        return self.sequences(m, fresh.TRAINED, 0, n)[0]

    def rest(self) -> None:
        """Wait for the thread that prepares the next block."""
        self.next.rest()

    def close(self) -> None:
        """End the thread that prepares the next block; training may go on."""
        self.next.close()

    def _draw(self, first_step: int) -> _Drawn:
        """The block that begins at a step."""
        left = self.last_step - first_step
        steps = min(self.steps_per_block, left) if left > 0 else self.steps_per_block
        drawn = []
        for data, config in zip(self.data, self.configs, strict=True):
            self.next.check()
            first, count = first_step * self.batch_size, steps * self.batch_size
            tokens, asked = fresh.tokens(data, config.seed, fresh.TRAINED, first, count)
            drawn.append(np.where(asked, tokens, ~tokens).reshape(steps, self.batch_size, -1))
        together = torch.from_numpy(np.stack(drawn, axis=1))
        if self.ahead and self.device.type == "cuda":
            return _Drawn(first_step, together.pin_memory().to(self.device, non_blocking=True))
        return _Drawn(first_step, together.to(self.device))

    def exposures(self, m: int, step: int) -> dict[str, float]:
        """Every sequence was seen once."""
        return {"min": 1, "mean": 1.0, "max": 1}
