"""What the runs of a study of acquisition are, and what each arm and kind of probe gave in each.

system      what else of model, data and training tells runs apart beside size, batch and replicate
replicate   the seeds of a run: of training and of whose facts they are
part        an arm and a kind of probe of one run
effectivity, gained, held
            bits; less what facts that are never shown get by the same search for a maximum
a, threshold, r2
            of `fitting.acquisition.decay` of the mean retainability; nan where nothing was gained
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.base.frames import Frame
from capacity.fitting import acquisition
from capacity.settings.data import text_data

if TYPE_CHECKING:
    from capacity.config import Config

SEEDS = ("seed", "data.split_seed", "data.text_seed")
SIZE = ("n_layers", "d_model", "n_heads", "n_kv_heads", "mlp_ratio")
BATCH = "train.batch_size"
# follow the size or the replicate: of the size the rate that was tuned for it, of the replicate the
# weights that it begins with
LEFT = ("train.start_from", "train.lr")
NEVER = "never"
# standard errors over facts that a gain above never shown ones needs for a share of it to have a
# size: it is told from none at 95%
ERRORS = 2.0


def described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, system, replicate, size, parameters, batch and
    tokens_per_step."""
    settings = [naming.settings(run) for run in runs]
    left = {*SEEDS, BATCH, *LEFT, *(f"model.{name}" for name in SIZE)}
    keys = dict.fromkeys(key for one in settings for key in one)
    varied = [k for k in keys if k not in left and len({repr(one.get(k)) for one in settings}) > 1]
    rows = []
    for run, one in zip(runs, settings, strict=True):
        data = text_data(run.data)
        named = [f"{key.rsplit('.', maxsplit=1)[-1]} {one.get(key)}" for key in varied]
        rows.append(
            {
                "run_id": run.run_id,
                "system": ", ".join(named) or "all runs",
                "replicate": "/".join(map(str, (run.seed, data.split_seed, data.text_seed))),
                "size": run.shape,
                "parameters": run.parameters["total"],
                "batch": run.train.batch_size,
                "tokens_per_step": run.train.batch_size * data.seq_len,
            }
        )
    out: Frame = pd.DataFrame(rows)
    return out


def parts(known: Frame, measured: Mapping[str, list[dict[str, Any]]]) -> tuple[Frame, Frame, Frame]:
    """Of finished runs: a row per part; per part and lag what is retained (`lag`, `retained`,
    `kept`, `held`); per part and probe (`step`, `bits` of the value, mean over facts)."""
    rows, later, probes = [], [], []
    by_run = {row.run_id: row for row in known.itertuples()}
    for run_id, listed in measured.items():
        about = {name: getattr(by_run[run_id], name) for name in known.columns}
        floors = {one["kind"]: one for one in listed if one["arm"] == NEVER}
        for one in listed:
            mine = about | {"arm": one["arm"], "kind": one["kind"], "facts": one["facts"]}
            bits = np.array(one["nats"]) / math.log(2)
            probes += [
                mine | {"step": step, "bits": bit}
                for step, bit in zip(one["step"], bits.tolist(), strict=True)
            ]
            if one["arm"] == NEVER:
                continue
            row, found = _part(one, floors[one["kind"]], about["tokens_per_step"])
            rows.append(mine | row)
            later += [mine | at for at in found]
    frames = [pd.DataFrame(table) for table in (rows, later, probes)]
    return frames[0], frames[1], frames[2]


def _part(
    one: Mapping[str, Any], floor: Mapping[str, Any], tokens: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    before, best = np.array(one["before"], float), np.array(one["best"], float)
    later = np.array(one["later"], float).reshape(len(before), -1)
    lags = np.array(one["lags"], float)
    held = held_bits(one)
    gained = held[:, 0]
    error = math.hypot(_error(gained), _error(held_bits(floor)[:, 0]))
    retained = acquisition.retainability(-before[:, 0], -best[:, -1], -later)
    mean, kept = acquisition.mean_within_fences(retained)
    row: dict[str, Any] = {
        "effectivity": float((before - best).mean()) / math.log(2) - floor["effectivity"],
        "gained": float(gained.mean()) - floor["gained"],
        "gained_se": float(error),
        "held": float(held[:, -1].mean()) if len(lags) else math.nan,
        "a": math.nan,
        "threshold": math.nan,
        "threshold_tokens": math.nan,
        "r2": math.nan,
        "bits_per_decade": math.nan,
        "why": "",
    }
    if len(lags) < 3:
        row["why"] = f"{len(lags)} lags after the last view; a line needs three"
    elif not row["gained"] > ERRORS * error:
        row["why"] = "the facts gained too little for a share of it"
    else:
        line = acquisition.decay(lags, mean)
        row["a"] = line.a
        row["r2"] = math.nan if line.r2 is None else line.r2
        if line.threshold is not None:
            row["threshold"], row["threshold_tokens"] = line.threshold, line.threshold * tokens
    if len(lags) >= 3:
        row["bits_per_decade"] = acquisition.decay(lags, held[:, 1:].mean(0)).a
    found = [
        {
            "lag": int(lag),
            "retained": float(mean[i]) if not row["why"] else math.nan,
            "kept": int(kept[i]),
            "held": float(held[:, i + 1].mean()),
        }
        for i, lag in enumerate(lags)
    ]
    return row, found


def _error(values: np.ndarray) -> float:
    """Standard error of the mean, nan for a single one."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def held_bits(one: Mapping[str, Any]) -> np.ndarray:
    """`fitting.acquisition.held` of a part of a record, in bits, [n, 1 + L]."""
    before, best = np.array(one["before"], float), np.array(one["best"], float)
    later = np.array(one["later"], float).reshape(len(before), -1)
    others = np.array(one["never_before"], float), np.array(one["never_later"], float)
    return acquisition.held(before[:, 0], best[:, -1], later, *others) / math.log(2)


def shown(table: Frame) -> tuple[Frame, str]:
    """The largest model, its smallest batch and the first system, and these in words."""
    mine = table[table.parameters == table.parameters.max()]
    mine = mine[mine.batch == mine.batch.min()]
    mine = mine[mine.system == sorted(mine.system)[0]]
    first = mine.iloc[0]
    system = "" if first.system == "all runs" else str(first.system)
    return mine, naming.listed([str(first["size"]), f"batch of {first.batch}", system])
