"""What a form is: formula, units, bounds, limits, source, and where a search for its parameters
begins.

A form of your own is a `Form` like those of `capacity_forms` and its neighbours; nothing has to be
registered. The formulas with their exact derivatives are in `curves`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Arrays = dict[str, np.ndarray]  # by the name of a variable, all [n]
Box = dict[str, tuple[float, float]]  # lowest and highest value by the name of a parameter
Starts = Callable[[Arrays, np.ndarray], np.ndarray]  # (x, y) -> parameters [S, k]
Curve = Callable[..., tuple[Any, tuple[Any, ...]]]  # (x, parameters) -> value, derivatives


@dataclass(frozen=True)
class Variable:
    """A quantity that a form reads or predicts. low, high: where values may lie (both ends included
    unless `positive`)."""

    name: str
    unit: str
    meaning: str
    low: float = -np.inf
    high: float = np.inf
    positive: bool = False


@dataclass(frozen=True)
class Parameter:
    """A number to be fitted. scale "log": searched, and its interval formed, in its natural
    logarithm; low and high bound it."""

    name: str
    unit: str
    meaning: str
    low: float = -np.inf
    high: float = np.inf
    scale: str = "linear"

    def to_search(self, value: ArrayLike) -> Any:
        """From the parameter to the coordinate in which it is searched."""
        with np.errstate(divide="ignore"):
            return np.log(value) if self.scale == "log" else np.asarray(value, float)

    def to_natural(self, u: ArrayLike) -> Any:
        """From the coordinate of the search back to the parameter."""
        with np.errstate(over="ignore"):
            return np.exp(u) if self.scale == "log" else np.asarray(u, float)


@dataclass(frozen=True, kw_only=True)
class Form:
    """One law. curve: a function of `curves`. transform: where residuals are taken (log, logit,
    identity). linear: parameters in which the value is linear (up to a part that is free of them)
    when the others are given; they are solved for, not searched (variable projection). starts: (x,
    y) -> [S, k] where searches begin; box: (x, y) -> {parameter: (low, high)} where the data narrow
    the bounds; interval: the method of `intervals` that covers (results/studies/coverage); robust:
    whether Huber's loss is the default. It is not for counted parts, whose noise is skewed: a loss
    that trusts the middle of it is biased. lowest_best: the target is the better the lower it is,
    as a loss."""

    name: str
    formula: str
    target: Variable
    variables: tuple[Variable, ...]
    parameters: tuple[Parameter, ...]
    domain: str
    asymptotes: str
    source: str
    curve: Curve
    starts: Starts
    transform: str = "log"
    linear: tuple[str, ...] = ()
    box: Callable[[Arrays, np.ndarray], Box] | None = None
    interval: str = "profile"
    robust: bool = True
    lowest_best: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    def index(self, name: str) -> int:
        """Place of a parameter; ValueError names the ones there are."""
        if name not in self.names:
            raise ValueError(
                f"{self.name} has no parameter {name!r}: it has {', '.join(self.names)}"
            )
        return self.names.index(name)

    def vector(self, theta: Mapping[str, ArrayLike] | ArrayLike) -> np.ndarray:
        """Parameters as an array [..., k], from a dict by name or from such an array."""
        if isinstance(theta, Mapping):
            if set(theta) != set(self.names):
                raise ValueError(
                    f"{self.name} has the parameters {', '.join(self.names)}, not "
                    f"{', '.join(theta)}"
                )
            columns = np.broadcast_arrays(*(np.asarray(theta[n], float) for n in self.names))
            return np.stack(columns, axis=-1)
        return np.asarray(theta, float)

    def inputs(self, x: Mapping[str, ArrayLike]) -> Arrays:
        """The variables of this form as arrays of one length [n]; ValueError where one is absent or
        outside of its domain."""
        if absent := [v.name for v in self.variables if v.name not in x]:
            raise ValueError(
                f"{self.name} needs {', '.join(absent)} (units: "
                f"{', '.join(f'{v.name} in {v.unit}' for v in self.variables)})"
            )
        columns = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(x[v.name], float)) for v in self.variables)
        )
        arrays = {v.name: a for v, a in zip(self.variables, columns, strict=True)}
        for v in self.variables:
            a = arrays[v.name]
            bad = ~np.isfinite(a) | (a < v.low) | (a > v.high) | ((a <= 0) if v.positive else False)
            if bad.any():
                least = "above 0" if v.positive else f"from {v.low:g} to {v.high:g}"
                raise ValueError(
                    f"{self.name}: {v.name} = {a[bad][0]:g}, allowed are finite values {least} "
                    f"({v.unit})"
                )
        return arrays

    def predict(
        self, x: Mapping[str, ArrayLike], theta: Mapping[str, ArrayLike] | ArrayLike
    ) -> np.ndarray:
        """The target [..., n] at the points x (arrays [n] or numbers) with parameters theta (dict,
        or array [..., k])."""
        return self.slopes(self.inputs(x), self.vector(theta))[0]

    def slopes(self, x: Arrays, theta: np.ndarray) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Value [..., n] and its derivatives by each parameter (broadcastable to it); x as `inputs`
        returns it."""
        return self.curve(x, *(theta[..., i, None] for i in range(len(self.parameters))))

    def bounds(self, x: Arrays, y: np.ndarray) -> np.ndarray:
        """[k, 2] lowest and highest values that are searched for these data."""
        own = self.box(x, y) if self.box else {}
        return np.array([own.get(p.name, (p.low, p.high)) for p in self.parameters], float)

    def describe(self) -> dict[str, Any]:
        """Everything but the code, for a file."""
        return {
            "name": self.name,
            "formula": self.formula,
            "target": vars(self.target) | {},
            "transform": self.transform,
            "variables": {v.name: {"unit": v.unit, "meaning": v.meaning} for v in self.variables},
            "parameters": {
                p.name: {
                    "unit": p.unit,
                    "meaning": p.meaning,
                    "low": p.low,
                    "high": p.high,
                    "scale": p.scale,
                }
                for p in self.parameters
            },
            "domain": self.domain,
            "asymptotes": self.asymptotes,
            "linear": list(self.linear),
            "interval": self.interval,
            "robust": self.robust,
            "source": self.source,
        }


def grid(*values: Iterable[float]) -> np.ndarray:
    """All combinations of values [S, k], one column per argument."""
    return np.array(list(itertools.product(*values)), float)


# --- what several families share
# --------------------------------------------------------------------------------------------------

MORRIS = "Morris et al., arXiv 2505.24832 v3"
PARAMETERS = Variable(
    "parameters",
    "parameters",
    "parameters of the model, in the convention of the fit",
    positive=True,
)
BITS_PER_PARAMETER = Variable("bits_per_parameter", "bits per parameter", "bits held per parameter")
