"""Rotary positions."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def rotate(x: Tensor, base: float = 10000.0) -> Tensor:
    """Rotary positions (Su et al., arXiv 2104.09864, section 3.2.2) on the pairs (i, i + K/2) of
    [..., T, K], in fp32. Base 10000 is theirs; Physics of Language Models 3.3 does not state its
    own."""
    T, K = x.shape[-2:]
    cos, sin = turns(T, K, base, x.device)
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


def turns(T: int, K: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the turns of T positions, fp32 [T, K/2] each: built once and kept, so
    that a recorded step only reads them. What is built while a step is recorded belongs to the
    recording, and what a compiler traces to its program: such tables are not kept."""
    capturing = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    build = _built if capturing or torch.compiler.is_compiling() else _kept
    return build(T, K, base, device)


def _built(T: int, K: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    frequency = base ** (-torch.arange(0, K, 2, device=device, dtype=torch.float32) / K)
    angle = torch.arange(T, device=device, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


_kept = functools.lru_cache(maxsize=256)(_built)


def forget() -> None:
    """Drop the tables that were kept: those computed by one arithmetic do not serve another."""
    _kept.cache_clear()
