"""Studies of counts of facts that nobody trained: their plans, and records in which what is known
of a fact is planted."""

from pathlib import Path

import numpy as np

from capacity import run_table
from capacity.analysis.smi import analysis
from capacity.compose import load_many
from capacity.declare.fact_cells import KEYS, SUMS
from capacity.origins import Given

PINS = ["data=bios_pocket", "data.n_people=200", "data.zipf=1.0", "data.zipf_tiers=6"]
PINS += ["data.value_zipf=1.0", "model=pocket", "model.n_layers=2", "model.n_heads=2"]
PINS += ["train=pocket_bios", "train.exposures=300", "measure.fact_cells=true"]
TEXTS = 60_000
TIMES = (3200, 1600, 800, 400, 200, 100)  # of the tiers
SHARES = 0.3 * 2.0 ** -np.arange(10)  # of the values, by class of their ranks


def plan(widths=(8, 12, 16), seeds=range(1, 7)):
    rows = [[*PINS, f"model.d_model={w}", f"seed={s}"] for w in widths for s in seeds]
    return load_many([[[Given(text, "test") for text in row]] for row in rows])


def measured(runs, *, mi=0.0, common=0.0, size=0.1, noise=0.001, alone=0.05, mixed=1, draw=0):
    """By run what a record says: outcomes of a fact rise by `mi` per doubling of I, by `common` per
    doubling of its texts and by `size` per doubling of parameters.

    noise: of a run's slopes; alone: sd of single facts; mixed: every second tier has that many
    times more facts of rare values than of others, the tiers between of the others, so that means
    by co-occurrence alone do not lie on a line where I counts."""
    rng, out = np.random.default_rng(draw), {}
    for run in runs:
        cells = {name: [] for name in (*KEYS, *SUMS)}
        off = noise * rng.standard_normal(2)
        for tier, texts in enumerate(TIMES, 1):
            for rank, share in enumerate(SHARES):
                n = mixed if (rank >= 5) == (tier % 2 == 0) else 1
                information = texts / TEXTS * -np.log2(share)
                mean = (common + off[0]) * np.log2(texts) + (mi + off[1]) * np.log2(information)
                mean += size * np.log2(run.parameters["paper"])
                one = {"attribute": 0, "tier": tier, "rank": rank, "facts": n}
                one |= {"log2_texts": n * np.log2(texts)}
                one |= {"log2_value_texts": n * np.log2(share * TEXTS)}
                for name in ("hits", "bits", "own_bits"):
                    one |= {name: n * mean, f"{name}_squared": n * (mean**2 + alone**2)}
                for name, value in one.items():
                    cells[name].append(float(value))
        out[run.run_id] = {"texts": TEXTS, "cells": cells}
    return out


def found(runs, records=None, **planted):
    """The finding of such runs, all of them finished."""
    rows = run_table.table(Path("no such folder"), runs)
    rows = rows.assign(status="finished", gain_last_tenth=0.0)
    records = measured(runs, **planted) if records is None else records
    return analysis.analysed(runs, rows, records, "planted")
