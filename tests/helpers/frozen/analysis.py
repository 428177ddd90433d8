"""The code under test, as the frozen tests call it: one place to change when that code moves.

`refitted` does with a committed table what `capacity fit-laws` does with the records that it reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from capacity import archive, run_table
from capacity.analysis import convert, kinds
from capacity.analysis.finding import Finding
from capacity.analysis.precision import analysis as precision_laws
from capacity.analysis.text import analysis as memory
from capacity.analysis.text import attacks, document, forgetting
from capacity.base.files import plain
from capacity.figures import files
from capacity.report import figure_data as figures
from capacity.report.text import render
from capacity.study import Study, load_study

STUDIES = Path(__file__).resolve().parents[3] / "results" / "studies"
RESULTS = STUDIES.parent
FIT_FILES = ("fit.json", "precision.json", "memory.json")
# classes of runs of random data as older tables name them
CLASSES = {"saturated": "capacity_limited", "underfilled": "data_limited"}
TRAINED = (
    "trained",
    "qat",
)  # first words of methods that are runs of their own, not quantized afterwards

# What the committed tables do not hold: study -> {path in the fit file: reason}. Where a study has
# records.jsonl.gz it is fitted from these and nothing is left out.
_NOT_IN_TABLES: dict[str, dict[str, str]] = {
    "morris/forgetting@pocket": {
        f"/forgetting/{key}": "needs losses of single canaries, which records hold"
        for key in ("first_bits", "half_life")
    },
}
CURVES = "roc.csv"  # of text: needs the scores of single sequences, where no records are kept
NO_FIT = {
    "coverage": "simulations, by scripts/coverage.py",
    "design": "simulations, by scripts/design.py",
    "torture": "times of an interrupted sweep",
}


@dataclass(frozen=True)
class Refit:
    """What a fit of committed tables gives: kind as of Outcome, fit as JSON reads it, the text for
    a terminal, and the tables that could be made again, by file name."""

    kind: str
    fit: dict
    text: str
    tables: dict[str, pd.DataFrame]


def committed() -> list[str]:
    """Names of the studies whose fit is committed."""
    found = {path.parent for name in FIT_FILES for path in STUDIES.rglob(name)}
    return sorted(str(folder.relative_to(STUDIES)) for folder in found)


def fit_file(name: str) -> Path:
    return next(path for file in FIT_FILES if (path := STUDIES / name / file).exists())


def kept(name: str) -> dict:
    """The committed fit, in the present schema."""
    return convert.read(fit_file(name))


def table_of(name: str, file: str = "runs.csv") -> pd.DataFrame:
    table = pd.read_csv(STUDIES / name / file).copy()  # in one piece, which pandas likes better
    classes = [column for column in table if column.startswith("class_")]
    return table.replace(dict.fromkeys(classes, CLASSES)).rename(columns=CLASSES)


def not_frozen() -> dict[str, dict[str, str]]:
    """Study -> {path in its fit file: why it is not compared}."""
    return {name: left for name, left in _NOT_IN_TABLES.items() if not _has_records(name)}


def _has_records(name: str) -> bool:
    return (STUDIES / name / archive.RECORDS).exists()


def refitted(name: str, folder: Path) -> Refit:
    """The fit of a committed study from what is committed of it: its records, or else its tables.
    folder: an empty one, so that no run folder of this checkout is taken for a committed record."""
    study = load_study(name, [])
    if _has_records(name):
        (folder / "studies").symlink_to(STUDIES)
        with archive.reading(folder, [name]):
            return _judged(study, run_table.table(folder, study.runs), folder)
    kind = {"fit.json": _judged, "precision.json": _precision, "memory.json": _text}
    return kind[fit_file(name).name](study, table_of(name))


def _judged(study: Study, runs: pd.DataFrame, results: Path = RESULTS) -> Refit:
    """As fit-laws does it. Laws of random data, ablations and people read the table of runs
    alone."""
    found = kinds.analyse(study, runs, results)
    text = render(kinds.document(found))
    return Refit(found.kind, json.loads(found.json()), text, dict(found.tables))


def _precision(study: Study, runs: pd.DataFrame) -> Refit:
    """From rows.csv, put back into the order of the records: notes name formats in the order of
    rows."""
    place = {run.run_id: i for i, run in enumerate(study.runs)}
    rows = table_of(study.name, "rows.csv")
    after = ~rows.method.str.split().str[0].isin(TRAINED)
    first = rows[~after].sort_values("run_id", kind="stable")
    then = (
        rows[after]
        .assign(place=rows.run_id.map(place))
        .sort_values(["place", "code_bits"], ascending=[True, False], kind="stable")
        .drop(columns="place")
    )
    done = set(runs.run_id[runs.status == "finished"]) - set(then.run_id)
    without = [run.run_id for run in study.runs if run.quantize.methods and run.run_id in done]
    found = precision_laws.numbers(pd.concat([first, then]), runs, study.name, without)
    finding = kinds.dated(
        Finding("precision", precision_laws.FILE, found, {}), study, runs, RESULTS
    )
    return Refit("precision", _as_json(dict(finding.numbers)), render(kinds.document(finding)), {})


def _text(study: Study, runs: pd.DataFrame) -> Refit:
    """From runs.csv, which holds what attacks found; curves of forgetting are those of
    memory.json."""
    random = memory.random_capacities(study, runs, STUDIES.parent)
    found = dict(memory.numbers(runs, study.name, random=random, n_boot=4000))
    done = runs[runs.status == "finished"]
    kept = convert.read(fit_file(study.name))["forgetting"]
    if kept is not None:
        found["forgetting"] = kept | plain(_forms_refitted(kept))
    tables = {"runs.csv": runs, "attacks.csv": attacks.over_models(done)}
    finding = kinds.dated(Finding("text", memory.FILE, found, tables), study, runs, RESULTS)
    tables = {"attacks.csv": tables["attacks.csv"]}
    return Refit("text", _as_json(dict(finding.numbers)), render(document(finding)), tables)


def _forms_refitted(kept: dict) -> dict:
    """Forms of forgetting, fitted to the committed curves again; and how they compare."""
    cells = []
    for cell in kept["cells"]:
        curve = pd.DataFrame({"lag": cell["lags"], "bits": cell["bits"]})
        if (
            cell["errors"] is not None
        ):  # whether it has any follows from the losses of single canaries
            cell = cell | {
                "errors": {form: forgetting.form_errors(form, curve) for form in forgetting.FORMS}
            }
        cells.append(cell)
    strong = [cell for cell in cells if cell["errors"] is not None]
    return {"cells": cells, "strong": len(strong), "forms": forgetting.compare_forms(strong)}


def _as_json(found: dict) -> dict:
    return json.loads(json.dumps(plain(found), allow_nan=False))


def no_pictures(monkeypatch) -> None:
    """Pages without the pictures for browsers without scripts, which take most of the time."""
    monkeypatch.setattr(figures, "still", lambda figure: "data:,")
    monkeypatch.setattr(files, "render", lambda figure, kind: b"")
