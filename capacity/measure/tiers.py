"""Numbers of people and sequences by tier: averages over those of each, with standard errors, and
of people what a model gets that knows how often values were shown and nobody in particular.

Letters: N people, R of them who were asked, A attributes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.data import lexicons
from capacity.data.biographies import BiodWorld, BiosWorld, CorpusWorld
from capacity.data.tiers import Tiers
from capacity.fitting import separation
from capacity.fitting.statistics import proportion

World = BiosWorld | BiodWorld | CorpusWorld


@dataclass(frozen=True)
class Classes:
    """The tiers of a run and the number of each person's tier, int64 [N]."""

    tiers: Tiers
    tier_N: Tensor

    @property
    def rate_N(self) -> Tensor:
        """How often each person is shown in a cycle, fp64 [N]."""
        rates = [0, *(tier.rate for tier in self.tiers.tiers)]
        return torch.tensor(rates, device=self.tier_N.device)[self.tier_N].double()


def measure(
    classes: Classes, world: World, person_R: Tensor, bits_R: np.ndarray, correct_R: np.ndarray
) -> list[dict[str, Any]]:
    """By tier: bits per person and accuracy with standard errors over people, and of a guesser.

    bits_R: bits of each person who was asked, their name among them; correct_R: part of their
    values that is right, NaN where none was asked for.

    The guesser knows every attribute's distribution weighted by how often it was shown, q: it has
    log2(values) (the entropy of a value where they are not alike) + log2 q(value) bits of a value,
    and answers the value with the largest q. Few people who are seen often shift q towards
    themselves, so that this is above chance in their tier without any person known.
    """
    tier_R = classes.tier_N[person_R].cpu().numpy()
    guessed_R, hit_R = _guesser(world, classes.rate_N)
    asked = person_R.cpu().numpy()
    out = []
    for tier in classes.tiers.tiers:
        mine = tier_R == tier.number
        bits, right = bits_R[mine], correct_R[mine]
        right = right[~np.isnan(right)]
        guessed, hit = guessed_R[asked][mine], hit_R[asked][mine]
        out.append(
            {
                "tier": tier.number,
                "people": tier.items,
                "people_asked": int(mine.sum()),
                "bits": _mean(bits),
                "bits_se": _se(bits),
                "accuracy": _mean(right),
                "accuracy_se": _se(right),
                "frequency_bits": _mean(guessed[~np.isnan(guessed)]),
                "accuracy_most_shown": _mean(hit[~np.isnan(hit)]),
            }
        )
    return out


def of_sequences(tiers: Tiers, tier_N: np.ndarray, bits_N: np.ndarray) -> list[dict[str, Any]]:
    """By tier: bits per sequence with their standard error over sequences."""
    return [
        {
            "tier": tier.number,
            "sequences": int((tier_N == tier.number).sum()),
            "bits": _mean(bits_N[tier_N == tier.number]),
            "bits_se": _se(bits_N[tier_N == tier.number]),
        }
        for tier in tiers.tiers
    ]


def of_text(
    tiers: Tiers, tier_N: np.ndarray, columns: dict[str, np.ndarray], log2_rows: float, S: int
) -> list[dict[str, Any]]:
    """Besides, the share whose second half greedy decoding writes, with its exact interval, and the
    attack by loss on a tier against all held-out sequences.

    tier_N: of each scored sequence, 0 of those that are held out; columns: of `sequence_scores`.
    """
    loss_N = columns["loss"].astype(np.float64)
    out = of_sequences(tiers, tier_N, S * log2_rows - loss_N / math.log(2))
    for one in out:
        mine = tier_N == one["tier"]
        written = columns["tail"][mine] >= S - S // 2
        one["extractable"] = _mean(written)
        one["extractable_interval"] = list(proportion(float(written.mean()), len(written)))
        one["membership"] = {"loss": separation.statistics(-loss_N[mine], -loss_N[tier_N == 0])}
    return out


def _mean(numbers: np.ndarray) -> float | None:
    return float(numbers.mean()) if len(numbers) else None


def _se(numbers: np.ndarray) -> float | None:
    """Standard error of the mean of these people as a sample of such people."""
    return float(numbers.std(ddof=1) / math.sqrt(len(numbers))) if len(numbers) > 1 else None


def _guesser(world: World, rate_N: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Bits of all values of each person and part of them that is right, fp64 [N] each, of the
    guesser of `measure`; NaN of people without values."""
    bits_N, hits_N, asked_N = (np.zeros(world.n_people) for _ in range(3))
    for value_N, bits, counted in _attributes(world):
        rated = torch.where(value_N >= 0, rate_N, 0.0)
        shown_V = torch.zeros(int(value_N.max()) + 1, dtype=torch.float64, device=value_N.device)
        shown_V.index_add_(0, value_N.clamp(min=0), rated)
        q_N = (shown_V / shown_V.sum())[value_N.clamp(min=0)]
        has = (value_N >= 0).cpu().numpy()
        bits_N += np.where(has, bits + q_N.log2().cpu().numpy(), 0.0)
        if counted:
            hits_N += has & (value_N == shown_V.argmax()).cpu().numpy()
            asked_N += has
    none = asked_N == 0
    share = np.where(none, math.nan, hits_N / np.maximum(asked_N, 1))
    return np.where(none, math.nan, bits_N), share


def _attributes(world: World) -> list[tuple[Tensor, np.ndarray | float, bool]]:
    """Of each attribute that counts bits: number of each person's value, int64 [N], -1 where none
    is stated; bits of a value; and whether accuracy counts it."""
    everybody = torch.arange(world.n_people, device=world.device)
    if isinstance(world, BiosWorld):
        return [
            (world.values(name, everybody), world.data.value_bits(name), name != "gender")
            for name in world.data.attribute_sizes
        ]
    if isinstance(world, BiodWorld):
        chunks, d = world.chunks(everybody), world.data
        return [
            (
                chunks[:, k].unique(dim=0, return_inverse=True)[1],
                d.chunks * math.log2(d.diversity),
                True,
            )
            for k in range(d.attributes)
        ]
    out = []
    for about in lexicons.facts(world.lexicon, world.data).attributes.values():
        stated = [
            value if texts and value is not None else -1
            for value, texts in zip(about.value_N, about.texts_N, strict=True)
        ]
        bits = [about.code_bits(i) if v >= 0 else 0.0 for i, v in enumerate(stated)]
        out.append((torch.tensor(stated, device=world.device), np.array(bits), True))
    return out
