"""A study of random data: both conventions fitted, beside the values of Morris et al."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.random.plateaus import (
    Frame,
    check,
    classify,
    fit_laws,
    inputs_hash,
    plateaus,
)
from capacity.analysis.table_checks import rising
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.files import plain
from capacity.base.words import count, span
from capacity.fitting.statistics import student, t_interval
from capacity.published import values as published

if TYPE_CHECKING:
    from capacity.study import Study

SCHEMA = 3  # `analysis.convert` says what changed

# What is set beside values of Morris et al. (arXiv 2505.24832 v3), by the name of the estimator:
# words, and by precision the id of the published value.
COMPARED = {
    "mean_of_ratios": (
        "mean over models of bits / parameter",
        {"bf16": "morris/mean_bf16", "fp32": "morris/mean_fp32"},
    ),
    "with_intercept": ("slope over models", {"bf16": "morris/slope_bf16"}),
}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The laws of a study in both conventions; table: a row per planned run, see
    `plateaus.fit_laws`, whose ValueErrors pass through."""
    return analysed(table, study.name, bootstraps=options.bootstraps, seed=options.seed)


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the verdicts of such a study will be set beside, and the rules that decide which runs
    count."""
    trained = {run.train.precision for run in study.runs}
    ids = [ids.get(*trained) for _, ids in COMPARED.values()] if len(trained) == 1 else []
    values = [published.get(id).expected() for id in ids if id]
    return values, {"data_limited": DATA_LIMITED, "corner": CORNER}


def analysed(
    table: pd.DataFrame,
    name: str,
    *,
    bootstraps: int = 4000,
    seed: int = 0,
    allow_mixed: bool = False,
) -> Finding:
    """`analyse` of a table alone; allow_mixed: runs of several recipes in one law."""
    table = check(table, allow_mixed=allow_mixed)
    conventions = (("strict", "total"), ("paper", "paper"))
    fits = {
        bits: fit_laws(table, bits, p, n_boot=bootstraps, seed=seed, allow_mixed=allow_mixed)
        for bits, p in conventions
    }
    runs = table.assign(
        class_strict=classify(table, "strict"),
        class_paper=classify(table, "paper"),
        still_rising=rising(table),
    )
    runs = runs.sort_values(["parameters_total", "model", "n_sequences", "seed", "run_id"])
    models = pd.concat(
        [plateaus(table, bits, p).assign(convention=bits, count=p) for bits, p in conventions]
    )
    numbers = head("random", SCHEMA, name, inputs_hash(table)) | fits
    numbers["verdicts"] = verdicts(fits["paper"])
    tables = {
        "plateaus.csv": models[["convention", "count", *models.columns[:-2]]],
        "runs.csv": runs,
    }
    return Finding("random", "fit.json", plain(numbers), tables)


def verdicts(paper: Mapping[str, Any]) -> list[dict]:
    """Estimates of paper bits per paper parameter beside the published ones of the same precision,
    rows of `published.verdict`. Intervals are Student's t over models, each of which counts once.
    ValueError for numbers of another convention, which no published value compares with."""
    if (paper["convention"], paper["parameters"]) != ("paper", "paper"):
        raise ValueError(
            "published values compare with convention 'paper' and parameters 'paper' only, not "
            f"with {paper['convention']!r} and {paper['parameters']!r}"
        )
    precision = paper["validity"]["precision"]
    units = [replicate for replicate in paper["units"] if not replicate["lower_bound"]]
    models: Frame = pd.DataFrame(units, columns=["model", "parameters", "bits"])
    models = models.assign(bits=np.log(models.bits.astype(float)))
    models = models.groupby("model", sort=False).mean()
    p, c, out = models.parameters.to_numpy(float), np.exp(models.bits.to_numpy()), []
    remarks = [f"here: {scale(paper)}"]
    for key, (_, ids) in COMPARED.items():
        known = [ids[one] for one in precision if one in ids and len(precision) == 1]
        for value in map(published.get, known):
            validity = paper["validity"]
            at = published.scale_of(value, validity["parameters"], validity["tokens"][1])
            measured = _measured(key, p, c, remarks)
            out.append(published.verdict(value.expected(), measured, scale=at))
    return out


def scale(paper: Mapping[str, Any]) -> str:
    """The runs of a fit in words: sizes, vocabulary, length, precision, tokens."""
    here = paper["validity"]
    return (
        f"P {span(*here['parameters'])}, V {_several(here['vocab_size'])}, "
        f"S {_several(here['seq_len'])}, {_several(here['precision'])}, at most "
        f"{count(here['tokens'][1])} tokens per run"
    )


def _measured(key: str, p: np.ndarray, c: np.ndarray, remarks: Sequence[str]) -> dict[str, Any]:
    """An estimator over models with its interval, as `published.decide` takes it. p, c: parameters
    and capacity of each model."""
    if not len(p):
        return {"value": None, "interval": None, "lacks": "no model was measured"}
    if key == "mean_of_ratios":
        low, high = t_interval(c / p)
        value, interval = float(np.mean(c / p)), None if np.isnan(low) else [low, high]
    elif len(set(p)) < 3:
        lacks = f"{len(set(p))} sizes leave no scatter about a line"
        return {"value": None, "interval": None, "lacks": lacks}
    else:
        from scipy.stats import linregress

        line: Any = linregress(p, c)
        half = float(student(len(p) - 2) * line.stderr)
        value, interval = float(line.slope), [line.slope - half, line.slope + half]
    return {
        "value": value,
        "interval": interval,
        "why": "one model leaves no scatter of models",
        "method": "Student's t over models",
        "dof": len(p) - (1.0 if key == "mean_of_ratios" else 2.0),
        "spread": "proportional",
        "knows": ["models", "training (seeds)"],
        "remarks": list(remarks),
    }


def _several(values: Sequence[object]) -> str:
    return "/".join(map(str, values))
