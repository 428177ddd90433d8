"""`capacity fit`: any form fitted to any table, such as points of a paper or rows of `capacity
table`.

    found = fit(["chinchilla"], pandas.read_csv("losses.csv"), "loss", {"parameters": "N", "tokens":
    "D"})

What is printed is what a reader asks of a fit: values with intervals, held-out scales, other
losses, other forms, how the search went, what was left out, where it is valid. The file has all of
it at full precision (`compare.record`).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.base import files
from capacity.base.errors import ConfigError, nearest
from capacity.base.files import plain
from capacity.fitting import fit as estimate
from capacity.fitting import forms
from capacity.fitting import selection as compare
from capacity.published.values import digits, ends, wrapped

if TYPE_CHECKING:
    import pandas


def command(args: argparse.Namespace) -> int:
    """The verb `fit`; ConfigError with one line for what a person can mend."""
    if args.list:
        print(
            "\n".join(
                line
                for name in (args.forms.split(",") if args.forms else forms.FORMS)
                for line in describe(_form(name))
            )
        )
        return 0
    if not args.forms or not args.table or not args.y:
        raise ConfigError(
            "fit needs a FORM, a TABLE and --y COLUMN; `capacity fit --list` describes the forms"
        )
    laws = [_form(name) for name in args.forms.split(",")]
    table = read(args.table)
    for text in args.where:
        table = _where(table, *_pair("--where", text, "COLUMN=VALUE"), args.table)
    columns = dict(_pair("--x", text, "VARIABLE=COLUMN") for text in args.x)
    known = {v.name for law in laws for v in law.variables}
    for variable in columns:
        if variable not in known:
            raise ConfigError(
                f"--x {variable}: {args.forms} has no such "
                f"variable{nearest(variable, list(known))}; allowed: {', '.join(sorted(known))}"
            )
    at = [
        dict(
            (k, _number("--at", v))
            for k, v in (_pair("--at", part, "VARIABLE=NUMBER,..") for part in text.split(","))
        )
        for text in args.at
    ]
    fixed = {
        k: _number("--fix", v)
        for k, v in (_pair("--fix", text, "PARAMETER=NUMBER") for text in args.fix)
    }
    if args.output and args.output.is_dir():
        raise ConfigError(f"--output {args.output}: a folder; name a file")
    try:
        found = fit(
            laws,
            table,
            args.y,
            columns,
            cluster=args.cluster.split(",") if args.cluster else None,
            sd=args.sd,
            lower_bound=args.lower_bound,
            left_out=args.leave_out,
            same=args.same,
            scale=args.scale,
            delta=args.delta,
            fixed=fixed,
            at=at,
            resamples=args.bootstraps,
        )
    except ValueError as error:
        raise ConfigError(f"{args.table}: {error}") from None
    found["table"] = args.table.name
    print(report(found))
    if args.output:
        files.write_atomic(
            args.output,
            (json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode(),
        )
        print(args.output)
    return 0


def fit(
    laws,
    table: pandas.DataFrame,
    y: str,
    columns: dict[str, str] | None = None,
    *,
    cluster=None,
    sd: str | None = None,
    lower_bound: str | None = None,
    left_out=(),
    same=(),
    scale: str | None = None,
    delta: float | None = None,
    fixed: dict[str, float] | None = None,
    at=(),
    resamples: int = 0,
) -> dict:
    """Forms (names or `Form`s of one target) fitted to a table: {"y", "scale", "fits": rows of
    `compare.forms` with `record`}, best first.

    y, columns[variable]: names of columns, or A/B for a ratio of two. cluster: columns that name
    the replicate (every row its own where absent); sd: noise of y; lower_bound, left_out: columns
    of true and false; same: columns that must hold one value. scale: the variable whose values are
    left out in turn (the first of the form where None). delta: of Huber's loss, inf for least
    squares. at: [{variable: number}] to predict. ValueError, in one line, for a table or a form
    that does not fit it."""
    laws = [forms.form(law) if isinstance(law, str) else law for law in laws]
    if len({law.target.meaning for law in laws}) > 1:
        raise ValueError(
            f"{', '.join(f'{law.name} is of {law.target.meaning}' for law in laws)}: forms compare "
            f"where their target is one"
        )
    names = {v.name for law in laws for v in law.variables}
    told = dict.fromkeys(names) | {name: name for name in names} | dict(columns or {})
    table = table.assign(
        **{f"={text}": _column(table, text) for text in {y, *(told[name] for name in names)}}
    )
    for column in [c for c in (sd,) if c]:
        table = table.assign(**{column: _column(table, column)})
    for column in [c for c in (lower_bound, *left_out) if c]:
        table = table.assign(**{column: _flags(table, column)})
    flags = {column: column for column in left_out}
    rows = []
    for law in laws:
        if scale is not None and scale not in (v.name for v in law.variables):
            raise ValueError(
                f"{law.name} has no variable {scale!r}: it has "
                f"{', '.join(v.name for v in law.variables)}"
            )
        points = estimate.Points.from_table(
            table,
            law,
            f"={y}",
            x={v.name: f"={told[v.name]}" for v in law.variables},
            cluster=cluster,
            sd=sd,
            lower_bound=lower_bound,
            left_out=flags,
            same=same,
            convention={"y": y} | {f"x {v.name}": told[v.name] for v in law.variables},
        )
        own = {k: v for k, v in (fixed or {}).items() if len(laws) == 1 or k in law.names}
        settings: dict[str, Any] = {"delta": delta, "fixed": own}
        (row,) = compare.forms([law], points, scale or law.variables[0].name, **settings)
        places = None
        if at:
            for point in at:
                if set(point) != {v.name for v in law.variables}:
                    raise ValueError(
                        f"a prediction of {law.name} needs "
                        f"{', '.join(v.name for v in law.variables)}, not {', '.join(point)}"
                    )
            places = {v.name: np.array([point[v.name] for point in at]) for v in law.variables}
        row["record"] = compare.record(
            estimate.fit(law, points, **settings),
            scale or law.variables[0].name,
            at=places,
            resamples=resamples,
        )
        rows.append(row)
    return plain({"y": y, "scale": scale, "at": list(at), "fits": compare.ranked(rows)})


def read(path: Path) -> pandas.DataFrame:
    """A table from a .csv or .parquet file; ConfigError with one line where there is none in it."""
    import pandas as pd

    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{path}: expected a .csv or .parquet file")
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except ImportError:
        raise ConfigError(
            f"{path}: Parquet needs pyarrow: pip install 'capacity[parquet]'"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: not a table: {str(error).splitlines()[0]}") from None
    if table.empty:
        raise ConfigError(f"{path}: no rows")
    return table


def describe(law: forms.Form) -> list[str]:
    """A form in words, at most 80 columns."""
    out = [
        law.name,
        *wrapped(law.formula, "  "),
        *wrapped(
            f"{law.formula.split(' = ')[0]}: {law.target.meaning}"
            + (f" ({law.target.unit})" if law.target.unit else ""),
            "    ",
        ),
    ]
    for v in law.variables:
        out += wrapped(f"{v.name}: {v.meaning} ({v.unit})", "    ", "      ")
    for p in law.parameters:
        span = [end if math.isfinite(end) else None for end in (p.low, p.high)]
        limits = (
            "any"
            if span == [None, None]
            else f"at least {span[0]:.3g}"
            if span[1] is None
            else f"at most {span[1]:.3g}"
            if span[0] is None
            else f"{span[0]:.3g} to {span[1]:.3g}"
        )
        out += wrapped(
            f"parameter {p.name}: {p.meaning}" + (f" ({p.unit})" if p.unit else "") + f"; {limits}",
            "    ",
            "      ",
        )
    out += wrapped(f"domain: {law.domain}", "    ", "      ") + wrapped(
        f"limits: {law.asymptotes}", "    ", "      "
    )
    loss = "Huber's loss" if law.robust else "least squares"
    return [
        *out,
        *wrapped(
            f"fitted by {loss} of the {law.transform if law.transform != 'identity' else 'value'}; "
            f"intervals: {law.interval}",
            "    ",
            "      ",
        ),
        *wrapped(f"source: {law.source}", "    ", "      "),
        "",
    ]


def report(found: dict) -> str:
    """What `fit` found, at most 80 columns."""
    lines = []
    for row in found["fits"]:
        record = row["record"]
        p = record["points"]
        lines += wrapped(
            f"{row['form']}: {row['formula']}, fitted to {found['y']} of "
            f"{found.get('table', 'the table')}",
            "",
            "  ",
        )
        left = "".join(f", {n} left out ({why})" for why, n in p["left_out"].items() if n)
        loss = record["loss"]
        lines += wrapped(
            f"{p['fitted']} points in {p['clusters']} clusters, {p['lower_bounds']} of them lower "
            f"bounds{left}; weights: {p['weights']}; {loss['name']} loss of {loss['unit']}"
            + ("" if loss["delta"] is None else f", delta {loss['delta']:.3g}")
            + f"; residual sd {record['sigma']:.3g}",
            "  ",
        )
        for name, entry in record["parameters"].items():
            lines += wrapped(
                f"{name} = {digits(entry['value'])} "
                + (_interval(record["intervals"].get(name)) if entry["fitted"] else "fixed")
                + (f"  {entry['unit']}" if entry["unit"] else ""),
                "    ",
                "      ",
            )
        for i, place in enumerate(found["at"]):
            entry = record["intervals"][f"at {i}"]
            lines += wrapped(
                f"at {', '.join(f'{k} = {v:g}' for k, v in place.items())}: "
                f"{digits(entry['value'])} {_interval(entry)}  {entry['unit']}"
                + beyond(place, record["valid"]),
                "    ",
                "      ",
            )
        lines += wrapped(_held(record["held_out"]), "  ", "    ")
        if row["aicc"] is not None:
            lines += wrapped(
                f"AICc {row['aicc']:.1f}"
                + (
                    f", {row['aicc_difference']:.1f} above the best form"
                    if row["aicc_difference"]
                    else ""
                ),
                "  ",
            )
        others = "; ".join(
            f"{name}: {', '.join(f'{k} {digits(v)}' for k, v in values.items())}"
            for name, values in record["other_losses"].items()
        )
        lines += wrapped(f"by other losses: {others}", "  ", "    ")
        search = record["search"]
        lines += wrapped(
            f"search: {search['starts']} starts, {search['agreeing']} of the best end at the "
            f"minimum; valid for "
            + ", ".join(
                f"{name} {digits(a)} to {digits(b)}" for name, (a, b) in record["valid"].items()
            ),
            "  ",
            "    ",
        )
        if "bootstrap" in record:
            b = record["bootstrap"]
            told = ", ".join(
                f"{name} {ends([e['low'], e['high']])}"
                for name, e in b["percentile"].items()
                if name in record["parameters"]
            )
            lines += wrapped(
                f"{b['resamples']:,} bootstraps over clusters, percentiles (too short with few "
                f"clusters): {told}",
                "  ",
                "    ",
            )
        lines += [
            line for warning in row["warnings"] for line in wrapped(f"! {warning}", "  ", "    ")
        ] + [""]
    return "\n".join(lines).rstrip()


def beyond(place: dict[str, float], valid: dict[str, list[float]]) -> str:
    """How far a prediction lies outside of the points, in words; the law may change there, which no
    interval knows."""
    far = [
        f"{name} {value / valid[name][1]:.3g} times the largest"
        if value > valid[name][1]
        else f"{name} {valid[name][0] / value:.3g} times below the smallest"
        for name, value in place.items()
        if not valid[name][0] <= value <= valid[name][1] and value > 0
    ]
    return f"; extrapolated: {', '.join(far)}" if far else ""


def _interval(entry: dict) -> str:
    if entry["reason"]:
        return f"(no interval: {entry['reason']})"
    low, high = ("open" if end is None else digits(end) for end in (entry["low"], entry["high"]))
    return f"[{low}, {high}] ({entry['method']})"


def _held(held: dict) -> str:
    if held["reason"]:
        return f"held out: none, {held['reason']}"
    whole = (
        f"{held['rms_percent']:.1f}%" if held["rms_percent"] is not None else f"{held['rms']:.3g}"
    )
    last = held.get("largest")
    more = (
        ""
        if last is None
        else "; the largest "
        + (f"{last['percent']:+.1f}%" if last["percent"] is not None else f"{last['error']:+.3g}")
        + (f", {held['extrapolation']:.2g} times the next" if held["extrapolation"] else "")
    )
    return f"held out, each {held['scale']} told by the others: rms {whole}{more}"


def _form(name: str) -> forms.Form:
    try:
        return forms.form(name.strip())
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _pair(option: str, text: str, shape: str) -> tuple[str, str]:
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


def _column(table, text: str) -> np.ndarray:
    """A numeric column, or A/B of two."""
    parts = [part.strip() for part in text.split("/")] if text not in table else [text]
    out = []
    for name in parts:
        if name not in table:
            raise ValueError(f"no column {name!r}{nearest(name, [str(c) for c in table.columns])}")
        try:
            out.append(table[name].to_numpy(float))
        except (TypeError, ValueError):
            raise ValueError(f"column {name!r} holds what is no number") from None
    if len(out) > 2:
        raise ValueError(f"{text!r}: a ratio has two columns")
    with np.errstate(divide="ignore", invalid="ignore"):
        return out[0] if len(out) == 1 else out[0] / out[1]


def _flags(table, name: str) -> np.ndarray:
    """A column of true and false, empty for false."""
    if name not in table:
        raise ValueError(f"no column {name!r}{nearest(name, [str(c) for c in table.columns])}")
    words = table[name].map(lambda v: str(v).strip().lower())
    wrong = words[~words.isin(["true", "false", "1", "0", "1.0", "0.0", "nan", "none", ""])]
    if len(wrong):
        raise ValueError(f"column {name!r} holds {wrong.iloc[0]!r}; allowed are true and false")
    return words.isin(["true", "1", "1.0"]).to_numpy()


def _where(table, name: str, value: str, path: Path):
    if name not in table:
        raise ConfigError(
            f"{path}: no column {name!r}{nearest(name, [str(c) for c in table.columns])}"
        )
    try:
        rows = table[name] == float(value)
    except ValueError:
        rows = table[name].astype(str) == value
    if not rows.any():
        raise ConfigError(
            f"{path}: no row with {name} = {value}; it holds "
            f"{', '.join(sorted(map(str, table[name].unique()))[:8])}"
        )
    return table[rows]
