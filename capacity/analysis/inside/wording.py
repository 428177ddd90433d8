"""What a study of what is stored and not said found, in words."""

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
    Document,
    Flag,
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.analysis.inside.analysis import ALPHA, BELOW, NEAR
from capacity.analysis.order_verdicts import AGREES, UNKNOWN
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, p_value, percent, plural

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
CALLED = {
    "biography": "stored, in the biography",
    "question": "said, asked",
    "question_calibrated": "said, at the best temperature",
    "probe": "inside, probe",
    "probe_final": "probe of the final layer",
    "both": "said and probe",
    "shuffled": "probe of shuffled values",
    "frequency": "frequencies, no model",
    "never_question": "said of people never seen",
    "never_probe": "probe of people never seen",
}
ORDERS = {
    "inside": "K of a probe of hidden states beside K of what is said",
    "inside, bits": "bits of a probe beside bits of what is said (at the best temperature)",
    "states beside what is said": "K of what is said and a probe together beside K of what is said",
    "stored": "K in the biography beside K of what is said",
}


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("arm", "texts", "what the texts about a person are like"),
        RunColumn("biography_k", "stored", "K of the true value in the biography"),
        RunColumn("question_k", "said", "K of the true answer to a question"),
        RunColumn("probe_k", "inside", "K of the true value by a probe of states", main=True),
        RunColumn("answered", "answered", "questions about held-out people answered exactly"),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of such a study; finding: of `analysis.analyse`."""
    fit = finding.numbers
    several = len(fit["cells"]) > 1
    half = fit["people"] // 2
    tuned = (
        "whom the fine-tuning on questions did not ask"
        if fit["tuned"]
        else "by weights that were not tuned on questions"
    )
    return Document(
        f"Stored and said in {fit['study']}",
        [
            *(_order_said(row, several) for row in fit["orders"]),
            *_controls_said(fit["controls"]),
        ],
        [
            Section("scores", "The true value among all values of its list", [_scores(fit)]),
            Section("orders", "Differences within runs", [_orders(fit)]),
            Section("controls", "What nobody can know", [_controls(fit)]),
            published_rows.section(fit["verdicts"]),
        ],
        [
            Flag(*FAILED, fit["failed"]),
            Flag(*MISSING, fit["missing"]),
            Flag("unconverged", f"{RISING_MEANS}; all count here", fit["rising"]),
        ],
        [
            f"A probe has weights of its own ({fit['probe_weights']:,} over all attributes) and "
            f"is fitted on {half:,} people: it may miss what is there. What it finds is a lower "
            "bound of what a linear reader could find, and says nothing of readers that are not "
            "linear.",
            "The state that the probe reads is what the head turns into the first token of the "
            "answer, so that a linear reader with enough people would find that token at least "
            "as well as it is said; what is said and a probe together begin there.",
            "Who knows how often values come, and nobody's, is above guessing (frequencies): so "
            "far, K of what is said is no knowledge of a person.",
        ],
        [
            (
                "K",
                "mean over people and attributes of (D - rank) / (D - 1), the share of the other "
                "values of the list that score below the true one; equal scores count half; 0.5 "
                "is guessing. K*: share of values that score above all others",
            ),
            (
                "bits",
                "log2 D + mean log2 of the posterior over the list, a value, mean over "
                f"attributes; of {fit['log2_values']:.2f}; never cut off at 0",
            ),
            (
                "who is asked",
                f"{plural(fit['people'], 'person', 'people')} of each run {tuned}; lists of 2 to "
                "1,024 values, all scored; without date of birth where its list is longer, and "
                "without the city of work",
            ),
            (
                "probe",
                "softmax regression on the hidden state at the last token of the question; layer "
                "and L2 chosen in folds of one half, evaluated on the other, then exchanged",
            ),
            (
                "p",
                "two-sided, flipping signs of the difference over replicates; of each alone, not "
                "corrected for their number; 95% intervals by Student's t over replicates, which "
                "know people, values and training",
            ),
            P_TOTAL,
        ],
        {"scores": "K of the true value by kind of texts, 95% over replicates; dashed: guessing"},
        [
            f"{fit['finished']} of {plural(fit['runs'], 'run')} finished, {fit['asked']} of them "
            f"asked for what is inside, {plural(len(fit['cells']), 'kind')} of texts."
        ],
    )


def _named(row: Row, several: bool = True) -> str:
    return f"{row['arm']}: " if several else ""


def _size(row: Row) -> str:
    unit = " bits" if row["measure"] == "bits" else ""
    return f"{row['difference']:+.3f}{unit} {ends(row['interval'])}".strip()


def _order_said(row: Row, several: bool) -> str:
    name = f"{_named(row, several)}{ORDERS[row['name']]}"
    told = f"{_size(row)}; p = {p_value(row['p'])}, {plural(row['replicates'], 'replicate')}"
    if row["verdict"] == UNKNOWN:
        return f"{name}: **cannot tell** ({told}; {row['reason']})."
    beside = ""
    if row["published"]:
        beside = ", against what is published" if row["verdict"] == BELOW else ", as published"
    return f"{name}: **{row['verdict']}**{beside} ({told})."


def _controls_said(rows: Sequence[Row]) -> list[str]:
    """Each control in one sentence over all arms."""
    out = []
    for score in dict.fromkeys(row["score"] for row in rows):
        mine = [row for row in rows if row["score"] == score]
        shares = ", ".join(f"{row['k']:.3f} {ends(row['interval'])}".strip() for row in mine)
        words = {row["verdict"] for row in mine}
        verdict = "guessing, as it must be" if words == {AGREES} else "cannot tell"
        if "differs" in words:
            verdict = "not guessing in some kind of texts"
        out.append(f"Control, {CALLED[score]}: K {shares}: **{verdict}**.")
    return out


def _scores(fit: Row) -> Table:
    headings = ("score", "K", "95%", "K*", "bits", "95% of bits")
    rows: list[list[str]] = []
    for cell in fit["cells"]:
        answered = ""
        if cell["answered"] is not None:
            answered = (
                f": {percent(cell['answered'])} answered exactly (guessing the commonest: "
                f"{percent(cell['guessing'])})"
            )
        rows.append([f"{cell['arm']}{answered}"])
        for score, name in CALLED.items():
            one = cell["scores"][score]
            rows.append(
                [
                    name,
                    digits(one["k"]["mean"]),
                    ends(one["k"]["interval"]),
                    percent(one["k_star"]["mean"]),
                    f"{one['bits']['mean']:.2f}",
                    ends(one["bits"]["interval"]),
                ]
            )
    return Table(
        [Column(h, right=h != "score", detail=h == "95% of bits") for h in headings],
        rows,
        key="means over replicates; K of guessing 0.5; bits a value, of "
        f"{fit['log2_values']:.2f}; answered: of all attributes but the city of work",
    )


def _orders(fit: Row) -> Table:
    headings = ("difference", "mean", "95%", "replicates", "p", "verdict")
    rows: list[list[str]] = []
    for arm in dict.fromkeys(row["arm"] for row in fit["orders"]):
        rows.append([arm])
        rows += [
            [
                row["name"],
                f"{row['difference']:+.3f}",
                ends(row["interval"]),
                str(row["replicates"]),
                p_value(row["p"]),
                row["verdict"],
            ]
            for row in fit["orders"]
            if row["arm"] == arm
        ]
    return Table(
        [
            Column(h, right=h not in ("difference", "verdict"), detail=h == "replicates")
            for h in headings
        ],
        rows,
        key=f"above or below: p <= {ALPHA:.0%}; of K, or of bits a value",
    )


def _controls(fit: Row) -> Table:
    headings = ("control", "K", "95%", "bits", "verdict")
    rows: list[list[str]] = []
    for arm in dict.fromkeys(row["arm"] for row in fit["controls"]):
        rows.append([arm])
        rows += [
            [
                CALLED[row["score"]],
                digits(row["k"]),
                ends(row["interval"]),
                f"{row['bits']:.2f}",
                row["verdict"],
            ]
            for row in fit["controls"]
            if row["arm"] == arm
        ]
    return Table(
        [Column(h, right=h not in ("control", "verdict")) for h in headings],
        rows,
        key=f"agrees: the interval holds 0.5 and ends within {NEAR:g} of it; differs: without 0.5",
    )
