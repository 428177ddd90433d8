"""Scores of every sequence or person of a run during its training: what is learned when, and lost
again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from capacity.base.scores import people_totals
from capacity.base.snapshots import KINDS
from capacity.data.snapshots import held_out_people
from capacity.feed import split
from capacity.measure import people, registry
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


def _people(stack: Stack, flat_P: Tensor, m: int) -> Columns:
    """Trained people and those held out, as they are asked at the end."""
    config, member = stack.configs[m], stack.feed.members[m]
    contexts, more = config.measure.contexts, held_out_people(config)
    _, trained = registry.by_person(stack, flat_P, m, contexts)
    assert trained is not None
    tables = [trained]
    if more:
        asking = registry.asking_of(stack, flat_P, m, contexts, None)
        tables.append(people.held_out(member.world, more, asking))
    sides = [people_totals(table) for table in tables]
    name_N, values_N, right_N = (np.concatenate(of) for of in zip(*sides, strict=True))
    return {
        "item": np.concatenate([table["person"] for table in tables]).astype(np.int64),
        "kind": np.repeat([TRAINED, HELD_OUT][: len(tables)], [len(s[0]) for s in sides]).astype(
            np.uint8
        ),
        "name_nats": name_N.astype(np.float32),
        "value_nats": values_N.astype(np.float32),
        "accuracy": right_N.astype(np.float32),
    }


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


TAKEN = {"uniform": _sequences, "text": _text, "bios": _people, "biod": _people}
