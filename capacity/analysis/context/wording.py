"""What a study of context found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.analysis.context.lengths import KEPT, LOST
from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    RESIDUAL,
    RISING_MEANS,
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
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, plural
from capacity.fitting.statistics import ALPHA

if TYPE_CHECKING:
    import pandas

FORMULA = "C = beta S"
DASH = "–"
CAPTIONS = {
    "state": "Bits held against numbers of state",
    "lengths": "Bits held of longer sequences, over those of the length of training",
}
CONVENTIONS = [
    (
        "bits held",
        "mean over held-out sequences of the sum of log2(A) + log2 p over what is asked for, A "
        "equally likely answers; a lower bound of what the state holds",
    ),
    (
        "S, numbers of state",
        "what all layers keep where the first answer is asked for: keys and values, states of "
        "recurrences, inputs of convolutions",
    ),
    (
        "interval over states",
        "95%: from the scatter of states about the line and of seeds of a state, each taken as one "
        "for all (pooled)",
    ),
    RESIDUAL,
]


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("state", "S", "numbers of state"),
        RunColumn("length", "answers", "asked for by a sequence"),
        RunColumn("most", "ceiling", "bits asked for by a sequence"),
        RunColumn("held", "bits", "bits held of a sequence"),
        RunColumn("held", "bits/S", "bits held per number of state", per="state", main=True),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of context; finding: of `analysis.analyse`."""
    fit = finding.numbers
    sections = [
        Section("states", "What each state holds", [_states(fit)]),
        Section("laws", FORMULA, [Laws([_law(law) for law in fit["laws"]])]),
        Section("tuning", "Rates: chosen at one state and length, then frozen", [_tuning(fit)]),
    ]
    if fit.get("beyond"):
        title = "Sequences longer than those of training"
        sections.insert(2, Section("lengths", title, [_beyond(fit), _needed(fit)]))
    return Document(
        f"Bits held in context in {fit['study']}",
        [*(_answer(law) for law in fit["laws"]), *_lengths(fit)],
        sections,
        _flags(fit),
        [
            "Training by gradient descent gives a lower bound of what a state can hold; better "
            "training, and mimetic initial weights (arXiv 2410.11135), can raise these numbers.",
            "Each state is told by the length at which it held most on average; of several "
            "lengths the best is chosen for its noise, too.",
            "No published value is in bits per number of state: Collins et al. (arXiv 1611.09913) "
            "count real numbers of a history per hidden unit.",
        ],
        CONVENTIONS,
        {name: words for name, words in CAPTIONS.items() if name == "state" or fit.get("beyond")},
        [
            f"{fit['finished']} of {plural(fit['runs'], 'run')} finished; "
            f"{sum(law['runs'] for law in fit['laws'])} of them are in the laws."
        ],
    )


def _answer(law: Mapping[str, Any]) -> str:
    name = law["system"]
    if law["reason"]:
        return f"{name}: **no bits per number:** {law['reason']}."
    beta = law["beta"]
    read = f"{digits(beta['value'])} {ends(beta['interval'])}".strip()
    if law["withheld"]:
        why = "; ".join(law["withheld"])
        return (
            f"{name}: **cannot tell the bits per number:** {why}. (As trained: {read}, a lower "
            "bound.)"
        )
    if beta["interval"] is None:
        return f"{name}: **cannot tell the bits per number:** {beta['why']}."
    return (
        f"{name}: a number of state holds **{digits(beta['value'])}** bits, 95% "
        f"{ends(beta['interval'])} over {plural(len(law['states']), 'state')}."
    )


def _law(law: Mapping[str, Any]) -> Law:
    if law["reason"]:
        return Law(law["system"], reason=law["reason"])
    beta = law["beta"]
    number = Number(
        "beta",
        beta["value"],
        "bits per number",
        [Interval("over states", beta["interval"], beta["why"] or "", True)],
    )
    low, high = law["states"][0], law["states"][-1]
    remarks = [
        f"{plural(law['runs'], 'run')} of {plural(len(law['states']), 'state')}, S {low:,} to "
        f"{high:,}; rms {law['rms_percent']:.2g}%",
        *law["bounds"],
        *law["warnings"],
    ]
    if law["withheld"]:
        remarks.append(f"beta cannot be told: {'; '.join(law['withheld'])}")
    return Law(law["system"], FORMULA, [number], remarks)


def _states(fit: Mapping[str, Any]) -> Table:
    headings = "mixer|S|answers|seeds|ceiling|bits|sd|bits/S||".split("|")
    rows = [
        [
            row["system"],
            f"{row['state']:,}",
            f"{row['length']:,}",
            str(row["seeds"]),
            digits(row["ceiling"]),
            digits(row["bits"]),
            DASH if row["sd"] is None else digits(row["sd"], 2),
            digits(row["per_number"]),
            "r" if row["rising"] else "",
            "l" if row["in_law"] else "",
        ]
        for row in fit["states"]
    ]
    return Table(
        [Column(h, right=h != "mixer") for h in headings],
        rows,
        key="at the rate of its mixer; sd: over seeds",
        marks={"r": "some run still rising", "l": "in the law"},
    )


def _lengths(fit: Mapping[str, Any]) -> list[str]:
    """Whether what training length a state needs grows with the state, in a sentence by system."""
    out = []
    for system, test in fit.get("grows", {}).items():
        mine = [row for row in fit["needed"] if row["system"] == system]
        if all(row["after"] is None for row in mine):
            shortest = min(row["tried"][0] for row in mine)
            out.append(
                f"{system}: **no state overflows** at {mine[0]['times']} times the length of "
                f"training, from {shortest:,} answers on."
            )
            continue
        known = [row for row in mine if row["from"] is not None and row["after"] is not None]
        read = "; ".join(f"S {row['state']:,}: {row['from']:,}" for row in known)
        at = f"training length from which states keep what they hold ({read or 'none is known'})"
        if test["p"] is None:
            out.append(
                f"{system}: **cannot tell** whether the {at} grows with the state: "
                f"{plural(test['states'], 'state')} with one between two tried lengths."
            )
        else:
            says = "grows" if test["p"] <= ALPHA else "is not shown to grow"
            out.append(
                f"{system}: the {at} **{says}** with the state (exact order test p = "
                f"{test['p']:.2g}, at best {test['smallest_p']:.2g})."
            )
    return out


def _beyond(fit: Mapping[str, Any]) -> Table:
    headings = "mixer|S|answers|times|seeds|ratio|95%|".split("|")
    rows = [
        [
            row["system"],
            f"{row['state']:,}",
            f"{row['length']:,}",
            f"{row['times']}x",
            str(row["seeds"]),
            digits(row["ratio"]),
            ends(row["interval"]) or DASH,
            row["says"],
        ]
        for row in fit["beyond"]
    ]
    return Table(
        [Column(h, right=h not in ("mixer", "")) for h in headings],
        rows,
        key=f"ratio: bits held of sequences of so many times the answers, over bits held of those "
        f"of the length of training, mean over seeds; kept: above {KEPT:g}, lost: below {LOST:g}",
    )


def _needed(fit: Mapping[str, Any]) -> Table:
    headings = ("mixer", "S", "times", "tried", "not kept at", "kept from")
    rows = [
        [
            row["system"],
            f"{row['state']:,}",
            f"{row['times']}x",
            ", ".join(f"{one:,}" for one in row["tried"]),
            DASH if row["after"] is None else f"{row['after']:,}",
            DASH if row["from"] is None else f"{row['from']:,}",
        ]
        for row in fit["needed"]
    ]
    return Table(
        [Column(h, right=h not in ("mixer", "tried")) for h in headings],
        rows,
        key="not kept at: the longest training length that does not keep its bits; kept from: the "
        "next one that was tried",
    )


def _tuning(fit: Mapping[str, Any]) -> Table:
    headings = ("mixer", "S", "answers", "seeds", "tried", "best", "optimum")
    rows = []
    for row in fit["choices"]:
        state, length = row["at"] or (None, None)
        rows.append(
            [
                row["system"],
                DASH if state is None else f"{state:,}",
                DASH if length is None else f"{length:,}",
                str(len(row["seeds"])),
                ", ".join(f"{one:g}" for one in row["tried"]) or DASH,
                DASH if row["lr"] is None else f"{row['lr']:g}",
                row["reason"] or "inside",
            ]
        )
    left = ("mixer", "tried", "optimum")
    return Table(
        [Column(h, right=h not in left) for h in headings],
        rows,
        key="optimum: inside of what was tried, or why beta is withheld",
    )


def _flags(fit: Mapping[str, Any]) -> list[Flag]:
    flags = fit["flags"]
    return [
        Flag(*FAILED, fit["failed"]),
        Flag(*MISSING, fit["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; in a law, it withholds beta", fit["rising"]),
        Flag(
            "ceiling",
            f"holds over {DATA_LIMITED:.0%} of what is asked for: not in a law",
            flags["ceiling"],
        ),
        Flag("corner", f"ceiling / bits < {CORNER}: not in a law", flags["corner"]),
        Flag("unlearned", "not shown to hold anything: not in a law", flags["unlearned"]),
    ]
