"""Tables of runs have more columns than pandas lets join without advice on how to write a loop."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from capacity.cli.main import main

FIT = """
import warnings
import pandas, capacity
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what these lines do
    frame = pandas.DataFrame({"parameters_total": [1e3, 2e3, 4e3, 8e3, 16e3]})
    frame["strict_bits"] = 3 * frame.parameters_total
    for i in range(160):
        frame[f"setting_{i}"] = float(i)
print(capacity.fit(frame, "capacity_linear", y="strict_bits", x={"parameters": "parameters_total"}))
"""


def test_a_fit_in_python_says_nothing_else():
    done = subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True)
    assert done.returncode == 0 and "alpha" in done.stdout, done.stderr
    assert done.stderr == ""


def test_commands_say_nothing_else(capsys):
    """A frame of many blocks warns as it gains a column; after a command has begun it does not."""
    frame = pd.DataFrame({f"c{i}": np.arange(3) for i in range(2)})

    def fragmented():
        made = frame.copy()
        for i in range(120):
            made[f"more_{i}"] = float(i)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Warning, match="highly fragmented"):
            fragmented()
        assert main(["list", "forms"]) == 0
        fragmented()
