"""What this machine has and how much of it a process may use, without torch as far as possible:
planning imports it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError
from capacity.base.words import plural

if TYPE_CHECKING:
    import torch

# of a step, by thread: with less, two fifths of a step are not shared at all (docs/decisions)
SHARED_FLOP = 3e8
# words of errors that say that a device, a library on it or the host had no room: those of CUDA and
# torch ("CUDA error: out of memory"), of cuBLAS and cuDNN, which allocate for themselves, and of
# torch's allocator for CPUs, older and newer ones
NO_MEMORY = (
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "not enough memory",
    "can't allocate memory",
    "OutOfMemoryError",
    "MemoryError",
)
PLANNED_PART = 0.8  # of memory; the rest is for libraries and holes between blocks
# environment variable of a worker: how many of them have its GPU
SHARERS = "CAPACITY_WORKERS_PER_GPU"
PASSIVE = {
    "OMP_WAIT_POLICY": "passive",
    "KMP_BLOCKTIME": "0",
}  # libgomp's and libomp's words for threads that sleep while idle


def cores() -> int:
    """CPU cores that this process may use: those that it is bound to, and in a SLURM job no more
    than SLURM_CPUS_PER_TASK."""
    bound = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(bound, _positive(os.environ.get("SLURM_CPUS_PER_TASK")) or bound)


def most_threads() -> int:
    """CPU threads that this process may use: its cores, and no more than OMP_NUM_THREADS where that
    is a positive number, or a list such as 4,2 that begins with one, as OpenMP has it."""
    return min(
        cores(), _positive(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]) or cores()
    )


def _positive(text: str | None) -> int | None:
    try:
        return max(0, int(text or "")) or None
    except ValueError:
        return None


def useful_threads(flop: float, most: int) -> int:
    """CPU threads for steps of so many FLOP, of `most` that there are: a thread has to have
    SHARED_FLOP to do."""
    return int(max(1, min(most, flop / SHARED_FLOP)))


def pick_threads(flop: float, wanted: int | None = None, most: int | None = None) -> int:
    """CPU threads for steps of so many FLOP: as wanted, else what is useful of `most` (this
    process's cores where None), as far as they are allowed."""
    return allowed_threads(wanted or useful_threads(flop, most or cores()))


def allowed_threads(wanted: int) -> int:
    """As many as wanted, but never more than `most_threads()`."""
    return min(wanted, most_threads())


def upper_bound() -> str:
    """What bounds the threads of this process, in words."""
    omp, n = os.environ.get("OMP_NUM_THREADS"), cores()
    return (
        f"OMP_NUM_THREADS={omp} and " if omp else ""
    ) + f"{plural(n, 'core')} allow {most_threads()}"


def refused_threads(wanted: int | None) -> str:
    """One line for a person who wants more threads than this process may use; else empty."""
    return f"cluster.threads={wanted}: {upper_bound()}" if (wanted or 0) > most_threads() else ""


def tells_no_memory(text: str) -> bool:
    """Whether the words of an error say that memory was short."""
    return any(words in text for words in NO_MEMORY)


def keep_caches(results: Path) -> None:
    """Where the home folder cannot be written, as in some containers and jobs, libraries keep their
    caches (fonts, data sets, downloads) below the results folder, see the XDG Base Directory
    Specification. Before they are imported."""
    home = os.path.expanduser("~")
    if os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK):
        return
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        os.environ.setdefault(name, os.path.abspath(results / "cache"))


def rest_idle_threads() -> None:
    """Let the idle threads of OpenMP sleep instead of spin, unless the environment says otherwise.
    Before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ |= PASSIVE


def keep_nice(file: Path = Path("/proc/self/autogroup")) -> None:
    """Let `nice capacity sweep` hold for a process that leads a session of its own, as workers and
    ranks do. Linux shares cores out between sessions first and by nice values only within one
    (sched(7), "The autogroup feature"), so that a nice worker took as much as one that is not."""
    level = os.nice(0) if hasattr(os, "nice") else 0
    if level > 0:
        with contextlib.suppress(OSError):  # another kernel, or told too often
            file.write_text(str(level))


def cpu_name() -> str:
    """Model name of the CPU with its family, model and widest vectors, since virtual machines call
    many generations by one name; or what the platform says of it."""
    try:
        named = _cpu_named(Path("/proc/cpuinfo").read_text())
    except OSError:
        named = ""
    return named or platform.processor() or platform.machine()


# flags of /proc/cpuinfo, widest first: what decides the speed of matrix products
VECTORS = {
    "amx_tile": "AMX",
    "avx512_bf16": "AVX-512 bf16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "asimd": "NEON",
}


def _cpu_named(cpuinfo: str) -> str:
    """Of the first processor of a /proc/cpuinfo; empty where it has no model name."""
    first, _, _ = cpuinfo.strip().partition("\n\n")
    lines = (line.partition(":") for line in first.splitlines())
    told = {key.strip(): value.strip() for key, _, value in lines}
    if not (name := told.get("model name")):
        return ""
    flags = (told.get("flags") or told.get("Features") or "").split()
    kind = [
        f"{key.removeprefix('cpu ')} {told[key]}" for key in ("cpu family", "model") if key in told
    ]
    kind += [word for flag, word in VECTORS.items() if flag in flags][:1]
    return f"{name} ({', '.join(kind)})" if kind else name


FLAGS = ("flags", "featu")  # how lines of flags begin, on x86 and ARM
# flags of /proc/cpuinfo of products in a number format, of x86 and ARM
PRODUCTS = {
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "fp16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}


def emulates(precision: str) -> bool:
    """Whether this CPU says what it can do, and products in this format are not among it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    told = [line.partition(":")[2].split() for line in lines if line[:5].lower() in FLAGS]
    return bool(told) and precision in PRODUCTS and not PRODUCTS[precision].intersection(*told)


def pick_device(name: str) -> torch.device:
    """auto, cpu or cuda -> a device; ConfigError where CUDA is asked for and absent."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "cluster.device=cuda: no CUDA device is visible to torch here; allowed: auto, cpu"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def has_compiler() -> bool:
    """Whether torch.compile finds what it needs for a CPU."""
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++")))


def gpus_of(name: str) -> tuple[str, int]:
    """Device of the workers by cluster.device, and the number of GPUs to spread them over. Imports
    torch only where CUDA is possible; ConfigError where it is asked for and absent."""
    if name == "cpu" or (name == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu", 0
    import torch

    device = pick_device(name).type
    return device, torch.cuda.device_count() if device == "cuda" else 0


def room(device: str, workers: int) -> float:
    """Bytes that a stack may take: 80% of the smallest GPU, shared by the workers that it has, or
    of this machine's memory, shared by all of them."""
    if device == "cuda":
        import torch

        gpus = torch.cuda.device_count()
        smallest = min(torch.cuda.get_device_properties(i).total_memory for i in range(gpus))
        return PLANNED_PART * smallest / per_gpu(workers, gpus)
    if not hasattr(os, "sysconf"):  # Windows
        raise ConfigError("cluster.memory_gb: this system does not tell its memory; give it")
    return PLANNED_PART * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / workers


def per_gpu(workers: int, gpus: int) -> int:
    """The most processes that share a GPU."""
    return -(-workers // max(1, gpus))
