"""How bits per parameter rise with exposures: two saturating forms, fitted to one model on data of one size.

E = mean exposures of a person, R = learned bits per parameter. Both forms start from 0 and tend to a plateau R_inf,
which the data bound by R^max. Neither is a published law: 3.3 (arXiv 2404.05405, sections 5 and 6) states about 2 bits
per parameter at 1000 exposures and about 1 at 100.

    exponential  R = R_inf (1 - exp(-(E / E0)^b))
    power        R = R_inf (1 - (1 + E / E0)^(-b))
"""

import math

import numpy as np

from capacity.laws.forms import LEVEL

FEWEST = 4  # different exposures; each form has three constants
FORMS = ("exponential", "power")
REACHED = 0.95  # E95: exposures at which R is 95% of the plateau
DATA_LIMITED = 0.95  # a plateau above this part of R^max is the end of the data, not of the model
REFITS = 400  # most bootstrap refits; each is a non-linear fit


def curve(form, exposures, r_inf, e0, b):
    """R of a form at so many exposures (arrays broadcast)."""
    x = np.asarray(exposures, float) / e0
    return r_inf * (-np.expm1(-x**b) if form == "exponential" else -np.expm1(-b * np.log1p(x)))


def reach(form, e0, b, share=REACHED):
    """Exposures at which R is this share of the plateau."""
    return e0 * (-math.log1p(-share)) ** (1 / b) if form == "exponential" else e0 * ((1 - share) ** (-1 / b) - 1)


def fit_exposures(exposures, r, r_max, *, n_boot=4000, seed=0):
    """The law of one model and N, as a dict: the form with the smaller rms, and what may be said about the plateau.

    exposures, r: one entry per run; r_max: bits per parameter of the data, a hard bound of R_inf. Runs with r <= 0 have
    not learned the names and lists yet; they are left out, and counted. Least squares of R from a grid of starts;
    intervals by a bootstrap of residuals, inflated by sqrt(n / (n - 3)). {"reason": ...} where the runs cannot tell.
    """
    e, r = np.asarray(exposures, float), np.asarray(r, float)
    keep = r > 0
    e, y = e[keep], r[keep]
    if len(set(e)) < FEWEST:
        return {"reason": f"{len(set(e))} exposure values with R > 0, the law needs {FEWEST}",
                "left_out": int((~keep).sum())}
    fits = {form: _fit(form, e, y, r_max) for form in FORMS}
    form = min(fits, key=lambda f: fits[f]["rms"])
    best = fits[form]
    low, high = _bootstrap(form, e, y, r_max, best, min(n_boot, REFITS), seed)
    e95, top = best["e95"], float(e.max())
    out = {"reason": None, "form": form, "runs": len(e), "left_out": int((~keep).sum()),
           "exposures": [float(e.min()), top], "r_max": float(r_max), "r_at_most": float(y[e == top].mean())}
    for i, name in enumerate(("r_inf", "e0", "b", "e95")):
        out[name] = {"value": float(best[name]), "interval": None if low is None else [float(low[i]), float(high[i])]}
    other = FORMS[1 - FORMS.index(form)]
    return out | {
        "rms": best["rms"], "agreeing": best["agreeing"], "starts": best["starts"],
        "other": {"form": other} | {name: float(fits[other][name]) for name in ("r_inf", "e0", "b", "e95", "rms")},
        "plateau_reached": bool(e95 <= top), "data_limited": bool(best["r_inf"] >= DATA_LIMITED * r_max)}


def _fit(form, e, y, r_max, starts=None):
    from scipy.optimize import least_squares

    middle = math.log(math.sqrt(e.min() * e.max()))
    scale = float(y.max())
    box = ([0.0, middle - 12, math.log(0.1)], [max(r_max, scale * 1.0001), middle + 12, math.log(6.0)])

    def residual(theta):
        return curve(form, e, theta[0], math.exp(theta[1]), math.exp(theta[2])) - y

    if starts is None:
        starts = [[min(a * scale, 0.999 * box[1][0]), middle + shift, math.log(b)]
                  for a in (1.02, 1.5) for shift in (-2.0, 0.0, 2.0) for b in (0.5, 1.0, 2.0)]
    found = [least_squares(residual, start, bounds=box, x_scale=[scale, 1.0, 1.0], xtol=1e-10, ftol=1e-10, gtol=1e-10)
             for start in starts]
    best = min(found, key=lambda f: f.cost)
    near = sum(f.cost <= best.cost * (1 + 1e-3) + 1e-12 for f in found)
    e0, b = math.exp(best.x[1]), math.exp(best.x[2])
    return {"r_inf": float(best.x[0]), "e0": e0, "b": b, "e95": reach(form, e0, b), "theta": best.x,
            "rms": float(np.sqrt(2 * best.cost / len(y))), "starts": len(found), "agreeing": near}


def _bootstrap(form, e, y, r_max, best, draws, seed):
    """Percentiles of (r_inf, e0, b, e95) over refits to resampled residuals; (None, None) where no residual is left."""
    if len(y) <= 3:
        return None, None
    fitted = curve(form, e, best["r_inf"], best["e0"], best["b"])
    residual = (y - fitted) * math.sqrt(len(y) / (len(y) - 3))
    rng, out = np.random.default_rng(seed), []
    for _ in range(draws):
        again = _fit(form, e, fitted + rng.choice(residual, len(y)), r_max, [best["theta"]])
        out.append([again[name] for name in ("r_inf", "e0", "b", "e95")])
    return np.quantile(out, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
