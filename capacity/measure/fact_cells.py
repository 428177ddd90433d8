"""Facts by how often they and their values were shown (SMI, arXiv 2502.04066): what frequency,
co-occurrence and mutual information predict from.

A fact is a person and the value of one attribute that has a list or is a date. Every text of a
person tells all of their facts, so that the texts that showed a fact are those of its person,
counted; those that showed a value are those of all people who have it. A cell holds the facts of
one attribute, tier of exposures and class of the value's rank, and of what is known of them counts
and sums: with their squares, which the explained part of the variance of single facts needs.

Two bits of a fact: `bits` against the entropy of a value of its list, -sum p log2 p as it is
drawn, and `own_bits` against -log2 p of this value; one number where all are drawn alike.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.base.scores import HIT, NATS
from capacity.data.biographies import BiosWorld
from capacity.declare.fact_cells import KEYS, MEASURE, SUMS

SKIPPED = "gender"  # no list, and not in the mean accuracy
DIGITS = 6  # significant ones of sums: records stay small


def rank_class(rank: np.ndarray) -> np.ndarray:
    """floor(2 log2 rank) of ranks from 1 on, int64: half octaves, in which
    ranks 1 to 3 stand alone."""
    return (np.frexp(rank.astype(np.float64) ** 2 * 0.5)[1]).astype(np.int64)


def measure(world: BiosWorld, scores: dict[str, np.ndarray], count_N: Tensor) -> dict[str, Any]:
    """All numbers of this measure for one member, ready for its record.

    scores: columns of `people.scores`; count_N: texts of each trained person that were shown."""
    trained = scores["trained"] > 0
    person_R, seen_R = scores["person"][trained], scores["exposures"][trained].astype(np.int64)
    tier_R = np.maximum(scores["tier"][trained].astype(np.int64), 1)
    known = seen_R > 0
    everybody = torch.arange(world.n_people, device=world.device)
    names = [name for name in world.data.attribute_sizes if name != SKIPPED]
    parts: list[np.ndarray] = []
    for a, name in enumerate(names):
        value_N = world.values(name, everybody)
        shown_V = torch.zeros(world.sizes[name], dtype=torch.int64, device=world.device)
        shown_V = shown_V.index_add_(0, value_N, count_N.to(value_N)).cpu().numpy()
        rank_V = np.empty(len(shown_V), np.int64)
        rank_V[np.argsort(-shown_V, kind="stable")] = 1 + np.arange(len(shown_V))
        value_R = value_N.cpu().numpy()[person_R][known]
        held = scores[NATS + name][trained][known].astype(float) / math.log(2)
        hit = scores[HIT + name][trained][known].astype(float)
        bits = world.data.value_bits(name) - held
        own = -np.log2(world.chances(name).cpu().numpy()[value_R]) - held
        parts.append(
            np.stack(
                [
                    np.full(len(value_R), a),
                    tier_R[known],
                    rank_class(rank_V[value_R]),
                    np.ones(len(value_R)),
                    np.log2(seen_R[known]),
                    np.log2(shown_V[value_R]),
                    *(x for one in (hit, bits, own) for x in (one, one**2)),
                ],
                1,
            )
        )
    facts = np.concatenate(parts)
    keys = len(KEYS)
    key_CK, cell_F = np.unique(facts[:, :keys].astype(np.int64), axis=0, return_inverse=True)
    sums = np.zeros((len(key_CK), len(SUMS)))
    np.add.at(sums, cell_F.reshape(-1), facts[:, keys:])
    cells: dict[str, list] = {name: key_CK[:, k].tolist() for k, name in enumerate(KEYS)}
    cells |= {name: [_short(x) for x in sums[:, k]] for k, name in enumerate(SUMS)}
    cells["facts"] = [int(n) for n in cells["facts"]]
    of = {name: keys + k for k, name in enumerate(SUMS)}
    return MEASURE.returns(
        {
            "version": MEASURE.version,
            "texts": int(count_N.sum()),
            "facts": len(facts),
            "people_unseen": int((~known).sum()),
            "accuracy": float(facts[:, of["hits"]].mean()) if len(facts) else 0.0,
            "bits_per_fact": float(facts[:, of["bits"]].mean()) if len(facts) else 0.0,
            "own_bits_per_fact": float(facts[:, of["own_bits"]].mean()) if len(facts) else 0.0,
            "attributes": names,
            "cells": cells,
        }
    )


def _short(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
