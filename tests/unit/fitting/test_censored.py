"""Censored regression and regression of ranks: against scipy's maximum of likelihoods that are
written out here, planted slopes, and their coverage."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom, norm

from capacity.analysis.text.simulated import OTHERS, SIZE, VIEWS, draw
from capacity.fitting import censored, ranks


def columns(table):
    return np.column_stack([np.ones(len(table)), table.seen, table["size"]])


def kinds(table):
    return [table[name].to_numpy() for name in ("run", "sequence", "cell")]


def test_the_censored_maximum_is_that_of_scipy():
    rng = np.random.default_rng(0)
    n = 126
    x = np.column_stack([np.ones(n), rng.uniform(0, 9, n), rng.uniform(12, 15, n)])
    y = x @ [-55.0, 3.07, 3.82] + 1.3 * rng.standard_normal(n)
    low, high = np.full(n, 2.44), np.full(n, 11.0)
    found = censored.fit(x, y, low, high, [np.arange(n) // 7])

    def unlikely(theta):
        m, s = x @ theta[:3], np.exp(theta[3])
        below, above = y <= low, y >= high
        inside = ~below & ~above
        return -(
            norm.logpdf(y[inside], m[inside], s).sum()
            + norm.logcdf((low - m) / s)[below].sum()
            + norm.logsf((high - m) / s)[above].sum()
        )

    settings = {"maxiter": 20000, "maxfev": 20000, "xatol": 1e-9, "fatol": 1e-12}
    best = minimize(unlikely, [-50, 3, 3.5, 0.0], method="Nelder-Mead", options=settings)
    assert found.beta == pytest.approx(best.x[:3], rel=1e-5)
    assert found.sigma == pytest.approx(np.exp(best.x[3]), rel=1e-5)
    inside = ((y > low) & (y < high)).sum()
    assert (found.below, found.between) == ((y <= low).sum(), inside)
    assert found.below + found.between + found.above == n


def test_the_maximum_of_ranks_is_that_of_scipy():
    """By quadrature of another kind: Gauss and Legendre's 200 nodes over 8 standard deviations on
    both sides."""
    table = draw(np.random.default_rng(1)).iloc[::6]
    x, most = columns(table), 41
    count = ranks.count_of(table.exposure, table.at_most)
    assert most == ranks.most_of(OTHERS) and binom.sf(most - 1, OTHERS, 1e-2) == pytest.approx(
        0.5, abs=0.1
    )
    found = ranks.fit(x, count, OTHERS, kinds(table))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    nodes, weights = 8 * nodes, 8 * weights * norm.pdf(8 * nodes)

    def unlikely(theta):
        e = (x @ theta[:3])[:, None] + np.exp(theta[3]) * nodes
        p = 2.0 ** -np.maximum(e, 0.0)
        of_count = np.where(
            (count >= most)[:, None],
            binom.sf(most - 1, OTHERS, p),
            binom.pmf(count[:, None], OTHERS, p),
        )
        return -np.log(np.maximum(of_count @ weights, 1e-300)).sum()

    at = np.append(found.beta, np.log(found.sigma))
    best = minimize(unlikely, at, method="BFGS", options={"gtol": 1e-3})
    assert found.beta == pytest.approx(best.x[:3], rel=1e-3)
    assert found.sigma == pytest.approx(np.exp(best.x[3]), rel=1e-3)
    assert unlikely(at) <= best.fun + 1e-3


def test_slopes_of_ranks_are_those_of_the_likelihood():
    table = draw(np.random.default_rng(2)).iloc[::9]
    z = columns(table) - [0.0, 6.0, 13.0]
    most = ranks.most_of(OTHERS)
    count = np.minimum(ranks.count_of(table.exposure, table.at_most), most)
    data = ranks._Data(z, count, np.ones(len(z)), *ranks._integral(OTHERS, most))
    theta, step = np.array([3.0, 2.0, 3.0, 0.9]), 1e-5
    slope, curvature = data.derivatives(theta)
    for i, unit in enumerate(np.eye(4) * step):
        change = data.likelihood(theta + unit) - data.likelihood(theta - unit)
        assert slope.sum(axis=0)[i] == pytest.approx(change / (2 * step), rel=1e-5, abs=1e-5)
        bend = data.derivatives(theta + unit)[0] - data.derivatives(theta - unit)[0]
        assert -curvature[i] == pytest.approx(bend.sum(axis=0) / (2 * step), rel=1e-4, abs=1e-4)


def test_planted_slopes_are_covered_and_lines_through_chosen_levels_are_not():
    """60 studies: at a coverage of 95% fewer than 51 hits come in one in 1,000 tests. Least squares
    between the ends, and a censored line that takes exposures at the ceiling as they read, are
    flatter by more than their scatter."""
    rng = np.random.default_rng(3)
    hits, flat, naive = [], [], []
    for _ in range(60):
        table = draw(rng)
        x, count = columns(table), ranks.count_of(table.exposure, table.at_most)
        found = ranks.fit(x, count, OTHERS, kinds(table))
        hits.append(
            [
                low <= planted <= high
                for i, planted in ((1, VIEWS), (2, SIZE))
                for low, high in [found.interval(i)]
            ]
        )
        n = len(table)
        limits = np.full(n, 6.64), np.full(n, 12.0)
        naive.append(censored.fit(x, table.exposure.to_numpy(), *limits, kinds(table)).beta[1:])
        levels = table.groupby(["run", "seen", "size"]).exposure.mean().reset_index()
        some = levels[(levels.exposure > 2.44) & (levels.exposure < 11.0)]
        flat.append(np.linalg.lstsq(columns(some), some.exposure.to_numpy(), rcond=None)[0][1:])
    assert min(np.sum(hits, axis=0)) >= 51
    for wrong in (np.array(flat), np.array(naive)):
        assert (wrong.mean(axis=0) + 2 * wrong.std(axis=0) < [VIEWS, SIZE]).all()


def test_scores_that_share_any_cluster_are_summed():
    rng = np.random.default_rng(4)
    pull = rng.standard_normal((60, 3)) + 0.5
    a, b, c = np.arange(60) // 6, np.arange(60) % 15, np.arange(60) // 20
    share = (a[:, None] == a) | (b[:, None] == b) | (c[:, None] == c)
    written_out = pull.T @ share @ pull
    values, vectors = np.linalg.eigh(written_out)
    written_out = (vectors * np.maximum(values, 0)) @ vectors.T
    found = censored.crossed(pull, [a, b, c])
    assert (np.diag(found) >= np.diag(written_out) * (1 - 1e-12)).all()
    for one in ([a], [b], [c], [a, b]):
        least = np.diag(censored.crossed(pull, one))
        assert (np.diag(found) >= least * (1 - 1e-12)).all()
    alone = np.stack([np.bincount(a, column) for column in pull.T], axis=1)
    assert censored.crossed(pull, [a]) == pytest.approx(alone.T @ alone)


def test_points_that_determine_no_line_have_none():
    table = draw(np.random.default_rng(5))
    x, clusters = columns(table), kinds(table)
    assert ranks.fit(x, np.zeros(len(table), int), OTHERS, clusters) is None
    assert ranks.fit(x, np.full(len(table), 500), OTHERS, clusters) is None
    few = [np.minimum(clusters[0], 2), *clusters[1:]]
    count = ranks.count_of(table.exposure, table.at_most)
    assert ranks.fit(x, count, OTHERS, few) is None
    twice = np.column_stack([x, x[:, 1]])
    assert ranks.fit(twice, count, OTHERS, clusters) is None
