"""The arguments of `capacity fit`, apart from what it does (`cli.fit`), which needs numpy."""

from __future__ import annotations

import argparse
from pathlib import Path

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import FIT_TABLE_HELP


def add_fit(verb: arguments.Verb) -> None:
    """The arguments of `capacity fit`."""
    points = verb("fit", _fit, "any form to any table of points", FIT_TABLE_HELP)
    points.add_argument(
        "forms", nargs="?", metavar="FORM[,FORM..]", help="one form, or several to compare"
    )
    points.add_argument(
        "table",
        nargs="?",
        type=Path,
        metavar="TABLE",
        help="text with any separator (CSV, TSV, gzipped), Parquet, or - for standard input",
    )
    points.add_argument(
        "--list",
        action="store_true",
        help="describe the forms: formula, units, parameters, domain, limits, source",
    )
    points.add_argument("--y", metavar="COLUMN", help="the target; products of columns too: C/6/N")
    points.add_argument(
        "--x",
        action="append",
        default=[],
        metavar="VARIABLE=COLUMN",
        help="where a variable is, if not under its own name: N, C/6/N, 1e6*N, 20*parameters, 1e9",
    )
    points.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only these rows"
    )
    points.add_argument(
        "--best-per",
        metavar="COLUMN[,..]",
        help="of rows that agree in them, as N,D, only the best: lowest loss, else highest target",
    )
    points.add_argument(
        "--cluster",
        metavar="COLUMN[,..]",
        help="the replicate, such as model; none for every row (default: the column run where runs "
        "have several rows, else every row)",
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
        "--tie",
        action="append",
        default=[],
        metavar="PARAMETER=PARAMETER",
        help="one value for both: alpha=beta",
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


def _fit(args: argparse.Namespace) -> int:
    from capacity.cli import fit as fit_table

    if args.bootstraps < 0:
        raise ConfigError(f"--bootstraps {args.bootstraps}: expected a whole number, 0 for none")
    if args.delta is not None and not args.delta > 0:
        raise ConfigError(
            f"--delta {args.delta:g}: expected a number above 0, or inf for least squares"
        )
    return fit_table.command(args)
