"""Maps of blocks as products of two factors (`model.map_rank`), so that bits per *trained*
parameter can be told from bits per number of the map that they make.

With rank r a map W [in, out] is A B with A [in, r] and B [r, out], never formed: x A, then times B,
and a bias behind it. Queries, keys, values and out of attention are maps of their own, so are those
of an MLP; tables, norms, convolutions and the head stay as they are. A map of `name` is
`name.low`, its A, and `name.high`; A of queries, keys and values lie side by side, as the maps do
elsewhere, B are `qkv.q.high`, `qkv.k.high` and `qkv.v.high`.

Factors start normal with standard deviation sqrt(s / sqrt r), so that entries of A B have the
variance s^2 that the map itself would start with: a sum of r products of independent numbers. They
are equally large, because a gradient flow keeps A^T A - B B^T (Arora et al., arXiv 1802.06509,
section 4), so that neither then does all the learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from capacity.model.context import Named
from capacity.model.weights import Weight, map_weights
from capacity.settings.model import Model

SIDES = "qkv"  # maps that lie side by side


def maps(
    model: Model, name: str, fan_in: int, fan_out: int, std: float, widths: tuple[int, ...] = ()
) -> list[Weight]:
    """Weights of a map, or of three side by side with these widths; std: of its entries."""
    rank = model.map_rank
    if rank is None:
        return map_weights(name, fan_in, fan_out, std, model.bias, widths=widths)
    each = math.sqrt(std / math.sqrt(rank))
    low = (rank,) * max(1, len(widths))
    out = map_weights(name + ".low", fan_in, sum(low), each, False, widths=low, own=True)
    sides = zip(SIDES, widths, strict=True) if widths else [("", fan_out)]
    for side, width in sides:
        high = f"{name}.{side}.high" if side else name + ".high"
        out += map_weights(high, rank, width, each, model.bias, own=True)
    return out


def through(
    linear: Callable[[Tensor, Named, str], Tensor], x_MNI: Tensor, w: Named, name: str
) -> Tensor:
    """x A B + b of a map that has factors; linear: of one of them."""
    low = linear(x_MNI, w, name + ".low")
    if name + ".high.weight" in w:
        return linear(low, w, name + ".high")
    parts = low.chunk(len(SIDES), -1)
    sides = zip(SIDES, parts, strict=True)
    return torch.cat([linear(part, w, f"{name}.{side}.high") for side, part in sides], -1)


def multiplied(w: Named) -> Named:
    """Weights of a member by name with every product of factors as the one map that it is, its
    numbers summed in fp64 and rounded to fp32, and biases under the name of the map."""
    out = {}
    for key, one in w.items():
        name, _, kind = key.rpartition(".")
        if name.endswith(".low"):
            name = name.removesuffix(".low")
            alone = name + ".high.weight" in w
            highs = [name + ".high"] if alone else [f"{name}.{side}.high" for side in SIDES]
            lows = one.double().chunk(len(highs), -1)
            products = [
                low @ w[high + ".weight"].double() for low, high in zip(lows, highs, strict=True)
            ]
            out[name + ".weight"] = torch.cat(products, -1).float()
            if highs[0] + ".bias" in w:
                out[name + ".bias"] = torch.cat([w[high + ".bias"] for high in highs], -1)
        elif not name.endswith(".high"):
            out[f"{name}.{kind}" if name else kind] = one
    return out
