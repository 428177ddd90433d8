"""Whose turn it is where items are seen at different rates: item and exposure of each rendering, as
a pure function of keys, and exact counts of exposures.

See `data/tiers.py` for rounds, periods and cycles. A round has two parts, one for each half of
every tier, so that between two renderings of one item lies at least a part of the other half. Which
items of a tier are due in a round of its block, and the order of all that are due in a part, are
keyed permutations drawn anew for each, so nothing is stored and any rendering can be asked for.
Letters: R renderings, Q parts of a cycle, T tiers, N items.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.data import hashing
from capacity.data.tiers import Tiers
from capacity.feed import batches

AT_ONCE = 2**18  # places of a partial part whose items are looked up together


class Turns:
    """The order of items of some tiers; keys are given with each question, one of a run or one of
    each rendering, int64 [R]."""

    def __init__(self, tiers: Tiers, device: torch.device, in_order: bool = False) -> None:
        """in_order: items are numbered by tiers, the first tier's first, and no key shuffles who is
        in which."""
        self.tiers, self.device, self.n, self.in_order = tiers, device, tiers.items, in_order
        rounds, n_T = tiers.rounds, [tier.items for tier in tiers.tiers]
        self.period_T = self._table([tiers.period(tier) for tier in tiers.tiers])
        half_T2 = self._table([tier.halves for tier in tiers.tiers])
        self.size_2T = half_T2.T.contiguous()
        first_T = self._table(n_T).cumsum(0) - self._table(n_T)
        self.first_2T = torch.stack([first_T, first_T + half_T2[:, 0]])
        round_Q = torch.arange(2 * rounds, device=device) // 2
        half_Q = torch.arange(2 * rounds, device=device) % 2
        self.dealt_QT = self._dealt(round_Q[:, None], half_Q)
        count_QT = self._dealt(round_Q[:, None], half_Q, 1) - self.dealt_QT
        self.count_Q = count_QT.sum(1)
        self.end_Q, self.end_QT = self.count_Q.cumsum(0), count_QT.cumsum(1)
        self.begin_QT = self.end_QT - count_QT

    def _table(self, rows: list) -> Tensor:
        return torch.tensor(rows, dtype=torch.int64, device=self.device)

    def _dealt(self, round_Q1: Tensor, half_Q: Tensor, more: int = 0) -> Tensor:
        """Items of each tier's half that earlier rounds of its block have shown, [Q, T]; more: with
        those of so many further rounds."""
        size_QT = self.size_2T[half_Q]
        return size_QT * (round_Q1 % self.period_T + more) // self.period_T

    def person(self, key: int | Tensor, place: Tensor) -> Tensor:
        """The item at each place of the list of tiers, which a key shuffles."""
        if self.in_order:
            return place
        return hashing.permute(key, place, self.n)

    def turn(
        self, key: int | Tensor, tier_key: int | Tensor, rendering_R: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Item and exposure (0, 1, ...) of each rendering; key: of the order, tier_key: of who is
        in which tier."""
        place_R, exposure_R = self.places(key, rendering_R)
        return self.person(tier_key, place_R), exposure_R

    def places(self, key: int | Tensor, rendering_R: Tensor) -> tuple[Tensor, Tensor]:
        """Place in the list of tiers, the first tier's items first, and exposure of each
        rendering."""
        cycle_R, at_R = rendering_R // self.tiers.cycle, rendering_R % self.tiers.cycle
        part_R = torch.searchsorted(self.end_Q, at_R, right=True)
        size_R = self.count_Q[part_R]
        within_R = at_R - self.end_Q[part_R] + size_R
        round_R, half_R = cycle_R * self.tiers.rounds + part_R // 2, part_R % 2
        order = hashing.words(key, round_R, half_R)
        slot_R = hashing.permute_by(order, within_R, size_R)
        tier_R = (slot_R[:, None] >= self.end_QT[part_R]).sum(1)
        index_R = self.dealt_QT[part_R, tier_R] + slot_R - self.begin_QT[part_R, tier_R]
        block_R = round_R // self.period_T[tier_R]
        return self._of_block(key, block_R, tier_R, half_R, index_R), block_R

    def _of_block(
        self, key: int | Tensor, block: Tensor, tier: Tensor, half: Tensor, index: Tensor
    ) -> Tensor:
        """The place of the index-th item that a tier's half shows in a block."""
        dealing = hashing.words(key, block, tier, half)
        return self.first_2T[half, tier] + hashing.permute_by(
            dealing, index, self.size_2T[half, tier]
        )

    def tier_N(self, tier_key: int) -> Tensor:
        """The number of each item's tier, from 1 on, int64 [N]."""
        place_N = torch.arange(self.n, device=self.device)
        number_N = torch.searchsorted(self.first_2T[0], place_N, right=True)
        out_N = torch.empty_like(number_N)
        out_N[self.person(tier_key, place_N)] = number_N
        return out_N

    def counts(self, key: int, tier_key: int, renderings: int) -> Tensor:
        """How often each item is among so many first renderings, int64 [N]."""
        count_N = self.counts_by_place(key, renderings)
        out_N = torch.empty_like(count_N)
        out_N[self.person(tier_key, torch.arange(self.n, device=self.device))] = count_N
        return out_N

    def counts_by_place(self, key: int, renderings: int) -> Tensor:
        """The same by place in the list of tiers, int64 [N]."""
        cycle, at = divmod(renderings, self.tiers.cycle)
        part = int(torch.searchsorted(self.end_Q, at, right=True))
        done = at - int(self.end_Q[part] - self.count_Q[part])  # of a part that is not over
        count_N = torch.zeros(self.n, dtype=torch.int64, device=self.device)
        for half in (0, 1):
            over_ = cycle * self.tiers.rounds + part // 2 + (half < part % 2)  # rounds of this half
            for t in range(len(self.tiers.tiers)):
                size, first = int(self.size_2T[half, t]), int(self.first_2T[half, t])
                block, rest = divmod(over_, int(self.period_T[t]))
                count_N[first : first + size] += block
                shown = torch.arange(size * rest // int(self.period_T[t]), device=self.device)
                if len(shown):
                    at_block, tier, of_half = (torch.full_like(shown, i) for i in (block, t, half))
                    count_N[self._of_block(key, at_block, tier, of_half, shown)] += 1
        for begin in range(renderings - done, renderings, AT_ONCE):
            last = torch.arange(begin, min(begin + AT_ONCE, renderings), device=self.device)
            count_N[self.places(key, last)[0]] += 1  # each item is in a part once
        return count_N


class TieredPeople:
    """People who take turns at different rates; as `stream.Population`."""

    def __init__(self, turns: Turns, key: int | Tensor, tier_key: int | Tensor) -> None:
        self.turns, self.key, self.tier_key = turns, key, tier_key

    def turn(self, rendering_R: Tensor) -> tuple[Tensor, Tensor]:
        """Person and exposure (0, 1, ...) of each rendering of this population's stream."""
        return self.turns.turn(self.key, self.tier_key, rendering_R)


class TieredOrder:
    """Batches of sequences that are seen at different rates; as `batches.Order`."""

    def __init__(self, seed: int, tier_seed: int, tiers: Tiers) -> None:
        self.turns = Turns(tiers, torch.device("cpu"))
        self.key, self.tier_key = hashing.key(seed, "turns"), hashing.key(tier_seed, "tiers")

    @property
    def tier_N(self) -> Tensor:
        """The number of each sequence's tier, int64 [N]."""
        return self.turns.tier_N(self.tier_key)

    def steps(self, batch_size: int, first_step: int, n_steps: int) -> np.ndarray:
        """Indices of the sequences of n_steps steps from first_step on, int64 [n_steps, batch]."""
        shown = torch.arange(first_step * batch_size, (first_step + n_steps) * batch_size)
        return self.turns.turn(self.key, self.tier_key, shown)[0].view(n_steps, batch_size).numpy()

    def counts(self, shown: int) -> Tensor:
        """How often each sequence is among so many first ones, int64 [N]."""
        return self.turns.counts(self.key, self.tier_key, shown)


def order_of(config: Config) -> batches.Order | TieredOrder:
    """The order of the training set of a run of sequences. Which members of text are in which tier
    follows from their split and not from the run's seed, as who is a member does."""
    if (tiers := config.tiers) is None:
        return batches.Order(config.seed, config.trained_items)
    split_seed = getattr(config.data, "split_seed", config.seed)
    return TieredOrder(config.seed, split_seed, tiers)


def by_tier(tiers: Tiers, tier_N: Tensor, count_N: Tensor, started: Tensor | None) -> list[dict]:
    """Fewest, mean and most exposures of the items of each tier, ready for a record; started: the
    item whose rendering is not over, which counts as most."""
    most_N = count_N.clone()
    if started is not None:
        most_N[started] += 1
    out = []
    for tier in tiers.tiers:
        mine = tier_N == tier.number
        out.append(
            {
                "tier": tier.number,
                "rate": tier.rate,
                "items": tier.items,
                "exposures_min": int(count_N[mine].min()),
                "exposures_mean": float(count_N[mine].double().mean()),
                "exposures_max": int(most_N[mine].max()),
            }
        )
    return out
