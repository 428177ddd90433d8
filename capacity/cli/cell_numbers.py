"""Numbers as people write them in tables: grouped thousands, decimal commas, percents, 1.2M.

One meaning is understood and told, two meanings are refused with the row, a sample and the remedy:
4,072 alone may be 4072 or 4.072.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MISSING = frozenset("|na|n/a|#n/a|#na|nan|-nan|null|none|<na>|-|–|—|?".split("|"))
UNITS = {"k": 3, "K": 3, "M": 6, "B": 9, "b": 9, "G": 9, "T": 12}
SIGN, POWER = r"[+-]?", r"(?:[eE][+-]?\d+)?"
PLAIN = re.compile(rf"{SIGN}(?:\d+\.?\d*|\.\d+){POWER}")
INFINITE = re.compile(rf"{SIGN}(?:inf|infinity|∞)", re.IGNORECASE)
GROUPED = re.compile(rf"{SIGN}\d{{1,3}}(?:([ '_])\d{{3}})(?:\1\d{{3}})*(?:[.,]\d+)?")
ONE_COMMA = re.compile(rf"{SIGN}[1-9]\d{{0,2}},\d{{3}}")  # 4,072: two meanings
ONE_DOT = re.compile(rf"{SIGN}[1-9]\d{{0,2}}\.\d{{3}}")
DECIMAL = re.compile(rf"{SIGN}(?:\d*|\d{{1,3}}(?:\.\d{{3}})+),\d+{POWER}")
THOUSANDS = re.compile(rf"{SIGN}\d{{1,3}}(?:,\d{{3}})+(?:\.\d*)?{POWER}")
DOT_GROUPS = re.compile(rf"{SIGN}[1-9]\d{{0,2}}(?:\.\d{{3}}){{2,}}(?:,\d+)?")
ALLOWED = "expected numbers such as 1200000, 1.2e6 or 1.2M, or empty cells"


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no number."""
    return cell.strip().lower() in MISSING


def is_plain(cell: str) -> bool:
    """Whether a cell is a number in the one form that all programs share, or infinite."""
    return bool(PLAIN.fullmatch(cell) or INFINITE.fullmatch(cell)) and "∞" not in cell


def is_dotted(cell: str) -> bool:
    """Whether a dot may group thousands: 4.072."""
    return bool(ONE_DOT.fullmatch(cell) or DOT_GROUPS.fullmatch(cell))


def has_decimal_commas(cells: Iterable[str]) -> bool:
    """Whether any cell can only be read with a decimal comma."""
    return any("," in cell and _is_decimal(_cleaned(cell).rstrip(" %")) for cell in cells)


def _is_decimal(text: str) -> bool:
    return bool(
        DECIMAL.fullmatch(text) and not ONE_COMMA.fullmatch(text) and not THOUSANDS.fullmatch(text)
    )


@dataclass(frozen=True)
class _Cell:
    """A cell in parts: its place, as it is written, the digits, the exponent of its unit."""

    place: int
    written: str
    digits: str
    power: int
    percent: bool


Refuse = Callable[[_Cell, str], ValueError]  # the error of a cell, and why


def parse(
    cells: Sequence[object], column: str, places: Sequence[str], commas: str, notes: list[str]
) -> np.ndarray:
    """The numbers [n] of a column, nan where there is none.

    places: how a message names each row. commas: what separates the columns of the file, or
    "decimal" where other cells of it show decimal commas. notes gains what had to be understood.
    ValueError, in one line, names the column, the row, the cell and the remedy."""
    known = [
        _taken_apart(i, str(cell).strip())
        for i, cell in enumerate(cells)
        if not is_missing(str(cell))
    ]

    def refuse(cell: _Cell, why: str) -> ValueError:
        return ValueError(f"column {column!r}, {places[cell.place]}: {cell.written!r} {why}")

    decimal = _decimal_commas(known, commas, refuse)
    out = np.full(len(cells), np.nan)
    for cell in known:
        if (decimal or commas == "decimal") and ONE_DOT.fullmatch(cell.digits):
            text = cell.digits
            raise refuse(
                cell,
                f"may be {text.replace('.', '')} or {text.replace('.', ',')} beside decimal "
                f"commas: write which, without a dot",
            )
        out[cell.place] = _number(cell, decimal, refuse)
    prefix = f"column {column!r}: "
    _check_percents(known, refuse)
    samples = {
        "decimal commas": next((c for c in known if "," in c.digits and decimal), None),
        "commas group thousands": next((c for c in known if "," in c.digits and not decimal), None),
        "percents are parts of 1": next((c for c in known if c.percent), None),
        "K, M, B, T are 1e3, 1e6, 1e9, 1e12": next((c for c in known if c.power > 0), None),
        "blanks group thousands": next((c for c in known if GROUPED.fullmatch(c.digits)), None),
    }
    for what, cell in samples.items():
        if cell is not None:
            more = _rounded(known, out) if cell.power > 0 else ""
            notes.append(f"{prefix}{what} ({cell.written} is {out[cell.place]:.15g}){more}")
    return out


def _cleaned(text: str) -> str:
    """Blanks of all kinds as one, signs and apostrophes as a keyboard has them."""
    text = re.sub(r"[\u00a0\u2000-\u200a\u202f]", " ", text).strip()
    return text.replace("\u2212", "-").replace("’", "'")


def _taken_apart(place: int, written: str) -> _Cell:
    text = _cleaned(written)
    if text.endswith("%"):
        return _Cell(place, written, text[:-1].strip(), -2, True)
    if len(text) > 1 and text[-1] in UNITS and (text[-2].isdigit() or text[-2] in " ."):
        return _Cell(place, written, text[:-1].strip(), UNITS[text[-1]], False)
    return _Cell(place, written, text, 0, False)


def _decimal_commas(known: list[_Cell], commas: str, refuse: Refuse) -> bool:
    """Whether commas of this column are decimal: by a cell that can mean nothing else, else by the
    file."""
    with_comma = [c for c in known if "," in c.digits]
    decimal = next((c for c in with_comma if _is_decimal(c.digits)), None)
    one = next((c for c in with_comma if ONE_COMMA.fullmatch(c.digits)), None)
    thousands = next(
        (
            c
            for c in with_comma
            if THOUSANDS.fullmatch(c.digits) and not ONE_COMMA.fullmatch(c.digits)
        ),
        None,
    )
    if decimal and thousands:
        raise refuse(
            decimal, f"has a decimal comma, but commas of {thousands.written!r} group thousands"
        )
    if decimal or (one and not thousands and commas == "decimal"):
        return True
    whole = next((c for c in known if re.fullmatch(r"[+-]?\d{5,}", c.digits)), None)
    if one and not thousands and (commas != "," or whole):
        raise refuse(
            one,
            f"may be {one.digits.replace(',', '')} or {one.digits.replace(',', '.')}: write "
            f"which, without a comma",
        )
    return False


def _number(cell: _Cell, decimal: bool, refuse: Refuse) -> float:
    text = cell.digits
    if INFINITE.fullmatch(text) and not cell.power:
        return -np.inf if text.startswith("-") else np.inf
    if GROUPED.fullmatch(text):
        text = re.sub(r"[ '_]", "", text)
    if DOT_GROUPS.fullmatch(text) or (decimal and DECIMAL.fullmatch(text)):
        text = text.replace(".", "").replace(",", ".")
    elif not decimal and THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if not PLAIN.fullmatch(text):
        raise refuse(cell, f"is no number: {ALLOWED}")
    if not cell.power:
        return float(text)
    digits, _, power = text.lower().partition("e")
    return float(f"{digits}e{int(power or 0) + cell.power}")  # one rounding, as of 1200000


def _check_percents(known: list[_Cell], refuse: Refuse) -> None:
    with_sign = [c for c in known if c.percent]
    without = [c for c in known if not c.percent]
    if with_sign and without:
        raise refuse(
            without[0], f"has no %, {with_sign[0].written!r} has one: write all cells one way"
        )


def _rounded(known: list[_Cell], values: np.ndarray) -> str:
    """By how much cells such as 4.1K may be rounded."""
    worst = 0.0
    for cell in known:
        if cell.power > 0 and values[cell.place]:
            decimals = (
                len(re.split(r"[.,]", cell.digits)[1]) if re.search("[.,]", cell.digits) else 0
            )
            half = 0.5 * 10.0 ** (cell.power - decimals)
            worst = max(worst, half / abs(values[cell.place]))
    return f"; such cells are rounded by up to {100 * worst:.2g}%"
