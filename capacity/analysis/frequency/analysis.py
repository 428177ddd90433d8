"""What a model answers about a person by the times that it saw them, and what skew costs.

    X = sigma(a + b log2 n + c log2 P)                              `extraction_logistic`

n counts the texts of a person that were shown, P parameters; X is the accuracy beyond a guesser who
knows how often each value was shown, (accuracy - guess) / (1 - guess), because a class that is seen
often makes its own values common. The form is that of questions answered against documents about
an entity and model size (arXiv 2211.08411, whose lines are linear in log P where documents are
few), fitted to all classes of all skewed runs by least squares; intervals are those of the
jackknife over replicates (one seed of every size) with Student's t. c / b says how many doublings
of exposures a doubling of parameters is worth.

The order of classes within runs is judged by a permutation test (`fitting.trends`), and what skew
does to the bits of all people by pairs of runs of one size and seed (`fitting.ratios`), with the
exact sign-flip test: at or below 5% an order counts as shown.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.frequency.reading import EVEN, described, joined, points
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.base.words import plural
from capacity.fitting import fit as estimate
from capacity.fitting import ratios, trends
from capacity.fitting.forms import form
from capacity.fitting.statistics import ALPHA, student

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 2
FORM = "extraction_logistic"
FEWEST = 3  # replicates, of which a jackknife needs as many


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """No published constant is in these units; the level of p decides which orders count."""
    return [], {"order": ALPHA}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The laws of a study of frequency. ValueError, in one line, for a table that cannot be
    judged."""
    return analysed(study.runs, table, study.name)


def analysed(planned: Sequence[Config], table: Frame, name: str) -> Finding:
    """`analyse` of planned runs and their table alone."""
    runs = joined(table, described(planned))
    classes = points(runs)
    if classes.empty:
        raise ValueError(f"no run to fit: none of {len(runs)} finished")
    guess = classes.guess.astype(float)  # unknown where a record does not say it
    classes["beyond"] = (classes.accuracy - guess) / (1 - guess).clip(lower=1e-9)
    laws, orders, costs = [], [], []
    for system, mine in classes.groupby("system", sort=True):
        skew = mine[(mine.rates != EVEN) & (mine.tier > 0) & mine.beyond.notna()]
        laws.append({"system": system, **_law(skew)})
        orders.append({"system": system, **_order(skew)})
        costs += _costs(str(system), runs[runs.system == system])
    numbers = head("frequency", SCHEMA, name, _digest(classes)) | {
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "laws": laws,
        "orders": orders,
        "skew": costs,
        "classes": _means(classes),
        "rising": sorted(runs.run_id[runs.still_rising]),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["system", "parameters", "rates", "seed", "run_id"])
    ordered = classes.sort_values(["system", "parameters", "rates", "seed", "tier"])
    return Finding("frequency", "fit.json", plain(numbers), {"runs.csv": shown,
                                                            "points.csv": ordered})  # fmt: skip


def _digest(classes: Frame) -> str:
    """SHA-256 of what the laws read."""
    rows = classes.sort_values(["run_id", "tier"])[["run_id", "tier", "seen", "accuracy", "bits"]]
    return hashlib.sha256(rows.to_json(orient="values").encode()).hexdigest()


# --- the law


def _law(skew: Frame) -> dict[str, Any]:
    """a, b, c and c / b with intervals, or the reason against it."""
    law: dict[str, Any] = {"reason": None, "points": len(skew), "sizes": [], "replicates": 0}
    if skew.empty:
        return law | {"reason": "no run saw people at different rates"}
    seeds = sorted(set(skew.seed))
    law |= {"sizes": sorted(set(skew["size"])), "replicates": len(seeds)}
    if skew.parameters.nunique() < 2:
        return law | {"reason": "models of one size; the slope over parameters needs two"}
    if len(seeds) < FEWEST:
        why = f"{plural(len(seeds), 'replicate')}; the jackknife needs {FEWEST}"
        return law | {"reason": why}
    try:
        theta, rms = _fitted(skew)
        left = np.array([_fitted(skew[skew.seed != seed])[0] for seed in seeds])
    except ValueError as error:
        return law | {"reason": str(error)}
    values: dict[str, Callable[[np.ndarray], float]] = {
        "a": lambda t: float(t[0]),
        "b": lambda t: float(t[1]),
        "c": lambda t: float(t[2]),
        "worth": lambda t: float(t[2] / t[1]),
    }
    for name, of in values.items():
        law[name] = {"value": of(theta), "interval": _jackknife(of, left)}
    return law | {"rms": rms}


def _fitted(skew: Frame) -> tuple[np.ndarray, float]:
    """a, b, c and the rms of the residuals of X."""
    given = estimate.Points(
        {
            "times_seen": skew.seen.to_numpy(float),
            "parameters": skew.parameters.to_numpy(float),
        },
        skew.beyond.clip(0.0, 1.0).to_numpy(float),
    )
    fitted = estimate.fit(FORM, given)
    theta = form(FORM).vector(fitted.theta)
    return theta, float(np.sqrt(np.mean(fitted.residuals() ** 2)))


def _jackknife(of: Callable[[np.ndarray], float], left: np.ndarray) -> list[float]:
    """95% by leaving out one replicate in turn (Efron & Tibshirani 1993, ch. 11), Student's t."""
    n = len(left)
    values = np.array([of(one) for one in left])
    middle = float(values.mean())
    reach = student(n - 1) * math.sqrt((n - 1) / n * ((values - middle) ** 2).sum())
    return [middle - float(reach), middle + float(reach)]


# --- orders


def _order(skew: Frame) -> dict[str, Any]:
    """Whether accuracy beyond guessing rises with the times seen, over all runs with the same
    classes."""
    out: dict[str, Any] = {"p": None, "slope": None, "runs": 0, "classes": 0, "reason": None}
    if skew.empty:
        return out | {"reason": "no run saw people at different rates"}
    by_run = skew.groupby("run_id").tier.nunique()
    most = int(by_run.mode().max())
    mine = skew[skew.run_id.isin(by_run.index[by_run == most])]
    if most < 2:
        return out | {"reason": "one class"}
    wide = mine.sort_values("seen").groupby("run_id").beyond.apply(lambda one: one.to_numpy())
    told = trends.trend(np.stack(list(wide)))
    return out | {
        "p": told.p,
        "slope": told.slope,
        "smallest_p": told.smallest_p,
        "runs": len(wide),
        "classes": most,
    }


def _costs(system: str, runs: Frame) -> list[dict[str, Any]]:
    """Bits of all people by skew, over those of runs that see them evenly, by pairs of one size and
    seed."""
    done = runs[runs.status == "finished"]
    even = done[done.rates == EVEN].set_index(["size", "people", "seed"]).bits.astype(float)
    out = []
    for skew, mine in done[done.rates != EVEN].groupby("rates", sort=True):
        theirs = mine.set_index(["size", "people", "seed"]).bits.astype(float)
        both = sorted(set(theirs.index) & set(even.index))
        row: dict[str, Any] = {"system": system, "skew": skew, "pairs": len(both)}
        if len(both) < 2 or not even.loc[both].mean() > 0:
            out.append(row | {"ratio": None, "interval": None, "p": None})
            continue
        told = ratios.paired(
            theirs.loc[both].to_numpy(), even.loc[both].to_numpy(), by=[key[0] for key in both]
        )
        out.append(
            row
            | {
                "ratio": told["effect"],
                "interval": told["interval"],
                "p": told["p"],
                "smallest_p": told["smallest_p"],
            }
        )
    return out


def _means(classes: Frame) -> list[dict[str, Any]]:
    """Every class of every size and skew: means over seeds."""
    out = []
    for key, mine in classes.groupby(["system", "parameters", "size", "rates", "tier"], sort=True):
        system, parameters, size, skew, tier = key
        out.append(
            {
                "system": system,
                "size": size,
                "parameters": float(parameters),
                "skew": skew,
                "tier": int(tier),
                "seen": float(mine.seen.mean()),
                "seeds": int(mine.seed.nunique()),
                "accuracy": float(mine.accuracy.mean()),
                "accuracy_sd": float(mine.accuracy.std()) if len(mine) > 1 else None,
                "guess": float(mine.guess.mean()),
                "bits": float(mine.bits.mean()),
                "bits_sd": float(mine.bits.std()) if len(mine) > 1 else None,
            }
        )
    return out
