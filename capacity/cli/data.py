"""The verb data: what a run would be trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import DATA_HELP


def add_data(verb: arguments.Verb) -> None:
    """The arguments of `capacity data`."""
    data = verb("data", _data, "what a run is trained on", DATA_HELP)
    arguments.overrides(data, arguments.OVERRIDES)
    data.add_argument(
        "--output", type=Path, metavar="FILE", help="a .jsonl or .parquet file with all of it"
    )
    data.add_argument(
        "--texts",
        type=int,
        metavar="N",
        help="texts of each generated person (default: all that a run shows, or as many as "
        "measure.contexts)",
    )


def _data(args: argparse.Namespace) -> int:
    if args.texts is not None and args.texts < 1:
        raise ConfigError(f"--texts {args.texts}: expected at least 1")
    from capacity.inspection import data

    print(data.show(args.overrides, args.output, args.texts))
    return 0
