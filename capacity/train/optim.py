"""AdamW and Muon for a stack: one flat matrix [M, P], every hyper-parameter a column [M, 1], so
each member has its own.

What depends on the step alone is prepared on the host for many steps at once (`Schedule`), in fp64,
and reaches the device as rows of numbers. A step on the device is then the same sequence of
operations every time, whatever the step: it can be recorded once and replayed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from capacity.settings.train import Train

# columns of a row of the schedule
STEP, LR, SHRINK, ROOT, UPDATE = range(5)
COLUMNS = 5

# Muon, the released optimizer (Jordan et al. 2024, kellerjordan.github.io/posts/muon): coefficients
# and number of iterations
NEWTON_SCHULZ, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
# Liu et al. (arXiv 2502.16982, section 2.2): the size of an AdamW update, so that both share
# learning rates
MUON_RMS = 0.2


@dataclass
class Hyper:
    """What stays the same over all steps, as fp32 columns [M, 1] on the device."""

    beta1: Tensor
    beta2: Tensor
    eps: Tensor
    grad_clip: Tensor
    momentum: Tensor

    @staticmethod
    def of(members: list[Train], device: torch.device) -> Hyper:
        def column(name: str) -> Tensor:
            return torch.tensor(
                [[getattr(t, name)] for t in members], dtype=torch.float32, device=device
            )

        return Hyper(*(column(n) for n in ("beta1", "beta2", "eps", "grad_clip", "momentum")))


class Schedule:
    """The numbers of each step of M members, each with a schedule of its own: columns over members,
    fp64 on the host."""

    def __init__(self, members: list[Train], steps: list[int]) -> None:
        def column(name: str) -> np.ndarray:
            return np.array([getattr(t, name) for t in members], np.float64)

        self.steps = np.array(steps, np.float64)
        self.warmup, self.final = column("warmup_steps"), column("final_lr_fraction")
        self.lr, self.decay = column("lr"), column("weight_decay")
        self.beta1, self.beta2 = column("beta1"), column("beta2")

    def rows(self, first: int, count: int) -> np.ndarray:
        """fp32 [count, M, 5] for the 0-based steps from `first` on: t, the number of the step from
        1 on; learning rate; learning rate times weight decay; 1 / sqrt(1 - beta2^t), which makes
        the root of v unbiased; learning rate / (1 - beta1^t)."""
        step = first + np.arange(count, dtype=np.float64)[:, None]
        lr = self.lr * lr_factor(step, self.steps, self.warmup, self.final)
        out = np.empty((count, len(self.lr), COLUMNS), np.float32)
        out[..., STEP] = step + 1
        out[..., LR] = lr
        out[..., SHRINK] = lr * self.decay
        out[..., ROOT] = 1.0 / np.sqrt(
            1.0 - self.beta2 ** (step + 1)
        )  # in fp32 1 - 0.999 would lose four digits
        out[..., UPDATE] = lr / (1.0 - self.beta1 ** (step + 1))
        return out


def lr_factor(
    step: np.ndarray, steps: np.ndarray, warmup_steps: np.ndarray, final_fraction: np.ndarray
) -> np.ndarray:
    """Learning rate of 0-based `step` as a fraction of the peak: linear warm-up, then half a cosine
    that would reach final_fraction one step after the last. Arrays broadcast; after the last step
    it stays at final_fraction."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rising = (step + 1) / warmup_steps
        progress = np.clip((step - warmup_steps) / (steps - warmup_steps), 0.0, 1.0)
    falling = final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + np.cos(np.pi * progress))
    return np.where(step < warmup_steps, rising, falling)


class Tables(NamedTuple):
    """Tables of parts of the model (`GPT.table_mask`), where some member trains them otherwise than
    its other weights: which columns they are, fp32 [P], 1 or 0; by member the factor of their
    learning rate, and their largest gradient norm, fp32 [M, 1] each, -1 for one norm of all."""

    is_table_P: Tensor
    lr_M1: Tensor
    clip_M1: Tensor

    @staticmethod
    def of(members: list[Train], is_table_P: Tensor) -> Tables | None:
        """None where there is no table, or every member trains it as all else."""
        if all(t.table_lr == 1.0 and t.table_clip is None for t in members):
            return None
        clips = [-1.0 if t.table_clip is None else t.table_clip for t in members]
        columns = torch.tensor([[t.table_lr for t in members], clips], device=is_table_P.device)
        return Tables(is_table_P, columns[0, :, None], columns[1, :, None])

    def paced(self, now_M1: Tensor) -> Tensor:
        """A number of each member's schedule, [M, P]: times the factor in columns of tables."""
        return now_M1 * torch.where(self.is_table_P > 0, self.lr_M1, 1.0)

    def norms(self, grad_MP: Tensor) -> Tensor:
        """Of the gradients of all other weights, and of tables, [M, 2]."""
        parts = (grad_MP * (1.0 - self.is_table_P), grad_MP * self.is_table_P)
        return torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts], 1)


class Weights(NamedTuple):
    """What an update changes in place, fp32 [M, P] each: weights and moments; and decay_P, 1 where
    weight decay acts, else 0; and tables, where they have an own pace."""

    flat_MP: Tensor
    m_MP: Tensor
    v_MP: Tensor
    decay_P: Tensor
    tables: Tables | None = None

    def paced(self, now_M1: Tensor) -> Tensor:
        """A number of each member's schedule [M, 1] as its columns have it."""
        return now_M1 if self.tables is None else self.tables.paced(now_M1)


class Gradient(NamedTuple):
    """Of one step: the gradient [M, P], the loss of each member [M], who skips the step, bool [M]
    (None: nobody), and, where these are some of its columns only, the norm of each member's whole
    gradient [M] and of its two parts [M, 2] (`Tables.norms`; None: all columns are here)."""

    grad_MP: Tensor
    loss_M: Tensor
    skipped_M: Tensor | None = None
    norm_M: Tensor | None = None
    norms_M2: Tensor | None = None


def clipped(
    gradient: Gradient, alive_M: Tensor, hyper: Hyper, tables: Tables | None = None
) -> tuple[Tensor, Tensor]:
    """Each member's gradient clipped to its own norm, and who goes on, bool [M]: a member whose
    loss or gradient is not finite is out from here on, and its gradient is replaced by zeros before
    it can reach the moments. Tables may be clipped by themselves."""
    grad_MP, loss_M, norm_M = gradient.grad_MP, gradient.loss_M, gradient.norm_M
    if norm_M is None:
        norm_M1 = torch.linalg.vector_norm(grad_MP, dim=1, keepdim=True)
    else:
        norm_M1 = norm_M[:, None]
    alive_M = alive_M & torch.isfinite(norm_M1[:, 0]) & torch.isfinite(loss_M)
    if tables is None:
        scale = _scale(hyper.grad_clip, norm_M1)
    else:
        norms_M2 = tables.norms(grad_MP) if gradient.norms_M2 is None else gradient.norms_M2
        together = tables.clip_M1 < 0
        rest_M1 = torch.where(together, norm_M1, norms_M2[:, :1])
        of_rest = _scale(hyper.grad_clip, rest_M1)
        of_tables = torch.where(together, of_rest, _scale(tables.clip_M1, norms_M2[:, 1:]))
        scale = torch.where(tables.is_table_P > 0, of_tables, of_rest)
    return torch.where(alive_M[:, None], grad_MP * scale, 0.0), alive_M


def _scale(most_M1: Tensor, norm_M1: Tensor) -> Tensor:
    """The factor that brings a norm down to the most that is allowed; 0: any."""
    return torch.where(most_M1 > 0, (most_M1 / (norm_M1 + 1e-6)).clamp(max=1.0), 1.0)


def adamw(
    weights: Weights,
    gradient: Gradient,
    hyper: Hyper,
    now_MC: Tensor,
    alive_M: Tensor,
) -> Tensor:
    """One update in place; returns the new alive mask, bool [M]. The step of a member that is out
    is zero, so its weights stay as they were before the failure. A member that skips the step keeps
    weights and moments.

    AdamW (Loshchilov and Hutter, arXiv 1711.05101) with bias correction; now_MC: a row of
    `Schedule`.
    """
    flat_MP, m_MP, v_MP, decay_P, tables = weights
    grad_MP, alive_M = clipped(gradient, alive_M, hyper, tables)
    go_M1 = _going(alive_M, gradient.skipped_M)
    now_MC = now_MC * go_M1
    m_MP.lerp_(grad_MP, (1.0 - hyper.beta1) * go_M1)
    v_MP.lerp_(grad_MP.square_(), (1.0 - hyper.beta2) * go_M1)
    flat_MP.mul_(1.0 - weights.paced(now_MC[:, SHRINK, None]) * decay_P)
    flat_MP.addcmul_(m_MP / _root(v_MP, hyper, now_MC), -weights.paced(now_MC[:, UPDATE, None]))
    return alive_M


def _going(alive_M: Tensor, skipped_M: Tensor | None) -> Tensor:
    """bool [M, 1]: who makes this step."""
    return (alive_M if skipped_M is None else alive_M & ~skipped_M)[:, None]


def _root(v_MP: Tensor, hyper: Hyper, now_MC: Tensor) -> Tensor:
    return v_MP.sqrt().mul_(now_MC[:, ROOT, None]).add_(hyper.eps)


class Muon:
    """Muon for the matrices inside blocks, AdamW for tables, gains, biases and routers.

    The update of a matrix is its Nesterov momentum made orthogonal: all its singular values are
    moved close to 1. Queries, keys and values are matrices of their own, so is each expert. First
    moments of both live in the same rows of m; the momentum is a running mean, which differs from
    the released sum by a factor that orthogonalization takes out.
    """

    def __init__(
        self,
        matrices: list[tuple[int, tuple[int, ...], list[int]]],
        size: int,
        device: torch.device,
    ) -> None:
        """matrices: as `GPT.matrices` gives them; size: P."""
        self.groups: dict[tuple[int, int], list[Tensor]] = {}
        everywhere = torch.zeros(size, dtype=torch.bool)
        for first, shape, widths in matrices:
            index = first + torch.arange(math.prod(shape)).view(shape)
            for part in index.split(widths, dim=-1):
                rows, columns = part.shape[-2:]
                for one in part.reshape(-1, rows, columns):
                    self.groups.setdefault((rows, columns), []).append(one.reshape(-1))
            everywhere[first : first + math.prod(shape)] = True
        self.index = {shape: torch.cat(parts).to(device) for shape, parts in self.groups.items()}
        self.is_matrix_P = everywhere.to(device)

    def __call__(
        self,
        weights: Weights,
        gradient: Gradient,
        hyper: Hyper,
        now_MC: Tensor,
        alive_M: Tensor,
    ) -> Tensor:
        """As `adamw`."""
        flat_MP, m_MP, v_MP, decay_P, tables = weights
        grad_MP, alive_M = clipped(gradient, alive_M, hyper, tables)
        go_M1 = _going(alive_M, gradient.skipped_M)
        now_MC = now_MC * go_M1
        m_MP.lerp_(
            grad_MP, torch.where(self.is_matrix_P, 1.0 - hyper.momentum, 1.0 - hyper.beta1) * go_M1
        )
        v_MP.lerp_(grad_MP.square(), (1.0 - hyper.beta2) * go_M1)
        flat_MP.mul_(1.0 - weights.paced(now_MC[:, SHRINK, None]) * decay_P)
        step_MP = m_MP / _root(v_MP, hyper, now_MC) * weights.paced(now_MC[:, UPDATE, None])
        looked_ahead_MP = grad_MP.lerp_(m_MP, hyper.momentum)
        for (rows, columns), index in self.index.items():
            matrices = looked_ahead_MP[:, index].view(-1, rows, columns)
            turned = orthogonal(matrices).view(len(flat_MP), -1) * (
                MUON_RMS * math.sqrt(max(rows, columns))
            )
            step_MP[:, index] = turned * now_MC[:, LR, None]
        flat_MP.sub_(step_MP)
        return alive_M


def orthogonal(matrices: Tensor) -> Tensor:
    """U V^T of U S V^T for each matrix [n, a, b], nearly: five Newton-Schulz iterations bring
    singular values of at least a thousandth of the norm to between 0.7 and 1.2, zeros stay. In
    fp32: the matrices of tiny models are not worth bf16."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.transpose(1, 2) if tall else x
