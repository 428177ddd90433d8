"""Scores of every sequence of a run during its training: what is learned when, and lost again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from capacity.base.snapshots import KINDS
from capacity.feed import split
from capacity.measure import sequence_scores as sequences
from capacity.train.loop import Stack

Columns = dict[str, np.ndarray]
TRAINED, HELD_OUT, CANARY = range(len(KINDS))


def take(stack: Stack, flat_P: Tensor, m: int) -> Columns:
    """The columns of `base.snapshots` of member m with weights [P], for one step."""
    return TAKEN[stack.configs[m].data.kind](stack, flat_P, m)


def _sequences(stack: Stack, flat_P: Tensor, m: int) -> Columns:
    tokens_NS = stack.feed.member_tokens(m)
    return _scored(stack, flat_P, m, [(TRAINED, np.arange(len(tokens_NS)), tokens_NS)])


def _text(stack: Stack, flat_P: Tensor, m: int) -> Columns:
    """Members, held-out sequences and canaries, or the last alone."""
    config = stack.configs[m]
    dealt = split.of(config)
    sides = ((TRAINED, dealt.seen), (HELD_OUT, ~dealt.seen))
    groups = []
    for kind, mask in sides if config.measure.snapshot_items == "all" else ():
        rows = dealt.scored[mask]
        groups.append((kind, rows, torch.from_numpy(dealt.pool.tokens_NS[rows])))
    lengths = dealt.inserted.length
    for length in dict.fromkeys(lengths.tolist()):  # of several kinds, each by its own tokens
        number = np.flatnonzero(lengths == length)
        groups.append((CANARY, number, torch.from_numpy(dealt.canaries[number, :length])))
    return _scored(stack, flat_P, m, groups)


def _scored(
    stack: Stack, flat_P: Tensor, m: int, groups: list[tuple[int, np.ndarray, Tensor]]
) -> Columns:
    config = stack.configs[m]
    parts = [
        sequences.scores(
            stack.gpt, flat_P, tokens.to(flat_P.device), stack.dtype, config.measure.batch_tokens
        )
        for _, _, tokens in groups
    ]
    return {
        "item": np.concatenate([item for _, item, _ in groups]).astype(np.int64),
        "kind": np.concatenate([np.full(len(item), kind, np.uint8) for kind, item, _ in groups]),
        "nats": np.concatenate([part["loss"] for part in parts]).astype(np.float32),
        "tail": np.concatenate([part["tail"] for part in parts]).astype(np.uint16),
    }


TAKEN = {"uniform": _sequences, "text": _text}
