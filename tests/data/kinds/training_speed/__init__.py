"""A kind of study that the package does not have: how fast runs on random data were trained."""

import numpy as np
from matplotlib import rc_context

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
from capacity.analysis.finding import Finding, head
from capacity.analysis.residuals import Residuals, percent, points
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, plural
from capacity.figures.style import COLORS, STYLE, log_axes, of_runs, panel
from capacity.fitting.statistics import t_interval

COMPARES = False


def applies(runs, table):
    return all(run.data.kind == "uniform" for run in runs)


def analyse(study, table, results, options):
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


def document(finding):
    fit, runs = finding.numbers, finding.tables["runs.csv"]
    value = digits(fit["per_parameter"], 4)
    number = Number(
        "s", fit["per_parameter"], "1/s", [Interval("over runs", fit["interval"], quote=True)]
    )
    rows = [
        [label, digits(part.parameters_total.iloc[0]), digits(part.speed.mean(), 4)]
        for label, part in runs.groupby("label", sort=False)
    ]
    columns = [Column("shape", right=False), Column("P", "parameters"), Column("operations / s")]
    return Document(
        f"Speed of {fit['study']}",
        [f"**{value} operations per second and parameter**, 95% {ends(fit['interval'], 4)}."],
        [
            Section("speeds", "Speed of each shape", [Table(columns, rows, name="speeds")]),
            Section("laws", "Speed against size", [Laws([Law("v = s P", "v = s P", [number])])]),
            Section("advice", "What to do", [Bullets(["train wider models"])]),
        ],
        [Flag("slow", "took more than an hour", fit["slow"])],
        ["Seconds depend on the machine."],
        [("operations", "floating-point operations of training")],
        {"speed": "Operations per second against parameters"},
        [f"{plural(fit['runs'], 'run')} timed."],
    )


def figures(finding):
    runs = finding.tables["runs.csv"]
    x, y = runs.parameters_total.astype(float), runs.speed
    with rc_context(STYLE):
        figure, ax = panel()
        log_axes(ax, (x.min() / 2, 2 * x.max()), (y.min() / 2, 2 * y.max()))
        line = ax.plot(x, y, ls="none", marker="o", color=COLORS[0], gid="runs")
        of_runs(line, runs.run_id)
        ax.set_xlabel("parameters P")
        ax.set_ylabel("operations per second")
    return {"speed": figure}


def residuals(finding):
    runs = finding.tables["runs.csv"]
    fitted = finding.numbers["per_parameter"] * runs.parameters_total
    rows = points("v = s P", runs.parameters_total, percent(fitted, runs.speed), runs.run_id)
    return [Residuals("speed, per run", "speed", "%", "parameters P", rows)]


def columns(runs):
    return [RunColumn("speed", "operations/s", "of training, per second", main=True)]
