"""Biographies of one run as an endless stream of tokens, cut into windows; the order of people,
mixtures, exposures.

The stream of a member is a function of its seed: rendering 0, 1, 2, ... each an EOS and a
biography. Two halves of the people take turns, each in a new order every time, so between two
renderings of one person lie at least half of all people. Windows of T + 1 tokens overlap by one, so
that every token of the stream is predicted once, from at most T tokens before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import hashing, lexicons
from capacity.data.biographies import WORLDS
from capacity.settings.data import BiosData, worded_data

MARGIN = 1.05  # renderings drawn at once, over what the mean length asks for


@dataclass(frozen=True)
class Population:
    """People [first, first + count) who take turns."""

    first: int
    count: int
    key: int

    def turn(self, rendering_R: Tensor) -> tuple[Tensor, Tensor]:
        """Person and exposure (0, 1, ...) of each rendering of this population's stream."""
        exposure, place = rendering_R // self.count, rendering_R % self.count
        half = self.count // 2
        person = torch.empty_like(place)
        for part, begin, size in ((0, 0, half), (1, half, self.count - half)):
            here = (place >= begin) & (place < begin + size)
            if size and bool(here.any()):
                base = hashing.words(self.key, exposure[here], part)
                person[here] = begin + hashing.permute(base, place[here] - begin, size)
        return person + self.first, exposure


def gap(count: int) -> int:
    """Renderings between two of one person, at least."""
    return count - (count + 1) // 2


class MemberStream:
    """The windows of one run. A cursor is four numbers: next rendering and tokens of it already
    taken, for each of two streams (the second only where other people have windows of their
    own)."""

    def __init__(self, config: Config, device: torch.device) -> None:
        data = worded_data(config.data)
        self.data, self.device, self.seq_len, self.count = data, device, data.seq_len, config.items
        self.world = WORLDS[data.kind](data, lexicons.of(data), self.count, config.seed, device)
        self.main = Population(0, self.count, hashing.key(config.seed, "turns"))
        self.parts = (1, 0)
        self.pure = False
        if isinstance(data, BiosData) and data.other_parts:
            self.other = Population(
                self.count, data.other_people, hashing.key(config.seed, "other turns")
            )
            self.parts = data.main_parts, data.other_parts
            self.pure = data.windows == "pure"
        self.mix_key = hashing.key(config.seed, "mixture")
        self.mean = lexicons.of(data).mean_tokens(data) + 1
        self.kept: tuple | None = (
            None  # what was read last: first renderings and ends, to find positions in it
        )

    def _split(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        """Whether each of `count` renderings (or windows) from `first` on belongs to the main
        stream, and its number within its own stream: exact parts of every block of main_parts +
        other_parts, in an order of the block's own."""
        main, other = self.parts
        size = main + other
        block = torch.arange(first // size, -(-(first + count) // size), device=self.device)[
            :, None
        ]
        place = torch.arange(size, device=self.device)[None, :].expand(len(block), size)
        is_main = hashing.permute(hashing.words(self.mix_key, block), place, size) < main
        rank = torch.where(
            is_main, block * main + is_main.cumsum(1) - 1, block * other + (~is_main).cumsum(1) - 1
        )
        here = slice(first % size, first % size + count)
        return is_main.flatten()[here], rank.flatten()[here]

    def _render(self, first: int, count: int, stream: int) -> Tensor:
        rendering_R = torch.arange(first, first + count, device=self.device)
        if not self.parts[1]:
            return self.world.render(*self.main.turn(rendering_R))
        if self.pure:
            people = self.main if stream == 0 else self.other
            return self.world.render(*people.turn(rendering_R), other=stream == 1)
        is_main, rank = self._split(first, count)
        groups = [
            self.world.render(*people.turn(rank[which]), other=other)
            for which, people, other in ((is_main, self.main, False), (~is_main, self.other, True))
            if bool(which.any())
        ]
        out = torch.zeros(
            len(rendering_R), groups[0].shape[1], dtype=torch.int64, device=self.device
        )
        if bool(is_main.any()):
            out[is_main] = groups[0]
        if not bool(is_main.all()):
            out[~is_main] = groups[-1]
        return out

    def _read(
        self, rendering: int, offset: int, n_tokens: int, stream: int
    ) -> tuple[Tensor, Tensor]:
        """At least n_tokens of a stream from a place in it, and where each of the renderings ends,
        counted from there."""
        parts, lengths, have, at = [], [], -offset, rendering
        while have < n_tokens:
            count = int((n_tokens - have) / self.mean * MARGIN) + 4
            pieces = self._render(at, count, stream)
            tokens, length = self.world.pieces.join(pieces)
            parts.append(tokens)
            lengths.append(length)
            have += len(tokens)
            at += count
        return torch.cat(parts)[offset:], torch.cat(lengths).cumsum(0) - offset

    def _position(self, rendering: int, offset: int, ends: Tensor, tokens: int) -> tuple[int, int]:
        """The place in a stream that lies `tokens` after (rendering, offset)."""
        done = int(torch.searchsorted(ends, torch.tensor(tokens, device=ends.device), right=True))
        return rendering + done, tokens - int(ends[done - 1]) if done else offset + tokens

    def windows(self, cursor: list[int], first_window: int, count: int) -> Tensor:
        """Windows first_window .. first_window + count - 1 of this run, int32 [count, T + 1];
        `cursor` is that of the first."""
        T = self.seq_len
        is_main = None
        counts = [count, 0]
        if self.pure:
            is_main, _ = self._split(first_window, count)
            counts = [int(is_main.sum()), count - int(is_main.sum())]
        out = torch.empty(count, T + 1, dtype=torch.int32, device=self.device)
        ends: list[Tensor | None] = [None, None]
        for stream, n in enumerate(counts):
            if n:
                tokens, ends[stream] = self._read(
                    cursor[2 * stream], cursor[2 * stream + 1], n * T + 1, stream
                )
                cut = tokens[: n * T + 1].unfold(0, T + 1, T)
                if is_main is None:
                    out[:] = cut
                else:
                    out[is_main if stream == 0 else ~is_main] = cut
        self.kept = list(cursor), first_window, ends
        return out

    def cursor_at(self, window: int) -> list[int]:
        """The cursor in front of a window of those read last, or right behind them."""
        assert self.kept is not None, "no windows have been read"
        cursor, first_window, ends = self.kept
        n = window - first_window
        counts = [n, 0]
        if self.pure:
            is_main, _ = self._split(first_window, n)
            counts = [int(is_main.sum()), n - int(is_main.sum())]
        out = list(cursor)
        for stream, k in enumerate(counts):
            if k:
                out[2 * stream : 2 * stream + 2] = self._position(
                    cursor[2 * stream], cursor[2 * stream + 1], ends[stream], k * self.seq_len
                )
        return out

    def exposures(self, cursor: list[int]) -> dict[str, float]:
        """How often a measured person was rendered up to a cursor: fewest, mean, most (a started
        rendering counts as most)."""
        rendering, started = cursor[0], int(cursor[1] > 0)
        if self.parts[1] and not self.pure:
            main, other = self.parts
            block, place = divmod(rendering, main + other)
            is_main, _ = self._split(block * (main + other), place + started)
            rendering = block * main + int(is_main[:place].sum())
            started = int(is_main[place:].sum())
        return {
            "min": rendering // self.count,
            "mean": rendering / self.count,
            "max": -(-(rendering + started) // self.count),
        }
