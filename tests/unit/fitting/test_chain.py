"""Steps of a chain: they multiply to the ratio of the ends, cover a planted ratio, and say why they
have no value."""

import math

import numpy as np
import pytest

from capacity.fitting import chain


def test_one_size_gives_the_ratio_of_means():
    found = chain.step([[2.0, 3.0]], [[1.5, 2.5]])
    assert found["value"] == pytest.approx(0.8, rel=1e-12)
    assert found["pairs"] == 2 and found["why"] is None
    # by hand: b / 2 - a / 2.5 over seeds is -0.05 and 0.05; its variance 0.005, of the mean 0.0025
    half = 12.706204736 * 0.05
    log = math.log(0.8)
    assert found["interval"] == pytest.approx([math.exp(log - half), math.exp(log + half)])


def test_steps_multiply_to_the_ratio_of_the_ends():
    rng = np.random.default_rng(0)
    levels = [[rng.uniform(2.0, 3.0, 3) for _ in range(2)] for _ in range(5)]
    steps = [chain.step(a, b)["log"] for a, b in zip(levels, levels[1:], strict=False)]
    assert sum(steps) == pytest.approx(chain.step(levels[0], levels[-1])["log"], abs=1e-12)


def test_sizes_count_alike():
    found = chain.step([[1.0] * 3, [100.0]], [[2.0] * 3, [50.0]])
    assert found["value"] == pytest.approx(1.0, rel=1e-12)  # 2 and 1/2


def test_signs_are_flipped_exactly():
    found = chain.step([[1.0, 1.1, 1.2], [2.0, 2.1, 2.2]], [[2.0, 2.2, 2.1], [3.0, 3.3, 3.2]])
    assert found["p"] == pytest.approx(2 / 64)


@pytest.mark.parametrize(
    "a, b, why",
    [
        ([], [], "no pair of runs"),
        ([[1.0, 1.1]], [[-0.1, 0.0]], "one side holds nothing"),
        ([[1.0, 1.1, 1.2]], [[0.01, 0.5, 0.02]], "worse than a third"),
    ],
)
def test_a_side_that_holds_nothing_has_no_ratio(a, b, why):
    found = chain.step(a, b)
    assert found["value"] is None and found["interval"] is None and why in found["why"]


def test_one_seed_of_a_size_has_no_interval():
    found = chain.step([[1.0, 1.1], [1.0]], [[2.0, 2.1], [2.0]])
    assert found["value"] is not None and found["interval"] is None and found["p"] is None


def test_unequal_lists_are_refused():
    with pytest.raises(ValueError, match="as many values of either side"):
        chain.step([[1.0, 2.0]], [[1.0]])


def test_a_planted_ratio_is_covered():
    """Two sizes, three seeds whose noise (10%) is half common to both sides."""
    rng = np.random.default_rng(1)
    true, n, covered = 0.6, 400, 0
    for _ in range(n):
        a, b = [], []
        for level in (1.0, 2.0):
            shared = 0.1 * rng.standard_normal(3)
            a.append(level * (1 + shared + 0.1 * rng.standard_normal(3)))
            b.append(true * level * (1 + shared + 0.1 * rng.standard_normal(3)))
        low, high = chain.step(a, b)["interval"]
        covered += low <= true <= high
    # Satterthwaite's freedoms of two estimated variances err on the wide side; 4 sd below 95%
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / n) <= covered / n
