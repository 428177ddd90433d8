"""What the runs of a study of repeated data are: how much of the training a subset is, how often it
is repeated, and what was measured of both.

rows        sequences of one training, the subset as often as it is repeated
share       of them that are the subset: f = K E / (N + K E), K sequences E times beside N once
repeats     E; 1 for a run without a subset (clean): every sequence once
replicate   the seeds of a run: of training, of who is dealt out, of the text
system      what else of model, data and training tells runs apart
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from capacity import naming
from capacity.base.errors import ConfigError
from capacity.base.frames import Frame
from capacity.settings.data import text_data

if TYPE_CHECKING:
    from capacity.config import Config

SEEDS = ("seed", "data.split_seed", "data.text_seed")
SIZE = ("n_layers", "d_model", "n_heads", "n_kv_heads", "mlp_ratio")
GOES_WITH_SIZE = ("train.lr",)
SUBSET = ("data.n_sequences", "data.canaries", "data.repeats", "data.tokens_per_parameter")


def subset(run: Config) -> tuple[int, int]:
    """(K, E): sequences of the subset, and how often each stands in the training set; (0, 1) of a
    clean run. ConfigError for levels of several kinds, which have no one E."""
    data = text_data(run.data)
    levels = [level for level in data.repeats if level] if data.canaries else []
    if not levels:
        return 0, 1
    if len(data.repeats) > 1 or levels[0] < 2:
        raise ConfigError(
            f"run {run.run_id}: data.repeats=[{','.join(map(str, data.repeats))}]: a study of "
            "repeated data needs one number of repeats a run, from 2 on, such as data.repeats=[64]"
        )
    return data.canaries, levels[0]


def described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, system, replicate, size (P total), rows, once (N), subset (K),
    repeats (E), share (f), length (tokens of a sequence). ConfigError in one line where a training
    is not one pass over its rows, or trainings of a system differ in their number of rows."""
    settings = [naming.settings(run) for run in runs]
    sizes = [run.parameters["total"] for run in runs]
    left = {*SEEDS, *SUBSET, *(f"model.{name}" for name in SIZE)}
    keys = dict.fromkeys(key for one in settings for key in one)
    varied = [k for k in keys if k not in left and len({repr(one.get(k)) for one in settings}) > 1]
    for key in GOES_WITH_SIZE:  # one value per size is no axis of its own
        by_size: dict[int, set] = {}
        for size, one in zip(sizes, settings, strict=True):
            by_size.setdefault(size, set()).add(repr(one.get(key)))
        if key in varied and all(len(values) == 1 for values in by_size.values()):
            varied.remove(key)
    rows = []
    for run, one, size in zip(runs, settings, sizes, strict=True):
        data, (k, e) = text_data(run.data), subset(run)
        total, seen = run.trained_items, run.steps * run.train.batch_size
        n = total - k * e
        if seen != total:
            raise ConfigError(
                f"run {run.run_id}: {seen:,} sequences are shown of {n:,} once and {k:,} repeated "
                f"{e:,} times, {total:,} in all; give a train.batch_size that divides them and "
                "train.exposures=1, so that every sequence is shown as often as it is said"
            )
        named = [f"{key.rsplit('.', maxsplit=1)[-1]} {one.get(key)}" for key in varied]
        rows.append(
            {
                "run_id": run.run_id,
                "system": ", ".join(named) or "all runs",
                "replicate": "/".join(map(str, (run.seed, data.split_seed, data.text_seed))),
                "size": size,
                "rows": total,
                "once": n,
                "subset": k,
                "repeats": e,
                "share": k * e / total,
                "length": data.seq_len,
            }
        )
    out: Frame = pd.DataFrame(rows)
    _check_equal(out)
    return out


def _check_equal(known: Frame) -> None:
    """Effective sizes are told at equal tokens."""
    for system, mine in known.groupby("system", sort=True):
        totals = mine.groupby("rows").run_id.min()
        if len(totals) > 1:
            (a, first), (b, second) = list(totals.items())[:2]
            raise ConfigError(
                f"{system}: run {first} is shown {a:,} sequences, run {second} {b:,}; a study of "
                "repeated data needs as many in all runs: data.n_sequences + data.canaries x "
                "data.repeats"
            )
