"""What runs and other studies have measured already, as the tables that targets learn from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from capacity import records, run_table
from capacity.analysis import convert, refused
from capacity.base.errors import ConfigError
from capacity.config import Config
from capacity.design.space import Cell, Space
from capacity.design.target import Target


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Runs of the space that have records: a table (columns as `Target.simulate`), seeds that are
    taken by cell, hours spent, runs that failed."""

    table: pd.DataFrame
    seeds: dict[int, list[int]]
    hours: float
    failed: int


def finished(space: Space, results: Path) -> Finished:
    """What has records among the runs that a plan may ask for."""
    rows, seeds, hours, failed = [], {}, 0.0, 0
    for j, run in _candidates(space):
        record = records.read(results, run.run_id)
        if record is None:
            continue
        seeds.setdefault(j, []).append(run.seed)
        training = record["training"]
        threads = training["threads"] if space.speed.device == "cpu" else 1
        hours += training["wall_s"] / training["stack"] / 3600 * threads
        if record["status"] == "finished":
            unasked = run_table.columns(run, record).get("unasked_fraction", math.nan)
            if refused.reason(run.data.kind, unasked):
                continue
            row = _row(space.cells[j], run, record)
            if space.formats:
                row["cast_bits"] = _cast_bits(results, run)
                row |= {"held_bits": row["strict_bits"], "load": space.cells[j].load}
                row |= space.cells[j].trained_in
            rows.append({"cell": j} | row)
        else:
            failed += 1
    return Finished(table=pd.DataFrame(rows), seeds=seeds, hours=hours, failed=failed)


def _candidates(space: Space) -> Iterator[tuple[int, Config]]:
    """(cell, run) that a plan may ask for: of a cell as many seeds as are allowed, and of one model
    each run with a seed of its own."""
    last = min(space.seeds) + space.most * (
        1 if space.formats else int(max(np.bincount(space.cluster)))
    )
    new = range(min(space.seeds), max(max(space.seeds), last) + 1)
    for j, cell in enumerate(space.cells):
        for seed in sorted({*space.seeds, *new}):
            yield j, cell.run(seed)


def _row(cell: Cell, run: Config, record: dict) -> dict:
    row = run_table.columns(run, record)
    bits = row["strict_bits" if run.data.kind == "uniform" else "bits"]
    gain = record["convergence"]["gain_last_tenth"]
    return {
        "seed": run.seed,
        "model": cell.model,
        "status": "finished",
        "parameters_total": cell.parameters,
        "strict_bits": bits,
        "strict_ceiling_bits": row.get("strict_ceiling_bits", cell.ceiling),
        "gain_last_tenth": np.nan if gain is None else gain,
        "exposures": row.get("exposures_mean", run.exposures),
        "bits_per_parameter": bits / cell.parameters,
    }


def _cast_bits(results: Path, run: Config) -> float:
    """Bits that a run holds after a cast to bf16, NaN where that was not measured."""
    rows = run_table.quantized_table(results, [run])
    if rows.empty or not (rows.method == "bf16").any():
        return math.nan
    return float(rows.held_bits[rows.method == "bf16"].iloc[0])


def read_prior(path: Path, target: Target, space: Space) -> pd.DataFrame:
    """What another study has measured: from its fit.json plateaus of random data, or arms of people
    of the same model and size of data; from its precision.json means over models by format."""
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"--prior {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"--prior {path}: not valid JSON: {error}") from None
    try:
        tree = convert.current(tree)  # files of older versions too
        if space.formats:
            rows = _formats(tree, space)
        elif "parameters" in (v.name for v in target.form.variables):
            rows = _plateaus(tree)
        else:
            rows = _exposures(tree, space)
    except (AttributeError, KeyError, TypeError):
        kind = "precision" if space.formats else "fit"
        raise ConfigError(
            f"--prior {path}: not the {kind}.json of a study that can serve as a prior for "
            f"{target.form.name}"
        ) from None
    if not rows:
        raise ConfigError(
            f"--prior {path}: no result in this file can serve as a prior for {target.form.name} "
            f"on {space.name}"
        )
    return pd.DataFrame(rows).assign(status="finished")


def _formats(tree: dict, space: Space) -> list[dict]:
    """Means over the models of that study, each taken for one model."""
    methods = [cell.trained_in["method"] for cell in space.cells]
    method = next(name for name in methods if name != "trained")
    places = {cell.trained_in["format"]: j for j, cell in enumerate(space.cells)}
    return [
        {
            "cell": places[c["format"]],
            "model": "prior",
            "seed": 0,
            "parameters_total": 1.0,
            "held_bits": c["capacity"],
            "cast_bits": math.nan,
            "strict_ceiling_bits": math.inf,
            "load": c["load_high"],
        }
        | {name: c[name] for name in ("method", "format", "code_bits")}
        for c in tree["capacity"]
        if (c["method"], c["format"]) == ("trained", "fp32")
        or (c["method"] == method and c["format"] in places)
    ]


def _plateaus(tree: dict) -> list[dict]:
    return [
        {
            "cell": u["model"],
            "model": f"prior {u['model']}",
            "seed": u["seed"],
            "parameters_total": u["parameters"],
            "strict_bits": u["bits"],
            "strict_ceiling_bits": u["bits"] / u["fraction"],
            "gain_last_tenth": 0.0,
        }
        for u in tree["strict"]["units"]
        if not u["lower_bound"]
    ]


def _exposures(tree: dict, space: Space) -> list[dict]:
    model, items = space.models[0], space.cells[0].config.items
    return [
        {
            "cell": i,
            "model": model,
            "seed": 0,
            "exposures": a["exposures"],
            "bits_per_parameter": a["r"] * a["parameters_paper"] / a["parameters_total"],
        }
        for i, a in enumerate(tree["arms"])
        if a["model"] == model and a["n_people"] == items and a["r"] is not None
    ]
