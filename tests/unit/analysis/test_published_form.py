"""The published form decides a verdict, also where another fits better, which stands beside."""

import copy
import json

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import published_rows
from capacity.analysis.ablation import analysis as ablations
from capacity.analysis.text import analysis as memory
from capacity.analysis.text import membership_law as law
from capacity.analysis.text import wording
from capacity.fitting import linear
from capacity.published import values as published
from capacity.report import markdown, text

T = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 16.0])


@pytest.fixture(scope="module")
def numbers():
    """Laws of runs that follow the sigmoid in log t, which the published form fits badly."""
    t = np.tile(T, 4)
    f1 = law.logarithmic(t, 2.0, 1.32, 1.39) + np.random.default_rng(0).normal(0, 0.004, t.size)
    return {
        "laws": {"f1_median": law.fit(t, f1)},
        "logarithmic": law.fit(t, f1, "membership_log"),
        "forms": law.compared(t, f1),
        "descent": {},
        "token_bits": None,
    }


def test_the_published_form_decides_though_another_fits_better(numbers):
    assert numbers["forms"][0]["form"] == "membership_log"
    (row,) = memory.verdicts(numbers, [4072, 11216])
    fitted = numbers["laws"]["f1_median"]["falls_to"]["0.75"]
    assert row["measured"] == fitted["t"] and row["interval"] == fitted["interval"]
    value = published.get("morris/f1_at_75")
    assert row["form"] == row["published"]["form"] == value.form == law.TEXTS["membership"]
    assert row["verdict"] == published.decide(fitted | {"value": fitted["t"]}, value.range)[0]
    assert row["verdict"] == "cannot tell"
    (beside,) = row["beside"]
    other = numbers["logarithmic"]["falls_to"]["0.75"]
    assert (beside["measured"], beside["interval"]) == (other["t"], other["interval"])
    assert beside["verdict"] == "agrees"  # the exchange would have turned it
    json.dumps(row, allow_nan=False)


def test_both_forms_stand_in_terminal_markdown_and_answers(numbers):
    rows = memory.verdicts(numbers, [4072, 11216])
    section = published_rows.section(rows)
    shown = " ".join(" ".join(text.section(section)).split())
    page = "\n".join(markdown.block_lines(section.blocks[0]))
    for words in (shown, page):
        assert "beside it, a sigmoid in log t, not published" in words
        assert "would read agrees and decides nothing" in words
        assert "the interval knows: training, size of the data; nothing else" in words
    (first, second) = wording._membership(numbers)
    assert "by the published form, which alone decides the verdict" in first
    assert second.startswith("Beside it, a sigmoid in log t has an rms error of")
    moved = "the choice of the form moves the answer more than these sources"
    assert moved not in second  # the interval of the one holds the other
    apart = copy.deepcopy(numbers)
    apart["laws"]["f1_median"]["falls_to"]["0.75"]["interval"] = [3.5, 3.7]
    assert moved in wording._membership(apart)[1]


def test_every_value_says_by_which_form_it_was_read():
    for value in published.values().values():
        if value.constants is None and value.quantity is None:
            assert value.form, value.id


def test_errors_of_an_ablation_stand_beside_those_of_rows_that_alpha_did_not_see():
    p = np.array([1e4, 2e4, 3e4, 4e4, 5e4])
    m = 3.5 * p * np.array([1.02, 0.97, 1.03, 0.99, 1.01])
    rows = pd.DataFrame({"parameters": p, "ceiling": 10 * p, "bits": m})
    found = ablations.fit(rows.assign(over_filled=1, near=0))
    for i, error in enumerate(found["hard"]["left_out_error_percent"]):
        rest = np.arange(len(p)) != i
        alpha = linear.fit_hard_corner(p[rest], 10 * p[rest], m[rest])
        assert error == pytest.approx(100 * (alpha * p[i] / m[i] - 1))
    seen = found["hard"]["mean_absolute_error_percent"]
    assert np.abs(found["hard"]["left_out_error_percent"]).mean() > seen  # in the sample flatters
