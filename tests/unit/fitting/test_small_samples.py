"""Intervals of shares, AUC, F1 and true positive rates know how many sequences they are about."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from capacity.fitting import membership, separation
from capacity.fitting import small_samples as small
from capacity.fitting.small_samples import Cell, coverage
from capacity.fitting.statistics import clustered_proportion, proportion, share_interval

GRID = np.linspace(0.0005, 0.9995, 1999)


def least(expected, samples):
    """Three standard errors of a simulation below an expected coverage."""
    return expected - 3 * math.sqrt(expected * (1 - expected) / samples)


@given(st.integers(1, 1000), st.floats(0, 1))
def test_the_interval_of_a_share_is_scipys_exact_one(n, part):
    k = round(part * n)
    ours, theirs = proportion(k / n, n), stats.binomtest(k, n).proportion_ci(method="exact")
    # scipy solves for the ends to 1e-12, and k / n n rounds k
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 30, 100, 1000])
def test_the_interval_of_a_share_never_covers_less_than_it_says(n):
    counted = small.share_coverage(n, GRID)
    assert counted["least"] >= 0.95 - 1e-9  # sums of binomial chances
    for other, average in ((small.wilson, 0.95), (small.jeffreys, 0.945)):
        approximate = small.share_coverage(n, GRID, other)
        assert approximate["coverage"] > average > 0.93 > approximate["least"]  # hence not these


def test_a_share_of_nothing_is_not_known_and_a_wrong_one_is_refused():
    assert proportion(0.3, 0) == (0.0, 1.0)
    assert proportion(1.0, 8) == (pytest.approx(0.025 ** (1 / 8)), 1.0)  # P(8 of 8) = p^8
    with pytest.raises(ValueError, match="a share between 0 and 1"):
        proportion(1.1, 8)


def test_answers_of_one_person_are_not_independent():
    people = np.random.default_rng(0).random(20) < 0.5
    alike, mixed = np.repeat(people[:, None], 6, 1), np.random.default_rng(0).random((20, 6)) < 0.5
    all_alike, all_mixed = (clustered_proportion(x.mean(1)) for x in (alike, mixed))
    of_people = proportion(people.mean(), 20)
    assert np.diff(all_alike) > np.diff(of_people)  # the variance is estimated, hence wider
    assert np.diff(all_mixed) < np.diff(of_people)
    assert clustered_proportion([1.0] * 8) == proportion(1.0, 8)
    assert clustered_proportion([0.5] * 8) == proportion(0.5, 8)


def test_models_that_are_all_at_the_end_have_no_interval():
    assert np.isnan(share_interval([1.0, 1.0, 1.0])).all()
    assert np.isnan(share_interval([0.7])).all()
    low, high = share_interval([0.9, 0.99, 1.0])
    assert 0.8 < low < 0.9 and high == 1.0


def test_two_members_above_two_others_prove_little():
    found = separation.statistics(np.array([3.0, 4.0]), np.array([1.0, 2.0]))
    assert found["auc"] == found["f1_median"] == 1.0
    # as 2 of 2: Wilson's lower end is 1 / (1 + z^2 / 2), the exact one is sqrt(0.025)
    z = stats.norm.ppf(0.975)
    assert found["auc_interval"] == pytest.approx([1 / (1 + z * z / 2), 1.0], abs=1e-8)
    assert found["f1_median_interval"] == pytest.approx([math.sqrt(0.025), 1.0], abs=1e-8)
    assert found["tpr_at_0.01"] is None and found["tpr_at_0.01_interval"] is None


@given(
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30),
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30),
)
def test_intervals_hold_their_number_have_a_width_and_turn_with_the_sides(members, others):
    members, others = np.array(members), np.array(others)
    found = separation.statistics(members, others)
    turned = separation.statistics(others, members)
    for name in ("auc", "f1_median"):
        low, high = found[f"{name}_interval"]
        assert 0 <= low <= found[name] <= high <= 1 and high - low > 0.1
    # ends are found to 1e-9
    assert turned["auc_interval"] == pytest.approx(
        [1 - x for x in reversed(found["auc_interval"])], abs=1e-8
    )


def test_of_many_sequences_the_interval_is_that_of_delong():
    drawn = small.population("wide", 0.8)
    members, others = drawn.draw(np.random.default_rng(0), 2000, 3000)
    pairs = members[:, None] > others
    value = pairs.mean()
    error = math.sqrt(pairs.mean(1).var(ddof=1) / 2000 + pairs.mean(0).var(ddof=1) / 3000)
    low, high = separation.auc_interval(members, others)
    # PRIOR adds 3 / 2000 of the largest variance, which is a few times DeLong's
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.01)
    assert (high + low) / 2 == pytest.approx(
        value, abs=0.1 * error
    )  # a score interval leans inward


@pytest.mark.parametrize("shape", small.SHAPES)
@pytest.mark.parametrize(("m", "n"), [(2, 2), (2, 10), (3, 200), (10, 10), (100, 100)])
def test_the_interval_of_an_auc_covers_it(shape, m, n):
    """On average over AUCs by what it says; no kind of sample far below, where AUCs of so few
    sequences have only some values (`make coverage`: 85% of 5 against 5 that fall apart)."""
    samples = 150
    found = [coverage(Cell("auc", shape, auc, m, n), samples) for auc in (0.6, 0.9)]
    covered = [row["coverage"] for row in found]
    assert min(covered) >= least(0.90, samples)
    assert np.mean(covered) >= least(0.93, 2 * samples)


@pytest.mark.parametrize("shape", ["normal", "wide", "narrow", "part"])
@pytest.mark.parametrize(
    ("number", "m", "n"),
    [
        ("f1", 2, 2),
        ("f1", 10, 30),
        ("f1", 100, 100),
        ("tpr 0.1", 5, 100),
        ("tpr 0.1", 300, 100),
        ("tpr 0.01", 30, 1000),
        ("tpr 0.01", 1000, 1000),
    ],
)
def test_intervals_of_f1_and_rates_cover_them(number, shape, m, n):
    found = coverage(Cell(number, shape, 0.8, m, n), 100)
    assert found["coverage"] >= least(0.945, 100)


def test_the_noise_of_the_threshold_is_most_of_the_noise_of_a_rate():
    """1,000 members say a rate to 1.5%, but 10 non-members set the threshold of it."""
    cell = Cell("tpr 0.01", "normal", 0.95, 1000, 1000)
    truth, _ = small.of(cell.number, cell.shape, cell.auc)
    rng, drawn = np.random.default_rng(0), small.population(cell.shape, cell.auc)
    held = 0
    for _ in range(100):
        low, high = proportion(membership.tpr_at(*drawn.draw(rng, 1000, 1000), 0.01), 1000)
        held += low <= truth <= high
    assert held < 60 < 100 * coverage(cell, 100)["coverage"]


@pytest.mark.parametrize("shape", ["normal", "wide", "part", "rounded"])
def test_truths_of_populations_are_those_of_large_samples(shape):
    drawn = small.population(shape, 0.8)
    members, others = drawn.draw(np.random.default_rng(0), 40_000, 40_000)
    error = math.sqrt(0.25 / 40_000)
    assert drawn.auc == pytest.approx(membership.auc(members, others), abs=4 * error)
    if shape != "rounded":
        assert drawn.f1 == pytest.approx(membership.f1_median(members, others), abs=4 * error)
        rate = membership.tpr_at(members, others, 0.1)
        low, high = separation.tpr_interval(members, others, 0.1)
        assert high - low < 0.05 and rate is not None
        assert drawn.tpr(0.1) == pytest.approx(rate, abs=high - low)


@pytest.mark.parametrize(("m", "n"), [(2, 2), (3, 40), (500, 200)])
def test_where_all_are_separated_numbers_say_the_interval(m, n):
    members, others = np.arange(m) + 1.0, -np.arange(n)
    assert separation.separated_interval(1.0, m, n) == separation.auc_interval(members, others)
    assert separation.separated_interval(0.0, m, n) == separation.auc_interval(-members, -others)
    with pytest.raises(ValueError, match="an AUC of 0 or 1"):
        separation.separated_interval(0.9, m, n)


def test_windows_of_a_document_are_not_independent():
    """Documents that are alike inside count as one sequence each; where windows differ like those
    of other documents, they count alone."""
    rng = np.random.default_rng(0)
    documents = np.repeat(np.arange(12), 50)
    inside = rng.normal(0, 1e-6, 600)
    mine, theirs = rng.normal(1, 1, 12), rng.normal(0, 1, 12)
    alike = np.repeat(mine, 50) + inside, np.repeat(theirs, 50) + inside
    units = documents, documents + 100
    of_windows, of_documents = (separation.statistics(*alike, units=u) for u in (None, units))
    few = separation.statistics(mine, theirs)
    for name in ("auc_interval", "f1_median_interval"):
        width = np.diff(of_documents[name])[0]
        assert width > 3 * np.diff(of_windows[name])[0]
        assert width == pytest.approx(np.diff(few[name])[0], rel=0.25)
    mixed = rng.normal(1, 1, 600), rng.normal(0, 1, 600)
    apart, together = (separation.statistics(*mixed, units=u) for u in (None, units))
    for name in ("auc_interval", "f1_median_interval"):
        assert np.diff(together[name])[0] < 2.5 * np.diff(apart[name])[0]  # of 12, not of 600
    one = separation.statistics(*alike, units=(np.zeros(600), np.ones(600)))
    assert np.diff(one["auc_interval"])[0] > 0.7  # two documents say next to nothing


def test_intervals_over_documents_cover():
    """Each document has an effect of its own, as large as what windows differ by."""
    rng, held = np.random.default_rng(0), {"auc": 0, "f1": 0, "tpr": 0}
    truth = small.population("normal", 0.8)
    units = np.repeat(np.arange(15), 20), np.repeat(np.arange(15), 20)
    for _ in range(100):
        effects = rng.normal(0, math.sqrt(0.5), (2, 15))
        noise = rng.normal(0, math.sqrt(0.5), (2, 300))
        scores = np.repeat(effects, 20, axis=1) + noise
        members, others = scores[0] + truth.parts[0][1], scores[1]
        ends = {
            "auc": (truth.auc, separation.auc_interval(members, others, units)),
            "f1": (truth.f1, separation.f1_interval(members, others, units)),
            "tpr": (truth.tpr(0.1), separation.tpr_interval(members, others, 0.1, units)),
        }
        for name, (value, (low, high)) in ends.items():
            held[name] += low <= value <= high
    assert min(held.values()) >= 100 * least(0.93, 100), held


def test_p_of_an_auc_is_below_5_percent_where_the_interval_excludes_chance():
    rng, both = np.random.default_rng(11), [0, 0]
    for i in range(200):
        m, n = rng.integers(3, 60, 2)
        members, others = rng.normal(rng.choice([0.0, 0.4, -0.4, 0.8]), 1, m), rng.normal(0, 1, n)
        units = None if i % 2 else (np.arange(m) // 2, 100 + np.arange(n) // 2)
        low, high = separation.auc_interval(members, others, units)
        significant = separation.auc_p(members, others, units) < 0.05
        assert significant == (not low <= 0.5 <= high)
        both[significant] += 1
    assert min(both) > 20
