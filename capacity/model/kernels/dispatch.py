"""Which parts of a training step Triton kernels compute, and the operations that call them.

`cluster.kernels=triton` asks for them; what no kernel is made for (see `takes_head`,
`takes_attention`) is computed by the torch forms, which stay the reference. Each kernel is an
operation of torch's library, so that a tracer, a compiler and a recorded step see one opaque
operation with the shapes of its results; triton is imported when the first of them runs.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from capacity.model import attention as torch_attention
from capacity.model import head as torch_head

WIDEST = 256  # values of a hidden state: a program of the head keeps a whole one as fp32 sums
LARGEST_HEAD, LONGEST = 32, 128  # values of a head and positions: all scores of a head are a tile
INTERPRETER = "TRITON_INTERPRET"  # triton's variable: kernels run on a CPU, slowly, for tests


def why_not(wanted: str, device_type: str) -> str:
    """One line for a person who asks for kernels that cannot run here; else empty."""
    if wanted != "triton":
        return ""
    if importlib.util.find_spec("triton") is None:
        return (
            "cluster.kernels=triton: the package triton is not installed; install it (CUDA builds "
            "of torch bring it), or use cluster.kernels=torch"
        )
    if device_type != "cuda" and os.environ.get(INTERPRETER) != "1":
        return (
            f"cluster.kernels=triton: Triton has no kernels for the device {device_type}; use a "
            f"CUDA device, cluster.kernels=torch, or for tests {INTERPRETER}=1"
        )
    return ""


def wants_kernels(wanted: str) -> bool:
    """auto is torch's forms until a device has shown equal results and a gain."""
    return wanted == "triton"


def takes_head(x_MND: Tensor) -> bool:
    """fp16 keeps its gradients in range by a division that comes later (`head`)."""
    return x_MND.shape[2] <= WIDEST and x_MND.dtype in (torch.float32, torch.bfloat16)


def takes_attention(T: int, K: int) -> bool:
    return T <= LONGEST and K <= LARGEST_HEAD


def mean_nll(x_MND: Tensor, table_MVD: Tensor, target_MN: Tensor, in_tf32: bool = False) -> Tensor:
    """As `head.mean_nll`."""
    if not takes_head(x_MND):
        return torch_head.mean_nll(x_MND, table_MVD, target_MN, in_tf32)
    return _MeanNLL.apply(x_MND, table_MVD, target_MN, in_tf32)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, mask_NTT: Tensor | None = None) -> Tensor:
    """As `attention.causal_attention`."""
    if mask_NTT is not None or not takes_attention(*q.shape[2:]):
        return torch_attention.causal_attention(q, k, v, mask_NTT)
    return _Attention.apply(q, k, v)


def packed_attention(qkv_NTEK: Tensor, heads: int) -> Tensor:
    """The same of queries, keys and values that lie side by side, [N, T, H + 2 G, K] with H heads
    of queries: their gradients are written side by side, too. Where `takes_attention`."""
    return _PackedAttention.apply(qkv_NTEK, heads)


class _MeanNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_MND: Tensor, table_MVD: Tensor, target_MN: Tensor, in_tf32: bool
    ) -> Tensor:
        x, table, target = x_MND.contiguous(), table_MVD.contiguous(), target_MN.contiguous()
        nll_MN, lse_MN, dx_MND = torch.ops.capacity_kernels.head(x, table, target, in_tf32)
        ctx.save_for_backward(x, table, target, lse_MN, dx_MND)
        ctx.in_tf32 = in_tf32
        return nll_MN.mean(1)

    @staticmethod
    def backward(ctx: Any, grad_M: Tensor):
        x, table, target, lse_MN, dx_MND = ctx.saved_tensors
        dtable = torch.ops.capacity_kernels.head_backward(
            x, table, target, lse_MN, grad_M / x.shape[1], ctx.in_tf32
        )
        return dx_MND * grad_M.view(-1, 1, 1).to(dx_MND.dtype), dtable, None, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return torch.ops.capacity_kernels.attention(q, k, v)

    @staticmethod
    def backward(ctx: Any, dy: Tensor):
        return torch.ops.capacity_kernels.attention_backward(dy, *ctx.saved_tensors)


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_NTEK: Tensor, heads: int) -> Tensor:
        ctx.save_for_backward(qkv_NTEK)
        ctx.heads = heads
        return torch.ops.capacity_kernels.attention(*_parts(qkv_NTEK, heads))

    @staticmethod
    def backward(ctx: Any, dy: Tensor):
        (qkv,) = ctx.saved_tensors
        return torch.ops.capacity_kernels.packed_attention_backward(dy, qkv, ctx.heads), None


def _parts(qkv_NTEK: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Queries [N, H, T, K], keys and values [N, G, T, K], as views."""
    groups = (qkv_NTEK.shape[2] - heads) // 2
    return qkv_NTEK.transpose(1, 2).split([heads, groups, groups], dim=1)


# ------------------------------------------------------------------ operations


@functools.cache
def _kernels(name: str) -> Any:
    return importlib.import_module(f"capacity.model.kernels.{name}")


def _head(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _kernels("head").forward(*arguments)


def _head_backward(*arguments: Any) -> Tensor:
    return _kernels("head").backward(*arguments)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _kernels("attention").forward(q, k, v)


def _attention_backward(
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    _kernels("attention").backward(dy, q, k, v, dq, dk, dv)
    return dq, dk, dv


def _packed_attention_backward(dy: Tensor, qkv_NTEK: Tensor, heads: int) -> Tensor:
    out = torch.empty(qkv_NTEK.shape, dtype=qkv_NTEK.dtype, device=qkv_NTEK.device)
    _kernels("attention").backward(dy, *_parts(qkv_NTEK, heads), *_parts(out, heads))
    return out


def _adamw(*arguments: Any) -> Tensor:
    return _kernels("adamw").update(*arguments)


_library = torch.library.Library("capacity_kernels", "DEF")
for _schema, _operation in (
    (
        "head(Tensor x, Tensor table, Tensor target, bool in_tf32) -> (Tensor, Tensor, Tensor)",
        _head,
    ),
    (
        "head_backward(Tensor x, Tensor table, Tensor target, Tensor lse, Tensor scale, "
        "bool in_tf32) -> Tensor",
        _head_backward,
    ),
    ("attention(Tensor q, Tensor k, Tensor v) -> Tensor", _attention),
    (
        "attention_backward(Tensor dy, Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor, Tensor)",
        _attention_backward,
    ),
    (
        "packed_attention_backward(Tensor dy, Tensor qkv, int heads) -> Tensor",
        _packed_attention_backward,
    ),
    (
        "adamw(Tensor(a!) flat, Tensor(b!) m, Tensor(c!) v, Tensor decay, Tensor(d!)? copy, "
        "Tensor grad, Tensor norm, Tensor loss, Tensor? skipped, Tensor beta1, Tensor beta2, "
        "Tensor eps, Tensor clip, Tensor key, Tensor now, Tensor alive, str rounding, "
        "int[] columns) -> Tensor",
        _adamw,
    ),
):
    _library.define(_schema)
    for _device in ("CPU", "CUDA"):
        _library.impl(_schema.partition("(")[0], _operation, _device)


@torch.library.register_fake("capacity_kernels::head", lib=_library)
def _(x: Tensor, table: Tensor, target: Tensor, in_tf32: bool) -> tuple[Tensor, Tensor, Tensor]:
    nll, lse = (x.new_empty(x.shape[:2], dtype=torch.float32) for _ in range(2))
    return nll, lse, x.new_empty(x.shape)


@torch.library.register_fake("capacity_kernels::head_backward", lib=_library)
def _(
    x: Tensor, table: Tensor, target: Tensor, lse: Tensor, scale: Tensor, in_tf32: bool
) -> Tensor:
    return table.new_empty(table.shape)


@torch.library.register_fake("capacity_kernels::attention", lib=_library)
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    N, H, T, K = q.shape
    return v.new_empty(N, T, H, K)


@torch.library.register_fake("capacity_kernels::attention_backward", lib=_library)
def _(dy: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


@torch.library.register_fake("capacity_kernels::packed_attention_backward", lib=_library)
def _(dy: Tensor, qkv: Tensor, heads: int) -> Tensor:
    return qkv.new_empty(qkv.shape)


@torch.library.register_fake("capacity_kernels::adamw", lib=_library)
def _(flat: Tensor, *rest: Any) -> Tensor:
    return flat.new_empty(flat.shape[:1], dtype=torch.bool)
