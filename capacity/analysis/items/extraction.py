"""What greedy decoding writes of canaries, and what a small model foretells of a large one.

extraction  part of the canaries of a group whose last L - k tokens are written behind their own
            first k (arXiv 2202.07646, section 3), minus that of never seen ones drawn alike: easy
            text is written by a model that never saw it
forecast    of two models of one replicate, which have the same canaries: the smaller one writes
            out, so the larger one will (arXiv 2304.11158), beside a ranking by copies

Written out of a half: k = L / 2. Prompts are eighths of a canary, as far as they are whole tokens.
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

PARTS = 8  # of a canary, that prompts are multiples of
LEAST = 0.02  # part written out that some group must have above never seen ones


def prompts(length: int) -> list[int]:
    """Tokens of prompts, rising, at least one and fewer than the canary has."""
    return sorted({length * i // PARTS for i in range(1, PARTS) if length * i % PARTS == 0} - {0})


def rates(known: Frame, measured: Mapping[str, list[dict[str, Any]]]) -> Frame:
    """A row per finished run, group with exact copies that was seen, and prompt: the columns of
    `known`, length, repeats, prompt, written (part) and extraction (above never seen ones)."""
    rows = []
    by_run = {row.run_id: row for row in known.itertuples()}
    for run_id, listed in measured.items():
        run: Any = by_run[run_id]
        never: dict[tuple[int, int], list[int]] = {}
        for group in listed:
            if not group["repeats"]:
                never.setdefault((group["length"], group["noise"]), []).extend(group["tails"])
        for group in listed:
            if not group["repeats"] or group["replaced"]:
                continue
            length, noise = group["length"], group["noise"]
            for prompt in prompts(length):
                mine, others = (
                    float((np.array(tails) >= length - prompt).mean())
                    for tails in (group["tails"], never[length, noise])
                )
                rows.append(
                    {name: getattr(run, name) for name in known.columns}
                    | {k: group[k] for k in ("length", "noise", "repeats")}
                    | {"prompt": prompt, "written": mine, "extraction": mine - others}
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
