"""What a step works with: the device, its clock, and a book of what it has found so far."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_run.processes import read_json

if TYPE_CHECKING:
    import torch


class Book:
    """What a step has found so far, under its name in its file, written anew with every entry."""

    def __init__(self, path: Path, step: str):
        self.path, self.step, self.found = path, step, {"rows": []}
        self.save()

    def put(self, **entries: object) -> None:
        self.found |= entries
        self.save()

    def row(
        self,
        label: str,
        value: object,
        unit: str = "",
        predicted: float | None = None,
        note: str = "",
    ) -> None:
        """A line of the table."""
        print(f"{label}: {value} {unit} (predicted {predicted}) {note}", flush=True)
        self.found["rows"].append(
            {"label": label, "value": value, "unit": unit, "predicted": predicted, "note": note}
        )
        self.save()

    def failed(self, label: str) -> None:
        """Called where an exception is handled."""
        text = traceback.format_exc()
        print(f"{label} failed\n{text}", flush=True)
        self.found.setdefault("failures", {})[label] = text[-4000:]
        self.row(label, "failed", note=text.strip().splitlines()[-1][:90])

    def save(self) -> None:
        tree = read_json(self.path) | {self.step: self.found}
        part = self.path.with_suffix(".tmp")
        part.write_text(json.dumps(tree, indent=1, default=str))
        os.replace(part, self.path)


@dataclass
class Bench:
    """Where a step runs and how."""

    device: torch.device
    small: bool
    book: Book
    out: Path
    seconds: float  # the limit of the step
    began: float
    smoke: Path | None = None

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.began)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def case(self, label: str, work: Callable[[], None], needs_s: float = 3.0) -> None:
        """One case: its exception is written down; left out where less time remains than it
        needs."""
        if self.left < needs_s:
            self.book.row(label, "left out", note=f"{self.left:.0f} s left of the step")
            return
        try:
            work()
        except Exception:
            self.book.failed(label)
        self.free()

    def free(self) -> None:
        if self.cuda:
            import gc

            import torch

            gc.collect()
            with contextlib.suppress(RuntimeError):
                torch.cuda.empty_cache()

    def wait(self) -> None:
        if self.cuda:
            import torch

            torch.cuda.synchronize()

    def clock(self, work: Callable[[], object]) -> float:
        """Seconds of one call, on the host's clock."""
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def ms(
        self, work: Callable[[], object], repeats: int = 5, inner_s: float = 0.1
    ) -> dict[str, float]:
        """Milliseconds of a call after a warm-up: median, lowest and highest of `repeats`, each
        over about `inner_s` seconds."""
        work()
        inner = 1 if self.small else max(1, min(200, int(inner_s / max(1e-6, self.clock(work)))))
        found = []
        for _ in range(repeats):
            if self.cuda:
                import torch

                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                first.record()
                for _ in range(inner):
                    work()
                last.record()
                last.synchronize()
                found.append(first.elapsed_time(last) / inner)
            else:
                found.append(self.clock(lambda: [work() for _ in range(inner)]) * 1e3 / inner)
        return {
            "median": statistics.median(found),
            "low": min(found),
            "high": max(found),
            "calls": inner * repeats,
        }

    def graph(self, work: Callable[[], object]) -> Callable[[], object]:
        """The same work as a CUDA graph; on a CPU as it stands."""
        if not self.cuda:
            return work
        import torch

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()
            work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay
