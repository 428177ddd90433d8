"""Double descent over two capacities: the most that a shape memorizes of this text, and what it
holds of random data, which the published value is about."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity.analysis.text import analysis, random_capacity
from capacity.analysis.text import double_descent as descent
from capacity.base.errors import ConfigError
from capacity.study import load_study

STUDIES = Path(__file__).resolve().parents[3] / "results" / "studies"


def targets(peak, used=1.0):
    """Runs of a model of 1000 parameters whose loss peaks at `peak` data bits per parameter and
    which memorizes at most 2; used: the part of the parameters that is in use."""
    dice, rows = np.random.default_rng(0), []
    for t in 2.0 ** np.arange(-3, 4):
        for seed in range(4):
            data = 2500 * t
            rows.append(
                {
                    "model": "2x8",
                    "parameters_total": 1000,
                    "parameters_used": 1000 * used,
                    "tokens_per_parameter": t / used,
                    "seed": seed,
                    "reference_same_bits": data,
                    "unintended_same_mixture": min(data, 2000.0) + dice.normal(0, 5),
                    "unintended_same_clipped": data,
                    "bits": 5000.0,
                    "members_loss_bits_per_token": 1.0,
                    "held_out_loss_bits_per_token": 9
                    - 0.2 * np.log2(data / 1000 / peak) ** 2
                    + dice.normal(0, 0.01),
                }
            )
    return pd.DataFrame(rows)


def random(alpha, half=0.01):
    interval = [alpha * (1 - half), alpha * (1 + half)]
    return {
        "2x8": {
            "study": "pocket",
            "of": "model",
            "alpha": {"value": alpha, "interval": interval},
        }
    }


def judged(found, why=""):
    laws = {"f1_median": {"reason": "none"}}
    (row,) = analysis.verdicts({"laws": laws, "descent": found}, [1000], 0, why)
    return row


@pytest.mark.parametrize(
    ("peak", "alpha", "verdict"),
    [
        (2.0, 4.0, "differs"),  # agrees with what is memorized of the text, which does not decide
        (4.0, 4.0, "agrees"),
        (4.0, 5.8, "cannot tell"),
    ],
)
def test_the_capacity_of_random_data_decides_and_the_other_is_beside_it(peak, alpha, verdict):
    wide = 0.2 if verdict == "cannot tell" else 0.01
    found = descent.analyse(targets(peak), random(alpha, wide), n_boot=200)
    shape = found["2x8"]
    assert shape["peak_over_random"]["value"] == pytest.approx(shape["peak"]["value"] / alpha)
    assert shape["peak_over_capacity"]["value"] == pytest.approx(
        shape["peak"]["value"] / shape["alpha"]["value"]
    )
    row = judged(found)
    assert row["verdict"] == verdict and row["measured"] == shape["peak_over_random"]["value"]
    (beside,) = row["beside"]
    assert beside["measured"] == shape["peak_over_capacity"]["value"]
    assert "memorizes of this text" in beside["form"]


def test_noise_of_random_data_is_in_the_interval_and_rows_that_are_not_used_count():
    def width(half, used=1.0):
        shape = descent.analyse(targets(4.0, used), random(4.0, half), n_boot=400)["2x8"]
        low, high = shape["peak_over_random"]["interval"]
        return shape, high / low

    (exact, narrow), (_, wide) = width(0.001), width(0.1)
    # the logarithm of alpha alone has a 95% interval of log(1.1 / 0.9) = 0.2; 400 draws
    assert narrow < 1.1 and 1.17 < wide < 1.3
    half, _ = width(0.001, used=0.5)
    assert half["peak"]["value"] == pytest.approx(2 * exact["peak"]["value"], rel=1e-6)
    assert half["peak_over_random"]["value"] == pytest.approx(exact["peak_over_random"]["value"])


def test_without_random_data_nothing_is_compared_and_the_reason_is_told():
    found = descent.analyse(targets(4.0), n_boot=50)
    assert found["2x8"]["random"] is None and found["2x8"]["peak_over_random"] is None
    row = judged(found, random_capacity.absent("pocket"))
    assert row["verdict"] == "cannot tell" and "capacity fit-laws pocket" in row["reason"]
    assert "random_data" in judged(found, random_capacity.absent(""))["reason"]


def test_the_committed_study_gives_both_denominators():
    """Before, 0.64 and 0.51 of what is memorized of the text stood beside the published 1."""
    kept = json.loads((STUDIES / "morris/text_grid@pocket/memory.json").read_bytes())
    plateaus = {
        row["model"]: row["bits_per_parameter"]
        for row in json.loads((STUDIES / "pocket/fit.json").read_bytes())["strict"]["plateaus"]
    }
    rows = {row["at"]: row for row in kept["verdicts"] if row["at"]}
    assert set(rows) == {"2x8", "2x16"}
    for model, row in rows.items():
        shape = kept["descent"][model]
        # peaks are over parameters in use, plateaus of random data over all, which it uses
        used = {"2x8": 3984 / 4072, "2x16": 11040 / 11216}[model]
        over = shape["peak"]["value"] * used / plateaus[model]
        assert row["measured"] == pytest.approx(over) and over < 0.71
        low, high = shape["peak_over_random"]["interval"]
        assert low < over < high


def test_capacities_come_from_the_plateau_of_the_shape_or_else_from_the_law():
    found = random_capacity.of_models(
        "pocket", STUDIES.parent, {"2x8": 4072, "2x16": 99999, "9x9": 5000}
    )
    fit = json.loads((STUDIES / "pocket/fit.json").read_bytes())["strict"]
    assert {model: one["of"] for model, one in found.items()} == {
        "2x8": "model",
        "2x16": "law",  # another model of that name
        "9x9": "law",
    }
    assert found["9x9"]["alpha"]["value"] == fit["alpha"]["value"]
    assert found["9x9"]["alpha"]["interval"] == fit["alpha"]["interval_models"]["ends"]
    low, high = found["2x8"]["alpha"]["interval"]
    (first,) = [row for row in fit["plateaus"] if row["model"] == "2x8"]
    value, scatter = first["bits_per_parameter"], first["bits_per_parameter_sd"] / 2**0.5
    assert [low, high] == fit["flatness"]["intervals"]["2x8"]  # sizes of its data scatter, too
    assert low < value - scatter and value + scatter < high


def test_an_entry_that_names_no_study_or_no_random_data_is_refused(tmp_path):
    assert random_capacity.of_models("pocket", tmp_path, {"2x8": 4072}) is None
    folder = tmp_path / "studies" / "other"
    folder.mkdir(parents=True)
    (folder / "fit.json").write_text('{"kind": "facts", "schema": 2}')
    with pytest.raises(ConfigError, match="kind random"):
        random_capacity.of_models("other", tmp_path, {"2x8": 4072})
    study = tmp_path / "mine.yaml"
    pins = "pins: [data=text_pocket]\ngrids: [{seed: [0]}]\n"
    study.write_text(f"random_data: pocke\n{pins}")
    with pytest.raises(ConfigError, match=r"random_data: .*pocke.*pocket"):
        load_study(str(study), [])
    study.write_text(f"random_data: [pocket]\n{pins}")
    with pytest.raises(ConfigError, match="random_data: expected the name of a study"):
        load_study(str(study), [])
    study.write_text(f"random_data: pocket\n{pins}")
    assert load_study(str(study), []).random_data == "pocket"
