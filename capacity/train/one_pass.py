"""AdamW by one kernel (`model.kernels.adamw`): norm of the gradient, then one pass over the weights
that also rounds and copies them."""

from __future__ import annotations

import torch
from torch import Tensor

from capacity.train.optim import COLUMNS, ROOT, SHRINK, STEP, UPDATE, Gradient, Hyper, Weights


class OnePass:
    """`optim.adamw`, the rounding of weights after it, and a bfloat16 copy of the weights for the
    next forward pass."""

    def __init__(self, rounding: str, key_M1: Tensor, copies: bool) -> None:
        """rounding: train.weights; key: int64 [M, 1], see `numerics.to_bf16`; copies: whether the
        forward pass takes its weights from a bfloat16 copy."""
        self.rounding, self.key_M1, self.copies = rounding, key_M1, copies
        self.copy_MP: Tensor | None = None

    def weights(self, flat_MP: Tensor) -> Tensor:
        """What the forward pass reads and the gradient is taken by: the copy, if there is one."""
        return flat_MP if self.copy_MP is None else self.copy_MP

    def renew(self, flat_MP: Tensor) -> None:
        """The copy of weights that something else than an update may have changed."""
        if not self.copies:
            return
        if self.copy_MP is None or self.copy_MP.shape != flat_MP.shape:
            self.copy_MP = torch.empty_like(flat_MP, dtype=torch.bfloat16)
        self.copy_MP.copy_(flat_MP)

    def __call__(
        self,
        weights: Weights,
        gradient: Gradient,
        hyper: Hyper,
        now_MC: Tensor,
        alive_M: Tensor,
    ) -> Tensor:
        """As `optim.adamw` of a model whose tables have no pace of their own, then
        `numerics.to_bf16`."""
        grad_MP = gradient.grad_MP.contiguous()
        return torch.ops.capacity_kernels.adamw(
            *weights[:4],
            self.copy_MP,
            grad_MP,
            torch.linalg.vector_norm(grad_MP, dim=1, dtype=torch.float32),
            gradient.loss_M,
            gradient.skipped_M,
            hyper.beta1,
            hyper.beta2,
            hyper.eps,
            hyper.grad_clip,
            self.key_M1,
            now_MC,
            alive_M,
            self.rounding,
            [COLUMNS, STEP, SHRINK, ROOT, UPDATE],
        )
