"""Labels of two groups within blocks: exact p by hand, no false alarms, power, intervals."""

import itertools

import numpy as np
import pytest
from scipy import stats

from capacity.fitting import two_groups
from capacity.fitting.two_groups import difference


def test_p_is_the_share_of_labellings_as_extreme_as_the_data():
    """Three against three: 20 labellings, of which the data and their mirror image are the most
    extreme; two such blocks have 400."""
    block = (np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    one, two = difference([block]), difference([block, block])
    assert one.p == one.smallest_p == 2 / 20 and one.exact
    assert two.p == two.smallest_p == 2 / 400
    assert one.value == two.value == 3


def test_p_agrees_with_scipy():
    rng = np.random.default_rng(3)
    for n, m in itertools.product((2, 3, 4), (3, 4)):
        a, b = rng.normal(size=n), rng.normal(size=m)
        theirs = stats.permutation_test(
            (a, b), lambda x, y: abs(x.mean() - y.mean()), alternative="greater", n_resamples=1e5
        )
        assert difference([(a, b)]).p == pytest.approx(theirs.pvalue)


def test_blocks_may_be_of_different_sizes():
    blocks = [(np.ones(1), np.zeros(3)), (np.array([2.0]), np.array([0.0, 1.0]))]
    found = difference(blocks)
    assert found.smallest_p == 1 / (4 * 3) and found.p == found.smallest_p
    assert found.value == pytest.approx((1 + 1.5) / 2)


def test_level_differences_between_blocks_do_not_matter():
    rng = np.random.default_rng(0)
    blocks = [(rng.normal(size=3) + 0.5, rng.normal(size=3)) for _ in range(2)]
    moved = [(a + 1e3 * i, b + 1e3 * i) for i, (a, b) in enumerate(blocks)]
    assert difference(moved).p == difference(blocks).p
    assert difference(moved).value == pytest.approx(difference(blocks).value)


def test_drawn_labellings_agree_with_all(monkeypatch):
    rng = np.random.default_rng(1)
    blocks = [(rng.normal(size=4) + 0.8, rng.normal(size=4)) for _ in range(2)]
    exact = difference(blocks)
    monkeypatch.setattr(two_groups, "ALL", 10)
    drawn = difference(blocks)
    assert not drawn.exact and exact.exact
    error = np.sqrt(exact.p * (1 - exact.p) / two_groups.DRAWN)
    assert abs(drawn.p - exact.p) < 5 * error + 1 / two_groups.DRAWN


def test_without_a_difference_p_is_small_as_rarely_as_it_says():
    """400 draws of an exact test: over 35 p <= 5% have a chance below 0.1%."""
    rng = np.random.default_rng(5)
    few = sum(
        difference([(rng.normal(size=3), rng.normal(size=3)) for _ in range(2)]).p <= 0.05
        for _ in range(400)
    )
    assert 3 <= few <= 35


def test_intervals_hold_the_truth_and_need_a_group_of_two():
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(400):
        blocks = [(rng.normal(1, 0.2, 3), rng.normal(0, 0.2, 3)) for _ in range(2)]
        low, high = difference(blocks).interval
        held += low <= 1 <= high
    assert stats.binom.cdf(held, 400, 0.95) > 1e-3 and stats.binom.sf(held - 1, 400, 0.95) > 1e-3
    assert difference([(np.ones(1), np.zeros(1))]).interval is None


@pytest.mark.parametrize("blocks", [[], [(np.ones(2), np.ones(0))], [(np.ones(2), [np.nan])]])
def test_nothing_to_compare_is_refused(blocks):
    with pytest.raises(ValueError, match="two groups"):
        difference(blocks)
