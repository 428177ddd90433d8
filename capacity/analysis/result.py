"""What the laws say of a study: computed whole, then written, printed and shown in the report, so
that all three say the same."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capacity.base.files import csv, plain, write_atomic

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.study import Study

KINDS = {"uniform": "random data", "text": "text"}  # of the data's kind; all others are people


@dataclass(frozen=True)
class Outcome:
    """Everything that `fit-laws` found."""

    kind: str  # random data, ablation, people, text or precision
    fit: dict  # as the file `fit_file` holds it
    fit_file: str
    tables: dict[str, pandas.DataFrame]  # by file name; runs.csv has a row per planned run
    figures: dict[str, Figure]
    text: str  # for a terminal of 80 columns

    def json(self) -> bytes:
        """The content of `fit_file`."""
        return (json.dumps(self.fit, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()

    def write(self, folder: Path) -> list[Path]:
        """Write the fit, its tables (CSV) and figures (PNG, PDF); everything is computed before
        anything is written, and each file replaces its predecessor in one step. Returns the
        paths."""
        from capacity.figures.style import (
            render,
        )  # matplotlib takes as long to import as everything else together

        files = {self.fit_file: self.json()} | {
            name: csv(table) for name, table in self.tables.items()
        }
        files |= {
            f"{name}.{kind}": render(figure, kind)
            for name, figure in self.figures.items()
            for kind in ("png", "pdf")
        }
        for name, data in files.items():
            write_atomic(Path(folder) / name, data)
        return [Path(folder) / name for name in files]


def kinds(study: Study) -> set[str]:
    """What the study's runs are trained on: random data, text or people."""
    return {KINDS.get(run.data.kind, "people") for run in study.runs}


def judge(
    study: Study, table: Any, results: Path, *, n_boot: int = 4000, shadows: int | None = None
) -> Outcome:
    """Fit what the study's data have laws for. table: of `run_table.table`. ValueError, in one line,
    where its runs carry none."""
    found = kinds(study)
    if len(found) > 1:
        raise ValueError(f"runs on {' and '.join(sorted(found))}; a law is about one of them")
    from capacity.analysis.precision import bit_widths as precision

    if precision.asked(study.runs):
        from capacity.analysis.precision import analysis as precision_laws

        return precision_laws.outcome(table, study.runs, results, study.name)
    if found == {"people"}:
        from capacity.analysis.facts import analysis as knowledge

        return _with_differences(knowledge.outcome(table, study, n_boot=n_boot), study, table)
    if found == {"text"}:
        from capacity.analysis.text import analysis as memory

        return memory.outcome(table, results, study.name, n_boot=n_boot, shadows=shadows)
    from capacity.analysis.ablation import analysis as ablations
    from capacity.analysis.random import analysis as summary

    if ablations.varied(table):
        return ablations.outcome(table, study.name)
    return _with_differences(summary.outcome(table, study.name, n_boot=n_boot), study, table)


def _with_differences(found: Outcome, study: Study, table: Any) -> Outcome:
    """With what `differences.differences` says of architectures, optimizers and the like, where the
    study varies them."""
    from capacity.analysis.comparison import variants as differences

    told = differences.differences(study, table)
    if told is None:
        return found
    return dataclasses.replace(
        found,
        fit=found.fit | {"differences": plain(told)},
        text="\n".join([found.text, *differences.section(told)]),
    )
