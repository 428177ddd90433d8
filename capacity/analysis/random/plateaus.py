"""From the table of a study's runs to plateaus and capacity laws with intervals: one row per run
in, one dict out.

The replicate is the unit (model, seed), never the row: runs of one unit at several data sizes are
averaged first. Runs with too little data to fill the model are lower bounds and never enter as
data. Formulas and intervals are in `forms`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from capacity.analysis.random import flatness
from capacity.analysis.random import forms as capacity_forms
from capacity.analysis.table_checks import check_numbers, checked, rising
from capacity.analysis.thresholds import CORNER, DATA_LIMITED, RISING, STRICT_CORNER
from capacity.base.errors import nearest
from capacity.base.files import plain
from capacity.fitting import linear
from capacity.fitting.statistics import LEVEL

# A pandas.DataFrame or a column of one. Its annotations do not say which operations on a frame give
# a frame, so that a checker would object to correct code everywhere.
Frame: TypeAlias = Any

CONVENTIONS = {
    "strict": ("strict_bits", "strict_ceiling_bits"),
    "paper": ("paper_bits", "paper_ceiling_bits"),
}
COUNTS = {
    "total": "parameters_total",
    "paper": "parameters_paper",
    "non_embedding": "parameters_non_embedding",
}

REASONS = {
    "missing": "planned, no record",
    "failed": "ended without a result",
    "unlearned": "finished with no positive number of bits, so no logarithm; a training failure, "
    "not a capacity",
    "data_limited": f"bits / ceiling > {DATA_LIMITED}: the data ran out first; a lower bound, not "
    "data",
    "corner": f"ceiling / bits < {CORNER}: lowered by the corner of min(alpha P, H); a lower "
    "bound, not data",
}
NUMBERS = [
    "seed",
    *COUNTS.values(),
    "n_sequences",
    "entropy_bits",
    *(c for pair in CONVENTIONS.values() for c in pair),
    "gain_last_tenth",
    "steps",
    "tokens",
    "vocab_size",
    "seq_len",
]
# What the fit reads, hence what is hashed.
INPUTS = ["run_id", "model", "status", "precision", *NUMBERS]
# An interval of `linear.linear_law`: low and high of each number, dof, reason.
Ends = Mapping[str, Any]
PINNED = ["vocab_size", "seq_len", "precision"]
# May follow the model or the data, but one model on one data set has one.
RECIPE = ["steps", "lr", "batch_size"]


def check(table: Frame, *, allow_mixed: bool = False, pinned: Sequence[str] = PINNED) -> Frame:
    """The table sorted by run_id, without exact copies of rows, or ValueError with one line that
    says what is wrong. pinned: columns in which finished runs have to agree."""
    table = checked(table, INPUTS, NUMBERS, "fit")
    positive = ["entropy_bits", *COUNTS.values(), *(ceiling for _, ceiling in CONVENTIONS.values())]
    check_numbers(table, [*positive, *(bits for bits, _ in CONVENTIONS.values())], positive)
    done = table[table.status == "finished"]
    for model, group in table.groupby("model"):
        for column in COUNTS.values():
            if group[column].nunique() > 1:
                raise ValueError(
                    f"model {model} stands for several models: {column} is {_listed(group[column])}"
                )
    if not allow_mixed and (recipe := [c for c in RECIPE if c in done]):
        cells = done.groupby(["model", "seed", "n_sequences"])[recipe]
        several = cells.nunique() > 1
        for (model, seed, n), differ in several[several.any(axis=1)].iterrows():
            raise ValueError(
                f"{model}, seed {seed}, N = {n} was trained {cells.size()[model, seed, n]} times "
                f"with different {', '.join(c for c in recipe if differ[c])}: a capacity law needs "
                "one recipe per model and data set"
            )
    for column in pinned if not allow_mixed else []:
        if done[column].nunique() > 1:
            raise ValueError(
                f"finished runs mix {column} {_listed(done[column])}: one law needs one (or "
                f"allow_mixed)"
            )
    return table


def classify(table: Frame, convention: str = "strict") -> Frame:
    """What each run can say about capacity, as a Series of: missing, failed, unlearned,
    data_limited, corner, capacity_limited.

    Only `capacity_limited` runs measure a plateau. Whether a run was still rising is a separate
    question: see `rising`.
    """
    bits, ceiling = (
        table[c].astype(float) for c in CONVENTIONS[_known(convention, CONVENTIONS, "convention")]
    )
    kind = np.select(
        [bits <= 0, bits > DATA_LIMITED * ceiling, ceiling < CORNER * bits],
        ["unlearned", "data_limited", "corner"],
        "capacity_limited",
    )
    return pd.Series(
        np.where(table.status == "finished", kind, table.status), table.index, name="class"
    )


def units(table: Frame, convention: str = "strict", parameters: str = "total") -> Frame:
    """One row per (model, seed) that finished a run: its plateau in bits, or a lower bound where it
    has none.

    The plateau is the mean over the unit's capacity-limited runs; their maximum would be biased
    upward by noise (winner's curse). Without a capacity-limited run the most bits any run held is a
    lower bound, since capacity is a maximum over data (Morris et al., 2505.24832 v3, Def. 5).
    Columns: model, seed, parameters, bits, lower_bound, runs, fraction (mean bits / ceiling of
    those runs), rising (how many of them). Sorted by parameters, model, seed.
    """
    bits, ceiling = CONVENTIONS[_known(convention, CONVENTIONS, "convention")]
    count = COUNTS[_known(parameters, COUNTS, "parameters")]
    kind = classify(table, convention)
    held, most = table[bits].astype(float), table[ceiling].astype(float)
    runs = pd.DataFrame(
        {
            "model": table.model,
            "seed": table.seed,
            "parameters": table[count],
            "bits": held,
            "fraction": held / most,
            "rising": rising(table),
            "runs": 1,
        }
    )
    key = ["model", "seed"]

    def collect(chosen: Frame, how: str) -> Frame:
        return chosen.groupby(key).agg(
            parameters=("parameters", "first"),
            bits=("bits", how),
            runs=("runs", "sum"),
            fraction=("fraction", "mean"),
            rising=("rising", "sum"),
        )

    measured = collect(runs[kind == "capacity_limited"], "mean").assign(lower_bound=False)
    bound = collect(runs[kind.isin(["data_limited", "corner"])], "max").assign(lower_bound=True)
    both = pd.concat([measured, bound[~bound.index.isin(measured.index)]]).reset_index()
    both = both.astype({"parameters": float, "bits": float, "lower_bound": bool})
    return both.sort_values(["parameters", "model", "seed"], ignore_index=True)


def plateaus(table: Frame, convention: str = "strict", parameters: str = "total") -> Frame:
    """One row per model, also those without a result (NaN): mean over seeds of the unit plateaus,
    and what it rests on.

    Columns: model, parameters, bits, bits_sd, bits_per_parameter, bits_per_parameter_sd (sd over
    seeds, NaN for one), lower_bound (no seed has a plateau; bits is then the mean of the seeds'
    bounds), seeds and runs behind bits, seeds_bounded (seeds of a measured model with only a
    bound), fraction, and how many of the model's runs were finished, data_limited, corner,
    unlearned, rising, failed, missing.
    """
    replicates = units(table, convention, parameters)
    kind, up = classify(table, convention), rising(table)
    rows = []
    for model, runs in table.groupby("model"):
        mine = replicates[replicates.model == model]
        used = mine[~mine.lower_bound] if (~mine.lower_bound).any() else mine
        p, c = float(runs[COUNTS[parameters]].dropna().median()), used.bits
        rows.append(
            {
                "model": model,
                "parameters": p,
                "bits": c.mean(),
                "bits_sd": c.std(),
                "bits_per_parameter": c.mean() / p,
                "bits_per_parameter_sd": c.std() / p,
                "lower_bound": bool(len(used) and used.lower_bound.all()),
                "seeds": len(used),
                "runs": int(used.runs.sum()),
                "seeds_bounded": len(mine) - len(used),
                "fraction": used.fraction.mean(),
                "finished": int((runs.status == "finished").sum()),
                "rising": int(up[runs.index].sum()),
            }
            | {name: int((kind[runs.index] == name).sum()) for name in REASONS}
        )
    return pd.DataFrame(rows).sort_values(["parameters", "model"], ignore_index=True)


def estimate(replicates: Frame, *, n_boot: int = 4000, seed: int = 0) -> dict[str, Any]:
    """The laws over models from `units`: alpha (headline), slope, power, bounds_above_line,
    other_estimators.

    Every estimated number is a dict: value, unit, interval_seeds and interval_models (each with
    ends, None where there is none, and then a reason), and quote, the name of the wider of the two.

    Each model counts equally in all of them. alpha is the geometric mean over models of the seeds'
    geometric mean of C / P; units with only a bound enter it as right-censored values of a
    lognormal (`linear.censored_mean`), which changes nothing while the bounds lie below the line.
    The other estimators use measured units only.
    """
    data, bound = replicates[~replicates.lower_bound], replicates[replicates.lower_bound]
    if data.empty:
        below = np.log(bound.bits / bound.parameters).groupby(bound.model).mean()
        why = "every model has only lower bounds: no run was over-filled enough to measure capacity"
        return {
            "alpha": None,
            "slope": None,
            "power": None,
            "reason": why,
            "alpha_at_least": float(np.exp(below.mean())) if len(below) else None,
        }
    names = list(dict.fromkeys(data.model))
    model = data.model.map({model: i for i, model in enumerate(names)}).to_numpy()
    p = data.groupby("model", sort=False).parameters.first().to_numpy()
    ratio = (data.bits / data.parameters).to_numpy()
    k = np.bincount(model)

    def law(y: np.ndarray, design: np.ndarray) -> tuple[np.ndarray, Ends, Ends]:
        return linear.linear_law(y, model, design, draws=n_boot, seed=seed)

    ones = np.ones(len(p))
    beta, by_seed, by_model = law(np.log(ratio), ones[:, None])
    log_bound, weight = np.log(bound.bits / bound.parameters).to_numpy(), 1.0 / k[model]
    # A bound weighs as much as a measured seed of its model, so that bounds which say nothing
    # change nothing.
    siblings = data.model.value_counts().reindex(bound.model).to_numpy(float)
    siblings = np.where(
        np.isnan(siblings), bound.model.map(bound.model.value_counts()).to_numpy(float), siblings
    )
    log_alpha, sd = linear.censored_mean(np.log(ratio), weight, log_bound, 1.0 / siblings)

    def carry(end: float) -> float:
        return np.exp(
            linear.carry_censored(float(end), float(weight.sum()), sd, log_bound, 1.0 / siblings)
        )

    alpha = {
        "formula": "C = alpha * P",
        "estimator": "geometric mean over models, right-censored where only bounded",
        **_number(math.exp(log_alpha), "bits per parameter", by_seed, by_model, 0, carry),
        "without_bounds": math.exp(float(beta[0])),
    }
    slope: dict[str, Any] = {
        "formula": "C = c0 + alpha1 * P",
        "estimator": "least squares of C / P on 1 / P and 1 (relative weights)",
    }
    line: dict[str, Any] = {
        "formula": "C = a * P^gamma",
        "estimator": "least squares of log C on log P (natural logs)",
    }
    if len(set(p)) < 2:
        why = {"reason": "one parameter count only: no slope over model size"}
        slope, line = slope | why, line | why
    else:
        unit_p = float(np.median(p))  # scales 1 / P, so that the two columns are of one size
        beta, by_seed, by_model = law(ratio, np.column_stack([unit_p / p, ones]))
        slope["c0"] = _number(
            beta[0] * unit_p, "bits", by_seed, by_model, 0, lambda end: end * unit_p
        )
        slope["alpha1"] = _number(beta[1], "bits per parameter", by_seed, by_model, 1, float)
        beta, by_seed, by_model = law(np.log(ratio), np.column_stack([ones, np.log(p)]))
        line["a"] = _number(math.exp(beta[0]), "bits at P = 1", by_seed, by_model, 0, np.exp)
        line["gamma"] = _number(1 + beta[1], "exponent", by_seed, by_model, 1, lambda end: 1 + end)
    c = np.exp(np.bincount(model, np.log(data.bits)) / k)
    over = bound[bound.bits > math.exp(log_alpha) * bound.parameters]
    above = [
        {
            "model": u.model,
            "seed": u.seed,
            "bits": u.bits,
            "percent": 100 * (u.bits / (math.exp(log_alpha) * u.parameters) - 1),
        }
        for u in over.itertuples()
    ]
    return {
        "alpha": alpha,
        "slope": slope,
        "power": line,
        "reason": None,
        "bounds_above_line": above,
        "other_estimators": linear.named_estimates(p, c),
    }


def fit_laws(
    table: Frame,
    convention: str = "strict",
    parameters: str = "total",
    *,
    n_boot: int = 4000,
    seed: int = 0,
    allow_mixed: bool = False,
) -> dict[str, Any]:
    """Everything that `fit.json` states about one bit convention and one parameter count, as a
    JSON-able dict.

    Raises ValueError, in one line, on an unknown convention or count, on a table without a finished
    run, on a mixed vocabulary, sequence length or precision (unless allow_mixed), and on a name
    that stands for two models.
    """
    bits, ceiling = CONVENTIONS[_known(convention, CONVENTIONS, "convention")]
    count = COUNTS[_known(parameters, COUNTS, "parameters")]
    table = check(table, allow_mixed=allow_mixed)
    kind, up, replicates = (
        classify(table, convention),
        rising(table),
        units(table, convention, parameters),
    )
    done = table[(table.status == "finished") & (kind != "unlearned")]
    if done.empty:
        raise ValueError(
            f"no run to fit: none of {len(table)} finished with a positive number of bits"
        )
    used = table[kind == "capacity_limited"]
    laws = estimate(replicates, n_boot=n_boot, seed=seed)
    return plain(
        {
            "convention": convention,
            "parameters": parameters,
            "symbols": {
                "C": f"capacity in bits, {convention} convention",
                "P": f"parameters, {parameters} count",
                "c0": "bits",
                "alpha": "bits per parameter",
            },
            **laws,
            "forms": capacity_forms.compared(
                replicates,
                pd.DataFrame(
                    {
                        "parameters": done[count],
                        "ceiling": done[ceiling],
                        "bits": done[bits],
                        "model": done.model,
                        "place": done.model + " " + done.n_sequences.astype(str),
                        "over": kind[done.index].isin(["capacity_limited", "corner"]),
                    }
                ),
                {"bits": convention, "parameters": parameters},
                resamples=n_boot,
                seed=seed,
            ),
            "flatness": flatness.of(used, bits, count),
            "sensitivity": sensitivity(table, convention, parameters) if len(used) else None,
            "plateaus": plateaus(table, convention, parameters).to_dict("records"),
            "units": replicates.to_dict("records"),
            "n": {
                "rows": len(table),
                "finished": int((table.status == "finished").sum()),
                "used": len(used),
                "models": table.model.nunique(),
                "models_measured": used.model.nunique(),
                "seeds": used.seed.nunique(),
                "units_measured": int((~replicates.lower_bound).sum()),
                "units_bounded": int(replicates.lower_bound.sum()),
            },
            "dropped": {
                name: {"why": why, "runs": sorted(table.run_id[kind == name])}
                for name, why in REASONS.items()
            },
            "rising": sorted(table.run_id[up]),
            "near_corner": sorted(used.run_id[used[ceiling] < STRICT_CORNER * used[bits]]),
            "above_ceiling": sorted(done.run_id[done[bits] > 1.005 * done[ceiling]]),
            "validity": validity(used if len(used) else done, count, bits, ceiling),
            "cuts": {"data_limited": DATA_LIMITED, "corner": CORNER, "rising": RISING},
            "bootstrap": {
                "resamples": n_boot,
                "seed": seed,
                "level": LEVEL,
                "method": "studentized, smoothed residuals",
                "replicate": {"interval_seeds": "(model, seed)", "interval_models": "model"},
            },
        }
    )


def sensitivity(
    table: Frame, convention: str = "strict", parameters: str = "total"
) -> dict[str, Any]:
    """The uncensored alpha (and gamma by count) under other choices, None where nothing is left;
    see the constants."""
    bits, ceiling = CONVENTIONS[convention]
    runs = table[classify(table, convention) == "capacity_limited"]

    def estimates(
        chosen: Frame, count: str = parameters, how: str = "mean"
    ) -> Mapping[str, float | None]:
        if chosen.empty:
            return {"geometric_mean": None, "log_log_exponent": None}
        by_replicate = chosen.groupby(["model", "seed"]).agg(
            c=(bits, how), p=(COUNTS[count], "first")
        )
        by_model = np.log(by_replicate.astype(float)).groupby("model").mean()
        return linear.named_estimates(np.exp(by_model.p), np.exp(by_model.c))

    return {
        f"corner_cut_{STRICT_CORNER}": estimates(runs[runs[ceiling] >= STRICT_CORNER * runs[bits]])[
            "geometric_mean"
        ],
        "levelled_off_only": estimates(runs[~rising(runs)])["geometric_mean"],
        "maximum_over_data_sizes": estimates(runs, how="max")["geometric_mean"],
        "by_count": {
            name: {"alpha": e["geometric_mean"], "gamma": e["log_log_exponent"]}
            for name in COUNTS
            for e in [estimates(runs, name)]
        },
    }


def validity(runs: Frame, count: str, bits: str, ceiling: str) -> dict[str, Any]:
    """Smallest and largest value, over the runs behind the law, of everything it must not be
    carried beyond."""
    ranges = {
        "parameters": runs[count],
        "data_bits_per_parameter": runs.entropy_bits / runs[count],
        "ceiling_over_bits": runs[ceiling] / runs[bits],
        "n_sequences": runs.n_sequences,
        "steps": runs.steps,
        "tokens": runs.tokens,
    }
    span = {
        name: [float(v.astype(float).min()), float(v.astype(float).max())]
        for name, v in ranges.items()
    }
    return span | {column: sorted(set(runs[column].dropna())) for column in PINNED}


def inputs_hash(table: Frame) -> str:
    """SHA-256 over what the fit reads, one JSON row per run sorted by run_id: row order and other
    columns are free."""
    rows = []
    for row in table.sort_values("run_id")[INPUTS].to_dict("records"):
        rows.append(
            [
                None if pd.isna(row[c]) else float(row[c]) if c in NUMBERS else str(row[c])
                for c in INPUTS
            ]
        )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _number(
    value: float,
    unit: str,
    by_seed: Ends,
    by_model: Ends,
    i: int,
    to_unit: Callable[[float], float],
) -> dict[str, Any]:
    """One estimated number with both intervals in its own unit, and which of them to quote: the
    wider."""
    out: dict[str, Any] = {"value": float(value), "unit": unit}
    width: dict[str, float] = {}
    for name, part in (("interval_seeds", by_seed), ("interval_models", by_model)):
        out[name] = {"ends": None, "dof": part["dof"], "reason": part["reason"]}
        if part["low"] is None:
            continue
        with np.errstate(over="ignore"):
            ends = [float(to_unit(part["low"][i])), float(to_unit(part["high"][i]))]
        if np.isfinite(ends).all():
            out[name]["ends"], width[name] = ends, ends[1] - ends[0]
        else:
            out[name]["reason"] = "no finite limit: the scatter is too large for so few replicates"
    return out | {"quote": max(width, key=lambda name: width[name]) if width else None}


def _known(name: str, allowed: Collection[str], what: str) -> str:
    if name in allowed:
        return name
    near = nearest(str(name), list(allowed))
    raise ValueError(f"unknown {what} {name!r}: use one of {', '.join(allowed)}{near}")


def _listed(values: Frame) -> str:
    return ", ".join(
        f"{v:g}" if isinstance(v, float) else str(v) for v in sorted(set(values.dropna()))
    )
