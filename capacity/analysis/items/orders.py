"""Orders of a study of items: whether what is held rises or falls along an axis, by permutation
within replicates (`fitting.trends`).

Of every replicate what is held is averaged over all that does not differ: models, levels, kinds. An
order counts as shown only with p <= 5%; of fewer replicates than can reach it nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from capacity.analysis.items import reading, retention
from capacity.analysis.order_verdicts import judged
from capacity.base.frames import Frame
from capacity.fitting.statistics import LEVEL

ALPHA = 1 - LEVEL
RECOGNITION, RECALLED, KEPT = "recognition", "recalled", "kept"
SHARE, AUC, WRITTEN, RECALL = "share", "auc", "extraction", "recall"
SAYS = {
    SHARE: "share held",
    AUC: "AUC",
    WRITTEN: "part written out",
    RECALL: "recall of a forecast",
    RECOGNITION: "recognition",
    RECALLED: "part recalled",
    KEPT: "part kept",
}


@dataclass(frozen=True)
class Axis:
    """An order to be judged. sign: of the published trend, 0 where none is published; column: of
    `reading.groups`."""

    name: str
    column: str
    outcome: str
    sign: int
    source: str


AXES = (
    Axis("copies", "repeats", SHARE, 1, "arXiv 2202.07646, section 4.2"),
    Axis("size of the model", "parameters", SHARE, 1, "arXiv 2202.07646, section 4.1"),
    Axis("tokens of training", "tokens", SHARE, -1, "arXiv 2510.19811, dilution"),
    Axis("length", "length", AUC, 1, "arXiv 2402.09363, table 2"),
    Axis("random tokens", "noise_share", AUC, 1, "arXiv 2402.09363, figure 3"),
    Axis("replaced tokens", "replaced_share", SHARE, -1, "arXiv 2405.15523, figure 2"),
    Axis("steps between views", "spacing", SHARE, 0, "no sign is published"),
)
OF_WRITTEN = (
    Axis("copies", "repeats", WRITTEN, 1, "arXiv 2202.07646, section 4.2"),
    Axis("size of the model", "parameters", WRITTEN, 1, "arXiv 2202.07646, section 4.1"),
    Axis("tokens of the prompt", "prompt", WRITTEN, 1, "arXiv 2202.07646, section 4.3"),
)
PRECISION = "precision beside recall"
FORECASTS = "arXiv 2304.11158, precision and recall by predictor"
OF_FORECASTS = (
    Axis("size of the predictor", "small", RECALL, 1, FORECASTS),
    Axis("step of the predictor", "step", RECALL, 1, FORECASTS),
    Axis(PRECISION, "rate", RECALL, 1, FORECASTS),
)
ROBUST = "recognition beside recall"
RETENTION = "arXiv 2303.17557, retention"
OF_RETENTION = (
    Axis("time after the last view", "lag", RECOGNITION, -1, RETENTION),
    Axis("time after the last view", "lag", RECALLED, -1, RETENTION),
    Axis(ROBUST, "what", KEPT, 1, RETENTION),
    Axis("random tokens", "noise_share", KEPT, -1, RETENTION),
    Axis("steps between views", "spacing", KEPT, 0, "no sign is published"),
)
TIMING = "arXiv 2510.19811, timing"


def all_of(points: Frame) -> list[dict[str, Any]]:
    """Of every system each order that its canaries have."""
    out = []
    for system, mine in points.groupby("system", sort=True):
        for axis in AXES:
            # fuzzy copies differ from level 2 on; elsewhere they would dilute an order
            some = mine if axis.column == "replaced_share" else mine[mine.replaced == 0]
            some = some[some.repeats > (1 if axis.column == "replaced_share" else 0)]
            values = sorted(set(some[axis.column].dropna()))
            if len(values) > 1:
                out.append(_judged(str(system), axis, some, values))
        seen = mine[(mine.repeats > 1) & (mine.replaced == 0)]
        whole = reading.ALL_ALONG
        for name, values, sign in _windows(seen, whole):
            axis = Axis(name, "window", SHARE, sign, TIMING)
            out.append(_judged(str(system), axis, seen[seen.window.isin(values)], values))
    return out


def of_written(rates: Frame) -> list[dict[str, Any]]:
    """The same of what is written out (`extraction.rates`): averaged over prompts, but for the
    order of these."""
    out = []
    for system, mine in rates.groupby("system", sort=True):
        for axis in OF_WRITTEN:
            values = sorted(set(mine[axis.column]))
            if len(values) > 1:
                out.append(_judged(str(system), axis, mine, values))
    return out


def of_forecasts(rows: Frame) -> list[dict[str, Any]]:
    """The same of forecasts of the largest model (`forecasts.recalls`, `forecasts.rates`)."""
    if rows.empty:
        return []
    (axis,) = [axis for axis in OF_FORECASTS if axis.column in rows]
    return [
        _judged(str(system), axis, mine, values)
        for system, mine in rows.groupby("system", sort=True)
        if len(values := sorted(set(mine[axis.column]), key=_rank)) > 1
    ]


def of_retention(found: Frame) -> list[dict[str, Any]]:
    """The same of what lasts (`retention.points`): averaged over groups, behind the window; and of
    what is kept (`retention.robustness`, `retention.kinds`, `retention.spacings`)."""
    if found.empty:
        return []
    behind = retention.behind_all(found)
    of_kept = (retention.robustness, retention.kinds, retention.spacings)
    tables = [behind, behind, *(table(found) for table in of_kept)]
    out = []
    for axis, table in zip(OF_RETENTION, tables, strict=True):
        for system, mine in table.groupby("system", sort=True):
            values = sorted(set(mine[axis.column]), key=_rank)
            if len(values) > 1:
                out.append(_judged(str(system), axis, mine, values))
    return out


def _rank(value: float | str) -> float:
    """Of a value of an axis: of words those of the weaker side come first."""
    weaker_first = ("recall", "precision", RECALLED, RECOGNITION)
    return weaker_first.index(value) if isinstance(value, str) else value


def _windows(seen: Frame, whole: str) -> list[tuple[str, list[str], int]]:
    """Orders of windows: name, windows in the order of the question, published sign."""
    parts = reading.parts(seen)
    if not parts:
        return []
    out = [("time of the window", parts, 1)]
    if whole in set(seen.window):
        out += [
            (f"{parts[0]} after {whole}", [whole, parts[0]], -1),
            (f"{parts[-1]} after {whole}", [whole, parts[-1]], 1),
        ]
    return out


def _judged(system: str, axis: Axis, some: Frame, values: Sequence[Any]) -> dict[str, Any]:
    """Means over replicates in the order of values, trend, p and verdict."""
    grid = some.pivot_table(index="replicate", columns=axis.column, values=axis.outcome)
    return {
        "system": system,
        "axis": axis.name,
        "outcome": axis.outcome,
        "values": list(values),
        "published": axis.sign,
        "source": axis.source,
        **judged(grid.reindex(columns=list(values)), axis.sign),
    }
