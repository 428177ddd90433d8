"""One training step as a list of operations: launches, bytes and floating-point operations, of
torch's operations and of the kernels. Nothing is computed: tensors have shapes only, so stacks of
any size are counted on any machine, as a GPU would run them.

Every operation of torch that moves numbers counts as one launch and reads and writes each of its
tensors once, expanded ones by what is stored; a library may split one into several. Attention is
one operation, with the tiles of a flash kernel (128 positions, 32 values of a head); kernels claim
theirs by formula (`capacity.model.kernels.traffic`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from capacity.config import Config
from capacity.model import head
from capacity.model.kernels.traffic import Traffic, claimed
from capacity.train import loop
from gpu_run.runs import run_config
from gpu_run.step_times import step_cases

CPU, META = torch.device("cpu"), torch.device("meta")
TILE, LEAST_HEAD = 128, 32  # positions and values of a head in a tile of a flash kernel
# an H200's: bytes of device memory and FLOP per second that large copies and products reach, and
# the shortest kernel
BANDWIDTH, PEAK, SHORTEST_S = 4.3e12, {"bf16": 790e12, "fp32": 50e12}, 1.5e-6
FORMS = ("torch", "triton")
# milliseconds of a step that were predicted before anything was counted, on an H200, good to a
# factor of 1.5: with the kernels, a compiled loss and a feed that costs nothing; those of today's
# path stand with the cases
PREDICTED_AFTER = {
    "64 x 0.1M": 1.5,
    "64 x 0.3M": 2.8,
    "64 x 1M": 5.8,
    "64 x 3M": 11.7,
    "64 x 10M": 29.0,
    "8 x (1,32) V 2048 B 2048": 5.0,
    "8 x (4,128) V 2048 B 2048": 49.0,
    "2 x (8,256) V 2048 B 2048": 46.0,
    "1 x (8,32) V 50258 B 2048": 8.7,
    "64 x GPT2-2-2 T 512": 17.0,
    "1 x 12-12 B 96 T 512": 79.0,
    "1 x GPT2-2-2 T 512": 0.43,
    "64 x 1M fp32": 26.0,
}
SEQUENCES = 8  # of a run's data, none of which is read
FREE = {  # neither launched nor moved: places for results
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_local_scalar_dense",
    "lift_fresh",
}
WRITES_ONLY = {"copy_", "zero_", "fill_", "masked_fill_"}
ATTENTION = {"causal", "causal_backward"}  # of capacity.model.sdpa
PRODUCTS = {"bmm", "baddbmm", "baddbmm_", "mm", "addmm"}


class _OneAttention(torch.autograd.Function):
    """The library's attention as two operations, forward and backward."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return torch.ops.counted.attention(q, k, v)

    @staticmethod
    def backward(ctx: Any, dy: Tensor):
        return torch.ops.counted.attention_backward(dy, *ctx.saved_tensors)


_library = torch.library.Library("counted", "DEF")
_library.define("attention(Tensor q, Tensor k, Tensor v) -> Tensor")
_library.define(
    "attention_backward(Tensor dy, Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor, Tensor)"
)
_library.impl("attention", lambda q, k, v: torch.empty_like(q), "Meta")
_library.impl(
    "attention_backward",
    lambda dy, q, k, v: tuple(torch.empty_like(x) for x in (q, k, v)),
    "Meta",
)


class OneAttention(TorchFunctionMode):
    """Keeps scaled_dot_product_attention from coming apart where tensors have no numbers."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            return _OneAttention.apply(*args[:3])
        return func(*args, **(kwargs or {}))


class Ledger(TorchDispatchMode):
    """What passes: bytes, FLOP and launches by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, Traffic]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.name().partition("::")[2].partition(".")[0]
        if func.namespace == "capacity_kernels":
            self.rows.append((f"kernel {name}", claimed(name, args)))
        elif func.namespace == "counted" or name in ATTENTION:
            self.rows.append((f"sdpa {name}", attention_of(name, args)))
        elif not func.is_view and name not in FREE:
            self.rows.append((name, traffic(func, name, args, kwargs or {}, out)))
        return out


def stored(x: Tensor) -> float:
    """Bytes behind a tensor, repeated entries of an expanded one counted once."""
    entries = 1
    for size, stride in zip(x.shape, x.stride(), strict=True):
        entries *= size if stride or size == 0 else 1
    return float(entries * x.element_size())


def tensors_in(values: Any) -> list[Tensor]:
    """Of nested lists, tuples and dicts, in order."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    return (
        [x for one in values for x in tensors_in(one)] if isinstance(values, list | tuple) else []
    )


def traffic(func: Any, name: str, args: tuple, kwargs: dict, out: Any) -> Traffic:
    """Of an operation of torch."""
    read, written = tensors_in((args, kwargs)), tensors_in(out)
    moved = sum(map(stored, read)) + sum(map(stored, written))
    flop, launches = 0.0, 1
    if name in WRITES_ONLY:
        moved -= stored(read[0])
    elif name in ("gather", "embedding"):  # what is picked, not what it is picked from
        moved += stored(written[0]) - stored(read[0])
    elif name == "scatter_":  # so is what is written
        moved = stored(read[1]) + 2 * stored(read[2])
    elif name in PRODUCTS:
        left, right = read[-2:]
        flop = 2.0 * left.numel() * right.shape[-1]
        if name == "baddbmm" and read[0].stride(1) == 0:  # a bias: spread out first, then read
            moved += 2 * stored(written[0])
            launches += 1
    return Traffic(moved, flop, launches)


def attention_of(name: str, args: tuple) -> Traffic:
    """Of the library's attention: forward reads q, k, v, writes y and a logarithm of each row;
    backward reads these and dy, writes three gradients. Later tiles of keys are left out."""
    backward = name.endswith("backward")
    q = args[1] if backward else args[0]
    N, H, T, K = q.shape
    blocks = -(-T // TILE)
    tile = 2.0 * TILE * TILE * max(LEAST_HEAD, K)
    tiles = N * H * blocks * (blocks + 1) / 2
    entry = float(q.numel() * q.element_size())
    rows = 4.0 * N * H * T
    if not backward:
        return Traffic(4 * entry + rows, 2 * tiles * tile, 1)
    return Traffic(9 * entry + 3 * rows, 5 * tiles * tile, 3)


def trace(configs: list[Config]) -> list[tuple[str, Traffic]]:
    """The operations of one step of a stack of these runs, in order, as on CUDA but uncompiled."""
    stack = loop.Stack(configs, CPU)
    M, P = len(configs), sum(stack.gpt.sizes)
    stack.decay_P, stack.rounding_M1 = stack.decay_P.to(META), stack.rounding_M1.to(META)
    stack.hyper = type(stack.hyper)(
        **{f.name: getattr(stack.hyper, f.name).to(META) for f in dataclasses.fields(stack.hyper)}
    )
    flat, one = torch.empty(M, P, device=META), torch.empty(M, device=META)
    state = loop.State(
        0,
        flat,
        torch.empty_like(flat),
        torch.empty_like(flat),
        torch.empty(M, dtype=torch.bool, device=META),
        torch.empty(M, dtype=torch.int64, device=META),
        one,
        torch.empty(M, 3, device=META),
        [0] * M,
        torch.zeros(M, 1, dtype=torch.int64),
    )
    if stack.one_pass is not None:
        stack.one_pass.key_M1 = stack.rounding_M1
        stack.one_pass.renew(flat)
    length = stack.gpt.seq_len + (not stack.gpt.bos)
    tokens = torch.empty(M, configs[0].train.batch_size, length, dtype=torch.int64, device=META)
    chunk = head.HEAD_CHUNK["cpu"]
    head.HEAD_CHUNK["cpu"] = head.HEAD_CHUNK["cuda"]  # tensors without numbers are on no GPU
    try:
        with OneAttention(), Ledger() as ledger:
            loop.step(stack, state, tokens, torch.empty(M, loop.COLUMNS, device=META))
    finally:
        head.HEAD_CHUNK["cpu"] = chunk
    return ledger.rows


def summed(rows: list[tuple[str, Traffic]], precision: str) -> dict[str, Any]:
    """Launches, bytes and FLOP of a step, the least time that these take on an H200, and the
    largest operations by their bytes."""
    peak = PEAK[precision]
    by_name: Counter[str] = Counter()
    for name, one in rows:
        by_name[name] += one.bytes
    return {
        "launches": sum(one.launches for _, one in rows),
        "bytes": sum(one.bytes for _, one in rows),
        "gb": sum(one.bytes for _, one in rows) / 1e9,
        "flop": sum(one.flop for _, one in rows),
        "least_ms": 1e3
        * sum(
            max(one.bytes / BANDWIDTH, one.flop / peak, one.launches * SHORTEST_S)
            for _, one in rows
        ),
        "largest": dict(by_name.most_common(8)),
    }


def ops(device: torch.device, repeats: int, out: dict) -> dict:
    """Launches, bytes and the least time of a step, today's path and with kernels, beside the
    predictions; of no device."""
    found = {}
    print(
        "  stack                        launches         GB per step      least ms      "
        "predicted ms"
    )
    print(
        "                               torch kernels   torch kernels   torch kernels   now after"
    )
    for label, model, vocab, length, batch, members, precision, now_ms in step_cases(False):
        found[label] = {
            "predicted_now_ms": now_ms,
            "predicted_after_ms": PREDICTED_AFTER.get(label),
        }
        for form in FORMS:
            configs = [
                with_form(
                    run_config(model, vocab, length, batch, seed, precision, sequences=SEQUENCES),
                    form,
                )
                for seed in range(members)
            ]
            found[label][form] = summed(trace(configs), precision)
        of_torch, of_kernels = (found[label][form] for form in FORMS)
        found[label]["bytes_ratio"] = of_torch["bytes"] / of_kernels["bytes"]
        found[label]["least_ratio"] = of_torch["least_ms"] / of_kernels["least_ms"]
        told = [
            f"{of_torch[key] * scale:8.{digits}f}{of_kernels[key] * scale:8.{digits}f}"
            for key, scale, digits in (("launches", 1, 0), ("bytes", 1e-9, 1), ("least_ms", 1, 2))
        ]
        after = found[label]["predicted_after_ms"]
        print(f"  {label:27s}{told[0]}{told[1]}{told[2]}{now_ms:8.2f} {after or '':>5}", flush=True)
    return {"bandwidth": BANDWIDTH, "peak": PEAK, "shortest_s": SHORTEST_S, "stacks": found}


def with_form(one: Config, form: str) -> Config:
    """The same run by torch's operations or by kernels."""
    return dataclasses.replace(one, cluster=dataclasses.replace(one.cluster, kernels=form))
