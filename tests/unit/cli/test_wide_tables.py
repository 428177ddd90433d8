"""Tables of runs have more columns of text than pandas lets join without advice."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def wide(tmp_path):
    """Twenty runs with a hundred and sixty columns of text."""
    p = np.geomspace(1e3, 1e5, 20)
    text = {f"setting_{i}": ["a", "b"] * 10 for i in range(160)}
    frame = pd.DataFrame({"parameters_total": p, "strict_bits": 3 * p, **text})
    frame.to_csv(tmp_path / "wide.csv", index=False)
    return tmp_path


def test_nothing_but_the_answer_is_said(wide, cli):
    asked = ["--y", "strict_bits", "--x", "parameters=parameters_total"]
    done = cli("fit", "capacity_linear", "wide.csv", *asked, cwd=wide)
    assert done.returncode == 0 and "alpha" in done.stdout, done.stderr
    assert "Warning" not in done.stderr and "fragmented" not in done.stderr


def test_in_python_neither(wide):
    lines = (
        "import pandas, capacity",
        "frame = pandas.read_csv('wide.csv')",
        "found = capacity.fit(frame, 'capacity_linear', y='strict_bits',"
        " x={'parameters': 'parameters_total'})",
        "print(found)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=wide, capture_output=True, text=True
    )
    assert done.returncode == 0 and "alpha" in done.stdout, done.stderr
    assert done.stderr == ""
