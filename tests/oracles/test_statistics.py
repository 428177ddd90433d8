"""`fitting.statistics` beside scipy.stats, statsmodels and exact arithmetic, on random and extreme
input."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from capacity.fitting import ratios, statistics

EPS = np.finfo(float).eps
WHOLE = st.integers(-50, 50).map(float)  # sums of these are exact, so that ties are ties
VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=40)


@given(st.floats(0.3, 1e6), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_quantile_of_student_leaves_its_level_between(dof, level):
    t = statistics.student(dof, level)
    # one ulp of t moves the cdf by t pdf(t) eps, at most eps dof^0.5; 1e-10 is what the inverse of
    # the incomplete beta function is good for
    assert stats.t.cdf(t, dof) - stats.t.cdf(-t, dof) == pytest.approx(level, abs=1e-9)
    np.testing.assert_array_equal(
        statistics.student(np.array([dof, 3.0]), level)[1], statistics.student(3.0, level)
    )


@given(VALUES, st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_of_a_mean_is_that_of_a_t_test(values, level):
    low, high = statistics.t_interval(values, level=level)
    n, most = len(values), max(map(abs, values))
    # mean and standard deviation of n values are known to n eps of the largest
    room = 8 * n * EPS * most * (1 + statistics.student(n - 1, level))
    if np.std(values) <= n * EPS * most:  # scipy declares equal values to have no interval
        assert low == pytest.approx(np.mean(values), abs=room) == high
        return
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    assert low == pytest.approx(expected.low, abs=room)
    assert high == pytest.approx(expected.high, abs=room)


def test_one_value_has_no_interval_and_another_error_widens_in_quadrature():
    assert all(math.isnan(end) for end in statistics.t_interval([3.0]))
    assert all(math.isnan(end) for end in statistics.t_interval([]))
    x, more = [1.0, 2.0, 4.0], 0.7
    low, high = statistics.t_interval(x, more)
    half = math.hypot(stats.t.ppf(0.975, 2) * stats.sem(x), stats.norm.ppf(0.975) * more)
    assert (low, high) == pytest.approx((np.mean(x) - half, np.mean(x) + half), rel=1e-12)


@given(
    st.floats(-10, 10),
    st.floats(0.1, 10),
    st.floats(0.01, 3),
    st.floats(0.01, 3),
    st.floats(-0.99, 0.99),
    st.floats(0.5, 13),
)
def test_ends_of_fieller_are_where_the_t_test_of_a_ratio_turns(a, b, sd_a, sd_b, corr, t):
    cov = [[sd_a**2, corr * sd_a * sd_b], [corr * sd_a * sd_b, sd_b**2]]
    value, interval = statistics.fieller(a, b, cov, t)
    assert value == a / b
    if b * b <= t * t * cov[1][1]:
        assert interval is None  # b may be 0: ratios of any size fit
        return
    assert interval is not None
    low, high = interval
    assert low <= value * (1 + 1e-12 * np.sign(value)) and value <= high + 1e-12 * abs(high)
    # the ends are the roots of (a - rho b)^2 = t^2 var(a - rho b), in rational arithmetic
    A, B, T = Fraction(a), Fraction(b), Fraction(t)
    (aa, ab), (_, bb) = [[Fraction(x) for x in row] for row in cov]
    for rho in map(Fraction, interval):
        parts = [(A - rho * B) ** 2, T**2 * aa, 2 * T**2 * rho * ab, (T * rho) ** 2 * bb]
        rest = parts[0] - (parts[1] - parts[2] + parts[3])
        # a quadratic moves by its slope where its root is off; cancellation in b^2 - t^2 bb is in
        # the root itself
        square = float(B * B - T * T * bb)
        slope = abs(2 * square * float(rho) - 2 * float(A * B - T * T * ab))
        size = float(B * B + T * T * bb)
        room = 64 * EPS * size / square * (1 + abs(float(rho))) * (slope + size)
        assert abs(float(rest)) <= room + 64 * EPS * float(sum(map(abs, parts)))


def test_a_ratio_without_noise_is_its_own_interval_and_a_denominator_below_zero_has_none():
    assert statistics.fieller(3.0, 2.0, [[0, 0], [0, 0]], 1.96) == (1.5, [1.5, 1.5])
    assert statistics.fieller(1.0, -2.0, np.eye(2) * 1e-6, 2.0) == (-0.5, None)
    value, interval = statistics.fieller(1.0, 0.0, np.eye(2), 2.0)
    assert math.isnan(value) and interval is None


@given(st.lists(WHOLE, min_size=2, max_size=9))
def test_sign_flips_are_the_permutation_test_of_scipy(d):
    ours = statistics.sign_flips(d)
    for key, alternative in (("p_more", "greater"), ("p", "two-sided")):
        theirs = stats.permutation_test(
            (np.array(d),),
            np.sum,
            permutation_type="samples",
            alternative=alternative,
            n_resamples=np.inf,
        )
        assert ours[key] == pytest.approx(theirs.pvalue, rel=1e-12)  # counts over 2^n
    assert ours["exact"] and ours["smallest_p"] == 2.0 ** -len(d)


@given(st.integers(19, 60), st.integers(0, 2**32 - 1), st.floats(0, 0.6))
def test_drawn_sign_flips_estimate_the_exact_p(n, seed, shift):
    d = np.round(10 * (np.random.default_rng(seed).standard_normal(n) + shift)).astype(int)
    counts = {0: 1}  # of signed sums over all 2^n flips, exactly
    for x in map(int, d):
        after: dict[int, int] = {}
        for total, count in counts.items():
            for other in (total + x, total - x):
                after[other] = after.get(other, 0) + count
        counts = after
    exact = sum(count for total, count in counts.items() if total >= d.sum()) / 2**n
    ours = statistics.sign_flips(d)
    drawn = statistics.FLIPS // n
    # five standard errors of a binomial share, and the one that the data add
    room = 5 * math.sqrt(max(exact * (1 - exact), 1 / drawn) / drawn) + 2 / drawn
    assert not ours["exact"] and ours["p_more"] == pytest.approx(exact, abs=room)
    assert ours["smallest_p"] is None and ours["p_more"] >= 1 / (1 + drawn)


@given(st.lists(st.tuples(st.floats(0.1, 1e3), st.floats(0.1, 1e3)), min_size=2, max_size=12))
def test_pairs_give_the_t_test_of_differences_and_of_every_other_ratio(pairs):
    """Fieller's interval holds the ratios r that Student's test of a - r b does not reject."""
    a, b = np.array(pairs).T
    ours = ratios.paired(a, b)
    if np.std(a - b) < 1e-6 * np.abs(a - b).max() + 1e-9:
        return
    assert ours["p_t"] == pytest.approx(stats.ttest_1samp(a - b, 0.0).pvalue, rel=1e-6, abs=1e-12)
    assert ours["effect"] == pytest.approx(a.mean() / b.mean(), rel=1e-12)
    if ours["interval"] is None:
        assert stats.ttest_1samp(b, 0.0).pvalue > 0.05 - 1e-9
    elif np.std(a - ours["effect"] * b) > 1e-6 * a.mean():
        for end in ours["interval"]:
            assert stats.ttest_1samp(a - end * b, 0.0).pvalue == pytest.approx(0.05, abs=1e-3)
    groups = np.arange(len(a)) % 2
    sizes = ratios.paired(a, b, by=groups)["sizes"]
    size = [(a + b)[groups == g].mean() / 2 for g in (0, 1)]
    sides = [sum(x[groups == g].mean() / size[g] for g in (0, 1)) for x in (a, b)]
    assert sizes["units"] == 2 and sizes["effect"] == pytest.approx(sides[0] / sides[1], rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.none()), max_size=12))
def test_holm_is_that_of_statsmodels_over_the_p_values_that_exist(p):
    ours = statistics.holm(p)
    known = [x for x in p if x is not None]
    theirs = multipletests(known, method="holm")[1] if known else []
    assert [x for x in ours if x is not None] == pytest.approx(list(theirs), rel=1e-12)
    assert [x is None for x in ours] == [x is None for x in p]


@given(st.integers(2, 200), st.floats(1e-4, 1e4), st.sampled_from([0.6, 0.8, 0.9, 0.99]))
def test_the_detectable_difference_has_its_power_by_statsmodels(n, sd, power):
    # the far tail, which statsmodels' two-sided power adds, is no detection of this difference
    paired = statistics.detectable(sd, n, power=power)
    apart = statistics.detectable(sd, n, paired=False, power=power)
    assert TTestPower().power(
        paired["effect"] / sd, n, 0.025, alternative="larger"
    ) == pytest.approx(power, abs=1e-7)
    assert TTestIndPower().power(
        apart["effect"] / sd, n, 0.025, alternative="larger"
    ) == pytest.approx(power, abs=1e-7)
    ends = statistics.detectable(sd, n, sd_dof=n - 1)["interval"]
    limits = sd * np.sqrt((n - 1) / stats.chi2.ppf([0.975, 0.025], n - 1))
    whole = statistics.detectable(sd, n)["effect"]
    np.testing.assert_allclose(ends, whole * limits / sd, rtol=1e-9)


@given(st.floats(0.02, 0.9))
def test_the_needed_replicates_are_the_fewest_with_the_power(effect):
    n = statistics.needed_replicates(1.0, effect)
    assert n is not None and n > statistics.SIMULATED

    def power(count):
        return TTestPower().power(effect, count, 0.025, alternative="larger")

    assert power(n) >= statistics.POWER - 1e-7
    if n - 1 > statistics.SIMULATED:
        assert power(n - 1) < statistics.POWER + 1e-7


def test_few_replicates_need_what_interval_and_exact_test_together_need():
    n, draws = 6, 20_000  # of 6, p <= 5% only where all differences have one sign: 2 / 64
    assert statistics.fewest_replicates() == n
    assert [statistics.fewest_replicates(k) for k in (2, 3, 10)] == [7, 7, 9]
    x = statistics.standardized_effect(n) + np.random.default_rng(5).standard_normal((draws, n))
    shown = (stats.ttest_1samp(x, 0.0, axis=1).pvalue <= 0.05) & (np.abs(np.sign(x).sum(1)) == n)
    error = math.sqrt(0.16 / draws + 0.16 / statistics.DRAWS)
    assert shown.mean() == pytest.approx(statistics.POWER, abs=5 * error)


@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_a_winner_is_worth_what_the_other_seeds_choose(options, seeds, seed):
    rng = np.random.default_rng(seed)
    grid = rng.standard_normal((options, seeds))
    where = rng.permutation(options * seeds)
    option, column = np.divmod(where, seeds)
    ours = statistics.winner(grid[option, column], option, column, draws=50)
    means = grid.mean(1)
    fresh = [grid[np.argmax(np.delete(grid, left, axis=1).mean(1)), left] for left in range(seeds)]
    assert ours["option"] == means.argmax() and ours["value"] == pytest.approx(means.max())
    assert ours["fresh"] == pytest.approx(np.mean(fresh), rel=1e-12, abs=1e-12)


def test_the_bias_of_a_winner_is_that_of_the_largest_of_normal_means():
    # the expected maximum of 4 standard normals is 1.0294 (order statistics, Harter 1961)
    rng, options, seeds, sd, studies = np.random.default_rng(1), 4, 40, 0.1, 200
    option, seed = np.divmod(np.arange(options * seeds), seeds)
    over = [
        statistics.winner(sd * rng.standard_normal(options * seeds), option, seed, draws=1)["value"]
        for _ in range(studies)
    ]
    expected = 1.0294 * sd / math.sqrt(seeds)
    assert np.mean(over) == pytest.approx(expected, abs=5 * 0.70 * sd / math.sqrt(seeds * studies))
    equal = np.repeat(0.0, options * seeds) + sd * np.tile([-1.0, 1.0], options * seeds // 2)
    ours = statistics.winner(equal, option, seed, draws=4000)  # means that are equal, noise sd
    pooled = sd * math.sqrt(seeds / (seeds - 1))
    assert ours["bias"] == pytest.approx(1.0294 * pooled / math.sqrt(seeds), rel=0.1)
