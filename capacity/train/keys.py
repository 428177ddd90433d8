"""Which runs can train as one stack (standard library only, so that planning needs no torch)."""

from __future__ import annotations

import dataclasses
import json

from capacity.config import Config

OWN = ("lr", "beta1", "beta2", "eps", "weight_decay", "grad_clip")  # train settings that each member has for itself


def stack_key(config: Config) -> str:
    """Runs with equal keys share architecture, vocabulary, context, batch, schedule and precision, so that all shapes are
    static; seed, data set, its size and the optimizer's numbers are each member's own."""
    train = {k: v for k, v in dataclasses.asdict(config.train).items() if k not in OWN + ("steps", "exposures")}
    shared = {"model": dataclasses.asdict(config.model), "train": train, "steps": config.steps,
              "data": [config.data.kind, config.data.rows, config.data.seq_len],
              "evaluations": config.measure.evaluations}
    return json.dumps(shared, sort_keys=True)
