"""`capacity fit` on a table of runs leaves out the rows that fit-laws refuses, by the same rule,
and says which."""

import json

import numpy as np
import pandas as pd
import pytest

from capacity.analysis import refused
from capacity.cli.main import main

SIZES = [1000, 2000, 4000, 8000, 16000, 32000]


def runs(**columns):
    """A table as `capacity table` writes it: bits are 3 per parameter, but for runs of many unasked
    values, where they are 1."""
    asked = [0.0, 0.02, 0.5, 0.0, np.nan, 0.05]
    rows = pd.DataFrame(
        {
            "run_id": [f"r{i:04d}" for i in range(len(SIZES))],
            "status": "finished",
            "kind": "corpus",
            "parameters_total": SIZES,
            "unasked_fraction": asked,
        }
    )
    wrong = (rows.unasked_fraction > 0.05) | rows.unasked_fraction.isna()
    noise = np.array([1.01, 0.99, 1.0, 1.02, 1.0, 0.98])
    return rows.assign(bits=rows.parameters_total * np.where(wrong, 1.0, 3.0) * noise, **columns)


def fitted(capsys, path):
    """(exit code, notes, fit) of a line through the table."""
    line = ["fit", "capacity_linear", str(path), "--y", "bits"]
    code = main(
        [*line, "--x", "parameters=parameters_total", "--output", str(path.with_suffix(".json"))]
    )
    told = " ".join(capsys.readouterr().err.split())
    found = json.loads(path.with_suffix(".json").read_text()) if code == 0 else None
    return code, told, found


@pytest.mark.parametrize("drop", [[], ["status"]])
def test_rows_that_no_law_may_use_are_left_out_and_named(tmp_path, capsys, drop):
    runs().drop(columns=drop).to_csv(tmp_path / "runs.csv", index=False)
    code, told, found = fitted(capsys, tmp_path / "runs.csv")
    assert code == 0 and len(told.split("capacity: note:")) == 3
    assert "left out, as fit-laws does: 1 finished run refused: over 5% of the values" in told
    assert "(r0002)" in told and "(r0004)" in told and "capacity measure" in told
    (row,) = found["fits"]
    assert row["values"]["alpha"] == pytest.approx(3.0, rel=0.03)
    assert sum("as fit-laws does" in note for note in found["notes"]) == 2


def test_other_tables_are_taken_as_they_are(tmp_path, capsys):
    for i, table in enumerate(
        (runs().assign(kind="bios"), runs().drop(columns="run_id"), runs().drop(columns="kind"))
    ):
        assert refused.reasons(table) == [""] * len(SIZES)
        table.to_csv(tmp_path / f"{i}.csv", index=False)
        code, told, found = fitted(capsys, tmp_path / f"{i}.csv")
        assert code == 0 and "fit-laws" not in told
        assert found["fits"][0]["values"]["alpha"] < 2.9


def test_a_table_of_refused_runs_only_is_one_line(tmp_path, capsys):
    runs().query("unasked_fraction > 0.05").to_csv(tmp_path / "runs.csv", index=False)
    code, told, _ = fitted(capsys, tmp_path / "runs.csv")
    assert code == 2 and "no row that a law may use: 1 finished run refused" in told
    assert "r0002" in told
