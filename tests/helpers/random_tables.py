"""Planted tables of random data, analysed and shown."""

import pandas as pd


def plain_units(parameters, bits, seeds=1, lower_bound=False):
    """Units that hold exactly `bits`, for tests of `estimate` without run noise."""
    rows = [
        {
            "model": f"m{i}",
            "seed": s,
            "parameters": float(p),
            "bits": float(c),
            "lower_bound": lower_bound,
            "runs": 1,
            "fraction": 0.5,
            "rising": 0,
        }
        for i, (p, c) in enumerate(zip(parameters, bits, strict=True))
        for s in range(seeds)
    ]
    return pd.DataFrame(rows)


def inside(number, truth, which):
    low, high = number[which]["ends"]
    return low < truth < high
