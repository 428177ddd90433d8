"""Experts cut from the MLPs of a trained model: the hidden units of each MLP in groups of equal
size, in their order, as FactorLLM does it (arXiv 2408.11855).

Nothing is added but the routers, and what experts hold is scaled by what gates are when a router
does not prefer any: with all experts visited the function is that of the model from which they are
cut, and with fewer each expert adds what its units added. Ours: the router begins at random and is
trained with the rest, where the paper trains it against the model's own hidden states first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from capacity.config import Config
from capacity.model.gpt import GPT

# What may differ between the two models: sizes of experts and how they are chosen.
ROUTING = (
    "mlp_ratio",
    "n_experts",
    "top_k",
    "capacity_factor",
    "eval_capacity_factor",
    "balance_weight",
    "router_score",
    "router_shift",
    "router_z",
)


def applies(here: Config, there: Config) -> bool:
    """Whether the experts of `here` have the sizes of groups of the MLPs of `there`, all else
    alike."""
    one, other = (dataclasses.asdict(config.model) for config in (here, there))
    same = all(one[name] == other[name] for name in one if name not in ROUTING)
    return (
        same
        and here.model.n_experts > 0 == there.model.n_experts
        and not here.model.n_shared
        and here.model.expert_rounds == 1
        and here.model.n_experts * here.model.mlp_width == there.model.mlp_width
    )


def split(here: Config, there: Mapping[str, Tensor], gpt: GPT, flat_P: Tensor) -> Tensor:
    """Weights [P] of a model with experts. there: those of the model without, by name; flat_P: of
    `gpt` at the start, for the routers."""
    model = here.model
    X, gate = model.n_experts, 1 / (model.top_k if model.top_k > 1 else model.n_experts)
    sums = gate * model.top_k  # of all gates of a token
    new = flat_P.clone()
    for name, view_P in gpt.named(new[None]).items():
        old = there.get(name.replace("experts.", ""))
        if old is None:
            continue  # a router
        if ".experts." not in name:
            part = old
        elif name.endswith("down.weight"):
            part = old.unflatten(0, (X, -1)) / gate
        elif name.endswith("down.bias"):
            part = (old / sums).expand(X, -1)
        else:  # into hidden units: weights [D, F] and biases [F]
            part = old.unflatten(-1, (X, -1)).movedim(-2, 0)
        view_P[0].copy_(part)
    return new
