"""Forms of capacity over model sizes, and of the corner between what data give and what a model
holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting import curves
from capacity.fitting.form import (
    MORRIS,
    PARAMETERS,
    Arrays,
    Box,
    Form,
    Parameter,
    Variable,
    grid,
)

KAPPA_MOST = 100.0  # far beyond any answer; an open end would be searched for ever

_H = Variable(
    "ceiling_bits",
    "bits",
    "all that the data can give, in the bit convention of the fit",
    positive=True,
)
_BITS = Variable("bits", "bits", "memorized bits, or their plateau over data sizes", positive=True)
_ACTIVE = Variable(
    "parameters_active",
    "parameters",
    "those that take part in what is computed of one token",
    positive=True,
)
_IDLE = Variable(
    "parameters_idle",
    "parameters",
    "total minus active: experts that a token does not visit, rows that it does not read",
    0.0,
)
_ALPHA = Parameter("alpha", "bits per parameter", "capacity per parameter", 0.0, scale="log")


def _corner_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    return grid(
        np.median(y / x["parameters"]) * np.array([0.7, 1.0, 1.4, 2.0]), [2.0, 4.0, 8.0, 16.0]
    )


def _corner_box(x: Arrays, y: np.ndarray) -> Box:
    ratio = float(np.median(y / x["parameters"]))
    return {"alpha": (ratio / 100, ratio * 100)}


def _idle_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    level = float(np.median(y / (x["parameters_active"] + x["parameters_idle"])))
    return grid([level, 2 * level], [0.05, 0.3, 0.6, 1.0, 1.5])


def _idle_box(x: Arrays, y: np.ndarray) -> Box:
    """kappa may be below 0, as far down as the model with the largest idle part still holds
    something."""
    most = float((x["parameters_idle"] / x["parameters_active"]).max())
    return {"kappa": (-(1 - 1e-6) / most, KAPPA_MOST) if most > 0 else (0.0, KAPPA_MOST)}


def _power_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    return grid([1.0], [0.5, 0.8, 1.0, 1.2, 1.5])


def hard_corner(parameters: ArrayLike, data_bits: ArrayLike, alpha: ArrayLike) -> Any:
    """min(alpha P, H) in bits: all data below capacity, capacity above it (Morris et al.,
    2505.24832 v3, App. A.1)."""
    return np.minimum(alpha * np.asarray(parameters, float), data_bits)


def smooth_corner(
    parameters: ArrayLike, data_bits: ArrayLike, alpha: ArrayLike, k: ArrayLike
) -> Any:
    """H (1 + (H / (alpha P))^k)^(-1/k) in bits: tends to H below capacity, to alpha P above,
    2^(-1/k) alpha P at it.

    The corner is an empirical rounding of `hard_corner`, not a published law. Morris et al. (v3,
    Table 1 and App. A.1) report 2.60e6 bits for one shape and 2.29e6 and 2.39e6 for the same shape
    at H = 1.11 alpha P, hence k of 4 to 5.5.
    """
    return curves.smooth_corner(
        {"parameters": np.asarray(parameters, float), "ceiling_bits": np.asarray(data_bits, float)},
        alpha,
        k,
    )[0]


def power(parameters: ArrayLike, a: ArrayLike, gamma: ArrayLike) -> Any:
    """a P^gamma in bits; gamma = 1 makes a the bits per parameter."""
    return np.asarray(a, float) * np.asarray(parameters, float) ** np.asarray(gamma, float)


FORMS = (
    Form(
        name="capacity_linear",
        formula="C = alpha P",
        target=_BITS,
        variables=(PARAMETERS,),
        parameters=(_ALPHA,),
        domain="P > 0",
        asymptotes="C / P is constant",
        source=f"{MORRIS}, section 4 and Table 1",
        curve=curves.proportional,
        starts=lambda x, y: np.array([[float(np.median(y / x["parameters"]))]]),
        interval="pooled",
    ),
    Form(
        name="capacity_affine",
        formula="C = c0 + alpha P",
        target=_BITS,
        variables=(PARAMETERS,),
        parameters=(
            Parameter("c0", "bits", "intercept"),
            Parameter("alpha", "bits per parameter", "slope"),
        ),
        domain="P > 0, C > 0",
        asymptotes="C / P tends to alpha as P grows",
        source=f"{MORRIS}, figure 6 (a slope over models)",
        curve=curves.affine,
        starts=lambda x, y: np.array([[0.0, float(np.median(y / x["parameters"]))]]),
        linear=("c0", "alpha"),
        interval="pooled",
    ),
    Form(
        name="capacity_power",
        formula="C = a P^gamma",
        target=_BITS,
        variables=(PARAMETERS,),
        parameters=(
            Parameter("a", "bits at P = 1", "level", 0.0, scale="log"),
            Parameter("gamma", "", "exponent"),
        ),
        domain="P > 0",
        asymptotes="C / P grows without limit for gamma > 1 and vanishes for gamma < 1",
        source="the line in log-log axes of " + MORRIS + ", figure 6",
        curve=curves.power,
        starts=_power_starts,
        linear=("a",),
        interval="pooled",
    ),
    Form(
        name="capacity_idle",
        formula="C = alpha (P_active + kappa P_idle)",
        target=_BITS,
        variables=(_ACTIVE, _IDLE),
        parameters=(
            _ALPHA,
            Parameter("kappa", "", "what an idle parameter is worth beside an active one"),
        ),
        domain="P_active > 0, P_idle >= 0",
        asymptotes="alpha P where nothing is idle or kappa = 1, alpha P_active for kappa = 0",
        source="not published; of experts that hold 1.3 and 1.5 times less per total parameter "
        "(arXiv 2404.05405, section 9) kappa follows by arithmetic",
        curve=curves.idle,
        starts=_idle_starts,
        box=_idle_box,
        linear=("alpha",),
        interval="pooled",
    ),
    Form(
        name="hard_corner",
        formula="m = min(alpha P, H)",
        target=_BITS,
        variables=(PARAMETERS, _H),
        parameters=(_ALPHA,),
        domain="P, H > 0",
        asymptotes="m = H while data fit, alpha P beyond",
        source=f"{MORRIS}, appendix A.1",
        curve=curves.hard_corner,
        starts=lambda x, y: np.unique(np.quantile(y / x["parameters"], np.linspace(0, 1, 24)))[
            :, None
        ],
        interval="wald",
    ),
    Form(
        name="smooth_corner",
        formula="m = H (1 + (H / (alpha P))^k)^(-1/k)",
        target=_BITS,
        variables=(PARAMETERS, _H),
        parameters=(_ALPHA, Parameter("k", "", "sharpness of the corner", 1.0, 64.0, "log")),
        domain="P, H > 0; H is the ceiling of the bit convention",
        asymptotes="m -> H for H << alpha P, alpha P for H >> alpha P, "
        "2^(-1/k) alpha P at H = alpha P",
        source="a rounding of the hard corner, not published; k of 4 to 5.5 follows from "
        + MORRIS
        + ", Table 1 and appendix A.1",
        curve=curves.smooth_corner,
        starts=_corner_starts,
        box=_corner_box,
        interval="wald",
    ),
)
