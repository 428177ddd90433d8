"""The verbs train and measure: one run from its settings to its record, and finished runs measured
again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError
from capacity.base.words import command, count, plural, some, wrap
from capacity.cli import arguments
from capacity.cli.help import MEASURE_HELP, TRAIN_HELP
from capacity.settings.fresh import FreshData

if TYPE_CHECKING:
    from capacity.base.progress import Progress
    from capacity.config import Config


def add_train(verb: arguments.Verb) -> None:
    """The arguments of `capacity train`."""
    train = verb("train", _train, "train and measure one model", TRAIN_HELP)
    arguments.overrides(train, arguments.OVERRIDES)
    train.add_argument(
        "--print-config", action="store_true", help="print the resolved settings as YAML and stop"
    )
    train.add_argument(
        "--dry-run",
        action="store_true",
        help="print parameters, bits, steps, time and memory and stop",
    )
    arguments.quiet(train, "the id of the run")
    arguments.results(train)


def add_measure(verb: arguments.Verb) -> None:
    """The arguments of `capacity measure`."""
    measure = verb("measure", _measure, "measure finished runs again", MEASURE_HELP)
    arguments.overrides(
        measure,
        "runs, and settings of measures; with --study also those of the sweep, if any",
        "RUN_ID|KEY=VALUE",
    )
    measure.add_argument("--study", metavar="STUDY", help="all finished runs of a study")
    arguments.quiet(measure, "the ids of the runs")
    arguments.results(measure)


def _train(args: argparse.Namespace) -> int:
    from capacity.compose import load, to_yaml

    config = load(args.overrides)
    if config.cluster.launcher != "local" and not args.print_config:
        raise ConfigError(
            f"cluster.launcher={config.cluster.launcher}: train works on this machine; `capacity "
            f"sweep` submits"
        )
    if args.print_config:
        print(to_yaml(config), end="")
        return 0
    if args.dry_run:
        from capacity.cli.dry_run import describe

        print("\n".join(describe(config, args.results)))
        return 0
    record = _finished(args.results, config.run_id)
    if (config.cluster.ranks or 1) > 1 and _follows(config, args.results):
        return 0
    if record is None:
        code = _train_now(config, args.results, args.quiet)
        record = _finished(args.results, config.run_id)
        if code or record is None:
            return code or 1
    else:
        if not args.quiet:
            print(f"run {config.run_id} is already finished", file=sys.stderr)
        from capacity import records
        from capacity.base.hardware import pick_device
        from capacity.run.remeasure import remeasure

        if records.measured_otherwise(record, config):
            if not args.quiet:
                print("measuring it again, by the present settings", file=sys.stderr)
            record = remeasure(
                args.results, config.run_id, pick_device(config.cluster.device), config
            )
    print(config.run_id if args.quiet else _describe(record, args.results))
    return 0


def _follows(config: Config, results: Path) -> bool:
    """Whether this process was a rank above 0, and has done its part."""
    from capacity.run import group

    if not group.follows(config.cluster.ranks, results):
        return False
    if _finished(results, config.run_id) is None:
        from capacity.base.hardware import pick_device
        from capacity.run.job import Job, Stop
        from capacity.run.run import execute

        execute([config], Job(results, pick_device(config.cluster.device), stop=Stop()))
    return True


def _finished(results: Path, run_id: str) -> dict | None:
    from capacity import records

    record = records.read(results, run_id)
    return record if record and record["status"] == "finished" else None


def _train_now(config: Config, results: Path, quiet: bool) -> int:
    import torch

    from capacity.base.hardware import pick_device, pick_threads, refused_threads
    from capacity.base.progress import Progress, Quiet
    from capacity.run import group
    from capacity.run.job import Job, Stop
    from capacity.run.mirror import WAIT_SECONDS, Mirror
    from capacity.run.run import execute

    device, wanted = pick_device(config.cluster.device), config.cluster.threads
    torch.set_num_threads(pick_threads(config.flops / config.steps, wanted))
    if refused := refused_threads(wanted):
        print(f"capacity: {refused}", file=sys.stderr)
    if not quiet:
        print(_about(config, device.type), file=sys.stderr)
        for note in config.resolved.notes(config.items):
            print("\n".join(wrap(note, "capacity: ", "  ")), file=sys.stderr)
    progress = Quiet() if quiet else Progress(config.steps)
    job = Job(results, device, None, lambda event: _report(event, progress), Stop())
    try:
        with Mirror([config], results, None, WAIT_SECONDS):
            outcome = execute([config], job)[config.run_id]
    except group.RankLost as lost:
        print(f"capacity: {lost}; the same command continues from the checkpoint", file=sys.stderr)
        return 1
    finally:
        progress.close()
    if not quiet:
        _tell_offline(config, results)
    return _exit_code(outcome, config.run_id, results)


def _tell_offline(config: Config, results: Path) -> None:
    """Where wandb's files are, and what sends them."""
    if config.wandb.mode == "offline":
        from capacity.run import mirror

        paths = mirror.offline(results, [config.run_id])
        if paths:
            lines = command(["wandb", "sync", *map(str, paths)], "wandb offline; to send it: ")
            print("\n".join(lines), file=sys.stderr)


def _about(config: Config, device: str) -> str:
    total = config.parameters["total"]
    if isinstance(config.data, FreshData):
        from capacity.cli.dry_run import in_context

        lines = wrap(
            f"run {config.run_id}: {config.shape}, {total:,} parameters, windows of "
            f"{config.data.seq_len} tokens, none seen twice, {in_context(config)}, "
            f"{config.steps:,} steps, on {device}",
            rest="  ",
        )
        return "\n".join(lines)
    return (
        f"run {config.run_id}: {config.shape}, {total:,} parameters, {config.items:,} "
        f"{config.data.unit}, windows of {config.data.seq_len} tokens,\n"
        f"  {count(config.entropy_bits)}bit of data = {config.entropy_bits / total:.2f} bits per "
        f"parameter, {config.steps:,} steps, {config.exposures:,.0f} exposures, on {device}"
    )


def _report(event: dict, progress: Progress) -> None:
    """Show what a training reports, see `run.run`."""
    if event["event"] == "note":
        progress.say("\n".join(wrap(event["text"], rest="  ")))
        return
    held, loss = event["bits_per_parameter"][0], event["loss_bits_per_token"][0]
    if loss is None:
        now = "failed"
    else:
        now = f"{loss:.3f} bits/token" if held is None else f"~{held:.2f} bits/param"
        now += f", {count(event['tokens_per_s'])} tok/s"
    progress.update(event["step"], f"step {event['step']}, {now}")


def _exit_code(outcome: str, run_id: str, results: Path) -> int:
    from capacity import records

    if outcome == "busy":
        raise ConfigError(f"run {run_id} is being trained by another process")
    if outcome == "interrupted":
        print(
            "capacity: interrupted; the same command continues from the checkpoint", file=sys.stderr
        )
        return 130
    if outcome == "failed":
        error = (records.read(results, run_id) or {})["error"]
        print(
            f"{error['traceback'] or ''}capacity: run {run_id} failed: {error['reason']}",
            file=sys.stderr,
        )
        return 1
    return 0


def _describe(record: dict, results: Path) -> str:
    from capacity.measure.describe import describe

    return describe(record, results)


def _measure(args: argparse.Namespace) -> int:
    from capacity import records
    from capacity.compose import measured_by
    from capacity.data import cache as kept

    given = [text for text in args.overrides if "=" in text]
    run_ids: dict[str, Config | None] = {}  # id -> settings, where not its own
    given_ids = [records.find(args.results, text) for text in args.overrides if "=" not in text]
    for run_id in given_ids:
        record = _finished(args.results, run_id)
        if record is None:  # before any work, so that a typo costs nothing
            raise ConfigError(f"{run_id}: no finished run in {records.runs_dir(args.results)}")
        run_ids[run_id] = None
        if given:
            kept.load(args.results, record["config"]["data"])
            run_ids[run_id] = measured_by(record["config"], given)
    if args.study:
        from capacity.study import load_study

        for run in load_study(args.study, given).runs:
            if _finished(args.results, run.run_id):
                run_ids[run.run_id] = run
    if not run_ids and args.study:
        raise ConfigError(
            f"measure --study {args.study}: none of its runs is finished in "
            f"{records.runs_dir(args.results)}"
        )
    if not run_ids:
        raise ConfigError("measure: no finished run selected; give run ids or --study")
    gone = _without_weights(args.results, list(run_ids), given_ids)
    import torch

    from capacity.base.hardware import most_threads, pick_device
    from capacity.run.remeasure import remeasure

    torch.set_num_threads(most_threads())
    for run_id, settings in run_ids.items():
        if run_id in gone:
            continue
        record = remeasure(args.results, run_id, pick_device("auto"), settings)
        print(run_id if args.quiet else _describe(record, args.results))
    return 1 if gone else 0


def _without_weights(results: Path, run_ids: list[str], named: list[str]) -> set[str]:
    """Runs whose weights `capacity prune` has removed, which is told; ConfigError where one of them
    was named, or none of all has weights left."""
    from capacity import records

    gone = [run_id for run_id in run_ids if records.pruned(results, run_id, records.WEIGHTS)]
    if wrong := [run_id for run_id in gone if run_id in named]:
        raise ConfigError(
            f"{wrong[0]}: its weights were removed by `capacity prune`, so that it cannot be "
            "measured again"
        )
    if gone and len(gone) == len(run_ids):
        raise ConfigError(
            f"measure: the weights of all {len(gone):,} runs were removed by `capacity prune`, so "
            "that none can be measured again"
        )
    if gone:
        message = f"{plural(len(gone), 'run')} not measured, without weights since `capacity prune`"
        print("\n".join(wrap(f"{message}: {some(gone)}", "", "  ")), file=sys.stderr)
    return set(gone)
