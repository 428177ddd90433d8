"""What a study could tell from a published range, against simulated studies whose truth is just
that."""

import numpy as np
import pytest

from capacity.fitting import power
from capacity.fitting.statistics import fieller, student

RANGE = (0.9, 1.1)
STUDIES = 4000
SHARE = 3 * (0.8 * 0.2 / STUDIES) ** 0.5  # three standard errors of a simulated 80%


def means(truth, sd, n, rng):
    """Values [STUDIES, n], their means and intervals."""
    x = truth + sd * rng.standard_normal((STUDIES, n))
    half = student(n - 1) * x.std(1, ddof=1) / n**0.5
    return x.mean(1) - half, x.mean(1) + half


@pytest.mark.parametrize("n", [3, 5, 12])
@pytest.mark.parametrize("spread", [power.ABSOLUTE, power.PROPORTIONAL])
def test_a_mean_tells_its_printed_values_in_four_of_five_studies(n, spread):
    sd, rng = 0.05, np.random.default_rng(n)
    t = float(student(n - 1)) * sd / n**0.5  # an interval with exactly the noise that there is
    told = power.tellable(1.0, [1.0 - t, 1.0 + t], RANGE, dof=n - 1, spread=spread)
    for side in ("below", "above"):
        y = told[side]
        low, high = means(y, sd * (y if spread == power.PROPORTIONAL else 1.0), n, rng)
        share = (high < RANGE[0]).mean() if side == "below" else (low > RANGE[1]).mean()
        assert share == pytest.approx(0.8, abs=SHARE), (side, y)


def test_a_ratio_tells_its_printed_values_in_about_four_of_five_studies():
    """Fieller's ends are no shift of logarithms; at 5% of noise they differ by little."""
    sd, n, rng = 0.05, 4, np.random.default_rng(0)
    dof = 2 * (n - 1)

    def interval(a, b, noise):
        cov = [[(noise * a) ** 2 / n, 0.0], [0.0, (noise * b) ** 2 / n]]
        return fieller(a, b, cov, float(student(dof)))

    told = power.tellable(1.0, interval(1.0, 1.0, sd)[1], RANGE, dof=dof, spread=power.LOGARITHMIC)
    for side in ("below", "above"):
        hits, studies = 0, 600
        for _ in range(studies):
            a = told[side] * (1 + sd * rng.standard_normal(n))
            b = 1 + sd * rng.standard_normal(n)
            noise = np.sqrt(((a / a.mean() - 1) ** 2 + (b / b.mean() - 1) ** 2).sum() / dof)
            _, (low, high) = interval(a.mean(), b.mean(), noise)
            hits += high < RANGE[0] if side == "below" else low > RANGE[1]
        assert hits / studies == pytest.approx(0.8, abs=0.06), (side, told)


def test_the_known_normal_noise_is_2_8_standard_errors():
    told = power.tellable(1.0, [1 - 1.959964, 1 + 1.959964], (0.0, 2.0))
    assert told["above"] - 2.0 == pytest.approx(2.8016, abs=0.02) == -told["below"]


def test_impossible_and_open_sides_are_none():
    told = power.tellable(0.97, [0.94, 1.0], (0.95, 1.0), dof=4, sides=power.Sides((0.0, 1.0)))
    assert told["above"] is None and 0.85 < told["below"] < 0.95
    open_ = power.tellable(0.97, [0.94, 0.99], (None, 1.5), dof=4)
    assert open_["below"] is None and open_["above"] > 1.5
    lost = power.tellable(
        2.0, [0.0, 4.0], (0.0, 3.0), dof=4, spread=power.PROPORTIONAL, sides=power.Sides((0.0, 1e9))
    )
    assert lost["below"] is None and lost["above"] is None
    assert power.told(lost) == "could tell no possible value from the range (80%)"
    assert power.told({"below": 0.48, "above": 0.71, "probability": 0.8}) == (
        "could tell a value below 0.48 or above 0.71 (80%)"
    )


def test_more_replicates_tell_more():
    told = []
    for n in (4, 10, 40):
        half = float(student(n - 1)) * 0.05 / n**0.5
        told.append(power.tellable(1.0, [1 - half, 1 + half], RANGE, dof=n - 1)["above"])
    assert told[0] > told[1] > told[2] > RANGE[1]
