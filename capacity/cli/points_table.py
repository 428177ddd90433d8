"""A table of points as `capacity fit` reads it: files, selected rows, ratios of columns, columns of
true and false."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from capacity.base.errors import ConfigError, nearest
from capacity.fitting.points import Columns

if TYPE_CHECKING:
    import pandas

TRUE, FALSE = ("true", "1", "1.0"), ("false", "0", "0.0", "nan", "none", "")


def read(path: Path) -> pandas.DataFrame:
    """A table from a .csv or .parquet file; ConfigError with one line where there is none in it."""
    import pandas as pd

    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{path}: expected a .csv or .parquet file")
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except ImportError:
        raise ConfigError(
            f"{path}: Parquet needs pyarrow: pip install 'capacity[parquet]'"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: not a table: {str(error).splitlines()[0]}") from None
    if table.empty:
        raise ConfigError(f"{path}: no rows")
    return table


def select(table: pandas.DataFrame, name: str, value: str, path: Path) -> pandas.DataFrame:
    """The rows with this value of a column, compared as a number where it is one; ConfigError for
    an unknown column and where no row has it."""
    try:
        _check_column(table, name)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        rows = (table[name] == float(value)).to_numpy(bool)
    except ValueError:
        rows = (table[name].astype(str) == value).to_numpy(bool)
    if not rows.any():
        raise ConfigError(
            f"{path}: no row with {name} = {value}; it holds "
            f"{', '.join(sorted(map(str, table[name].unique()))[:8])}"
        )
    return table.loc[rows]


def prepare(
    table: pandas.DataFrame, columns: Columns, variables: Iterable[str]
) -> tuple[pandas.DataFrame, Columns]:
    """The table with a numeric column for the target, every variable and the noise, and boolean
    ones for bounds and rows left out, and the names of these columns. A target or variable may be
    a ratio A/B of two columns. ValueError, in one line, for a column that is absent or holds
    something else."""
    wanted = {v: columns.x.get(v, v) for v in variables}
    added = {f"={text}": _numbers(table, text) for text in {columns.y, *wanted.values()}}
    if columns.sd:
        added[columns.sd] = _numbers(table, columns.sd)
    for name in (columns.lower_bound, *columns.left_out.values()):
        if name:
            added[name] = _flags(table, name)
    x = {v: f"={text}" for v, text in wanted.items()}
    return table.assign(**added), dataclasses.replace(columns, y=f"={columns.y}", x=x)


def _numbers(table: pandas.DataFrame, text: str) -> np.ndarray:
    """A numeric column, or A/B of two."""
    parts = [part.strip() for part in text.split("/")] if text not in table else [text]
    out = []
    for name in parts:
        _check_column(table, name)
        try:
            out.append(table[name].to_numpy(float))
        except (TypeError, ValueError):
            raise ValueError(f"column {name!r} holds what is no number") from None
    if len(out) > 2:
        raise ValueError(f"{text!r}: a ratio has two columns")
    with np.errstate(divide="ignore", invalid="ignore"):
        return out[0] if len(out) == 1 else out[0] / out[1]


def _flags(table: pandas.DataFrame, name: str) -> np.ndarray:
    """A column of true and false, empty for false."""
    _check_column(table, name)
    words = table[name].map(lambda v: str(v).strip().lower())
    wrong = [word for word in words if word not in (*TRUE, *FALSE)]
    if wrong:
        raise ValueError(f"column {name!r} holds {wrong[0]!r}; allowed are true and false")
    return words.isin(TRUE).to_numpy()


def _check_column(table: pandas.DataFrame, name: str) -> None:
    if name not in table:
        raise ValueError(f"no column {name!r}{nearest(name, [str(c) for c in table.columns])}")
