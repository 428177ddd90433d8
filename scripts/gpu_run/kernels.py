"""Kernels of a step: their times in groups, and the hardware's own counters."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

from gpu_run.bench import Bench
from gpu_run.processes import ROOT, child_environment
from gpu_run.runs import batch_of, new_stack, run_config, sized
from gpu_run.step_times import step_cases

PRODUCT = re.compile(
    r"gemm|gemv|cutlass(?!.*fmha)|xmma|nvjet|splitk|cublas|::mm$|::bmm$|addmm|baddbmm", re.I
)
ATTENTION = re.compile(r"flash|fmha|attention|sdpa|cudnn_generated", re.I)
GROUPS = (
    "norms and elementwise",
    "attention",
    "matrix products",
    "optimizer and casts",
    "head but products",
    "small kernels",
)
SHARES = {  # predicted parts of a step's time
    "64 x 0.1M": (0.35, 0.29, 0.18, 0.06, None, None),
    "64 x 1M": (0.34, 0.28, 0.18, 0.17, None, None),
    "8 x (1,32) V 2048 B 2048": (None, None, None, None, 0.64, None),
    "64 x GPT2-2-2 T 512": (0.41, None, None, None, 0.37, None),
}


def kernels(bench: Bench) -> None:
    """Kernels of three plain steps by torch.profiler: name, launches, microseconds; in groups by
    the scope that launched them."""
    cases = {}
    for label, *shape, _ in step_cases(bench.small):
        if label not in SHARES and not bench.small:
            continue

        def one() -> None:
            cases[label] = found = profiled(bench, *shape)
            bench.book.put(cases=cases)
            bench.book.row(
                label,
                found["step_ms"],
                "ms",
                None,
                f"{found['launches']:.0f} kernels, {found['below_2us']:.0f} below 2 us",
            )
            for group, predicted in zip(
                GROUPS, SHARES.get(label, [None] * len(GROUPS)), strict=True
            ):
                bench.book.row(f"  {group}", found["shares"].get(group, 0.0), "", predicted)

        bench.case(label, one)


@contextlib.contextmanager
def scopes(stack):
    """Names for the profiler around parts of a step, whatever their code is."""
    import torch

    from capacity.model import gpt

    def named(name: str, function: Callable) -> Callable:
        def inside(*args, **more):
            with torch.profiler.record_function(name):
                return function(*args, **more)

        return inside

    kept = gpt.mean_nll, gpt.causal_attention, stack.update, stack.gpt._weights
    gpt.mean_nll, gpt.causal_attention = (
        named("part: head", kept[0]),
        named("part: attention", kept[1]),
    )
    stack.update, stack.gpt._weights = (
        named("part: optimizer", kept[2]),
        named("part: casts", kept[3]),
    )
    try:
        yield
    finally:
        gpt.mean_nll, gpt.causal_attention = kept[:2]
        stack.update = kept[2]
        del stack.gpt._weights


def profiled(
    bench: Bench, model: dict, vocab: int, length: int, batch: int, members: int, precision: str
) -> dict:
    import torch

    from capacity.train import loop

    configs = [
        run_config(model, vocab, length, batch, seed, precision, sequences=64)
        for seed in range(members)
    ]
    stack, state = new_stack(configs, bench.device)
    tokens, now = batch_of(stack)
    with scopes(stack):
        one_step = loop.plain(stack, state)
        for _ in range(3):
            one_step(tokens, now)
        bench.wait()
        activities = [torch.profiler.ProfilerActivity.CPU] + [
            torch.profiler.ProfilerActivity.CUDA
        ] * bench.cuda
        with torch.profiler.profile(activities=activities, record_shapes=True) as profile:
            for _ in range(3):
                one_step(tokens, now)
            bench.wait()
    flat = list(state.flat_MP.shape)
    table: dict[str, list] = {}
    groups = dict.fromkeys(GROUPS, 0.0)
    products_in_head = small_launches = 0.0
    for event in profile.events():
        chain, shapes, above = [event.name], list(event.input_shapes or []), event.cpu_parent
        while above is not None:
            chain.append(above.name)
            above = above.cpu_parent
        launched = (
            [(k.name, k.duration) for k in event.kernels]
            if bench.cuda
            else [(event.name, event.self_cpu_time_total)]
        )
        for name, us in launched:
            if name.startswith("part: "):
                continue
            group = group_of(name, us if bench.cuda else 9e9, chain, flat in shapes)
            small_launches += us < 2.0
            groups[group] += us
            products_in_head += us * (group == "matrix products" and "part: head" in chain)
            row = table.setdefault(f"{group} | {name[:150]}", [0, 0.0])
            row[0] += 1
            row[1] += us
    on_device = sum(
        event.time_range.elapsed_us()
        for event in profile.events()
        if event.device_type != torch.autograd.DeviceType.CPU
        and not event.name.startswith("part: ")
    )
    if (
        bench.cuda and sum(groups.values()) < 0.5 * on_device
    ):  # no kernel knows what launched it: by their names alone
        groups, table = dict.fromkeys(GROUPS, 0.0), {}
        for event in profile.events():
            if event.device_type != torch.autograd.DeviceType.CPU and not event.name.startswith(
                "part: "
            ):
                us = event.time_range.elapsed_us()
                group = group_of(event.name, us, [], False)
                groups[group] += us
                row = table.setdefault(f"{group} | {event.name[:150]}", [0, 0.0])
                row[0] += 1
                row[1] += us
    total = max(1e-9, sum(groups.values()))
    rows = sorted(
        ([name, count / 3, us / 3] for name, (count, us) in table.items()), key=lambda row: -row[2]
    )
    return {
        "step_ms": total / 3e3,
        "on_device_ms": on_device / 3e3,
        "launches": sum(row[1] for row in rows),
        "below_2us": small_launches / 3,
        "groups_us": {name: us / 3 for name, us in groups.items()},
        "shares": {name: us / total for name, us in groups.items()},
        "products_in_head": products_in_head / total,
        "kernels": rows[:80],
    }


def group_of(name: str, us: float, chain: list[str], flat: bool) -> str:
    """The group of a kernel: by its length, then its name, then what launched it. flat: on the
    matrix of all weights."""
    if us < 2.0:
        return "small kernels"
    if (
        ATTENTION.search(name)
        or any("ScaledDotProduct" in c for c in chain)
        and not PRODUCT.search(name)
    ):
        return "attention"
    if PRODUCT.search(name):
        return "matrix products"
    if "part: head" in chain or any("_MeanNLL" in c for c in chain):
        return "head but products"
    if (
        flat
        or "part: optimizer" in chain
        or "part: casts" in chain
        or any("SplitWithSizesBackward" in c for c in chain)
    ):
        return "optimizer and casts"
    return "attention" if "part: attention" in chain else "norms and elementwise"


def counters(bench: Bench) -> None:
    """Bytes and use of the device by the hardware's own counters, for the kernels of one plain
    step of 64 x 0.3M."""
    ncu = shutil.which("ncu")
    if ncu is None or not bench.cuda:
        bench.book.row("ncu", "left out", note="not in PATH" if bench.cuda else "needs a GPU")
        return
    metrics = {
        "ns": "gpu__time_duration.sum",
        "bytes": "dram__bytes.sum",
        "sm": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
        "dram": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    }
    done = subprocess.run(
        [
            ncu,
            "--clock-control",
            "none",
            "--profile-from-start",
            "off",
            "--csv",
            "--page",
            "raw",
            "--print-units",
            "base",
            "--metrics",
            ",".join(metrics.values()),
            sys.executable,
            "-c",
            "from gpu_run import kernels; kernels.one_plain_step()",
        ],
        check=False,
        cwd=ROOT / "scripts",
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=max(5.0, bench.left - 3),
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
    if len(lines) < 3:
        raise RuntimeError(
            f"ncu: code {done.returncode}: {done.stdout[-1500:]} {done.stderr[-1500:]}"
        )
    import csv

    header, _, *rows = csv.reader(lines)
    place = {
        name: next(i for i, h in enumerate(header) if h.startswith(metric))
        for name, metric in metrics.items()
    }
    read = [
        {"kernel": row[header.index("Kernel Name")][:120]}
        | {name: float(row[i].replace(",", "")) for name, i in place.items()}
        for row in rows
    ]
    bench.book.put(kernels=read)
    ns = sum(r["ns"] for r in read)
    bench.book.row(
        "64 x 0.3M, plain step: kernels' sum", ns / 1e6, "ms", 7.2, f"{len(read)} kernels"
    )
    bench.book.row("  bytes through device memory", sum(r["bytes"] for r in read) / 1e9, "GB", 17)
    for name in ("sm", "dram"):
        share = sum(r[name] * r["ns"] for r in read) / max(1.0, ns)
        bench.book.row(f"  {name} throughput, mean over time", share, "%", None)


def one_plain_step() -> None:
    """What `counters` looks at."""
    import torch

    from capacity.train import loop

    device = torch.device("cuda")
    stack, state = new_stack(
        [run_config(sized("0.3M"), 256, 64, 32, seed, sequences=64) for seed in range(64)], device
    )
    one_step, (tokens, now) = loop.plain(stack, state), batch_of(stack)
    for _ in range(2):
        one_step(tokens, now)
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    one_step(tokens, now)
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()
