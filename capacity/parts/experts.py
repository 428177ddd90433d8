"""The channel `experts`: MLPs of which a router sends each token to a few (standard library only).

X experts, J of them chosen by a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import base, mlp
from capacity.parts.base import TAPS, Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train


def _router(model: Model) -> int:
    """Weights of the router, which has no bias."""
    return model.d_model * model.n_experts


def places(model: Model) -> float:
    """Experts that a token takes room of in training; beyond its J, places may stay empty."""
    return min(model.capacity_factor * model.top_k, model.n_experts)


def count(model: Model, rows: int) -> Count:
    one, canon = mlp.weights(model), base.canon(model, "C", model.d_model)
    total = base.norm(model) + model.n_experts * one + _router(model) + canon
    return Count(total, idle=(model.n_experts - model.top_k) * one)


def flops(model: Model, length: int) -> int:
    """Of experts those count that a token visits, not their empty places."""
    canon = base.canon(model, "C", model.d_model)
    return 2 * (model.top_k * mlp.maps(model) + _router(model) + canon)


def state(model: Model, length: int) -> int:
    return (TAPS - 1) * model.d_model * ("C" in model.canon)


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """All places with what goes in and out, in fp32 where it is weighed, and three rows of the
    router."""
    moved = (8 + 2 * base.bytes_of(train)) * model.d_model
    hidden = places(model) * (mlp.kept_hidden(model, train) + moved) + 12 * model.n_experts
    canon = base.kept_canon(model, "C", model.d_model)
    return base.kept_norm(model, train) + hidden + canon


def inputs(model: Model) -> dict[str, int]:
    return mlp.inputs(model)
