"""How far a fitted law is from what it was fitted to, point by point.

The sign is that of the printed errors: fitted minus measured, so a positive one means that the law
predicts too much. Where a law is about factors it is fitted / measured - 1 in percent. Every kind
of study computes its own out of its finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Residuals:
    """Errors of one law."""

    law: str
    key: str  # one word
    unit: str  # what they are in, such as % or bits
    over: str  # what x is
    points: pd.DataFrame  # of `points`
    log: bool = True  # whether x wants a log axis


def points(
    series: ArrayLike, x: ArrayLike, error: ArrayLike, run_id: ArrayLike = "", name: ArrayLike = ""
) -> pd.DataFrame:
    """Columns series, x, error, run_id (empty where a point is not one run), name (what else to
    call the point)."""
    import pandas as pd  # sweeps read the kinds of study without it

    return pd.DataFrame(
        {
            "series": series,
            "x": np.asarray(x, float),
            "error": np.asarray(error, float),
            "run_id": run_id,
            "name": name,
        }
    )


def percent(fitted: ArrayLike, measured: ArrayLike) -> np.ndarray:
    """fitted / measured - 1, in percent."""
    return 100 * (np.asarray(fitted, float) / np.asarray(measured, float) - 1)
