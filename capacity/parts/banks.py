"""The channel `banks`: an MLP with further units that are fetched by the first tokens (standard
library only; see `model.parts.banks`).

k branching, R_l = k^l blocks of level l from 1 on, r_l inner units of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.parts import base, mlp
from capacity.parts.base import Count

if TYPE_CHECKING:
    from capacity.settings.model import Model
    from capacity.settings.train import Train

MOST_BLOCKS = 2**31  # of a level: as many as keys have values


def levels(model: Model) -> list[tuple[int, int]]:
    """R_l and r_l of every level."""
    return [(model.banks_branching**level, r) for level, r in enumerate(model.banks_units, 1)]


def inward(model: Model) -> int:
    """Maps to a hidden unit."""
    return 2 if model.mlp == "gated" else 1


def read(model: Model) -> int:
    """Numbers that are fetched for a token: (1 + inward) d of each unit of one block per level."""
    return (inward(model) + 1) * model.d_model * sum(model.banks_units)


def count(model: Model, rows: int) -> Count:
    """Those of the MLP, and (1 + inward) d sum_l r_l R_l of tables."""
    unit = (inward(model) + 1) * model.d_model
    tables = unit * sum(blocks * r for blocks, r in levels(model))
    plain = mlp.count(model, rows).total
    return Count(plain + tables, idle=tables - read(model), read=read(model))


def flops(model: Model, length: int) -> int:
    """The MLP as wide as it is with what was fetched."""
    return mlp.flops(model, length) + 2 * read(model)


def state(model: Model, length: int) -> int:
    """The tokens that choose, and what the MLP keeps."""
    return mlp.state(model, length) + model.banks_prefix


def fetched(model: Model, length: int) -> float:
    """Numbers of blocks by token: of a sequence they are fetched once, of documents for each
    token, since a row of tokens may hold several."""
    return read(model) / (length if model.banks_of == "sequence" else 1)


def kept(model: Model, length: int, train: Train, device: str) -> float:
    """What the MLP keeps, what is in front of and behind the activation of fetched units, of gated
    ones both factors, and the blocks, in the order in which they were read and as products take
    them."""
    size, units = base.bytes_of(train), sum(model.banks_units)
    own = size * (2 * inward(model) * units + fetched(model, length))
    return mlp.kept(model, length, train, device) + own + 16


def inputs(model: Model) -> dict[str, int]:
    """Groups lie in the maps of the MLP and in rows of tables, of which one is a block's maps to or
    from its units."""
    units = {f"model.d_model times units {r}": model.d_model * r for r in model.banks_units}
    return mlp.inputs(model) | units
