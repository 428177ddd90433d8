"""Runs of text joined by their sequences: canaries, references, shadow models, scaling."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from capacity import records
from capacity.analysis.finding import Finding
from capacity.analysis.text import analysis as memory
from capacity.analysis.text import attacks, canaries, document
from capacity.analysis.text import membership_law as law
from capacity.cli.main import main
from capacity.report import text
from text_studies import joined, target


def rendered(runs, numbers):
    done = runs[runs.status == "finished"]
    tables = {"runs.csv": runs, "attacks.csv": attacks.over_models(done)}
    return text.render(document(Finding("text", "memory.json", numbers, tables)))


def test_runs_are_joined_by_their_sequences(tmp_path):
    dice = np.random.default_rng(5)
    rows = [target(f"t{i}", 2.0**i, dice, tmp_path, gap=8 / (i + 1)) for i in range(4)]
    shuffled = np.random.default_rng(6).permutation(
        600
    )  # a reference has other rows too, in another order
    rows.append(
        target("ref", 1.0, dice, tmp_path, 3, "reference", rows=shuffled, seen=shuffled >= 200)
    )
    rows.append(
        target(
            "oracle",
            1.0,
            dice,
            tmp_path,
            3,
            "reference",
            model="2x16",
            rows=np.arange(600) + 0,
            seen=np.arange(600) >= 200,
        )
    )
    rows[-1]["held_out_loss_bits_per_token"] = 0.0
    rows.append(
        target(
            "far", 1.0, dice, tmp_path, 3, "others", rows=np.arange(700), seen=np.arange(700) >= 500
        )
    )
    table = pd.DataFrame(rows)
    runs = joined(table, tmp_path)[0].set_index("run_id")
    assert (runs.loc[["t0", "t1"], "reference_same"] == "ref").all() and (
        runs.loc[["t0", "t1"], "reference_oracle"] == "oracle"
    ).all()
    # the target gives members 8 nats, the reference 3, both add noise of variance 1: 200 (8 - 3) /
    # ln 2
    assert runs.loc["t0", "unintended_same_signed"] == pytest.approx(
        200 * 5 / math.log(2), rel=0.05
    )
    held_out = runs.unintended_same_gap / (
        200 / math.log(2)
    )  # 3 nats of the reference on members, none on held-out ones
    assert held_out.loc[["t0", "t1", "t2", "t3"]].to_list() == pytest.approx(
        [5, 1, 8 / 3 - 3, -1], abs=0.35
    )
    assert runs.loc["t3", "unintended_same_signed"] < 0 < runs.loc["t3", "unintended_same_clipped"]
    assert (
        runs.loc["t1", "reference_auc"] > runs.loc["t1", "loss_auc"] + 0.1
    )  # hard sequences no longer hide members
    found = memory.numbers(runs.reset_index(), "s", n_boot=20)
    assert found["laws"]["auc"]["points"] == 4 and found["printed"]["rises_with_data"]
    said = rendered(runs.reset_index(), found)
    assert max(map(len, said.splitlines())) <= 80 and "as printed" in said
    table.loc[0, "bag_of_words_auc"] = 0.8
    unknown = runs.reset_index().assign(bag_of_words_sd=math.nan)
    assert "unknown-split: 7 runs (" in rendered(unknown, memory.numbers(unknown, "s", n_boot=20))
    broken = joined(table, tmp_path)[0]
    said = rendered(broken, memory.numbers(broken, "s", n_boot=20))
    assert "broken-split: 1 run (t0): " in said and "reaches AUC 0.800 without any model" in said


def test_views_at_set_steps_count_once_each_and_not_by_passes():
    rows = pd.DataFrame({"exposures": [7.0, 7.0], "data.last_view": [None, 0.5]})
    assert canaries.seen_by(rows).tolist() == [7.0, 1.0]


def test_a_reference_that_knows_the_members_is_refused(tmp_path):
    dice = np.random.default_rng(8)
    rows = [
        target("t", 1.0, dice, tmp_path, 3),
        target(
            "known",
            1.0,
            dice,
            tmp_path,
            3,
            "others",
            rows=np.arange(500),
            seen=np.arange(500) >= 300,
        ),
    ]
    with pytest.raises(ValueError, match="reference run known was trained on sequences of run t"):
        joined(pd.DataFrame(rows), tmp_path)
    rows = [
        rows[0],
        target(
            "few",
            1.0,
            dice,
            tmp_path,
            3,
            "reference",
            rows=np.arange(250),
            seen=np.arange(250) >= 200,
        ),
    ]
    with pytest.raises(ValueError, match="reference run few was not scored on all sequences"):
        joined(pd.DataFrame(rows), tmp_path)


def test_shadow_models_serve_each_other(tmp_path):
    dice, rows = np.random.default_rng(9), []
    for k in range(24):
        seen = np.random.default_rng(100 + k).random(400) < 0.5
        rows.append(
            target(
                f"s{k:02d}",
                1.0,
                dice,
                tmp_path,
                1.5,
                "half",
                rows=np.arange(400),
                seen=seen,
                seed=k,
            )
        )
    runs, curves = joined(pd.DataFrame(rows), tmp_path)
    expected = 0.5 * (1 + math.erf(1.5 / 2))
    for attack in ("lira", "lira_offline", "rmia"):
        assert runs[f"{attack}_auc"].mean() == pytest.approx(expected, abs=0.05), attack
    assert runs.loss_auc.mean() < 0.65 and (runs.shadows == 23).all()
    told = attacks.over_models(runs).set_index("attack").loc["lira"]
    assert (
        told.models == 24
        and told.auc_low < told.auc < told.auc_high
        and told.auc == pytest.approx(runs.lira_auc.mean())
    )
    roc = attacks.over_curves(curves, runs)
    lira = roc[roc.attack == "lira"]
    assert (
        lira.tpr.is_monotonic_increasing
        and lira.tpr.iloc[-1] == 1.0
        and (lira.tpr_low <= lira.tpr).all()
        and lira.fpr.min() * 200 >= 0.8
    )
    assert (lira.tpr > lira.fpr).iloc[:-1].all()
    few, _ = joined(pd.DataFrame(rows), tmp_path, 6)
    assert (few.shadows == 6).all() and few.lira_auc.mean() < runs.lira_auc.mean()
    with pytest.raises(
        ValueError, match="--shadows 24: 2x8 with 200 members has 24 models, 23 besides the target"
    ):
        joined(pd.DataFrame(rows), tmp_path, 24)


def test_each_model_is_predicted_from_the_smaller_ones():
    t = np.array([0.5, 1, 2, 3, 5, 8, 12.0])
    rows = pd.DataFrame(
        {
            "model": ["a"] * 7 + ["b"] * 7,
            "parameters_total": [10] * 7 + [20] * 7,
            "tokens_per_parameter": [*t, *t],
            "f": [*law.repaired(t, 1.2, 0.8, 2.5), *(law.repaired(t, 1.2, 0.8, 2.5) + 0.02)],
        }
    )
    (found,) = law.predictions(rows, "f")
    assert (
        found["model"] == "b"
        and found["rmse"] == pytest.approx(0.02, abs=1e-4)
        and found["constants"]["c3"] == pytest.approx(2.5, rel=1e-3)
    )
    assert law.predictions(rows[rows.model == "a"], "f") == []
    three = pd.concat([rows, rows[rows.model == "b"].assign(model="c", parameters_total=40)])
    assert [p["model"] for p in law.predictions(three, "f")] == ["b", "c"]


def test_a_study_without_scores_is_one_line(tmp_path, capsys, monkeypatch):
    dice = np.random.default_rng(10)
    rows = [target("t", 1.0, dice, tmp_path, 3)]
    (records.run_dir(tmp_path, "t") / "scores.safetensors").unlink()
    with pytest.raises(
        ValueError,
        match="finished run t has no scores.safetensors; measure it again: capacity measure t",
    ):
        joined(pd.DataFrame(rows), tmp_path)


@pytest.mark.slow
@pytest.mark.long
def test_a_study_of_text_ends_in_a_law_and_a_figure(here, capsys):
    (here / "s.yaml").write_text("""
question: who is remembered?
pins: [data=text_pocket, data.documents=1500, data.seq_len=16, data.n_held_out=200,
       model.d_model=8, model.n_heads=2, train.exposures=60,
       train.batch_size=16, train.lr=0.03, train.warmup_steps=5, cluster.device=cpu]
grids:
- data.tokens_per_parameter: [0.25, 0.5, 1, 2]
  seed: 0
- {data.tokens_per_parameter: 0.5, data.trained_on: [reference, others], data.n_reference: 600}
- data.tokens_per_parameter: 0.5
  data.trained_on: half
  seed: "range(0,6)"
""")
    assert main(["sweep", "s.yaml"]) == 0
    capsys.readouterr()
    assert main(["fit-laws", "s.yaml", "--bootstraps", "100"]) == 0
    out = capsys.readouterr().out
    assert "F = 1/2 (1 + c1 sigma" in out and "LiRA" in out and "reference" in out
    folder = here / "results/studies/s"
    fit = json.loads((folder / "memory.json").read_text())
    assert fit["laws"]["auc"]["points"] == 4 and fit["notes"] == []
    assert (folder / "figures" / "membership.png").read_bytes()[:4] == b"\x89PNG" and (
        folder / "figures" / "membership.pdf"
    ).stat().st_size > 1000
    runs = pd.read_csv(folder / "runs.csv")
    targets = runs[runs.trained_on == "members"].sort_values("tokens_per_parameter")
    assert (
        targets.loss_auc.iloc[0] > targets.loss_auc.iloc[-1]
        and targets.unintended_same_clipped.min() > 0
    )
