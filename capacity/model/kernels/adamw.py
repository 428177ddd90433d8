"""AdamW over the flat matrix [M, P] of a stack in Triton: one pass reads gradient, weights and
moments, and writes weights, moments and, where asked for, a bfloat16 copy of the weights.

The same arithmetic as `train.optim.adamw` in the same order, with the clipping factor, who is alive
and who skips the step read per member inside the kernel, and weights rounded as
`numerics.to_bf16` does, from the same random words. A member that does not go on keeps weights and
moments as they are.

Imported by `dispatch` where it is asked for, as `kernels.head`.
"""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from capacity.data.hashing import GOLDEN, MIX1, MIX2

triton = importlib.import_module("triton")
tl = importlib.import_module("triton.language")
constexpr = tl.constexpr

BLOCK = 1024  # weights of a program
ROUNDINGS = {"fp32": 0, "bf16_nearest": 1, "bf16_stochastic": 2}
_GOLDEN, _MIX1, _MIX2 = (tl.constexpr(word % 2**64) for word in (GOLDEN, MIX1, MIX2))
_WORD = tl.constexpr(2**62 - 1)


@triton.jit
def _link(state, index):
    """One link of `hashing.words`, uint64."""
    z = state + _GOLDEN * (index.to(tl.uint64) + 1)
    z = (z ^ (z >> 30)) * _MIX1
    z = (z ^ (z >> 27)) * _MIX2
    return z ^ (z >> 31)


@triton.jit
def _nearest(x):
    """The upper half of the nearest bfloat16 value, halves to even, as bits of an fp32 number: in
    whole numbers, because casts of triton's interpreter cut off."""
    bits = x.to(tl.uint32, bitcast=True)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return tl.where(x == x, bits, 0x7FC00000).to(tl.uint32)  # NaN stays one


@triton.jit
def _lerp(start, end, weight):
    """As torch has it: exact at both ends."""
    return tl.where(
        weight < 0.5, start + weight * (end - start), end - (end - start) * (1.0 - weight)
    )


@triton.jit
def _update(  # noqa: PLR0913
    flat_ptr,
    m_ptr,
    v_ptr,
    grad_ptr,
    copy_ptr,
    decay_ptr,
    norm_ptr,
    loss_ptr,
    alive_ptr,
    skipped_ptr,
    lives_ptr,
    beta1_ptr,
    beta2_ptr,
    eps_ptr,
    clip_ptr,
    key_ptr,
    now_ptr,
    P,
    COLUMNS: constexpr,
    STEP: constexpr,
    SHRINK: constexpr,
    ROOT: constexpr,
    UPDATE: constexpr,
    SKIPS: constexpr,
    ROUNDING: constexpr,
    COPIES: constexpr,
    BLOCK: constexpr,
):
    """BLOCK weights of one member; the first program of a member also writes whether it lives."""
    member = tl.program_id(1).to(tl.int64)
    norm = tl.load(norm_ptr + member)
    loss = tl.load(loss_ptr + member)
    lives = (
        (tl.load(alive_ptr + member) != 0)
        & (tl.abs(norm) < float("inf"))
        & (tl.abs(loss) < float("inf"))
    )
    if tl.program_id(0) == 0:
        tl.store(lives_ptr + member, lives.to(tl.uint8))
    going = lives
    if SKIPS:
        going = lives & (tl.load(skipped_ptr + member) == 0)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = (place < P) & going
    at = member * P + place
    clip = tl.load(clip_ptr + member)
    factor = tl.where(clip > 0, tl.minimum(tl.div_rn(clip, norm + 1e-6), 1.0), 1.0)
    now_ptr += member * COLUMNS
    g = tl.load(grad_ptr + at, mask=here, other=0.0).to(tl.float32) * factor
    m = tl.load(m_ptr + at, mask=here, other=0.0)
    m = _lerp(m, g, 1.0 - tl.load(beta1_ptr + member))
    tl.store(m_ptr + at, m, mask=here)
    v = tl.load(v_ptr + at, mask=here, other=0.0)
    v = _lerp(v, g * g, 1.0 - tl.load(beta2_ptr + member))
    tl.store(v_ptr + at, v, mask=here)
    flat = tl.load(flat_ptr + at, mask=here, other=0.0)
    decay = tl.load(decay_ptr + place, mask=here, other=0.0)
    flat = flat * (1.0 - tl.load(now_ptr + SHRINK) * decay)
    root = tl.sqrt_rn(v) * tl.load(now_ptr + ROOT) + tl.load(eps_ptr + member)
    flat -= tl.div_rn(m, root) * tl.load(now_ptr + UPDATE)
    if ROUNDING == 1:
        flat = _nearest(flat).to(tl.float32, bitcast=True)
    if ROUNDING == 2:
        key = tl.load(key_ptr + member).to(tl.uint64)
        step = tl.load(now_ptr + STEP).to(tl.int64)
        random = _link(_link(key, step) & _WORD, place) & 0xFFFF
        bits = flat.to(tl.uint32, bitcast=True) + random.to(tl.uint32)
        flat = (bits & 0xFFFF0000).to(tl.float32, bitcast=True)
    tl.store(flat_ptr + at, flat, mask=here)
    if COPIES:
        half = (_nearest(flat) >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
        tl.store(copy_ptr + at, half, mask=here)


def update(  # noqa: PLR0913  all that an update reads and writes
    flat_MP: Tensor,
    m_MP: Tensor,
    v_MP: Tensor,
    decay_P: Tensor,
    copy_MP: Tensor | None,
    grad_MP: Tensor,
    norm_M: Tensor,
    loss_M: Tensor,
    skipped_M: Tensor | None,
    beta1_M1: Tensor,
    beta2_M1: Tensor,
    eps_M1: Tensor,
    clip_M1: Tensor,
    key_M1: Tensor,
    now_MC: Tensor,
    alive_M: Tensor,
    rounding: str,
    columns: list[int],
) -> Tensor:
    """One update in place; who goes on, bool [M].

    flat, m, v: fp32 weights and moments; copy: bfloat16, which gets the new weights; grad: fp32 or
    bfloat16; norm: of the gradients, fp32; skipped: bool, who skips the step; clip: the norm that
    is clipped to, 0 for none; key: int64, see `numerics.to_bf16`; now: a row of the schedule, of
    which columns says how many numbers it has and where step, shrink, root and update stand;
    rounding: as in ROUNDINGS. All contiguous.
    """
    M, P = flat_MP.shape
    many, step, shrink, root, size = columns
    lives_M = torch.empty_like(alive_M)
    alive = alive_M.view(torch.uint8)
    _update[(triton.cdiv(P, BLOCK), M)](
        flat_MP,
        m_MP,
        v_MP,
        grad_MP,
        flat_MP if copy_MP is None else copy_MP,
        decay_P,
        norm_M,
        loss_M,
        alive,
        alive if skipped_M is None else skipped_M.view(torch.uint8),
        lives_M.view(torch.uint8),
        beta1_M1,
        beta2_M1,
        eps_M1,
        clip_M1,
        key_M1,
        now_MC,
        P,
        COLUMNS=many,
        STEP=step,
        SHRINK=shrink,
        ROOT=root,
        UPDATE=size,
        SKIPS=skipped_M is not None,
        ROUNDING=ROUNDINGS[rounding],
        COPIES=copy_MP is not None,
        BLOCK=BLOCK,
        num_warps=4,
    )
    return lives_M
