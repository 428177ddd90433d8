"""Double descent, and what the bits of a model are: memorized or generalised (Morris et al., arXiv
2505.24832, sections 4.2 and 4.3).

For each model over data sets of growing size:

    data bits     code length of the members under the reference model of the same size
    memorized     unintended bits over that reference by the mixture of both models, a code that
                  exists (`attacks.unintended`); the paper's clipped bits are beside it: they are at
                  most a bit per sequence more, which is noise where sequences are many
    generalised   bits that the model takes off a code of log2 V per token, minus the memorized ones
    capacity      the most bits that the model memorized over all sizes (Definition 5), over the
                  parameters: alpha; a lower bound where that is the smallest or largest size tried

The loss on held-out text can rise while data fill the model and fall beyond; the paper puts the
peak where data bits equal capacity.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from capacity.analysis.text.schema import (
    Descent,
    Estimate,
    Frame,
)
from capacity.analysis.text.sizes import parameters
from capacity.fitting import groups

FEWEST = 5  # different sizes of the data set
CLEAR = 2.0  # standard errors by which a peak must stand above both sides


def analyse(targets: Frame, *, n_boot: int = 1000, seed: int = 0) -> dict[str, Descent]:
    """By model: means over seeds by data bits per parameter, the peak of the held-out loss with a
    95% interval, and the capacity. Intervals resample seeds within each size of the data set; with
    one seed there is none. Empty where sizes or references are too few."""
    if "unintended_same_mixture" not in targets:
        return {}
    rng, out = np.random.default_rng(seed), {}
    for label, group in targets.dropna(subset=["unintended_same_mixture"]).groupby("label"):
        if groups.number(group.tokens_per_parameter) >= FEWEST:
            out[str(label)] = _model(group, rng, n_boot)
    return out


def _model(group: Frame, rng: np.random.Generator, n_boot: int) -> Descent:
    p = parameters(group)
    table = pd.DataFrame(
        {
            "t": group.tokens_per_parameter,
            "data": group.reference_same_bits / p,
            "memorized": group.unintended_same_mixture / p,
            "clipped": group.unintended_same_clipped / p,
            "generalised": (group.bits - group.unintended_same_mixture) / p,
            "train": group.members_loss_bits_per_token,
            "held_out": group.held_out_loss_bits_per_token,
        }
    )
    sizes = [part for _, part in table.groupby(groups.rounded(table["t"])[1])]
    means = pd.DataFrame([part.mean() for part in sizes])
    x = np.log2(means.data.to_numpy())

    def numbers(chosen: list[Frame]) -> tuple[float, float]:
        curve = np.array([part.held_out.mean() for part in chosen])
        return peak(x, curve), max(part.memorized.mean() for part in chosen)

    at, alpha = numbers(sizes)
    draws = np.array(
        [
            numbers([part.iloc[rng.integers(0, len(part), len(part))] for part in sizes])
            for _ in range(n_boot)
        ]
    )
    several = min(len(part) for part in sizes) > 1
    se = np.array(
        [part.held_out.std(ddof=1) / np.sqrt(len(part)) if len(part) > 1 else 0.0 for part in sizes]
    )
    return {
        "parameters": int(p.iloc[0]),
        "sizes": means.to_dict("list"),
        "seeds": min(len(part) for part in sizes),
        "alpha": _with_interval(alpha, draws[:, 1], several),
        "at_edge": int(np.argmax(means.memorized)) in (0, len(means) - 1),
        "clear": clear(means.held_out.to_numpy(), se),
        "peak": _with_interval(2**at, 2 ** draws[:, 0], several),
        "peak_over_capacity": _with_interval(
            2**at / alpha, 2 ** draws[:, 0] / draws[:, 1], several
        ),
    }


def peak(x: np.ndarray, y: np.ndarray) -> float:
    """Where a curve through points is highest: the top of the parabola through the highest point
    inside and its neighbours, else the highest end. Of the ends, only the right one competes: a
    peak needs a fall after it."""
    i = int(np.argmax(y))
    if i in (0, len(x) - 1):
        return float(x[i])
    a, b, _ = np.polyfit(x[i - 1 : i + 2], y[i - 1 : i + 2], 2)
    return float(np.clip(-b / (2 * a), x[i - 1], x[i + 1])) if a < 0 else float(x[i])


def clear(y: np.ndarray, se: np.ndarray) -> bool:
    """Whether the highest point lies inside and stands CLEAR standard errors above the lowest on
    both sides."""
    i = int(np.argmax(y))
    if i in (0, len(y) - 1):
        return False
    left, right = int(np.argmin(y[:i])), i + 1 + int(np.argmin(y[i + 1 :]))
    return all(y[i] - y[j] > CLEAR * np.hypot(se[i], se[j]) for j in (left, right))


def _with_interval(value: float, draws: np.ndarray, several: bool) -> Estimate:
    return {
        "value": float(value),
        "interval": [float(q) for q in np.quantile(draws, [0.025, 0.975])] if several else None,
    }
