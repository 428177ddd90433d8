"""Points with a planted truth for tests of the fitting engine."""

import numpy as np

from capacity.fitting.forms import form
from capacity.fitting.simulated import STUDIES

EPOCH = {
    "e": 1.817,
    "a": 482.01,
    "b": 2085.43,
    "alpha": 0.3478,
    "beta": 0.3658,
}  # Besiroglu et al., arXiv 2404.10102


def drawn(name, draw=0, kind="even"):
    study = STUDIES[f"{name}, {kind}"]
    return study, study.points(np.random.default_rng(draw))


def surface(noise=0.0, n=240, seed=0):
    """Losses at N and D as spread as those of Hoffmann et al., figure 4."""
    dice = np.random.default_rng(seed)
    x = {
        "parameters": np.exp(dice.uniform(np.log(5e7), np.log(1.6e10), n)),
        "tokens": np.exp(dice.uniform(np.log(1e9), np.log(3e11), n)),
    }
    return x, form("chinchilla").predict(x, EPOCH) * np.exp(noise * dice.standard_normal(n))
