"""What the runs of a study of context are: whose state, of how many numbers, and what each run may
say of it.

system     the mixer, with what else of model, data and training tells runs apart beside the size of
           the state, the length, the rate and the seed
state      numbers that are kept where the first answer is asked for
length     of what is said: symbols of a copy, pairs of recall
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.analysis import planned_runs
from capacity.analysis.table_checks import checked, rising, shown_rising
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.frames import Frame
from capacity.counts import state_numbers
from capacity.settings.fresh import fresh_data

if TYPE_CHECKING:
    from capacity.config import Config

# what moves the size of a state, or the length that is asked of it
MOVES = ("n_layers", "d_model", "n_heads", "n_kv_heads", "mixer_key", "loops")
LENGTHS = ("data.copy_length", "data.pairs", "data.seq_len")
CLEAR = 2.0  # standard errors above 0 from which a run has learned something


def described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, system, state, length, shown (state and length in words), lr.
    ValueError where two kinds of data are in one study."""
    if len(kinds := sorted({run.data.kind for run in runs})) > 1:
        raise ValueError(f"runs on data.kind={' and '.join(kinds)}; a law is about one of them")
    settings = [naming.settings(run) for run in runs]
    left = {f"model.{name}" for name in MOVES} | set(LENGTHS)
    left |= {"train.lr", "model.mixer", "model.mixer_decay", "seed"}
    varied = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if key not in left and len({one.get(key) for one in settings}) > 1
    ]
    rows = []
    for run, one in zip(runs, settings, strict=True):
        data = fresh_data(run.data)
        mixer = run.model.mixer + " with decay" * run.model.mixer_decay
        more = [f"{key.rsplit('.', maxsplit=1)[-1]} {one.get(key)}" for key in varied]
        rows.append(
            {
                "run_id": run.run_id,
                "system": ", ".join([mixer, *more]),
                "state": state_numbers(run.model, data.said + 1),
                "length": data.asked,
                "lr": run.train.lr,
            }
        )
    out: Frame = pd.DataFrame(rows)
    return out


def joined(table: Frame, known: Frame) -> Frame:
    """The checked table of runs with what is known of them, held (bits), most (what a sequence asks
    for), class, still_rising and shown_rising. ValueError, in one line, for a table that cannot be
    read.

    class: missing, failed, unlearned (not shown to hold anything), ceiling (over DATA_LIMITED of
    what is asked for), corner (CORNER times as much would end it) or full; only full runs measure a
    state, one at the ceiling says that it holds at least so much."""
    numbers = ["seed", "context_bits", "context_bits_se", "context_ceiling_bits", "gain_last_tenth"]
    runs = checked(table, ["run_id", "status", *numbers], numbers, "fit")
    runs = planned_runs.beside(runs, known)
    held, most = runs.context_bits.astype(float), runs.context_ceiling_bits.astype(float)
    kind = np.select(
        [
            ~(held > CLEAR * runs.context_bits_se.astype(float)),
            held > DATA_LIMITED * most,
            most < CORNER * held,
        ],
        ["unlearned", "ceiling", "corner"],
        "full",
    )
    done = runs.status == "finished"
    return runs.assign(
        held=held,
        most=most,
        still_rising=rising(runs),
        shown_rising=done & shown_rising(runs),
        **{"class": np.where(done, kind, runs.status)},
    )


def tuned(runs: Frame) -> tuple[Frame, list[dict[str, Any]]]:
    """The runs with `chosen` (trained at the rate of their system) and `chose` (whose bits decided
    it), and a row per system: rate, tried, at (state and length), seeds, reason ("" where the best
    rate lies between others). The rate is chosen by mean bits at the state and length at which most
    were tried, of seeds that tried them all."""
    chosen, chose, out = set(), set(), []
    for system, mine in runs.groupby("system", sort=True):
        row: dict[str, Any] = {"system": system, "lr": None, "tried": [], "at": None, "seeds": []}
        done = mine[mine.status == "finished"]
        if done.empty:
            out.append(row | {"reason": "no run finished"})
            continue
        cells = [(-part.lr.nunique(), at, part) for at, part in done.groupby(["state", "length"])]
        _, at, there = min(cells, key=lambda cell: cell[:2])
        by_seed = there.groupby("seed").lr.nunique()
        seeds = by_seed.index[by_seed == by_seed.max()]
        deciding = there[there.seed.isin(seeds)]
        means = deciding.groupby("lr").held.mean()
        best, tried = float(means.idxmax()), sorted(map(float, means.index))
        reason = ""
        if len(tried) < 3:
            reason = f"train.lr: {len(tried)} tried; an optimum needs 3"
        elif best in (tried[0], tried[-1]):
            side = "smallest" if best == tried[0] else "largest"
            reason = f"train.lr: the best, {best:g}, is the {side} tried"
        chosen |= set(mine.index[mine.lr == best])
        chose |= set(deciding.index)
        row |= {"lr": best, "tried": tried, "at": list(map(int, at)), "seeds": sorted(seeds)}
        out.append(row | {"reason": reason})
    return runs.assign(chosen=runs.index.isin(chosen), chose=runs.index.isin(chose)), out
