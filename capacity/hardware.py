"""What this machine has, without torch as far as possible: planning imports it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Model name of the CPU, or what the platform says of it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def gpus_of(name: str) -> tuple[str, int]:
    """Device of the workers by cluster.device, and the number of GPUs to spread them over. Imports torch only where CUDA is
    possible; ConfigError where it is asked for and absent."""
    if name == "cpu" or (name == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu", 0
    import torch

    from capacity.environment import pick_device

    device = pick_device(name).type
    return device, torch.cuda.device_count() if device == "cuda" else 0


def room(device: str, workers: int) -> float:
    """Bytes that a stack may take: 80% of the smallest GPU, or of this machine's memory shared by the workers."""
    if device == "cuda":
        import torch

        return 0.8 * min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))
    return 0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / workers
