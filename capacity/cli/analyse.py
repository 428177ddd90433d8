"""The verbs fit-laws and report: what the records of a study say, as text, files and a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import FIT_HELP, REPORT_HELP

if TYPE_CHECKING:
    from capacity.analysis.finding import Options
    from capacity.study import Study


def add_fit_laws(verb: arguments.Verb) -> None:
    """The arguments of `capacity fit-laws`."""
    fit = verb("fit-laws", _fit_laws, "fit the law of a study, draw its figure", FIT_HELP)
    arguments.study(fit)
    arguments.overrides(fit, arguments.AS_IN_THE_SWEEP)
    _fit_options(fit)
    arguments.figures(fit)
    fit.add_argument(
        "--freeze", action="store_true", help="keep the study's records beside its fit; see above"
    )
    arguments.quiet(fit, "the files that were written")
    arguments.results(fit)


def add_report(verb: arguments.Verb) -> None:
    """The arguments of `capacity report`."""
    report = verb("report", _report, "one HTML page about a study", REPORT_HELP)
    arguments.study(report)
    arguments.overrides(report, arguments.AS_IN_THE_SWEEP)
    report.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it (default: RESULTS/studies/STUDY/report.html)",
    )
    _fit_options(report)
    arguments.figures(report)
    arguments.results(report)


def _fit_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--shadows",
        type=int,
        metavar="K",
        help="studies of text: shadow models that an attack may use (default: all)",
    )
    sub.add_argument(
        "--lira-variance",
        choices=("global", "sequence"),
        default="global",
        help="studies of text: whether LiRA estimates one variance for all sequences (better with "
        "few shadow models) or one for each (default: global)",
    )
    sub.add_argument(
        "--bootstraps",
        type=int,
        default=4000,
        metavar="N",
        help="bootstrap resamples (default 4000)",
    )


def _fit_laws(args: argparse.Namespace) -> int:
    from capacity import archive, records, run_table
    from capacity.analysis import finding, freeze, kinds
    from capacity.report import markdown, text
    from capacity.study import load_study

    options, look = _options(args), arguments.look(args)
    study = load_study(args.study, args.overrides)
    if args.freeze and args.overrides:
        raise ConfigError(
            f"--freeze: keeps the runs of the study as its file has them; leave out "
            f"{' '.join(args.overrides)}"
        )
    try:
        kinds.family_of(study)
    except ValueError as error:
        raise ConfigError(f"{study.name}: {error}") from None
    with archive.reading(args.results, [study.name]) as kept:
        table = run_table.table(args.results, study.runs, study.names)
        if "finished" not in set(table["status"]):
            raise ConfigError(
                f"{study.name}: no finished run in {records.runs_dir(args.results)}; run: capacity "
                f"sweep {args.study}"
            )
        # also of a study without a law
        for line in freeze.freeze(study, args.results) if args.freeze else ():
            print(line, file=sys.stderr)
        try:
            result = kinds.analyse(study, table, args.results, options)
        except ValueError as error:
            raise ConfigError(f"{study.name}: {error}") from None
        document, drawn = kinds.document(result), kinds.figures(result, look)
        page = markdown.render(document, [*drawn], look.shown)
        # first, for a folder may be another's, or full
        if not args.quiet:
            print(f"{text.render(document)}\n", flush=True)
        written = finding.write(result, drawn, page, args.results / "studies" / study.name, look)
        print("\n".join(map(str, written)))
        if not args.quiet:
            kept.tell(args.results, study)
    return 0


def _report(args: argparse.Namespace) -> int:
    from capacity import archive
    from capacity.study import load_study

    _options(args)  # before any work
    arguments.look(args)
    if args.output and args.output.is_dir():
        raise ConfigError(f"--output {args.output}: a folder; name a file")
    study = load_study(args.study, args.overrides)
    with archive.reading(args.results, [study.name]) as kept:
        code = _write_report(args, study)
        kept.tell(args.results, study)
    return code


def _write_report(args: argparse.Namespace, study: Study) -> int:
    from capacity import records, run_table
    from capacity.analysis import finding, kinds
    from capacity.report import markdown, page, parts

    table = run_table.table(args.results, study.runs, study.names)
    if set(table["status"]) == {"missing"}:
        raise ConfigError(
            f"{study.name}: no record in {records.runs_dir(args.results)}; run: capacity sweep "
            f"{args.study}"
        )
    result, reason = None, ""
    try:
        result = kinds.analyse(study, table, args.results, _options(args))
    except ValueError as error:
        reason = str(error)
        if args.shadows is not None:
            raise ConfigError(f"{study.name}: {reason}") from None
    folder = args.results / "studies" / study.name
    output = args.output or folder / "report.html"
    given = [
        f"--{name}={getattr(args, name)}"
        for name, default in (
            ("bootstraps", 4000),
            ("shadows", None),
            ("lira-variance", "global"),
        )
        if getattr(args, name.replace("-", "_")) != default
    ]
    look = arguments.look(args)
    given += [
        f"--{name}={value}"
        for name in ("style", "width", "format")
        if (value := getattr(args, name)) is not None
    ]
    request = page.Request(args.study, study, table, args.results, given, look)
    made = page.make(request, result, reason)
    content = made.content
    if result:
        in_text = [name for name in made.figures if name not in finding.PAGE_ONLY]
        text = markdown.render(kinds.document(result), in_text, look.shown)
        finding.write(result, made.figures, text, folder, look)
    else:
        finding.write_pictures(made.figures, folder, look)
    files.write_atomic(output, content)
    print(output)
    if reason:
        print(f"no law: {reason}", file=sys.stderr)
    if len(content) > parts.LARGEST:
        print(f"{output}: {len(content):,} bytes, too large to be mailed", file=sys.stderr)
    return 0


def _options(args: argparse.Namespace) -> Options:
    """What an analysis is asked for; ConfigError for numbers that no interval can be made of."""
    from capacity.analysis.finding import Options

    if args.bootstraps < 100:
        raise ConfigError(f"--bootstraps {args.bootstraps}: expected a whole number >= 100")
    if args.shadows is not None and args.shadows < 4:
        raise ConfigError(
            f"--shadows {args.shadows}: expected a whole number >= 4; a sequence needs two models "
            f"that saw it and two that did not"
        )
    return Options(args.bootstraps, args.shadows, args.lira_variance)
