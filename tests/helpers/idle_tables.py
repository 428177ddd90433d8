"""Studies of parts that nobody trained: real plans, with bits that follow a planted law."""

from pathlib import Path

import numpy as np

from capacity import run_table
from capacity.analysis.idle.reading import BITS, described
from capacity.analysis.labels import family
from capacity.compose import load_many
from capacity.origins import Given

FORM = ["model.n_heads=2", "model.norm=rmsnorm", "model.mlp=gated", "model.bias=false"]
FORM += ["model.activation=silu"]
UNIFORM = ["data=uniform", "data.vocab_size=64", "data.seq_len=16", "data.load=6", *FORM]
BIOS = ["data=bios_pocket", "data.load=4", *FORM]
SYSTEMS = {
    "plain": ["model=gpt"],
    "experts": ["model=gpt", "model.n_experts=8", "model.mlp_ratio=1.0"],
    "engram": ["model=engram", "model.engram_rows=64"],
    "stem": ["model=stem"],
    "keys": ["model=keys", "model.keys_side=8"],
    "peer": ["model=peer", "model.keys_side=8"],
    "banks": ["model=banks"],
}
BEST = ["train.lr", "train.table_lr"]
RATES = [0.01, 0.02, 0.04]
TABLE_RATES = [0.5, 1.0, 4.0]
KAPPAS = {"experts": 0.7, "engram": 1.0, "stem": 0.5, "keys": 0.1, "peer": 0.8, "banks": 0.3}
ALPHA = 2.5


def plan(
    systems=("plain", "engram"),
    widths=(8, 16),
    seeds=(1, 2, 3),
    pins=UNIFORM,
    tuned=True,
    exposures=500,
):
    """The runs of a study: seed 0 tries rates (a cross of both), the others have the middle one."""
    layers = []
    for system in systems:
        tables = system in ("engram", "stem", "keys", "peer", "banks")
        tried = [(lr, 1.0) for lr in RATES]
        tried += [(0.02, rate) for rate in TABLE_RATES if rate != 1.0 and tables]
        recipes = [(0, *one) for one in tried if tuned] + [(seed, 0.02, 1.0) for seed in seeds]
        for width in widths:
            for seed, lr, table_lr in recipes:
                settings = [*pins, *SYSTEMS[system], "model.n_layers=2", f"model.d_model={width}"]
                settings += [f"train.lr={lr}", f"train.table_lr={table_lr}" if tables else ""]
                settings += ["train=adamw", f"train.exposures={exposures}", f"seed={seed}"]
                layers.append([[Given(text, "test") for text in settings if text]])
    return load_many(layers)


def table(runs, *, noise=0.01, models=0.0, draw=0, kappas=None, best=(0.02, 1.0), alpha=ALPHA):
    """Their table, finished: C = alpha (P_active + kappa P_idle), times lognormal scatter of runs
    and of models; each factor of two away from the best rates costs 10%."""
    rng = np.random.default_rng(draw)
    rows = run_table.table(Path("no such folder"), runs)
    bits, most = BITS[family(runs[0])]
    known = described(runs, BEST).set_index("run_id")
    scatter = {model: rng.standard_normal() for model in sorted(set(known.model))}
    held = []
    for run in runs:
        one = known.loc[run.run_id]
        kappa = {**KAPPAS, **(kappas or {})}.get(one.system, 0.0)
        off = abs(np.log2(run.train.lr / best[0]))
        off += abs(np.log2(run.train.table_lr / best[1])) if one.tables else 0.0
        size = one.p_active + kappa * one.p_idle
        deviate = noise * rng.standard_normal() + models * scatter[one.model]
        held.append(alpha * size * 0.9**off * np.exp(deviate))
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    rows[bits] = rows.run_id.map(dict(zip((run.run_id for run in runs), held, strict=True)))
    return rows
