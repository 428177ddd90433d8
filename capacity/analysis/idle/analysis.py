"""What an idle parameter is worth beside an active one: C = alpha (P_active + kappa P_idle).

C is the bits that a model holds of more data than it can hold, P_active the parameters that take
part in what is computed of one token, and P_idle all others: experts that it does not visit, rows
of tables that it does not read. One law per system and condition (`reading`), fitted to its runs
and to those of the plain models of the same form, which fix alpha: relative noise, intervals over
models (`fitting.intervals`, pooled). The form is not a published law; what it says of experts
follows by arithmetic from bits per total parameter (arXiv 2404.05405, section 9).

kappa is withheld where it would say something else than what a parameter is worth: where rates were
not tuned or the best lies at the edge of what was tried, where a run was still rising, where the
data ended before the model was full, and where rows of a table were never read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import labels, planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.idle import allocation, signs, tuning
from capacity.analysis.idle.reading import PLAIN, described, joined, system
from capacity.analysis.thresholds import CORNER, DATA_LIMITED, RISING
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.base.words import digits, percent, plural
from capacity.fitting import bounds, intervals
from capacity.fitting import fit as estimate
from capacity.fitting.statistics import t_interval
from capacity.published import values as published

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 1
FORM = "capacity_idle"
UNREAD = 0.01  # share of the rows of a table above which kappa is that of a smaller table
# Between 100 and 1000 exposures, the two budgets of arXiv 2404.05405, on a logarithmic axis.
MANY = 316.0
EXPERTS = {True: "physics33/kappa_experts_1000", False: "physics33/kappa_experts_100"}


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the verdicts of such a study will be set beside, and the rules that decide which runs
    count."""
    ids = dict.fromkeys(filter(None, map(_published, study.runs)))
    rules = {
        "data_limited": DATA_LIMITED,
        "corner": CORNER,
        "rising": RISING,
        "unread_rows": UNREAD,
        "fewest_rates": tuning.FEWEST,
    }
    return [published.get(id).expected() for id in ids], rules


def _published(run: Config) -> str:
    """What is published of experts; nothing is of other systems or of random data."""
    if labels.family(run) != "facts" or system(run) != "experts":
        return ""
    return EXPERTS[run.exposures >= MANY]


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The laws of a study of parts. ValueError, in one line, for a table that cannot be judged."""
    return analysed(study.runs, table, study.name, study.best_over)


def analysed(
    planned: Sequence[Config], table: Frame, name: str, best_over: Sequence[str]
) -> Finding:
    """`analyse` of planned runs and their table alone."""
    family = labels.family(planned[0])
    runs = joined(table, described(planned, best_over), family)
    if not (runs["class"].isin(["full", "corner", "data_limited"])).any():
        raise ValueError(
            f"no run to fit: none of {len(runs)} finished with a positive number of bits"
        )
    runs, choices = tuning.choose(runs, best_over)
    used = tuning.of_law(runs)
    full = used[used["class"] == "full"]
    runs["in_law"] = runs.index.isin(full.index)
    laws = [
        _law(runs, used, choices, key)
        for key in sorted(set(zip(runs.condition, runs.form, runs.system, strict=True)))
        if key[2] != PLAIN
    ]
    numbers = head("idle", SCHEMA, name, _digest(runs)) | {
        "family": family,
        "best_over": list(best_over),
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "laws": laws,
        "models": _models(runs, full),
        "signs": signs.judged(full, choices, _not_at_the_end),
        "allocation": allocation.curves(full, choices),
        "choices": [{k: v for k, v in row.items() if k not in ("condition", "form")}
                    for row in choices],
        "unread_unknown": sorted(runs.run_id[runs.in_law & runs.tables & runs.rows_read.isna()]),
        "flags": {what: sorted(used.run_id[used["class"] == what])
                  for what in ("data_limited", "corner", "unlearned")},
        "rising": sorted(used.run_id[used.still_rising]),
        **planned_runs.unfinished(runs),
    }  # fmt: skip
    ids = dict.fromkeys(filter(None, map(_published, planned)))
    numbers["verdicts"] = [_verdict(id, planned, laws, runs) for id in ids]
    order = ["condition", "form", "system", "p", "model", "seed", "run_id"]
    shown = runs.sort_values(order).drop(columns=["most", "shown_rising", "idle_by"])
    shown["recipe"] = [_recipe(best_over, values) for values in shown.recipe]
    shown["amount"] = [f"{key} {value:g}" for key, value in shown.amount]
    return Finding("idle", "fit.json", plain(numbers), {"runs.csv": shown})


def _recipe(names: Sequence[str], values: Sequence[Any]) -> str:
    pairs = zip(names, values, strict=True)
    return ", ".join(f"{n.split('.')[-1]} {v:g}" for n, v in pairs if v is not None)


def _digest(runs: Frame) -> str:
    """SHA-256 of what the laws read."""
    columns = ["run_id", "seed", "status", "held", "most", "gain_last_tenth", "rows_read"]
    return hashlib.sha256(runs[columns].to_json(orient="values").encode()).hexdigest()


def _law(
    runs: Frame, used: Frame, choices: Sequence[dict[str, Any]], key: tuple[int, int, str]
) -> dict[str, Any]:
    """The law of one system: alpha, kappa and alpha kappa with intervals, and why kappa is
    withheld."""
    condition, form, system = key
    same = (used.condition == condition) & (used.form == form)
    mine = used[same & used.system.isin([PLAIN, system])]
    full = mine[mine["class"] == "full"]
    first = runs[(runs.condition == condition) & (runs.system == system)].iloc[0]
    law: dict[str, Any] = {
        "system": system,
        "condition": first.called,
        "runs": len(full),
        "models": sorted(set(full.model)),
        "reason": None,
        "withheld": [],
    }
    dense, parts = full[full.system == PLAIN], full[full.system == system]
    if dense.empty or parts.empty:
        lacks = "the plain model of the same form" if dense.empty else system
        asked = (runs.condition == condition) & (runs.form == form)
        asked &= runs.system == (PLAIN if dense.empty else system)
        why = "none finished full of data, by a recipe that was chosen"
        if not asked.any():
            why = "none is planned"
        elif not (runs.status[asked] == "finished").any():
            why = "none has finished"
        return law | {"reason": f"no run of {lacks} measures capacity: {why}"}
    if full.model.nunique() < 3:
        return law | {"reason": f"{full.model.nunique()} models; an interval over models needs 3"}
    points = estimate.Points(
        {
            "parameters_active": full.p_active.to_numpy(float),
            "parameters_idle": full.p_idle.to_numpy(float),
        },
        full.held.to_numpy(float),
        cluster=full.model.to_numpy(str),
    )
    fitted = estimate.fit(FORM, points)
    ends = intervals.of(
        fitted, derived={"per_idle": (lambda theta: theta[0] * theta[1], "bits per parameter")}
    )
    for name in ("alpha", "kappa", "per_idle"):
        low, high = ends[name]["low"], ends[name]["high"]
        law[name] = {
            "value": ends[name]["value"],
            "interval": None if low is None or high is None else [low, high],
            "why": ends[name]["reason"],
            "dof": ends[name]["dof"],
        }
    kappa = law["kappa"]["interval"]
    if kappa is None or kappa[0] <= 0:  # formed in its logarithm, which has no 0
        law["per_idle"] |= {"interval": None, "why": "kappa is not shown to be above 0"}
    law["rms_percent"] = 100 * float(np.sqrt(np.mean(fitted.residuals() ** 2)))
    law["bounds"] = bounds.told(fitted, ends)
    law["warnings"] = list(fitted.warnings)
    law["idle_over_active"] = [float(f(parts.p_idle / parts.p_active)) for f in (min, max)]
    law["chose"] = sorted(set(full.model[full.chose]))
    rest = runs[(runs.condition == condition) & (runs.form == form) & ~runs.chosen & ~runs.chose]
    rest = rest[(rest.status == "finished") & rest.model.isin(law["chose"])]
    law["other_recipes"] = sorted(set(rest.model))
    law["withheld"] = [
        *tuning.reasons(choices, condition, form, PLAIN, system),
        *_not_at_the_end(full),
    ]
    return law


def _not_at_the_end(full: Frame) -> list[str]:
    """Why what the runs of a law hold is not their capacity."""
    out = []
    if rising := int(full.shown_rising.sum()):
        models = ", ".join(sorted(set(full.model[full.shown_rising])))
        out.append(f"{plural(rising, 'run')} still rising by over {RISING:.0%} ({models})")
    for model, read in full.groupby("model").rows_read.min().items():
        if read < 1 - UNREAD:
            out.append(f"{model}: {percent(1 - read)} of the rows of a table are never read")
    return out


def told(law: Mapping[str, Any]) -> str:
    """What kappa says, in a word: reason (no law), withheld, unknown (no interval), less, more or
    like (an idle parameter beside an active one), nothing (0 within the interval)."""
    if law["reason"]:
        return "reason"
    if law["withheld"]:
        return "withheld"
    ends = law["kappa"]["interval"]
    if ends is None:
        return "unknown"
    if ends[0] <= 0 <= ends[1]:
        return "both" if ends[1] >= 1 else "nothing"
    if ends[1] < 1:
        return "less"
    return "more" if ends[0] > 1 else "like"


def _models(runs: Frame, full: Frame) -> list[dict[str, Any]]:
    """What every model holds by the chosen recipe: means over seeds, and what it adds to the plain
    model of its size, seed by seed, per parameter that it has more (95% by t over seeds)."""
    out = []
    keys = ["condition", "form", "model"]
    for (condition, form, model), mine in full.groupby(keys, sort=False):
        first = mine.iloc[0]
        same = (full.condition == condition) & (full.form == form) & (full["size"] == first["size"])
        beside = full[same & (full.system == PLAIN)]
        by_seed = mine.groupby(["amount", "seed"]).held.mean()
        row = {
            "model": model,
            "system": first.system,
            "condition": first.called,
            "p": first.p,
            "p_active": first.p_active,
            "p_idle": first.p_idle,
            "seeds": int(mine.seed.nunique()),
            "runs": len(mine),
            "bits": float(mine.held.mean()),
            "sd": float(by_seed.std()) if len(by_seed) > 1 else None,
            "per_total": float(mine.held.mean() / first.p),
            "per_active": float(mine.held.mean() / first.p_active),
            "rising": int(mine.still_rising.sum()),
            "rows_read": None if mine.rows_read.isna().any() else float(mine.rows_read.min()),
            "added": _added(mine, beside) if first.system != PLAIN else None,
        }
        out.append(row)
    return sorted(out, key=lambda row: (row["condition"], row["system"] != PLAIN, row["system"],
                                        row["p"]))  # fmt: skip


def _added(mine: Frame, beside: Frame) -> dict[str, Any] | None:
    """Bits more than the plain model of the same size per parameter more. None without one, or
    where the system has no more parameters."""
    if beside.empty or not mine.p.iloc[0] > beside.p.iloc[0]:
        return None
    more = float(mine.p.iloc[0] - beside.p.iloc[0])
    plain_bits = beside.groupby("seed").held.mean()
    bits = mine.groupby("seed").held.mean()
    seeds = sorted(set(bits.index) & set(plain_bits.index))
    if not seeds:
        return None
    differences = np.array([(bits[s] - plain_bits[s]) / more for s in seeds])
    low, high = t_interval(differences)
    return {
        "value": float(differences.mean()),
        "interval": None if np.isnan(low) else [float(low), float(high)],
        "parameters": more,
        "seeds": len(seeds),
    }


def _verdict(
    id: str, planned: Sequence[Config], laws: Sequence[Mapping[str, Any]], runs: Frame
) -> dict[str, Any]:
    """kappa of experts beside the published one of so many exposures; several conditions are not
    one number."""
    value = published.get(id)
    ids = {run.run_id for run in planned if _published(run) == id}
    there = runs[runs.run_id.isin(ids)]
    mine = [
        law for law in laws if law["system"] == "experts" and law["condition"] in set(there.called)
    ]
    measured: dict[str, Any] = {"value": None, "interval": None}
    if len(mine) != 1:
        measured["lacks"] = (
            f"{len(mine)} conditions have a kappa of experts, which are not one number"
        )
    elif mine[0]["reason"] or mine[0]["withheld"]:
        measured["lacks"] = mine[0]["reason"] or "; ".join(mine[0]["withheld"])
    else:
        kappa = mine[0]["kappa"]
        measured |= {
            "value": kappa["value"],
            "interval": kappa["interval"],
            "why": kappa["why"] or "",
            "dof": kappa["dof"],
            "spread": "absolute",
            "method": "over models, pooled",
            "knows": ["models", "training (seeds)"],
            "remarks": [f"idle / active {digits(mine[0]['idle_over_active'][1])}"],
        }
    scale = published.scale_of(value, there.p.tolist())
    return published.verdict(value.expected(), measured, scale=scale)
