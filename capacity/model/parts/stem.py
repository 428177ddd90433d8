"""The channel `stem`: down(act(gate h) * U[token]), a gated MLP whose map up is a table U of its
own with a row for every input token (STEM, arXiv 2601.10639, and its released code).

The BOS vector has no token number, so that a model with one has a row more. Biases of gate and down
are those of `model.bias`; the paper has none.
"""

from __future__ import annotations

import math

from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.parts.mlp import ACTIVATIONS
from capacity.model.short_conv import canon, canon_weights
from capacity.model.table import looked_up
from capacity.model.weights import Weight, map_weights, norm_weights
from capacity.parts.stem import spread
from capacity.settings.model import Model


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D, F, std = model.d_model, model.mlp_width, model.init_std
    table = Weight(
        at + "rows.weight", (rows, F), spread(model, rows), decays=True, kind="table", own=True
    )
    residual = std / math.sqrt(2 * model.n_layers)
    return [
        *norm_weights(at + "norm2", model),
        *canon_weights(model, at, "C", D),
        *map_weights(at + "gate", D, F, std, model.bias),
        *canon_weights(model, at, "D", F),
        table,
        *map_weights(at + "down", F, D, residual, model.bias),
    ]


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    M, N, _ = x_MND.shape
    h_MND = canon(w, at, "C", c.norm(w, at + "norm2", x_MND), c)
    gate_MNF = canon(w, at, "D", c.linear(h_MND, w, at + "gate"), c)
    ids_MN = c.ids().reshape(M, N)
    c.reads(at, "stem", ids_MN, w[at + "rows.weight"].shape[1])
    row_MNF = looked_up(w[at + "rows.weight"], ids_MN)
    return c.linear(ACTIVATIONS[c.model.activation](gate_MNF) * row_MNF, w, at + "down")
