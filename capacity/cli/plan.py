"""The verb `plan`: arguments to a plan, its report, and the study file of its next batch."""

from __future__ import annotations

import argparse
import math

from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.design import planner
from capacity.design import terminal as report
from capacity.design.space import space_of, write_yaml
from capacity.design.targets import ask


def run(args: argparse.Namespace) -> int:
    """Exit code 0 where the interval is reached or can be, 1 where the budget cannot buy it."""
    question = ask(args.form, args.parameter, args.width)
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
    assumed = dict(_assumption(text) for text in args.assume)
    space = space_of(
        args.study,
        args.overrides,
        args.results,
        args.device,
        args.only,
        args.most_seeds,
        question.ladder,
    )
    found = planner.plan(
        question,
        space,
        args.results,
        args.budget_hours,
        prior_file=args.prior,
        assumed=assumed,
        batch=args.batch_hours,
        count=args.simulations,
    )
    print(report.report(found))
    if args.write and found.verdict != "reached":
        there = [
            space.cells[j].run(seed) for j, seeds in found.finished.seeds.items() for seed in seeds
        ]
        batch = [run for _, run in space.runs(found.batch, found.finished.seeds)]
        if batch:
            asked = (
                f"{question.parameter} of {question.form.formula}: {len(batch)} runs planned from "
                f"{space.name}"
            )
            files.write_atomic(args.write, write_yaml(space, there + batch, asked).encode())
            print(f"{'written':12s}{args.write}: capacity sweep {args.write}")
    return 0 if found.verdict != "not within the budget" else 1


def _assumption(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--assume {text}: expected NAME=NUMBER, such as noise=0.02") from None
