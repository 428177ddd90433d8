"""One quantity that several studies measured: what they say together, and how far they differ.

A study's own interval over runs knows its training noise; studies differ by more, such as text,
split, model and budget, of which a single one varies few. So studies are the replicates: log t of
each is the common value, plus what the study is off by, plus its own noise, whose standard error is
known (a random-effects meta-analysis; DerSimonian & Laird 1986, Control. Clin. Trials 7, 177). What
studies are off by is estimated by restricted likelihood, and the interval is Student's with
Satterthwaite's degrees of freedom (`fitting.random_effects`), at most one fewer than studies. Few
studies leave a wide interval; that is what they tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from capacity.base.words import digits, ends, percent, plural
from capacity.fitting import random_effects
from capacity.fitting.statistics import student

LACK = 0.05  # probability below which studies are said to differ
FEWEST = 3  # studies: of two a scatter has one degree of freedom
NORMAL = 2 * float(student(1e9))  # standard errors between the ends of a 95% interval


@dataclass(frozen=True)
class Together:
    """value and interval of the common number; next: 95% interval of what another such study would
    measure without noise of its own; scatter: standard deviation of studies in the logarithm; chi2,
    dof and p: Cochran's test that they differ by their own noise alone."""

    studies: int
    value: float
    interval: tuple[float, float]
    next: tuple[float, float]
    scatter: float
    chi2: float
    dof: int
    p: float


def crossing(memory: Mapping[str, Any], form: str = "f1_median") -> tuple[float, float] | None:
    """log t at which F1 of a study has fallen to 0.75 by the published form (form "logarithmic": by
    the sigmoid in log t), and its standard error over runs; None where it has no interval."""
    law = memory["logarithmic"] if form == "logarithmic" else memory["laws"][form]
    at = (law or {}).get("falls_to", {}).get("0.75")
    if not at or at["t"] is None or at["over_runs"] is None:
        return None
    low, high = at["over_runs"]
    return math.log(at["t"]), math.log(high / low) / NORMAL


def together(numbers: Mapping[str, tuple[float, float]]) -> Together:
    """numbers: by study, a logarithm and its standard error. ValueError for fewer than FEWEST."""
    if len(numbers) < FEWEST:
        raise ValueError(f"{plural(len(numbers), 'study', 'studies')}; an interval needs {FEWEST}")
    y, error = np.array(list(numbers.values())).T
    ones = np.ones((len(y), 1))
    effects = random_effects.effects(y, ones, {"studies": np.eye(len(y))}, error**2)
    low, high, dof = effects.interval([1.0])
    dof = min(dof, len(y) - 1.0)  # a scatter that is estimated as 0 is no known scatter
    reach = float(student(dof)) * effects.error([1.0])
    middle = float(effects.beta[0])
    scatter = math.sqrt(effects.variances.get("studies", 0.0))
    wide = float(student(dof)) * math.hypot(scatter, effects.error([1.0]))
    fit = random_effects.lack_of_fit(y, ones, error**2)
    reach = max(reach, (high - low) / 2)
    return Together(
        studies=len(y),
        value=math.exp(middle),
        interval=(math.exp(middle - reach), math.exp(middle + reach)),
        next=(math.exp(middle - wide), math.exp(middle + wide)),
        scatter=scatter,
        chi2=fit["chi2"],
        dof=int(fit["dof"]),
        p=fit["p"],
    )


def sentence(pooled: Together) -> str:
    """What studies say together of the tokens per parameter at which F1 is 0.75."""
    shown = "which the noise of trainings does not explain"
    if pooled.p >= LACK:
        shown = "which is not shown to be more than the noise of trainings"
    return (
        f"Over {plural(pooled.studies, 'study', 'studies')} together F1 falls to 0.75 at "
        f"**{digits(pooled.value)}** {ends(pooled.interval)} tokens per parameter (95%, studies as "
        f"replicates); beyond their trainings studies differ by {percent(pooled.scatter)}, "
        f"{shown} (chi2 {digits(pooled.chi2)} for {pooled.dof}, p {digits(pooled.p)}). "
        f"Another such study would lie in {ends(pooled.next)}."
    )
