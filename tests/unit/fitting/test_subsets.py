"""Memorization and influence from models of random halves: planted truth, coverage, and what is
found where nothing is there."""

import numpy as np
import pytest
from scipy import stats

from capacity.fitting import subsets

MODELS, N = 40, 60


def study(seed, mem=None, influence=(), noise=1.0, models=MODELS, n=N):
    """Losses in bits of models that saw half of n sequences each: seeing i takes mem[i] off its own
    loss, and bits off that of j for (i, j, bits) in influence."""
    rng = np.random.default_rng(seed)
    mem = np.full(n, 2.0) if mem is None else mem
    seen = np.zeros((models, n), bool)
    for row in seen:
        row[rng.permutation(n)[: n // 2]] = True
    base = 100 + rng.normal(0, 5, n)
    loss = base + noise * rng.normal(size=(models, n)) - seen * mem
    for i, j, bits in influence:
        loss[:, j] -= bits * seen[:, i]
    return loss, seen


def test_what_is_memorized_is_found_again_sequence_by_sequence():
    mem = np.linspace(-1, 6, N)
    loss, seen = study(0, mem)
    found = subsets.memorized(loss, seen)
    pull = (found.bits - mem) / found.se
    assert abs(pull.mean()) < 4 / N**0.5 and 0.7 < pull.std() < 1.4
    without = np.array([loss[~seen[:, i], i].mean() - loss[seen[:, i], i].mean() for i in range(N)])
    assert found.bits == pytest.approx(without)
    assert found.t == pytest.approx(
        [stats.ttest_ind(loss[~s, i], loss[s, i]).statistic for i, s in enumerate(seen.T)]
    )


def test_intervals_of_the_total_hold_the_truth():
    held = 0
    for seed in range(200):
        loss, seen = study(seed, n=40)
        low, high = subsets.memorized(loss, seen).interval
        held += low <= 2.0 * 20 <= high
    assert stats.binom.cdf(held, 200, 0.95) > 1e-3 and stats.binom.sf(held - 1, 200, 0.95) > 1e-4


def test_where_nothing_is_memorized_as_much_is_found_as_by_chance():
    """30 studies of 60 sequences: 5% of 1,800 are 90, and a study in twenty has one `surely`."""
    above, surely, total = 0, 0, []
    for seed in range(30):
        found = subsets.memorized(*study(seed, np.zeros(N)))
        above += found.above * N
        surely += found.surely > 0
        total.append(found.interval[0] <= 0 <= found.interval[1])
    assert (
        stats.binom.cdf(above, 1800, 0.05) > 1e-4 and stats.binom.sf(above - 1, 1800, 0.05) > 1e-4
    )
    assert surely <= 7 and sum(total) >= 23


def test_a_planted_influence_is_found_and_no_other():
    loss, seen = study(1, influence=[(3, 17, 5.0)])
    found = subsets.influences(loss, seen, strongest=3)
    assert found.pairs == N * (N - 1)
    assert (found.first[0], found.second[0]) == (3, 17) and found.surely == 1
    assert abs(found.bits[0] - 5.0) < 4 * found.se[0] and found.se[0] < 1
    assert not (found.first == found.second).any()


def test_influence_is_what_a_regression_says():
    """Of loss j on whether i and j were seen."""
    loss, seen = study(2, influence=[(5, 6, 4.0)])
    found = subsets.influences(loss, seen, strongest=1)
    i, j = int(found.first[0]), int(found.second[0])
    assert (i, j) == (5, 6)
    x = np.column_stack([np.ones(MODELS), seen[:, i], seen[:, j]]).astype(float)
    beta, residual, *_ = np.linalg.lstsq(x, loss[:, j], rcond=None)
    se = np.sqrt(residual[0] / (MODELS - 3) * np.linalg.inv(x.T @ x)[1, 1])
    assert found.bits[0] == pytest.approx(-beta[1], rel=1e-4)
    assert found.se[0] == pytest.approx(se, rel=1e-4)


def test_what_is_memorized_of_j_is_no_influence_of_i():
    """Half of all sequences are seen, so that whether i and j were seen hangs together; with a
    hundred bits of memorization of its own j must not seem to be influenced."""
    surely = 0
    for seed in range(20):
        found = subsets.influences(*study(seed, np.full(N, 100.0)))
        surely += found.surely > 0
        assert abs(found.tail - found.chance) < 0.003
    assert surely <= 5  # a study in twenty, at most 5 of 20 but for 3 in ten thousand


def test_rare_sequences_that_are_memorized_more_are_found_and_shared_noise_is_not():
    rng = np.random.default_rng(4)
    rare = rng.normal(100, 5, N)
    seen = study(0)[1]
    noise = rng.normal(0, 3, (MODELS, N))
    loss = rare + noise - seen * np.maximum(0, rare - 95)
    found = subsets.rarity(loss, seen)
    assert found.rho > 0.6 and found.interval[0] > 0 and found.p < 0.01
    assert found.tenths.shape == (10, 3) and found.tenths[-1, 1] > found.tenths[0, 1]
    few = 0
    for seed in range(20):  # the same noise would stand in both numbers
        loss, seen = study(seed, np.zeros(N), noise=20.0)
        loss += 20 * np.random.default_rng(seed).normal(size=N) - loss.mean(0)
        few += subsets.rarity(loss, seen).p <= 0.05
    assert few <= 5


def test_so_few_models_that_halves_have_no_two_sides_tell_no_rarity():
    seen = np.zeros((10, N), bool)
    seen[:5] = True
    loss = np.random.default_rng(0).normal(size=seen.shape)
    seen[:, ::2] = ~seen[:, ::2]
    found = subsets.rarity(loss, seen)
    assert found is None or found.tenths.shape == (10, 3)
    assert subsets.rarity(loss[:, :10], seen[:, :10]) is None


@pytest.mark.parametrize("what", ["shape", "nan", "one side"])
def test_tables_that_say_nothing_are_refused(what):
    loss, seen = study(0)
    if what == "shape":
        loss = loss[:, :-1]
    elif what == "nan":
        loss[0, 0] = np.nan
    else:
        seen[:, 0] = True
    with pytest.raises(ValueError, match="models"):
        subsets.memorized(loss, seen)
