"""Tables of forgetting: curves of canaries, the forms fitted to them, and which constants of these
lie on a bound of their search."""

from __future__ import annotations

from capacity.analysis.text.schema import Forgetting, ForgettingCell
from capacity.analysis.text.tables import MODEL, number
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, percent, plural

ENDS = {"low": "min", "high": "max"}
SHORT_KINDS = {"random": "random", "pool": "passages"}
FORMULAS = {
    "power": "a (1 + lag / t0)^(-b)",
    "exponential": "c + (a - c) exp(-lag / t0)",
    "logarithmic": "a - b log2(1 + lag / t0)",
}


def forgetting(numbers: Forgetting) -> list[Table]:
    """Curves of forgetting, and the forms fitted to them."""
    cells = sorted(
        numbers["cells"],
        key=lambda c: (c["parameters"], c["model"], c["text"], c["batch"], c["point"], c["views"]),
    )
    columns = [
        MODEL,
        Column("batch"),
        Column("kind", right=False),
        Column("last at", "part of training after which the last view comes"),
        Column("views"),
        Column("first", "bits above controls, mean over lags of up to one spacing"),
        Column("end", "bits above controls, mean over the last octave of the lag"),
        Column("half-life", "updates until half of the bits at first is lost for good"),
    ]
    curves = Table(
        columns,
        [_curve(cell) for cell in cells],
        "Bits of canaries above controls, at first and at the end, and half-lives in updates",
        key="–: too little to forget; inf: not lost within the run.",
        name="curves",
    )
    if not numbers["strong"]:
        return [curves]
    fitted = [cell for cell in cells if cell["errors"] is not None]
    rows = [
        [
            form,
            percent(score["rmse"]),
            percent(score["tail"]),
            str(score["best_rmse"]),
            str(score["best_tail"]),
            str(sum(bool(_bounds_of(cell, form)) for cell in fitted)),
        ]
        for form, score in numbers["forms"].items()
    ]
    forms = Table(
        [
            Column("form", right=False),
            Column("error"),
            Column("later lags"),
            Column("best"),
            Column("best later"),
            Column("on a bound"),
        ],
        rows,
        f"Forms of forgetting over {plural(len(fitted), 'curve')}: median errors, in parts of the "
        "bits at first",
        key="later lags: of a fit to the earlier ones; best: in how many curves the form has the "
        "smallest error; on a bound: in how many a constant was stopped there. "
        f"{'; '.join(f'{form}: {FORMULAS[form]}' for form in numbers['forms'])}.",
        name="forms",
    )
    return [curves, forms, *_on_bounds(fitted)]


def _bounds_of(cell: ForgettingCell, form: str) -> dict[str, str]:
    return (cell["errors"] or {})[form].get("on_bound", {})


def _on_bounds(fitted: list[ForgettingCell]) -> list[Table]:
    """The curves of which a form has a constant on a bound of its search, and which; none where no
    constant of any curve is."""
    rows = []
    for cell in fitted:
        by_form = [
            ", ".join(f"{name} {ENDS[side]}" for name, side in _bounds_of(cell, form).items())
            for form in FORMULAS
        ]
        if any(by_form):
            rows.append([*_curve(cell)[:5], *by_form])
    columns = [
        MODEL,
        Column("batch"),
        Column("kind", right=False),
        Column("last at"),
        Column("views"),
        *(Column({"logarithmic": "log"}.get(form, form), right=False) for form in FORMULAS),
    ]
    title = "Curves of forgetting whose constants lie on a bound of the search, by form"
    key = "min, max: the least, largest value that the search allows: read the curve instead."
    return [Table(columns, rows, title, key=key, name="bounds")] if rows else []


def _curve(cell: ForgettingCell) -> list[str]:
    half = "–"
    if cell["errors"] is not None:
        low, high = map(number, cell["half_life"]["interval"] or [None, None])
        half = f"{digits(cell['half_life']['value'])} {ends([low, high])}"
    return [
        cell["model"],
        str(cell["batch"]),
        SHORT_KINDS[cell["text"]],
        percent(cell["point"], 0),
        str(cell["views"]),
        digits(cell["first_bits"]["value"]),
        digits(cell["last_bits"]["value"]),
        half,
    ]
