"""Arms, intervals, the law over exposures, verdicts and the written summary, against planted
truth."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import facts, finding
from capacity.analysis.facts import arms, exposures, peaks, selection, verdicts
from capacity.analysis.facts.analysis import exposure_laws
from capacity.analysis.facts.plots import arms_figure, exposures_figure, ratio_figure
from capacity.analysis.facts.reading import prepare
from capacity.analysis.facts.wording import describe_choice
from capacity.analysis.finding import Finding, Options
from capacity.base.errors import ConfigError
from capacity.fitting.statistics import fieller
from capacity.published.expects import check_expects
from capacity.report import markdown, text
from capacity.study import Study

BITS = 30.0  # per person
SHAPES = {"2x16": (2, 16), "2x24": (2, 24), "2x32": (2, 32), "2x48": (2, 48)}
DEFAULTS = {
    "data.n_people": 800,
    "data.load": None,
    "data.biographies": None,
    "data.other_parts": 0,
    "data.other_people": 0,
    "data.tag": "none",
    "data.order": "permute",
    "data.lexicon": None,
    "model.mlp": "standard",
    "model.mlp_ratio": 4.0,
    "model.n_kv_heads": None,
    "model.tied": True,
    "model.bias": True,
    "model.norm": "layernorm",
    "model.activation": "gelu",
    "model.n_experts": 0,
    "train.exposures": 200.0,
    "train.steps": None,
    "train.lr": 0.01,
    "train.batch_size": 16,
    "train.weight_decay": 0.0,
}
LLAMA = {
    "model.mlp": "gated",
    "model.mlp_ratio": 8 / 3,
    "model.tied": False,
    "model.bias": False,
    "model.norm": "rmsnorm",
    "model.activation": "silu",
}


def run(shape="2x16", seed=0, r=2.0, noise=0.0, status="finished", rng=None, **settings):
    """A row of the table of runs that learned r bits per parameter (times noise), or all of its
    data if less."""
    layers, d = SHAPES[shape]
    s = (
        DEFAULTS
        | {"model.n_layers": layers, "model.d_model": d, "model.n_heads": d // 8}
        | settings
    )
    p = 300 * d + layers * (12 * d * d + 13 * d) + 2 * d
    n = s["data.n_people"]
    ceiling = n * BITS
    share = 1.0 + (noise * rng.standard_normal() if rng else 0.0)
    bits = min(r * p * share, 0.985 * ceiling * (1 + 0.05 * (share - 1)))
    e = s["train.exposures"] or 100.0
    known = status == "finished"
    return {
        "run_id": "",
        "label": shape,
        "seed": seed,
        "status": status,
        "error": "" if status != "failed" else "loss is nan",
        "kind": "bios",
        "n_people": n,
        "exposures": e,
        "exposures_min": e - 1,
        "exposures_mean": e,
        "exposures_max": e + 1,
        "steps": 1000,
        "tokens": 10**6,
        "flops": 1e12,
        "wall_s": 60.0,
        "lr": s["train.lr"],
        "batch_size": s["train.batch_size"],
        "precision": "fp32",
        "vocab_size": 333,
        "seq_len": 64,
        "parameters_total": p + 10 * d,
        "parameters_paper": p,
        "parameters_non_embedding": p - 300 * d,
        "parameters_active": p,
        "bits": bits if known else np.nan,
        "bits_se": 0.0 if known else np.nan,
        "ceiling_bits": ceiling,
        "accuracy": bits / ceiling if known else np.nan,
        "p1_nats": 7.0,
        "p2_nats": 1.0,
        "gain_last_tenth": 0.004 if known else np.nan,
        "bits_major": 3.0,
        "accuracy_major": 0.9,
        "extraction_accuracy": np.nan,
    } | s


def table(rows):
    frame = pd.DataFrame(rows)
    frame["run_id"] = [f"r{i:04d}" for i in range(len(frame))]
    return frame


def grid(shapes=SHAPES, seeds=(0, 1, 2), people=(800, 2400), r=2.0, noise=0.02, draw=0, **settings):
    rng = np.random.default_rng(draw)
    return [
        run(shape, seed, r, noise, rng=rng, **({"data.n_people": n} | settings))
        for n in people
        for shape in shapes
        for seed in seeds
    ]


def study(expects=(), **fields):
    base = Study(
        "physics33/planted@pocket",
        Path("x.yaml"),
        "does it find what was planted?",
        [],
        [],
        [],
        "pocket",
    )
    return dataclasses.replace(base, expects=check_expects([entry(**e) for e in expects]), **fields)


def entry(**fields):
    return (
        {
            "name": "a value",
            "quantity": "peak_ratio",
            "source": "arXiv 2404.05405, section 5 (Result 1)",
            "evidence": "p",
        }
        | ({} if {"range", "tolerance"} & set(fields) else {"range": [1.8, 2.3]})
        | fields
    )


def analysed(rows, *expects, n_boot=500, **fields):
    """What is found in a planted table."""
    return facts.analyse(study(expects, **fields), table(rows), Path(), Options(n_boot))


def judged(rows, *expects, **fields):
    """The fit of a planted table and the verdicts of these expectations."""
    fit = analysed(rows, *expects, **fields).numbers
    return fit, fit["verdicts"]


def printed(found):
    """The document in one line of text."""
    return " ".join(text.render(facts.document(found)).split())


# --- arms
# --------------------------------------------------------------------------------------------------


def arms_of(rows, best_over=()):
    runs = prepare(table(rows), best_over)
    return runs, arms.arms(runs)


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
        run("2x32", **{"model.n_kv_heads": kv}) | {"label": f"2x32 n_kv_heads={kv}"}
        for kv in (None, 2, 1)
    ]
    assert set(arms_of(rows)[1].curve_name) == {"n_kv_heads=none", "n_kv_heads=2", "n_kv_heads=1"}


def test_names_use_the_published_forms_or_the_fewest_settings_that_tell_apart():
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
    rows = [row | {"label": f"2x16 form {i}"} for i, row in enumerate(rows)]
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
    rows = [row | {"label": f"2x16 form {i}"} for i, row in enumerate(rows)]
    names = set(arms_of(rows)[0].variant)
    assert len(names) == 3 and all(
        "mlp=" in name and "tied=" in name and "norm" not in name for name in names
    )
    junk = {"data.other_parts": 7, "data.other_people": 10**8}
    assert set(arms_of([run(), run(**junk), run(**junk, **{"data.tag": "main"})])[0].variant) == {
        "other_parts=0, tag=none",
        "other_parts=7, tag=none",
        "other_parts=7, tag=main",
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


# --- noise, peaks, ratios
# ------------------------------------------------------------------------------------------


def test_pooled_noise_recovers_the_planted_sd_by_class():
    runs = prepare(table(grid(people=(400, 3200), seeds=range(30), noise=0.03)))
    pooled = arms.noise(runs)
    assert pooled["open"][0] == pytest.approx(0.03, rel=0.15) and pooled["open"][1] == 3 * 29
    assert pooled["data_limited"][0] < 0.003 and pooled["data_limited"][1] == 5 * 29
    assert arms.noise(prepare(table(grid(seeds=(0,))))) == {}


def members(means, r_max=9.0, seeds=2):
    rows = [
        {
            "arm": i,
            "label": f"m{i}",
            "r": r,
            "r_sd": np.nan,
            "r_low": np.nan,
            "r_high": np.nan,
            "r_se_people": 0.0,
            "r_max": r_max,
            "fraction": r / r_max,
            "seeds": seeds,
            "parameters_paper": 1000 * (i + 1),
            "rising": 0,
        }
        for i, r in enumerate(means)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("truths", [(2, 2, 2, 2, 2, 2), (2, 1.9, 1.7, 1.5), (2, 1)])
def test_the_interval_of_a_peak_covers_although_a_maximum_is_biased(truths):
    rng, sd, above, told, covered, n, k = (
        np.random.default_rng(5),
        0.05,
        0.0,
        0.0,
        0,
        300,
        len(truths),
    )
    for i in range(n):
        noisy = np.array(truths)[:, None] * (1 + sd * rng.standard_normal((k, 2)))
        mean = noisy.mean(1)
        pooled = {
            "open": (float(np.sqrt((((noisy - mean[:, None]) / mean[:, None]) ** 2).sum() / k)), k)
        }
        top = peaks.peak(members(mean), pooled, n_boot=400, seed=i)
        above += (top["value"] - 2) / n
        covered += top["interval"][0] <= 2 <= top["interval"][1]
        told += top["bias"] / n
        assert top["interval"][0] < top["value"] < top["interval"][1]
    assert covered >= 0.93 * n and told > 0
    if len(set(truths)) == 1:
        assert above > 0.05 and told == pytest.approx(above, rel=0.5)


def test_a_peak_names_its_model_its_edge_and_why_it_has_no_interval():
    runs, found = arms_of(grid(people=(2400,), r=1.9, noise=0.0))
    top = peaks.peak(found, {"open": (0.01, 8)}, n_boot=500)
    assert (
        top["label"] in SHAPES
        and top["models"] == 4
        and top["largest_r_max"] == pytest.approx(found.r_max.max())
    )
    single = peaks.peak(members([1.0, 2.0, 1.5]), {}, n_boot=100)
    assert (
        single["interval"] is None
        and "one seed per arm" in single["reason"]
        and single["edge"] is None
    )
    assert peaks.peak(members([2.0, 1.0]), {}, n_boot=100)["edge"] == "smallest"
    lowest = peaks.peak(
        members([1.0, 0.5]), {"open": (0.01, 9)}, number="fraction", sign=-1, n_boot=500
    )
    assert (
        lowest["value"] == pytest.approx(0.5 / 9)
        and lowest["interval"][0] < 0.5 / 9 < lowest["interval"][1]
    )


def test_peaks_are_compared_with_the_first_curve_of_their_n():
    rows = grid(people=(2400, 4800), noise=0.01) + grid(
        people=(2400, 4800), r=1.5, noise=0.01, draw=1, **LLAMA
    )
    found = analysed(rows)
    fit = found.numbers
    assert [
        (p["name"], p["against_first"] and p["against_first"]["name"]) for p in fit["peaks"]
    ] == [
        ("N = 2.4K, GPT2", None),
        ("N = 2.4K, LLaMA", "N = 2.4K, GPT2"),
        ("N = 4.8K, GPT2", None),
        ("N = 4.8K, LLaMA", "N = 4.8K, GPT2"),
    ]
    for peak in fit["peaks"][1::2]:
        low, high = peak["against_first"]["interval"]
        assert low < 0.75 < high and high - low < 0.06
    (shown,) = (b for b in facts.document(found).section("peaks").blocks if hasattr(b, "rows"))
    assert "ratio: to R of N = 2.4K, GPT2 or N = 4.8K, GPT2" in shown.legend
    assert [row[4] == "" for row in shown.rows] == [True, False, True, False]


def test_fieller_covers_and_knows_when_the_denominator_may_be_zero():
    rng, n, hits = np.random.default_rng(0), 600, 0
    for _ in range(n):
        a, b = 1.0 + 0.2 * rng.standard_normal(), 2.0 + 0.3 * rng.standard_normal()
        _, ends = fieller(a, b, [[0.04, 0.0], [0.0, 0.09]], 1.96)
        hits += ends[0] <= 0.5 <= ends[1]
    assert 0.92 * n <= hits <= 0.98 * n
    assert fieller(1.0, 0.1, [[0.01, 0], [0, 0.01]], 1.96)[1] is None
    value, ends = fieller(
        -0.05, 2.0, [[0.0004, 0], [0, 0.0004]], 1.96
    )  # a model that has learned nothing
    assert value == pytest.approx(-0.025) and ends[0] < value < ends[1] < 0
    assert fieller(3.0, 2.0, [[0, 0], [0, 0]], 1.96) == (1.5, [1.5, 1.5])


# --- verdicts
# --------------------------------------------------------------------------------------------------


def verdict_of(rows, **expected):
    _, (only,) = judged(rows, expected)
    return only


def test_a_verdict_agrees_differs_or_says_why_it_cannot_tell():
    many = {"people": (2400,), "shapes": ("2x16", "2x24")}
    good = verdict_of(grid(**many, noise=0.01))
    assert good["verdict"] == "agrees" and good["measured"] == pytest.approx(2.0, abs=0.05)
    assert good["interval"][0] < good["measured"] and good["published"] == {
        "value": None,
        "interval": None,
        "range": [1.8, 2.3],
        "form": "largest R over models",
        "id": None,
        "there": "",
    }
    assert good["source"] == "arXiv 2404.05405, section 5 (Result 1)"
    assert (good["evidence"], good["scale"]) == ("p", "pocket")
    low = verdict_of(grid(**many, r=1.2, noise=0.01))
    assert low["verdict"] == "differs" and "below the range" in low["reason"]
    assert (
        verdict_of(grid(**many, r=2.8, noise=0.01))["reason"] == "the interval lies above the range"
    )
    wide = verdict_of(grid(**many, r=1.82, noise=0.05, seeds=(0, 1)))
    assert wide["verdict"] == "cannot tell" and "too wide to exclude either" in wide["reason"]
    single = verdict_of(grid(**many, seeds=(0,)))
    assert single["verdict"] == "cannot tell" and single["interval"] is None
    assert "inside the range" in single["reason"] and "one seed per arm" in single["reason"]
    full = verdict_of(grid(people=(800,), shapes=("2x24", "2x32")))
    assert full["verdict"] == "cannot tell"
    assert "the data run out first: the largest R^max of these models is 1.11" in full["reason"]
    nothing = verdict_of(grid(**many), where={"data.n_people": 5})
    assert nothing["verdict"] == "cannot tell" and nothing["measured"] is None


def test_every_curve_gets_a_verdict_of_its_own():
    rows = grid(people=(2400,), noise=0.01) + grid(
        people=(2400,), r=1.0, noise=0.01, **{"train.exposures": 100.0}
    )
    _, found = judged(
        rows,
        {"value": 2.0},
        {"name": "few", "where": {"train.exposures": 100}, "range": [0.9, 1.1]},
    )
    assert [(v["name"], v["at"], v["verdict"]) for v in found] == [
        ("a value", "100 exposures", "differs"),
        ("a value", "200 exposures", "agrees"),
        ("few", "100 exposures", "agrees"),
    ]
    assert "peak at 2x" in found[0]["remarks"][0]


def test_models_with_room_must_hold_their_data():
    rows = grid(people=(800, 2400))
    kept = verdict_of(rows, quantity="saturated_fraction", range=[0.95, None])
    assert kept["verdict"] == "agrees" and kept["measured"] == pytest.approx(0.984, abs=0.005)
    assert "4 models with R^max <= 1.8" in kept["remarks"][0]
    poor = [
        row
        | {"bits": row["bits"] * (0.8 if row["label"] == "2x48" and row["n_people"] == 800 else 1)}
        for row in rows
    ]
    lost = verdict_of(poor, quantity="saturated_fraction", range=[0.95, None])
    assert lost["verdict"] == "differs" and "the lowest is 2x48 (N = 800)" in lost["remarks"][0]
    mean = verdict_of(poor, quantity="saturated_fraction", range=[0.5, None], statistic="mean")
    assert mean["verdict"] == "agrees" and mean["measured"] == pytest.approx(0.94, abs=0.01)
    none = verdict_of(rows, quantity="saturated_fraction", range=[0.95, None], below=0.1)
    assert none["verdict"] == "cannot tell" and "R^max of at most 0.1" in none["reason"]


PAIR = {"quantity": "ratio", "where": {"model.mlp": "gated"}, "against": {"model.mlp": "standard"}}


@pytest.mark.parametrize("models", ["peak", "matched"])
@pytest.mark.parametrize("truth, verdict", [(0.77, "agrees"), (0.45, "differs"), (1.0, "differs")])
def test_a_ratio_of_two_arms(models, truth, verdict):
    rows = grid(people=(2400,), noise=0.01) + grid(
        people=(2400,), r=2 * truth, noise=0.01, draw=1, **LLAMA
    )
    found = verdict_of(rows, **PAIR, models=models, value=0.77, tolerance=0.1)
    assert (
        found["verdict"] == verdict
        and found["interval"][0] <= found["measured"] <= found["interval"][1]
    )
    assert found["measured"] == pytest.approx(truth, rel=0.03) and found["at"] == "LLaMA / GPT2"


def test_arms_of_one_label_are_told_apart_by_name():
    rows = grid(people=(2400,), shapes=("2x16",), noise=0.01) + grid(
        people=(2400,), shapes=("2x16",), r=1.5, noise=0.01, draw=1, **LLAMA
    )
    (remark,) = verdict_of(rows, **PAIR, range=[0.5, 1])["remarks"]
    assert remark.startswith("2x16, LLaMA: 1.") and "; 2x16, GPT2: 2" in remark
    junk = grid(people=(2400,), shapes=("2x16",), noise=0.01) + grid(
        people=(2400,), shapes=("2x24",), r=1.0, draw=1, **{"data.tag": "main"}
    )
    (remark,) = verdict_of(
        junk,
        quantity="ratio",
        where={"data.tag": "main"},
        against={"data.tag": "none"},
        range=[0, 1],
    )["remarks"]
    assert remark.startswith("2x24, tag=main: ") and "; 2x16, tag=none: " in remark


def test_arms_are_paired_where_everything_not_named_is_equal():
    rows = [
        row
        for n in (800, 2400)
        for e, r in ((100.0, 1.0), (200.0, 1.8))
        for form, share in (({}, 1.0), (LLAMA, 0.8))
        for row in grid(
            shapes=("2x16",), people=(n,), r=r * share, noise=0.01, **form, **{"train.exposures": e}
        )
    ]
    _, found = judged(rows, PAIR | {"value": 0.8, "tolerance": 0.1})
    assert [v["at"] for v in found] == [
        "LLaMA / GPT2 (N = 800, 100 exposures)",
        "LLaMA / GPT2 (N = 800, 200 exposures)",
        "LLaMA / GPT2 (N = 2.4K, 100 exposures)",
        "LLaMA / GPT2 (N = 2.4K, 200 exposures)",
    ]
    assert {v["verdict"] for v in found} == {"agrees"}
    _, found = judged(
        rows,
        {
            "quantity": "ratio",
            "where": {"train.exposures": 100},
            "against": {"train.exposures": 200},
            "range": [0.5, 0.6],
        },
    )
    assert {v["at"] for v in found} == {
        f"100 exposures / 200 exposures (N = {n}, {form})"
        for n in ("800", "2.4K")
        for form in ("GPT2", "LLaMA")
    }


def test_junk_that_leaves_nothing_is_a_ratio_near_zero_also_below_it():
    junk = {"data.other_parts": 7, "data.other_people": 10**8}
    asked = {
        "quantity": "ratio",
        "where": junk,
        "against": {"data.other_parts": 0, "data.other_people": 0},
        "range": [None, 0.1],
    }
    clean = grid(people=(2400,), noise=0.01)
    for r in (0.05, -0.02):
        found = verdict_of(clean + grid(people=(2400,), r=r, noise=0.1, draw=3, **junk), **asked)
        assert found["verdict"] == "agrees" and found["measured"] == pytest.approx(r / 2, abs=0.01)
    back = verdict_of(
        clean + grid(people=(2400,), r=-0.02, noise=0.1, draw=3, **junk),
        quantity="ratio",
        where=asked["against"],
        against=junk,
        range=[1, 2],
    )
    assert back["verdict"] == "cannot tell" and "learned nothing" in back["reason"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"against": {"model.mlp": "none"}}, "no finished run with model.mlp=none"),
        (
            {
                "against": {"model.mlp": "standard", "data.tag": "main"},
                "where": {"model.mlp": "gated"},
            },
            "no finished run with",
        ),
        (
            {
                "against": {"model.mlp": "standard", "data.order": "fixed"},
                "where": {"model.mlp": "gated"},
            },
            "in everything not named",
        ),
        (
            {"where": {"model.mlp": "standard"}, "against": {"model.mlp": "gated"}},
            "2 arms to compare with; name more settings",
        ),
        ({"of": "extraction"}, "extraction_accuracy was not measured"),
    ],
)
def test_a_ratio_without_its_arms_cannot_tell(change, words):
    rows = (
        grid(people=(2400,), shapes=("2x16",))
        + grid(people=(800,), shapes=("2x16",), **{"data.order": "fixed"})
        + grid(people=(2400,), shapes=("2x16",), draw=2, **LLAMA)
        + [
            row | {"label": "2x16 m"}
            for row in grid(
                people=(2400,), shapes=("2x16",), draw=4, **LLAMA | {"model.mlp_ratio": 3.5}
            )
        ]
    )
    _, found = judged(rows, PAIR | {"range": [0.5, 1.5]} | change)
    assert any(v["verdict"] == "cannot tell" and words in v["reason"] for v in found), found


def test_models_full_in_both_arms_do_not_water_down_a_matched_ratio():
    rows = grid(people=(2400,), noise=0.01) + grid(
        people=(2400,), r=1.0, noise=0.01, draw=1, **LLAMA
    )
    found = verdict_of(rows, **PAIR, models="matched", range=[0.45, 0.55])
    assert (
        found["verdict"] == "agrees"
        and "full in an arm, left out: 2x32, 2x48" in found["remarks"][0]
    )
    full = verdict_of(
        grid(people=(400,), shapes=("2x32",))
        + grid(people=(400,), shapes=("2x32",), draw=1, **LLAMA),
        **PAIR,
        models="matched",
        range=[0.9, 1.1],
    )
    assert full["verdict"] == "cannot tell" and "the data limit it" in full["reason"]


def test_more_exposures_hold_more():
    rows = [
        row
        for e, r in ((50.0, 0.5), (100.0, 1.0), (400.0, 1.9))
        for row in grid(
            people=(2400,), shapes=("2x16", "2x24"), r=r, noise=0.01, **{"train.exposures": e}
        )
    ]
    up = verdict_of(rows, quantity="rising", range=[2, None])
    assert up["verdict"] == "agrees" and up["measured"] == pytest.approx(3.8, rel=0.05)
    assert (
        up["at"] == "400 exposures / 50 exposures"
        and "50: 0.5; 100: 1; 400: 1.9" in up["remarks"][-1]
    )
    rows = [row | {"bits": row["bits"] / (5 if row["exposures"] == 100 else 1)} for row in rows]
    assert (
        "it falls from 50 to 100 exposures"
        in verdict_of(rows, quantity="rising", range=[2, None])["remarks"][-1]
    )
    flat = verdict_of(grid(people=(2400,)), quantity="rising", range=[2, None])
    assert flat["verdict"] == "cannot tell" and "two numbers of exposures" in flat["reason"]


def test_accuracies_and_questions():
    def asked(biographies, share, seed):
        row = run("2x32", seed, 9.0, **{"data.biographies": biographies})
        return row | {"extraction_accuracy": share + 0.01 * seed, "accuracy": 0.99 - 0.002 * seed}

    rows = [asked(b, share, seed) for b, share in ((1, 0.09), (5, 0.95)) for seed in (0, 1, 2)]
    single = verdict_of(rows, quantity="extraction", where={"data.biographies": 1}, range=[0, 0.2])
    assert (single["verdict"], single["measured"]) == ("agrees", pytest.approx(0.1))
    assert single["at"].startswith("biographies=1")
    several = verdict_of(rows, quantity="extraction", where={"data.biographies": 5}, range=[0, 0.2])
    assert several["verdict"] == "differs"
    assert (
        verdict_of(rows, quantity="accuracy", where={"data.biographies": 5}, range=[0.9, 1])[
            "verdict"
        ]
        == "agrees"
    )
    part = verdict_of(
        rows, quantity="extractable_fraction", where={"data.biographies": 5}, range=[0.9, 1.05]
    )
    assert part["verdict"] == "agrees" and part["measured"] == pytest.approx(0.96 / 0.988, rel=1e-3)
    more = verdict_of(
        rows,
        quantity="ratio",
        of="extraction",
        where={"data.biographies": 5},
        against={"data.biographies": 1},
        range=[5, None],
    )
    assert more["verdict"] == "agrees" and more["measured"] == pytest.approx(9.6)
    # many hold all their data, which says nothing about what can be asked for
    full = [row | {"bits": 0.99 * row["ceiling_bits"]} for row in rows]
    assert verdict_of(
        full,
        quantity="ratio",
        of="extraction",
        models="matched",
        where={"data.biographies": 5},
        against={"data.biographies": 1},
        range=[5, None],
    )["measured"] == pytest.approx(9.6)
    # three seeds speak for themselves, two borrow the scatter of all arms; no interval leaves [0,
    # 1]
    shaky = [
        row | {"extraction_accuracy": 0.3 + 0.3 * row["seed"]}
        if row["data.biographies"] == 5
        else row
        for row in rows
    ]
    few = {"where": {"data.biographies": 1}, "quantity": "extraction", "range": [0, 0.2]}
    assert verdict_of(shaky, **few)["interval"] == single["interval"]
    two = verdict_of(
        [row for row in shaky if row["seed"] < 2 or row["data.biographies"] == 5], **few
    )
    assert (
        two["interval"][0] == 0.0 and two["interval"][1] > 0.4 and two["verdict"] == "cannot tell"
    )
    never = verdict_of(grid(), quantity="extraction", range=[0, 1])
    assert never["verdict"] == "cannot tell" and "extraction was not measured" in never["reason"]


def test_null_in_where_stands_for_an_empty_setting():
    frame = table([run(), run(**{"data.biographies": 1}), run(**{"model.tied": False})])
    assert verdicts.matches(frame, {"data.biographies": None}).tolist() == [True, False, True]
    assert verdicts.matches(
        frame, {"data.biographies": [None, 1], "model.tied": True}
    ).tolist() == [True, True, False]
    assert verdicts.matches(frame, {"data.n_people": 800.0, "label": "2x16"}).all()
    assert not verdicts.matches(frame, {"data.length": 2}).any()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"quantity": "peek_ratio"}, ["quantity: peek_ratio", "did you mean peak_ratio?"]),
        ({"rnage": [1, 2]}, ["rnage: no such entry (did you mean range?)"]),
        ({"range": [2, 1]}, ["range: [2, 1]"]),
        ({"range": [None, None]}, ["one of which may be null"]),
        ({"tolerance": 0.1}, ["one of range and tolerance"]),
        ({"source": ""}, ["source is missing"]),
        ({"evidence": "x"}, ["evidence: x", "p, r, d, s, u"]),
        ({"against": {}}, ["against: only for quantity ratio"]),
        ({"quantity": "ratio"}, ["against is missing"]),
        ({"where": {"data.people": 1}}, ["data.people", "did you mean"]),
        ({"where": {"seed": {}}}, ["seed: {}: expected a value"]),
        ({"where": [1]}, ["expected a mapping"]),
        ({"below": 1}, ["below: only for quantity saturated_fraction"]),
        ({"value": "two"}, ["value: 'two': expected a number"]),
        ({"note": 3}, ["note: 3: expected text"]),
    ],
)
def test_a_wrong_expectation_is_one_line(change, words):
    with pytest.raises(ConfigError) as error:
        check_expects([entry() | change])
    assert all(word in str(error.value) for word in ["expects: a value", *words]), str(error.value)


def test_expectations_get_their_defaults_and_need_names_of_their_own():
    full = check_expects(
        [
            entry(),
            entry(name="b", quantity="ratio", against={}, value=0.5, tolerance=0.1),
            entry(name="c", quantity="saturated_fraction"),
        ]
    )
    assert full[0]["where"] == {} and full[1]["models"] == "peak" and full[1]["of"] == "R"
    assert full[1]["range"] == pytest.approx([0.45, 0.55]) and (
        full[2]["below"],
        full[2]["statistic"],
    ) == (1.8, "min")
    with pytest.raises(ConfigError, match="two entries of this name"):
        check_expects([entry(), entry()])
    with pytest.raises(ConfigError, match="a list of mappings"):
        check_expects({"name": "x"})


# --- the law over exposures
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", exposures.FORMS)
def test_the_law_over_exposures_recovers_what_was_planted(form):
    rng, e = np.random.default_rng(1), np.repeat([25.0, 50, 100, 200, 400, 800, 1600], 2)
    e0, b = (150.0, 0.9) if form == "exponential" else (300.0, 2.5)
    r = exposures.curve(form, e, 1.9, e0, b) + 0.004 * rng.standard_normal(len(e))
    law = exposures.fit_exposures(e, r, 5.0)
    assert (
        law["form"] == form
        and law["agreeing"] > 1
        and law["rms"] < 0.01
        and law["other"]["rms"] > law["rms"]
    )
    for name, truth in (
        ("r_inf", 1.9),
        ("e0", e0),
        ("b", b),
        ("e95", exposures.reach(form, e0, b)),
    ):
        low, high = law[name]["interval"]
        assert law[name]["value"] == pytest.approx(truth, rel=0.15) and low < truth < high, name
    assert law["plateau_reached"] and not law["data_limited"]
    assert exposures.curve(
        form, law["e95"]["value"], 1.0, law["e0"]["value"], law["b"]["value"]
    ) == pytest.approx(0.95)


def test_the_law_over_exposures_says_what_limits_it():
    e = np.array([25.0, 50, 100, 200, 400, 800])
    full = exposures.fit_exposures(e, exposures.curve("exponential", e, 0.7, 90, 1.0), 0.7)
    assert full["data_limited"] and full["r_inf"]["value"] <= 0.7
    short = exposures.fit_exposures(e, exposures.curve("exponential", e, 2.0, 3000, 1.0), 9.0)
    assert not short["plateau_reached"] and not short["data_limited"]
    few = exposures.fit_exposures(e, [-0.5, -0.1, -0.2, 0.3, 0.5, 0.6], 2.0)
    assert few == {"reason": "3 exposure values with R > 0, the law needs 4", "left_out": 3}


# --- the best of several
# --------------------------------------------------------------------------------------------------


def choices(noise, n_arms=60, options=2, seeds=3):
    """Runs of equally good settings."""
    rng = np.random.default_rng(3)
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "tried": f"lr {option}",
            "r": 1 + noise * rng.standard_normal(),
            "status": "finished",
            "curve_name": f"c{arm}",
            "label": "2x16",
        }
        for arm in range(n_arms)
        for option in range(options)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def test_the_bias_of_a_choice_is_known_and_without_a_choice_there_is_none():
    found = selection.choice(choices(0.02))
    # E max of two normals: sd / sqrt(pi)
    assert found["interval"][0] < 100 * 0.02 / np.sqrt(np.pi) < found["interval"][1]
    assert 0.5 < found["percent"] < 1.7 and 0 < found["noise_percent"] < found["percent"]
    assert len(found["arms"]) == 60
    assert found["arms"][0]["quoted"] >= found["arms"][0]["held_out"]
    assert selection.choice(choices(0.02, options=1)) is None
    single = selection.choice(choices(0.02, n_arms=4, seeds=1))
    assert single["percent"] is None and single["left_out"]["one seed"] == 4
    assert "cannot be said: 4 (one seed)" in describe_choice(single)
    assert describe_choice(None) == ""
    holes = selection.choice(choices(0.02, n_arms=4).iloc[1:])
    assert holes["left_out"]["not every setting with every seed"] == 1 and len(holes["arms"]) == 3
    nothing = selection.choice(choices(0.02, n_arms=4).assign(r=-0.1))
    assert nothing["left_out"]["not learned"] == 4 and nothing["arms"] == []


# --- the report, the files, the figures
# ----------------------------------------------------------------------------


def everything():
    """Two N, two architectures, five exposures, junk without any knowledge, failed, missing and
    unusual runs."""
    rows = grid(people=(800, 2400), seeds=(0, 1)) + grid(
        people=(2400,), seeds=(0, 1), r=1.5, draw=1, **LLAMA
    )
    for i, e in enumerate((25.0, 50.0, 100.0, 400.0)):
        rows += grid(
            people=(2400,),
            shapes=("2x16", "2x32"),
            seeds=(0, 1),
            r=2.1 * (1 - np.exp(-e / 120)),
            noise=0.01,
            draw=i + 2,
            **{"train.exposures": e},
        )
    rows += grid(
        people=(2400,), seeds=(0, 1), shapes=("2x16",), r=-0.1, draw=9, **{"data.other_parts": 7}
    )
    rows[0] |= {"status": "failed", "bits": np.nan, "error": "loss is nan"}
    rows[9] |= {"status": "missing", "bits": np.nan, "gain_last_tenth": np.nan}
    rows[3] |= {"gain_last_tenth": 0.05}
    rows[4] |= {"exposures_mean": 190.0}
    rows[5] |= {"gain_last_tenth": np.nan}
    rows[6] |= {"bits": 1.2 * rows[6]["ceiling_bits"]}
    return rows


EXPECTED = [
    {"value": 2.0, "where": {"train.exposures": 200}, "note": "a note"},
    PAIR | {"name": "gated", "range": [0.7, 0.8]},
    {"name": "room", "quantity": "saturated_fraction", "range": [0.95, None], "convention": "any"},
    {"name": "up", "quantity": "rising", "range": [1.5, None]},
    {"name": "asked", "quantity": "extraction", "range": [0.9, 1.0]},
]


def test_the_document_fits_80_columns_and_says_what_was_found():
    found = analysed(everything(), *EXPECTED, n_boot=300, best_over=["train.lr"])
    document = facts.document(found)
    shown = text.render(document)
    assert max(map(len, shown.splitlines())) <= 80
    flat = " ".join(shown.split())
    for words in (
        "R total",
        "Knowledge in physics33/planted@pocket",
        "40 of 42 runs finished",
        "AGREES AT POCKET SCALE",
        "CANNOT TELL AT POCKET SCALE",
        "not at the published one",
        "a note",
        "published: 2; counts as agreement: 1.8 to 2.3; arXiv 2404.05405, section 5 (Result 1) "
        "[read in the paper]",
        "bits per parameter, 95% [",
        "failed: 1 run (r0000): ended without a result",
        "missing: 1 run (r0009)",
        "unconverged: 1 run (r0003): gained over 2%",
        "exposures-off: 1 run (r0004): shown people over 1% more or less often than asked",
        "unlearned: 2 runs (r0040, r0041): R <= 0",
        "above R^max, which cannot be",
        "Noise of R over seeds, pooled",
        "E95 = ",
    ):
        assert words in flat, words
    assert "most bits over" not in flat  # train.lr does not vary
    assert document.answers[0].startswith("R = **")
    assert [*document.figures] == ["arms", "exposures", "ratio"]
    changed = analysed(
        everything(), *EXPECTED, n_boot=100, overrides=["train.exposures=10"], scale="published"
    )
    flat = printed(changed)
    assert "Settings were changed with the command: train.exposures=10" in flat
    assert "POCKET SCALE" not in flat


def test_the_table_of_arms_has_a_row_for_each_below_the_name_of_its_curve():
    found = analysed(everything(), n_boot=50)
    (shown,) = facts.document(found).section("arms").blocks
    heads = [column.heading for column in shown.columns]
    rows = [row for row in shown.rows if len(row) > 1]
    fit = found.numbers
    assert len(rows) == len(fit["arms"]) and len(shown.rows) - len(rows) == fit["n"]["curves"]
    for row, arm in zip(rows, fit["arms"], strict=True):
        cells = dict(zip(heads, row, strict=True))
        assert cells["model"] == arm["label"] and cells["seeds"] == str(arm["seeds"])
        assert float(cells["R"]) == pytest.approx(arm["r"], rel=6e-3)
        assert float(cells["R/R^max"].rstrip("%")) == pytest.approx(100 * arm["fraction"], abs=0.06)
    assert set("".join(row[-1] for row in rows)) == set("refm")
    assert "r: some run gained over 2%" in shown.legend and "extraction" not in heads
    asked = analysed([run() | {"extraction_accuracy": 0.5}], n_boot=50)
    (shown,) = facts.document(asked).section("arms").blocks
    assert "50.0%" in shown.rows[-1]


def test_a_choice_among_runs_is_named_with_its_bias():
    lrs = {0.005: 1.2, 0.01: 1.5, 0.02: 1.3}
    rng = np.random.default_rng(0)
    rows = [
        run("2x16", seed, r, 0.02, rng=rng, **{"train.lr": lr})
        for lr, r in lrs.items()
        for seed in (0, 1, 2)
    ]
    found = analysed(rows, n_boot=50, best_over=["train.lr"])
    best = found.numbers["best_over"]
    assert best["settings"] == ["train.lr"] and best["choice"]["arms"][0]["options"] == 3
    flat = printed(found)
    assert "the one with the most bits over train.lr" in flat
    assert "R as quoted exceeds a choice by the other seeds by" in flat


def test_a_study_without_a_finished_arm_or_seed_says_so():
    single = facts.document(analysed([run()], n_boot=50))
    assert "no interval: one seed per arm" in single.answers[0]
    lacking = facts.document(
        analysed([run()], {"quantity": "extraction", "range": [0, 1]}, n_boot=50)
    )
    assert lacking.answers[1].startswith("**No answer yet:** nothing of what this study compares")


def test_the_files_hold_every_run_every_arm_and_every_number(tmp_path):
    rows = table(everything())

    def write(frame):
        found = facts.analyse(study(EXPECTED), frame, Path(), Options(200))
        figures = facts.figures(found)
        page = markdown.render(facts.document(found), figures)
        finding.write(found, figures, page, tmp_path)
        return found

    write(rows.sample(frac=1, random_state=0))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "fit.json",
        "runs.csv",
        "shapes.csv",
        "ratio.png",
        "ratio.pdf",
        "exposures.png",
        "exposures.pdf",
        "README.md",
    }
    fit = json.loads((tmp_path / "fit.json").read_text())
    assert [*fit][:5] == ["kind", "schema", "study", "versions", "inputs_sha256"]
    assert (fit["kind"], fit["schema"]) == ("facts", 2)
    assert fit["n"] == {
        "rows": 42,
        "finished": 40,
        "failed": 1,
        "missing": 1,
        "arms": 21,
        "curves": 8,
        "chosen": 40,
        "seeds": 2,
    }
    assert fit["flags"]["failed"] == ["r0000"] and fit["flags"]["missing"] == ["r0009"]
    assert fit["flags"]["rising"] == ["r0003"] and fit["flags"]["unknown_gain"] == ["r0005"]
    assert fit["flags"]["exposures_off"] == ["r0004"] and fit["flags"]["above_ceiling"] == ["r0006"]
    assert fit["flags"]["negative"] == ["r0040", "r0041"]
    runs, shapes = pd.read_csv(tmp_path / "runs.csv"), pd.read_csv(tmp_path / "shapes.csv")
    assert set(rows.columns) <= set(runs.columns) and runs.run_id.tolist() == rows.run_id.tolist()
    assert len(shapes) == 21
    assert {"r", "r_low", "r_high", "r_total", "r_max", "fraction", "accuracy"} <= set(
        shapes.columns
    )
    assert {v["verdict"] for v in fit["verdicts"]} == {"agrees", "cannot tell", "differs"}
    assert len(fit["exposure_laws"]) == 2 and fit["exposure_laws"][0]["label"] == "2x16"
    before = {name: (tmp_path / name).read_bytes() for name in names}
    write(rows)  # the order of rows is free
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


def test_the_file_holds_exactly_the_declared_numbers():
    from capacity.analysis.facts import schema

    fit = analysed(everything(), *EXPECTED, n_boot=50, best_over=["train.lr"]).numbers
    assert set(fit) == set(schema.Fit.__annotations__)
    assert set(fit["arms"][0]) == set(schema.Arm.__annotations__)
    assert set(fit["peaks"][0]) == set(schema.Peak.__annotations__)
    assert set(fit["exposure_laws"][0]) == set(schema.ExposureLaw.__annotations__)
    assert set(fit["data_limited"]) == set(schema.DataLimited.__annotations__)


def test_residuals_are_those_of_the_fitted_laws_run_by_run():
    found = analysed(everything(), n_boot=50)
    (errors,) = facts.residuals(found)
    runs = found.tables["runs.csv"].set_index("run_id")
    # two models, five exposures, two seeds, one run missing
    assert len(errors.points) == 2 * 5 * 2 - 1
    law = {law["label"]: law for law in found.numbers["exposure_laws"]}["2x16"]
    for row in errors.points[errors.points.series.str.startswith("2x16")].itertuples():
        fitted = exposures.curve(
            law["form"], row.x, *(law[key]["value"] for key in ("r_inf", "e0", "b"))
        )
        assert row.error == pytest.approx(fitted - runs.r[row.run_id])
    read_back = Finding("facts", "fit.json", json.loads(found.json()), found.tables)
    assert facts.residuals(read_back)[0].points.equals(errors.points)
    assert facts.residuals(analysed(grid(), n_boot=50)) == []


def test_columns_of_runs_are_those_that_some_run_has():
    found = analysed(everything(), n_boot=50)
    heads = [column.heading for column in facts.columns(found.tables["runs.csv"])]
    assert heads == ["P", "arm", "R", "R^max", "R/R^max", "accuracy", "gain", "seconds"]


def test_a_study_is_about_facts_where_all_of_its_runs_are():
    class Run:
        def __init__(self, kind):
            self.data = type("Data", (), {"kind": kind})

    empty = table([run()])
    assert facts.applies([Run("bios"), Run("biod"), Run("corpus")], empty)
    assert not facts.applies([Run("bios"), Run("uniform")], empty)
    assert not facts.applies([Run("text")], empty)


def test_figures_are_those_that_say_something():
    assert set(facts.figures(analysed(everything(), n_boot=50))) == {"ratio", "exposures"}
    few = [run(seed=s, **{"data.order": order}) for s in (0, 1) for order in ("a", "b")]
    assert set(facts.figures(analysed(few, n_boot=50))) == {"ratio", "arms"}
    assert set(facts.figures(analysed(grid(), n_boot=50))) == {"ratio"}


def named(ax, prefix):
    return [artist for artist in ax.get_children() if (artist.get_gid() or "").startswith(prefix)]


def points(ax):
    return sorted(
        (x, y) for line in named(ax, "runs") for x, y in zip(*line.get_data(), strict=True)
    )


def test_the_ratio_figure_shows_every_run_the_guides_and_the_ceilings():
    runs = prepare(table(everything()))
    figure = ratio_figure(runs)
    (ax,), done = figure.axes, runs[runs.chosen & (runs.bits > 0)]
    drawn = zip(done.parameters_paper, done.bits, strict=True)
    assert points(ax) == sorted(drawn) and len(done) == 38
    assert [
        g.get_ydata()[0] / g.get_xdata()[0]
        for n in (4, 2, 1, 0.5)
        for g in named(ax, f"guide {n}")
        if hasattr(g, "get_xdata")
    ] == pytest.approx([4, 2, 1, 0.5])
    assert {c.get_ydata()[0] for c in named(ax, "ceiling")} == {800 * BITS, 2400 * BITS}
    assert {t.get_text() for t in named(ax, "label")} == {"N = 800", "N = 2.4K"}
    assert "2 with R <= 0 not drawn" in ax.get_xlabel()
    looks = {(line.get_marker(), line.get_color()) for line in named(ax, "runs")}
    assert len(looks) == done.arm_name.nunique()
    open_ones = {
        y for line in named(ax, "runs") if line.get_fillstyle() == "none" for y in line.get_ydata()
    }
    assert open_ones == set(done.bits[done.fraction >= 0.95])
    (legend,) = figure.legends
    assert {t.get_text().replace("\n", " ") for t in legend.get_texts()} >= set(done.arm_name)
    assert not named(ratio_figure(prepare(table([run(r=-1.0)]))).axes[0], "runs")


def test_the_exposures_figure_shows_runs_laws_and_the_end_of_the_data():
    runs = prepare(table(everything()))
    laws = exposure_laws(runs)
    ax = exposures_figure(runs, laws).axes[0]
    used = runs[
        runs.chosen
        & (runs.label.isin(["2x16", "2x32"]))
        & (runs.series == "N = 2.4K, GPT2, other_parts=0")
    ]
    drawn = zip(used.exposures_mean, used.r, strict=True)
    assert points(ax) == sorted(drawn) and len(named(ax, "law")) == 2
    ends = {line.get_ydata()[0] for line in named(ax, "R^max")}
    assert ends == {used.r_max[used.label == "2x32"].mean()}  # that of 2x16 is far above all runs
    legend = " ".join(t.get_text().replace("\n", " ") for t in ax.figure.legends[0].get_texts())
    assert "max}$ 6.3" in legend and "max}$ 2.05" in legend and "fitted law" in legend
    bare = exposures_figure(runs).axes[0]
    assert len(named(bare, "means")) == 2 and not named(bare, "law")


@pytest.mark.parametrize("many", [1, 8, 40])
def test_no_name_leaves_the_figure(many):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rows = [
        run(
            shape,
            **{"data.order": f"a rather long name of an order, number {i}", "train.exposures": e},
        )
        for i in range(many)
        for shape in ("2x16", "2x48")
        for e in (100.0, 200.0)
    ]
    runs = prepare(table(rows))
    for figure in (ratio_figure(runs), exposures_figure(runs)):
        FigureCanvasAgg(figure).draw()
        box = figure.legends[0].get_window_extent()
        width, height = figure.get_size_inches() * figure.dpi
        assert box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height
        assert min(t.get_fontsize() for t in figure.legends[0].get_texts()) >= 7


def test_the_figure_of_arms_has_a_row_for_each_with_every_run_and_names_that_stay_inside():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rows = [
        run("2x16", seed, **{"data.order": f"a rather long name of an order, number {i}", "r": r})
        for i, r in enumerate((0.9, 0.3, 0.02))
        for seed in (0, 1)
    ]
    runs = prepare(table(rows))
    figure = arms_figure(runs)
    (ax,) = figure.axes
    assert (
        sorted(x for x, _ in points(ax)) == sorted(runs.r)
        and ax.get_xscale() == "log"
        and {y for _, y in points(ax)} == {0, -1, -2}
    )
    means = {line.get_ydata()[0]: line.get_xdata()[0] for line in named(ax, "mean of")}
    assert (
        all(
            value == pytest.approx(np.mean([x for x, y in points(ax) if y == row]))
            for row, value in means.items()
        )
        and len(means) == 3
    )
    FigureCanvasAgg(figure).draw()
    edge = figure.get_size_inches()[0] * figure.dpi
    assert len(named(ax, "label")) == 3 and all(
        text.get_window_extent().x1 < edge for text in named(ax, "label")
    )
