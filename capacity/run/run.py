"""Runs from settings to record, one alone or a stack of one shape: the page to read first.

claim -> data, model -> train (log, evaluate, checkpoint) -> measure -> weights -> record
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable

import numpy as np
import torch

from capacity import records
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.scores import write_scores
from capacity.config import Config, from_dict
from capacity.cost import micro_batches
from capacity.data import cache as kept
from capacity.feed import canary_schedule as views
from capacity.measure import quantization
from capacity.measure import registry as tasks
from capacity.run.environment import check_compiler, environment, keep_freed_memory
from capacity.settings.quantize import Quantize
from capacity.train import checkpoint
from capacity.train.loop import Stack, State, advance
from capacity.train.stack_key import stack_key

# a mean loss above this many times log2 V (a uniform guess) over a log interval ends a run as
# failed
DIVERGED = 3.0
LOG_POINTS = 100  # per run

Report = Callable[[dict], None]


class Stop:
    """Turns SIGINT and SIGTERM into a flag that the loop looks at; also set when the parent process
    is gone."""

    def __init__(self, parent: int | None = None):
        self.signal: int | None = None
        self.parent = parent
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait for a checkpoint
        self.signal = number

    def __call__(self) -> bool:
        return self.signal is not None or (self.parent is not None and os.getppid() != self.parent)


def execute(
    configs: list[Config],
    results: Path,
    device: torch.device,
    study: str | None,
    report: Report,
    stop: Callable[[], bool],
) -> dict[str, str]:
    """Train, measure and record runs of one shape; returns run_id -> finished, failed, interrupted
    or busy.

    Finished runs are left alone, interrupted ones continue from their checkpoints, runs that
    another process holds are busy. A stack that does not fit into memory goes on in halves, a
    single run with its batch in parts. If a stack breaks otherwise, its members run again one by
    one, so that one broken run never sinks the others.
    """
    outcome: dict[str, str] = {}
    check_compiler(configs[0], device)
    with ExitStack() as claims:
        todo = []
        for config in configs:
            if not claims.enter_context(records.claim(results, config.run_id)):
                outcome[config.run_id] = "busy"
            elif (record := records.read(results, config.run_id)) and record[
                "status"
            ] == "finished":
                outcome[config.run_id] = "finished"
            else:
                todo.append(config)
        for group in _groups(todo, results):
            outcome |= _execute_group(
                group, results, device, study, report, stop, _parts(group, device)
            )
    return outcome


def _groups(configs: list[Config], results: Path) -> list[list[Config]]:
    """Runs that share a shape and stand at the same step, most often all of them."""
    groups: dict[tuple, list[Config]] = {}
    for config in configs:
        path = _checkpoint(results, config)
        meta = checkpoint.read_meta(path) or {"run_id": config.run_id, "step": 0}
        if meta["run_id"] != config.run_id:
            raise ConfigError(
                f"{path}: the checkpoint of run {meta['run_id']}; remove it to train this run from "
                f"the start"
            )
        groups.setdefault((stack_key(config), meta["step"]), []).append(config)
    return list(groups.values())


def _parts(configs: list[Config], device: torch.device) -> int:
    """Parts of a batch by which the stack should fit: into cluster.memory_gb, or 80% of the GPU."""
    given = configs[0].cluster.memory_gb
    room = (
        given * 1e9
        if given
        else 0.8 * torch.cuda.get_device_properties(device).total_memory
        if device.type == "cuda"
        else np.inf
    )
    return micro_batches(configs[0], len(configs), device.type, room)


def _execute_group(
    configs: list[Config],
    results: Path,
    device: torch.device,
    study: str | None,
    report: Report,
    stop: Callable[[], bool],
    parts: int,
) -> dict[str, str]:
    for config in configs:
        kept.keep(results, config.data)
        files.write_json(records.run_dir(results, config.run_id) / "config.json", config.as_dict())
        (records.run_dir(results, config.run_id) / "record.json").unlink(
            missing_ok=True
        )  # of a failed run, tried again
    try:
        return _train_and_record(configs, results, device, study, report, stop, parts)
    except (ConfigError, OSError):
        raise  # a bad file, a full disk: nothing that training again would mend
    except Exception as error:
        text, reason, no_memory = (
            traceback.format_exc(),
            f"{type(error).__name__}: {error}",
            _out_of_memory(error),
        )
    # outside of the handler, where the exception no longer keeps the stack's tensors alive
    if device.type == "cuda":
        torch.cuda.empty_cache()
    ended = {
        c.run_id: record["status"] for c in configs if (record := records.read(results, c.run_id))
    }
    left = [c for c in configs if c.run_id not in ended]
    batch = configs[0].train.batch_size
    if (
        no_memory
        and len(left) == 1
        and parts < batch
        and not configs[0].model.n_experts
        and not stop()
    ):
        finer = min(batch, 2 * parts)
        report(
            {
                "event": "note",
                "text": f"{reason.splitlines()[0]}; going on with the batch of {batch} in {finer} "
                f"parts",
            }
        )
        return ended | _execute_group(left, results, device, study, report, stop, finer)
    if len(configs) == 1 or stop():
        for config in left:
            record_failure(config, results, study, reason, None, text)
        return ended | {c.run_id: "failed" for c in left}
    size = -(-len(configs) // 2) if no_memory else 1
    report(
        {
            "event": "note",
            "text": f"{len(configs)} runs in one stack: {reason.splitlines()[0]}; going on with "
            f"{size} at a time",
        }
    )
    for group in _groups(left, results):
        for i in range(0, len(group), size):
            ended |= _execute_group(
                group[i : i + size], results, device, study, report, stop, parts
            )
    return ended


def _out_of_memory(error: Exception) -> bool:
    """Whether the device, or the host's allocator, had no room."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(
        error
    )


def _train_and_record(
    configs: list[Config],
    results: Path,
    device: torch.device,
    study: str | None,
    report: Report,
    stop: Callable[[], bool],
    parts: int,
) -> dict[str, str]:
    keep_freed_memory()
    stack = Stack(configs, device, parts)
    paths = [_checkpoint(results, c) for c in configs]
    resumed = all(p.exists() for p in paths)
    state = checkpoint.load_states(paths, device) if resumed else stack.start()
    wall_before = checkpoint.read_meta(paths[0])["wall_s"] if resumed else 0.0
    for config in configs:
        records.cut_metrics(results, config.run_id, state.step if resumed else -1)
    began = saved_at = time.monotonic()
    trained, outcome = 0, {}
    while True:
        boundary, first_step = min(_next_point(c, state.step) for c in stack.configs), state.step
        advance(stack, state, boundary, stop)
        now = time.monotonic()
        wall = wall_before + now - began
        trained += (
            (state.step - first_step)
            * configs[0].train.batch_size
            * configs[0].data.seq_len
            * len(stack.configs)
        )
        failed: dict[int, str] = {}
        if state.step == boundary:
            failed = _log(stack, state, results, wall, trained / max(1e-9, now - began), report)
            _evaluate(stack, state, results, failed)
        left = [m for m, c in enumerate(stack.configs) if m not in failed and state.step < c.steps]
        ended = len(left) < len(stack.configs)
        stopped = bool(left) and (state.step < boundary or stop())
        if left and (ended or stopped or now - saved_at > configs[0].cluster.checkpoint_seconds):
            # before the records of those that end, so that after a crash the others go on in the
            # company that they have now
            for m in left:
                config = stack.configs[m]
                checkpoint.save_state(_checkpoint(results, config), state, m, config.run_id, wall)
            saved_at = now
        for m, config in enumerate(stack.configs):
            if m not in left:
                outcome[config.run_id] = _end(
                    stack, state, m, failed.get(m), results, study, wall, len(configs)
                )
        if not left or stopped:
            return outcome | {stack.configs[m].run_id: "interrupted" for m in left}
        if ended:
            stack, state = (
                Stack([stack.configs[m] for m in left], device, parts),
                state.select(left),
            )


def _end(
    stack: Stack,
    state: State,
    m: int,
    failure: str | None,
    results: Path,
    study: str | None,
    wall_s: float,
    members: int,
) -> str:
    """Write the record of a member that has failed or is through with its steps."""
    config = stack.configs[m]
    if failure is not None:
        record_failure(
            config, results, study, failure, int(state.dead_step_M[m]) or state.step, None
        )
    else:
        checkpoint.save_weights(
            _weights(results, config), stack.gpt, state.flat_MP[m], config.run_id
        )
        records.write(results, _finished_record(stack, state, m, results, study, wall_s, members))
    _checkpoint(results, config).unlink(missing_ok=True)
    return "finished" if failure is None else "failed"


def _next_point(config: Config, step: int) -> int:
    """The next step after `step` at which something has to be done for a run: a line in its log, an
    evaluation, its end."""
    later = [
        e
        for e in (
            *evaluation_steps(config.steps, config.measure.evaluations),
            *views.probe_steps(config),
        )
        if e > step
    ]
    return min([config.steps, (step // log_every(config) + 1) * log_every(config), *later])


def log_every(config: Config) -> int:
    """Steps between two lines of a run's log."""
    return max(1, config.steps // LOG_POINTS)


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """Steps after which the whole training set is scored: `evaluations` even ones, and always 90%
    and 100%."""
    return {max(1, round(steps * k / evaluations)) for k in range(1, evaluations + 1)} | {
        last_tenth(steps),
        steps,
    }


def last_tenth(steps: int) -> int:
    """The step where the last tenth of training begins."""
    return max(1, round(0.9 * steps))


def _log(
    stack: Stack, state: State, results: Path, wall_s: float, tokens_per_s: float, report: Report
) -> dict[int, str]:
    """Fetch what the device has summed up, write a line for each member whose log has one here, and
    judge these members: returns member -> why it failed."""
    due = [
        m
        for m, c in enumerate(stack.configs)
        if state.step % log_every(c) == 0 or state.step == c.steps
    ]
    if not due:
        return {}
    losses, alive, dead_step = (
        state.loss_sum_M.tolist(),
        state.alive_M.tolist(),
        state.dead_step_M.tolist(),
    )
    failed: dict[int, str] = {}
    per_parameter: list[float | None] = [None] * len(stack.configs)
    kept: list[float | None] = [None] * len(stack.configs)
    for m in due:
        config, steps = stack.configs[m], state.step - state.logged[m]
        loss = losses[m] / steps / np.log(2)
        if not alive[m]:
            failed[m] = f"loss or gradient not finite at step {dead_step[m]}"
        elif loss > DIVERGED * np.log2(config.rows):
            failed[m] = (
                f"diverged: mean loss {loss:.3g} bits per token over the {steps} steps up to step "
                f"{state.step}, more "
                f"than {DIVERGED:g} x log2 V"
            )
        else:
            per_parameter[m], kept[m] = tasks.running(config, loss), loss
            running = (
                {"bits_per_parameter_running": per_parameter[m]}
                if per_parameter[m] is not None
                else {}
            )
            records.append_metrics(
                results,
                config.run_id,
                {
                    "step": state.step,
                    "loss_bits_per_token": loss,
                    **running,
                    "tokens": state.step * config.train.batch_size * config.data.seq_len,
                    "wall_s": round(wall_s, 3),
                },
            )
        state.logged[m] = state.step
    state.loss_sum_M[due] = 0.0
    report(
        {
            "event": "progress",
            "runs": [c.run_id for c in stack.configs],
            "step": state.step,
            "steps": [c.steps for c in stack.configs],
            "bits_per_parameter": per_parameter,
            "loss_bits_per_token": kept,
            "tokens_per_s": tokens_per_s,
        }
    )
    return failed


def _evaluate(stack: Stack, state: State, results: Path, failed: dict[int, str]) -> None:
    for m, config in enumerate(stack.configs):
        if m not in failed and state.step in evaluation_steps(
            config.steps, config.measure.evaluations
        ):
            line = {"step": state.step, **tasks.evaluate(stack, state.flat_MP[m], m)}
            records.append_metrics(results, config.run_id, line)
        if m not in failed and state.step in views.probe_steps(config):
            records.append_metrics(
                results,
                config.run_id,
                {"step": state.step, **tasks.probe(stack, state.flat_MP[m], m)},
            )


def _finished_record(
    stack: Stack,
    state: State,
    m: int,
    results: Path,
    study: str | None,
    wall_s: float,
    members: int,
) -> dict:
    config = stack.configs[m]
    name = tasks.name_of(config)
    measures, table = tasks.measure_all(
        stack, state.flat_MP[m], m, quantization.asked(config.quantize)
    )
    if table is not None:
        write_scores(records.run_dir(results, config.run_id), table, config.run_id)
    evaluated = tasks.EVALUATED[name]
    if views.timed(config):
        measures[name]["views"] = _views(config, results)
    evaluations = {
        line["step"]: line[evaluated]
        for line in records.read_metrics(results, config.run_id)
        if evaluated in line
    }
    final, before = evaluations.get(config.steps), evaluations.get(last_tenth(config.steps))
    if not np.isfinite(tasks.held_bits(name, measures[name])):
        raise FloatingPointError(
            f"{name}: {tasks.held_bits(name, measures[name])} bits after training"
        )
    gain = (final - before) / abs(final) if final and before is not None else None
    record = _record(config, study, "finished", wall_s, stack.device, members)
    record["storage"] = stored = quantization.storage(stack.gpt, config.train)
    quantization.check_bound(name, tasks.held_bits(name, measures[name]), stored["bits"])
    counted = stack.feed.exposures(m, state.step)
    record["training"] |= {"micro_batches": stack.parts} | {
        f"exposures_{name}": number for name, number in counted.items()
    }
    if stack.scaled:
        scale, _, skipped = state.scaling_M3[m].tolist()
        record["training"] |= {"loss_scale": scale, "steps_skipped": int(skipped)}
    return record | {
        "measures": measures,
        "convergence": {
            f"{evaluated}_at_90_percent": before,
            "gain_last_tenth": gain,
            "meaning": f"{evaluated} gained over the last tenth of the steps / final {evaluated}; "
            f"a schedule that "
            "falls makes it small by itself, so only a longer run proves convergence",
        },
    }


def _views(config: Config, results: Path) -> dict:
    """What the probes have found of canaries that are seen at set steps, by probe and canary."""
    probes = {
        line["step"]: line["canary_loss_bits_per_token"]
        for line in records.read_metrics(results, config.run_id)
        if "canary_loss_bits_per_token" in line
    }
    return {
        "last_update": views.last_updates(config).tolist(),
        "views": np.repeat(config.data.repeats, config.data.canaries).tolist(),
        "step": list(probes),
        "loss_bits_per_token": list(probes.values()),
    }


def record_failure(
    config: Config,
    results: Path,
    study: str | None,
    reason: str,
    step: int | None,
    text: str | None,
) -> None:
    """Write a failed run's record: why, at which step, and the traceback where there is one."""
    error = {"reason": reason, "step": step, "traceback": text}
    records.write(results, _record(config, study, "failed", 0.0) | {"error": error})


def _record(
    config: Config,
    study: str | None,
    status: str,
    wall_s: float,
    device: torch.device = torch.device("cpu"),
    members: int = 1,
) -> dict:
    return {
        "schema": records.SCHEMA,
        "run_id": config.run_id,
        "status": status,
        "study": study,
        "config": config.as_dict(),
        "identity": config.identity,
        "parameters": config.parameters,
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
            "wall_s": wall_s,
            "stack": members,
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
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


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
    flat_P = checkpoint.load_weights(_weights(results, config), stack.gpt, run_id).to(device)
    measures, table = tasks.measure_all(
        stack, flat_P, 0, quantization.asked(config.quantize, record)
    )
    if table is not None:
        write_scores(records.run_dir(results, run_id), table, run_id)
    record["measures"] |= measures
    record["storage"] = quantization.storage(stack.gpt, config.train)
    records.write(results, record)
    return record


def _checkpoint(results: Path, config: Config) -> Path:
    return records.run_dir(results, config.run_id) / "checkpoint.safetensors"


def _weights(results: Path, config: Config) -> Path:
    return records.run_dir(results, config.run_id) / "weights.safetensors"
