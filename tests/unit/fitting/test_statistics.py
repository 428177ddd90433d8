"""Tests and power for pairs."""

import numpy as np
import pytest

from capacity.fitting import statistics


def test_the_smallest_detectable_effect_is_detected_as_often_as_it_says():
    from scipy.stats import ttest_1samp, ttest_ind

    dice = np.random.default_rng(2)
    paired, apart = (
        statistics.detectable(0.02, 6, sd_dof=5),
        statistics.detectable(0.02, 6, paired=False),
    )
    told = [
        ttest_1samp(paired["effect"] + 0.02 * d, 0).pvalue < 0.05
        for d in dice.standard_normal((4000, 6))
    ]
    assert np.mean(told) == pytest.approx(0.8, abs=0.02)
    told = [
        ttest_ind(apart["effect"] + 0.02 * d[:6], 0.02 * d[6:]).pvalue < 0.05
        for d in dice.standard_normal((4000, 12))
    ]
    assert np.mean(told) == pytest.approx(0.8, abs=0.02) and apart["effect"] > paired["effect"] > 0
    assert (
        paired["interval"][0] < paired["effect"] < paired["interval"][1]
        and paired["interval"][1] / paired["interval"][0] > 3
    )  # five degrees of freedom know little
    with pytest.raises(ValueError, match="at least 2 pairs"):
        statistics.detectable(0.02, 1)


def test_the_best_of_pure_noise_warns_and_its_fresh_value_is_unbiased():
    dice, size, seed = (
        np.random.default_rng(0),
        np.repeat(np.arange(8), 3),
        np.tile(np.arange(3), 8),
    )
    told = [
        statistics.winner(3.0 + 0.1 * dice.standard_normal(24), size, seed, draws=200)
        for _ in range(300)
    ]
    value, fresh, bias = (np.mean([t[name] for t in told]) for name in ("value", "fresh", "bias"))
    assert value - 3.0 > 0.07 and abs(fresh - 3.0) < 0.015 and bias > 0.03
    assert np.mean(["biased upward" in (t["warning"] or "") for t in told]) > 0.9
    sure = statistics.winner(
        np.repeat([1.0, 2.0, 9.0], 3) + 0.01 * dice.standard_normal(9),
        np.repeat([0, 1, 2], 3),
        np.tile([0, 1, 2], 3),
    )
    assert sure["option"] == 2 and sure["warning"] is None
    assert "one seed" in statistics.winner([1.0, 2.0], [0, 1], [0, 0])["warning"]
