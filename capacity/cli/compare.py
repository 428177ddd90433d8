"""The verb compare: whether variant A stores more than variant B."""

from __future__ import annotations

import argparse

from capacity.cli import arguments
from capacity.cli.help import COMPARE_HELP


def add_compare(verb: arguments.Verb) -> None:
    """The arguments of `capacity compare`."""
    compare = verb("compare", _compare, "whether A stores more than B", COMPARE_HELP)
    arguments.study(compare)
    arguments.overrides(compare, arguments.AS_IN_THE_SWEEP)
    compare.add_argument(
        "--a", metavar="KEY=VALUE[,..]", help="settings that select A, or its name"
    )
    compare.add_argument(
        "--b",
        action="append",
        metavar="KEY=VALUE[,..]",
        help="settings that select B, or its name; may be given several times",
    )
    compare.add_argument(
        "--value", metavar="COLUMN", help="column to compare instead of bits per parameter"
    )
    arguments.figures(compare)
    arguments.results(compare)


def _compare(args: argparse.Namespace) -> int:
    from capacity.analysis.comparison import command

    return command.compare(args, arguments.look(args))
