"""`capacity fit`: any form fitted to any table, such as points of a paper or rows of `capacity
table`.

    result = fit_forms(["chinchilla"], pandas.read_csv("losses.csv"),
                       Columns(y="loss", x={"parameters": "N", "tokens": "D"}))

What is printed is what a reader asks of a fit (`fit_report`). The file has all of it at full
precision (`selection.record`). How a table is read is in `points_file` and `points_table`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.analysis import refused
from capacity.base import files
from capacity.base.errors import ConfigError, nearest
from capacity.base.files import plain
from capacity.base.words import plural
from capacity.cli import points_file, points_table
from capacity.cli.fit_report import describe, report
from capacity.fitting import intervals
from capacity.fitting.fit import Fit, fit
from capacity.fitting.form import Form
from capacity.fitting.forms import FORMS
from capacity.fitting.forms import form as form_by_name
from capacity.fitting.influence import influential
from capacity.fitting.points import Columns, Points
from capacity.fitting.selection import ranked, record, row_of
from capacity.fitting.tied import tied

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Options:
    """How forms are fitted. scale: the variable whose values are left out in turn (the first of the
    form where None); delta: of Huber's loss, inf for least squares (None: the form's default);
    fixed: parameters that are not fitted; ties: parameters that have the value of another;
    best_per: columns, of rows that agree in them only the best is fitted; at: points to predict,
    each {variable: number}; resamples: cluster bootstraps beside the intervals."""

    scale: str | None = None
    delta: float | None = None
    fixed: Mapping[str, float] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)
    best_per: Sequence[str] = ()
    at: Sequence[Mapping[str, float]] = ()
    resamples: int = 0


def command(args: argparse.Namespace) -> int:
    """The verb `fit`; ConfigError with one line for what a person can mend."""
    names = args.forms.split(",") if args.forms else []
    if args.list:
        print("\n".join(line for name in names or FORMS for line in describe(_form(name))))
        return 0
    if not names or not args.table or not args.y:
        raise ConfigError(
            "fit needs a FORM, a TABLE and --y COLUMN; `capacity fit --list` describes the forms"
        )
    laws = [_form(name) for name in names]
    if args.output and args.output.is_dir():
        raise ConfigError(f"--output {args.output}: a folder; name a file")
    source, notes = points_file.label(args.table), []
    x = _variables(args, laws)
    options = _options(args)
    table = points_file.read(args.table, notes)
    for text in args.where:
        name, value = pair("--where", text, "COLUMN=VALUE")
        table = points_table.select(table, name, value, source)
    table = allowed(table, source, notes)
    columns = Columns(
        y=args.y,
        x=x,
        cluster=clusters(args.cluster, table, notes),
        sd=args.sd,
        lower_bound=args.lower_bound,
        left_out={column: column for column in args.leave_out},
        same=args.same,
    )
    try:
        result = fit_forms(laws, table, columns, options)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
    result["table"] = source if str(args.table) == points_file.STDIN else args.table.name
    result["notes"] = notes = [*notes, *result["notes"]]
    for note in notes:
        print(f"capacity: note: {source}: {note}", file=sys.stderr)
    print(report(result))
    if args.output:
        text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False)
        files.write_atomic(args.output, f"{text}\n".encode())
        print(args.output)
    return 0


def allowed(table: pandas.DataFrame, source: str, notes: list[str]) -> pandas.DataFrame:
    """The rows that a law may use: of a table of runs, as `capacity table` writes it, without those
    that `fit-laws` refuses. notes gains which these are. ConfigError where no row is left."""
    why = refused.reasons(table)
    if not any(why):
        return table
    described = refused.describe(table.assign(refused=why))
    left = table.loc[[not key for key in why]]
    if left.empty:
        raise ConfigError(f"{source}: no row that a law may use: {'; '.join(described)}")
    notes += [f"left out, as fit-laws does: {words}" for words in described]
    return left


def _options(args: argparse.Namespace) -> Options:
    return Options(
        scale=args.scale,
        delta=args.delta,
        fixed=_numbers("--fix", args.fix, "PARAMETER=NUMBER"),
        ties=dict(pair("--tie", text, "PARAMETER=PARAMETER") for text in args.tie),
        best_per=[text.strip() for text in args.best_per.split(",")] if args.best_per else [],
        at=[_numbers("--at", text.split(","), "VARIABLE=NUMBER,..") for text in args.at],
        resamples=args.bootstraps,
    )


def clusters(given: str | None, table: pandas.DataFrame, notes: list[str]) -> list[str]:
    """Columns that name the replicate: those of --cluster, else the column that names the run of
    each row, where runs have several."""
    if given == points_table.EACH_ROW and given not in table:
        return []
    if given:
        return given.split(",")
    run = points_table.run_column(table)
    if run is None:
        return []
    notes.append(
        f"{plural(len(table), 'row')} of {plural(len(set(table[run])), 'run')} in column "
        f"{run!r}: rows of one run are not independent, so runs are the clusters (--cluster none: "
        f"every row is one)"
    )
    return [run]


def fit_forms(
    laws: Iterable[Form | str],
    table: pandas.DataFrame,
    columns: Columns,
    options: Options | None = None,
) -> dict[str, Any]:
    """Forms (names or `Form`s of one target) fitted to a table: {"y", "scale", "at", "notes" (what
    had to be understood or left out), "fits": rows of `selection.compare_forms` with `record`},
    best first.

    A target or variable of `columns` may be a product of columns and numbers, as A/B or 20*A or
    1e9; bounds and rows left out are columns of true and false. ValueError, in one line, for a
    table or a form that does not fit it."""
    options = options or Options()
    chosen = [form_by_name(law) if isinstance(law, str) else law for law in laws]
    if len({law.target.meaning for law in chosen}) > 1:
        raise ValueError(
            f"{', '.join(f'{law.name} is of {law.target.meaning}' for law in chosen)}: forms "
            f"compare where their target is one"
        )
    variables = {v.name for law in chosen for v in law.variables}
    notes: list[str] = []
    table, ready = points_table.prepare(table, columns, variables, notes)
    if options.best_per:
        ready = points_table.best_per(table, ready, options.best_per, chosen[0].lowest_best, notes)
    for name in {*options.ties, *options.fixed}:
        if not any(name in law.names for law in chosen):
            chosen[0].index(name)  # raises, and names those there are
    rows = []
    for law in chosen:
        ties = {k: v for k, v in options.ties.items() if len(chosen) == 1 or k in law.names}
        if both := set(options.fixed) & {*ties, *ties.values()}:
            raise ValueError(f"{', '.join(sorted(both))}: tied and fixed; do one of both")
        law = tied(law, ties)
        own = [v.name for v in law.variables]
        if options.scale is not None and options.scale not in own:
            raise ValueError(
                f"{law.name} has no variable {options.scale!r}: it has {', '.join(own)}"
            )
        convention = {"y": columns.y} | {f"x {name}": columns.x.get(name, name) for name in own}
        points = Points.from_table(table, law, ready, convention=convention)
        _check_spread(law, points)
        fixed = {k: v for k, v in options.fixed.items() if len(chosen) == 1 or k in law.names}
        settings: dict[str, Any] = {"delta": options.delta, "fixed": fixed}
        scale = options.scale or own[0]
        fitted = fit(law, points, **settings)
        (row,) = ranked([row_of(fitted, scale)])
        row["tied"] = ties
        row["influence"] = _influence(fitted, table.index, options.delta)
        row["record"] = record(
            fitted,
            scale,
            at=_places(law, options.at),
            resamples=options.resamples,
            held=row["held_out"],
        )
        rows.append(row)
    return plain(
        {
            "y": columns.y,
            "scale": options.scale,
            "at": list(options.at),
            "notes": notes,
            "fits": ranked(rows),
        }
    )


def _check_spread(law: Form, points: Points) -> None:
    """ValueError, in one line, where every row in use has the same variables: a form over them has
    one value there, which is a mean and no law."""
    used = np.isfinite(np.asarray(points.y, float))
    for mask in points.left_out.values():
        used &= ~np.asarray(mask, bool)
    names = [v.name for v in law.variables]
    given = [np.broadcast_to(np.asarray(points.x[name], float), used.shape)[used] for name in names]
    if not used.any() or len(np.unique(np.stack(given), axis=1).T) > 1:
        return
    rows = "the only row has" if used.sum() == 1 else f"all {used.sum():,} rows have"
    here = ", ".join(f"{name} {values[0]:,.6g}" for name, values in zip(names, given, strict=True))
    raise ValueError(
        f"{rows} {here}: {law.name} is a law over {' and '.join(names)}, and needs rows of at "
        f"least 2 different values"
    )


def _influence(fitted: Fit, index: Iterable[Any], delta: float | None) -> dict[str, Any] | None:
    """The few points that decide a parameter, by their rows, and the fit to the others."""
    decisive = influential(fitted, delta)
    if decisive is None:
        return None
    labels = list(index)
    return {
        "parameter": decisive.name,
        "rows": [labels[place] for place in decisive.places],
        "counted_by": getattr(index, "name", None) or "row",
        "points": len(fitted.y),
        "values": decisive.without.values,
        "intervals": intervals.of(decisive.without),
    }


def _places(law: Form, at: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray] | None:
    """Points to predict as an array for every variable; None where there is none."""
    if not at:
        return None
    names = [v.name for v in law.variables]
    for point in at:
        if set(point) != set(names):
            raise ValueError(
                f"a prediction of {law.name} needs {', '.join(names)}, not {', '.join(point)}"
            )
    return {name: np.array([point[name] for point in at]) for name in names}


def _form(name: str) -> Form:
    try:
        return form_by_name(name.strip())
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _variables(args: argparse.Namespace, laws: Sequence[Form]) -> dict[str, str]:
    """Columns by variable, from --x."""
    columns = dict(pair("--x", text, "VARIABLE=COLUMN") for text in args.x)
    known = sorted({v.name for law in laws for v in law.variables})
    for variable in columns:
        if variable not in known:
            raise ConfigError(
                f"--x {variable}: {args.forms} has no such variable{nearest(variable, known)}; "
                f"allowed: {', '.join(known)}"
            )
    return columns


def _numbers(option: str, texts: Iterable[str], shape: str) -> dict[str, float]:
    pairs = (pair(option, text, shape) for text in texts)
    return {key: _number(option, value) for key, value in pairs}


def pair(option: str, text: str, shape: str) -> tuple[str, str]:
    """The two sides of KEY=VALUE; ConfigError names the option and the shape."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise ConfigError(f"{option} {text}: expected {shape}")
    return key, value


def _number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{option} {text}: expected a number")
    return value
