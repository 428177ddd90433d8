"""What `capacity fit` prints, at most 80 columns: a form in words, and a fit with all that a reader
asks of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from capacity.base.table import Column, Table
from capacity.base.table import text as table_text
from capacity.base.words import digits, ends, joined, plural, wrap
from capacity.fitting import bounds
from capacity.fitting.form import Form, Parameter
from capacity.fitting.identify import NOT_IDENTIFIED


def describe(law: Form) -> list[str]:
    """A form in words."""
    unit = f" ({law.target.unit})" if law.target.unit else ""
    lines = [
        law.name,
        *wrap(law.formula, "  "),
        *wrap(f"{law.formula.split(' = ')[0]}: {law.target.meaning}{unit}", "    "),
    ]
    notes = [f"{v.name}: {v.meaning} ({v.unit})" for v in law.variables]
    for p in law.parameters:
        unit = f" ({p.unit})" if p.unit else ""
        notes.append(f"parameter {p.name}: {p.meaning}{unit}; {_limits(p)}")
    loss = "Huber's loss" if law.robust else "least squares"
    of = law.transform if law.transform != "identity" else "value"
    notes += [
        f"domain: {law.domain}",
        f"limits: {law.asymptotes}",
        f"fitted by {loss} of the {of}; intervals: {law.interval}",
        f"source: {law.source}",
    ]
    return [*lines, *(line for note in notes for line in wrap(note, "    ", "      ")), ""]


def _limits(p: Parameter) -> str:
    low, high = (f"{end:.3g}" if math.isfinite(end) else None for end in (p.low, p.high))
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else "any"


def report(result: Mapping[str, Any]) -> str:
    """The fits of `fit.fit_forms`, best first."""
    lines = []
    for row in result["fits"]:
        lines += [*_fit_lines(row, result), ""]
    return "\n".join(lines).rstrip()


def _fit_lines(row: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    record = row["record"]
    lines = wrap(
        f"{row['form']}: {row['formula']}, fitted to {result['y']} of "
        f"{result.get('table', 'the table')}",
        "",
        "  ",
    )
    lines += wrap(_points(record), "  ")
    lines += _parameter_lines(record, row["tied"])
    if row["influence"]:
        lines += wrap(_influence(row["influence"], row["values"]), "  ", "    ")
    for i, place in enumerate(result["at"]):
        lines += wrap(_prediction(place, record["intervals"][f"at {i}"], record["valid"]), "  ")
    lines += wrap(_held_out(record["held_out"]), "  ", "    ")
    if row["aicc"] is not None:
        above = row["aicc_difference"]
        more = f", {above:.1f} above the best form" if above else ""
        lines += wrap(f"AICc {row['aicc']:.1f}{more}", "  ")
    lost = unidentified(record)
    others = "; ".join(
        f"{name}: {', '.join(f'{k} {digits(v)}' for k, v in values.items() if k not in lost)}"
        for name, values in record["other_losses"].items()
    )
    if len(lost) < len(record["parameters"]):
        lines += wrap(f"by other losses: {others}", "  ", "    ")
    lines += wrap(_search(record), "  ", "    ")
    if "bootstrap" in record:
        lines += wrap(_bootstrap(record), "  ", "    ")
    return lines + [line for w in row["warnings"] for line in wrap(f"! {w}", "  ", "    ")]


def unidentified(record: Mapping[str, Any]) -> list[str]:
    """Parameters that the points of a fit do not tell."""
    intervals = {name: record["intervals"].get(name) or {} for name in record["parameters"]}
    return [
        name
        for name, entry in intervals.items()
        if str(entry.get("reason")).startswith(NOT_IDENTIFIED)
    ]


def _influence(influence: Mapping[str, Any], values: Mapping[str, float]) -> str:
    name, rows = influence["parameter"], influence["rows"]
    others = ", ".join(
        f"{other} {digits(value, 4)} instead of {digits(values[other], 4)}"
        for other, value in influence["values"].items()
        if other != name and value != values[other]
    )
    interval = influence["intervals"].get(name) or {"reason": "fixed"}
    shown = "" if interval["reason"] else f" {_ends(interval)}"
    word = influence["counted_by"] if len(rows) == 1 else f"{influence['counted_by']}s"
    return (
        f"! {len(rows)} of {plural(influence['points'], 'point')} ({word} {joined(rows)}) "
        f"{'decides' if len(rows) == 1 else 'decide'} {name}: without "
        f"{'it' if len(rows) == 1 else 'them'} it is {digits(influence['values'][name], 4)}{shown}"
        f", not {digits(values[name], 4)}{'; then ' + others if others else ''}. Look at "
        f"{'that row' if len(rows) == 1 else 'these rows'} before you quote it"
    )


def _points(record: Mapping[str, Any]) -> str:
    p, loss = record["points"], record["loss"]
    left = "".join(f", {n} left out ({why})" for why, n in p["left_out"].items() if n)
    delta = "" if loss["delta"] is None else f", delta {loss['delta']:.3g}"
    return (
        f"{plural(p['fitted'], 'point')} in {plural(p['clusters'], 'cluster')}, "
        f"{p['lower_bounds']} of them lower bounds{left}; weights: {p['weights']}; {loss['name']} "
        f"loss of {loss['unit']}{delta}; residual sd {digits(record['sigma'])}"
    )


def _parameter_lines(record: Mapping[str, Any], ties: Mapping[str, str]) -> list[str]:
    """Values, intervals and units of the parameters, and why an interval is missing."""
    rows, notes, methods, reasons = [], [], {}, {}
    for name, entry in record["parameters"].items():
        interval = record["intervals"].get(name)
        shown = "fixed"
        if entry["fitted"] and interval:
            shown = "none" if interval["reason"] else _ends(interval)
            if (why := interval["reason"]) is None:
                methods.setdefault(interval["method"], None)
            elif why.startswith(NOT_IDENTIFIED):
                shown = "not identified"
                reasons.setdefault(why.removeprefix(f"{NOT_IDENTIFIED}: "), []).append(name)
            else:
                notes.append(f"{name} has no interval: {why}")
        label = ", ".join([*(one for one, other in ties.items() if other == name), name])
        rows.append([label, digits(entry["value"], 4), shown, entry["unit"]])
    columns = [
        Column("parameter", right=False),
        Column("value"),
        Column("95% interval"),
        Column("unit", right=False),
    ]
    key = f"intervals: {', '.join(methods)}" if methods else ""
    lines = table_text(Table(columns, rows, key=key), indent="    ")
    notes += bounds.ends(record["intervals"])
    notes += [
        f"{joined(names)}: {NOT_IDENTIFIED}, any value printed is one of many: {why}"
        for why, names in reasons.items()
    ]
    return lines + [line for note in notes for line in wrap(note, "    ", "      ")]


def _ends(interval: Mapping[str, Any]) -> str:
    low, high = ("open" if e is None else digits(e, 4) for e in (interval["low"], interval["high"]))
    return f"[{low}, {high}]"


def _prediction(
    place: Mapping[str, float], entry: Mapping[str, Any], valid: Mapping[str, list[float]]
) -> str:
    where = ", ".join(f"{k} = {v:g}" for k, v in place.items())
    interval = (
        f"(no interval: {entry['reason']})"
        if entry["reason"]
        else f"{_ends(entry)} ({entry['method']})"
    )
    unit = f" {entry['unit']}" if entry["unit"] else ""
    return f"at {where}: {digits(entry['value'], 4)}{unit} {interval}{beyond(place, valid)}"


def beyond(place: Mapping[str, float], valid: Mapping[str, list[float]]) -> str:
    """How far a prediction lies outside of the points, in words; the law may change there, which no
    interval knows."""
    far = [
        f"{name} {value / valid[name][1]:.3g} times the largest"
        if value > valid[name][1]
        else f"{name} {valid[name][0] / value:.3g} times below the smallest"
        for name, value in place.items()
        if not valid[name][0] <= value <= valid[name][1] and value > 0
    ]
    return f"; extrapolated: {', '.join(far)}" if far else ""


def _held_out(held: Mapping[str, Any]) -> str:
    if held["reason"]:
        return f"held out: none, {held['reason']}"
    percent = held["rms_percent"]
    whole = f"{percent:.1f}%" if percent is not None else digits(held["rms"])
    last, more = held.get("largest"), ""
    if last is not None:
        error = last["percent"]
        more = f"; the largest {error:+.1f}%" if error is not None else f"; {last['error']:+.3g}"
        if held["extrapolation"]:
            more += f", {held['extrapolation']:.2g} times the next"
    return f"held out by {held['scale']}, each value predicted from the others: rms {whole}{more}"


def _search(record: Mapping[str, Any]) -> str:
    search = record["search"]
    valid = ", ".join(
        f"{name} {digits(a)} to {digits(b)}" for name, (a, b) in record["valid"].items()
    )
    return (
        f"search: {plural(search['starts'], 'start')}, {search['agreeing']} of the best end at the "
        f"minimum; valid for {valid}"
    )


def _bootstrap(record: Mapping[str, Any]) -> str:
    b = record["bootstrap"]
    shown = ", ".join(
        f"{name} {ends([e['low'], e['high']])}"
        for name, e in b["percentile"].items()
        if name in record["parameters"] and name not in unidentified(record)
    )
    fewer = ""
    if "asked" in b:
        fewer = f" (of {b['asked']:,} asked for: {record['points']['fitted']:,} points)"
    return (
        f"{plural(b['resamples'], 'bootstrap')}{fewer} over clusters, percentiles (too short with "
        f"few clusters): {shown}"
    )
