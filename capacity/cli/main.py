"""The command line: parses, calls one function per verb, and turns what a person can mend into one
line and exit code 2.

Exit codes: 0 done, 1 a run failed or is missing, 2 bad input or environment, 130 interrupted
(continue by the same command). torch, pandas and hydra are imported inside the verbs that need
them, so that --help is instant.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path

from capacity import __version__
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.hardware import rest_idle_threads
from capacity.cli.help import (
    CANCEL_HELP,
    COMPARE_HELP,
    EXPORT_HELP,
    FIT_HELP,
    FIT_TABLE_HELP,
    MAIN_HELP,
    MEASURE_HELP,
    PLAN_HELP,
    REPORT_HELP,
    RETRY_HELP,
    STATUS_HELP,
    SWEEP_HELP,
    TABLE_HELP,
    TRAIN_HELP,
)

OVERRIDES = "settings as key=value in Hydra's grammar, such as model.d_model=32"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parse(argv)
    rest_idle_threads()
    try:
        if os.path.lexists(getattr(args, "results", "")) and not os.path.isdir(args.results):
            raise ConfigError(f"--results {args.results}: not a folder")
        return args.run(args)
    except ConfigError as error:
        print(f"capacity: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EFBIG,
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.ENOTDIR,
            errno.EISDIR,
            errno.ENAMETOOLONG,
        ):
            raise
        print(f"capacity: error: {error.filename or 'results'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("capacity: interrupted", file=sys.stderr)
        return 130


def _parse(argv: list[str] | None) -> argparse.Namespace:
    """argparse, with settings allowed also after options (it takes a list of positionals in one
    piece only)."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    late = [text for text in rest if not text.startswith("-")] if hasattr(args, "overrides") else []
    if len(late) < len(rest):
        wrong = [text for text in rest if text not in late]
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    if late:
        args.overrides = args.overrides + late
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="capacity", description=MAIN_HELP, formatter_class=_Formatter
    )
    parser.add_argument("--version", action="version", version=f"capacity {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, function, help: str, description: str | None) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=help, description=description, formatter_class=_Formatter)
        sub.set_defaults(run=function)
        return sub

    def results(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--results",
            type=Path,
            default=Path(os.environ.get("CAPACITY_RESULTS", "results")),
            metavar="DIR",
            help="where records are kept (default: $CAPACITY_RESULTS or ./results)",
        )

    def fit_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--shadows",
            type=int,
            metavar="K",
            help="studies of text: shadow models that an attack may use (default: all)",
        )
        sub.add_argument(
            "--bootstraps",
            type=int,
            default=4000,
            metavar="N",
            help="bootstrap resamples (default 4000)",
        )

    train = verb("train", _train, "train and measure one model", TRAIN_HELP)
    train.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDES)
    train.add_argument(
        "--print-config", action="store_true", help="print the resolved settings as YAML and stop"
    )
    results(train)

    sweep = verb("sweep", _sweep, "train all models of a study", SWEEP_HELP)
    sweep.add_argument("study", metavar="STUDY")
    sweep.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDES + "; they win over the study's"
    )
    sweep.add_argument("--dry-run", action="store_true", help="print runs, sizes and cost and stop")
    sweep.add_argument(
        "--retry-failed", action="store_true", help="also train runs again that have failed"
    )
    results(sweep)

    status = verb("status", _status, "what is done of a study", STATUS_HELP)
    status.add_argument("study", metavar="STUDY")
    status.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="the same settings as in the sweep, if any",
    )
    status.add_argument(
        "--watch",
        action="store_true",
        help="look again every few seconds while something runs or waits",
    )
    status.add_argument(
        "--all", action="store_true", help="all rows, not the first 20 of each state"
    )
    status.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    results(status)

    cancel = verb("cancel", _cancel, "take a study out of the queue", CANCEL_HELP)
    cancel.add_argument("study", metavar="STUDY")
    results(cancel)

    retry = verb("retry", _retry, "train again what has failed", RETRY_HELP)
    retry.add_argument("study", metavar="STUDY")
    retry.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="settings besides those of the last sweep"
    )
    retry.add_argument(
        "--failed", action="store_true", help="runs that have failed, or were lost with their job"
    )
    retry.add_argument("--dry-run", action="store_true", help="print what would be done and stop")
    results(retry)

    fit = verb("fit-laws", _fit_laws, "fit the law of a study, draw its figure", FIT_HELP)
    fit.add_argument("study", metavar="STUDY")
    fit.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="the same settings as in the sweep, if any",
    )
    fit_options(fit)
    fit.add_argument(
        "--freeze", action="store_true", help="keep the study's records beside its fit; see above"
    )
    results(fit)

    report = verb("report", _report, "one HTML page about a study", REPORT_HELP)
    report.add_argument("study", metavar="STUDY")
    report.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="the same settings as in the sweep, if any",
    )
    report.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it (default: RESULTS/studies/STUDY/report.html)",
    )
    fit_options(report)
    results(report)

    compare = verb("compare", _compare, "whether A stores more than B", COMPARE_HELP)
    compare.add_argument("study", metavar="STUDY")
    compare.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="the same settings as in the sweep, if any",
    )
    compare.add_argument("--a", metavar="KEY=VALUE[,..]", help="which runs are A")
    compare.add_argument(
        "--b",
        action="append",
        metavar="KEY=VALUE[,..]",
        help="which are B; may be given several times",
    )
    compare.add_argument(
        "--value", metavar="COLUMN", help="another number of the table than bits per parameter"
    )
    results(compare)

    points = verb("fit", _fit, "any form to any table of points", FIT_TABLE_HELP)
    points.add_argument(
        "forms", nargs="?", metavar="FORM[,FORM..]", help="one form, or several to compare"
    )
    points.add_argument(
        "table", nargs="?", type=Path, metavar="TABLE", help="a .csv or .parquet file"
    )
    points.add_argument(
        "--list",
        action="store_true",
        help="describe the forms: formula, units, parameters, domain, limits, source",
    )
    points.add_argument("--y", metavar="COLUMN", help="the target; A/B for a ratio of two columns")
    points.add_argument(
        "--x",
        action="append",
        default=[],
        metavar="VARIABLE=COLUMN",
        help="where a variable is, if not under its own name",
    )
    points.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only these rows"
    )
    points.add_argument(
        "--cluster", metavar="COLUMN[,..]", help="the replicate, such as label (default: every row)"
    )
    points.add_argument("--sd", metavar="COLUMN", help="noise of y over seeds, for weights")
    points.add_argument(
        "--lower-bound", metavar="COLUMN", help="true where y is only a lower bound"
    )
    points.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="COLUMN",
        help="true where a row is not to be fitted, as unconverged",
    )
    points.add_argument(
        "--same",
        action="append",
        default=[],
        metavar="COLUMN",
        help="must hold one value: a convention, a recipe",
    )
    points.add_argument(
        "--scale",
        metavar="VARIABLE",
        help="whose values are left out in turn (default: the form's first)",
    )
    points.add_argument(
        "--delta",
        type=float,
        help="of Huber's loss, inf for least squares (default: 1.345 robust sd)",
    )
    points.add_argument(
        "--fix", action="append", default=[], metavar="PARAMETER=NUMBER", help="not fitted"
    )
    points.add_argument(
        "--at", action="append", default=[], metavar="VARIABLE=NUMBER,..", help="predict here"
    )
    points.add_argument(
        "--bootstraps",
        type=int,
        default=0,
        metavar="N",
        help="cluster bootstraps beside the intervals (default 0)",
    )
    points.add_argument(
        "--output", type=Path, metavar="FILE.json", help="all of it at full precision"
    )

    plan = verb("plan", _plan, "which runs to train for a wanted interval", PLAN_HELP)
    plan.add_argument("study", metavar="STUDY")
    plan.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDES + "; they win over the study's"
    )
    plan.add_argument(
        "--form",
        required=True,
        help="capacity_linear, capacity_affine, capacity_power, smooth_corner, hard_corner, "
        "exposure_exponential, "
        "exposure_power, exposure_log, precision_effective, precision_shifted, precision_noise, "
        "precision_storage",
    )
    plan.add_argument(
        "--parameter", required=True, help="of the form, such as alpha, c0, gamma, r_inf, s"
    )
    plan.add_argument(
        "--width",
        type=float,
        required=True,
        metavar="W",
        help="of its 95%% interval: high - low over the value; absolute for exponents, and for c0, "
        "in bits",
    )
    plan.add_argument(
        "--budget-hours",
        type=float,
        required=True,
        metavar="H",
        help="hours of one GPU or one core, finished runs included",
    )
    plan.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="what the hours are of (default cpu)",
    )
    plan.add_argument(
        "--prior",
        type=Path,
        metavar="FIT.JSON",
        help="fit.json (or precision.json) of another study, instead of assumptions",
    )
    plan.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a number to start from: a parameter, capacity, k, noise, scatter, bend",
    )
    plan.add_argument("--only", metavar="MODEL", help="one model of the study, such as 2x16")
    plan.add_argument(
        "--most-seeds",
        type=int,
        default=8,
        metavar="N",
        help="most runs of a model (default 8), or of a number of exposures or a format",
    )
    plan.add_argument(
        "--batch-hours",
        type=float,
        metavar="H",
        help="of the next batch (default: half of what is proposed)",
    )
    plan.add_argument(
        "--simulations", type=int, default=300, metavar="N", help="simulated studies (default 300)"
    )
    plan.add_argument(
        "--write",
        type=Path,
        metavar="FILE.yaml",
        help="finished runs and the next batch as a study file",
    )
    results(plan)

    measure = verb("measure", _measure, "measure finished runs again", MEASURE_HELP)
    measure.add_argument(
        "overrides",
        nargs="*",
        metavar="RUN_ID|KEY=VALUE",
        help="runs, and settings of measures; with --study also those of the sweep, if any",
    )
    measure.add_argument("--study", metavar="STUDY", help="all finished runs of a study")
    results(measure)

    table = verb("table", _table, "all runs as one CSV or Parquet file", TABLE_HELP)
    table.add_argument(
        "overrides",
        nargs="*",
        metavar="STUDY|KEY=VALUE",
        help="studies (none: all runs in results), and settings of their sweeps, if any",
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
    results(table)

    export = verb("export", _export, "write a model for transformers", EXPORT_HELP)
    export.add_argument("run_id", metavar="RUN_ID")
    export.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="a new or an empty folder"
    )
    results(export)

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
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=18, width=79)


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
        from capacity.run.environment import pick_device
        from capacity.run.run import measured_otherwise, remeasure

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
    from capacity.base.hardware import pick_threads, refused_threads
    from capacity.base.progress import Progress, count
    from capacity.run.environment import pick_device
    from capacity.run.mirror import WAIT_SECONDS, Mirror
    from capacity.run.run import Stop, execute

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

    stop = Stop()
    with Mirror([config], results, None, WAIT_SECONDS):
        outcome = execute([config], results, device, None, report, stop)[config.run_id]
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


def _sweep(args: argparse.Namespace) -> int:
    from capacity.sweep import commands

    return commands.sweep(args.study, args.overrides, args.results, args.dry_run, args.retry_failed)


def _retry(args: argparse.Namespace) -> int:
    from capacity.sweep import commands

    if not args.failed:
        raise ConfigError("retry: say what: --failed tries again what has failed or was lost")
    return commands.retry(args.study, args.overrides, args.results, args.dry_run)


def _cancel(args: argparse.Namespace) -> int:
    from capacity.sweep import commands

    return commands.cancel(args.study, args.results)


def _status(args: argparse.Namespace) -> int:
    from capacity.sweep.status import status

    return status(args.study, args.overrides, args.results, args.json, args.all, args.watch)


def _fit_laws(args: argparse.Namespace) -> int:
    from capacity import archive, records, run_table
    from capacity.analysis import freeze
    from capacity.analysis import result as outcome
    from capacity.study import load_study

    _check_fit_options(args)
    study = load_study(args.study, args.overrides)
    if args.freeze and args.overrides:
        raise ConfigError(
            f"--freeze: keeps the runs of the study as its file has them; leave out "
            f"{' '.join(args.overrides)}"
        )
    if len(found := outcome.kinds(study)) > 1:
        raise ConfigError(
            f"{study.name}: runs on {' and '.join(sorted(found))}; a law is about one of them"
        )
    with archive.reading(args.results, [study.name]) as kept:
        table = run_table.table(args.results, study.runs)
        if not (table["status"] == "finished").any():
            raise ConfigError(
                f"{study.name}: no finished run in {records.runs_dir(args.results)}; run: capacity "
                f"sweep {args.study}"
            )
        for line in (
            freeze.freeze(study, args.results) if args.freeze else ()
        ):  # also of a study without a law
            print(line, file=sys.stderr)
        try:
            judged = outcome.judge(
                study, table, args.results, n_boot=args.bootstraps, shadows=args.shadows
            )
        except ValueError as error:
            raise ConfigError(f"{study.name}: {error}") from None
        written = judged.write(args.results / "studies" / study.name)
        print(
            "\n".join([judged.text, *map(str, written)] if judged.kind == "text" else [judged.text])
        )
        kept.tell(args.results, study)
    return 0


def _report(args: argparse.Namespace) -> int:
    from capacity import archive
    from capacity.study import load_study

    _check_fit_options(args)
    if args.output and args.output.is_dir():
        raise ConfigError(f"--output {args.output}: a folder; name a file")
    study = load_study(args.study, args.overrides)
    with archive.reading(args.results, [study.name]) as kept:
        code = _write_report(args, study)
        kept.tell(args.results, study)
    return code


def _write_report(args: argparse.Namespace, study) -> int:
    from capacity import records, run_table
    from capacity.analysis import result as outcome

    table = run_table.table(args.results, study.runs)
    if (table["status"] == "missing").all():
        raise ConfigError(
            f"{study.name}: no record in {records.runs_dir(args.results)}; run: capacity sweep "
            f"{args.study}"
        )
    judged, reason = None, ""
    try:
        judged = outcome.judge(
            study, table, args.results, n_boot=args.bootstraps, shadows=args.shadows
        )
    except ValueError as error:
        reason = str(error)
        if args.shadows is not None:
            raise ConfigError(f"{study.name}: {reason}") from None
    from capacity.report import page

    folder = args.results / "studies" / study.name
    output = args.output or folder / "report.html"
    given = [
        f"--{name}={getattr(args, name)}"
        for name, default in (("bootstraps", 4000), ("shadows", None))
        if getattr(args, name) != default
    ]
    content = page.build(args.study, study, table, args.results, judged, reason, given)
    if judged:
        judged.write(folder)
    files.write_atomic(output, content)
    print(output)
    if reason:
        print(f"no law: {reason}", file=sys.stderr)
    if len(content) > page.LARGEST:
        print(f"{output}: {len(content):,} bytes, too large to be mailed", file=sys.stderr)
    return 0


def _check_fit_options(args: argparse.Namespace) -> None:
    if args.bootstraps < 100:
        raise ConfigError(f"--bootstraps {args.bootstraps}: expected a whole number >= 100")
    if args.shadows is not None and args.shadows < 4:
        raise ConfigError(
            f"--shadows {args.shadows}: expected a whole number >= 4; a sequence needs two models "
            f"that saw it and two that did not"
        )


def _compare(args: argparse.Namespace) -> int:
    from capacity.analysis.comparison import variants as differences

    return differences.command(args)


def _fit(args: argparse.Namespace) -> int:
    from capacity.cli import fit as fit_table

    if args.bootstraps < 0:
        raise ConfigError(f"--bootstraps {args.bootstraps}: expected a whole number, 0 for none")
    if args.delta is not None and not args.delta > 0:
        raise ConfigError(
            f"--delta {args.delta:g}: expected a number above 0, or inf for least squares"
        )
    return fit_table.command(args)


def _plan(args: argparse.Namespace) -> int:
    from capacity.cli import plan as command

    return command.run(args)


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

    from capacity.base.hardware import most_threads
    from capacity.run.environment import pick_device
    from capacity.run.run import remeasure

    torch.set_num_threads(most_threads())
    for run_id, settings in run_ids.items():
        print(
            _describe(remeasure(args.results, run_id, pick_device("auto"), settings), args.results)
        )
    return 0


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
    from capacity.export import huggingface

    found = huggingface.export(args.results, args.run_id, args.output)
    print("\n  ".join([f"{args.output}: {found.config['architectures'][0]}", *found.notes]))
    return 0


def _worker(args: argparse.Namespace) -> int:
    from capacity.sweep import worker

    if args.runs is not None:
        return worker.train_stack(args.pack, args.runs.split(","), args.parent)
    return worker.work(args.pack)
