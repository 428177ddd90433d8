"""`capacity.fit`: a form fitted to a DataFrame, with intervals, as `capacity fit` does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from capacity.api import html
from capacity.base.errors import ConfigError, nearest
from capacity.base.words import digits
from capacity.cli import fit as verb
from capacity.cli.fit_report import report
from capacity.fitting.convergence import NEAR
from capacity.fitting.forms import form as form_by_name
from capacity.fitting.points import Columns

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Interval:
    """A 95% interval: its ends (None: open on that side), or in `reason` why there is none; method:
    how it was made."""

    low: float | None
    high: float | None
    method: str
    reason: str | None


@dataclass(frozen=True)
class Fitted:
    """A form fitted to a table.

    form, formula: which. y: the column that was fitted. values: parameters by name. intervals: by
    parameter, 95% over clusters; None for a parameter that was fixed. units: of parameters.
    converged: whether the search ended at a minimum (to 1% of a standard error) that another start
    found too. warnings: what a reader has to know before quoting a number, notes: what of the table
    was left out or had to be understood. points, clusters: how many were fitted. record: all of it
    and more, JSON-able, as `capacity fit --output` writes it."""

    form: str
    formula: str
    y: str
    values: dict[str, float]
    intervals: dict[str, Interval | None]
    units: dict[str, str]
    converged: bool
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    points: int
    clusters: int
    record: dict[str, Any] = field(repr=False)
    _text: str = field(repr=False)

    def predict(self, x: Mapping[str, Any] | None = None, **more: Any) -> np.ndarray:
        """The target at other points: predict(parameters=1e6), or a mapping (or DataFrame) with an
        array for every variable of the form. ConfigError for a variable that is missing."""
        law = form_by_name(self.form)
        table = {} if x is None else x
        given = {**{name: table[name] for name in table}, **more}
        own = [v.name for v in law.variables]
        if missing := [name for name in own if name not in given]:
            raise ConfigError(
                f"predict: {self.form} needs {', '.join(own)}; {', '.join(missing)} is missing"
            )
        theta = np.array([self.values[name] for name in law.names])
        return law.predict({name: np.asarray(given[name], float) for name in own}, theta)

    def __str__(self) -> str:
        """What `capacity fit` prints."""
        return self._text

    def _repr_html_(self) -> str:
        rows = [
            [name, digits(value, 4), _shown(self.intervals[name]), self.units[name]]
            for name, value in self.values.items()
        ]
        about = (
            f"{self.form}: {self.formula}, fitted to {self.y}; {self.points} points in "
            f"{self.clusters} clusters; {'converged' if self.converged else 'NOT converged'}"
        )
        head = ["parameter", "value", "95% interval", "unit"]
        return html.table(about, head, rows) + html.notes([*self.warnings, *self.notes])


class Fits(tuple[Fitted, ...]):
    """Several forms fitted to the same points, the smallest held-out error first."""

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))

    def _repr_html_(self) -> str:
        return "\n".join(one._repr_html_() for one in self)


@overload
def fit(frame: pandas.DataFrame, form: str, *, y: str, **more: Any) -> Fitted: ...
@overload
def fit(frame: pandas.DataFrame, form: Sequence[str], *, y: str, **more: Any) -> Fits: ...


def fit(  # noqa: PLR0913 (independent options of one fit, keywords only)
    frame: pandas.DataFrame,
    form: str | Sequence[str],
    *,
    y: str,
    x: Mapping[str, str] | None = None,
    cluster: str | Sequence[str] | None = None,
    sd: str | None = None,
    lower_bound: str | None = None,
    leave_out: str | Sequence[str] = (),
    same: str | Sequence[str] = (),
    **options: Any,
) -> Fitted | Fits:
    """A form fitted to the rows of a table: robust, from many starts, with 95% intervals over
    clusters. Several forms, as a list, give `Fits`, the smallest held-out error first.

    form: a name of `capacity fit --list`. y: the column of the target. x: column by variable, where
    it is not the variable's own name; columns may be products, as {"parameters": "20*N"}. cluster:
    column or columns of the replicate, such as "model"; None: the column of runs where runs have
    several rows, else every row. sd: noise of y over seeds. lower_bound, leave_out: columns of true
    and false. same: columns that must hold one value. options: `scale`, `delta`, `fixed`, `ties`,
    `best_per` and `resamples`, as `capacity.cli.fit.Options` has them.

    Rows that `fit-laws` refuses are left out, as by the command; `notes` says so. ConfigError, in
    one line, for a form or a table that does not fit."""
    known = [one.name for one in dataclasses.fields(verb.Options) if one.name != "at"]
    for name in options:
        if name not in known:
            raise ConfigError(
                f"fit: {name}: no such option{nearest(name, known)}; allowed: {', '.join(known)}"
            )
    notes: list[str] = []
    table = verb.allowed(frame, "frame", notes)
    given = None if cluster is None else ",".join(_names(cluster))
    names = [form] if isinstance(form, str) else list(form)
    try:
        columns = Columns(
            y=y,
            x=_variables(names, x or {}),
            cluster=verb.clusters(given, table, notes),
            sd=sd,
            lower_bound=lower_bound,
            left_out={column: column for column in _names(leave_out)},
            same=_names(same),
        )
        result = verb.fit_forms(names, table, columns, verb.Options(**options))
    except ValueError as error:
        raise ConfigError(f"fit: {error}") from None
    notes += result["notes"]
    fitted = [_fitted(row, result | {"notes": notes}) for row in result["fits"]]
    return fitted[0] if isinstance(form, str) else Fits(fitted)


def _variables(forms: Sequence[str], x: Mapping[str, str]) -> dict[str, str]:
    """x, checked; ValueError for a variable that no form has."""
    known = sorted({v.name for name in forms for v in form_by_name(name).variables})
    for variable in x:
        if variable not in known:
            raise ValueError(
                f"x: {', '.join(forms)} has no variable {variable!r}{nearest(variable, known)}; "
                f"allowed: {', '.join(known)}"
            )
    return dict(x)


def _fitted(row: Mapping[str, Any], result: Mapping[str, Any]) -> Fitted:
    record = row["record"]
    entries, search = record["parameters"], record["search"]
    intervals = {name: record["intervals"].get(name) for name in entries}
    return Fitted(
        form=row["form"],
        formula=row["formula"],
        y=result["y"],
        values={name: entry["value"] for name, entry in entries.items()},
        intervals={
            name: Interval(one["low"], one["high"], one["method"], one["reason"])
            if one and entries[name]["fitted"]
            else None
            for name, one in intervals.items()
        },
        units={name: entry["unit"] for name, entry in entries.items()},
        converged=search["distance"] <= NEAR and search["agreeing"] > 1,
        warnings=tuple(row["warnings"]),
        notes=tuple(result["notes"]),
        points=record["points"]["fitted"],
        clusters=record["points"]["clusters"],
        record=record,
        _text=report({**result, "fits": [row]}),
    )


def _shown(interval: Interval | None) -> str:
    if interval is None:
        return "fixed"
    if interval.reason is not None:
        return f"none: {interval.reason}"
    low, high = ("open" if end is None else digits(end, 4) for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def _names(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)
