"""Causal attention of tiny heads in Triton: all scores of a head are one tile of one program.

With at most 128 positions a whole [T, T] tile of scores fits into registers. Nothing but q, k and v
is kept: the backward pass forms the probabilities again, and because the program of a head has all
of its rows, the sums of dp p over a row and the gradients of k and v need neither a second kernel
nor atomic additions: equal inputs give equal bits. A program takes several neighbouring heads one
after the other, because a row of a head of K = 8 is 16 bytes and memory is read in lines of 128.

Imported by `dispatch` where it is asked for, as `kernels.head`.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

from torch import Tensor

triton = importlib.import_module("triton")
tl = importlib.import_module("triton.language")
constexpr = tl.constexpr

LINE = 128  # bytes that are read together


@triton.jit
def _head(ptr, at, step, T, K, t, k):  # noqa: PLR0913
    """The rows [T, K] of a head, zeros beyond."""
    return tl.load(
        ptr + at + t[:, None] * step + k[None, :],
        mask=(t < T)[:, None] & (k < K)[None, :],
        other=0.0,
    )


@triton.jit
def _keep(ptr, at, step, T, K, t, k, tile):  # noqa: PLR0913
    tl.store(
        ptr + at + t[:, None] * step + k[None, :],
        tile.to(ptr.dtype.element_ty),
        mask=(t < T)[:, None] & (k < K)[None, :],
    )


@triton.jit
def _probabilities(q, k, T, root, t, PRECISION: constexpr):
    """softmax(root q k^T) over positions s <= t, fp32 [T, T]; zeros for rows beyond."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * root
    seen = t[:, None] >= t[None, :]
    scores = tl.where(seen, scores, float("-inf"))
    power = tl.exp(scores - tl.max(scores, 1)[:, None])
    p = power / tl.sum(power, 1)[:, None]
    return tl.where((t < T)[:, None], p, 0.0)


@triton.jit
def _forward(  # noqa: PLR0913
    q_ptr,
    k_ptr,
    v_ptr,
    y_ptr,
    q_n,
    q_h,
    q_t,
    k_n,
    k_h,
    k_t,
    v_n,
    v_h,
    v_t,
    G,
    T,
    K,
    root,
    GROUPS: constexpr,
    SHARE: constexpr,
    BT: constexpr,
    BK: constexpr,
    PRECISION: constexpr,
):
    """y [N, T, H, K] of GROUPS heads of keys and values, each with its SHARE heads of queries."""
    across = tl.cdiv(G, GROUPS)
    n = (tl.program_id(0) // across).to(tl.int64)
    t = tl.arange(0, BT)
    c = tl.arange(0, BK)
    H = G * SHARE
    first = tl.program_id(0) % across * GROUPS
    for group in range(GROUPS):
        g = first + group
        known = tl.where(g < G, T, 0)  # rows of a head: none beyond the last
        k = _head(k_ptr, n * k_n + g * k_h, k_t, known, K, t, c)
        v = _head(v_ptr, n * v_n + g * v_h, v_t, known, K, t, c)
        for share in range(SHARE):
            h = g * SHARE + share
            q = _head(q_ptr, n * q_n + h * q_h, q_t, known, K, t, c)
            p = _probabilities(q, k, T, root, t, PRECISION)
            y = tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
            _keep(y_ptr, n * T * H * K + h * K, H * K, known, K, t, c, y)


@triton.jit
def _backward(  # noqa: PLR0913
    dy_ptr,
    q_ptr,
    k_ptr,
    v_ptr,
    dq_ptr,
    dk_ptr,
    dv_ptr,
    dy_n,
    dy_t,
    dy_h,
    q_n,
    q_h,
    q_t,
    k_n,
    k_h,
    k_t,
    v_n,
    v_h,
    v_t,
    dq_n,
    dq_h,
    dq_t,
    dk_n,
    dk_h,
    dk_t,
    G,
    T,
    K,
    root,
    GROUPS: constexpr,
    SHARE: constexpr,
    BT: constexpr,
    BK: constexpr,
    PRECISION: constexpr,
):
    """dq, dk, dv; dv lies as dk does. With p of the forward pass, dp = dy v^T and ds = p (dp - sum
    of p dp over a row), they are root ds k, root ds^T q and p^T dy; k and v sum over the heads that
    share them, in order."""
    across = tl.cdiv(G, GROUPS)
    n = (tl.program_id(0) // across).to(tl.int64)
    t = tl.arange(0, BT)
    c = tl.arange(0, BK)
    first = tl.program_id(0) % across * GROUPS
    for group in range(GROUPS):
        g = first + group
        known = tl.where(g < G, T, 0)  # rows of a head: none beyond the last
        k = _head(k_ptr, n * k_n + g * k_h, k_t, known, K, t, c)
        v = _head(v_ptr, n * v_n + g * v_h, v_t, known, K, t, c)
        dk = tl.zeros([BT, BK], tl.float32)
        dv = tl.zeros([BT, BK], tl.float32)
        for share in range(SHARE):
            h = g * SHARE + share
            q = _head(q_ptr, n * q_n + h * q_h, q_t, known, K, t, c)
            dy = _head(dy_ptr, n * dy_n + h * dy_h, dy_t, known, K, t, c)
            p = _probabilities(q, k, T, root, t, PRECISION)
            dp = tl.dot(dy, tl.trans(v), input_precision=PRECISION)
            dv += tl.dot(tl.trans(p.to(v.dtype)), dy, input_precision=PRECISION)
            ds = (p * (dp - tl.sum(p * dp, 1)[:, None]) * root).to(q.dtype)
            dk += tl.dot(tl.trans(ds), q, input_precision=PRECISION)
            dq = tl.dot(ds, k, input_precision=PRECISION)
            _keep(dq_ptr, n * dq_n + h * dq_h, dq_t, known, K, t, c, dq)
        _keep(dk_ptr, n * dk_n + g * dk_h, dk_t, known, K, t, c, dk)
        _keep(dv_ptr, n * dk_n + g * dk_h, dk_t, known, K, t, c, dv)


def tiles(q: Tensor, G: int) -> dict[str, Any]:
    """What is compiled in: heads of keys and values per program, so many that a program reads whole
    lines; positions and values of a tile; warps by the size of the tile. Untuned: no device has run
    them."""
    _, H, T, K = q.shape
    groups = max(1, min(G, LINE // (K * q.element_size())))
    BT = max(16, triton.next_power_of_2(T))
    return {
        "GROUPS": groups,
        "SHARE": H // G,
        "BT": BT,
        "BK": max(16, triton.next_power_of_2(K)),
        "PRECISION": "ieee",
        "num_warps": {16: 1, 32: 1, 64: 4, 128: 8}[BT],
    }


def _grid(N: int, G: int, groups: int) -> tuple[int]:
    return (N * triton.cdiv(G, groups),)


def _rows(x: Tensor) -> Tensor:
    """[N, heads, T, K] whose values of a head lie side by side."""
    return x if x.stride(3) == 1 else x.contiguous()


def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """y [N, T, H, K]; q: [N, H, T, K]; k, v: [N, G, T, K], views or not."""
    q, k, v = _rows(q), _rows(k), _rows(v)
    (N, H, T, K), G = q.shape, k.shape[1]
    y = v.new_empty(N, T, H, K)
    with_tiles = tiles(q, G)
    strides = (s for x in (q, k, v) for s in x.stride()[:3])
    _forward[_grid(N, G, with_tiles["GROUPS"])](
        q, k, v, y, *strides, G, T, K, 1 / math.sqrt(K), **with_tiles
    )
    return y


def backward(  # noqa: PLR0913  the operation's arguments and results
    dy: Tensor, q: Tensor, k: Tensor, v: Tensor, dq: Tensor, dk: Tensor, dv: Tensor
) -> None:
    """Writes the gradients of q, k and v of `forward` into dq, dk and dv, of which the latter two
    lie alike; dy: [N, T, H, K]."""
    q, k, v, dy = _rows(q), _rows(k), _rows(v), _rows(dy)
    (N, _, T, K), G = q.shape, k.shape[1]
    assert dk.stride() == dv.stride(), "dk and dv lie alike"
    with_tiles = tiles(q, G)
    strides = (s for x in (dy, q, k, v, dq, dk) for s in x.stride()[:3])
    _backward[_grid(N, G, with_tiles["GROUPS"])](
        dy, q, k, v, dq, dk, dv, *strides, G, T, K, 1 / math.sqrt(K), **with_tiles
    )
