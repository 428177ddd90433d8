"""What the runs of a study of items are: whose canaries, of which kind, what each group of them was
held by.

system      what else of model, data and training tells runs apart beside the axes and the replicate
replicate   the seeds of a run: of training, of who is dealt out, of the text
share       bits held of a group / mean code length of the never seen ones of its kind
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.base.frames import Frame
from capacity.fitting.membership import auc
from capacity.settings.data import text_data

if TYPE_CHECKING:
    from capacity.config import Config

SEEDS = ("seed", "data.split_seed", "data.text_seed")
# of the size of a model, and of what goes with it
SIZE = ("n_layers", "d_model", "n_heads", "n_kv_heads", "mlp_ratio")
START = "train.start_from"
GOES_WITH_SIZE = ("train.lr", "train.batch_size")
AMOUNT = ("data.n_sequences", "data.tokens_per_parameter")
ALL_ALONG = "all along"  # the window that is the whole training


def described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, system, replicate, parameters, tokens, seq_len, steps."""
    settings = [naming.settings(run) for run in runs]
    for one in settings:  # each replicate begins with weights of its own
        one[START] = "scratch" if one.get(START) is None else "a trained model"
    left = {*SEEDS, *AMOUNT, *(f"model.{name}" for name in SIZE)}
    keys = dict.fromkeys(key for one in settings for key in one)
    varied = [k for k in keys if k not in left and len({repr(one.get(k)) for one in settings}) > 1]
    sizes = [run.parameters["total"] for run in runs]
    for key in GOES_WITH_SIZE:  # one value per size is no axis of its own
        by_size: dict[int, set] = {}
        for size, one in zip(sizes, settings, strict=True):
            by_size.setdefault(size, set()).add(repr(one.get(key)))
        if key in varied and all(len(values) == 1 for values in by_size.values()):
            varied.remove(key)
    rows = []
    for run, one, size in zip(runs, settings, sizes, strict=True):
        data = text_data(run.data)
        named = [f"{_called(key)} {one.get(key)}" for key in varied]
        rows.append(
            {
                "run_id": run.run_id,
                "system": ", ".join(named) or "all runs",
                "replicate": "/".join(map(str, (run.seed, data.split_seed, data.text_seed))),
                "parameters": size,
                "tokens": run.tokens,
                "seq_len": data.seq_len,
                "steps": run.steps,
            }
        )
    out: Frame = pd.DataFrame(rows)
    return out


def _called(key: str) -> str:
    return "from" if key == START else key.rsplit(".", maxsplit=1)[-1]


def groups(known: Frame, measured: Mapping[str, list[dict[str, Any]]]) -> Frame:
    """A row per finished run and group of canaries: the columns of `described`, those of the record
    but the lists, share, never_bits, and the window in words (empty where there is none).

    Never seen canaries of kinds that differ in windows or in copies alone are drawn alike, so that
    bits held, share and AUC are against all of these together, unlike those of the record."""
    rows = []
    by_run = {row.run_id: row for row in known.itertuples()}
    for run_id, listed in measured.items():
        run: Any = by_run[run_id]
        never: dict[tuple[int, int], list[float]] = {}
        for group in listed:
            if not group["repeats"]:
                never.setdefault((group["length"], group["noise"]), []).extend(group["bits"])
        for group in listed:
            single = {k: v for k, v in group.items() if not isinstance(v, list)}
            bits, others = np.array(group["bits"]), np.array(never[group["length"], group["noise"]])
            single["held_bits"] = float(others.mean() - bits.mean())
            single["auc"] = float(auc(-bits, -others)) if group["repeats"] else None
            rows.append(
                {name: getattr(run, name) for name in known.columns}
                | single
                | {
                    "never_bits": float(others.mean()),
                    "share": single["held_bits"] / float(others.mean()),
                    "window": window(group, run.steps),
                }
            )
    out: Frame = pd.DataFrame(rows)
    return out


def window(group: Mapping[str, Any], steps: int) -> str:
    """A window in per cent of the training, with its spacing where it has one."""
    if group["window_end"] is None:
        return ""
    first, end = (100 * group[k] / steps for k in ("window_first", "window_end"))
    every = f" every {group['spacing']}" if group["spacing"] else ""
    whole = group["window_first"] == 0 and group["window_end"] == steps and not every
    return ALL_ALONG if whole else f"{first:.3g}-{end:.3g}%{every}"


def parts(seen: Frame) -> list[str]:
    """Windows of one length that do not overlap, the most there are, in their order; empty for
    fewer than two."""
    ends = {
        (row.window_first, row.window_end): row.window
        for row in seen.itertuples()
        if row.window and pd.isna(row.spacing)
    }
    best: list[str] = []
    for width in {end - first for first, end in ends}:
        some = sorted(pair for pair in ends if pair[1] - pair[0] == width)
        apart = [some[0]]
        for pair in some[1:]:
            if pair[0] >= apart[-1][1]:
                apart.append(pair)
        if len(apart) > max(1, len(best)):
            best = [ends[pair] for pair in apart]
    return best
