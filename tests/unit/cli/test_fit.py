"""`capacity fit`: forms to tables from outside, with what a person can get wrong told in one
line."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.cli.fit import Options, fit_forms, pair
from capacity.cli.fit_report import report
from capacity.fitting import forms
from capacity.fitting.points import Columns

EPOCH = {"e": 1.8172, "a": 482.01, "b": 2085.43, "alpha": 0.3478, "beta": 0.3658}


@pytest.fixture(scope="module")
def losses():
    """A noise-free surface with the constants of Besiroglu et al. (arXiv 2404.10102), columns as a
    stranger would name them."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(5e7, 1e10, 9), np.geomspace(1e9, 3e11, 8)))
    return pd.DataFrame(
        {
            "N": n,
            "train tokens": d,
            "loss": forms.FORMS["chinchilla"].predict({"parameters": n, "tokens": d}, EPOCH),
        }
    )


def test_a_surface_from_elsewhere_gives_its_constants_and_predicts_larger_models(losses):
    found = fit_forms(
        ["chinchilla"],
        losses,
        Columns(y="loss", x={"parameters": "N", "tokens": "train tokens"}),
        Options(delta=1e-3, at=[{"parameters": 7e10, "tokens": 1.4e12}]),
    )
    record = found["fits"][0]["record"]
    assert {k: v["value"] for k, v in record["parameters"].items()} == pytest.approx(
        EPOCH, rel=1e-3
    )
    assert record["intervals"]["at 0"]["value"] == pytest.approx(
        forms.FORMS["chinchilla"].predict({"parameters": 7e10, "tokens": 1.4e12}, EPOCH)[0],
        rel=1e-4,
    )
    assert record["loss"]["delta"] == 1e-3 and record["convention"]["x tokens"] == "train tokens"
    text = " ".join(report(found).split())
    assert (
        "parameters 7 times the largest, tokens 4.67 times the largest" in text
        and "no residual is left" in text
    )


def test_forms_are_ranked_and_rows_can_be_bounds_or_left_out(tmp_path):
    dice = np.random.default_rng(3)
    p = np.repeat(np.geomspace(4e3, 1e6, 8), 3)
    table = pd.DataFrame(
        {
            "p": p,
            "model": np.repeat(list("abcdefgh"), 3),
            "bits": 2.5 * p**1.05 * np.exp(0.01 * dice.standard_normal(24)),
            "bound": "False",
            "bad": "",
        }
    )
    table.loc[0, ["bits", "bound"]] = [0.7 * table.bits[0], "True"]
    table.loc[5, ["bits", "bad"]] = [0.1 * table.bits[5], "true"]
    found = fit_forms(
        ["capacity_linear", "capacity_power"],
        table,
        Columns(
            y="bits",
            x={"parameters": "p"},
            cluster=["model"],
            lower_bound="bound",
            left_out={"bad": "bad"},
        ),
        Options(resamples=200),
    )
    assert [row["form"] for row in found["fits"]] == ["capacity_power", "capacity_linear"]
    record = found["fits"][0]["record"]
    gamma = record["intervals"]["gamma"]
    width = gamma["high"] - gamma["low"]
    assert abs(gamma["value"] - 1.05) < width < 0.02 and record["points"]["clusters"] == 8
    assert (
        record["points"]["lower_bounds"] == 1
        and record["points"]["left_out"] == {"bad": 1}
        and record["bootstrap"]["resamples"] == 200
    )
    assert max(map(len, report(found).splitlines())) <= 80
    ratio, whole = (
        fit_forms(
            ["capacity_linear"],
            table.assign(twice=2.0),
            Columns(y=y, x={"parameters": "p"}, left_out={"bad": "bad"}),
        )
        for y in ("bits/twice", "bits")
    )
    assert ratio["fits"][0]["values"]["alpha"] == pytest.approx(
        whole["fits"][0]["values"]["alpha"] / 2
    )


def test_the_command_writes_everything_at_full_precision(cli, losses, tmp_path):
    losses.to_csv(tmp_path / "t.csv", index=False)
    args = [
        "fit",
        "chinchilla",
        "t.csv",
        "--y",
        "loss",
        "--x",
        "parameters=N",
        "--x",
        "tokens=train tokens",
        "--fix",
        "e=1.8172",
    ]
    done = cli(*args, "--output", "o.json", cwd=tmp_path)
    assert (
        done.returncode == 0
        and "e 1.817 fixed nats per token" in " ".join(done.stdout.split())
        and max(map(len, done.stdout.splitlines())) <= 80
    ), done.stderr
    tree = json.loads((tmp_path / "o.json").read_text())
    assert (
        tree["fits"][0]["record"]["parameters"]["beta"]["value"]
        == pytest.approx(EPOCH["beta"], rel=1e-4)
        and not tree["fits"][0]["record"]["parameters"]["e"]["fitted"]
    )
    listed = cli("fit", "--list", cwd=tmp_path).stdout
    assert (
        all(f"\n{name}\n" in "\n" + listed for name in forms.FORMS)
        and max(map(len, listed.splitlines())) <= 80
    )


@pytest.mark.parametrize(
    "change,said",
    [
        (["fit"], "fit needs a FORM, a TABLE and --y COLUMN"),
        (
            ["fit", "chinchila", "t.csv", "--y", "loss"],
            "unknown form 'chinchila' (did you mean chinchilla?)",
        ),
        (["fit", "capacity_linear", "no.csv", "--y", "loss"], "no.csv: No such file"),
        (
            ["fit", "capacity_linear", "t.csv", "--y", "los", "--x", "parameters=N"],
            "no column 'los' (did you mean loss?)",
        ),
        (["fit", "capacity_linear", "t.csv", "--y", "loss"], "no column 'parameters'"),
        (["fit", "capacity_linear", "t.csv", "--y", "loss", "--x", "p=N"], "has no such variable"),
        (
            ["fit", "capacity_linear", "t.csv", "--y", "word", "--x", "parameters=N"],
            "column 'word', line 2: 'a' is no number: expected numbers such as",
        ),
        (
            [
                "fit",
                "capacity_linear",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--where",
                "word=c",
            ],
            "no row with word = c; it holds a, b",
        ),
        (
            [
                "fit",
                "capacity_linear",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--same",
                "word",
            ],
            "points mix word a, b",
        ),
        (
            [
                "fit",
                "capacity_linear",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--lower-bound",
                "word",
            ],
            "allowed are true and false",
        ),
        (
            ["fit", "capacity_linear", "t.csv", "--y", "minus", "--x", "parameters=N"],
            "a target of -1 has no log",
        ),
        (
            [
                "fit",
                "capacity_linear",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--scale",
                "tokens",
            ],
            "no variable 'tokens'",
        ),
        (
            [
                "fit",
                "capacity_linear",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--fix",
                "alpha=x",
            ],
            "--fix x: expected a number",
        ),
        (
            [
                "fit",
                "capacity_linear,chinchilla",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--x",
                "tokens=N",
            ],
            "forms compare where their target is one",
        ),
        (
            [
                "fit",
                "capacity_linear",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--delta",
                "0",
            ],
            "--delta 0: expected a number above 0",
        ),
        (
            [
                "fit",
                "capacity_linear",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--bootstraps",
                "-3",
            ],
            "--bootstraps -3: expected a whole number",
        ),
        (
            [
                "fit",
                "capacity_linear",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--at",
                "tokens=3",
            ],
            "a prediction of capacity_linear needs parameters",
        ),
        (
            [
                "fit",
                "chinchilla",
                "t.csv",
                "--y",
                "loss",
                "--x",
                "parameters=N",
                "--x",
                "tokens=N",
                "--where",
                "word=a",
            ],
            "has 5 free parameters and only 3 measured points",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, change, said):
    from capacity.cli.main import main

    pd.DataFrame(
        {
            "N": [1e3, 2e3, 4e3, 8e3, 1e4, 2e4],
            "loss": [4.0, 3.5, 3.2, 3.0, 2.9, 2.8],
            "word": list("aaabbb"),
            "minus": -1.0,
        }
    ).to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert main(change) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and error.startswith("capacity: error: ")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_of_an_option_is_a_pair_or_one_line(text):
    try:
        key, value = pair("--x", text, "A=B")
        assert key and value and "=" not in key
    except ConfigError as error:
        assert "expected A=B" in str(error)
