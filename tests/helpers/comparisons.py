"""Written studies of two sides, for tests of comparisons."""

import math

import numpy as np
import pytest

from capacity import records, run_table
from capacity.analysis.comparison import pairs, verdicts
from capacity.analysis.comparison import runs as compared_runs
from capacity.study import load_study
from planted import plant, record

RANDOM = """
question: does a gated MLP store more?
pins: [data=uniform, data.vocab_size=64, data.seq_len=16, model=gpt, model.n_layers=2,
  train=adamw, train.exposures=200, train.warmup_steps=10]
grids:
  - form:
      - {model.mlp: standard, model.activation: gelu}
      - {model.mlp: gated, model.activation: silu}
    size: [{model.d_model: 8, model.n_heads: 2}, {model.d_model: 16, model.n_heads: 4}]
    data.load: [1.0, 5.0, 6.5]
    seed: [0, 1, 2]
"""
PEOPLE = """
question: which optimizer?
scale: pocket
pins: [data=bios_pocket, model=pocket, train=pocket_bios, data.n_people=200,
  model.d_model=16, model.n_heads=2]
best_over: [train.lr]
grids:
  - train.exposures: [100, 200]
    seed: [0, 1]
    optimizer:
      - {train.optimizer: adamw, train.lr: 0.02}
      - {train.optimizer: adamw, train.lr: 0.04}
      - {train.optimizer: muon, train.lr: 0.03}
"""


def write(here, results, text=RANDOM, better=1.2, keep=lambda config: True):
    """A study with records by `keep`; random data: C = 3 P, `better` times that with a gated MLP,
    1% of noise, and never above the ceiling."""
    from capacity.counts import uniform_ceiling_bits

    (here / "s.yaml").write_text(text)
    if text != RANDOM:
        return plant(results, str(here / "s.yaml"))
    study, dice = load_study(str(here / "s.yaml"), []), np.random.default_rng(0)
    for i, config in enumerate(study.runs):
        p, ways = config.parameters["total"], {}
        held = (
            3.0
            * p
            * (better if config.model.mlp == "gated" else 1.0)
            * math.exp(dice.normal(0, 0.01))
        )
        for way in ("strict", "paper"):
            most = uniform_ceiling_bits(
                config.items, config.data.seq_len, config.data.vocab_size, way
            )
            bits = min(held, 0.999 * most)
            ways[way] = {
                "bits": bits,
                "ceiling_bits": most,
                "fraction_of_ceiling": bits / most,
                "bits_per_parameter": {
                    "total": bits / p,
                    "paper": bits / config.parameters["paper"],
                },
            }
        if keep(config):
            records.write(results, record(config, {"memorization": ways}, i))
    return study


def judged(study, results, a, b, value=None, change=lambda table: table):
    runs = compared_runs.read(study, change(run_table.table(results, study.runs)), value)
    found = pairs.pair(
        runs, compared_runs.select(runs, a), compared_runs.select(runs, b), set(a) | set(b)
    )
    return verdicts.corrected([{"a": "A", "b": "B"} | verdicts.analyse(runs, found)], runs.stores)[
        0
    ]


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    here = tmp_path_factory.mktemp("gated")
    return write(here, here / "results"), here / "results"


@pytest.fixture(scope="module")
def planted_people(tmp_path_factory):
    here = tmp_path_factory.mktemp("people")
    write(here, here / "r", PEOPLE)
    return str(here / "s.yaml"), here / "r"
