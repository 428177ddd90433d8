"""Progress for people: one line that rewrites itself on a terminal, plain lines now and then
elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from capacity.base.words import clock

PLAIN_SECONDS = 15.0  # at most one plain line in this time, unless asked otherwise
DRAW_SECONDS = 0.1


class Progress:
    """A bar over `total` units of work; `text` says what the units cannot."""

    def __init__(
        self, total: float, stream: TextIO | None = None, plain_seconds: float = PLAIN_SECONDS
    ) -> None:
        self.total, self.done, self.text = total, 0.0, ""
        self.stream = stream or sys.stderr
        self.plain_seconds = plain_seconds
        self.terminal = self.stream.isatty()
        self.began = time.monotonic()
        self.first: float | None = None  # work that was done before this process began
        self.drawn = 0.0 if self.terminal else self.began

    def update(self, done: float, text: str) -> None:
        """Show that `done` units are complete."""
        if self.first is None:
            self.first = done
        self.done, self.text = done, text
        now = time.monotonic()
        if now - self.drawn >= (DRAW_SECONDS if self.terminal else self.plain_seconds):
            self.drawn = now
            self._draw()

    def say(self, line: str) -> None:
        """Print a line that stays, above the bar."""
        self.clear()
        print(line, file=self.stream, flush=True)

    def clear(self) -> None:
        """Remove the bar from a terminal."""
        if self.terminal:
            print("\r\x1b[K", end="", file=self.stream, flush=True)

    def close(self) -> None:
        """Show the last state and end the line."""
        self._draw()
        if self.terminal:
            print(file=self.stream, flush=True)

    def _draw(self) -> None:
        share = min(1.0, self.done / self.total) if self.total else 1.0
        line = f"{share:4.0%} {self.text}{self._left(share)}"
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            room = max(0, min(24, width - len(line) - 3))
            bar = f"[{'#' * round(share * room):<{room}}] " if room >= 6 else ""
            print(f"\r\x1b[K{(bar + line)[:width]}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)

    def _left(self, share: float) -> str:
        elapsed, worked = time.monotonic() - self.began, self.done - (self.first or 0.0)
        if share >= 1.0 or worked <= 0:
            return f", {clock(elapsed)} elapsed"
        return f", {clock(elapsed * (self.total - self.done) / worked)} left"


class Quiet(Progress):
    """No bar; what `say` tells, such as a failure, is still told."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(1.0, stream)

    def close(self) -> None:
        """Nothing was drawn."""

    def clear(self) -> None:
        """Nothing was drawn."""

    def _draw(self) -> None:
        pass
