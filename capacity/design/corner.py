"""Laws of capacity beside the plain ones: an intercept, and the sharp corner. See `questions`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from capacity.analysis.random import plateaus as fit
from capacity.base.errors import ConfigError
from capacity.design.optimal import Effects
from capacity.design.prior import Prior, Truths
from capacity.design.space import Space
from capacity.design.targets import CAPACITY, STARTS, Capacity, Corner
from capacity.fitting import fit as estimate
from capacity.fitting import forms

# what c0 may be off by, as a part of the smallest model's capacity: the pocket study's is -0.19 of
# it
INTERCEPT = 0.2
LEAST = 0.05  # of the assumed capacity, below which no draw of a capacity falls


class Affine(Capacity):
    """Plateaus, C = c0 + alpha P. A width of c0 is in bits, for c0 may be 0 or negative; one of
    alpha is relative to alpha."""

    stated = ("capacity", "k", "noise", "scatter", "bend")

    @property
    def absolute(self) -> bool:
        """Whether a width is absolute."""
        return self.parameter == "c0"

    def _assumed(self, space):
        # the capacity is known in the middle of the sizes, c0 against that of the smallest model
        smallest, middle = CAPACITY[0] * self.sizes(space).min(), self._middle(space)
        turn = np.array([[smallest, 0.0], [-smallest / middle, CAPACITY[0]]])
        return np.array([0.0, CAPACITY[0]]), turn @ np.diag([INTERCEPT, CAPACITY[1]]) ** 2 @ turn.T

    def _middle(self, space) -> float:
        return float(np.exp(np.log(self.sizes(space)).mean()))

    def assume(self, prior: Prior, space: Space, given: dict[str, float]) -> Prior:
        """As of any question; capacity: bits per parameter in the middle of the sizes. Two of c0,
        alpha and capacity make the third, and one alone leaves the capacity of the middle where it
        is, or c0."""
        stated = {"c0", "alpha", "capacity"} & set(given)
        if len(stated) == 3:
            raise ConfigError("--assume: c0, alpha and capacity are one too many; give two of them")
        for name in stated - {"c0"}:
            if not 0 < given[name] < math.inf:
                raise ConfigError(
                    f"--assume {name}={given[name]:g}: expected a positive number of bits per "
                    f"parameter"
                )
        middle, (c0, alpha) = self._middle(space), prior.mean
        if "c0" in stated or stated == {"capacity"}:
            c0 = given.get("c0", c0)
            alpha = (
                given["alpha"]
                if "alpha" in stated
                else given.get("capacity", alpha + prior.mean[0] / middle) - c0 / middle
            )
        elif "alpha" in stated:
            alpha = given["alpha"]
            c0 = (given.get("capacity", prior.mean[1] + c0 / middle) - alpha) * middle
        told = {"c0": c0, "alpha": alpha} if stated else {}
        least = min(
            c0 + alpha * size for size in (self.sizes(space).min(), self.sizes(space).max())
        )
        if not (alpha > 0 and math.isfinite(c0) and least > 0):
            said = ", ".join(
                f"{name}={given[name]:g}" for name in ("c0", "alpha", "capacity") if name in stated
            )
            raise ConfigError(
                f"--assume {said}: {c0:.4g} + {alpha:.4g} P is no capacity for all models of "
                f"{space.name}; expected bits above 0"
            )
        found = super(Capacity, self).assume(
            prior, space, {n: v for n, v in given.items() if n not in stated} | told
        )
        words = f"c0 = {c0:,.0f} bits, alpha = {alpha:.3g}, " + (
            "given" if len(stated) == 2 else "one of them given"
        )
        return replace(found, sources=found.sources | {"truth": words}) if stated else found

    def _law(self, sizes, truths):
        return np.maximum(super()._law(sizes, truths), LEAST * CAPACITY[0] * sizes)

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell tells; c0 is carried by the smallest models, its interval takes
        the noise of all."""
        return replace(super().effects(space, truths, prior), pooled=True)

    def truth(self, space: Space, truths: Truths) -> float:
        """Least squares of log C over all models, without noise or corner; not linear in c0 and
        alpha."""
        sizes = self.sizes(space)
        if not truths.bend.any() or len(sizes) < len(self.form.names):
            return float(truths.theta[0, self.form.index(self.parameter)])
        points = estimate.Points({"parameters": sizes}, self.capacities(space, truths)[0])
        return estimate.fit(self.form, points, kept=STARTS, delta=np.inf).values[self.parameter]


class Hard(Corner):
    """All finished runs of random data, fitted with min(alpha P, H) although their corner is round.
    What the corner takes away from runs near it is a bias of the fit; the target is the plateau, as
    of `Capacity`."""

    def _assumed(self, space):
        return np.log([CAPACITY[0]]), np.array([[CAPACITY[1] ** 2]])

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell tells, to first order: beyond the corner, what a plateau tells
        of the same alpha."""
        return Capacity(forms.FORMS["capacity_linear"], "alpha", self.width).effects(
            space, truths, prior
        )

    def truth(self, space: Space, truths: Truths) -> float:
        """The mean of log C / P over the models, which a bend turns around and does not move."""
        return float(truths.theta[0, 0])

    def _measured(self, frame):
        return frame[fit.classify(frame) == "saturated"]
