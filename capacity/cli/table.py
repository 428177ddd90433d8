"""The verbs table and export: runs as one table, a model as a folder for transformers."""

from __future__ import annotations

import argparse
from pathlib import Path

from capacity.cli import arguments
from capacity.cli.help import EXPORT_HELP, TABLE_HELP


def add_table(verb: arguments.Verb) -> None:
    """The arguments of `capacity table`."""
    table = verb("table", _table, "all runs as one CSV or Parquet file", TABLE_HELP)
    arguments.overrides(
        table,
        "studies (none: all runs in results), and settings of their sweeps, if any",
        "STUDY|KEY=VALUE",
    )
    table.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="a .csv or .parquet file (default: CSV to the terminal)",
    )
    table.add_argument(
        "--quantized", action="store_true", help="one row per run and variant of quantization"
    )
    table.add_argument(
        "--columns",
        action="store_true",
        help="print name, type, unit and meaning of each column and stop",
    )
    arguments.results(table)


def add_export(verb: arguments.Verb) -> None:
    """The arguments of `capacity export`."""
    export = verb("export", _export, "write a model for transformers", EXPORT_HELP)
    export.add_argument("run_id", metavar="RUN_ID")
    export.add_argument(
        "--output", type=Path, metavar="FOLDER", help="a new or an empty folder for the model"
    )
    export.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="a new or an empty folder for what a run of text is scored on: members.jsonl, "
        "others.jsonl and, if it has canaries, canaries.jsonl, as `capacity audit` reads them",
    )
    arguments.results(export)


def _table(args: argparse.Namespace) -> int:
    from capacity.export import table

    return table.table(
        [text for text in args.overrides if "=" not in text],
        [text for text in args.overrides if "=" in text],
        args.results,
        args.output,
        args.quantized,
        args.columns,
    )


def _export(args: argparse.Namespace) -> int:
    from capacity import records
    from capacity.base.errors import ConfigError
    from capacity.export import data, huggingface

    run_id = records.find(args.results, args.run_id)
    if args.output is None and args.data is None:
        raise ConfigError(
            f"{run_id}: nothing to write; give --output FOLDER, --data FOLDER, or both"
        )
    if args.output is not None:
        if args.data is not None:  # before anything is written
            data.check_empty(args.data, "--data")
        exported = huggingface.export(args.results, run_id, args.output)
        kind = exported.config["architectures"][0]
        print("\n  ".join([f"{args.output}: {kind}", *exported.notes]))
    if args.data is not None:
        written = data.write(args.results, run_id, args.data)
        print(f"{args.data}: " + ", ".join(f"{name} {n:,}" for name, n in written.items()))
    return 0
