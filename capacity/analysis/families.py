"""The families of data between random rows and biographies, in order, each one change behind the
one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from capacity.settings.data import BiodData, BiosData, MixedData, UniformData

if TYPE_CHECKING:
    from capacity.config import Config


@dataclass(frozen=True)
class Family:
    """key: in tables; called: in words; change: what it has that the one before has not; of:
    whether settings of data are of it."""

    key: str
    called: str
    change: str
    of: Callable[[Any], bool]


def _biod(wording: str, order: str, spelled: bool) -> Callable[[Any], bool]:
    return lambda d: (
        isinstance(d, BiodData) and (d.wording, d.order, d.length > 1) == (wording, order, spelled)
    )


def _bios(fixed: bool) -> Callable[[Any], bool]:
    return lambda d: (
        isinstance(d, BiosData)
        and not isinstance(d, MixedData)
        and (d.biographies is not None) == fixed
    )


FAMILIES = (
    Family("rows", "random rows", "", lambda d: isinstance(d, UniformData)),
    Family(
        "packed",
        "rows in a stream",
        "rows follow each other in windows, a marker in front of each",
        lambda d: isinstance(d, MixedData) and not d.has_people,
    ),
    Family(
        "keyed",
        "values behind keys",
        "each row is a key that is given (a name) and random values behind it",
        _biod("values", "fixed", False),
    ),
    Family(
        "named",
        "named attributes",
        "a token in front of every value says which it is",
        _biod("attributes", "fixed", False),
    ),
    Family(
        "reordered",
        "new orders",
        "attributes come in a new order at every exposure",
        _biod("attributes", "permute", False),
    ),
    Family(
        "spelled",
        "spelled values",
        "a value is spelled in several tokens",
        _biod("attributes", "permute", True),
    ),
    Family(
        "sentences",
        "sentences",
        "every value stands in a sentence",
        _biod("sentences", "permute", True),
    ),
    Family(
        "one text",
        "biographies, one text",
        "six attributes of a person in one fixed text, its templates and order drawn once",
        _bios(True),
    ),
    Family(
        "new texts",
        "biographies, new texts",
        "templates and order are drawn anew at every exposure",
        _bios(False),
    ),
)
ROWS = ("rows", "packed")  # whose bits are those of random rows
BY_KEY = {family.key: family for family in FAMILIES}


def is_chain(runs: Iterable[Config]) -> bool:
    """Whether every run is of a family, rows are among them, and there are three families at least:
    of two ends alone nothing says what lies between."""
    found = {family.key if (family := of(run)) else None for run in runs}
    return None not in found and len(found) > 2 and not found.isdisjoint(ROWS)


def of(run: Config) -> Family | None:
    """The family that a run is of, if any."""
    return next((family for family in FAMILIES if family.of(run.data)), None)
