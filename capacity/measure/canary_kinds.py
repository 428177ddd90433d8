"""What a model holds of canaries of several kinds (`data.canaries`), kind by kind and level by
level, each asked for behind BOS by its own tokens alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from capacity.config import Config
from capacity.feed import inserted, split
from capacity.fitting.membership import auc
from capacity.fitting.verbatim import exposure
from capacity.measure import sequence_scores as sequences
from capacity.model.gpt import GPT
from capacity.settings.data import text_data


def groups(
    gpt: GPT, flat_P: Tensor, dealt: split.Split, config: Config, dtype: torch.dtype
) -> list[dict]:
    """By kind and level: code lengths of canaries in bits, the bits that the never seen ones of the
    same kind cost more on average (what a model holds of them), exposure among candidates of the
    same kind, tokens that greedy decoding writes at the end, and the AUC of the loss attack against
    the never seen ones. held_bits_se: over canaries, those of both sides."""
    data, out = text_data(config.data), []
    for i, arm in enumerate(dealt.inserted.arms):
        candidates = dealt.candidates
        if arm.noise:
            stream = f"candidate noise {arm.noise} of {arm.length}"
            candidates = inserted.mixed(data, candidates, arm, stream)
        ranked = _scored(gpt, flat_P, candidates[:, : arm.length], config, dtype)["loss"]
        mine = dealt.inserted.arm == i
        tokens = dealt.canaries[mine, : arm.length]
        scored = _scored(gpt, flat_P, tokens, config, dtype)
        bits = scored["loss"].astype(float) / math.log(2)
        bits_of, levels = exposure(scored["loss"], ranked), dealt.repeats[mine]
        never = bits[levels == 0]
        for level in data.repeats:
            at = levels == level
            tails = scored["tail"][at]
            se = math.sqrt(_variance(bits[at]) + _variance(never)) if level else None
            out.append(
                {
                    "group": len(out) + 1,
                    "kind": i + 1,
                    "length": arm.length,
                    "noise": arm.noise,
                    "replaced": arm.replaced,
                    "window_first": None if arm.window is None else arm.window.first,
                    "window_end": None if arm.window is None else arm.window.end,
                    "spacing": None if arm.window is None else arm.window.spacing,
                    "repeats": level,
                    "canaries": int(at.sum()),
                    "at_most": math.log2(len(ranked) + 1),
                    "exposure": float(bits_of[at].mean()),
                    "held_bits": float(never.mean() - bits[at].mean()),
                    "held_bits_se": se if se is not None and math.isfinite(se) else None,
                    "auc": float(auc(-bits[at], -never)) if level else None,
                    "extractable": float((tails >= arm.length - arm.length // 2).mean()),
                    "exposures": bits_of[at].tolist(),
                    "bits": bits[at].tolist(),
                    "tails": tails.astype(int).tolist(),
                }
            )
    return out


def _variance(values: np.ndarray) -> float:
    """Of the mean."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else math.nan


def _scored(
    gpt: GPT, flat_P: Tensor, tokens: np.ndarray, config: Config, dtype: torch.dtype
) -> dict[str, np.ndarray]:
    on_device = torch.from_numpy(np.ascontiguousarray(tokens)).to(flat_P.device)
    return sequences.scores(gpt, flat_P, on_device, dtype, config.measure.batch_tokens)
