"""The verb audit: what a checkpoint remembers, of whom, and who could find out."""

from __future__ import annotations

import argparse
from pathlib import Path

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import AUDIT_HELP


def add_audit(verb: arguments.Verb) -> None:
    """The arguments of `capacity audit`."""
    audit = verb("audit", _audit, "what a model remembers of your documents", AUDIT_HELP)
    audit.add_argument(
        "model", metavar="MODEL", help="a folder, a .gguf file, a name on the hub, or a run's id"
    )
    audit.add_argument(
        "--members", required=True, metavar="FILE", help="documents that it may have seen"
    )
    audit.add_argument(
        "--others",
        required=True,
        metavar="FILE",
        help="documents of the same source that it has not seen",
    )
    audit.add_argument(
        "--reference", metavar="MODEL", help="a model that has seen neither: ratios and bits"
    )
    audit.add_argument(
        "--law",
        metavar="STUDY",
        help="a study of random data, or its fit.json: whose capacity bits are a share of "
        "(default: the published one of random strings)",
    )
    audit.add_argument(
        "--canaries", metavar="FILE", help="rows with text and repeats; repeats 0 are candidates"
    )
    audit.add_argument(
        "--field", default="text", metavar="KEY", help="column of the text (default text)"
    )
    audit.add_argument(
        "--document", metavar="KEY", help="column that names a document (default FILE:LINE)"
    )
    audit.add_argument(
        "--group", metavar="KEY", help="column of what documents belong to, such as a person"
    )
    _amounts(audit)
    audit.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to write (default: RESULTS/audits/MODEL-MEMBERS-OTHERS)",
    )
    audit.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    audit.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    arguments.quiet(audit, "the files that were written")
    arguments.results(audit)


def _amounts(audit: argparse.ArgumentParser) -> None:
    audit.add_argument(
        "--training-tokens",
        metavar="N",
        help="tokens that it was trained on, such as 1e9: what a law predicts",
    )
    audit.add_argument(
        "--tokens", metavar="N", help="score whole documents of at most so many tokens, such as 64K"
    )
    audit.add_argument(
        "--window", metavar="N", help="tokens of a window (default: the context, at most 1024)"
    )
    audit.add_argument(
        "--quantize",
        metavar="WIDTH[,..]",
        help="the same with weights rounded, such as int8,int4,int4-gptq: what is forgotten",
    )


def _audit(args: argparse.Namespace) -> int:
    from capacity.audit import command, given

    quantize: list[str] = []
    if args.quantize is not None:
        from capacity.audit import variants  # brings torch

        quantize = variants.parse(args.quantize)
    asked = command.Asked(
        model=args.model,
        members=args.members,
        others=args.others,
        results=args.results,
        reference=args.reference,
        law=args.law,
        canaries=args.canaries,
        columns=given.Columns(args.field, args.document, args.group),
        training_tokens=_whole("--training-tokens", args.training_tokens),
        tokens=_whole("--tokens", args.tokens),
        window=_whole("--window", args.window),
        quantize=tuple(quantize),
        output=args.output,
        seed=args.seed,
        dry_run=args.dry_run,
        quiet=args.quiet,
        words=tuple(_words(args)),
    )
    return command.audit(asked)


def _whole(option: str, text: str | None) -> int | None:
    """A whole number as people write it: 64000, 64K, 1e9, 1.5B."""
    if text is None:
        return None
    from capacity.cli import cell_numbers

    try:
        value = float(cell_numbers.parse([text], option, [""], ",", [])[0])
        if not value.is_integer():
            raise ValueError
        return int(value)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option} {text}: expected a whole number such as 64000, 64K or 1e9"
        ) from None


def _words(args: argparse.Namespace) -> list[str]:
    """The command in lines, as a shell takes it."""
    from capacity.base.words import command

    words = ["capacity", "audit", args.model]
    for name, value in vars(args).items():
        default = {"field": "text", "seed": 0}.get(name)
        skipped = name in ("model", "run", "results", "dry_run", "quiet", "output")
        if not skipped and value is not None and value != default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return command(words)
