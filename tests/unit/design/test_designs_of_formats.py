"""Plans of studies of precision: designs, forecasts and beliefs."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from capacity.analysis.precision import analysis as precision_laws
from capacity.design import optimal
from capacity.design.prior import Variance
from capacity.design.registry import make_target
from capacity.design.simulate import Simulation, crossed, forecast
from capacity.fitting import fit as estimate
from capacity.fitting import intervals
from designs import best, formats  # noqa: F401

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
        formats.models
    )
    assert all("a test" in now.sources[name] for name in ("truth", "noise", "scatter", "capacity"))
