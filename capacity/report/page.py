"""`capacity report`: everything about a study in one HTML file that loads nothing.

The law is judged as `fit-laws` judges it and its files are written beside the page, so that no
number of the page can differ from the fit's. A study whose runs carry no law gets a page that says
why. The page holds no clock: the same records give the same bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

import capacity
from capacity import records
from capacity.analysis import result as outcomes
from capacity.analysis.random.analysis import _digits
from capacity.analysis.residuals import residuals
from capacity.analysis.result import Outcome
from capacity.base.files import csv
from capacity.report import figure_data as figures
from capacity.report import provenance, runs, views
from capacity.report.parts import FAILED, MISSING, Flag, View
from capacity.study import Study

LARGEST = 3_000_000  # bytes of a page
LARGEST_STILL = 300_000  # of a picture that only a browser without scripts shows
MOST_ANSWERS = 5  # in the box on the first screen
CAPTIONS = {  # in the order of the page
    "capacity": "Capacity against parameters",
    "memorized": "Memorized bits against the bits of the data",
    "ablation_strict": "One alpha for all, strict bits",
    "ablation_paper": "One alpha for all, the paper's bits",
    "arms": "What was held, arm by arm",
    "exposures": "Bits per parameter against exposures",
    "ratio": "Learned bits against parameters",
    "ladder": "Capacity against the bits of a weight",
    "kept": "What a full model keeps at fewer bits",
    "stored": "Bits held per stored bit",
    "forgetting_random": "How random tokens fade, by model and batch",
    "forgetting_random_views": "How random tokens fade, by views",
    "forgetting_passages": "How passages fade, by model and batch",
    "forgetting_passages_views": "How passages fade, by views",
    "canaries": "Exposure of canaries",
    "extraction": "Extraction of canaries",
    "membership": "Who can be told to be a member",
    "losses": "The losses behind it",
    "descent": "Where the loss on other text peaks",
    "generalised": "Memorized and generalised bits",
    "roc": "True against false positives of attacks",
    "roc_shadows": "True against false positives with shadow models",
    "means": "What was measured, means over seeds",
    "residuals": "Errors of the fits",
}


def build(
    asked: str,
    study: Study,
    table: pd.DataFrame,
    results: Path,
    outcome: Outcome | None,
    reason: str,
    options: list[str],
) -> bytes:
    """The page as bytes of UTF-8.

    asked: the study as the command named it. table: of `run_table.table`. outcome: what its laws say,
    or None, and then `reason` says why not. options: of the fit, to be repeated in the commands.
    """
    kept = [record for run in study.runs if (record := records.read(results, run.run_id))]
    states = runs.states(results, table)
    view = views.view(outcome) if outcome else None
    found = residuals(outcome) if outcome else []
    frame = outcome.tables["runs.csv"] if outcome else table
    columns = views.columns(outcomes.kinds(study), frame)
    flags = _flags(view, table, states)
    cells = runs.build(study.runs, frame, columns, states, flags, found)
    drawn = _ordered(outcome.figures, view.first) if outcome else {}
    answers = _answers(view, table, reason)
    answered = not answers[0].startswith("**No ")
    means = None
    if not answered and (table.status == "finished").any():
        means = _means(*runs.means(study.runs, table, columns), columns, drawn)
    if found:
        from capacity.figures.fits import residual_figure

        drawn["residuals"] = residual_figure(found)
    shown = {name: _figure(name, figure) for name, figure in drawn.items()}
    files = (
        {}
        if outcome is None
        else {outcome.fit_file: outcome.json()}
        | {name: csv(rows) for name, rows in outcome.tables.items()}
    )
    newest = max((record["finished_at"] for record in kept), default="")
    done = int((table.status == "finished").sum())
    context = {
        "study": study,
        "version": capacity.__version__,
        "answers": answers,
        "most": MOST_ANSWERS,
        "answered": answered,
        "warnings": _warnings(asked, study, states),
        "view": view,
        "means": means,
        "flags": [{**vars(flag), "filter": _filter(flag)} for flag in flags],
        "unset": [flag for flag in flags if not flag.runs],
        "facts": [
            f"{done} of {len(table)} runs finished",
            *[
                f"{len(flag.runs)} {flag.name}"
                for flag in flags
                if flag.runs and flag.name != "missing"
            ],
            _cost(kept),
            f"newest run {newest[:10]}",
        ],
        "figures": [figure for name, figure in shown.items() if name != "residuals"],
        "residuals": shown.get("residuals"),
        "table": _table(cells),
        "example": _example(cells),
        "commands": provenance.commands(asked, study, kept, options),
        "sweeps": provenance.sweeps(results, study, asked),
        "study_file": study.path.name,
        "study_text": study.path.read_text(encoding="utf-8"),
        "versions": provenance.versions(kept),
        "fitted_with": provenance.fitted_with(),
        "newest": newest,
        "fit_file": outcome.fit_file if outcome else "",
        "printed": outcome.text if outcome else "",
        "contents": [
            (key, title)
            for key, title, there in (
                ("figures", "Figures", any(name != "residuals" for name in shown)),
                ("means", "Means", means),
                ("beside", "Published values", view),
                ("fits", "Fits", view),
                ("differences", "Differences", view and view.differences_note),
                ("flags", "Flags", True),
                ("runs-section", "Runs", True),
                ("reproduce", "Make it again", True),
                ("conventions", "Conventions", view),
            )
            if there
        ],
    }
    said = {row[0]: _hover(cells, row) for row in cells["rows"]}
    return _rendered(
        context,
        {
            "figures": {name: figure["drawn"] for name, figure in shown.items() if figure["drawn"]},
            "runs": said,
        },
        files,
    )


def _rendered(context: dict[str, Any], data: dict[str, Any], files: dict[str, bytes]) -> bytes:
    """The template filled; the largest files stay outside where the page would grow beyond
    LARGEST."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("capacity.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "strong": _strong,
        "digits": _digits,
        "capitalized": lambda text: text[:1].upper() + text[1:],
    }
    style, script = _asset("page.css"), _asset("figures.js") + _asset("table.js")
    packed = {
        name: base64.b64encode(gzip.compress(content, mtime=0)).decode()
        for name, content in files.items()
    }
    left_out: list[str] = []
    while True:
        page = (
            environment.get_template("page.html")
            .render(
                **context,
                style=Markup(style),
                script=Markup(script),
                style_hash=_source(style),
                script_hash=_source(script),
                files=list(packed),
                left_out=left_out,
                data=_embedded(data | {"files": packed}),
            )
            .encode()
        )
        if len(page) <= LARGEST or not packed:
            return page
        left_out.append(max(packed, key=lambda name: len(packed[name])))
        del packed[left_out[-1]]


def _asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _source(text: str) -> Markup:
    """What a Content-Security-Policy calls the one script or style that may run."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")


def _embedded(tree: Any) -> Markup:
    """JSON that no HTML parser can leave."""
    text = json.dumps(tree, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _strong(text: str) -> Markup:
    """Escaped, and what stands between two stars made strong."""
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))


def _answers(view: View | None, table: pd.DataFrame, reason: str) -> list[str]:
    if view:
        return view.answers
    count = table.status.value_counts()
    if not count.get("finished"):
        return [
            f"**No answer yet:** no run has finished; {count.get('failed', 0)} failed, "
            f"{count.get('missing', 0)} have no record."
        ]
    return [
        f"**No law from these runs:** {reason}.",
        "The means over seeds below say what was measured.",
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


def _flags(view: View | None, table: pd.DataFrame, states: dict[str, str]) -> list[Flag]:
    """The view's own, with what only the folder of a run can tell; without a view the states
    alone."""
    own = (
        view.flags
        if view
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


def _means(means: pd.DataFrame, over: str | None, columns: list, drawn: dict) -> dict[str, Any]:
    """The table of means for the template; its figure joins `drawn` where there is a setting to
    draw over."""
    numbers = [column.heading for column in columns if column.main and column.heading in means]
    if over and means[over].nunique() > 1 and numbers:
        from capacity.figures.fits import means_figure

        values = means[over]
        drawn["means"] = means_figure(
            means, over, numbers[:2], bool((values > 0).all() and values.max() > 5 * values.min())
        )
    settings = [
        name
        for name in means
        if name not in ("name", "runs", *numbers) and not name.startswith("sd ")
    ]
    rows = [
        [
            *(_text(row[name]) for name in settings),
            str(row["runs"]),
            *(f"{_text(row[name])} ± {_text(row[f'sd {name}'])}" for name in numbers),
        ]
        for row in means.to_dict("records")
    ]
    return {
        "heads": [*settings, "runs", *numbers],
        "rows": rows,
        "numbers": range(len(settings), len(settings) + 1 + len(numbers)),
    }


def _ordered(found: dict, first: list[str]) -> dict:
    """Figures in the order of CAPTIONS, but for those that belong first; unknown ones last."""
    order = [*first, *CAPTIONS]
    return {
        name: found[name]
        for name in sorted(
            found, key=lambda name: order.index(name) if name in order else len(order)
        )
    }


def _figure(name: str, figure) -> dict[str, Any]:
    try:
        drawn = figures.data(figure)
    except figures.Undrawable:
        drawn = None
    still = figures.still(figure)
    return {
        "name": name,
        "caption": CAPTIONS.get(name, name.replace("_", " ").capitalize()),
        "still": still if drawn is None or len(still) <= LARGEST_STILL else "",
        "drawn": drawn,
    }


def _table(cells: dict[str, Any]) -> dict[str, Any]:
    return {
        "columns": cells["columns"],
        "rows": [
            [_shown(value, column) for value, column in zip(row, cells["columns"])]
            for row in cells["rows"]
        ],
    }


def _shown(value: Any, column: dict) -> dict[str, Any]:
    """Text, and the exact value where the text has fewer digits."""
    text = f"{value:g}" if column["setting"] and isinstance(value, float) else _text(value)
    kind = (
        "n"
        if column["number"]
        else "long"
        if column["heading"] == "error-message"
        else "bad"
        if column["heading"] == "status" and value != "finished"
        else ""
    )
    exact = None
    if column["number"] and value is not None and float(text.replace(",", "")) != float(value):
        exact = f"{value:.7g}"
    return {"text": text, "value": exact, "kind": kind}


def _text(value: Any) -> str:
    if value is None or value == "" or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if isinstance(value, bool) or isinstance(value, str):
        return str(value)
    if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1e-3 else _digits(value)


def _hover(cells: dict[str, Any], row: list) -> str:
    """What the tip over a run's point says in its first line."""
    given = {column["heading"]: value for column, value in zip(cells["columns"], row)}
    flags = given["flags"] or ""
    return f"{given['shape']}, seed {given['seed']}, run {given['run']}" + (
        f" ({flags})" if flags else ""
    )


def _example(cells: dict[str, Any]) -> str:
    """A filter that works on this table."""
    given = {column["heading"]: value for column, value in zip(cells["columns"], cells["rows"][0])}
    number = next(
        (
            column["heading"]
            for column in cells["columns"]
            if column["number"] and column["heading"] != "seed"
        ),
        "seed",
    )
    return f"{given['shape'].split()[0]} seed={given['seed']} {number}>0"


def _cost(kept: list[dict]) -> str:
    seconds = sum(record["training"]["wall_s"] / record["training"]["stack"] for record in kept)
    return (
        f"{seconds / 3600:.1f} hours of training"
        if seconds >= 7200
        else f"{seconds / 60:.1f} minutes of training"
    )
