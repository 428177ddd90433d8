"""The verb show: one run."""

from __future__ import annotations

import argparse

from capacity.cli import arguments
from capacity.cli.help import SHOW_HELP


def add_show(verb: arguments.Verb) -> None:
    """The arguments of `capacity show`."""
    show = verb("show", _show, "all about one run", SHOW_HELP)
    show.add_argument("run_id", metavar="RUN", help="the id of a run, or at least 4 digits of it")
    arguments.results(show)


def _show(args: argparse.Namespace) -> int:
    from capacity.inspection import run

    print(run.show(args.results, args.run_id))
    return 0
