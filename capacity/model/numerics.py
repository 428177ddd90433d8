"""Number formats of training: operands of matrix products in TF32, weights in bfloat16 with
stochastic rounding.

fp32, bf16 and fp16 are types of tensors and need nothing but casts. TF32 is fp32 with 10 bits of
mantissa; it is no type, so operands are rounded to it explicitly, forward and backward, and
products then sum in fp32: on a CPU as on a GPU, whose tensor cores get operands that they do not
have to round. The one exception are the products inside of attention kernels, which get rounded
queries, keys and values but keep their own probabilities.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from capacity.data import hashing

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
LOW_BITS, HALF = (
    0x1FFF,
    0x1000,
)  # the 13 bits of fp32's mantissa that TF32 does not have, and half of its last place


def tf32(x: Tensor) -> Tensor:
    """fp32 values rounded to the nearest TF32 value, halves away from zero (the rounding of PTX's
    cvt.rna.tf32.f32)."""
    return ((x.contiguous().view(torch.int32) + HALF) & ~LOW_BITS).view(torch.float32)


class _Operand(torch.autograd.Function):
    """x in TF32; its gradient passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return tf32(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class _Product(torch.autograd.Function):
    """x; its gradient, an operand of the products of the backward pass, in TF32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return tf32(g)


def tf32_operand(x: Tensor) -> Tensor:
    """An operand of a product, rounded, with a gradient as if it were not."""
    return _Operand.apply(x)


def tf32_product(x: Tensor) -> Tensor:
    """The result of a product, as it is, with a gradient that is rounded."""
    return _Product.apply(x)


def allow_tf32(allowed: bool) -> None:
    """Whether CUDA may multiply fp32 matrices in TF32. Of fp32 runs, and wherever fp32 is promised,
    it may not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed


def sum_in_fp32() -> None:
    """CUDA's products of bf16 and fp16 numbers sum in fp32 throughout. By default cuBLAS may add
    the parts of a sum that it splits over the chip, such as a gradient's over the tokens of a
    batch, in the short format itself."""
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def to_bf16(x: Tensor, rounding: str, base_M1: Tensor, step_M1: Tensor) -> Tensor:
    """fp32 [M, P] rounded to bfloat16 values, still fp32: weights = "bf16_nearest", or
    "bf16_stochastic".

    Stochastic: up in magnitude with the probability of the part that is cut off, so that the
    expectation is x (Gupta et al., arXiv 1502.02551, section 3.1). The random 16 bits are a
    function of the member's key (base, int64 [M, 1]), the step (int64 [M, 1]) and the place in the
    row: the same on every device and in every stack.
    """
    if rounding == "bf16_nearest":
        return x.bfloat16().float()
    place_P = torch.arange(x.shape[1], device=x.device)
    random = hashing.short_words(hashing.words(base_M1, step_M1), place_P)
    return random.add_(x.contiguous().view(torch.int32)).bitwise_and_(~0xFFFF).view(torch.float32)
