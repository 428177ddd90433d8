"""The search: minima, starts, robustness, bounds, order of the points."""

from dataclasses import replace

import numpy as np
import pytest

from capacity.fitting import bootstrap, intervals
from capacity.fitting.convergence import check_convergence
from capacity.fitting.fit import fit
from capacity.fitting.forms import FORMS, form
from capacity.fitting.points import Points, inputs_hash
from capacity.fitting.solve import back, forward, polish
from fit_points import EPOCH, drawn, surface


def test_a_noise_free_surface_is_recovered_from_every_one_of_a_few_random_starts():
    x, y = surface()
    dice = np.random.default_rng(5)
    for _ in range(6):
        start = np.array(
            [
                [
                    np.exp(dice.uniform(-1, 1)),
                    np.exp(dice.uniform(0, 20)),
                    np.exp(dice.uniform(0, 20)),
                    dice.uniform(0.1, 1.2),
                    dice.uniform(0.1, 1.2),
                ]
            ]
        )
        found = fit("chinchilla", Points(x, y), delta=1e-3, starts=start)
        assert found.values == pytest.approx(EPOCH, rel=1e-6)
    own = fit("chinchilla", Points(x, y), delta=1e-3)
    assert (
        own.values == pytest.approx(EPOCH, rel=1e-6)
        and own.search["agreeing"] == own.search["kept"]
        and not own.warnings
    )


def test_a_search_that_stopped_early_is_caught_and_a_finished_one_is_not():
    """The published mistake (Besiroglu et al., v2): a mean of very small Huber values under default
    tolerances."""
    from scipy.optimize import minimize

    x, y = surface(noise=0.01)
    found = fit("chinchilla", Points(x, y), delta=1e-3)
    problem = found.problem

    def objective(u, scale):
        e, jacobian = problem.residuals(u[None])
        rho, psi, _, _ = problem.loss(e)
        return scale * rho.sum(), -scale * (psi[0] @ jacobian[0])

    starts = problem.to_search(
        np.array(
            [
                [2, 300, 1000, 0.3, 0.3],
                [1.5, 1e3, 3e3, 0.4, 0.4],
                [1.8, 1e4, 1e4, 0.5, 0.5],
                [1.2, 100, 500, 0.25, 0.3],
            ]
        )
    )
    early = np.array(
        [minimize(objective, u, args=(1 / len(y),), jac=True, method="L-BFGS-B").x for u in starts]
    )
    told = check_convergence(problem, early, sigma=found.sigma)
    assert (
        told["distance"] > 0.1
        and told["agreeing"] == 1
        and any("stopped early" in w for w in told["warnings"])
        and any("no other start" in w for w in told["warnings"])
    )
    assert (
        found.search["distance"] < 1e-3
        and found.search["gradient"] < 1e-6
        and found.search["agreeing"] >= 2
        and not found.warnings
    )
    assert found.objective <= told["objective"]


@pytest.mark.parametrize(
    "name", [n for n in FORMS if n not in ("hard_corner", "precision_storage")]
)
@pytest.mark.parametrize("delta", [np.inf, None])
def test_the_minimum_is_scipys(name, delta):
    """From the found minimum and from the truth scipy goes nowhere better; corners have no
    derivative for it to follow."""
    from scipy.optimize import least_squares

    study, points = drawn(name)
    found = fit(name, points, delta=delta)
    p = found.problem

    def residual(u):
        return p.root * (p.t - p.model(u[None])[0])

    how = {} if np.isinf(p.delta) else {"loss": "huber", "f_scale": p.delta}
    for start in (found.u, p.to_search(form(name).vector(study.truth))):
        other = least_squares(
            residual,
            np.clip(start, p.low + 1e-9, p.high - 1e-9),
            bounds=(p.low, p.high),
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
            x_scale="jac",
            **how,
        )
        assert found.objective <= other.cost * (1 + 1e-9)
    assert found.search["distance"] < 1e-3


def same_minimum(one, other):
    """Two fits of the same points agree to what their arithmetic can tell (`Fit.rounding`)."""
    for name, value in one.values.items():
        room = one.rounding()[name] + other.rounding()[name]
        assert 0 < room < 1e-6 * abs(value) or not one.free[one.form.index(name)], (name, room)
        assert abs(value - other.values[name]) <= room, (name, value, other.values[name])


def shuffled(points, order):
    """The same points in another order."""

    def moved(column):
        return None if column is None else np.asarray(column)[order]

    return Points(
        {name: np.asarray(a)[order] for name, a in points.x.items()},
        points.y[order],
        moved(points.cluster),
        moved(points.sd),
        moved(points.lower_bound),
        {why: moved(mask) for why, mask in points.left_out.items()},
        points.convention,
    )


def test_left_out_rows_units_and_transform():
    study, points = drawn("capacity_power", kind="rough")
    found = fit("capacity_power", points)
    told = found.to_dict()["points"]["left_out"]["unconverged"]
    assert told == points.left_out["unconverged"].sum() > 0
    keep = np.flatnonzero(~points.left_out["unconverged"])
    same_minimum(found, fit("capacity_power", replace(shuffled(points, keep), left_out={})))
    bits = fit("capacity_power", replace(points, y=points.y / 8))  # bytes
    room = found.rounding()["gamma"] + bits.rounding()["gamma"]
    assert abs(bits.values["gamma"] - found.values["gamma"]) <= room
    room = found.rounding()["a"] + 8 * bits.rounding()["a"]
    assert abs(8 * bits.values["a"] - found.values["a"]) <= room < 1e-6 * found.values["a"]
    for transform in ("log", "logit"):
        there = forward(transform, np.array([0.1, 0.5, 0.9]))
        np.testing.assert_allclose(back(transform, there), [0.1, 0.5, 0.9])


@pytest.mark.parametrize(
    "name, kind",
    [
        ("capacity_power", "rough"),
        ("smooth_corner", "rough"),
        ("exposure_exponential", "even"),
        ("membership", "even"),
        ("chinchilla", "even"),
    ],
)
def test_the_order_of_points_does_not_enter(name, kind):
    """Sorted first: the estimate, its intervals and a bootstrap; with labels of replicates and
    without."""
    _, points = drawn(name, kind=kind)
    found = fit(name, points)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(points.y))
        mixed = shuffled(points, order)
        assert inputs_hash(mixed) == inputs_hash(points)
        for a, b in (
            (points, mixed),
            (replace(points, cluster=None), replace(mixed, cluster=None)),
        ):
            one, other = (found if p is points else fit(name, p) for p in (a, b))
            same_minimum(one, other)
            assert (one.y == other.y).all()
    assert inputs_hash(replace(points, y=points.y * 1.0000001)) != inputs_hash(points)
    # unlabelled points are named by their places
    assert (
        [points.y[i] for i in one.clusters] == [mixed.y[i] for i in other.clusters] == list(one.y)
    )
    ends = [bootstrap.draw(f, 50, errors=False).theta for f in (one, other)]
    np.testing.assert_allclose(
        *ends, rtol=1e-4
    )  # resamples are searched to RESAMPLE_TOL, not polished


@pytest.mark.parametrize("name", ["capacity_power", "smooth_corner", "membership", "chinchilla"])
def test_a_minimum_is_polished_to_the_arithmetic(name):
    """Searches that began elsewhere, and stopped elsewhere, end at the same figures."""
    _, points = drawn(name, kind="even")
    found = fit(name, points, delta=np.inf)
    p, free = found.problem, found.free
    error = np.array([found.rounding()[n] for n in found.form.names])
    log = np.array([q.scale == "log" for q in found.form.parameters])
    room = error / np.where(log, np.abs(found.theta), 1.0)
    ends = []
    for seed in range(5):
        away = room * 1e5 * np.random.default_rng(seed).standard_normal(len(free))
        ends.append(polish(p, found.u + away, free))
    assert (np.abs(np.array(ends) - found.u) <= 2 * room).all()
    assert (np.abs(away) > 100 * room).any()  # it had something to do


def test_outliers_move_the_robust_fit_less():
    p = np.repeat(np.geomspace(4e3, 1e6, 10), 3)
    y = 3.6 * p * np.exp(0.02 * np.random.default_rng(0).standard_normal(30))
    y[[3, 17]] *= 0.5
    robust, squared = (
        fit("capacity_linear", Points({"parameters": p}, y), delta=delta).values["alpha"]
        for delta in (None, np.inf)
    )
    assert abs(robust - 3.6) < 0.03 < 0.1 < abs(squared - 3.6)


def test_fixed_parameters_stay_and_bounds_hold():
    study, points = drawn("extraction_logistic")
    found = fit("extraction_logistic", points, fixed={"c": 1.5})
    assert (
        found.values["c"] == 1.5
        and not found.to_dict()["parameters"]["c"]["fitted"]
        and "c" not in intervals.of(found)
    )
    study, points = drawn("exposure_exponential")
    tight = fit("exposure_exponential", points, bounds={"r_inf": (0.0, 1.8)})
    assert (
        tight.values["r_inf"] == 1.8
        and "r_inf" in tight.search["at_bound"]
        and any("r_inf lies on the upper bound of its search" in w for w in tight.warnings)
    )
    assert intervals.of(tight, method="wald")["r_inf"]["reason"].startswith("on a bound")
    told = intervals.of(tight, method="profile")["r_inf"]
    assert told["low"] < 1.8 == told["high"]


def test_three_points_of_the_published_membership_law_give_its_constants():
    found = fit(
        "membership",
        Points(
            {"tokens_per_parameter": np.array([0.109670, 0.049352, 0.012115])},
            np.array([0.55, 0.75, 0.95]),
        ),
        delta=np.inf,
    )
    assert [round(found.values[n], d) for n, d in (("c", 4), ("s", 2), ("t0", 4))] == [
        1.3405,
        33.14,
        0.0337,
    ]
    assert all("residual" in entry["reason"] for entry in intervals.of(found).values())


def test_under_filled_runs_are_bounds_and_not_data():
    """min(alpha P, H) with alpha = 3.6, half of the runs under-filled."""
    dice, p = np.random.default_rng(3), np.repeat(np.geomspace(4e3, 1e6, 8), 6)
    ceiling = 3.6 * p * np.tile([0.4, 0.6, 0.8, 1.5, 2.0, 2.5], 8)
    bits = np.minimum(3.6 * p, ceiling) * np.exp(0.01 * dice.standard_normal(len(p)))
    below = ceiling < 3.6 * p
    assert below.mean() == 0.5
    fits = {
        name: fit("capacity_linear", Points({"parameters": p}, bits, lower_bound=flag))
        for name, flag in (("censored", below), ("naive", None))
    }
    assert (
        fits["censored"].values["alpha"] == pytest.approx(3.6, rel=0.005)
        and fits["naive"].values["alpha"] < 0.9 * 3.6
    )
    joint = fit("hard_corner", Points({"parameters": p, "ceiling_bits": ceiling}, bits))
    assert joint.values["alpha"] == pytest.approx(3.6, rel=0.005)


def test_a_bound_counts_as_the_likelihood_says():
    from scipy.optimize import minimize_scalar
    from scipy.stats import norm

    p, y = np.full(6, 100.0), np.array([300.0, 310, 290, 305, 320, 315])
    bound = np.array([False] * 4 + [True] * 2)
    found = fit("capacity_linear", Points({"parameters": p}, y, lower_bound=bound), delta=np.inf)
    r = np.log(y / p)

    def loss(mean):
        return (
            -norm.logpdf(r[~bound], mean, found.sigma).sum()
            - norm.logsf(r[bound], mean, found.sigma).sum()
        )

    assert np.log(found.values["alpha"]) == pytest.approx(
        minimize_scalar(loss, bounds=(1.0, 1.3), method="bounded", options={"xatol": 1e-12}).x,
        abs=1e-7,
    )
    assert (
        found.values["alpha"]
        > fit("capacity_linear", Points({"parameters": p[:4]}, y[:4]), delta=np.inf).values["alpha"]
    )
    far = fit(
        "capacity_linear",
        Points({"parameters": p}, np.where(bound, 1.0, y), lower_bound=bound),
        delta=np.inf,
    )
    assert far.values["alpha"] == pytest.approx(np.exp(r[:4].mean()), rel=1e-7)
