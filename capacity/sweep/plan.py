"""What a sweep will do and cost: the runs of a study minus what is finished, failed or spoken for,
in packs for its launcher."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path

from capacity import records, run_table
from capacity.base.hardware import refused_threads, useful_threads
from capacity.base.progress import clock, count
from capacity.config import Config
from capacity.cost import Speed, micro_batches, speed_of, stack_bytes
from capacity.settings.cluster import Cluster, duration_seconds
from capacity.study import Study
from capacity.sweep import submissions
from capacity.sweep.packs import Pack, duration, fill, make_stacks, shared, without

UNKNOWN_GPU_BYTES = (
    32e9  # a GPU that nobody can look at from here; a stack that does not fit goes on in halves
)
START_S, SLACK = 600.0, 2.0  # a time limit is twice the expected time and ten minutes,
LONGEST_S = (
    86400  # but no more than a day, which most partitions allow: longer elements requeue themselves
)
TORCH_BYTES = {"cpu": 0.7e9, "cuda": 5e9}  # host memory of a process with torch, without the stack


@dataclass(frozen=True)
class Job:
    """One array job, or all of a sweep on this machine: packs that share their limits."""

    packs: list[Pack]
    seconds: list[float]  # expected, by pack
    time_s: int
    mem: str
    growth: dict[str, int]  # factors of time and memory against the first try
    why: str  # why these are not of the first try; else empty


@dataclass(frozen=True)
class Plan:
    """Everything that will be said and done."""

    study: Study
    cluster: Cluster
    device: str
    speed: Speed
    jobs: list[Job]
    done: list[str]  # run ids
    failed: list[str]
    room: float  # bytes for a stack
    spoken_for: dict[str, str]  # run id -> queued, requeued or running

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
    spoken_for = {
        run_id: element.state
        for (submission, index), element in living.items()
        for run_id in submission.elements[index]["runs"]
    }
    done, failed = [], []
    for run in study.runs:
        record = records.read(results, run.run_id)
        if record is not None and record["status"] == "finished":
            done.append(run.run_id)
        elif record is not None and run.run_id not in spoken_for:
            failed.append(run.run_id)
    spoken_for = {
        run.run_id: spoken_for[run.run_id]
        for run in study.runs
        if run.run_id in spoken_for and run.run_id not in done
    }
    out = {*done, *spoken_for, *([] if retry_failed else failed)}
    if only is not None:
        out |= {run.run_id for run in study.runs if run.run_id not in only}
    local = cluster.launcher == "local"
    device, speed, limit, jobs = (_here if local else _in_queue)(study, cluster, results, out)
    return Plan(study, cluster, device, speed, jobs, done, failed, limit, spoken_for)


def _here(
    study: Study, cluster: Cluster, results: Path, out: set[str]
) -> tuple[str, Speed, float, list[Job]]:
    """One pack for this machine."""
    from capacity.base.hardware import cores, cpu_name, gpus_of, pick_threads, room

    device, gpus = gpus_of(cluster.device)
    workers = cluster.workers or gpus or cores()
    speed = speed_of(device, results, cpu_name() if device == "cpu" else None)
    limit = cluster.memory_gb * 1e9 if cluster.memory_gb else room(device, workers)
    stacks = shared(study.runs, workers, cluster.stack, device, limit)
    workers = min(workers, len(stacks))
    share = max(1, cores() // workers)
    threads = pick_threads(_largest_step(stacks, device), cluster.threads, share)
    todo = without(stacks, out)
    pack = Pack(study.name, results, device, min(workers, max(1, len(todo))), threads, todo)
    seconds = [duration(todo, speed, pack.workers, threads)] if todo else []
    return (
        device,
        speed,
        limit,
        [Job([pack] * bool(todo), seconds, 0, "", {"time": 1, "memory": 1}, "")] * bool(todo),
    )


def _in_queue(
    study: Study, cluster: Cluster, results: Path, out: set[str]
) -> tuple[str, Speed, float, list[Job]]:
    """An array job, and one more for runs that ran out of time or memory before, with twice as much
    of it."""
    device = (
        cluster.device
        if cluster.device != "auto"
        else "cuda"
        if cluster.gpus or cluster.gres
        else "cpu"
    )
    workers = cluster.workers or max(1, cluster.gpus if device == "cuda" else cluster.cpus)
    speed = speed_of(device, results)
    limit = (
        cluster.memory_gb * 1e9
        if cluster.memory_gb
        else 0.8 * UNKNOWN_GPU_BYTES
        if device == "cuda"
        else math.inf
    )
    grown = grown_runs(results, study.runs)
    jobs = []
    for growth in sorted({grown.get(run.run_id, (1, 1)) for run in study.runs}):
        time_factor, memory_factor = growth
        runs = [run for run in study.runs if grown.get(run.run_id, (1, 1)) == growth]
        target = 60.0 * cluster.pack_minutes / (time_factor if cluster.time else 1)
        most = max(1, cluster.stack // memory_factor)
        stacks = (
            shared(runs, workers, most, device, limit, target, speed)
            if workers > 1
            else make_stacks(runs, target, most, device, limit, speed)
        )
        threads = cluster.threads or useful_threads(
            _largest_step(stacks, device), max(1, cluster.cpus // workers)
        )
        todo = without(stacks, out)
        if not todo:
            continue
        dealt = fill(todo, speed, target, workers, threads, cluster.array_limit)
        seconds = [duration(part, speed, workers, threads) for part in dealt]
        time_s = (
            duration_seconds(cluster.time)
            if cluster.time
            else time_factor
            * min(LONGEST_S, 600 * math.ceil((SLACK * max(seconds) + START_S) / 600))
        )
        largest = (
            max(
                stack_bytes(s[0], len(s), device, micro_batches(s[0], len(s), device, limit))
                for s in todo
            )
            if device == "cpu"
            else 0.0
        )
        mem = (
            cluster.mem
            or f"{math.ceil(memory_factor * workers * (1.3 * largest + TORCH_BYTES[device]) / 1e9)}G"
        )
        jobs.append(
            Job(
                [Pack(study.name, results, device, workers, threads, part) for part in dealt],
                seconds,
                time_s,
                mem,
                {"time": time_factor, "memory": memory_factor},
                _why(growth, cluster, mem, time_s),
            )
        )
    return device, speed, limit, jobs


def _largest_step(stacks: list[list[Config]], device: str) -> float:
    """FLOP of the largest step of a whole study's stacks on a CPU. What a GPU's process does on the
    CPU is not known: infinite."""
    return (
        max(sum(run.flops / run.steps for run in stack) for stack in stacks)
        if device == "cpu"
        else math.inf
    )


def _why(growth: tuple[int, int], cluster: Cluster, mem: str, time_s: int) -> str:
    time_factor, memory_factor = growth
    words = []
    if time_factor > 1:
        words.append(
            "ran out of time before: "
            + (
                f"packs {time_factor} times shorter"
                if cluster.time
                else f"limit {time_factor} times longer, {clock(time_s)}"
            )
        )
    if memory_factor > 1:
        words.append(
            f"ran out of memory before: at most {max(1, cluster.stack // memory_factor)} in a stack"
            + ("" if cluster.mem else f", {mem}")
        )
    return "; ".join(words)


def grown_runs(results: Path, runs: list[Config]) -> dict[str, tuple[int, int]]:
    """Run id -> factors of time and memory for the next try: twice those of the last one for what
    it ran out of. A worker that was killed (SIGKILL) or found no memory counts as one that ran out
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
            factors |= {run_id: pair for run_id in element["runs"]}
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
    return any(
        words in reason
        for words in (
            "killed by signal SIGKILL",
            "OutOfMemoryError",
            "MemoryError",
            "not enough memory",
        )
    )


def summary(plan: Plan) -> str:
    """What a sweep will do, before it does it; at most 80 columns."""
    study, todo = plan.study, plan.todo
    sizes = sorted(run.parameters["total"] for run in study.runs)
    loads = sorted(run.entropy_bits / run.parameters["total"] for run in study.runs)
    shapes = len(set(run_table.shape_labels(study.runs).values()))
    flops = sum(run.flops for run in todo)
    states = [f"{len(plan.done)} finished", f"{len(plan.failed)} failed"]
    for state in ("running", "queued", "requeued"):
        if number := sum(s == state for s in plan.spoken_for.values()):
            states.append(f"{number} {state}")
    lines = [f"study       {study.name}"]
    lines += _line("question", study.question)
    lines += _line(
        "runs",
        f"{len(study.runs)}, of {shapes} model shape{'s' * (shapes != 1)}: {', '.join(states)}, "
        f"{len(todo)} to do",
    )
    lines += _line("data", _data_line(study))
    lines += _line(
        "parameters",
        f"{sizes[0]:,} to {sizes[-1]:,} (total); load {loads[0]:.2f} to {loads[-1]:.2f} bits per "
        f"parameter",
    )
    lines += _line(
        "training",
        f"{count(sum(r.tokens for r in todo))} tokens, "
        f"{f'{flops:.1e} ' if flops >= 1e15 else count(flops)}FLOP to do",
    )
    if todo:
        lines += (
            _execution_here(plan) if plan.cluster.launcher == "local" else _execution_queue(plan)
        )
    return "\n".join(lines)


def _line(title: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, 80, initial_indent=f"{title:12s}", subsequent_indent=" " * 12, break_on_hyphens=False
    )


def _largest(plan: Plan) -> str:
    stacks = [stack for job in plan.jobs for pack in job.packs for stack in pack.stacks]
    parts = max(micro_batches(stack[0], len(stack), plan.device, plan.room) for stack in stacks)
    one, many = (
        max(_planned_bytes(stack[0], n or len(stack), plan) for stack in stacks) for n in (1, None)
    )
    divided = f", batches in up to {parts} parts" if parts > 1 else ""
    return f"largest model about {_bytes(one)}, largest stack {_bytes(many)}, beside torch{divided}"


def _planned_bytes(run: Config, members: int, plan: Plan) -> float:
    return stack_bytes(
        run, members, plan.device, micro_batches(run, members, plan.device, plan.room)
    )


def _bytes(number: float) -> str:
    return (
        f"{number / 1e9:.1f} GB"
        if number >= 1e9
        else f"{number / 1e6:.0f} MB"
        if number >= 1e6
        else "1 MB"
    )


def _execution_here(plan: Plan) -> list[str]:
    pack = plan.jobs[0].packs[0]
    n = len(pack.stacks)
    refused = refused_threads(plan.cluster.threads)
    return _line(
        "execution",
        f"{n} stack{'s' * (n != 1)} on {pack.workers} {plan.device} "
        f"worker{'s' * (pack.workers != 1)} "
        f"{_of_threads(pack)}{f' ({refused})' * bool(refused)}, {_largest(plan)}; about "
        f"{clock(plan.jobs[0].seconds[0])} ({plan.speed.source})",
    )


def _of_threads(pack: Pack) -> str:
    return f"of {pack.threads} thread{'s' * (pack.threads != 1)}" + " each" * (pack.workers != 1)


def _execution_queue(plan: Plan) -> list[str]:
    cluster, lines = plan.cluster, []
    for job in plan.jobs:
        n, workers = len(job.packs), job.packs[0].workers
        has = [f"{cluster.cpus} CPU{'s' * (cluster.cpus != 1)}"]
        has += (
            [cluster.gres]
            if cluster.gres
            else [f"{cluster.gpus} GPU{'s' * (cluster.gpus != 1)}"]
            if cluster.gpus
            else []
        )
        low, high = clock(min(job.seconds)), clock(max(job.seconds))
        text = (
            f"{n} array element{'s' * (n != 1)}"
            + (f", {cluster.throttle} at once" if cluster.throttle else "")
            + f", each {', '.join(has)}, {job.mem}, at most {clock(job.time_s)}, {workers} "
            f"worker{'s' * (workers != 1)} {_of_threads(job.packs[0])} on {plan.device}; "
            f"{sum(len(pack.stacks) for pack in job.packs)} stacks of up to "
            f"{max(len(s) for p in job.packs for s in p.stacks)} runs; "
            f"about {low}" + (f" to {high}" if low != high else "") + " an element"
        )
        lines += _line(cluster.launcher[:11], text + (f" ({job.why})" if job.why else ""))
    spent = sum(sum(job.seconds) for job in plan.jobs) / 3600
    cost = [f"{_hours(spent * cluster.cpus)} CPU-core-hours"]
    if cluster.gpus or cluster.gres:
        cost.insert(0, f"{_hours(spent * max(1, cluster.gpus))} GPU-hours")
    unknown = (
        ""
        if cluster.memory_gb or plan.device == "cpu"
        else f"; for GPUs of {UNKNOWN_GPU_BYTES / 1e9:.0f} GB, or set cluster.memory_gb"
    )
    lines += _line("cost", f"{', '.join(cost)} ({plan.speed.source}); {_largest(plan)}{unknown}")
    return lines


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _data_line(study: Study) -> str:
    """Sizes of the data sets and how often an item is seen, as "800 to 1,600 people, 50 to 200
    exposures"."""
    parts = []
    for unit in dict.fromkeys(run.data.unit for run in study.runs):
        sizes = sorted({run.items for run in study.runs if run.data.unit == unit})
        parts.append(
            f"{sizes[0]:,}" + (f" to {sizes[-1]:,}" if len(sizes) > 1 else "") + f" {unit}"
        )
    seen = sorted(
        {
            f"{run.exposures:,.3g}" if run.exposures < 100 else f"{run.exposures:,.0f}"
            for run in study.runs
        },
        key=lambda text: float(text.replace(",", "")),
    )
    parts.append(seen[0] + (f" to {seen[-1]}" if len(seen) > 1 else "") + " exposures")
    layers = [run.as_dict() for run in study.runs]
    chosen = [
        key
        for key in study.best_over
        if len({tree[key.split(".")[0]].get(key.split(".")[1]) for tree in layers}) > 1
    ]
    return ", ".join(parts) + (
        f"; the best of several {', '.join(chosen)} counts" if chosen else ""
    )
