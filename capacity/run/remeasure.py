"""Measuring a finished run again, from its final weights."""

from __future__ import annotations

from pathlib import Path

import torch

from capacity import records
from capacity.base.errors import ConfigError
from capacity.base.scores import write_scores
from capacity.config import Config, from_dict
from capacity.data import cache as kept
from capacity.feed import used_rows
from capacity.measure import quantization
from capacity.measure import registry as measures
from capacity.run.job import Job
from capacity.settings.quantize import Quantize
from capacity.train import checkpoint
from capacity.train.loop import Stack


def measured_otherwise(record: dict, config: Config) -> bool:
    """Whether the settings ask for measures that the record does not have in this form."""
    had, asked = record["config"], config.as_dict()
    names = ("people", "contexts", "context")
    return (
        any(had["measure"].get(name) != asked["measure"][name] for name in names)
        or config.extraction.mode != "none"
        and had.get("extraction") != asked["extraction"]
        or len(quantization.asked(config.quantize, record))
        > len(quantization.asked(Quantize(), record))
    )


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
    parts, scores = measures.measure_all(
        stack, flat_P, 0, quantization.asked(config.quantize, record)
    )
    if scores is not None:
        write_scores(records.run_dir(results, run_id), scores, run_id)
    if seen := record["measures"].get("text", {}).get("views"):  # probes of the training
        parts["text"]["views"] = seen
    record["measures"] |= parts
    used_rows.put(record, config)
    record["storage"] = quantization.storage(stack.gpt, config.train)
    records.write(results, record)
    return record
