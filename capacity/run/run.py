"""Runs from settings to record, one alone or a stack of one shape: the page to read first.

claim -> data, model -> train (log, evaluate, checkpoint) -> measure -> weights -> record
"""

from __future__ import annotations

import dataclasses
import gc
import json
import time
import traceback
from contextlib import ExitStack

import numpy as np
import torch

from capacity import records
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.hardware import PLANNED_PART, cpu_name
from capacity.base.snapshots import add as add_snapshot
from capacity.base.words import some
from capacity.config import Config
from capacity.cost import emulated, micro_batches, speed_of, table_bytes
from capacity.data import cache as kept
from capacity.data.snapshots import steps_of
from capacity.feed import canary_schedule as views
from capacity.feed import used_rows
from capacity.measure import registry as measures
from capacity.measure import snapshots
from capacity.run import group, order, record
from capacity.run.environment import (
    check_compiler,
    check_kernels,
    keep_freed_memory,
    not_compiled,
    out_of_memory,
)
from capacity.run.follow import follow
from capacity.run.job import Job
from capacity.train import checkpoint, starts
from capacity.train.loop import Stack, State, advance, settle
from capacity.train.pace import Saves
from capacity.train.stack_key import stack_key

# a mean loss above this many times log2 V (a uniform guess) over a log interval ends a run as
# failed
DIVERGED = 3.0
LOG_POINTS = 100  # per run


def execute(configs: list[Config], job: Job) -> dict[str, str]:
    """Train, measure and record runs of one shape; returns run_id -> finished, failed, interrupted
    or busy.

    Finished runs are left alone, interrupted ones continue from their checkpoints, runs that
    another process holds are busy. A stack that does not fit into memory goes on in halves, a
    single run with its batch in parts. If a stack breaks otherwise, its members run again one by
    one, so that one broken run never sinks the others. With cluster.ranks other processes train
    with this one (`run.group`), or this one follows rank 0; where one of them is lost RankLost is
    raised, and the runs go on from their checkpoints with the next call.
    """
    ranks = configs[0].cluster.ranks
    if ranks is None:
        return _execute(configs, job)
    here = group.place(ranks, job.results)
    if here.rank:
        return follow(here, job.device)
    if not here.started and all(_finished(job, config) for config in configs):
        return {config.run_id: "finished" for config in configs}
    with group.led(here, job.device, job.results) as leader:
        job = dataclasses.replace(job, leader=leader, device=leader.device)
        leader.outcome = _execute(configs, job)
    return leader.outcome


def _execute(configs: list[Config], job: Job) -> dict[str, str]:
    outcome: dict[str, str] = {}
    check_compiler(configs[0], job.device)
    check_kernels(configs[0], job.device)
    todo = [config for config in configs if not _finished(job, config)]
    starts.check(job.results, todo)
    _make_data(todo, job)
    with ExitStack() as claims:
        todo = []
        for config in configs:
            if not claims.enter_context(records.claim(job.results, config.run_id)):
                outcome[config.run_id] = "busy"
            elif _finished(job, config):
                outcome[config.run_id] = "finished"
            else:
                todo.append(config)
        for alike in _groups(todo, job):
            outcome |= _execute_group(alike, job)
    return outcome


def _finished(job: Job, config: Config) -> bool:
    known = records.read(job.results, config.run_id)
    return known is not None and known["status"] == "finished"


def _make_data(configs: list[Config], job: Job) -> None:
    """Read, cut and keep what the runs are trained on, before any of them has a folder: data that
    are refused leave none."""
    for config in configs:
        kept.keep(job.results, config.data)
    messages = list(used_rows.warnings(configs)) if configs else []
    if job.device.type == "cpu":
        messages.append(emulated(configs, speed_of("cpu", job.results, cpu_name())))
    for message in filter(None, messages):
        _note(job, message)


def _groups(configs: list[Config], job: Job) -> list[list[Config]]:
    """Runs that share a shape, stand at the same step and came there in the same way, most often
    all of them."""
    groups: dict[tuple, list[Config]] = {}
    for config in configs:
        path = job.checkpoint(config)
        meta = checkpoint.read_meta(path) or {"run_id": config.run_id, "step": 0, "order": None}
        if meta["run_id"] != config.run_id:
            raise ConfigError(
                f"{path}: the checkpoint of run {meta['run_id']}; remove it to train this run from "
                f"the start"
            )
        key = stack_key(config), meta["step"], json.dumps(meta["order"], sort_keys=True)
        groups.setdefault(key, []).append(config)
    return list(groups.values())


def _parts(configs: list[Config], job: Job) -> int:
    """Parts of a batch by which the stack should fit: into cluster.memory_gb, or this process's
    share of 80% of the GPU; where runs go on, no fewer than before."""
    device, given, room = job.device, configs[0].cluster.memory_gb, np.inf
    if given:
        room = given * 1e9
    elif device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory
        room = PLANNED_PART * whole / job.sharers
    planned = micro_batches(max(configs, key=table_bytes), len(configs), device.type, room)
    if configs[0].cluster.micro_batches is not None:
        return planned
    metas = [checkpoint.read_meta(job.checkpoint(config)) for config in configs]
    found = [None if meta is None else meta["order"] for meta in metas]
    return order.kept_parts(found, planned, configs[0].cluster.ranks)


def _execute_group(configs: list[Config], job: Job) -> dict[str, str]:
    """Train runs that can share a stack; job.parts None: as many as it takes."""
    if job.parts is None:
        job = dataclasses.replace(job, parts=_parts(configs, job))
    for config in configs:
        if message := _begins_again(job, config):
            _note(job, message)
        folder = records.run_dir(job.results, config.run_id)
        files.write_json(folder / "config.json", config.as_dict())
        (folder / "record.json").unlink(missing_ok=True)  # of a failed run, tried again
        (folder / "pruned.json").unlink(missing_ok=True)
    try:
        return _train_and_record(configs, job)
    except (ConfigError, OSError, group.RankLost):
        raise  # a bad file, a full disk, a lost process: nothing that training again would mend
    except Exception as error:
        short = out_of_memory(error)
        if short is None and (why := not_compiled(error)) is not None:
            if configs[0].cluster.compile == "always":
                raise ConfigError(
                    f"cluster.compile=always: torch.compile fails on this machine ({why}); use "
                    "cluster.compile=never"
                ) from None
            _note(job, f"torch.compile fails on this machine ({why}); going on without")
            return _execute_group([_plain(config) for config in configs], job)
        told = short or error
        failure = record.Failure(f"{type(told).__name__}: {told}", traceback=traceback.format_exc())
        no_memory = short is not None
        del told, short
    # outside of the handler, where the exception no longer keeps the stack's tensors alive; a stack
    # and its step know each other
    gc.collect()
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    return _try_again(configs, job, failure, no_memory)


def _plain(config: Config) -> Config:
    """The same run without torch.compile, which is no part of what it is."""
    cluster = dataclasses.replace(config.cluster, compile="never")
    return dataclasses.replace(config, cluster=cluster)


def _try_again(
    configs: list[Config], job: Job, failure: record.Failure, no_memory: bool
) -> dict[str, str]:
    """What a stack that broke leaves: in smaller stacks or parts where memory was short, else one
    by one, and of a run that was alone the record of its failure."""
    ended = {
        config.run_id: known["status"]
        for config in configs
        if (known := records.read(job.results, config.run_id))
    }
    left = [config for config in configs if config.run_id not in ended]
    batch, parts = configs[0].train.batch_size, job.parts or 1
    why = failure.reason.splitlines()[0]
    finer = 2 * parts if job.leader else min(batch, 2 * parts)  # ranks have a power of two
    splits = no_memory and parts < finer <= batch and not configs[0].model.n_experts
    if splits and len(left) == 1 and not job.stop():
        _note(job, f"{why}; going on with the batch of {batch} in {finer} parts")
        return ended | _execute_group(left, dataclasses.replace(job, parts=finer))
    if len(configs) == 1 or job.stop():
        for config in left:
            record.write_failure(config, job.results, job.study, failure)
        return ended | {config.run_id: "failed" for config in left}
    size = -(-len(configs) // 2) if no_memory else 1
    _note(job, f"{len(configs)} runs in one stack: {why}; going on with {size} at a time")
    for alike in _groups(left, job):
        for i in range(0, len(alike), size):
            ended |= _execute_group(alike[i : i + size], job)
    return ended


def _begins_again(job: Job, config: Config) -> str:
    """What a person should know of a run whose checkpoint was removed; empty where none was."""
    note = records.pruned(job.results, config.run_id, job.checkpoint(config).name)
    if note is None:
        return ""
    step = f" of step {note['step']:,}" if note.get("step") is not None else ""
    return (
        f"run {config.run_id} begins again at step 0: its checkpoint{step} was removed by "
        f"`capacity prune` at {note['at']}"
    )


def _note(job: Job, text: str) -> None:
    job.report({"event": "note", "text": text})


def _train_and_record(configs: list[Config], job: Job) -> dict[str, str]:
    keep_freed_memory()
    with ExitStack() as feeds:  # their threads end with training, however it ends
        return _train(configs, job, feeds)


def _train(configs: list[Config], job: Job, feeds: ExitStack) -> dict[str, str]:
    stack, state, wall_before = _begin(configs, job)
    feeds.callback(stack.feed.close)
    began, saves = time.monotonic(), Saves(configs[0].cluster.checkpoint_seconds)
    trained, outcome = 0, {}
    train = job.leader.advance if job.leader else advance
    while True:
        boundary, first_step = min(_next_point(c, state.step) for c in stack.configs), state.step
        asked = train(stack, state, boundary, job.stop, saves.due)
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
            failed = _log(stack, state, job, wall, trained / max(1e-9, now - began))
            _evaluate(stack, state, job, failed)
        left = [m for m, c in enumerate(stack.configs) if m not in failed and state.step < c.steps]
        ended = len(left) < len(stack.configs)
        stopped = bool(left) and (asked or job.stop())
        if left and (ended or stopped or saves.due()):
            # before the records of those that end: after a crash the remaining members resume in
            # the same, smaller stack
            members = {m: stack.configs[m] for m in left}
            paths = {m: (job.checkpoint(c), c.run_id) for m, c in members.items()}
            settle(stack)
            with saves.writing():
                whole = job.leader.whole(stack, state) if job.leader else state
                checkpoint.save_states(paths, whole, wall)
        for m, config in enumerate(stack.configs):
            if m not in left:
                total = record.Trained(wall, len(configs))
                outcome[config.run_id] = _end(stack, state, m, failed.get(m), job, total)
        if not left or stopped:
            return outcome | {stack.configs[m].run_id: "interrupted" for m in left}
        if ended:
            feeds.close()
            keep = job.leader.keep if job.leader else group.smaller
            stack, state = keep(stack, state, left)
            _note_order(stack, state, job)
            feeds.callback(stack.feed.close)


def _begin(configs: list[Config], job: Job) -> tuple[Stack, State, float]:
    """A stack; the state that training goes on from, where all members have one, or its start; and
    the seconds that were trained before."""
    paths = [job.checkpoint(config) for config in configs]
    resumed = all(path.exists() for path in paths)
    if job.leader:
        stack, state = job.leader.begin(configs, job.parts or 1, paths if resumed else None)
    else:
        stack = Stack(configs, job.device, job.parts or 1)
        if resumed:
            state = checkpoint.load_states(paths, job.device)
        else:
            state = stack.start(starts.weights(job.results, configs, stack.gpt))
    meta = checkpoint.read_meta(paths[0]) if resumed else None
    _note_order(stack, state, job)
    for config in stack.configs:
        records.cut_metrics(job.results, config.run_id, state.step if resumed else -1)
    return stack, state, meta["wall_s"] if meta else 0.0


def _note_order(stack: Stack, state: State, job: Job) -> None:
    """Say, and keep, that a stack goes on otherwise than its steps so far were made."""
    now = order.of(stack)
    if state.step and (words := order.changed(state.order, now)):
        for changes in state.changes:
            changes.append(f"from step {state.step:,} on {words}")
        runs = some([config.run_id for config in stack.configs])
        _note(
            job,
            f"{runs}: from step {state.step:,} on {words}; sums are taken in another order from "
            "there on, which rounds otherwise: the record says so",
        )
    state.order = now


def _end(
    stack: Stack, state: State, m: int, failure: str | None, job: Job, trained: record.Trained
) -> str:
    """Write the record of a member that has failed or is through with its steps."""
    config = stack.configs[m]
    if failure is not None:
        step = int(state.dead_step_M[m]) or state.step
        record.write_failure(config, job.results, job.study, record.Failure(failure, step))
    else:
        weights = job.weights(config)
        checkpoint.save_weights(weights, stack.gpt, state.flat_MP[m], config.run_id)
        records.write(job.results, record.finished(stack, state, m, job, trained))
    job.checkpoint(config).unlink(missing_ok=True)
    return "finished" if failure is None else "failed"


def _next_point(config: Config, step: int) -> int:
    """The next step after `step` at which something has to be done for a run: a line in its log, an
    evaluation, its end."""
    later = [
        e
        for e in (
            *evaluation_steps(config.steps, config.measure.evaluations),
            *views.probe_steps(config),
            *steps_of(config.measure.snapshots, config.steps),
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
        record.last_tenth(steps),
        steps,
    }


def _log(
    stack: Stack, state: State, job: Job, wall_s: float, tokens_per_s: float
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
    logged: list[float | None] = [None] * len(stack.configs)
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
            per_parameter[m], logged[m] = measures.running(config, loss), loss
            running = (
                {"bits_per_parameter_running": per_parameter[m]}
                if per_parameter[m] is not None
                else {}
            )
            records.append_metrics(
                job.results,
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
    job.report(
        {
            "event": "progress",
            "runs": [c.run_id for c in stack.configs],
            "step": state.step,
            "steps": [c.steps for c in stack.configs],
            "bits_per_parameter": per_parameter,
            "loss_bits_per_token": logged,
            "tokens_per_s": tokens_per_s,
        }
    )
    return failed


def _evaluate(stack: Stack, state: State, job: Job, failed: dict[int, str]) -> None:
    """Write the evaluations, probes and snapshots that are due here."""
    for m, config in enumerate(stack.configs):
        if m in failed:
            continue
        due = []
        if state.step in evaluation_steps(config.steps, config.measure.evaluations):
            due.append(measures.evaluate)
        if state.step in views.probe_steps(config):
            due.append(measures.probe)
        for measure in due:
            line = {"step": state.step, **measure(stack, state.flat_MP[m], m)}
            records.append_metrics(job.results, config.run_id, line)
        if state.step in steps_of(config.measure.snapshots, config.steps):
            columns = snapshots.take(stack, state.flat_MP[m], m)
            add_snapshot(
                records.run_dir(job.results, config.run_id), config.run_id, state.step, columns
            )
