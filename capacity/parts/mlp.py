"""The channel `mlp`: one MLP that all tokens go through, plain or gated, or none (standard library
only)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import base
from capacity.parts.base import TAPS, Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train


def hidden(model: Model) -> int:
    """Numbers in front of the activation and its factor: F, or twice that where it is gated."""
    return model.mlp_width * (2 if model.mlp == "gated" else 1)


def maps(model: Model) -> int:
    """Weights of its maps: one to the hidden units, two where it is gated, and one back."""
    d, f, inward = model.d_model, model.mlp_width, 2 if model.mlp == "gated" else 1
    return base.linear(model, d, *[f] * inward) + base.linear(model, f, d)


def weights(model: Model) -> int:
    """Of its maps with their biases; 0 where there are no hidden units."""
    f = model.mlp_width
    return maps(model) + (hidden(model) + model.d_model) * (model.bias and f > 0)


def _canon(model: Model) -> int:
    return base.canon(model, "C", model.d_model) + base.canon(model, "D", hidden(model))


def count(model: Model, rows: int) -> Count:
    return Count(base.norm(model) + weights(model) + _canon(model)) if model.mlp_width else Count(0)


def flops(model: Model, length: int) -> int:
    return 2 * (maps(model) + _canon(model)) if model.mlp_width else 0


def state(model: Model, length: int) -> int:
    """The last inputs of its convolutions."""
    at = model.d_model * ("C" in model.canon) + hidden(model) * ("D" in model.canon)
    return (TAPS - 1) * at * (model.mlp_width > 0)


def kept_hidden(model: Model, train: Train) -> float:
    """What is in front of and behind the activation, and of a gated one also both factors."""
    return (4 if model.mlp == "gated" else 2) * base.bytes_of(train) * model.mlp_width


def kept(model: Model, length: int, train: Train, device: str) -> float:
    if not model.mlp_width:
        return 0.0
    canon = base.kept_canon(model, "C", model.d_model)
    canon += base.kept_canon(model, "D", hidden(model))
    canon += base.kept_factors(model, train, 3 if model.mlp == "gated" else 2)
    return base.kept_norm(model, train) + kept_hidden(model, train) + canon


def inputs(model: Model) -> dict[str, int]:
    return {"the MLP's width": model.mlp_width} if model.mlp_width else {}
