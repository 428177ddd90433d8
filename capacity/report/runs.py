"""The table of runs of a page: what each run is, how it ended, what it measured, how far its fit is
off; and means over seeds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from capacity import records, run_table
from capacity.analysis.document import Flag, RunColumn
from capacity.analysis.residuals import Residuals
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.base.words import capitalized, digits, span
from capacity.config import Config

STATES = ("finished", "failed", "missing", "interrupted", "running")
IN_THE_MODEL = ("model.n_layers", "model.d_model")  # the name of a model has them
FOLLOW = ("data.lexicon", "data.pool")  # digests of other settings
MEASURED = (
    "data.tokens_per_parameter",
)  # settings that a column of the table has as they came out


def varied(configs: list[Config]) -> Frame:
    """Settings of data, model and train in which the planned runs of a study differ, a column each
    by dotted key; run_id and seed."""
    table: Frame = pd.DataFrame([run_table.settings(config) for config in configs], dtype=object)
    keep = [
        key
        for key in table
        if key not in (*IN_THE_MODEL, *FOLLOW) and table[key].map(repr).nunique() > 1
    ]
    return table[keep].assign(
        run_id=[config.run_id for config in configs], seed=[config.seed for config in configs]
    )


def states(results: Path, table: Frame) -> dict[str, str]:
    """run_id -> finished, failed, running, interrupted or missing."""
    return {
        run_id: status if status == "finished" else records.status(results, run_id)
        for run_id, status in zip(table.run_id, table.status, strict=True)
    }


def flags_of(flags: list[Flag]) -> dict[str, list[str]]:
    """run_id -> names of its flags, but for those that its status says already."""
    out: dict[str, list[str]] = {}
    for flag in flags:
        for run_id in flag.runs if flag.name not in STATES else []:
            out.setdefault(run_id, []).append(flag.name)
    return out


def headings(settings: Frame) -> dict[str, str]:
    """Dotted key -> its last part, where only one setting has it."""
    keys = [key for key in settings if "." in key]
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)
    }


def errors(residuals: list[Residuals]) -> list[tuple[str, str, dict[str, float]]]:
    """Of every law whose points are single runs: heading, meaning, and by run the error."""
    out = []
    for part in residuals:
        points = part.points[part.points.run_id != ""]
        if points.empty:
            continue
        series = (
            {"": points}
            if points.run_id.is_unique
            else dict(list(points.groupby("series", sort=False)))
        )
        if all(
            rows.run_id.is_unique for rows in series.values()
        ):  # else a run is several points, as at each level of its canaries
            for name, rows in series.items():
                words = f"fitted minus measured ({part.unit}): {part.law}" + (
                    f", {name}" if name else ""
                )
                out.append(
                    (
                        ":".join(filter(None, ("error", part.key, str(name).replace(" ", "-")))),
                        words,
                        dict(zip(rows.run_id, rows.error, strict=True)),
                    )
                )
    return out


def build(
    configs: list[Config],
    runs: Frame,
    columns: list[RunColumn],
    states: dict[str, str],
    flags: list[Flag],
    residuals: list[Residuals],
) -> dict[str, Any]:
    """{"columns": [{heading, meaning, number, setting}], "rows": [[cell]]}; a cell is a number, a
    text or None. runs: of `run_table.table`, or judged."""
    settings = varied(configs).drop(columns=list(MEASURED), errors="ignore").set_index("run_id")
    runs = (
        runs.drop_duplicates("run_id").set_index("run_id").loc[settings.index]
    )  # as they are planned
    marks = flags_of(flags)
    parts: list[tuple[str, str, list[Any]]] = [
        ("run", "the run's id; its folder is results/runs/<id>", list(runs.index)),
        (
            "status",
            "finished, failed, running, interrupted (a checkpoint, and nobody trains it) or "
            "missing",
            [states[run_id] for run_id in runs.index],
        ),
        (
            "flags",
            "see the list of flags",
            [", ".join(marks.get(run_id, [])) for run_id in runs.index],
        ),
        (
            "model",
            "layers x width, and settings of the model that tell equal ones apart",
            runs.model.tolist(),
        ),
        ("seed", "of initialisation and order", settings.seed.tolist()),
    ]
    for column in columns:
        values = runs[column.name]
        parts.append(
            (
                column.heading,
                column.meaning,
                (values / runs[column.per] if column.per else values).tolist(),
            )
        )
    parts += [
        (name, meaning, [by_run.get(run_id) for run_id in runs.index])
        for name, meaning, by_run in errors(residuals)
    ]
    parts += [
        (name, f"setting {key}", settings[key].tolist()) for key, name in headings(settings).items()
    ]
    if (runs.error.fillna("") != "").any():
        parts.append(("error-message", "why the run failed", runs.error.fillna("").tolist()))
    cells = [[_cell(value) for value in values] for _, _, values in parts]
    return {
        "columns": [
            {
                "heading": heading,
                "meaning": meaning,
                "number": _numeric(values),
                "setting": meaning.startswith("setting "),
            }
            for (heading, meaning, _), values in zip(parts, cells, strict=True)
        ],
        "rows": [list(row) for row in zip(*cells, strict=True)],
    }


def means(configs: list[Config], runs: Frame, columns: list[RunColumn]) -> tuple[Frame, str | None]:
    """Means and standard deviations over the seeds of otherwise equal finished runs, for the
    columns that are the main ones: a row per kind of run, with name (what it differs in, but for
    `over`), runs, and by heading the mean and "sd HEADING"; and `over`, the setting with the most
    different numbers, None where no setting varies."""
    settings = varied(configs).drop_duplicates("run_id").set_index("run_id")
    done = runs[runs.status == "finished"].set_index("run_id")
    names = headings(settings)
    settings = settings.rename(columns=names).drop(columns="seed").loc[done.index]
    main = [column for column in columns if column.main]
    values = pd.DataFrame(
        {
            column.heading: (
                done[column.name] / done[column.per] if column.per else done[column.name]
            ).astype(float)
            for column in main
        }
    )
    numeric = {
        name: settings[name].nunique()
        for name in names.values()
        if settings[name].map(lambda v: isinstance(v, (int, float))).all()
    }
    over = max(numeric, key=lambda name: numeric[name]) if numeric else None
    shown = pd.DataFrame({"model": done.model} | {name: settings[name] for name in names.values()})
    keys = _joined(shown)
    rows = []
    for _, index in keys.groupby(keys, sort=False).groups.items():
        first = shown.loc[index[0]]
        row = first.to_dict() | {"name": ", ".join(_named(shown, first, over)), "runs": len(index)}
        for heading in values:
            row |= {
                heading: values.loc[index, heading].mean(),
                f"sd {heading}": values.loc[index, heading].std(),
            }
        rows.append(row)
    table = pd.DataFrame(rows)
    if over:
        table = table.assign(**{over: table[over].astype(float)}).sort_values(
            ["name", over], ignore_index=True
        )
    return table, over


def measured(means: Frame, over: str | None, columns: list[RunColumn]) -> list[str]:
    """A sentence per main number, of the first two: the least and the most of its means, each with
    the model and the settings that have it. means, over: of `means`."""
    out = []
    for column in [c for c in columns if c.main and c.heading in means][:2]:
        known = means.dropna(subset=[column.heading]).sort_values(column.heading, kind="stable")
        if known.empty:
            continue
        ends = [known.iloc[0], known.iloc[-1]] if len(known) > 1 else [known.iloc[0]]
        extremes = " to ".join(
            f"**{digits(row[column.heading], 4)}** ({_whose(row, over)})" for row in ends
        )
        runs = span(known.runs.min(), known.runs.max())
        sd = known[f"sd {column.heading}"].dropna()
        noise = f", standard deviation {span(sd.min(), sd.max())} over seeds" if len(sd) else ""
        what = capitalized(column.meaning or column.heading)
        of = "mean of" if len(known) == 1 else f"least and most of {len(known)} means of"
        out.append(
            f"{what}: {extremes}; {of} {runs} {'runs' if known.runs.max() > 1 else 'run'}{noise}."
        )
    return out


def _whose(row: pd.Series, over: str | None) -> str:
    """The model of a row of means, and the settings that tell it from others."""
    model, name = str(row["model"]), str(row["name"])
    parts = [] if name.split(", ", maxsplit=1)[0] == model else [model]
    parts += [name] if name else []
    parts += [f"{over}={row[over]:g}"] if over else []
    return ", ".join(parts)


def _named(shown: Frame, row: pd.Series, over: str | None) -> list[str]:
    """What tells a row's curve from others: the model, and settings that do not follow from it
    and `over`."""
    out = [str(row["model"])] if shown["model"].nunique() > 1 else []
    known = ["model"] + [over] * (over is not None)
    return out + [
        f"{name}={row[name]}"
        for name in shown
        if name not in known
        and _joined(shown[[*known, name]]).nunique() > _joined(shown[known]).nunique()
    ]


def _joined(frame: Frame) -> pd.Series:
    """Each row as one text, so that rows compare whatever they hold."""
    return pd.Series([repr(tuple(row)) for row in frame.itertuples(index=False)], frame.index)


def _cell(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, (list, dict)):
        return str(value)
    return (
        None
        if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA
        else value
    )


def _numeric(values: list[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        for value in known
    )
