"""Laws of single items from canaries of several kinds (`data.canaries`): what is held by copies,
size of the model, tokens of training, length, random tokens and time of the views; and what a fuzzy
copy is worth of an exact one.

    X = sigma(a + b log2 copies + c log2 P - d log2 T + e log2 L + f q + g of the window
              + s log2 of the steps between views)

X is the share of a code length that is held, T the tokens of training, L those of a canary, q the
part of random ones, g 0 for views all along the training (or in the first window). The law is
fitted to all groups (`fitting.shares`), and intervals are those of the jackknife over replicates
with Student's t: these know the seeds of training and, where a study gives replicates sequences of
their own, the sequences. Groups with fuzzy copies are in no law; from them comes

    rho      `fitting.copies`, by share of replaced tokens, one per replicate and outcome

Of what greedy decoding writes (`items.extraction`) the law has the tokens k of the prompt,

    X = sigma(a + b log2 copies + c log2 P - d log2 T + h log2 k)

and a smaller model's set, or an earlier one's, is a forecast (`items.forecasts`).

No number here is judged by a constant: sizes are far from the published ones. Verdicts are on
orders (`items.orders`) and on rho between 0 and 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import records
from capacity.analysis import planned_runs
from capacity.analysis.finding import Finding, Options, head
from capacity.analysis.items import extraction, forecasts, orders, reading, retention
from capacity.analysis.table_checks import checked, rising
from capacity.base.files import plain
from capacity.base.frames import Frame
from capacity.base.words import plural
from capacity.fitting import shares
from capacity.fitting.copies import Curve, worth
from capacity.fitting.statistics import sign_flips, t_interval

if TYPE_CHECKING:
    from capacity.config import Config
    from capacity.study import Study

SCHEMA = 3  # `analysis.convert` says what changed
Axes = Callable[[Frame], dict[str, np.ndarray]]
INPUTS = ("run_id", "seed", "status", "gain_last_tenth")
DOUBLINGS = {"b": "repeats", "c": "parameters", "d": "tokens", "e": "length"}
UNITS = {
    "b": "logits per doubling of copies",
    "c": "logits per doubling of P",
    "d": "logits lost per doubling of T",
    "e": "logits per doubling of L",
    "f": "logits from no random token to all",
    "h": "logits per doubling of k",
    "s": "logits per doubling of the steps between views",
}
ALONE = "one replicate"
OUTCOMES = (orders.SHARE, orders.AUC)


def expected(study: Study) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """No published constant is judged; the level of p decides which orders count."""
    return [], {"order": orders.ALPHA}


def analyse(study: Study, table: pd.DataFrame, results: Path, options: Options) -> Finding:
    """The laws of a study of items. ValueError, in one line, for a table that cannot be judged."""
    checked(table, INPUTS, ["gain_last_tenth"], "fit")
    parts = {
        run_id: record["measures"]["text"]
        for run_id in table.run_id[table.status == "finished"]
        if (record := records.read(results, run_id))
    }
    measured = {run_id: part["canary_kinds"] for run_id, part in parts.items()}
    steps = {run_id: part.get("canary_steps", []) for run_id, part in parts.items()}
    return analysed(study.runs, table, measured, study.name, steps)


def analysed(
    planned: Sequence[Config],
    table: Frame,
    measured: Mapping[str, list[dict[str, Any]]],
    name: str,
    steps: Mapping[str, Sequence[int]] | None = None,
) -> Finding:
    """`analyse` of planned runs, their table, and what their records say of their canaries; steps:
    of the snapshots of each."""
    table = checked(table, INPUTS, ["gain_last_tenth"], "fit")
    known = reading.described(planned)
    runs = planned_runs.beside(table, known)
    points = reading.groups(known, measured)
    points["noise_share"] = points.noise / points.length
    points["replaced_share"] = points.replaced / points.length
    runs["held_share"] = runs.run_id.map(points[points.repeats > 0].groupby("run_id").share.mean())
    laws = [_law(str(system), mine) for system, mine in points.groupby("system", sort=True)]
    rates = extraction.rates(known, measured)
    told = orders.all_of(points)
    if extraction.enough(rates):
        told += orders.of_written(rates)
    smaller = forecasts.of_sizes(known, measured)
    lasting = retention.points(known, measured, steps or {})
    # what is not shown any more is no forecast
    earlier = [] if len(lasting) else forecasts.of_steps(known, measured, steps or {})
    told += orders.of_forecasts(forecasts.recalls(smaller, "small"))
    told += orders.of_forecasts(forecasts.recalls(earlier, "step"))
    told += orders.of_forecasts(forecasts.rates(smaller))
    told += orders.of_retention(lasting)
    numbers = head("items", SCHEMA, name, _digest(points)) | {
        "runs": len(runs),
        "finished": int((runs.status == "finished").sum()),
        "replicates": int(points.replicate.nunique()),
        "laws": laws,
        "worth": _worth(points),
        "orders": told,
        "written": [_written(str(system), one) for system, one in rates.groupby("system")],
        "forecasts": smaller,
        "earlier": earlier,
        "equal_cost": forecasts.at_equal_cost(smaller, earlier),
        "rates": _rates(rates),
        "retention": retention.kept(lasting) if len(lasting) else [],
        "groups": _means(points),
        "rising": sorted(runs.run_id[rising(runs)]),
        **planned_runs.unfinished(runs),
    }
    shown = runs.sort_values(["system", "parameters", "tokens", "replicate", "run_id"])
    ordered = points.sort_values(["system", "parameters", "tokens", "replicate", "group"])
    tables = {"runs.csv": shown, "groups.csv": ordered, "extraction.csv": rates}
    if len(lasting):
        tables["retention.csv"] = lasting.dropna(axis=1, how="all")
    return Finding("items", "fit.json", plain(numbers), tables)


def _digest(points: Frame) -> str:
    """SHA-256 of what the laws read."""
    columns = ["run_id", "group", "repeats", "held_bits", "auc", "never_bits"]
    rows = points.sort_values(["run_id", "group"])[columns]
    return hashlib.sha256(rows.to_json(orient="values").encode()).hexdigest()


# --- the law
# --------------------------------------------------------------------------------------------------


def axes_of(points: Frame) -> dict[str, np.ndarray]:
    """The axes of the law that differ among these groups, by letter, float [n]; of windows one per
    window but the first, and where all have a spacing that alone."""
    out = {
        letter: (-1 if letter == "d" else 1) * np.log2(points[column].to_numpy(float))
        for letter, column in DOUBLINGS.items()
    }
    out["f"] = points.noise_share.to_numpy(float)
    if points.spacing.notna().all():
        out["s"] = np.log2(points.spacing.to_numpy(float))
        return {name: x for name, x in out.items() if np.ptp(x) > 0}
    windows = sorted(set(points.window), key=lambda w: (w != reading.ALL_ALONG, _first(points, w)))
    for window in windows[1:]:
        out[f"g {window}"] = (points.window == window).to_numpy(float)
    return {name: x for name, x in out.items() if np.ptp(x) > 0}


def _first(points: Frame, window: str) -> tuple[float, float]:
    row = points[points.window == window].iloc[0]
    return float(row.window_first or 0), float(row.window_end or 0)


def _law(system: str, mine: Frame) -> dict[str, Any]:
    """The law of a system, or the reason against it."""
    used = mine[(mine.repeats > 0) & (mine.replaced == 0)]
    axes = list(axes_of(used)) if len(used) else []
    law: dict[str, Any] = {"system": system, "reason": None, "axes": axes, "points": len(used)}
    if not {"b", "s"} & set(axes):
        return law | {"reason": "one number of copies; a slope needs two"}
    return _fitted(law, used, axes, axes_of, "share")


def _written(system: str, rates: Frame) -> dict[str, Any]:
    """The law of what is written out, or the reason against it."""
    axes = list(written_axes(rates))
    law: dict[str, Any] = {"system": system, "reason": None, "axes": axes, "points": len(rates)}
    if not extraction.enough(rates):
        return law | {"reason": f"less than {extraction.LEAST:.0%} of every group is written out"}
    return _fitted(law, rates, axes, written_axes, "extraction")


def written_axes(rates: Frame) -> dict[str, np.ndarray]:
    """`axes_of` of what is written out, with the prompt."""
    out = {
        letter: (-1 if letter == "d" else 1) * np.log2(rates[column].to_numpy(float))
        for letter, column in (DOUBLINGS | {"h": "prompt"}).items()
        if letter != "e"  # which the prompt stands for
    }
    return {name: x for name, x in out.items() if np.ptp(x) > 0}


def _fitted(
    law: dict[str, Any], used: Frame, axes: list[str], of: Axes, column: str
) -> dict[str, Any]:
    """The law with its numbers, intervals and dilution."""
    whole, parts, why = _fits(used, axes, of, column)
    law["replicates"] = int(used.replicate.nunique())
    if whole is None:
        return law | {"reason": why}
    if why is not None and why != ALONE:
        return law | {"reason": f"a few groups decide it: without one replicate {why}"}
    law |= {"rms": whole.rms, "no_interval": why}
    pseudo = None if why else _pseudo_values(whole.beta, np.array([one.beta for one in parts]))
    law["numbers"] = {
        name: {
            "value": float(whole.beta[i]),
            "interval": None if pseudo is None else _about(float(whole.beta[i]), pseudo[:, i]),
        }
        for i, name in enumerate(["a", *axes])
    }
    if "d" in axes:
        law["dilution"] = _dilution(whole.beta, pseudo, axes)
    return law


def _fits(
    used: Frame, axes: list[str], of: Axes, column: str
) -> tuple[shares.Logistic | None, list[Any], str | None]:
    """The fit to all groups, those without one replicate each, and why there is none or why the
    latter are missing."""

    def fitted(part: Frame) -> shares.Logistic:
        x = of(part)
        if list(x) != axes:
            raise ValueError("an axis has one value")
        return shares.fit(np.column_stack(list(x.values())), part[column].to_numpy(float))

    names = sorted(set(used.replicate))
    try:
        whole = fitted(used)
    except ValueError as error:
        return None, [], str(error)
    if len(names) < 2:
        return whole, [], ALONE
    try:
        return whole, [fitted(used[used.replicate != name]) for name in names], None
    except ValueError as error:
        return whole, [], str(error)


def _pseudo_values(whole: np.ndarray, without: np.ndarray) -> np.ndarray:
    """n theta - (n - 1) theta without a replicate, by replicate (Tukey 1958, Ann. Math. Stat. 29,
    614)."""
    n = len(without)
    return n * whole - (n - 1) * without


def _about(value: float, pseudo: np.ndarray) -> list[float]:
    """95% interval about a number of the fit to all: Student's t of its pseudo-values."""
    low, high = t_interval(pseudo)
    return [value - (high - low) / 2, value + (high - low) / 2]


def _over(values: np.ndarray) -> dict[str, Any]:
    """Mean over replicates with its t interval, None for a single one."""
    low, high = t_interval(values)
    ends = None if np.isnan(low) else [low, high]
    return {"value": float(values.mean()), "interval": ends, "replicates": len(values)}


def _dilution(whole: np.ndarray, pseudo: np.ndarray | None, axes: list[str]) -> dict[str, Any]:
    """d against b: equal where only a sequence's part of the training counts. p: by flipping signs
    of the pseudo-values of their difference."""
    i, j = 1 + axes.index("b"), 1 + axes.index("d")
    ratio, difference = float(whole[j] / whole[i]), float(whole[i] - whole[j])
    out: dict[str, Any] = {"ratio": ratio, "interval": None, "difference": difference, "p": None}
    if pseudo is None:
        return out
    # of the ratio by its derivatives
    slopes = pseudo[:, j] / whole[i] - whole[j] * pseudo[:, i] / whole[i] ** 2
    out["interval"] = _about(ratio, slopes)
    out["p"] = sign_flips(pseudo[:, i] - pseudo[:, j])["p"]
    return out


# --- worth of a fuzzy copy
# --------------------------------------------------------------------------------------------------


def _worth(points: Frame) -> list[dict[str, Any]]:
    """rho by system, share of replaced tokens and outcome: one per replicate, over models; p that
    fuzzy copies add nothing and that they count as exact ones, by flipping signs of what they leave
    beyond one exact copy and short of as many (rho itself ends at 0, which no test allows for)."""
    out = []
    same = ["length", "noise", "window", "parameters", "tokens"]
    for (system, replaced), _ in points[points.replaced > 0].groupby(["system", "replaced_share"]):
        mine = points[(points.system == system) & (points.repeats > 0)]
        for outcome in OUTCOMES:
            values, tests = [], []
            for _, part in mine.groupby("replicate", sort=True):
                found = [_curve(one, float(replaced), outcome) for _, one in part.groupby(same)]
                curves = [curve for curve in found if curve is not None]
                values.append(worth(curves))
                if curves:
                    tests.append([sum(c.apart()[i] for c in curves) / len(curves) for i in (0, 1)])
            told = np.array([v for v in values if v is not None])
            row: dict[str, Any] = {
                "system": system,
                "replaced": float(replaced),
                "outcome": outcome,
                "rho": _over(told) if len(told) else None,
                "of": len(values),
                "below_one": None,
                "above_zero": None,
                "values": told.tolist(),
            }
            if len(tests) > 1:
                more, less = np.array(tests).T
                row["above_zero"] = sign_flips(more)["p"] if more.mean() > 0 else 1.0
                row["below_one"] = sign_flips(less)["p"] if less.mean() > 0 else 1.0
            out.append(row)
    return out


def _curve(part: Frame, replaced: float, outcome: str) -> Curve | None:
    """What exact and fuzzy copies left in one model, or None where either is missing."""
    exact = part[part.replaced == 0].sort_values("repeats")
    fuzzy = part[np.isclose(part.replaced_share, replaced)].sort_values("repeats")
    if len(exact) < 2 or fuzzy.empty or exact.repeats.iloc[0] != 1:
        return None
    return Curve(
        exact.repeats.to_numpy(float),
        exact[outcome].to_numpy(float),
        fuzzy.repeats.to_numpy(float),
        fuzzy[outcome].to_numpy(float),
    )


def _means(points: Frame) -> list[dict[str, Any]]:
    """What is held of every group, means over replicates."""
    by = ["system", "parameters", "tokens", "length", "noise", "replaced", "window", "repeats"]
    out = []
    for key, part in points.groupby(by, sort=True):
        row = dict(zip(by, key, strict=True))
        row |= {"replicates": len(part), "canaries": int(part.canaries.sum())}
        for name in ("held_bits", "share", "auc", "exposure", "extractable", "never_bits"):
            values = part[name].astype(float)
            row[name] = None if values.isna().any() else float(values.mean())
        out.append(row)
    return out


def _rates(rates: Frame) -> list[dict[str, Any]]:
    """What is written out behind every prompt, means over replicates and kinds of equal length."""
    by = ["system", "parameters", "tokens", "repeats", "continuation", "prompt"]
    return [
        dict(zip(by, key, strict=True))
        | {"written": float(part.written.mean()), "extraction": float(part.extraction.mean())}
        for key, part in rates.groupby(by, sort=True)
    ]


def said(fit: Mapping[str, Any]) -> str:
    """How many runs and replicates there are."""
    return (
        f"{fit['finished']} of {plural(fit['runs'], 'run')} finished, "
        f"{plural(fit['replicates'], 'replicate')}."
    )
