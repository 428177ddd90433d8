"""The mixer `lstm`: long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate
of Gers et al. 2000), for which Collins et al. (arXiv 1611.09913) measured bits per parameter.

c_t = f c_{t-1} + i g and h_t = o tanh(c_t), with i, f, o = sigmoid and g = tanh of W x_t + U
h_{t-1} + b; h_t goes to the residual stream. It is as wide as the model and computed position by
position, cells in fp32. Weights start as those of torch.nn.LSTM, uniform within 1/sqrt D, biases
at 0, of forget gates at 1 (Jozefowicz et al. 2015). Heads mean nothing here.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.weights import Weight, map_weights, norm_weights
from capacity.parts.lstm import GATES
from capacity.settings.model import Model


def weights(model: Model, at: str, rows: int) -> list[Weight]:
    D = model.d_model
    made = partial(map_weights, std=None, bias=False, widths=(D,) * GATES, own=True, bound=D**-0.5)
    return [
        *norm_weights(at + "norm1", model),
        *made(at + "lstm.input", D, GATES * D),
        *made(at + "lstm.state", D, GATES * D),
        Weight(at + "lstm.input.bias", (GATES * D,), None, start=_open, own=True),
    ]


def _open(u: Tensor) -> Tensor:
    """Biases: 1 of forget gates, which are the second of four, else 0."""
    gate = torch.arange(len(u)) // (len(u) // GATES)
    return (gate == 1).float()


def forward(w: Named, at: str, x_MND: Tensor, c: Context) -> Tensor:
    M, N, D = x_MND.shape
    given = c.linear(c.norm(w, at + "norm1", x_MND), w, at + "lstm.input").view(M, c.B, c.T, -1)
    same = None
    if c.document_NT is not None:
        before_NT = F.pad(c.document_NT, (1, 0), value=-1)[:, : c.T]
        same = (c.document_NT == before_NT).view(M, c.B, c.T, 1)
    cell, out, all_ = None, None, []
    for t, given_MBE in enumerate(given.unbind(2)):
        gates = given_MBE.float()
        if out is not None and cell is not None:
            if same is not None:
                out, cell = out * same[:, :, t], cell * same[:, :, t]
            gates = gates + c.linear(out, w, at + "lstm.state").float()
        i, f, g, o = gates.chunk(GATES, -1)
        new = torch.sigmoid(i) * torch.tanh(g)
        cell = new if cell is None else new + torch.sigmoid(f) * cell
        out = (torch.sigmoid(o) * torch.tanh(cell)).to(x_MND.dtype)
        all_.append(out)
    return torch.stack(all_, 2).view(M, N, D)
