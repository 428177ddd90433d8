"""Measuring a finished run again, from its final weights."""

from __future__ import annotations

from pathlib import Path

import torch

from capacity import records
from capacity.base.errors import ConfigError
from capacity.base.scores import write_scores
from capacity.config import Config, from_dict
from capacity.data import cache as kept
from capacity.declare.quantization import asked
from capacity.feed import used_rows
from capacity.measure import (
    fact_cells,
    inside,
    people,
    prompt_search,
    prompts,
    quantization,
    wording,
)
from capacity.measure import registry as measures
from capacity.run import canary_snapshots
from capacity.run.job import Job
from capacity.train import checkpoint
from capacity.train.loop import Stack


def remeasure(results: Path, run_id: str, device: torch.device, settings: Config | None) -> dict:
    """Measure a finished run again from its final weights, by its own settings or by those given,
    and replace the measures in its record; nothing is retrained. Variants of quantization that it
    has are measured again, those asked for now join them."""
    record = records.read(results, run_id)
    if record is None or record["status"] != "finished":
        raise ConfigError(f"{run_id}: no finished run in {records.runs_dir(results)}")
    kept.load(results, record["config"]["data"])
    config = settings or from_dict(record["config"])
    given = config.as_dict()
    record["config"]["measure"] = given["measure"]
    if config.extraction.mode != "none":
        record["config"]["extraction"] = given["extraction"]
    if config.quantize.methods:
        record["config"]["quantize"] = given["quantize"]
    stack = Stack([config], device)
    weights = Job(results, device).weights(config)
    flat_P = checkpoint.load_weights(weights, stack.gpt, run_id).to(device)
    exposures = record["training"]["exposures_mean"]
    wanted = measures.Asked(results, asked(config.quantize, record), exposures)
    parts, scores = measures.measure_all(stack, flat_P, 0, wanted)
    if scores is not None:
        write_scores(records.run_dir(results, run_id), scores, run_id)
    for name in ("views", "facts"):  # probes of the training
        if seen := record["measures"].get("text", {}).get(name):
            parts["text"][name] = seen
    if "text" in parts:
        canary_snapshots.keep(parts["text"], record["measures"]["text"])
    for name, wanted in _besides(config).items():
        if not wanted:  # what was measured before would stand beside other settings
            record["measures"].pop(name, None)
    record["measures"] |= parts
    used_rows.put(record, config)
    record["storage"] = quantization.storage(stack.gpt, config.train)
    records.write(results, record)
    return record


def _besides(config: Config) -> dict[str, bool]:
    """By name of a measure that settings ask for, whether these do."""
    asked_for = config.measure
    return {
        people.MEASURE.name: bool(asked_for.held_out_people),
        wording.MEASURE.name: asked_for.wording,
        fact_cells.MEASURE.name: asked_for.fact_cells,
        inside.MEASURE.name: bool(asked_for.inside),
        prompts.MEASURE.name: bool(asked_for.prompts),
        prompt_search.MEASURE.name: bool(asked_for.prompt_search),
    }
