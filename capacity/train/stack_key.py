"""Which runs can train as one stack (standard library only, so that planning needs no torch)."""

from __future__ import annotations

import dataclasses
import json

from capacity.config import Config
from capacity.settings.fresh import FreshData

SHARED = (
    "batch_size",
    "precision",
    "optimizer",
    "weights",
    "qat",
    "qat_embeddings",
    "qat_only",
)  # the train settings that all members of a stack have in common


def stack_key(config: Config) -> str:
    """Runs with equal keys share architecture, vocabulary, context, batch, precision and
    quantization, so that all shapes are static; seed, data set, its size, the optimizer's numbers
    and the length of training are each member's own."""
    shared = {
        "model": dataclasses.asdict(config.model),
        "train": {name: getattr(config.train, name) for name in SHARED},
        "data": [config.data.kind, config.rows, config.data.seq_len, *_asked(config)],
    }
    return json.dumps(shared, sort_keys=True)


def _asked(config: Config) -> list[int]:
    """Predictions of a sequence that count, where they are not all."""
    return [config.data.asked] if isinstance(config.data, FreshData) else []
