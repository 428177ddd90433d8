"""A number over several studies: studies are the replicates."""

import math

import numpy as np
import pytest

from capacity.analysis.text import over_studies


def drawn(rng, studies, scatter, error=0.02):
    true = math.log(3.5) + scatter * rng.standard_normal(studies)
    found = true + error * rng.standard_normal(studies)
    return {str(i): (float(y), error) for i, y in enumerate(found)}, true


@pytest.mark.parametrize("studies", [3, 5])
@pytest.mark.parametrize("scatter", [0.0, 0.1])
def test_the_interval_over_studies_holds_the_common_value_and_the_next_study(studies, scatter):
    rng, held, alone, ahead, draws = np.random.default_rng(studies), 0, 0, 0, 150
    for _ in range(draws):
        numbers, _ = drawn(rng, studies, scatter)
        found = over_studies.together(numbers)
        held += found.interval[0] <= 3.5 <= found.interval[1]
        another = 3.5 * math.exp(scatter * rng.standard_normal())
        ahead += found.next[0] <= another <= found.next[1]
        y = np.array([one[0] for one in numbers.values()])
        alone += abs(y.mean() - math.log(3.5)) <= 1.96 * 0.02 / studies**0.5
    assert held / draws >= 0.9 and ahead / draws >= 0.88
    if scatter:
        assert alone / draws < 0.6  # runs as replicates, studies taken as one


def test_studies_that_differ_are_told_and_two_are_too_few():
    apart = {"a": (math.log(3.2), 0.02), "b": (math.log(3.4), 0.015), "c": (math.log(4.2), 0.015)}
    found = over_studies.together(apart)
    assert found.p < 1e-6 and 0.08 < found.scatter < 0.25
    assert found.interval[0] < 3.2 and found.interval[1] > 4.0
    assert "Over 3 studies together" in over_studies.sentence(found)
    with pytest.raises(ValueError, match="an interval needs 3"):
        over_studies.together(dict(list(apart.items())[:2]))


def test_a_study_without_an_interval_says_nothing():
    at = {"t": 3.0, "over_runs": [2.7, 3.3]}
    memory = {"laws": {"f1_median": {"falls_to": {"0.75": at}}}, "logarithmic": None}
    value, error = over_studies.crossing(memory)
    assert value == math.log(3.0) and error == pytest.approx(math.log(3.3 / 2.7) / 3.92, rel=1e-3)
    assert over_studies.crossing(memory, "logarithmic") is None
    memory["laws"]["f1_median"] = {"reason": "too few"}
    assert over_studies.crossing(memory) is None
