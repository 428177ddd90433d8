"""The verb prune: weights or checkpoints of a study's runs go, their records stay."""

from __future__ import annotations

import argparse
import sys

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import PRUNE_HELP


def add_prune(verb: arguments.Verb) -> None:
    """The arguments of `capacity prune`."""
    prune = verb("prune", _prune, "remove weights or checkpoints of runs", PRUNE_HELP)
    arguments.overrides(prune, "studies, and settings of their sweeps, if any", "STUDY|KEY=VALUE")
    prune.add_argument(
        "--weights", action="store_true", help="final weights, which measure and export read"
    )
    prune.add_argument(
        "--checkpoints", action="store_true", help="states from which unfinished runs go on"
    )
    prune.add_argument("--yes", action="store_true", help="remove without asking")
    arguments.results(prune)


def _prune(args: argparse.Namespace) -> int:
    from capacity.inspection import prune

    studies = [text for text in args.overrides if "=" not in text]
    if not studies:
        raise ConfigError("prune: no study; name one, such as capacity prune pocket --weights")
    wanted = [prune.WEIGHTS] * args.weights + [prune.CHECKPOINT] * args.checkpoints
    if not wanted:
        raise ConfigError("prune: nothing selected; use --weights, --checkpoints or both")
    settings = [text for text in args.overrides if "=" in text]
    ask = _yes if args.yes else _ask
    return prune.prune(studies, settings, args.results, wanted, ask)


def _yes(question: str) -> bool:
    return True


def _ask(question: str) -> bool:
    """A person's answer; without a terminal nobody can give one."""
    if not sys.stdin.isatty():
        raise ConfigError("prune: nobody to ask (no terminal); nothing was removed; give --yes")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
