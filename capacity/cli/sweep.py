"""The verbs of a sweep: sweep, status, cancel, retry, and worker, which a sweep starts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError
from capacity.base.hardware import keep_nice
from capacity.cli import arguments
from capacity.cli.help import CANCEL_HELP, RETRY_HELP, STATUS_HELP, SWEEP_HELP

if TYPE_CHECKING:
    from capacity.study import Study


def add_sweep(verb: arguments.Verb) -> None:
    """The arguments of `capacity sweep`."""
    sweep = verb("sweep", _sweep, "train all models of a study", SWEEP_HELP)
    arguments.study(sweep)
    arguments.overrides(sweep, arguments.WIN)
    sweep.add_argument("--dry-run", action="store_true", help="print runs, sizes and cost and stop")
    sweep.add_argument(
        "--show", action="store_true", help="list the runs, with what varies, and stop"
    )
    sweep.add_argument("--json", action="store_true", help="with --show: all of it, for scripts")
    sweep.add_argument("--csv", action="store_true", help="with --show: one row per run")
    sweep.add_argument("--retry-failed", action="store_true", help="also rerun runs that failed")
    arguments.quiet(sweep, "how many runs are finished")
    arguments.results(sweep)


def add_status(verb: arguments.Verb) -> None:
    """The arguments of `capacity status`."""
    status = verb("status", _status, "the state of a study's runs", STATUS_HELP)
    arguments.study(status)
    arguments.overrides(status, arguments.AS_IN_THE_SWEEP)
    status.add_argument(
        "--watch",
        action="store_true",
        help="refresh every few seconds while runs are queued or running",
    )
    status.add_argument(
        "--all", action="store_true", help="all rows, not the first 20 of each state"
    )
    status.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    arguments.results(status)


def add_cancel(verb: arguments.Verb) -> None:
    """The arguments of `capacity cancel`."""
    cancel = verb("cancel", _cancel, "remove a study from the queue", CANCEL_HELP)
    arguments.study(cancel)
    arguments.results(cancel)


def add_retry(verb: arguments.Verb) -> None:
    """The arguments of `capacity retry`."""
    retry = verb("retry", _retry, "rerun failed or lost runs", RETRY_HELP)
    arguments.study(retry)
    arguments.overrides(retry, "settings besides those of the last sweep")
    retry.add_argument(
        "--failed", action="store_true", help="runs that failed, or were lost with their job"
    )
    retry.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    arguments.quiet(retry, "how many runs are finished")
    arguments.results(retry)


def add_worker(verb: arguments.Verb) -> None:
    """The arguments of `capacity worker`."""
    worker = verb(
        "worker", _worker, "train a pack file (used by sweep)", "Train the runs of one pack file."
    )
    worker.add_argument(
        "--pack", type=Path, required=True, metavar="FILE", help="written by `capacity sweep`"
    )
    worker.add_argument(
        "--runs", metavar="ID,ID", help="only these runs, as one stack, in this process"
    )
    worker.add_argument(
        "--parent", type=int, metavar="PID", help="stop when this is no longer the parent process"
    )


def _begin(study: Study, results: Path) -> None:
    """Keep what fixes the verdicts of a study. A dry run does not come here, nor wait for the
    import."""
    from capacity.analysis import kinds

    kinds.record_expected(study, results)


def _sweep(args: argparse.Namespace) -> int:
    if args.show:
        from capacity.cli import show_sweep

        return show_sweep.show(args)
    if args.json or args.csv:
        raise ConfigError(f"--{'json' if args.json else 'csv'}: is for `capacity sweep --show`")
    from capacity.sweep import commands

    return commands.sweep(
        args.study,
        args.overrides,
        args.results,
        args.dry_run,
        args.retry_failed,
        begin=_begin,
        quiet=args.quiet,
    )


def _status(args: argparse.Namespace) -> int:
    from capacity.sweep.status import status

    return status(args.study, args.overrides, args.results, args.json, args.all, args.watch)


def _cancel(args: argparse.Namespace) -> int:
    from capacity.sweep import commands

    return commands.cancel(args.study, args.results)


def _retry(args: argparse.Namespace) -> int:
    from capacity.sweep import commands

    if not args.failed:
        raise ConfigError("retry: nothing selected; use --failed to rerun failed or lost runs")
    return commands.retry(
        args.study, args.overrides, args.results, args.dry_run, begin=_begin, quiet=args.quiet
    )


def _worker(args: argparse.Namespace) -> int:
    from capacity.sweep import worker

    if args.runs is not None:
        keep_nice()
        return worker.train_stack(args.pack, args.runs.split(","), args.parent)
    return worker.work(args.pack)
