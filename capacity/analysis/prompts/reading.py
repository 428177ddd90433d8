"""What the runs of a study of prompts are, and what was found of each of their sequences.

system      what else of model, data and training tells runs apart beside size, amount of data and
            the replicate
replicate   the seeds of a run: of training, and of text of who is dealt out and of the text
memorized   a prompt of fewer than S/2 tokens is known: one that was tried, or the own beginning of
            the sequence; a share of those that are, and so at least the share that could be found
within      a prompt of at most M tokens writes it, exact
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.base.frames import Frame

if TYPE_CHECKING:
    from capacity.config import Config

SEEDS = ("seed", "data.split_seed", "data.text_seed")
SIZE = ("n_layers", "d_model", "n_heads", "n_kv_heads", "mlp_ratio")
GOES_WITH_SIZE = ("train.lr", "train.batch_size")
AMOUNT = ("data.n_sequences", "data.tokens_per_parameter", "data.load")


def described(runs: Sequence[Config]) -> Frame:
    """A row per planned run: run_id, system, replicate, size, parameters, items, load (log2 V bits
    of a token per parameter). ValueError where runs try prompts of different lengths."""
    if len(longest := sorted({run.measure.prompts for run in runs})) > 1:
        raise ValueError(
            f"measure.prompts is {' and '.join(map(str, longest))}; what is found by one is no "
            "share of what is found by the other"
        )
    settings = [naming.settings(run) for run in runs]
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
        named = [f"{key.rsplit('.', maxsplit=1)[-1]} {one.get(key)}" for key in varied]
        seeds = [run.seed, *(getattr(run.data, key) for key in ("split_seed", "text_seed")
                             if hasattr(run.data, key))]  # fmt: skip
        bits = run.items * run.data.seq_len * math.log2(run.rows)
        rows.append(
            {
                "run_id": run.run_id,
                "system": ", ".join(named) or "all runs",
                "replicate": "/".join(map(str, seeds)),
                "parameters": size,
                "items": run.items,
                "load": bits / size,
            }
        )
    out: Frame = pd.DataFrame(rows)
    return out


def outcomes(
    planned: Sequence[Config], known: Frame, measured: Mapping[str, Mapping[str, Any]]
) -> Frame:
    """A row per finished run: the columns of `described`, sequences n, within, memorized, unknown,
    of held-out ones `others` (those memorized, bool lists as tuples), saved, code (bits of members)
    and found_m (prompts of m tokens that were found shortest, by ends: a list)."""
    lengths = {run.run_id: run.data.seq_len for run in planned}
    rows = []
    for row in known.to_dict("records"):
        if (m := measured.get(row["run_id"])) is None:
            continue
        S, longest, members = lengths[row["run_id"]], m["longest"], m["members"]
        rows.append(
            row
            | {
                "n": m["sequences"],
                "longest": longest,
                "within": members["within"][str(longest)],
                "memorized": members["memorized"],
                "unknown": members["unknown"],
                "own": members["own_memorized"],
                "mean_prompt": _mean_prompt(members["shortest"]),
                "saved": members["saved_bits"],
                "code": members["code_bits"],
                "held_out_saved": m["held_out"]["saved_bits"],
                "held_out_code": m["held_out"]["code_bits"],
                "ties": members["ties"] + m["held_out"]["ties"],
                "shared": m["shared"],
                "others": tuple(is_memorized(m["held_out"], S)),
            }
        )
    out: Frame = pd.DataFrame(rows)
    return out


def is_memorized(side: Mapping[str, Any], seq_len: int) -> list[bool]:
    """Of each sequence of one side whether a prompt of fewer than half of its tokens is known."""
    shortest, own = (np.asarray(side[name]) for name in ("shortest", "own"))
    return (2 * np.where(shortest > 0, shortest, own) < seq_len).tolist()


def _mean_prompt(shortest: Sequence[int]) -> float | None:
    """Tokens of the shortest prompts that were found, mean; None where none was."""
    found = [m for m in shortest if m]
    return float(np.mean(found)) if found else None
