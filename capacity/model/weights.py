"""Named weights of a member: their shapes, their initial values, and what they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from capacity.base.rng import derived_seed
from capacity.settings.model import Model


@dataclass(frozen=True)
class Weight:
    """One named tensor of a member.

    Initial values: `start` of numbers uniform in [0, 1), uniform within `bound`, normal with `std`,
    or `constant` where all three are None; of the first `twins` columns those of the next ones.
    Weights are drawn in their order from the stream of the member's seed, `own` ones each from a
    stream of its name, so that a model to which they are added starts with the weights that it has
    without them. kind: a `map` [..., in, out], with the widths of maps that lie side by side in it;
    a `router`; a `shift` of its choices, which no gradient moves; a `table` of a part, whose rows
    are looked up; or `plain`.
    """

    name: str
    shape: tuple[int, ...]
    std: float | None
    constant: float = 0.0
    decays: bool = False  # whether weight decay acts on it
    kind: str = "plain"
    widths: tuple[int, ...] = ()
    bound: float | None = None
    own: bool = False
    start: Callable[[Tensor], Tensor] | None = None
    twins: int = 0

    @property
    def is_map(self) -> bool:
        """Whether it is a map inside a block, one of each expert or one for all tokens, but not a
        router."""
        return self.kind == "map"

    def drawn(self, seed: int, stream: torch.Generator) -> Tensor:
        """Its initial values in a member with this seed, fp32 [size]; stream: where those stand
        that are not its own."""
        size = math.prod(self.shape)
        if self.own:
            stream = torch.Generator().manual_seed(derived_seed(seed, f"init {self.name}", 63))
        if self.start is not None:
            return self.start(torch.rand(size, generator=stream))
        if self.bound is not None:
            return (2 * torch.rand(size, generator=stream) - 1) * self.bound
        if self.std is None:
            return torch.full((size,), self.constant)
        drawn = torch.randn(size, generator=stream) * self.std
        if self.twins:
            columns = drawn.view(self.shape)
            columns[..., : self.twins] = columns[..., self.twins : 2 * self.twins]
        return drawn


def norm_weights(name: str, model: Model, own: bool = False) -> list[Weight]:
    """Gain and, of a LayerNorm with biases, bias."""
    bias = [Weight(name + ".bias", (model.d_model,), None, own=own)] * (model.norm == "layernorm")
    return [Weight(name + ".weight", (model.d_model,), None, 1.0, own=own), *bias]


def map_weights(  # noqa: PLR0913  shape, scale and kind of a map
    name: str,
    fan_in: int,
    fan_out: int,
    std: float | None,
    bias: bool,
    *,
    rows: tuple[int, ...] = (),
    kind: str = "map",
    widths: tuple[int, ...] = (),
    own: bool = False,
    bound: float | None = None,
    twins: int = 0,
) -> list[Weight]:
    """A linear map x W + b with W stored [in, out], or one of each per expert (rows)."""
    biases = [Weight(name + ".bias", (*rows, fan_out), None, own=own)] * bias
    weight = Weight(
        name + ".weight",
        (*rows, fan_in, fan_out),
        std,
        decays=True,
        kind=kind,
        widths=widths or (fan_out,),
        bound=bound,
        own=own,
        twins=twins,
    )
    return [weight, *biases]
