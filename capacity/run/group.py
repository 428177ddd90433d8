"""The group of processes that train one stack by data parallel ranks (`train.ranks`): how they are
started, how they meet, and how rank 0 leads.

Rank 0 is a process like any other that trains: it holds claims, records, logs and measures, and
decides when to stop. The others follow (`run.follow`): they do what rank 0 tells them, and all that
counts between two such words is a fixed number of steps, so that no clock or signal of theirs can
part them. Who starts them:

    cluster.ranks on one machine    rank 0 starts the others
    srun, torchrun                  have started all; SLURM_PROCID or RANK says who is who

They meet at a file in the results folder, results/ranks/NAME (torchrun: at its own address). A rank
that is lost ends the group: sums over it fail in all others, which end; what has started rank 0
starts it again, and it goes on from its checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from capacity.base.errors import ConfigError
from capacity.base.files import make_folder
from capacity.config import Config
from capacity.train import checkpoint, starts
from capacity.train.loop import BLOCK, Stack, State, advance, settle
from capacity.train.ranks import Ranks

MEETING = "CAPACITY_MEETING"  # variable with the name of the file at which a step of srun meets
LOOK_S = 2.0  # training between two looks of rank 0 at what may stop it
LOST_S = 600.0  # a sum that takes longer has lost a rank
IDLE_S = 30 * 86400.0  # that long the others wait while rank 0 measures
END_S = 30.0  # for the others to end by themselves


class RankLost(RuntimeError):
    """A process of the group has ended, or does not answer: training goes on from the checkpoint,
    in another group."""


@dataclass(frozen=True)
class Place:
    """Who this process is: rank of size; local: its number among those of its machine. meeting: the
    file where they meet, None where torchrun says how. started: by srun or torchrun."""

    rank: int
    size: int
    local: int
    meeting: Path | None
    started: bool


def place(ranks: int, results: Path) -> Place:
    """The place of this process in a group of so many. ConfigError where srun or torchrun has
    started another number."""
    env = os.environ
    folder = results.resolve() / "ranks"
    if ranks > 1 and {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= env.keys():
        rank = int(env["RANK"])
        found = Place(rank, int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", rank)), None, True)
        who = "torchrun"
    elif ranks > 1 and int(env.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        name = env.get(MEETING) or "-".join(env.get(name) or "0" for name in names)
        found = Place(
            int(env["SLURM_PROCID"]),
            int(env["SLURM_STEP_NUM_TASKS"]),
            int(env["SLURM_LOCALID"]),
            folder / name,
            True,
        )
        who = "srun"
    else:
        return Place(0, ranks, 0, folder / secrets.token_hex(8), False)
    if found.size != ranks:
        raise ConfigError(f"cluster.ranks={ranks}: {who} has started {found.size} processes")
    return found


def follows(ranks: int | None, results: Path) -> bool:
    """Whether this process is a rank above 0, which tells nobody anything."""
    return ranks is not None and place(ranks, results).rank > 0


def device_of(here: Place, device: torch.device) -> torch.device:
    """The device of a rank: on a machine with GPUs its own. ConfigError where there are not
    enough."""
    if device.type != "cuda":
        # threads share elementwise work in pieces that then are whole vectors, whatever their part
        torch.set_num_threads(1 << (torch.get_num_threads().bit_length() - 1))
        return device
    visible = torch.cuda.device_count()
    if not here.started and here.size > visible:
        raise ConfigError(
            f"cluster.ranks={here.size}: needs as many GPUs; this process sees {visible}"
        )
    own = torch.device("cuda", here.local % visible)  # SLURM may show each task its own alone
    torch.cuda.set_device(own)
    return own


def meet(here: Place, device: torch.device, alive: Callable[[], None]) -> dist.ProcessGroup:
    """Join the group; returns the channel on which rank 0 tells what to do. alive: raises where
    another rank has ended meanwhile."""
    patience = timedelta(seconds=LOST_S)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    with _loopback(not here.started):
        if here.meeting is None:
            dist.init_process_group(backend, timeout=patience)
        else:
            store = dist.FileStore(  # pyright: ignore[reportPrivateImportUsage]  it is documented
                str(here.meeting), here.size
            )
            store.set(f"rank {here.rank}", "here")
            names = [f"rank {rank}" for rank in range(here.size)]
            began = time.monotonic()
            while not store.check(names):
                alive()
                if time.monotonic() - began > LOST_S:
                    raise RankLost(f"not all of {here.size} ranks came to {here.meeting}")
                time.sleep(0.05)
            dist.init_process_group(
                backend, store=store, rank=here.rank, world_size=here.size, timeout=patience
            )
        channel = dist.new_group(backend="gloo", timeout=timedelta(seconds=IDLE_S))
    assert isinstance(channel, dist.ProcessGroup)  # this rank is one of its members
    return channel


@contextlib.contextmanager
def _loopback(on: bool) -> Iterator[None]:
    """Processes of one machine talk over its loopback alone, unless a person has chosen."""
    name = "GLOO_SOCKET_IFNAME"
    if not on or name in os.environ or not sys.platform.startswith("linux"):
        yield
        return
    os.environ[name] = "lo"
    try:
        yield
    finally:
        del os.environ[name]


def tell(channel: dist.ProcessGroup, command: dict) -> None:
    """Rank 0: give all others a command, as JSON."""
    text = torch.frombuffer(bytearray(json.dumps(command).encode()), dtype=torch.uint8)
    dist.broadcast(torch.tensor([len(text)]), 0, group=channel)
    dist.broadcast(text, 0, group=channel)


def heard(channel: dist.ProcessGroup) -> dict:
    """Another rank: wait for the next command."""
    length = torch.zeros(1, dtype=torch.int64)
    dist.broadcast(length, 0, group=channel)
    text = torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(text, 0, group=channel)
    return json.loads(bytes(text.tolist()))


@dataclass
class Leader:
    """What rank 0 does for all: every method is done by all ranks together."""

    ranks: Ranks
    device: torch.device
    results: Path
    others: list[subprocess.Popen] = field(default_factory=list)  # that this process has started
    channel: dist.ProcessGroup | None = None
    outcome: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    pace: int = 1  # steps that take about LOOK_S

    def begin(
        self, configs: list[Config], parts: int, paths: list[Path] | None
    ) -> tuple[Stack, State]:
        """A stack and its state, from checkpoints or (None) from the start."""
        command = {
            "do": "begin",
            "results": str(self.results.resolve()),
            "configs": [config.as_dict() for config in configs],
            "parts": parts,
            "paths": None if paths is None else [str(path.resolve()) for path in paths],
            "threads": torch.get_num_threads(),
        }
        with self._together(command):
            return begun(configs, self.device, parts, self.ranks, paths or self.results)

    def advance(
        self,
        stack: Stack,
        state: State,
        until: int,
        stop: Callable[[], bool],
        pause: Callable[[], bool],
    ) -> bool:
        """As `loop.advance`; stop and pause are asked about every LOOK_S seconds, at a step that
        all ranks know."""
        while state.step < until:
            if stop():
                return True
            began, step = time.monotonic(), min(until, state.step + self.pace)
            made = step - state.step
            with self._together({"do": "advance", "until": step}):
                advance(stack, state, step, _never)
                settle(stack)
            took = max(1e-9, time.monotonic() - began)
            self.pace = max(1, min(BLOCK, 2 * self.pace, int(made * LOOK_S / took)))
            if stop():
                return True
            if pause():
                return False
        return False

    def whole(self, stack: Stack, state: State) -> State:
        """The state as a checkpoint has it."""
        with self._together({"do": "whole"}):
            return self.ranks.give(stack, state)

    def keep(self, stack: Stack, state: State, members: list[int]) -> tuple[Stack, State]:
        """The stack and the state of some members only."""
        with self._together({"do": "keep", "members": members}):
            return smaller(stack, state, members)

    @contextlib.contextmanager
    def _together(self, command: dict) -> Iterator[None]:
        """Something that all ranks do at once: what fails in one has ended the group."""
        if self.channel is None:
            yield
            return
        try:
            tell(self.channel, command)
            yield
        except Exception as error:
            self.lost = True
            raise RankLost(self._why(error)) from error

    def check(self) -> None:
        """RankLost where another rank has ended."""
        for rank, other in enumerate(self.others, 1):
            if (code := other.poll()) is not None:
                self.lost = True
                how = (
                    f"was killed by signal {signal.Signals(-code).name}"
                    if code < 0
                    else f"ended with exit code {code}"
                )
                raise RankLost(f"rank {rank} of {self.ranks.size} {how}")

    def _why(self, error: Exception) -> str:
        for _ in range(20):  # a connection may break before its process has quite ended
            try:
                self.check()
            except RankLost as lost:
                return str(lost)
            if not self.others:
                break
            time.sleep(0.05)
        text = str(error).strip().splitlines() or [""]
        return f"rank 0 of {self.ranks.size}: {type(error).__name__}: {text[0]}"

    def close(self) -> None:
        """Let the others end, or end them."""
        try:
            if self.channel is not None and not self.lost:
                with (
                    contextlib.suppress(RankLost),
                    self._together({"do": "end", "outcome": self.outcome}),
                ):
                    pass
            if self.channel is not None and not (self.lost and self.device.type == "cuda"):
                dist.destroy_process_group()
        finally:
            for other in self.others:
                try:
                    other.wait(0 if self.lost else END_S)
                except subprocess.TimeoutExpired:
                    other.kill()
                    other.wait()


@contextlib.contextmanager
def led(here: Place, device: torch.device, results: Path) -> Iterator[Leader]:
    """A group that this process, its rank 0, leads; it ends with the block."""
    leader = Leader(Ranks(0, here.size), device_of(here, device), results)
    if here.size == 1:
        yield leader
        return
    if here.meeting is not None:
        make_folder(here.meeting.parent)
    try:
        if not here.started:
            leader.others = [_start(here, rank, device) for rank in range(1, here.size)]
        leader.channel = meet(here, leader.device, leader.check)
        if device.type == "cuda" and leader.others:
            threading.Thread(target=_watch, args=(leader,), daemon=True).start()
        yield leader
    except BaseException as error:
        leader.lost = leader.lost or not isinstance(error, Exception)
        raise
    finally:
        leader.close()
        if here.meeting is not None:
            here.meeting.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # of another group, too
                here.meeting.parent.rmdir()


def _start(here: Place, rank: int, device: torch.device) -> subprocess.Popen:
    """Start another rank on this machine: in a session of its own, since Ctrl-C is rank 0's."""
    words = [str(here.meeting), str(rank), str(here.size), device.type, str(os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-m", "capacity.run.follow", *words],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if _has_number(sys.stderr) else subprocess.DEVNULL,
        start_new_session=True,
    )


def _has_number(stream: object) -> bool:
    try:
        return stream.fileno() >= 0  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # replaced by a test, or closed
        return False


def _watch(leader: Leader) -> None:
    """End this process when another rank has ended while a sum on GPUs may wait for it."""
    while not leader.lost and any(other.poll() is None for other in leader.others):
        if any(other.poll() not in (None, 0) for other in leader.others):
            time.sleep(END_S)  # unless it notices by itself
            if not leader.lost:
                print("capacity: a rank has ended; so ends its group", file=sys.stderr, flush=True)
                os._exit(1)
        time.sleep(0.5)


def begun(
    configs: list[Config],
    device: torch.device,
    parts: int,
    ranks: Ranks,
    source: list[Path] | Path,
) -> tuple[Stack, State]:
    """A stack of a rank and its state, from checkpoints or from the start, for which the results
    folder has the weights of other runs."""
    stack = Stack(configs, device, parts, ranks)
    if isinstance(source, list):
        state = checkpoint.load_states(source, device)
    else:
        state = stack.start(starts.weights(source, configs, stack.gpt))
    return stack, ranks.take(stack, state)


def smaller(stack: Stack, state: State, members: list[int]) -> tuple[Stack, State]:
    """Some members of a stack, with their state."""
    stack.feed.close()  # its thread renders for members that have left
    configs = [stack.configs[m] for m in members]
    return Stack(configs, stack.device, stack.parts, stack.ranks), state.select(members)


def _never() -> bool:
    return False
