"""What `capacity plan` prints, at 80 columns."""

from __future__ import annotations

import math
import textwrap

import numpy as np

from capacity.design.planner import Plan
from capacity.design.simulate import Forecast


def report(plan: Plan) -> str:
    """The proposed runs, what they should give, what a grid would, what was assumed, and the
    verdict."""
    q, space = plan.question, plan.space
    whole = float(space.cost(np.full(len(space.cells), len(space.seeds))))
    lines = [f"plan        {space.name}"]
    lines += _line("question", f"{q.parameter} of {q.form.formula}, {_width(q, q.width)}")
    lines += _line(
        "space",
        f"{_many(len(space.labels), 'model')}, {len(space.cells)} cells (model, "
        f"{'format, data' if space.ladder else 'data, length'}), "
        f"up to {space.most} seeds each; all of it, with {_many(len(space.seeds), 'seed')}: "
        f"{_hours(whole)} {space.unit}",
    )
    spent = f", of which {_hours(plan.finished.hours)} spent" if plan.finished.hours else ""
    lines += _line("budget", f"{_hours(plan.budget)} {space.unit}{spent} ({space.speed.source})")
    if plan.finished.failed:
        lines += _line("failed", f"{plan.finished.failed} runs; they are not asked for again")
    if len(plan.finished.table):
        lines += _line(
            "now", f"{len(plan.finished.table)} finished runs: " + _interval(plan, plan.now)
        )
    if plan.new.any():
        lines += ["", *_table(plan)]
    if plan.expected is not None:
        lines += ["", *_line("expected", _forecast(plan, plan.expected))]
        if plan.naive_expected is not None:
            lines += _line("naive grid", _grid(plan) + ": " + _forecast(plan, plan.naive_expected))
        elif plan.new.any():
            lines += _line(
                "naive grid",
                f"{_hours(plan.cost + plan.finished.hours)} {space.unit} afford no grid of two "
                f"models with every data size of the study",
            )
    lines += ["", *_beliefs(plan), "", *_line("verdict", _verdict(plan))]
    return "\n".join(lines)


def _line(title: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, 80, initial_indent=f"{title:12s}", subsequent_indent=" " * 12, break_on_hyphens=False
    )


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _width(question, width: float) -> str:
    if question.absolute:
        return (
            f"interval at most {_number(question, width) if question.unit else f'{width:g}'} wide"
        )
    return f"interval at most {width:g} wide ({100 * width:g}% of the value)"


def _number(question, width: float) -> str:
    if not math.isfinite(width):
        return "none"
    if question.absolute:
        return f"{width:,.0f} {question.unit}" if question.unit else f"{width:.3f}"
    return f"{100 * width:.1f}%"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}" if hours < 10 else f"{hours:.1f}"


def _interval(plan: Plan, now: dict) -> str:
    if now["low"] is None or now["high"] is None:
        return f"no interval yet ({now['reason'] or 'an end is open'})"
    ends = f"[{now['low']:.4g}, {now['high']:.4g}]"
    return (
        f"{plan.question.parameter} = {now['value']:.4g} {ends}, width "
        f"{_number(plan.question, now['width'])}"
    )


def _forecast(plan: Plan, seen: Forecast) -> str:
    q = plan.question
    low, high = seen.quantiles()
    error = f"median error {seen.bias:+.2g}" if np.isfinite(seen.bias) else "no estimate"
    text = (
        f"width {_number(q, seen.middle)} (90% of studies: {_number(q, low)} to "
        f"{_number(q, high)}); "
    )
    text += f"{seen.reached(q.width):.0%} reach {_number(q, q.width)}"
    told = f"; holds the truth in {seen.coverage:.0%}" if seen.given.any() else ""
    return f"{text}{told}; {error} ({len(seen.width)} simulated studies)"


def _grid(plan: Plan) -> str:
    naive, space = plan.naive, plan.space
    models = len(set(space.cluster[naive > 0]))
    cells, seeds = int((naive > 0).sum() / models), _many(int(naive.max()), "seed")
    return (
        f"{_many(models, 'model')}, {cells} cells each, {seeds}, {_hours(plan.naive_cost)} "
        f"{space.unit}"
    )


def _table(plan: Plan) -> list[str]:
    space = plan.space
    exposures = plan.question.form.variables[0].name == "exposures"
    heading = (
        f"{'format, load' if space.ladder else 'exposures' if exposures else 'load'}: runs (next "
        f"batch)"
    )
    lines = [f"{'model':14s}{'parameters':>12s}  {heading:42s}{space.unit:>10s}"]
    for label in space.labels:
        places = [
            j for j in range(len(space.cells)) if space.cells[j].label == label and plan.new[j]
        ]
        if not places:
            continue
        only = np.where(np.isin(np.arange(len(plan.new)), places), plan.new, 0)
        parts = [
            f"{space.cells[j].rung['rung'] + ' ' if space.ladder else ''}"
            f"{space.cells[j].config.exposures if exposures else space.cells[j].load:.3g}: "
            f"{int(plan.new[j])} ({int(plan.batch[j])})"
            for j in places
        ]
        wrapped = textwrap.wrap(
            ", ".join(part.replace(" ", "\0") for part in parts), 40
        )  # a part is not broken
        wrapped = [text.replace("\0", " ") for text in wrapped]
        for i, text in enumerate(wrapped):
            head = (
                f"{label[:13]:14s}{space.cells[places[0]].parameters:>12,.0f}"
                if i == 0
                else " " * 26
            )
            tail = _hours(float(space.cost(only))) if i == len(wrapped) - 1 else ""
            lines.append(f"{head}  {text:42s}{tail:>10s}".rstrip())
    total = (
        f"{int(plan.new.sum())} runs; {int(plan.batch.sum())} of them next, "
        f"{_hours(plan.batch_cost)} {space.unit}"
    )
    return lines + [f"{'total':14s}{'':12s}  {total:42s}{_hours(plan.cost):>10s}".rstrip()]


def _beliefs(plan: Plan) -> list[str]:
    prior, q = plan.prior, plan.question
    said = ", ".join(f"{name} = {value:.4g}" for name, value in zip(q.form.names, prior.theta))
    lines = _line("truth", f"{said} ({prior.sources['truth']})")
    if "capacity" in prior.sources:
        lines += _line("capacity", prior.sources["capacity"])
    if "corner" in prior.sources and "k" not in q.form.names:
        lines += _line(
            "corner",
            f"k = {math.exp(prior.log_k[0]):.3g}, +-{prior.log_k[1]:.0%} "
            f"({prior.sources['corner']})",
        )
    lines += _line("noise", f"{prior.noise.sd:.1%} {q.noise_words} ({prior.sources['noise']})")
    lines += _line(
        "scatter", f"{prior.scatter.sd:.1%} {q.scatter_words} ({prior.sources['scatter']})"
    )
    return lines + (_line("bend", prior.sources["bend"]) if "bend" in prior.sources else [])


def _verdict(plan: Plan) -> str:
    q, space = plan.question, plan.space
    if plan.verdict == "reached":
        return "reached: stop. The interval is as narrow as asked."
    floor = ""
    if plan.floor and np.isfinite(plan.floor):
        floor = (
            f" Scatter over models alone leaves {_number(q, plan.floor)} with all "
            f"{len(space.labels)} models of this study"
        )
        floor += " and any number of seeds."
        if plan.more_models:
            floor += f" {_number(q, q.width)} needs about {plan.more_models} models like these."
    floor += f" {plan.lacks}" if plan.lacks else ""
    if plan.verdict == "go on":
        more = f"{_hours(plan.cost)} more {space.unit}"
        return (
            f"go on: {_number(q, q.width)} should be reached with {more}. Train the next batch, "
            f"then ask again.{floor}"
        )
    if plan.expected is None or not plan.new.any():
        return f"not within the budget: it buys no further run.{floor}"
    bought = (
        f"a width of {_number(q, plan.expected.middle)}"
        if np.isfinite(plan.expected.middle)
        else "no interval"
    )
    return f"not within the budget: {_hours(plan.cost)} more {space.unit} buy {bought}.{floor}"
