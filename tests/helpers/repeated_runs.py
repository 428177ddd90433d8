"""Studies of repeated data that nobody trained: their plans, and what records would say."""

from pathlib import Path

import numpy as np

from capacity import run_table
from capacity.analysis.repeated import analysis
from capacity.compose import load_many
from capacity.origins import Given

PINS = ["data=text_pocket", "data.documents=400", "data.tokens_per_parameter=null"]
PINS += ["data.n_held_out=100", "data.canary_text=pool", "model=gpt", "model.n_layers=1"]
PINS += ["train.exposures=1", "train.batch_size=16", "train.warmup_steps=5"]
ROWS = 1024
WIDTHS = (8, 12, 16, 24, 32)
REPEATS = (4, 8, 16, 32, 64, 128)


def dirty(e, share=0.5):
    part = int(share * ROWS)
    return [f"data.n_sequences={ROWS - part}", f"data.canaries={part // e}", f"data.repeats=[{e}]"]


def plan(levels=None, widths=WIDTHS, replicates=4, rows=ROWS):
    """Clean runs of every width and runs with repeats of width 16."""
    levels = [dirty(e) for e in REPEATS] if levels is None else levels
    none = [f"data.n_sequences={rows}", "data.canaries=0", "data.repeats=[1]"]
    parts = [[*none, f"model.d_model={w}", "model.n_heads=4"] for w in widths]
    parts += [[*level, "model.d_model=16", "model.n_heads=4"] for level in levels]
    return load_many(
        [
            [[Given(t, "test") for t in (*PINS, *part, f"seed={s}", f"data.split_seed={s}")]]
            for part in parts
            for s in range(replicates)
        ]
    )


def clean(p):
    return 2.5 + 40.0 * p**-0.4


def dip(e):
    """P_eff / P: 0.5 at 24 repeats, 0.9 and more far from it."""
    return 1 - 0.5 * np.exp(-((np.log2(e / 24)) ** 2) / 2)


def known(e):
    """Held share of the subset: 0.9 at 24 repeats."""
    return min(1.0, 0.9 * np.log2(e) / np.log2(24))


def found(runs, effective=dip, held=known, noise=0.002, law=clean, random=None, draw=0):
    rng, losses, subset = np.random.default_rng(draw), [], {}
    for run in runs:
        p, e = run.parameters["total"], run.data.repeats[0] if run.data.canaries else 1
        text = 0.05 * np.sin(run.seed)  # of the split, which runs of a replicate share
        losses.append(law(p * (effective(e) if e > 1 else 1.0)) + text + noise * rng.normal())
        if e > 1:
            subset[run.run_id] = law(p) * (1 - held(e)) + noise * rng.normal()
    table = run_table.table(Path("no such folder"), runs)
    table = table.assign(status="finished", gain_last_tenth=0.0)
    table["held_out_loss_bits_per_token"] = losses
    return analysis.analysed(runs, table, subset, "study", random, "pocket")
