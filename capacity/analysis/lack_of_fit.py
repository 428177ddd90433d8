"""What every kind of study says of the misfit of its laws, in the same words (`fitting.misfit`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capacity.base.words import digits, joined
from capacity.fitting.misfit import POINTS

SHOWN = 0.05  # p, below which a law is said not to fit


def shown(fit: Mapping[str, Any] | None) -> bool:
    """Whether a law is shown to lie off its points by more than their noise, at 5% in all where
    there are two tests."""
    if fit is None:
        return False
    if fit["p_each"] is None:
        return fit["p"] < SHOWN
    return min(fit["p"], fit["p_each"]) < SHOWN / 2


def told(fit: Mapping[str, Any] | None, noise: str) -> str:
    """The F ratio in words; noise: of what the noise is, such as "runs of equal exposures". Without
    replicates nothing can be said of it, which is said."""
    if fit is None:
        return f"lack of fit is not known: that takes {noise}, and more of them than constants"
    between, within = fit["dof"]
    test = f"F({between}, {within}) = {digits(fit['ratio'])}, p = {digits(fit['p'], 2)}"
    if fit["p_each"] is not None:
        test += f"; place by place, each by its own noise, p = {digits(fit['p_each'], 2)}"
    words = "does not fit" if shown(fit) else "no lack of fit is shown"
    return f"{words}, by the noise of {noise}: {test}"


def over(scatter: Mapping[str, float], points: str, else_: str) -> str:
    """The sources that an interval is over; points: what every point is for itself; else_: over
    what it is where places do not scatter."""
    if not scatter:
        return f"over {else_}"
    return f"over {joined([points, *(name for name in scatter if name != POINTS)])}"
