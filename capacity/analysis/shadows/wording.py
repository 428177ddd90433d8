"""What a study of shadow models of people found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    RISING_MEANS,
    Document,
    Flag,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.analysis.order_verdicts import AGREES, UNKNOWN
from capacity.analysis.shadows.analysis import ATTACKS, LIRA, LOSS, NEAR, RATE
from capacity.analysis.shadows.reading import ALL
from capacity.base.table import Column, Table
from capacity.base.words import capitalized, digits, ends, p_value, percent, plural
from capacity.fitting.membership import FPRS, RESOLVABLE
from capacity.fitting.statistics import ALPHA

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
DASH = "–"
NAMES = {
    "loss": "loss",
    "lira_offline": "LiRA offline",
    "lira": "LiRA",
    "rmia": "RMIA",
    "frequencies": "frequencies, no model",
}
ORDERS = {
    ("attacks", "auc"): "AUC from loss over LiRA offline to LiRA",
    ("attacks", "tpr"): f"TPR at {RATE:.0%} FPR from loss over LiRA offline to LiRA",
    ("tiers", "auc"): "AUC of LiRA from the tier that is seen least to that seen most",
    ("tiers", "hit"): "memorization of values from the tier that is seen least to that seen most",
    ("tiers", "bits"): "memorization in bits from the tier that is seen least to that seen most",
}


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("replicate", "set", "data.split_seed, the set of people"),
        RunColumn("people_nats_auc", "AUC", "of nats, all people", main=True),
        RunColumn("people_frequency_nats_auc", "guesser", "AUC of frequencies of values"),
        RunColumn("accuracy", "acc", "values written exactly, of people who were seen"),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of such a study; finding: of `analysis.analyse`."""
    fit = finding.numbers
    several = len({(row["system"], row["size"]) for row in fit["cells"]}) > 1
    low, high = fit["shadows"]
    used = str(low) if low == high else f"{low} to {high}"
    return Document(
        f"Whom a model was trained on, by shadow models, in {fit['study']}",
        [
            *(_headline(row, several) for row in fit["cells"] if row["tier"] == ALL),
            *(_order_said(row, several) for row in fit["orders"]),
            *(_control_said(row, several) for row in fit["controls"]),
        ],
        [
            Section("attacks", "AUC by tier, and bits", [_aucs(fit, several)]),
            Section("rates", "True positive rates by tier", [_rates(fit, several)]),
            Section("memorization", "What a person's own texts add", [_memorized(fit, several)]),
            Section("orders", "Orders", [_orders(fit, several)]),
            Section("controls", "Nats that are about nobody", [_controls(fit, several)]),
        ],
        [
            Flag(*FAILED, fit["failed"]),
            Flag(*MISSING, fit["missing"]),
            Flag("unconverged", f"{RISING_MEANS}; all count here", fit["rising"]),
        ],
        [
            "An attack without shadow models is told nothing of how hard a person is: rare names "
            "and values cost any model more.",
            "Who knows how often each value was shown, and nobody's, is above guessing "
            "(frequencies): in a small world values that were shown tell some people apart without "
            "any binding to a name.",
            "Runs on one set share its people, and each is a shadow model of the others: a set is "
            "one replicate.",
            f"A rate is given where at least {RESOLVABLE} others may pass; loss has one threshold "
            "for all runs, whose levels differ.",
        ],
        [
            (
                "member, other",
                "a person of the set whom the run saw, or left out; of a tier: who is in it, or "
                "would be",
            ),
            ("AUC", "chance that a member scores above an other of the tier; 0.5 is guessing"),
            (
                "LiRA",
                f"likelihood ratio of nats by {used} shadow models (arXiv 2112.03570), one "
                "variance per side; offline: by those alone that did not see the person",
            ),
            ("RMIA", "arXiv 2312.03262, over all people whom the target did not see"),
            (
                "memorization",
                "mean over people of the part of values written exactly by runs that saw the "
                "person, less that by the others (arXiv 1906.05271); of bits of code the same, the "
                "other way round",
            ),
            (
                "bits",
                "of a person who was seen, as the record has them: against values drawn alike",
            ),
            (
                "95%",
                "of AUC and memorization Student's t over sets; of rates over people, each of whom "
                "many runs were asked about, with the threshold's own error",
            ),
            ("p", "two-sided, permuting an order within sets; of each alone, not corrected"),
        ],
        {
            "auc": "AUC of each attack by texts of a person that were shown, mean over sets with "
            "95%; dashed: guessing",
            "roc": "true against false positive rate over all runs and people, both logarithmic; "
            "dashed: guessing",
        },
        [
            f"{fit['finished']} of {plural(fit['runs'], 'run')} finished, on halves of "
            f"{plural(fit['replicates'], 'set')} of {2 * fit['people']:,} people.",
        ],
    )


def _system(row: Row, several: bool) -> str:
    if not several:
        return ""
    return f"{row['size']}{', ' if row['system'] else ''}{row['system']}: "


def _headline(row: Row, several: bool) -> str:
    def told(attack: str) -> str:
        one = row["attacks"][attack]
        return f"{digits(one['auc'])} {ends(one['auc_interval'])}".strip()

    return capitalized(
        f"{_system(row, several)}AUC over everybody: LiRA {told(LIRA)}, loss {told(LOSS)}, "
        f"frequencies without a model {told('frequencies')}."
    )


def _order_said(row: Row, several: bool) -> str:
    name = f"{_system(row, several)}{ORDERS[row['order'], row['outcome']]}"
    told = plural(row["replicates"], "set")
    if row["p"] is not None:
        told = f"p = {p_value(row['p'])}, {told}"
    if row["verdict"] == UNKNOWN:
        return f"{capitalized(name)}: **cannot tell** ({told}; {row['reason']})."
    way = "rises" if row["slope"] > 0 else "falls"
    beside = "" if row["verdict"] == "shown" else f", {row['verdict']}"
    if row["verdict"] == AGREES:
        beside = ", as published"
    return f"{capitalized(name)}: **{way}**{beside} ({told})."


def _control_said(row: Row, several: bool) -> str:
    words = {AGREES: "guessing, as it must be", UNKNOWN: "cannot tell"}
    verdict = words.get(row["verdict"], "not guessing")
    auc = f"{digits(row['auc'])} {ends(row['interval'])}".strip()
    return (
        f"{_system(row, several)}Control, {NAMES[row['attack']]} on nats dealt out anew among "
        f"people: AUC {auc}: **{verdict}**."
    )


def _tier(row: Row) -> str:
    return "everybody" if row["tier"] == ALL else f"tier {row['tier']}"


def _by_system(fit: Row, several: bool, made: Any) -> list[list[str]]:
    """Rows of every cell, below a row with what the system is where several are there."""
    rows: list[list[str]] = []
    before = None
    for cell in fit["cells"]:
        at = _system(cell, several).removesuffix(": ")
        if at and at != before:
            rows.append([at])
        before = at
        rows += made(cell)
    return rows


def _aucs(fit: Row, several: bool) -> Table:
    def made(cell: Row) -> list[list[str]]:
        row = [_tier(cell), f"{cell['people']:,}", digits(cell["seen"])]
        row.append(DASH if cell["bits"] is None else f"{cell['bits']:.2f}")
        for attack in ATTACKS:
            row.append(digits(cell["attacks"][attack]["auc"]))
            row.append(ends(cell["attacks"][attack]["auc_interval"]))
        return [row]

    headings = [
        Column("people"),
        Column("in the set", right=True, detail=True),
        Column("seen", right=True),
        Column("bits", right=True),
    ]
    for attack in ATTACKS:
        headings.append(Column(NAMES[attack].split(",")[0], right=True))
        headings.append(Column("95%", right=True, detail=True))
    return Table(
        headings,
        _by_system(fit, several, made),
        key="seen: texts of a person that were shown, mean; bits of a person who was seen",
    )


def _rates(fit: Row, several: bool) -> Table:
    def made(cell: Row) -> list[list[str]]:
        rows = []
        for attack in ATTACKS:
            one = cell["attacks"][attack]
            row = [_tier(cell), NAMES[attack].split(",")[0], f"{one['others']:,}"]
            for fpr in FPRS:
                rate, interval = one[f"tpr_at_{fpr:g}"], one[f"tpr_at_{fpr:g}_interval"]
                row.append(DASH if rate is None else percent(rate))
                row.append("" if interval is None else _percents(interval))
            rows.append(row)
        return rows

    headings = [Column("people"), Column("attack"), Column("others", right=True, detail=True)]
    for fpr in FPRS:
        at = f"{fpr:.1%}".replace(".0%", "%")
        headings += [Column(f"at {at}", right=True), Column("95%", right=True)]
    return Table(
        headings,
        _by_system(fit, several, made),
        key="members that are told at so many false positives; –: too few others",
    )


def _percents(interval: Sequence[float]) -> str:
    return f"[{percent(interval[0])}, {percent(interval[1])}]"


def _memorized(fit: Row, several: bool) -> Table:
    def made(cell: Row) -> list[list[str]]:
        hit, bits = cell["hit_memorized"], cell["bits_memorized"]
        return [
            [
                _tier(cell),
                digits(cell["seen"]),
                percent(cell["right"]["seen"]),
                percent(cell["right"]["not_seen"]),
                DASH if hit["value"] is None else f"{hit['value']:+.3f}",
                ends(hit["interval"]),
                DASH if bits["value"] is None else f"{bits['value']:.1f}",
                ends(bits["interval"]),
                f"{cell['surely']:,} of {cell['of']:,}",
            ]
        ]

    names = ("seen", "written", "if left out", "values", "95%", "bits", "95%", "surely")
    return Table(
        [Column("people"), *(Column(n, right=True, detail=n == "95%") for n in names)],
        _by_system(fit, several, made),
        key="written: values of people who were seen; memorization in values and bits; surely: "
        "people whose bits pass all by chance, but for one set in twenty",
    )


def _orders(fit: Row, several: bool) -> Table:
    rows = [
        [
            _system(row, several) + ORDERS[row["order"], row["outcome"]],
            " ".join(digits(x) for x in row["means"]),
            str(row["replicates"]),
            p_value(row["p"]) if row["p"] is not None else DASH,
            row["verdict"],
            row["source"],
        ]
        for row in fit["orders"]
    ]
    return Table(
        [
            Column("order"),
            Column("means"),
            Column("sets", right=True),
            Column("p", right=True),
            Column("verdict"),
            Column("source", detail=True),
        ],
        rows,
        key=f"shown: p <= {ALPHA:.0%}; agrees, differs: with the published sign",
    )


def _controls(fit: Row, several: bool) -> Table:
    rows = [
        [
            _system(row, several) + NAMES[row["attack"]],
            digits(row["auc"]),
            ends(row["interval"]),
            str(row["runs"]),
            row["verdict"],
        ]
        for row in fit["controls"]
    ]
    headings = ("attack", "AUC", "95%", "runs", "verdict")
    return Table(
        [Column(h, right=h not in ("attack", "verdict")) for h in headings],
        rows,
        key=f"agrees: the interval holds 0.5 and ends within {NEAR:g} of it; differs: without 0.5",
    )
