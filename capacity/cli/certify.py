"""The verb certify: a file that proves what a run holds."""

from __future__ import annotations

import argparse
from pathlib import Path

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import CERTIFY_HELP


def add_certify(verb: arguments.Verb) -> None:
    """The arguments of `capacity certify`."""
    sub = verb("certify", _certify, "a file from which a run's data come back", CERTIFY_HELP)
    sub.add_argument(
        "run_id", metavar="RUN", nargs="?", help="the id of a run, or at least 4 digits of it"
    )
    sub.add_argument(
        "--set",
        action="store_true",
        dest="as_set",
        help="the data without their order, which saves log2 N! bits; of people the names as well",
    )
    sub.add_argument(
        "--texts",
        action="store_true",
        dest="whole_texts",
        help="of people with fixed texts: these texts as a whole, not only their values",
    )
    sub.add_argument(
        "--reference",
        metavar="RUN",
        help="of text: a run trained on other rows of it, whose code the text is compared with",
    )
    sub.add_argument(
        "--restore", type=Path, metavar="FOLDER", help="restore the data of a certificate"
    )
    sub.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="a new folder for the certificate; with --restore a file for the data, .jsonl or .npy",
    )
    sub.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    arguments.results(sub)


def _certify(args: argparse.Namespace) -> int:
    if (args.run_id is None) == (args.restore is None):
        raise ConfigError("certify: give a run and --output FOLDER, or --restore FOLDER")
    if args.restore is not None and args.as_set:
        raise ConfigError("--set: a certificate says itself whether it is of a set; leave it out")
    if args.restore is not None and args.whole_texts:
        raise ConfigError("--texts: a certificate says itself what it is of; leave it out")
    if args.restore is not None and args.reference is not None:
        raise ConfigError("--reference: a certificate has its reference with it; leave it out")
    if args.restore is None and args.output is None:
        raise ConfigError(f"{args.run_id}: nothing to write to; give --output FOLDER")
    from capacity.certify import command

    if args.restore is not None:
        return command.restored(args.restore, args.output, args.json)
    return command.certify(
        command.Asked(
            args.results,
            args.run_id,
            args.output,
            args.as_set,
            args.whole_texts,
            args.reference,
            args.json,
        )
    )
