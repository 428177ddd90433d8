"""One interval for one ratio of two arms, in laws, verdicts, peaks and comparisons."""

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import arm_ratio, facts
from capacity.analysis.comparison import pairs, variants
from capacity.analysis.comparison import runs as compared_runs
from capacity.analysis.facts import arms
from capacity.analysis.facts.reading import prepare
from capacity.analysis.finding import Options
from capacity.fitting.noise import OWN
from capacity.run_table import table as run_table
from capacity.study import load_study
from facts_tables import LLAMA, grid, table
from frozen.analysis import refitted
from planted import plant

ARCHITECTURES = """
question: which form?
scale: pocket
pins: [data=bios_pocket, model=pocket, train=pocket_bios, data.n_people=200, model.d_model=16,
       model.n_heads=2, train.exposures=100]
grids:
  - seed: SEEDS
    form: [{model.mlp: standard}, {model.mlp: gated, model.activation: silu}]
expects:
  - name: gated
    quantity: ratio
    where: {model.mlp: gated}
    against: {model.mlp: standard}
    range: [0.9, 1.1]
    source: here
    evidence: d
"""


@pytest.mark.parametrize("seeds", ["[0, 1]", "[0, 1, 2]"], ids=["two seeds", "three seeds"])
def test_laws_peaks_and_comparisons_show_one_interval(tmp_path, seeds):
    """They were 1.66 [1.11, 2.61] and 1.69 [0.77, 3.70] for one ratio."""
    (tmp_path / "s.yaml").write_text(ARCHITECTURES.replace("SEEDS", seeds))
    plant(tmp_path / "r", str(tmp_path / "s.yaml"))
    study = load_study(str(tmp_path / "s.yaml"), [])
    runs = run_table(tmp_path / "r", study.runs)
    fit = facts.analyse(study, runs, tmp_path / "r", Options(bootstraps=100)).numbers
    (verdict,) = fit["verdicts"]
    peak = next(p["against_first"] for p in fit["peaks"] if p["against_first"])
    (row,) = variants.differences(study, runs)["comparisons"]
    assert row["effect"] == pytest.approx(verdict["measured"])
    assert row["interval"] == pytest.approx(verdict["interval"])
    if peak["value"] > 1 > verdict["measured"]:  # the other way round: the first arm is below
        peak |= {
            "value": 1 / peak["value"],
            "interval": [1 / x for x in reversed(peak["interval"])],
        }
    assert peak["value"] == pytest.approx(row["effect"])
    assert peak["interval"] == pytest.approx(row["interval"])
    assert verdict["method"] == row["method"] == peak["method"]
    read = compared_runs.read(study, runs)
    known = pairs.pair(
        read,
        compared_runs.select(read, {"model.mlp": "gated"}),
        compared_runs.select(read, {"model.mlp": "standard"}),
        {"model.mlp", "model.activation"},
    ).noise
    ours = arms.noise(prepare(runs))
    both = [sorted((one.variance, one.dof) for one in n.spreads.values()) for n in (known, ours)]
    assert np.array(both[0]) == pytest.approx(np.array(both[1]))


def test_committed_ratios_of_fit_laws_and_compare_are_equal(tmp_path):
    fit = refitted("physics33/06_architectures_100@pocket", tmp_path).fit
    told = {row["a"]: row for row in fit["differences"]["comparisons"]}
    rows = [v for v in fit["verdicts"] if v["quantity"] == "ratio"]
    assert len(rows) >= 4
    for verdict in rows:
        row = told[verdict["at"].split(" / ")[0]]
        assert verdict["measured"] == pytest.approx(row["effect"], rel=1e-9)
        assert verdict["interval"] == pytest.approx(row["interval"], rel=1e-9)


def test_repeated_junk_says_what_its_own_seeds_say(tmp_path):
    """An arm that has learned next to nothing, with 35% of noise, widened this one's to
    [0.48, 0.91]: cannot tell."""
    fit = refitted("physics33/11_repeated_junk@pocket", tmp_path).fit
    junk = next(v for v in fit["verdicts"] if v["name"] == "repeated junk")
    assert junk["verdict"] == "differs" and "3 pairs" in junk["method"]
    low, high = junk["interval"]
    assert 0.5 < low < junk["measured"] < high < 0.85
    own = [arm for arm in fit["arms"] if arm["noise_of"] == "its own seeds"]
    assert len(own) == len(fit["arms"]) == 3
    assert [arm["noise_sd"] for arm in own] == pytest.approx([arm["r_sd"] for arm in own])


def values(arm, numbers, size="2x16", seeds=None):
    seeds = range(len(numbers)) if seeds is None else seeds
    return pd.DataFrame(
        [
            {"run_id": f"{arm}{s}", "arm": arm, "size": size, "seed": s, "value": v}
            for s, v in zip(seeds, numbers, strict=True)
        ]
    ).assign(most=0.56, full=False)


def test_seeds_that_both_arms_have_are_paired_and_others_are_not():
    rng = np.random.default_rng(0)
    seed = rng.normal(0, 0.05, OWN)
    one, other = values(1, 0.3 + seed), values(2, 0.25 + seed)
    known = arm_ratio.noise(pd.concat([one, other]))
    paired = arm_ratio.of_runs(one, other, known)
    apart = arm_ratio.of_runs(one, other.assign(seed=other.seed + 10), known)
    width = [r["interval"][1] - r["interval"][0] for r in (paired, apart)]
    assert width[0] < width[1] / 3  # what a seed does to both sides cancels
    assert paired["method"] == "Fieller over 3 pairs of size and seed"
    assert "own noise of arms, no common size and seed" in apart["method"]
    elsewhere = arm_ratio.of_runs(one, other.assign(size="2x24"), known)
    assert elsewhere["interval"] == apart["interval"]


def test_one_seed_is_judged_by_the_arms_that_have_more():
    several = [values(i, [0.1 * i, 0.1 * i + 0.02]) for i in (1, 2, 3)]
    alone = values(7, [0.3])
    known = arm_ratio.noise(pd.concat([*several, alone]))
    told = arm_ratio.of_runs(alone, several[0], known)
    assert told["units"] == 1 and told["interval"][0] < told["value"] < told["interval"][1]
    assert arm_ratio.MODEL in told["method"]
    none = arm_ratio.of_runs(alone, values(8, [0.2]), arm_ratio.Noise())
    assert none["interval"] is None and none["why"] == arm_ratio.ONE_SEED
    nothing = arm_ratio.of_runs(several[0], values(9, [-0.01, 0.0]), known)
    assert nothing["value"] is None and "learned nothing" in nothing["lacks"]


@pytest.mark.slow
@pytest.mark.long
def test_the_ratio_of_peaks_knows_that_the_best_model_is_not_known():
    def curve(first, levels, rng):
        sizes = [f"2x{8 * (i + 1)}" for i in range(len(levels))]
        parts = [
            values(first + i, level + 0.02 * rng.standard_normal(3), size)
            for i, (level, size) in enumerate(zip(levels, sizes, strict=True))
        ]
        return pd.concat(parts, ignore_index=True)

    held = {"here": 0, "of the best two": 0}
    for draw in range(120):
        rng = np.random.default_rng([draw, 3])
        above, below = curve(0, [0.3] * 5, rng), curve(10, [0.3], rng)
        known = arm_ratio.noise(pd.concat([above, below]))
        found = arm_ratio.of_curves(above, below, known)
        top = above[above.arm == found["arms"][0]]
        naive = arm_ratio.of_runs(top, below, known)["interval"]
        held["here"] += found["interval"][0] <= 1 <= found["interval"][1]
        held["of the best two"] += naive[0] <= 1 <= naive[1]
    assert held["here"] >= 0.92 * 120 and held["here"] >= held["of the best two"]


def test_the_noise_of_an_arm_does_not_widen_that_of_another():
    quiet = grid(shapes=("2x16",), people=(2400,), noise=0.01)
    loud = grid(shapes=("2x16",), people=(2400,), r=0.1, noise=0.5, draw=1, **LLAMA)
    runs = prepare(table(quiet + loud))
    found = arms.arms(runs).set_index("arm_name")
    assert found.noise_sd["GPT2"] < 0.03 < found.noise_sd["LLaMA"] / 1.0 + 0.03
    assert (found.noise_of == "its own seeds").all() and (found.noise_dof == 2).all()
