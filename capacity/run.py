"""Runs from settings to record, one alone or a stack of one shape: the page to read first.

    claim -> data, model -> train (log, evaluate, checkpoint) -> measure -> weights -> record
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Callable

import numpy as np
import torch

import capacity
from capacity import records
from capacity.config import Config, ConfigError, from_dict
from capacity.data import lexicon
from capacity.measure import tasks
from capacity.train import checkpoint
from capacity.train.keys import stack_key
from capacity.train.loop import Stack, State, advance

DIVERGED = 3.0  # a mean loss above this many times log2 V (a uniform guess) over a log interval ends a run as failed
LOG_POINTS = 100  # per run

Report = Callable[[dict], None]


class Stop:
    """Turns SIGINT and SIGTERM into a flag that the loop looks at; also set when the parent process is gone."""

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


def execute(configs: list[Config], results: Path, device: torch.device, study: str | None, report: Report,
            stop: Callable[[], bool]) -> dict[str, str]:
    """Train, measure and record runs of one shape; returns run_id -> finished, failed, interrupted or busy.

    Finished runs are left alone, interrupted ones continue from their checkpoints, runs that another process holds are
    busy. If a stack of several breaks, its members run again one by one, so that one broken run never sinks the others.
    """
    outcome: dict[str, str] = {}
    with ExitStack() as claims:
        todo = []
        for config in configs:
            if not claims.enter_context(records.claim(results, config.run_id)):
                outcome[config.run_id] = "busy"
            elif (record := records.read(results, config.run_id)) and record["status"] == "finished":
                outcome[config.run_id] = "finished"
            else:
                todo.append(config)
        for group in _groups(todo, results):
            outcome |= _execute_group(group, results, device, study, report, stop)
    return outcome


def _groups(configs: list[Config], results: Path) -> list[list[Config]]:
    """Runs that share a shape and stand at the same step, most often all of them."""
    groups: dict[tuple, list[Config]] = {}
    for config in configs:
        path = _checkpoint(results, config)
        meta = checkpoint.read_meta(path) or {"run_id": config.run_id, "step": 0, "loss_steps": 0}
        if meta["run_id"] != config.run_id:
            raise ConfigError(f"{path}: the checkpoint of run {meta['run_id']}; remove it to train this run from the start")
        groups.setdefault((stack_key(config), meta["step"], meta["loss_steps"]), []).append(config)
    return list(groups.values())


def _execute_group(configs: list[Config], results: Path, device: torch.device, study: str | None, report: Report,
                   stop: Callable[[], bool]) -> dict[str, str]:
    for config in configs:
        if config.data.kind != "uniform":
            lexicon.keep(results, config.data.compiled)
        records.write_json(records.run_dir(results, config.run_id) / "config.json", config.as_dict())
        (records.run_dir(results, config.run_id) / "record.json").unlink(missing_ok=True)  # of a failed run, tried again
    try:
        return _train_and_record(configs, results, device, study, report, stop)
    except (ConfigError, OSError):
        raise  # a bad file, a full disk: nothing that training again would mend
    except Exception as error:
        if len(configs) > 1 and not stop():
            out = {}
            for config in configs:
                out |= _execute_group([config], results, device, study, report, stop)
            return out
        text = traceback.format_exc()
        for config in configs:
            record_failure(config, results, study, f"{type(error).__name__}: {error}", None, text)
        return {config.run_id: "failed" for config in configs}


def _train_and_record(configs: list[Config], results: Path, device: torch.device, study: str | None, report: Report,
                      stop: Callable[[], bool]) -> dict[str, str]:
    _keep_freed_memory()
    stack = Stack(configs, device)
    paths = [_checkpoint(results, c) for c in configs]
    resumed = all(p.exists() for p in paths)
    state = checkpoint.load_states(paths, device) if resumed else stack.start()
    wall_before = checkpoint.read_meta(paths[0])["wall_s"] if resumed else 0.0
    for config in configs:
        records.cut_metrics(results, config.run_id, state.step if resumed else -1)
    reasons: dict[int, str] = {}  # member -> why it failed
    for m in np.flatnonzero(~state.alive_M.cpu().numpy()):
        step = int(state.dead_step_M[m])
        reasons[int(m)] = f"loss or gradient not finite at step {step}" if step > 0 else f"diverged by step {-step}"

    began, first_step = time.monotonic(), state.step
    saved_at = began
    evaluate_at = evaluation_steps(stack.steps, configs[0].measure.evaluations)
    log_every = max(1, stack.steps // LOG_POINTS)
    while state.step < stack.steps and len(reasons) < len(configs):
        boundary = min(e for e in evaluate_at | {stack.steps, (state.step // log_every + 1) * log_every} if e > state.step)
        advance(stack, state, boundary, stop)
        wall = wall_before + time.monotonic() - began
        if state.step == boundary and (state.step % log_every == 0 or state.step == stack.steps):
            rate = (state.step - first_step) * configs[0].train.batch_size * configs[0].data.seq_len * len(configs)
            _log(stack, state, results, wall, rate / max(1e-9, time.monotonic() - began), reasons, report)
        if state.step == boundary and state.step in evaluate_at:
            _evaluate(stack, state, results, reasons)
        stopped = state.step < boundary or stop()
        if state.step < stack.steps and (stopped or time.monotonic() - saved_at > configs[0].cluster.checkpoint_seconds):
            _save_all(paths, configs, state, wall)
            saved_at = time.monotonic()
            if stopped:
                return {c.run_id: "interrupted" for c in configs}
    wall = wall_before + time.monotonic() - began

    outcome = {}
    for m, config in enumerate(configs):
        if m in reasons:
            record_failure(config, results, study, reasons[m], abs(int(state.dead_step_M[m])), None)
            outcome[config.run_id] = "failed"
        else:
            checkpoint.save_weights(_weights(results, config), stack.gpt, state.flat_MP[m], config.run_id)
            records.write(results, _finished_record(stack, state, m, results, study, wall))
            outcome[config.run_id] = "finished"
        paths[m].unlink(missing_ok=True)
    return outcome


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """Steps after which the whole training set is scored: `evaluations` even ones, and always 90% and 100%."""
    return {max(1, round(steps * k / evaluations)) for k in range(1, evaluations + 1)} | {last_tenth(steps), steps}


def last_tenth(steps: int) -> int:
    """The step where the last tenth of training begins."""
    return max(1, round(0.9 * steps))


def _log(stack: Stack, state: State, results: Path, wall_s: float, tokens_per_s: float, reasons: dict[int, str],
         report: Report) -> None:
    """Fetch what the device has summed up, write a line per member, and judge non-finite and diverged members."""
    losses = state.loss_sum_M.tolist()
    alive, dead_step = state.alive_M.tolist(), state.dead_step_M.tolist()
    per_parameter, kept = [], []
    for m, config in enumerate(stack.configs):
        kept.append(None)
        if m in reasons:
            per_parameter.append(None)
            continue
        uniform = np.log2(config.data.rows)
        loss = losses[m] / state.loss_steps / np.log(2)
        if not alive[m]:
            reasons[m] = f"loss or gradient not finite at step {dead_step[m]}"
        elif loss > DIVERGED * uniform:
            reasons[m] = (f"diverged: mean loss {loss:.3g} bits per token over the {state.loss_steps} steps up to step "
                          f"{state.step}, more than {DIVERGED:g} x log2 V")
            state.alive_M[m] = False
            state.dead_step_M[m] = -state.step  # negative: diverged with finite numbers
        if m in reasons:
            per_parameter.append(None)
            continue
        estimate = tasks.running(config, loss)
        per_parameter.append(estimate)
        kept[-1] = loss
        records.append_metrics(results, config.run_id, {
            "step": state.step, "loss_bits_per_token": loss,
            **({"bits_per_parameter_running": estimate} if estimate is not None else {}),
            "tokens": state.step * config.train.batch_size * config.data.seq_len, "wall_s": round(wall_s, 3)})
    state.loss_sum_M.zero_()
    state.loss_steps = 0
    report({"event": "progress", "runs": [c.run_id for c in stack.configs], "step": state.step, "steps": stack.steps,
            "bits_per_parameter": per_parameter, "loss_bits_per_token": kept, "tokens_per_s": tokens_per_s})


def _evaluate(stack: Stack, state: State, results: Path, reasons: dict[int, str]) -> None:
    for m, config in enumerate(stack.configs):
        if m not in reasons:
            records.append_metrics(results, config.run_id, {"step": state.step, **tasks.evaluate(stack, state.flat_MP[m], m)})


def _finished_record(stack: Stack, state: State, m: int, results: Path, study: str | None, wall_s: float) -> dict:
    config = stack.configs[m]
    name = tasks.name_of(config)
    measures = tasks.measure_all(stack, state.flat_MP[m], m)
    evaluated = tasks.EVALUATED[name]
    evaluations = {line["step"]: line[evaluated] for line in records.read_metrics(results, config.run_id) if evaluated in line}
    final, before = evaluations.get(stack.steps), evaluations.get(last_tenth(stack.steps))
    if not np.isfinite(tasks.held_bits(name, measures[name])):
        raise FloatingPointError(f"{name}: {tasks.held_bits(name, measures[name])} bits after training")
    gain = (final - before) / abs(final) if final and before is not None else None
    record = _record(config, study, "finished", wall_s, stack)
    counted = stack.feed.exposures(m, state.step)
    record["training"] |= {f"exposures_{name}": number for name, number in counted.items()}
    return record | {
        "measures": measures,
        "convergence": {f"{evaluated}_at_90_percent": before, "gain_last_tenth": gain,
                        "meaning": f"{evaluated} gained over the last tenth of the steps / final {evaluated}; a schedule that "
                                   "falls makes it small by itself, so only a longer run proves convergence"}}


def record_failure(config: Config, results: Path, study: str | None, reason: str, step: int | None,
                   text: str | None) -> None:
    """Write a failed run's record: why, at which step, and the traceback where there is one."""
    error = {"reason": reason, "step": step, "traceback": text}
    records.write(results, _record(config, study, "failed", 0.0, None) | {"error": error})


def _record(config: Config, study: str | None, status: str, wall_s: float, stack: Stack | None) -> dict:
    device = stack.device if stack else torch.device("cpu")
    return {
        "schema": records.SCHEMA, "run_id": config.run_id, "status": status, "study": study,
        "config": config.as_dict(), "identity": config.identity, "parameters": config.parameters,
        "data": {config.data.size_key: config.items, "entropy_bits": config.entropy_bits,
                 "load": config.entropy_bits / config.parameters["total"]},
        "training": {"steps": config.steps, "tokens": config.tokens, "flops": config.flops,
                     "exposures_expected": config.exposures, "wall_s": wall_s, "stack": len(stack.configs) if stack else 1,
                     "device": device.type, "threads": torch.get_num_threads(), "precision": config.train.precision,
                     "master_weights": "fp32"},
        "measures": {}, "convergence": None, "error": None, "environment": environment(device),
        "finished_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def environment(device: torch.device) -> dict:
    """Versions, hardware and source revision, for the record."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "safetensors", "tokenizers")
                if _installed(name)}
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"capacity": capacity.__version__, "git": git_revision(), "python": platform.python_version(), **versions,
            "platform": f"{platform.system()} {platform.machine()}", "hardware": hardware, "cores": os.cpu_count()}


def _installed(name: str) -> bool:
    """A node that only trains packs may lack a package, such as tokenizers."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def git_revision() -> str | None:
    """Commit of the checkout that this package runs from, with + if its code or settings differ; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        def git(*args: str) -> str:
            return subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, timeout=5,
                                  check=True).stdout.strip()
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "capacity", "conf", "sweeps") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def measured_otherwise(record: dict, config: Config) -> bool:
    """Whether the settings ask for measures that the record does not have in this form."""
    had, asked = record["config"], config.as_dict()
    names = ("people", "contexts", "context")
    return (any(had["measure"].get(name) != asked["measure"][name] for name in names)
            or config.extraction.mode != "none" and had.get("extraction") != asked["extraction"])


def remeasure(results: Path, run_id: str, device: torch.device, settings: Config | None) -> dict:
    """Measure a finished run again from its final weights, by its own settings or by those given, and replace the measures in
    its record; nothing is retrained."""
    record = records.read(results, run_id)
    if record is None or record["status"] != "finished":
        raise ConfigError(f"{run_id}: no finished run in {records.runs_dir(results)}")
    lexicon.load(results, record["config"]["data"].get("lexicon"))
    config = settings or from_dict(record["config"])
    given = config.as_dict()
    record["config"]["measure"] = given["measure"]
    if config.extraction.mode != "none":
        record["config"]["extraction"] = given["extraction"]
    stack = Stack([config], device)
    flat_P = checkpoint.load_weights(_weights(results, config), stack.gpt, run_id).to(device)
    record["measures"] |= tasks.measure_all(stack, flat_P, 0)
    records.write(results, record)
    return record


def pick_device(name: str) -> torch.device:
    """auto, cpu or cuda -> a device; ConfigError where CUDA is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("cluster.device=cuda: no CUDA device is visible to torch here; allowed: auto, cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pick_threads(config: Config, wanted: int | None) -> int:
    """CPU threads for one run: as asked, else all cores once a step is big enough to share (20 MFLOP per thread)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or max(1, min(cores, int(config.flops / config.steps / 2e7)))


def _save_all(paths: list[Path], configs: list[Config], state: State, wall_s: float) -> None:
    for m, (path, config) in enumerate(zip(paths, configs)):
        checkpoint.save_state(path, state, m, config.run_id, wall_s)


def _checkpoint(results: Path, config: Config) -> Path:
    return records.run_dir(results, config.run_id) / "checkpoint.safetensors"


def _weights(results: Path, config: Config) -> Path:
    return records.run_dir(results, config.run_id) / "weights.safetensors"


def _keep_freed_memory() -> None:
    """Let glibc keep freed blocks: a step frees and takes the same few MiB buffers, and returning them to the kernel
    costs a page fault per 4 KiB each time (about a fifth of a small model's step)."""
    if sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
