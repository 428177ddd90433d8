"""What training will cost, before anything is spent: seconds on a device, from its benchmark or
else from a guess that says so, and memory, for which a batch may have to be computed in parts.
Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from capacity import counts, work
from capacity.base.hardware import emulates
from capacity.config import Config

# what torch.compile takes for a shape, and the least part of the time that it saved
# (docs/decisions, CPU speed)
COMPILE_S, COMPILE_SAVES = 40.0, 0.08
FORWARD_PART = 3.0  # FLOPs of a training step over those of its forward pass


NEAR = 0.25  # a prediction that is off by no more is near
STREAM_TOKENS = 2**18  # of a member that are rendered at once (feed.CHUNK_TOKENS)


# Bytes per second that ranks exchange, guesses, never measured: one rank over the memory of a
# machine or the NVLink of a node (300 GB/s of 450 in each direction of an H100), and all ranks of a
# node over a network of 100 Gb/s.
WITHIN = {"cpu": 1e9, "cuda": 300e9}
NETWORK = 12.5e9


@dataclass(frozen=True)
class Speed:
    """Seconds of a stack, where a CPU's are those of one core. Measured (`terms`): a sum over the
    terms of `work`, evaluations in between included. A guess: step_s x steps of its longest run +
    FLOPs / flop_per_s + touched values x value_s; sweeps cut their stacks by it, so that they are
    the same on every machine. Of W ranks each does one Wth of the work, and waits for what they
    exchange."""

    device: str
    step_s: float
    flop_per_s: float
    value_s: float
    source: str
    terms: Mapping[str, float] | None = None  # seconds of one unit
    precisions: Mapping[str, float] = field(default_factory=dict)  # seconds over those of fp32

    def seconds(
        self, runs: list[Config], threads: int = 1, ranks: int | None = None, nodes: int = 1
    ) -> float:
        """Time of runs that train as one stack; CPU threads are taken to share the work evenly.
        ranks, on so many nodes: as the runs' settings have them where None."""
        if ranks is None:
            ranks, nodes = runs[0].cluster.ranks or 1, runs[0].cluster.nodes
        if self.terms is None:
            alone = sum(
                run.flops / self.flop_per_s + run.tokens * values_per_token(run) * self.value_s
                for run in runs
            )
        else:
            alone = sum(
                self._alone(run) * (run.steps + work.evaluation_steps(run) / FORWARD_PART)
                for run in runs
            )
        alone /= ranks * (threads if self.device == "cpu" else 1)
        shared = self.shared_seconds(runs[0]) + exchange_s(runs, self.device, ranks, nodes)
        return max(run.steps for run in runs) * shared + alone

    def shared_seconds(self, run: Config) -> float:
        """Of a step, what all members of a stack have in common."""
        if self.terms is None:
            return self.step_s
        return self.terms["operation"] * work.operations(run)

    def step_seconds(self, runs: list[Config]) -> float:
        """One step of a stack by one thread, as measured; without evaluations."""
        return self.shared_seconds(runs[0]) + sum(map(self._alone, runs))

    def _alone(self, run: Config) -> float:
        """Of a step of one thread, what a member adds."""
        terms = self.terms or {}
        units = work.of_member(run)
        seconds = sum(terms.get(name, 0.0) * n for name, n in units.items())
        return seconds * self.precisions.get(run.train.precision, 1.0)


def exchange_s(runs: list[Config], device: str, ranks: int, nodes: int = 1) -> float:
    """Seconds per step that ranks exchange gradients and weights, 2 x parameters x 4 bytes x (W -
    1) / W each; what goes to other nodes shares the network of its node."""
    values = 2 * 4 * sum(run.parameters["total"] for run in runs)
    within = values * (ranks - 1) / ranks / WITHIN[device]
    between = values * (nodes - 1) / nodes * ranks / nodes / NETWORK
    return max(within, between)


# The CPU's are rounded from the benchmark of one core of 2024 in fp32 (results/bench/cpu.json),
# which they meet within about 30%. Nothing stands behind the GPU's but its data sheet: a quarter of
# 400 TFLOP/s in bf16, half of 3 TB/s, a launch of 60 kernels.
GUESSES = {
    "cpu": Speed("cpu", 1.5e-3, 100e9, 0.65e-9, "a guess for current CPU cores"),
    "cuda": Speed("cuda", 0.5e-3, 100e12, 5e-12, "a guess for an H100, never measured"),
}


LAPTOP = 1e15  # FLOP that a laptop is asked for


def guessed_hours(runs: list[Config]) -> tuple[float, str]:
    """Hours of one device, each run alone, and what the device is: a CPU core where all runs
    together are for a laptop, else an H100; by the guesses above, whatever was measured here."""
    speed = GUESSES["cpu" if sum(run.flops for run in runs) < LAPTOP else "cuda"]
    hours = sum(speed.seconds([run]) for run in runs) / 3600
    return hours, "core" if speed.device == "cpu" else "H100"


def device_time(hours: float, device: str) -> str:
    """2.5 core-min, 45 H100-h: minutes below an hour."""
    if hours < 1:
        return f"{60 * hours:.2g} {device}-min"
    return f"{hours:.2g} {device}-h" if hours < 100 else f"{hours:,.0f} {device}-h"


def values_per_token(run: Config) -> float:
    """Values that a training step reads or writes outside matrix products, by predicted token:
    logits, activations and scores, in units that one CPU core handles at about 1 per nanosecond."""
    model = run.model
    return 1.3 * run.rows + model.n_layers * (
        45 * model.d_model + 9 * run.data.seq_len * model.n_heads
    )


def speed_of(device: str, results: Path, hardware: str | None = None) -> Speed:
    """Of RESULTS/bench/DEVICE.json, which `make bench` writes, if it is about this hardware; else
    the guess. hardware None: not known, as of a queue's nodes, so that a benchmark is a guess."""
    path = results / "bench" / f"{device}.json"
    try:
        bench = json.loads(path.read_bytes())
        name, measured = bench["environment"]["hardware"], bench["speed"]
        if hardware in (None, name):
            off = measured.get("error")
            known = f"{name}{f', {near(off)}' if off else ''}"
            return Speed(
                device=device,
                step_s=float(measured["step_s"]),
                flop_per_s=float(measured["flop_per_s"]),
                value_s=float(measured["value_s"]),
                source=f"by {path} ({known})"
                if hardware
                else f"a guess for the nodes, by {path} ({known})",
                terms=_seconds(measured.get("terms")),
                precisions=_seconds(measured.get("precisions")) or {},
            )
    except (OSError, ValueError, KeyError, TypeError):  # no benchmark, or one of an older version
        pass
    return GUESSES[device]


def emulated(runs: list[Config], speed: Speed) -> str:
    """One line for a person whose runs on this CPU are in a format whose products it has not; else
    empty."""
    formats = sorted({run.train.precision for run in runs if emulates(run.train.precision)})
    if speed.device != "cpu" or not formats:
        return ""
    factors = [speed.precisions[name] for name in formats if name in speed.precisions]
    told = f" {max(factors):.1f} times the seconds" if factors else " several times the seconds"
    return (
        f"train.precision={' and '.join(formats)}: this CPU has no products of that format and "
        f"emulates them, in{told} of train.precision=fp32, which is another run"
    )


def near(error: Mapping[str, float]) -> str:
    """How far predictions were off where that was tried, in words."""
    return f"within {NEAR:.0%} for {error['within']} of {error['of']} shapes not timed for it"


def _seconds(tree: Mapping[str, float] | None) -> dict[str, float] | None:
    """Numbers by name, of a file."""
    return None if tree is None else {name: float(value) for name, value in tree.items()}


def worth_compiling(runs: list[Config], device: str) -> bool:
    """Whether torch.compile saves more time than it takes; the same for any number of ranks, whose
    bits are the same."""
    return GUESSES[device].seconds(runs, ranks=1) * COMPILE_SAVES > COMPILE_S


def stack_bytes(run: Config, members: int, device: str, parts: int = 1) -> float:
    """Predicted memory of a stack of runs like this one, in shape and size of data, whose batches
    are computed in so many parts."""
    train = replace(run.train, batch_size=-(-run.train.batch_size // parts))
    training = counts.memory_bytes(run.model, run.rows, run.data.seq_len, train, members, device)
    return training + members * table_bytes(run)


def table_bytes(run: Config) -> float:
    """What a member of a stack is trained on, in int32: each has a table of its own, of all its
    sequences, or what is rendered of its stream at once, twice while members are joined."""
    if run.data.kind in ("uniform", "text"):
        return 4.0 * run.items * run.data.seq_len
    return 8.0 * STREAM_TOKENS


def largest_bytes(runs: list[Config], members: int, device: str, parts: int = 1) -> float:
    """`stack_bytes` of members that may be any of these runs, which share their shape."""
    return stack_bytes(max(runs, key=table_bytes), members, device, parts)


def micro_batches(run: Config, members: int, device: str, room: float) -> int:
    """Parts that the batch of a stack is computed in: as given, or the fewest halvings by which it
    fits into `room` bytes, and each rank has one. A mixture of experts has one, since the places of
    its experts depend on the whole batch."""
    if run.model.n_experts:
        return 1
    parts = run.cluster.micro_batches or run.cluster.ranks or 1
    while (
        run.cluster.micro_batches is None
        and 2 * parts <= run.train.batch_size
        and stack_bytes(run, members, device, parts) > room
    ):
        parts *= 2
    return parts
