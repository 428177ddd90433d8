"""A loss scale per member for fp16 (Micikevicius et al., arXiv 1710.03740, section 3.2), moved by
what its gradients do.

Gradients below 6e-8 are zero in fp16, so the backward pass begins with a scale. A step whose
gradient overflows is skipped and the scale halved; after 2,000 steps without one it is doubled (the
defaults of torch.amp.GradScaler, of which this is the form for a stack). The number of the step
counts on in the schedule and in the bias correction of the moments, also where it was skipped.
"""

from __future__ import annotations

import torch
from torch import Tensor

START, MOST, PATIENCE = 2.0**16, 2.0**24, 2000
SCALE, GOOD, SKIPPED = range(
    3
)  # columns: the scale, steps since it last changed, steps skipped so far


def new_scaling(members: int, device: torch.device) -> Tensor:
    """fp32 [M, 3]."""
    return torch.tensor([START, 0.0, 0.0], device=device).repeat(members, 1)


def scale_of(scaling_M3: Tensor) -> Tensor:
    """The factor of the loss, fp32 [M], as it is now."""
    return scaling_M3[:, SCALE].clone()


def rescale(
    scaling_M3: Tensor, grad_MP: Tensor, loss_M: Tensor, norm_M: Tensor | None = None
) -> Tensor:
    """Which members skip this step, bool [M]; moves their scales and replaces their gradients by
    zeros, in place. norm: of the gradients, where they are known (some columns of them may be
    elsewhere).

    A member with a scale of 1 is not helped by a smaller one: it keeps its gradient, and the
    optimizer ends it.
    """
    scale_M, good_M = scaling_M3[:, SCALE], scaling_M3[:, GOOD]
    size_M = torch.linalg.vector_norm(grad_MP, dim=1) if norm_M is None else norm_M
    skip_M = ~torch.isfinite(size_M) & torch.isfinite(loss_M) & (scale_M > 1)
    grad_MP.masked_fill_(skip_M[:, None], 0.0)
    grow_M = ~skip_M & (good_M + 1 >= PATIENCE) & (scale_M < MOST)
    factor_M = torch.where(skip_M, 0.5, torch.where(grow_M, 2.0, 1.0))
    scaling_M3.copy_(
        torch.stack(
            [
                scale_M * factor_M,
                torch.where(skip_M | grow_M, 0.0, good_M + 1),
                scaling_M3[:, SKIPPED] + skip_M,
            ],
            1,
        )
    )
    return skip_M
