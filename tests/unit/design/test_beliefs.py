"""Beliefs and forecasts of plans against simulated studies."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity.base.errors import ConfigError
from capacity.design import optimal
from capacity.design import space as spaces
from capacity.design.prior import Truths, Variance
from capacity.design.registry import make_target
from capacity.design.simulate import Simulation, crossed, forecast
from capacity.fitting import fit as estimate
from capacity.fitting import intervals
from designs import best, line, space  # noqa: F401


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
    assert set(known) == set(space.models) and "a test" in now.sources["truth"]
    # what is known of a model's own capacity is what its runs show beyond the law
    own = (
        np.log(table.strict_bits / (now.theta[0] * table.parameters_total))
        .groupby(table.model)
        .mean()
    )
    assert np.corrcoef([known[model][0] for model in own.index], own)[0, 1] > 0.99


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
    found = best(effects, space.cost, 0.2, (np.full(len(space.models), 8), space.cluster))
    assert (
        all(space.cells[j].load > 4.9 for j in np.flatnonzero(found))
        and len(set(space.cluster[found > 0])) >= 6
    )
    blunt = replace(prior, log_k=(math.log(3.0), 0.0))
    far = target.effects(space, blunt.draw(np.random.default_rng(0), 8), blunt)
    assert (far.bias <= 0).all() and abs(far.bias).mean() > abs(effects.bias).mean()
