"""Forms of bits per parameter over the bit width of weights."""

from __future__ import annotations

import numpy as np

from capacity.fitting import curves
from capacity.fitting.form import (
    BITS_PER_PARAMETER,
    Arrays,
    Form,
    Parameter,
    Variable,
    grid,
)

_W = Variable("bits_per_weight", "bits", "stored bits per weight", positive=True)
_C = Parameter("c", "bits per parameter", "held at full precision", 0.0)


def _precision_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    return grid([max(float(y.max()), 1e-9)], [0.5, 1.0, 2.0, 4.0, 8.0])


def _shifted_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    return grid(
        [max(float(y.max()), 1e-9)], [0.5, 1.0, 3.0, 10.0, 30.0, 100.0], [0.4, 0.7, 1.0, 2.0, 4.0]
    )


def _noise_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    return grid([max(float(y.max()), 1e-9)], np.geomspace(0.3, 3000, 12))


def _storage_starts(x: Arrays, y: np.ndarray) -> np.ndarray:
    top = max(float(y.max()), 1e-9)
    return grid(
        np.unique(np.maximum(np.quantile(y / x["bits_per_weight"], np.linspace(0.1, 1, 8)), 1e-9)),
        [top, 0.9 * top],
    )


FORMS = (
    Form(
        name="precision_effective",
        formula="R = C (1 - exp(-b / b0))",
        target=BITS_PER_PARAMETER,
        variables=(_W,),
        parameters=(_C, Parameter("b0", "bits per weight", "scale", 1e-2, 1e2, "log")),
        domain="b > 0",
        asymptotes="0 at b = 0, C for b >> b0",
        source="effective parameters, Kumar et al., arXiv 2411.04330, section 4 (b0 = 2.67 "
        "second-hand)",
        curve=curves.effective_parameters,
        starts=_precision_starts,
        transform="identity",
        linear=("c",),
    ),
    Form(
        name="precision_shifted",
        formula="R = max(0, C (1 - A exp(-b / b0)))",
        target=BITS_PER_PARAMETER,
        variables=(_W,),
        parameters=(
            _C,
            Parameter("a", "", "loss at b = 0", 0.0, 1e6, "log"),
            Parameter("b0", "bits per weight", "scale", 0.05, 1e2, "log"),
        ),
        domain="b > 0",
        asymptotes="0 up to b0 ln A bits, C for b >> b0",
        source="not published; A = 1 is precision_effective",
        curve=curves.shifted_exponential,
        starts=_shifted_starts,
        transform="identity",
        linear=("c",),
    ),
    Form(
        name="precision_noise",
        formula="R = max(0, C (1 - A 4^-b))",
        target=BITS_PER_PARAMETER,
        variables=(_W,),
        parameters=(
            _C,
            Parameter("a", "", "squared step over what a model bears at b = 0", 0.0, 1e9, "log"),
        ),
        domain="b > 0",
        asymptotes="0 up to log4 A bits, C beyond",
        source="variance of rounding to 2^b levels falls as 4^-b (Bennett 1948, Bell Syst. "
        "Tech. J. 27, 446)",
        curve=curves.quantization_noise,
        starts=_noise_starts,
        transform="identity",
        linear=("c",),
    ),
    Form(
        name="precision_storage",
        formula="R = min(s b, C)",
        target=BITS_PER_PARAMETER,
        variables=(_W,),
        parameters=(
            Parameter("s", "bits per stored bit", "part of the stored bits in use", 0.0),
            _C,
        ),
        domain="b > 0",
        asymptotes="s b for few bits, C for many",
        source="no code holds more than its storage: s <= 1 where every stored bit is counted",
        curve=curves.storage_limit,
        starts=_storage_starts,
        transform="identity",
    ),
)
