"""Plateaus beside the rows of Table 1: which row a model is, and what several give together."""

import numpy as np
import pandas as pd
import pytest

from budget_runs import BUDGETS, planted
from capacity.analysis import kinds
from capacity.analysis.budget import analysis as budgets
from capacity.analysis.budget import rows
from capacity.report import text as terminal
from capacity.study import load_study

SIZES = {"1x32": 80_384, "2x32": 93_088, "1x64": 185_344}


def several(level=1.0, noise=0.002, loud=()):
    """The three models at `level` times what their published rows hold."""
    parts = []
    for model, p in SIZES.items():
        value = rows.row_of(model, "fp32", 2048, 64).value
        parts.append(
            planted(
                r_inf=level * value / 1.02,
                noise=0.08 if model in loud else noise,
                model=model,
                parameters=p,
                n_sequences=p // 40,
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_a_row_is_about_its_own_model_vocabulary_length_and_precision():
    assert rows.row_of("1x32", "fp32", 2048, 64).value == 4.23
    assert rows.row_of("1x32", "bf16", 2048, 64).value == 3.93
    for other in (
        ("1x32", "fp32", 256, 64),
        ("1x32", "fp32", 2048, 32),
        ("1x32", "fp16", 2048, 64),
        ("2x16", "fp32", 2048, 64),
    ):
        assert rows.row_of(*other) is None
    found = budgets.analysed(planted(model="2x16"), "planted")
    assert found.numbers["verdicts"] == []
    assert not [part for part in kinds.document(found).sections if part.id == "published"]


def test_mean_and_slope_are_over_the_same_rows_on_both_sides():
    found = budgets.analysed(several(), "planted").numbers["verdicts"]
    assert [row["verdict"] for row in found] == ["agrees"] * 5
    mean, slope = found[3:]
    values = np.array([4.23, 4.16, 3.92])
    p = np.array([SIZES[m] - 32 for m in ("1x32", "2x32")] + [SIZES["1x64"] - 64], float)
    assert mean["published"]["value"] == pytest.approx(values.mean())
    assert slope["published"]["value"] == pytest.approx(np.polyfit(p, values * p, 1)[0])
    assert mean["measured"] == pytest.approx(np.mean([row["measured"] for row in found[:3]]))
    halves = [(row["interval"][1] - row["measured"]) / 3 for row in found[:3]]
    assert mean["interval"][1] - mean["measured"] == pytest.approx(np.hypot.reduce(halves))
    assert mean["evidence"] == "u"  # as sure as the least sure of its rows
    assert budgets.analysed(several(0.8), "low").numbers["verdicts"][3]["verdict"] == "differs"


def test_a_row_without_a_plateau_leaves_no_mean_and_says_which():
    table = several()
    table = table[
        (table.model != "2x32")
        | table.tokens.isin(sorted(set(table[table.model == "2x32"].tokens))[:3])
    ]
    found = budgets.analysed(table, "short").numbers["verdicts"]
    by = {row["name"]: row for row in found}
    short = by["row 2x32 of Table 1, fp32"]
    assert short["verdict"] == "cannot tell" and "the law needs 4" in short["reason"]
    assert by[rows.MEAN]["reason"] == "no plateau of 2x32" and by[rows.MEAN]["measured"] is None
    (beside,) = short["beside"]  # what the longest runs hold is told, and decides nothing
    assert beside["measured"] > 3.5 and beside["verdict"] == "cannot tell"


def test_a_capacity_is_the_largest_over_data_sets_and_is_shown_with_its_budgets():
    both = pd.concat([planted(lr=0.04), planted(lr=0.02, r_inf=3.5)], ignore_index=True)
    found = budgets.analysed(both, "two rates")
    (row,) = found.numbers["verdicts"]
    best = max(cell["law"]["r_inf"]["value"] for cell in found.numbers["paper"]["cells"])
    assert row["measured"] == best and row["at"] == "1x32, load 5.5, 250 to 8K exposures"
    told = " ".join(terminal.render(kinds.document(found)).split())
    assert "row 1x32 of Table 1, fp32" in told and "250 to 8K exposures" in told
    assert len(BUDGETS) == 6


def test_what_is_expected_is_known_before_anything_is_trained():
    values, rules = budgets.expected(load_study("morris/uniform_budgets", []))
    assert [value["published"] for value in values[:5]] == [
        f"morris/row_{model}_fp32" for model in ("1x32", "2x32", "4x32", "8x32", "1x64")
    ]
    assert [value["name"] for value in values[5:]] == [rows.MEAN, rows.SLOPE]
    assert rules["fewest_budgets"] == 4
    assert budgets.expected(load_study("pocket_budget", [])) == ([], {})
