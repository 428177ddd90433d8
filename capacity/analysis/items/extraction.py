"""What greedy decoding writes of canaries, and what a small model predicts of a large one.

extraction  part of the canaries of a group whose last m tokens are written behind their own first
            L - m, minus that of never seen ones drawn alike: easy text is written by a model that
            never saw it. m is half of the shortest canary, so that canaries of several lengths are
            prompts of several lengths with equally long continuations (arXiv 2202.07646, section 3:
            50 tokens behind 50 to 450)
forecast    of two models of one replicate, which have the same canaries: the smaller one writes
            them out of their half, so the larger one will (arXiv 2304.11158), beside a ranking by
            copies

Parts of one sequence, ever longer prompts with ever shorter continuations, would be nested: what is
written behind a short one is written behind a long one whatever the model is.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from capacity.base.frames import Frame
from capacity.fitting.forecast import forecast
from capacity.fitting.statistics import sign_flips, t_interval

LEAST = 0.02  # part written out that some group must have above never seen ones


def rates(known: Frame, measured: Mapping[str, list[dict[str, Any]]]) -> Frame:
    """A row per finished run and group with exact copies that was seen: the columns of `known`,
    length, noise, repeats, continuation (m), prompt (L - m), written (part) and extraction (above
    never seen ones)."""
    rows = []
    by_run = {row.run_id: row for row in known.itertuples()}
    lengths = [group["length"] for listed in measured.values() for group in listed]
    m = min(lengths, default=2) // 2
    for run_id, listed in measured.items():
        run: Any = by_run[run_id]
        never: dict[tuple[int, int], list[int]] = {}
        for group in listed:
            if not group["repeats"]:
                never.setdefault((group["length"], group["noise"]), []).extend(group["tails"])
        for group in listed:
            if not group["repeats"] or group["replaced"]:
                continue
            others = never[group["length"], group["noise"]]
            mine, theirs = (float((np.array(t) >= m).mean()) for t in (group["tails"], others))
            rows.append(
                {name: getattr(run, name) for name in known.columns}
                | {name: group[name] for name in ("length", "noise", "repeats")}
                | {"continuation": m, "prompt": group["length"] - m}
                | {"written": mine, "extraction": mine - theirs}
            )
    out: Frame = pd.DataFrame(rows)
    return out


def enough(points: Frame) -> bool:
    """Whether anything is written out, so that there is something to fit."""
    return len(points) > 0 and bool(points.extraction.max() >= LEAST)


def forecasts(known: Frame, measured: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of every system and two sizes precision and recall, means over replicates with intervals, and
    what they are above a ranking by copies, with p."""
    out = []
    mine = known[known.run_id.isin(list(measured))]
    for (system, tokens), part in mine.groupby(["system", "tokens"], sort=True):
        sizes = sorted(set(part.parameters))
        for small, large in itertools.combinations(sizes, 2):
            found = []
            for _, pair in part.groupby("replicate", sort=True):
                at = {row.parameters: row.run_id for row in pair.itertuples()}
                if small in at and large in at:
                    predictor, copies = _written(measured[at[small]])
                    target, _ = _written(measured[at[large]])
                    found.append(dataclasses.asdict(forecast(predictor, target, copies)))
            if found:
                row = {"system": system, "tokens": int(tokens), "small": small, "large": large}
                out.append(row | _over(found))
    return out


def _written(listed: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each canary that was seen is written out of its half, and its copies."""
    seen = [group for group in listed if group["repeats"]]
    written = [
        tail >= group["length"] - group["length"] // 2 for group in seen for tail in group["tails"]
    ]
    copies = [group["repeats"] for group in seen for _ in group["tails"]]
    return np.array(written, bool), np.array(copies)


def _over(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the replicates in which both sets hold something."""
    told = [row for row in found if row["foreseen"] and row["written"]]
    out: dict[str, Any] = {
        "replicates": len(told),
        "of": len(found),
        "foreseen": float(np.mean([row["foreseen"] for row in found])),
        "written": float(np.mean([row["written"] for row in found])),
    }
    for name in ("precision", "recall"):
        values = np.array([row[name] for row in told])
        above = values - np.array([row[f"{name}_by_copies"] for row in told])
        out[name] = out[f"{name}_above_copies"] = None
        if told:
            out[name] = _mean(values)
            out[f"{name}_above_copies"] = _mean(above) | {"p": sign_flips(above)["p"]}
    higher = np.array([row["precision"] - row["recall"] for row in told])
    out["precision_above_recall"] = None
    if told:
        out["precision_above_recall"] = _mean(higher) | {"p": sign_flips(higher)["p"]}
    return out


def _mean(values: np.ndarray) -> dict[str, Any]:
    low, high = t_interval(values)
    return {"value": float(values.mean()), "interval": None if np.isnan(low) else [low, high]}
