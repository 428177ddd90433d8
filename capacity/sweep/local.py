"""Run packs on this machine: one process per pack, a fixed number at a time, one progress view over all.

Every worker holds the lock of the runs it trains, writes checkpoints, and stops when this process is gone; so this process
keeps no state that matters and may be killed at any moment. A worker that dies is started again from its checkpoints; if
it dies a second time its runs are tried one by one, and a run that kills its worker twice more is recorded as failed.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from capacity import records
from capacity.config import Config, ConfigError
from capacity.progress import Progress, count
from capacity.sweep.plan import Pack, estimate_seconds, write_pack

LIVES = 2  # how often a pack's process may die before the pack is split, or a single run given up


@dataclass
class Job:
    """A pack on its way: where its process writes, and how often it died."""

    pack: Pack
    deaths: int = 0
    process: subprocess.Popen | None = None
    log: Path | None = None
    gpu: int | None = None
    share: dict[str, float] = field(default_factory=dict)  # by run, the part of its steps that is done
    per_second: float = 0.0
    outcome: dict[str, str] = field(default_factory=dict)


def run_packs(packs: list[Pack], all_runs: list[Config], results: Path, study: str, device: str, workers: int,
              threads: int, gpus: int) -> dict[str, str]:
    """Train all packs; returns run_id -> finished, failed, busy or interrupted for the runs in them."""
    folder = results / "packs" / study
    waiting = collections.deque(Job(pack) for pack in packs)
    cost = {run.run_id: estimate_seconds(run) for run in all_runs}
    todo = {run.run_id for pack in packs for run in pack.runs}
    progress = Progress(sum(cost.values()))
    before = sum(c for run_id, c in cost.items() if run_id not in todo)
    running: list[Job] = []
    finished: dict[str, str] = {}
    events: queue.Queue = queue.Queue()
    interrupted = _Interrupt()
    free_gpus = list(range(gpus))
    while waiting or running:
        while waiting and len(running) < workers and not interrupted.noticed:
            job = waiting.popleft()
            job.gpu = free_gpus.pop(0) if free_gpus else None
            _start(job, folder, study, results, device, threads, events)
            running.append(job)
        if not running:
            break
        interrupted.pass_on(running)
        try:
            job, event = events.get(timeout=0.2)
        except queue.Empty:
            continue
        if event is None:
            running.remove(job)
            if job.gpu is not None:
                free_gpus.append(job.gpu)
            waiting.extendleft(_ended(job, results, study, finished, progress, bool(interrupted.noticed)))
        elif event["event"] == "outcome":
            job.outcome = event["outcome"]
        elif event["event"] == "note":
            progress.say(f"pack {job.pack.name}: {event['text']}")
        else:
            job.share |= {run: min(1.0, event["step"] / steps) for run, steps in zip(event["runs"], event["steps"])}
            job.per_second = event["tokens_per_s"]
        done = before + sum(cost[r] for r, s in finished.items() if s in ("finished", "failed"))
        done += sum(cost[run.run_id] * job.share.get(run.run_id, 0.0) for job in running for run in job.pack.runs)
        progress.update(done, _view(len(all_runs), len(all_runs) - len(todo), finished, running))
    interrupted.restore()
    progress.close()
    for job in waiting:
        finished.update({run.run_id: "interrupted" for run in job.pack.runs})
    return finished


class _Interrupt:
    """Ctrl-C or SIGTERM: no new packs, workers checkpoint and stop; a second one ends them at once."""

    def __init__(self) -> None:
        self.noticed, self.sent = 0, 0
        self.before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number: int, frame: object) -> None:
        self.noticed += 1

    def pass_on(self, running: list[Job]) -> None:
        if self.noticed > self.sent:
            self.sent = self.noticed
            for job in running:
                job.process.send_signal(signal.SIGTERM if self.noticed == 1 else signal.SIGKILL)

    def restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _start(job: Job, folder: Path, study: str, results: Path, device: str, threads: int, events: queue.Queue) -> None:
    runs = hashlib.sha256(" ".join(run.run_id for run in job.pack.runs).encode()).hexdigest()[:8]
    path = folder / f"{job.pack.name}-{runs}.json"  # so that sweeps with other settings do not take this file
    write_pack(path, job.pack, study, results, device, threads)
    job.log = path.with_suffix(".log")
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if job.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(job.gpu)
    command = [sys.executable, "-m", "capacity", "worker", "--pack", str(path), "--parent", str(os.getpid())]
    with open(job.log, "wb") as log:  # its own session: Ctrl-C reaches this process, which passes it on once
        job.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True)
    threading.Thread(target=_listen, args=(job, events), daemon=True).start()


def _listen(job: Job, events: queue.Queue) -> None:
    """Put every line of a worker into the queue, and None after its last one."""
    for line in job.process.stdout:
        try:
            events.put((job, json.loads(line)))
        except ValueError:  # half a line of a killed worker, or a print of some library
            continue
    job.process.wait()
    events.put((job, None))


def _ended(job: Job, results: Path, study: str, finished: dict[str, str], progress: Progress,
           interrupted: bool) -> list[Job]:
    """Take stock of a pack whose process has ended; returns what has to be run again."""
    for run in job.pack.runs:  # records are the truth, the worker's words only fill in what has none
        record = records.read(results, run.run_id)
        if record is not None and job.outcome.get(run.run_id, "finished") not in ("busy", "interrupted"):
            finished[run.run_id] = record["status"]
            if record["status"] == "failed":
                progress.say(f"failed: {run.run_id} ({run.shape}, seed {run.seed}): {record['error']['reason']}")
        elif run.run_id in job.outcome:
            finished[run.run_id] = job.outcome[run.run_id]
    left = [run for run in job.pack.runs if run.run_id not in finished]
    if not left:
        return []
    if interrupted:
        finished.update({run.run_id: "interrupted" for run in left})
        return []
    if job.process.returncode == 2:  # a full disk, a missing device: the same for every other worker
        raise ConfigError(_last_line(job.log).removeprefix("capacity: error: ") or f"worker refused its pack; see {job.log}")
    reason = _death(job)
    deaths = job.deaths + 1
    if deaths < LIVES:
        progress.say(f"worker of pack {job.pack.name} {reason}; starting it again")
        return [Job(Pack(job.pack.name, left), deaths)]
    if len(left) > 1:
        progress.say(f"worker of pack {job.pack.name} {reason}; trying its {len(left)} runs one by one")
        return [Job(Pack(f"{job.pack.name}-{i}", [run])) for i, run in enumerate(left)]
    from capacity.run import record_failure  # imports torch, which this process needs only here

    record_failure(left[0], results, study, f"worker {reason} {LIVES} times; see {job.log}", None, _tail(job.log))
    finished[left[0].run_id] = "failed"
    progress.say(f"failed: {left[0].run_id} ({left[0].shape}, seed {left[0].seed}): worker {reason} {LIVES} times")
    return []


def _death(job: Job) -> str:
    code = job.process.returncode
    if code < 0:
        return f"was killed by signal {signal.Signals(-code).name}"
    last = _last_line(job.log)
    return f"ended with exit code {code}" + (f" ({last[:200]})" if last else "")


def _last_line(log: Path) -> str:
    lines = _tail(log).strip().splitlines()
    return lines[-1] if lines else ""


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-4000:]
    except OSError:
        return ""


def _view(total: int, before: int, finished: dict[str, str], running: list[Job]) -> str:
    done = before + sum(s == "finished" for s in finished.values())
    failed = sum(s == "failed" for s in finished.values())
    active = sum(len(job.pack.runs) for job in running)
    text = f"{done}/{total} runs, {active} running"
    if failed:
        text += f", {failed} failed"
    return text + f", {count(sum(job.per_second for job in running))} tok/s"
