"""The capacity law of random data against planted truth, and tables of which no law can be read."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.analysis.random import plateaus as fit
from random_data import ALPHA, hole, study
from random_tables import inside, plain_units

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
        for part in ("interval_seeds", "interval_models"):
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
        assert law["power"]["gamma"]["interval_models"]["ends"][1] < 1
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
        plain_units([n], [n * r], seeds=k).assign(model=f"m{i}")
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
    unit = fit.units(every.assign(model=every.draw.astype(str) + ":" + every.model))
    hits = []
    for draw, mine in unit.groupby(unit.model.str.split(":").str[0]):
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
    over_shapes, over_seeds = coverage(250, ["interval_models", "interval_seeds"], shapes=0.05)
    assert ((over_shapes > 0.92) & (over_shapes < 0.98)).all(), over_shapes
    assert (over_seeds < 0.6).all(), over_seeds
    wide = [
        fit.estimate(fit.units(study(draw=i, shapes=0.05)), n_boot=400)["alpha"]["quote"]
        for i in range(10)
    ]
    assert wide.count("interval_models") >= 9


def test_three_shapes_give_a_finite_interval_that_covers():
    """Few residuals, often of nearly one size: unsmoothed resampling gives endless intervals
    here."""
    hits, widths = [], []
    for draw in range(120):
        alpha = fit.estimate(
            fit.units(study(widths=(16, 32, 64), shapes=0.05, draw=draw)), n_boot=500
        )["alpha"]
        low, high = alpha["interval_models"]["ends"]
        hits.append(low < ALPHA < high)
        widths.append(np.log(high / low))
    assert 0.90 < np.mean(hits) < 0.99 and np.quantile(widths, 0.9) < 0.6


def test_repeating_rows_inside_a_unit_does_not_narrow_the_intervals_but_seeds_do():
    table = study()
    again = pd.concat([table, *(table.assign(run_id=table.run_id + tag) for tag in "abc")])
    one, many = fit.fit_laws(table), fit.fit_laws(again)
    copies = fit.fit_laws(pd.concat([table, table]))
    for key in ("interval_seeds", "interval_models"):
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
    bound = plain_units([1e7], [0.3e7], lower_bound=True).assign(model="big")
    plain = fit.estimate(data)
    low = fit.estimate(pd.concat([data, bound.assign(bits=1.4e7)], ignore_index=True))
    high = fit.estimate(pd.concat([data, bound.assign(bits=3.0e7)], ignore_index=True))
    assert (
        low["alpha"]["value"] == pytest.approx(plain["alpha"]["value"], rel=1e-9)
        and not low["bounds_above_line"]
    )
    assert low["alpha"]["interval_models"]["ends"] == pytest.approx(
        plain["alpha"]["interval_models"]["ends"], rel=1e-6
    )
    assert high["alpha"]["value"] > plain["alpha"]["value"] == high["alpha"]["without_bounds"]
    (above,) = high["bounds_above_line"]
    assert above["model"] == "big" and above["percent"] == pytest.approx(
        100 * (3.0 / high["alpha"]["value"] - 1)
    )
    low_end, high_end = high["alpha"]["interval_models"]["ends"]
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
    assert alpha["quote"] == "interval_models" and inside(alpha, ALPHA, "interval_models")


@pytest.mark.parametrize("widths", [(16,), (16, 32)])
def test_fewer_than_three_shapes_give_a_value_and_no_interval(widths):
    law = fit.fit_laws(study(widths=widths, seeds=range(4)))
    numbers = [law["alpha"]] + (
        [law["power"]["gamma"], law["slope"]["c0"]] if len(widths) > 1 else []
    )
    assert law["alpha"]["value"] == pytest.approx(ALPHA, rel=0.03)
    for number in numbers:
        assert number["quote"] is None
        for key in ("interval_seeds", "interval_models"):
            assert number[key]["ends"] is None and "needs 3" in number[key]["reason"]
    if len(widths) == 1:
        assert "no slope" in law["power"]["reason"] and "gamma" not in law["power"]


def test_seeds_that_agree_exactly_are_not_an_interval_of_width_zero():
    table = study(seeds=(0,), shapes=0.05)
    law = fit.fit_laws(pd.concat([table, table.assign(seed=1, run_id=table.run_id + "again")]))
    assert law["alpha"]["interval_seeds"]["ends"] is None
    assert "is the seed in use" in law["alpha"]["interval_seeds"]["reason"]
    assert law["alpha"]["quote"] == "interval_models"


def test_an_interval_without_a_finite_end_is_none():
    p = np.array([1e3, 1.01e3, 1.02e3])
    a = fit.estimate(plain_units(p, p * np.array([1.0, 3.0, 1.0])), n_boot=400)["power"]["a"]
    assert (
        a["interval_models"]["ends"] is None and "no finite limit" in a["interval_models"]["reason"]
    )


def test_only_lower_bounds_give_no_alpha():
    law = fit.fit_laws(study(loads=(0.3, 0.6)))
    assert law["alpha"] is None and "lower bounds" in law["reason"]
    assert law["alpha_at_least"] == pytest.approx(0.6 * ALPHA, rel=0.03)
