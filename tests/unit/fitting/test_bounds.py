"""What lies on a bound of the search is told by every fit, alike for all forms."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from capacity.analysis.facts import exposures
from capacity.analysis.text import fits, membership_law
from capacity.cli.main import main
from capacity.fitting import bounds, intervals
from capacity.fitting.fit import fit
from capacity.fitting.forms import FORMS
from capacity.fitting.points import Points
from fit_points import drawn

T = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 16.0])


def high_f1():
    """F1 whose best c1 lies above 2, at which the form is cut off."""
    t = np.tile(T, 3)
    noise = np.random.default_rng(1).normal(0, 0.004, t.size)
    return t, np.minimum(1.0, 0.5 * (1 + 2.6 / (1 + np.exp(0.45 * (t - 0.5))))) + noise


def test_a_membership_law_says_that_c1_and_its_interval_sit_on_the_bound():
    law = membership_law.fit(*high_f1())
    assert law["c1"] == 2.0 and law["intervals"]["c1"][1] == 2.0
    assert law["bounds"][0] == (
        "c1 lies on the upper bound of its search, 2.00: read the curve, not the constant"
    )
    released = law["bounds"][-1]
    assert "t at 0.75" in released and "allow for c1 on both sides of the bound" in released
    shown = fits._membership(law, "F1")
    assert set(law["bounds"]) <= set(shown.remarks)


def test_a_law_inside_of_its_bounds_says_nothing():
    t = np.tile(T, 3)
    noise = np.random.default_rng(2).normal(0, 0.002, t.size)
    law = membership_law.fit(t, membership_law.repaired(t, 1.3, 0.5, 3.0) + noise)
    assert law["bounds"] == []


def test_an_end_of_an_interval_that_is_a_bound_is_told():
    study, points = drawn("exposure_exponential")
    free = fit("exposure_exponential", points)
    ends = intervals.of(free, method="profile")
    assert ends["r_inf"]["on_bound"] == [] and bounds.told(free, ends) == []
    most = (free.values["r_inf"] + ends["r_inf"]["high"]) / 2  # between estimate and end
    tight = fit("exposure_exponential", points, bounds={"r_inf": (0.0, most)})
    ends = intervals.of(tight, method="profile")
    assert ends["r_inf"]["on_bound"] == ["high"] and ends["r_inf"]["high"] == pytest.approx(most)
    (told,) = bounds.told(tight, ends)
    assert told.startswith("the upper end of the interval of r_inf is the bound of its search")


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_tells_each_parameter_that_is_pressed_onto_a_bound(form):
    """Each parameter in turn is bounded below its planted value."""
    _, points = drawn(form)
    free = fit(form, points)
    told = 0
    for p in free.form.parameters[:2]:
        value = free.values[p.name]
        if not (value > 0 and p.name not in free.search["at_bound"]):
            continue
        low = p.low if np.isfinite(p.low) and p.low < 0.7 * value else 0.1 * value
        pressed = fit(form, points, bounds={p.name: (low, 0.7 * value)})
        for name, (side, bound) in bounds.on(pressed).items():
            told += 1
            assert bounds.sitting(name, side, bound) in pressed.warnings
            assert pressed.values[name] == bound
    if free.form.parameters[0].name not in free.search["at_bound"]:
        assert told, form


def test_exposures_name_a_plateau_that_the_data_bound():
    e = np.array([100.0, 200, 400, 800, 1600, 3200] * 2)
    r = 0.7 * (1 - np.exp(-e / 2500)) * (1 + 0.01 * np.random.default_rng(0).normal(size=e.size))
    law = exposures.fit_exposures(e, r, r_max=0.56)
    assert any(
        told.startswith("R_inf lies on the upper bound of its search, 0.56")
        for told in law["bounds"]
    )


def test_capacity_fit_prints_and_writes_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # paths are printed as they are given
    t, f1 = high_f1()
    table = Path("f1.csv")
    rows = [f"{a},{b}" for a, b in zip(t, f1, strict=True)]
    table.write_text("\n".join(["tokens_per_parameter,f1", *rows]) + "\n")
    out = Path("fit.json")
    code = main(["fit", "membership", str(table), "--y", "f1", "--output", str(out)])
    shown = capsys.readouterr().out
    assert code == 0 and max(map(len, shown.splitlines())) <= 80
    flat = " ".join(shown.split())
    assert "c lies on the upper bound of its search, 2.00: read the curve" in flat
    (found,) = json.loads(out.read_text())["fits"]
    assert found["record"]["search"]["at_bound"] == ["c"]
    assert found["record"]["intervals"]["c"]["on_bound"] == ["high"]


def test_a_prediction_says_which_parameter_on_its_bound_it_allows_to_pass():
    t, f1 = high_f1()
    found = fit("membership", Points({"tokens_per_parameter": t}, f1), delta=np.inf)
    ends = intervals.of(found, at={"tokens_per_parameter": [3.0]})
    assert ends["at 0"]["released"] == ["c"] and ends["at 0"]["held"] == []
    assert ends["s"]["released"] == []  # a profile lets c move by itself
    free = dataclasses.replace(found, search=found.search | {"at_bound": []})
    assert intervals.of(free, at={"tokens_per_parameter": [3.0]})["at 0"]["released"] == []
