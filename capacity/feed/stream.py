"""Biographies of one run as an endless stream of tokens, cut into windows; the order of people,
mixtures, exposures.

The stream of a member is a function of its seed: rendering 0, 1, 2, ... each an EOS and a
biography. Two halves of the people take turns, each in a new order every time, so between two
renderings of one person lie at least half of all people. Windows of T + 1 tokens overlap by one, so
that every token of the stream is predicted once, from at most T tokens before it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import hashing, lexicons
from capacity.data.biographies import Worlds
from capacity.data.resolve_people import MixedResolved
from capacity.data.world import over
from capacity.feed.families import Families
from capacity.feed.tiers import TieredPeople, Turns, by_tier
from capacity.settings.data import BiosData, MixedData, worded_data

MARGIN = 1.05  # renderings drawn at once, over what the mean length asks for


@dataclass(frozen=True)
class Population:
    """People [first, first + count) who take turns."""

    first: int
    count: int
    key: int | Tensor  # of one run, or of the run of each rendering, int64 [R]

    def turn(self, rendering_R: Tensor) -> tuple[Tensor, Tensor]:
        """Person and exposure (0, 1, ...) of each rendering of this population's stream."""
        exposure, place = rendering_R // self.count, rendering_R % self.count
        half = self.count // 2
        person = torch.empty_like(place)
        for part, begin, size in ((0, 0, half), (1, half, self.count - half)):
            here = (place >= begin) & (place < begin + size)
            if size and bool(here.any()):
                key = self.key if isinstance(self.key, int) else self.key[here]
                base = hashing.words(key, exposure[here], part)
                person[here] = begin + hashing.permute(base, place[here] - begin, size)
        return person + self.first, exposure


def gap(count: int) -> int:
    """Renderings between two of one person, at least."""
    return count - (count + 1) // 2


def _behind(first_MS: Tensor, more_MS: Tensor) -> Tensor:
    return torch.cat([first_MS, more_MS], 1) if first_MS.shape[1] else more_MS


def _taken(member_R: Tensor | None, which: Tensor) -> Tensor | None:
    return None if member_R is None else member_R[which]


@dataclass(frozen=True)
class Windows:
    """Windows that were read at once, of M members, and what finds places in them again."""

    tokens: Tensor  # int32 [M, count, T + 1]
    first: int  # number of the first
    cursors: list[list[int]]  # of each member, in front of the first
    ends: list[Tensor | None]  # by stream, where its renderings end, int64 [M, R]
    is_main: Tensor | None  # bool [M, count], where windows are of one stream or the other


class Streams:
    """The windows of runs that differ in nothing but their seeds, rendered together.

    A cursor is four numbers: next rendering and tokens of it already taken, for each of two streams
    (the second only where other people have windows of their own). What a member reads is the same
    with any others beside it.
    """

    def __init__(self, configs: list[Config], device: torch.device) -> None:
        config = configs[0]
        data = worded_data(config.data)
        self.data, self.device, self.seq_len, self.count = data, device, data.seq_len, config.items
        self.families: Families | None = None
        if isinstance(data, MixedData):
            resolved = MixedResolved(data)
            self.count = resolved.split(config.items)[0]
            if data.has_rows:
                self.families = Families(resolved.families(config.items), device)
        seeds = [c.seed for c in configs]
        self.worlds = Worlds(data, lexicons.of(data), self.count, seeds, device)
        self.members = len(seeds)
        self.parts = (1, 0)
        self.pure = False
        self.keys: dict[str, list[int]] = {
            name: [hashing.key(seed, name) for seed in seeds]
            for name in ("turns", "other turns", "mixture", "tiers")
        }
        halved = isinstance(data, BiosData) and data.halved  # by tiers (`data.halves`)
        self.turns = None if config.tiers is None else Turns(config.tiers, device, halved)
        if isinstance(data, BiosData) and data.other_parts:
            self.parts = data.main_parts, data.other_parts
            self.pure = data.windows == "pure"
        self.mean = lexicons.of(data).mean_tokens(data) + 1
        if self.families is not None:
            self.mean = config.resolved.tokens_of(config.items)

    def alone(self, m: int) -> Streams:
        """The streams of one member, which shares tables and pieces with the others."""
        one = copy.copy(self)
        one.worlds, one.members = self.worlds.alone(m), 1
        one.keys = {name: [keys[m]] for name, keys in self.keys.items()}
        return one

    def _key(self, name: str, member_R: Tensor | None) -> int | Tensor:
        """The key of one run, or of each of `member_R`."""
        if member_R is None:
            return self.keys[name][0]
        return torch.tensor(self.keys[name], device=self.device)[member_R]

    def _numbers(self, first: Sequence[int], count: int) -> Tensor:
        """int64 [M, count]: `count` numbers from each member's first on."""
        begin_M1 = torch.tensor(first, device=self.device)[:, None]
        return begin_M1 + torch.arange(count, device=self.device)

    def split(self, first: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
        """Whether each of `count` renderings (or windows) from each member's first on belongs to
        the main stream, and its number within its own stream, [M, count]: exact parts of every
        block of main_parts + other_parts, in an order of the block's own."""
        main, other = self.parts
        size = main + other
        blocks = max(-(-(f % size + count) // size) for f in first)
        block_MB1 = self._numbers([f // size for f in first], blocks)[:, :, None]
        place = torch.arange(size, device=self.device).expand(len(first), blocks, size)
        everybody = None if self.members == 1 else torch.arange(self.members, device=self.device)
        words = hashing.words(over(self._key("mixture", everybody), 2), block_MB1)
        is_main = hashing.permute(words, place, size) < main
        rank = torch.where(
            is_main,
            block_MB1 * main + is_main.cumsum(2) - 1,
            block_MB1 * other + (~is_main).cumsum(2) - 1,
        )
        here = self._numbers([f % size for f in first], count)
        return is_main.flatten(1).gather(1, here), rank.flatten(1).gather(1, here)

    def _shown(self, rendering_R: Tensor, member_R: Tensor | None, other: bool) -> Tensor:
        """Pieces [R, slots] of renderings of one of the two streams; member_R: of which members,
        None where there is one."""
        key = self._key("other turns" if other else "turns", member_R)
        if self.families is not None:
            return self.families.shown(self.worlds.of(member_R), key, rendering_R)
        people: Population | TieredPeople
        if other:
            assert isinstance(self.data, BiosData)
            people = Population(self.count, self.data.other_people, key)
        elif self.turns is None:
            people = Population(0, self.count, key)
        else:
            people = TieredPeople(self.turns, key, self._key("tiers", member_R))
        return self.worlds.of(member_R).render(*people.turn(rendering_R), other=other)

    def render(self, first: Sequence[int], count: int, stream: int) -> Tensor:
        """Pieces [M, count, slots] of the renderings of a stream from each member's first on."""
        member_R = None
        if self.members > 1:
            everybody = torch.arange(self.members, device=self.device)
            member_R = everybody.repeat_interleave(count, output_size=self.members * count)
        if self.parts[1] and not self.pure:
            is_main, rank = (t.flatten() for t in self.split(first, count))
            groups = [
                (which, self._shown(rank[which], _taken(member_R, which), other))
                for which, other in ((is_main, False), (~is_main, True))
                if bool(which.any())
            ]
            slots = groups[0][1].shape[1]
            pieces = torch.zeros(len(rank), slots, dtype=torch.int64, device=self.device)
            for which, some in groups:
                pieces[which] = some
        else:
            rendering_R = self._numbers(first, count).flatten()
            pieces = self._shown(rendering_R, member_R, stream == 1)
        return pieces.view(self.members, count, -1)

    def _read(self, places: list[list[int]], n_tokens: int, stream: int) -> tuple[Tensor, Tensor]:
        """n_tokens of a stream from each member's place in it (rendering, offset), int32 [M,
        n_tokens], and where each of the renderings ends, counted from there, int64 [M, R]."""
        at, have = [p[0] for p in places], [-p[1] for p in places]
        pieces_MS = length_MS = torch.empty(self.members, 0, dtype=torch.int64, device=self.device)
        slots = 0
        while min(have) < n_tokens:
            count = int((n_tokens - min(have)) / self.mean * MARGIN) + 4
            pieces_MRS = self.render(at, count, stream)
            more_MS, slots = pieces_MRS.flatten(1), pieces_MRS.shape[2]
            length = self.worlds.pieces.length[more_MS]
            pieces_MS, length_MS = _behind(pieces_MS, more_MS), _behind(length_MS, length)
            have = [a + b for a, b in zip(have, length.sum(1).tolist(), strict=True)]
            at = [a + count for a in at]
        offset_M1 = torch.tensor([[p[1]] for p in places], device=self.device)
        ends_MS = length_MS.cumsum(1) - offset_M1
        tokens = self.worlds.pieces.cut(pieces_MS, ends_MS - length_MS, ends_MS, n_tokens)
        return tokens, ends_MS[:, slots - 1 :: slots].contiguous()

    def windows(self, cursors: list[list[int]], first: int, count: int) -> Windows:
        """Windows first .. first + count - 1 of each member; `cursors`: of the first."""
        T, is_main, counts = self.seq_len, None, [[count] * self.members, [0] * self.members]
        if self.pure:
            is_main, _ = self.split([first] * self.members, count)
            mains = is_main.sum(1).tolist()
            counts = [mains, [count - n for n in mains]]
        cut, ends = [], []
        for stream, n_M in enumerate(counts):
            ends.append(None)
            if n := max(n_M):
                places = [c[2 * stream : 2 * stream + 2] for c in cursors]
                tokens, ends[-1] = self._read(places, n * T + 1, stream)
                cut.append(tokens.unfold(1, T + 1, T))
        tokens = cut[0].contiguous()
        if is_main is not None and len(cut) == 2:
            behind = max(counts[0])
            place = torch.where(is_main, is_main.cumsum(1), (~is_main).cumsum(1) + behind) - 1
            member_M1 = torch.arange(self.members, device=self.device)[:, None]
            tokens = torch.cat(cut, 1)[member_M1, place]
        return Windows(tokens, first, [list(c) for c in cursors], ends, is_main)

    def cursors_at(self, read: Windows, window: int) -> list[list[int]]:
        """Of each member, the cursor in front of a window of those read, or right behind them."""
        n = window - read.first
        counts = [[n] * self.members, [0] * self.members]
        if read.is_main is not None:
            mains = read.is_main[:, :n].sum(1).tolist()
            counts = [mains, [n - k for k in mains]]
        out = [list(cursor) for cursor in read.cursors]
        for stream, (k_M, ends_MR) in enumerate(zip(counts, read.ends, strict=True)):
            if ends_MR is None:
                continue
            tokens = [k * self.seq_len for k in k_M]
            wanted_M1 = torch.tensor(tokens, device=self.device)[:, None]
            done_M1 = torch.searchsorted(ends_MR, wanted_M1, right=True)
            last_M1 = ends_MR.gather(1, (done_M1 - 1).clamp(min=0))
            found = torch.cat([done_M1, last_M1], 1).tolist()
            for cursor, taken, (done, last) in zip(out, tokens, found, strict=True):
                cursor[2 * stream] += done
                if done:
                    cursor[2 * stream + 1] = taken - last
                else:
                    cursor[2 * stream + 1] += taken
        return out


class MemberStream:
    """The windows of one run; see `Streams`."""

    def __init__(
        self, config: Config, device: torch.device, streams: Streams | None = None
    ) -> None:
        """streams: those of this run alone, where there are some."""
        self.streams = streams or Streams([config], device)
        self.world = self.streams.worlds.each[0]
        self.seq_len, self.pure = self.streams.seq_len, self.streams.pure
        self.kept: Windows | None = None  # what was read last

    def windows(self, cursor: list[int], first_window: int, count: int) -> Tensor:
        """Windows first_window .. first_window + count - 1 of this run, int32 [count, T + 1];
        `cursor` is that of the first."""
        self.kept = self.streams.windows([cursor], first_window, count)
        return self.kept.tokens[0]

    def cursor_at(self, window: int) -> list[int]:
        """The cursor in front of a window of those read last, or right behind them."""
        assert self.kept is not None, "no windows have been read"
        return self.streams.cursors_at(self.kept, window)[0]

    def _split(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        is_main, rank = self.streams.split([first], count)
        return is_main[0], rank[0]

    def _render(self, first: int, count: int, stream: int) -> Tensor:
        return self.streams.render([first], count, stream)[0]

    def _rendered(self, cursor: list[int]) -> tuple[int, int]:
        """Whole renderings of measured people up to a cursor, and 1 where another one has begun."""
        rendering, started = cursor[0], int(cursor[1] > 0)
        if self.streams.parts[1] and not self.pure:
            main, other = self.streams.parts
            block, place = divmod(rendering, main + other)
            is_main = self._split(block * (main + other), place + started)[0]
            rendering = block * main + int(is_main[:place].sum())
            started = int(is_main[place:].sum())
        return rendering, started

    def exposures(self, cursor: list[int]) -> dict[str, float]:
        """How often a measured person was rendered up to a cursor: fewest, mean, most (a started
        rendering counts as most)."""
        rendering, started = self._rendered(cursor)
        if (families := self.streams.families) is not None:
            return families.exposures(self.streams.keys["turns"][0], rendering, bool(started))
        if (counted := self.tiers(cursor)) is not None:
            return {
                "min": min(tier["exposures_min"] for tier in counted),
                "mean": rendering / self.streams.count,
                "max": max(tier["exposures_max"] for tier in counted),
            }
        return {
            "min": rendering // self.streams.count,
            "mean": rendering / self.streams.count,
            "max": -(-(rendering + started) // self.streams.count),
        }

    def tiers(self, cursor: list[int]) -> list[dict] | None:
        """The same of each tier, ready for a record; None where all are seen equally often."""
        turns = self.streams.turns
        if turns is None:
            return None
        rendering, started = self._rendered(cursor)
        people, begun = self._tiered(turns), None
        if started:
            begun = people.turn(torch.tensor([rendering], device=turns.device))[0]
        return by_tier(turns.tiers, self.tier_N(), self.counts(cursor), begun)

    def _tiered(self, turns: Turns) -> TieredPeople:
        keys = self.streams.keys
        return TieredPeople(turns, keys["turns"][0], keys["tiers"][0])

    def tier_N(self) -> Tensor:
        """The number of each measured person's tier, int64 [N]; 1 where there are none."""
        turns = self.streams.turns
        if turns is None:
            return torch.ones(self.streams.count, dtype=torch.int64, device=self.streams.device)
        return turns.tier_N(self.streams.keys["tiers"][0])

    def counts(self, cursor: list[int]) -> Tensor:
        """Whole renderings of each measured person up to a cursor, int64 [N]."""
        return self.counts_of(self._rendered(cursor)[0])

    def family_counts(self, rendering: int) -> dict[str, Tensor]:
        """How often each person and each random row is among so many first renderings, int64 [N]
        each."""
        families, none = self.streams.families, torch.empty(0, dtype=torch.int64)
        if families is None:
            return {"people": self.counts_of(rendering), "rows": none}
        key = self.streams.keys["turns"][0]
        return {name: families.counts(name, key, rendering) for name in ("people", "rows")}

    def counts_of(self, rendering: int) -> Tensor:
        """The same of so many first renderings of measured people (with random rows among
        them)."""
        streams = self.streams
        if streams.families is not None:
            return streams.families.counts("people", streams.keys["turns"][0], rendering)
        if streams.turns is not None:
            return streams.turns.counts(
                streams.keys["turns"][0], streams.keys["tiers"][0], rendering
            )
        turn, last = divmod(rendering, streams.count)
        count_N = torch.full((streams.count,), turn, device=streams.device)
        people = Population(0, streams.count, streams.keys["turns"][0])
        begin = turn * streams.count
        if last:
            seen = torch.arange(begin, begin + last, device=streams.device)
            count_N[people.turn(seen)[0]] += 1
        return count_N
