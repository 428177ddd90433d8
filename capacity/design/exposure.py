"""Exposures of one model on one data set: bits per parameter against how often everything is seen.
See `questions`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from capacity.base.errors import ConfigError
from capacity.design.optimal import Effects, orthogonal
from capacity.design.prior import Prior, Truths, Variance, within
from capacity.design.space import Space
from capacity.design.targets import Question, counted
from capacity.fitting import fit as estimate
from capacity.fitting import forms
from capacity.fitting.simulated import SEED_NOISE

# R of 1 after 100 exposures and 2 after 1000 (3.3, arXiv 2404.05405, sections 5 and 6), by three
# curves; what each number may be off by, in the coordinate in which it is searched
CURVES = {
    "exposure_exponential": ((2.0, 150.0, 0.8), (0.8, 0.7, 0.3)),
    "exposure_power": ((2.2, 150.0, 1.2), (0.9, 0.7, 0.4)),
    "exposure_log": ((0.0385, 1.72), (0.02, 0.4)),
}
OTHER = {"exposure_exponential": "exposure_power", "exposure_power": "exposure_exponential"}
# a run may learn as if it had this much more or fewer exposures, relative; R of unsaturated pocket
# runs scatters by 14%
PACE = 0.1


class Exposures(Question):
    """R of runs that differ by exposures and seed only, every run a replicate. The noise of a run
    is a pace, as if it had seen everything more or less often, which matters where R rises, and a
    part of R itself, which matters where it does not."""

    per_model = False
    kinds = ("uniform", "bios", "biod", "corpus")
    stated = ("noise", "scatter", "bend")
    noise_words, scatter_words = "bits of one run over seeds", "pace of learning over seeds"

    def prior(self, space: Space) -> Prior:
        """What is assumed where nothing was measured."""
        if len(space.labels) > 1 or len({cell.config.items for cell in space.cells}) > 1:
            sizes = ", ".join(dict.fromkeys(f"{cell.config.items:,}" for cell in space.cells))
            raise ConfigError(
                f"{space.name}: {self.form.name} is about one model on one data set; give --only "
                f"with one of {', '.join(space.labels)}"
                f" and, where it has several, one size of the data ({sizes}) as key=value"
            )
        value, error = CURVES[self.form.name]
        mean = np.array([float(p.to_search(v)) for p, v in zip(self.form.parameters, value)])
        said = ", ".join(f"{name} = {v:g}" for name, v in zip(self.form.names, value))
        return Prior(
            self.form,
            mean,
            np.diag(error) ** 2,
            (0.0, 0.0),
            Variance(SEED_NOISE),
            Variance(PACE),
            1.0 * (self.form.name in OTHER),
            {"truth": f"assumed, {said}, loosely", "noise": "assumed", "scatter": "assumed"}
            | (
                {"bend": f"the curve may be {OTHER[self.form.name]}"}
                if self.form.name in OTHER
                else {}
            ),
        )

    def _noise(self, exposures, truths: Truths) -> np.ndarray:
        """[T, J] standard deviation of R."""
        r = self.form.predict({"exposures": exposures}, truths.theta)
        rise = (
            self.form.predict({"exposures": exposures * 1.001}, truths.theta)
            - self.form.predict({"exposures": exposures / 1.001}, truths.theta)
        ) / (2 * np.log(1.001))
        return np.hypot(truths.noise[:, None] * r, truths.scatter[:, None] * rise) + 1e-9

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell tells, to first order."""
        at = _levels(space)
        slope = self.slopes({"exposures": at}, truths)
        blank = np.zeros(slope.shape[:2])
        # the trend that the form lacks: the other saturating curve instead of this one, with
        # constants that are to it what these are to this
        trend = blank
        if self.form.name in OTHER:
            other = forms.FORMS[OTHER[self.form.name]]
            turned = truths.theta * np.array(CURVES[other.name][0]) / CURVES[self.form.name][0]
            trend = orthogonal(
                other.predict({"exposures": at}, turned)
                - self.form.predict({"exposures": at}, truths.theta),
                slope,
            )
        return Effects(
            slope,
            blank + 1,
            blank,
            self._noise(at, truths),
            blank,
            trend,
            0 * truths.scatter,
            prior.bend,
            None,
            self.asked(truths),
            prior.error,
        )

    def simulate(
        self, space: Space, runs: list[tuple[int, int]], truths: Truths, dice=None, known=None
    ) -> dict:
        """Columns of a table of finished runs (cell, seed) under a single truth; dice: None for no
        noise."""
        cells = np.array([j for j, _ in runs], int)
        at = _levels(space)[cells]
        if dice is None:
            r = self.form.predict({"exposures": at}, truths.theta[0])
        else:
            pace = np.exp(truths.scatter[0] * dice.standard_normal(len(at)))
            r = self.form.predict({"exposures": at * pace}, truths.theta[0]) * (
                1 + truths.noise[0] * dice.standard_normal(len(at))
            )
        return {
            "cell": cells,
            "seed": np.array([seed for _, seed in runs], int),
            "label": np.full(len(at), space.labels[0]),
            "status": np.full(len(at), "finished"),
            "exposures": at,
            "bits_per_parameter": r,
        }

    def ideal(self, space: Space, truths: Truths) -> estimate.Points:
        """All cells, without noise."""
        return self.points(
            pd.DataFrame(self.simulate(space, [(j, 0) for j in range(len(space.cells))], truths))
        )

    def points(self, frame) -> estimate.Points:
        """Of a table of runs; runs that hold nothing yet say nothing of the curve, as
        `laws.exposures` has it."""
        done = frame[(frame.status == "finished") & (frame.bits_per_parameter > 0)]
        return estimate.Points(
            {"exposures": done.exposures.to_numpy(float)}, done.bits_per_parameter.to_numpy(float)
        )

    def learned(self, prior: Prior, space: Space, frame, source: str) -> tuple[Prior, dict]:
        """The belief after these runs; noise and pace are scaled together by what replicates
        show."""
        done = frame[(frame.status == "finished") & (frame.bits_per_parameter > 0)]
        if done.empty:
            return prior, {}
        at, y, now = done.exposures.to_numpy(float), done.bits_per_parameter.to_numpy(float), prior

        def left(u):
            truths = replace(prior, mean=u).middle()
            return y - self.form.predict({"exposures": at}, truths.theta[0]), self.slopes(
                {"exposures": at}, truths
            )[0]

        for _ in range(4):  # the noise given the curve, the curve given the noise
            square, dof = within(
                y
                / self._noise(at, replace(now, noise=prior.noise, scatter=prior.scatter).middle())[
                    0
                ],
                done.cell.to_numpy(),
            )
            scale = float(np.sqrt((prior.noise.dof + dof * square) / (prior.noise.dof + dof)))
            noise, pace = (
                Variance(v.sd * scale, v.dof + dof) for v in (prior.noise, prior.scatter)
            )
            sd = self._noise(at, replace(now, noise=noise, scatter=pace).middle())[0]
            now = replace(prior.fitted(left, np.diag(sd**2)), noise=noise, scatter=pace)
        words = {"truth": f"{len(y)} runs of {source}, and {prior.sources['truth']}"}
        if dof:
            words |= dict.fromkeys(
                ("noise", "scatter"), f"{counted(dof)} of {source}, scaled together"
            )
        return replace(now, sources=prior.sources | words), {}


def _levels(space: Space) -> np.ndarray:
    return np.array([cell.config.exposures for cell in space.cells])
