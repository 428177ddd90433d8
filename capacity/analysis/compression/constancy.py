"""Is Information Capacity one number over sizes of a model?

A family has one number whatever its size only if gain + bias = IC log2(FLOPs), so that gain is a
straight line over the logarithm of FLOPs. What is asked of each family, over its sizes:

- spread: (largest - smallest) / mean of IC over sizes, bias 0
- ratio: IC of the largest over that of the smallest size, with an interval over seeds
- bent: chance of a misfit as large of that line, any bias, against the scatter of seeds
  (`fitting.misfit.pure_error`); needs three sizes and replicates

Random tokens at one load are other data for each size: their gain per token is alpha log2 V / load
whatever the size. `common` puts their bits on one data set, that of the largest size, as they are
while data do not decide (a plateau): there gain is bits / tokens and grows as bits do. growth: d ln
bits / d ln P between smallest and largest; linear in P is 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from capacity.base.frames import Frame
from capacity.fitting import misfit, ratios
from capacity.fitting.noise import OWN
from capacity.fitting.ratios import Mean
from capacity.fitting.statistics import ALPHA, sign_flips, t_interval

FAMILY = ["study", "data", "side", "variant", "amount", "exposures"]
ONE_SEED = "one seed: its noise was not measured"
FEWEST = 2  # sizes
COMMON = "random data, one data set"
EQUAL = "random data, equal load"


def families(rows: Frame) -> list[dict[str, Any]]:
    """Every family of at least two sizes; rows: of `reading.Read.texts`. Runs of random data that
    their data decide, and of text whose characters are not known, do not count."""
    if rows.empty:
        return []
    known = rows[(rows.limited == "") & rows.ic.notna()]
    out = []
    for key, mine in known.groupby(FAMILY, sort=False):
        if mine["size"].nunique() < FEWEST:
            continue
        about = dict(zip(FAMILY, key, strict=True))
        out.append(about | of_family(mine, common=about["data"] == "random data"))
    return out


def of_family(rows: Frame, common: bool = False) -> dict[str, Any]:
    """The numbers of one family (see above). rows: columns size, parameters, seed, ic,
    gain_bits_per_token, tokens, flops_decoded; common: put bits on one data set beside."""
    order = rows.groupby("size").parameters.mean().sort_values().index.tolist()
    log_flops = np.log2(rows.flops_decoded.to_numpy(float))
    gain = rows.gain_bits_per_token.to_numpy(float)
    out: dict[str, Any] = {
        "sizes": order,
        "runs": len(rows),
        "seeds": int(rows.seed.nunique()),
        "parameters": [float(rows[rows["size"] == size].parameters.mean()) for size in order],
    }
    out |= _over_sizes(rows, rows.ic.to_numpy(float), order)
    out["bent"] = _bent(gain, log_flops, rows["size"].tolist())
    if "bits_per_character" in rows and rows.bits_per_character.notna().all():
        by_size = [rows[rows["size"] == size] for size in order]
        out["bits_per_character"] = [_over_seeds(mine) for mine in by_size]
    if common:
        bits = gain * rows.tokens.to_numpy(float)
        largest = rows[rows["size"] == order[-1]]
        per_token = bits / float(largest.tokens.mean())
        out["growth"] = _growth(rows, bits, order)
        out["common"] = _over_sizes(rows, per_token / log_flops, order) | {
            "bent": _bent(per_token, log_flops, rows["size"].tolist()),
            "bent_in_p": _bent(per_token, rows.parameters.to_numpy(float), rows["size"].tolist()),
        }
    return out


def _over_seeds(mine: Frame) -> dict[str, Any]:
    """Mean bits per character of a size, with Student's interval over seeds."""
    means = mine.groupby("seed").bits_per_character.mean().to_numpy(float)
    low, high = t_interval(means)
    return {"value": float(means.mean()), "interval": None if math.isnan(low) else [low, high]}


def _over_sizes(rows: Frame, ic: np.ndarray, order: list[str]) -> dict[str, Any]:
    """IC by size, their spread, and the ratio of the largest to the smallest with its interval."""
    table = rows.assign(ic=ic)
    means = [float(table[table["size"] == size].ic.mean()) for size in order]
    mean = float(np.mean(means))
    spread = (max(means) - min(means)) / mean if mean > 0 else None
    out = {"ic": means, "spread": spread, "ratio": _ratio(table, "ic", order)}
    return out | {"by_seed": _by_seed(table, order)}


def _by_seed(table: Frame, order: list[str]) -> dict[str, float]:
    """Seed -> ln of IC of the largest size over that of the smallest, where both are above 0."""
    means = table.groupby(["size", "seed"]).ic.mean()
    small, large = (means.loc[size] for size in (order[0], order[-1]))
    both = [seed for seed in large.index if seed in small.index]
    return {
        str(seed): math.log(large[seed] / small[seed])
        for seed in both
        if min(large[seed], small[seed]) > 0
    }


def _ratio(table: Frame, value: str, order: list[str]) -> dict[str, Any]:
    """Mean of the largest size over that of the smallest: by pairs of equal seed where there are
    three, else of means with the scatter of their own seeds."""
    small, large = (table[table["size"] == size] for size in (order[0], order[-1]))
    a, b = (side.groupby("seed")[value].mean() for side in (large, small))
    both = sorted(set(a.index) & set(b.index))
    if float(b.mean()) <= 0:
        return {"value": None, "interval": None, "why": "the smallest size takes nothing off"}
    if len(both) >= OWN:
        found = ratios.of_pairs(a[both], b[both])
        method = f"Fieller over {len(both)} seeds"
    elif min(len(a), len(b)) > 1:
        found = ratios.of_means(_mean(a.to_numpy(float)), _mean(b.to_numpy(float)))
        method = "Fieller, seeds of each size"
    else:
        value_only = float(a.mean() / b.mean())
        return {"value": value_only, "interval": None, "why": ONE_SEED}
    return {key: found[key] for key in ("value", "interval", "why")} | {"method": method}


def _mean(values: np.ndarray) -> Mean:
    n = len(values)
    return Mean(float(values.mean()), float(values.var(ddof=1)) / n, float(n - 1))


def _growth(rows: Frame, bits: np.ndarray, order: list[str]) -> dict[str, Any]:
    """d ln bits / d ln parameters between the smallest and the largest size."""
    table = rows.assign(bits=bits)
    ratio = _ratio(table, "bits", order)
    p = table.groupby("size").parameters.mean()
    step = math.log(p[order[-1]] / p[order[0]])
    value, ends = ratio["value"], ratio["interval"]
    return {
        "value": math.log(value) / step if value and value > 0 else None,
        "interval": [math.log(end) / step for end in ends] if ends and ends[0] > 0 else None,
        "why": ratio["why"],
    }


def _bent(y: np.ndarray, x: np.ndarray, sizes: Sequence[str]) -> float | None:
    """Chance of so large a misfit of a straight line y(x) over sizes, by the scatter of seeds; None
    without three sizes and replicates."""
    if len(set(sizes)) < 3:
        return None
    design = np.stack([np.ones(len(x)), x], 1)
    scale = np.abs(design).max(0)
    rest = y - design / scale @ np.linalg.lstsq(design / scale, y, rcond=None)[0]
    found = misfit.pure_error(rest, sizes, 2)
    return None if found is None else float(found["p"])


def together(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Families of one kind together: IC of the largest size over that of the smallest, as the mean
    logarithm over seeds of each study (variants, amounts and exposures are averaged first: they
    share seeds), with Student's interval and the exact test of its sign."""
    groups: dict[str, dict[tuple[str, str], list[float]]] = {}
    families: Counter[str] = Counter()
    for one in found:
        label = EQUAL if one["data"] == "random data" else f"{one['data']}, {one['side']}"
        parts = [(label.replace("held_out", "held out"), one["by_seed"])]
        parts += [(COMMON, one["common"]["by_seed"])] if "common" in one else []
        for name, by_seed in parts:
            families[name] += bool(by_seed)
            for seed, value in by_seed.items():
                groups.setdefault(name, {}).setdefault((one["study"], seed), []).append(value)
    return [_together(name, families[name], by_unit) for name, by_unit in groups.items()]


def _together(
    name: str, families: int, by_unit: dict[tuple[str, str], list[float]]
) -> dict[str, Any]:
    logs = [float(np.mean(values)) for values in by_unit.values()]
    low, high = t_interval(logs)
    ends = None if math.isnan(low) else [low, high]
    p = sign_flips(logs)["p"] if len(logs) > 1 else None
    return {
        "what": name,
        "families": families,
        "studies": len({study for study, _ in by_unit}),
        "units": len(logs),
        "ratio": math.exp(float(np.mean(logs))),
        "interval": None if ends is None else [math.exp(end) for end in ends],
        "p": p,
        "verdict": _verdict(float(np.mean(logs)), ends, p),
    }


def _verdict(value: float, ends: list[float] | None, p: float | None) -> str:
    """falls or rises with size where interval and exact test say so, else cannot tell."""
    if ends is None or p is None or p > ALPHA or ends[0] <= 0 <= ends[1]:
        return "cannot tell"
    return "rises" if value > 0 else "falls"
