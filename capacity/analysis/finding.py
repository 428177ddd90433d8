"""What an analysis of a study leaves: numbers with a schema, tables, and what its figures need."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import capacity
from capacity.base.files import csv, write_atomic
from capacity.figures.look import FORMATS, Look, current, using

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FIGURES = "figures"  # the folder beside a fit
# figures that only `report` draws and writes: `fit-laws`, whose numbers may be others, removes them
PAGE_ONLY = ("means", "residuals")


@dataclass(frozen=True)
class Options:
    """What a person can ask of an analysis.

    bootstraps: resamples of the intervals that are made by resampling. shadows: of text with shadow
    models, how many an attack may use; None for all. lira_variance: of text with shadow models,
    global or sequence, see `analysis/text/attacks.py`.
    """

    bootstraps: int = 4000
    shadows: int | None = None
    lira_variance: str = "global"
    seed: int = 0


@dataclass(frozen=True)
class Finding:
    """Everything that a kind of study found, computed whole before anything is written or shown.

    kind: its name in the registry. numbers: what `file` holds, JSON-able, typed by the kind.
    tables: by file name; runs.csv has a row per planned run. data: what the kind's figures need
    beside, of whatever type the kind likes.
    """

    kind: str
    file: str
    numbers: Mapping[str, Any]
    tables: Mapping[str, pandas.DataFrame]
    data: Any = field(default=None, compare=False)

    def json(self) -> bytes:
        """The content of `file`."""
        text = json.dumps(self.numbers, indent=1, allow_nan=False, ensure_ascii=False)
        return (text + "\n").encode()


def head(kind: str, schema: int, study: str, inputs_sha256: str) -> dict[str, Any]:
    """What the numbers of every kind begin with: kind, schema number, study, versions of what
    computed them, and the digest of the rows that they were computed from."""
    names = ("numpy", "pandas", "scipy")
    versions = {"capacity": capacity.__version__, "python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in names}
    return {
        "kind": kind,
        "schema": schema,
        "study": study,
        "versions": versions,
        "inputs_sha256": inputs_sha256,
    }


def write(
    finding: Finding,
    figures: Mapping[str, Figure],
    page: str,
    folder: Path,
    look: Look | None = None,
) -> list[Path]:
    """Write numbers, tables (CSV), README.md, and of each figure the pictures that `look` asks for
    with the numbers that are drawn (figures/NAME.csv) into a folder; each file replaces its
    predecessor in one step. page: the finding's document in Markdown. What was written before of a
    figure and is not now goes: another format, or a figure whose law is no longer fitted. Returns
    the paths."""
    files = {finding.file: finding.json()}
    files |= {name: csv(table) for name, table in finding.tables.items()}
    files |= pictures(figures, look) if figures else {}
    files["README.md"] = page.encode()
    names = {*figures, *shown(Path(folder) / "README.md"), *PAGE_ONLY}
    for name, data in files.items():
        write_atomic(Path(folder) / name, data)
    for path in stale(Path(folder), names, files):
        path.unlink(missing_ok=True)
    return [Path(folder) / name for name in files]


def write_pictures(
    figures: Mapping[str, Figure],
    folder: Path,
    look: Look | None = None,
    names: Iterable[str] = PAGE_ONLY,
) -> list[Path]:
    """Write figures alone, as `write` does: of a study without a law, or of a comparison; names: of
    those that go where they are not among them."""
    files = pictures(figures, look) if figures else {}
    for name, data in files.items():
        write_atomic(folder / name, data)
    for path in stale(folder, {*figures, *names}, files):
        path.unlink(missing_ok=True)
    return [folder / name for name in files]


def pictures(figures: Mapping[str, Figure], look: Look | None = None) -> dict[str, bytes]:
    """Files of figures by their path below a study's folder."""
    from capacity.figures.files import render, table  # matplotlib imports as slowly as all the rest

    out = {}
    with using(look):
        for name, figure in figures.items():
            for kind in current().formats:
                out[f"{FIGURES}/{name}.{kind}"] = render(figure, kind)
            out[f"{FIGURES}/{name}.csv"] = table(name, figure)
    return out


def stale(folder: Path, names: Iterable[str], written: Collection[str]) -> list[Path]:
    """Files of these figures that were not written now, also where older versions put them."""
    kinds = (*FORMATS, "csv")
    own = [f"{FIGURES}/{name}.{kind}" for name in names for kind in kinds]
    old = [f"{name}.{kind}" for name in names for kind in FORMATS]
    return [folder / name for name in (*own, *old) if name not in written]


def shown(page: Path) -> set[str]:
    """Names of the figures that a page shows; none where there is no page."""
    try:
        names = re.findall(r"\]\((?:figures/)?(\w+)\.(?:png|svg|pdf)\)", page.read_text("utf-8"))
        return set(names)
    except (FileNotFoundError, UnicodeDecodeError):
        return set()
