"""`capacity show`: one run, whatever its state: settings, learning curve, measures, files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capacity import archive, compose, records
from capacity.base import table
from capacity.base.errors import ConfigError
from capacity.base.table import Column, Table
from capacity.base.words import clock, command, count, digits, file_size, plural, wrap
from capacity.config import COUPLED, from_record
from capacity.data import cache as kept
from capacity.declare import registry
from capacity.declare.field import Value
from capacity.inspection import curve
from capacity.inspection.settings import as_text, changed
from capacity.measure.describe import describe
from capacity.sweep.status import survey

EVALUATIONS = 8  # rows of the table of evaluations
LOSS = "loss_bits_per_token"


@dataclass(frozen=True)
class Found:
    """A run as its files have it. record: None while it has none; tree: its settings as nested
    dictionaries; state: as `capacity status` has it; row: what the status says besides, empty
    where its data are not at hand; kept: where a record without a folder is kept."""

    run_id: str
    record: dict[str, Any] | None
    tree: dict[str, Any]
    state: str
    row: dict[str, Any]
    kept: Path | None = None


def show(results: Path, text: str) -> str:
    """All that is known of the run that `text`, an id or the beginning of one, stands for, in lines
    of at most 80 columns. ConfigError where there is no such run, or several."""
    with _kept_records(results) as files:
        run_id = records.find(results, text)
        run = _read(results, run_id, files.get(run_id))
    lines = records.read_metrics(results, run_id)
    out = [*_head(run), "", *_settings(run)]
    if lines:
        out += ["", *_learning(lines), *_evaluations(lines)]
    out += ["", *_outcome(run, results)]
    return "\n".join([*out, "", *_files(run, results)])


@contextmanager
def _kept_records(results: Path) -> Iterator[dict[str, Path]]:
    """While open, runs are also found in the records that are kept beside fits; yields the file of
    each."""
    studies = results / "studies"
    names = sorted(
        path.parent.relative_to(studies).as_posix() for path in studies.rglob(archive.RECORDS)
    )
    with archive.reading(results, names) as known:
        yield known.files


def _read(results: Path, run_id: str, file: Path | None) -> Found:
    record = records.read(results, run_id)
    tree = record["config"] if record else _written_settings(results, run_id)
    kept.load(results, tree["data"])
    state, row = records.status(results, run_id), {}
    try:
        config = from_record(tree)
        (row,), _ = survey([config], results)
        state = row["status"]
    except ConfigError:  # its data are not at hand: the files say enough
        pass
    here = (records.run_dir(results, run_id) / "record.json").exists()
    return Found(run_id, record, tree, state, row, None if here or record is None else file)


def _written_settings(results: Path, run_id: str) -> dict[str, Any]:
    """Settings of a run without a record."""
    import json

    path = records.run_dir(results, run_id) / "config.json"
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"{run_id}: {path.parent} holds neither record.json nor config.json, so nothing is "
            "known of this run"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(tree, dict) or not {"data", "model", "train", "seed"} <= tree.keys():
        raise ConfigError(f"{path}: not the settings of a run")
    return tree


# What it is


def _head(run: Found) -> list[str]:
    """Id, state, and what was trained on what."""
    record, row, tree = run.record, run.row, run.tree
    title = f"run {run.run_id}: {run.state}"
    if record and record["status"] == "finished":
        t = record["training"]
        title += f", {clock(t['wall_s'])} on {t['device']}"
        if t["stack"] > 1:
            title += f" with {plural(t['stack'] - 1, 'other run')}"
    if record:
        title += f", {record['finished_at'][:16].replace('T', ' ')} UTC"
    elif row.get("step") is not None:
        title += f" at step {row['step']:,} of {row['steps']:,}"
        if row["seconds_left"] is not None:
            title += f", {clock(row['seconds_left'])} left"
    out = wrap(title, "", "  ")
    shape = f"{tree['model']['n_layers']}x{tree['model']['d_model']}"
    about = f"{shape}, {tree['data'].get('kind', 'uniform')} data"
    if record:
        data, t = record["data"], record["training"]
        total = record["parameters"]["total"]
        items = next(
            (f", {plural(data[key], one, many)}" for key, one, many in ITEMS if key in data), ""
        )
        about = (
            f"{shape}, {total:,} parameters; {tree['data'].get('kind', 'uniform')} data{items}, "
            f"{count(data['entropy_bits'])}bit = {data['load']:.3g} bits per parameter; "
            f"{t['steps']:,} steps, {t['exposures_expected']:,.0f} exposures"
        )
    out += wrap(about, "  ")
    if record and record["study"]:
        out += wrap(f"trained for {record['study']}", "  ")
    if row.get("where"):
        out += wrap(f"in the queue: {row['where']}", "  ")
    return out


ITEMS = (
    ("n_sequences", "sequence", "sequences"),
    ("n_people", "person", "people"),
    ("n_items", "item", "items"),
)


def _settings(run: Found) -> list[str]:
    """Settings that differ from those of `capacity train data=KIND`, and the command that trains
    the same run."""
    kind = run.tree["data"].get("kind", "uniform")
    own = changed(run.tree)
    given = "" if kind == "uniform" else f" data={kind}"
    if not own:
        return [f"settings: those of `capacity train{given}`"]
    columns = [Column("setting", right=False), Column("here"), Column("default")]
    rows = [[key, _short(here), _short(default)] for key, (here, default) in own.items()]
    caption = f"settings that differ from those of `capacity train{given}`"
    out = table.text(Table(columns, rows, caption))
    again = [f"data={kind}"] * (kind != "uniform")
    again += [
        f"{key}={as_text(here)}" for key, (here, _) in own.items() if not _by_partner(key, here)
    ]
    if _trains_this(run.run_id, again):
        out += command(["capacity", "train", *again], "  again: ", "    ")
    return out


def _short(value: object, most: int = 28) -> str:
    text = as_text(value)
    return text if len(text) <= most else "..." + text[3 - most :]


def _by_partner(key: str, value: object) -> bool:
    """Whether a setting is empty because another one, from which it follows, is given."""
    return value is None and any(key in pair for pair in COUPLED)


def _trains_this(run_id: str, overrides: list[str]) -> bool:
    """Whether `capacity train` with these settings trains the run; not where its data are gone."""
    try:
        return compose.load(overrides).run_id == run_id
    except ConfigError:
        return False


# How it learned


def _learning(lines: list[dict[str, Any]]) -> list[str]:
    """Loss against steps."""
    points = [(line["step"], line[LOSS]) for line in lines if line.get(LOSS) is not None]
    if not points:
        return []
    return ["learning curve: training loss, bits per token", *curve.lines(points, "steps")]


def _evaluations(lines: list[dict[str, Any]]) -> list[str]:
    """What evaluations of all data gave during training, evenly chosen from the first to the
    last."""
    evaluations = [line for line in lines if LOSS not in line]
    names = [
        name
        for name in dict.fromkeys(name for line in evaluations for name in line)
        if all(isinstance(line.get(name, 0), int | float | None) for line in evaluations)
    ]
    evaluations = [
        line for line in evaluations if any(name in line for name in names if name != "step")
    ]
    if not evaluations:
        return []
    last = len(evaluations) - 1
    picked = sorted({round(i * last / max(1, EVALUATIONS - 1)) for i in range(EVALUATIONS)})
    columns = [Column(name.replace("_", " "), detail=i > 3) for i, name in enumerate(names)]
    rows = [
        [_number(line.get(name), name == "step") for name in names]
        for line in (evaluations[i] for i in picked if i <= last)
    ]
    left = len(evaluations) - len(rows)
    more = f" ({left:,} more in metrics.jsonl)" if left else ""
    return ["", *table.text(Table(columns, rows, f"evaluations{more}"))]


def _number(value: float | None, whole: bool) -> str:
    return f"{value:,}" if whole and value is not None else digits(value, 4)


# What came out


def _outcome(run: Found, results: Path) -> list[str]:
    """What was measured, or why it failed, or what is to be done."""
    record = run.record
    if record is None or run.state == "running":
        return wrap(_WITHOUT.get(run.state, "no record yet"), "")
    if record["status"] == "failed":
        return _failure(run, record)
    out = ["measured", *describe(record, results).splitlines()[1:-1], "", "numbers"]
    groups: dict[int, list[Value]] = {}
    for value in registry.numbers(record["measures"]):
        if _name(value) and value.value is not None:
            groups.setdefault(id(value.field), []).append(value)
    for values in groups.values():
        out += _meaning(values)
    return [*out, "  all others: record.json; all runs as one table: capacity table"]


_WITHOUT = {
    "running": "measured: nothing yet; measures follow the last step",
    "queued": "measured: nothing yet; it waits in a queue",
    "requeued": "measured: nothing yet; it waits in a queue again",
    "interrupted": "measured: nothing yet; the command that trained it continues it from its "
    "checkpoint",
    "failed": "measured: nothing; it ended without a record, see the log",
}


def _failure(run: Found, record: dict[str, Any]) -> list[str]:
    error = record["error"]
    step = f" at step {error['step']:,}" if error.get("step") else ""
    out = wrap(f"failed{step}: {error['reason']}", "", "  ")
    if error.get("traceback"):
        out += [f"  {line}" for line in error["traceback"].rstrip().splitlines()]
    if run.row.get("log"):
        out.append(f"  {run.row['log']}")
    return out


def _name(value: Value) -> str:
    """Its column in the table of runs, or its name in the summary of a mirror; empty without."""
    if value.field is None:
        return ""
    return registry.column(value) or value.name(value.field.summary)


def _meaning(values: list[Value]) -> list[str]:
    """A number with its unit and meaning, or a family of numbers with one meaning."""
    declared = values[0].field
    assert declared is not None
    if len(values) == 1:
        name, value = _name(values[0]), values[0].value
        text = _in_words(value)
        unit = f" {declared.unit}" if declared.unit and not isinstance(value, str) else ""
        return [f"  {name} = {text}{unit}", *wrap(values[0].name(declared.meaning), "      ")]
    unit = f" ({declared.unit})" if declared.unit else ""
    return [
        *wrap(f"{declared.column or declared.path}{unit}: {declared.meaning}", "  ", "      "),
        *wrap(", ".join(f"{_name(v)} = {_in_words(v.value)}" for v in values), "      "),
    ]


def _in_words(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else digits(value, 4)


# What is left


def _files(run: Found, results: Path) -> list[str]:
    """Files of the run's folder with their sizes."""
    folder = records.run_dir(results, run.run_id)
    sizes = records.sizes(results, run.run_id)
    if not sizes and run.kept is not None:
        return wrap(
            f"files: no folder here; the record is kept in {run.kept}, without learning curve "
            "and weights",
            "",
            "  ",
        )
    if not sizes:
        return [f"files: none in {folder}"]
    columns = [Column("file", right=False), Column("size"), Column("", right=False)]
    rows = [[name, file_size(size), records.FILES.get(name, "")] for name, size in sizes.items()]
    out = [f"files in {folder}", *table.text(Table(columns, rows))]
    pruned = run.record is not None and run.record["status"] == "finished"
    if pruned and records.WEIGHTS not in sizes:
        note = records.pruned(results, run.run_id, records.WEIGHTS)
        why = f"weights: removed by `capacity prune` at {note['at']}" if note else "no weights"
        out += wrap(f"{why}; the run is neither measured again nor exported any more", "  ")
    elif note := records.pruned(results, run.run_id, records.CHECKPOINT):
        step = f" of step {note['step']:,}" if note.get("step") is not None else ""
        out += wrap(
            f"its checkpoint{step} was removed by `capacity prune` at {note['at']}; the run begins "
            "again at step 0",
            "  ",
        )
    return out
