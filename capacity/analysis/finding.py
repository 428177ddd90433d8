"""What an analysis of a study leaves: numbers with a schema, tables, and what its figures need."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import capacity
from capacity.base.files import csv, write_atomic

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


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


def write(finding: Finding, figures: Mapping[str, Figure], page: str, folder: Path) -> list[Path]:
    """Write numbers, tables (CSV), figures (PNG, PDF) and README.md into a folder; each file
    replaces its predecessor in one step. page: the finding's document in Markdown. A figure that
    the page of before showed and this one does not goes: its law is no longer fitted. Returns the
    paths."""
    files = {finding.file: finding.json()}
    files |= {name: csv(table) for name, table in finding.tables.items()}
    if figures:
        from capacity.figures.style import render  # matplotlib imports as slowly as all the rest

        files |= {
            f"{n}.{kind}": render(f, kind) for n, f in figures.items() for kind in ("png", "pdf")
        }
    files["README.md"] = page.encode()
    gone = _shown(Path(folder) / "README.md") - {name.removesuffix(".png") for name in files}
    for name, data in files.items():
        write_atomic(Path(folder) / name, data)
    for name in gone:
        for kind in ("png", "pdf"):
            (Path(folder) / f"{name}.{kind}").unlink(missing_ok=True)
    return [Path(folder) / name for name in files]


def _shown(page: Path) -> set[str]:
    """Names of the figures beside a page that it shows; none where there is no page."""
    try:
        return set(re.findall(r"\]\((\w+)\.png\)", page.read_text("utf-8")))
    except (FileNotFoundError, UnicodeDecodeError):
        return set()
