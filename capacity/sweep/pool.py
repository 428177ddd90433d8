"""Train a pack on this machine: one process per stack, a fixed number at a time.

Every process holds the locks of the runs it trains, writes checkpoints, and stops when this one is
gone; so this one keeps no state that matters and may be killed at any moment. A process that dies
is started again from its checkpoints; if it dies a second time its runs are tried one by one, and a
run that kills its process twice more is recorded as failed.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from capacity import records
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.hardware import SHARERS, allowed_threads, per_gpu, upper_bound
from capacity.base.progress import Progress
from capacity.base.words import count, plural
from capacity.config import Config
from capacity.cost import GUESSES
from capacity.settings.cluster import Cluster
from capacity.sweep.packs import Pack

# how often the process of a stack may die before the stack is split, or a single run given up
LIVES = 2
STATE_SECONDS = 10.0  # between two writes of the state file


@dataclass
class Job:
    """A stack on its way: where its process writes, and how often it died."""

    name: str
    runs: list[Config]
    deaths: int = 0
    started: subprocess.Popen | None = None
    log: Path = Path()
    gpu: str | None = None
    step: dict[str, int] = field(default_factory=dict)  # by run
    per_second: float = 0.0
    outcome: dict[str, str] = field(default_factory=dict)
    furthest: int = 0  # step that was reported before its process was started again

    @property
    def ranks(self) -> int:
        """Processes that train its stack."""
        return self.runs[0].cluster.ranks or 1

    @property
    def over_nodes(self) -> bool:
        """Whether it is a step of srun."""
        return self.runs[0].cluster.nodes > 1

    @property
    def advanced(self) -> bool:
        """Whether it has got further than the process before it."""
        return max(self.step.values(), default=0) > self.furthest

    def signal(self, at_once: bool) -> None:
        """Tell its process to save and stop, or end it at once. Of srun a SIGTERM is what a
        SIGKILL is of others; it passes SIGUSR1 on."""
        gentle, rough = signal.SIGTERM, signal.SIGKILL
        if self.over_nodes:
            gentle, rough = signal.SIGUSR1, signal.SIGTERM
        self.process.send_signal(rough if at_once else gentle)

    @property
    def process(self) -> subprocess.Popen:
        """Its process; RuntimeError before it was started."""
        if self.started is None:
            raise RuntimeError(f"stack {self.name} was not started")
        return self.started


def train(
    pack: Pack, path: Path, all_runs: list[Config], progress: Progress | None = None
) -> dict[str, str]:
    """Train all stacks of the pack that lies at `path`; returns run_id -> finished, failed, busy,
    interrupted, or waiting for a run with whose weights it begins.

    Beside the pack file stand its logs, NAME.STACK.log, and its state, NAME.state.json. all_runs:
    what the progress is about, the study or the pack. ConfigError where a process refuses its work,
    as with a full disk.
    """
    digits = len(str(len(pack.stacks)))
    waiting = collections.deque(Job(f"{i:0{digits}}", stack) for i, stack in enumerate(pack.stacks))
    cost = {run.run_id: GUESSES["cpu"].seconds([run]) for run in all_runs}
    todo = {run.run_id for run in pack.runs}
    progress = progress or Progress(sum(cost.values()))
    threads = allowed_threads(pack.threads)
    if threads < pack.threads:  # by this environment, which the plan of a queue could not know
        progress.say(f"{pack.threads} threads a worker were planned; {upper_bound()}")
    before = sum(c for run_id, c in cost.items() if run_id not in todo)
    running: list[Job] = []
    finished: dict[str, str] = {}
    events: queue.Queue = queue.Queue()
    interrupted = _Interrupt()
    state = _State(path)
    gpus = _visible_gpus() if pack.device == "cuda" else []
    free = _shared_out(gpus, pack) if gpus else []
    sharers = per_gpu(pack.workers * _ranks_here(pack), len(gpus)) if gpus else 1
    try:
        while waiting or running:
            while len(running) < pack.workers and not interrupted.noticed:
                job = _next(waiting, running, finished, pack.results)
                if job is None:
                    break
                job.gpu = free.pop(0) if free else None
                _start(job, path, {"OMP_NUM_THREADS": threads, SHARERS: sharers}, events)
                running.append(job)
            if not running:
                break
            interrupted.pass_on(running)
            state.write("running", running, finished)
            try:
                job, event = events.get(timeout=0.2)
            except queue.Empty:
                continue
            if event is None:
                running.remove(job)
                if job.gpu is not None:
                    free.append(job.gpu)
                waiting.extendleft(_ended(job, pack, finished, progress, bool(interrupted.noticed)))
            else:
                _note(job, event, progress)
            progress.update(
                before + _done(cost, finished, running),
                _view(len(all_runs), len(all_runs) - len(todo), finished, running),
            )
        left = "interrupted" if interrupted.noticed else "waiting"
        for job in waiting:
            finished.update(dict.fromkeys((run.run_id for run in job.runs), left))
        state.write(
            "stopped" if "interrupted" in finished.values() else "ended", [], finished, last=True
        )
    finally:
        interrupted.restore()
        progress.close()
    return finished


def _next(
    waiting: collections.deque[Job], running: list[Job], finished: dict[str, str], results: Path
) -> Job | None:
    """The next stack whose members can all begin: with random weights, or those of runs that are
    finished. Where no other process may still finish one of these, a stack goes on without the
    members that cannot."""
    starts = {start for job in waiting for run in job.runs if (start := run.train.start)}
    # no look at locks, which those who claim a run would have to wait for
    known = {start: records.read(results, start) for start in starts}
    begun = {start: (record or {}).get("status") == "finished" for start, record in known.items()}

    def able(run: Config) -> bool:
        return run.train.start is None or begun[run.train.start]

    for job in waiting:
        if all(map(able, job.runs)):
            waiting.remove(job)
            return job
    if running:
        return None
    for job in list(waiting):
        if going := [run for run in job.runs if able(run)]:
            finished.update({run.run_id: "waiting" for run in job.runs if run not in going})
            waiting.remove(job)
            return dataclasses.replace(job, runs=going)
    return None


def _note(job: Job, event: dict, progress: Progress) -> None:
    """Keep what the process of a stack reports."""
    if event["event"] == "outcome":
        job.outcome = event["outcome"]
    elif event["event"] == "note":
        progress.say(f"stack {job.name}: {event['text']}")
    else:
        job.step |= {
            run: min(event["step"], steps)
            for run, steps in zip(event["runs"], event["steps"], strict=True)
        }
        job.per_second = event["tokens_per_s"]


def _done(cost: dict[str, float], finished: dict[str, str], running: list[Job]) -> float:
    """Cost of what is done: runs that have ended, and the steps of those that run."""
    ended = sum(cost[r] for r, s in finished.items() if s in ("finished", "failed"))
    return ended + sum(
        cost[run.run_id] * job.step.get(run.run_id, 0) / run.steps
        for job in running
        for run in job.runs
    )


class _Interrupt:
    """Ctrl-C or SIGTERM: nothing new starts, processes checkpoint and stop; a second Ctrl-C ends
    them at once. A queue may send SIGTERM as often as it likes."""

    def __init__(self) -> None:
        self.noticed, self.impatient, self.sent = 0, False, 0
        self.before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number: int, frame: object) -> None:
        self.impatient = self.noticed > 0 and number == signal.SIGINT
        self.noticed += 1

    def pass_on(self, running: list[Job]) -> None:
        if self.noticed > self.sent:
            self.sent = self.noticed
            for job in running:
                job.signal(self.impatient)

    def restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


class _State:
    """What a pack is doing, for `capacity status` on another machine. Only a report: records and
    checkpoints decide."""

    def __init__(self, path: Path) -> None:
        self.path, self.written = path.with_suffix(".state.json"), 0.0
        self.about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "restarts": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
            "began": time.time(),
        }

    def write(
        self, word: str, running: list[Job], finished: dict[str, str], last: bool = False
    ) -> None:
        now = time.monotonic()
        if not last and self.written and now - self.written < STATE_SECONDS:
            return
        self.written = now
        jobs = [
            {
                "runs": [run.run_id for run in job.runs],
                "gpu": job.gpu,
                "log": str(job.log),
                "step": job.step,
                "tokens_per_s": job.per_second,
            }
            for job in running
        ]
        try:
            files.write_json(
                self.path,
                self.about
                | {"state": word, "updated": time.time(), "running": jobs, "outcome": finished},
            )
        except (OSError, ConfigError):  # a full disk, which the processes report themselves
            pass


def _visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def _shared_out(gpus: list[str], pack: Pack) -> list[str]:
    """By worker the GPUs of its ranks on this machine, as CUDA_VISIBLE_DEVICES has them."""
    each = _ranks_here(pack)
    return [
        ",".join(dict.fromkeys(gpus[(i * each + j) % len(gpus)] for j in range(each)))
        for i in range(pack.workers)
    ]


def _ranks_here(pack: Pack) -> int:
    """Processes of a worker on this machine."""
    cluster = pack.runs[0].cluster
    return (cluster.ranks or 1) // cluster.nodes


def _step(cluster: Cluster) -> list[str]:
    """srun and its options for a group over the nodes of the job; as one rank ends, all do."""
    if shutil.which("srun") is None:
        raise ConfigError("srun: not found; cluster.nodes > 1 needs SLURM's commands on the nodes")
    return [
        "srun",
        f"--nodes={cluster.nodes}",
        f"--ntasks={cluster.ranks}",
        f"--ntasks-per-node={(cluster.ranks or 1) // cluster.nodes}",
        f"--cpus-per-task={cluster.cpus}",
        "--kill-on-bad-exit=1",
        "--input=none",
    ]


def _start(job: Job, path: Path, shares: dict[str, int], events: queue.Queue) -> None:
    """shares: environment variables that say what of the machine the process may use."""
    job.log = path.with_suffix(f".{job.name}.log")
    environment = os.environ | {name: str(n) for name, n in shares.items()}
    if job.gpu is not None and not job.over_nodes:
        environment["CUDA_VISIBLE_DEVICES"] = job.gpu
    runs = ",".join(run.run_id for run in job.runs)
    command = [
        sys.executable,
        "-m",
        "capacity",
        "worker",
        "--pack",
        str(path),
        "--runs",
        runs,
    ]
    if job.over_nodes:  # its parent is a daemon of SLURM, which ends it with this job
        command = _step(job.runs[0].cluster) + command
        environment["CAPACITY_MEETING"] = secrets.token_hex(8)
    else:
        command += ["--parent", str(os.getpid())]
    with open(
        job.log, "ab"
    ) as log:  # its own session: Ctrl-C reaches this process, which passes it on once
        job.started = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True
        )
    threading.Thread(target=_listen, args=(job, job.started, events), daemon=True).start()


def _listen(job: Job, process: subprocess.Popen, events: queue.Queue) -> None:
    """Put every line of a process into the queue, and None after its last one."""
    for line in process.stdout or ():
        try:
            events.put((job, json.loads(line)))
        except ValueError:  # half a line of a killed process, or a print of some library
            continue
    process.wait()
    events.put((job, None))


def _ended(
    job: Job, pack: Pack, finished: dict[str, str], progress: Progress, interrupted: bool
) -> list[Job]:
    """Note the outcome of a stack whose process has ended; returns what has to be run again."""
    for run in job.runs:  # records decide, the process's report only fills in what has none
        record = records.read(pack.results, run.run_id)
        if record is not None and job.outcome.get(run.run_id, "finished") not in (
            "busy",
            "interrupted",
        ):
            finished[run.run_id] = record["status"]
            if record["status"] == "failed":
                progress.say(
                    f"failed: {run.run_id} ({run.shape}, seed {run.seed}): "
                    f"{record['error']['reason']}"
                )
        elif run.run_id in job.outcome:
            finished[run.run_id] = job.outcome[run.run_id]
    left = [run for run in job.runs if run.run_id not in finished]
    if not left:
        return []
    if interrupted:
        finished.update(dict.fromkeys((run.run_id for run in left), "interrupted"))
        return []
    if (
        job.process.returncode == 2
    ):  # a full disk, a missing device: the same for every other process
        raise ConfigError(
            _last_line(job.log).removeprefix("capacity: error: ")
            or f"worker refused its pack; see {job.log}"
        )
    reason = _death(job)
    # long runs on many machines lose one now and then: what gets further has all its lives
    deaths = 1 if job.ranks > 1 and job.advanced else job.deaths + 1
    if deaths < LIVES:
        progress.say(f"worker of stack {job.name} {reason}; starting it again")
        furthest = max(job.furthest, *job.step.values(), 0)
        return [Job(job.name, left, deaths, furthest=furthest)]
    if len(left) > 1:
        progress.say(
            f"worker of stack {job.name} {reason}; trying its {plural(len(left), 'run')} one by one"
        )
        return [Job(f"{job.name}-{i}", [run]) for i, run in enumerate(left)]
    from capacity.run import record  # imports torch, which this process needs only here

    why = f"worker {reason} {LIVES} times; see {job.log}"
    failure = record.Failure(why, traceback=_tail(job.log))
    record.write_failure(left[0], pack.results, pack.study, failure)
    finished[left[0].run_id] = "failed"
    progress.say(
        f"failed: {left[0].run_id} ({left[0].shape}, seed {left[0].seed}): worker {reason} {LIVES} "
        f"times"
    )
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
    active = sum(len(job.runs) for job in running)
    text = f"{done}/{total} runs, {active} running"
    if failed:
        text += f", {failed} failed"
    return text + f", {count(sum(job.per_second for job in running))} tok/s"
