"""Attacks with shadow models: one estimator for a whole table, and runs of an older version that
were trained on ReCaLL's prefix."""

import numpy as np
import pandas as pd
import pytest

from capacity.analysis.text import attacks, tables
from capacity.base.table import text as table_text
from capacity.cli.main import main
from capacity.fitting import membership

N, SEQUENCES = 34, 120


@pytest.fixture(scope="module")
def family():
    """Shadow models with sequences of different spread: table of runs, scores by run."""
    rng = np.random.default_rng(5)
    hard, spread = rng.normal(60, 8, SEQUENCES), rng.uniform(0.5, 3, SEQUENCES)
    rows, scores = [], {}
    for k in range(N):
        seen = rng.random(SEQUENCES) < 0.5
        seen[0] = k % 2 == 0
        loss = (hard + spread * rng.standard_normal(SEQUENCES) - 1.5 * seen).astype(np.float32)
        name = f"s{k:02d}"
        scores[name] = {
            "row": np.arange(SEQUENCES),
            "seen": seen.astype(np.uint8),
            "zlib": np.full(SEQUENCES, 30, np.int32),
            "loss": loss,
            **dict.fromkeys(("min_k", "min_k_plus", "recall"), -loss),
        }
        rows.append(
            {
                "run_id": name,
                "model": "2x8",
                "seed": k,
                "status": "finished",
                "trained_on": "half",
                "tokens_per_parameter": 1.0,
                "pool": "p",
                "n_sequences": 60,
                "seq_len": 16,
                "vocab_size": 256,
                "data.split_seed": 0,
                "data.n_held_out": 60,
                "train.lr": 0.01,
                "train.batch_size": 8,
                "steps": 10,
                "n_members": 60,
                "n_others": 60,
                "recall_auc": 0.6,
                "recall_auc_low": 0.5,
                "recall_auc_high": 0.7,
                "copies_1_recall_auc": 0.6,
                "recall_prefix_row": float(np.argmax(~seen)),
                "loss_auc": 0.6,
                "loss_auc_low": 0.5,
                "loss_auc_high": 0.7,
            }
        )
    return pd.DataFrame(rows), scores


def test_one_estimator_stands_for_all_numbers_of_shadow_models(family):
    """The variance does not change with their number, on either side of what was once a limit."""
    table, scores = family
    places = {name: np.arange(SEQUENCES) for name in scores}
    for shadows in (31, 32):
        for variance in attacks.VARIANCES:
            runs, _ = attacks.joined(table, scores, shadows, variance)
            assert set(runs.lira_variance) == {variance} and set(runs.shadows) == {shadows}
            target, others = "s33", [f"s{k:02d}" for k in range(shadows)]
            losses = np.stack([scores[r]["loss"][places[r]] for r in others]).astype(float)
            seen = np.stack([scores[r]["seen"] for r in others]).astype(bool)
            mine = scores[target]["seen"].astype(bool)
            score = membership.lira(
                scores[target]["loss"].astype(float), losses, seen, True, variance == "global"
            )
            auc = membership.auc(score[mine], score[~mine])
            assert runs.set_index("run_id").lira_auc[target] == pytest.approx(auc)
            told = tables.shadows(attacks.over_models(runs), runs)
            assert attacks.VARIANCES[variance] in told.caption
            assert max(map(len, table_text(told))) <= 80


def test_the_command_line_names_what_it_allows(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit-laws", "morris/membership@shadows", "--lira-variance", "some"])
    assert ended.value.code == 2 and "'global', 'sequence'" in capsys.readouterr().err


def test_recall_of_an_older_version_is_left_out_where_its_prefix_was_trained_on(family):
    table, scores = family
    runs, curves = attacks.joined(table, scores)
    assert runs.recall_auc.notna().all() and (curves.attack == "recall").sum() > 0
    old = table.drop(columns="recall_prefix_row")
    runs, curves = attacks.joined(old, scores)
    trained = {name for name in scores if scores[name]["seen"][0]}
    assert len(trained) == N // 2 == len(attacks.known_prefix(old, scores))
    for column in ("recall_auc", "recall_auc_low", "copies_1_recall_auc"):
        assert set(runs.run_id[runs[column].isna()]) == trained
    assert runs.loss_auc.notna().all()
    assert set(curves.run_id[curves.attack == "recall"]) == set(scores) - trained
