"""Arms of studies of facts: what varies, their means over seeds, and their names."""

from pathlib import Path

import numpy as np
import pytest

from capacity.analysis import facts
from capacity.analysis.facts import selection
from capacity.analysis.finding import Options
from facts_tables import BITS, LLAMA, analysed, arms_of, grid, printed, run, study, table


def test_an_arm_is_the_mean_over_seeds_with_student_t():
    rows = [run("2x16", seed, 1.0, r) for seed, r in ((0, 0.0), (1, 0.0), (2, 0.0))]
    for row, bits in zip(rows, (10_000.0, 11_000.0, 12_000.0), strict=True):
        row["bits"] = bits
    _, found = arms_of(rows)
    (arm,) = found.itertuples()
    p, total = rows[0]["parameters_paper"], rows[0]["parameters_total"]
    assert (
        arm.seeds == 3
        and arm.r == pytest.approx(11_000 / p)
        and arm.r_total == pytest.approx(11_000 / total)
    )
    assert arm.r_max == pytest.approx(800 * BITS / p) and arm.fraction == pytest.approx(
        11_000 / (800 * BITS)
    )
    assert arm.r_sd == pytest.approx(1000 / p)
    half = 4.302653 * 1000 / p / 3**0.5  # t of 2 degrees of freedom
    assert (arm.r - arm.r_low, arm.r_high - arm.r) == pytest.approx((half, half))


def test_the_standard_error_over_people_is_added_in_quadrature():
    rows = [
        run("2x16", seed) | {"bits": bits, "bits_se": 600.0}
        for seed, bits in ((0, 10_000.0), (1, 11_000.0))
    ]
    _, found = arms_of(rows)
    p, (arm,) = rows[0]["parameters_paper"], found.itertuples()
    assert arm.r_se_people * p == pytest.approx(600 / 2**0.5)
    assert (arm.r_high - arm.r) * p == pytest.approx(
        np.hypot(12.7062 * 500, 1.95996 * 600 / 2**0.5), rel=1e-5
    )
    _, single = arms_of(rows[:1])
    assert np.isnan(single.r_low).all() and single.r_sd.isna().all()  # one seed has no interval


def test_runs_of_a_curve_differ_in_size_only_and_arms_in_what_varies():
    rows = grid(people=(800, 2400), seeds=(0, 1)) + grid(people=(800,), seeds=(0,), **LLAMA)
    rows += grid(people=(800,), seeds=(0,), **{"train.exposures": 1000.0})
    runs, found = arms_of(rows)
    assert len(found) == 4 * 4 and found.groupby("curve").size().tolist() == [4, 4, 4, 4]
    assert list(dict.fromkeys(found.curve_name)) == [
        "N = 800, 200 exposures, GPT2",
        "N = 800, 200 exposures, LLaMA",
        "N = 800, 1000 exposures, GPT2",
        "N = 2.4K, 200 exposures, GPT2",
    ]
    assert set(runs.series) == {"N = 800, GPT2", "N = 800, LLaMA", "N = 2.4K, GPT2"}


def test_a_recipe_that_follows_the_size_makes_no_curve_but_one_varied_on_purpose_does():
    follows = {"2x16": 0.02, "2x24": 0.01}
    rows = [
        run(shape, **{"train.lr": lr, "data.n_people": n, "train.batch_size": n // 50})
        for shape, lr in follows.items()
        for n in (800, 2400)
    ]
    _, found = arms_of(rows)
    assert found.curve.nunique() == 2 and len(found) == 4  # the two N
    rows = [run(shape, **{"train.weight_decay": wd}) for shape in follows for wd in (0.0, 0.1)]
    _, found = arms_of(rows)
    assert set(found.curve_name) == {"weight_decay=0", "weight_decay=0.1"}


def test_heads_of_keys_and_values_follow_the_size_unless_they_vary_at_one_size():
    mistral = {"model.mlp": "gated", "model.mlp_ratio": 3.5}
    sizes = (("2x16", 1), ("2x24", None), ("2x32", 2))
    rows = [run(shape, **mistral, **{"model.n_kv_heads": kv}) for shape, kv in sizes]
    assert arms_of(rows)[1].curve.nunique() == 1
    rows = [
        run("2x32", **{"model.n_kv_heads": kv}) | {"model": f"2x32 n_kv_heads={kv}"}
        for kv in (None, 2, 1)
    ]
    assert set(arms_of(rows)[1].curve_name) == {"n_kv_heads=none", "n_kv_heads=2", "n_kv_heads=1"}


def test_names_use_the_published_forms_or_all_settings_that_vary():
    rows = [
        run(**form)
        for form in (
            {},
            LLAMA,
            LLAMA | {"model.mlp_ratio": 3.5},
            {"model.mlp_ratio": 0.0},
            {"model.mlp_ratio": 1.0},
            {"model.mlp_ratio": 1.0, "model.n_experts": 32},
            {"model.mlp_ratio": 1.0, "model.n_experts": 8},
        )
    ]
    rows = [row | {"model": f"2x16 form {i}"} for i, row in enumerate(rows)]
    assert set(arms_of(rows)[0].variant) == {
        "GPT2",
        "LLaMA",
        "Mistral",
        "GPT2 no MLP",
        "GPT2 1/4",
        "MoE",
        "MoE of 8",
    }
    rows = [run(**form) for form in ({}, LLAMA, LLAMA | {"model.tied": True})]
    rows = [row | {"model": f"2x16 form {i}"} for i, row in enumerate(rows)]
    names = set(arms_of(rows)[0].variant)
    assert len(names) == 3 and all(
        "mlp=" in name and "tied=" in name and "norm=" in name for name in names
    )
    junk = {"data.other_parts": 7, "data.other_people": 10**8}
    assert set(arms_of([run(), run(**junk), run(**junk, **{"data.tag": "main"})])[0].variant) == {
        "other_parts=0, other_people=0, tag=none",
        "other_parts=7, other_people=100M, tag=none",
        "other_parts=7, other_people=100M, tag=main",
    }
    assert set(arms_of([run(), run(**{"data.biographies": 1})])[0].variant) == {
        "biographies=none",
        "biographies=1",
    }


def test_the_load_stands_for_n_where_it_was_given():
    rows = [
        run(shape, **{"data.load": 2.0, "data.n_people": n})
        for shape, n in (("2x16", 800), ("2x24", 1500))
    ]
    for row in rows:
        row["data.n_people"] = None  # N follows from the load
    _, found = arms_of(rows)
    assert (
        found.curve.nunique() == 1
        and set(found.curve_name) == {"all runs"}
        and set(found.n_people) == {800, 1500}
    )


def test_exposures_follow_from_steps_where_steps_were_given():
    rows = [
        run(shape, **{"train.exposures": None, "train.steps": 1000})
        | {"exposures": e, "exposures_mean": e}
        for shape, e in (("2x16", 100.04), ("2x24", 99.98))
    ]
    assert set(arms_of(rows)[1].exposures) == {100.0}


def test_the_best_of_several_counts_by_run_and_seed():
    lrs = (0.005, 0.01, 0.02)
    rows = [
        run("2x16", seed, r, **{"train.lr": lr})
        for seed, held in ((0, (1.0, 1.5, 1.2)), (1, (1.3, 1.1, 1.0)))
        for lr, r in zip(lrs, held, strict=True)
    ]
    runs, found = arms_of(rows, ["train.lr"])
    (arm,) = found.itertuples()
    assert arm.r == pytest.approx((1.5 + 1.3) / 2) and arm.seeds == 2 and arm.finished == 6
    assert arm.best == "lr 0.01; lr 0.005" and runs.chosen.tolist() == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert selection.at_edge(runs, ["train.lr"]) == {"train.lr": ["2x16 (all runs)"]}
    rows[1] |= {"status": "failed", "bits": np.nan}
    runs, found = arms_of(rows, ["train.lr"])
    assert found.r.iloc[0] == pytest.approx((1.2 + 1.3) / 2) and found.failed.iloc[0] == 1
    assert len(arms_of(rows)[1]) == 3  # without best_over the learning rates are arms of their own
    with pytest.raises(ValueError, match="r0006 has the settings and the seed of another run"):
        arms_of([*rows, rows[0]], ["train.lr"])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.drop(columns=["bits"]), "has no column bits"),
        (
            lambda t: t.assign(status="missing", bits=np.nan),
            "no finished run to analyse: 0 failed, 3 missing",
        ),
        (lambda t: t.assign(status="done"), "status 'done' is none of"),
        (lambda t: t.assign(run_id="r1"), "run r1 appears more than once"),
        (lambda t: t.assign(bits=np.nan), "finished run r0000 has bits = nan"),
        (lambda t: t.assign(parameters_paper=0), "has parameters_paper = 0"),
        (
            lambda t: t.assign(vocab_size=[333, 333, 400]),
            "mix vocabulary sizes 333, 400 that no setting of data explains",
        ),
        (lambda t: t.assign(seed=0), "has the settings and the seed of another run"),
    ],
)
def test_a_table_that_cannot_be_analysed_is_refused_in_one_line(change, message):
    broken = change(table([run(seed=seed) for seed in range(3)]))
    with pytest.raises(ValueError, match=message) as error:
        facts.analyse(study(), broken, Path(), Options())
    assert "\n" not in str(error.value)


def test_vocabularies_may_differ_where_a_setting_of_the_data_explains_it():
    rows = [
        run(seed=s, **{"data.tag": tag}) | {"vocab_size": v}
        for s in (0, 1)
        for tag, v in (("none", 333), ("main", 334))
    ]
    found = analysed(rows)
    assert found.numbers["vocabulary_sizes"] == [333, 334]
    assert "Vocabularies of 333 to 334 rows are mixed" in printed(found)
