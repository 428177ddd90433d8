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


def _routers(model: Model) -> int:
    """Weights of the routers of all rounds, which have no biases."""
    return model.d_model * model.n_experts * model.expert_rounds


def _shared(model: Model) -> int:
    """Weights of the shared experts, which are one MLP of so many hidden units."""
    biases = mlp.hidden(model) * model.n_shared + model.d_model
    return mlp.maps(model) * model.n_shared + model.bias * biases * (model.n_shared > 0)


def visited(model: Model) -> int:
    """Experts that a token goes through in all rounds, some perhaps again."""
    return model.top_k * model.expert_rounds


def places(model: Model) -> float:
    """Experts that a token takes room of in training; beyond those that it visits, places may stay
    empty."""
    return min(model.capacity_factor * model.top_k, model.n_experts) * model.expert_rounds


def count(model: Model, rows: int) -> Count:
    """With shifts also a number of every expert and router, which is stored as weights are."""
    one, canon = mlp.weights(model), base.canon(model, "C", model.d_model)
    shifts = model.n_experts * model.expert_rounds * (model.router_shift > 0)
    total = base.norm(model) + model.n_experts * one + _routers(model) + canon
    idle = max(0, model.n_experts - visited(model)) * one
    return Count(total + _shared(model) + shifts, idle=idle)


def flops(model: Model, length: int) -> int:
    """Of experts those count that a token visits, not their empty places."""
    canon = base.canon(model, "C", model.d_model)
    experts = (visited(model) + model.n_shared) * mlp.maps(model)
    return 2 * (experts + _routers(model) + canon)


def state(model: Model, length: int) -> int:
    return (TAPS - 1) * model.d_model * ("C" in model.canon)


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """All places with what goes in, and in fp32 what comes out, three rows of a router; hidden
    units of shared experts."""
    moved = (4 + base.bytes_of(train)) * model.d_model
    rows = 12 + 4 * model.top_k * (model.router_shift > 0)
    hidden = places(model) * (mlp.kept_hidden(model, train) + moved)
    hidden += rows * model.n_experts * model.expert_rounds
    hidden += model.n_shared * mlp.kept_hidden(model, train)
    canon = base.kept_canon(model, "C", model.d_model)
    return base.kept_norm(model, train) + hidden + canon


def inputs(model: Model) -> dict[str, int]:
    return mlp.inputs(model)
