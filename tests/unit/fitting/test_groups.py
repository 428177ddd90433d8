"""Groups by a computed number are groups of what was meant, not of exact floats."""

import numpy as np
import pytest

from capacity.analysis.text import double_descent, membership_law
from capacity.fitting import groups, selection
from capacity.fitting.fit import fit
from capacity.fitting.points import Points

# tokens per parameter of 2x8 and 2x16 at the sizes that both were meant to have
T8 = np.array([0.5029, 0.9980, 1.9961, 4.0, 8.0, 16.0])
T16 = np.array([0.4993, 0.9986, 2.0000, 4.0, 8.0, 16.0])


@pytest.mark.parametrize(
    "values, sizes",
    [
        ([0.4993, 0.5029, 1.0, 2.0], [2, 1, 1]),
        ([100.0, 104.9, 105.1], [1, 2]),  # the nearest are joined first
        ([100.0, 104.9, 109.9], [1, 2]),  # no chain: 109.9 is 9.9% above 100
        ([20.0, 21.0, 22.1], [1, 1, 1]),  # 5% apart are different
        ([0.0, 0.0, 1e-9, 1.0], [2, 1, 1]),
        ([-1.02, -1.0, 1.0, 1.02], [2, 2]),
        ([3.0], [1]),
    ],
)
def test_values_less_than_five_percent_apart_are_one_group(values, sizes):
    names, codes = groups.rounded(values)
    assert np.bincount(codes).tolist() == sizes and sorted(names) == names
    assert groups.number(values) == len(sizes)
    for name, code in zip(names, range(len(names)), strict=True):
        inside = np.asarray(values)[codes == code]
        assert inside.min() <= name <= inside.max()
        if len(set(inside)) == 1:
            assert name == inside[0]


def test_no_group_spans_five_percent_whatever_the_values():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = np.exp(rng.uniform(0, 2, 60))
        names, codes = groups.rounded(values)
        for code in range(len(names)):
            inside = values[codes == code]
            assert inside.max() < 1.05 * inside.min()
        order = rng.permutation(60)
        again, shuffled = groups.rounded(values[order])
        assert again == names and (shuffled == codes[order]).all()


def steep(t):
    """A curve that the sigmoid in log t does not fit, so that a twin in the fit helps."""
    return 0.5 + 0.5 * np.exp(-((t / 2.0) ** 2)) + 0.05 * np.sin(3 * np.log(t))


def test_a_size_that_is_left_out_has_no_twin_in_the_fit():
    t = np.concatenate([T8, T16])
    fitted = fit("membership_log", Points({"tokens_per_parameter": t}, steep(t)), delta=np.inf)
    held = selection.held_out(fitted, "tokens_per_parameter")
    assert [row["points"] for row in held["groups"]] == [2] * 6
    # by hand: both twins left out
    errors = []
    for low, high in zip(np.minimum(T8, T16), np.maximum(T8, T16), strict=True):
        out = (t >= low) & (t <= high)
        rest = Points({"tokens_per_parameter": t[~out]}, steep(t[~out]))
        predicted = fit("membership_log", rest, delta=np.inf).predict(
            {"tokens_per_parameter": t[out]}
        )
        errors += list(predicted - steep(t[out]))
    assert held["rms"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-4)


def test_two_sizes_of_two_models_are_two_sizes():
    with pytest.raises(ValueError, match="2 different numbers of tokens per parameter"):
        membership_law.fit([0.4993, 0.5029, 1.9961, 2.0], [1.0, 0.99, 0.9, 0.89])


def test_a_descent_counts_sizes_of_the_data_and_not_their_floats():
    import pandas as pd

    t = np.array([0.4993, 0.5029, 0.998, 0.9986, 1.9961, 2.0])  # three sizes, of two pools
    rows = pd.DataFrame({"model": "2x16", "tokens_per_parameter": t})
    rows["unintended_same_mixture"] = 1.0
    assert double_descent.analyse(rows) == {}  # five are needed
