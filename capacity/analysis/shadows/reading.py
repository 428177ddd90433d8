"""What the runs of a study of shadow models of people are, and what each says of every person.

system     what of data, model and training tells runs apart beside size, set, amount and seed
size       layers and width
replicate  the set of people (data.split_seed)
family     runs of one system, size and set: shadow models of each other
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import archive, naming
from capacity.archive import PEOPLE
from capacity.base.frames import Frame
from capacity.settings.data import BiosData

if TYPE_CHECKING:
    from capacity.config import Config

SIZES = ("n_layers", "d_model", "n_heads", "n_kv_heads")
AMOUNTS = ("data.n_people", "data.load")
SETS = ("seed", "data.split_seed")
ALL = 0  # in the place of a tier: everybody

Scores = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Family:
    """Runs on halves of one set, [models, people]: nats of name and values, whether a run saw the
    person, part of the values that it writes, nats of a guesser who knows how often each value was
    shown, texts of the person that were shown; and by person row of the set and tier (1 of all
    where there are none)."""

    run_ids: list[str]
    loss: np.ndarray
    seen: np.ndarray
    right: np.ndarray
    guess: np.ndarray
    exposures: np.ndarray
    row: np.ndarray
    tier: np.ndarray

    def of(self, tier: int) -> np.ndarray:
        """People of a tier, bool [people]; ALL: everybody."""
        return np.full(len(self.tier), True) if tier == ALL else self.tier == tier

    @property
    def tiers(self) -> list[int]:
        """Numbers of tiers, the least seen first; empty where all are seen alike."""
        found = sorted({int(t) for t in self.tier}, reverse=True)
        return found if len(found) > 1 else []


def halved(run: Config) -> bool:
    """Whether a run sees a random half of a set of people."""
    return isinstance(run.data, BiosData) and run.data.halved


def described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, system, size, replicate, parameters (of the paper's count),
    people (of a half), tokens (of a text)."""
    settings = [naming.settings(run) for run in runs]
    left = {f"model.{name}" for name in SIZES} | set(AMOUNTS) | set(SETS)
    varied = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if key not in left and len({str(one.get(key)) for one in settings}) > 1
    ]
    rows: list[dict[str, Any]] = []
    for run, one in zip(runs, settings, strict=True):
        assert isinstance(run.data, BiosData)
        more = [f"{key.rsplit('.', maxsplit=1)[-1]} {one.get(key)}" for key in varied]
        rows.append(
            {
                "run_id": run.run_id,
                "system": ", ".join(more),
                "size": run.shape,
                "replicate": run.data.split_seed,
                "parameters": float(run.parameters["paper"]),
                "people": run.items,
                "tokens": float(run.resolved.tokens_of(run.items)),
            }
        )
    out: Frame = pd.DataFrame(rows)
    return out


def scores(table: Frame, results: Path) -> dict[str, Scores]:
    """By finished run the numbers of single people, as `archive.people` has them. ValueError, in
    one line, where a run has none."""
    by_run: dict[str, Scores] = {}
    for run_id in table.run_id[table.status == "finished"]:
        found = archive.scores(results, run_id)
        if found is None:
            raise ValueError(
                f"finished run {run_id} has no scores.safetensors; measure it again: capacity "
                f"measure {run_id}"
            )
        by_run[run_id] = archive.people(found) if "person" in found else found
    return by_run


def family(run_ids: Sequence[str], by_run: Mapping[str, Scores]) -> Family:
    """These runs' numbers side by side. ValueError where they are not of one set."""
    tables = [by_run[run_id] for run_id in run_ids]
    first = tables[0]
    for run_id, one in zip(run_ids, tables, strict=True):
        if not np.array_equal(one["row"], first["row"]) or not np.array_equal(
            one["tier"], first["tier"]
        ):
            raise ValueError(f"run {run_id} was asked about another set of people than the others")

    def stacked(name: str, dtype: type) -> np.ndarray:
        return np.stack([one[name] for one in tables]).astype(dtype)

    loss, right, guess = (stacked(name, float) for name in PEOPLE)
    return Family(
        list(run_ids),
        loss,
        stacked("seen", bool),
        right,
        guess,
        stacked("exposures", float),
        first["row"].astype(np.int64),
        np.maximum(1, first["tier"].astype(np.int64)),
    )
