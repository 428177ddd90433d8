"""The verb plan: arguments to a plan, its report, and the study file of its next batch."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.words import plural
from capacity.cli import arguments
from capacity.cli.help import PLAN_HELP

if TYPE_CHECKING:
    from capacity.design.planner import Plan


def add_plan(verb: arguments.Verb) -> None:
    """The arguments of `capacity plan`."""
    plan = verb("plan", _plan, "choose runs for a wanted interval", PLAN_HELP)
    arguments.study(plan)
    arguments.overrides(plan, arguments.WIN)
    plan.add_argument(
        "--form",
        required=True,
        help="capacity_linear, capacity_affine, capacity_power, smooth_corner, hard_corner, "
        "exposure_exponential, "
        "exposure_power, exposure_log, precision_effective, precision_shifted, precision_noise, "
        "precision_storage",
    )
    plan.add_argument(
        "--parameter",
        required=True,
        help="parameter of the form, such as alpha, c0, gamma, r_inf, s",
    )
    plan.add_argument(
        "--width",
        type=float,
        required=True,
        metavar="W",
        help="width of its 95%% interval: high - low over the value; absolute for exponents, and "
        "for c0, in bits",
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
        help="device whose hours are counted (default cpu)",
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
        help="state a number of the prior: a parameter, capacity, k, noise, scatter, bend",
    )
    plan.add_argument("--only", metavar="MODEL", help="one model of the study, such as 2x16")
    plan.add_argument(
        "--most-seeds",
        type=int,
        default=8,
        metavar="N",
        help="limit of runs of a model (default 8), or of a number of exposures or a format",
    )
    plan.add_argument(
        "--batch-hours",
        type=float,
        metavar="H",
        help="hours of the next batch (default: half of the proposed ones)",
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
    arguments.results(plan)


def _plan(args: argparse.Namespace) -> int:
    """Exit code 0 where the interval is reached or can be, 1 where the budget cannot buy it."""
    from capacity.design import planner
    from capacity.design.registry import make_target
    from capacity.design.space import Choice, space_of
    from capacity.design.terminal import report

    target = make_target(args.form, args.parameter, args.width)
    _check(args)
    choice = Choice(only=args.only, most=args.most_seeds, formats=target.formats)
    request = planner.Request(
        results=args.results,
        budget=args.budget_hours,
        prior_file=args.prior,
        assumed=dict(_assumption(text) for text in args.assume),
        batch=args.batch_hours,
        simulations=args.simulations,
    )
    space = space_of(args.study, args.overrides, args.results, args.device, choice)
    plan = planner.plan(target, space, request)
    print(report(plan))
    if args.write and plan.verdict != "reached":
        _write(args.write, plan)
    return 0 if plan.verdict != "not within the budget" else 1


def _check(args: argparse.Namespace) -> None:
    for name, value in (("--budget-hours", args.budget_hours), ("--batch-hours", args.batch_hours)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} {value:g}: expected a number above 0")
    for name, value, least in (
        ("--most-seeds", args.most_seeds, 1),
        ("--simulations", args.simulations, 20),
    ):
        if value < least:
            raise ConfigError(f"{name} {value}: expected a whole number >= {least}")
    if args.write and args.write.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--write {args.write}: expected a file that ends in .yaml")


def _assumption(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--assume {text}: expected NAME=NUMBER, such as noise=0.02") from None


def _write(path: Path, plan: Plan) -> None:
    """A study file with the finished runs and the next batch, where there is one."""
    from capacity.design.space import write_yaml

    space, target = plan.space, plan.target
    batch = [run for _, run in space.runs(plan.batch, plan.finished.seeds)]
    if not batch:
        return
    there = [space.cells[j].run(s) for j, seeds in plan.finished.seeds.items() for s in seeds]
    question = (
        f"{target.parameter} of {target.form.formula}: {plural(len(batch), 'run')} planned from "
        f"{space.name}"
    )
    files.write_atomic(path, write_yaml(space, there + batch, question).encode())
    print(f"{'written':12s}{path}: capacity sweep {path}")
