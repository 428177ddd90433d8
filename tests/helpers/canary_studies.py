"""Simulated studies of canaries with known slopes: models of three sizes, two numbers of passes,
three seeds, seven levels of eight canaries, the same ones in all models."""

import numpy as np
import pandas as pd

SIZES, PASSES, SEEDS, LEVELS, EACH, OTHERS = (4072, 11216, 34720), (3, 12), 3, 7, 8, 4096
VIEWS, SIZE = 3.05, 3.79  # planted: bits per doubling


def draw(rng, scatter=2.0, own=0.5):
    """Tables as `canaries.points` gives them: exposures of single canaries, from the rank of each
    among OTHERS; extracted by a logistic law of the same latent bits. scatter: standard deviation
    of a canary, bits; own: the part of its variance that a canary has in all models."""
    shape = (len(SIZES), len(PASSES), SEEDS, LEVELS, EACH)
    size, passes, seed, level, canary = (axis.ravel() for axis in np.indices(shape))
    log_size, log_passes = np.log2(np.array(SIZES)[size]), np.log2(np.array(PASSES)[passes])
    run = (size * len(PASSES) + passes) * SEEDS + seed
    sequence = level * EACH + canary
    bits = -55.8 + VIEWS * (level + log_passes) + SIZE * log_size
    bits = bits + 0.7 * rng.standard_normal(run.max() + 1)[run]
    hard = rng.standard_normal(sequence.max() + 1)[sequence]
    noise = rng.standard_normal(len(run))
    bits = bits + scatter * (np.sqrt(own) * hard + np.sqrt(1 - own) * noise)
    exposure = np.maximum(bits, rng.exponential(np.log2(np.e), len(bits)))
    rank = 1 + rng.binomial(OTHERS, 2.0**-exposure)
    return pd.DataFrame(
        {
            "run": run,
            "label": size.astype(str),
            "size": log_size,
            "passes": log_passes,
            "seen": level + log_passes,
            "sequence": sequence,
            "cell": (size * len(PASSES) + passes) * LEVELS + level,
            "exposure": np.log2(OTHERS + 1) - np.log2(rank),
            "at_most": np.log2(OTHERS + 1),
            "extracted": (rng.random(len(run)) < 1 / (1 + np.exp(14 - bits))).astype(int),
        }
    )


def means(table):
    """Level means as `canaries.level_means` gives them."""
    by = ["run", "label", "seen", "size", "at_most"]
    return table.groupby(by)[["exposure", "extracted"]].mean().reset_index()
