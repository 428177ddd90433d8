"""What is predicted from counts of facts, by hand, and what of single facts it explains, against
regressions over the facts written out."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from capacity.fitting import smi

RNG = np.random.default_rng(0)


def test_a_case_by_hand():
    """16 documents: the subject in 4, the object in 8, both in 4: p(s,o) = 1/4, PMI = log2[(1/4) /
    (1/4 x 1/2)] = 1 bit, I = 1/4, log2 I = -2."""
    assert smi.pointwise(4, 4, 8, 16) == pytest.approx(1.0)
    assert smi.contribution(4, 4, 8, 16) == pytest.approx(0.25)
    # both in 2 only: p(s,o) = 1/8 = p(s) p(o), independent
    assert smi.pointwise(2, 4, 8, 16) == pytest.approx(0.0)
    assert smi.contribution(3, 6, 4, 32) == pytest.approx(3 / 32 * 2)  # 3/32 / (6/32 x 4/32) = 4


def test_the_logarithm_is_floored_to_fifths_and_scaled():
    assert smi.floored([-2.0, -1.81, -1.8, 0.39, 0.6]) == pytest.approx([-2, -2, -1.8, 0.2, 0.6])
    assert smi.scaled([-2.0, -1.0, 2.0], -2.0, 2.0) == pytest.approx([0, 0.25, 1])
    with pytest.raises(ValueError, match="all facts have one value, 3; nothing can be scaled"):
        smi.scaled([3.0], 3.0, 3.0)


def test_the_exponent_is_that_of_the_paper():
    """1 + 1 / log2 P: of Pythia-14M to BLOOM-176B from 1.042 to 1.027."""
    for parameters, exponent in ((14e6, 1.042), (12e9, 1.030), (176e9, 1.027)):
        found = math.log(smi.smi(0.5, parameters)) / math.log(0.5)
        assert found == pytest.approx(exponent, abs=5e-4)
    assert smi.smi([0.0, 1.0], 1e6) == pytest.approx([0, 1])


def cells(k=1, C=7):
    n_C = RNG.integers(1, 9, C)
    x_CK = RNG.standard_normal((C, k))
    of = np.repeat(np.arange(C), n_C)
    y = x_CK[of] @ np.arange(1, k + 1) + RNG.standard_normal(len(of))
    sums = np.bincount(of, y), np.bincount(of, y**2)
    return x_CK, n_C.astype(float), *sums, x_CK[of], y


@pytest.mark.parametrize("k", [1, 2])
def test_sums_of_cells_give_the_regression_of_single_facts(k):
    x_CK, n_C, sum_C, square_C, x, y = cells(k)
    theirs = LinearRegression().fit(x, y)
    theta = smi.line(x_CK, n_C, sum_C)
    assert theta == pytest.approx([theirs.intercept_, *theirs.coef_], rel=1e-9)
    assert smi.explained(theta, x_CK, n_C, sum_C, square_C) == pytest.approx(theirs.score(x, y))
    other = theta + 1.0
    error = ((y - other[0] - x @ other[1:]) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert smi.explained(other, x_CK, n_C, sum_C, square_C) == pytest.approx(1 - error)


def test_means_of_bins_leave_out_what_single_facts_do():
    n_C, x_C = np.array([9.0, 9.0, 9.0, 1.0]), np.array([0.0, 0.2, 0.4, 0.4])
    sum_C = np.array([0.0, 9.0, 16.0, 4.0])  # the third bin: 20 of 10 facts, 2 on average
    assert smi.explained_means(x_C, x_C, n_C, sum_C) == pytest.approx(1.0)
    square_C = 10 * n_C + sum_C**2 / n_C  # of facts that are far apart
    theta = smi.line(x_C[:, None], n_C, sum_C)
    assert 0 < smi.explained(theta, x_C[:, None], n_C, sum_C, square_C) < 0.1
    assert math.isnan(smi.explained_means(x_C[:2], x_C[:2], n_C[:2], sum_C[:2]))


def test_nothing_is_explained_of_outcomes_that_are_alike():
    x_CK, n_C, *_ = cells()
    with pytest.raises(ValueError, match="outcomes of all facts are alike"):
        smi.explained(np.zeros(2), x_CK, n_C, n_C * 0.0, n_C * 0.0)
