"""Exposures of one model on one data set: bits per parameter against how often everything is seen
(see `target`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from capacity.base.errors import ConfigError
from capacity.design.optimal import Effects, orthogonal
from capacity.design.prior import Prior, Truths, Variance, within
from capacity.design.space import Space
from capacity.design.target import Own, Runs, Target, coordinates, dof_words
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
# a run may learn as if it had this much more or fewer exposures, relative; R of pocket runs below
# their plateau scatters by 14%
PACE = 0.1
ROUNDS = 4  # the noise given the curve, the curve given the noise


class Exposures(Target):
    """R of runs that differ by exposures and seed only, every run a replicate. The noise of a run
    is a pace, as if it had seen everything more or less often, which matters where R rises, and a
    part of R itself, which matters where it does not."""

    per_model = False
    kinds = ("uniform", "bios", "biod", "corpus")
    stated = ("noise", "scatter", "bend")
    noise_words = "bits of one run over seeds"
    scatter_words = "pace of learning over seeds"

    def prior(self, space: Space) -> Prior:
        """What is assumed where nothing was measured."""
        if len(space.models) > 1 or len({cell.config.items for cell in space.cells}) > 1:
            sizes = ", ".join(dict.fromkeys(f"{cell.config.items:,}" for cell in space.cells))
            raise ConfigError(
                f"{space.name}: {self.form.name} is about one model on one data set; give --only "
                f"with one of {', '.join(space.models)}"
                f" and, where it has several, one size of the data ({sizes}) as key=value"
            )
        value, error = CURVES[self.form.name]
        words = ", ".join(f"{name} = {v:g}" for name, v in zip(self.form.names, value, strict=True))
        sources = {
            "truth": f"assumed, {words}, loosely",
            "noise": "assumed",
            "scatter": "assumed",
        }
        if other := OTHER.get(self.form.name):
            sources["bend"] = f"the curve may be {other}"
        return Prior(
            form=self.form,
            mean=coordinates(self.form, value),
            covariance=np.diag(error) ** 2,
            log_k=(0.0, 0.0),
            noise=Variance(SEED_NOISE),
            scatter=Variance(PACE),
            bend=1.0 if other else 0.0,
            sources=sources,
        )

    def _noise(self, exposures: np.ndarray, truths: Truths) -> np.ndarray:
        """[T, J] standard deviation of R."""
        r = self.form.predict({"exposures": exposures}, truths.theta)
        rise = (
            self.form.predict({"exposures": exposures * 1.001}, truths.theta)
            - self.form.predict({"exposures": exposures / 1.001}, truths.theta)
        ) / (2 * np.log(1.001))
        return np.hypot(truths.noise[:, None] * r, truths.scatter[:, None] * rise) + 1e-9

    def effects(self, space: Space, truths: Truths, prior: Prior) -> Effects:
        """What one run of each cell contributes, to first order."""
        at = _levels(space)
        slope = self.slopes({"exposures": at}, truths)
        blank = np.zeros(slope.shape[:2])
        return Effects(
            slope=slope,
            usable=blank + 1,
            bias=blank,
            noise=self._noise(at, truths),
            own=blank,
            trend=self._trend(at, slope, truths),
            scatter=0 * truths.scatter,
            bend=prior.bend,
            cluster=None,
            contrast=self.contrast(truths),
            prior=prior.error,
        )

    def _trend(self, at: np.ndarray, slope: np.ndarray, truths: Truths) -> np.ndarray:
        """[T, J] the trend that the form lacks: the other curve with a plateau instead of this one,
        with constants that are to it what these are to this."""
        if self.form.name not in OTHER:
            return np.zeros(slope.shape[:2])
        other = forms.FORMS[OTHER[self.form.name]]
        turned = truths.theta * np.array(CURVES[other.name][0]) / CURVES[self.form.name][0]
        there, here = (
            form.predict({"exposures": at}, theta)
            for form, theta in ((other, turned), (self.form, truths.theta))
        )
        return orthogonal(there - here, slope)

    def simulate(
        self,
        space: Space,
        runs: Runs,
        truths: Truths,
        rng: np.random.Generator | None = None,
        known: Own | None = None,
    ) -> dict[str, np.ndarray]:
        """As of any target; nothing is known of models."""
        cells = np.array([j for j, _ in runs], int)
        at = _levels(space)[cells]
        if rng is None:
            r = self.form.predict({"exposures": at}, truths.theta[0])
        else:
            pace = np.exp(truths.scatter[0] * rng.standard_normal(len(at)))
            r = self.form.predict({"exposures": at * pace}, truths.theta[0]) * (
                1 + truths.noise[0] * rng.standard_normal(len(at))
            )
        return {
            "cell": cells,
            "seed": np.array([seed for _, seed in runs], int),
            "model": np.full(len(at), space.models[0]),
            "status": np.full(len(at), "finished"),
            "exposures": at,
            "bits_per_parameter": r,
        }

    def points(self, frame: pd.DataFrame) -> estimate.Points:
        """Of a table of runs. Runs that hold nothing yet are left out, as in
        `analysis.facts.exposures`."""
        done = _holding(frame)
        return estimate.Points(
            {"exposures": done.exposures.to_numpy(float)}, done.bits_per_parameter.to_numpy(float)
        )

    def learned(
        self, prior: Prior, space: Space, frame: pd.DataFrame, source: str
    ) -> tuple[Prior, Own]:
        """The prior updated by these runs; noise and pace are scaled together by what replicates
        show."""
        done = _holding(frame)
        if done.empty:
            return prior, {}
        at, y, now = done.exposures.to_numpy(float), done.bits_per_parameter.to_numpy(float), prior

        def left(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            truths = replace(prior, mean=u).middle()
            value = self.form.predict({"exposures": at}, truths.theta[0])
            return y - value, self.slopes({"exposures": at}, truths)[0]

        dof = 0
        for _ in range(ROUNDS):
            start = replace(now, noise=prior.noise, scatter=prior.scatter)
            square, dof = within(y / self._noise(at, start.middle())[0], done.cell.to_numpy())
            scale = float(np.sqrt((prior.noise.dof + dof * square) / (prior.noise.dof + dof)))
            noise, pace = (
                Variance(v.sd * scale, v.dof + dof) for v in (prior.noise, prior.scatter)
            )
            sd = self._noise(at, replace(now, noise=noise, scatter=pace).middle())[0]
            now = replace(prior.fitted(left, np.diag(sd**2)), noise=noise, scatter=pace)
        sources = {"truth": f"{len(y)} runs of {source}, and {prior.sources['truth']}"}
        if dof:
            words = f"{dof_words(dof)} of {source}, scaled together"
            sources |= {"noise": words, "scatter": words}
        return now.sourced(**sources), {}


def _levels(space: Space) -> np.ndarray:
    return np.array([cell.config.exposures for cell in space.cells])


def _holding(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.loc[(frame.status == "finished") & (frame.bits_per_parameter > 0)]
