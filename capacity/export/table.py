"""All runs as one tidy table: one row per run, or per run and variant of quantization, with every
setting, count and measured number.

Rows are those of `run_table.table` and `run_table.quantized_table`, the tables that laws are fitted
to; what these leave out is added from the settings and from record.json under its path there.
`columns` says what each column is.

What is not there is empty in CSV and null in Parquet, and nothing else is: a number that was not
measured, a run that is not finished, a setting that is empty (data.biographies for ever new texts)
or that this kind of data does not have. Lists are JSON text. Of lists in record.json, intervals and
levels of canaries become columns; single canaries, probes and tensors stay there.
"""

from __future__ import annotations

import io
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capacity import archive, naming, records, run_table
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.words import plural
from capacity.config import Config, from_record
from capacity.data import cache as kept
from capacity.export import columns

if TYPE_CHECKING:
    import pandas

DTYPES = {
    "int": "Int64",
    "float": "Float64",
    "bool": "boolean",
    "text": "string",
}  # of pandas, with a value for what is missing
REPEATED = (
    "lr",
    "batch_size",
    "precision",
    "seq_len",
)  # settings, which are columns by their dotted key
MEASURES = (
    "measure",
    "extraction",
    "quantize",
)  # settings that a finished run may have been measured by otherwise than its study says now


@dataclass(frozen=True)
class Group:
    """Planned runs of one study. names: those that it gives its variants; variants: run id -> what
    the run is called beside its size, data, exposures and seed."""

    study: str
    runs: list[Config]
    names: naming.Names = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)


def table(
    studies: list[str],
    overrides: list[str],
    results: Path,
    output: Path | None,
    quantized: bool,
    about: bool,
) -> int:
    """The verb: write the table to a file or to the terminal, or (about) say what its columns are;
    returns the exit code."""
    if output is not None and output.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"--output {output}: expected a file that ends in .csv or .parquet")
    if output is not None and output.suffix == ".parquet":
        _pyarrow(output)
    by_study, unread = groups(studies, overrides, results)
    with archive.reading(results, [group.study for group in by_study] if studies else []):
        frame = tidy(by_study, results, quantized)
    if about:
        print("\n".join(line for name in frame for line in describe(name, quantized)))
    elif output is None:
        sys.stdout.write(csv(frame).decode())
    else:
        files.write_atomic(
            output, csv(frame) if output.suffix == ".csv" else parquet(frame, quantized)
        )
        print(
            f"{output}: {plural(len(frame), 'row')}, {len(frame.columns)} columns",
            file=sys.stderr,
        )
    if unread:
        print(
            f"capacity: left out, because this version cannot read their settings: "
            f"{', '.join(unread)} ({next(iter(unread.values()))})",
            file=sys.stderr,
        )
    return 1 if unread else 0


def groups(
    studies: list[str], overrides: list[str], results: Path
) -> tuple[list[Group], dict[str, str]]:
    """The planned runs of each study, or without studies those that have a folder in results, by
    the study of their record; and those of the latter whose settings cannot be read, with the
    reason. Without studies no study file is read, and variants are called by their settings."""
    if studies:
        from capacity.study import load_study

        loaded = [load_study(name, overrides) for name in studies]
        return [Group(one.name, one.runs, one.names, one.variants) for one in loaded], {}
    if overrides:
        raise ConfigError(f"table: {overrides[0]}: settings are those of a study; name one")
    by_study: dict[str, list[Config]] = {}
    unread: dict[str, str] = {}
    for folder in sorted(path for path in records.runs_dir(results).glob("*") if path.is_dir()):
        record = records.read(results, folder.name)
        tree = record["config"] if record else _planned(folder)
        if tree is None:
            continue
        kept.load(results, tree["data"])
        try:
            config = from_record(tree)
            if config.run_id != folder.name:
                raise ConfigError(f"they are those of run {config.run_id} now")
        except ConfigError as error:  # of another version, or its lists are gone
            unread[folder.name] = str(error)
        else:
            by_study.setdefault((record or {}).get("study") or "", []).append(config)
    if not by_study:
        why = f" that can be read: {next(iter(unread.values()))}" if unread else ""
        raise ConfigError(f"table: no run in {records.runs_dir(results)}{why}")
    return [Group(name, runs, {}, _called(runs)) for name, runs in sorted(by_study.items())], unread


def _called(runs: Sequence[Config]) -> dict[str, str]:
    return {run.run_id: name for run, name in zip(runs, naming.of_runs(runs), strict=True)}


def _planned(folder: Path) -> dict | None:
    """The settings of a run that has no record yet, or None where they were not written."""
    try:
        return json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(f"{folder / 'config.json'}: not valid JSON: {error}") from None


def tidy(by_study: Sequence[Group], results: Path, quantized: bool = False) -> pandas.DataFrame:
    """The table, its columns typed and in the order of `columns.in_order`, its rows in that of the
    studies. A run that several studies have is there once and names them all; its model and its
    variant are called as the first calls them."""
    import pandas

    names_of: dict[str, list[str]] = {}
    for group in by_study:
        for config in group.runs:
            names_of.setdefault(config.run_id, []).append(group.study)
    rows, done = [], set()
    rows_of = run_table.quantized_table if quantized else run_table.table
    for group in by_study:
        base = rows_of(results, group.runs, group.names)
        about = {
            config.run_id: {"variant": group.variants.get(config.run_id, "")}
            | _about(config, results, quantized)
            for config in group.runs
            if config.run_id not in done
        }
        rows += [
            row | about[row["run_id"]] | {"study": "; ".join(filter(None, names_of[row["run_id"]]))}
            for row in base.to_dict("records")
            if row["run_id"] in about
        ]
        done |= set(about)
    if not rows:
        raise ConfigError(
            "table: no run of these was measured after quantization; run: capacity measure RUN_ID "
            "quantize=row"
        )
    names = columns.in_order({name for row in rows for name in row} - set(REPEATED), quantized)
    kinds = {name: columns.describe(name, quantized)[0] for name in names}
    return pandas.DataFrame(
        {
            name: pandas.Series([_cell(row.get(name)) for row in rows], dtype=DTYPES[kinds[name]])
            for name in names
        }
    )


def _about(config: Config, results: Path, quantized: bool) -> dict[str, Any]:
    """The settings of a run by dotted key, and where it has a record all of its single numbers
    (quantized: settings alone)."""
    record = records.read(results, config.run_id)
    trees = {name: tree for name, tree in config.as_dict().items() if name in columns.SETTINGS}
    if record:
        used = from_record(record["config"]).as_dict()
        trees |= {name: used[name] for name in MEASURES}
    row = {
        f"{section}.{key}": value
        for section in columns.SETTINGS
        for key, value in trees[section].items()
    }
    if quantized:
        return row
    numbers = columns.numbers(record) if record else ()
    return row | {"exposures": config.exposures} | {name: value for _, name, value in numbers}


def _cell(value: Any) -> Any:
    """A value for a typed column: None for what is missing, JSON for lists."""
    if isinstance(value, (list, tuple)):
        return json.dumps(value)
    return None if value is None or value != value or value == "" else value


def csv(frame: pandas.DataFrame) -> bytes:
    """As bytes, full precision, missing values empty."""

    return files.csv(frame)


def parquet(frame: pandas.DataFrame, quantized: bool = False) -> bytes:
    """As bytes, missing values null; the schema has unit and meaning of each column as metadata of
    its field."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    for i, name in enumerate(frame):
        _, unit, meaning = columns.describe(name, quantized)
        table = table.cast(
            table.schema.set(
                i, table.schema.field(i).with_metadata({"unit": unit, "meaning": meaning})
            )
        )
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


def _pyarrow(output: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"--output {output}: Parquet needs the package pyarrow; pip install pyarrow, or name a "
            ".csv file"
        ) from None


def describe(name: str, quantized: bool = False) -> list[str]:
    """A column in lines of at most 80 columns: name, type and unit, and below what it means."""
    kind, unit, meaning = columns.describe(name, quantized)
    head = f"{name}  [{', '.join(filter(None, (kind, unit)))}]"
    return [head, *textwrap.wrap(meaning, 80, initial_indent="    ", subsequent_indent="    ")]
