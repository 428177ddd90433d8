"""Does A store more than B: planted differences, and which runs are pairs."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity import run_table
from capacity.analysis.comparison import pairs, variants, verdicts, wording
from capacity.analysis.comparison import runs as compared_runs
from capacity.analysis.document import Document
from capacity.fitting import statistics
from capacity.report import text
from capacity.study import load_study
from comparisons import PEOPLE, gated, judged, planted_people, write  # noqa: F401

GATED = {"model.mlp": "gated"}, {"model.mlp": "standard"}


STORES = SimpleNamespace(number="bits", stores=True, kind="random data")


def simulated(d, size, seed):
    """A comparison of pairs whose log ratios are d; shapes and seeds have noise of their own that
    both sides share."""
    dice = np.random.default_rng(len(d))
    shared = np.exp(0.3 * dice.standard_normal(50)[size] + 0.2 * dice.standard_normal(50)[seed])
    frame = pd.DataFrame(
        {
            "value_a": 3 * shared * np.exp(d),
            "value_b": 3 * shared,
            "size": [f"2x{s}" for s in size],
            "seed": seed,
            "left_out": "",
        }
    )
    for side in "ab":
        frame = frame.assign(
            **{
                f"rising_{side}": False,
                f"parameters_{side}": 1.0,
                f"run_id_{side}": [f"{side}{i}" for i in range(len(d))],
                f"arm_{side}": [f"{side}{s}" for s in size],
            }
        )
    row = verdicts.analyse(STORES, pairs.Paired(frame, {"A": 0, "B": 0}, {}, {"A": 1, "B": 1}))
    return {"a": "A", "b": "B"} | row


def studies(n_sizes, n_seeds, times, shift=0.0, sd=0.03, of_size=0.0):
    size, seed = np.repeat(np.arange(n_sizes), n_seeds), np.tile(np.arange(n_seeds), n_sizes)
    dice = np.random.default_rng(1)
    return [
        simulated(
            shift
            + of_size * dice.standard_normal(n_sizes)[size]
            + sd * dice.standard_normal(len(size)),
            size,
            seed,
        )
        for _ in range(times)
    ]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "n_sizes, n_seeds", [(3, 2), (4, 2), (6, 2)], ids=["6 pairs", "8 pairs", "12 pairs"]
)
def test_the_stated_difference_is_shown_in_four_of_five_studies(n_sizes, n_seeds):
    n, sd = n_sizes * n_seeds, 0.03
    rows = verdicts.corrected(studies(n_sizes, n_seeds, 1, sd=sd), True)
    assert rows[0]["detectable"]["effect"] == pytest.approx(
        statistics.standardized_effect(n) * rows[0]["sd"], rel=1e-3
    )
    told = [
        verdicts.corrected([row], True)[0]["differs"]
        for row in studies(n_sizes, n_seeds, 180, statistics.standardized_effect(n) * sd)
    ]
    assert (
        np.mean([side == "more" for side in told]) == pytest.approx(0.8, abs=0.065)
        and "less" not in told
    )


@pytest.mark.slow
@pytest.mark.long
def test_no_difference_is_seldom_called_one():
    together = studies(4, 2, 450)
    told = [verdicts.corrected([row], True)[0]["differs"] for row in together]
    assert 0.02 < np.mean([side is not None for side in told]) < 0.07
    several = [
        any(row["differs"] for row in verdicts.corrected(together[i : i + 3], True))
        for i in range(0, 450, 3)
    ]
    assert np.mean(several) < 0.1  # 5% and three standard errors of 150 studies
    inside = [row["interval"][0] < 1 < row["interval"][1] for row in together]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


@pytest.mark.slow
@pytest.mark.long
def test_only_the_interval_over_sizes_holds_for_other_sizes():
    """Sizes whose true differences scatter about 0: over pairs these count as known, so for other
    sizes that interval is too short."""
    rows = studies(5, 2, 200, sd=0.01, of_size=0.03)
    covered = [
        np.mean([r["interval"][0] < 1 < r["interval"][1] for r in part])
        for part in (rows, [row["over_sizes"] for row in rows])
    ]
    assert covered[0] < 0.91 and covered[1] == pytest.approx(0.95, abs=0.04)


def test_a_difference_has_to_be_shown_by_interval_and_test():
    five = verdicts.corrected(studies(5, 1, 1, shift=0.5), True)[0]
    assert five["interval"][0] > 1 and five["p"] == 2 / 32 and five["differs"] is None
    assert (
        "below 6 the exact test cannot reach 5%" in five["verdict"]
        and five["detectable"]["by"] == "interval alone"
    )
    six = verdicts.corrected(studies(6, 1, 1, shift=0.5), True)[0]
    assert (
        six["differs"] == "more"
        and six["verdict"] == "A stores more than B at these sizes, and over sizes"
    )
    several = verdicts.corrected(studies(6, 1, 2, shift=0.5), True)
    assert [row["differs"] for row in several] == [None, None] and several[0]["p_holm"] == 2 * six[
        "p"
    ]  # 0.0625
    assert "below 7" in several[0]["verdict"] and "among 2 comparisons" in several[0]["verdict"]
    less = verdicts.corrected(studies(6, 1, 1, shift=-0.5), False)[0]
    assert less["differs"] == "less" and less["verdict"].startswith("A has less than B")
    one = verdicts.corrected(studies(1, 1, 1, shift=0.5), True)[0]
    assert (
        one["interval"] is None
        and one["detectable"]["effect"] is None
        and "one pair" in one["verdict"]
    )


def test_needed_pairs_are_the_first_that_suffice():
    for sd, effect in ((0.02, 0.05), (0.1, 0.05), (0.3, 0.1), (0.001, 0.1)):
        n = statistics.needed_replicates(sd, effect)
        assert sd * statistics.standardized_effect(n) <= effect and (
            n == statistics.fewest_replicates() == 6
            or sd * statistics.standardized_effect(n - 1) > effect
        )
    assert statistics.needed_replicates(100.0, 0.001) is None
    effects = [statistics.detectable(1.0, n)["effect"] for n in range(2, 60)]
    assert all(math.isfinite(e) for e in effects) and effects == sorted(effects, reverse=True)
    assert 1.2 < statistics.standardized_effect(6) / effects[
        4
    ] < 1.3 and statistics.standardized_effect(10) / effects[8] == pytest.approx(1, abs=0.03)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_is_the_step_down_of_bonferroni(p):
    told = statistics.holm(p)
    known = [(x, y) for x, y in zip(p, told, strict=True) if x is not None]
    assert [y is None for y in told] == [x is None for x in p]
    assert all(x <= y <= min(1.0, len(known) * x) for x, y in known)
    for (_x, y), (_other, its) in pairwise(sorted(known)):
        assert y <= its
    for level in (0.01, 0.05, 0.3):  # the definition: reject in order until one fails
        ordered, rejected = sorted(x for x, _ in known), 0
        while rejected < len(ordered) and ordered[rejected] * (len(ordered) - rejected) <= level:
            rejected += 1
        assert sum(y <= level for _, y in known) == rejected


def test_runs_that_differ_in_one_thing_are_pairs_and_what_the_data_decide_is_left_out(gated):
    row = judged(*gated, *GATED)
    assert (row["pairs_of_runs"], row["units"], row["left_out"]) == (
        12,
        6,
        {"data_limited": 6},
    )  # 2 sizes, 3 seeds; the third load fits
    assert (
        row["sizes"] == ["2x8", "2x16"]
        and row["seeds"] == [0, 1, 2]
        and row["alone"] == {"A": 0, "B": 0}
    )
    assert (
        row["effect"] == pytest.approx(1.2, rel=0.02)
        and row["differs"] == "more"
        and row["p"] == 2 / 64 == 2 * row["smallest_p"]
    )
    assert row["also_differ"] == {"model.activation": ["silu", "gelu"]}
    assert row["parameters"]["A"] != row["parameters"]["B"]  # so numbers per parameter are compared
    back = judged(*gated, *reversed(GATED))
    assert (
        back["effect"] == pytest.approx(1 / row["effect"])
        and back["differs"] == "less"
        and back["p"] == row["p"]
    )


def test_missing_partners_and_other_seeds_are_counted_and_no_pairs(tmp_path):
    results = tmp_path / "results"
    study = write(
        tmp_path,
        results,
        keep=lambda c: not (c.model.mlp == "gated" and c.seed == 2 and c.model.d_model == 8),
    )
    row = judged(study, results, *GATED)
    assert (
        row["units"] == 5
        and row["alone"] == {"A": 0, "B": 3}
        and row["differs"] is None
        and "below 6" in row["verdict"]
    )
    write(
        tmp_path,
        (other := tmp_path / "other"),
        keep=lambda c: c.seed == 0 or c.model.mlp == "gated",
    )
    assert judged(study, other, *GATED)["seeds"] == [0]
    write(
        tmp_path,
        (none := tmp_path / "none"),
        keep=lambda c: (c.seed == 0) == (c.model.mlp == "gated"),
    )
    with pytest.raises(
        ValueError, match="no run of A has one of B with equal seed, exposures, amount"
    ):
        judged(study, none, *GATED)


def test_if_the_data_decide_every_pair_it_says_so(tmp_path):
    study = write(tmp_path, tmp_path / "r", keep=lambda c: c.data.load == 1.0)
    row = judged(study, tmp_path / "r", *GATED)
    assert (
        row["effect"] is None
        and row["verdict"]
        == "nothing to compare: the data decide, not the model: 6 pairs (data_limited)"
    )
    told = variants.differences(study, run_table.table(tmp_path / "r", study.runs))
    shown = text.render(wording.added(Document("a study", []), told))
    says = "None: every pair is limited by its data, not by the model: no difference between models"
    assert says in " ".join(shown.split())


def test_differences_are_answers_unless_a_published_value_is_about_one(gated):
    study, results = gated
    told = variants.differences(study, run_table.table(results, study.runs))
    differs = [row["verdict"] for row in told["comparisons"] if row["differs"]]
    assert differs

    def answers(*quantities):
        verdicts = [{"quantity": quantity} for quantity in quantities]
        return wording.added(Document("a study", ["The law."]), told, verdicts).answers

    for quantities in ((), ("bits per parameter",)):
        first, *others = answers(*quantities)
        assert first == "The law." and len(others) == len(differs)
        assert all(says in answer for says, answer in zip(differs, others, strict=True))
    assert answers("bits per parameter", "ratio") == ["The law."]


def test_what_is_not_a_comparison_is_refused_in_one_line(gated):
    study, results = gated
    for a, b, says in (
        ({"data.load": 5.0}, {}, "A and B share"),
        (
            {"model.mlp": "gated", "data.load": 5.0},
            {"model.mlp": "standard", "data.load": None},
            "B has no finished run",
        ),
        ({"data.load": 5.0, "model.mlp": "gated"}, {"data.load": 6.5}, None),
        ({"model.d_model": 16.0}, {"model.d_model": 8.0}, None),
    ):
        if says is None:
            assert judged(study, results, a, b)["units"] > 1
            continue
        with pytest.raises(ValueError) as refused:
            judged(study, results, a, b)
        assert says in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_listed_can_be_named(gated, planted_people):
    file, results = planted_people
    for study, folder in (
        gated,
        (load_study(file, []), results),
        (load_study("physics33/05_architectures_1000", []), None),
    ):
        table = run_table.table(folder or results, study.runs)
        if folder is None:  # nothing has run: what varies is in the plan
            table = table.assign(status="finished", bits=1e5, bits_se=0.0, gain_last_tenth=0.0)
        runs = compared_runs.read(study, table)
        for key, values in compared_runs.varies(runs).items():
            assert len(values) > 1
            told = [compared_runs.parse(f"{key}={value}", runs)[key] for value in values]
            assert len(set(told)) == len(values) and set(told) == set(runs.table[key])
    assert compared_runs.parse("model.mlp_ratio=2.667, model.mlp=gated", runs) == {
        "model.mlp_ratio": 8 / 3,
        "model.mlp": "gated",
    }
    assert len(compared_runs.select(runs, {"architecture": "LLaMA"})) > 10 and set(
        compared_runs.varies(runs)["architecture"]
    ) == {"GPT2", "GPT2 1/4", "GPT2 no MLP", "LLaMA", "Mistral"}


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
def test_several_partners_have_to_be_told_apart(tmp_path):
    study = write(tmp_path, tmp_path / "r", PEOPLE.replace("best_over: [train.lr]\n", ""))
    with pytest.raises(
        ValueError, match="several partners, which differ in train.lr: name more settings"
    ):
        judged(study, tmp_path / "r", {"train.optimizer": "muon"}, {"train.optimizer": "adamw"})
    row = judged(
        study,
        tmp_path / "r",
        {"train.optimizer": "muon"},
        {"train.optimizer": "adamw", "train.lr": 0.04},
    )
    assert row["pairs_of_runs"] == 4 and row["units"] == 2
