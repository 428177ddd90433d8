"""The machine that a run is on: device, versions, and the allocator's ways."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

import capacity
from capacity.base.errors import ConfigError
from capacity.base.hardware import cpu_name, has_compiler, tells_no_memory
from capacity.config import Config
from capacity.model.kernels import dispatch

WORDS = 160  # characters of a compiler's error that a message quotes


def environment(device: torch.device) -> dict:
    """Versions, hardware and source revision, for the record."""
    versions = {
        name: metadata.version(name)
        for name in ("torch", "numpy", "safetensors", "tokenizers")
        if _installed(name)
    }
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "capacity": capacity.__version__,
        "git": git_revision(),
        "python": platform.python_version(),
        **versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "hardware": hardware,
        "cores": os.cpu_count(),
    }


def _installed(name: str) -> bool:
    """A node that only trains packs may lack a package, such as tokenizers."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def git_revision() -> str | None:
    """Commit of the checkout that this package runs from, with + if its code or settings differ;
    None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:

        def git(*args: str) -> str:
            return subprocess.run(
                ["git", "-C", str(root), *args],
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            ).stdout.strip()

        return git("rev-parse", "HEAD") + (
            "+" if git("status", "--porcelain", "--", "capacity", "conf", "sweeps") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None


def check_compiler(config: Config, device: torch.device) -> None:
    """ConfigError where cluster.compile=always asks for what this machine cannot do."""
    if config.cluster.compile == "always" and device.type == "cpu" and not has_compiler():
        raise ConfigError(
            "cluster.compile=always: no C++ compiler is in PATH (g++, clang++, or name one in "
            "CXX); install one, or "
            "use cluster.compile=never"
        )


def check_kernels(config: Config, device: torch.device) -> None:
    """ConfigError where cluster.kernels=triton asks for what this machine cannot do."""
    if message := dispatch.why_not(config.cluster.kernels, device.type):
        raise ConfigError(message)


def not_compiled(error: BaseException) -> str | None:
    """Why torch.compile could not make its program, in a few words, where that is what the error
    says: the C++ that it writes does not build with every compiler and instruction set. None for
    other errors."""
    chain = [error, *filter(None, (error.__cause__, getattr(error, "inner_exception", None)))]
    if not any(map(_of_a_compiler, chain)):
        return None
    lines = [line.strip() for line in str(chain[-1]).splitlines() if line.strip()]
    first = lines[0] if lines else "no words"
    # of a C++ compiler: file:line:column: error: words
    message = next((line.partition(" error: ")[2] for line in lines if " error: " in line), first)
    return f"{type(chain[-1]).__name__}: {message}"[:WORDS]


def _of_a_compiler(error: BaseException) -> bool:
    ours = ("torch._inductor.", "torch._dynamo.")
    return any(base.__module__.startswith(ours) for base in type(error).__mro__)


def out_of_memory(error: BaseException) -> BaseException | None:
    """The error that says that the device, a library on it or the host had no room, wherever it
    stands among what led to this one: a recording that breaks off ends with an error of its own,
    which hides the first. None where memory was not short."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (torch.OutOfMemoryError, MemoryError)):
            return one
        # the words of a compiler may quote a program that had no room of its own
        if tells_no_memory(str(one)) and not _of_a_compiler(one):
            return one
        led = (one.__cause__, one.__context__, getattr(one, "inner_exception", None))
        waiting += [before for before in led if isinstance(before, BaseException)]
    return None


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks: a step frees and takes the same few MiB buffers, and returning
    them to the kernel costs a page fault per 4 KiB each time (about a fifth of a small model's
    step)."""
    if sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
