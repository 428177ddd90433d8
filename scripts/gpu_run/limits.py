"""Batches at the limits of the backends of attention, each in a process of its own."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

from gpu_run.attention import attention_forms, forward_backward
from gpu_run.bench import Bench
from gpu_run.processes import ROOT, child_environment


def limits(bench: Bench) -> None:
    """Batches at the limits of the backends, each in a process of its own, since an illegal access
    ends it."""
    sizes, names = "65535 65536 131072", ("here", "flash", "cudnn", "efficient", "math")
    if bench.small:
        sizes, names = "7 8", ("here", "math")
    calls = {
        f"batch, {name}": f"wide({name!r}, {sizes!r}, {bench.device.type!r})" for name in names
    }
    bench.case("batches", lambda: probe(bench, calls))
    names = ("here", "flash")  # one after the other: each takes up to 30 GB
    for name in names if bench.cuda else names[:1]:
        call = f"overflow({name!r}, {9 if bench.cuda else 1}, {bench.device.type!r})"
        bench.case(f"overflow, {name}", lambda: probe(bench, {f"backward, {name}": call}), 8.0)


def probe(bench: Bench, calls: dict[str, str]) -> None:
    """Functions of this module side by side, each in a process of its own; what they say and how
    they end."""
    processes = {
        label: subprocess.Popen(
            [sys.executable, "-c", f"from gpu_run import limits; limits.{call}"],
            cwd=ROOT / "scripts",
            text=True,
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for label, call in calls.items()
    }
    for label, process in processes.items():
        try:
            text, code = (
                process.communicate(timeout=max(2.0, min(25.0, bench.left - 2)))[0],
                process.returncode,
            )
        except subprocess.TimeoutExpired:
            process.kill()
            text, code = process.communicate()[0], "no end"
        bench.book.put(**{label: text[-6000:]})
        for line in text.splitlines():
            if line.startswith("> "):
                name, _, told = line.removeprefix("> ").partition(": ")
                bench.book.row(
                    f"{label.partition(', ')[2]} {name}",
                    told.partition(",")[0],
                    note=told.partition(", ")[2][:90],
                )
        if code != 0:
            bench.book.row(label, f"code {code}", note=(text.strip().splitlines() or [""])[-1][:90])


def wide(name: str, sizes: str, device: str) -> None:
    """Attention over so many sequences by one backend: refused, right, or wrong in its last
    sequences."""
    import torch

    form = attention_forms(torch.bfloat16)[name]
    for n in map(int, sizes.split()):
        torch.manual_seed(0)
        qkv = torch.randn(n, 64, 3 * 2 * 8, device=device).to(torch.bfloat16)
        dy = torch.randn(n, 2, 64, 8, device=device).to(torch.bfloat16)
        report_errors(f"M B {n}", lambda: forward_backward(form, qkv, dy, 2), qkv, dy, 2)


def overflow(name: str, heads: int, device: str) -> None:
    """The backward pass where flash's sums of dq just pass 2^31 entries (heads 9), below that
    (heads 7) first."""
    import torch

    form = attention_forms(torch.bfloat16)[name]
    n, T, K = (65535, 128, 32) if device == "cuda" else (5, 128, 32)
    for h in sorted({max(1, heads - 2), heads}):
        torch.manual_seed(0)
        qkv = torch.randn(n, T, 3 * h * K, device=device, dtype=torch.bfloat16)
        dy = torch.randn(n, h, T, K, device=device, dtype=torch.bfloat16)
        report_errors(
            f"M B H T K {n * h * T * K / 2**31:.2f} x 2^31",
            lambda: forward_backward(form, qkv, dy, h),
            qkv,
            dy,
            h,
        )


def report_errors(label: str, work: Callable, qkv, dy, heads: int) -> None:
    """A line that `probe` finds: the largest relative error against fp64 over the first, middle
    and last sequences."""
    import torch

    try:
        y, gradient = work()
        if y.is_cuda:
            torch.cuda.synchronize()
    except RuntimeError as error:
        print(f"> {label}: refused, {str(error).splitlines()[0][:110]}", flush=True)
        return
    n, worst = len(qkv), 0.0
    math_form = attention_forms(torch.bfloat16)["math"]
    for begin in {0, n // 2, max(0, n - 4)}:
        part = slice(begin, begin + 4)
        exact = forward_backward(math_form, qkv[part].double(), dy[part].double(), heads)
        for a, b in zip((y[part], gradient[part]), exact, strict=True):
            worst = max(
                worst,
                float((a.double() - b).norm() / b.norm())
                if bool(torch.isfinite(a).all())
                else math.inf,
            )
    print(f"> {label}: {'right' if worst < 3e-2 else 'WRONG'}, error {worst:.1e}", flush=True)
