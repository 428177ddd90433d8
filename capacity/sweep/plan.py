"""What a sweep will do and cost: the runs of a study that are neither finished, failed nor claimed
by a submission, in packs for its launcher (in words: `plan_text`)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path

from capacity import records
from capacity.base.hardware import PLANNED_PART, per_gpu, tells_no_memory, useful_threads
from capacity.base.words import clock
from capacity.config import Config
from capacity.cost import GUESSES, Speed, largest_bytes, micro_batches, speed_of, table_bytes
from capacity.settings.cluster import Cluster, duration_seconds
from capacity.study import Study
from capacity.sweep import submissions
from capacity.sweep.packs import Job, Limits, Pack, duration, fill, make_stacks, shared, without

# a GPU that cannot be asked from here; a stack that does not fit continues in halves
UNKNOWN_GPU_BYTES = 32e9
START_S, SLACK = 600.0, 2.0  # a time limit is twice the expected time and ten minutes,
# but no more than a day, which most partitions allow: longer elements requeue themselves
LONGEST_S = 86400
TORCH_BYTES = {"cpu": 0.7e9, "cuda": 5e9}  # host memory of a process with torch, without the stack


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep will do."""

    study: Study
    cluster: Cluster
    device: str
    speed: Speed
    jobs: list[Job]
    done: list[str]  # run ids
    failed: list[str]
    room: float  # bytes for a stack
    claimed: dict[str, str]  # run id -> queued, requeued or running
    unmeasured: list[str]  # ids of finished runs that lack what the study measures
    refused: dict[str, str]  # run id -> why its last job ended before it could train
    allowed: submissions.Allowance  # what the queue allows the person who submits
    queued: dict[str, str]  # run id -> job of the queue that holds it

    @property
    def todo(self) -> list[Config]:
        return [run for job in self.jobs for pack in job.packs for run in pack.runs]


def make_plan(
    study: Study,
    results: Path,
    living: submissions.Living,
    retry_failed: bool,
    only: set[str] | None = None,
) -> Plan:
    """The plan of a sweep; `only`: the runs that are wanted, all of the study where None.

    Stacks are cut from the whole study, before anything is taken out, and threads do not depend on
    how much is left, so that a re-issued sweep continues in the same stacks and ends with the same
    bits.
    """
    cluster = study.runs[0].cluster
    claimed = {
        run_id: element.state
        for (submission, index), element in living.items()
        for run_id in submission.elements[index]["runs"]
    }
    done, failed, unmeasured = [], [], []
    for run in study.trained:
        record = records.read(results, run.run_id)
        if record is not None and record["status"] == "finished":
            done.append(run.run_id)
            if records.measured_otherwise(record, run):
                unmeasured.append(run.run_id)
        elif record is not None and run.run_id not in claimed:
            failed.append(run.run_id)
    claimed = {
        run.run_id: claimed[run.run_id]
        for run in study.trained
        if run.run_id in claimed and run.run_id not in done
    }
    out = {*done, *claimed, *([] if retry_failed else failed)}
    if only is not None:
        out |= {run.run_id for run in study.trained if run.run_id not in only}
    local = cluster.launcher == "local"
    device, speed, limit, jobs, allowed = (_here if local else _in_queue)(
        study, cluster, results, out
    )
    places = submissions.last_places(results)
    refused = {
        run.run_id: why
        for run in study.trained
        if run.run_id in places and run.run_id not in {*done, *failed, *claimed}
        if (why := submissions.refusal(*places[run.run_id])) is not None
    }
    return Plan(
        study,
        cluster,
        device,
        speed,
        jobs,
        done,
        failed,
        limit,
        claimed,
        unmeasured,
        refused,
        allowed,
        {
            run_id: job
            for (submission, index), element in living.items()
            if (job := element.job or submission.tree.get("job"))
            for run_id in submission.elements[index]["runs"]
        },
    )


def _here(
    study: Study, cluster: Cluster, results: Path, out: set[str]
) -> tuple[str, Speed, float, list[Job], submissions.Allowance]:
    """One pack for this machine."""
    from capacity.base.hardware import cores, cpu_name, gpus_of, pick_threads, room

    device, gpus = gpus_of(cluster.device)
    ranks = cluster.ranks or 1
    workers = cluster.workers or max(1, (gpus or cores()) // ranks)
    speed = speed_of(device, results, cpu_name() if device == "cpu" else None)
    limit = cluster.memory_gb * 1e9 if cluster.memory_gb else room(device, workers * ranks)
    limits = Limits(most=cluster.stack, device=device, memory=limit)
    # a stack has runs of one round, so that none waits for another of its own
    stacks = [stack for runs in study.rounds for stack in shared(runs, workers, limits)]
    workers = min(workers, len(stacks))
    share = max(1, cores() // (workers * ranks))
    threads = pick_threads(_largest_step(stacks, device), cluster.threads, share)
    todo = without(stacks, out)
    pack = Pack(study.name, results, device, min(workers, max(1, len(todo))), threads, todo)
    seconds = [duration(todo, speed, pack.workers, threads)] if todo else []
    jobs = [Job([pack], seconds, 0, "", {"time": 1, "memory": 1}, "")] if todo else []
    return device, speed, limit, jobs, submissions.Allowance()


def _in_queue(
    study: Study, cluster: Cluster, results: Path, out: set[str]
) -> tuple[str, Speed, float, list[Job], submissions.Allowance]:
    """An array job, and one more for runs that ran out of time or memory before, with twice as much
    of it."""
    device = (
        cluster.device
        if cluster.device != "auto"
        else "cuda"
        if cluster.gpus or cluster.gres
        else "cpu"
    )
    speed = speed_of(device, results)
    limit = (
        cluster.memory_gb * 1e9
        if cluster.memory_gb
        else PLANNED_PART * UNKNOWN_GPU_BYTES / sharers(cluster)
        if device == "cuda"
        else math.inf
    )
    queue = submissions.launcher(cluster.launcher)
    most = getattr(queue, "array_limit", lambda: None)()
    if most is not None and most < cluster.array_limit:
        cluster = replace(cluster, array_limit=most)
    allowed = _allowance(cluster)
    left = allowed.free  # an array that is too large is refused as a whole
    grown = grown_runs(results, study.trained)
    jobs = []
    tries = itertools.product(
        enumerate(study.rounds), sorted({grown.get(run.run_id, (1, 1)) for run in study.trained})
    )
    for (number, whole), growth in tries:
        runs = [run for run in whole if grown.get(run.run_id, (1, 1)) == growth]
        if not runs:
            continue
        limits = Limits(
            most=max(1, cluster.stack // growth[1]), device=device, memory=limit, speed=speed
        )
        most = cluster.array_limit if left is None else max(1, min(left, cluster.array_limit))
        tried = _Try(growth, replace(cluster, array_limit=most), limits)
        if job := _array_job(study.name, results, runs, tried, out):
            jobs.append(replace(job, round=number))
            left = None if left is None else left - len(job.packs)
    return device, speed, limit, jobs, allowed


def gpus_asked(cluster: Cluster) -> int:
    """GPUs of an array element: cluster.gpus, or the number that cluster.gres ends with, as in
    gpu:a100:2; without one SLURM takes it for 1."""
    last = (cluster.gres or "").rpartition(":")[2]
    return cluster.gpus or (int(last) if last.isdigit() else 1)


def sharers(cluster: Cluster) -> int:
    """Workers of an array element that share a GPU."""
    here = (cluster.ranks or 1) // cluster.nodes
    return per_gpu(here * (cluster.workers or max(1, cluster.gpus // here)), gpus_asked(cluster))


def _allowance(cluster: Cluster) -> submissions.Allowance:
    """What a cluster's queue allows the person who submits; nothing where it does not say."""
    queue = submissions.launcher(cluster.launcher)
    return getattr(queue, "user_limits", lambda cluster: submissions.Allowance())(cluster)


@dataclass(frozen=True)
class _Try:
    """With how much of everything runs are tried: factors of time and memory, and the limits of
    their stacks."""

    growth: tuple[int, int]
    cluster: Cluster
    limits: Limits

    @property
    def workers(self) -> int:
        cluster = self.cluster
        side_by_side = cluster.gpus if self.limits.device == "cuda" else cluster.cpus
        if cluster.ranks is not None:  # a group on its GPUs, or with its own CPUs
            side_by_side = cluster.gpus // cluster.ranks if self.limits.device == "cuda" else 1
        return 1 if cluster.nodes > 1 else cluster.workers or max(1, side_by_side)

    @property
    def target_s(self) -> float:
        """Expected seconds that a pack should have."""
        factor = self.growth[0] if self.cluster.time else 1
        return 60.0 * self.cluster.pack_minutes / factor

    @property
    def longest_s(self) -> float:
        """Expected seconds beyond which a stack is cut. On a GPU whose speed nobody has measured it
        is cut by memory alone: a guess that is three times too slow makes single runs of stacks
        that share their launches. Runs that ran out of time are cut as asked for."""
        guessed = self.limits.device == "cuda" and self.limits.expected == GUESSES["cuda"]
        return math.inf if guessed and self.growth[0] == 1 else self.target_s

    def time_s(self, seconds: list[float]) -> int:
        """The time limit of packs that should take so long."""
        if self.cluster.time:
            return duration_seconds(self.cluster.time)
        # before the signal there must be time to train
        start = max(START_S, 2.0 * self.cluster.signal_seconds)
        usual = 600 * math.ceil((SLACK * max(seconds) + start) / 600)
        return self.growth[0] * min(LONGEST_S, usual)

    def mem(self, stacks: list[list[Config]]) -> str:
        """Memory of a node, in SLURM's words."""
        if self.cluster.mem:
            return self.cluster.mem
        device, largest = self.limits.device, 0.0
        if device == "cpu":
            largest = max(largest_bytes(s, len(s), device, self._micro_batches(s)) for s in stacks)
        # a table is drawn in words of 64 bits, joined, and then brought to 32
        drawn = max(6 * sum(map(table_bytes, stack)) for stack in stacks)
        largest = max(largest, drawn)
        processes = self.workers * (self.cluster.ranks or 1) // self.cluster.nodes
        memory = self.growth[1] * processes * (1.3 * largest + TORCH_BYTES[device])
        return f"{math.ceil(memory / 1e9)}G"

    def _micro_batches(self, stack: list[Config]) -> int:
        run = max(stack, key=table_bytes)
        return micro_batches(run, len(stack), self.limits.device, self.limits.memory)

    def why(self, mem: str, time_s: int) -> str:
        """Why these runs are not of the first try; else empty."""
        time_factor, memory_factor = self.growth
        reasons = []
        if time_factor > 1:
            now = f"limit {time_factor} times longer, {clock(time_s)}"
            if self.cluster.time:
                now = f"packs {time_factor} times shorter"
            reasons.append(f"ran out of time before: {now}")
        if memory_factor > 1:
            now = f"at most {self.limits.most} in a stack"
            if not self.cluster.mem:
                now += f", {mem}"
            reasons.append(f"ran out of memory before: {now}")
        return "; ".join(reasons)


def _array_job(
    study: str, results: Path, runs: list[Config], tried: _Try, out: set[str]
) -> Job | None:
    """Runs of one try as an array job; None where all of them are out."""
    cluster, limits, workers = tried.cluster, tried.limits, tried.workers
    speed, target = limits.expected, tried.target_s
    longest = tried.longest_s
    if workers > 1:
        stacks = shared(runs, workers, limits, longest)
    else:
        stacks = make_stacks(runs, longest, limits)
    threads = cluster.threads or useful_threads(
        _largest_step(stacks, limits.device), max(1, cluster.cpus // workers)
    )
    todo = without(stacks, out)
    if not todo:
        return None
    parts = fill(todo, speed, target, workers, threads, cluster.array_limit)
    seconds = [duration(part, speed, workers, threads) for part in parts]
    time_s, mem = tried.time_s(seconds), tried.mem(todo)
    return Job(
        [Pack(study, results, limits.device, workers, threads, part) for part in parts],
        seconds,
        time_s,
        mem,
        dict(zip(("time", "memory"), tried.growth, strict=True)),
        tried.why(mem, time_s),
    )


def _largest_step(stacks: list[list[Config]], device: str) -> float:
    """FLOP of a process in the largest step of a whole study's stacks on a CPU. What a GPU's
    process does on the CPU is not known: infinite."""
    return (
        max(
            sum(run.flops / run.steps for run in stack) / (stack[0].cluster.ranks or 1)
            for stack in stacks
        )
        if device == "cpu"
        else math.inf
    )


def grown_runs(results: Path, runs: list[Config]) -> dict[str, tuple[int, int]]:
    """Run id -> factors of time and memory for the next try: twice those of the last one for what
    it ran out of. A worker that was killed (SIGKILL) or got no memory counts as one that ran out
    of memory."""
    factors: dict[str, tuple[int, int]] = {}
    for submission in submissions.read_all(results):
        growth = submission.tree["growth"]
        for element in submission.elements:
            end = element["end"] or ""
            pair = (
                growth["time"] * (1 + (end == "TIMEOUT")),
                growth["memory"] * (1 + (end == "OUT_OF_MEMORY")),
            )
            factors |= dict.fromkeys(element["runs"], pair)
    for run in runs:
        record = records.read(results, run.run_id) if run.run_id in factors else None
        if (
            record is not None
            and record["status"] == "failed"
            and _starved(record["error"]["reason"])
        ):
            time_factor, memory_factor = factors[run.run_id]
            factors[run.run_id] = (time_factor, 2 * memory_factor)
    return {run_id: pair for run_id, pair in factors.items() if pair != (1, 1)}


def _starved(reason: str) -> bool:
    return "killed by signal SIGKILL" in reason or tells_no_memory(reason)
