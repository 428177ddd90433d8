"""What the runs of one command share: where they go and train, who listens, when to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from capacity import records
from capacity.config import Config

if TYPE_CHECKING:
    from capacity.run.group import Leader

Report = Callable[[dict], None]


class Stop:
    """Turns SIGINT, SIGTERM and SIGUSR1 (which srun passes on, where SIGTERM ends it) into a flag
    that the loop looks at; also set when the parent process is gone."""

    def __init__(self, parent: int | None = None) -> None:
        self.signal: int | None = None
        self.parent = parent
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait for a checkpoint
        self.signal = number

    def __call__(self) -> bool:
        return self.signal is not None or (self.parent is not None and os.getppid() != self.parent)


def _silent(event: dict) -> None:
    """For callers who do not listen."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Job:
    """What the runs of one command share.

    report: is given events, dictionaries with "event": progress or note. stop: asked after every
    step, true to checkpoint and leave. parts: in which a batch is computed, one after the other;
    None: as it fits. sharers: processes that share the GPU, this one included. leader: of the ranks
    that train with this process, see `run.group`.
    """

    results: Path
    device: torch.device
    study: str | None = None
    report: Report = _silent
    stop: Callable[[], bool] = _never
    parts: int | None = None
    sharers: int = 1
    leader: Leader | None = None

    def checkpoint(self, config: Config) -> Path:
        """Where the state of an unfinished run is."""
        return records.run_dir(self.results, config.run_id) / "checkpoint.safetensors"

    def weights(self, config: Config) -> Path:
        """Where the final weights of a run go."""
        return records.run_dir(self.results, config.run_id) / "weights.safetensors"
