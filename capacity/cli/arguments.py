"""Arguments that several verbs share: the study, its settings, the results folder (light imports
only: every start of the program reads this)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capacity.figures.look import Look

Function = Callable[[argparse.Namespace], int]  # what a verb does; returns the exit code
# name, function, one line for the list of verbs, description -> the parser of the verb
Verb = Callable[[str, Function, str, str], argparse.ArgumentParser]

OVERRIDES = "settings as key=value in Hydra's grammar, such as model.d_model=32"
WIN = OVERRIDES + "; they win over the study's"
AS_IN_THE_SWEEP = "the same settings as in the sweep, if any"


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of at most 79 columns, whatever the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=18, width=79)


def study(sub: argparse.ArgumentParser) -> None:
    """The positional argument STUDY."""
    sub.add_argument("study", metavar="STUDY")


def overrides(sub: argparse.ArgumentParser, help: str, metavar: str = "KEY=VALUE") -> None:
    """Any number of settings, which may also stand after options."""
    sub.add_argument("overrides", nargs="*", metavar=metavar, help=help)


def results(sub: argparse.ArgumentParser) -> None:
    """The option --results."""
    sub.add_argument(
        "--results",
        type=Path,
        default=Path(os.environ.get("CAPACITY_RESULTS", "results")),
        metavar="DIR",
        help="where records are kept (default: $CAPACITY_RESULTS or ./results)",
    )


def figures(sub: argparse.ArgumentParser) -> None:
    """The options that say how figures look and which files they are."""
    sub.add_argument(
        "--style",
        metavar="FILE",
        help="figures: a style file of matplotlib (.mplstyle) over the built-in look",
    )
    sub.add_argument(
        "--width",
        metavar="WIDTH",
        help="figures: single (3.4in), text (5.5in), double (7in), or a length such as 89mm or "
        "3.25in (default: single)",
    )
    sub.add_argument(
        "--format",
        metavar="KIND[,..]",
        help="figures: files to write, of png, pdf, svg (default: png,pdf)",
    )


def look(args: argparse.Namespace) -> Look:
    """What the options of `figures` ask for; ConfigError, in one line, for bad values."""
    from capacity.figures import look as looks

    return looks.read(args.width, args.style, args.format)


def quiet(sub: argparse.ArgumentParser, prints: str) -> None:
    """The option --quiet; prints: what is still printed, besides problems."""
    sub.add_argument(
        "-q", "--quiet", action="store_true", help=f"print only {prints}, and problems"
    )


def hint(option: str, argv: list[str], args: argparse.Namespace) -> str:
    """What was meant by an option that there is not: a setting, which has no dashes, or an option
    of the verb."""
    from capacity.base.errors import nearest
    from capacity.config import known_keys
    from capacity.settings.aliases import without_dashes

    name, equals, value = option.partition("=")
    after = argv[argv.index(option) + 1 :] if option in argv else []
    if not equals and after and not after[0].startswith("-"):
        value = after[0]
    options = [
        f"--{key.replace('_', '-')}" for key in vars(args) if key not in ("run", "overrides")
    ]
    near = nearest(name, [o for o in options if o != name])
    if near or not hasattr(args, "overrides"):
        return near
    return without_dashes(f"{name} {value}", known_keys())
