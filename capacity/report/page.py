"""`capacity report`: everything about a study in one HTML file that loads nothing.

The law is judged as `fit-laws` judges it and its files are written beside the page, so that no
number of the page can differ from the fit's. A study whose runs carry no law gets a page that says
why. The page holds no clock: the same records give the same bytes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import capacity
from capacity import records
from capacity.analysis import kinds
from capacity.analysis.document import FAILED, MISSING, Document, Flag, RunColumn
from capacity.analysis.finding import Finding
from capacity.base.files import csv
from capacity.base.frames import Frame
from capacity.base.words import capitalized
from capacity.figures.look import Look, using
from capacity.report import parts, provenance, runs, text
from capacity.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "means": "What was measured, means over seeds",
    "residuals": "Errors of the fits",
}  # of figures that no kind draws


KEPT = ("environment", "training", "finished_at")  # of records, for what a page says of all


@dataclass(frozen=True)
class Request:
    """What a page is asked of.

    asked: the study as the command named it. table: of `run_table.table`, a row per planned run.
    options: of the fit and the figures, to be repeated in the commands that make the page again.
    look: of the figures.
    """

    asked: str
    study: Study
    table: Frame
    results: Path
    options: list[str]
    look: Look | None = None


@dataclass(frozen=True)
class Page:
    """content: bytes of UTF-8; figures: all that it shows, by name."""

    content: bytes
    figures: dict[str, Figure]


def build(request: Request, finding: Finding | None, reason: str = "") -> bytes:
    """The page as bytes of UTF-8, see `make`."""
    return make(request, finding, reason).content


def make(request: Request, finding: Finding | None, reason: str = "") -> Page:
    """The page and its figures; finding: what the study's kind found, or None, and then `reason`
    says why not."""
    study, table = request.study, request.table
    kept = [
        {name: record[name] for name in KEPT}
        for run in study.runs
        if (record := records.read(request.results, run.run_id))
    ]
    states = runs.states(request.results, table)
    document = kinds.document(finding) if finding else None
    residuals = kinds.residuals(finding) if finding else []
    frame = finding.tables["runs.csv"] if finding else table
    columns = _columns(study, table, frame)
    flags = _flags(document, table, states)
    cells = parts.bounded(runs.build(study.runs, frame, columns, states, flags, residuals))
    drawn = kinds.figures(finding, request.look) if finding else {}
    answers = [*document.answers] if document else _no_answer(table, reason)
    means = None
    if answers[0].startswith("**No ") and (table.status == "finished").any():
        by_setting, over = runs.means(study.runs, table, columns)
        with using(request.look):
            means = _means(by_setting, over, columns, drawn)
        # what was measured comes first, then why no law is fitted to it
        answers = [*runs.measured(by_setting, over, columns), *answers]
    answered = not answers[0].startswith("**No ")
    if residuals:
        from capacity.figures.fits import residual_figure

        with using(request.look):
            drawn["residuals"] = residual_figure(residuals)
    captions = {**(document.figures if document else {}), **CAPTIONS}
    with using(request.look):
        shown = {name: parts.figure(name, figure, captions) for name, figure in drawn.items()}
    context = _answer_parts(request, document, answers, states)
    context |= _run_parts(request, kept, cells)
    context |= {
        "answered": answered,
        "means": means,
        "flags": [{**vars(flag), "filter": _filter(flag)} for flag in flags],
        "unset": [flag for flag in flags if not flag.runs],
        "facts": _facts(table, flags, kept),
        "figures": [figure for name, figure in shown.items() if name != "residuals"],
        "residuals": shown.get("residuals"),
        "fit_file": finding.file if finding else "",
        "printed": text.render(document) if document else "",
    }
    context["contents"] = _contents(context)
    hovers = {row[0]: _hover(cells, row) for row in cells["rows"]}
    data = {
        "figures": {name: figure["drawn"] for name, figure in shown.items() if figure["drawn"]},
        "runs": hovers,
    }
    files = _files(finding) | parts.figure_files(drawn)
    return Page(parts.rendered("page.html", context, data, files), drawn)


def _answer_parts(
    request: Request, document: Document | None, answers: list[str], states: dict[str, str]
) -> dict[str, Any]:
    """What the template says of the study and its finding."""
    return {
        "study": request.study,
        "name": request.study.name,
        "heading": capitalized(request.study.question or "") or request.study.name,
        "printed_by": "fit-laws",
        "version": capacity.__version__,
        "answers": answers,
        "most": parts.MOST_ANSWERS,
        "warnings": _warnings(request.asked, request.study, states),
        "sections": [parts.section(part) for part in document.sections] if document else [],
        "notes": list(document.notes) if document else [],
        "conventions": list(document.conventions) if document else [],
    }


def _run_parts(request: Request, kept: list[dict], cells: dict[str, Any]) -> dict[str, Any]:
    """What the template says of runs, commands and versions."""
    study = request.study
    return {
        "table": parts.table(cells),
        "example": _example(cells),
        "commands": provenance.commands(request.asked, study, kept, request.options),
        "sweeps": provenance.sweeps(request.results, study, request.asked),
        "study_file": study.path.name,
        "study_text": study.path.read_text(encoding="utf-8"),
        "versions": provenance.versions(kept),
        "fitted_with": provenance.fitted_with(),
        "newest": max((record["finished_at"] for record in kept), default=""),
    }


def _contents(context: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchors and titles of the page's parts that are there."""
    listed = [("figures", "Figures", context["figures"]), ("means", "Means", context["means"])]
    listed += [(part["id"], part["short"], True) for part in context["sections"]]
    listed += [
        ("errors", "Errors of the fits", context["residuals"]),
        ("notes", "Notes", context["notes"]),
        ("flags", "Flags", True),
        ("runs-section", "Runs", True),
        ("reproduce", "Make it again", True),
        ("conventions", "Conventions", context["conventions"]),
    ]
    return [(key, title) for key, title, there in listed if there]


def _columns(study: Study, table: Frame, frame: Frame) -> list[RunColumn]:
    """Of the table of runs: those of every kind that a run is of, where some run has something in
    them."""
    wanted = [
        column
        for kind in kinds.kinds_of(study.runs, table)
        for column in kinds.load(kind).columns(frame)
    ]
    return [
        column
        for column in dict.fromkeys(wanted)
        if column.name in frame and frame[column.name].notna().any()
    ]


def _facts(table: Frame, flags: list[Flag], kept: list[dict]) -> list[str]:
    done = int((table.status == "finished").sum())
    newest = max((record["finished_at"] for record in kept), default="")
    marked = [
        f"{len(flag.runs)} {flag.name}" for flag in flags if flag.runs and flag.name != "missing"
    ]
    return [
        f"{done} of {len(table)} runs finished",
        *marked,
        _cost(kept),
        f"newest run {newest[:10]}",
    ]


def _files(finding: Finding | None) -> dict[str, bytes]:
    """What a reader can download from the page."""
    return (
        {finding.file: finding.json()} | {name: csv(rows) for name, rows in finding.tables.items()}
        if finding
        else {}
    )


def _no_answer(table: Frame, reason: str) -> list[str]:
    count = table.status.value_counts()
    if not count.get("finished"):
        return [
            f"**No answer yet:** no run has finished; {count.get('failed', 0)} failed, "
            f"{count.get('missing', 0)} have no record."
        ]
    return [
        f"**No law from these runs:** {reason}.",
    ]


def _warnings(asked: str, study: Study, states: dict[str, str]) -> list[str]:
    left = pd.Series(states).value_counts().drop("finished", errors="ignore")
    if left.empty:
        return []
    settings = " ".join(study.overrides)
    return [
        f"**Not complete:** {', '.join(f'{n} {state}' for state, n in left.sort_index().items())} "
        f"of {len(states)} runs. What is said here rests on the others. "
        f"Continue with: capacity sweep {asked} {settings}".rstrip()
    ]


def _flags(document: Document | None, table: Frame, states: dict[str, str]) -> list[Flag]:
    """The document's own, with what only the folder of a run can tell; without a document the
    states alone."""
    own = (
        document.flags
        if document
        else [
            Flag(*FAILED, sorted(table.run_id[table.status == "failed"])),
            Flag(*MISSING, sorted(table.run_id[table.status == "missing"])),
        ]
    )

    def of(state: str) -> list[str]:
        return sorted(run_id for run_id, known in states.items() if known == state)

    live = [
        Flag(
            "interrupted",
            "stopped before its end, and nobody trains it; a checkpoint is kept",
            of("interrupted"),
        ),
        Flag("running", "a process trains it now", of("running")),
    ]
    out = []
    for flag in own:
        out.append(
            dataclasses.replace(flag, runs=of("missing")) if flag.name == "missing" else flag
        )
        out += live if flag.name == "missing" else []
    return out


def _filter(flag: Flag) -> str:
    return f"{'status' if flag.name in runs.STATES else 'flags'}={flag.name}"


def _means(means: Frame, over: str | None, columns: list, drawn: dict) -> dict[str, Any]:
    """The table of means for the template; its figure joins `drawn` where there is a setting to
    draw over."""
    main = [column for column in columns if column.main and column.heading in means]
    numbers = [column.heading for column in main]
    if over and means[over].nunique() > 1 and numbers:
        from capacity.figures.fits import means_figure

        values = means[over]
        log = bool((values > 0).all() and values.max() > 5 * values.min())
        meanings = {column.heading: column.meaning or column.heading for column in main[:2]}
        drawn["means"] = means_figure(means, over, meanings, log)
    settings = [
        name
        for name in means
        if name not in ("name", "runs", *numbers) and not name.startswith("sd ")
    ]
    rows = [
        [
            *(parts.cell_text(row[name]) for name in settings),
            str(row["runs"]),
            *(
                f"{parts.cell_text(row[name])} ± {parts.cell_text(row[f'sd {name}'])}"
                for name in numbers
            ),
        ]
        for row in means.to_dict("records")
    ]
    return {
        "heads": [*settings, "runs", *numbers],
        "rows": rows,
        "numbers": range(len(settings), len(settings) + 1 + len(numbers)),
    }


def _hover(cells: dict[str, Any], row: list) -> str:
    """What the tip over a run's point says in its first line."""
    given = {column["heading"]: value for column, value in zip(cells["columns"], row, strict=True)}
    flags = given["flags"] or ""
    return f"{given['model']}, seed {given['seed']}, run {given['run']}" + (
        f" ({flags})" if flags else ""
    )


def _example(cells: dict[str, Any]) -> str:
    """A filter that works on this table."""
    given = {
        column["heading"]: value
        for column, value in zip(cells["columns"], cells["rows"][0], strict=True)
    }
    number = next(
        (
            column["heading"]
            for column in cells["columns"]
            if column["number"] and column["heading"] != "seed"
        ),
        "seed",
    )
    return f"{given['model'].split()[0]} seed={given['seed']} {number}>0"


def _cost(kept: list[dict]) -> str:
    seconds = sum(record["training"]["wall_s"] / record["training"]["stack"] for record in kept)
    return (
        f"{seconds / 3600:.1f} hours of training"
        if seconds >= 7200
        else f"{seconds / 60:.1f} minutes of training"
    )
