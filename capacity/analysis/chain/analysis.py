"""Why 3.6 is not 2: bits per parameter of random rows and of facts, joined by families of data that
differ by one change each.

All families are learned by models of one shape, one vocabulary and one optimizer. What counts in
each is what is random in it and was not given:

    rows, packed     strict bits of random rows, N S log2 V less their code length
                     (arXiv 2505.24832, sections 2 and 3)
    all others       N (log2 S0 - p2 / ln 2): bits of values, names being given (arXiv 2404.05405,
                     Definitions 4.1 and 4.3, without their terms of names and of diversity)

A step is the ratio of bits per parameter of a family to those of the family before it, by runs of
one size, exposures and seed (`fitting/chain.py`); steps multiply to the ratio of the ends. What
further counting adds to an end is told beside it: the paper's convention of rows (S / (S - 1)),
names, and the wording of fixed texts (`measure/wording.py`).

Every family has the learning rate, and where several were tried the amount of data, of which it
holds most: chosen at one size, then frozen. A step is withheld (cannot tell) where a run of either
side is full, so that data and not capacity ends it, where the rate of a side is untried or lies at
an edge of those tried, and where the models of both sides differ in size.

Ceilings against clocks: families may differ in what they hold in the end, or in how soon. With
several numbers of exposures the ratio of the ends is told for each, and what a doubling does to it;
with four and more the ratio of their plateaus (`ceilings.py`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import families, planned_runs
from capacity.analysis.chain.ceilings import ceilings
from capacity.analysis.families import BY_KEY, FAMILIES, ROWS
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.table_checks import checked, rising
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.base.words import joined
from capacity.fitting import chain
from capacity.fitting.statistics import ALPHA, t_interval
from capacity.settings.data import BiodData, BiosData

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 3  # `analysis.convert` says what changed
FULL = 0.9  # of all that counts: a run above it could hold more
ALIKE = 0.01  # part by which parameters of two families may differ
FEWEST = 3  # learning rates: fewer have none that lies between others
CELL = ["size", "exposures_planned", "seed"]
INPUTS = ("seed", "gain_last_tenth")
MEASURED = (
    "strict_bits",
    "paper_bits",
    "strict_ceiling_bits",
    "random_bits",
    "random_ceiling_bits",
    "p1_nats",
    "p2_nats",
    "wording_bits",
)


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Nobody has published such a chain; what decides which runs count is fixed before them."""
    return [], {"full": FULL, "alike": ALIKE, "rates": FEWEST, "order": ALPHA}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The steps of a study. ValueError, in one line, for a table that cannot be judged."""
    return analysed(study.runs, table, study.name)


def analysed(planned: Sequence[Config], table: Frame, name: str) -> Finding:
    """`analyse` of planned runs and their table alone."""
    absent = [name for name in MEASURED if name not in table]  # before a first run has them
    table = table.assign(**dict.fromkeys(absent, np.nan))
    table = checked(table, ["run_id", "status", *INPUTS], [*INPUTS, *MEASURED], "fit")
    known = _described(planned)
    runs = planned_runs.beside(table, known)
    done = runs.status == "finished"
    if not done.any():
        raise ValueError(f"no run to judge: none of {len(runs)} finished")
    runs = runs.assign(**_held(runs))
    runs["share"] = runs.held / runs.most
    runs["full"] = done & (runs.share > FULL)
    tuning = _tuning(runs)
    chosen = {row["family"]: (row["lr"], row["load"]) for row in tuning}
    runs["chosen"] = [
        chosen.get(family) == (lr, load)
        for family, lr, load in zip(runs.family, runs.lr, runs.load_asked, strict=True)
    ]
    mine = runs[done & runs.chosen]
    steps, ends = _steps(mine, tuning)
    numbers = head("chain", SCHEMA, name, _digest(runs)) | {
        "runs": len(runs),
        "finished": int(done.sum()),
        "families": _arms(mine),
        "steps": steps,
        "ends": ends,
        "clocks": _clocks(mine, ends),
        "ceilings": ceilings(mine, ends),
        "readings": _readings(mine, ends),
        "tuning": tuning,
        "full": sorted(mine.run_id[mine.full]),
        "rising": sorted(mine.run_id[rising(mine)]),
        **planned_runs.unfinished(runs),
    }
    order = [family.key for family in FAMILIES]
    shown = runs.assign(place=runs.family.map(order.index))
    shown = shown.sort_values(["place", "parameters", "exposures_planned", "lr", "seed", "run_id"])
    return Finding("chain", "fit.json", plain(numbers), {"runs.csv": shown.drop(columns="place")})


def _digest(runs: Frame) -> str:
    columns = ["run_id", "seed", "status", "held", "chosen"]
    return hashlib.sha256(runs[columns].to_json(orient="values").encode()).hexdigest()


def _described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, family, size, parameters (all), items, exposures_planned, lr,
    load_asked (data.load), log2_values and log2_names (bits of an item's values and of its name),
    questions (over which p2 is a mean), most (bits that count, all together); NaN of rows."""
    rows = []
    for run in runs:
        family = families.of(run)
        assert family is not None  # by `families.is_chain`
        data: Any = run.data
        values, questions = math.nan, 1
        if isinstance(data, BiodData):
            questions = data.attributes
            values = questions * data.chunks * math.log2(data.diversity)
        elif isinstance(data, BiosData) and family.key not in ROWS:
            values = data.attribute_bits
        rows.append(
            {
                "run_id": run.run_id,
                "family": family.key,
                "size": run.shape,
                "parameters": float(run.parameters["total"]),
                "items": run.items,
                # as asked: whole steps make a little more of it, differently in each family
                "exposures_planned": float(run.train.exposures or run.exposures),
                "lr": run.train.lr,
                "load_asked": math.nan if data.load is None else float(data.load),
                "log2_values": values,
                "log2_names": math.nan if math.isnan(values) else math.log2(data.n_names),
                "questions": questions,
                "most": run.items * values,
            }
        )
    out: Frame = pd.DataFrame(rows)
    # equal amounts must compare equal where there are none
    return out.assign(load_asked=out.load_asked.fillna(0.0))


def _held(runs: Frame) -> dict[str, Any]:
    """Columns of bits: held and most, what counts of a family; names, wording and paper, what
    further counting adds or takes instead; all of finished runs."""
    done = runs.status == "finished"
    ln2 = math.log(2)
    values = runs["items"] * (runs.log2_values - runs.questions * runs.p2_nats / ln2)
    names = runs["items"] * (runs.log2_names - runs.p1_nats / ln2)
    is_rows, is_packed = runs.family == "rows", runs.family == "packed"
    held = values.mask(is_rows, runs.strict_bits).mask(is_packed, runs.random_bits)
    most = runs.most.mask(is_rows, runs.strict_ceiling_bits)
    most = most.mask(is_packed, runs.random_ceiling_bits)
    held = held.where(done)
    return {
        "held": held,
        "most": most,
        "per_parameter": held / runs.parameters,
        "names": names.where(done),
        "wording": runs.wording_bits.where(done & (runs.family == "one text")),
        "paper": runs.paper_bits.where(done & is_rows),
    }


def _tuning(runs: Frame) -> list[dict[str, Any]]:
    """The recipe of every family: that of most planned runs; at one size and budget, what was held
    by each that was tried there, and why its optimum is not known (reasons, empty where it is)."""
    out = []
    done = runs[runs.status == "finished"]
    for family in FAMILIES:
        mine = done[done.family == family.key]
        if mine.empty:
            continue
        recipes = runs[runs.family == family.key].groupby(["lr", "load_asked"]).size()
        lr, load = (float(x) for x in recipes.idxmax())
        tried = _tried(mine)
        here = {(row["lr"], row["load"]): row["held"] for row in tried}
        reasons = []
        rates = sorted({row["lr"] for row in tried if row["load"] == load})
        best = max(here, key=lambda recipe: here[recipe])
        if len(rates) < FEWEST:
            reasons.append(f"{family.called}: {len(rates)} learning rate tried")
        elif lr in (rates[0], rates[-1]):
            side = "smallest" if lr == rates[0] else "largest"
            reasons.append(f"{family.called}: its learning rate is the {side} of those tried")
        if here.get((lr, load), -math.inf) < here[best]:
            reasons.append(f"{family.called}: another recipe held more at the size of its tuning")
        loads = sorted({row["load"] for row in tried})
        at_edge = len(loads) > 1 and load in (loads[0], loads[-1])
        out.append(
            {
                "family": family.key,
                "lr": lr,
                "load": load,
                "tried": tried,
                "edge_of_loads": at_edge,
                "reasons": reasons,
            }
        )
    return out


def _tried(mine: Frame) -> list[dict[str, Any]]:
    """Bits per parameter by learning rate and load, at the cell where most recipes were tried."""
    cells = mine.groupby(CELL)
    most = max(cells, key=lambda cell: len(set(zip(cell[1].lr, cell[1].load_asked, strict=True))))
    held = most[1].groupby(["lr", "load_asked"]).per_parameter.mean()
    size = str(most[0][0])
    return [
        {"size": size, "lr": float(lr), "load": float(load), "held": float(bits)}
        for (lr, load), bits in held.items()
    ]


def _arms(mine: Frame) -> list[dict[str, Any]]:
    """Means over seeds by family, size and exposures."""
    out = []
    for family in FAMILIES:
        some = mine[mine.family == family.key]
        for key, part in some.groupby(["parameters", "size", "exposures_planned"], sort=True):
            sd = float(part.per_parameter.std()) if len(part) > 1 else None
            out.append(
                {
                    "family": family.key,
                    "parameters": float(key[0]),
                    "size": str(key[1]),
                    "exposures": float(key[2]),
                    "seeds": int(part.seed.nunique()),
                    "items": int(part["items"].iloc[0]),
                    "lr": float(part.lr.iloc[0]),
                    "held": float(part.per_parameter.mean()),
                    "sd": sd,
                    "most": float((part.most / part.parameters).mean()),
                    "share": float(part.share.mean()),
                }
            )
    return out


def _between(mine: Frame, first: str, last: str, exposures: float | None = None) -> dict[str, Any]:
    """`chain.step` from one family to another, over cells that both have, with the sizes."""
    if exposures is not None:
        mine = mine[mine.exposures_planned == exposures]
    sides = [mine[mine.family == key].set_index(CELL).per_parameter for key in (first, last)]
    both = sorted(set(sides[0].index) & set(sides[1].index))
    groups: dict[tuple, list[tuple]] = {}
    for cell in both:
        groups.setdefault(cell[:2], []).append(cell)
    a, b = ([[float(side[c]) for c in cells] for cells in groups.values()] for side in sides)
    return chain.step(a, b) | {"sizes": sorted({str(cell[0]) for cell in both})}


def _steps(
    mine: Frame, tuning: Sequence[dict[str, Any]]
) -> tuple[list[Any], dict[str, Any] | None]:
    """Every step between families that follow each other, at the most exposures that all have, then
    those over families that are not known well enough; and the ratio of the ends."""
    present = [f.key for f in FAMILIES if (mine.family == f.key).any()]
    budgets = [set(mine.exposures_planned[mine.family == key]) for key in present]
    shared = set.intersection(*budgets) if budgets else set()
    if len(present) < 2 or not shared:
        return [], None
    exposures = max(shared)
    at = mine[mine.exposures_planned == exposures]
    reasons = {row["family"]: row["reasons"] for row in tuning}
    size = {key: at[at.family == key].groupby("size").parameters.mean() for key in present}
    full = set(at.family[at.full])

    def told(first: str, last: str) -> dict[str, Any]:
        why = [reason for key in (first, last) for reason in reasons.get(key, [])]
        filled = [BY_KEY[key].called for key in (first, last) if key in full]
        if filled:
            why.append(f"{joined(filled)}: a run holds over {FULL:.0%} of its data")
        apart = (size[last] / size[first] - 1).abs().max()
        if apart > ALIKE:
            why.append(f"models differ by {apart:.1%} in parameters")
        entry = _between(at, first, last) | {"first": first, "last": last}
        return entry | {"exposures": exposures, "withheld": why}

    steps = [told(a, b) for a, b in zip(present, present[1:], strict=False)]
    return [*steps, *_bridges(steps, told)], told(present[0], present[-1])


def _bridges(
    steps: Sequence[dict[str, Any]], told: Callable[[str, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Over every run of steps without a value, because a family between is not known well enough,
    the step from the family in front of it to the one behind it."""
    out: list[dict[str, Any]] = []
    first = None
    for row in steps:
        if row["value"] is None:
            first = first or row["first"]
            continue
        if first is not None and row["first"] != first:
            out.append(told(first, row["first"]))
        first = None
    if first is not None and steps[-1]["last"] != first:
        out.append(told(first, steps[-1]["last"]))
    known = {(row["first"], row["last"]) for row in steps}
    return [row | {"over": True} for row in out if (row["first"], row["last"]) not in known]


def _clocks(mine: Frame, ends: dict[str, Any] | None) -> dict[str, Any] | None:
    """The ratio of the ends by exposures, and what a doubling does to its logarithm from the fewest
    to the most, by size and seed; None with one budget."""
    if ends is None:
        return None
    sides = {
        key: mine[mine.family == ends[key]].set_index(CELL).per_parameter
        for key in ("first", "last")
    }
    both = [c for c in sides["first"].index if c in sides["last"].index]
    budgets = sorted({cell[1] for cell in both})
    if len(budgets) < 2:
        return None
    rows = [{"exposures": e} | _between(mine, ends["first"], ends["last"], e) for e in budgets]
    slopes, low, high = [], budgets[0], budgets[-1]  # one slope a seed: neighbours share a budget
    for size, _, seed in sorted(c for c in both if c[1] == low):
        values = [
            [float(sides[side].get((size, e, seed), math.nan)) for side in ("first", "last")]
            for e in (low, high)
        ]
        if (np.array(values) > 0).all():
            (a, b), (c, d) = values
            slopes.append((math.log(d / c) - math.log(b / a)) / math.log2(high / low))
    out: dict[str, Any] = {"rows": rows, "pairs": len(slopes), "slope": None, "interval": None}
    if len(slopes) >= 2:
        low_end, high_end = t_interval(np.array(slopes))
        out |= {"slope": float(np.mean(slopes)), "interval": [low_end, high_end]}
    return out


def _readings(mine: Frame, ends: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What further counting makes of the bits of a family, at the exposures of the chain: the ratio
    of means with its interval over seeds, by `chain.step`, as if counting were a step."""
    if ends is not None:
        mine = mine[mine.exposures_planned == ends["exposures"]]
    out = []
    for key, column, words in (
        ("rows", "paper", "the paper's convention instead of strict bits"),
        ("one text", "wording", "wording counted as well"),
        ("new texts", "names", "names counted as well"),
    ):
        some = mine[(mine.family == key) & mine[column].notna()]
        if some.empty:
            continue
        held = some.held.astype(float)
        other = some[column].astype(float) + (0.0 if column == "paper" else held)
        cells = [some.parameters, some["exposures_planned"]]
        both = pd.DataFrame({"held": held, "other": other}).div(some.parameters, axis=0)
        groups = [part for _, part in both.groupby(cells, sort=True)]
        found = chain.step([part.held for part in groups], [part.other for part in groups])
        if found["value"] is not None:
            out.append(
                {
                    "family": key,
                    "words": words,
                    "ratio": found["value"],
                    "interval": found["interval"],
                    "runs": len(some),
                }
            )
    return out
