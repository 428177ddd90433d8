"""Plateaus and capacity laws against planted truth, degenerate tables, and the written summary."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.analysis import finding, kinds
from capacity.analysis.random import analysis
from capacity.analysis.random import plateaus as fit
from capacity.fitting import capacity_forms, linear
from capacity.published import values as published
from capacity.report import markdown, text
from random_data import ALPHA, hole, ragged, study


def plain_units(parameters, bits, seeds=1, lower_bound=False):
    """Units that hold exactly `bits`, for tests of `estimate` without run noise."""
    rows = [
        {
            "label": f"m{i}",
            "seed": s,
            "parameters": float(p),
            "bits": float(c),
            "lower_bound": lower_bound,
            "runs": 1,
            "fraction": 0.5,
            "rising": 0,
        }
        for i, (p, c) in enumerate(zip(parameters, bits, strict=True))
        for s in range(seeds)
    ]
    return pd.DataFrame(rows)


def shown(found):
    """What a terminal shows of a finding."""
    return text.render(kinds.document(found))


def words_of(found):
    """The same on one line, so that a sentence is found wherever it was broken."""
    return " ".join(shown(found).split())


def write(table, folder, name, **options):
    """What the command writes: everything is computed first."""
    found = analysis.analysed(table, name, **options)
    figures = kinds.figures(found)
    page = markdown.render(kinds.document(found), [*figures])
    return found, finding.write(found, figures, page, folder)


def inside(number, truth, which):
    low, high = number[which]["ends"]
    return low < truth < high


# --- forms
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (4, [0.4925, 0.8409, 0.8812, 0.9559, 0.9850, 0.9990]),
        (5, [0.4969, 0.8706, 0.9110, 0.9756, 0.9939, 0.9998]),
    ],
)
def test_smooth_corner_values(k, expected):
    load = np.array([0.5, 1, 1.11, 1.5, 2, 4])
    value = capacity_forms.smooth_corner(1000, load * 3.6 * 1000, 3.6, k) / 3600
    assert np.round(value, 4).tolist() == expected


def test_smooth_corner_tends_to_the_hard_one_and_never_exceeds_it():
    data = np.geomspace(1.0, 1e12, 60)
    hard, soft = (
        capacity_forms.hard_corner(1e5, data, 3.6),
        capacity_forms.smooth_corner(1e5, data, 3.6, 4.0),
    )
    assert (soft <= hard * (1 + 1e-12)).all() and (np.diff(soft) >= 0).all()
    assert soft[0] == pytest.approx(1.0) and soft[-1] == pytest.approx(3.6e5)
    assert capacity_forms.smooth_corner(1e5, 3.6e5, 3.6, 5.0) == pytest.approx(
        2 ** (-1 / 5) * 3.6e5
    )
    np.testing.assert_allclose(capacity_forms.smooth_corner(1e5, data, 3.6, 500.0), hard, rtol=2e-3)
    np.testing.assert_allclose(capacity_forms.power(np.array([1, 4]), 3.0, 0.5), [3.0, 6.0])


def test_published_table_gives_its_four_known_numbers():
    """16 bf16 rows of Morris et al. (2505.24832 v3, Table 1); P from their parameter count at V
    2048, S 64."""
    ratio = {
        (1, 32): 3.93,
        (1, 64): 3.74,
        (1, 128): 3.61,
        (1, 256): 2.88,
        (2, 32): 3.56,
        (2, 64): 3.94,
        (2, 128): 3.89,
        (2, 256): 3.66,
        (4, 32): 3.37,
        (4, 64): 3.39,
        (4, 128): 3.53,
        (4, 256): 3.51,
        (8, 32): 2.86,
        (8, 64): 3.19,
        (8, 128): 3.49,
        (8, 256): 3.65,
    }
    p = np.array([2048 * d + 64 * d + n * (12 * d * d + 13 * d) + 2 * d for n, d in ratio], float)
    c = p * np.array(list(ratio.values()))
    got = linear.named_estimates(p, c)
    assert got["mean_of_ratios"] == pytest.approx(3.5125, abs=1e-9)
    assert got["through_origin"] == pytest.approx(3.595, abs=5e-4)
    assert got["with_intercept"] == pytest.approx(3.624, abs=5e-4)
    assert got["log_log_exponent"] == pytest.approx(0.9965, abs=5e-5)
    law = fit.estimate(plain_units(p, c), n_boot=400)
    assert (
        law["alpha"]["value"]
        == pytest.approx(got["geometric_mean"])
        == pytest.approx(3.4979, abs=1e-4)
    )
    assert law["power"]["gamma"]["value"] == pytest.approx(got["log_log_exponent"])
    assert inside(law["power"]["gamma"], 1.0, "interval_shapes")


def test_censored_mean_is_the_plain_one_without_bounds_and_the_likelihood_optimum_with_them():
    from scipy.optimize import minimize
    from scipy.stats import norm

    y, w = np.array([1.0, 1.2, 0.9]), np.array([1.0, 0.5, 0.5])
    assert linear.censored_mean(y, w, [], [])[0] == w @ y / w.sum()
    assert linear.censored_mean(y, w, [-5.0], [1.0])[0] == pytest.approx(w @ y / w.sum(), abs=1e-12)
    bounds, v = np.array([1.15, 0.7]), np.array([1.0, 2.0])

    def loss(theta):
        sd = np.exp(theta[1])
        return -w @ norm.logpdf(y, theta[0], sd) - v @ norm.logsf(bounds, theta[0], sd)

    best = minimize(
        loss, [1.0, -2.0], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14}
    ).x
    mean, sd = linear.censored_mean(y, w, bounds, v)
    assert mean == pytest.approx(best[0], abs=1e-6) and sd == pytest.approx(
        np.exp(best[1]), abs=1e-6
    )
    assert mean > w @ y / w.sum()


# --- runs and plateaus
# ----------------------------------------------------------------------------------------------


def test_each_run_gets_the_class_that_its_filling_says():
    table = study(widths=(16,), loads=(1.0,), seeds=range(7))
    table["strict_ceiling_bits"] = 1000.0
    table["strict_bits"] = [951.0, 949.0, 801.0, 799.0, -3.0, np.nan, np.nan]
    table.loc[5, "status"], table.loc[6, "status"] = "failed", "missing"
    assert fit.classify(table).tolist() == [
        "data_limited",
        "corner",
        "corner",
        "capacity_limited",
        "unlearned",
        "failed",
        "missing",
    ]


def test_still_rising_is_a_flag_beside_the_class_and_a_trace_that_is_absent_counts():
    table = study(widths=(16,), loads=(2.5,), seeds=range(4))
    table["gain_last_tenth"] = [0.021, 0.02, -0.01, np.nan]
    assert fit.rising(table).tolist() == [True, False, False, True]
    assert set(fit.classify(table)) == {"capacity_limited"}
    shape = fit.plateaus(table).iloc[0]
    assert (shape.seeds, shape.runs, shape.rising) == (4, 4, 2)


def test_a_plateau_is_the_mean_over_sizes_per_seed_then_over_seeds():
    table = study(widths=(16,), loads=(2.0, 2.5, 3.0), noise=0)
    table["strict_bits"] = [100.0, 10.0, 200.0, 20.0, 600.0, 30.0]
    table["strict_ceiling_bits"] = 1e4
    unit = fit.units(table)
    assert unit.bits.tolist() == [300.0, 20.0] and unit.runs.tolist() == [3, 3]
    shape = fit.plateaus(table).iloc[0]
    assert shape.bits == 160.0 and shape.bits_sd == pytest.approx(np.std([300, 20], ddof=1))
    assert shape.bits_per_parameter == pytest.approx(160 / 7936) and not shape.lower_bound


def test_a_seed_without_an_over_filled_run_is_a_lower_bound_by_its_best_run():
    table = study(loads=(0.5, 0.7, 2.0))
    keep = ~((table.label == "1x128") & (table.n_sequences == table.n_sequences.max()))
    unit = fit.units(table[keep])
    bound = unit[unit.lower_bound]
    assert bound.label.tolist() == ["1x128"] * 2
    mine = table[keep & (table.label == "1x128")]
    assert bound.bits.tolist() == mine.groupby("seed").strict_bits.max().tolist()
    shape = fit.plateaus(table[keep]).set_index("label").loc["1x128"]
    assert shape.lower_bound and shape.bits_per_parameter < 0.75 * ALPHA
    law = fit.fit_laws(table[keep], n_boot=400)
    line = next(
        row for row in law["forms"]["plateaus"]["forms"] if row["form"] == "capacity_linear"
    )
    assert (
        line["held_out"]["largest"] is None
        and line["record"]["points"]["lower_bounds"] == law["n"]["units_bounded"] == 2
    )
    assert inside(law["alpha"], ALPHA, "interval_shapes")


def test_under_filled_runs_do_not_pull_the_answer_down():
    table = study(loads=(0.4, 0.6, 2.0, 2.5), noise=0.01)
    naive = (table.strict_bits / table.parameters_total).mean()
    law = fit.fit_laws(table, n_boot=400)
    assert law["alpha"]["value"] == pytest.approx(ALPHA, rel=0.01) and naive < 0.8 * ALPHA
    assert len(law["dropped"]["data_limited"]["runs"]) == len(table) / 2


def test_the_plateau_is_free_of_the_winners_curse():
    estimates = [
        fit.sensitivity(study(loads=(1.8, 2.2, 2.6, 3.0), noise=0.05, draw=i)) for i in range(20)
    ]
    maximum = np.mean([e["maximum_over_data_sizes"] for e in estimates])
    mean = np.mean(
        [
            fit.estimate(
                fit.units(study(loads=(1.8, 2.2, 2.6, 3.0), noise=0.05, draw=i)), n_boot=10
            )["alpha"]["value"]
            for i in range(20)
        ]
    )
    assert mean == pytest.approx(ALPHA, rel=0.005) and maximum > 1.03 * ALPHA


# --- the law
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_a_planted_power_law_is_recovered(gamma):
    law = fit.fit_laws(study(gamma=gamma, noise=0.005))
    assert law["power"]["gamma"]["value"] == pytest.approx(gamma, abs=0.006)
    assert law["power"]["a"]["value"] == pytest.approx(ALPHA, rel=0.06)
    for number in (
        law["alpha"],
        law["power"]["a"],
        law["power"]["gamma"],
        law["slope"]["c0"],
        law["slope"]["alpha1"],
    ):
        for part in ("interval_seeds", "interval_shapes"):
            assert (
                inside(number, number["value"], part)
                and np.ptp(number[part]["ends"]) < 0.5 * ALPHA * 8000
            )
    best = law["forms"]["plateaus"]["forms"][0]
    assert law["forms"]["runs"]["reason"] is None
    if gamma == 1.0:
        assert law["alpha"]["value"] == pytest.approx(ALPHA, rel=0.005)
        assert law["slope"]["alpha1"]["value"] == pytest.approx(ALPHA, rel=0.01)
        assert inside(law["slope"]["c0"], 0.0, law["slope"]["c0"]["quote"])
        assert all(
            abs(row["held_out"]["largest"]["percent"]) < 2
            for row in law["forms"]["plateaus"]["forms"]
        )
    else:
        assert law["power"]["gamma"]["interval_shapes"]["ends"][1] < 1
        assert (
            best["form"] == "capacity_power"
            and best["aicc_difference"] == 0
            and best["held_out"]["rms_percent"] < 1
        )


def test_a_planted_intercept_is_recovered_exactly():
    p = np.array([2e3, 9e3, 5e4, 3e5])
    law = fit.estimate(plain_units(p, 700.0 + 3.1 * p))
    assert law["slope"]["c0"]["value"] == pytest.approx(700) and law["slope"]["alpha1"][
        "value"
    ] == pytest.approx(3.1)


def test_every_shape_counts_equally_however_many_seeds_it_has():
    p, ratio, seeds = [1e3, 1e4, 1e5, 1e6], [2.0, 3.0, 3.5, 4.0], [6, 1, 2, 3]
    many = [
        plain_units([n], [n * r], seeds=k).assign(label=f"m{i}")
        for i, (n, r, k) in enumerate(zip(p, ratio, seeds, strict=True))
    ]
    unit = pd.concat(many, ignore_index=True)
    unit["bits"] *= np.concatenate([np.exp(0.01 * (np.arange(k) - (k - 1) / 2)) for k in seeds])
    law = fit.estimate(unit, n_boot=200)
    assert law["alpha"]["value"] == pytest.approx(np.exp(np.log(ratio).mean()), rel=1e-12)
    assert law["power"]["gamma"]["value"] == pytest.approx(
        1 + np.polyfit(np.log(p), np.log(ratio), 1)[0]
    )


def coverage(tables, which, **planted):
    """How often the intervals hold the truth for alpha, gamma and alpha1 (plateaus of all tables in
    one pass)."""
    every = pd.concat(
        [study(draw=draw, **planted).assign(draw=draw) for draw in range(tables)], ignore_index=True
    )
    unit = fit.units(every.assign(label=every.draw.astype(str) + ":" + every.label))
    hits = []
    for draw, mine in unit.groupby(unit.label.str.split(":").str[0]):
        law = fit.estimate(mine.reset_index(drop=True), n_boot=400, seed=int(draw))
        numbers = [
            (law["alpha"], ALPHA),
            (law["power"]["gamma"], 1.0),
            (law["slope"]["alpha1"], ALPHA),
        ]
        hits.append([[inside(number, truth, part) for number, truth in numbers] for part in which])
    assert len(hits) == tables
    return np.mean(hits, axis=0)


def test_the_interval_over_seeds_covers_seed_noise():
    """500 tables of 4 shapes x 2 seeds with under-filled and corner runs, 2% noise; sampling error
    about 1%."""
    (over_seeds,) = coverage(500, ["interval_seeds"])
    assert ((over_seeds > 0.92) & (over_seeds < 0.98)).all(), over_seeds


def test_the_interval_over_shapes_covers_scatter_of_shapes_and_the_one_over_seeds_does_not():
    over_shapes, over_seeds = coverage(250, ["interval_shapes", "interval_seeds"], shapes=0.05)
    assert ((over_shapes > 0.92) & (over_shapes < 0.98)).all(), over_shapes
    assert (over_seeds < 0.6).all(), over_seeds
    wide = [
        fit.estimate(fit.units(study(draw=i, shapes=0.05)), n_boot=400)["alpha"]["quote"]
        for i in range(10)
    ]
    assert wide.count("interval_shapes") >= 9


def test_three_shapes_give_a_finite_interval_that_covers():
    """Few residuals, often of nearly one size: unsmoothed resampling gives endless intervals
    here."""
    hits, widths = [], []
    for draw in range(120):
        alpha = fit.estimate(
            fit.units(study(widths=(16, 32, 64), shapes=0.05, draw=draw)), n_boot=500
        )["alpha"]
        low, high = alpha["interval_shapes"]["ends"]
        hits.append(low < ALPHA < high)
        widths.append(np.log(high / low))
    assert 0.90 < np.mean(hits) < 0.99 and np.quantile(widths, 0.9) < 0.6


def test_repeating_rows_inside_a_unit_does_not_narrow_the_intervals_but_seeds_do():
    table = study()
    again = pd.concat([table, *(table.assign(run_id=table.run_id + tag) for tag in "abc")])
    one, many = fit.fit_laws(table), fit.fit_laws(again)
    copies = fit.fit_laws(pd.concat([table, table]))
    for key in ("interval_seeds", "interval_shapes"):
        assert many["alpha"][key]["ends"] == pytest.approx(one["alpha"][key]["ends"], rel=1e-12)
    assert copies == one and many["n"]["used"] == 4 * one["n"]["used"]
    width = {
        k: np.mean(
            [
                np.ptp(
                    fit.estimate(fit.units(study(seeds=range(k), draw=d)), n_boot=500)["alpha"][
                        "interval_seeds"
                    ]["ends"]
                )
                for d in range(8)
            ]
        )
        for k in (2, 8)
    }
    assert width[8] < 0.5 * width[2]


def test_one_model_and_data_set_with_two_budgets_is_refused():
    table = study()
    longer = table.assign(run_id=table.run_id + "x", steps=2 * table.steps)
    with pytest.raises(ValueError, match="different steps"):
        fit.fit_laws(pd.concat([table, longer]))
    assert fit.fit_laws(pd.concat([table, longer]), allow_mixed=True)["alpha"]["value"] > 0


def test_bounds_below_the_line_change_nothing_and_one_above_it_is_reported_and_pulls():
    p = np.array([1e3, 1e4, 1e5, 1e6])
    data = plain_units(p, p * np.array([2.7, 2.9, 2.8, 2.75]), seeds=2)
    data["bits"] *= np.tile([1.01, 0.99], 4)
    bound = plain_units([1e7], [0.3e7], lower_bound=True).assign(label="big")
    plain = fit.estimate(data)
    low = fit.estimate(pd.concat([data, bound.assign(bits=1.4e7)], ignore_index=True))
    high = fit.estimate(pd.concat([data, bound.assign(bits=3.0e7)], ignore_index=True))
    assert (
        low["alpha"]["value"] == pytest.approx(plain["alpha"]["value"], rel=1e-9)
        and not low["bounds_above_line"]
    )
    assert low["alpha"]["interval_shapes"]["ends"] == pytest.approx(
        plain["alpha"]["interval_shapes"]["ends"], rel=1e-6
    )
    assert high["alpha"]["value"] > plain["alpha"]["value"] == high["alpha"]["without_bounds"]
    (above,) = high["bounds_above_line"]
    assert above["label"] == "big" and above["percent"] == pytest.approx(
        100 * (3.0 / high["alpha"]["value"] - 1)
    )
    low_end, high_end = high["alpha"]["interval_shapes"]["ends"]
    assert low_end < high["alpha"]["value"] < high_end
    one_of_two = pd.concat(
        [data.iloc[:-1], data.iloc[-1:].assign(lower_bound=True, bits=1.0e6)], ignore_index=True
    )
    dropped = fit.estimate(data.iloc[:-1].reset_index(drop=True))
    assert fit.estimate(one_of_two)["alpha"]["value"] == pytest.approx(
        dropped["alpha"]["value"], rel=1e-9
    )


def test_the_corner_forms_recover_both_constants_or_say_that_they_cannot():
    def corners(table):
        found = fit.fit_laws(table, n_boot=50)["forms"]["runs"]
        return {row["form"]: row for row in found["forms"]}, found["reason"]

    table = study(loads=(0.5, 0.8, 1.0, 1.2, 1.6, 2.5), k=5.0, noise=0.0)
    found, _ = corners(table)
    smooth = found["smooth_corner"]
    assert (
        smooth["values"] == pytest.approx({"alpha": ALPHA, "k": 5}, rel=1e-3)
        and smooth["aicc_difference"] == 0 < found["hard_corner"]["aicc_difference"]
    )
    assert smooth["record"]["search"]["agreeing"] == 16 and smooth["rms"] < 1
    found, _ = corners(
        table.assign(strict_bits=table.strict_bits * np.tile([1.01, 0.985], len(table) // 2))
    )
    assert found["smooth_corner"]["record"]["sigma"] == pytest.approx(0.0126, abs=3e-3)
    found, _ = corners(study(loads=(2.5, 3.0)))  # no run near the corner
    assert (
        found["smooth_corner"]["record"]["intervals"]["k"]["high"] is None
        or found["smooth_corner"]["record"]["search"]["at_bound"]
    )
    assert corners(study(loads=(0.3, 0.5))) == ({}, "no run is over-filled")


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(0.1, 20.0), draw=st.integers(0, 1000))
def test_the_unit_of_bits_scales_the_law_and_leaves_the_exponent(factor, draw):
    table = study(draw=draw)
    bits = [c for pair in fit.CONVENTIONS.values() for c in pair] + ["entropy_bits"]
    other = table.assign(**{c: table[c] * factor for c in bits})
    one, two = (fit.estimate(fit.units(t), n_boot=200) for t in (table, other))
    assert two["alpha"]["value"] == pytest.approx(factor * one["alpha"]["value"], rel=1e-9)
    ends = [factor * end for end in one["alpha"]["interval_seeds"]["ends"]]
    assert two["alpha"]["interval_seeds"]["ends"] == pytest.approx(ends, rel=1e-9)
    assert two["power"]["gamma"]["value"] == pytest.approx(one["power"]["gamma"]["value"], abs=1e-9)


# --- conventions, refusals, degenerate tables
# --------------------------------------------------------------------


def test_conventions_and_counts_never_touch_each_other():
    table = study()
    strict, paper = (
        fit.fit_laws(table, n_boot=200),
        fit.fit_laws(table, "paper", "paper", n_boot=200),
    )
    bos_share = 1 + 1 / (256 + 32 + 15 + 12 * np.array([16, 32, 64, 128]))  # total over paper count
    expected = strict["alpha"]["value"] * 32 / 31 * np.exp(np.log(bos_share).mean())
    assert paper["alpha"]["value"] == pytest.approx(expected, rel=1e-9)
    spoiled = table.assign(paper_bits=1.0, parameters_paper=7, parameters_non_embedding=3)
    same = ("alpha", "slope", "power", "plateaus", "units", "validity")
    other = fit.fit_laws(spoiled, n_boot=200)
    assert all(other[key] == strict[key] for key in same)
    spoiled = table.assign(strict_bits=1.0, parameters_total=7)
    other = fit.fit_laws(spoiled, "paper", "paper", n_boot=200)
    assert all(other[key] == paper[key] for key in same)
    assert strict["sensitivity"]["by_count"]["total"]["alpha"] == pytest.approx(
        strict["alpha"]["value"]
    )
    assert strict["sensitivity"]["by_count"]["non_embedding"]["gamma"] < 0.95


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({"vocab_size": 2048}, {}, "mix vocab_size 256, 2048"),
        ({"seq_len": 64}, {}, "mix seq_len 32, 64"),
        ({"precision": "bf16"}, {}, "mix precision bf16, fp32"),
        ({"strict_bits": np.nan}, {}, "w16n90s0 has strict_bits = nan"),
        ({"paper_ceiling_bits": 0.0}, {}, "w16n90s0 has paper_ceiling_bits = 0"),
        (
            {"parameters_total": 99},
            {},
            "1x16 stands for several models: parameters_total is 99, 7936",
        ),
        ({"run_id": "w16n90s1"}, {}, "w16n90s1 appears more than once"),
        ({"status": "done"}, {}, "'done'"),
        ({}, {"convention": "strickt"}, "use one of strict, paper (did you mean strict?)"),
        (
            {},
            {"parameters": "totals"},
            "use one of total, paper, non_embedding (did you mean total?)",
        ),
    ],
)
def test_a_table_that_no_law_can_be_read_from_is_refused_in_one_line(change, options, says):
    table = study().astype({"error": object})
    first = table.index[0]
    table.loc[table.index[:2], "run_id"] = ["w16n90s0", "w16n90s1"]
    for column, value in change.items():
        table.loc[first, column] = value
    with pytest.raises(ValueError) as refused:
        fit.fit_laws(table, **options)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_mixed_tables_pass_when_told_and_are_named_in_the_range_of_validity():
    table = study()
    table.loc[table.seed == 1, "precision"] = "bf16"
    law = fit.fit_laws(table, allow_mixed=True, n_boot=50)
    assert law["validity"]["precision"] == ["bf16", "fp32"]


def test_no_finished_run_and_a_missing_column_are_refused():
    table = study(widths=(16,))
    with pytest.raises(ValueError, match="no finished run to fit: 3 failed, 5 missing"):
        fit.fit_laws(hole(hole(table, table.index, "missing"), table.index[:3], "failed"))
    with pytest.raises(ValueError, match="none of 8 finished with a positive number of bits"):
        fit.fit_laws(table.assign(strict_bits=-1.0))
    with pytest.raises(ValueError, match="no column seq_len"):
        fit.fit_laws(table.drop(columns="seq_len"))


def test_one_seed_per_shape_has_no_seed_interval_but_keeps_the_one_over_shapes():
    alpha = fit.fit_laws(study(seeds=(0,)))["alpha"]
    assert (
        alpha["interval_seeds"]["ends"] is None and "one seed" in alpha["interval_seeds"]["reason"]
    )
    assert alpha["quote"] == "interval_shapes" and inside(alpha, ALPHA, "interval_shapes")


@pytest.mark.parametrize("widths", [(16,), (16, 32)])
def test_fewer_than_three_shapes_give_a_value_and_no_interval(widths):
    law = fit.fit_laws(study(widths=widths, seeds=range(4)))
    numbers = [law["alpha"]] + (
        [law["power"]["gamma"], law["slope"]["c0"]] if len(widths) > 1 else []
    )
    assert law["alpha"]["value"] == pytest.approx(ALPHA, rel=0.03)
    for number in numbers:
        assert number["quote"] is None
        for key in ("interval_seeds", "interval_shapes"):
            assert number[key]["ends"] is None and "needs 3" in number[key]["reason"]
    if len(widths) == 1:
        assert "no slope" in law["power"]["reason"] and "gamma" not in law["power"]


def test_seeds_that_agree_exactly_are_not_an_interval_of_width_zero():
    table = study(seeds=(0,), shapes=0.05)
    law = fit.fit_laws(pd.concat([table, table.assign(seed=1, run_id=table.run_id + "again")]))
    assert law["alpha"]["interval_seeds"]["ends"] is None
    assert "is the seed in use" in law["alpha"]["interval_seeds"]["reason"]
    assert law["alpha"]["quote"] == "interval_shapes"


def test_an_interval_without_a_finite_end_is_none():
    p = np.array([1e3, 1.01e3, 1.02e3])
    a = fit.estimate(plain_units(p, p * np.array([1.0, 3.0, 1.0])), n_boot=400)["power"]["a"]
    assert (
        a["interval_shapes"]["ends"] is None and "no finite limit" in a["interval_shapes"]["reason"]
    )


def test_only_lower_bounds_give_no_alpha():
    law = fit.fit_laws(study(loads=(0.3, 0.6)))
    assert law["alpha"] is None and "lower bounds" in law["reason"]
    assert law["alpha_at_least"] == pytest.approx(0.6 * ALPHA, rel=0.03)


# --- the written result
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        study(),
        ragged(),
        study(widths=(16,), seeds=(0,)),
        study(loads=(0.3, 0.6)),
        study().assign(label=lambda t: t.label + " n_heads=2 mlp_ratio=2.0"),
    ],
)
def test_the_result_is_json_without_nan_and_the_report_fits_80_columns(table):
    name = "a study with a name that is long enough to need a second line, or so"
    found = analysis.analysed(table, name, bootstraps=200)
    assert json.loads(found.json()) == found.numbers
    strict = found.numbers["strict"]
    assert strict == fit.fit_laws(table, n_boot=200)
    told = shown(found)
    assert max(map(len, told.splitlines())) <= 80
    words = " ".join(told.split())
    assert name in words and "Gradient descent finds a lower bound" in words
    fewer = published.get("morris/mean_bf16").setting["tokens"] / table.tokens.max()
    assert f"{fewer:,.0f} times fewer than published" in words
    for row in strict["plateaus"]:
        assert f"\n  {row['label']} " in told or f"\n  {row['label']}\n" in told


def test_nothing_that_was_dropped_goes_unnamed():
    table = ragged()
    found = analysis.analysed(table, "study", bootstraps=200)
    law, words, document = found.numbers["strict"], words_of(found), kinds.document(found)
    dropped = {kind: entry["runs"] for kind, entry in law["dropped"].items()}
    assert all(dropped.values())
    assert law["n"]["used"] + sum(map(len, dropped.values())) == law["n"]["rows"] == len(table)
    for kind in ("missing", "failed", "unlearned"):
        assert all(run in words for run in dropped[kind])
    flags = {flag.name: list(flag.runs) for flag in document.flags}
    for kind, names in dropped.items():
        assert flags[kind.replace("_", "-")] == names
    assert flags["unconverged"] == law["rising"] and flags["near-corner"] == law["near_corner"]
    assert flags["above-ceiling"] == law["above_ceiling"] == []
    assert "above-ceiling" not in words  # that it was looked for, the page says
    assert "failed: 4 runs (" in words and "missing: 2 runs (" in words
    assert "unlearned: 1 run (" in words
    assert re.search(r"unconverged: 8 runs \([^)]* and 2 more\): gained over 2%", words)


def test_a_terminal_shows_plateaus_as_columns_with_marks_that_are_explained():
    found = analysis.analysed(ragged(), "study", bootstraps=200)
    lines = shown(found).splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["shape", "P"])
    heads = ["shape", "P", "seeds", "runs", "other", "capacity", "bits", "bits/P", "±", "sd"]
    assert lines[start].split() == heads
    rows = {line.split()[0]: line.split()[1:] for line in lines[start + 1 : start + 7]}
    plateaus = found.numbers["strict"]["plateaus"]
    assert list(rows) == [row["label"] for row in plateaus]
    for row in plateaus:
        cells, bound = rows[row["label"]], row["lower_bound"]
        used = 0 if bound else row["runs"]
        assert cells[:4] == [
            f"{row['parameters']:,.0f}",
            str(0 if bound else row["seeds"]),
            str(used),
            str(row["finished"] - used),
        ]
        if row["bits"] is None:
            assert cells[4:7] == ["–", "–", "–"]
            continue
        sd = "–" if bound else f"{row['bits_per_parameter_sd']:.3f}"
        assert cells[4:7] == [f"{row['bits']:,.0f}", f"{row['bits_per_parameter']:.3f}", sd]
    marks = {label: "".join(cells[7:]) for label, cells in rows.items()}
    expected = {"1x16": "m", "1x24": "", "1x32": "r", "1x48": "u", "1x64": "≥f", "1x96": "m"}
    assert marks == expected
    words = words_of(found)
    for meaning in (
        "≥: only a lower bound",
        "r: some runs still rising",
        "f: failed",
        "m: missing",
        "u: finished without positive bits",
    ):
        assert meaning in words
    assert "only a lower bound" not in words_of(analysis.analysed(study(), "x", bootstraps=50))


def test_both_intervals_of_a_number_are_shown_and_the_wider_one_is_to_be_quoted():
    found = analysis.analysed(study(shapes=0.05), "study", bootstraps=400)
    law, lines = found.numbers["strict"], shown(found).splitlines()
    start = lines.index("  C = alpha P")
    value, *both = lines[start + 1 : start + 4]
    assert value == f"    alpha = {law['alpha']['value']:.3f} bits per parameter"
    quoted = law["alpha"]["quote"]
    for key, over in (("interval_shapes", "over shapes"), ("interval_seeds", "over seeds")):
        low, high = law["alpha"][key]["ends"]
        mark = "  <- quote this one" if key == quoted else ""
        assert f"      95% [{low:.3f}, {high:.3f}] {over}{mark}" in both
    first, second = (law["alpha"][key]["ends"] for key in ("interval_shapes", "interval_seeds"))
    wider = np.ptp(first) > np.ptp(second)
    assert quoted == ("interval_shapes" if wider else "interval_seeds")
    numbers = [line.split()[0] for line in lines if line.startswith("    ") and " = " in line]
    assert {"alpha", "gamma", "alpha1", "c0"} <= set(numbers)
    alone = shown(analysis.analysed(study(widths=(16,)), "one", bootstraps=100))
    assert "no interval over shapes: 1 shape(s) with data, this law needs 3" in alone
    assert "C = a P^gamma: none: one parameter count only" in alone


@pytest.mark.parametrize(
    ("table", "headline"),
    [
        (study(gamma=0.9, noise=0.005), "Bits per parameter fall with size"),
        (study(gamma=1.1, noise=0.005), "Bits per parameter rise with size"),
        (study(), "bits per parameter, 95% ["),
        (study(loads=(0.3, 0.6)), "No law from these runs: every model shape has only lower"),
    ],
)
def test_the_headline_is_one_number_only_where_the_ratio_is_constant(table, headline):
    found = analysis.analysed(table, "study", bootstraps=400)
    first = kinds.document(found).answers[0].replace("**", "")
    assert headline in first
    strict = found.numbers["strict"]
    if strict["alpha"]:
        assert f"{strict['alpha']['value']:.3f}" in first
        assert ("with size" in first) == (headline.endswith("size"))
    else:
        assert f"alpha is at least {strict['alpha_at_least']:.3f}" in first


def test_published_values_are_only_set_beside_the_paper_convention():
    found = analysis.analysed(study(), "study", bootstraps=50)
    paper = found.numbers["paper"]
    (row,) = kinds.document(found).section("published").blocks[0].rows
    assert row.name.startswith("mean over shapes of bits per parameter, fp32")
    assert row.published.startswith("3.83; ") and "arXiv 2505.24832 v3" in row.source
    mean = paper["other_estimators"]["mean_of_ratios"]
    assert row.here.split()[0] == f"{mean:.2f}" and found.numbers["verdicts"][0]["measured"] == mean
    assert f"{found.numbers['strict']['other_estimators']['mean_of_ratios']:.2f}" not in row.here
    bf16 = analysis.analysed(study().assign(precision="bf16"), "study", bootstraps=50)
    rows = kinds.document(bf16).section("published").blocks[0].rows
    there = [published.get(f"morris/{id}").value for id in ("mean_bf16", "slope_bf16")]
    assert [row.published.split(";")[0] for row in rows] == [f"{value:g}" for value in there]
    slope = bf16.numbers["paper"]["other_estimators"]["with_intercept"]
    assert rows[1].here.split()[0] == f"{slope:.2f}"
    with pytest.raises(ValueError, match="'strict'"):
        analysis.verdicts(found.numbers["strict"])


def test_the_same_table_gives_the_same_result_in_any_row_order_and_the_hash_follows_its_inputs():
    table = study()
    one = fit.fit_laws(table, seed=3, n_boot=200)
    assert fit.fit_laws(table.sample(frac=1, random_state=1), seed=3, n_boot=200) == one
    assert fit.fit_laws(table.assign(wall_s=1.0), seed=3, n_boot=200) == one
    other = fit.fit_laws(table, seed=4, n_boot=200)
    assert other["alpha"]["value"] == one["alpha"]["value"]
    assert other["alpha"]["interval_seeds"] != one["alpha"]["interval_seeds"]
    changed = table.assign(strict_bits=table.strict_bits * (1 + 1e-12))
    tables = (table, table.sample(frac=1, random_state=1), table.assign(wall_s=1.0), changed)
    digests = [
        analysis.analysed(one, "study", seed=seed, bootstraps=50).numbers["inputs_sha256"]
        for seed, one in enumerate(tables)
    ]
    assert digests[0] == digests[1] == digests[2] == fit.inputs_hash(fit.check(table)) != digests[3]


def test_a_study_is_written_whole_and_twice_the_same(tmp_path):
    table = ragged()
    one, paths = write(table, tmp_path / "a", "ragged", bootstraps=200)
    two, _ = write(table, tmp_path / "b", "ragged", bootstraps=200)
    assert shown(one) == shown(two)
    names = [
        "README.md",
        "capacity.pdf",
        "capacity.png",
        "fit.json",
        "memorized.pdf",
        "memorized.png",
        "plateaus.csv",
        "runs.csv",
    ]
    assert sorted(os.listdir(tmp_path / "a")) == names == sorted(path.name for path in paths)
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )
    result = json.loads((tmp_path / "a" / "fit.json").read_text(encoding="utf-8"))
    assert (
        result["strict"] == fit.fit_laws(table, n_boot=200)
        and result["paper"]["parameters"] == "paper"
    )
    assert list(result)[:3] == ["kind", "schema", "study"]
    assert (result["kind"], result["study"]) == ("random", "ragged")
    assert set(result["versions"]) == {"capacity", "python", "numpy", "pandas", "scipy"}
    assert (
        result["verdicts"] == analysis.verdicts(result["paper"])
        and result["verdicts"][0]["published"]["id"] == "morris/mean_fp32"
    )
    runs = pd.read_csv(tmp_path / "a" / "runs.csv").set_index("run_id")
    assert (
        len(runs) == len(table)
        and (runs.class_strict == "failed").sum() == 4
        and runs.still_rising.sum() == 8
    )
    shapes = pd.read_csv(tmp_path / "a" / "plateaus.csv")
    assert len(shapes) == 12 and set(shapes.convention + shapes["count"]) == {
        "stricttotal",
        "paperpaper",
    }
    page = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    for name in ("capacity", "memorized"):
        assert f"]({name}.png)" in page
    before = (tmp_path / "a" / "fit.json").read_bytes()
    with pytest.raises(ValueError, match="no finished run"):
        write(hole(table, table.index, "missing"), tmp_path / "a", "ragged")
    assert (tmp_path / "a" / "fit.json").read_bytes() == before


def test_a_write_that_breaks_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    (tmp_path / "fit.json").write_text("old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write(study(), tmp_path, "x", bootstraps=50)
    assert os.listdir(tmp_path) == ["fit.json"] and (tmp_path / "fit.json").read_text() == "old"


def test_the_errors_of_the_laws_are_fitted_over_measured_minus_one():
    found = analysis.analysed(ragged(), "study", bootstraps=50)
    strict, (over_plateaus, over_runs) = found.numbers["strict"], kinds.residuals(found)
    measured = [unit for unit in strict["units"] if not unit["lower_bound"]]
    one = over_plateaus.points[over_plateaus.points.series == "C = alpha P"]
    alpha = strict["alpha"]["value"]
    expected = [100 * (alpha * u["parameters"] / u["bits"] - 1) for u in measured]
    np.testing.assert_allclose(one.error, expected)
    assert over_plateaus.unit == "%" and set(over_plateaus.points.run_id) == {""}
    series = {"C = alpha P", "C = a P^gamma", "C = c0 + alpha1 P"}
    assert set(over_plateaus.points.series) == series
    runs = found.tables["runs.csv"]
    drawn = runs[runs.class_strict.isin(["capacity_limited", "corner", "data_limited"])]
    assert sorted(over_runs.points.run_id) == sorted(drawn.run_id)
    (smooth,) = [r for r in strict["forms"]["runs"]["forms"] if r["form"] == "smooth_corner"]
    values = (drawn.parameters_total, drawn.strict_ceiling_bits)
    fitted = capacity_forms.smooth_corner(
        *(v.astype(float) for v in values), smooth["values"]["alpha"], smooth["values"]["k"]
    )
    by_run = over_runs.points.set_index("run_id").error
    np.testing.assert_allclose(
        by_run[drawn.run_id], 100 * (fitted / drawn.strict_bits.astype(float) - 1)
    )
    bounds = analysis.analysed(study(loads=(0.3, 0.6)), "bounds", bootstraps=50)
    assert kinds.residuals(bounds) == []


def test_importing_the_fit_is_cheap():
    code = (
        "import sys, capacity.analysis.random.plateaus, capacity.analysis.random; "
        "print([m for m in ('torch', 'hydra', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
