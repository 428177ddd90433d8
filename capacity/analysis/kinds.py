"""The kinds of study: which there are, and which one a study is of.

A kind is a package with the functions of `Kind`. A new one is a folder beside the others and a line
in REGISTRY; terminal, page, Markdown, figures and tables then show it without further changes.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from capacity import archive, run_table
from capacity.analysis import expectations, families, labels, refused
from capacity.analysis.document import Document, RunColumn
from capacity.analysis.finding import Finding, Options
from capacity.analysis.residuals import Residuals
from capacity.base.words import joined
from capacity.figures.look import Look, using

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from capacity.config import Config
    from capacity.study import Study

# In this order: a study is of the first kind that applies to it.
REGISTRY = {
    "chain": "capacity.analysis.chain",
    "context": "capacity.analysis.context",
    "acquisition": "capacity.analysis.acquisition",
    "prompts": "capacity.analysis.prompts",
    "inside": "capacity.analysis.inside",
    "shadows": "capacity.analysis.shadows",
    "items": "capacity.analysis.items",
    "repeated": "capacity.analysis.repeated",
    "precision": "capacity.analysis.precision",
    "idle": "capacity.analysis.idle",
    "mixers": "capacity.analysis.mixers",
    "smi": "capacity.analysis.smi",
    "frequency": "capacity.analysis.frequency",
    "wording": "capacity.analysis.wording",
    "exchange": "capacity.analysis.exchange",
    "facts": "capacity.analysis.facts",
    "text": "capacity.analysis.text",
    "budget": "capacity.analysis.budget",
    "ablation": "capacity.analysis.ablation",
    "random": "capacity.analysis.random",
}
ACROSS = "chain"  # the kind that is about several families of data


class Kind(Protocol):
    """What a package of analysis/ defines."""

    COMPARES: bool  # whether the variants of such a study are compared by pairs of runs

    def applies(self, runs: Sequence[Config], table: pandas.DataFrame) -> bool:
        """Whether planned runs, all on one family of data (but of ACROSS), are of this kind; table:
        of `run_table.table`."""
        ...

    def analyse(
        self, study: Study, table: pandas.DataFrame, results: Path, options: Options
    ) -> Finding:
        """Fit what such runs have laws for. ValueError, in one line, where they carry none."""
        ...

    def expected(self, study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """What its verdicts will be set beside, before any run (of `published.Value.expected` or
        `expects.check_expects`), and by name the rules that decide which runs and numbers count;
        both are empty for a kind without verdicts."""
        ...

    def document(self, finding: Finding) -> Document:
        """What was found, in words."""
        ...

    def figures(self, finding: Finding) -> Mapping[str, Figure]:
        """Figures by name, in any order; the document says captions and order."""
        ...

    def residuals(self, finding: Finding) -> list[Residuals]:
        """Errors of the fits, point by point."""
        ...

    def columns(self, runs: pandas.DataFrame) -> Sequence[RunColumn]:
        """What a page's table of runs shows of such runs, beside run, model, settings and flags."""
        ...


def load(name: str) -> Kind:
    """The kind of that name in the registry."""
    return cast(Kind, importlib.import_module(REGISTRY[name]))


def kinds_of(runs: Sequence[Config], table: pandas.DataFrame) -> list[str]:
    """The kind of each family of data (random data, facts, text) among planned runs, in order."""
    if _across(runs):
        return [ACROSS]
    parts: dict[str, list[Config]] = {}
    for run in runs:
        parts.setdefault(labels.family(run), []).append(run)
    return [
        _kind_of(part, table.loc[table.run_id.isin([r.run_id for r in part])])
        for part in parts.values()
    ]


def _kind_of(runs: Sequence[Config], table: pandas.DataFrame) -> str:
    for name in REGISTRY:
        if load(name).applies(runs, table):
            return name
    raise ValueError(f"no kind of study knows runs on data.kind={runs[0].data.kind}")


def _across(runs: Sequence[Config]) -> bool:
    """Whether runs on several families of data are one study."""
    return len(labels.families(runs)) > 1 and families.is_chain(runs)


def kind_of(study: Study, table: pandas.DataFrame) -> str:
    """The kind of a study. ValueError, in one line, where its runs are on several families."""
    family_of(study)
    return _kind_of(study.runs, table)


def family_of(study: Study) -> str:
    """What all runs of a study are trained on. ValueError, in one line, where they differ and no
    kind is about several."""
    several = labels.families(study.runs)
    if len(several) > 1 and not _across(study.runs):
        raise ValueError(f"runs on {joined(several)}; a law is about one of them")
    return joined(several)


def expected(study: Study, table: pandas.DataFrame) -> dict[str, Any]:
    """What fixes the verdicts of a study, see `expectations.of`. ValueError, in one line, where its
    runs are on several families."""
    name = kind_of(study, table)
    return expectations.of(name, *load(name).expected(study))


def record_expected(study: Study, results: Path) -> None:
    """Keep what fixes the verdicts of a study, with its date, before a sweep trains; see
    `expectations.record`. Runs that are known by kept records only count as finished."""
    with archive.reading(results, [study.name]):
        table = run_table.table(results, study.runs, study.names)
    try:
        now = expected(study, table)
    except ValueError:
        return  # no law and no verdict is about such runs
    expectations.record(results, study.name, now, int((table.status == "finished").sum()))


def analyse(
    study: Study, table: pandas.DataFrame, results: Path, options: Options | None = None
) -> Finding:
    """Fit what the study's runs have laws for, and compare its variants where its kind does so."""
    from capacity.analysis.comparison import variants

    name = kind_of(study, table)
    kind, table = load(name), refused.set_aside(table)
    finding = kind.analyse(study, table, results, options or Options())
    if kind.COMPARES and (differences := variants.differences(study, table)) is not None:
        finding = dataclasses.replace(
            finding, numbers={**finding.numbers, "differences": differences}
        )
    return dated(finding, study, table, results)


def dated(finding: Finding, study: Study, table: pandas.DataFrame, results: Path) -> Finding:
    """The finding with the dates at which what fixes its verdicts was fixed."""
    if "verdicts" not in finding.numbers:
        return finding
    lines = expectations.read(results, study.name)
    finished = int((table.status == "finished").sum())
    numbers = expectations.added(finding.numbers, expected(study, table), lines, finished)
    return dataclasses.replace(finding, numbers=numbers)


def document(finding: Finding) -> Document:
    """What was found, in words, with the differences between variants where there are any."""
    from capacity.analysis.comparison import wording

    of_kind = load(finding.kind).document(finding)
    if (differences := finding.numbers.get("differences")) is None:
        return of_kind
    return wording.added(of_kind, differences, finding.numbers.get("verdicts", ()))


def figures(finding: Finding, look: Look | None = None) -> dict[str, Figure]:
    """Figures by name in the order of the document, those that it does not name last; look: width
    and style, see `figures/look.py`. The same finding and look give the same figures."""
    from capacity.figures.style import settle  # brings matplotlib

    with using(look):
        drawn = load(finding.kind).figures(finding)
        for one in drawn.values():
            settle(one)
    order = [*document(finding).figures]
    return {
        name: drawn[name]
        for name in sorted(drawn, key=lambda n: order.index(n) if n in order else len(order))
    }


def residuals(finding: Finding) -> list[Residuals]:
    """Errors of the fits, laws without points left out."""
    return [part for part in load(finding.kind).residuals(finding) if len(part.points)]
