"""The name of a model is the column `model`; what was kept under its older name, `label`, and over
"shapes", is still read, with the same numbers."""

import json

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import convert, expectations
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.published import expects

NUMBER = {
    "value": 3.1,
    "interval_seeds": {"ends": [3.0, 3.2], "dof": 4, "reason": None},
    "interval_shapes": {"ends": None, "dof": 0, "reason": "2 shape(s) with data, needs 3"},
    "quote": "interval_shapes",
}
PART = {
    "alpha": NUMBER | {"estimator": "geometric mean over shapes"},
    "units": [{"label": "2x8", "seed": 0, "bits": 5.0}],
    "n": {"shapes": 4, "shapes_measured": 3},
    "bootstrap": {"replicate": {"interval_seeds": "(label, seed)", "interval_shapes": "label"}},
}
VERDICT = {
    "name": "my shapes",
    "note": "of my shapes",
    "source": "label 3 of the shape",
    "method": "Student's t over shapes",
    "knows": ["shapes", "training (seeds)"],
    "at": "trained bf16, 3 shapes",
}


def test_a_kept_fit_names_models_as_the_present_one_and_leaves_a_users_words_alone():
    old = {"kind": "random", "schema": 2, "strict": PART, "verdicts": [VERDICT]}
    before = json.dumps(old)
    new = convert.current(old)
    assert json.dumps(old) == before and new["schema"] == 3 and convert.current(new) == new
    part = new["strict"]
    assert part["units"] == [{"model": "2x8", "seed": 0, "bits": 5.0}]
    assert part["n"] == {"models": 4, "models_measured": 3}
    assert part["alpha"]["quote"] == "interval_models" and part["alpha"]["interval_models"] == {
        "ends": None,
        "dof": 0,
        "reason": "2 model(s) with data, needs 3",
    }
    assert part["alpha"]["estimator"] == "geometric mean over models"
    assert part["bootstrap"]["replicate"] == {
        "interval_seeds": "(model, seed)",
        "interval_models": "model",
    }
    (row,) = new["verdicts"]
    assert (row["method"], row["at"]) == ("Student's t over models", "trained bf16, 3 models")
    assert row["knows"] == ["models", "training (seeds)"]
    assert {key: row[key] for key in ("name", "note", "source")} == {
        key: VERDICT[key] for key in ("name", "note", "source")
    }


@pytest.mark.parametrize("kind, schema", [("ablation", 2), ("facts", 3), ("precision", 3)])
def test_every_kind_has_the_name(kind, schema):
    old = {"kind": kind, "schema": schema, "arms": [{"label": "2x16", "r": 0.5}]}
    assert convert.current(old) == old | {
        "schema": schema + 1,
        "arms": [{"model": "2x16", "r": 0.5}],
    }


def _expected(form, column):
    value = {
        "name": "v",
        "published": None,
        "form": form,
        "where": {column: "2x8"},
        "range": [1, 2],
    }
    return expectations.of("facts", [value], {"best_over": []})


def test_expectations_that_were_recorded_by_the_older_names_have_not_changed(tmp_path):
    old = _expected("mean over shapes of bits / parameter", "label")
    new = _expected("mean over models of bits / parameter", "model")
    assert expectations.record(tmp_path, "s", old, 0)
    assert not expectations.record(tmp_path, "s", new, 3)
    (line,) = expectations.read(tmp_path, "s")
    told = expectations.added({"verdicts": [{"name": "v"}]}, new, [line], 3)
    assert told["expectations"]["told"] == f"expectations fixed on {line.date} before any run"
    assert "CHANGED" not in told["verdicts"][0]["expected"]["told"]
    other = _expected("slope over models", "model")
    assert expectations.record(tmp_path, "s", other, 3)
    assert (
        "CHANGED"
        in expectations.added(
            {"verdicts": [{"name": "v"}]}, other, expectations.read(tmp_path, "s"), 3
        )["verdicts"][0]["expected"]["told"]
    )


def _table(path, column):
    p = np.repeat([1e3, 2e3, 4e3, 8e3], 3)
    table = pd.DataFrame({"parameters": p, column: np.repeat(list("abcd"), 3), "bits": 3 * p})
    table["bits"] *= 1 + 0.01 * np.tile([-1, 0, 1], 4)
    table.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("column", ["label", "model"])
def test_fit_takes_replicates_by_the_column_that_the_table_has(tmp_path, capsys, column):
    table = _table(tmp_path / "t.csv", column)
    fit = ["fit", "capacity_linear", table, "--y", "bits", "--cluster"]
    assert main([*fit, column]) == 0
    assert "4 clusters" in " ".join(capsys.readouterr().out.split())
    other = {"label": "model", "model": "label"}[column]
    assert main([*fit, other]) == 2
    told = capsys.readouterr().err
    assert f"no column '{other}': this table calls it {column}" in told and told.count("\n") == 1


def test_a_study_that_selects_models_by_the_older_name_is_told_the_present_one():
    entry = {"name": "v", "published": "physics33/peak_1000", "quantity": "peak_ratio"}
    checked = expects.check_expects([entry | {"where": {"model": "2x16"}}])
    assert checked[0]["where"] == {"model": "2x16"}
    with pytest.raises(ConfigError, match=r"where: label: .*did you mean model\?"):
        expects.check_expects([entry | {"where": {"label": "2x16"}}])
