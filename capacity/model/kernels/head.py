"""Output head and cross-entropy of a stack in Triton: logits exist in tiles only.

The first kernel reads a block of tokens and passes over the vocabulary once. As in the online
softmax (Milakov and Gimelshein, arXiv 1805.02867, section 3) it keeps the largest logit so far, the
sum of powers over it, and beside them the sum of table rows weighted by these powers, so that the
gradient of the hidden states is there when the loss is. The second reads a block of the vocabulary,
passes over the tokens, forms the probabilities again from the kept logarithms of the sums, and
writes the gradient of the table. Each number is summed by one program, in one order, in fp32: equal
inputs give equal bits.

Bounds of loops are compiled in: shapes of a stack are static, and triton's interpreter (3.6) takes
no others with numpy 2.4. triton is imported by name, `dispatch` imports this module where it is
asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

triton = importlib.import_module("triton")
tl = importlib.import_module("triton.language")
constexpr = tl.constexpr

PROGRAMS = 264  # two for each multiprocessor of an H200: fewer share the tokens among more
MOST_PARTS = 16  # of the tokens, each with a gradient of the table of its own in fp32


@triton.jit
def _tf32(x):
    """The nearest TF32 value, as `numerics.tf32`."""
    word = x.to(tl.int32, bitcast=True) + 0x1000
    return (word & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def _rows(ptr, row, width, here, columns: constexpr, in_tf32: constexpr):
    """Rows of a matrix of so many columns, zeros where a row or a column is none. Offsets have 32
    bits: a tile of addresses would take more registers than the numbers."""
    d = tl.arange(0, columns)
    tile = tl.load(
        ptr + row[:, None] * width + d[None, :],
        mask=here[:, None] & (d < width)[None, :],
        other=0.0,
    )
    return _tf32(tile) if in_tf32 else tile


@triton.jit
def _tokens(  # noqa: PLR0913
    x_ptr,
    table_ptr,
    target_ptr,
    nll_ptr,
    lse_ptr,
    dx_ptr,
    N,
    D,
    scale,
    V: constexpr,
    BN: constexpr,
    BV: constexpr,
    BD: constexpr,
    IN_TF32: constexpr,
    PRECISION: constexpr,
):
    """Loss, logarithm of the sum of powers, and scale times the gradient of x, of BN tokens."""
    m = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    here = n < N
    x_ptr += m * N * D
    table_ptr += m * V * D
    dx_ptr += m * N * D
    target_ptr += m * N
    x = _rows(x_ptr, n, D, here, BD, IN_TF32)
    target = tl.load(target_ptr + n, mask=here, other=0).to(tl.int32)
    largest = tl.full([BN], float("-inf"), tl.float32)
    total = tl.zeros([BN], tl.float32)
    at_target = tl.zeros([BN], tl.float32)
    mean = tl.zeros([BN, BD], tl.float32)
    for first in range(0, V, BV):
        v = first + tl.arange(0, BV)
        known = v < V
        rows = _rows(table_ptr, v, D, known, BD, IN_TF32)
        logits = tl.dot(x, tl.trans(rows), input_precision=PRECISION)
        logits = tl.where(known[None, :], logits, float("-inf"))
        at_target += tl.sum(tl.where(v[None, :] == target[:, None], logits, 0.0), 1)
        now = tl.maximum(largest, tl.max(logits, 1))
        power = tl.exp(logits - now[:, None])
        shrink = tl.exp(largest - now)
        total = total * shrink + tl.sum(power, 1)
        power = _tf32(power) if IN_TF32 else power.to(x.dtype)
        mean = mean * shrink[:, None] + tl.dot(power, rows, input_precision=PRECISION)
        largest = now
    lse = largest + tl.log(total)
    tl.store(nll_ptr + m * N + n, lse - at_target, mask=here)
    tl.store(lse_ptr + m * N + n, lse, mask=here)
    own = _rows(table_ptr, target, D, here, BD, IN_TF32)
    dx = (mean / total[:, None] - own.to(tl.float32)) * scale
    d = tl.arange(0, BD)
    tl.store(
        dx_ptr + n[:, None] * D + d[None, :],
        dx.to(dx_ptr.dtype.element_ty),
        mask=here[:, None] & (d < D)[None, :],
    )


@triton.jit
def _vocabulary(  # noqa: PLR0913
    x_ptr,
    table_ptr,
    target_ptr,
    lse_ptr,
    scale_ptr,
    out_ptr,
    M,
    N,
    V,
    D,
    PER_PART: constexpr,
    BN: constexpr,
    BV: constexpr,
    BD: constexpr,
    IN_TF32: constexpr,
    PRECISION: constexpr,
):
    """scale[m] times the gradient of BV rows of the table, over the tokens of one part."""
    m = tl.program_id(1).to(tl.int64)
    part = tl.program_id(2)
    v = tl.program_id(0) * BV + tl.arange(0, BV)
    known = v < V
    x_ptr += m * N * D
    target_ptr += m * N
    lse_ptr += m * N
    out_ptr += (part * M + m) * V * D
    rows = _rows(table_ptr + m * V * D, v, D, known, BD, IN_TF32)
    total = tl.zeros([BV, BD], tl.float32)
    for block in range(PER_PART):
        n = (part * PER_PART + block) * BN + tl.arange(0, BN)
        here = n < N
        x = _rows(x_ptr, n, D, here, BD, IN_TF32)
        target = tl.load(target_ptr + n, mask=here, other=0).to(tl.int32)
        lse = tl.load(lse_ptr + n, mask=here, other=0.0)
        logits = tl.dot(rows, tl.trans(x), input_precision=PRECISION)
        p = tl.exp(logits - lse[None, :])
        p = tl.where(v[:, None] == target[None, :], p - 1.0, p)
        p = tl.where(here[None, :], p, 0.0)
        p = _tf32(p) if IN_TF32 else p.to(x.dtype)
        total += tl.dot(p, x, input_precision=PRECISION)
    total = total * tl.load(scale_ptr + m)
    d = tl.arange(0, BD)
    tl.store(
        out_ptr + v[:, None] * D + d[None, :],
        total.to(out_ptr.dtype.element_ty),
        mask=known[:, None] & (d < D)[None, :],
    )


def blocks(dtype: torch.dtype, D: int) -> dict[str, int]:
    """Tokens, rows of the table and columns of a tile, and warps: the largest with which the
    assembler for an H200 keeps all numbers in registers (docs/decisions). No device has run them.
    """
    wide = max(16, triton.next_power_of_2(D))
    if dtype == torch.float32:  # products without tensor cores keep their operands in registers
        tokens, rows, warps = (32, 32, 4) if wide <= 64 else (16, 16, 4)
    else:
        tokens, rows, warps = {128: (64, 32, 8), 256: (32, 32, 8)}.get(wide, (64, 64, 4))
    return {"BN": tokens, "BV": rows, "BD": wide, "num_warps": warps}


def parts(M: int, N: int, V: int, BN: int, BV: int) -> int:
    """In how many parts the tokens are summed for the gradient of the table: one where blocks of
    the vocabulary already make PROGRAMS programs, else a power of two. By the shape alone, so
    that bits repeat."""
    found = 1
    while (
        2 * found <= MOST_PARTS
        and found * M * triton.cdiv(V, BV) < PROGRAMS
        and 4 * found * BN <= N
    ):
        found *= 2
    return found


def _formats(in_tf32: bool) -> dict[str, Any]:
    """Operands that are TF32 numbers lose nothing in a product of TF32; fp32 takes fp32's."""
    return {"IN_TF32": in_tf32, "PRECISION": "tf32" if in_tf32 else "ieee"}


def forward(
    x_MND: Tensor, table_MVD: Tensor, target_MN: Tensor, in_tf32: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """nll fp32 [M, N] in nats, log-sum-exp fp32 [M, N], and the gradient of each member's mean nll
    with respect to x, in x's format [M, N, D]."""
    (M, N, D), V = x_MND.shape, table_MVD.shape[1]
    nll, lse = (x_MND.new_empty(M, N, dtype=torch.float32) for _ in range(2))
    dx = torch.empty_like(x_MND)
    tiles = blocks(x_MND.dtype, D)
    _tokens[(triton.cdiv(N, tiles["BN"]), M)](
        x_MND,
        table_MVD,
        target_MN,
        nll,
        lse,
        dx,
        N,
        D,
        1.0 / N,
        V=V,
        **tiles,
        **_formats(in_tf32),
    )
    return nll, lse, dx


def backward(
    x_MND: Tensor,
    table_MVD: Tensor,
    target_MN: Tensor,
    lse_MN: Tensor,
    scale_M: Tensor,
    in_tf32: bool,
) -> Tensor:
    """scale[m] times the gradient of member m's summed nll with respect to its table, in the
    table's format [M, V, D]. scale: fp32 [M]."""
    (M, N, D), V = x_MND.shape, table_MVD.shape[1]
    tiles = blocks(x_MND.dtype, D)
    many = parts(M, N, V, tiles["BN"], tiles["BV"])
    kind = table_MVD.dtype if many == 1 else torch.float32
    out = table_MVD.new_empty(many, M, V, D, dtype=kind)
    _vocabulary[(triton.cdiv(V, tiles["BV"]), M, many)](
        x_MND,
        table_MVD,
        target_MN,
        lse_MN,
        scale_M,
        out,
        M,
        N,
        V,
        D,
        PER_PART=triton.cdiv(triton.cdiv(N, many), tiles["BN"]),
        **tiles,
        **_formats(in_tf32),
    )
    return out[0] if many == 1 else out.sum(0).to(table_MVD.dtype)
