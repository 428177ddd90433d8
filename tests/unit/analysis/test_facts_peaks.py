"""Noise, peaks, ratios, the law over exposures and the best of several, against planted truth."""

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import arm_ratio, facts
from capacity.analysis.facts import arms, exposures, peaks, selection
from capacity.analysis.facts.reading import prepare
from capacity.analysis.facts.wording import describe_choice
from capacity.fitting.noise import Spread
from capacity.fitting.statistics import fieller
from facts_tables import LLAMA, SHAPES, analysed, arms_of, grid, table

# --- noise, peaks, ratios
# ------------------------------------------------------------------------------------------


def test_the_line_of_noise_recovers_the_planted_sd_by_class():
    runs = prepare(table(grid(people=(400, 3200), seeds=range(30), noise=0.03)))
    known = arms.noise(runs)
    line, full = known.lines["open"], known.lines["data_limited"]
    assert line.at(2.0).variance ** 0.5 == pytest.approx(0.06, rel=0.15) and line.dof == 3 * 29
    assert full.at(1.0).variance ** 0.5 < 0.003 and full.dof == 5 * 29
    assert all(one.own and one.dof == 29 for one in known.spreads.values())
    assert arms.noise(prepare(table(grid(seeds=(0,))))).spreads == {}


def noise_of(values, most=9.0):
    """The noise of arms 0, 1, ... with these replicates [arm, seed]."""
    rows = [{"arm": i, "value": v} for i, mine in enumerate(values) for v in mine]
    return arm_ratio.noise(pd.DataFrame(rows).assign(most=most, full=False))


SURE = arm_ratio.Noise({i: Spread(1e-4, 8.0, False) for i in range(4)})


def members(means, r_max=9.0, seeds=2):
    rows = [
        {
            "arm": i,
            "model": f"m{i}",
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


@pytest.mark.slow
@pytest.mark.long
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
        top = peaks.peak(members(mean), noise_of(noisy), n_boot=400, seed=i)
        above += (top["value"] - 2) / n
        covered += top["interval"][0] <= 2 <= top["interval"][1]
        told += top["bias"] / n
        assert top["interval"][0] < top["value"] < top["interval"][1]
    assert covered >= 0.93 * n and told >= 0
    if len(set(truths)) == 1:
        assert above > 0.05 and told == pytest.approx(above, rel=0.5)


def test_a_peak_names_its_model_its_edge_and_why_it_has_no_interval():
    runs, found = arms_of(grid(people=(2400,), r=1.9, noise=0.0))
    top = peaks.peak(found, SURE, n_boot=500)
    assert (
        top["model"] in SHAPES
        and top["models"] == 4
        and top["largest_r_max"] == pytest.approx(found.r_max.max())
    )
    single = peaks.peak(members([1.0, 2.0, 1.5]), arm_ratio.Noise(), n_boot=100)
    assert (
        single["interval"] is None
        and "one seed per arm" in single["reason"]
        and single["edge"] is None
    )
    assert peaks.peak(members([2.0, 1.0]), arm_ratio.Noise(), n_boot=100)["edge"] == "smallest"
    lowest = peaks.peak(members([1.0, 0.5]), SURE, number="fraction", sign=-1, n_boot=500)
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
    assert few == {"reason": "3 exposure values with R > 0, the law needs 4", "unlearned": 3}


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
            "model": "2x16",
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
