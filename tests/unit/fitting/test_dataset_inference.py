"""Dataset inference: p is uniform by chance, small where a shift was planted."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.fitting import dataset_inference as inference


def _features(rng, n, shift=0.0, unit=None):
    x = rng.standard_t(4, (n, 12))
    x[:, 6:] = x[:, :6] + 0.05 * x[:, 6:]  # nearly the same again
    if unit is not None:
        x += rng.standard_normal((unit.max() + 1, 12))[unit]
    return x + shift


def _uniform(p):
    """Kolmogorov's test would call p values that are too large a fault too: only small ones are."""
    p = np.array(p)
    return all((p <= level).mean() <= level + 3 * np.sqrt(level / len(p)) for level in (0.05, 0.2))


def test_p_is_not_smaller_than_chance_makes_it():
    p = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        p.append(inference.infer(_features(rng, 50), _features(rng, 50), seed=seed).p)
    assert _uniform(p)
    assert 0.4 < np.mean(p) < 0.6


def test_units_are_what_is_independent():
    p, as_documents = [], []
    unit = np.repeat(np.arange(20), 10)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        members, others = _features(rng, 200, unit=unit), _features(rng, 200, unit=unit)
        p.append(inference.infer(members, others, (unit, unit + 20), seed).p)
        as_documents.append(inference.infer(members, others, seed=seed).p)
    assert _uniform(p)
    assert not _uniform(as_documents)


def test_a_small_shift_of_all_features_is_seen():
    rng = np.random.default_rng(0)
    found = inference.infer(_features(rng, 600, 0.25), _features(rng, 600))
    assert found.p is not None and found.p < 1e-4
    assert found.units == (300, 300)
    turned = inference.infer(_features(rng, 600), _features(rng, 600, 0.25))
    assert turned.p is not None and turned.p < 0.01  # weights find their own sign


def test_the_t_test_is_welchs():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(2)
    a, b = rng.normal(0.3, 1, 14), rng.normal(0, 3, 31)
    expected = ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
    assert inference._higher(a, b) == pytest.approx(expected, rel=1e-9)
    assert inference._higher(np.ones(3), np.ones(4)) == 0.5


def test_nothing_of_half_b_decides():
    """Outliers of half B change no weight: p changes only through their own scores, which clipping
    bounds."""
    rng = np.random.default_rng(3)
    members, others = _features(rng, 80, 0.4), _features(rng, 80)
    half = inference._halves((np.arange(80), np.arange(80, 160)), np.random.default_rng(0))
    far = members.copy()
    at = np.flatnonzero(~half[0])[0]
    far[at], members[at] = 1e12, 1e3
    assert inference.infer(far, others).p == inference.infer(members, others).p


def test_missing_features_and_few_units():
    rng = np.random.default_rng(4)
    members, others = _features(rng, 40, 1.0), _features(rng, 40)
    members[3, 2] = np.nan
    members, others = (
        np.column_stack([x, np.full(40, np.nan), np.ones(40)]) for x in (members, others)
    )
    found = inference.infer(members, others)
    assert found.p is not None and found.p < 0.01
    none = inference.infer(members[:12], others)
    assert none.p is None and none.reason == "12 units; it needs 16"
    both = np.repeat(np.arange(8), 5)
    assert inference.infer(members, others, (both, both)).p is None
