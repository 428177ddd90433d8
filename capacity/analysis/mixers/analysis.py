"""Do the mixer, its convolutions, loops and maps change how many bits a parameter holds?

Strict bits per parameter of the total count, of random tokens that are more than a model can hold.
The recipe of every form is chosen at one size, by seeds that take no part in what follows
(`idle.tuning`), and frozen for all sizes. Lists of comparisons (`compared`), each corrected for
itself:

    first          every form beside the first of the study
    convolutions   every mixer with its convolutions beside the same without
    claims         what is published of these forms (`claims`)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from capacity import naming
from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.idle import tuning
from capacity.analysis.mixers import claims, compared
from capacity.analysis.mixers.reading import Forms, described, joined, with_convolutions
from capacity.analysis.thresholds import CORNER, DATA_LIMITED, RISING
from capacity.base.files import plain
from capacity.base.frames import Frame

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """No published number is judged; the rules by which runs count and forms are told apart."""
    rules = {
        "data_limited": DATA_LIMITED,
        "corner": CORNER,
        "rising": RISING,
        "fewest_rates": tuning.FEWEST,
        "p": compared.ALPHA,
        "as_many": claims.EQUAL,
    }
    return [], rules


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The comparisons of a study of mixers. ValueError, in one line, for a table that cannot be
    judged."""
    return analysed(study.runs, table, study.name, study.names, study.best_over)


def analysed(
    planned: Sequence[Config],
    table: Frame,
    name: str,
    names: naming.Names,
    best_over: Sequence[str],
) -> Finding:
    """`analyse` of planned runs and their table alone."""
    known, forms = described(planned, names, best_over)
    runs = joined(table, known)
    runs, choices = tuning.choose(runs, best_over)
    used = tuning.of_law(runs)
    full = used[used["class"] == "full"]
    if full.empty:
        raise ValueError(
            f"no run to compare: none of {len(runs)} measures capacity by a chosen recipe"
        )
    runs["in_law"] = runs.index.isin(full.index)
    by_condition = {
        str(mine.called.iloc[0]): mine for _, mine in full.groupby("condition", sort=True)
    }
    numbers = head("mixers", SCHEMA, name, _digest(runs)) | {
        "best_over": list(best_over),
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "first": next(iter(forms)),
        "sizes": _sizes(full),
        "forms": _forms(full, forms),
        "comparisons": {
            "first": _judged(by_condition, _beside_first(forms), choices),
            "convolutions": _judged(by_condition, with_convolutions(forms), choices),
        },
        "claims": [
            row | {"condition": called}
            for called, mine in by_condition.items()
            for row in claims.judged(mine, forms, choices)
        ],
        "choices": [
            {k: v for k, v in row.items() if k not in ("condition", "form")} for row in choices
        ],
        "flags": {
            what: sorted(used.run_id[used["class"] == what])
            for what in ("data_limited", "corner", "unlearned")
        },
        "rising": sorted(used.run_id[used.still_rising]),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["condition", "model", "p", "seed", "run_id"])
    shown = shown.drop(columns=["most", "shown_rising", "form", "system", "tables", "rows_read"])
    shown["recipe"] = [_recipe(best_over, values) for values in shown.recipe]
    shown["load"] = [f"{key} {value:g}" for key, value in shown.load]
    return Finding("mixers", "fit.json", plain(numbers), {"runs.csv": shown.drop(columns="amount")})


def _recipe(names: Sequence[str], values: Sequence[Any]) -> str:
    pairs = zip(names, values, strict=True)
    return ", ".join(f"{n.split('.')[-1]} {v:g}" for n, v in pairs if v is not None)


def _digest(runs: Frame) -> str:
    """SHA-256 of what the comparisons read."""
    columns = ["run_id", "seed", "status", "held", "most", "gain_last_tenth"]
    return hashlib.sha256(runs[columns].to_json(orient="values").encode()).hexdigest()


def _beside_first(forms: Forms) -> list[tuple[str, str]]:
    first, *others = forms
    return [(name, first) for name in others]


def _judged(
    by_condition: Mapping[str, Frame],
    pairs: Sequence[tuple[str, str]],
    choices: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """One list of comparisons under all conditions, corrected for all of them."""
    rows = [
        compared.of(a, b, mine, choices) | {"condition": called}
        for called, mine in by_condition.items()
        for a, b in pairs
    ]
    return compared.judged(rows)


def _sizes(full: Frame) -> list[str]:
    """Sizes in the order of their parameters."""
    return [str(size) for size in full.groupby("size").p.min().sort_values().index]


def _forms(full: Frame, forms: Forms) -> list[dict[str, Any]]:
    """What every form holds at every size: bits per parameter, mean and sd over seeds."""
    out = []
    order = {name: i for i, name in enumerate(forms)}
    for (_, name), mine in full.groupby(["condition", "system"], sort=False):
        sizes = []
        for size, here in mine.groupby("size", sort=False):
            by_seed = here.groupby(["load", "seed"]).rate.mean()
            sizes.append(
                {
                    "size": str(size),
                    "p": float(here.p.iloc[0]),
                    "seeds": int(here.seed.nunique()),
                    "bits": float(here.held.mean()),
                    "rate": float(by_seed.mean()),
                    "sd": float(by_seed.std()) if len(by_seed) > 1 else None,
                    "rising": int(here.still_rising.sum()),
                }
            )
        sizes.sort(key=lambda row: row["p"])
        form = {"form": str(name), "condition": str(mine.called.iloc[0]), "runs": len(mine)}
        out.append(form | {"sizes": sizes})
    return sorted(out, key=lambda row: (row["condition"], order[row["form"]]))
