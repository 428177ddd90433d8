"""How bits per parameter rise with exposures: saturating forms, fitted to one model on data of one
size.

E = mean exposures of a person, R = learned bits per parameter. The forms are exposure_exponential
and exposure_power of `forms`: they start from 0 and tend to a plateau R_inf, which the data bound
by R^max. exposure_log, which has no plateau, is compared with them. None is a published law: 3.3
(arXiv 2404.05405, sections 5 and 6) states about 2 bits per parameter at 1000 exposures and about 1
at 100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from capacity.analysis.facts.schema import ExposureLaw, LawRatio
from capacity.analysis.labels import apart
from capacity.analysis.thresholds import DATA_CEILING
from capacity.fitting import bounds, groups, intervals, misfit, ratios
from capacity.fitting import fit as estimate
from capacity.fitting import selection as compare
from capacity.fitting.forms import FORMS as LAWS
from capacity.fitting.ratios import Mean
from capacity.fitting.statistics import student

# ratio of the ends of an interval of exposures; beyond, the runs do not determine it
WIDEST = 100.0
FEWEST = 4  # different exposures
CONSTANTS = 3  # of each form
# Degrees of freedom from which on runs may tell the forms apart. With fewer, three constants all
# but interpolate the exposures, and one form's luck would be called knowledge.
FEWEST_DOF = 3
FORMS = ("exponential", "power")
PLACES = "exposures"  # the source of variation that runs of equal exposures have in common
REACHED = 0.95  # E95: exposures at which R is 95% of the plateau


def curve(
    form: str, exposures: ArrayLike, r_inf: ArrayLike, e0: ArrayLike, b: ArrayLike
) -> np.ndarray:
    """R of a form at so many exposures (arrays broadcast)."""
    return LAWS[f"exposure_{form}"].curve(
        {"exposures": np.asarray(exposures, float)}, r_inf, e0, b
    )[0]


def reach(form: str, e0: float, b: float, share: float = REACHED) -> float:
    """Exposures at which R is this share of the plateau."""
    return (
        e0 * (-math.log1p(-share)) ** (1 / b)
        if form == "exponential"
        else e0 * ((1 - share) ** (-1 / b) - 1)
    )


def fit_exposures(
    exposures: ArrayLike, r: ArrayLike, r_max: float, *, other_ends: bool = False
) -> dict[str, Any]:
    """The law of one model and N, as the last part of a `schema.ExposureLaw`: the form with the
    smaller rms, and what may be said about the plateau.

    exposures, r: one entry per run, each a replicate; r_max: bits per parameter of the data, a hard
    bound of R_inf. Runs with r <= 0 have not learned the names and lists yet; they count with 0,
    since nobody has to use such a model, and their number is told: without them only the luckier
    of the runs with few exposures would be fitted. Least squares of R,
    since all runs of a study of few seeds are needed; profile intervals (of E95 by the delta method
    in its logarithm) by the scatter of runs and of exposures about the law (`fitting.misfit`): runs
    of equal exposures are replicates, and what they have in common is misfit. {"reason": ...} where
    the runs cannot tell. Fewer than CONSTANTS + FEWEST_DOF runs give values without intervals, for
    they cannot tell the forms apart. other_ends: `other` has the interval of its plateau, too, and
    both are given in any case, for the caller to join.
    """
    e, r = np.asarray(exposures, float), np.asarray(r, float)
    y, unlearned = np.maximum(r, 0.0), int((r <= 0).sum())
    values, codes = groups.rounded(e)
    if (n_values := groups.number(e[r > 0])) < FEWEST:
        return {
            "reason": f"{n_values} exposure values with R > 0, the law needs {FEWEST}",
            "unlearned": unlearned,
        }
    points = estimate.Points({"exposures": e}, y)
    limit = max(float(r_max), float(y.max()) * 1.0001)
    fits = {
        form: estimate.fit(f"exposure_{form}", points, delta=np.inf, bounds={"r_inf": (0.0, limit)})
        for form in FORMS
    }
    numbers = {form: _numbers(form, fitted) for form, fitted in fits.items()}
    form = min(fits, key=lambda f: numbers[f]["rms"])
    other = FORMS[1 - FORMS.index(form)]
    best, top = numbers[form], float(e.max())
    ends = intervals.of(
        fits[form],
        derived={"e95": (lambda theta: reach(form, theta[1], theta[2]), "exposures")},
        groups={PLACES: codes},
    )
    out = {
        "reason": None,
        "form": form,
        "runs": len(e),
        "unlearned": unlearned,
        "exposures": [float(e.min()), top],
        "r_max": float(r_max),
        "r_at_most": float(y[codes == len(values) - 1].mean()),
    }
    few = len(e) < CONSTANTS + FEWEST_DOF
    for name in ("r_inf", "e0", "b", "e95"):
        low, high = ends[name]["low"], ends[name]["high"]
        unknown = low is None or high is None or (few and not other_ends)
        out[name] = {"value": best[name], "interval": None if unknown else [low, high]}
    out |= {
        "lack_of_fit": misfit.lack_of_fit(fits[form], codes),
        "scatter": misfit.scatter(fits[form], {PLACES: codes}),
    }
    names = {"r_inf": "R_inf", "e0": "E0", "e95": "E95"}
    out["bounds"] = bounds.told(fits[form], ends, names)
    more: dict[str, Any] = {}
    if other_ends:
        found = intervals.of(fits[other], groups={PLACES: codes})["r_inf"]
        both = found["low"], found["high"]
        more = {"r_inf_interval": None if None in both else list(both)}
    search = fits[form].search
    held = compare.compare_forms(
        [*(f"exposure_{f}" for f in FORMS), "exposure_log"], points, "exposures", delta=np.inf
    )
    return out | {
        "rms": best["rms"],
        "agreeing": search["agreeing"],
        "starts": search["starts"],
        "other": {"form": other} | numbers[other] | more,
        "held_out": {row["form"].removeprefix("exposure_"): row["held_out"]["rms"] for row in held},
        "plateau_reached": bool(best["e95"] <= top),
        "data_limited": bool(best["r_inf"] >= DATA_CEILING * r_max),
        "e95_error": None if few else ends["e95"]["error"],
        "e95_dof": ends["e95"]["dof"],
    }


def determined(interval: list[float] | None) -> bool:
    """Whether an interval of a number of exposures says anything: both ends, less than a factor of
    WIDEST apart."""
    return interval is not None and interval[1] < WIDEST * interval[0]


def law_ratios(laws: Sequence[ExposureLaw]) -> list[LawRatio]:
    """E95 of every law over that of the first one of the same model and N, with an interval of
    their difference in logarithms (`ratios.of_logs`; standard errors by the delta method). `shown`:
    more or less where the interval excludes equality; None where it does not, or where there is
    none."""
    out: list[LawRatio] = []
    first_of: dict[tuple[str, float], ExposureLaw] = {}
    for law in laws:
        first = first_of.setdefault((law["model"], law["n_people"]), law)
        if first is law:
            continue
        both = (law, first)
        about = {
            "model": law["model"],
            "n_people": law["n_people"],
            "above": apart(law["series"], first["series"]) or law["series"],
            "below": apart(first["series"], law["series"]) or first["series"],
            "what": f"E{100 * REACHED:.0f}",
            "value": None,
            "interval": None,
            "shown": None,
            "data_limited": [],
            "r_inf_of_r_max": [],
            "forms": [],
        }
        if not any(one["reason"] for one in both):
            about |= _law_ratio(law, first)
        out.append(cast(LawRatio, about))
    return out


def _law_ratio(law: ExposureLaw, first: ExposureLaw) -> dict[str, Any]:
    both = (law, first)
    out = {
        "value": law["e95"]["value"] / first["e95"]["value"],
        "data_limited": [one["data_limited"] for one in both],
        "r_inf_of_r_max": [one["r_inf"]["value"] / one["r_max"] for one in both],
        "forms": [one["form"] for one in both],
    }
    logs = [
        Mean(math.log(one["e95"]["value"]), one["e95_error"] ** 2, one["e95_dof"])
        for one in both
        if one["e95_error"] is not None and one["e95_dof"]
    ]
    if len(logs) < len(both):
        return out
    low, high = ratios.of_logs(logs[0], logs[1])["interval"]
    if not determined([low, high]):
        return out
    return out | {
        "interval": [low, high],
        "shown": "more" if low > 1 else "less" if high < 1 else None,
    }


def fit_either_form(exposures: ArrayLike, r: ArrayLike, r_max: float) -> dict[str, Any]:
    """`fit_exposures` with an interval of the plateau that holds the choice of the form: the other
    form's interval is joined to it where that form lies within the contour of 95% of the better one
    (sum of squares up to 1 + t^2 / dof times as large), and wherever there are fewer than
    FEWEST_DOF degrees of freedom. known_to: half of the interval over the plateau; bounded_by_data:
    whether the data's ceiling bounds it instead of the runs."""
    law = fit_exposures(exposures, r, r_max, other_ends=True)
    if law["reason"]:
        return law
    ends, value, other = law["r_inf"]["interval"], law["r_inf"]["value"], law["other"]
    dof = len(np.asarray(r)) - CONSTANTS
    contour = student(dof) ** 2 / dof if dof >= FEWEST_DOF else math.inf
    joins = other["rms"] ** 2 <= law["rms"] ** 2 * (1 + contour)
    if joins:
        theirs = other["r_inf_interval"]
        ends = (
            None if None in (ends, theirs) else [min(ends[0], theirs[0]), max(ends[1], theirs[1])]
        )
    law["r_inf"] = {"value": value, "interval": ends}
    known = None if ends is None else (ends[1] - ends[0]) / (2 * value)
    bounded = ends is not None and ends[1] >= law["r_max"] * (1 - 1e-6)
    return law | {
        "forms_joined": bool(joins),
        "dof": dof,
        "known_to": known,
        "bounded_by_data": bool(bounded),
    }


def _numbers(form: str, fitted: estimate.Fit) -> dict[str, Any]:
    value = fitted.values
    return value | {
        "e95": reach(form, value["e0"], value["b"]),
        "rms": float(np.sqrt(np.mean(fitted.residuals() ** 2))),
    }
