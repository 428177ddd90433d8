"""Forms of bits per parameter over how often each item is seen."""

from __future__ import annotations

import numpy as np

from capacity.fitting import curves
from capacity.fitting.form import (
    BITS_PER_PARAMETER,
    Arrays,
    Box,
    Form,
    Parameter,
    Variable,
    grid,
)

PHYSICS = "Physics of Language Models 3.3, arXiv 2404.05405"

_E = Variable("exposures", "times", "how often each item is seen", positive=True)
_EXPOSURE = (
    Parameter("r_inf", "bits per parameter", "plateau", 0.0),
    Parameter("e0", "exposures", "scale", 0.0, scale="log"),
    Parameter("b", "", "shape", 0.1, 6.0, "log"),
)


def _exposure_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    middle = np.sqrt(x["exposures"].min() * x["exposures"].max())
    return grid(
        [max(float(y.max()), 1e-9)],
        middle * np.exp([-4.0, -2.0, 0.0, 2.0, 4.0]),
        [0.3, 0.6, 1.0, 2.0, 4.0],
    )


def _exposure_box(x: Arrays, y: np.ndarray) -> Box:
    middle = float(np.sqrt(x["exposures"].min() * x["exposures"].max()))
    return {
        "e0": (middle * np.exp(-12), middle * np.exp(12)),
        "r_inf": (0.0, 1e3 * max(float(np.abs(y).max()), 1e-9)),
    }


FORMS = (
    Form(
        name="exposure_exponential",
        formula="R = R_inf (1 - exp(-(E / E0)^b))",
        target=BITS_PER_PARAMETER,
        variables=(_E,),
        parameters=_EXPOSURE,
        domain="E > 0",
        asymptotes="0 at E = 0, R_inf for E >> E0",
        source=f"not published; {PHYSICS}, sections 5 and 6, state 2 bits per parameter at 1000 "
        f"exposures and 1 at 100",
        curve=curves.saturating_exponential,
        starts=_exposure_starts,
        transform="identity",
        linear=("r_inf",),
        box=_exposure_box,
    ),
    Form(
        name="exposure_power",
        formula="R = R_inf (1 - (1 + E / E0)^-b)",
        target=BITS_PER_PARAMETER,
        variables=(_E,),
        parameters=_EXPOSURE,
        domain="E > 0",
        asymptotes="0 at E = 0, R_inf for E >> E0, with a power of E between",
        source="not published; as exposure_exponential",
        curve=curves.saturating_power,
        starts=_exposure_starts,
        transform="identity",
        linear=("r_inf",),
        box=_exposure_box,
    ),
    Form(
        name="exposure_log",
        formula="R = c log2(1 + E)^g",
        target=BITS_PER_PARAMETER,
        variables=(_E,),
        parameters=(
            Parameter("c", "bits per parameter", "R at E = 1", 0.0),
            Parameter("g", "", "exponent", 0.0, 20.0),
        ),
        domain="E > 0",
        asymptotes="grows without limit, ever more slowly",
        source="not published; as exposure_exponential",
        curve=curves.log_power,
        starts=lambda x, y: grid([1.0], [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]),
        transform="identity",
        linear=("c",),
    ),
)
