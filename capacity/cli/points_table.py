"""A table of points as `capacity fit` reads it: selected rows, products and ratios of columns,
columns of true and false, rows without a number, the best row of a group."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.base.errors import ConfigError, nearest
from capacity.base.words import digits, joined, plural, some
from capacity.cli import cell_numbers
from capacity.fitting.points import Columns

if TYPE_CHECKING:
    import pandas

TRUE, FALSE = ("true", "1", "1.0"), ("false", "0", "0.0", "nan", "none", "")
COUNTS = ("parameters", "tokens", "unique_tokens")  # variables of which less than one is no model
SMALL = 1000.0  # below, a count of all points is more likely one of thousands, millions, ...
# columns that name the run that a row is of; several rows of one run are no independent points
RUNS = ("run", "run_id", "runid", "run_name", "experiment")
EACH_ROW = "none"  # for --cluster
# of a column of tables of runs, which older versions named otherwise
OTHER_NAME = {"label": "model", "model": "label"}


def select(table: pandas.DataFrame, name: str, value: str, source: str) -> pandas.DataFrame:
    """The rows with this value of a column, compared as a number where it is one; ConfigError for
    an unknown column and where no row has it."""
    try:
        name = column(table, name)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
    cells = table[name]
    try:
        wanted = float(value)
        rows = np.array([_number_or_nan(cell) == wanted for cell in cells], bool)
    except ValueError:
        rows = (cells.astype(str) == value).to_numpy(bool)
    if not rows.any():
        raise ConfigError(
            f"{source}: no row with {name} = {value}; it holds "
            f"{some(sorted(map(str, cells.unique())), 8)}"
        )
    return table.loc[rows]


def _number_or_nan(cell: object) -> float:
    try:
        return float(str(cell))
    except ValueError:
        return math.nan


def prepare(
    table: pandas.DataFrame, columns: Columns, variables: Iterable[str], notes: list[str]
) -> tuple[pandas.DataFrame, Columns]:
    """The table with a numeric column for the target, every variable and the noise, and boolean
    ones for bounds and rows left out, and the names of these columns.

    A target or variable is a column, or a product of columns and numbers: C/6/N, 20*parameters,
    1e9. Rows without a number in any of them are left out, by reason. notes gains what a reader has
    to know. ValueError, in one line, for a column that is absent or holds something else."""
    x = {v: columns.x.get(v, v) for v in variables}
    evaluate = _evaluator(table, x, notes)
    added: dict[str, Any] = {f"={text}": evaluate(text) for text in (columns.y, *x.values())}
    left_out: dict[str, Any] = {}
    numbers = {columns.y: added[f"={columns.y}"]}
    numbers |= {x[v]: added[f"={x[v]}"] for v in x}
    if columns.sd:
        added["=sd"] = numbers[columns.sd] = _column_numbers(table, columns.sd, notes)
    for name in columns.left_out.values():
        added[f"={name}?"] = left_out[name] = _flags(table, name)
    chosen = ~np.any([*left_out.values(), np.zeros(len(table), bool)], axis=0)
    for text, values in numbers.items():
        lost = chosen & ~np.isfinite(values)
        if lost.any():
            left_out[f"no finite number in {text}"] = lost
            chosen &= ~lost
            notes.append(
                f"{plural(int(lost.sum()), 'row')} left out, no finite number in {text}: "
                f"{places(table.index[lost])}"
            )
    if not chosen.any():
        raise ValueError(f"no row has a finite number in {joined(numbers)}")
    for variable, text in x.items():
        if variable in COUNTS:
            _check_count(table.index, variable, text, added[f"={text}"], chosen, notes)
    bound = columns.lower_bound
    if bound:
        added["=bound"] = _flags(table, bound)
    cluster = [column(table, name) for name in columns.cluster]
    _check_labels(table, cluster, chosen)
    ready = dataclasses.replace(
        columns,
        y=f"={columns.y}",
        x={v: f"={text}" for v, text in x.items()},
        sd="=sd" if columns.sd else None,
        lower_bound="=bound" if bound else None,
        left_out=left_out,
        cluster=cluster,
        same=[column(table, name) for name in columns.same],
    )
    return table.assign(**added), ready


def best_per(
    table: pandas.DataFrame,
    columns: Columns,
    groups: Sequence[str],
    lowest: bool,
    notes: list[str],
) -> Columns:
    """Leaves out all rows but the best of every group, of a prepared table: the lowest target, or
    the highest, among rows that agree in the columns or products of columns `groups`. Rows that
    are left out for another reason take no part. notes gains how many rows the best were chosen
    from, and how that biases them. ValueError for bounds, of which none is the best."""
    if columns.lower_bound:
        raise ValueError("--best-per with --lower-bound: a bound is no best, leave it out")
    evaluate = _evaluator(table, {v: text[1:] for v, text in columns.x.items()}, notes)
    keys = [_group_key(table, text, evaluate) for text in groups]
    named = np.array([f"{key}" for key in zip(*keys, strict=True)])
    y = table[columns.y].to_numpy(float) * (1 if lowest else -1)
    chosen = ~np.any([*columns.left_out.values(), np.zeros(len(y), bool)], axis=0)
    best = np.zeros(len(y), bool)
    sizes = []
    for group in np.unique(named[chosen]):
        rows = np.flatnonzero(chosen & (named == group))
        best[rows[np.argmin(y[rows])]] = True
        sizes.append(len(rows))
    word, few, many = "lowest" if lowest else "highest", min(sizes), max(sizes)
    notes.append(
        f"best per {', '.join(groups)}: {plural(len(sizes), 'row')} of {int(chosen.sum())} kept, "
        f"the {word} {columns.y[1:]} of "
        + (f"{few} rows each" if few == many else f"{few} to {many} rows each")
        + (_bias(word, few, many) if many > 1 else "")
    )
    left_out = {**columns.left_out, f"not the best per {', '.join(groups)}": chosen & ~best}
    return dataclasses.replace(columns, left_out=left_out)


def _bias(word: str, few: int, many: int) -> str:
    """What a best of several noisy rows is off by, in words: the mean of the largest of k normal
    numbers."""
    off = [largest_of(k) for k in (few, many)]
    reach = f"{off[1]:.2f}" if few == many else f"{off[0]:.2f} to {off[1]:.2f}"
    side, better = ("below", "lower") if word == "lowest" else ("above", "higher")
    more = "" if few == many else f", and those of more rows look {better}"
    return (
        f"; the {word} of k noisy rows lies {side} their mean, here by {reach} standard deviations "
        f"of what is noise among them{more}"
    )


def largest_of(k: int) -> float:
    """Mean of the largest of k standard normal numbers: the integral of x k phi(x) Phi(x)^(k - 1)
    (David & Nagaraja 2003, Order Statistics, section 3.1)."""
    from scipy.special import log_ndtr

    x = np.linspace(-10, 10, 4001)
    density = np.exp(-0.5 * x * x + (k - 1) * log_ndtr(x)) / math.sqrt(2 * math.pi)
    return float(k * (x * density).sum() * (x[1] - x[0]))


def _group_key(
    table: pandas.DataFrame, text: str, evaluate: Callable[[str], np.ndarray]
) -> list[object]:
    """What rows of one group share: numbers to 12 digits, so that C/6/N is one number, or words."""
    try:
        return [f"{number:.12g}" for number in evaluate(text)]
    except ValueError:
        return [str(cell).strip() for cell in table[column(table, text)]]


def column(table: pandas.DataFrame, name: str) -> str:
    """The name of a column, without blanks around it; ValueError where there is none, or two."""
    known = [str(c) for c in table.columns]
    name = name if name in known else name.strip()
    if (count := known.count(name)) > 1:
        at = [i + 1 for i, other in enumerate(known) if other == name]
        raise ValueError(
            f"{count} columns are named {name!r} (columns {joined(at)}): rename all but one"
        )
    if not count:
        if (other := OTHER_NAME.get(name)) in known:
            raise ValueError(f"no column {name!r}: this table calls it {other}")
        raise ValueError(f"no column {name!r}{nearest(name, known)}; there are {some(known, 8)}")
    return name


def places(index: Iterable[Any], most: int = 6) -> str:
    """Rows as messages name them: line 4, lines 4, 7 and 9."""
    word = getattr(index, "name", None) or "row"
    known = [str(i) for i in index]
    return f"{word if len(known) == 1 else word + 's'} {some(known, most)}"


# --- numbers
# --------------------------------------------------------------------------------------------------


def _evaluator(
    table: pandas.DataFrame, x: Mapping[str, str], notes: list[str]
) -> Callable[[str], np.ndarray]:
    """A function from the text of --y or of one side of --x to its numbers [n]: a column, or
    factors joined by * and / that are columns, numbers, or variables that --x names."""
    columns = {str(c) for c in table.columns}
    read: dict[str, np.ndarray] = {}

    def factor(text: str, within: tuple[str, ...]) -> np.ndarray:
        if text not in columns:
            if math.isfinite(number := _number_or_nan(text)):
                return np.full(len(table), number)
            if x.get(text, text) != text and text not in within:
                return value(x[text], (*within, text))
        if text not in read:
            read[text] = _column_numbers(table, text, notes)
        return read[text]

    def value(text: str, within: tuple[str, ...] = ()) -> np.ndarray:
        text = text.strip()
        if text in columns or not re.search(r"[*/]", text):
            return factor(text, within)
        first, *rest = re.split(r"\s*([*/])\s*", text)
        out = factor(first, within)
        for sign, part in zip(rest[::2], rest[1::2], strict=True):
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                other = factor(part, within)
                out = out * other if sign == "*" else out / other
        return out

    return value


def _column_numbers(table: pandas.DataFrame, name: str, notes: list[str]) -> np.ndarray:
    """A column as numbers, nan where a cell is empty."""
    from pandas.api import types

    cells = table[column(table, name)]
    if types.is_numeric_dtype(cells.dtype):
        return cells.to_numpy(float, na_value=np.nan)
    word = table.index.name or "row"
    at = [f"{word} {i}" for i in table.index]
    known = list(notes)
    out = cell_numbers.parse(cells.tolist(), name, at, table.attrs.get("commas", ","), notes)
    notes[:] = list(dict.fromkeys([*known, *notes]))
    return out


def _check_count(
    index: pandas.Index,
    variable: str,
    text: str,
    values: np.ndarray,
    chosen: np.ndarray,
    notes: list[str],
) -> None:
    """ValueError where a count of parameters or tokens is below one; a note where all are small."""
    bad = np.flatnonzero(chosen & (values < 1))
    if len(bad):
        raise ValueError(
            f"{variable} = {values[bad[0]]:g} in {places(index[bad[:1]])}: below one; if {text} is "
            f"in millions, say --x '{variable}=1e6*{text}'"
        )
    largest = float(values[chosen].max())
    if largest < SMALL:
        notes.append(
            f"{variable} is at most {digits(largest)}: if {text} is in millions, say "
            f"--x '{variable}=1e6*{text}'"
        )


# --- labels and flags
# --------------------------------------------------------------------------------------------------


def _flags(table: pandas.DataFrame, name: str) -> np.ndarray:
    """A column of true and false, empty for false."""
    cells = table[column(table, name)]
    words = [str(cell).strip().lower() for cell in cells]
    for place, word in zip(table.index, words, strict=True):
        if word not in (*TRUE, *FALSE):
            raise ValueError(
                f"column {name!r} holds {word!r} in {table.index.name or 'row'} {place}; allowed "
                f"are true and false"
            )
    return np.array([word in TRUE for word in words])


def _check_labels(table: pandas.DataFrame, names: Sequence[str], chosen: np.ndarray) -> None:
    """ValueError for a row in use without a label of its cluster."""
    for name in names:
        empty = chosen & np.array([cell_numbers.is_missing(str(cell)) for cell in table[name]])
        if empty.any():
            raise ValueError(
                f"column {name!r} is empty, NA or None in {places(table.index[empty])}: a row "
                f"needs the name of its cluster"
            )


def run_column(table: pandas.DataFrame) -> str | None:
    """The column that names the run of each row, where some run has several rows."""
    for name in map(str, table.columns):
        word = re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")
        if word in RUNS and list(table.columns).count(name) == 1:
            different = len(set(table[name]))
            if 1 < different < len(table):
                return name
    return None
