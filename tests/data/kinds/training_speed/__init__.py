"""A kind of study that the package does not have: how fast runs on random data were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis.document import (
    Bullets,
    Document,
    Flag,
    Interval,
    Law,
    Laws,
    Number,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.residuals import Residuals, percent, points
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, plural
from capacity.config import Config
from capacity.fitting.statistics import t_interval
from capacity.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPARES = False


def applies(runs: Sequence[Config], table: pd.DataFrame) -> bool:
    return all(run.data.kind == "uniform" for run in runs)


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    done = table[table.status == "finished"]
    if len(done) < 3:
        raise ValueError(f"{plural(len(done), 'finished run')}; a speed needs three")
    runs = table.assign(speed=table.flops.astype(float) / table.wall_s)
    ratio = np.log(runs.speed / runs.parameters_total).dropna()
    numbers = head("training_speed", 1, study.name, "0" * 64) | {
        "per_parameter": float(np.exp(ratio.mean())),
        "interval": [float(end) for end in np.exp(t_interval(ratio))],
        "runs": len(done),
        "slow": sorted(done.run_id[done.wall_s > 3600]),
    }
    return Finding("training_speed", "speed.json", numbers, {"runs.csv": runs})


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    return [], {}  # no published value is about the speed of training


def document(finding: Finding) -> Document:
    fit, runs = finding.numbers, finding.tables["runs.csv"]
    value = digits(fit["per_parameter"], 4)
    number = Number(
        "s", fit["per_parameter"], "1/s", [Interval("over runs", fit["interval"], quote=True)]
    )
    rows = [
        [model, digits(part.parameters_total.iloc[0]), digits(part.speed.mean(), 4)]
        for model, part in runs.groupby("model", sort=False)
    ]
    columns = [Column("model", right=False), Column("P", "parameters"), Column("operations / s")]
    return Document(
        f"Speed of {fit['study']}",
        [f"**{value} operations per second and parameter**, 95% {ends(fit['interval'], 4)}."],
        [
            Section("speeds", "Speed of each model", [Table(columns, rows, name="speeds")]),
            Section("laws", "Speed against size", [Laws([Law("v = s P", "v = s P", [number])])]),
            Section("advice", "What to do", [Bullets(["train wider models"])]),
        ],
        [Flag("slow", "took more than an hour", fit["slow"])],
        ["Seconds depend on the machine."],
        [("operations", "floating-point operations of training")],
        {"speed": "Operations per second against parameters"},
        [f"{plural(fit['runs'], 'run')} timed."],
    )


def figures(finding: Finding) -> Mapping[str, Figure]:
    from .plots import speed

    return {"speed": speed(finding.tables["runs.csv"])}


def residuals(finding: Finding) -> list[Residuals]:
    runs = finding.tables["runs.csv"]
    fitted = finding.numbers["per_parameter"] * runs.parameters_total
    rows = points("v = s P", runs.parameters_total, percent(fitted, runs.speed), runs.run_id)
    return [Residuals("speed, per run", "speed", "%", "parameters P", rows)]


def columns(runs: pd.DataFrame) -> list[RunColumn]:
    return [RunColumn("speed", "operations/s", "of training, per second", main=True)]
