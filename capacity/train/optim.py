"""AdamW for a stack: one flat matrix [M, P], every hyper-parameter a column [M, 1], so each member has its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from capacity.config import Train


@dataclass
class Hyper:
    """Optimizer settings of M members as fp32 columns [M, 1] on the device."""

    lr: Tensor
    beta1: Tensor
    beta2: Tensor
    eps: Tensor
    weight_decay: Tensor
    grad_clip: Tensor

    @staticmethod
    def of(members: list[Train], device: torch.device) -> Hyper:
        def column(name: str) -> Tensor:
            return torch.tensor([[getattr(t, name)] for t in members], dtype=torch.float32, device=device)

        return Hyper(*(column(n) for n in ("lr", "beta1", "beta2", "eps", "weight_decay", "grad_clip")))


def lr_factor(step: int, steps: int, warmup_steps: int, final_fraction: float) -> float:
    """Learning rate of 0-based `step` as a fraction of the peak: linear warm-up, then half a cosine that would reach
    final_fraction one step after the last."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (steps - warmup_steps)
    return final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * progress))


def adamw(flat_MP: Tensor, grad_MP: Tensor, m_MP: Tensor, v_MP: Tensor, decay_P: Tensor, hyper: Hyper, alive_M: Tensor,
          loss_M: Tensor, factor: float, step: int) -> Tensor:
    """One update in place, after clipping each member's gradient to its own norm; returns the new alive mask, bool [M].

    AdamW (Loshchilov and Hutter, arXiv 1711.05101) with bias correction; `step` is 0-based, `factor` scales every lr. A
    member whose loss or gradient is not finite is frozen from here on: its gradient is replaced by zeros before it can
    reach the moments, and its step is zero, so its weights stay as they were before the failure.
    """
    norm_M1 = torch.linalg.vector_norm(grad_MP, dim=1, keepdim=True)
    alive_M = alive_M & torch.isfinite(norm_M1[:, 0]) & torch.isfinite(loss_M)
    alive_M1 = alive_M[:, None]
    scale_M1 = torch.where(hyper.grad_clip > 0, (hyper.grad_clip / (norm_M1 + 1e-6)).clamp(max=1.0), 1.0)
    grad_MP = torch.where(alive_M1, grad_MP * scale_M1, 0.0)
    m_MP.lerp_(grad_MP, 1.0 - hyper.beta1)
    v_MP.lerp_(grad_MP.square_(), 1.0 - hyper.beta2)
    # bias corrections in fp64: 1 - 0.999^1 loses four digits in fp32
    correction1 = 1.0 - hyper.beta1.double() ** (step + 1)
    correction2 = 1.0 - hyper.beta2.double() ** (step + 1)
    denominator = v_MP.sqrt().mul_((1.0 / correction2.sqrt()).float()).add_(hyper.eps)
    lr_M1 = hyper.lr * factor * alive_M1
    flat_MP.mul_(1.0 - lr_M1 * hyper.weight_decay * decay_P)
    flat_MP.addcmul_(m_MP / denominator, -lr_M1 / correction1.float())
    return alive_M
