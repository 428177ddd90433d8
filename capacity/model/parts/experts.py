"""The channel `experts`: MLPs of which a router sends each token to a few (see `model.moe`)."""

from __future__ import annotations

from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.moe import mixture
from capacity.model.parts import mlp
from capacity.model.short_conv import canon, canon_weights
from capacity.model.weights import Weight, map_weights, norm_weights
from capacity.settings.model import Model


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D, X = model.d_model, model.n_experts
    return [
        *norm_weights(at + "norm2", model),
        *canon_weights(model, at, "C", D),
        *map_weights(at + "router", D, X, model.init_std, False, kind="router"),
        *mlp.maps(model, at + "experts.", (X,)),
    ]


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    """A block's experts as one row of M X MLPs; their places differ between training and
    evaluation. Adds the balance loss of each member to those of the forward pass."""
    model, start = c.model, at + "experts."
    rows = {name: one.flatten(0, 1) for name, one in w.items() if name.startswith(start)}
    y_MND, balance_M = mixture(
        canon(w, at, "C", c.norm(w, at + "norm2", x_MND), c),
        w[at + "router.weight"],
        lambda h: mlp.through(rows, start, h, c),
        model.top_k,
        model.capacity_factor if c.training else model.eval_capacity_factor,
        lambda chosen: c.reads(at, "experts", chosen, model.n_experts),
    )
    c.balance.append(balance_M)
    return y_MND
