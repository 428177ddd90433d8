"""The exchange rate of a frontier: planted rates come back, their intervals hold as often as they
say, noise in both families does not pull the rate towards 0, and bent frontiers are told."""

import numpy as np
import pytest

from capacity.fitting import exchange
from capacity.fitting.exchange import Block

MIXES = (0.25, 0.5, 0.75)


def planted(rng, *, pi=1.4, noise=0.03, models=3, seeds=3, bend=0.0):
    """Blocks of y + pi x = alpha with another alpha for each model and seed, noise in both, and a
    bulge in the middle of the frontier."""
    out = []
    for model in range(models):
        for _ in range(seeds):
            alpha = 3.0 + 0.3 * model + 0.1 * rng.standard_normal()
            z = np.array(MIXES)
            x = (alpha / pi) * (1 - z)
            y = alpha - pi * x + bend * np.array([0.0, 1.0, 0.0])
            x = x + noise * rng.standard_normal(3)
            y = y + noise * rng.standard_normal(3)
            out.append(Block(f"model {model}", z, x, y))
    return out


def test_without_noise_the_rate_is_exact_whatever_alpha_a_model_has():
    blocks = planted(np.random.default_rng(0), noise=0.0)
    told = exchange.rate(blocks)
    assert told["value"] == pytest.approx(1.4, abs=1e-12)
    assert told["blocks"] == 9 and told["models"] == 3
    alphas = exchange.level_of(blocks, told["value"])
    assert list(alphas) == ["model 0", "model 1", "model 2"]
    for name, alpha in alphas.items():
        mine = [b for b in blocks if b.group == name]
        each = [np.mean(np.array(b.y) + 1.4 * np.array(b.x)) for b in mine]
        assert alpha == pytest.approx(np.mean(each))


@pytest.mark.parametrize("pi", [1.0, 1.8])
def test_intervals_over_blocks_hold_a_planted_rate_as_often_as_they_say(pi):
    rng, runs = np.random.default_rng(int(10 * pi)), 600
    inside = 0
    for _ in range(runs):
        low, high = exchange.rate(planted(rng, pi=pi, noise=0.1))["over_blocks"]
        inside += low <= pi <= high
    # three standard errors of a share of 0.95 among so many
    assert abs(inside / runs - 0.95) < 3 * (0.95 * 0.05 / runs) ** 0.5


def test_the_quoted_interval_holds_the_rate_at_least_as_often():
    rng, runs, inside, width = np.random.default_rng(3), 300, 0, 0
    for _ in range(runs):
        told = exchange.rate(planted(rng, noise=0.1))
        low, high = told["interval"]
        inside += low <= 1.4 <= high
        parts = [told["over_blocks"], told["over_models"]]
        width += high - low == max(b - a for a, b in parts)
    assert inside / runs > 0.95 - 3 * (0.95 * 0.05 / runs) ** 0.5 and width == runs


def test_noise_in_facts_does_not_pull_the_rate_towards_0_as_a_regression_does():
    rng = np.random.default_rng(5)
    blocks = planted(rng, noise=0.5, models=30, seeds=30)
    told = exchange.rate(blocks)
    x = np.concatenate([np.array(b.x) - np.mean(b.x) for b in blocks])
    y = np.concatenate([np.array(b.y) - np.mean(b.y) for b in blocks])
    regressed = -float(x @ y / (x @ x))
    # alpha about 7.4: spread of x by plan 1.15, of its noise within a block 0.17, so 1.22 expected
    assert abs(told["value"] - 1.4) < 0.1 and regressed < 1.3
    low, high = told["over_blocks"]
    assert low < 1.4 < high < 1.6


def test_a_mix_that_does_not_move_the_facts_gives_no_interval():
    rng = np.random.default_rng(1)
    blocks = [
        Block(f"model {m}", MIXES, 0.02 * rng.standard_normal(3), 3 + 0.02 * rng.standard_normal(3))
        for m in range(3)
        for _ in range(2)
    ]
    told = exchange.rate(blocks)
    assert told["interval"] is None and told["why"]
    assert exchange.rate(blocks[:1]) == {
        "blocks": 1,
        "models": 1,
        "value": None,
        "interval": None,
        "over_blocks": None,
        "over_models": None,
        "why": "fewer than two seeds or models with several mixes",
    }


def test_a_bent_frontier_is_told_and_a_straight_one_seldom():
    rng, runs = np.random.default_rng(2), 300
    bent = [exchange.straightness(planted(rng, bend=0.3)) for _ in range(20)]
    assert all(one["p"] <= 0.05 and one["value"] == pytest.approx(0.3, abs=0.1) for one in bent)
    straight = [exchange.straightness(planted(rng))["p"] <= 0.05 for _ in range(runs)]
    # an exact test rejects a true hypothesis at most so often
    assert np.mean(straight) <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_bulge_is_the_height_above_the_chord_whatever_the_order_of_mixes():
    block = Block("m", (0.75, 0.25, 0.5), (0.0, 2.0, 1.0), (3.0, 1.0, 2.5))
    assert block.bulge() == pytest.approx(0.5)
    assert Block("m", (0.25, 0.75), (2.0, 0.0), (1.0, 3.0)).bulge() is None
    assert Block("m", MIXES, (1.0, 2.0, 1.0), (1.0, 3.0, 2.0)).bulge() is None
    assert block.contrasts() == pytest.approx((0.25 * 3.0 - 0.25 * 1.0, 0.25 * 2.0))


def test_shares_of_both_ends_add_up_to_one_on_a_line_and_to_more_with_own_resources():
    line = [Block("m", MIXES, (1.5, 1.0, 0.5), (1.0, 2.0, 3.0))] * 3
    assert exchange.shares(line, [(4.0, 2.0)] * 3)["value"] == pytest.approx(0.0)
    own = [Block("m", MIXES, (2.0, 2.0, 2.0), (4.0, 4.0, 4.0))] * 6
    told = exchange.shares(own, [(4.0, 2.0)] * 6)
    assert told["value"] == pytest.approx(1.0) and told["p"] == pytest.approx(2 / 64)
    assert exchange.shares(line, [(4.0, -0.1)] * 3)["blocks"] == 0
