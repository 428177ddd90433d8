"""`capacity plan`: what is there, what it has taught, which runs come next, and whether to go on.
Nothing is trained here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from capacity import records, run_table
from capacity.base.errors import ConfigError
from capacity.design import optimal
from capacity.design.prior import Prior
from capacity.design.simulate import Forecast, crossed, forecast
from capacity.design.space import Space, grid
from capacity.design.targets import Question
from capacity.fitting.statistics import student

TRUTHS = 8  # plausible truths that the criterion is averaged over
TURNS = 3  # a design, its simulation, and what that says of the criterion's width
FLOORS = 100  # simulated studies that say what scatter over models leaves
SHARE = 0.5  # of the proposed hours that come first


@dataclass(frozen=True)
class Finished:
    """Runs of the space that have records: a table (columns as `Question.simulate`), seeds that are
    taken by cell, hours spent, runs that failed."""

    table: pd.DataFrame
    seeds: dict[int, list[int]]
    hours: float
    failed: int


@dataclass(frozen=True)
class Plan:
    """Everything that the report says. new [J]: runs by cell that the whole plan asks for; batch:
    of them those to train next. now: the interval that is there. floor: width that all models of
    the space with any number of seeds would give. scale: simulated over first-order width. verdict:
    reached, go on, or not within the budget."""

    question: Question
    space: Space
    prior: Prior
    finished: Finished
    budget: float
    new: np.ndarray
    batch: np.ndarray
    cost: float
    batch_cost: float
    now: dict | None
    expected: Forecast | None
    naive: np.ndarray
    naive_cost: float
    naive_expected: Forecast | None
    floor: float
    more_models: int | None
    verdict: str
    lacks: str


def plan(
    question: Question,
    space: Space,
    results: Path,
    budget: float,
    *,
    prior_file: Path | None = None,
    assumed: dict[str, float] | None = None,
    batch: float | None = None,
    count: int = 300,
    seed: int = 0,
) -> Plan:
    """The plan for a budget of hours in all, those of finished runs included. batch: hours of the
    next batch (None: half of what is proposed)."""
    kind = space.cells[0].config.data.kind
    if kind not in question.kinds:
        raise ConfigError(
            f"{space.name}: {question.form.name} is not about {kind} data; allowed: "
            f"{', '.join(question.kinds)}"
        )
    prior = question.prior(space)
    if prior_file:
        prior = question.learned(
            prior, space, read_prior(prior_file, question, space), str(prior_file)
        )[0]
    prior = question.assume(prior, space, assumed or {})
    done = finished(space, results)
    prior, known = (
        question.learned(prior, space, done.table, f"finished runs of {space.name}")
        if len(done.table)
        else (prior, {})
    )
    now = question.measure(question.points(done.table)) if len(done.table) else None
    there = (
        np.bincount(done.table.cell, minlength=len(space.cells)).astype(float)
        if len(done.table)
        else np.zeros(len(space.cells))
    )
    effects = question.effects(space, prior.draw(np.random.default_rng([seed, 3]), TRUTHS), prior)
    per_model = np.array([there[space.cluster == c].sum() for c in range(len(space.labels))])
    most = (
        (np.maximum(space.most - per_model, 0), space.cluster)
        if question.per_model
        else np.maximum(space.most - there, 0)
    )
    left = max(budget - done.hours, 0.0)

    def simulate(new):
        runs = [(j, run.seed) for j, run in space.runs(new, done.seeds)]
        return forecast(
            question, space, prior, runs, count=count, seed=seed, done=done.table, known=known
        )

    nothing, scale, expected = np.zeros(len(space.cells)), 1.0, None
    if now and now["width"] <= question.width:
        new, verdict = nothing, "reached"
    else:
        kept = None
        for _ in range(TURNS):
            found = optimal.cheapest(
                effects, space.cost, left, most, question.half(question.width) / scale, there
            )
            new = optimal.best(effects, space.cost, left, most, there) if found is None else found
            if not (new.any() or there.any()):
                break
            expected = simulate(new)
            enough = expected.middle <= question.width
            if enough and (kept is None or space.cost(new) < space.cost(kept[0])):
                kept = new, expected
            # a design of the first order that is wide enough, or the whole budget that does not buy
            # it: nothing more to learn
            if enough is (found is not None):
                break
            first = np.median(optimal.predicted(effects, there + new)[0])
            told = (
                question.half(expected.middle) / first
                if np.isfinite(expected.middle)
                else 2 * scale
            )
            scale = told if enough else max(told, 1.02 * scale)
        new, expected = kept or (new, expected)
        verdict = (
            "go on"
            if expected is not None and expected.middle <= question.width and new.any()
            else "not within the budget"
        )
    cost = float(space.cost(new))
    first = (
        optimal.best(effects, space.cost, batch if batch is not None else SHARE * cost, new, there)
        if new.any()
        else nothing
    )
    first = first if first.any() else new
    naive = grid(space, max(cost + done.hours, 1e-9)) if new.any() else nothing
    same = (
        forecast(
            question,
            space,
            question.prior(space) if not len(done.table) else prior,
            crossed(space, naive),
            count=count,
            seed=seed,
        )
        if naive.any()
        else None
    )
    floor, more = (
        _floor(question, effects, space, prior, seed) if verdict != "reached" else (0.0, None)
    )
    floor = min(floor, expected.middle) if expected is not None else floor
    return Plan(
        question,
        space,
        prior,
        done,
        budget,
        new,
        first,
        cost,
        float(space.cost(first)),
        now,
        expected,
        naive,
        float(space.cost(naive)),
        same,
        floor,
        more,
        verdict,
        question.lacks(space, effects),
    )


def _floor(
    question: Question, effects: optimal.Effects, space: Space, prior: Prior, seed: int
) -> tuple[float, int | None]:
    """Median width of studies without noise over seeds, with all models of the space, and how many
    models like these the wanted width would need (None: there are enough). 0 where every run is a
    replicate."""
    if effects.cluster is None or len(space.labels) < 3:
        return 0.0, None
    cells = [
        max(
            np.flatnonzero(space.cluster == c),
            key=lambda j: (effects.usable[:, j].mean(), space.cells[j].load),
        )
        for c in range(len(space.labels))
    ]
    quiet = replace(prior, noise=replace(prior.noise, sd=1e-3 * prior.noise.sd))
    if (
        question.form.name == "smooth_corner" or space.ladder
    ):  # sharpness needs runs near the corner, a ladder needs its rungs
        cells = np.flatnonzero(effects.usable.mean(0) >= optimal.USABLE)
    floor = forecast(
        question, space, quiet, [(int(j), space.seeds[0]) for j in cells], count=FLOORS, seed=seed
    ).middle
    if floor <= question.width or not np.isfinite(floor):
        return floor, None
    models, spent = len(space.labels), question.spent
    need = next(
        (
            m
            for m in range(models, 10_000)
            if floor * np.sqrt(models / m) * student(m - spent) / student(models - spent)
            <= question.width
        ),
        None,
    )
    return floor, need


def finished(space: Space, results: Path) -> Finished:
    """What has records among the runs that a plan may ask for."""
    rows, seeds, hours, failed = [], {}, 0.0, 0
    # a plan may ask for as many seeds of a cell, and on one model each run has a seed of its own
    last = min(space.seeds) + space.most * (1 if space.ladder else max(np.bincount(space.cluster)))
    for j, cell in enumerate(space.cells):
        for seed in sorted(
            {*space.seeds, *range(min(space.seeds), max(max(space.seeds), last) + 1)}
        ):
            run = cell.run(seed)
            record = records.read(results, run.run_id)
            if record is None:
                continue
            seeds.setdefault(j, []).append(seed)
            training = record["training"]
            hours += (
                training["wall_s"]
                / training["stack"]
                / 3600
                * (training["threads"] if space.speed.device == "cpu" else 1)
            )
            if record["status"] != "finished":
                failed += 1
                continue
            row = run_table.columns(run, record)
            bits = row["strict_bits" if run.data.kind == "uniform" else "bits"]
            gain = record["convergence"]["gain_last_tenth"]
            rows.append(
                {
                    "cell": j,
                    "seed": seed,
                    "label": cell.label,
                    "status": "finished",
                    "parameters_total": cell.parameters,
                    "strict_bits": bits,
                    "strict_ceiling_bits": row.get("strict_ceiling_bits", cell.ceiling),
                    "gain_last_tenth": np.nan if gain is None else gain,
                    "exposures": row.get("exposures_mean", run.exposures),
                    "bits_per_parameter": bits / cell.parameters,
                }
                | (
                    {
                        "held_bits": bits,
                        "cast_bits": _cast(results, run),
                        "load": cell.load,
                        **cell.rung,
                    }
                    if space.ladder
                    else {}
                )
            )
    return Finished(pd.DataFrame(rows), seeds, hours, failed)


def _cast(results: Path, run) -> float:
    """Bits that a run holds after a cast to bf16, NaN where that was not measured."""
    rows = run_table.quantized_table(results, [run])
    return (
        float(rows.held_bits[rows.method == "bf16"].iloc[0])
        if len(rows) and (rows.method == "bf16").any()
        else math.nan
    )


def read_prior(path: Path, question: Question, space: Space) -> pd.DataFrame:
    """What another study has measured: from its fit.json units of random data, or arms of people of
    the same model and size of data; from its precision.json means over shapes by rung."""
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--prior {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"--prior {path}: not valid JSON: {error}") from None
    try:
        if space.ladder:
            way = next(cell.rung["way"] for cell in space.cells if cell.rung["way"] != "trained")
            asked = {cell.rung["rung"]: j for j, cell in enumerate(space.cells)}
            # a mean over the shapes of that study, and taken for one shape
            rows = [
                {
                    "cell": asked[c["rung"]],
                    "label": "prior",
                    "seed": 0,
                    "status": "finished",
                    "parameters_total": 1.0,
                    "held_bits": c["capacity"],
                    "cast_bits": math.nan,
                    "strict_ceiling_bits": math.inf,
                    "load": c["load_high"],
                }
                | {name: c[name] for name in ("way", "rung", "code_bits")}
                for c in tree["capacity"]
                if (c["way"], c["rung"]) == ("trained", "fp32")
                or (c["way"] == way and c["rung"] in asked)
            ]
        elif "parameters" in (v.name for v in question.form.variables):
            rows = [
                {
                    "cell": u["label"],
                    "label": f"prior {u['label']}",
                    "seed": u["seed"],
                    "status": "finished",
                    "parameters_total": u["parameters"],
                    "strict_bits": u["bits"],
                    "strict_ceiling_bits": u["bits"] / u["fraction"],
                    "gain_last_tenth": 0.0,
                }
                for u in tree["strict"]["units"]
                if not u["lower_bound"]
            ]
        else:
            label, items = space.labels[0], space.cells[0].config.items
            rows = [
                {
                    "cell": i,
                    "label": label,
                    "seed": 0,
                    "status": "finished",
                    "exposures": a["exposures"],
                    "bits_per_parameter": a["r"] * a["parameters_paper"] / a["parameters_total"],
                }
                for i, a in enumerate(tree["arms"])
                if a["label"] == label and a["n_people"] == items and a["r"] is not None
            ]
    except (KeyError, TypeError):
        kind = "precision" if space.ladder else "fit"
        raise ConfigError(
            f"--prior {path}: not the {kind}.json of a study that tells something of "
            f"{question.form.name}"
        ) from None
    if not rows:
        raise ConfigError(
            f"--prior {path}: nothing in it tells something of {question.form.name} for "
            f"{space.name}"
        )
    return pd.DataFrame(rows)
