"""Points from tables, noise of seeds, files."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from capacity.fitting import curves, linear
from capacity.fitting.covariance import spread_of
from capacity.fitting.fit import fit
from capacity.fitting.points import Columns, Points, seed_noise
from capacity.fitting.solve import solve
from fit_points import drawn


def test_a_table_becomes_points_and_a_mix_is_refused():
    table = pd.DataFrame(
        {
            "P": [1e3, 2e3, 4e3, 8e3],
            "bits": [3e3, 6.1e3, 12.2e3, 24e3],
            "model": list("abcd"),
            "seed": 0,
            "convention": ["strict", "strict", "paper", "strict"],
            "source": "measured",
            "under": [False, False, False, True],
        }
    )
    columns = Columns(
        y="bits",
        x={"parameters": "P"},
        cluster=["model", "seed"],
        lower_bound="under",
        same=["convention", "source"],
    )
    with pytest.raises(ValueError) as refused:
        Points.from_table(table, "capacity_linear", columns)
    assert (
        str(refused.value)
        == "points mix convention paper, strict: one fit needs one (or allow_mixed)"
    )
    mixed = Points.from_table(
        table,
        "capacity_linear",
        replace(columns, left_out={"short": [False, True, False, False]}),
        allow_mixed=True,
    )
    told = fit("capacity_linear", mixed).to_dict(intervals={})
    assert told["convention"] == {"convention": "paper, strict", "source": "measured"} and told[
        "points"
    ] == {
        "fitted": 3,
        "lower_bounds": 1,
        "clusters": 3,
        "left_out": {"short": 1},
        "weights": "equal",
    }
    assert (
        json.loads(json.dumps(told, allow_nan=False)) == told
        and told["form"]["formula"] == "C = alpha P"
        and len(told["inputs_sha256"]) == 64
    )
    for change, says in (({"y": "bit"}, "no column bit"), ({"x": {}}, "no column parameters")):
        with pytest.raises(ValueError, match=says):
            Points.from_table(table, "capacity_linear", replace(columns, **change))


@pytest.mark.parametrize(
    "change,says",
    [
        ({"y": [1.0, -2.0, 3.0]}, "a target of -2 has no log"),
        ({"sd": [0.1, 0.0, 0.1]}, "sd = 0 of a point"),
        ({"y": [1.0, np.nan, np.nan]}, "2 free parameters and only 1"),
        ({"x": {"parameters": [1.0, np.inf, 2.0]}}, "parameters = inf"),
        ({"x": {"parameters": [1.0, 2.0]}}, "points"),
    ],
)
def test_points_that_no_fit_can_read_are_refused_in_one_line(change, says):
    points = Points(**({"x": {"parameters": [1.0, 2.0, 3.0]}, "y": [1.0, 2.0, 3.0]} | change))
    with pytest.raises(ValueError) as refused:
        fit("capacity_power", points)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_noise_of_seeds_is_read_off_and_weighs():
    dice = np.random.default_rng(0)
    cells = np.repeat(np.arange(400), 3)
    mean = np.repeat(np.geomspace(0.1, 10, 400), 3)
    sd = seed_noise(mean + np.hypot(0.05, 0.02 * mean) * dice.standard_normal(1200), cells)
    np.testing.assert_allclose(sd, np.hypot(0.05, 0.02 * mean), rtol=0.15)
    with pytest.raises(ValueError, match="one seed per cell"):
        seed_noise([1.0, 2.0], [0, 1])
    p = np.geomspace(1e3, 1e6, 12)
    y = 3.6 * p * np.exp(np.where(np.arange(12) < 6, 0.2, 0.001) * dice.standard_normal(12))
    noise = np.where(np.arange(12) < 6, 0.2, 0.001) * y
    weighed, equal = (
        fit("capacity_linear", Points({"parameters": p}, y, sd=s), delta=np.inf).values["alpha"]
        for s in (noise, None)
    )
    assert abs(weighed - 3.6) < 0.005 < abs(equal - 3.6)


def test_importing_the_engine_is_cheap():
    code = (
        "import sys, capacity.fitting.intervals, capacity.fitting.selection, "
        "capacity.fitting.bootstrap; print([m for m in ('torch', 'scipy', 'matplotlib', 'hydra') "
        "if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_four_thousand_resamples_of_many_runs_go_in_pieces():
    """The same rows whatever the size of the pieces; the time is measured by scripts/bench.py."""
    study, points = drawn("capacity_power")
    found = fit("capacity_power", points)
    start = np.tile(found.u, (700, 1)) + 0.01 * np.random.default_rng(0).standard_normal((700, 2))
    whole = solve(found.problem, start)
    import capacity.fitting.solve as solver

    before, solver.CHUNK = solver.CHUNK, 5000.0
    try:
        pieces = solve(found.problem, start)
    finally:
        solver.CHUNK = before
    # a row is the same work in either; where a sum is taken otherwise, both end within the search's
    # tolerance of the minimum
    room = math.sqrt(2 * 1e-13 * found.objective) * np.sqrt(np.diag(spread_of(found).inverse))
    assert (np.abs(pieces.u - whole.u) <= 4 * room).all() and (room < 1e-5).all()
    assert (
        whole.converged.all()
        and curves.LN4 == pytest.approx(math.log(4))
        and linear.FEWEST_MODELS == 3
    )


def test_points_without_a_target_are_counted_once_each():
    points = Points(
        {"parameters": [1.0, 2.0, 3.0, np.nan, 5.0]},
        [2.0, np.nan, 6.0, np.nan, np.nan],
        left_out={"bad": [False, True, False, False, False]},
    )
    told = fit("capacity_linear", points).to_dict()["points"]
    assert told["left_out"] == {"bad": 1, "no finite target": 2} and told["fitted"] == 2
