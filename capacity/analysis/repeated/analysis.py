"""What a small subset that is repeated many times does to the loss on other data, at equal tokens
(Hernandez et al., arXiv 2205.10487).

    L(P)       loss of clean runs, in which every sequence is seen once, on held-out text
    P_eff / P  size whose clean loss a run with repeats has, over its own (`fitting.effective_size`)
    worst E    repeats of the highest loss at a share f of the training, between 1 (clean) and the
               most that were tried: the top of a parabola in log2 E (`fitting.peaks`)
    held       1 - loss on the subset / clean loss on held-out text of the same size and replicate
    load       bits of the subset, K S times that clean loss, over the capacity alpha P; alpha of
               random data (entry random_data of a study)

All are read from means over replicates that have every condition, with the jackknife over
replicates. Rules, fixed before the compared runs:

    clean loss falls   trend over sizes by permutation within replicates, p <= 5%, and no interval
                       of a step from one size to the next that reaches 0
    dip                the highest loss lies inside of the numbers of repeats, by permutation within
                       replicates, p <= 5%; else cannot tell
    worst E            told where there is a dip, and inside without any one replicate, too
    coincides          worst E over the E at which NEAR of the subset is held (its loss is nearly
                       0): agrees with an interval within a factor of COINCIDES of 1, differs with
                       one outside, else cannot tell
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import records
from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.order_verdicts import AGREES, DIFFERS, UNKNOWN
from capacity.analysis.repeated import beside, reading
from capacity.analysis.table_checks import check_numbers, checked, rising
from capacity.analysis.text import random_capacity
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.fitting import peaks
from capacity.fitting.effective_size import effective, jackknifed
from capacity.fitting.statistics import LEVEL, t_interval
from capacity.fitting.trends import trend

if TYPE_CHECKING:
    from capacity.analysis.text.schema import RandomCapacity
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
ALPHA = 1 - LEVEL
NEAR = 0.9  # of the subset's bits that are held where its loss counts as nearly 0
COINCIDES = 2.0  # factor within which two numbers of repeats count as the same
LOSS = "held_out_loss_bits_per_token"
INPUTS = ("run_id", "status", "gain_last_tenth", LOSS)


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The published effective size, and the rules by which orders count."""
    rules = {"order": ALPHA, "near": NEAR, "coincides": COINCIDES}
    return [beside.expected()], rules


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The effective sizes of a study of repeated data. ValueError (ConfigError of its plan), in one
    line, for a table that cannot be judged."""
    losses = {}
    for run_id in table.run_id[table.status == "finished"]:
        record = records.read(results, run_id)
        levels = (record or {}).get("measures", {}).get("text", {}).get("canaries") or ()
        seen = [one for one in levels if one["repeats"]]
        if seen:
            losses[run_id] = seen[0]["loss_bits_per_token"]
    models = {
        str(row.model): float(row.parameters_total)  # type: ignore[arg-type]
        for row in table.drop_duplicates("model").itertuples()
    }
    random = None
    if study.random_data:
        random = random_capacity.of_models(study.random_data, results, models)
    return analysed(study.runs, table, losses, study.name, random, study.random_data)


def analysed(
    planned: Sequence[Config],
    table: Frame,
    subset: Mapping[str, float],
    name: str,
    random: Mapping[str, RandomCapacity] | None = None,
    random_study: str = "",
) -> Finding:
    """`analyse` of planned runs, their table, the loss on the subset in bits per token of each run
    that has one, and the capacity of random data by model."""
    known = reading.described(planned)
    runs = checked(table, INPUTS, [LOSS, "gain_last_tenth"], "compare")
    runs = planned_runs.beside(runs, known)
    check_numbers(runs, [LOSS], [LOSS])
    runs["loss"] = runs[LOSS].astype(float)
    runs["subset_loss"] = runs.run_id.map(subset).astype(float)
    done = runs[runs.status == "finished"]
    if (lost := done[(done.subset > 0) & done.subset_loss.isna()]).size:
        raise ValueError(f"finished run {lost.run_id.iloc[0]} has no loss on its subset")
    if not (done.subset == 0).any():
        raise ValueError(
            "no clean run finished (data.canaries=0): there is no L(P) to compare with"
        )
    points = _points(done)
    clean = [_clean(str(system), mine) for system, mine in points.groupby("system", sort=True)]
    groups = ["system", "size", "share"]
    curves = [
        _curve(dict(zip(groups, key, strict=True)), mine, points, random)
        for key, mine in points[points.subset > 0].groupby(groups, sort=True)
    ]
    numbers = head("repeated", SCHEMA, name, _digest(points)) | {
        "runs": len(runs),
        "finished": len(done),
        "replicates": int(points.replicate.nunique()),
        "rows": int(known["rows"].iloc[0]),
        "length": int(known.length.iloc[0]),
        "random_data": random_study,
        "clean": clean,
        "curves": curves,
        "verdicts": beside.verdicts(curves),
        "rising": sorted(runs.run_id[rising(runs)]),
        **planned_runs.unfinished(runs),
    }
    order = ["system", "size", "share", "repeats", "replicate"]
    levels = pd.DataFrame(
        [
            {k: curve[k] for k in groups} | _flat(level)
            for curve in curves
            for level in curve["levels"]
        ]
    )
    tables = {"runs.csv": runs.sort_values([*order, "run_id"]), "levels.csv": levels}
    return Finding("repeated", "fit.json", plain(numbers), tables, points)


def _flat(level: Mapping[str, Any]) -> dict[str, Any]:
    """A level as cells of a table."""
    out: dict[str, Any] = {}
    for key, value in level.items():
        if key in ("damage_interval", "effective_interval"):
            out |= {f"{key}_{end}": value and value[i] for i, end in enumerate(("low", "high"))}
        elif key == "bound":
            out |= {"bound": value and value["side"], "bound_end": value and value["end"]}
        else:
            out[key] = value
    return out


def _digest(points: Frame) -> str:
    """SHA-256 of what the numbers are read from."""
    rows = points.sort_values("run_id")[
        ["run_id", "size", "share", "repeats", "loss", "subset_loss"]
    ]
    return hashlib.sha256(rows.to_json(orient="values").encode()).hexdigest()


def _points(done: Frame) -> Frame:
    """Finished runs, one for each system, size, share, repeats and replicate."""
    by = ["system", "size", "share", "repeats", "replicate"]
    keep = ["run_id", "model", "rows", "once", "subset", "length", "loss", "subset_loss"]
    points = done[[*by, *keep]].sort_values([*by, "run_id"], ignore_index=True)
    if (twice := points[points.duplicated(by)]).size:
        raise ValueError(f"run {twice.run_id.iloc[0]} repeats the condition of another")
    return points


# --- the clean loss
# --------------------------------------------------------------------------------------------------


def _grid(mine: Frame, column: str, value: str = "loss") -> Frame:
    """Values by replicate (rows) and the given column, of replicates that have all."""
    grid = mine.pivot(index="replicate", columns=column, values=value)
    return grid.dropna().sort_index(axis=1)


def _clean(system: str, mine: Frame) -> dict[str, Any]:
    """L(P), and whether it falls."""
    grid = _grid(mine[mine.subset == 0], "size")
    y = grid.to_numpy(float)
    row: dict[str, Any] = {
        "system": system,
        "replicates": len(grid),
        "sizes": [
            {"size": int(p), "loss": float(col.mean()), "sd": _sd(col)}
            for p, col in zip(grid, y.T, strict=True)
        ],
        "steps": [],
        "trend": None,
        "falls": None,
        "reason": None,
    }
    if not len(grid):
        return row | {"reason": "no replicate has a clean run of every size"}
    if y.shape[1] < 2:
        return row | {"reason": "one size; whether it falls needs two"}
    for i in range(y.shape[1] - 1):
        step = y[:, i + 1] - y[:, i]
        row["steps"].append({"from": int(grid.columns[i]), "to": int(grid.columns[i + 1]),
                             "change": float(step.mean()), "interval": _ends(step)})  # fmt: skip
    found = trend(y)
    row["trend"] = dataclasses.asdict(found)
    if found.smallest_p > ALPHA + 1e-12:
        return row | {"reason": f"{len(grid)} replicates cannot reach a p of {ALPHA:.0%}"}
    if found.p > ALPHA + 1e-12:
        return row | {"reason": f"p is above {ALPHA:.0%}"}
    unsure = [s for s in row["steps"] if s["interval"] is None or s["interval"][1] >= 0]
    if found.slope > 0 or unsure:
        where = f"from {unsure[0]['from']:,} to {unsure[0]['to']:,} parameters" if unsure else ""
        return row | {"reason": f"no fall is shown {where}".strip()}
    return row | {"falls": True}


def _sd(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _ends(values: np.ndarray) -> list[float] | None:
    low, high = t_interval(values)
    return None if math.isnan(low) else [low, high]


# --- what repeats do
# --------------------------------------------------------------------------------------------------


def _curve(
    key: dict[str, Any],
    mine: Frame,
    points: Frame,
    random: Mapping[str, RandomCapacity] | None,
) -> dict[str, Any]:
    """Of one size and share: every number of repeats, and the worst one."""
    clean = points[(points.system == key["system"]) & (points.subset == 0)]
    curve = _grid(clean, "size")
    model = str(mine.model.iloc[0])
    alpha = None if random is None else random.get(model)
    out: dict[str, Any] = key | {"model": model, "alpha": alpha, "replicates": 0, "levels": []}
    damaged, held = _grid(mine, "repeats"), _grid(mine, "repeats", "subset_loss")
    both = curve.index.intersection(damaged.index)
    if key["size"] not in curve or not len(both):
        why = f"no clean run of {key['size']:,} parameters of the same replicates finished"
        return out | _untold(why)
    curve, damaged, held = curve.loc[both], damaged.loc[both], held.loc[both]
    own, sizes = curve[key["size"]].to_numpy(float), [float(p) for p in curve]
    counts = mine.drop_duplicates("repeats").set_index("repeats")
    for e in damaged:
        about: Any = counts.loc[e]
        loss, inside = damaged[e].to_numpy(float), held[e].to_numpy(float)
        tokens = float(about.subset * about.length)
        eff = effective(sizes, curve.to_numpy(float), loss, key["size"])
        bits = tokens * float(own.mean())
        out["levels"].append(
            {
                "repeats": int(e),
                "subset": int(about.subset),
                "once": int(about.once),
                "tokens": int(about["rows"] * about.length),
                "loss": float(loss.mean()),
                "sd": _sd(loss),
                "damage": float((loss - own).mean()),
                "damage_interval": _ends(loss - own),
                "effective": eff["ratio"],
                "effective_interval": eff["interval"],
                "bound": eff["bound"],
                "reason": eff["reason"],
                "subset_loss": float(inside.mean()),
                "held_share": float(1 - inside.mean() / own.mean()),
                "held_bits": tokens * float((own - inside).mean()),
                "subset_bits": bits,
                "load": None if alpha is None else bits / (alpha["alpha"]["value"] * key["size"]),
            }
        )
    out["replicates"] = len(both)
    return out | _worst(key, out["levels"], own, damaged, held, alpha)


def _untold(reason: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("dip", "worst", "near", "coincides", "load_at_worst"))
    return nothing | {"verdict": UNKNOWN, "reason": reason,
                      "coincidence": UNKNOWN, "coincidence_reason": reason}  # fmt: skip


def _worst(
    key: Mapping[str, Any],
    levels: Sequence[Mapping[str, Any]],
    own: np.ndarray,
    damaged: Frame,
    held: Frame,
    alpha: RandomCapacity | None,
) -> dict[str, Any]:
    """Whether the highest loss lies inside, where, and whether it lies where the subset's loss is
    nearly 0. own: clean losses of the size [replicates]; damaged, held: [replicates, repeats]."""
    x = np.log2([1.0, *(float(e) for e in damaged)])  # a clean run sees every sequence once
    y = np.column_stack([own, damaged.to_numpy(float)])
    inside = np.column_stack([own, held.to_numpy(float)])
    if y.shape[1] < peaks.FEWEST:
        return _untold("one number of repeats; a highest loss inside needs two and clean runs")
    found = peaks.inner(y)
    out = _untold("") | {"dip": dataclasses.asdict(found)}

    def told(reason: str) -> dict[str, Any]:
        return out | {"reason": reason, "coincidence_reason": reason}

    if found.smallest_p > ALPHA + 1e-12:
        return told(f"{len(y)} replicates cannot reach a p of {ALPHA:.0%}")
    if found.height <= 0:
        return told("the highest loss is that of the first or the last number of repeats tried")
    if found.p > ALPHA + 1e-12:
        return told(f"p is above {ALPHA:.0%}")
    out |= {"verdict": AGREES, "reason": None}
    at, interval, why = jackknifed(lambda rows: peaks.top(x, y[rows].mean(axis=0)), len(y))
    level = levels[found.place - 1]
    out["worst"] = {
        "repeats": 2**at,
        "interval": _within(interval, x),
        "why": why,
        "tried": level["repeats"],
        "effective": level["effective"],
        "effective_interval": level["effective_interval"],
        "bound": level["bound"],
        "subset_loss": level["subset_loss"],
        "held_share": level["held_share"],
    }
    tokens = level["subset_bits"] * level["repeats"]  # bits of the subset, all repeats counted
    if alpha is not None:
        out["load_at_worst"] = _load(tokens / key["size"], at, interval, alpha)
    return out | _coincidence(x, y, inside)


def _within(interval: list[float] | None, x: np.ndarray) -> list[float] | None:
    """Repeats, from their log2; None where the interval leaves what was tried."""
    if interval is None or interval[0] < x[0] or interval[1] > x[-1]:
        return None
    return [2**end for end in interval]


def _load(
    bits: float, at: float, interval: list[float] | None, alpha: RandomCapacity
) -> dict[str, Any]:
    """Subset bits over alpha P at the worst number of repeats, by which they are divided; the
    errors of both in squares, on logarithms. bits: of all repeats, per parameter."""
    value, ends = alpha["alpha"]["value"], alpha["alpha"]["interval"]
    load = bits / 2**at / value
    if interval is None or ends is None:
        return {"value": load, "interval": None}
    half = (interval[1] - interval[0]) / 2 * math.log(2)
    reach = math.hypot(half, math.log(ends[1] / ends[0]) / 2)
    return {"value": load, "interval": [load * math.exp(-reach), load * math.exp(reach)]}


def near(x: np.ndarray, held: np.ndarray) -> float:
    """log2 of the repeats at which NEAR of the subset is held for the first time, between numbers
    tried a line; held: shares [repeats]. ValueError where it never is."""
    i = int(np.argmax(held >= NEAR))
    if held[i] < NEAR:
        raise ValueError(f"no number of repeats makes the subset known to {NEAR:.0%}")
    if not i:
        return float(x[0])
    part = (NEAR - held[i - 1]) / (held[i] - held[i - 1])
    return float(x[i - 1] + part * (x[i] - x[i - 1]))


def _coincidence(x: np.ndarray, y: np.ndarray, inside: np.ndarray) -> dict[str, Any]:
    """Worst E against the E at which the loss on the subset is nearly 0."""

    def known(rows: np.ndarray) -> float:
        return near(x, 1 - inside[rows].mean(axis=0) / inside[rows, 0].mean())

    def apart(rows: np.ndarray) -> float:
        return peaks.top(x, y[rows].mean(axis=0)) - known(rows)

    try:
        at, interval, _ = jackknifed(known, len(y))
        ratio, ends, why = jackknifed(apart, len(y))
    except ValueError as error:
        return {"coincidence_reason": str(error)}
    out: dict[str, Any] = {
        "near": {"repeats": 2**at, "interval": interval and [2**end for end in interval]},
        "coincides": {"ratio": 2**ratio, "interval": ends and [2**end for end in ends]},
        "coincidence_reason": why,
    }
    if ends is None:
        return out
    limit = math.log2(COINCIDES)
    if -limit <= ends[0] and ends[1] <= limit:
        return out | {"coincidence": AGREES}
    if ends[0] > limit or ends[1] < -limit:
        return out | {"coincidence": DIFFERS}
    return out | {"coincidence_reason": f"the interval reaches over a factor of {COINCIDES:g}"}
