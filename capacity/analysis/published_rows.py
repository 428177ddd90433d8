"""Verdicts beside published values as rows of a document, for every kind of study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from capacity.analysis.document import Section, Verdict, Verdicts
from capacity.base.words import capitalized, digits, ends
from capacity.fitting import power
from capacity.published import values as published


def section(
    verdicts: Sequence[Mapping[str, Any]],
    here: str = "",
    nothing: str = "nothing was measured to compare",
    overrides: Sequence[str] = (),
    title: str = "Beside published values",
) -> Section:
    """The section of published values; verdicts: rows of `published.verdict`; here: the scale of
    these runs, in words; nothing: why there is no row. When range and form were fixed is said once
    where it is the same for all rows."""
    note = scale_note(verdicts, here) if verdicts else nothing
    dates = {_expected(v) for v in verdicts}
    if same := dates.pop() if len(dates) == 1 else "":
        note = f"{note} {capitalized(same)}.".strip()
    if overrides:
        note = f"{note} Settings were changed with the command: {', '.join(overrides)}.".strip()
    return Section("published", title, [Verdicts([row(v, dated=not same) for v in verdicts], note)])


def row(v: Mapping[str, Any], *, dated: bool = True) -> Verdict:
    """A row of `published.verdict` in words; dated: with when its range and form were fixed."""
    there = v["published"]
    value = "" if there["value"] is None else f"{there['value']:.4g}"
    value = f"{value} {ends(there.get('interval'))}".strip()
    value += "; " if value else ""
    measured = "nothing"
    if v["measured"] is not None:
        measured = f"{digits(v['measured'])} {ends(v['interval'])}".strip()
    where = f" ({v['at']})" if v["at"] else ""
    scale = f" at {v['scale']} scale" if v["scale"] != "published" else ""
    could_tell = v.get("power")
    remarks = [power.told(could_tell)] if could_tell else []
    remarks += [f"there: {there['there']}" if there["there"] else "", v["convention"], v["note"]]
    remarks += [_form(v), *map(_beside, v.get("beside", ())), _knows(v)]
    remarks += [_expected(v)] * dated
    return Verdict(
        f"{v['name']}: {v['quantity'].replace('_', ' ')}{where}",
        f"{value}counts as agreement: {published.ranged(there['range'])}",
        measured,
        v["verdict"] + scale,
        v["reason"],
        f"{v['source']} [{published.EVIDENCE[v['evidence']]}]",
        [*filter(None, remarks), *v["remarks"]],
    )


def _form(v: Mapping[str, Any]) -> str:
    """By which form both numbers were read."""
    there, here = v["published"].get("form", ""), v.get("form", "")
    if not there or there == here:
        return f"read on both sides by: {here}" if here else ""
    return f"read there by: {there}; here by: {here}"


def _beside(other: Mapping[str, Any]) -> str:
    """What another form reads."""
    number = "nothing"
    if other["measured"] is not None:
        number = f"{digits(other['measured'])} {ends(other['interval'])}".strip()
    return (
        f"beside it, {other['form']}: {number}, which would read {other['verdict']} and decides "
        "nothing"
    )


def _knows(v: Mapping[str, Any]) -> str:
    """Which sources of variation the interval holds."""
    known = v.get("knows", ())
    return f"the interval knows: {', '.join(known)}; nothing else" if known else ""


def _expected(v: Mapping[str, Any]) -> str:
    """When range, form and selection were fixed."""
    return v.get("expected", {}).get("told", "")


def scale_note(verdicts: Sequence[Mapping[str, Any]], here: str = "") -> str:
    """What a reader must know where runs are not at the scale of what was published; empty where
    they are."""
    other = next((v["scale"] for v in verdicts if v["scale"] != "published"), None)
    if other is None:
        return ""
    runs = f" ({here})" if here else ""
    return (
        f"These runs are at {other} scale{runs}, not at the published one: a verdict says whether "
        "the effect shows here, in a range that this project chose, and confirms or refutes no "
        "published number."
    )
