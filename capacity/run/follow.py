"""A rank above 0: does what rank 0 tells, and ends with it (see `run.group`).

`python -m capacity.run.follow MEETING RANK SIZE DEVICE PARENT` is how rank 0 starts one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist

from capacity.base.hardware import keep_nice
from capacity.config import from_dict
from capacity.data import cache as kept
from capacity.run import group
from capacity.run.environment import keep_freed_memory
from capacity.train.loop import Stack, State, advance
from capacity.train.ranks import Ranks


def follow(here: group.Place, device: torch.device) -> dict[str, str]:
    """Follow rank 0 until it ends the group; returns the outcome that it tells, as
    `run.execute`."""
    device = group.device_of(here, device)
    keep_freed_memory()
    if here.meeting is not None:
        here.meeting.parent.mkdir(parents=True, exist_ok=True)
    channel = group.meet(here, device, lambda: None)
    rank = Ranks(here.rank, here.size)
    training: tuple[Stack, State] | None = None
    while (command := group.heard(channel))["do"] != "end":
        if command["do"] == "begin":
            training = None  # makes room
            training = _begin(command, device, rank)
            continue
        assert training is not None, f"{command['do']} before a stack has begun"
        stack, state = training
        if command["do"] == "advance":
            advance(stack, state, command["until"], _never)
        elif command["do"] == "whole":
            rank.give(stack, state)
        elif command["do"] == "keep":
            training = group.smaller(stack, state, command["members"])
        else:
            raise ValueError(f"rank 0 tells to {command['do']!r}, which is unknown")
    dist.destroy_process_group()
    return command["outcome"]


def _begin(command: dict, device: torch.device, rank: Ranks) -> tuple[Stack, State]:
    torch.set_num_threads(command["threads"])
    for tree in command["configs"]:
        kept.load(Path(command["results"]), tree["data"])
    configs = [from_dict(tree) for tree in command["configs"]]
    source = Path(command["results"])
    if command["paths"] is not None:
        source = [Path(path) for path in command["paths"]]
    return group.begun(configs, device, command["parts"], rank, source)


def _never() -> bool:
    return False


def _end_with(parent: int) -> None:
    """End when rank 0 is gone, wherever this process waits."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main(words: list[str]) -> None:
    """One rank on the machine of rank 0, which alone is told to stop."""
    meeting, rank, size, device, parent = words
    keep_nice()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    here = group.Place(int(rank), int(size), int(rank), Path(meeting), False)
    follow(here, torch.device(device))


if __name__ == "__main__":
    main(sys.argv[1:])
