"""Speed of training: the machine's roofline, stacks of models, their cost as `capacity.cost` states
it, and a loop of the usual kind beside them."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.models import SIZES, config, trainer
from benchmarks.timing import installed, spread, timed
from capacity.base.hardware import has_compiler
from capacity.config import Config
from capacity.cost import values_per_token

PLAIN = {  # name -> layers, width, heads, V, S, batch, members
    "1 x 2 layers, d 32, V 256, S 32, batch 128": (2, 32, 4, 256, 32, 128, 1),
    "1 x 2 layers, d 64, V 2048, S 64, batch 64": (2, 64, 4, 2048, 64, 64, 1),
    "16 x 8K parameters, V 64, S 16, batch 64": (2, 16, 4, 64, 16, 64, 16),
}
# one, because each is compiled, which takes up to a minute; for the same reason stacks on a GPU
# have no plain loop beside them
PLAIN_CUDA = {"64 x 0.3M, V 256, S 64, batch 32": (*SIZES["0.3M"], 256, 64, 32, 64)}
STACKS = (1, 4, 16, 64)
SLOW_S = 2.0  # seconds of a product, the first, beyond which it is timed once
CPU_STEP = 4e10  # FLOP; a CPU leaves out stacks whose step would take longer


def machine(device: torch.device, repeats: int, out: dict) -> dict:
    """Copy bandwidth in bytes/s (read and written) and the rate of large matrix products in
    FLOP/s."""
    n, size = (2**28, 8192) if device.type == "cuda" else (2**26, 2048)
    source = torch.ones(n, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    found = {
        "copy_bytes_per_s": spread(
            [8.0 * n / timed(device, lambda: target.copy_(source)) for _ in range(repeats)]
        )
    }
    print(f"  copy        {found['copy_bytes_per_s']['median'] / 1e9:10.1f} GB/s")
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        first = timed(device, lambda: a @ b)
        often = repeats if first < SLOW_S else 1  # CPUs without bf16 take tens of seconds
        rates = [2.0 * size**3 / timed(device, lambda: a @ b) for _ in range(often)]
        found[f"{name}_flop_per_s"] = spread(rates)
        print(f"  matrix {name} {statistics.median(rates) / 1e9:10.1f} GFLOP/s")
    return found


def least_seconds(runs: list[Config], machine: dict, precision: str) -> float:
    """What a step of a stack takes at least on this machine: its products at the rate of large
    products, then the bytes that cannot be avoided at the bandwidth of a copy. These are 32 for a
    weight (weights and moments are read and written, the gradient is written and read) and, for the
    backward pass, what products take in: each number is written once and read once. Logits,
    scores, norms and sums are taken as free, and attention's products as those of all pairs."""
    run = runs[0]
    model, tokens = run.model, run.train.batch_size * run.data.seq_len
    wide = model.d_model + 2 * model.kv_heads * (model.d_model // model.n_heads)
    kept = model.n_layers * (3 * model.d_model + wide + model.mlp_width) + model.d_model
    number = 4 if precision == "fp32" else 2
    moved = 32.0 * run.parameters["total"] + 2.0 * number * tokens * kept
    flops, rate = run.flops / run.steps, machine[f"{precision}_flop_per_s"]["median"]
    return len(runs) * (flops / rate + moved / machine["copy_bytes_per_s"]["median"])


def stacks(device: torch.device, repeats: int, out: dict) -> dict:
    """Model-steps and tokens per second, achieved FLOP/s, the least time of `least_seconds` as a
    part of the measured one, and the model-steps over those of the plain loop with the same model,
    measured in turns with them."""
    precision = "bf16" if device.type == "cuda" else "fp32"
    known = out.get("machine")
    batch = 32 if device.type == "cuda" else 16
    print(f"  V 256, S 64, batch {batch}, {precision}")
    print(
        "  size           P members  model-steps/s (low to high)   Mtok/s GFLOP/s of limit x plain"
    )
    found = []
    for name, shape in SIZES.items():
        theirs = (
            plain_loop(*shape, 256, 64, batch, device, precision)
            if installed("transformers") and device.type == "cpu"
            else None
        )
        if theirs:
            theirs(5)
            n = max(3, min(200, int(0.3 / (timed(device, lambda: theirs(3)) / 3))))
        for members in STACKS:
            configs = [config(shape, 256, 64, batch, seed, precision) for seed in range(members)]
            flops = members * configs[0].flops / configs[0].steps
            if device.type == "cpu" and flops > CPU_STEP:
                continue
            run = trainer(configs, device)
            run(5)
            steps = max(3, min(200, int(0.3 / (timed(device, lambda: run(3)) / 3))))
            pairs = [
                (
                    members * steps / timed(device, lambda: run(steps)),
                    n / timed(device, lambda: theirs(n)) if theirs else None,
                )
                for _ in range(repeats)
            ]
            rates = spread([ours for ours, _ in pairs])
            ratio = spread([ours / plain for ours, plain in pairs]) if theirs else None
            achieved = rates["median"] / members * flops
            least = least_seconds(configs, known, precision) if known else None
            part = least * rates["median"] / members if least else None
            found.append(
                {
                    "size": name,
                    "parameters": configs[0].parameters["total"],
                    "members": members,
                    "batch": batch,
                    "flops_per_step": flops,
                    "values_per_step": members * batch * 64 * values_per_token(configs[0]),
                    "model_steps_per_s": rates,
                    "tokens_per_s": rates["median"] * batch * 64,
                    "flop_per_s": achieved,
                    "part_of_limit": part,
                    "over_plain": ratio,
                }
            )
            told = f"{part:8.1%}" if part else "       -"
            times = f"{ratio['median']:8.2f}" if ratio else "       -"
            low_high = f"({rates['low']:,.0f} to {rates['high']:,.0f})"
            print(
                f"  {name:6s}{configs[0].parameters['total']:>10,}{members:>8}"
                f"{rates['median']:>10,.0f} {low_high:18s}"
                f"{rates['median'] * batch * 64 / 1e6:>7.3f}{achieved / 1e9:>8.0f} {told}{times}",
                flush=True,
            )
    return {"precision": precision, "rows": found}


def speed(rows: list[dict], threads: int) -> dict[str, float]:
    """The numbers of `capacity.cost.Speed` that predict these times best, relative errors squared;
    a CPU's for one core."""
    from scipy.optimize import nnls

    seconds = np.array([row["members"] / row["model_steps_per_s"]["median"] for row in rows])
    parts = np.array(
        [[1.0, row["flops_per_step"] / threads, row["values_per_step"] / threads] for row in rows]
    )
    scale = parts.max(0)
    found = nnls(parts / scale / seconds[:, None], np.ones(len(rows)))[0] / scale
    errors = np.abs(parts @ found / seconds - 1.0)
    print(
        f"  seconds = {found[0] * 1e3:.2f} ms + FLOP / {1e-9 / max(found[1], 1e-18):,.0f} GFLOP/s "
        f"+ values x {found[2] * 1e9:.3g} ns, "
        f"within {np.median(errors):.0%} (median), {errors.max():.0%} at most"
    )
    return {
        "step_s": found[0],
        "flop_per_s": 1.0 / max(found[1], 1e-18),
        "value_s": found[2],
        "median_error": float(np.median(errors)),
        "largest_error": float(errors.max()),
    }


def plain(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Model-steps per second of a stack over those of the plain loop, the two taking turns; once
    more with torch.compile, where there is a compiler, with the seconds that this takes."""
    if not installed("transformers"):
        print("  transformers is not installed")
        return None
    precision = "bf16" if device.type == "cuda" else "fp32"
    ways = ["never"] + ["always"] * (device.type == "cuda" or has_compiler())
    found = {}
    print(
        "  model-steps/s                                   plain      here    ratio (low to "
        "high)   of limit  compiled in"
    )
    for name, (*shape, vocab, length, batch, members) in (
        PLAIN_CUDA if device.type == "cuda" else PLAIN
    ).items():
        theirs = plain_loop(*shape, vocab, length, batch, device, precision)
        theirs(5)
        n = max(3, int(0.5 / (timed(device, lambda: theirs(3)) / 3)))
        for compile in ways:
            configs = [
                config(tuple(shape), vocab, length, batch, seed, precision, compile)
                for seed in range(members)
            ]
            ours = trainer(configs, device)
            first_s = timed(device, lambda: ours(5))
            k = max(3, int(0.5 / (timed(device, lambda: ours(3)) / 3)))
            pairs = [
                (n / timed(device, lambda: theirs(n)), members * k / timed(device, lambda: ours(k)))
                for _ in range(repeats)
            ]
            ratio = spread([b / a for a, b in pairs])
            key = name if compile == "never" else f"{name}, compiled"
            here = spread([b for _, b in pairs])
            part = None
            if known := out.get("machine"):
                part = least_seconds(configs, known, precision) * here["median"] / members
            found[key] = {
                "plain": spread([a for a, _ in pairs]),
                "here": here,
                "ratio": ratio,
                "part_of_limit": part,
            }
            told = f"{part:8.1%}" if part else "       -"
            if compile != "never":
                found[key]["first_steps_s"] = first_s
                told += f"{first_s:10.0f} s"
            print(
                f"  {name:44s} {found[key]['plain']['median']:8,.1f} "
                f"{found[key]['here']['median']:9,.1f} {ratio['median']:8.2f} "
                f"({ratio['low']:.2f} to {ratio['high']:.2f}) {told}",
                flush=True,
            )
    return found


def plain_loop(  # noqa: PLR0913
    layers: int,
    width: int,
    heads: int,
    vocab: int,
    length: int,
    batch: int,
    device: torch.device,
    precision: str,
) -> Callable[[int], None]:
    """The usual way: a library's GPT-2, its loss, backward, clipping, AdamW, a schedule; compiled
    where there is a GPU."""
    import logging

    from transformers import GPT2Config, GPT2LMHeadModel

    logging.getLogger("transformers").setLevel(logging.ERROR)
    net = (
        GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab,
                n_positions=length,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                activation_function="gelu",
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=0,
                eos_token_id=0,
                use_cache=False,
            )
        )
        .to(device)
        .train()
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=device.type == "cuda")
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    data = torch.randint(0, vocab, (1000, length), device=device)
    forward = torch.compile(net) if device.type == "cuda" else net

    def run(steps: int) -> None:
        for _ in range(steps):
            rows = data[torch.randint(0, len(data), (batch,), device=device)]
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = forward(input_ids=rows, labels=rows).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)

    return run
