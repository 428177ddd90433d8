"""The effective size of a damaged model and the place of the worst damage: planted ones are found
again with their intervals, and what is not there is not told."""

import math

import numpy as np
import pytest

from capacity.fitting import peaks
from capacity.fitting.effective_size import effective, jackknifed, size_at

SIZES = [4_000.0, 7_000.0, 11_000.0, 21_000.0, 35_000.0]


def clean(p):
    """A loss in bits per token that falls with parameters."""
    return 2.5 + 40.0 * np.asarray(p, float) ** -0.4


def study(true, noise=0.01, shared=0.05, replicates=4, draw=0):
    """Clean losses and those of models of 11,000 parameters that act as true times as many; what a
    replicate's text costs more is shared."""
    rng = np.random.default_rng(draw)
    text = shared * rng.normal(size=replicates)
    curve = clean(SIZES) + text[:, None] + noise * rng.normal(size=(replicates, len(SIZES)))
    damaged = clean(true * 11_000) + text + noise * rng.normal(size=replicates)
    return curve, damaged


def test_a_power_law_is_read_exactly_between_sizes():
    power = 50.0 * np.array(SIZES) ** -0.3
    for p in (4_000, 5_000, 9_999, 20_000, 35_000):
        assert math.exp(size_at(SIZES, power, 50.0 * p**-0.3)) == pytest.approx(p, rel=1e-9)


def test_a_planted_effective_size_is_found_again():
    for true in (0.45, 0.6, 1.0, 2.0):
        curve, damaged = study(true, noise=0.0, shared=0.0)
        found = effective(SIZES, curve, damaged, 11_000)
        assert found["ratio"] == pytest.approx(true, rel=0.02)
        assert found["bound"] is None and found["reason"] is None


def test_the_interval_holds_the_planted_size():
    """95% in principle: of 200 planted studies at most 20 may miss (more have a probability below
    1 in 1,000), and what replicates share cancels: without pairing it would be ten times as
    wide."""
    missed, widths = 0, []
    for draw in range(200):
        curve, damaged = study(0.6, draw=draw)
        found = effective(SIZES, curve, damaged, 11_000)
        low, high = found["interval"]
        widths.append(high / low)
        missed += not low <= 0.6 <= high
    assert missed <= 20 and np.median(widths) < 1.4


def test_what_lies_beyond_the_sizes_is_a_bound():
    curve, damaged = study(1.0, noise=0.0, shared=0.0)
    found = effective(SIZES, curve, damaged + 1.0, 11_000)
    assert found["ratio"] is None and found["bound"]["side"] == "below"
    assert found["bound"]["end"] == pytest.approx(4 / 11)
    assert found["reason"] == "a loss above that of the smallest size"
    found = effective(SIZES, curve, damaged - 0.5, 11_000)
    assert found["bound"]["side"] == "above" and found["interval"] is None


def test_a_clean_loss_that_does_not_fall_has_no_effective_size():
    curve, damaged = study(0.6, noise=0.0)
    curve[:, 3] = curve[:, 2] + 0.01
    found = effective(SIZES, curve, damaged, 11_000)
    assert found["ratio"] is None and found["bound"] is None
    assert found["reason"] == "the clean loss does not fall from 11,000 to 21,000 parameters"


def test_one_replicate_has_no_interval_and_unequal_ones_are_refused():
    curve, damaged = study(0.6, replicates=1)
    found = effective(SIZES, curve, damaged, 11_000)
    assert found["ratio"] is not None and found["interval"] is None
    assert found["reason"] == "one replicate has no spread"
    with pytest.raises(ValueError, match="of 2 replicates by 5"):
        effective(SIZES, curve, np.array([1.0, 2.0]), 11_000)


def test_the_jackknife_of_a_mean_is_students_interval():
    x = np.array([1.0, 2.0, 4.0, 4.5])
    value, (low, high), why = jackknifed(lambda rows: float(x[rows].mean()), 4)
    half = 3.182446 * x.std(ddof=1) / 2
    assert why is None and (low, high) == pytest.approx((value - half, value + half), rel=1e-5)


# --- the worst place
# --------------------------------------------------------------------------------------------------


def bump(height, n=4, k=7, noise=0.01, draw=0):
    """Outcomes that rise by `height` to the fourth of seven conditions and fall as far."""
    x = np.arange(k)
    y = height * np.exp(-((x - 3) ** 2) / 4)
    return y + noise * np.random.default_rng(draw).normal(size=(n, k))


def test_an_inner_peak_is_told_and_its_top_found():
    found = peaks.inner(bump(0.2))
    assert found.place == 3 and found.height > 0.15 and found.p < 0.001 and not found.exact
    assert peaks.top(np.arange(7.0), bump(0.2, noise=0.0)[0]) == pytest.approx(3.0)
    x = np.array([0.0, 1.0, 3.0])
    assert peaks.top(x, -((x - 1.2) ** 2)) == pytest.approx(1.2)


@pytest.mark.parametrize("shape", ["rises", "falls", "plateau", "nothing"])
def test_what_has_no_inner_peak_is_rarely_told(shape):
    """Of 100 studies without one at most 12 may reach 5% (more have a probability of 0.4%)."""
    x = np.arange(6.0)
    mean = {"rises": x, "falls": -x, "plateau": np.minimum(x, 3), "nothing": 0 * x}[shape]
    told = 0
    for draw in range(100):
        noise = np.random.default_rng(draw).normal(size=(3, 6))
        told += peaks.inner(mean + 0.1 * noise, seed=draw).p <= 0.05
    assert told <= (12 if shape == "nothing" else 1)


def test_all_orders_are_tried_where_they_are_few():
    """Of two replicates by three conditions with one order of values: 36 orders, and the highest
    stands inside of both with either order of the ends."""
    found = peaks.inner(np.array([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]))
    # heights: both inside, ends (0, 1) and (0, 1) or (1, 0) and (1, 0): 1; crossed: 1.5
    assert found.exact and found.height == pytest.approx(1.0) and found.p == pytest.approx(4 / 36)
    assert found.smallest_p == pytest.approx(2 / 36)


def test_peaks_refuse_what_has_no_inside():
    for bad in ([[1.0, 2.0]], [[1.0, np.nan, 2.0]], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="three conditions"):
            peaks.inner(np.array(bad))
    with pytest.raises(ValueError, match="first or the last"):
        peaks.top(np.arange(3.0), np.array([1.0, 2.0, 3.0]))
