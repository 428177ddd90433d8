"""What `capacity plan` prints, at 80 columns."""

from __future__ import annotations

import math

import numpy as np

from capacity.base import table, words
from capacity.base.words import plural
from capacity.design.planner import Plan
from capacity.design.simulate import Forecast
from capacity.design.target import Target

TITLE = 12  # columns of a line's title
LIST = 38  # columns of a list of loads


def report(plan: Plan) -> str:
    """The proposed runs, what they should give, what a grid would, what was assumed, and the
    verdict."""
    target, space = plan.target, plan.space
    lines = [f"plan        {space.name}"]
    lines += _line(
        "target",
        f"{target.parameter} of {target.form.formula}, {_goal(target)}",
    )
    lines += _line("space", _space(plan))
    spent = ""
    if plan.finished.hours:
        spent = f", of which {words.hours(plan.finished.hours)} spent"
    budget = f"{words.hours(plan.budget)} {space.unit}"
    lines += _line("budget", f"{budget}{spent} ({space.speed.source})")
    if plan.finished.failed:
        lines += _line("failed", f"{plural(plan.finished.failed, 'run')}, not proposed again")
    if plan.now is not None:
        done = plural(len(plan.finished.table), "finished run")
        lines += _line("now", f"{done}: {_interval(target, plan.now)}")
        lines += [line for message in plan.now["bounds"] for line in _line("", message)]
    if plan.new.any():
        lines += ["", *_runs(plan)]
    if plan.expected is not None:
        lines += ["", *_line("expected", _forecast(target, plan.expected))]
        if plan.naive_expected is not None:
            grid = f"{_grid(plan)}: {_forecast(target, plan.naive_expected)}"
            lines += _line("naive grid", grid)
        elif plan.new.any():
            lines += _line(
                "naive grid",
                f"{words.hours(plan.cost + plan.finished.hours)} {space.unit} afford no grid of "
                f"two models with every data size of the study",
            )
    lines += ["", *_assumptions(plan), "", *_line("verdict", _verdict(plan))]
    return "\n".join(lines)


def _line(title: str, text: str) -> list[str]:
    return words.wrap(text, f"{title:{TITLE}s}", " " * TITLE)


def _space(plan: Plan) -> str:
    space = plan.space
    whole = float(space.cost(np.full(len(space.cells), len(space.seeds))))
    axes = "format, data" if space.formats else "data, length"
    return (
        f"{plural(len(space.models), 'model')}, {plural(len(space.cells), 'cell')} (model, {axes}),"
        f" up to {plural(space.most, 'seed')} each; all of it, with "
        f"{plural(len(space.seeds), 'seed')}: {words.hours(whole)} {space.unit}"
    )


def _goal(target: Target) -> str:
    if not target.absolute:
        return f"interval at most {target.width:g} wide ({100 * target.width:g}% of the value)"
    width = _width(target, target.width) if target.unit else f"{target.width:g}"
    return f"interval at most {width} wide"


def _width(target: Target, width: float) -> str:
    if not math.isfinite(width):
        return "none"
    if target.absolute:
        return f"{width:,.0f} {target.unit}" if target.unit else f"{width:.3f}"
    return words.percent(width)


def _interval(target: Target, now: dict) -> str:
    if now["low"] is None or now["high"] is None:
        return f"no interval yet ({now['reason'] or 'an end is open'})"
    return (
        f"{target.parameter} = {now['value']:.4g} [{now['low']:.4g}, {now['high']:.4g}], width "
        f"{_width(target, now['width'])}"
    )


def _forecast(target: Target, forecast: Forecast) -> str:
    low, high = (_width(target, end) for end in forecast.quantiles())
    error = "no estimate"
    if np.isfinite(forecast.bias):
        error = f"median error {forecast.bias:+.2g}"
    covered = ""
    if forecast.given.any():
        covered = f"; {forecast.coverage:.0%} of the intervals contain the truth"
    return (
        f"width {_width(target, forecast.middle)} (90% of studies: {low} to {high}); "
        f"{forecast.reached(target.width):.0%} reach {_width(target, target.width)}{covered}; "
        f"{error} ({plural(len(forecast.width), 'simulated study', 'simulated studies')})"
    )


def _grid(plan: Plan) -> str:
    naive, space = plan.naive, plan.space
    models = len(set(space.cluster[naive > 0]))
    cells = int((naive > 0).sum() / models)
    return (
        f"{plural(models, 'model')}, {plural(cells, 'cell')} each, "
        f"{plural(int(naive.max()), 'seed')}, {words.hours(plan.naive_cost)} {space.unit}"
    )


def _runs(plan: Plan) -> list[str]:
    """The runs by model, with hours."""
    space = plan.space
    exposures = plan.target.form.variables[0].name == "exposures"
    axis = "format, load" if space.formats else "exposures" if exposures else "load"
    rows: list[list[str]] = []
    for c, model in enumerate(space.models):
        places = [int(j) for j in np.flatnonzero((space.cluster == c) & (plan.new > 0))]
        if not places:
            continue
        hours = words.hours(float(space.cost(np.where(space.cluster == c, plan.new, 0))))
        parts = []
        for j in places:
            cell = space.cells[j]
            at = f"{cell.config.exposures:.4g}" if exposures else f"{cell.load:.3g}"
            at = f"{cell.trained_in['format']} {at}" if space.formats else at
            parts.append(f"{at}: {int(plan.new[j])} ({int(plan.batch[j])})")
        lines = _packed(parts, LIST)
        head = [model[:14], f"{space.cells[places[0]].parameters:,.0f}"]
        rows += [
            [*(head if i == 0 else ["", ""]), line, hours if i == len(lines) - 1 else ""]
            for i, line in enumerate(lines)
        ]
    total = (
        f"{plural(int(plan.new.sum()), 'run')}; {int(plan.batch.sum())} of them next, "
        f"{words.hours(plan.batch_cost)} {space.unit}"
    )
    rows.append(["total", "", total, words.hours(plan.cost)])
    columns = [
        table.Column("model", right=False),
        table.Column("parameters"),
        table.Column(f"{axis}: runs (next batch)", right=False),
        table.Column(space.unit),
    ]
    return table.text(table.Table(columns, rows), indent="")


def _packed(parts: list[str], width: int) -> list[str]:
    """Parts, joined by commas, in lines of at most this width that break between parts only."""
    lines = [""]
    for i, part in enumerate(parts):
        text = part + ("," if i < len(parts) - 1 else "")
        if lines[-1] and len(lines[-1]) + 1 + len(text) > width:
            lines.append(text)
        else:
            lines[-1] = f"{lines[-1]} {text}".strip()
    return lines


def _assumptions(plan: Plan) -> list[str]:
    prior, target = plan.prior, plan.target
    values = ", ".join(
        f"{name} = {value:.4g}" for name, value in zip(target.form.names, prior.theta, strict=True)
    )
    lines = _line("truth", f"{values} ({prior.sources['truth']})")
    if "capacity" in prior.sources:
        lines += _line("capacity", prior.sources["capacity"])
    if "corner" in prior.sources and "k" not in target.form.names:
        sharpness = f"k = {math.exp(prior.log_k[0]):.3g}, +-{prior.log_k[1]:.0%}"
        lines += _line("corner", f"{sharpness} ({prior.sources['corner']})")
    for title, variance, of_what in (
        ("noise", prior.noise, target.noise_words),
        ("scatter", prior.scatter, target.scatter_words),
    ):
        lines += _line(title, f"{variance.sd:.1%} {of_what} ({prior.sources[title]})")
    return lines + (_line("bend", prior.sources["bend"]) if "bend" in prior.sources else [])


def _verdict(plan: Plan) -> str:
    target, space = plan.target, plan.space
    if plan.verdict == "reached":
        return "reached: stop. The interval is as narrow as wanted."
    floor = ""
    if plan.floor and np.isfinite(plan.floor):
        floor = (
            f" Scatter over models alone leaves {_width(target, plan.floor)} with all "
            f"{plural(len(space.models), 'model')} of this study and any number of seeds."
        )
        if plan.more_models:
            wanted = _width(target, target.width)
            floor += f" {wanted} needs about {plan.more_models} models like these."
    floor += f" {plan.lacks}" if plan.lacks else ""
    more = f"{words.hours(plan.cost)} more {space.unit}"
    if plan.verdict == "go on":
        return (
            f"go on: {more} should reach {_width(target, target.width)}. Train the next batch, "
            f"then plan again.{floor}"
        )
    if plan.expected is None or not plan.new.any():
        return f"not within the budget: it buys no further run.{floor}"
    bought = "no interval"
    if np.isfinite(plan.expected.middle):
        bought = f"a width of {_width(target, plan.expected.middle)}"
    return f"not within the budget: {more} buy {bought}.{floor}"
