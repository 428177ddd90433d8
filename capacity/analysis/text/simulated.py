"""Simulated studies of canaries with known slopes: models of three sizes, two numbers of passes and
some seeds, seven levels of repeats of eight canaries each, the same ones in all models.

    bits of a canary = line in log2 of views and of parameters + luck of the model
                       + how hard the canary is in all models + scatter
    exposure         the larger of these bits and of what chance gives, exponential with a mean of
                     1.44 bits; reported as the rank among OTHERS others says it
    extracted        with probability 1/2 at HALF bits, logistic

The kinds of KINDS break what the law takes for given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from capacity.analysis.text.schema import Frame

SIZES, PASSES, SEEDS, LEVELS, EACH, OTHERS = (4072, 11216, 34720), (3, 12), 3, 7, 8, 4096
CONSTANT, VIEWS, SIZE, HALF = -55.8, 3.05, 3.79, 14.0  # bits; per doubling
LUCK, SCATTER = 0.7, 2.0  # bits, standard deviations
KINDS = {
    "even": "18 models, as the law takes it",
    "few": "6 models, one seed each",
    "alone": "no canary is hard in all models",
    "heavy tails": "scatter by Student's t of 3 degrees of freedom",
    "unequal scatter": "scatter of 1 bit at few views, 4 at many",
    "cells": "each cell of size, passes and level lies 1 bit off the line",
    "unequal slopes": "the slope of views is 1.2 bits larger from one size to the next",
    "bent": "a parabola in log2 of views, 1.3 bits between its middle and its ends",
    "passes": "a doubling of passes is worth 1 bit less than one of repeats",
}


def draw(rng: np.random.Generator, kind: str = "even") -> Frame:
    """A table as `canaries.points` gives it."""
    seeds = 1 if kind == "few" else SEEDS
    shape = (len(SIZES), len(PASSES), seeds, LEVELS, EACH)
    size, passes, seed, level, canary = (axis.ravel() for axis in np.indices(shape))
    log_size, log_passes = np.log2(np.array(SIZES)[size]), np.log2(np.array(PASSES)[passes])
    seen = level + log_passes
    cell = (size * len(PASSES) + passes) * LEVELS + level
    run = (size * len(PASSES) + passes) * seeds + seed
    sequence = level * EACH + canary
    own = 0.0 if kind == "alone" else 0.5  # part of the variance that a canary has in all models
    noise = rng.standard_normal(len(run))
    if kind == "heavy tails":
        noise = rng.standard_t(3, len(run)) / np.sqrt(3)
    if kind == "unequal scatter":
        noise = noise * (0.5 + 1.5 * (seen - seen.min()) / np.ptp(seen))
    bits = line(kind, seen, log_size, log_passes)
    bits = bits + LUCK * rng.standard_normal(run.max() + 1)[run]
    if kind == "cells":
        bits = bits + rng.standard_normal(cell.max() + 1)[cell]
    hard = rng.standard_normal(sequence.max() + 1)[sequence]
    bits = bits + SCATTER * (np.sqrt(own) * hard + np.sqrt(1 - own) * noise)
    exposure = np.maximum(bits, rng.exponential(np.log2(np.e), len(bits)))
    rank = 1 + rng.binomial(OTHERS, 2.0**-exposure)
    return pd.DataFrame(
        {
            "run": run,
            "model": size.astype(str),
            "size": log_size,
            "passes": log_passes,
            "seen": seen,
            "sequence": sequence,
            "cell": cell,
            "exposure": np.log2(OTHERS + 1) - np.log2(rank),
            "at_most": np.log2(OTHERS + 1),
            "extracted": (rng.random(len(run)) < 1 / (1 + np.exp(HALF - bits))).astype(int),
        }
    )


def line(kind: str, seen: np.ndarray, size: np.ndarray, passes: np.ndarray) -> np.ndarray:
    """Mean bits of canaries of this kind, before the noise."""
    bits = CONSTANT + VIEWS * seen + SIZE * size
    if kind == "unequal slopes":
        bits = bits + 0.8 * (size - np.log2(SIZES[1])) * (seen - 5.585)
    if kind == "bent":
        bits = bits + 0.08 * ((seen - 5.585) ** 2 - 5.0)
    return bits - (passes - 2.585 if kind == "passes" else 0.0)


def planted(kind: str) -> tuple[float, float]:
    """Slopes by doubling of views and of parameters; where the truth is no line, those of the line
    that is nearest to it over all cells."""
    size, passes, level = (axis.ravel() for axis in np.indices((len(SIZES), len(PASSES), LEVELS)))
    log_size, log_passes = np.log2(np.array(SIZES)[size]), np.log2(np.array(PASSES)[passes])
    x = np.column_stack([np.ones(len(level)), level + log_passes, log_size])
    bits = line(kind, level + log_passes, log_size, log_passes)
    _, views, of_size = np.linalg.lstsq(x, bits, rcond=None)[0]
    return float(views), float(of_size)


def level_means(table: Frame) -> Frame:
    """Of `draw`, as `canaries.level_means` gives them."""
    by = ["run", "model", "seen", "size", "at_most"]
    return table.groupby(by)[["exposure", "extracted"]].mean().reset_index()
