"""The next block of a feed, prepared in a thread while training reads the one before it.

One thread at most and one block ahead at most: `take` waits for the block that it asks for, and
`start` begins the next one. What a block holds depends on its key alone, never on where or when it
was made, so training is the same with and without the thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from capacity.config import Config


def prefetches(configs: list[Config], device: torch.device) -> bool:
    """Whether the next block is prepared in a thread, by cluster.prefetch of the first run."""
    wanted = configs[0].cluster.prefetch
    return wanted == "always" or wanted == "auto" and device.type == "cuda"


class Stopped(Exception):
    """Raised by a block in the making whose reader has gone."""


class Block:
    """What is prepared at once: `tensors` on the device are what its reader uses."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors that were made on the device."""
        raise NotImplementedError


B = TypeVar("B", bound=Block)


@dataclass
class _Making(Generic[B]):
    """A block in the making, by a thread of its own."""

    key: int
    thread: threading.Thread | None = None
    block: B | None = None
    error: BaseException | None = None
    done: torch.cuda.Event | None = None
    unwanted: threading.Event = field(default_factory=threading.Event)


class Prefetch(Generic[B]):
    """Makes blocks by their keys, each in turn, or while the one before it is used.

    On CUDA the thread works on a stream of its own, so that waiting for the sizes of what it
    renders does not wait for training; the reader's stream waits for the block's last operation.
    """

    def __init__(self, make: Callable[[int], B], device: torch.device) -> None:
        """make: key -> block; it calls `check` between parts of its work. It runs in one thread at
        a time."""
        self.make, self.device = make, device
        self.making: _Making[B] | None = None
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.ready: torch.cuda.Event | None = None  # of what was made on the reader's stream

    def check(self) -> None:
        """Raise `Stopped` in a thread whose block nobody wants any more."""
        if self.making is not None and self.making.unwanted.is_set():
            raise Stopped

    def start(self, key: int) -> None:
        """Begin a block in a thread, unless it is in the making. Blocks that were begun and not
        taken are dropped."""
        if self.making is not None and self.making.key == key:
            return
        self.close()
        if self.ready is None:
            self._made_here()
        making: _Making[B] = _Making(key)
        making.thread = threading.Thread(
            target=self._run, args=(making,), name="next block", daemon=True
        )
        self.making = making
        making.thread.start()

    def _made_here(self) -> None:
        """Note where the reader's stream stands: the thread's stream begins behind it. Not at every
        start, or it would wait for all steps that are queued."""
        if self.stream is not None:
            self.ready = torch.cuda.Event()
            self.ready.record(torch.cuda.current_stream(self.device))

    def _run(self, making: _Making[B]) -> None:
        try:
            if self.stream is None:
                making.block = self.make(making.key)
                return
            with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
                if self.ready is not None:
                    self.stream.wait_event(self.ready)
                making.block = self.make(making.key)
                making.done = torch.cuda.Event()
                making.done.record(self.stream)
        except BaseException as error:  # raised again where the block is taken
            making.error = error

    def take(self, key: int) -> B:
        """The block of this key: that of the thread, waited for, or made here and now. What went
        wrong in the thread is raised here."""
        making = self.making
        if making is None or making.key != key:
            self.close()
            block = self.make(key)
            self._made_here()
            return block
        self.rest()
        self.making = None
        if making.error is not None:
            try:
                raise making.error
            finally:
                del making  # or the error would keep this frame, and the frame the error
        assert making.block is not None
        if making.done is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(making.done)
            for tensor in making.block.tensors():
                tensor.record_stream(current)
        return making.block

    def rest(self) -> None:
        """Wait until the thread has done what it was asked for; its block stays to be taken."""
        if self.making is not None and self.making.thread is not None:
            self.making.thread.join()

    def close(self) -> None:
        """End the thread, soon; its block is dropped."""
        if self.making is not None:
            self.making.unwanted.set()
            self.rest()
            self.making = None
