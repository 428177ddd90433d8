"""What a study found, in words: written once by its kind, rendered for a terminal, a page,
Markdown.

A document holds no law and computes nothing: every number in it stands in the finding that it was
made from. Words between **two stars** are strong where a rendering can show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from capacity.analysis.thresholds import RISING
from capacity.base.table import Table


@dataclass(frozen=True)
class Interval:
    """A 95% interval: over what, its ends, or why there is none."""

    over: str
    ends: Sequence[float] | None
    reason: str = ""
    quote: bool = False  # the one to quote where there are several


@dataclass(frozen=True)
class Number:
    """A fitted number."""

    symbol: str
    value: float
    unit: str = ""
    intervals: Sequence[Interval] = ()


@dataclass(frozen=True)
class Law:
    """A fitted form, or why there is none."""

    name: str
    formula: str = ""
    numbers: Sequence[Number] = ()
    remarks: Sequence[str] = ()
    reason: str = ""


@dataclass(frozen=True)
class Laws:
    """Fitted forms below one another, and what is to be said of all."""

    laws: Sequence[Law]
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """A published value, what was measured beside it, and the verdict, a word."""

    name: str
    published: str
    here: str
    verdict: str
    reason: str
    source: str
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Verdicts:
    """Published values beside measured ones; note: their scale, or why there are none."""

    rows: Sequence[Verdict]
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """Sentences, each of which stands alone."""

    items: Sequence[str]


Block = Table | Laws | Verdicts | Text | Bullets


@dataclass(frozen=True)
class Section:
    """A part of a document; id: one word, by which a page and a test find it."""

    id: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Flag:
    """Something to know about runs; listed also where no run has it, so that a reader sees that it
    was looked for."""

    name: str
    meaning: str
    runs: Sequence[str]


@dataclass(frozen=True)
class RunColumn:
    """A column of a page's table of runs: its name in runs.csv, its heading without spaces (so that
    a filter can name it), what it means."""

    name: str
    heading: str
    meaning: str
    per: str = ""  # another column that it is divided by
    main: bool = False  # what a study without a law is told by, as means over seeds


@dataclass(frozen=True)
class Document:
    """All that a kind of study says of one study.

    answers: sentences, the headline first. figures: name -> caption, in the order of a reader.
    notes: what a reader must know before quoting a number. conventions: word -> meaning.
    """

    title: str
    answers: Sequence[str]
    sections: Sequence[Section] = ()
    flags: Sequence[Flag] = ()
    notes: Sequence[str] = ()
    conventions: Sequence[tuple[str, str]] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[str] = ()

    def section(self, id: str) -> Section | None:
        """The section of that name, None where the document has none."""
        return next((part for part in self.sections if part.id == id), None)


def plain(text: str) -> str:
    """Without the stars of strong words."""
    return text.replace("**", "")


# What several kinds of studies say alike.
FAILED = ("failed", "ended without a result; the table has the error")
MISSING = ("missing", "planned, and no record yet")
RISING_MEANS = (
    f"gained over {RISING:.0%} of its bits in the last tenth of training, or left no trace of it"
)
P_TOTAL = ("P total", "every trained number, a tied embedding once, BOS included")
RESIDUAL = (
    "error of a fit",
    "fitted minus measured (or fitted / measured - 1, in percent): positive where the law predicts "
    "too much",
)
GAIN = [
    RunColumn(
        "gain_last_tenth", "gain", "bits gained over the last tenth of training / final bits"
    ),
    RunColumn("wall_s", "seconds", "of training, its share of the stack"),
]
