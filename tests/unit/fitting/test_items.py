"""Trends over conditions, logistic shares, and what fuzzy copies are worth: by hand, and planted
truth found again."""

import itertools

import numpy as np
import pytest
from scipy.special import expit

from capacity.fitting import shares
from capacity.fitting.copies import Curve, worth
from capacity.fitting.forecast import expected_hits, forecast
from capacity.fitting.trends import trend


def test_a_trend_by_hand():
    """Two replicates of three rising values: of 36 orders only one rises as far and one falls."""
    found = trend(np.array([[1.0, 2.0, 3.0], [0.0, 5.0, 9.0]]))
    assert found.p == pytest.approx(2 / 36) and found.exact and found.smallest_p == 2 / 36
    assert found.slope == pytest.approx(0.5 * (1.0 + 4.5))
    flat = trend(np.ones((3, 4)))
    assert flat.p == 1.0 and flat.slope == 0.0


def test_two_conditions_are_a_test_of_signs():
    """Of six replicates that all rise 2 of 64 are as extreme; of five 2 of 32, above 5%."""
    rise = np.array([[0.0, 1.0 + i] for i in range(6)])
    assert trend(rise).p == 2 / 64 and trend(rise[:5]).p == 2 / 32
    assert trend(-rise).p == 2 / 64 and trend(-rise).slope < 0


def test_a_trend_is_that_of_every_order_tried_one_by_one():
    y = np.random.default_rng(3).normal(size=(3, 3))
    place = np.arange(3) - 1.0
    every = [
        sum(row @ np.array(p) for row, p in zip(y, orders, strict=True))
        for orders in itertools.product(itertools.permutations(place), repeat=3)
    ]
    found = (y @ place).sum()
    assert trend(y).p == pytest.approx(np.mean(np.abs(every) >= abs(found) - 1e-12))


def test_drawn_orders_agree_with_all_of_them_and_hold_their_level():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4, 4)) + 0.4 * np.arange(4)
    drawn = trend(np.vstack([y, rng.normal(size=(3, 4))]))
    assert not drawn.exact and 0 < drawn.p <= 1
    assert drawn.smallest_p >= 1 / 20001
    p = np.array([trend(rng.normal(size=(3, 4))).p for _ in range(400)])
    assert (p <= 0.05).mean() < 0.09  # 5% in principle, 0.4% of such samples are above


@pytest.mark.parametrize("y", [np.ones((3, 1)), np.full((2, 2), np.nan), np.ones(3)])
def test_what_has_no_trend_is_refused(y):
    with pytest.raises(ValueError, match="a trend needs"):
        trend(y)


def test_slopes_of_shares_are_found_again():
    rng = np.random.default_rng(1)
    x = np.array(list(itertools.product(range(7), (13.0, 15.0), (10.0, 12.0, 14.0))))
    truth = np.array([-3.0, 0.9, 0.4, -0.5])
    share = expit(truth[0] + x @ truth[1:])
    exact = shares.fit(x, share)
    assert exact.beta == pytest.approx(truth, abs=1e-6) and exact.rms < 1e-8
    noisy = shares.fit(x, share + 0.01 * rng.normal(size=len(x)))
    assert noisy.beta[1:] == pytest.approx(truth[1:], abs=0.1) and noisy.rms == pytest.approx(
        0.01, rel=0.4
    )
    assert noisy.predict(x) == pytest.approx(share, abs=0.03)


def test_what_does_not_determine_slopes_is_refused():
    x = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, 8.0]])
    with pytest.raises(ValueError, match="along every axis"):
        shares.fit(x, np.array([0.1, 0.2, 0.3, 0.4]))
    with pytest.raises(ValueError, match="jump"):
        shares.fit(x[:, :1], np.array([0.0, 0.0, 1.0, 1.0]))


def test_worth_of_a_copy_by_hand():
    """Exact copies 1 to 5 have 0.5, 0.6, 0.7, 0.8, 0.9. One exact copy and four fuzzy ones that
    reach 0.65 are as 2.5 exact ones: (2.5 - 1) / 4; at most what one copy leaves: 0; as five: 1."""
    copies, exact = np.arange(1.0, 6), np.array([0.5, 0.6, 0.7, 0.8, 0.9])

    def rho(value, n=5.0):
        return worth([Curve(copies, exact, np.array([n]), np.array([value]))])

    assert rho(0.65) == pytest.approx(0.375, abs=1e-4)
    assert rho(0.6, n=3.0) == pytest.approx(0.5, abs=1e-4)
    assert rho(0.9) >= 1.0
    assert rho(0.3) == pytest.approx(0.0, abs=1e-3)


def test_a_planted_worth_is_found_again_over_several_models():
    """Also where numbers of copies double, so that lines between them would give 0.04 too much."""
    copies = 2.0 ** np.arange(7)
    for rho in (0.0, 0.2, 0.5, 0.8):
        curves = []
        for a in (-5.0, -4.0):
            values = expit(a + np.log2(copies))
            fuzzy = expit(a + np.log2(1 + rho * (copies - 1)))
            curves.append(Curve(copies, values, copies[1:], fuzzy[1:]))
        assert worth(curves) == pytest.approx(rho, abs=0.012)


def test_a_curve_that_falls_by_noise_is_levelled():
    one = Curve(np.array([1.0, 2, 4]), np.array([0.1, 0.5, 0.4]), np.array([4.0]), np.array([0.3]))
    assert one.level().tolist() == [0.1, 0.45, 0.45]
    flat = Curve(np.array([1.0, 2]), np.array([0.4, 0.2]), np.array([2.0]), np.array([0.3]))
    assert worth([flat]) is None
    single = Curve(np.array([1.0, 2]), np.array([0.1, 0.2]), np.array([1.0]), np.array([0.1]))
    assert worth([single]) is None


def test_a_forecast_by_hand():
    """Six sequences, the target writes 0, 1, 2 and 4; foreseen are 0, 1 and 5: precision 2 / 3,
    recall 2 / 4. By copies the one of 9 comes first (written), then two of the three of 4 copies,
    of which two are written: 1 + 2 x 2 / 3."""
    target = np.array([1, 1, 1, 0, 1, 0], bool)
    predictor = np.array([1, 1, 0, 0, 0, 1], bool)
    copies = np.array([9, 4, 4, 4, 1, 1])
    found = forecast(predictor, target, copies)
    assert (found.foreseen, found.written) == (3, 4)
    assert found.precision == 2 / 3 and found.recall == 2 / 4
    assert found.precision_by_copies == pytest.approx((1 + 4 / 3) / 3)
    assert found.recall_by_copies == pytest.approx((1 + 4 / 3) / 4)
    assert expected_hits(copies, target, 6) == pytest.approx(4.0)


def test_a_forecast_of_nothing_has_no_precision():
    none = forecast(np.zeros(3, bool), np.ones(3, bool), np.array([1, 2, 3]))
    assert none.precision is None and none.recall == 0.0 and none.recall_by_copies == 0.0
    assert forecast(np.ones(3, bool), np.zeros(3, bool), np.ones(3)).recall is None
