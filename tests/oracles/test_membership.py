"""Membership statistics beside scikit-learn and scipy, ties included."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score, roc_curve

from capacity.fitting import membership

SCORES = st.one_of(
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30),  # many ties
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
)


def labelled(members, others):
    return np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others])


@given(SCORES, SCORES)
def test_auc_and_roc_are_those_of_scikit_learn(members, others):
    members, others = np.array(members), np.array(others)
    truth, score = labelled(members, others)
    # counts over m n, so that only the last figure may differ
    assert membership.auc(members, others) == pytest.approx(roc_auc_score(truth, score), abs=1e-14)
    fpr, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
    ours = membership.roc(members, others)
    np.testing.assert_allclose(ours, (fpr, tpr), atol=1e-14)
    assert membership.advantage(members, others) == pytest.approx((tpr - fpr).max(), abs=1e-14)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_rate_at_few_false_alarms_is_the_highest_that_keeps_it(seed, ties, level):
    rng = np.random.default_rng(seed)
    members, others = rng.normal(0.5, 1, 300), rng.normal(0, 1, 1200)
    if ties:
        members, others = members.round(1), others.round(1)
    fpr, tpr, _ = roc_curve(*labelled(members, others), drop_intermediate=False)
    ours = membership.tpr_at(members, others, level)
    assert ours == pytest.approx(tpr[fpr <= level].max(), abs=1e-14)
    assert membership.tpr_at(members, others[:500], 0.01) is None  # 5 false alarms resolve nothing


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_f1_of_the_flagged_half_is_that_of_scikit_learn(n, seed):
    rng = np.random.default_rng(seed)
    members, others = rng.normal(0.5, 1, n), rng.normal(0, 1, n)
    truth, score = labelled(members, others)
    flagged = score > np.median(score)  # of an even number of different scores: exactly half
    assert membership.f1_median(members, others) == pytest.approx(f1_score(truth, flagged))


def test_where_all_scores_are_equal_everything_is_chance():
    same = np.zeros(7), np.zeros(4)
    assert membership.auc(*same) == 0.5
    assert membership.f1_median(*same) == pytest.approx(0.5, rel=1e-14)
    assert membership.advantage(*same) == 0.0


@given(st.integers(5, 60), st.integers(5, 60))
def test_the_standard_error_of_chance_is_that_of_mann_and_whitney(m, o):
    rng = np.random.default_rng(m * 100 + o)
    members, others = rng.standard_normal(m), rng.standard_normal(o)
    test = stats.mannwhitneyu(members, others, method="asymptotic", use_continuity=False)
    z = (membership.auc(members, others) - 0.5) / membership.auc_se(m, o)
    assert 2 * stats.norm.sf(abs(z)) == pytest.approx(test.pvalue, rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_likelihood_ratios_are_those_of_normal_densities(seed, shared):
    rng = np.random.default_rng(seed)
    k, n = 12, 9
    losses, target = rng.normal(3, 1, (k, n)), rng.normal(3, 1, n)
    seen = np.argsort(rng.random((k, n)), axis=0) < k // 2  # every sequence in half of the models
    ours = membership.lira(target, losses, seen, shared_variance=shared)
    sides = []
    for mask in (seen, ~seen):
        values = losses.T[mask.T].reshape(n, k // 2)
        sd = values.std(1, ddof=1)
        if shared:
            sd = np.full(n, math.sqrt(np.mean(sd**2)))
        sides.append(stats.norm.logpdf(target, values.mean(1), sd))
    np.testing.assert_allclose(ours, sides[0] - sides[1], rtol=1e-8, atol=1e-8)
