"""Records of runs that have ended: what was measured, or why it failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from capacity import records
from capacity.base.scores import write_scores
from capacity.config import Config
from capacity.declare.quantization import asked
from capacity.feed import canary_schedule as views
from capacity.feed import used_rows
from capacity.measure import quantization
from capacity.measure import registry as measures
from capacity.run import canary_snapshots, timed_facts
from capacity.run.environment import environment
from capacity.run.job import Job
from capacity.settings.data import TextData, text_data
from capacity.train.loop import Stack, State

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Trained:
    """Training as a record has it: seconds of the whole stack, and how many runs it began with."""

    wall_s: float = 0.0
    members: int = 1


def last_tenth(steps: int) -> int:
    """The step where the last tenth of training begins."""
    return max(1, round(0.9 * steps))


def finished(stack: Stack, state: State, m: int, job: Job, trained: Trained) -> dict:
    """Measure member m; its record. Of text and people, the scores of single sequences or people
    are written beside it."""
    config, results = stack.configs[m], job.results
    declared = measures.measure_of(config)
    counted = stack.feed.exposures(m, state.step)
    wanted = measures.Asked(results, asked(config.quantize), counted["mean"])
    parts, scores = measures.measure_all(stack, state.flat_MP[m], m, wanted)
    if scores is not None:
        write_scores(records.run_dir(results, config.run_id), scores, config.run_id)
    part = parts[declared.name]
    if isinstance(config.data, TextData) and config.data.facts:
        part["facts"] = timed_facts.of_run(config, results)
    elif views.probed(config):
        part["views"] = _views(config, results)
    canary_snapshots.put(part, config, results)
    held = declared.held_bits(part)
    if not np.isfinite(held):
        raise FloatingPointError(f"{declared.name}: {held} bits after training")
    record = _record(config, job.study, "finished", trained, stack.device)
    used_rows.put(record, config)
    record["storage"] = stored = quantization.storage(stack.gpt, config.train)
    quantization.check_bound(declared.name, held, stored["bits"])
    record["training"] |= {"micro_batches": stack.parts} | {
        f"exposures_{name}": number for name, number in counted.items()
    }
    if (tiers := stack.feed.tiers(m, state.step)) is not None:
        record["training"]["tiers"] = tiers
    if stack.ranks is not None:
        record["training"]["ranks"] = stack.ranks.size
    if state.changes[m]:
        record["training"]["order_changed"] = "; ".join(state.changes[m])
    if stack.scaled:
        scale, _, skipped = state.scaling_M3[m].tolist()
        record["training"] |= {"loss_scale": scale, "steps_skipped": int(skipped)}
    return record | {
        "measures": parts,
        "convergence": _convergence(config, results, declared.evaluated),
    }


def _convergence(config: Config, results: Path, evaluated: str) -> dict:
    """What the last tenth of training gained of the number that the measure is judged by."""
    evaluations = {
        line["step"]: line[evaluated]
        for line in records.read_metrics(results, config.run_id)
        if evaluated in line
    }
    final, before = evaluations.get(config.steps), evaluations.get(last_tenth(config.steps))
    gain = (final - before) / abs(final) if final and before is not None else None
    return {
        f"{evaluated}_at_90_percent": before,
        "gain_last_tenth": gain,
        "meaning": f"{evaluated} gained over the last tenth of the steps / final {evaluated}; a "
        "schedule that falls makes it small by itself, so only a longer run proves convergence",
    }


def _views(config: Config, results: Path) -> dict:
    """What the probes have seen of canaries that are shown at set steps, by probe and canary."""
    probes = {
        line["step"]: line["canary_loss_bits_per_token"]
        for line in records.read_metrics(results, config.run_id)
        if "canary_loss_bits_per_token" in line
    }
    data = text_data(config.data)
    return {
        "last_update": views.last_updates(config).tolist(),
        "views": np.repeat(data.repeats, data.canaries).tolist(),
        "step": list(probes),
        "loss_bits_per_token": list(probes.values()),
    }


@dataclass(frozen=True)
class Failure:
    """Why a run failed, at which step, and the traceback where there is one."""

    reason: str
    step: int | None = None
    traceback: str | None = None


def write_failure(config: Config, results: Path, study: str | None, failure: Failure) -> None:
    """Write a failed run's record."""
    error = {
        "reason": failure.reason,
        "step": failure.step,
        "traceback": failure.traceback,
    }
    records.write(results, _record(config, study, "failed", Trained()) | {"error": error})


def _record(
    config: Config, study: str | None, status: str, trained: Trained, device: torch.device = CPU
) -> dict:
    return {
        "schema": records.SCHEMA,
        "run_id": config.run_id,
        "status": status,
        "study": study,
        "config": config.as_dict(),
        "identity": config.identity,
        "parameters": config.parameters | {"idle": config.idle_parameters},
        "data": {
            config.data.size_key: config.items,
            "entropy_bits": config.entropy_bits,
            "load": config.entropy_bits / config.parameters["total"],
        },
        "training": {
            "steps": config.steps,
            "tokens": config.tokens,
            "flops": config.flops,
            "exposures_expected": config.exposures,
            "wall_s": trained.wall_s,
            "stack": trained.members,
            "device": device.type,
            "threads": torch.get_num_threads(),
            "precision": config.train.precision,
            "master_weights": config.train.weights,
            "optimizer_state": "fp32",
            "qat": config.train.qat,
        },
        "measures": {},
        "convergence": None,
        "error": None,
        "environment": environment(device),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
