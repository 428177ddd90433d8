"""What a bit of facts costs in bits of random rows, where one model holds both.

    B_random + pi B_facts = alpha P

B_random: strict bits of random rows, B_facts: bits of names and values (`measure/mixture.py`), P:
all parameters, the same for both. pi = 1: one capacity holds either kind, and what papers find
apart is budget and convention; pi = 1.8 = 3.6 / 2 (arXiv 2505.24832 over 2404.05405): a bit of
facts costs so much more. Only mixes of both families count, by plan: a model of one family says
nothing about a rate within one model. At equal exposures an optimizer serves whichever family has
more loss per token, so that a mixture can sit in a corner, where one family is hardly held; there
the mix does not move it, and the rate has no interval (`fitting/exchange.py`). Rates of sampling
(`data.person_rate`, `data.row_rate`) move a mixture off such a corner, and are told apart.

A line presumes one resource. Where each family has some of its own, the frontier is concave: mixes
hold more than the chord between others (`straightness`), and more than their shares of what the
model holds of either alone (`shares`). The ends, trained with either family alone, serve the latter
only. Shown is what p <= 5% says over models and seeds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.table_checks import checked, rising
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.fitting import exchange
from capacity.fitting.exchange import Block
from capacity.fitting.statistics import ALPHA
from capacity.settings.data import MixedData

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
ONE, DEAR = 1.0, 3.6 / 2  # rates of the two answers, see the module's text
FULL = 0.9  # of the ceiling of each family: a run above it in both could hold more
CORNER = 0.05  # of the bits of a run: a family that has fewer is in a corner
MEASURED = ("random_bits", "fact_bits", "random_ceiling_bits", "fact_ceiling_bits")
INPUTS = ("seed", "gain_last_tenth", *MEASURED)
CELL = ["system", "size", "seed"]


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Nobody has published a rate within one model; what decides is fixed before the runs."""
    return [], {"one": ONE, "dear": DEAR, "full": FULL, "corner": CORNER, "concave": ALPHA}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The exchange rate of a study. ValueError, in one line, for a table that cannot be judged."""
    return analysed(study.runs, table, study.name)


def analysed(planned: Sequence[Config], table: Frame, name: str) -> Finding:
    """`analyse` of planned runs and their table alone."""
    absent = [name for name in MEASURED if name not in table]  # before a first run has them
    table = table.assign(**dict.fromkeys(absent, np.nan))
    table = checked(table, ["run_id", "status", *INPUTS], list(INPUTS), "fit")
    known = _described(planned)
    runs = planned_runs.beside(table, known)
    done = runs.status == "finished"
    if not done.any():
        raise ValueError(f"no run to judge: none of {len(runs)} finished")
    for held, column in (("random", "y"), ("fact", "x")):
        there = runs[f"{held}_asked"] > 0
        bits = runs[f"{held}_bits"].astype(float).where(there, 0.0)  # nothing asked, nothing held
        runs[column] = bits.where(done) / runs.parameters
        most = runs[f"{held}_ceiling_bits"].astype(float)
        runs[f"{held}_share"] = (bits / most).where(there & done)
    runs["full"] = done & (runs[["random_share", "fact_share"]].min(axis=1) > FULL)
    least = runs[["x", "y"]].min(axis=1) / (runs.x + runs.y)
    inner = (runs.share > 0) & (runs.share < 1)
    runs["corner"] = done & inner & ~(least >= CORNER)
    runs["counts"] = done & inner & ~runs.full
    numbers = head("exchange", SCHEMA, name, _digest(runs)) | {
        "runs": len(runs),
        "finished": int(done.sum()),
        "rates": _rates(runs),
        "arms": _arms(runs[done & ~runs.tried]),
        "tried": _tried(runs[done]),
        "full": sorted(runs.run_id[runs.full]),
        "corner": sorted(runs.run_id[runs.corner]),
        "rising": sorted(runs.run_id[done & rising(runs)]),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["system", "parameters", "share", "lr", "seed", "run_id"])
    return Finding("exchange", "fit.json", plain(numbers), {"runs.csv": shown})


def _digest(runs: Frame) -> str:
    columns = ["run_id", "seed", "status", "x", "y", "counts"]
    return hashlib.sha256(runs[columns].to_json(orient="values").encode()).hexdigest()


def _described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, size, parameters, share (random part of all bits that are
    asked), random_asked and fact_asked (bits), people, rows, exposures_planned, lr, tried (one
    family alone, at a learning rate that no mixture has), system (what else tells runs apart)."""
    settings = [naming.settings(run) for run in runs]
    left = {"data.random_share", "data.n_people", "data.n_rows", "data.load", "train.lr", "seed"}
    left |= {f"model.{name}" for name in ("n_layers", "d_model", "n_heads", "n_kv_heads")}
    varied = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if key not in left and len({str(one.get(key)) for one in settings}) > 1
    ]
    rows = []
    for run, one in zip(runs, settings, strict=True):
        assert isinstance(run.data, MixedData)  # the others have no such mixture
        resolved: Any = run.resolved
        people, random_rows = resolved.split(run.items)
        random, facts = random_rows * resolved.row_bits, resolved.fact_bits(people)
        asked = run.data.random_share if run.data.load is not None else None
        rows.append(
            {
                "run_id": run.run_id,
                "size": run.shape,
                "parameters": float(run.parameters["total"]),
                "share": random / (random + facts) if asked is None else asked,
                "random_asked": random,
                "fact_asked": facts,
                "people": people,
                "rows": random_rows,
                "exposures_planned": float(run.exposures),
                "lr": run.train.lr,
                "system": ", ".join(f"{k.rsplit('.', 1)[-1]} {one.get(k)}" for k in varied),
            }
        )
    out: Frame = pd.DataFrame(rows)
    inner = (out.share > 0) & (out.share < 1)
    out["tried"] = ~inner & ~out.lr.isin(out.lr[inner])
    return out


def _blocks(runs: Frame) -> list[tuple[tuple[Any, ...], Block]]:
    """The mixtures that count, by system, size, seed and learning rate."""
    out = []
    for key, mine in runs[runs.counts].groupby([*CELL, "lr"], sort=True):
        mine = mine.sort_values("share")
        if mine.share.nunique() > 1:
            z, x, y = (mine[c].astype(float).tolist() for c in ("share", "x", "y"))
            out.append((key, Block(str(key[1]), z, x, y)))
    return out


def _rates(runs: Frame) -> list[dict[str, Any]]:
    """pi, alpha and both tests of a straight frontier, of each system."""
    blocks, out = _blocks(runs), []
    ends = runs[(runs.status == "finished") & ~runs.tried]
    for system in sorted(set(runs.system[(runs.share > 0) & (runs.share < 1)])):
        mine = [(key, block) for key, block in blocks if key[0] == system]
        some = [block for _, block in mine]
        known = [(block, pair) for key, block in mine if (pair := _pure(ends, key)) is not None]
        pure = [pair for _, pair in known]
        row: dict[str, Any] = {"system": system, "seeds": len({key[2] for key, _ in mine})}
        row |= {"mixes": sorted({z for block in some for z in block.z})}
        row |= {"pi": exchange.rate(some), "bulge": exchange.straightness(some)}
        row["shares"] = exchange.shares([block for block, _ in known], pure)
        known_rate = row["pi"]["interval"] is not None
        row["alpha"] = exchange.level_of(some, row["pi"]["value"]) if known_rate else {}
        row["ends"] = _ends(pure)
        row["verdict"] = verdict(row)
        out.append(row)
    return out


def _pure(ends: Frame, key: tuple[Any, ...]) -> tuple[float, float] | None:
    """Bits of random rows and of facts per parameter that a model of either family alone holds, of
    one block; None where one of them is not there."""
    _, size, seed, lr = key
    mine = ends[(ends["size"] == size) & (ends.seed == seed) & (ends.lr == lr)]
    y, x = mine.y[mine.share == 1], mine.x[mine.share == 0]
    return (float(y.iloc[0]), float(x.iloc[0])) if len(y) and len(x) else None


def _ends(pure: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Means of both ends over blocks, and what the second would say of a rate; None without."""
    if not pure:
        return None
    y, x = np.array(pure, float).T
    ratio = float(y.mean() / x.mean()) if x.mean() > 0 else None
    return {
        "blocks": len(pure),
        "random": float(y.mean()),
        "facts": float(x.mean()),
        "ratio": ratio,
    }


def verdict(row: dict[str, Any]) -> str:
    """One of: no rate, no interval, concave, cannot tell, one, dear, neither.

    concave: shown by either test, so that no line describes the frontier. cannot tell: the interval
    holds both 1 and 1.8.
    """
    pi = row["pi"]
    if pi["value"] is None:
        return "no rate"
    for test in (row["bulge"], row["shares"]):
        if test["p"] is not None and test["p"] <= ALPHA and test["value"] > 0:
            return "concave"
    if pi["interval"] is None:
        return "no interval"
    low, high = pi["interval"]
    one, dear = low <= ONE <= high, low <= DEAR <= high
    if one and dear:
        return "cannot tell"
    return "one" if one else "dear" if dear else "neither"


def _arms(done: Frame) -> list[dict[str, Any]]:
    """Means over seeds of every size and mix."""
    out = []
    keys = ["system", "parameters", "size", "share", "lr", "people", "rows", "exposures_planned"]
    for key, mine in done.groupby(keys, sort=True):
        row: dict[str, Any] = dict(zip(keys, key, strict=True)) | {
            "seeds": int(mine.seed.nunique())
        }
        p = float(mine.parameters.iloc[0])
        row |= {"random_asked": float(mine.random_asked.iloc[0]) / p}
        row |= {"fact_asked": float(mine.fact_asked.iloc[0]) / p}
        for name in ("x", "y", "random_share", "fact_share"):
            value, sd = mine[name].mean(), mine[name].std()
            row[name] = None if math.isnan(value) else float(value)
            row[f"{name}_sd"] = None if math.isnan(sd) else float(sd)
        out.append(row)
    return out


def _tried(done: Frame) -> list[dict[str, Any]]:
    """Bits per parameter of models of one family by learning rate, where several were tried."""
    out = []
    alone = done[(done.share == 0) | (done.share == 1)]
    for (size, share), mine in alone.groupby(["size", "share"], sort=True):
        if mine.lr.nunique() < 2:
            continue
        column = "y" if share == 1 else "x"
        held = {float(lr): float(some[column].mean()) for lr, some in mine.groupby("lr")}
        out.append(
            {
                "size": size,
                "family": "random rows" if share == 1 else "people",
                "lrs": [{"lr": lr, "bits": bits} for lr, bits in sorted(held.items())],
            }
        )
    return out
