"""How parts of the benchmark measure: seconds with the device at rest before and after, and medians
with the smallest and largest."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable

import torch

CPU = torch.device("cpu")


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def per_step(device: torch.device, run: Callable[[int], None], steps: int) -> float:
    """Seconds of a step of `run(steps)`: of CPU, so that a load on the machine counts little; on a
    GPU until it is through."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronize(device)
    began = clock()
    run(steps)
    synchronize(device)
    return (clock() - began) / steps


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
