"""Documents that stand out: calibrated false positive rates, intervals that cover, groups."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.fitting import flagging


def test_p_is_the_rank_among_the_others():
    others = np.arange(99.0)
    got = flagging.ranks(np.array([100.0, 98.0, 97.5, -1.0, np.nan]), others)
    assert got.p[:4].tolist() == [0.01, 0.02, 0.02, 1.0]
    assert got.flagged.tolist() == [True, False, False, False, False]
    assert got.words == ["flagged", "like others", "like others", "like others", "cannot tell"]
    assert flagging.ranks(np.array([50.0]), others).words == ["cannot tell"]
    assert flagging.resolves(99) and not flagging.resolves(98)
    ties = flagging.ranks(np.array([1.0]), np.ones(9))
    assert ties.p.tolist() == [1.0]  # equal scores are no reason to flag
    with pytest.raises(ValueError, match="finite"):
        flagging.ranks(np.zeros(2), np.array([np.nan]))


def test_one_in_a_hundred_that_is_like_the_others_is_flagged():
    """Over draws of both, whatever the distribution."""
    rng = np.random.default_rng(0)
    flagged = [
        flagging.ranks(rng.standard_cauchy(50), rng.standard_cauchy(150)).flagged.mean()
        for _ in range(400)
    ]
    # 20,000 documents of 400 sets of others; the rate of a set scatters by about 0.8%
    assert np.mean(flagged) == pytest.approx(1 / 151, abs=4 * np.std(flagged) / 20)
    assert np.mean(flagged) <= 0.01


def test_the_interval_covers_the_rate_of_the_population():
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    at, covered = np.array([0.0, 1.5, 2.3]), np.zeros(3)
    for _ in range(500):
        got = flagging.ranks(at, rng.standard_normal(200))
        covered += (got.low <= norm.sf(at)) & (norm.sf(at) <= got.high)
    assert (covered >= 0.95 * 500 - 3 * np.sqrt(500 * 0.05 * 0.95)).all()


def test_the_interval_knows_units():
    from scipy.stats import norm

    rng, unit = np.random.default_rng(2), np.repeat(np.arange(20), 20)
    at, covered, narrow = np.array([0.0, 1.0]), np.zeros(2), np.zeros(2)
    rate = norm.sf(at / np.sqrt(2))
    for _ in range(300):
        others = rng.standard_normal(20)[unit] + rng.standard_normal(400)
        for count, units in ((covered, unit), (narrow, None)):
            got = flagging.ranks(at, others, units)
            count += (got.low <= rate) & (rate <= got.high)
    assert (covered / 300 >= 0.91).all()  # of 20 units the variance itself is hardly known
    assert (narrow / 300 < 0.75).all()


def test_others_among_themselves():
    got = flagging.ranks_among_themselves(np.arange(200.0))
    assert got.p[-1] == 1 / 200 and got.p[0] == 1.0
    assert got.flagged.sum() == 2 and got.others == 199


def test_the_share_flagged_by_copies_is_clopper_pearsons():
    from scipy.stats import binomtest

    copies = np.array([1] * 50 + [2] * 4 + [3, 4, 9, 12])
    flagged = np.zeros(58, bool)
    flagged[[0, 50, 51, 56]] = True
    levels = flagging.by_copies(flagged, copies)
    assert [(x.name, x.documents, x.flagged) for x in levels] == [
        ("1", 50, 1),
        ("2", 4, 2),
        ("3 to 4", 2, 0),
        ("9 to 16", 2, 1),
    ]
    for x in levels:
        exact = binomtest(x.flagged, x.documents).proportion_ci(method="exact")
        assert x.interval == pytest.approx(tuple(exact), abs=1e-9)
    wide = flagging.level("1", np.repeat([True, False], 20), np.repeat(np.arange(4), 10))
    assert wide.interval == pytest.approx(
        tuple(binomtest(2, 4).proportion_ci(method="exact")), abs=1e-9
    )


def _population(rng, groups, size, shift=0.0, alike=0.7):
    unit = np.repeat(np.arange(groups), size)
    return shift + alike * rng.standard_normal(groups)[unit] + rng.standard_normal(len(unit)), unit


def test_groups_that_are_alike_within_are_called_at_risk_no_more_often_than_chance():
    called, naive, runs = 0, 0, 200
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        others, units = _population(rng, 30, 8)
        mine, of = _population(rng, 30, 8)
        ranked = flagging.ranks(mine, others, units)
        own = flagging.ranks_among_themselves(others, units)
        names = [f"author {i:02d}" for i in of]
        called += any(g.at_risk for g in flagging.by_group(ranked, names, own, units))
        naive += any(g.at_risk for g in flagging.by_group(ranked, names, own, None))
    assert called / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert naive / runs > 0.2  # what documents that count as independent would say


def test_a_group_that_was_memorized_is_found_and_named():
    rng = np.random.default_rng(7)
    others, units = _population(rng, 40, 8, alike=0.4)
    mine, of = _population(rng, 20, 8, alike=0.4)
    mine[of == 3] += 3.0
    names = [f"author {i:02d}" for i in of]
    own = flagging.ranks_among_themselves(others, units)
    found = flagging.by_group(flagging.ranks(mine, others, units), names, own, units)
    assert [g.name for g in found if g.at_risk] == ["author 03"]
    assert found[3].documents == 8 and found[3].mean_rank < 0.05 and found[3].flagged >= 2
    few = flagging.by_group(flagging.ranks(mine, others), names, own, units % 9)
    assert all(g.p is None and not g.at_risk for g in few)
