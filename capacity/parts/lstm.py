"""The mixer `lstm`: long short-term memory, as wide as the model (standard library only; see
`model.parts.lstm`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import base
from capacity.parts.base import Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

GATES = 4  # input, forget, cell and output


def count(model: Model, rows: int) -> Count:
    """Of every gate a map of the input, one of what came out before, and a bias: 8 d^2 + 4 d."""
    d = model.d_model
    return Count(base.norm(model) + GATES * (2 * d * d + d))


def flops(model: Model, length: int) -> int:
    return 2 * GATES * 2 * model.d_model**2


def state(model: Model, length: int) -> int:
    """Cells, and what came out."""
    return 2 * model.d_model


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """Of every position gates as they come, in fp32 behind their activations, and cells."""
    d, size = model.d_model, base.bytes_of(train)
    return base.kept_norm(model, train) + d * (GATES * (4 + size) + 4)


def inputs(model: Model) -> dict[str, int]:
    return {"model.d_model": model.d_model}
