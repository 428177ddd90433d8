"""The loss of repeated data: its published numbers, limits, and what plain data cannot tell."""

import numpy as np
import pytest

from capacity.fitting import intervals
from capacity.fitting.fit import fit
from capacity.fitting.forms import form
from capacity.fitting.identify import NOT_IDENTIFIED
from capacity.fitting.points import Points
from capacity.fitting.simulated import STUDIES
from capacity.fitting.tied import tied

LAW = form("chinchilla_repeated")
C4 = {  # the README of github.com/huggingface/datablations, "Parametric Fit"
    "e": float(np.exp(0.6254804)),
    "a": float(np.exp(6.255414)),
    "b": float(np.exp(7.3049974)),
    "alpha": 0.3526596,
    "beta": 0.3526596,
    "r_d": 15.387756,
    "r_n": 5.309743,
}
TRUTH = STUDIES["chinchilla_repeated, even"].truth


def place(n, d, u):
    return {"parameters": n, "tokens": d, "unique_tokens": u}


def design():
    n, u, epochs = np.meshgrid([5e7, 3e8, 2e9, 1e10], [1e8, 1e9, 1e10], [1, 3, 10, 40])
    return place(n.ravel(), (u * epochs).ravel(), u.ravel())


def test_two_losses_are_those_that_the_authors_print():
    x = place([6.34e9, 8.67e9], [242e9, 178e9], [25e9, 25e9])
    np.testing.assert_allclose(
        LAW.predict(x, C4), [2.2256440889984477, 2.2269634075087867], rtol=1e-14
    )


def test_without_repeats_and_excess_it_is_chinchilla_and_more_text_than_is_read_is_not_read():
    plain = {k: TRUTH[k] for k in ("e", "a", "b", "alpha", "beta")}
    x = place(np.array([1e6, 3e7]), np.array([1e10, 1e11]), np.array([1e10, 1e11]))
    np.testing.assert_allclose(
        LAW.predict(x, TRUTH), form("chinchilla").predict(x, plain), rtol=1e-12
    )
    more = x | {"unique_tokens": np.array([3e10, 1e15])}
    np.testing.assert_array_equal(LAW.predict(x, TRUTH), LAW.predict(more, TRUTH))


def test_repeats_and_excess_are_worth_what_the_limits_say():
    u, small = 1e9, 1e5
    endless = LAW.predict(place(small, 1e300, u), TRUTH)
    fresh = LAW.predict(place(small, u * (1 + TRUTH["r_d"]), u * (1 + TRUTH["r_d"])), TRUTH)
    np.testing.assert_allclose(endless, fresh, rtol=1e-10)
    ratio = TRUTH["alpha"] * TRUTH["a"] / (TRUTH["beta"] * TRUTH["b"])
    best = (u ** TRUTH["beta"] * ratio) ** (1 / TRUTH["alpha"])
    huge, law = LAW.predict(place(1e300, u, u), TRUTH), form("chinchilla")
    plain = {k: TRUTH[k] for k in law.names}
    enough = law.predict({"parameters": best * (1 + TRUTH["r_n"]), "tokens": u}, plain)
    np.testing.assert_allclose(huge, enough, rtol=1e-10)
    # a first repeat is worth nearly as much as new text, the fortieth little
    epochs = np.array([1.0, 1.01, 40.0, 40.01])
    gain = -np.diff(LAW.predict(place(small, u * epochs, u), TRUTH))[[0, 2]]
    new = -np.diff(LAW.predict(place(small, u * epochs[:2], u * epochs[:2]), TRUTH))
    assert gain[0] == pytest.approx(new[0], rel=1e-3) and gain[1] < 0.1 * gain[0]


def test_derivatives_are_those_of_complex_steps_on_both_sides_of_every_kink():
    """Complex steps have no cancellation: any digit that differs is an error of a formula."""
    x, theta = LAW.inputs(design()), LAW.vector(TRUTH)
    above = x["parameters"] > (
        x["unique_tokens"] ** theta[4] * theta[3] * theta[1] / (theta[4] * theta[2])
    ) ** (1 / theta[3])
    assert 5 < above.sum() < len(above) - 5
    _, slopes = LAW.slopes(x, theta)

    def plain(e, a, b, alpha, beta, r_d, r_n):
        n, d, u = x["parameters"], x["tokens"], x["unique_tokens"]
        v = np.where(above, (u**beta * alpha * a / (beta * b)) ** (1 / alpha), n)
        n = v * (1 + r_n * (1 - np.exp(-(n / v - 1) / r_n)))
        d = u * (1 + r_d * (1 - np.exp(-(d / u - 1) / r_d)))
        return e + a / n**alpha + b / d**beta

    for j, name in enumerate(LAW.names):
        step = theta.astype(complex)
        step[j] += 1e-30j
        exact = plain(*step).imag / 1e-30
        found = np.broadcast_to(slopes[j], exact.shape)
        # terms of a slope cancel near the kink, to the rounding of its largest
        np.testing.assert_allclose(
            found, exact, rtol=1e-9, atol=1e-12 * np.abs(exact).max(), err_msg=name
        )


def test_a_planted_law_is_found_exactly_and_with_tied_exponents():
    x = design()
    found = fit(LAW, Points(x, LAW.predict(x, TRUTH)))
    assert found.values == pytest.approx(TRUTH, rel=1e-5)
    both = fit(tied(LAW, {"alpha": "beta"}), Points(x, LAW.predict(x, C4)))
    assert both.values == pytest.approx({k: C4[k] for k in C4 if k != "alpha"}, rel=1e-5)


def test_one_epoch_tells_nothing_of_repeats_nor_small_models_of_excess():
    dice = np.random.default_rng(3)
    n, u = (a.ravel() for a in np.meshgrid(np.geomspace(1e6, 1e8, 6), [3e10, 1e11, 3e11, 1e12]))
    x = place(n, u, u)
    y = LAW.predict(x, TRUTH) * np.exp(0.002 * dice.standard_normal(len(n)))
    told = intervals.of(fit(LAW, Points(x, y)), at=place([1e7], [1e12], [1e11]))
    for name in ("r_d", "r_n", "at 0"):
        assert told[name]["low"] is None and told[name]["reason"].startswith(NOT_IDENTIFIED)
    assert all(told[name]["low"] is not None for name in ("e", "a", "b", "alpha", "beta"))
