"""What a study of parts found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis import published_rows
from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    RESIDUAL,
    RISING_MEANS,
    Bullets,
    Document,
    Flag,
    Interval,
    Law,
    Laws,
    Number,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.analysis.idle import allocation, signs
from capacity.analysis.idle.analysis import UNREAD, told
from capacity.analysis.idle.reading import READ
from capacity.analysis.random.wording import DECAYED, STRICT
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, joined, p_value, percent, plural, span
from capacity.naming import listed, text

if TYPE_CHECKING:
    import pandas

DASH = "–"
MORE = {1: "more", -1: "less"}  # than the plain model of the same layers and width
FORMULA = "C = alpha (P_active + kappa P_idle)"
CAPTIONS = {
    "total": "Bits against total parameters",
    "active": "Bits against active parameters",
    "allocation": "Bits over the division of idle parameters",
}
LEARNED = (
    "bits",
    "learned bits of the people, of arXiv 2404.05405, definition 4.1; P without the rows of tokens "
    "that no text has",
)
CONVENTIONS = [
    ("P total", "every trained number of the model"),
    ("P active", "numbers that take part in what is computed of one token"),
    ("P idle", "total minus active: experts not visited, rows of tables not read"),
    ("kappa", "what an idle parameter holds over what an active one holds"),
    (
        "bits per added parameter",
        "bits more than the plain model of the same layers and width, over the parameters that the "
        "system has more; 95% by t over seeds",
    ),
    (
        "interval over models",
        "95%: from the scatter of models about the law and of seeds of a model, each taken as one "
        "for all (pooled)",
    ),
    RESIDUAL,
]
SAYS = {
    "less": "an idle parameter holds less than an active one, and more than nothing",
    "more": "an idle parameter holds more than an active one",
    "like": "not shown to differ from an active parameter",
    "nothing": "not shown to hold anything",
    "both": "these runs tell it neither from 0 nor from 1",
    "unknown": "these runs do not determine it",
}


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    read = [RunColumn(READ, "read", "share of the rows of the least used table that are read")]
    return [
        RunColumn("p", "P", "parameters"),
        RunColumn("p_active", "active", "parameters that take part in one token"),
        RunColumn("held", "bits", "bits held"),
        RunColumn("held", "bits/P", "bits held per parameter", per="p", main=True),
        RunColumn("held", "bits/active", "bits held per active parameter", per="p_active"),
        *(read if READ in runs and bool(runs[READ].notna().any()) else []),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of parts; finding: of `analysis.analyse`."""
    fit = finding.numbers
    bits = STRICT if fit["family"] == "random data" else LEARNED
    sections = [
        Section("models", "What each model holds", [_models(fit)]),
        Section("laws", FORMULA, [Laws([_law(law) for law in fit["laws"]])]),
        *_signs_section(fit),
        Section("tuning", "Recipes: chosen at one amount of data, then frozen", _tuning(fit)),
    ]
    if fit.get("allocation"):
        title = "How idle parameters are divided, at one total"
        sections.append(Section("allocation", title, [_allocation(fit["allocation"])]))
    if fit["verdicts"]:
        sizes = [row["p"] for row in fit["models"]]
        here = f"P {span(min(sizes), max(sizes))}" if sizes else ""
        sections.append(published_rows.section(fit["verdicts"], here))
    return Document(
        f"Active and idle parameters in {fit['study']}",
        [
            *(_answer(law) for law in fit["laws"]),
            *map(_divided, fit.get("allocation", ())),
            *_signs_said(fit),
        ],
        sections,
        _flags(fit),
        _notes(fit),
        [bits, *CONVENTIONS],
        {k: words for k, words in CAPTIONS.items() if k != "allocation" or fit.get("allocation")},
        [
            f"{fit['finished']} of {fit['runs']} runs finished; "
            f"{sum(row['runs'] for row in fit['models'])} of them are in the laws."
        ],
    )


def _named(law: Mapping[str, Any]) -> str:
    return listed([law["system"], law["condition"]])


def _answer(law: Mapping[str, Any]) -> str:
    name, what = _named(law), told(law)
    if what == "reason":
        return f"{name}: **no kappa:** {law['reason']}."
    kappa = law["kappa"]
    read = f"{digits(kappa['value'])} {ends(kappa['interval'])}".strip()
    if what == "withheld":
        why = "; ".join(law["withheld"])
        return f"{name}: **cannot tell kappa:** {why}. (As trained: {read}, which decides nothing.)"
    if what == "unknown":
        return f"{name}: **cannot tell kappa:** {SAYS[what]} ({kappa['why']})."
    per_idle = law["per_idle"]
    more = ""
    if per_idle["value"] is not None and per_idle["interval"] is not None:
        more = (
            f"; an idle parameter holds {digits(per_idle['value'])} {ends(per_idle['interval'])} "
            "bits"
        )
    return (
        f"{name}: kappa = **{digits(kappa['value'])}**, 95% {ends(kappa['interval'])} over "
        f"{plural(len(law['models']), 'model')}: {SAYS[what]}{more}."
    )


def _law(law: Mapping[str, Any]) -> Law:
    name = _named(law)
    if law["reason"]:
        return Law(name, reason=law["reason"])
    units = {
        "alpha": "bits per active parameter",
        "kappa": "",
        "per_idle": "bits per idle parameter",
    }
    symbols = {"alpha": "alpha", "kappa": "kappa", "per_idle": "alpha kappa"}
    numbers = [
        Number(
            symbols[key],
            law[key]["value"],
            unit,
            [Interval("over models", law[key]["interval"], law[key]["why"] or "", True)],
        )
        for key, unit in units.items()
        if law[key]["value"] is not None
    ]
    low, high = law["idle_over_active"]
    remarks = [
        f"{plural(law['runs'], 'run')} of {plural(len(law['models']), 'model')}, P_idle / P_active "
        f"of the system {span(low, high) if high >= 1000 else f'{low:.2g} to {high:.2g}'}; rms "
        f"{law['rms_percent']:.2g}%",
        *law["bounds"],
        *law["warnings"],
    ]
    if law["chose"]:
        remarks.append(
            f"read from the very runs that chose their recipe, which flatters them by their noise: "
            f"{joined(law['chose'])}"
        )
    if law["other_recipes"]:
        remarks.append(
            f"not read, because their other seeds have another recipe than the one that was "
            f"chosen: {joined(law['other_recipes'])}"
        )
    if law["withheld"]:
        remarks.append(f"kappa cannot be told: {'; '.join(law['withheld'])}")
    return Law(name, FORMULA, numbers, remarks)


def _models(fit: Mapping[str, Any]) -> Table:
    headings = "model|P|active|seeds|bits|bits/P|bits/active|per added|read|".split("|")
    rows, last = [], ""
    for row in fit["models"]:
        if row["condition"] != last:
            rows.append([row["condition"]])
            last = row["condition"]
        added = row["added"]
        rows.append(
            [
                row["model"],
                count(row["p"]),
                count(row["p_active"]),
                str(row["seeds"]),
                count(row["bits"]),
                digits(row["per_total"]),
                digits(row["per_active"]),
                DASH
                if added is None
                else f"{digits(added['value'])} {ends(added['interval'])}".strip(),
                DASH if row["rows_read"] is None else percent(row["rows_read"]),
                "r" if row["rising"] else "",
            ]
        )
    return Table(
        [Column(h, right=h != "model") for h in headings],
        rows,
        key="per added: bits per parameter that it has more than the plain model of its size, 95% "
        "over seeds; read: rows of its least used table that training reads",
        marks={"r": "some run still rising"},
    )


def _signs_said(fit: Mapping[str, Any]) -> list[str]:
    """How published signs fare, in a sentence per verdict."""
    out = []
    for verdict in (signs.AGREES, signs.DIFFERS, signs.UNKNOWN):
        mine = [row for row in fit.get("signs", ()) if row["verdict"] == verdict]
        told = [f"{_named(row)} {MORE[row['published']]} {row['outcome']}" for row in mine]
        if told:
            out.append(f"Published signs, **{verdict}**: {'; '.join(told)}.")
    return out


def _signs_section(fit: Mapping[str, Any]) -> list[Section]:
    if not (rows := fit.get("signs")):  # none is published of these systems, or another version
        return []
    sources = "; ".join(dict.fromkeys(row["source"] for row in rows))
    lines = [
        f"{_named(row)}, {row['outcome']}: {row['verdict']}: {row['reason']}."
        for row in rows
        if row["reason"]
    ]
    lines.append(f"Published are losses and scores, so that signs are compared: {sources}.")
    title = "Published signs, by permutation within sizes"
    return [Section("signs", title, [_signs(rows), Bullets(lines)])]


def _signs(rows: Sequence[Mapping[str, Any]]) -> Table:
    headings = ("system", "sizes", "of", "ratio", "published", "runs", "p", "verdict")
    cells = [
        [
            _named(row),
            ", ".join(row["sizes"]),
            row["outcome"],
            DASH
            if row["ratio"] is None
            else f"{digits(row['ratio'])} {ends(row['interval'])}".strip(),
            MORE[row["published"]],
            f"{row['runs'][0]}, {row['runs'][1]}",
            p_value(row["p"]),
            row["verdict"],
        ]
        for row in rows
    ]
    left = ("system", "sizes", "of", "published", "verdict")
    return Table(
        [Column(h, right=h not in left, detail=h in ("runs", "sizes")) for h in headings],
        cells,
        key="ratio: to the plain model of the same layers and width, mean of logarithms over "
        f"sizes, 95% by t over seeds; {signs.AGREES} or {signs.DIFFERS}: p <= {signs.ALPHA:.0%}, "
        "and no training of the lower side is known to be short",
    )


def _divided(curve: Mapping[str, Any]) -> str:
    """What a curve over the division of idle parameters says, in a sentence."""
    first, second = curve["kinds"]
    name = listed([curve["size"], f"{first} + {second}", curve["condition"]])
    what = allocation.told(curve)
    if what == "withheld":
        return f"{name}: **cannot tell the best division:** {'; '.join(curve['withheld'])}."
    if what == "none":
        return f"{name}: **no division is judged:** neither part is there alone, at the same total."
    alone = first if curve["against"]["share"] == 1 else second
    rows = [row for row in curve["against"]["mixtures"] if row["ratio"] is not None]
    if not rows:
        return f"{name}: **cannot tell:** no mixture shares a seed with {alone} alone."
    best = max(rows, key=lambda row: row["ratio"])
    read = (
        f"the best mixture, {percent(best['share'])} of idle parameters in {first}, holds "
        f"{digits(best['ratio'])} {ends(best['interval'])} times the bits per parameter of {alone} "
        "alone"
    )
    says = {
        "more": "**a mixture holds more**",
        "less": "**every mixture holds less**",
        "unknown": "**no gain of a mixture is shown**",
    }
    return f"{name}: {says[what]}: {read} ({plural(best['pairs'], 'pair')} of seeds)."


def _allocation(curves: Sequence[Mapping[str, Any]]) -> Table:
    headings = "share|P|active|seeds|bits|sd|bits/P|beside the better part alone".split("|")
    rows: list[list[str]] = []
    for curve in curves:
        first, second = curve["kinds"]
        rows.append([listed([curve["size"], f"{first} + {second}", curve["condition"]])])
        mixtures = curve["against"]["mixtures"] if curve["against"] else []
        beside = {row["share"]: row for row in mixtures}
        for point in curve["points"]:
            ratio = beside.get(point["share"])
            rows.append(
                [
                    percent(point["share"]),
                    count(point["p"]),
                    count(point["p_active"]),
                    str(len(point["by_seed"])),
                    count(point["bits"]),
                    DASH if point["sd"] is None else count(point["sd"]),
                    digits(point["bits"] / point["p"]),
                    DASH
                    if ratio is None or ratio["ratio"] is None
                    else f"{digits(ratio['ratio'])} {ends(ratio['interval'])}".strip(),
                ]
            )
    return Table(
        [Column(h, right=True) for h in headings],
        rows,
        key="share: of idle parameters, in the part named first; beside the better part alone: "
        "ratio of bits per parameter, 95% by t over paired seeds",
    )


def _tuning(fit: Mapping[str, Any]) -> list[Any]:
    headings = ("model", "at", "seeds", "recipe", "second best", "optimum")
    rows = []
    for row in fit["choices"]:
        recipe = row["recipe"] or {}
        shown = [f"{n.split('.')[-1]} {text(v)}" for n, v in recipe.items() if v is not None]
        rows.append(
            [
                listed([row["model"], row["called"]]),
                row["amount"] or DASH,
                str(len(row["seeds"])),
                listed(shown) or DASH,
                DASH if row["runner_up"] is None else f"{100 * (row['runner_up'] - 1):+.1f}%",
                "; ".join(row["reasons"]) or "inside",
            ]
        )
    left = ("model", "recipe", "optimum")
    table = Table(
        [Column(h, right=h not in left) for h in headings],
        rows,
        key="second best: its bits against those of the best; optimum: inside of what was tried, "
        "or why kappa of its system is withheld",
    )
    settings = joined(fit["best_over"]) or "no setting (best_over)"
    how = (
        f"Tried: {settings}. The law reads runs of the chosen recipe alone, and of each model "
        "those of seeds that chose nothing where it has some."
    )
    return [table, Bullets([how])]


def _flags(fit: Mapping[str, Any]) -> list[Flag]:
    flags = fit["flags"]
    return [
        Flag(*FAILED, fit["failed"]),
        Flag(*MISSING, fit["missing"]),
        Flag(
            "unconverged", f"{RISING_MEANS}; in a law, it withholds kappa. {DECAYED}", fit["rising"]
        ),
        Flag(
            "data-limited",
            f"holds over {DATA_LIMITED:.0%} of its data: not in a law",
            flags["data_limited"],
        ),
        Flag("corner", f"ceiling / bits < {CORNER}: not in a law", flags["corner"]),
        Flag("unlearned", "finished without positive bits; not in a law", flags["unlearned"]),
        Flag(
            "unread-unknown",
            "reads tables, and which of their rows training reads is not recorded (`capacity "
            "measure` adds it)",
            fit["unread_unknown"],
        ),
    ]


def _notes(fit: Mapping[str, Any]) -> list[str]:
    notes = [
        f"kappa is withheld where a rate has fewer than three values or its best is the first or "
        f"the last of them, where a run of the law still rises, and where over {UNREAD:.0%} of the "
        "rows of a table are never read.",
        "alpha is that of plain models and systems together; a system whose active part holds "
        "more than a plain model of that size has its gain in kappa.",
        "Training by gradient descent gives a lower bound of what a model can hold; better "
        "training can raise these numbers.",
    ]
    if any(row["system"] == "engram" for row in fit["models"]) and fit["family"] == "random data":
        notes.append(
            "Random tokens flatter tables of n-grams: a hash of the last tokens is a key of the "
            "next one. Set it beside the same systems on facts."
        )
    return notes
