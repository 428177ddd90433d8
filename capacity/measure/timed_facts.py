"""What a model in training says of new facts: nats of the value's tokens, by kind of probe."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.config import Config
from capacity.data import timed_facts
from capacity.feed import split
from capacity.measure.memorization import LOGITS_AT_ONCE
from capacity.model.gpt import GPT
from capacity.settings.data import text_data

PLACES = 5  # decimals of a nat that are kept, far below what a seed of training moves


def probe(gpt: GPT, flat_P: Tensor, config: Config, dtype: torch.dtype) -> dict[str, list[float]]:
    """By kind, as `fact_nats_KIND`, nats of the value's tokens behind the text before it, of every
    new fact in their order; mean over the wordings that are asked."""
    facts = split.of(config).facts
    assert facts is not None, "the run has no facts"
    asked, kinds = facts.asked, timed_facts.kinds(text_data(config.data))
    tokens = torch.from_numpy(asked.tokens).to(flat_P.device)
    at_once = min(config.measure.batch_tokens, LOGITS_AT_ONCE // gpt.vocab_size)
    with torch.no_grad():
        parts = [
            gpt.by_token(flat_P, batch.long(), _nats, dtype).double().cpu()
            for batch in tokens.split(max(1, at_once // tokens.shape[1]))
        ]
    nats = np.where(asked.value, torch.cat(parts).numpy(), 0.0).sum(1)
    out = {}
    for k, kind in enumerate(kinds):
        mine = asked.kind == k
        total = np.bincount(asked.fact[mine], nats[mine])
        mean = total / np.bincount(asked.fact[mine])
        out[f"fact_nats_{kind}"] = [round(x, PLACES) for x in mean.tolist()]
    return out


def _nats(logits_NV: Tensor, target_N: Tensor) -> Tensor:
    return F.cross_entropy(logits_NV, target_N, reduction="none")
