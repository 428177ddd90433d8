"""Where a law of F1 has fallen to a level, with an interval that knows every source of variation
that a study varied.

    F1 = law(log t - shift of the set-up - of the text - of the split) + cell + training

A run's F1 differs from the law's because training ended elsewhere; all trainings of one size of the
data share what this choice of members did and what the form misses (cells); all sizes of one split,
one text or one set-up may lie at other tokens per parameter. The fit is least squares over runs, as
`membership_law` makes it. What it misses is divided among these sources by restricted likelihood
(`fitting.random_effects`), and the error of the crossing is what each source adds to it, with
Satterthwaite's degrees of freedom: sources with few groups leave few. A source with one group
cannot be known, and the interval says which ones it knows.

Training noise falls to nothing where F1 comes near 1/2 or 1, so that it is taken in proportion to
(1 - F1)(F1 - 1/2), and runs where the law hardly moves say nothing about sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.analysis.text.schema import Crossing, Frame, TokenBits
from capacity.base.words import digits, ends
from capacity.fitting import fit as estimate
from capacity.fitting import intervals, misfit, random_effects
from capacity.fitting.statistics import student

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# in the order in which they are told; a source that only its group tells apart from those before
# is known through them
SOURCES = ("training", "cells", "split", "text", "set-up")
WORDS = {
    "training": "training",
    "cells": "size of the data",
    "split": "split",
    "text": "text",
    "set-up": "model and budget",
}
# Of the steepest slope of the law in log t, below which runs do not tell where it falls.
MOVING = 0.2
CONSTANTS = 3  # of a sigmoid
# Columns of settings that do not set runs apart as another set-up: the size of the data, which the
# law is about, and what names text and split.
NOT_SETUP = ("data.n_sequences", "data.tokens_per_parameter", "data.n_reference", "data.load")
SETUP = ("model.", "train.", "data.vocab_size", "data.seq_len", "data.n_held_out")


def groups(targets: Frame) -> dict[str, np.ndarray]:
    """Codes of the group that each run belongs to, by source; those of splits are within texts, of
    texts over set-ups."""
    text, split = (_column(targets, name) for name in ("pool", "data.split_seed"))
    columns = sorted(
        column
        for column in targets
        if column.startswith(SETUP) and column not in NOT_SETUP and targets[column].nunique() > 1
    )
    setup = [repr(row) for row in targets[columns].astype(str).itertuples(index=False, name=None)]
    return {
        "split": _codes([f"{a}/{b}" for a, b in zip(text, split, strict=True)]),
        "text": _codes(text),
        "set-up": _codes(setup if columns else [""] * len(targets)),
    }


def _column(targets: Frame, name: str) -> np.ndarray:
    """A column as text; of a table without it all runs are alike."""
    return targets[name].astype(str).to_numpy() if name in targets else np.full(len(targets), "")


def setups(targets: Frame, known: dict[str, np.ndarray]) -> list[tuple[str, Frame]]:
    """Name and runs of each set-up, in the order of codes: the model, and the settings by which
    those of one model differ."""
    parts = [targets[known["set-up"] == code] for code in range(int(known["set-up"].max()) + 1)]
    models = [str(part.model.iloc[0]) for part in parts]
    out = []
    for model, part in zip(models, parts, strict=True):
        same = targets[targets.model == model]
        apart = [
            f"{column.split('.')[1]} {part[column].iloc[0]:g}"
            if isinstance(part[column].iloc[0], float)
            else f"{column.split('.')[1]} {part[column].iloc[0]}"
            for column in same
            if models.count(model) > 1
            and column.startswith(SETUP)
            and column not in NOT_SETUP
            and same[column].astype(str).nunique() > 1
        ]
        out.append((", ".join([model, *apart]), part))
    return out


def _codes(names: Any) -> np.ndarray:
    return np.unique(np.asarray(names), return_inverse=True)[1]


def of(
    fitted: estimate.Fit,
    at: Callable[..., float | None],
    level: float,
    known: dict[str, np.ndarray],
) -> Crossing:
    """Tokens per parameter at which a fitted law (one of t, over runs in the order of `known`) has
    fallen to `level`: t, 95% interval or None, sources that it knows, their standard deviations in
    log t, degrees of freedom. known: of `groups`.

    Of a law with a parameter on its bound sources are estimated with it held there, since what the
    bound makes the law miss is missed; and the interval is the wider one of with it held and as if
    it could pass (`intervals.released`)."""
    value = at(level, *fitted.theta)
    none: Crossing = {
        "t": value,
        "interval": None,
        "over_runs": None,
        "sources": [],
        "scatter": {},
        "dof": None,
    }
    if value is None:
        return none
    t = np.asarray(fitted.points.x["tokens_per_parameter"], float)
    rest = np.asarray(fitted.points.y, float)
    f, slopes, steep = _law(fitted, t, _held(fitted))
    pulls = [_pull(fitted, at, level, free) for free in (_held(fitted), _loose(fitted))]
    known_pulls = [pull for pull in pulls if pull is not None]
    if not known_pulls:
        return none
    parts = kernels(t, f, steep, known)
    seen = np.abs(steep) >= MOVING * _steepest(fitted, t)
    try:
        x = _independent(slopes[seen])
        some = {name: part[np.ix_(seen, seen)] for name, part in parts.items()}
        effects = random_effects.effects(rest[seen] - f[seen], x, some)
    except (ValueError, np.linalg.LinAlgError):
        return none
    each = [_interval(value, pull, parts, effects) for pull in known_pulls]
    return none | max(each, key=lambda one: (one["interval"] or [1.0, 1.0])[1])


def _pull(
    fitted: estimate.Fit, at: Callable[..., float | None], level: float, free: np.ndarray
) -> np.ndarray | None:
    """How far each run [n] moves log t of the crossing, with these parameters free."""
    gradient = _gradient(fitted, at, level, free)
    if gradient is None:
        return None
    t = np.asarray(fitted.points.x["tokens_per_parameter"], float)
    return gradient @ np.linalg.pinv(_law(fitted, t, free)[1])


def _interval(
    value: float, pull: np.ndarray, parts: dict[str, np.ndarray], effects: random_effects.Effects
) -> Crossing:
    names = list(effects.variances)
    all_parts = np.array([parts[name] for name in names])
    each = np.einsum("i,kij,j->k", pull, all_parts, pull)
    variances = np.array([effects.variances[name] for name in names])
    variance = float(each @ variances)
    dof = random_effects.satterthwaite(pull, variance, all_parts, effects.uncertainty)
    reach = float(student(dof)) * math.sqrt(variance)
    return {
        "t": value,
        "interval": [value * math.exp(-reach), value * math.exp(min(reach, 700.0))],
        "over_runs": None,
        "sources": names,
        "scatter": {name: float(np.sqrt(v)) for name, v in zip(names, variances, strict=True)},
        "dof": float(dof),
    }


def by_setup(
    fitted: estimate.Fit,
    at: Callable[..., float | None],
    level: float,
    known: dict[str, np.ndarray],
) -> dict[int, Crossing]:
    """The same of each set-up: the curve is that of all, and each set-up shifts it along log t by
    its own amount. Their intervals know the sources but the set-up, and hold what lies on a bound.
    Empty with one set-up, or where a set-up leaves nothing to learn from."""
    value, codes = at(level, *fitted.theta), known["set-up"]
    free = _held(fitted)
    gradient = None if value is None else _gradient(fitted, at, level, free)
    if value is None or gradient is None or codes.max() < 1:
        return {}
    t = np.asarray(fitted.points.x["tokens_per_parameter"], float)
    f, slopes, steep = _law(fitted, t, free)
    some = {name: group for name, group in known.items() if name != "set-up"}
    parts, seen = kernels(t, f, steep, some), np.abs(steep) >= MOVING * _steepest(fitted, t)
    there = sorted(set(codes[seen].tolist()))
    shifts = np.column_stack([np.where(codes == code, -steep, 0.0) for code in there])
    # the place of the curve is in the shifts, its height and steepness are common
    shape = np.array(fitted.form.names)[free] != "t0"
    x = np.concatenate([shifts, slopes[:, shape]], axis=1)[seen]
    try:
        effects = random_effects.effects(
            (np.asarray(fitted.points.y, float) - f)[seen],
            x,
            {name: part[np.ix_(seen, seen)] for name, part in parts.items()},
        )
    except (ValueError, np.linalg.LinAlgError):
        return {}
    out: dict[int, Crossing] = {}
    for i, code in enumerate(there):
        contrast = np.concatenate([np.eye(len(there))[i], gradient[shape]])
        low, high, dof = effects.interval(contrast)
        out[code] = {
            "t": value * math.exp(float(contrast @ effects.beta)),
            "interval": [value * math.exp(low), value * math.exp(min(high, 700.0))],
            "over_runs": None,
            "sources": list(effects.variances),
            "scatter": {name: float(np.sqrt(v)) for name, v in effects.variances.items()},
            "dof": float(dof),
        }
    return out


def kernels(
    t: np.ndarray, f: np.ndarray, steep: np.ndarray, known: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """By source, what runs have in common, in units of F1 per unit of log t: steep [n] is the
    law's derivative by log t, f [n] its value. Training and cells are in the same units at F1 =
    3/4."""
    noise = np.sqrt(np.maximum(16 * (1 - f) * (f - 0.5), 1e-12))
    middle = np.interp(0.75, np.sort(f), np.abs(steep)[np.argsort(f)])
    cell = cells(t, known)
    return {
        "training": np.diag((noise * middle) ** 2),
        "cells": random_effects.shared(cell, noise * middle),
    } | {name: random_effects.shared(codes, steep) for name, codes in known.items()}


def cells(t: np.ndarray, known: dict[str, np.ndarray]) -> np.ndarray:
    """Code of each run's cell: one size of the data to 1%, in the same group of every source."""
    rounded = np.round(np.log(t), 2).tolist()
    columns = [codes.tolist() for codes in known.values()]
    return _codes([repr(row) for row in zip(rounded, *columns, strict=True)])


def lack_of_fit(
    t: ArrayLike, value: ArrayLike, f: ArrayLike, known: dict[str, np.ndarray]
) -> misfit.LackOfFit | None:
    """Whether the law, f [n] at t [n], misses cells (runs of one size of the data, split, text and
    set-up) by more than their trainings differ. None without cells of several trainings, or where
    none moves."""
    t, value, f = (np.asarray(a, float) for a in (t, value, f))
    weight = 16 * (1 - f) * (f - 0.5)
    use = weight > 0.1  # where F1 is 1 or 1/2 there is neither noise nor misfit
    if not use.any():
        return None
    cell = cells(t[use], {name: codes[use] for name, codes in known.items()})
    return misfit.pure_error((value - f)[use] / np.sqrt(weight[use]), cell, CONSTANTS)


def _law(
    fitted: estimate.Fit, t: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [n] at t, derivatives [n, k] by the free parameters, and derivative [n] by log t."""
    f, slopes = fitted.form.slopes({"tokens_per_parameter": t}, fitted.theta[None])
    columns = np.stack([np.broadcast_to(s, f.shape)[0] for s in slopes], axis=-1)
    return f[0], columns[:, free], _steep(fitted, t)


def _held(fitted: estimate.Fit) -> np.ndarray:
    """Parameters that are free and off their bounds."""
    held = [name in fitted.search["at_bound"] for name in fitted.form.names]
    return fitted.free & ~np.array(held)


def _loose(fitted: estimate.Fit) -> np.ndarray:
    """All free ones, unless the points do not tell those on a bound apart."""
    return _held(fitted) if intervals.released(fitted) is None else fitted.free


def _steep(fitted: estimate.Fit, t: np.ndarray) -> np.ndarray:
    step = 1e-4
    ends = [fitted.predict({"tokens_per_parameter": t * math.exp(s)}) for s in (-step, step)]
    return (ends[1] - ends[0]) / (2 * step)


def _steepest(fitted: estimate.Fit, t: np.ndarray) -> float:
    grid = np.geomspace(t.min(), t.max(), 200)
    return float(np.abs(_steep(fitted, grid)).max())


def _independent(x: np.ndarray) -> np.ndarray:
    """Columns that span those of x, of full rank. ValueError where none moves."""
    x = x[:, np.linalg.norm(x, axis=0) > 0]
    if not x.size:
        raise ValueError("no parameter of the law moves its values")
    left, size, _ = np.linalg.svd(x / np.linalg.norm(x, axis=0), full_matrices=False)
    return left[:, size > 1e-6 * size[0]]


def _gradient(
    fitted: estimate.Fit, at: Callable[..., float | None], level: float, free: np.ndarray
) -> np.ndarray | None:
    """Derivatives of log t of the crossing by the free parameters; None where it ends."""
    out = []
    for j in np.flatnonzero(free):
        step = 1e-5 * max(1e-3, abs(fitted.theta[j]))
        ends = [
            at(level, *(fitted.theta + sign * step * np.eye(len(fitted.theta))[j]))
            for sign in (-1, 1)
        ]
        low, high = ends
        if low is None or high is None or min(low, high) <= 0:
            return None
        out.append(math.log(high / low) / (2 * step))
    return np.array(out)


def words(sources: list[str]) -> str:
    """Sources in words."""
    return ", ".join(WORDS[name] for name in sources) or "nothing"


def unknown(sources: list[str]) -> list[str]:
    """Sources that an interval does not know, in words: all runs are of one group of each."""
    return [WORDS[name] for name in SOURCES if name not in sources and name != "cells"]


def covered(at: Crossing) -> str:
    """The interval of a crossing with the sources of variation that it knows and does not."""
    if not at["interval"]:
        return " (no interval)"
    text = f", 95% {ends(at['interval'])} over {words(at['sources'])}"
    if missing := unknown(at["sources"]):
        text += f" (not varied: {', '.join(missing)})"
    if at["over_runs"]:
        text += f", {ends(at['over_runs'])} with runs as replicates"
    return text


def in_bits(t: float | None, bits: TokenBits | None) -> str:
    """A number of tokens per parameter in bits of the data, which other texts and tokens can be
    compared by."""
    if t is None or bits is None:
        return ""
    low, high = digits(bits["low"]), digits(bits["high"])
    each = low if low == high else f"{low} to {high}"
    return (
        f" A token costs {each} bits here ({bits['code']}; log2 V is {digits(bits['uniform'])}): "
        f"this is **{digits(t * bits['low'])} to {digits(t * bits['high'])} bits of data per "
        "parameter**; tokens of another text or vocabulary cost others."
    )
