"""`import capacity`: lazy names, and tables, fits and figures that answer as the commands."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import capacity
from capacity.cli.main import main

RESULTS = Path(__file__).resolve().parents[3] / "results"
CORNER = {"parameters": "parameters_total", "ceiling_bits": "strict_ceiling_bits"}


@pytest.fixture(scope="module")
def pocket():
    """The runs of the pocket study, from its kept records."""
    return capacity.table("pocket", results=RESULTS)


def test_the_import_is_light_and_names_come_when_they_are_asked_for():
    code = """
import sys, capacity
heavy = {"torch", "pandas", "numpy", "scipy", "matplotlib", "hydra"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert {"table", "load", "bits", "fit", "figure"} <= set(capacity.__all__) <= set(dir(capacity))
assert not heavy & set(sys.modules)
capacity.ConfigError
assert not heavy & set(sys.modules)
capacity.table, capacity.fit, capacity.figure
assert not {"torch", "matplotlib"} & set(sys.modules)
try:
    capacity.tabel
except AttributeError as error:
    assert str(error) == "module 'capacity' has no attribute 'tabel'"
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_once():
    assert sorted(capacity.__all__) == sorted(set(capacity.__all__))
    assert set(capacity._MODULES) == set(capacity.__all__)
    for name in capacity.__all__:
        assert getattr(capacity, name).__module__ == capacity._MODULES[name]


def test_a_table_is_that_of_the_command_with_units_and_plain_types(pocket, tmp_path):
    file = tmp_path / "t.csv"
    assert main(["table", "pocket", "--output", str(file), "--results", str(RESULTS)]) == 0
    theirs = pd.read_csv(file)
    assert list(pocket) == list(theirs) and len(pocket) == len(theirs) == 20
    for name in ("strict_bits", "parameters_total", "data.load", "seed", "model", "run_id"):
        assert pocket[name].tolist() == theirs[name].tolist()
    assert {str(kind) for kind in pocket.dtypes} <= {"float64", "int64", "bool", "object"}
    assert pocket.attrs["units"]["strict_bits"] == "bits"
    assert set(pocket.attrs["meanings"]) == set(pocket)
    assert "layers x width" in pocket.attrs["meanings"]["model"]
    with pytest.raises(capacity.ConfigError, match="pockett"):
        capacity.table("pockett", results=RESULTS)


def test_a_fit_is_that_of_the_command(pocket, tmp_path, capsys):
    found = capacity.fit(pocket, "smooth_corner", y="strict_bits", x=CORNER, cluster="model")
    pocket.to_csv(tmp_path / "t.csv", index=False)
    command = ["fit", "smooth_corner", str(tmp_path / "t.csv"), "--y", "strict_bits"]
    command += [f"--x={variable}={column}" for variable, column in CORNER.items()]
    command += ["--cluster", "model", "--output", str(tmp_path / "f.json")]
    assert main(command) == 0
    (row,) = json.loads((tmp_path / "f.json").read_text())["fits"]
    for name, entry in row["record"]["parameters"].items():
        interval = row["record"]["intervals"][name]
        assert found.values[name] == pytest.approx(entry["value"], rel=1e-9)
        assert found.intervals[name].low == pytest.approx(interval["low"], rel=1e-6)
        assert found.intervals[name].high == pytest.approx(interval["high"], rel=1e-6)
    assert found.converged and (found.points, found.clusters) == (20, 4)
    assert str(found).splitlines()[2:] == capsys.readouterr().out.splitlines()[2:-1]
    point = {"parameters": 1e4, "ceiling_bits": 1e5}
    value = found.predict(**point)
    assert value.shape == (1,) and value[0] < found.values["alpha"] * 1e4
    assert found.predict(pd.DataFrame([point, point])).tolist() == [value[0]] * 2
    shown = found._repr_html_()
    assert "smooth_corner" in shown and "bits per parameter" in shown and "converged" in shown
    with pytest.raises(capacity.ConfigError, match="ceiling_bits is missing"):
        found.predict(parameters=1.0)


def test_several_forms_are_ranked_and_what_is_named_is_escaped():
    p = np.repeat([1e3, 2e3, 4e3, 8e3, 16e3], 2)
    frame = pd.DataFrame({"parameters": p, "<b>": 3 * p * (1 + 0.01 * np.tile([-1, 1], 5))})
    found = capacity.fit(frame, ["capacity_power", "capacity_linear"], y="<b>")
    assert isinstance(found, capacity.Fits) and found[0].form == "capacity_linear"
    assert found[0].values["alpha"] == pytest.approx(3, rel=0.01)
    shown = found._repr_html_()
    assert "&lt;b&gt;" in shown and "<b>" not in shown and "capacity_power" in shown
    assert str(found).count("held out by parameters") == 2
    fixed = capacity.fit(frame, "capacity_power", y="<b>", fixed={"gamma": 1.0})
    assert fixed.intervals["gamma"] is None and "fixed" in fixed._repr_html_()


@pytest.mark.parametrize(
    "form, options, message",
    [
        ("capacity_liner", {"y": "bits"}, "capacity_linear"),
        ("capacity_linear", {"y": "bit"}, "no column 'bit'"),
        ("capacity_linear", {"y": "bits", "cluster": "label"}, "this table calls it model"),
        ("capacity_linear", {"y": "bits", "x": {"size": "N"}}, "has no variable 'size'"),
        ("capacity_linear", {"y": "bits", "weights": "sd"}, "weights: no such option"),
    ],
)
def test_a_fit_that_cannot_be_is_one_clear_line(form, options, message):
    frame = pd.DataFrame({"parameters": [1e3, 2e3, 4e3], "bits": [3e3, 6e3, 12e3], "model": "abc"})
    with pytest.raises(capacity.ConfigError, match=message) as raised:
        capacity.fit(frame, form, **options)
    assert "\n" not in str(raised.value)


def test_a_figure_is_drawn_by_its_name_and_others_are_listed():
    figure = capacity.figure("pocket", "capacity", results=RESULTS, bootstraps=100)
    assert "parameters" in figure.axes[0].get_xlabel()
    with pytest.raises(capacity.ConfigError, match="no figure 'plateau'; allowed: .*memorized"):
        capacity.figure("pocket", "plateau", results=RESULTS, bootstraps=100)


def test_a_figure_of_a_study_without_runs_is_refused_in_one_line(tmp_path):
    with pytest.raises(capacity.ConfigError, match="no finished run in .*; run: capacity sweep"):
        capacity.figure("pocket", results=tmp_path)
    with pytest.raises(capacity.ConfigError, match="bootstraps=5"):
        capacity.figure("pocket", results=tmp_path, bootstraps=5)
