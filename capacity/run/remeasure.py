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
from capacity.measure import fact_cells, people, prompts, quantization, wording
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
    if not config.measure.held_out_people:  # the table of people has none any more
        record["measures"].pop(people.MEASURE.name, None)
    if not config.measure.wording:  # its bits would stand beside knowledge measured anew
        record["measures"].pop(wording.MEASURE.name, None)
    if not config.measure.fact_cells:  # as those of wording
        record["measures"].pop(fact_cells.MEASURE.name, None)
    if not config.measure.prompts:  # what was found before is of other settings
        record["measures"].pop(prompts.MEASURE.name, None)
    record["measures"] |= parts
    used_rows.put(record, config)
    record["storage"] = quantization.storage(stack.gpt, config.train)
    records.write(results, record)
    return record
