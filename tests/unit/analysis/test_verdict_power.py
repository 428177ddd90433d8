"""What a verdict says the study could tell, against planted studies whose truth is just that: the
study's own estimator, its own noise of seeds, its own decision."""

from functools import cache

import numpy as np
import pytest

from capacity.analysis import published_rows
from facts_tables import analysed, grid

STUDIES = 40
# Three standard errors: of a simulated 80%, and of the noise that the printed values rest on, 1 in
# sqrt(2 * 24 studies * 3 degrees of freedom), to which the share is proportional near 80%.
NEAR = 3 * (0.8 * 0.2 / STUDIES + 1 / (2 * 24 * 3)) ** 0.5
PAIR = {"data.tag": "main"}, {"data.tag": "none"}


def ratio(truth, draw):
    """Two arms of one model, four seeds each, 6% of noise."""
    one = {"shapes": ("2x16",), "people": (2400,), "seeds": range(4), "noise": 0.06}
    rows = grid(**one, r=truth, draw=2 * draw, **PAIR[0])
    rows += grid(**one, r=1.0, draw=2 * draw + 1, **PAIR[1])
    return rows, {"quantity": "ratio", "where": PAIR[0], "against": PAIR[1], "range": [0.9, 1.1]}


def peak(truth, draw):
    many = {"shapes": ("2x16", "2x24"), "people": (2400,), "seeds": range(3), "noise": 0.06}
    return grid(**many, r=truth, draw=draw), {"quantity": "peak_ratio", "range": [1.2, 1.4]}


def verdicts(planted, truth, draws):
    out = []
    for draw in draws:
        rows, entry = planted(truth, draw)
        (only,) = analysed(rows, entry, n_boot=50).numbers["verdicts"]
        out.append(only)
    return out


@cache
def printed(planted, middle):
    """What 24 studies say, each with its own estimate of the noise."""
    return [v["power"] for v in verdicts(planted, middle, range(100, 124))]


@pytest.mark.parametrize("planted, middle", [(ratio, 1.0), (peak, 1.3)])
@pytest.mark.parametrize("side", ["below", "above"])
@pytest.mark.slow
@pytest.mark.long
def test_four_of_five_studies_tell_the_printed_value(planted, middle, side):
    end = {ratio: (0.9, 1.1), peak: (1.2, 1.4)}[planted][side == "above"]
    # each study has its own estimate of one noise; variances have no bias
    apart = np.sqrt(np.mean([np.log(told[side] / end) ** 2 for told in printed(planted, middle)]))
    truth = float(end * np.exp(apart if side == "above" else -apart))
    found = verdicts(planted, truth, range(STUDIES))
    assert np.mean([v["verdict"] == "differs" for v in found]) == pytest.approx(0.8, abs=NEAR)
    assert not any(v["verdict"] == "agrees" for v in found)


def test_every_verdict_with_an_interval_says_in_one_line_what_it_could_tell():
    rows, entry = ratio(1.0, 0)
    (only,) = analysed(rows, entry, n_boot=50).numbers["verdicts"]
    below, above = only["power"]["below"], only["power"]["above"]
    assert below < 0.9 and above > 1.1 and only["power"]["probability"] == 0.8
    line = f"could tell a value below {below:.3g} or above {above:.3g} (80%)"
    assert line in published_rows.row(only).remarks
    (alone,) = analysed([row for row in rows if row["seed"] == 0], entry, n_boot=50).numbers[
        "verdicts"
    ]
    assert alone["power"] is None and alone["interval"] is None
