"""The corner between what a model can hold and what its data hold: all finished runs of random
data, fitted with a rounded or a sharp corner."""

from __future__ import annotations

import numpy as np
import pandas as pd

from capacity.analysis.random import plateaus
from capacity.design.optimal import Effects, orthogonal
from capacity.design.plateau import Plateau
from capacity.design.prior import Prior, Truths
from capacity.design.random_data import RandomData, ceilings
from capacity.design.space import Space
from capacity.design.target import CAPACITY, FLOOR, SHARPNESS
from capacity.fitting import fit as estimate
from capacity.fitting import forms

SHARE = 0.3  # of the slope by log capacity, below which a run is data-limited


class Corner(RandomData):
    """m = H (1 + (H / (alpha P))^k)^(-1/k), clustered by model."""

    def assumed(self, space: Space) -> tuple[np.ndarray, np.ndarray]:
        return np.log([CAPACITY[0], SHARPNESS[0]]), np.diag([CAPACITY[1], SHARPNESS[1]]) ** 2

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell contributes, to first order."""
        cluster = space.cluster
        sizes = self.sizes(space)[cluster]
        slope = self.slopes({"parameters": sizes, "ceiling_bits": ceilings(space)}, truths)
        share = self._share(slope)
        # data-limited runs are far less noisy than the rest; many of them would set the scale of a
        # robust fit and make outliers of the others
        return Effects(
            slope=slope,
            usable=(share > SHARE).astype(float),
            bias=np.zeros_like(share),
            noise=np.hypot(truths.noise[:, None] * share, FLOOR),
            own=share,
            trend=orthogonal(share * self.trend(self.sizes(space))[cluster], slope),
            scatter=truths.scatter,
            bend=prior.bend,
            cluster=cluster,
            contrast=self.contrast(truths),
            prior=prior.error,
        )

    def points(self, frame: pd.DataFrame) -> estimate.Points:
        """Of a table of runs."""
        done = RandomData.informative(self, frame)
        return estimate.Points(
            {
                "parameters": done.parameters_total.to_numpy(float),
                "ceiling_bits": done.strict_ceiling_bits.to_numpy(float),
            },
            done.strict_bits.to_numpy(float),
            cluster=done.model.to_numpy(),
        )


class SharpCorner(Corner):
    """m = min(alpha P, H), fitted to runs whose corner is round. What the corner takes away from
    runs near it is a bias of the fit; the fit aims at the plateau, as one of `Plateau` does."""

    def assumed(self, space: Space) -> tuple[np.ndarray, np.ndarray]:
        return RandomData.assumed(self, space)

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell contributes, to first order: beyond the corner, what a plateau
        contributes to the same alpha."""
        plateau = Plateau(forms.FORMS["capacity_linear"], "alpha", self.width)
        return plateau.effects(space, truths, prior)

    def truth(self, space: Space, truths: Truths) -> float:
        """The mean of log C / P over the models, which a bend turns around and does not move."""
        return float(truths.theta[0, 0])

    def informative(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.loc[plateaus.classify(frame) == "capacity_limited"]
