"""Waiting in tests: for a condition, never for a time. Nothing else in tests sleeps.

A deadline ends a test that hangs and does not measure speed; so it is generous (a machine under a
load of ten meets it), and a slower machine sets CAPACITY_TEST_PATIENCE, a factor on all deadlines.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

# Seconds. The longest, a requeued SLURM job, takes 15 on a quiet machine; a sweep of 16 small runs
# took more than 300 on two cores under a load of 20.
DEADLINE = 1200.0
POLL = 0.02


def patience(seconds: float = DEADLINE) -> float:
    """Seconds that a test gives: CAPACITY_TEST_PATIENCE (default 1) times as many. ValueError where
    that is no positive number."""
    factor = os.environ.get("CAPACITY_TEST_PATIENCE", "1")
    try:
        if float(factor) > 0:
            return seconds * float(factor)
    except ValueError:
        pass
    raise ValueError(f"CAPACITY_TEST_PATIENCE={factor}: allowed: a positive number")


def wait_until(
    condition: Callable,
    what: str | Callable[[], str],
    deadline: float = DEADLINE,
    every: float = POLL,
):
    """The first true value of condition(), asked every so many seconds. TimeoutError that says what
    did not come (`what`, or what it returns by then) after `deadline` seconds of patience."""
    given = patience(deadline)
    began = time.monotonic()
    while not (found := condition()):
        if time.monotonic() - began > given:
            told = what() if callable(what) else what
            raise TimeoutError(f"waited {given:.0f} s for {told}")
        time.sleep(every)
    return found


def pending(pid: int, number: int) -> bool:
    """Whether a signal waits for a process, which a stopped one does not take (Linux)."""
    with open(f"/proc/{pid}/status") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
