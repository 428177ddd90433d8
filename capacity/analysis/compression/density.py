"""Density: what a form or an edit holds per parameter or per stored bit, as a ratio to a reference.

architecture   every variant of a study against its first one. ratio: of bits per parameter, over
               pairs of equal layers, width, seed and data (`analysis.comparison`: strict bits of
               random data over all parameters on plateaus, R of people). effective: parameters of
               the reference family that hold the same bits, over the variant's own: the density of
               arXiv 2412.04315, with bits in the place of benchmark scores. They are equal only
               where bits are linear in parameters
edit           bits held after a quantization per stored bit, over those of the same models rounded
               to bf16, 16 bits a weight, as they are commonly kept. Beside fp32 every ratio would
               be twice as large. Full models only
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.analysis.comparison import runs as compared_runs
from capacity.analysis.comparison import variants
from capacity.analysis.comparison.runs import Runs
from capacity.analysis.compression.formulas import effective_parameters
from capacity.analysis.random import plateaus
from capacity.analysis.thresholds import DATA_LIMITED
from capacity.base.frames import Frame
from capacity.fitting import ratios
from capacity.fitting.noise import OWN
from capacity.fitting.statistics import ALPHA, holm, sign_flips, t_interval

if TYPE_CHECKING:
    from capacity.study import Study

REFERENCE = "bf16"  # method of the reference
OUTSIDE = "holds more or less than any size of the reference"


def architectures(study: Study, table: Frame) -> tuple[list[dict[str, Any]], str]:
    """A row per variant and condition, and why there is none: empty where there are some."""
    try:
        runs = compared_runs.read(study, table)
        found = variants.differences(study, table)
    except ValueError as error:
        return [], str(error)
    if found is None:
        return [], "no variant at fixed size"
    first = [row for row in found["comparisons"] if row["effect"] is not None]
    rows = []
    for row in first:
        same = [one for one in first if one["at"] == row["at"]]
        reference = {run_id for one in same for run_id in one["run_ids"]["B"]}
        rows.append(
            {
                "study": study.name,
                "variant": row["a"],
                "reference": row["b"],
                "at": row["at"],
                "number": runs.number,
                "units": row["units"],
                "ratio": row["effect"] if row["what"] == "A / B" else None,
                "interval": row["interval"] if row["what"] == "A / B" else None,
                "p_holm": row["p_holm"],
                "differs": row["differs"],
            }
            | effective(runs, row["run_ids"]["A"], sorted(reference))
        )
    return rows, "" if rows else str(found["reason"] or "; ".join(found["not_compared"]))


def effective(runs: Runs, mine: Sequence[str], reference: Sequence[str]) -> dict[str, Any]:
    """effective: mean over (size, seed) of the parameters of the reference family that hold as many
    bits, over those of the variant (a mean of logarithms); its interval (Student's t, three units),
    units, and why there is none. The family of a seed is its own runs where they have two sizes,
    else the means over seeds."""
    table = runs.table.set_index("run_id")
    held = table.value * table.parameters
    base = table.loc[list(reference)].assign(bits=held.loc[list(reference)])
    over_seeds = _family(base)
    logs: dict[tuple[str, int], list[float]] = {}
    outside = 0
    for run_id in mine:
        row = table.loc[run_id]
        own = _family(base[base.seed == row.seed])
        family = own if len(own) > 1 else over_seeds
        same = effective_parameters(float(held[run_id]), family)
        if same is None:
            outside += 1
            continue
        key = (str(row["size"]), int(row.seed))
        logs.setdefault(key, []).append(math.log(same / float(row.parameters)))
    units = [float(np.mean(values)) for values in logs.values()]
    low, high = t_interval(units) if len(units) >= OWN else (math.nan, math.nan)
    why = None if units else ("one size of the reference" if len(over_seeds) < 2 else OUTSIDE)
    return {
        "effective": math.exp(float(np.mean(units))) if units else None,
        "effective_interval": None if math.isnan(low) else [math.exp(low), math.exp(high)],
        "effective_units": len(units),
        "outside": outside,
        "why_not_effective": why,
    }


def _family(base: Frame) -> list[tuple[float, float]]:
    """(parameters, bits) by size, means over runs."""
    means = base.groupby("size")[["parameters", "bits"]].mean()
    return [(float(p), float(bits)) for p, bits in zip(means.parameters, means.bits, strict=True)]


def edits(
    study: Study, table: Frame, quantized: Frame, without: Collection[str] = ()
) -> list[dict[str, Any]]:
    """A row per variant of the study and way to quantize. quantized: of
    `run_table.quantized_table`; without: runs that another study has told of."""
    if quantized.empty:
        return []
    counted = _full(table) - set(without)
    known = quantized[quantized.run_id.isin(counted)]
    known = known.assign(
        variant=known.run_id.map(study.variants),
        per_stored=known.held_bits.astype(float) / known.stored_bits.astype(float),
    )
    reference = known[known.method == REFERENCE].drop_duplicates("run_id").set_index("run_id")
    changed = known[~known.method.isin(["none", REFERENCE]) & known.run_id.isin(reference.index)]
    ways = [c for c in WAYS if c in known]
    rows = []
    for key, mine in changed.groupby(["variant", *ways], sort=False, dropna=False):
        before = reference.loc[mine.run_id]
        rows.append(
            {"study": study.name}
            | dict(zip(["variant", *ways], key, strict=True))
            | {"kept": float(mine.held_bits.sum() / before.held_bits.sum())}
            | _of_pairs(mine.assign(reference=before.per_stored.to_numpy(float)))
        )
    tested = holm([row["p"] for row in rows])
    return [
        row | {"p_holm": p, "differs": _differs(row, p)}
        for row, p in zip(rows, tested, strict=True)
    ]


WAYS = ("method", "bits", "symmetric", "granularity", "group_size", "embeddings", "scales")


def _of_pairs(mine: Frame) -> dict[str, Any]:
    """Ratio of the means of pairs, every model alike; runs of one model and seed, such as several
    loads, count as one. mine: columns model, seed, per_stored, reference."""
    units = mine.groupby(["model", "seed"], sort=False)[["per_stored", "reference"]].mean()
    by = units.index.get_level_values("model")
    if float(units.reference.mean()) <= 0:
        return {"ratio": None, "interval": None, "units": len(units), "p": None}
    a, b = ratios.alike(units.per_stored, units.reference, by)
    enough = len(units) >= OWN
    return {
        "ratio": float(a.mean() / b.mean()),
        "interval": ratios.of_pairs(a, b)["interval"] if enough else None,
        "units": len(units),
        "p": sign_flips(a - b)["p"] if len(units) > 1 else None,
    }


def _differs(row: Mapping[str, Any], p: float | None) -> str | None:
    ends = row["interval"]
    if ends is None or p is None or p > ALPHA or ends[0] <= 1 <= ends[1]:
        return None
    return "more" if row["ratio"] > 1 else "less"


def _full(table: Frame) -> set[str]:
    """Runs whose model decides what is held, and not their data."""
    done = table[table.status == "finished"]
    if "strict_bits" in done:
        why = plateaus.classify(done)
        return set(done.run_id[why == "capacity_limited"])
    if "ceiling_bits" in done:
        return set(done.run_id[done.bits <= DATA_LIMITED * done.ceiling_bits])
    return set()
