"""Forms of the capacity law, classes of runs, and plateaus, against planted truth."""

import numpy as np
import pytest

from capacity.analysis.random import plateaus as fit
from capacity.fitting import capacity_forms, linear
from random_data import ALPHA, study
from random_tables import inside, plain_units

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
    assert inside(law["power"]["gamma"], 1.0, "interval_models")


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
    keep = ~((table.model == "1x128") & (table.n_sequences == table.n_sequences.max()))
    unit = fit.units(table[keep])
    bound = unit[unit.lower_bound]
    assert bound.model.tolist() == ["1x128"] * 2
    mine = table[keep & (table.model == "1x128")]
    assert bound.bits.tolist() == mine.groupby("seed").strict_bits.max().tolist()
    shape = fit.plateaus(table[keep]).set_index("model").loc["1x128"]
    assert shape.lower_bound and shape.bits_per_parameter < 0.75 * ALPHA
    law = fit.fit_laws(table[keep], n_boot=400)
    line = next(
        row for row in law["forms"]["plateaus"]["forms"] if row["form"] == "capacity_linear"
    )
    assert (
        line["held_out"]["largest"] is None
        and line["record"]["points"]["lower_bounds"] == law["n"]["units_bounded"] == 2
    )
    assert inside(law["alpha"], ALPHA, "interval_models")


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
