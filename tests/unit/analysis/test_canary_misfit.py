"""The tests of misfit of the laws of canaries: a true law is rejected as often as it says, also
with few models; what a law lacks is told."""

import numpy as np
import pytest
from scipy.stats import f as fisher

from capacity.analysis.text import canaries, simulated

STUDIES, DRAWS = 120, 199


def fitted(name, table):
    return canaries._fit(name, table, canaries._columns(table))


def p_of(name, table, draws=DRAWS):
    return canaries.lack_of_fit(name, table, fitted(name, table), draws)


def wald(name, table):
    """As before: terms beside the law, by the covariance of clusters."""
    seen, size, passes = (table[c] - table[c].mean() for c in ("seen", "size", "passes"))
    out = []
    for terms in ([seen**2, seen * size, size**2], [passes]):
        x = np.column_stack([np.ones(len(table)), seen, size, *terms])
        found = canaries._fit(name, table, x)
        if found is not None:
            at = slice(3, x.shape[1])
            beta, cover = found.beta[at], found.covariance[at, at]
            square = beta @ np.linalg.solve(cover, beta)
            out.append(fisher.sf(square / len(beta), len(beta), found.dof))
    return out


@pytest.fixture
def small(monkeypatch):
    """Studies of 18 models like those of `make coverage`, with fewer canaries."""
    monkeypatch.setattr(simulated, "EACH", 3)
    monkeypatch.setattr(simulated, "LEVELS", 6)


@pytest.mark.slow
@pytest.mark.long
def test_a_true_law_is_rejected_in_one_study_of_twenty(small):
    now, before = [], []
    for draw in range(STUDIES):
        table = simulated.draw(np.random.default_rng([draw, 3]), "even")
        now.append(p_of("logistic", table)["any"])
        before.append(min(wald("logistic", table), default=1.0))
    most = 0.05 + 3 * (0.05 * 0.95 / STUDIES) ** 0.5
    assert np.mean(np.array(now) < 0.05) <= most < np.mean(np.array(before) < 0.05)
    assert 0.3 < np.median(now) < 0.8  # and it is no test that never rejects


@pytest.mark.parametrize(
    "kind, name",
    [("passes", "exposure"), ("passes", "logistic"), ("unequal slopes", "exposure")],
)
def test_what_a_law_lacks_is_told(kind, name):
    table = simulated.draw(np.random.default_rng(5), kind)
    p = p_of(name, table)
    assert p["any"] < 0.05 and p["passes" if kind == "passes" else "bend"] < 0.05


def test_the_same_study_has_the_same_p_and_one_p_for_both_tests():
    table = simulated.draw(np.random.default_rng(6))
    p = p_of("exposure", table)
    assert p == p_of("exposure", table)
    assert min(p["bend"], p["passes"]) <= p["any"] <= 2 * min(p["bend"], p["passes"]) + 0.02


def test_models_that_do_not_differ_in_passes_or_size_are_not_asked_about_them():
    table = simulated.draw(np.random.default_rng(7))
    one = table[table.passes == table.passes.min()]
    assert p_of("logistic", one)["passes"] is None
    alone = one[one["size"] == one["size"].max()]
    p = p_of("logistic", alone)
    assert (
        p["passes"] is None
        and 0 < p["bend"] <= 1
        and p["any"] == pytest.approx(p["bend"], abs=0.02)
    )
