"""Cells of facts as records hold them (`measure/fact_cells.py`), with what is predicted from.

A predictor is floored to multiples of 0.2 and scaled to [0, 1] over all facts of a system (all its
sizes and seeds):

co-occurrence   log2 of the texts that showed the fact (of a person: all of its texts)
PMI             log2 p(s,o) / (p(s) p(o)), in bits; every text of a person tells all facts, so that
                it is -log2 p(o): how rare the value is
MI              log2 of p(s,o) PMI
SMI             (MI)^(1 + 1 / log2 P)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis.frequency.reading import EVEN
from capacity.analysis.frequency.reading import described as by_rates
from capacity.base.frames import Frame
from capacity.fitting import smi
from capacity.naming import listed

if TYPE_CHECKING:
    from capacity.config import Config

COOCCURRENCE, PMI, MI, SMI = "co-occurrence", "PMI", "MI", "SMI"
PREDICTORS = (COOCCURRENCE, PMI, MI, SMI)
OUTCOMES = {"hit": "hits", "bits": "bits", "own bits": "own_bits"}  # and the column of their sums


def described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, system (rates and what else tells runs apart), size,
    parameters (of the paper's count)."""
    out = by_rates(runs)
    several = out.rates.nunique() > 1 or (out.rates == EVEN).any()
    named = zip(out.system, out.rates, strict=True)
    out["system"] = [listed([s, r if several else ""]) for s, r in named]
    return out[["run_id", "system", "size", "parameters"]]


def cells(known: Frame, measured: Mapping[str, Mapping[str, Any]]) -> Frame:
    """A row per cell of every run of `known` (run_id, system, size, parameters, seed) that has any:
    its keys and sums, and by predictor of PREDICTORS its number in [0, 1]. ValueError for a value
    that every text shows, of which there is no information, and where all facts are alike."""
    parts = []
    for row in known.to_dict("records"):
        if (one := measured.get(row["run_id"])) is None:
            continue
        part: Frame = pd.DataFrame(one["cells"])
        texts = 2.0 ** (part.log2_texts / part.facts)  # geometric means of a cell
        values = 2.0 ** (part.log2_value_texts / part.facts)
        if (values >= one["texts"]).any():
            raise ValueError(
                f"run {row['run_id']}: a value is in all {one['texts']:,} texts; log2 I of it is "
                "not finite"
            )
        counts = texts, texts, values, one["texts"]
        part[COOCCURRENCE] = smi.floored(np.log2(texts))
        part[PMI] = smi.floored(smi.pointwise(*counts))
        part[MI] = smi.floored(np.log2(smi.contribution(*counts)))
        parts.append(part.assign(**row))
    if not parts:
        return pd.DataFrame()
    out = pd.concat(parts, ignore_index=True)
    for name in (COOCCURRENCE, PMI, MI):
        ends = out.groupby("system")[name].agg(["min", "max"])
        for system, mine in out.groupby("system"):
            low, high = ends.loc[system]
            try:
                out.loc[mine.index, name] = smi.scaled(mine[name], low, high)
            except ValueError as error:
                raise ValueError(f"{system or 'all runs'}: {name}: {error}") from None
    out[SMI] = smi.smi(out[MI], out.parameters)
    return out
