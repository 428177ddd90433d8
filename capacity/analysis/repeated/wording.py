"""What a study of repeated data found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis import published_rows
from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    P_TOTAL,
    RISING_MEANS,
    Bullets,
    Document,
    Flag,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.analysis.repeated.analysis import AGREES, COINCIDES, DIFFERS, NEAR
from capacity.analysis.text import random_capacity
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
DASH = "–"
CAPTIONS = {
    "effective": "Effective size over size against the number of repeats",
    "held": "Share of the subset's bits that is held, against the number of repeats",
    "clean": "Loss on other text against size without repeats, and the highest one with them",
}
CONVENTIONS = [
    ("loss", "bits per token of held-out text, of which nothing was trained on"),
    (
        "share, repeats",
        "f = K E / (N + K E): K sequences stand E times in the training, N others once; N + K E is "
        "the same in all runs",
    ),
    (
        "P_eff / P",
        "size whose loss without repeats is the loss with them, over the size; between sizes a "
        "line in logarithms (arXiv 2205.10487)",
    ),
    (
        "held",
        "1 - loss on the subset / loss of a clean model of the size on other text; held bits: the "
        "same difference times the tokens of the subset, once",
    ),
    (
        "load",
        "bits of the subset (its tokens times the clean loss on other text) over alpha P, alpha "
        "of random data, strict bits",
    ),
    (
        "interval",
        "95%, jackknife over replicates with Student's t, of a difference Student's t: knows "
        "seeds of training and who is dealt out; not another text, nor sizes between those "
        "trained",
    ),
    (
        "p of a dip",
        "one-sided, permutation of the numbers of repeats (1 is a clean run) within replicates; "
        "the statistic is the highest loss inside over the higher end; of each share alone",
    ),
    P_TOTAL,
]


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("size", "P", "parameters, total count"),
        RunColumn("share", "share", "of the training that the subset is"),
        RunColumn("repeats", "repeats", "of the subset; 1 without one"),
        RunColumn("loss", "loss", "on held-out text, bits per token", main=True),
        RunColumn("subset_loss", "subset", "loss on the subset, bits per token"),
        *GAIN,
    ]


def named(curve: Row, curves: Sequence[Row]) -> str:
    """A share, and what else differs among those of the study."""
    parts = [f"{percent(curve['share'])} repeated"]
    if len({one["size"] for one in curves}) > 1:
        parts.append(f"{count(curve['size'])} parameters")
    if curve["system"] != "all runs":
        parts.append(str(curve["system"]))
    return ", ".join(parts)


def document(finding: Finding) -> Document:
    """The document of a study of repeated data; finding: of `analysis.analyse`."""
    fit = finding.numbers
    curves = fit["curves"]
    told = [curve for curve in curves if curve["levels"]]
    sections = [
        Section("clean", "Without repeats", [_clean(row) for row in fit["clean"]]),
        Section("effective", "Effective size by share and repeats", [_levels(told)]),
        Section("worst", "Where repeats are worst", [_worst(curves), *_why(curves)]),
        published_rows.section(fit["verdicts"]),
    ]
    figures = {name: words for name, words in CAPTIONS.items() if told or name == "clean"}
    if all(len(clean["sizes"]) < 2 for clean in fit["clean"]):
        figures.pop("clean")
    return Document(
        f"Repeated data in {fit['study']}",
        [
            *(_clean_said(row) for row in fit["clean"]),
            *(text for curve in curves for text in _said(curve, curves)),
        ],
        sections,
        [
            Flag(*FAILED, fit["failed"]),
            Flag(*MISSING, fit["missing"]),
            Flag("unconverged", f"{RISING_MEANS}; all count here", fit["rising"]),
        ],
        [
            "Repeats take the place of other text, so that the effective size holds what the other "
            "text would have taught, too; the most repeats that were tried show that part alone.",
            "Sizes are those of one family of small models, far below the published ones: an "
            "order is compared, and the load at which repeats are worst; numbers of repeats do "
            "not carry over.",
            "A learning rate was chosen for each size without repeats; with them another one may "
            "be better.",
        ],
        CONVENTIONS,
        figures,
        [
            f"{fit['finished']} of {plural(fit['runs'], 'run')} finished, each with "
            f"{fit['rows']:,} sequences of {fit['length']} tokens in one pass; "
            f"{plural(fit['replicates'], 'replicate')}."
        ],
    )


# --- without repeats
# --------------------------------------------------------------------------------------------------


def _of(row: Row) -> str:
    return "" if row["system"] == "all runs" else f" ({row['system']})"


def _clean_said(row: Row) -> str:
    if not row["sizes"]:
        return f"Loss by size without repeats{_of(row)}: **cannot tell** ({row['reason']})."
    first, last = row["sizes"][0], row["sizes"][-1]
    between = (
        f"{count(first['size'])} parameters: {digits(first['loss'], 4)}, {count(last['size'])}: "
        f"{digits(last['loss'], 4)} bits per token"
    )
    if row["trend"] is None:
        return f"Loss by size without repeats{_of(row)}: **cannot tell** ({row['reason']})."
    p = f"p = {p_value(row['trend']['p'])}, {plural(row['replicates'], 'replicate')}"
    if row["falls"]:
        return (
            f"Without repeats{_of(row)} the loss **falls at every step of size** ({between}; {p})."
        )
    return (
        f"Whether the loss without repeats{_of(row)} falls at every step of size: **cannot tell** "
        f"({between}; {p}; {row['reason']})."
    )


def _clean(row: Row) -> Table:
    steps = {step["to"]: step for step in row["steps"]}
    rows = []
    for one in row["sizes"]:
        step = steps.get(one["size"])
        rows.append(
            [
                f"{one['size']:,}",
                digits(one["loss"], 4),
                DASH if one["sd"] is None else digits(one["sd"], 2),
                DASH
                if step is None
                else f"{digits(step['change'])} {ends(step['interval'])}".strip(),
            ]
        )
    headings = ("P", "loss", "sd", "step")
    return Table(
        [Column(h) for h in headings],
        rows,
        key=f"means of {plural(row['replicates'], 'replicate')}{_of(row)}; step: difference to the "
        "size above, paired by replicate, 95%",
    )


# --- with repeats
# --------------------------------------------------------------------------------------------------


def _effective(level: Row) -> str:
    if level["effective"] is not None:
        return f"{digits(level['effective'])} {ends(level['effective_interval'])}".strip()
    if level["bound"] is None:
        return DASH
    sign = "<" if level["bound"]["side"] == "below" else ">"
    return f"{sign} {digits(level['bound']['end'])}"


def _levels(curves: Sequence[Row]) -> Table:
    headings = "repeats|K|loss|damage|P_eff/P|subset|held|bits|load".split("|")
    rows: list[list[str]] = []
    for curve in curves:
        rows.append([f"{named(curve, curves)}, P {curve['size']:,}"])
        for level in curve["levels"]:
            damage = f"{digits(level['damage'])} {ends(level['damage_interval'])}".strip()
            rows.append(
                [
                    f"{level['repeats']:,}",
                    f"{level['subset']:,}",
                    digits(level["loss"], 4),
                    damage,
                    _effective(level),
                    digits(level["subset_loss"]),
                    percent(level["held_share"]),
                    count(level["held_bits"]),
                    DASH if level["load"] is None else digits(level["load"]),
                ]
            )
    detail = ("K", "loss", "damage", "bits")
    return Table(
        [Column(h, detail=h in detail) for h in headings],
        rows,
        key="K: sequences of the subset; damage: loss - clean loss of the size, paired by "
        "replicate; subset: loss on it; held, bits: what is held of it; < and >: beyond the sizes "
        "trained",
    )


def _repeats(number: Row | None) -> str:
    if number is None:
        return DASH
    return f"{digits(number['repeats'])} {ends(number['interval'])}".strip()


def _worst(curves: Sequence[Row]) -> Table:
    headings = "share|dip|p|worst E|P_eff/P|known at E|worst / known|load|verdict".split("|")
    rows = []
    for curve in curves:
        worst, dip, both = curve["worst"], curve["dip"], curve["coincides"]
        load = curve["load_at_worst"]
        rows.append(
            [
                named(curve, curves),
                curve["verdict"],
                DASH if dip is None else p_value(dip["p"]),
                _repeats(worst),
                DASH if worst is None else _effective(worst),
                _repeats(curve["near"]),
                DASH
                if both is None
                else f"{digits(both['ratio'])} {ends(both['interval'])}".strip(),
                DASH
                if load is None
                else f"{digits(load['value'])} {ends(load['interval'])}".strip(),
                curve["coincidence"],
            ]
        )
    left, detail = ("share", "dip", "verdict"), ("p", "known at E", "load")
    return Table(
        [Column(h, right=h not in left, detail=h in detail) for h in headings],
        rows,
        key="dip: whether the highest loss is inside, as published; P_eff/P: at the number tried "
        f"that is worst; known: {NEAR:.0%} of the subset's bits are held; verdict: whether both "
        f"numbers of repeats are the same within a factor of {COINCIDES:g}, as published",
    )


def _why(curves: Sequence[Row]) -> list[Bullets]:
    lines = []
    for curve in curves:
        name = named(curve, curves)
        if curve["reason"]:
            lines.append(f"{name}: {curve['reason']}.")
        elif curve["coincidence_reason"]:
            lines.append(f"{name}, worst E beside a known subset: {curve['coincidence_reason']}.")
        if (worst := curve["worst"]) is not None and worst["why"]:
            lines.append(f"{name}, worst E: {worst['why']}.")
        if curve["alpha"] is not None:
            alpha = curve["alpha"]["alpha"]
            lines.append(
                f"{name}: alpha {digits(alpha['value'])} {ends(alpha['interval'])}".rstrip()
                + f" bits per parameter ({random_capacity.words(curve['alpha'])})."
            )
    return [Bullets(list(dict.fromkeys(lines)))] if lines else []


def _said(curve: Row, curves: Sequence[Row]) -> list[str]:
    """The dip, and what coincides with it."""
    name, dip, worst = named(curve, curves), curve["dip"], curve["worst"]
    if worst is None or dip is None:
        p = "" if dip is None else f"p = {p_value(dip['p'])}; "
        return [f"{name}: **cannot tell** a worst number of repeats ({p}{curve['reason']})."]
    at = f"{worst['tried']:,} repeats tried"
    size = f"the size acts as **{_effective(worst)}** of itself at the worst of the {at}"
    if worst["effective"] is None:
        size = f"the effective size is beyond those trained ({_effective(worst)}) at {at}"
    where = f"{digits(worst['repeats'])} {ends(worst['interval'])}".strip()
    if worst["interval"] is None:
        where += ", no interval inside of what was tried"
    out = [
        f"{name}: loss on other text is highest **inside**, as published, at {where} repeats "
        f"(p = {p_value(dip['p'])}, {plural(curve['replicates'], 'replicate')}); {size}, with "
        f"{percent(worst['held_share'])} of the subset held."
    ]
    load = curve["load_at_worst"]
    if load is not None:
        found = f"{digits(load['value'])} {ends(load['interval'])}".strip()
        out.append(f"{name}: there the subset is {found} of what the model holds of random data.")
    both = curve["coincides"]
    if both is None:
        return [*out, f"{name}: **cannot tell** whether that is where the subset is known "
                      f"({curve['coincidence_reason']})."]  # fmt: skip
    ratio = f"{digits(both['ratio'])} {ends(both['interval'])}".strip()
    verdict = {AGREES: "**coincide**, as published", DIFFERS: "**lie apart**, unlike published"}
    words = verdict.get(curve["coincidence"], "**cannot tell** whether they coincide")
    return [
        *out,
        f"{name}: worst repeats over those at which {NEAR:.0%} of the subset is held: {ratio}; "
        f"{words}.",
    ]
