"""Plans of studies: designs against brute force and known optima, forecasts against simulation, the
stopping rule, and the command on a real study."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from capacity import run_table
from capacity.analysis.precision import analysis as precision_laws
from capacity.analysis.precision import bit_widths as precision
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.design import finished as of_records
from capacity.design import optimal, planner
from capacity.design import search as searches
from capacity.design import space as spaces
from capacity.design.prior import Truths, Variance
from capacity.design.registry import make_target
from capacity.design.simulate import Simulation, crossed, forecast
from capacity.design.terminal import report
from capacity.fitting import fit as estimate
from capacity.fitting import intervals
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.study import load_study
from capacity.sweep.packs import Limits, make_stacks


@pytest.fixture(scope="module")
def space():
    return spaces.space_of("design", [], Path("nowhere"), "cpu")


@pytest.fixture(scope="module")
def formats():
    return spaces.space_of("design@ladder", [], Path("nowhere"), "cpu", spaces.Choice(formats=True))


def line(levels, noise=1.0, **changes):
    """Effects of a straight line measured at these levels; the slope is asked for."""
    x = np.asarray(levels, float)
    ones = np.ones((1, len(x)))
    base = optimal.Effects(
        slope=np.stack([ones, ones * x], axis=-1),
        usable=ones,
        bias=0 * ones,
        noise=noise * ones,
        own=0 * ones,
        trend=0 * ones,
        scatter=np.zeros(1),
        bend=0.0,
        cluster=None,
        contrast=np.array([[0.0, 1.0]]),
        prior=np.array([50.0, 50.0]),
    )
    return replace(base, **changes)


def of_models(models, per_model=1, scatter=0.05, noise=0.015):
    """Effects of cells that all measure the same number, with scatter over models."""
    ones = np.ones((1, models * per_model))
    return optimal.Effects(
        slope=ones[..., None],
        usable=ones,
        bias=0 * ones,
        noise=noise * ones,
        own=ones,
        trend=0 * ones,
        scatter=np.array([scatter]),
        bend=0.0,
        cluster=np.repeat(np.arange(models), per_model),
        contrast=np.ones((1, 1)),
        prior=np.ones(1),
    )


def search(effects, cost, budget, most, done=None):
    return searches.Search(effects=effects, cost=cost, budget=budget, most=most, done=done)


def best(effects, cost, budget, most, done=None, polish=True):
    return searches.best(search(effects, cost, budget, most, done), polish)


def cost_of_runs(space, runs):
    """Hours of runs, cut into stacks as a sweep cuts them."""
    speed = space.speed
    limits = Limits(most=space.costs.stack, device=speed.device, speed=speed)
    stacks = make_stacks(runs, math.inf, limits)
    return sum(speed.seconds(stack) for stack in stacks) / 3600


def linear_cost(prices):
    return lambda number: np.asarray(number, float) @ np.asarray(prices, float)


# --- the optimum ---


@pytest.mark.parametrize(
    "levels, prices, budget",
    [
        ([0, 1, 2, 3], [1, 1, 1, 1], 7),
        ([0, 1, 2, 4], [1, 2, 3, 6], 20),
        ([-1, 0, 3], [3, 1, 2], 15),
        ([0, 5, 6], [1, 1, 4], 12),
    ],
)
def test_a_design_is_as_good_as_the_best_of_all(levels, prices, budget):
    effects, cost = line(levels), linear_cost(prices)
    every = np.array(
        [
            n
            for n in itertools.product(*(range(budget // p + 1) for p in prices))
            if cost(n) <= budget
        ],
        float,
    )
    least = optimal.criterion(effects, every).min()
    found = best(effects, cost, budget, np.full(len(levels), 99))
    assert cost(found) <= budget
    assert (
        optimal.criterion(effects, found)[0] <= 1.08 * least
    )  # 4% of the width: greedy and exchanges are no exact search


def test_a_slope_is_measured_at_the_ends():
    """Elfving (1952): half of the runs at each end, where a run costs the same everywhere."""
    found = best(line([0, 1, 2, 3, 4]), linear_cost(np.ones(5)), 12, np.full(5, 99))
    assert found.tolist() == [6, 0, 0, 0, 6]


def test_twice_the_noise_needs_four_times_the_budget():
    def price(noise):
        cost = linear_cost([1, 1])
        choice = search(line([0, 2], noise), cost, 220, np.full(2, 999))
        return float(cost(searches.cheapest(choice, 0.3, turns=14)))

    one, two = price(1.0), price(2.0)
    assert one > 40 and two / one == pytest.approx(4, rel=0.15)


def test_a_run_that_is_worth_more_for_the_same_hours_is_never_left_for_another():
    noise = np.array([[1.0, 1.5, 1.0, 1.2, 1.0]])
    found = best(line([0, 0, 2, 4, 4], noise=noise), linear_cost(np.ones(5)), 10, np.full(5, 99))
    assert found[1] == found[3] == 0 and found[0] > 0 and found[4] > 0


def test_a_new_model_beats_another_seed_and_scatter_is_a_floor():
    effects = of_models(6, per_model=2)
    found = best(effects, linear_cost(np.ones(12)), 6, (np.full(6, 8), effects.cluster))
    assert found.reshape(6, 2).sum(1).tolist() == [1] * 6
    half, off, dof = optimal.predicted(effects, np.full(12, 1e7))
    assert dof[0, 0] == pytest.approx(5, rel=1e-3) and off[0, 0] == 0
    assert half[0, 0] == pytest.approx(
        2.5706 * 0.05 / math.sqrt(6), rel=1e-3
    )  # t of 5 degrees of freedom


def test_no_model_gets_more_runs_than_allowed_and_finished_ones_count():
    effects = of_models(4)
    cost = linear_cost(np.ones(4))
    assert best(
        replace(effects, scatter=np.array([1e-4])),
        cost,
        100,
        (np.array([2, 2, 2, 1]), effects.cluster),
    ).tolist() == [
        2,
        2,
        2,
        1,
    ]
    found = best(effects, cost, 2, (np.full(4, 8), effects.cluster), done=np.array([1, 0, 1, 0]))
    assert found.tolist() == [0, 1, 0, 1]


def test_a_trend_that_the_form_lacks_spreads_a_design():
    """Without it the cheapest models would do; with it the sum of weights times trend has to
    vanish."""
    trend = np.linspace(-1, 1, 6)[None]
    prices = linear_cost([1, 1, 1, 4, 5, 6])
    plain = of_models(6)
    most = (np.full(6, 8), plain.cluster)
    narrow, wide = (
        best(e, prices, 8, most) for e in (plain, replace(plain, trend=trend, bend=0.5))
    )

    def off(number):
        return abs(float(number @ trend[0]) / number.sum())

    assert off(wide) < 0.5 * off(narrow)


# --- the space ---


def test_costs_are_those_of_the_stacks_that_a_sweep_trains(space):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        number = rng.integers(0, 4, len(space.cells))
        runs = [run for _, run in space.runs(number)]
        assert float(space.cost(number)) == pytest.approx(cost_of_runs(space, runs), rel=0.05)
    assert space.cost(np.zeros(len(space.cells))) == 0


def test_a_written_study_has_the_runs_of_the_design(space, tmp_path):
    number = np.random.default_rng(1).integers(0, 3, len(space.cells))
    runs = [run for _, run in space.runs(number, {0: [0, 1], 7: [2]})]
    path = tmp_path / "mine.yaml"
    path.write_text(spaces.write_yaml(space, runs, 'what: "this"?'))
    study = load_study(str(path), [])
    assert {run.run_id for run in study.runs} == {run.run_id for run in runs} and len(
        runs
    ) == number.sum()
    assert cost_of_runs(space, study.runs) == pytest.approx(cost_of_runs(space, runs))
    units = [(run.shape, run.seed) for run in runs]
    assert len(set(units)) == len(units)  # every run of a model is a replicate of its own


def test_a_written_study_of_formats_has_the_runs_of_the_design(tmp_path):
    some = spaces.space_of(
        "precision/uniform@pocket", [], Path("nowhere"), "cpu", spaces.Choice(formats=True)
    )
    number = np.random.default_rng(1).integers(0, 3, len(some.cells))
    runs = [run for _, run in some.runs(number)]
    path = tmp_path / "mine.yaml"
    path.write_text(spaces.write_yaml(some, runs, "?"))
    written = load_study(str(path), []).runs
    assert {run.run_id for run in written} == {run.run_id for run in runs}
    assert {run.run_id for run in runs} <= {
        run.run_id for run in load_study("precision/uniform@pocket", []).runs
    }
    assert {run.run_id for run in written if run.quantize.methods} == {
        run.run_id for run in runs if run.train.qat == "none"
    }


def test_settings_given_with_the_command_are_in_the_written_study(tmp_path):
    given = ["data.n_sequences=80", "train.exposures=300"]
    narrow = spaces.space_of("pocket", given, Path("nowhere"), "cpu")
    assert len(narrow.cells) == 4 and all(cell.config.items == 80 for cell in narrow.cells)
    path = tmp_path / "mine.yaml"
    path.write_text(spaces.write_yaml(narrow, [narrow.cells[1].run(5)], "?"))
    assert [run.run_id for run in load_study(str(path), []).runs] == [narrow.cells[1].run(5).run_id]


def test_the_naive_grid_is_what_the_budget_affords(space):
    whole = np.full(len(space.cells), 2)
    price = float(space.cost(whole))
    assert (spaces.grid(space, price * 1.001) == 2).all() and (
        spaces.grid(space, 2.2 * price) >= 3
    ).all()
    for part in (0.9, 0.6, 0.4):
        number = spaces.grid(space, part * price)
        used = np.unique(space.cluster[number > 0])
        assert 0 < space.cost(number) <= part * price and {0, len(space.labels) - 1} <= set(used)
        assert all((number[space.cluster == c] == number.max()).all() for c in used)
    assert not spaces.grid(space, 1e-6).any()


# --- beliefs and simulation ---


@pytest.mark.parametrize(
    "form, parameter",
    [
        (form, "alpha")
        for form in ("capacity_linear", "capacity_affine", "smooth_corner", "hard_corner")
    ]
    + [("capacity_power", "gamma")],
)
def test_a_study_without_noise_says_what_was_planted(space, form, parameter):
    target = make_target(form, parameter, 0.1)
    prior = target.prior(space)
    truths = replace(prior.middle(), sharpness=np.array([40.0]))
    if form == "smooth_corner":
        truths = replace(truths, sharpness=truths.theta[:, 1])
    planted = truths.theta[0, target.form.index(parameter)]
    table = pd.DataFrame(target.simulate(space, [(j, 0) for j in range(len(space.cells))], truths))
    assert target.measure(target.points(table))["value"] == pytest.approx(planted, rel=2e-3)
    assert target.truth(space, truths) == pytest.approx(planted, rel=1e-9)
    if form in (
        "capacity_linear",
        "hard_corner",
    ):  # a bend turns around the middle of the sizes and leaves the mean where it is
        assert target.truth(space, replace(truths, bend=np.array([0.05]))) == pytest.approx(
            planted, rel=1e-9
        )


def test_the_predicted_width_is_the_realised_one(space):
    """First order against simulated studies through the engine, and the coverage of their
    intervals, where the corner is far away and nothing is bent."""
    target = make_target("capacity_linear", "alpha", 0.1)
    prior = replace(
        target.prior(space),
        bend=0.0,
        log_k=(math.log(40), 0.0),
        scatter=Variance(0.05, 1e6),
        noise=Variance(0.015, 1e6),
    )
    number = np.array([1.0 if 6 < cell.load < 7 else 0.0 for cell in space.cells])
    truths = prior.draw(np.random.default_rng(0), 8)
    half = float(np.median(optimal.predicted(target.effects(space, truths, prior), number)[0]))
    seen = forecast(
        target,
        space,
        prior,
        [(j, 0) for j in np.flatnonzero(number)],
        Simulation(count=250, seed=3),
    )
    assert target.half(seen.middle) == pytest.approx(half, rel=0.1)
    assert 0.9 < seen.coverage < 0.99 and abs(seen.bias) < 0.02
    twice = [
        forecast(
            target,
            space,
            prior,
            [(j, 0) for j in np.flatnonzero(number)],
            Simulation(count=5, seed=3),
        ).value
        for _ in range(2)
    ]
    assert np.array_equal(*twice)


def test_beliefs_follow_the_runs(space):
    target = make_target("capacity_linear", "alpha", 0.1)
    prior = target.prior(space)
    truths = Truths(
        theta=np.array([[2.9]]),
        sharpness=np.array([8.0]),
        noise=np.array([0.03]),
        scatter=np.array([0.10]),
        bend=np.zeros(1),
    )
    runs = [
        (j, seed) for j in range(len(space.cells)) if space.cells[j].load > 6 for seed in range(8)
    ]
    table = pd.DataFrame(target.simulate(space, runs, truths, np.random.default_rng(4)))
    now, known = target.learned(prior, space, table, "a test")
    assert now.theta[0] == pytest.approx(2.9, rel=0.08) and now.error[0] < 0.3 * prior.error[0]
    assert now.noise.sd == pytest.approx(0.03, rel=0.15) and 0.05 < now.scatter.sd < 0.15
    assert set(known) == set(space.labels) and "a test" in now.sources["truth"]
    # what is known of a model's own capacity is what its runs show beyond the law
    own = (
        np.log(table.strict_bits / (now.theta[0] * table.parameters_total))
        .groupby(table.label)
        .mean()
    )
    assert np.corrcoef([known[label][0] for label in own.index], own)[0, 1] > 0.99


def test_exposures_learn_pace_and_curve():
    one = spaces.space_of(
        "physics33/04_peak_100@pocket", [], Path("nowhere"), "cpu", spaces.Choice(only="2x16")
    )
    target = make_target("exposure_exponential", "r_inf", 0.1)
    prior = target.prior(one)
    truths = Truths(
        theta=np.array([[0.53, 360.0, 1.36]]),
        sharpness=np.ones(1),
        noise=np.array([0.01]),
        scatter=np.array([0.05]),
        bend=np.zeros(1),
    )
    table = pd.DataFrame(
        target.simulate(
            one,
            [(j, seed) for j in range(6) for seed in range(6)],
            truths,
            np.random.default_rng(1),
        )
    )
    now, _ = target.learned(prior, one, table, "a test")
    assert now.theta == pytest.approx(truths.theta[0], rel=0.05) and now.scatter.sd < 0.08


def test_assumptions_can_be_stated(space):
    target = make_target("capacity_power", "gamma", 0.1)
    prior = target.assume(
        target.prior(space), space, {"gamma": 1.1, "capacity": 3.0, "noise": 0.04, "k": 7}
    )
    middle = math.exp(np.log(target.sizes(space)).mean())
    assert target.form.predict({"parameters": middle}, prior.theta)[0] / middle == pytest.approx(
        3.0
    )
    assert (
        prior.noise.sd == 0.04
        and prior.log_k[0] == pytest.approx(math.log(7))
        and "given" in prior.sources["noise"]
    )


def test_the_width_of_an_intercept_is_in_bits(space):
    target = make_target("capacity_affine", "c0", 3000)
    given = target.assume(target.prior(space), space, {"c0": -2759.0, "alpha": 3.497})
    truths = replace(given.middle(), sharpness=np.array([40.0]))
    table = pd.DataFrame(target.simulate(space, [(j, 0) for j in range(len(space.cells))], truths))
    assert target.measure(target.points(table))["value"] == pytest.approx(-2759, rel=0.02)
    assert target.truth(space, truths) == -2759
    assert (
        target.width_of(-2759, -4000.0, -1000.0) == 3000
        and target.half(3000) == 1500
        and target.unit == "bits"
    )
    # least squares of log C over models: a bend that leaves the middle moves the intercept
    bent = replace(truths, bend=np.array([0.02]))
    sizes, capacities = target.sizes(space), target.capacities(space, bent)[0]
    c0, alpha = target.truth(space, bent), replace(target, parameter="alpha").truth(space, bent)
    line = c0 + alpha * sizes
    error = np.log(capacities) - np.log(line)
    assert (
        abs(c0 + 2759) > 50
        and abs(error @ (sizes / line)) < 1e-4
        and abs(error @ (sizes.min() / line)) < 1e-3
    )


@pytest.mark.parametrize(
    "given, c0, capacity",
    [
        ({"c0": -3000.0}, -3000.0, 3.5),
        ({"capacity": 3.0}, 0.0, 3.0),
        ({"alpha": 3.7}, None, 3.5),
        ({"c0": 1000.0, "capacity": 3.2}, 1000.0, 3.2),
    ],
)
def test_an_intercept_given_turns_the_line_around_the_middle(space, given, c0, capacity):
    target = make_target("capacity_affine", "c0", 3000)
    prior = target.assume(target.prior(space), space, given)
    middle = math.exp(np.log(target.sizes(space)).mean())
    assert target.form.predict({"parameters": middle}, prior.theta)[0] / middle == pytest.approx(
        capacity
    )
    assert c0 is None or prior.theta[0] == pytest.approx(c0)
    assert "given" in prior.sources["truth"]


@pytest.mark.parametrize(
    "given",
    [{"c0": -4e4}, {"alpha": -1.0}, {"alpha": 8.0}, {"c0": 1.0, "alpha": 3.0, "capacity": 3.0}],
)
def test_an_intercept_that_leaves_no_capacity_is_refused(space, given):
    target = make_target("capacity_affine", "c0", 3000)
    with pytest.raises(ConfigError, match="--assume"):
        target.assume(target.prior(space), space, given)


@pytest.mark.parametrize(
    "form, parameter", [("capacity_affine", "c0"), ("capacity_affine", "alpha")]
)
def test_beliefs_about_an_intercept_follow_the_runs(space, form, parameter):
    target = make_target(form, parameter, 1000)
    prior = target.prior(space)
    truths = Truths(
        theta=np.array([[-6000.0, 3.6]]),
        sharpness=np.array([8.0]),
        noise=np.array([0.005]),
        scatter=np.array([0.01]),
        bend=np.zeros(1),
    )
    runs = [
        (j, seed) for j in range(len(space.cells)) if space.cells[j].load > 6 for seed in range(4)
    ]
    table = pd.DataFrame(target.simulate(space, runs, truths, np.random.default_rng(4)))
    now, _ = target.learned(prior, space, table, "a test")
    assert now.theta[0] == pytest.approx(-6000, rel=0.1) and now.theta[1] == pytest.approx(
        3.6, rel=0.03
    )
    assert now.error[0] < 0.3 * prior.error[0]


@pytest.mark.parametrize("parameter", ["alpha", "c0"])
def test_the_interval_of_a_plan_is_that_of_a_study_made_elsewhere(space, parameter):
    """Plateaus of an intercept drawn here, without a corner, and through the engine: the forecast's
    width and coverage."""
    target = make_target("capacity_affine", parameter, 0.2 if parameter == "alpha" else 4000)
    prior = replace(
        target.prior(space),
        bend=0.0,
        log_k=(math.log(40), 0.0),
        scatter=Variance(0.05, 1e6),
        noise=Variance(0.015, 1e6),
    )
    truths = replace(target.assume(prior, space, {"c0": -2000.0, "alpha": 3.5}).middle())
    number = np.array([2.0 if 6 < cell.load < 7 else 0.0 for cell in space.cells])
    seen = forecast(
        target, space, prior, crossed(space, number), Simulation(count=80, seed=3, truths=truths)
    )
    rng, sizes = np.random.default_rng(11), target.sizes(space)
    cluster = np.repeat(np.arange(len(sizes)), 2)
    widths = []
    for _ in range(80):
        own = (-2000 + 3.5 * sizes) * np.exp(0.05 * rng.standard_normal(len(sizes)))
        bits = own[cluster] * np.exp(0.015 * rng.standard_normal(len(cluster)))
        points = estimate.Points({"parameters": sizes[cluster]}, bits, cluster=cluster)
        end = intervals.of(estimate.fit("capacity_affine", points))[parameter]
        widths.append((end["high"] - end["low"]) / (1 if parameter == "c0" else end["value"]))
    assert seen.middle == pytest.approx(np.median(widths), rel=0.15)
    assert seen.coverage > 0.86
    half = float(np.median(optimal.predicted(target.effects(space, truths, prior), number)[0]))
    assert target.half(seen.middle) == pytest.approx(half, rel=0.15)


def test_the_hard_corner_asks_for_runs_that_are_far_from_it(space):
    target = make_target("hard_corner", "alpha", 0.1)
    prior = target.prior(space)
    effects = target.effects(space, prior.draw(np.random.default_rng(0), 8), prior)
    found = best(effects, space.cost, 0.2, (np.full(len(space.labels), 8), space.cluster))
    assert (
        all(space.cells[j].load > 4.9 for j in np.flatnonzero(found))
        and len(set(space.cluster[found > 0])) >= 6
    )
    blunt = replace(prior, log_k=(math.log(3.0), 0.0))
    far = target.effects(space, blunt.draw(np.random.default_rng(0), 8), blunt)
    assert (far.bias <= 0).all() and abs(far.bias).mean() > abs(effects.bias).mean()


# --- precision ---

PRECISION = [
    ("precision_effective", "b0"),
    ("precision_shifted", "b0"),
    ("precision_noise", "a"),
    ("precision_storage", "s"),
]


@pytest.mark.parametrize("form, parameter", PRECISION)
def test_formats_without_noise_say_what_was_planted(formats, form, parameter):
    target = make_target(form, parameter, 0.1)
    truths = replace(target.prior(formats).middle(), sharpness=np.array([40.0]))
    table = pd.DataFrame(
        target.simulate(formats, [(j, 0) for j in range(len(formats.cells))], truths)
    )
    planted = truths.theta[0, target.form.index(parameter)]
    assert target.measure(target.points(table))["value"] == pytest.approx(planted, rel=5e-3)
    assert target.truth(formats, truths) == pytest.approx(planted)
    top = target.points(table)
    assert np.allclose(np.asarray(top.y)[top.x["bits_per_weight"] == 32], 1)  # parts of fp32


def test_the_interval_of_a_plan_of_formats_is_that_of_a_study_made_elsewhere(formats):
    """Parts of fp32 drawn here, from the worth of a bit and the noise of runs, against the forecast
    and its first order."""
    target = make_target("precision_storage", "s", 0.2)
    prior = replace(
        target.prior(formats),
        bend=0.0,
        log_k=(math.log(60), 0.0),
        scatter=Variance(0.1, 1e6),
        noise=Variance(0.015, 1e6),
    )
    truths = prior.middle()
    loads = {"fp32": 6.5, "int6": 5.0, "int4": 5.0, "int3": 5.0, "ternary": 2.5}
    number = np.array(
        [
            2.0 * (loads.get(cell.trained_in["format"]) == round(2 * cell.load) / 2)
            for cell in formats.cells
        ]
    )
    assert number.sum() == 2 * 5 * 8
    seen = forecast(
        target,
        formats,
        prior,
        crossed(formats, number),
        Simulation(count=120, seed=2, truths=truths),
    )
    bits, rng, widths, held = (
        np.array([32, 6, 4, 3, math.log2(3)]),
        np.random.default_rng(5),
        [],
        0,
    )
    for _ in range(120):
        worth = np.exp(0.1 * rng.standard_normal(8))[:, None]
        runs = np.minimum(0.13 * bits * worth, 1.0)[..., None] * np.exp(
            0.015 * rng.standard_normal((8, 5, 2))
        )
        part = runs.mean(-1) / runs[:, :1].mean(-1)
        points = estimate.Points(
            {"bits_per_weight": np.tile(bits, 8)}, part.ravel(), cluster=np.repeat(np.arange(8), 5)
        )
        end = intervals.of(estimate.fit("precision_storage", points, delta=np.inf))["s"]
        widths.append((end["high"] - end["low"]) / end["value"])
        held += end["low"] <= 0.13 <= end["high"]
    assert seen.middle == pytest.approx(np.median(widths), rel=0.12)
    assert abs(seen.coverage - held / 120) < 0.08 and seen.coverage > 0.85
    half = float(np.median(optimal.predicted(target.effects(formats, truths, prior), number)[0]))
    assert target.half(seen.middle) == pytest.approx(half, rel=0.15)


def test_a_design_has_fp32_beside_every_model_and_enough_formats(formats):
    target = make_target("precision_storage", "s", 0.2)
    prior = target.prior(formats)
    effects = target.effects(formats, prior.draw(np.random.default_rng(0), 4), prior)
    most = np.full(len(formats.cells), 8.0)
    format = np.array([cell.trained_in["format"] for cell in formats.cells])
    for budget in (0.02, 0.05):
        found = best(effects, formats.cost, budget, most, polish=budget < 0.05)
        assert (
            formats.cost(found) <= budget
            and len(set(format[found > 0]) - {"fp32"}) >= precision_laws.FEWEST_FORMATS
        )
        for model in set(formats.cluster[found > 0]):
            assert found[(formats.cluster == model) & (format == "fp32")].sum() > 0
    # without its fp32 runs a model says nothing, and a second seed makes no second point
    whole = np.ones(len(format))
    less = np.where((formats.cluster == 0) & (format == "fp32"), 0.0, whole)
    gone = np.where(formats.cluster == 0, 0.0, whole)
    assert np.allclose(effects.predict(less[None])[0], effects.predict(gone[None])[0])
    quiet = replace(effects, noise=1e-9 * effects.noise)
    assert np.allclose(quiet.predict(whole[None])[0], quiet.predict(3 * whole[None])[0], rtol=1e-6)
    # seeds of a format are those of the study's own grid
    assert {run.seed for _, run in formats.runs(whole)} == {0} and {
        run.seed for _, run in formats.runs(whole, {0: [0]})
    } == {0, 1}


def test_beliefs_about_formats_follow_the_runs(formats):
    target = make_target("precision_storage", "s", 0.2)
    prior = replace(target.prior(formats), bend=0.0)
    truths = replace(
        prior.middle(),
        theta=np.array([[0.16, 1.0]]),
        noise=np.array([0.03]),
        scatter=np.array([0.02]),
    )
    truths = replace(truths, level=np.array([2.8]))
    runs = [(j, seed) for j in range(len(formats.cells)) for seed in range(3)]
    table = pd.DataFrame(target.simulate(formats, runs, truths, np.random.default_rng(3)))
    now, known = target.learned(prior, formats, table, "a test")
    assert now.theta[0] == pytest.approx(0.16, rel=0.04) and now.error[0] < 0.3 * prior.error[0]
    assert now.noise.sd == pytest.approx(0.03, rel=0.1) and now.scatter.sd < 0.07
    assert math.exp(now.log_level[0]) == pytest.approx(2.8, rel=0.06) and set(known) == set(
        formats.labels
    )
    assert all("a test" in now.sources[name] for name in ("truth", "noise", "scatter", "capacity"))


# --- the plan and its verdict ---


def planned(monkeypatch, space, form, parameter, width, budget, runs, truths, count=40):
    target = make_target(form, parameter, width)
    table = (
        pd.DataFrame(target.simulate(space, runs, truths, np.random.default_rng(0)))
        if runs
        else pd.DataFrame()
    )
    seeds = {j: [s for c, s in runs if c == j] for j, _ in runs}
    monkeypatch.setattr(
        planner,
        "finished",
        lambda *_: of_records.Finished(
            table=table, seeds=seeds, hours=0.01 if runs else 0.0, failed=0
        ),
    )
    request = planner.Request(results=Path("nowhere"), budget=budget, simulations=count)
    return planner.plan(target, space, request)


TRUTH = Truths(
    theta=np.array([[3.4]]),
    sharpness=np.array([6.0]),
    noise=np.array([0.01]),
    scatter=np.array([0.02]),
    bend=np.zeros(1),
)


def test_it_stops_when_the_interval_is_narrow_enough(monkeypatch, space):
    runs = [(j, 0) for j, cell in enumerate(space.cells) if cell.load > 8]
    found = planned(monkeypatch, space, "capacity_linear", "alpha", 0.2, 1.0, runs, TRUTH)
    assert found.verdict == "reached" and not found.new.any() and found.now["width"] <= 0.2
    assert "reached: stop" in report(found)


def test_it_goes_on_and_then_gets_what_it_said(monkeypatch, space):
    found = planned(monkeypatch, space, "capacity_linear", "alpha", 0.14, 0.5, [], TRUTH)
    assert found.verdict == "go on" and found.cost <= 0.5 and found.expected.middle <= 0.14
    assert (found.batch <= found.new).all() and 0 < found.batch_cost < found.cost
    text = report(found)
    assert "go on:" in text and max(map(len, text.splitlines())) <= 80
    # what runs already know is used: the rest of the plan is cheaper after its first batch
    runs = [(j, run.seed) for j, run in space.runs(found.batch)]
    after = planned(monkeypatch, space, "capacity_linear", "alpha", 0.14, 0.5, runs, TRUTH)
    assert after.now is not None and (after.verdict == "reached" or after.cost < found.cost)


def test_a_plan_of_formats_goes_on_with_what_is_there(monkeypatch):
    """After its first batch the rest of a plan costs less, also where some runs make no point
    yet."""
    some = spaces.space_of(
        "precision/uniform@pocket", [], Path("nowhere"), "cpu", spaces.Choice(formats=True)
    )
    truth = Truths(
        theta=np.array([[0.14, 1.0]]),
        sharpness=np.array([6.0]),
        noise=np.array([0.01]),
        scatter=np.array([0.03]),
        bend=np.zeros(1),
        level=np.array([3.2]),
    )
    first = planned(monkeypatch, some, "precision_storage", "s", 0.6, 0.15, [], truth)
    assert (
        first.verdict == "go on"
        and (first.batch <= first.new).all()
        and max(map(len, report(first).splitlines())) <= 80
    )
    runs = [(j, run.seed) for j, run in some.runs(first.batch)]
    after = planned(monkeypatch, some, "precision_storage", "s", 0.6, 0.15, runs, truth)
    assert after.verdict == "reached" or after.cost < first.cost
    assert "models of finished runs" in after.prior.sources["capacity"]
    target = make_target("precision_storage", "s", 0.6)
    table = pd.DataFrame(target.simulate(some, runs, truth, np.random.default_rng(0)))
    for of_fp32 in (True, False):  # neither is a point of the law alone
        part = table[(table.format == "fp32") == of_fp32]
        now, known = target.learned(target.prior(some), some, part, "a part")
        assert target.points(part) is None and target.measure(None)["width"] == math.inf
        assert (
            now.theta[0] == 0.13
            and bool(known) is of_fp32
            and ("a part" in now.sources["capacity"]) is of_fp32
        )


def test_it_says_what_scatter_over_models_forbids(monkeypatch, space):
    found = planned(monkeypatch, space, "capacity_linear", "alpha", 0.02, 1.0, [], TRUTH)
    assert (
        found.verdict == "not within the budget"
        and found.floor > 0.05
        and found.more_models > 3 * len(space.labels)
    )
    text = report(found)
    assert "Scatter over models alone" in text and f"about {found.more_models} models" in text


# --- the command ---


@pytest.mark.parametrize(
    "change, word",
    [
        ({"--form": "capacity_linaer"}, "did you mean capacity_linear"),
        ({"--form": "chinchilla"}, "cannot simulate it"),
        ({"--parameter": "beta"}, "alpha"),
        (
            {
                "--form": "precision_storage",
                "--parameter": "c",
                "study": "precision/uniform@pocket",
            },
            "1 by construction",
        ),
        (
            {"--form": "precision_storage", "--parameter": "s", "study": "pocket"},
            "0 values of train.qat",
        ),
        (
            {
                "--form": "precision_storage",
                "--parameter": "s",
                "study": "precision/uniform@pocket",
                "--assume": "capacity=0",
            },
            "positive",
        ),
        (
            {"--form": "precision_storage", "--parameter": "s", "study": "mixed.yaml"},
            "mixes methods qat, qat maps",
        ),
        (
            {"--form": "precision_storage", "--parameter": "s", "study": "alone.yaml"},
            "no run in fp32",
        ),
        (
            {"--form": "capacity_affine", "--parameter": "c0", "--assume": "c0=-1e9"},
            "for every model",
        ),
        ({"--form": "hard_corner", "--parameter": "k"}, "alpha"),
        ({"--width": "0"}, "--width 0"),
        ({"--budget-hours": "-1"}, "--budget-hours"),
        ({"--assume": "noise"}, "NAME=NUMBER"),
        ({"--assume": "speed=2"}, "noise"),
        ({"--assume": "noise=-1"}, "positive"),
        ({"--prior": "absent.json"}, "absent.json"),
        ({"--only": "9x9"}, "--only 9x9"),
        ({"--write": "mine.txt"}, ".yaml"),
        ({"study": "morris/membership@pocket"}, "text"),
        ({"study": "morris/vocabulary@pocket"}, "mixes vocabulary"),
        ({"study": "pocket_budget"}, "several recipes"),
        (
            {"study": "optimizers", "--form": "exposure_power", "--parameter": "r_inf"},
            "several recipes",
        ),
        ({"study": "nowhere"}, "no such study"),
        ({"--form": "exposure_power", "--parameter": "r_inf"}, "--only"),
    ],
)
def test_bad_input_is_one_line(here, capsys, change, word):
    given = {
        "--form": "capacity_linear",
        "--parameter": "alpha",
        "--width": "0.1",
        "--budget-hours": "1",
    } | change
    study = given.pop("study", "pocket")
    mixed = "grids: [{train.qat: [none, int8, int4, int3, int2], train.qat_embeddings: [%s]}]\n"
    texts = {
        "mixed.yaml": mixed % "true, false",
        "alone.yaml": mixed.replace("none, ", "") % "true",
    }
    if study in texts:
        Path(study).write_text(texts[study])
    assert main(["plan", study, *itertools.chain.from_iterable(given.items())]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and word in error
    assert [path.name for path in here.iterdir()] == [study] * (study in texts)


def test_a_fit_of_another_study_is_a_prior(here, capsys):
    fit = Path(__file__).resolve().parents[3] / "results" / "studies" / "pocket" / "fit.json"
    code = main(
        [
            "plan",
            "design",
            "--form",
            "capacity_linear",
            "--parameter",
            "alpha",
            "--width",
            "0.2",
            "--budget-hours",
            "0.5",
            "--prior",
            str(fit),
            "--simulations",
            "20",
        ]
    )
    out = capsys.readouterr().out
    assert (
        code == 0
        and f"8 values of {fit}"[:20] in out.replace("\n            ", " ")
        and "degrees of freedom" in out
    )


PRECISION = Path(__file__).resolve().parents[3] / "results/studies/precision/uniform@pocket"


def test_an_old_file_is_the_prior_that_the_present_one_is(tmp_path, formats):
    """Schema 2 named method, format and share retained otherwise."""
    tree = json.loads((PRECISION / "precision.json").read_bytes())
    old = tree | {"schema": 2, "kept": [], "laws": {}, "paired": []}
    del old["retained"]
    names = {"method": "way", "format": "rung"}
    old["capacity"] = [
        {names.get(key, key): value for key, value in row.items()} for row in tree["capacity"]
    ]
    (tmp_path / "old.json").write_text(json.dumps(old))
    target = make_target("precision_storage", "s", 0.2)
    was = of_records.read_prior(tmp_path / "old.json", target, formats)
    now = of_records.read_prior(PRECISION / "precision.json", target, formats)
    assert len(now) >= precision_laws.FEWEST_FORMATS
    pd.testing.assert_frame_equal(was, now)


def test_formats_of_another_study_is_a_prior(here, capsys):
    found = PRECISION / "precision.json"
    command = [
        "plan",
        "precision/uniform@pocket",
        "--form",
        "precision_storage",
        "--parameter",
        "s",
        "--width",
        "1",
        "--budget-hours",
        "0.06",
    ]
    code = main([*command, "--simulations", "20", "--prior", str(found)])
    out = capsys.readouterr().out
    assert code == 0 and "7 points of" in out and max(map(len, out.splitlines())) <= 80
    assert "fp32" in out and "go on:" in out


def test_runs_in_formats_are_read_as_fit_laws_reads_them(here, capsys):
    """Points of trained records: of a plan, and of the law of the same study."""
    Path("tiny.yaml").write_text(
        "pins: [data.vocab_size=16, data.seq_len=8, model.n_layers=1, train.batch_size=16, "
        "train.lr=0.03, train.exposures=20,\n"
        "       train.warmup_steps=10, cluster.device=cpu]\n"
        "grids:\n"
        "  - {model.d_model: &d [4], quantize.methods: ['[bf16]'], data.load: [3.0], seed: [0, "
        "1]}\n"
        "  - {model.d_model: *d, train.qat: [int8, int4, int2, ternary], train.qat_embeddings: "
        "[true], data.load: [1.5, 3.0], seed: [0]}\n"
    )
    study, results = load_study("tiny.yaml", []), Path("results")
    execute(study.runs, Job(results, torch.device("cpu"), study.name))
    target = make_target("precision_storage", "s", 0.2)
    space = spaces.space_of("tiny.yaml", [], results, "cpu", spaces.Choice(formats=True))
    done = of_records.finished(space, results)
    assert len(done.table) == len(study.runs) == 10 and done.failed == 0 and done.hours > 0
    mine = target.points(done.table)
    rows, _ = precision_laws.rows_of(run_table.table(results, study.runs), study.runs, results)
    law = precision_laws.points(
        precision_laws.of_method(
            precision_laws.relative(precision.capacity(rows)), "qat", "relative"
        )
    )

    def sorted_points(points):
        x = np.round(points.x["bits_per_weight"], 9)
        return sorted(zip(points.cluster, x, points.y, strict=True))

    assert len(law.y) == 6 and [p[:2] for p in sorted_points(mine)] == [
        p[:2] for p in sorted_points(law)
    ]
    assert [p[2] for p in sorted_points(mine)] == pytest.approx(
        [p[2] for p in sorted_points(law)], rel=1e-12
    )
    fitted = precision_laws.law(
        precision_laws.relative(precision.capacity(rows)), "qat", "relative"
    )["forms"]["precision_storage"]
    assert fitted["parameters"]["s"]["value"] == pytest.approx(
        target.measure(mine)["value"], rel=1e-6
    )
    # the same runs are not asked for again, and the report counts them
    command = [
        "plan",
        "tiny.yaml",
        "--form",
        "precision_storage",
        "--parameter",
        "s",
        "--width",
        "0.2",
        "--budget-hours",
        "0.01",
    ]
    main([*command, "--simulations", "20"])
    assert "now         10 finished runs" in capsys.readouterr().out


def test_every_run_that_a_plan_may_ask_for_is_looked_for(monkeypatch):
    one = spaces.space_of(
        "physics33/04_peak_100@pocket", [], Path("nowhere"), "cpu", spaces.Choice(only="2x16")
    )
    asked = []
    monkeypatch.setattr(of_records.records, "read", lambda results, run_id: asked.append(run_id))
    assert of_records.finished(one, Path("nowhere")).table.empty
    assert {run.run_id for _, run in one.runs(np.full(len(one.cells), one.most))} <= set(asked)


@pytest.mark.slow
def test_plan_sweep_plan_on_a_real_study(here, capsys):
    """A plan, its batch trained by `sweep` as written, and a second plan that has learned from
    it."""
    widths = ", ".join(
        f"{{model.d_model: {d}, model.n_heads: {d // 2}}}" for d in (4, 6, 8, 10, 12)
    )
    Path("tiny.yaml").write_text(
        "pins: [data.vocab_size=16, data.seq_len=8, model.n_layers=1, train.batch_size=16, "
        "train.lr=0.03, train.exposures=60, cluster.device=cpu]\n"
        f"grids: [{{width: [{widths}], data.load: [6.0, 9.0], seed: [0, 1]}}]\n"
    )
    command = [
        "plan",
        "tiny.yaml",
        "--form",
        "capacity_linear",
        "--parameter",
        "alpha",
        "--width",
        "0.3",
        "--budget-hours",
        "0.05",
        "--simulations",
        "40",
        "--write",
        "mine.yaml",
        "--assume",
        "capacity=2",
        "--most-seeds",
        "3",
    ]
    assert main(command) == 0
    first = capsys.readouterr().out
    study = load_study("mine.yaml", [])
    assert "go on" in first and f"{len(study.runs)} of them next" in first
    assert main(["sweep", "mine.yaml"]) == 0
    capsys.readouterr()
    main(command)
    second = capsys.readouterr().out
    assert (
        f"now         {len(study.runs)} finished runs" in second
        and "spent" in second
        and "runs of tiny" in second.replace("\n            ", " ")
    )
