"""The laws of this package as data: formula, units, bounds, limits, source, and where a search for
their parameters begins.

    from capacity.fitting.forms import FORMS, form
    law = form("smooth_corner")
    law.predict({"parameters": p, "ceiling_bits": h}, {"alpha": 3.6, "k": 5.0})      # array like p
    print(law.describe())                                                            # all that is
                                                                                     known of it,
                                                                                     JSON-able

`estimate.fit` fits any of them, `intervals` says how far to trust the parameters, `compare` which
form is to be preferred. The formulas with their exact derivatives are in `curves`. A form of your
own is a `Form` like those below; nothing has to be registered.
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from typing import Callable

import numpy as np

from capacity.fitting import curves
from capacity.fitting.statistics import LEVEL as LEVEL

MORRIS = "Morris et al., arXiv 2505.24832 v3"
PHYSICS = "Physics of Language Models 3.3, arXiv 2404.05405"
HOFFMANN = "Hoffmann et al., arXiv 2203.15556, section 3.3"


@dataclass(frozen=True)
class Variable:
    """A quantity that a form reads or says. low, high: where values may lie (both ends included
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

    def inward(self, value):
        """From the parameter to the coordinate in which it is searched."""
        with np.errstate(divide="ignore"):
            return np.log(value) if self.scale == "log" else np.asarray(value, float)

    def outward(self, u):
        """Back."""
        with np.errstate(over="ignore"):
            return np.exp(u) if self.scale == "log" else np.asarray(u, float)


@dataclass(frozen=True)
class Form:
    """One law. curve: a function of `curves`. transform: where residuals are taken (log, logit,
    identity). linear: parameters in which the value is linear (up to a part that is free of them)
    when the others are given; they are solved for, not searched (variable projection). starts: (x,
    y) -> [S, k] where searches begin; box: (x, y) -> {parameter: (low, high)} where the data narrow
    the bounds; interval: the method of `intervals` that covers (results/studies/coverage); robust:
    whether Huber's loss is the default. It is not for counted parts, whose noise is skewed: a loss
    that trusts the middle of it is biased."""

    name: str
    formula: str
    target: Variable
    variables: tuple[Variable, ...]
    parameters: tuple[Parameter, ...]
    domain: str
    asymptotes: str
    source: str
    curve: Callable
    starts: Callable
    transform: str = "log"
    linear: tuple[str, ...] = ()
    box: Callable | None = None
    interval: str = "profile"
    robust: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    def place(self, name: str) -> int:
        """Place of a parameter; ValueError names the ones there are."""
        if name not in self.names:
            raise ValueError(
                f"{self.name} has no parameter {name!r}: it has {', '.join(self.names)}"
            )
        return self.names.index(name)

    def vector(self, theta) -> np.ndarray:
        """Parameters as an array [..., k], from a dict by name or from such an array."""
        if isinstance(theta, dict):
            if set(theta) != set(self.names):
                raise ValueError(
                    f"{self.name} has the parameters {', '.join(self.names)}, not "
                    f"{', '.join(theta)}"
                )
            theta = np.stack(
                np.broadcast_arrays(*(np.asarray(theta[n], float) for n in self.names)), axis=-1
            )
        return np.asarray(theta, float)

    def inputs(self, x: dict) -> dict[str, np.ndarray]:
        """The variables of this form as arrays of one length [n]; ValueError where one is absent or
        outside of its domain."""
        if absent := [v.name for v in self.variables if v.name not in x]:
            raise ValueError(
                f"{self.name} needs {', '.join(absent)} (units: "
                f"{', '.join(f'{v.name} in {v.unit}' for v in self.variables)})"
            )
        arrays = dict(
            zip(
                (v.name for v in self.variables),
                np.broadcast_arrays(
                    *(np.atleast_1d(np.asarray(x[v.name], float)) for v in self.variables)
                ),
            )
        )
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

    def predict(self, x: dict, theta) -> np.ndarray:
        """The target [..., n] at the points x (arrays [n] or numbers) with parameters theta (dict,
        or array [..., k])."""
        return self.slopes(self.inputs(x), self.vector(theta))[0]

    def slopes(self, x: dict[str, np.ndarray], theta: np.ndarray) -> tuple[np.ndarray, tuple]:
        """Value [..., n] and its derivatives by each parameter (broadcastable to it); x as `inputs`
        returns it."""
        return self.curve(x, *(theta[..., i, None] for i in range(len(self.parameters))))

    def bounds(self, x: dict, y: np.ndarray) -> np.ndarray:
        """[k, 2] lowest and highest values that are searched for these data."""
        own = self.box(x, y) if self.box else {}
        return np.array([own.get(p.name, (p.low, p.high)) for p in self.parameters], float)

    def describe(self) -> dict:
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


def form(name: str) -> Form:
    """A form by its name; ValueError, in one line, names the nearest."""
    if name in FORMS:
        return FORMS[name]
    near = difflib.get_close_matches(str(name), FORMS, 1, 0.4)
    raise ValueError(
        f"unknown form {name!r}"
        + (f" (did you mean {near[0]}?)" if near else "")
        + f": use one of {', '.join(FORMS)}"
    )


# --- plain formulas
# --------------------------------------------------------------------------------------------------


def hard_corner(parameters, data_bits, alpha):
    """min(alpha P, H) in bits: all data below capacity, capacity above it (Morris et al.,
    2505.24832 v3, App. A.1)."""
    return np.minimum(alpha * np.asarray(parameters, float), data_bits)


def smooth_corner(parameters, data_bits, alpha, k):
    """H (1 + (H / (alpha P))^k)^(-1/k) in bits: tends to H below capacity, to alpha P above,
    2^(-1/k) alpha P at it.

    The corner is an empirical rounding of `hard_corner`, not a published law. Morris et al. (v3,
    Table 1 and App. A.1) report 2.60e6 bits for one shape and 2.29e6 and 2.39e6 for the same shape
    at H = 1.11 alpha P, hence k of 4 to 5.5.
    """
    return curves.smooth_corner(
        {"parameters": np.asarray(parameters, float), "ceiling_bits": np.asarray(data_bits, float)},
        alpha,
        k,
    )[0]


def power(parameters, a, gamma):
    """a P^gamma in bits; gamma = 1 makes a the bits per parameter."""
    return a * np.asarray(parameters, float) ** gamma


# --- where searches begin
# --------------------------------------------------------------------------------------------------


def _grid(*values) -> np.ndarray:
    return np.array(list(itertools.product(*values)), float)


def _quantiles(values, parts=(0.1, 0.35, 0.65, 0.9)) -> np.ndarray:
    return np.quantile(values, parts)


def _corner_starts(x, y):
    return _grid(
        np.median(y / x["parameters"]) * np.array([0.7, 1.0, 1.4, 2.0]), [2.0, 4.0, 8.0, 16.0]
    )


def _corner_box(x, y):
    ratio = float(np.median(y / x["parameters"]))
    return {"alpha": (ratio / 100, ratio * 100)}


def _exposure_starts(x, y):
    middle = np.sqrt(x["exposures"].min() * x["exposures"].max())
    return _grid(
        [max(float(y.max()), 1e-9)],
        middle * np.exp([-4.0, -2.0, 0.0, 2.0, 4.0]),
        [0.3, 0.6, 1.0, 2.0, 4.0],
    )


def _exposure_box(x, y):
    middle = float(np.sqrt(x["exposures"].min() * x["exposures"].max()))
    return {
        "e0": (middle * np.exp(-12), middle * np.exp(12)),
        "r_inf": (0.0, 1e3 * max(float(np.abs(y).max()), 1e-9)),
    }


def _precision_starts(x, y):
    return _grid([max(float(y.max()), 1e-9)], [0.5, 1.0, 2.0, 4.0, 8.0])


def _shifted_starts(x, y):
    return _grid(
        [max(float(y.max()), 1e-9)], [0.5, 1.0, 3.0, 10.0, 30.0, 100.0], [0.4, 0.7, 1.0, 2.0, 4.0]
    )


def _noise_starts(x, y):
    return _grid([max(float(y.max()), 1e-9)], np.geomspace(0.3, 3000, 12))


def _storage_starts(x, y):
    top = max(float(y.max()), 1e-9)
    return _grid(
        np.unique(np.maximum(np.quantile(y / x["bits_per_weight"], np.linspace(0.1, 1, 8)), 1e-9)),
        [top, 0.9 * top],
    )


def _sigmoid_starts(x, y):
    t = x["tokens_per_parameter"]
    return np.array(
        [
            [c, s / max(m, 1e-9), m]
            for c in (0.7, 1.0, 1.34)
            for m in _quantiles(t)
            for s in (1.0, 2.0, 4.0)
        ]
    )


def _sigmoid_box(x, y):
    top = float(x["tokens_per_parameter"].max())
    return {
        "s": (1e-3 / top, 1e3 / float(x["tokens_per_parameter"].min())),
        "t0": (-10 * top, 10 * top),
    }


def _log_sigmoid_starts(x, y):
    return _grid([0.7, 1.0, 1.34], [0.7, 1.5, 3.0], _quantiles(x["tokens_per_parameter"]))


def _log_sigmoid_box(x, y):
    t = x["tokens_per_parameter"]
    return {"t0": (float(t.min()) / 100, float(t.max()) * 100)}


def _line(x, target):
    design = np.column_stack(
        [np.ones(len(target)), np.log2(x["times_seen"]), np.log2(x["parameters"])]
    )
    return np.linalg.lstsq(design, target, rcond=None)[0]


def _extraction_starts(x, y):
    inner = (y > 0.02) & (y < 0.98)
    part = {name: values[inner] for name, values in x.items()} if inner.sum() >= 3 else x
    return np.array([_line(x, y), _line(part, y[inner] if inner.sum() >= 3 else y)])


def _logistic_starts(x, y):
    by_logit = [
        _line(x, np.log(p / (1 - p)))
        for low in (0.005, 0.02, 0.1)
        for p in [np.clip(y, low, 1 - low)]
    ]
    return np.array([*by_logit, 2 * by_logit[-1], 4 * by_logit[-1]])


def _lag_starts(of_amount):
    def starts(x, y):
        lag = x["lag"]
        return _grid(
            [max(float(y.max()), 1e-9)],
            np.geomspace(lag[lag > 0].min(), lag.max(), 6),
            of_amount(y),
        )

    return starts


def _lag_box(name):
    return lambda x, y: {
        name: (float(x["lag"][x["lag"] > 0].min()) / 100, 10 * float(x["lag"].max()))
    }


def _power_starts(x, y):
    return _grid([1.0], [0.5, 0.8, 1.0, 1.2, 1.5])


CHINCHILLA_GRID = {
    "alpha": np.arange(0, 2.1, 0.5),
    "beta": np.arange(0, 2.1, 0.5),
    "log_e": np.arange(-1, 1.1, 0.5),
    "log_a": np.arange(0, 26, 5.0),
    "log_b": np.arange(0, 26, 5.0),
}


def chinchilla_starts(x, y):
    """The 4,500 published starts (Hoffmann et al., appendix D.2, as in Besiroglu et al., arXiv
    2404.10102); pass them to `estimate.fit` to search as they did. The form's own starts project E,
    A and B instead: a finer grid of alpha and beta is all that remains."""
    log_e, log_a, log_b, alpha, beta = (
        CHINCHILLA_GRID[n] for n in ("log_e", "log_a", "log_b", "alpha", "beta")
    )
    return _grid(np.exp(log_e), np.exp(log_a), np.exp(log_b), alpha, beta)


def _chinchilla_projected(x, y):
    exponents = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.3, 1.7, 2.0)
    return _grid([1.0], [1.0], [1.0], exponents, exponents)


# --- the laws
# --------------------------------------------------------------------------------------------------

_P = Variable(
    "parameters",
    "parameters",
    "parameters of the model, in the convention of the fit",
    positive=True,
)
_H = Variable(
    "ceiling_bits",
    "bits",
    "all that the data can give, in the bit convention of the fit",
    positive=True,
)
_E = Variable("exposures", "times", "how often each item is seen", positive=True)
_W = Variable("bits_per_weight", "bits", "stored bits per weight", positive=True)
_T = Variable(
    "tokens_per_parameter", "tokens", "tokens of the training set per parameter", positive=True
)
_N = Variable("times_seen", "times", "how often the sequence is seen", positive=True)
_LAG = Variable("lag", "updates", "updates since the last view", low=0.0)
_BITS = Variable("bits", "bits", "memorized bits, or their plateau over data sizes", positive=True)
_R = Variable("bits_per_parameter", "bits per parameter", "bits held per parameter")
_F = Variable("score", "", "F1 of half of all flagged, or AUC; chance is 0.5", low=0.5, high=1.0)
_X = Variable(
    "extracted", "", "part of the sequences that greedy decoding writes", low=0.0, high=1.0
)
_M = Variable("memory", "bits", "bits above controls that were never seen")
_L = Variable("loss", "nats per token", "loss on held-out text", positive=True)

_ALPHA = Parameter("alpha", "bits per parameter", "capacity per parameter", 0.0, scale="log")
_EXPOSURE = (
    Parameter("r_inf", "bits per parameter", "plateau", 0.0),
    Parameter("e0", "exposures", "scale", 0.0, scale="log"),
    Parameter("b", "", "shape", 0.1, 6.0, "log"),
)
_C = Parameter("c", "bits per parameter", "held at full precision", 0.0)
_SIGMOID_C = Parameter("c", "", "height: the score at small t is (1 + c) / 2, at most 1", 1e-3, 2.0)

FORMS: dict[str, Form] = {
    f.name: f
    for f in (
        Form(
            "capacity_linear",
            "C = alpha P",
            _BITS,
            (_P,),
            (_ALPHA,),
            "P > 0",
            "C / P is constant",
            f"{MORRIS}, section 4 and Table 1",
            curves.proportional,
            lambda x, y: np.array([[float(np.median(y / x["parameters"]))]]),
            interval="pooled",
        ),
        Form(
            "capacity_affine",
            "C = c0 + alpha P",
            _BITS,
            (_P,),
            (
                Parameter("c0", "bits", "intercept"),
                Parameter("alpha", "bits per parameter", "slope"),
            ),
            "P > 0, C > 0",
            "C / P tends to alpha as P grows",
            f"{MORRIS}, figure 6 (a slope over models)",
            curves.affine,
            lambda x, y: np.array([[0.0, float(np.median(y / x["parameters"]))]]),
            linear=("c0", "alpha"),
            interval="pooled",
        ),
        Form(
            "capacity_power",
            "C = a P^gamma",
            _BITS,
            (_P,),
            (
                Parameter("a", "bits at P = 1", "level", 0.0, scale="log"),
                Parameter("gamma", "", "exponent"),
            ),
            "P > 0",
            "C / P grows without limit for gamma > 1 and vanishes for gamma < 1",
            "the line in log-log axes of " + MORRIS + ", figure 6",
            curves.power,
            _power_starts,
            linear=("a",),
            interval="pooled",
        ),
        Form(
            "hard_corner",
            "m = min(alpha P, H)",
            _BITS,
            (_P, _H),
            (_ALPHA,),
            "P, H > 0",
            "m = H while data fit, alpha P beyond",
            f"{MORRIS}, appendix A.1",
            curves.hard_corner,
            lambda x, y: np.unique(np.quantile(y / x["parameters"], np.linspace(0, 1, 24)))[
                :, None
            ],
            interval="wald",
        ),
        Form(
            "smooth_corner",
            "m = H (1 + (H / (alpha P))^k)^(-1/k)",
            _BITS,
            (_P, _H),
            (_ALPHA, Parameter("k", "", "sharpness of the corner", 1.0, 64.0, "log")),
            "P, H > 0; H is the ceiling of the bit convention",
            "m -> H for H << alpha P, alpha P for H >> alpha P, 2^(-1/k) alpha P at H = alpha P",
            "a rounding of the hard corner, not published; k of 4 to 5.5 follows from "
            + MORRIS
            + ", Table 1 and appendix A.1",
            curves.smooth_corner,
            _corner_starts,
            box=_corner_box,
            interval="wald",
        ),
        Form(
            "exposure_exponential",
            "R = R_inf (1 - exp(-(E / E0)^b))",
            _R,
            (_E,),
            _EXPOSURE,
            "E > 0",
            "0 at E = 0, R_inf for E >> E0",
            f"not published; {PHYSICS}, sections 5 and 6, state 2 bits per parameter at 1000 "
            f"exposures and 1 at 100",
            curves.saturating_exponential,
            _exposure_starts,
            "identity",
            ("r_inf",),
            _exposure_box,
        ),
        Form(
            "exposure_power",
            "R = R_inf (1 - (1 + E / E0)^-b)",
            _R,
            (_E,),
            _EXPOSURE,
            "E > 0",
            "0 at E = 0, R_inf for E >> E0, with a power of E between",
            "not published; as exposure_exponential",
            curves.saturating_power,
            _exposure_starts,
            "identity",
            ("r_inf",),
            _exposure_box,
        ),
        Form(
            "exposure_log",
            "R = c log2(1 + E)^g",
            _R,
            (_E,),
            (
                Parameter("c", "bits per parameter", "R at E = 1", 0.0),
                Parameter("g", "", "exponent", 0.0, 20.0),
            ),
            "E > 0",
            "grows without limit, ever more slowly",
            "not published; as exposure_exponential",
            curves.log_power,
            lambda x, y: _grid([1.0], [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]),
            "identity",
            ("c",),
        ),
        Form(
            "precision_effective",
            "R = C (1 - exp(-b / b0))",
            _R,
            (_W,),
            (_C, Parameter("b0", "bits per weight", "scale", 1e-2, 1e2, "log")),
            "b > 0",
            "0 at b = 0, C for b >> b0",
            "effective parameters, Kumar et al., arXiv 2411.04330, section 4 (b0 = 2.67 "
            "second-hand)",
            curves.effective_parameters,
            _precision_starts,
            "identity",
            ("c",),
        ),
        Form(
            "precision_shifted",
            "R = max(0, C (1 - A exp(-b / b0)))",
            _R,
            (_W,),
            (
                _C,
                Parameter("a", "", "loss at b = 0", 0.0, 1e6, "log"),
                Parameter("b0", "bits per weight", "scale", 0.05, 1e2, "log"),
            ),
            "b > 0",
            "0 up to b0 ln A bits, C for b >> b0",
            "not published; A = 1 is precision_effective",
            curves.shifted_exponential,
            _shifted_starts,
            "identity",
            ("c",),
        ),
        Form(
            "precision_noise",
            "R = max(0, C (1 - A 4^-b))",
            _R,
            (_W,),
            (
                _C,
                Parameter(
                    "a", "", "squared step over what a model bears at b = 0", 0.0, 1e9, "log"
                ),
            ),
            "b > 0",
            "0 up to log4 A bits, C beyond",
            "variance of rounding to 2^b levels falls as 4^-b (Bennett 1948, Bell Syst. Tech. J. "
            "27, 446)",
            curves.quantization_noise,
            _noise_starts,
            "identity",
            ("c",),
        ),
        Form(
            "precision_storage",
            "R = min(s b, C)",
            _R,
            (_W,),
            (Parameter("s", "bits per stored bit", "part of the stored bits in use", 0.0), _C),
            "b > 0",
            "s b for few bits, C for many",
            "no code holds more than its storage: s <= 1 where every stored bit is counted",
            curves.storage_limit,
            _storage_starts,
            "identity",
        ),
        Form(
            "membership",
            "F = min(1, (1 + c sigma(-s (t - t0))) / 2)",
            _F,
            (_T,),
            (
                _SIGMOID_C,
                Parameter("s", "per token per parameter", "steepness", 0.0, scale="log"),
                Parameter("t0", "tokens per parameter", "middle"),
            ),
            "t > 0",
            "0.5 for t >> t0, at most 1 for t << t0",
            f"{MORRIS}, section 5.2.1, repaired (see `membership`)",
            curves.membership,
            _sigmoid_starts,
            "identity",
            ("c",),
            _sigmoid_box,
        ),
        Form(
            "membership_log",
            "F = min(1, (1 + c / (1 + (t / t0)^s)) / 2)",
            _F,
            (_T,),
            (
                _SIGMOID_C,
                Parameter("s", "", "steepness in log t", 0.05, 50.0, "log"),
                Parameter("t0", "tokens per parameter", "middle", 0.0, scale="log"),
            ),
            "t > 0",
            "0.5 for t >> t0, with a power of t; at most 1 for t << t0",
            "not published; the tail of `membership` is exponential, this one's is not",
            curves.membership_logarithmic,
            _log_sigmoid_starts,
            "identity",
            ("c",),
            _log_sigmoid_box,
        ),
        Form(
            "extraction_linear",
            "X = a + b log2 n + c log2 P, cut off at 0 and 1",
            _X,
            (_N, _P),
            (
                Parameter("a", "", "at n = P = 1"),
                Parameter("b", "per doubling of n", "slope"),
                Parameter("c", "per doubling of P", "slope"),
            ),
            "n, P > 0; between 0 and 1",
            "0 and 1 outside of its range",
            "Carlini et al., arXiv 2202.07646, section 4",
            curves.extraction_linear,
            _extraction_starts,
            "identity",
            robust=False,
        ),
        Form(
            "extraction_logistic",
            "X = sigma(a + b log2 n + c log2 P)",
            _X,
            (_N, _P),
            (
                Parameter("a", "", "logit at n = P = 1"),
                Parameter("b", "logits per doubling of n", "slope"),
                Parameter("c", "logits per doubling of P", "slope"),
            ),
            "n, P > 0",
            "0 for few views, 1 for many (b > 0)",
            "not published; stays between 0 and 1 where the line does not",
            curves.extraction_logistic,
            _logistic_starts,
            "identity",
            robust=False,
        ),
        Form(
            "forgetting_exponential",
            "m = c + (a - c) exp(-lag / tau)",
            _M,
            (_LAG,),
            (
                Parameter("a", "bits", "at lag 0", 0.0),
                Parameter("tau", "updates", "time constant", 0.0, scale="log"),
                Parameter("c", "bits", "baseline that is kept", 0.0),
            ),
            "lag >= 0",
            "a at lag 0, c for lag >> tau",
            "Tirumala et al., arXiv 2205.10770, section 5",
            curves.forgetting_exponential,
            _lag_starts(lambda y: [0.0]),
            "identity",
            ("a", "c"),
            _lag_box("tau"),
        ),
        Form(
            "forgetting_power",
            "m = a (1 + lag / t0)^-b",
            _M,
            (_LAG,),
            (
                Parameter("a", "bits", "at lag 0", 0.0),
                Parameter("t0", "updates", "where the fall begins", 0.0, scale="log"),
                Parameter("b", "", "exponent", 0.0, 20.0),
            ),
            "lag >= 0",
            "a at lag 0, 0 for lag >> t0",
            "the form of Wixted & Ebbesen 1991, Psychol. Sci. 2, 409, for human memory",
            curves.forgetting_power,
            _lag_starts(lambda y: [0.1, 0.3, 1.0, 3.0]),
            "identity",
            ("a",),
            _lag_box("t0"),
        ),
        Form(
            "forgetting_log",
            "m = a - b log2(1 + lag / t0)",
            _M,
            (_LAG,),
            (
                Parameter("a", "bits", "at lag 0", 0.0),
                Parameter("t0", "updates", "where the fall begins", 0.0, scale="log"),
                Parameter("b", "bits per doubling", "loss", 0.0),
            ),
            "lag >= 0, up to where m = 0",
            "no limit: below 0 in the end",
            "Chang et al., arXiv 2406.11813, fit a line in log lag",
            curves.forgetting_logarithmic,
            _lag_starts(lambda y: [0.0]),
            "identity",
            ("a", "b"),
            _lag_box("t0"),
        ),
        Form(
            "chinchilla",
            "L = E + A / N^alpha + B / D^beta",
            _L,
            (_P, Variable("tokens", "tokens", "tokens of training", positive=True)),
            (
                Parameter("e", "nats per token", "entropy of text", np.exp(-50), np.exp(50), "log"),
                Parameter(
                    "a", "nats per token at N = 1", "size term", np.exp(-50), np.exp(50), "log"
                ),
                Parameter(
                    "b", "nats per token at D = 1", "data term", np.exp(-50), np.exp(50), "log"
                ),
                Parameter("alpha", "", "exponent of N", 0.0, 4.0),
                Parameter("beta", "", "exponent of D", 0.0, 4.0),
            ),
            "N, D > 0",
            "E for N and D without limit",
            HOFFMANN + "; fitted as in Besiroglu et al., arXiv 2404.10102",
            curves.chinchilla,
            _chinchilla_projected,
            linear=("e", "a", "b"),
        ),
    )
}
