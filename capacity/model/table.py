"""Rows of a table that each member of a stack has for itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def looked_up(table_MRW: Tensor, row_MI: Tensor) -> Tensor:
    """The rows of these numbers in each member's table, [M, I, W]; row: int64 [M, I] in [0, R)."""
    M, R, W = table_MRW.shape
    first_M1 = torch.arange(M, device=row_MI.device)[:, None] * R
    return F.embedding(row_MI + first_M1, table_MRW.reshape(M * R, W))
