"""Points that a form is fitted to: variables, target, replicates, noise, bounds and what is left
out.

    points = Points({"parameters": p, "ceiling_bits": h}, bits, cluster=model, sd=noise)
    points = Points.from_table(table, "smooth_corner", Columns(y="bits", cluster=["model"]))

`Points.cluster` is the replicate (such as a model, or a model and seed): intervals and
bootstraps take whole clusters, never rows. Points that are only known to lie above their y (such as
models with room for more data) are `lower_bound`; those that are not to be fitted are `left_out`
with a reason.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from capacity.fitting.form import Arrays, Form
from capacity.fitting.forms import form as form_by_name
from capacity.fitting.solve import Problem, bounded_least_squares, forward

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a table a fit reads. y: the target; x: column by variable, its own name
    where absent; cluster: columns that name the replicate (every row its own where empty); sd:
    noise of y; lower_bound: whether y is a bound from below; left_out: rows that are not to be
    fitted, as a boolean column or mask by reason; same: columns that say by what convention,
    estimator, recipe or source a row was made, and must hold one value."""

    y: str
    x: Mapping[str, str] = field(default_factory=dict)
    cluster: Sequence[str] = ()
    sd: str | None = None
    lower_bound: str | None = None
    left_out: Mapping[str, Any] = field(default_factory=dict)
    same: Sequence[str] = ()


@dataclass(frozen=True)
class Points:
    """What a fit reads, one entry per point. x: variables of the form by name; y: the target;
    cluster: labels of the replicates (each point its own where absent); sd: noise of y (as a
    standard deviation over seeds, in the unit of y), None for equal noise in the transform;
    lower_bound: y is a bound from below; left_out: points that are not to be fitted, by reason;
    convention: what the numbers count (bits, parameters), kept with the fit."""

    x: Mapping[str, ArrayLike]
    y: ArrayLike
    cluster: ArrayLike | None = None
    sd: ArrayLike | None = None
    lower_bound: ArrayLike | None = None
    left_out: Mapping[str, ArrayLike] = field(default_factory=dict)
    convention: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def from_table(
        table: pandas.DataFrame,
        form: Form | str,
        columns: Columns,
        *,
        convention: Mapping[str, str] | None = None,
        allow_mixed: bool = False,
    ) -> Points:
        """From a pandas table. ValueError, in one line, where a column is absent, or one of
        `columns.same` has several values (unless allow_mixed, which `convention` then says)."""
        form = form_by_name(form) if isinstance(form, str) else form
        c = columns
        names = {v.name: c.x.get(v.name, v.name) for v in form.variables}
        optional = [name for name in (c.sd, c.lower_bound) if name]
        read = [c.y, *names.values(), *c.cluster, *optional, *c.same]
        if absent := [name for name in read if name not in table]:
            raise ValueError(f"the table of points has no column {', '.join(absent)}")
        known = dict(convention or {})
        for column in c.same:
            values = sorted({str(v) for v in table[column]})
            if len(values) > 1 and not allow_mixed:
                raise ValueError(
                    f"points mix {column} {', '.join(values)}: one fit needs one (or allow_mixed)"
                )
            known[column] = ", ".join(values)
        cluster = None
        if c.cluster:
            rows = table[list(c.cluster)].itertuples(index=False)
            cluster = np.array([" ".join(map(str, row)) for row in rows])
        return Points(
            {v: table[name].to_numpy(float) for v, name in names.items()},
            table[c.y].to_numpy(float),
            cluster,
            table[c.sd].to_numpy(float) if c.sd else None,
            table[c.lower_bound].to_numpy(bool) if c.lower_bound else None,
            {
                why: np.asarray(table[mask] if isinstance(mask, str) else mask, bool)
                for why, mask in c.left_out.items()
            },
            known,
        )


def seed_noise(y: ArrayLike, cells: ArrayLike) -> np.ndarray:
    """sd of every point from its replicates, for `Points.sd`: sd^2 = floor^2 + (share x mean)^2,
    fitted to the variances within cells (labels of points that differ in nothing but the seed). Two
    constants from all cells, because the variance of three seeds is known to a factor of 4 only.
    ValueError without a replicate."""
    y = np.asarray(y, float)
    _, codes = np.unique(np.asarray(cells), return_inverse=True)
    count = np.bincount(codes)
    mean = np.bincount(codes, y) / count
    keep = count > 1
    if not keep.any():
        raise ValueError("one seed per cell: the noise of seeds was not measured")
    dof, square = count[keep] - 1, mean[keep] ** 2
    variance = np.bincount(codes, (y - mean[codes]) ** 2)[keep] / dof
    pooled = float((dof * variance).sum() / dof.sum())
    if pooled == 0:
        raise ValueError(
            "replicates agree to the last digit: no noise to learn from (is the seed in use?)"
        )
    smooth, constants = np.full(len(variance), pooled), np.zeros(2)
    for _ in range(50):  # variances scatter as their own square, so weights follow the fit
        weight = np.sqrt(dof) / smooth
        design = np.stack([weight, square * weight], axis=-1)
        constants = bounded_least_squares(design[None], (variance * weight)[None], np.zeros(2))[0]
        smooth = np.maximum(constants[0] + constants[1] * square, 1e-4 * pooled)
    return np.sqrt(np.maximum(constants[0] + constants[1] * mean**2, 1e-4 * pooled))[codes]


def inputs_hash(points: Points) -> str:
    """SHA-256 over what the fit reads, one JSON row per point, sorted: the order of points is
    free."""
    y = np.asarray(points.y, float)
    n = len(y)
    cluster = None if points.cluster is None else np.asarray(points.cluster)
    bound = points.lower_bound
    columns: list[list[Any]] = [
        *(np.broadcast_to(np.asarray(points.x[v], float), n).tolist() for v in sorted(points.x)),
        y.tolist(),
        [""] * n if cluster is None else [str(c) for c in cluster],
        [0.0] * n if points.sd is None else np.asarray(points.sd, float).tolist(),
        [False] * n if bound is None else np.asarray(bound, bool).tolist(),
        *(np.asarray(points.left_out[why], bool).tolist() for why in sorted(points.left_out)),
    ]
    rows = sorted(json.dumps(row) for row in zip(*columns, strict=True))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def left_out(points: Points) -> dict[str, int]:
    """How many points are not fitted, by reason; those without a finite target among them, where
    no other reason holds."""
    out = {why: int(np.sum(mask)) for why, mask in points.left_out.items()}
    lost = ~np.isfinite(np.asarray(points.y, float))
    for mask in points.left_out.values():
        lost &= ~np.asarray(mask, bool)
    return out | ({"no finite target": int(lost.sum())} if lost.any() else {})


class Posed(NamedTuple):
    """Points as they are fitted, sorted. y [n]; places [n]: which of `Points` each is; codes [n]:
    cluster of each; clusters: their labels, sorted; free [k]: parameters that are fitted."""

    problem: Problem
    y: np.ndarray
    places: np.ndarray
    codes: np.ndarray
    clusters: tuple
    free: np.ndarray


def pose(
    form: Form,
    points: Points,
    transform: str | None = None,
    fixed: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Posed:
    """Points that are measured or bounds, sorted, so that their order in a table cannot enter any
    sum, start or resample. Clusters of points without a name are their places in `points`.
    ValueError, in one line, for points that no fit can read."""
    y = np.asarray(points.y, float)
    use = np.isfinite(y)
    for mask in points.left_out.values():
        use &= ~np.asarray(mask, bool)
    x = _inputs(form, points, y, use)
    transform = transform or form.transform
    t = forward(transform, y)
    bound = np.zeros(len(y), bool)
    if points.lower_bound is not None:
        bound = np.asarray(points.lower_bound, bool)
    _check_edges(form, transform, y[use])
    free = np.array([name not in (fixed or {}) for name in form.names])
    for name in fixed or {}:
        form.index(name)
    if (use & ~bound).sum() < free.sum():
        raise ValueError(
            f"{form.name} has {free.sum()} free parameters and only {(use & ~bound).sum()} "
            f"measured points"
        )
    root = _root_precision(form, points.sd, transform, y, use)
    labels = np.zeros(len(y)) if points.cluster is None else np.asarray(points.cluster)
    used = np.flatnonzero(use)
    clusters, codes = np.unique(labels[used], return_inverse=True)
    keys = [root[used], bound[used], y[used], *(x[name][used] for name in sorted(x)), codes]
    used = used[np.lexsort(keys)]
    x = {name: a[used] for name, a in x.items()}
    y, t, root, bound = y[used], t[used], root[used], bound[used]
    low, high = _limits(form, {name: a[~bound] for name, a in x.items()}, y[~bound], bounds or {})
    if points.cluster is None:
        clusters, codes = used, np.arange(len(used))
    problem = Problem(form, transform, x, t, root, bound, low, high)
    return Posed(problem, y, used, np.sort(codes), tuple(clusters.tolist()), free)


def _inputs(form: Form, points: Points, y: np.ndarray, use: np.ndarray) -> Arrays:
    """The variables [n]; only points in use have to be in the domain of the form."""
    known = {v.name for v in form.variables}
    given = {
        name: np.atleast_1d(np.asarray(a, float)) for name, a in points.x.items() if name in known
    }
    if y.ndim != 1 or any(len(a) not in (1, len(y)) for a in given.values()):
        raise ValueError(
            f"{form.name}: y has shape {y.shape}, the variables have "
            f"{', '.join(str(len(a)) for a in given.values())} points"
        )
    given = {name: np.broadcast_to(a, y.shape) for name, a in given.items()}
    form.inputs({name: a[use] for name, a in given.items()})
    return given


def _check_edges(form: Form, transform: str, y: np.ndarray) -> None:
    """ValueError for a target that the transform sends to infinity."""
    edge = {"log": y <= 0, "logit": (y <= 0) | (y >= 1), "identity": np.zeros(len(y), bool)}[
        transform
    ]
    if edge.any():
        raise ValueError(
            f"{form.name}: a target of {y[edge][0]:g} has no {transform}: leave it out, or choose "
            f"another transform"
        )


def _root_precision(
    form: Form, noise: ArrayLike | None, transform: str, y: np.ndarray, use: np.ndarray
) -> np.ndarray:
    """Root [n] of the precision of every point in the transform, 1 in root mean square over those
    in use; ValueError for noise that is not positive."""
    if noise is None:
        return np.ones(len(y))
    sd = np.asarray(noise, float)
    bad = use & ~(np.isfinite(sd) & (sd > 0))
    if bad.any():
        raise ValueError(f"{form.name}: sd = {sd[bad][0]:g} of a point; noise has to be positive")
    slope = {
        "identity": 1.0,
        "log": 1.0 / np.maximum(np.abs(y), 1e-300),
        "logit": 1.0 / np.maximum(np.abs(y * (1 - y)), 1e-12),
    }[transform]
    root = 1.0 / np.where(use, sd * slope, 1.0)
    return root / math.sqrt(float(np.mean(np.sort(root[use]) ** 2)))


def _limits(
    form: Form, x: Arrays, y: np.ndarray, bounds: Mapping[str, tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates of the search [k] for these measured points."""
    box = form.bounds(x, y)
    for name, ends in bounds.items():
        box[form.index(name)] = ends
    low, high = (
        np.array([p.to_search(b) for p, b in zip(form.parameters, side, strict=True)], float)
        for side in box.T
    )
    return low, high
