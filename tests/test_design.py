"""Plans of studies: designs against brute force and known optima, forecasts against simulation, the stopping rule, and the command on a
real study."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity.cli import main
from capacity.design import optimal, planner, space as spaces
from capacity.design.prior import Truths, Variance
from capacity.design.questions import ask
from capacity.design.report import report
from capacity.design.simulate import crossed, forecast
from capacity.sweep.study import load_study


@pytest.fixture(scope="module")
def space():
    return spaces.space_of("design", [], Path("nowhere"), "cpu")


def line(levels, noise=1.0, **changes):
    """Effects of a straight line measured at these levels; the slope is asked for."""
    x = np.asarray(levels, float)
    ones = np.ones((1, len(x)))
    base = optimal.Effects(
        np.stack([ones, ones * x], axis=-1),
        ones,
        0 * ones,
        noise * ones,
        0 * ones,
        0 * ones,
        np.zeros(1),
        0.0,
        None,
        np.array([[0.0, 1.0]]),
        np.array([50.0, 50.0]),
    )
    return replace(base, **changes)


def of_models(models, per_model=1, scatter=0.05, noise=0.015):
    """Effects of cells that all measure the same number, with scatter over models."""
    ones = np.ones((1, models * per_model))
    return optimal.Effects(
        ones[..., None],
        ones,
        0 * ones,
        noise * ones,
        ones,
        0 * ones,
        np.array([scatter]),
        0.0,
        np.repeat(np.arange(models), per_model),
        np.ones((1, 1)),
        np.ones(1),
    )


def linear_cost(prices):
    return lambda number: np.asarray(number, float) @ np.asarray(prices, float)


# --- the optimum ---


@pytest.mark.parametrize(
    "levels, prices, budget",
    [([0, 1, 2, 3], [1, 1, 1, 1], 7), ([0, 1, 2, 4], [1, 2, 3, 6], 20), ([-1, 0, 3], [3, 1, 2], 15), ([0, 5, 6], [1, 1, 4], 12)],
)
def test_a_design_is_as_good_as_the_best_of_all(levels, prices, budget):
    effects, cost = line(levels), linear_cost(prices)
    every = np.array([n for n in itertools.product(*(range(budget // p + 1) for p in prices)) if cost(n) <= budget], float)
    least = optimal.criterion(effects, every).min()
    found = optimal.best(effects, cost, budget, np.full(len(levels), 99))
    assert cost(found) <= budget
    assert optimal.criterion(effects, found)[0] <= 1.08 * least  # 4% of the width: greedy and exchanges are no exact search


def test_a_slope_is_told_by_the_ends():
    """Elfving (1952): half of the runs at each end, where a run costs the same everywhere."""
    found = optimal.best(line([0, 1, 2, 3, 4]), linear_cost(np.ones(5)), 12, np.full(5, 99))
    assert found.tolist() == [6, 0, 0, 0, 6]


def test_twice_the_noise_needs_four_times_the_budget():
    def price(noise):
        cost = linear_cost([1, 1])
        return float(cost(optimal.cheapest(line([0, 2], noise), cost, 220, np.full(2, 999), 0.3, turns=14)))

    one, two = price(1.0), price(2.0)
    assert one > 40 and two / one == pytest.approx(4, rel=0.15)


def test_a_run_that_tells_more_for_the_same_hours_is_never_left_for_another():
    noise = np.array([[1.0, 1.5, 1.0, 1.2, 1.0]])
    found = optimal.best(line([0, 0, 2, 4, 4], noise=noise), linear_cost(np.ones(5)), 10, np.full(5, 99))
    assert found[1] == found[3] == 0 and found[0] > 0 and found[4] > 0


def test_a_new_model_beats_another_seed_and_scatter_is_a_floor():
    effects = of_models(6, per_model=2)
    found = optimal.best(effects, linear_cost(np.ones(12)), 6, (np.full(6, 8), effects.cluster))
    assert found.reshape(6, 2).sum(1).tolist() == [1] * 6
    half, off, dof = optimal.predicted(effects, np.full(12, 1e7))
    assert dof[0, 0] == pytest.approx(5, rel=1e-3) and off[0, 0] == 0
    assert half[0, 0] == pytest.approx(2.5706 * 0.05 / math.sqrt(6), rel=1e-3)  # t of 5 degrees of freedom


def test_no_model_gets_more_runs_than_allowed_and_finished_ones_count():
    effects = of_models(4)
    cost = linear_cost(np.ones(4))
    assert optimal.best(replace(effects, scatter=np.array([1e-4])), cost, 100, (np.array([2, 2, 2, 1]), effects.cluster)).tolist() == [
        2,
        2,
        2,
        1,
    ]
    found = optimal.best(effects, cost, 2, (np.full(4, 8), effects.cluster), done=np.array([1, 0, 1, 0]))
    assert found.tolist() == [0, 1, 0, 1]


def test_a_trend_that_the_form_lacks_spreads_a_design():
    """Without it the cheapest models would do; with it the sum of weights times trend has to vanish."""
    trend = np.linspace(-1, 1, 6)[None]
    prices = linear_cost([1, 1, 1, 4, 5, 6])
    plain = of_models(6)
    most = (np.full(6, 8), plain.cluster)
    narrow, wide = (optimal.best(e, prices, 8, most) for e in (plain, replace(plain, trend=trend, bend=0.5)))

    def off(number):
        return abs(float(number @ trend[0]) / number.sum())
    assert off(wide) < 0.5 * off(narrow)


# --- the space ---


def test_costs_are_those_of_the_stacks_that_a_sweep_trains(space):
    for seed in range(3):
        dice = np.random.default_rng(seed)
        number = dice.integers(0, 4, len(space.cells))
        runs = [run for _, run in space.runs(number)]
        assert float(space.cost(number)) == pytest.approx(space.cost_of_runs(runs), rel=0.05)
    assert space.cost(np.zeros(len(space.cells))) == 0


def test_a_written_study_has_the_runs_of_the_design(space, tmp_path):
    number = np.random.default_rng(1).integers(0, 3, len(space.cells))
    runs = [run for _, run in space.runs(number, {0: [0, 1], 7: [2]})]
    path = tmp_path / "mine.yaml"
    path.write_text(spaces.write_yaml(space, runs, 'what: "this"?'))
    study = load_study(str(path), [])
    assert {run.run_id for run in study.runs} == {run.run_id for run in runs} and len(runs) == number.sum()
    assert space.cost_of_runs(study.runs) == pytest.approx(space.cost_of_runs(runs))
    units = [(run.shape, run.seed) for run in runs]
    assert len(set(units)) == len(units)  # every run of a model is a replicate of its own


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
    assert (spaces.grid(space, price * 1.001) == 2).all() and (spaces.grid(space, 2.2 * price) >= 3).all()
    for part in (0.9, 0.6, 0.4):
        number = spaces.grid(space, part * price)
        used = np.unique(space.cluster[number > 0])
        assert 0 < space.cost(number) <= part * price and {0, len(space.labels) - 1} <= set(used)
        assert all((number[space.cluster == c] == number.max()).all() for c in used)
    assert not spaces.grid(space, 1e-6).any()


# --- beliefs and simulation ---


@pytest.mark.parametrize("form, parameter", [("capacity_linear", "alpha"), ("capacity_power", "gamma"), ("smooth_corner", "alpha")])
def test_a_study_without_noise_says_what_was_planted(space, form, parameter):
    question = ask(form, parameter, 0.1)
    prior = question.prior(space)
    truths = replace(prior.middle(), sharpness=np.array([40.0]))
    if form == "smooth_corner":
        truths = replace(truths, sharpness=truths.theta[:, 1])
    planted = truths.theta[0, question.form.place(parameter)]
    table = pd.DataFrame(question.simulate(space, [(j, 0) for j in range(len(space.cells))], truths))
    assert question.measure(question.points(table))["value"] == pytest.approx(planted, rel=2e-3)
    assert question.truth(space, truths) == pytest.approx(planted, rel=1e-9)
    if form == "capacity_linear":  # a bend turns around the middle of the sizes and leaves the mean over models where it is
        assert question.truth(space, replace(truths, bend=np.array([0.05]))) == pytest.approx(planted, rel=1e-9)


def test_the_predicted_width_is_the_realised_one(space):
    """First order against simulated studies through the engine, and the coverage of their intervals, where the corner is far away and
    nothing is bent."""
    question = ask("capacity_linear", "alpha", 0.1)
    prior = replace(question.prior(space), bend=0.0, log_k=(math.log(40), 0.0), scatter=Variance(0.05, 1e6), noise=Variance(0.015, 1e6))
    number = np.array([1.0 if 6 < cell.load < 7 else 0.0 for cell in space.cells])
    truths = prior.draw(np.random.default_rng(0), 8)
    half = float(np.median(optimal.predicted(question.effects(space, truths, prior), number)[0]))
    seen = forecast(question, space, prior, [(j, 0) for j in np.flatnonzero(number)], count=250, seed=3)
    assert question.half(seen.middle) == pytest.approx(half, rel=0.1)
    assert 0.9 < seen.coverage < 0.99 and abs(seen.bias) < 0.02
    twice = [forecast(question, space, prior, [(j, 0) for j in np.flatnonzero(number)], count=5, seed=3).value for _ in range(2)]
    assert np.array_equal(*twice)


def test_beliefs_follow_the_runs(space):
    question = ask("capacity_linear", "alpha", 0.1)
    prior = question.prior(space)
    truths = Truths(np.array([[2.9]]), np.array([8.0]), np.array([0.03]), np.array([0.10]), np.zeros(1))
    runs = [(j, seed) for j in range(len(space.cells)) if space.cells[j].load > 6 for seed in range(8)]
    table = pd.DataFrame(question.simulate(space, runs, truths, np.random.default_rng(4)))
    now, known = question.learned(prior, space, table, "a test")
    assert now.theta[0] == pytest.approx(2.9, rel=0.08) and now.error[0] < 0.3 * prior.error[0]
    assert now.noise.sd == pytest.approx(0.03, rel=0.15) and 0.05 < now.scatter.sd < 0.15
    assert set(known) == set(space.labels) and "a test" in now.sources["truth"]
    # what is known of a model's own capacity is what its runs show beyond the law
    own = np.log(table.strict_bits / (now.theta[0] * table.parameters_total)).groupby(table.label).mean()
    assert np.corrcoef([known[label][0] for label in own.index], own)[0, 1] > 0.99


def test_exposures_learn_pace_and_curve():
    one = spaces.space_of("physics33/04_peak_100@pocket", [], Path("nowhere"), "cpu", "2x16")
    question = ask("exposure_exponential", "r_inf", 0.1)
    prior = question.prior(one)
    truths = Truths(np.array([[0.53, 360.0, 1.36]]), np.ones(1), np.array([0.01]), np.array([0.05]), np.zeros(1))
    table = pd.DataFrame(question.simulate(one, [(j, seed) for j in range(6) for seed in range(6)], truths, np.random.default_rng(1)))
    now, _ = question.learned(prior, one, table, "a test")
    assert now.theta == pytest.approx(truths.theta[0], rel=0.05) and now.scatter.sd < 0.08


def test_assumptions_can_be_stated(space):
    question = ask("capacity_power", "gamma", 0.1)
    prior = question.assume(question.prior(space), space, {"gamma": 1.1, "capacity": 3.0, "noise": 0.04, "k": 7})
    middle = math.exp(np.log(question.sizes(space)).mean())
    assert question.form.predict({"parameters": middle}, prior.theta)[0] / middle == pytest.approx(3.0)
    assert prior.noise.sd == 0.04 and prior.log_k[0] == pytest.approx(math.log(7)) and "given" in prior.sources["noise"]


# --- the plan and its verdict ---


def planned(monkeypatch, space, form, parameter, width, budget, runs, truths, count=40):
    question = ask(form, parameter, width)
    table = pd.DataFrame(question.simulate(space, runs, truths, np.random.default_rng(0))) if runs else pd.DataFrame()
    seeds = {j: [s for c, s in runs if c == j] for j, _ in runs}
    monkeypatch.setattr(planner, "finished", lambda *_: planner.Finished(table, seeds, 0.01 if runs else 0.0, 0))
    return planner.plan(question, space, Path("nowhere"), budget, count=count)


TRUTH = Truths(np.array([[3.4]]), np.array([6.0]), np.array([0.01]), np.array([0.02]), np.zeros(1))


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


def test_it_says_what_scatter_over_models_forbids(monkeypatch, space):
    found = planned(monkeypatch, space, "capacity_linear", "alpha", 0.02, 1.0, [], TRUTH)
    assert found.verdict == "not within the budget" and found.floor > 0.05 and found.more_models > 3 * len(space.labels)
    text = report(found)
    assert "Scatter over models alone" in text and f"about {found.more_models} models" in text


# --- the command ---


@pytest.mark.parametrize(
    "change, word",
    [
        ({"--form": "capacity_linaer"}, "did you mean capacity_linear"),
        ({"--form": "chinchilla"}, "no plan knows how to simulate it"),
        ({"--parameter": "beta"}, "alpha"),
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
        ({"study": "optimizers", "--form": "exposure_power", "--parameter": "r_inf"}, "several recipes"),
        ({"study": "nowhere"}, "no such study"),
        ({"--form": "exposure_power", "--parameter": "r_inf"}, "--only"),
    ],
)
def test_bad_input_is_one_line(here, capsys, change, word):
    given = {"--form": "capacity_linear", "--parameter": "alpha", "--width": "0.1", "--budget-hours": "1"} | change
    study = given.pop("study", "pocket")
    assert main(["plan", study, *itertools.chain.from_iterable(given.items())]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and word in error
    assert not list(here.iterdir())


def test_a_fit_of_another_study_is_a_prior(here, capsys):
    fit = Path(__file__).resolve().parents[1] / "results" / "studies" / "pocket" / "fit.json"
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
    assert code == 0 and f"8 values of {fit}"[:20] in out.replace("\n            ", " ") and "degrees of freedom" in out


@pytest.mark.slow
def test_plan_sweep_plan_on_a_real_study(here, capsys):
    """A plan, its batch trained by `sweep` as written, and a second plan that has learned from it."""
    widths = ", ".join(f"{{model.d_model: {d}, model.n_heads: {d // 2}}}" for d in (4, 6, 8, 10, 12))
    Path("tiny.yaml").write_text(
        "pins: [data.vocab_size=16, data.seq_len=8, model.n_layers=1, train.batch_size=16, train.lr=0.03, train.exposures=60, cluster.device=cpu]\n"
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
