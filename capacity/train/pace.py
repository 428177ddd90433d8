"""How far the host may run ahead of the device, and when a checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

# seconds of work that may be queued on a device: a signal, which comes minutes before the end, and
# a checkpoint by time have to wait for them, and a kernel's launch is thousands of times shorter
RUN_AHEAD_S = 2.0
# a checkpoint is due no sooner than so many times what the last one took to write: writing then
# takes at most 1/21 of the time, less than 5%
WRITES_APART = 20


class Mark(Protocol):
    """A place in a device's queue of work."""

    def synchronize(self) -> None:
        """Wait until the device has come here."""
        ...


def cuda_mark() -> Mark:
    """The end of what is queued on the current stream; who waits for it sleeps."""
    mark = torch.cuda.Event(blocking=True)
    mark.record()
    return mark


class RunAhead:
    """Bounds what is queued on a device, where launching is faster than working.

    The queue is cut into segments of about half of RUN_AHEAD_S. Behind each a mark is set, and then
    the mark before it is waited for: so one segment is queued while another one is worked on, and
    the device is never idle. How many steps a segment has is learned from the time between two such
    waits; it begins with one and at most doubles.
    """

    def __init__(self, mark: Callable[[], Mark] | None) -> None:
        """mark: sets a mark at the end of the queue; None: nothing is queued, as on a CPU."""
        self.mark, self.most = mark, 1
        self.begin()

    def begin(self) -> None:
        """Between two stretches of training other things take their time, and wait for the
        device."""
        self.launched, self.last = 0, self.most  # steps of this segment, and of the one before
        self.pending: Mark | None = None
        self.passed: float | None = None  # when the last mark was reached

    def step(self) -> None:
        """To be called behind the launch of every step; waits where too much is queued."""
        if self.mark is None:
            return
        self.launched += 1
        if self.launched < self.most:
            return
        mark = self.mark()
        if self.pending is not None:
            self.pending.synchronize()
            now = time.monotonic()
            if self.passed is not None:
                # it was the time of the segment before, or, where launching is what takes long, of
                # this one: by the shorter of them a step is not taken for faster than it is
                each = (now - self.passed) / min(self.launched, self.last)
                wanted = RUN_AHEAD_S / 2 / each if each > 0 else 2 * self.most
                self.most = max(1, int(min(2 * self.most, wanted)))
            self.passed = now
        self.pending, self.last, self.launched = mark, self.launched, 0


class Saves:
    """When the next checkpoint is due: `seconds` after the last one, and WRITES_APART times what
    that took to write."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.next = time.monotonic() + seconds

    def due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() >= self.next

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around the writing of a checkpoint, when the device has nothing left to do."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        self.next = ended + max(self.seconds, WRITES_APART * (ended - began))
