"""The channel `mlp`: one MLP that all tokens go through, plain or gated, or none."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from capacity.model import low_rank
from capacity.model.context import Context, Named
from capacity.model.short_conv import canon, canon_weights
from capacity.model.weights import Weight, map_weights, norm_weights
from capacity.parts.mlp import hidden
from capacity.settings.model import Model

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    if model.mlp_width == 0:
        return []
    return [
        *norm_weights(at + "norm2", model),
        *canon_weights(model, at, "C", model.d_model),
        *maps(model, at),
        *canon_weights(model, at, "D", hidden(model)),
    ]


def maps(
    model: Model, at: str, rows: tuple[int, ...] = (), width: int | None = None, own: bool = False
) -> list[Weight]:
    """To the hidden units, of a gated one twice, and back; rows: of each expert; width: where it is
    not that of an MLP."""
    D, F, std, bias = model.d_model, width or model.mlp_width, model.init_std, model.bias
    residual = std / math.sqrt(2 * model.n_layers)
    inward = ["gate"] * (model.mlp == "gated") + ["up"]
    if model.map_rank is not None:  # no experts, whose MLPs these would be
        out = [one for name in inward for one in low_rank.maps(model, at + name, D, F, std)]
        return out + low_rank.maps(model, at + "down", F, D, residual)
    out = [
        one
        for name in inward
        for one in map_weights(at + name, D, F, std, bias, rows=rows, own=own)
    ]
    return out + map_weights(at + "down", F, D, residual, bias, rows=rows, own=own)


def through(w: Named, at: str, h_MND: Tensor, c: Context) -> Tensor:
    """down(act(up h)), or down(act(gate h) * up h) (Shazeer, arXiv 2002.05202, section 2)."""
    act = ACTIVATIONS[c.model.activation]
    if c.model.mlp == "standard":
        return c.linear(act(canon(w, at, "D", c.linear(h_MND, w, at + "up"), c)), w, at + "down")
    gate_MNF, up_MNF = c.linear(h_MND, w, at + "gate"), c.linear(h_MND, w, at + "up")
    gate_MNF = canon(w, at, "D", gate_MNF, c)
    up_MNF = canon(w, at, "D", up_MNF, c, first=c.model.mlp_width)
    return c.linear(act(gate_MNF) * up_MNF, w, at + "down")


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    return through(w, at, canon(w, at, "C", c.norm(w, at + "norm2", x_MND), c), c)
