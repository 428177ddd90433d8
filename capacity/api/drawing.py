"""`capacity.figure`: a figure of a study, as `capacity fit-laws` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capacity import archive, records, run_table
from capacity.analysis import kinds
from capacity.analysis.finding import Options
from capacity.api.folders import results_folder
from capacity.base.errors import ConfigError, nearest
from capacity.study import load_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(
    study: str,
    name: str | None = None,
    *,
    overrides: Sequence[str] = (),
    results: str | Path | None = None,
    bootstraps: int = 4000,
) -> Figure:
    """A figure of a study by its name, such as figure("pocket", "capacity"), as a Figure of
    matplotlib; the laws in it are fitted anew from the records.

    name: None for the first one, which the study's page shows first. bootstraps: resamples of
    intervals. ConfigError for a study without a finished run or without a law, and for a name that
    it has no figure of, with those that there are."""
    folder = results_folder(results)
    if bootstraps < 100:
        raise ConfigError(f"bootstraps={bootstraps}: expected a whole number >= 100")
    asked = load_study(study, list(overrides))
    with archive.reading(folder, [asked.name]):
        table = run_table.table(folder, asked.runs, asked.names)
        if "finished" not in set(table["status"]):
            raise ConfigError(
                f"{asked.name}: no finished run in {records.runs_dir(folder)}; run: capacity sweep "
                f"{study}"
            )
        try:
            analysis = kinds.analyse(asked, table, folder, Options(bootstraps))
        except ValueError as error:
            raise ConfigError(f"{asked.name}: {error}") from None
        drawn = kinds.figures(analysis)
    if not drawn:
        raise ConfigError(f"{asked.name}: no figure is drawn of these runs")
    if name is None:
        return next(iter(drawn.values()))
    if name not in drawn:
        raise ConfigError(
            f"{asked.name}: no figure {name!r}{nearest(name, list(drawn))}; allowed: "
            f"{', '.join(drawn)}"
        )
    return drawn[name]
