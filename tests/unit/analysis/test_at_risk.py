"""Who is at risk in a study of text: shares by copies, groups and members that were planted."""

import numpy as np
import pandas as pd
import pytest

from capacity import records
from capacity.analysis.text import at_risk, attacks, wording_risk
from capacity.base.scores import read_scores, write_scores
from text_studies import target


def _study(results, gaps=(0.0, 4.0), seeds=2, n=300, more=None, **how):
    """Targets at a size per gap, `seeds` runs each; more: further columns by those that are."""
    dice, rows = np.random.default_rng(3), []
    for i, gap in enumerate(gaps):
        for seed in range(seeds):
            run_id = f"run{i}{seed}"
            rows.append(target(run_id, 9.0 - i, dice, results, gap, n=n, seed=seed, **how))
            if more is not None:
                folder = records.run_dir(results, run_id)
                scores = read_scores(folder)
                write_scores(folder, {**scores, **more(scores)}, run_id)
    table = pd.DataFrame(rows)
    return table, attacks.scores_of(table, results)


def test_shares_follow_what_was_planted_and_members_are_named(tmp_path):
    def known(scores):
        row, loss = scores["row"], scores["loss"].copy()
        copies = np.where(row % 10 == 0, 8, 1).astype(np.int32)
        loss[(copies == 8) & (scores["seen"] == 1)] -= 40
        loss[row == 570] -= 30
        more = {"copies": copies, "document": (row + 1000).astype(np.int32)}
        return more | {"loss": loss, "shared": np.where(row < 20, 3, 0).astype(np.int32)}

    table, scores = _study(tmp_path, (0.0,), more=known)
    (cell,) = at_risk.of(table, scores)
    everyone, once, often = cell["levels"]
    assert (once["copies"], often["copies"], often["up_to"]) == (1, 5, 8)
    assert everyone["sequences"] == 300 and often["sequences"] == 30
    assert often["flagged"] == 1.0 and often["interval"][0] > 0.85
    assert once["interval"][0] < 0.01 and once["flagged"] < 0.03
    assert cell["others"] == 280  # without those that share tokens with the training set
    assert cell["others_flagged"]["flagged"] == pytest.approx(2 / 280)
    first = cell["highest"][0]
    assert (first["row"], first["document"], first["copies"]) == (570, 1570, 8)
    assert first["flagged"] == 2 and first["rate"] == pytest.approx(1 / 281)
    numbers = {"at_risk": [cell]}
    (answer,) = wording_risk.answers(numbers)
    assert "100.0%" in answer and "5 to 8 copies" in answer
    shares, highest = wording_risk.tables(numbers)
    assert shares.rows[2][2:4] == ["5 to 8", "30"]
    assert highest.rows[0][:2] == ["570", "1570"]


def test_chance_is_said_to_be_chance_and_few_others_say_nothing(tmp_path):
    table, scores = _study(tmp_path, (0.0,))
    (cell,) = at_risk.of(table, scores)
    assert cell["levels"][0]["interval"][0] <= 0.01 and cell["groups"] is None
    (answer,) = wording_risk.answers({"at_risk": [cell]})
    assert "no more than chance" in answer
    assert len(wording_risk.tables({"at_risk": [cell]})) == 1  # nobody is named for chance
    few, theirs = _study(tmp_path / "few", (3.0,), n=99)
    assert at_risk.of(few, theirs) == []
    assert wording_risk.answers({}) == [] and wording_risk.tables({}) == []


def test_a_reference_decides_where_there_is_one_and_shadow_models_where_no_target_is(tmp_path):
    table, scores = _study(tmp_path, (6.0,))
    dice = np.random.default_rng(5)
    rows = np.arange(700)
    other = target("other", 9.0, dice, tmp_path, 0.0, "others", n=300, rows=rows, seen=rows >= 600)
    both = pd.concat([table, pd.DataFrame([other])], ignore_index=True)
    (cell,) = at_risk.of(both, attacks.scores_of(both, tmp_path))
    assert cell["attack"] == "reference"
    # without what is hard as such, the gap of 6 nats is four standard deviations
    assert cell["levels"][0]["flagged"] > 0.9
    (alone,) = at_risk.of(table, scores)
    assert alone["attack"] == "loss" and alone["levels"][0]["flagged"] < 0.5
    (half,) = at_risk.of(table.assign(trained_on="half"), scores)
    assert half["levels"] == alone["levels"]


def test_groups_of_members_are_named_by_number(tmp_path):
    def known(scores):
        group = (scores["row"] // 10).astype(np.int32)
        loss = scores["loss"] - np.where(group == 41, 25, 0)
        return {"group": group, "unit": group, "loss": loss.astype(np.float32)}

    table, scores = _study(tmp_path, (0.0,), more=known)
    (cell,) = at_risk.of(table, scores)
    assert cell["groups"] == {"groups": 30, "resolved": True, "at_risk": [41]}
    assert wording_risk.tables({"at_risk": [cell]})[-1].rows == [["2x8", "9.00", "30", "41"]]
