"""Trainings twice and interrupted, bit for bit; and captures that failed, taken apart."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_run.bench import Bench
from gpu_run.processes import ROOT, child_environment, read_json
from gpu_run.runs import GPT2_SMALLEST, batch_of, new_stack, run_config, sized


def bisect(bench: Bench) -> None:
    """Where part 1 saw a capture fail: the parts of that step captured one by one, each in a
    process that waits for every launch."""
    failed = [
        label
        for label in read_json(bench.smoke or Path()).get("smoke", {}).get("failures", {})
        if label.startswith("capture, ")
    ]
    bench.book.row(
        "captures that failed in part 1", len(failed) if bench.smoke else "not asked", "", 0
    )
    for label in failed[:2]:
        name, precision = label.removeprefix("capture, ").rsplit(", ", 1)
        for part in ("forward", "gradient", "step"):
            call = f"capture_part({name!r}, {precision!r}, {part!r})"
            code = f"from gpu_run import equal_bits; equal_bits.{call}"
            done = subprocess.run(
                [sys.executable, "-c", code],
                check=False,
                cwd=ROOT / "scripts",
                env=child_environment(CUDA_LAUNCH_BLOCKING="1"),
                capture_output=True,
                text=True,
                timeout=max(5.0, bench.left),
            )
            bench.book.row(
                f"  {name}, {precision}: {part}",
                "captured" if done.returncode == 0 else "failed",
                note=(done.stderr.strip().splitlines() or [""])[-1][:90],
            )
            bench.book.put(**{f"{label}: {part}": done.stderr[-4000:]})


def capture_part(name: str, precision: str, part: str) -> None:
    """Capture a part of the step of a model of tests/helpers/gpu_models.py."""
    import torch

    from capacity.train import loop
    from gpu_models import config

    stack, state = new_stack(
        [config(seed, name, precision=precision) for seed in (0, 1)],
        torch.device("cuda"),
        same=False,
    )
    tokens, now = batch_of(stack)
    work = {
        "forward": lambda: stack.loss(state.flat_MP, tokens, stack.dtype),
        "gradient": lambda: loop.gradient(stack, state.flat_MP, tokens),
        "step": lambda: loop.step(stack, state, tokens, now),
    }[part]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        work()
        work()
    torch.cuda.synchronize()
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        work()


def bits(bench: Bench) -> None:
    """Trainings twice, and once interrupted at the middle with a checkpoint, bit for bit; beside
    them what torch itself would choose for attention, whose sums have no fixed order."""
    import torch.nn.functional as F

    from capacity.model import attention

    ours = attention.library_attention

    def torchs_choice(q, k, v, mask=None):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    short, long = (sized("0.1M"), 256, 64, 32, 4), (GPT2_SMALLEST, 3275, 512, 12, 2)
    if bench.small:
        short, long = (
            ({"n_layers": 1, "d_model": 16, "n_heads": 2}, 32, 16, 4, 2),
            (GPT2_SMALLEST | {"d_model": 16}, 32, 144, 2, 2),
        )
    cases = [
        ("T 64 fp32", short, "fp32", "never", ours, True),
        ("T 64 bf16", short, "bf16", "never", ours, True),
        ("T 512 fp32", long, "fp32", "never", ours, True),
        ("T 512 bf16", long, "bf16", "never", ours, True),
        ("T 512 bf16, torch's choice", long, "bf16", "never", torchs_choice, False),
        ("T 512 bf16 compiled", long, "bf16", "always", ours, True),
    ]
    found = {}
    for label, shape, precision, compile, attend, predicted in cases:

        def one() -> None:
            attention.library_attention = attend
            found[label] = same_bits(bench, label, shape, precision, compile, predicted)
            bench.book.put(cases=found)

        if compile == "always" and bench.small:  # half a minute; the step `compile` goes through it
            continue
        bench.case(label, one, needs_s=25.0 if compile == "always" else 3.0)
    attention.library_attention = ours


def same_bits(
    bench: Bench, label: str, shape: tuple, precision: str, compile: str, predicted: bool
) -> dict:
    import torch

    model, vocab, length, batch, members = shape
    steps = 6 if bench.small else 60
    configs = [
        run_config(
            model,
            vocab,
            length,
            batch,
            seed,
            precision,
            compile,
            sequences=200 + seed,
            steps=1000,
            warmup_steps=5,
        )
        for seed in range(members)
    ]
    seconds = []
    states = []
    for cut in (None, None, steps // 2):
        began = time.monotonic()
        states.append(trained(configs, bench, steps, cut))
        seconds.append(round(time.monotonic() - began, 2))
    told = {"seconds": seconds}
    for name, other in (("again", states[1]), ("resumed", states[2])):
        pairs = [
            (getattr(states[0], tensor), getattr(other, tensor))
            for tensor in ("flat_MP", "m_MP", "v_MP", "loss_sum_M")
        ]
        told[name] = all(torch.equal(a, b) for a, b in pairs)
        told[f"{name}_difference"] = max(float((a - b).abs().max()) for a, b in pairs)
        told[f"{name}_differing"] = sum(int((a != b).sum()) for a, b in pairs)
    told["finite"] = bool(torch.isfinite(states[0].flat_MP).all())
    bench.book.row(
        label,
        "equal" if told["again"] and told["resumed"] else "DIFFER",
        note=(
            f"predicted {'equal' if predicted else 'differ'}; again {told['again']}, "
            f"resumed {told['resumed']}, "
            f"by {max(told['again_difference'], told['resumed_difference']):.1e}"
        ),
    )
    return told


def trained(configs: list, bench: Bench, steps: int, cut: int | None):
    """The state after so many steps; cut: written to checkpoints at this step, and continued from
    them by a new stack."""
    from capacity.train import checkpoint
    from capacity.train.loop import Stack, advance

    stack = Stack(configs, bench.device)
    state = stack.start()
    if cut is not None:
        advance(stack, state, cut, lambda: False)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{m}.safetensors" for m in range(len(configs))]
            for m, path in enumerate(paths):
                checkpoint.save_state(path, state, m, configs[m].run_id, 0.0)
            stack, state = Stack(configs, bench.device), checkpoint.load_states(paths, bench.device)
    advance(stack, state, steps, lambda: False)
    bench.wait()
    return state
