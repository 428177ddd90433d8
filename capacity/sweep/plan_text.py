"""What a sweep will do and cost, in words of at most 80 columns (`plan` decides it)."""

from __future__ import annotations

from capacity.base import words
from capacity.base.hardware import refused_threads
from capacity.base.words import byte_size, clock, count, digits, flop_count, plural
from capacity.config import Config
from capacity.cost import (
    NETWORK,
    WITHIN,
    emulated,
    exchange_s,
    micro_batches,
    stack_bytes,
    table_bytes,
)
from capacity.counts import state_numbers
from capacity.run_table import model_names
from capacity.settings.cluster import Cluster
from capacity.settings.fresh import FreshData, fresh_data, sequence_bits
from capacity.study import Study
from capacity.sweep.packs import Job, Pack
from capacity.sweep.plan import UNKNOWN_GPU_BYTES, Plan

TITLE = 12  # columns of a line's title
# A run that takes a GPU longer than this is told what it takes on so many; of up to EACH_RUN runs
# each is told, of more the longest.
LONG_S, USUAL_RANKS, EACH_RUN = 86400.0, 8, 4


def summary(plan: Plan) -> str:
    """What a sweep will do, before it does it."""
    study, todo = plan.study, plan.todo
    sizes = sorted(run.parameters["total"] for run in study.runs)
    models = len(set(model_names(study.runs).values()))
    flops = sum(run.flops for run in todo)
    again = {run.run_id: plan.refused[run.run_id] for run in todo if run.run_id in plan.refused}
    states = [f"{len(plan.done)} finished", f"{len(plan.failed)} failed"]
    for state in ("running", "queued", "requeued"):
        if number := sum(s == state for s in plan.claimed.values()):
            states.append(f"{number} {state}")
    lines = [f"study       {study.name}"]
    lines += _line("question", study.question)
    lines += _line(
        "runs",
        f"{len(study.runs)}, of {plural(models, 'model')}: {', '.join(states)}, {len(todo)} to do"
        + (f" ({len(again)} failed without a record)" if again else ""),
    )
    if study.starts:
        lines += _line(
            "starts",
            f"{plural(len(study.starts), 'run')} more, with whose weights others begin",
        )
    for why in dict.fromkeys(again.values()):
        lines += _line("failed", f"{plural(list(again.values()).count(why), 'run')}: {why}")
    if plan.unmeasured:
        lines += _line("measures", unmeasured(plan))
    lines += _line("data", _data_line(study))
    for note in dict.fromkeys(n for run in study.runs for n in run.resolved.notes(run.items)):
        lines += _line("note", note)
    lines += _line(
        "parameters",
        f"{sizes[0]:,} to {sizes[-1]:,} (total); {_load(study)}",
    )
    lines += _line(
        "training",
        f"{count(sum(r.tokens for r in todo))} tokens, {flop_count(flops)} to do",
    )
    if todo:
        lines += (
            _execution_here(plan) if plan.cluster.launcher == "local" else _execution_queue(plan)
        )
        lines += _ranks(plan)
    return "\n".join(lines)


def _ranks(plan: Plan) -> list[str]:
    """What each run takes alone and on ranks, or of many the longest: where ranks are asked for, or
    where a run would take a GPU longer than a day."""
    cluster, threads = plan.cluster, plan.jobs[0].packs[0].threads
    ranks = cluster.ranks or 1
    alone = {
        run.run_id: plan.speed.seconds([run], threads, ranks=1)
        for run in plan.todo
        if not run.model.n_experts
    }
    runs = sorted((r for r in plan.todo if r.run_id in alone), key=lambda r: -alone[r.run_id])
    if ranks == 1:
        long = plan.device == "cuda" and runs and alone[runs[0].run_id] > LONG_S
        if not long:
            return []
        ranks = USUAL_RANKS
    lines = []
    for run in runs if len(runs) <= EACH_RUN else runs[:1]:
        nodes = cluster.nodes if cluster.ranks == ranks else 1
        each = plan.speed.seconds([run], threads, ranks=ranks, nodes=nodes)
        waits = run.steps * exchange_s([run], plan.device, ranks, nodes) / each
        which = "run" if len(runs) <= EACH_RUN else f"longest of {len(runs):,} runs,"
        one = "one GPU" if plan.device == "cuda" else "one process"
        speed = f"at {(NETWORK if nodes > 1 else WITHIN[plan.device]) / 1e9:g} GB/s, a guess"
        where = f"{ranks} ranks" + (f" on {nodes} nodes" if nodes > 1 else "")
        asked = "" if cluster.ranks == ranks else f" (cluster.ranks={ranks})"
        lines += _line(
            "ranks",
            f"{which} {run.run_id} ({run.shape}): {clock(alone[run.run_id])} on {one}, "
            f"{clock(each)} on {where}{asked}, {words.percent(waits, 0)} of it exchange ({speed})",
        )
    return lines


def unmeasured(plan: Plan) -> str:
    """What finished runs lack, and the command that adds it."""
    return (
        f"{plural(len(plan.unmeasured), 'finished run')} without a measure that the study asks "
        f"for: capacity measure --study {plan.study.name}"
    )


def _line(title: str, text: str) -> list[str]:
    return words.wrap(text, f"{title:{TITLE}s}", " " * TITLE)


def _largest(plan: Plan) -> str:
    stacks = [
        (max(stack, key=table_bytes), len(stack))
        for job in plan.jobs
        for pack in job.packs
        for stack in pack.stacks
    ]
    parts = max(micro_batches(run, members, plan.device, plan.room) for run, members in stacks)
    one, many = (
        max(_planned_bytes(run, n or members, plan) for run, members in stacks) for n in (1, None)
    )
    divided = f", batches in up to {parts} parts" if parts > 1 else ""
    largest = f"largest model about {byte_size(one)}, largest stack {byte_size(many)}"
    return f"{largest}, beside torch{divided}"


def _planned_bytes(run: Config, members: int, plan: Plan) -> float:
    return stack_bytes(
        run, members, plan.device, micro_batches(run, members, plan.device, plan.room)
    )


def _execution_here(plan: Plan) -> list[str]:
    pack = plan.jobs[0].packs[0]
    refused = refused_threads(plan.cluster.threads)
    runs = [run for stack in pack.stacks for run in stack]
    slow = emulated(runs, plan.speed)
    return (_line("warning", slow) if slow else []) + _line(
        "execution",
        f"{plural(len(pack.stacks), 'stack')} on {plural(pack.workers, f'{plan.device} worker')} "
        f"{_of_threads(pack)}{f' ({refused})' if refused else ''}, {_largest(plan)}; about "
        f"{clock(plan.jobs[0].seconds[0])} ({plan.speed.source})",
    )


def _of_threads(pack: Pack) -> str:
    each = "" if pack.workers == 1 else " each"
    return f"of {plural(pack.threads, 'thread')}{each}"


def _execution_queue(plan: Plan) -> list[str]:
    cluster, lines = plan.cluster, []
    for job in plan.jobs:
        lines += _line(cluster.launcher[:11], _array(job, cluster, plan.device))
    spent = sum(sum(job.seconds) for job in plan.jobs) / 3600
    cores = cluster.cpus * (cluster.ranks or 1)
    cost = [f"{words.hours(spent * cores)} CPU-core-hours"]
    if cluster.gpus or cluster.gres:
        cost.insert(0, f"{words.hours(spent * max(1, cluster.gpus) * cluster.nodes)} GPU-hours")
    unknown = (
        ""
        if cluster.memory_gb or plan.device == "cpu"
        else f"; for GPUs of {UNKNOWN_GPU_BYTES / 1e9:.0f} GB, of which a stack may take "
        f"{byte_size(plan.room)}, or set cluster.memory_gb"
    )
    lines += _line("cost", f"{', '.join(cost)} ({plan.speed.source}); {_largest(plan)}{unknown}")
    lines += _allowed(plan)
    for job in plan.jobs:
        lines += _too_long(job, plan)
    return lines


def _allowed(plan: Plan) -> list[str]:
    """What the queue allows this person, where it says so and it matters here."""
    allowed, lines = plan.allowed, []
    wanted = sum(len(job.packs) for job in plan.jobs)
    if allowed.submitted is not None and allowed.free is not None:
        most, name = allowed.submitted
        text = f"{name}: {most:,} queued or running at once, {allowed.queued:,} are there already"
        if wanted > allowed.free:
            lines += _line(
                "warning",
                f"{text}; {plural(wanted, 'element')} will be refused: wait, or give "
                "cluster.qos=NAME",
            )
        elif wanted == allowed.free:
            lines += _line("limit", f"{text}; so at most {plural(wanted, 'element')}")
    if allowed.running is not None and wanted > allowed.running[0]:
        most, name = allowed.running
        lines += _line("limit", f"{name}: {plural(most, 'element')} at once, others wait")
    return lines


def _too_long(job: Job, plan: Plan) -> list[str]:
    """A warning where the longest stack, or an element with all that it trains, cannot end within
    the time limit, however often the job requeues itself."""
    cluster, threads = plan.cluster, job.packs[0].threads
    seconds, stack = max(
        (
            (plan.speed.seconds(stack, threads), stack)
            for pack in job.packs
            for stack in pack.stacks
        ),
        key=lambda pair: pair[0],
    )
    given = (1 + cluster.requeues) * (job.time_s - cluster.signal_seconds)
    longest = max(job.seconds)
    if max(seconds, longest) <= given:
        return []
    if seconds > given:
        what, fewer = f"run {stack[0].run_id} should take {clock(seconds)}", ""
    else:
        what, fewer = f"an element should take {clock(longest)}", "lower cluster.pack_minutes, "
    return _line(
        "warning",
        f"{what}; the time limit of {clock(job.time_s)} and "
        f"{plural(cluster.requeues, 'requeue')} give it {clock(given)}: {fewer}raise cluster.time "
        "or cluster.requeues, or issue the sweep again when it has stopped",
    )


def _array(job: Job, cluster: Cluster, device: str) -> str:
    """Elements of an array job, what each has, and what it trains."""
    has = [plural(cluster.cpus, "CPU")]
    if cluster.gres:
        has.append(cluster.gres)
    elif cluster.gpus:
        has.append(plural(cluster.gpus, "GPU"))
    stacks = [stack for pack in job.packs for stack in pack.stacks]
    pack = job.packs[0]
    at_once = f", {cluster.throttle} at once" if cluster.throttle else ""
    low, high = clock(min(job.seconds)), clock(max(job.seconds))
    text = (
        f"{plural(len(job.packs), 'array element')}{at_once}, each {', '.join(has)}, {job.mem}, "
        f"at most {clock(job.time_s)}, {plural(pack.workers, 'worker')} {_of_threads(pack)} on "
        f"{device}; {plural(len(stacks), 'stack')} of up to "
        f"{plural(max(len(stack) for stack in stacks), 'run')}; about {low}"
        f"{f' to {high}' if low != high else ''} an element"
    )
    return f"{text} ({job.why})" if job.why else text


def _load(study: Study) -> str:
    """Bits of data per parameter; of sequences that are new, bits that one asks for, and the
    numbers that may keep them."""
    if not all(isinstance(run.data, FreshData) for run in study.runs):
        loads = sorted(run.entropy_bits / run.parameters["total"] for run in study.runs)
        return f"load {loads[0]:.2f} to {loads[-1]:.2f} bits per parameter"
    data = [fresh_data(run.data) for run in study.runs]
    bits = sorted(map(sequence_bits, data))
    states = sorted(
        state_numbers(run.model, one.said + 1) for run, one in zip(study.runs, data, strict=True)
    )
    return (
        f"{digits(bits[0], 4)} to {digits(bits[-1], 4)} bits asked for by a sequence, held by "
        f"{states[0]:,} to {states[-1]:,} numbers of state"
    )


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
    if all(isinstance(run.data, FreshData) for run in study.runs):
        parts.append("none seen twice")
    else:
        parts.append(seen[0] + (f" to {seen[-1]}" if len(seen) > 1 else "") + " exposures")
    trees = [run.as_dict() for run in study.runs]
    chosen = []
    for key in study.best_over:
        group, _, name = key.partition(".")
        if len({tree[group].get(name) for tree in trees}) > 1:
            chosen.append(key)
    best = f"; the best of several {', '.join(chosen)} counts" if chosen else ""
    return ", ".join(parts) + best
