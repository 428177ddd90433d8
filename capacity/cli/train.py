"""The verbs train and measure: one run from its settings to its record, and finished runs measured
again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import MEASURE_HELP, TRAIN_HELP


def add_train(verb: arguments.Verb) -> None:
    """The arguments of `capacity train`."""
    train = verb("train", _train, "train and measure one model", TRAIN_HELP)
    arguments.overrides(train, arguments.OVERRIDES)
    train.add_argument(
        "--print-config", action="store_true", help="print the resolved settings as YAML and stop"
    )
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
    record = _finished(args.results, config.run_id)
    if record is None:
        code = _train_now(config, args.results)
        record = _finished(args.results, config.run_id)
        if code or record is None:
            return code or 1
    else:
        print(f"run {config.run_id} is already finished", file=sys.stderr)
        from capacity.base.hardware import pick_device
        from capacity.run.remeasure import measured_otherwise, remeasure

        if measured_otherwise(record, config):
            print("measuring it again, by the settings given now", file=sys.stderr)
            record = remeasure(
                args.results, config.run_id, pick_device(config.cluster.device), config
            )
    print(_describe(record, args.results))
    return 0


def _finished(results: Path, run_id: str) -> dict | None:
    from capacity import records

    record = records.read(results, run_id)
    return record if record and record["status"] == "finished" else None


def _train_now(config, results: Path) -> int:
    import torch

    from capacity import records
    from capacity.base.hardware import pick_device, pick_threads, refused_threads
    from capacity.base.progress import Progress, count
    from capacity.run.job import Job, Stop
    from capacity.run.mirror import WAIT_SECONDS, Mirror
    from capacity.run.run import execute

    device, wanted = pick_device(config.cluster.device), config.cluster.threads
    torch.set_num_threads(pick_threads(config.flops / config.steps, wanted))
    if refused := refused_threads(wanted):
        print(f"capacity: {refused}", file=sys.stderr)
    p = config.parameters
    print(
        f"run {config.run_id}: {config.shape}, {p['total']:,} parameters, {config.items:,} "
        f"{config.data.unit}, "
        f"windows of {config.data.seq_len} tokens,\n  {count(config.entropy_bits)}bit of data = "
        f"{config.entropy_bits / p['total']:.2f} bits per parameter, {config.steps:,} steps, "
        f"{config.exposures:,.0f} exposures, on {device.type}",
        file=sys.stderr,
    )
    progress = Progress(config.steps)

    def report(event: dict) -> None:
        if event["event"] == "note":
            progress.say(event["text"])
            return
        held, loss = event["bits_per_parameter"][0], event["loss_bits_per_token"][0]
        now = (
            "failed"
            if loss is None
            else f"~{held:.2f} bits/param"
            if held is not None
            else f"{loss:.3f} bits/token"
        )
        rate = "" if loss is None else f", {count(event['tokens_per_s'])} tok/s"
        progress.update(event["step"], f"step {event['step']}, {now}{rate}")

    job = Job(results, device, None, report, Stop())
    with Mirror([config], results, None, WAIT_SECONDS):
        outcome = execute([config], job)[config.run_id]
    progress.close()
    if outcome == "busy":
        raise ConfigError(f"run {config.run_id} is being trained by another process")
    if outcome == "interrupted":
        print(
            "capacity: interrupted; the same command continues from the checkpoint", file=sys.stderr
        )
        return 130
    if outcome == "failed":
        error = records.read(results, config.run_id)["error"]
        print(
            (error["traceback"] or "") + f"capacity: run {config.run_id} failed: {error['reason']}",
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
    run_ids: dict[str, object] = dict.fromkeys(
        text for text in args.overrides if "=" not in text
    )  # id -> settings, if not its own
    for run_id in run_ids:  # before any work, so that a typo costs nothing
        record = _finished(args.results, run_id)
        if record is None:
            raise ConfigError(f"{run_id}: no finished run in {records.runs_dir(args.results)}")
        if given:
            kept.load(args.results, record["config"]["data"])
            run_ids[run_id] = measured_by(record["config"], given)
    if args.study:
        from capacity.study import load_study

        run_ids |= {
            run.run_id: run
            for run in load_study(args.study, given).runs
            if _finished(args.results, run.run_id)
        }
    if not run_ids:
        raise ConfigError("measure: no finished runs named; give run ids or --study")
    import torch

    from capacity.base.hardware import most_threads, pick_device
    from capacity.run.remeasure import remeasure

    torch.set_num_threads(most_threads())
    for run_id, settings in run_ids.items():
        print(
            _describe(remeasure(args.results, run_id, pick_device("auto"), settings), args.results)
        )
    return 0
