"""Runs that see random halves of one set of people: who of the set a run's people are.

A run counts its people from 0 to N - 1 by tiers, the most seen first, and behind them, from N to
2 N - 1, those who are left out, in the same order of tiers. The set has 2 n people for a tier of n,
first those of tier 1: the set says who is in which tier, and the run who of a tier is shown. That
is a keyed permutation of each tier of the set, so that nothing is stored and every run shows
exactly n of 2 n.
"""

from __future__ import annotations

import torch
from torch import Tensor

from capacity.data import hashing, tiers
from capacity.settings.data import BiosData


class Halves:
    """sizes: people of each tier that a run is trained on, one number without tiers."""

    def __init__(self, sizes: list[int], device: torch.device) -> None:
        self.n = sum(sizes)
        self.size_T = torch.tensor(sizes, dtype=torch.int64, device=device)
        self.first_T = self.size_T.cumsum(0) - self.size_T

    def row(self, key: int | Tensor, person_R: Tensor) -> Tensor:
        """Number in the set, int64 [R] in [0, 2 N), of a run's people; key: of the run, or of that
        of each, int64 [R]."""
        side_R = torch.div(person_R, self.n, rounding_mode="floor")
        place_R = person_R - side_R * self.n
        tier_R = torch.searchsorted(self.first_T, place_R, right=True) - 1
        size_R, first_R = self.size_T[tier_R], self.first_T[tier_R]
        within_R = place_R - first_R + side_R * size_R
        return 2 * first_R + hashing.permute_by(hashing.words(key, tier_R), within_R, 2 * size_R)


def of(data: BiosData, n_people: int, device: torch.device) -> Halves | None:
    """Who is shown of people that are halved; None where everybody is."""
    if not data.halved:
        return None
    classes = tiers.of(data, n_people)
    return Halves([n_people] if classes is None else [t.items for t in classes.tiers], device)


def keys(data: BiosData, seed: int, names: tuple[str, ...]) -> dict[str, int | Tensor]:
    """Keys of what is drawn of people, by purpose: of a run's seed, or of that of the set, and
    "half" of the run's."""
    people_seed = data.split_seed if data.halved else seed
    out: dict[str, int | Tensor] = {name: hashing.key(people_seed, name) for name in names}
    return out | {"half": hashing.key(seed, "half")} if data.halved else out
