"""The channel `experts`: MLPs of which a router sends each token to a few (see `model.moe`).

Beside them may stand shared experts, which every token visits (DeepSeekMoE, arXiv 2401.06066,
section 3.2). With rounds (Chain-of-Experts, arXiv 2506.18945) every round adds to what it is
given, x_r = x_{r-1} + sum_i g_i E_i(x_{r-1}), from the normalized state on, by a router of its own.
Ours: to the residual stream goes what the rounds added, so that one round is the layer without
them.
"""

from __future__ import annotations

from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.moe import mixture, z_loss
from capacity.model.parts import mlp
from capacity.model.short_conv import canon, canon_weights
from capacity.model.weights import Weight, map_weights, norm_weights
from capacity.settings.model import Model


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D, X, first = model.d_model, model.n_experts, model.mlp_width * model.n_shared
    shared = mlp.maps(model, at + "shared.", width=first, own=True) if first else []
    out = [
        *norm_weights(at + "norm2", model),
        *canon_weights(model, at, "C", D),
    ]
    for r in range(model.expert_rounds):
        router, own = _router(at, r), r > 0
        out += map_weights(router, D, X, model.init_std, False, kind="router", own=own)
        if model.router_shift:
            out.append(Weight(router + ".shift", (X,), None, kind="shift", own=True))
    return [*out, *mlp.maps(model, at + "experts.", (X,)), *shared]


def _router(at: str, r: int) -> str:
    return at + (f"rounds.{r}.router" if r else "router")


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    """A block's experts as one row of M X MLPs; their places differ between training and
    evaluation. Adds the balance loss of each member to those of the forward pass."""
    model, start = c.model, at + "experts."
    rows = {name: one.flatten(0, 1) for name, one in w.items() if name.startswith(start)}
    h_MND = canon(w, at, "C", c.norm(w, at + "norm2", x_MND), c)
    state_MND = added_MND = h_MND
    for r in range(model.expert_rounds):
        router = _router(at, r)
        y_MND, balance_M = mixture(
            state_MND,
            w[router + ".weight"],
            lambda h: mlp.through(rows, start, h, c),
            model.top_k,
            model.capacity_factor if c.training else model.eval_capacity_factor,
            lambda chosen: c.reads(at, "experts", chosen, model.n_experts),
            score=model.router_score,
            shift_MX=w.get(router + ".shift"),
            terms=c.terms if c.training else None,
        )
        c.balance.append(balance_M)
        if c.training and model.router_z:
            weight = model.router_z / (model.n_layers * model.expert_rounds * model.loops)
            c.terms.append(weight * z_loss(state_MND, w[router + ".weight"]))
        added_MND = y_MND if r == 0 else added_MND + y_MND
        if r + 1 < model.expert_rounds:
            state_MND = h_MND + added_MND
    if model.n_shared:
        return added_MND + mlp.through(w, at + "shared.", h_MND, c)
    return added_MND
