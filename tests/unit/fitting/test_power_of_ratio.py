"""What a study of three or four seeds could tell of a ratio by Fieller's interval, against
simulated studies whose truth is just that."""

import numpy as np
import pytest

from capacity.fitting import power, ratios
from capacity.fitting.power_of_ratio import Noise
from capacity.fitting.statistics import fieller, student

RANGE = (0.9, 1.1)
STUDIES = 1200
SHARE = 3 * (0.8 * 0.2 / STUDIES) ** 0.5 + 0.01  # and of the draws behind the printed values


def interval(kind, a, b):
    if kind == "pairs":
        return ratios.of_pairs(a, b)["interval"]
    n = len(a)
    means = (ratios.Mean(x.mean(), x.var(ddof=1) / n, n - 1) for x in (a, b))
    return ratios.of_means(*means)["interval"]


def share(kind, n, sd, truth, side):
    rng, hits = np.random.default_rng(3), 0
    a = truth * (1 + sd * rng.standard_normal((STUDIES, n)))
    b = 1 + sd * rng.standard_normal((STUDIES, n))
    for one, other in zip(a, b, strict=True):
        if ends := interval(kind, one, other):
            hits += ends[1] < RANGE[0] if side == "below" else ends[0] > RANGE[1]
    return hits / STUDIES


def noise(kind, n, sd):
    dof = (n - 1.0,) if kind == "pairs" else (n - 1.0, n - 1.0)
    return Noise(1.0, 1.0, (sd**2 / n, 0.0, sd**2 / n), dof)


@pytest.mark.parametrize("kind", ["pairs", "means"])
@pytest.mark.parametrize("n, sd", [(3, 0.05), (3, 0.1), (4, 0.1)])
def test_four_of_five_studies_tell_the_printed_ratio(kind, n, sd):
    told = power.tellable_ratio(noise(kind, n, sd), RANGE)
    for side in ("below", "above"):
        assert share(kind, n, sd, told[side], side) == pytest.approx(0.8, abs=SHARE), side


def test_what_was_printed_before_was_told_by_two_in_three():
    """Two means of three seeds: a shift of the interval by a factor."""
    n, sd = 3, 0.1
    cov = [[sd**2 / n, 0.0], [0.0, sd**2 / n]]
    ends = fieller(1.0, 1.0, cov, float(student(2 * (n - 1))))[1]
    before = power.tellable(1.0, ends, RANGE, dof=2 * (n - 1), spread=power.LOGARITHMIC)
    for side in ("below", "above"):
        assert share("means", n, sd, before[side], side) < 0.8 - SHARE


def test_a_seed_that_both_share_is_no_noise_and_an_unknown_denominator_tells_nothing():
    close = Noise(1.0, 1.0, (0.01, 0.0099, 0.01), (3.0,))
    alone = Noise(1.0, 1.0, (0.01, 0.0, 0.01), (3.0,))
    assert power.tellable_ratio(close, RANGE)["above"] < power.tellable_ratio(alone, RANGE)["above"]
    lost = power.tellable_ratio(Noise(1.0, 1.0, (0.2, 0.0, 0.2), (2.0,)), RANGE)
    assert lost["below"] is None and lost["above"] is None


def test_a_peak_over_models_is_judged_by_its_own_level():
    """The lower end of a maximum holds for all models together, so that it is farther away."""
    level = ratios.together(0.95, 4)
    t, wide = float(student(6)), float(student(6, level))
    told = power.tellable(
        1.0, [1 - 0.05 * wide, 1 + 0.05 * t], RANGE, dof=6, sides=power.Sides(levels=(level, 0.95))
    )
    plain = power.tellable(1.0, [1 - 0.05 * t, 1 + 0.05 * t], RANGE, dof=6)
    assert told["below"] == pytest.approx(plain["below"]) and told["above"] > plain["above"]
