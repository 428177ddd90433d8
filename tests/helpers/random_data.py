"""Tables of runs on random data whose law is known."""

import numpy as np
import pandas as pd

from capacity.fitting import capacity_forms

ALPHA = 2.8


def study(
    widths=(16, 32, 64, 128),
    loads=(0.7, 1.12, 1.8, 2.5),
    seeds=(0, 1),
    alpha=ALPHA,
    gamma=1.0,
    noise=0.02,
    shapes=0.0,
    k=12.0,
    draw=0,
    vocab=256,
    length=32,
):
    """A table of one-layer models whose capacity is alpha P^gamma, times lognormal scatter of
    shapes and of runs.

    loads: data over capacity; bits follow the smooth corner of sharpness k. At k = 12 the corner
    lowers loads of 1.8 and more by less than 0.01%, so alpha is the truth that a fit must find.
    """
    rng, rows, row_bits = np.random.default_rng(draw), [], length * np.log2(vocab)
    for d in widths:
        paper = vocab * d + length * d + 12 * d * d + 13 * d + 2 * d
        total = paper + d
        capacity = alpha * total**gamma * np.exp(shapes * rng.standard_normal())
        for load in loads:
            n = max(2, round(load * capacity / (row_bits - np.log2(load * capacity / row_bits))))
            ceiling = n * (row_bits - np.log2(n))
            for seed in seeds:
                bits = capacity_forms.smooth_corner(total, ceiling, capacity / total, k) * np.exp(
                    noise * rng.standard_normal()
                )
                bits = min(bits, 0.995 * ceiling)
                rows.append(
                    {
                        "run_id": f"w{d}n{n}s{seed}",
                        "model": f"1x{d}",
                        "seed": seed,
                        "status": "finished",
                        "parameters_total": total,
                        "parameters_paper": paper,
                        "parameters_non_embedding": total - (vocab + length + 1) * d,
                        "n_sequences": n,
                        "entropy_bits": n * row_bits,
                        "strict_bits": bits,
                        "strict_ceiling_bits": ceiling,
                        "paper_bits": bits * length / (length - 1),
                        "paper_ceiling_bits": ceiling * length / (length - 1),
                        "gain_last_tenth": 0.004,
                        "steps": 5000,
                        "tokens": 5000 * 128 * length,
                        "flops": 1e12,
                        "wall_s": 60.0,
                        "precision": "fp32",
                        "vocab_size": vocab,
                        "seq_len": length,
                        "error": None,
                    }
                )
    return pd.DataFrame(rows)


def hole(table, rows, status):
    """The table with these rows turned into runs without a result."""
    table = table.astype({"error": object})
    empty = [
        "strict_bits",
        "strict_ceiling_bits",
        "paper_bits",
        "paper_ceiling_bits",
        "gain_last_tenth",
        "wall_s",
    ]
    table.loc[rows, empty] = np.nan
    table.loc[rows, "status"] = status
    table.loc[rows, "error"] = "loss is not finite at step 40" if status == "failed" else None
    return table


def ragged():
    """A study with every kind of run: failed, missing, rising, without bits, and a shape with lower
    bounds only."""
    table = study(widths=(16, 24, 32, 48, 64), loads=(0.7, 1.12, 1.3, 2.0), shapes=0.05, draw=4)
    over = table.strict_ceiling_bits > 1.25 * table.strict_bits
    table = hole(table, table.index[(table.model == "1x64") & over], "failed")
    table = hole(table, table.index[:1], "missing")
    never = hole(study(widths=(96,), loads=(2.0,), seeds=(0,)), [0], "missing")
    table = pd.concat([table.astype(object), never.astype(object)], ignore_index=True)
    table.loc[table.model == "1x32", "gain_last_tenth"] = 0.05
    table.loc[table.index[table.model == "1x48"][-1], "strict_bits"] = -10.0
    return table
