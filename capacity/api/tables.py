"""`capacity.table`: runs as a DataFrame, with units and meanings of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capacity import archive
from capacity.api.folders import results_folder
from capacity.export import columns
from capacity.export import table as runs_as_table

if TYPE_CHECKING:
    import pandas


def table(
    study: str | Sequence[str] | None = None,
    *,
    overrides: Sequence[str] = (),
    results: str | Path | None = None,
    quantized: bool = False,
) -> pandas.DataFrame:
    """All runs of a study, one row each, as `capacity table` writes them: every setting by its
    dotted key, counts, and every measured number.

    study: a name such as "pocket" or "morris/membership@pocket", a study file, several of them, or
    None for all runs in the results folder. overrides: settings of the sweep, such as
    ["train.lr=0.01"]. quantized: one row per run and variant of quantization. Numbers are float64
    with NaN where nothing was measured, whole numbers int64 where none is missing; runs that are
    not finished are rows too (`frame[frame.status == "finished"]`). results: the folder; None for
    $CAPACITY_RESULTS or ./results, as for the commands.

    `frame.attrs["units"]` and `frame.attrs["meanings"]` say what each column is, by its name.
    ConfigError for a study that is none, and where nothing was found."""
    names = [study] if isinstance(study, str) else list(study or ())
    folder = results_folder(results)
    groups, unread = runs_as_table.groups(names, list(overrides), folder)
    with archive.reading(folder, [group.study for group in groups] if names else []):
        frame = plain(runs_as_table.tidy(groups, folder, quantized))
    about = {name: columns.describe(name, quantized) for name in frame}
    frame.attrs["units"] = {name: unit for name, (_, unit, _) in about.items()}
    frame.attrs["meanings"] = {name: meaning for name, (_, _, meaning) in about.items()}
    if unread:
        frame.attrs["left_out"] = unread
    return frame


def plain(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The frame with numpy's types, which plots and fits of every library take: float64 with NaN,
    int64 and bool where nothing is missing, else objects."""
    out = {}
    for name, column in frame.items():
        missing = bool(column.isna().any())
        kind = str(column.dtype)
        if kind == "Float64" or (kind == "Int64" and missing):
            out[name] = column.astype("float64")
        elif kind == "Int64":
            out[name] = column.astype("int64")
        elif kind == "boolean" and not missing:
            out[name] = column.astype(bool)
        else:
            out[name] = column.astype(object).where(column.notna(), None)
    return type(frame)(out)
