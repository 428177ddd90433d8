"""The forms: formulas, derivatives, limits, starts."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.base.files import plain
from capacity.fitting.forms import FORMS, form
from capacity.fitting.simulated import STUDIES
from capacity.fitting.solve import forward
from capacity.fitting.text_forms import chinchilla_starts
from fit_points import EPOCH, drawn, surface


@pytest.mark.parametrize("name", FORMS)
def test_derivatives_are_those_of_differences(name):
    study, points = drawn(name)
    x, theta = (
        form(name).inputs(points.x),
        form(name).vector(study.truth) * np.array([[1.0], [1.13], [0.9]]),
    )
    value, slopes = form(name).slopes(x, theta)
    assert value.shape == (3, len(points.y))
    for j in range(theta.shape[1]):
        step = 1e-6 * np.abs(theta[:, [j]])
        ends = [
            form(name).predict(x, theta + sign * step * np.eye(theta.shape[1])[j])
            for sign in (-1, 1)
        ]
        smooth = (
            np.abs(ends[1] - 2 * value + ends[0]) < 1e-6 * np.abs(value) + 1e-12
        )  # not across a cut-off
        np.testing.assert_allclose(
            np.broadcast_to(slopes[j], value.shape)[smooth],
            ((ends[1] - ends[0]) / (2 * step))[smooth],
            rtol=1e-4,
            atol=1e-8 * np.abs(value).max() / step.max(),
        )


def test_forms_tend_to_what_they_say():
    def at(name, x, **theta):
        return float(form(name).predict(x, theta or STUDIES[f"{name}, even"].truth)[0])

    assert (
        at("hard_corner", {"parameters": 10, "ceiling_bits": 1e9}) == 36
        and at("hard_corner", {"parameters": 1e9, "ceiling_bits": 10}) == 10
    )
    assert at("smooth_corner", {"parameters": 1e9, "ceiling_bits": 10}) == pytest.approx(10) and at(
        "smooth_corner", {"parameters": 10, "ceiling_bits": 1e9}
    ) == pytest.approx(36)
    for name, plateau in (("exposure_exponential", 2.0), ("exposure_power", 2.2)):
        assert at(name, {"exposures": 1e-9}) == pytest.approx(0, abs=1e-6) and at(
            name, {"exposures": 1e12}
        ) == pytest.approx(plateau, rel=1e-3)
    kumar = [at("precision_effective", {"bits_per_weight": b}, c=1.0, b0=2.67) for b in (4, 8, 16)]
    assert kumar == pytest.approx([0.776, 0.950, 0.9975], abs=6e-4)  # laws.md 3.3
    for name in (
        "precision_effective",
        "precision_shifted",
        "precision_noise",
        "precision_storage",
    ):
        assert at(name, {"bits_per_weight": 40}) == pytest.approx(3.2, rel=1e-3) and at(
            name, {"bits_per_weight": 1e-6}
        ) == pytest.approx(0, abs=1e-5)
    shifted = form("precision_shifted").predict(
        {"bits_per_weight": 1.5 * math.log(8) + np.array([-0.01, 0.01])},
        {"c": 3.2, "a": 8.0, "b0": 1.5},
    )
    assert shifted[0] == 0 < shifted[1]
    for name in ("membership", "membership_log"):
        assert (
            at(name, {"tokens_per_parameter": 1e4}) == pytest.approx(0.5, abs=1e-6)
            and at(name, {"tokens_per_parameter": 1e-6}) <= 1.0
        )
    assert (
        at("forgetting_exponential", {"lag": 1e9}) == pytest.approx(1.5)
        and at("forgetting_exponential", {"lag": 0}) == 9
    )
    assert at("forgetting_power", {"lag": 1e15}) == pytest.approx(0, abs=1e-6)
    assert at("chinchilla", {"parameters": 1e40, "tokens": 1e40}) == pytest.approx(1.82, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["membership", "membership_log", "extraction_linear", "extraction_logistic"]),
    st.floats(-300, 300),
    st.floats(0, 300),
    st.floats(0.01, 2),
    st.floats(1e-6, 1e9),
    st.floats(1e-6, 1e9),
)
def test_bounded_targets_never_leave_their_range(name, a, b, c, first, second):
    law = form(name)
    theta = (
        [min(c, 2.0), max(b, 1e-3), a if name == "membership" else abs(a) + 1e-3]
        if name.startswith("membership")
        else [a, b, c]
    )
    # a form of one variable takes the first number only
    value = law.predict(
        dict(zip([v.name for v in law.variables], (first, second), strict=False)), theta
    )
    assert law.target.low <= value[0] <= law.target.high


def test_the_sum_of_powers_is_that_of_the_plain_formula_and_does_not_overflow():
    x, _ = surface()
    theta = form("chinchilla").vector(EPOCH)
    plain = (
        EPOCH["e"]
        + EPOCH["a"] / x["parameters"] ** EPOCH["alpha"]
        + EPOCH["b"] / x["tokens"] ** EPOCH["beta"]
    )
    np.testing.assert_allclose(form("chinchilla").predict(x, theta), plain, rtol=1e-12)
    for starts in (
        chinchilla_starts(None, None),
        np.array([[1.0, math.exp(25), math.exp(25), 0.0, 0.0]]),
    ):
        assert np.isfinite(
            form("chinchilla").predict({"parameters": 1.0, "tokens": 1e300}, starts)
        ).all()
    assert len(chinchilla_starts(None, None)) == 4500


def test_a_form_refuses_what_it_cannot_read_in_one_line():
    law = form("smooth_corner")
    for call, says in (
        (lambda: form("smoth_corner"), "did you mean smooth_corner?"),
        (lambda: law.predict({"parameters": 1.0}, [3, 4]), "smooth_corner needs ceiling_bits"),
        (
            lambda: law.predict({"parameters": 0.0, "ceiling_bits": 1.0}, [3, 4]),
            "parameters = 0, allowed are finite values above 0",
        ),
        (
            lambda: law.predict({"parameters": 1.0, "ceiling_bits": 1.0}, {"alpha": 3}),
            "has the parameters alpha, k, not alpha",
        ),
        (lambda: law.index("kappa"), "has no parameter 'kappa'"),
        (lambda: forward("cube", 1.0), "use one of log, logit, identity"),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert says in str(refused.value) and "\n" not in str(refused.value)
    told = json.loads(json.dumps(plain(law.describe()), allow_nan=False))
    assert (
        told["parameters"]["alpha"]["unit"] == "bits per parameter"
        and told["variables"]["ceiling_bits"]["unit"] == "bits"
        and told["source"]
    )
