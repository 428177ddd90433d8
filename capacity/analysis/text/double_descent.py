"""Double descent, and what the bits of a model are: memorized or generalised (Morris et al., arXiv
2505.24832, sections 4.2 and 4.3).

For each model over data sets of growing size:

    data bits     code length of the members under the reference model of the same size
    memorized     unintended bits over that reference by the mixture of both models, a code that
                  exists (`attacks.unintended`); the paper's clipped bits are beside it: they are at
                  most a bit per sequence more, which is noise where sequences are many
    generalised   bits that the model takes off a code of log2 V per token, minus the memorized ones
    capacity      the most bits that the model memorized over all sizes (Definition 5), over the
                  parameters: alpha, by `capacity`; a lower bound where that is the smallest or
                  largest size tried

The largest of several means is too high: noise chooses it. So each seed is read at the size of the
data that the other seeds choose (a maximum of means by cross-validation: Stone 1974, J. R. Stat.
Soc. B 36, 111; its bias is 0 where sizes are equal and else negative, van Hasselt 2013, arXiv
1302.7175). The largest mean stands beside it.

The loss on held-out text can rise while data fill the model and fall beyond. The paper puts the
peak where data bits equal capacity, and means by capacity alpha P with the alpha of random data
(section 4.2); so the peak is given over that, too, where a study of random data has measured it
(`random_capacity`), and only this ratio stands beside the published one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from capacity.analysis.text.schema import (
    Descent,
    Estimate,
    Frame,
    RandomCapacity,
)
from capacity.analysis.text.sizes import parameters
from capacity.fitting import groups
from capacity.fitting.statistics import student

FEWEST = 5  # different sizes of the data set
CLEAR = 2.0  # standard errors by which a peak must stand above both sides
NORMAL_95 = 1.959964  # half the width of a normal 95% interval in standard deviations
SIZES_OF_A_PEAK = 3  # of the parabola
RANDOM_SEED = 20251128  # a stream of its own: bootstraps of seeds stay what they were


def analyse(
    targets: Frame,
    random: Mapping[str, RandomCapacity] | None = None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, Descent]:
    """By model: means over seeds by data bits per parameter, the peak of the held-out loss with a
    95% interval, and the capacity. Intervals of the peak resample seeds within each size of the
    data set, widened for so few (`few`); with one seed there is none. Empty where sizes or
    references are too few.

    random: by model, what it holds of random data; the noise of that number is in the interval of
    the ratio over it, as a normal one of its logarithm."""
    if "unintended_same_mixture" not in targets:
        return {}
    rng, out = np.random.default_rng(seed), {}
    for model, group in targets.dropna(subset=["unintended_same_mixture"]).groupby("model"):
        if groups.number(group.tokens_per_parameter) >= FEWEST:
            one = (random or {}).get(str(model))
            out[str(model)] = _model(group, one, rng, n_boot)
    return out


def _model(
    group: Frame, random: RandomCapacity | None, rng: np.random.Generator, n_boot: int
) -> Descent:
    p = parameters(group)
    table = pd.DataFrame(
        {
            "seed": group.seed,
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
    means = pd.DataFrame([part.drop(columns="seed").mean() for part in sizes])
    x = np.log2(means.data.to_numpy())
    held_out = [part.held_out.to_numpy(float) for part in sizes]
    at, seeds = peak(x, means.held_out.to_numpy()), min(map(len, held_out))
    curves = [y[rng.integers(0, len(y), (n_boot, len(y)))].mean(axis=1) for y in held_out]
    draws = np.array([peak(x, curve) for curve in np.stack(curves, axis=1)])
    draws = 2 ** (at + (draws - at) * few(seeds))
    most = float(means.memorized.max())
    alpha, error, dof = capacity([part.set_index("seed").memorized for part in sizes])
    # where no seed is left out the noise of the largest mean is not known
    known = not np.isnan(error)
    alpha = alpha if known else most
    reach = float(student(dof)) * error if known else np.nan
    alphas = alpha + error * np.random.default_rng(RANDOM_SEED).standard_t(max(dof, 1), n_boot)
    several = seeds > 1
    se = np.array(
        [part.held_out.std(ddof=1) / np.sqrt(len(part)) if len(part) > 1 else 0.0 for part in sizes]
    )
    return {
        "parameters": int(p.iloc[0]),
        "sizes": means.to_dict("list"),
        "seeds": seeds,
        "alpha": {"value": alpha, "interval": [alpha - reach, alpha + reach] if known else None},
        "most": most,
        "left_out": known,
        "at_edge": int(np.argmax(means.memorized)) in (0, len(means) - 1),
        "clear": clear(means.held_out.to_numpy(), se),
        "peak": _with_interval(2**at, draws, several),
        "peak_over_capacity": _with_interval(
            2**at / alpha, draws / np.maximum(alphas, 1e-3 * alpha), several and known
        ),
        "random": random,
        "peak_over_random": _over_random(group, 2**at, draws, random, several),
    }


def few(seeds: int) -> float:
    """By how much a bootstrap over so few seeds, of three sizes, is too narrow: its variance is
    that of the sample over n, not n - 1, and it knows no Student's t."""
    if seeds < 2:
        return 1.0
    return float(student(SIZES_OF_A_PEAK * (seeds - 1))) / NORMAL_95 * np.sqrt(seeds / (seeds - 1))


def capacity(sizes: list[pd.Series]) -> tuple[float, float, float]:
    """The most bits per parameter over sizes of the data, its standard error, and degrees of
    freedom. sizes: of each, bits per parameter by seed.

    Each seed is read at the size whose mean over the other seeds is largest, and the number is the
    mean over seeds: what it is read by did not choose it. The seeds that choose are the same ones
    but for one, so that the readings are not independent: their variance counts as (1 / n + 1 /
    (n - 1)) times that of one (Nadeau & Bengio 2003, Mach. Learn. 52, 239). NaN, NaN, 0 with fewer
    than two seeds that all sizes have."""
    table = pd.DataFrame({i: part.groupby(level=0).mean() for i, part in enumerate(sizes)}).dropna()
    values = table.to_numpy(float)  # [seeds, sizes]
    if len(values) < 2:
        return np.nan, np.nan, 0.0
    others = (values.sum(axis=0) - values) / (len(values) - 1)
    read = np.take_along_axis(values, others.argmax(axis=1)[:, None], axis=1)[:, 0]
    n = len(read)
    return float(read.mean()), float(read.std(ddof=1) * np.sqrt(1 / n + 1 / (n - 1))), n - 1.0


def _over_random(
    group: Frame, at: float, draws: np.ndarray, random: RandomCapacity | None, several: bool
) -> Estimate | None:
    """The peak over the bits of random data that all of P holds, rows that are not in use, too; no
    interval where either number has none."""
    if random is None:
        return None
    part = float(parameters(group).iloc[0] / group.parameters_total.iloc[0])
    alpha, ends = random["alpha"]["value"], random["alpha"]["interval"]
    sd = 0.0 if ends is None else float(np.log(ends[1] / ends[0]) / (2 * NORMAL_95))
    noise = np.exp(sd * np.random.default_rng(RANDOM_SEED).standard_normal(len(draws)))
    return _with_interval(at * part / alpha, draws * part / (alpha * noise), several and ends)


def peak(x: np.ndarray, y: np.ndarray) -> float:
    """Where a curve through points is highest: the top of the parabola through the highest point
    inside and its neighbours, else the highest end. Of the ends, only the right one competes: a
    peak needs a fall after it."""
    i = int(np.argmax(y))
    if i in (0, len(x) - 1):
        return float(x[i])
    left, right = np.diff(y[i - 1 : i + 2]) / np.diff(x[i - 1 : i + 2])
    curvature = (right - left) / (x[i + 1] - x[i - 1])
    if curvature >= 0:
        return float(x[i])
    return float(np.clip((x[i - 1] + x[i]) / 2 - left / (2 * curvature), x[i - 1], x[i + 1]))


def clear(y: np.ndarray, se: np.ndarray) -> bool:
    """Whether the highest point lies inside and stands CLEAR standard errors above the lowest on
    both sides."""
    i = int(np.argmax(y))
    if i in (0, len(y) - 1):
        return False
    left, right = int(np.argmin(y[:i])), i + 1 + int(np.argmin(y[i + 1 :]))
    return all(y[i] - y[j] > CLEAR * np.hypot(se[i], se[j]) for j in (left, right))


def _with_interval(value: float, draws: np.ndarray, several: object) -> Estimate:
    return {
        "value": float(value),
        "interval": [float(q) for q in np.quantile(draws, [0.025, 0.975])] if several else None,
    }
