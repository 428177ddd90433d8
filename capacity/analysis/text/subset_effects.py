"""What single sequences are worth to models that were trained on random halves of one pool: bits
that are memorized of each, whether surprising ones are memorized more, and which sequences lower
the loss of another one (`fitting.subsets`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from capacity.analysis.text import attacks
from capacity.analysis.text.attacks import Scores
from capacity.analysis.text.schema import Frame, Influence, SubsetEffects
from capacity.fitting import subsets
from capacity.fitting.shadows import FEWEST_SEQUENCES

FEWEST = 16  # models; fewer leave no two halves with both sides of a sequence
MOST = 4_000  # sequences, of which all pairs are looked at
STRONGEST = 5


@dataclass(frozen=True)
class _Family:
    """Losses in bits and who was seen, [models, sequences], and the rows of the pool."""

    loss: np.ndarray
    seen: np.ndarray
    rows: np.ndarray


def of(done: Frame, scores: Mapping[str, Scores]) -> tuple[list[SubsetEffects], Frame]:
    """Of every family of shadow models with FEWEST members and more, small models first; and a row
    per family and sequence: row of the pool, bits memorized with standard error, and bits of code
    under models that have not seen it."""
    found: list[SubsetEffects] = []
    tables = []
    halves = done[done.trained_on == "half"]
    for _, group in halves.groupby(attacks.SAME_POOL, dropna=False):
        for _, family in group.sort_values("seed").groupby(attacks.FAMILY):
            if len(family) < FEWEST:
                continue
            joined = _joined(family, scores)
            if joined.loss.shape[1] < FEWEST_SEQUENCES:
                continue
            effects, table = _of_family(family, joined)
            found.append(effects)
            tables.append(table)
    found.sort(key=lambda one: (one["parameters"], one["model"], one["tokens_per_parameter"]))
    return found, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _joined(family: Frame, scores: Mapping[str, Scores]) -> _Family:
    first = scores[family.run_id.iloc[0]]
    rows = np.sort(first["row"])
    places = {r: attacks.rows_of(scores[r], rows, r) for r in family.run_id}
    loss = np.stack([scores[r]["loss"][places[r]] for r in family.run_id]).astype(float)
    seen = np.stack([scores[r]["seen"][places[r]] for r in family.run_id]).astype(bool)
    kept = subsets.enough(seen)
    return _Family(loss[:, kept] / math.log(2), seen[:, kept], rows[kept])


def _of_family(family: Frame, joined: _Family) -> tuple[SubsetEffects, Frame]:
    memorized = subsets.memorized(joined.loss, joined.seen)
    rarity = subsets.rarity(joined.loss, joined.seen)
    one = family.iloc[0]
    used = one.get("parameters_used")
    parameters = float(one.parameters_total if used is None or pd.isna(used) else used)
    effects: SubsetEffects = {
        "model": str(one.model),
        "tokens_per_parameter": float(one.tokens_per_parameter),
        "parameters": parameters,
        "models": len(family),
        "sequences": len(joined.rows),
        "members": memorized.members,
        "bits": memorized.total,
        "interval": list(memorized.interval),
        "above": memorized.above,
        "surely": memorized.surely,
        "rho": rarity and rarity.rho,
        "rho_interval": rarity and list(rarity.interval),
        "rho_p": rarity and rarity.p,
        "tenths": rarity.tenths.tolist() if rarity else [],
        "influence": _influence(joined),
    }
    without = np.where(joined.seen, 0, joined.loss).sum(0) / (~joined.seen).sum(0)
    table = pd.DataFrame(
        {
            "model": one.model,
            "tokens_per_parameter": one.tokens_per_parameter,
            "row": joined.rows,
            "memorized_bits": memorized.bits.round(4),
            "se": memorized.se.round(4),
            "code_bits_without": without.round(3),
        }
    )
    return effects, table


def _influence(joined: _Family) -> Influence | None:
    """None where there are more pairs than are looked at."""
    if len(joined.rows) > MOST:
        return None
    found = subsets.influences(joined.loss, joined.seen, STRONGEST)
    return {
        "pairs": found.pairs,
        "surely": found.surely,
        "tail": found.tail,
        "chance": found.chance,
        "strongest": [
            {
                "seen": int(joined.rows[i]),
                "on": int(joined.rows[j]),
                "bits": float(bits),
                "se": float(se),
                "surely": bool(bits / se > found.threshold),
            }
            for i, j, bits, se in zip(found.first, found.second, found.bits, found.se, strict=True)
        ],
    }
