"""Quantization-aware training: the forward pass sees weights of few values, the optimizer moves the
fp32 weights behind them.

A channel is all that one output of a map has ([in]), or with embeddings one token or position
([D]). Its N values are equally spaced around zero, scale (k - (N - 1) / 2), k = 0 .. N - 1: with N
= 2^b values a code has b bits and zero is not among them, ternary has -1, 0, 1, binary two. The
scale, stored in fp16, follows the weights at every step: of those that reach RATIOS of the largest
weight the one with the least squared error, then the least-squares scale for its codes; with two
values that is the mean of |w| (Rastegari et al., arXiv 1603.05279, section 3.1).

The gradient passes through rounding unchanged (straight-through, Bengio et al., arXiv 1308.3432,
section 4), also where values are clipped. All other tensors (norms, biases, routers, BOS, and
tables unless they are asked for) pass through bf16 in the same way, so that what is counted as
stored is what is used.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from capacity.settings.quantize import LEVELS

RATIOS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
AT_ONCE = 2**16  # weights of a member, times scales, that are tried at once
SMALLEST = 2.0**-24  # fp16's smallest number: of a channel that is all zeros


class _Rounded(torch.autograd.Function):
    """Weights [..., in, out] or [..., rows, D] as their channels' values; the gradient passes."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, levels: int, dim: int) -> Tensor:
        return rounded(w, levels, dim)

    @staticmethod
    def backward(ctx: Any, g: Tensor):
        return g, None, None


class _BF16(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return w.bfloat16().float()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


def rounded(w: Tensor, levels: int, dim: int) -> Tensor:
    """fp32 weights [M, ...] as the values of their channels, which lie along `dim` (negative)."""
    widest = w.abs().amax(dim, keepdim=True) * (2 / (levels - 1))
    if levels > 2:
        scale = _best_scale(w, widest, levels, dim)
    else:  # two values have one code at every scale
        scale = _fp16(widest * RATIOS[0])
    best = _codes(w, scale, levels)
    scale = _fp16(
        (w * best).sum(dim, keepdim=True) / best.square().sum(dim, keepdim=True).clamp_(min=0.25)
    )
    return _codes(w, scale, levels).mul_(scale)


def _best_scale(w: Tensor, widest: Tensor, levels: int, dim: int) -> Tensor:
    """Of the scales at RATIOS of the widest one the first with the least squared error, in every
    channel. As many as AT_ONCE allows are tried at once, as if they were members of a stack; an
    error is a sum over one channel, so that on a CPU this changes no bit."""
    scales = _fp16(torch.stack([widest * ratio for ratio in RATIOS]))
    errors = [
        _codes(w, some, levels).mul_(some).sub_(w).square_().sum(dim, keepdim=True)
        for some in scales.split(max(1, AT_ONCE // max(1, w[0].numel())))
    ]
    found = errors[0] if len(errors) == 1 else torch.cat(errors)
    return scales.gather(0, found.argmin(0, keepdim=True))[0]


def _codes(w: Tensor, scale: Tensor, levels: int) -> Tensor:
    """The nearest of k - (levels - 1) / 2."""
    middle = (levels - 1) / 2
    return (w / scale).add_(middle).round_().clamp_(0, levels - 1).sub_(middle)


def _fp16(scale: Tensor) -> Tensor:
    return scale.half().float().clamp_(min=SMALLEST)


def stored_bits(levels: int, channels: int, inputs: int) -> int:
    """Bits of a matrix: a scale of 16 bits per channel and its codes as one whole number,
    ceil(inputs log2 levels) bits, which a number in base `levels` really takes."""
    return channels * (16 + math.ceil(inputs * math.log2(levels) - 1e-9))


class Aware:
    """What `train.qat` makes of the weights of a stack."""

    def __init__(self, qat: str, maps: list[str], tables: list[str]) -> None:
        """Names of the maps [..., in, out] and tables [..., rows, D] that are quantized."""
        self.levels = LEVELS[qat]
        self.channels = dict.fromkeys(maps, -2) | dict.fromkeys(tables, -1)

    def __call__(self, w: dict[str, Tensor]) -> dict[str, Tensor]:
        """fp32 weights by name, each [M, *shape], as they are used."""
        return {
            name: _Rounded.apply(t, self.levels, self.channels[name])
            if name in self.channels
            else _BF16.apply(t)
            for name, t in w.items()
        }
