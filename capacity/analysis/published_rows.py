"""Verdicts beside published values as rows of a document, for every kind of study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from capacity.analysis.document import Section, Verdict, Verdicts
from capacity.base.words import digits, ends
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
    these runs, in words; nothing: why there is no row."""
    note = scale_note(verdicts, here) if verdicts else nothing
    if overrides:
        note = f"{note} Settings were changed with the command: {', '.join(overrides)}.".strip()
    return Section("published", title, [Verdicts([row(v) for v in verdicts], note)])


def row(v: Mapping[str, Any]) -> Verdict:
    """A row of `published.verdict` in words."""
    there = v["published"]
    value = "" if there["value"] is None else f"{there['value']:g}; "
    measured = "nothing"
    if v["measured"] is not None:
        measured = f"{digits(v['measured'])} {ends(v['interval'])}".strip()
    where = f" ({v['at']})" if v["at"] else ""
    scale = f" at {v['scale']} scale" if v["scale"] != "published" else ""
    power_ = v.get("power")
    remarks = [
        power.told(power_) if power_ else "",
        f"there: {there['there']}" if there["there"] else "",
        v["convention"],
        v["note"],
    ]
    return Verdict(
        f"{v['name']}: {v['quantity'].replace('_', ' ')}{where}",
        f"{value}counts as agreement: {published.ranged(there['range'])}",
        measured,
        v["verdict"] + scale,
        v["reason"],
        f"{v['source']} [{published.EVIDENCE[v['evidence']]}]",
        [*filter(None, remarks), *v["remarks"]],
    )


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
