"""What a page is made of, whatever the kind of study."""

from __future__ import annotations

from dataclasses import dataclass, field

from capacity.analysis.random.plateaus import RISING


@dataclass(frozen=True)
class Interval:
    """A 95% interval: over what, its ends, or why there is none."""

    over: str
    ends: list[float] | None
    reason: str = ""
    quote: bool = False  # the one to quote where there are several


@dataclass(frozen=True)
class Number:
    """A fitted number."""

    symbol: str
    value: float
    unit: str = ""
    intervals: list[Interval] = field(default_factory=list)


@dataclass(frozen=True)
class Law:
    """A fitted form, or why there is none."""

    name: str
    formula: str = ""
    numbers: list[Number] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Beside:
    """A published value and what was measured beside it; verdict is a word, never a bare tick."""

    name: str
    published: str
    here: str
    verdict: str
    reason: str
    source: str
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """Two variants compared by pairs of runs; all but the names as text."""

    name: str
    value: str
    interval: str
    over_sizes: str
    p: str
    seen: str
    verdict: str


@dataclass(frozen=True)
class Flag:
    """Something to know about runs; named also where no run has it, so that a reader sees that it
    was looked for."""

    name: str
    meaning: str
    runs: list[str]


@dataclass(frozen=True)
class Column:
    """A column of the table of runs: its name in runs.csv, its heading without spaces (so that a
    filter can name it), what it means."""

    name: str
    heading: str
    meaning: str
    per: str = ""  # another column that it is divided by
    main: bool = False  # what a study without a law is told by, as means over seeds


@dataclass(frozen=True)
class View:
    """All that a kind of study says for itself. Texts may mark words with **two stars**; the first
    answer is the headline."""

    answers: list[str]
    laws: list[Law]
    beside: list[Beside]
    beside_note: str
    flags: list[Flag]
    conventions: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)  # figures that come before the others
    differences: list[Difference] = field(default_factory=list)
    differences_note: str = ""  # what is compared, or why nothing is


# What several kinds of studies say alike.
FAILED = ("failed", "ended without a result; the table has the error")
MISSING = ("missing", "planned, and no record yet")
RISING_MEANS = (
    f"gained over {RISING:.0%} of its bits in the last tenth of training, or left no trace of it"
)
P_TOTAL = ("P total", "every trained number, a tied embedding once, BOS included")
RESIDUAL = (
    "error of a fit",
    "fitted minus measured (or fitted / measured - 1, in percent): positive where the law says too "
    "much",
)
GAIN = [
    Column("gain_last_tenth", "gain", "bits gained over the last tenth of training / final bits"),
    Column("wall_s", "seconds", "of training, its share of the stack"),
]
