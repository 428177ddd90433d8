"""`capacity sweep --show STUDY`: the runs of a study, each with what varies."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from capacity import naming, records
from capacity.base.words import joined, plural, wrap
from capacity.cli import columns
from capacity.naming import Value
from capacity.study import Study, load_study

SHAPE = naming.SIZES[:2]  # what the model column says


def show(args: argparse.Namespace) -> int:
    """Print the runs; nothing is trained or written."""
    study = load_study(args.study, args.overrides)
    rows = _rows(study, args.results)
    text = columns.machine(args, rows)
    print(text if text is not None else "\n".join(_lines(study, rows)))
    return 0


def _rows(study: Study, results: Path) -> list[dict[str, Any]]:
    """One row per run: who it is, what it amounts to, and every setting that varies."""
    settings = [naming.settings(run) for run in study.runs]
    keys = dict.fromkeys(key for row in settings for key in row)
    varied = [key for key in keys if len({row.get(key) for row in settings}) > 1]
    return [
        {
            "run_id": run.run_id,
            "status": records.status(results, run.run_id),
            "model": run.shape,
            "variant": study.variants[run.run_id],
            "parameters_total": run.parameters["total"],
            run.data.size_key: run.items,
            "exposures": float(f"{run.exposures:.6g}"),
            "steps": run.steps,
            "seed": run.seed,
        }
        | {key: row.get(key) for key in varied}
        for run, row in zip(study.runs, settings, strict=True)
    ]


def _lines(study: Study, rows: list[dict[str, Any]]) -> list[str]:
    """The rows for people: settings that follow from those that are shown are named once."""
    shown, follow = _varied_and_following(study, rows)
    states = {str(row["status"]) for row in rows}
    heads = ["run", *["state"] * (len(states) > 1), "model", "parameters"]
    heads += [_short(key, shown) for key in shown] + ["seed"]
    heads += ["variant"] * any(row["variant"] for row in rows)
    table = []
    for row in rows:
        cells = [row["run_id"], *[row["status"]] * (len(states) > 1), row["model"]]
        cells += [f"{row['parameters_total']:,}", *(naming.text(row[key]) for key in shown)]
        cells += [str(row["seed"]), *[row["variant"]] * ("variant" in heads)]
        table.append(cells)
    numbers = {"parameters", "seed"} | {
        _short(key, shown) for key in shown if not any(isinstance(row[key], str) for row in rows)
    }
    right = "".join(">" if head in numbers else "<" for head in heads)
    total = f"{study.name}: {plural(len(rows), 'run')}"
    total += f", all {states.pop()}" if len(states) == 1 else ""
    lines = [total, *columns.aligned(heads, table, right)]
    if follow:
        lines += wrap(f"{joined(follow)} {'follow' if len(follow) > 1 else 'follows'} from these")
    return lines


def _varied_and_following(study: Study, rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Settings that a column is for, and those that follow from model, variant and columns."""
    varied = [key for key in rows[0] if "." in key and key not in SHAPE]
    # of two spellings of one amount, what was asked for; what is tried out stands last
    order = sorted(varied, key=lambda key: (key not in naming.AMOUNTS, key in study.best_over))
    keys: list[tuple[Value, ...]] = [(row["model"], row["variant"]) for row in rows]
    shown = []
    for key in order:
        values = [row[key] for row in rows]
        if naming.splits(keys, values):
            shown.append(key)
            keys = [(*old, value) for old, value in zip(keys, values, strict=True)]
    in_variant = {part.partition("=")[0] for row in rows for part in row["variant"].split(", ")}
    follow = [key for key in varied if key not in shown and key.partition(".")[2] not in in_variant]
    return shown, follow


def _short(key: str, keys: list[str]) -> str:
    """The name without its section, where that is enough."""
    name = key.partition(".")[2]
    return key if sum(other.partition(".")[2] == name for other in keys) > 1 else name
