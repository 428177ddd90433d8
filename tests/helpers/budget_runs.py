"""Runs of random data over budgets whose law is known."""

import numpy as np
import pandas as pd

BUDGETS = (250, 500, 1000, 2000, 4000, 8000)
P, N, V, S = 80_384, 628, 2048, 64


def planted(
    exposures=BUDGETS,
    seeds=3,
    r_inf=3.8,
    e0=20.0,
    b=0.8,
    noise=0.003,
    model="1x32",
    lr=0.04,
    precision="fp32",
    parameters=P,
    n_sequences=N,
):
    """Finished runs that follow R_inf (1 - (1 + E / E0)^-b), with relative noise."""
    random, rows = np.random.default_rng(7), []
    for e in exposures:
        for seed in range(seeds):
            r = r_inf * (1 - (1 + e / e0) ** -b) * (1 + noise * random.standard_normal())
            rows.append(
                {
                    "run_id": f"{model}-{lr}-{e}-{seed}",
                    "model": model,
                    "seed": seed,
                    "status": "finished",
                    "precision": precision,
                    "vocab_size": V,
                    "seq_len": S,
                    "n_sequences": n_sequences,
                    "batch_size": 64,
                    "lr": lr,
                    "steps": e * n_sequences // 64,
                    "tokens": float(e * n_sequences * S),
                    "parameters_total": parameters,
                    "parameters_paper": parameters - 32,
                    "parameters_non_embedding": parameters // 6,
                    "entropy_bits": float(n_sequences * S * np.log2(V)),
                    "strict_bits": r * parameters,
                    "strict_ceiling_bits": n_sequences * (S * np.log2(V) - np.log2(n_sequences)),
                    "paper_bits": 1.02 * r * (parameters - 32),
                    "paper_ceiling_bits": float(n_sequences * S * np.log2(V)),
                    "gain_last_tenth": 0.004,
                }
            )
    return pd.DataFrame(rows)
