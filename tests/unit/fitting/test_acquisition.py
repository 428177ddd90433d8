"""Formulas of acquisition against hand cases of the paper's definitions (arXiv 2406.11813, section
3.2), and planted decays that are found again with the coverage of their interval."""

import numpy as np
import pytest

from capacity.fitting import acquisition
from capacity.fitting.statistics import LEVEL, t_interval

STEP = np.arange(0, 220, 10)


def test_local_maxima_and_effectivity_by_hand():
    """Views with updates 21 and 101; the best of (20, 70] is at 50, of (100, 150] at 110; a larger
    value behind the window counts for neither."""
    log_p = np.full(len(STEP), -9.0)
    log_p[STEP == 20], log_p[STEP == 50], log_p[STEP == 80] = -8.0, -5.0, -1.0
    log_p[STEP == 100], log_p[STEP == 110], log_p[STEP == 160] = -7.0, -4.5, -0.5
    told = acquisition.views(STEP, log_p, np.array([20, 100]), 50)
    assert told.lam.tolist() == [50, 110]
    assert told.before.tolist() == [-8.0, -7.0] and told.best.tolist() == [-5.0, -4.5]
    assert told.effectivity.tolist() == [3.0, 2.5]


def test_the_first_of_equal_maxima_counts_and_the_view_itself_does_not():
    """argmax over t > t_i: what held just before the view is no maximum of it, even if larger."""
    log_p = np.where(STEP <= 20, -1.0, -3.0)
    told = acquisition.views(STEP, log_p, np.array([20]), 50)
    assert told.lam.tolist() == [30] and told.effectivity.tolist() == [-2.0]


def test_a_window_ends_with_the_next_view():
    log_p = -np.abs(STEP - 60.0)
    told = acquisition.views(STEP, log_p, np.array([20, 40]), 50)
    assert told.lam.tolist() == [40, 60]


@pytest.mark.parametrize("seen", [[-5], [210], [20, 22]])
def test_views_without_probes_around_them_are_refused(seen):
    with pytest.raises(ValueError, match="a probe before it and one within its window"):
        acquisition.views(STEP, np.zeros(len(STEP)), np.array(seen), 50)


def test_retainability_by_hand():
    """-10 before, -4 at the maximum, -7 later: half is left; a probe that lost has no share."""
    told = acquisition.retainability(
        np.array([-10.0, -3.0]), np.array([-4.0, -3.5]), np.array([[-4.0, -7.0, -11.0], [0, 0, 0]])
    )
    assert told[0] == pytest.approx([1.0, 0.5, -1 / 6]) and np.isnan(told[1]).all()


def test_outliers_beyond_the_fences_are_cut():
    """Of 1, 2, 3, 4, 100 the quartiles are 2 and 4, the fences -1 and 7."""
    values = np.array([[1.0], [2.0], [3.0], [4.0], [100.0], [np.nan]])
    mean, kept = acquisition.mean_within_fences(values)
    assert mean.tolist() == [2.5] and kept.tolist() == [4]
    mean, kept = acquisition.mean_within_fences(np.full((3, 1), np.nan))
    assert np.isnan(mean).all() and kept.tolist() == [0]


def test_what_is_held_is_above_what_others_got_by_hand():
    """10 nats before, 4 at the maximum and 7 later, while others went from 9 to 8 and 8.5: 5 and
    2.5 nats are its own."""
    told = acquisition.held(
        np.array([10.0]),
        np.array([4.0]),
        np.array([[7.0]]),
        np.array([9.0]),
        np.array([[8.0, 8.5]]),
    )
    assert told.tolist() == [[5.0, 2.5]]


def test_a_straight_decay_is_found_exactly():
    """R = 1.2 - 0.4 log10 t meets 0 at 1,000 steps."""
    lags = acquisition.lags_up_to(500)
    line = acquisition.decay(lags, 1.2 - 0.4 * np.log10(lags))
    assert (line.a, line.c, line.threshold) == pytest.approx((0.4, 1.2, 1000.0))
    assert line.r2 == pytest.approx(1.0)


def test_a_decay_that_does_not_fall_has_no_threshold():
    lags = np.array([10, 20, 40])
    assert acquisition.decay(lags, np.array([0.5, 0.6, 0.7])).threshold is None
    flat = acquisition.decay(lags, np.array([0.5, 0.5, 0.5]))
    assert flat.threshold is None and flat.r2 is None and flat.a == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="2 lags"):
        acquisition.decay(lags[:2], np.array([1.0, 0.5]))


def test_lags_are_half_octaves():
    assert acquisition.lags_up_to(40).tolist() == [10, 14, 20, 28, 40]
    assert acquisition.lags_up_to(9).tolist() == []


def test_log_probabilities_between_probes_are_straight_and_none_behind_the_last():
    told = acquisition.after(np.array([0, 10]), np.array([0.0, 1.0]), 2, np.array([3, 8, 9]))
    assert told[:2] == pytest.approx([0.5, 1.0]) and np.isnan(told[2])


def _replicate(rng, a, facts=16, noise=0.3):
    """Mean retainability of one run: facts that gain 2 to 6 nats and lose a per decade, each
    probe with noise of its own."""
    lags = acquisition.lags_up_to(1000)
    gain = rng.uniform(2, 6, facts)
    later = -12 + gain[:, None] * (1.2 - a * np.log10(lags)) + noise * rng.normal(size=(facts, 1))
    later += noise * rng.normal(size=later.shape)
    retained = acquisition.retainability(np.full(facts, -12.0), -12 + gain, later)
    return acquisition.decay(lags, acquisition.mean_within_fences(retained)[0])


def test_planted_decays_are_covered_by_intervals_over_replicates():
    """200 studies of six replicates: the 95% interval of the mean of a covers the planted one. The
    count is binomial with standard error sqrt(0.95 x 0.05 / 200) = 1.5%; 3 of these below 95%."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        low, high = t_interval([_replicate(rng, 0.4).a for _ in range(6)])
        covered += low <= 0.4 <= high
    assert covered / 200 >= LEVEL - 3 * np.sqrt(LEVEL * (1 - LEVEL) / 200)
    assert covered < 200  # the noise is seen
    thresholds = [_replicate(rng, 0.4).threshold for _ in range(100)]
    assert np.median(thresholds) == pytest.approx(1000, rel=0.1)
