"""Runs to stacks to packs, and the pack file that a worker reads (no hydra, no torch).

A stack is a set of runs of one shape that train as one program. A pack is what one machine, or one
element of a queue's array, trains: stacks, by so many workers side by side. A sweep on this machine
is a single pack.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.config import Config, from_dict
from capacity.cost import GUESSES, Speed, stack_bytes, table_bytes
from capacity.data import cache as kept
from capacity.train.stack_key import stack_key

SCHEMA = 2
# a few stacks each balance what the cost model gets wrong; more only start more often
MOST_PER_WORKER = 4
WORTH_A_START_S = 4.0  # a process needs about 2 s to import torch


@dataclass(frozen=True)
class Pack:
    """What one machine trains: the longest stacks first, `workers` of them at a time."""

    study: str
    results: Path
    device: str  # auto, cpu or cuda
    workers: int
    threads: int  # of each worker
    stacks: list[list[Config]]
    # by run id what a run is called beside its size and data, where the mirror of wandb asks
    variants: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> list[Config]:
        return list(itertools.chain.from_iterable(self.stacks))


@dataclass(frozen=True)
class Job:
    """One array job, or all of a sweep on this machine: packs that share their limits."""

    packs: list[Pack]
    seconds: list[float]  # expected, by pack
    time_s: int
    mem: str
    growth: dict[str, int]  # factors of time and memory against the first try
    why: str  # why these are not of the first try; else empty
    round: int = 0  # all jobs of earlier rounds have to end first


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a stack may be: members, the device and bytes of it; speed: what its cost is expected
    from (None: a guess)."""

    most: int
    device: str = "cpu"
    memory: float = math.inf
    speed: Speed | None = None

    @property
    def expected(self) -> Speed:
        """The speed, or a guess."""
        return self.speed or GUESSES[self.device]


def write_pack(path: Path, pack: Pack) -> None:
    """A pack as JSON; what trains it needs neither hydra, the study file, lists nor a tokenizer."""
    for run in pack.runs:
        kept.keep(pack.results, run.data)
    stacks = [
        [{"run_id": run.run_id, "config": run.as_dict()} for run in stack] for stack in pack.stacks
    ]
    files.write_json(
        path,
        {
            "schema": SCHEMA,
            "study": pack.study,
            "results": str(pack.results.resolve()),
            "device": pack.device,
            "workers": pack.workers,
            "threads": pack.threads,
            "stacks": stacks,
        }
        | ({"variants": pack.variants} if pack.variants else {}),
    )


def read_pack(path: Path, only: list[str] | None = None) -> Pack:
    """A pack file, or its runs named in `only` as one stack; ConfigError if it cannot be read or
    holds anything impossible."""
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    missing = {"schema", "study", "results", "device", "workers", "threads", "stacks"} - (
        tree.keys() if isinstance(tree, dict) else set()
    )
    if missing:
        raise ConfigError(f"{path}: not a pack file: no {sorted(missing)[0]}")
    if tree["schema"] != SCHEMA:
        raise ConfigError(
            f"{path}: a pack file of another version of capacity; issue the sweep again"
        )
    results, stacks = Path(tree["results"]), tree["stacks"]
    if only is not None:
        named = {run["run_id"]: run for stack in stacks for run in stack}
        unknown = [run_id for run_id in only if run_id not in named]
        if unknown:
            raise ConfigError(f"{path}: holds no run {unknown[0]}")
        stacks = [[named[run_id] for run_id in only]]
    try:
        for run in itertools.chain.from_iterable(stacks):
            kept.load(results, run["config"]["data"])
        stacks = [[from_dict(run["config"]) for run in stack] for stack in stacks]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    device, workers, threads = (tree[name] for name in ("device", "workers", "threads"))
    variants = tree.get("variants", {})
    return Pack(tree["study"], results, device, workers, threads, stacks, variants)


def make_stacks(runs: list[Config], seconds: float, limits: Limits) -> list[list[Config]]:
    """Runs of one shape and like length, within the limits, and of about `seconds` at most if there
    is more than one; the longest stacks first.

    Cut from the whole study, before finished runs are taken out, so that a re-issued sweep forms
    the same stacks.
    """
    speed = limits.expected
    groups: dict[str, list[Config]] = {}
    for run in runs:
        groups.setdefault(stack_key(run), []).append(run)
    stacks = []
    for members in itertools.chain.from_iterable(map(_of_like_length, groups.values())):
        size = min(limits.most, _fitting(members, limits))
        parts = max(
            math.ceil(len(members) / size),
            min(len(members), math.ceil(speed.seconds(members) / seconds)),
        )
        even = math.ceil(len(members) / parts)
        stacks += [members[i : i + even] for i in range(0, len(members), even)]
    return sorted(stacks, key=lambda stack: -speed.seconds(stack))


def shared(
    runs: list[Config], workers: int, limits: Limits, longest: float = math.inf
) -> list[list[Config]]:
    """Stacks for so many processes side by side: cut into shares of 1, 1/2, ... of what a
    process has to do, whichever should end first. Larger stacks use a device better,
    smaller ones balance better. No share is shorter than a start is worth, none longer than
    `longest` seconds."""
    speed = limits.expected
    each = sum(speed.seconds([run]) for run in runs) / workers
    cuts = [
        make_stacks(runs, min(longest, max(each / parts, min(each, WORTH_A_START_S))), limits)
        for parts in range(1, MOST_PER_WORKER + 1)
    ]
    return min(cuts, key=lambda stacks: makespan(stacks, speed, workers))


def makespan(stacks: list[list[Config]], speed: Speed, workers: int) -> float:
    """Expected seconds until the last stack ends, where each process takes the next longest."""
    loads = [0.0] * workers
    for cost in sorted((speed.seconds(stack) for stack in stacks), reverse=True):
        loads[loads.index(min(loads))] += cost
    return max(loads)


def fill(
    stacks: list[list[Config]], speed: Speed, seconds: float, workers: int, threads: int, limit: int
) -> list[list[list[Config]]]:
    """Stacks dealt out to as few packs as keep each, with its workers side by side, near `seconds`,
    at most `limit` packs: the longest stack goes to the pack that has least so far."""
    cost = [speed.seconds(stack, threads) for stack in stacks]
    number = max(1, min(limit, len(stacks), math.ceil(sum(cost) / (seconds * workers))))
    packs: list[list[list[Config]]] = [[] for _ in range(number)]
    loads = [0.0] * number
    for i in sorted(range(len(stacks)), key=lambda i: -cost[i]):
        least = loads.index(min(loads))
        packs[least].append(stacks[i])
        loads[least] += cost[i]
    return [pack for pack in packs if pack]


def duration(stacks: list[list[Config]], speed: Speed, workers: int, threads: int) -> float:
    """Expected seconds of a pack: its longest stack, or all of them shared by its workers."""
    cost = [speed.seconds(stack, threads) for stack in stacks]
    return max(max(cost), sum(cost) / workers)


def _of_like_length(members: list[Config]) -> list[list[Config]]:
    """Runs of one shape, longest first, in groups whose longest takes at most twice the steps of
    the shortest: a run that ends leaves a smaller stack, which uses the device less well."""
    groups: list[list[Config]] = []
    for run in sorted(members, key=lambda run: -run.steps):
        if not groups or 2 * run.steps < groups[-1][0].steps:
            groups.append([])
        groups[-1].append(run)
    return groups


def _fitting(runs: list[Config], limits: Limits) -> int:
    """The most members of a stack that fits; at least 1, since a single run cannot be divided."""
    run, sizes = max(runs, key=table_bytes), range(1, limits.most + 1)
    return max((n for n in sizes if stack_bytes(run, n, limits.device) <= limits.memory), default=1)


def without(stacks: list[list[Config]], out: set[str]) -> list[list[Config]]:
    """The stacks without the named runs; empty ones drop out, the others keep their company and
    order."""
    left = [[run for run in stack if run.run_id not in out] for stack in stacks]
    return [stack for stack in left if stack]
