"""The verb compression: rulers of compression over finished runs, or of one checkpoint over a
text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import COMPRESSION_HELP

if TYPE_CHECKING:
    from capacity.study import Study

FOLDER = "compression"


def add_compression(verb: arguments.Verb) -> None:
    """The arguments of `capacity compression`."""
    sub = verb("compression", _compression, "how well models compress", COMPRESSION_HELP)
    sub.add_argument(
        "names",
        nargs="*",
        metavar="STUDY|MODEL",
        help="studies (none: all that the results folder keeps records of); with --text one model, "
        "as `capacity audit` takes it",
    )
    sub.add_argument("--text", metavar="FILE", help="compress this text: jsonl, txt, csv, parquet")
    sub.add_argument(
        "--field", default="text", metavar="KEY", help="column of the text (default text)"
    )
    sub.add_argument(
        "--window", type=int, metavar="N", help="tokens of a row (default: context, at most 1024)"
    )
    sub.add_argument(
        "--bias",
        type=float,
        metavar="BITS",
        help="of Information Capacity beside none (default: -27, the published one)",
    )
    sub.add_argument("--output", type=Path, metavar="FOLDER", help="default: RESULTS/compression")
    arguments.figures(sub)
    arguments.results(sub)


def _compression(args: argparse.Namespace) -> int:
    output = args.output or args.results / FOLDER
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: not a folder")
    if args.text is not None:
        return _model(args, output)
    for option in ("window", "bias"):
        if getattr(args, option) is not None:
            raise ConfigError(f"--{option}: is of one model and needs --text FILE")
    return _runs(args, output)


def _model(args: argparse.Namespace, output: Path) -> int:
    if len(args.names) != 1:
        raise ConfigError(
            f"compression --text {args.text}: expected one model, not {len(args.names)}: a folder, "
            "a .gguf file, a name on the hub, or a run's id"
        )
    from capacity.audit import compression  # brings torch

    asked = compression.Asked(
        args.names[0], args.text, args.results, args.field, args.window, args.bias, output
    )
    return compression.of_model(asked)


def _runs(args: argparse.Namespace, output: Path) -> int:
    from capacity import archive
    from capacity.analysis import finding
    from capacity.analysis.compression import analysis, reading, words
    from capacity.figures.look import using
    from capacity.report import markdown, text

    look = arguments.look(args)
    names = args.names or reading.names(args.results)
    if not names:
        raise ConfigError(
            f"compression: {args.results} keeps no records of a study; name studies, or: capacity "
            "fit-laws STUDY --freeze"
        )
    studies = [_study(name) for name in names]
    with archive.reading(args.results, [study.name for study in studies]) as kept:
        found = analysis.analyse(studies, args.results)
        for study in studies if args.names else ():
            kept.tell(args.results, study)
    if not found.tables:
        why = "; ".join(f"{name}: {reason}" for name, reason in found.numbers["left_out"].items())
        raise ConfigError(f"compression: nothing to measure ({why})")
    told = words.document(found.numbers)
    print(text.render(words.brief(told)), flush=True)
    from capacity.analysis.compression import plots  # brings matplotlib

    with using(look):
        drawn = plots.figures(found.numbers, found.tables)
    kind = look.formats[0] if look else "png"
    page = markdown.render(told, list(drawn), kind)
    print("\n".join(map(str, finding.write(found, drawn, page, output, look))))
    return 0


def _study(name: str) -> Study:
    from capacity.study import load_study

    return load_study(name, [])
