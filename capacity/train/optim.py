"""AdamW for a stack: one flat matrix [M, P], every hyper-parameter a column [M, 1], so each member has its own.

What depends on the step alone is prepared on the host for many steps at once (`Schedule`), in fp64, and reaches the device
as rows of numbers. A step on the device is then the same sequence of operations every time, whatever the step: it can be
recorded once and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from capacity.config import Train

# columns of a row of the schedule
STEP, SHRINK, ROOT, UPDATE = range(4)
COLUMNS = 4


@dataclass
class Hyper:
    """What stays the same over all steps, as fp32 columns [M, 1] on the device."""

    beta1: Tensor
    beta2: Tensor
    eps: Tensor
    grad_clip: Tensor

    @staticmethod
    def of(members: list[Train], device: torch.device) -> Hyper:
        def column(name: str) -> Tensor:
            return torch.tensor([[getattr(t, name)] for t in members], dtype=torch.float32, device=device)

        return Hyper(*(column(n) for n in ("beta1", "beta2", "eps", "grad_clip")))


class Schedule:
    """The numbers of each step of M members, each with a schedule of its own: columns over members, fp64 on the host."""

    def __init__(self, members: list[Train], steps: list[int]):
        def column(name: str) -> np.ndarray:
            return np.array([getattr(t, name) for t in members], np.float64)

        self.steps = np.array(steps, np.float64)
        self.warmup, self.final = column("warmup_steps"), column("final_lr_fraction")
        self.lr, self.decay = column("lr"), column("weight_decay")
        self.beta1, self.beta2 = column("beta1"), column("beta2")

    def rows(self, first: int, count: int) -> np.ndarray:
        """fp32 [count, M, 4] for the 0-based steps from `first` on: t, the number of the step from 1 on; learning rate times
        weight decay; 1 / sqrt(1 - beta2^t), which makes the root of v unbiased; learning rate / (1 - beta1^t)."""
        step = first + np.arange(count, dtype=np.float64)[:, None]
        lr = self.lr * lr_factor(step, self.steps, self.warmup, self.final)
        out = np.empty((count, len(self.lr), COLUMNS), np.float32)
        out[..., STEP] = step + 1
        out[..., SHRINK] = lr * self.decay
        out[..., ROOT] = 1.0 / np.sqrt(1.0 - self.beta2 ** (step + 1))  # in fp32 1 - 0.999 would lose four digits
        out[..., UPDATE] = lr / (1.0 - self.beta1 ** (step + 1))
        return out


def lr_factor(step: np.ndarray, steps: np.ndarray, warmup_steps: np.ndarray, final_fraction: np.ndarray) -> np.ndarray:
    """Learning rate of 0-based `step` as a fraction of the peak: linear warm-up, then half a cosine that would reach
    final_fraction one step after the last. Arrays broadcast; after the last step it stays at final_fraction."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rising = (step + 1) / warmup_steps
        progress = np.clip((step - warmup_steps) / (steps - warmup_steps), 0.0, 1.0)
    falling = final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + np.cos(np.pi * progress))
    return np.where(step < warmup_steps, rising, falling)


def adamw(flat_MP: Tensor, grad_MP: Tensor, m_MP: Tensor, v_MP: Tensor, decay_P: Tensor, hyper: Hyper, now_MC: Tensor,
          alive_M: Tensor, loss_M: Tensor) -> Tensor:
    """One update in place, after clipping each member's gradient to its own norm; returns the new alive mask, bool [M].

    AdamW (Loshchilov and Hutter, arXiv 1711.05101) with bias correction; now_MC: a row of `Schedule`. A member whose loss
    or gradient is not finite is frozen from here on: its gradient is replaced by zeros before it can reach the moments,
    and its step is zero, so its weights stay as they were before the failure.
    """
    norm_M1 = torch.linalg.vector_norm(grad_MP, dim=1, keepdim=True)
    alive_M = alive_M & torch.isfinite(norm_M1[:, 0]) & torch.isfinite(loss_M)
    alive_M1 = alive_M[:, None]
    scale_M1 = torch.where(hyper.grad_clip > 0, (hyper.grad_clip / (norm_M1 + 1e-6)).clamp(max=1.0), 1.0)
    grad_MP = torch.where(alive_M1, grad_MP * scale_M1, 0.0)
    m_MP.lerp_(grad_MP, 1.0 - hyper.beta1)
    v_MP.lerp_(grad_MP.square_(), 1.0 - hyper.beta2)
    denominator = v_MP.sqrt().mul_(now_MC[:, ROOT, None]).add_(hyper.eps)
    flat_MP.mul_(1.0 - now_MC[:, SHRINK, None] * alive_M1 * decay_P)
    flat_MP.addcmul_(m_MP / denominator, -now_MC[:, UPDATE, None] * alive_M1)
    return alive_M
