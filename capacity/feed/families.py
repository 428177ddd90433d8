"""Whose turn it is where people and random rows take turns in one stream: the order of
`feed.tiers`, in which each family is one tier. Letters: R renderings, N items of a family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from capacity.data.biographies import MixedWorld
from capacity.data.tiers import Tier, Tiers
from capacity.data.world import EMPTY, World
from capacity.feed.tiers import Turns


class Families:
    """The turns of some families, each with its tier, the most seen first (of
    `MixedResolved.families`)."""

    def __init__(self, families: Sequence[tuple[str, Tier]], device: torch.device) -> None:
        self.turns = Turns(Tiers(tuple(tier for _, tier in families)), device)
        self.first: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        for name, tier in families:
            self.first[name] = sum(self.sizes.values())
            self.sizes[name] = tier.items

    def shown(self, world: World, key: int | Tensor, rendering_R: Tensor) -> Tensor:
        """Pieces [R, slots] of renderings; world and key: of one run, or of that of each
        rendering."""
        place_R, exposure_R = self.turns.places(key, rendering_R)
        groups = []
        for name, size in self.sizes.items():
            index_R = place_R - self.first[name]
            here = ((index_R >= 0) & (index_R < size)).nonzero()[:, 0]
            if not len(here):
                continue
            mine = _of(world, here)
            assert isinstance(mine, MixedWorld)
            if name == "rows":
                groups.append((here, mine.render_rows(index_R[here])))
            else:
                groups.append((here, mine.render(index_R[here], exposure_R[here])))
        return padded(groups, len(rendering_R))

    def counts(self, name: str, key: int, renderings: int) -> Tensor:
        """How often each item of a family is among so many first renderings, int64 [N]."""
        first = self.first.get(name, 0)
        counted = self.turns.counts_by_place(key, renderings)
        return counted[first : first + self.sizes.get(name, 0)]

    def exposures(self, key: int, rendering: int, started: bool) -> dict[str, float]:
        """Fewest, mean and most renderings of an item of any family (a started one counts as
        most)."""
        count_N = self.turns.counts_by_place(key, rendering)
        most_N = count_N.clone()
        if started:
            at = torch.tensor([rendering], device=self.turns.device)
            most_N[self.turns.places(key, at)[0]] += 1
        return {
            "min": int(count_N.min()),
            "mean": float(count_N.double().mean()),
            "max": int(most_N.max()),
        }


def _of(world: World, which_R: Tensor) -> World:
    """The world of some renderings of one whose numbers may be one of each rendering."""
    if all(isinstance(number, int) for number in world.seeded.values()):
        return world
    picked = {
        name: number[which_R] if isinstance(number, Tensor) else number
        for name, number in world.seeded.items()
    }
    return world.with_seeded(picked)


def padded(groups: list[tuple[Tensor, Tensor]], count: int) -> Tensor:
    """Pieces [count, slots] of renderings from (places [R], pieces [R, slots of a group])."""
    slots = max(pieces.shape[1] for _, pieces in groups)
    device = groups[0][1].device
    out = torch.full((count, slots), EMPTY, dtype=torch.int64, device=device)
    for which, pieces in groups:
        out[which, : pieces.shape[1]] = pieces
    return out
