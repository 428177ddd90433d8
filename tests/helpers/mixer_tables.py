"""Studies of mixers that nobody trained: real plans, with bits per parameter that are planted."""

from pathlib import Path

import numpy as np

from capacity import naming, run_table
from capacity.analysis.mixers import analysis
from capacity.compose import load_many
from capacity.origins import Given

PINS = ["data=uniform", "data.vocab_size=64", "data.seq_len=16", "data.load=6", "model.n_layers=2"]
PINS += ["model.n_heads=2", "train=adamw", "train.exposures=500"]
FORMS = {
    "attention": ["model=gpt"],
    "two loops": ["model=gpt", "model.loops=2"],
    "GLA": ["model=linear", "model.mixer=gla"],
    "GLA with convolutions": ["model=linear", "model.mixer=gla", "model.mixer_conv=true"],
    "SSD": ["model=linear", "model.mixer=ssd"],
    "SSD with convolutions": ["model=linear", "model.mixer=ssd", "model.mixer_conv=true"],
}
NAMES = {
    "attention": {"model.mixer": "attention", "model.loops": 1},
    "two loops": {"model.mixer": "attention", "model.loops": 2},
    "GLA": {"model.mixer": "gla", "model.mixer_conv": False},
    "GLA with convolutions": {"model.mixer": "gla", "model.mixer_conv": True},
    "SSD": {"model.mixer": "ssd", "model.mixer_conv": False},
    "SSD with convolutions": {"model.mixer": "ssd", "model.mixer_conv": True},
}
RATES = [0.01, 0.02, 0.04]
RATE = 2.5  # bits per parameter of every form whose ratio is not planted


def plan(forms=tuple(FORMS), widths=(8, 16), seeds=(1, 2, 3), rates=RATES, frozen=0.02):
    """Seed 0 tries rates at the last width, the others have one rate at all."""
    layers = []
    for form in forms:
        runs = [(widths[-1], 0, lr) for lr in rates]
        runs += [(width, seed, frozen) for width in widths for seed in seeds]
        for width, seed, lr in runs:
            settings = [*PINS, *FORMS[form], f"model.d_model={width}", f"train.lr={lr}"]
            layers.append([[Given(text, "test") for text in [*settings, f"seed={seed}"]]])
    return load_many(layers)


def called():
    """The names as a study file gives them."""
    return naming.read("test", NAMES)


def table(runs, *, ratios=None, noise=0.003, draw=0, best=0.02):
    """Their table, finished: RATE times the planted ratio of the form, lognormal scatter of runs,
    and 10% less for each factor of two away from the best rate (of a form where it is a dict)."""
    rng = np.random.default_rng(draw)
    rows = run_table.table(Path("no such folder"), runs)
    known, _ = analysis.described(runs, called(), ["train.lr"])
    forms = dict(zip(known.run_id, known.system, strict=True))
    held = {}
    for run in runs:
        form = forms[run.run_id]
        at = best.get(form, 0.02) if isinstance(best, dict) else best
        off = abs(np.log2(run.train.lr / at))
        ratio = (ratios or {}).get(form, 1.0)
        deviate = np.exp(noise * rng.standard_normal())
        held[run.run_id] = RATE * ratio * run.parameters["total"] * 0.9**off * deviate
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    return rows.assign(strict_bits=rows.run_id.map(held))
