"""All tensors of a model quantized one after the other, each map with the inputs that it gets from
the maps already quantized.

Order: tensors that stay are cast to their storage, then tables, of parts too (round to nearest),
then block by block the maps of a memory; queries, keys and values; the map behind attention; the
maps into the MLP; the map out of it; at last an untied head. A tied head is the token table.
Queries, keys and values are three maps that lie side by side in one tensor, experts are maps of
their own, each with the inputs that are routed to it; routers, norms, biases, convolutions and BOS
stay. The result is fp32 weights whose values are those of the grids (simulated quantization).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from capacity.base.errors import ConfigError
from capacity.edits.rounding import FLOATS, gptq, output_error, rtn
from capacity.model.context import Context
from capacity.model.gpt import GPT
from capacity.model.weights import Weight
from capacity.settings.quantize import CASTS, STORAGE, Spec

TOKENS_AT_ONCE = 2**14  # of a forward pass over calibration data
# maps of a block that get the same inputs, in the order in which it uses them
STAGES = (
    ("engram.key", "engram.value"),
    ("qkv", *(f"mixer.{name}" for name in ("beta", "alpha", "eta", "step", "low", "z"))),
    ("qkv.low",),
    ("qkv.q.high", "qkv.k.high", "qkv.v.high"),
    ("mixer.high",),
    ("lstm.input",),
    ("lstm.state",),
    ("out",),
    ("out.low",),
    ("out.high",),
    ("query",),
    ("keys",),
    ("gate", "up", "shared.gate", "shared.up"),
    ("gate.low", "up.low"),
    ("gate.high", "up.high"),
    ("down", "shared.down"),
    ("down.low",),
    ("down.high",),
)


class Observed(GPT):
    """A GPT that sums x^T x over the inputs of those maps that have a place in `grams`, by name,
    fp64 [X, in, in] (X experts, or 1)."""

    def __init__(self, gpt: GPT) -> None:
        super().__init__(gpt.model, gpt.vocab_size, gpt.seq_len, gpt.bos)
        self.grams: dict[str, Tensor | None] = {}
        self._seated: Tensor | None = None

    def _linear(self, x_MNI: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
        seen = x_MNI
        if name.endswith("experts.up"):
            self._seated = (x_MNI != 0).any(-1, keepdim=True)
        elif name.endswith(
            "experts.down"
        ):  # an expert's empty places give act(bias), which no token gets to see
            assert self._seated is not None  # `up` comes before `down`
            seen = x_MNI * self._seated
        if name in self.grams:
            x = seen.double()
            gram, before = x.transpose(1, 2) @ x, self.grams[name]
            self.grams[name] = gram if before is None else before + gram
        return super()._linear(x_MNI, w, name)

    def inputs(self, w: dict[str, Tensor], rows_BT: Tensor) -> list[tuple[Tensor, Context]]:
        """Hidden states in front of the first block, in parts, each with what blocks know of it."""
        parts = rows_BT.split(max(1, TOKENS_AT_ONCE // rows_BT.shape[1]))
        return [(self._embed(w, part[None]), self.context(part[None])) for part in parts]

    def through(
        self, w: dict[str, Tensor], layer: int, parts: list, observed: list[str]
    ) -> tuple[list, dict[str, Tensor]]:
        """The hidden states behind a block, and the grams of the maps named."""
        self.grams = dict.fromkeys(observed)
        behind = [(self.block(w, layer, x, c), c) for x, c in parts]
        for _, c in parts:
            c.balance.clear()  # of experts, for training
        grams = {name: gram for name, gram in self.grams.items() if gram is not None}
        self.grams = {}
        return behind, grams

    def head_gram(self, w: dict[str, Tensor], parts: list) -> Tensor:
        """x^T x over the inputs of the head, fp64 [in, in]."""
        states = [self._norm(w, "norm", x)[0].double() for x, *_ in parts]
        return reduce(torch.add, (x.T @ x for x in states))


def quantize(
    gpt: GPT, flat_P: Tensor, rows_BT: Tensor, spec: Spec
) -> tuple[Tensor, dict[str, dict | None], int]:
    """Weights [P] of a member after quantization, what became of each tensor by name, and the bits
    that all tensors take.

    rows: calibration data, int64 as `GPT.nll` takes them. Of a tensor: None where it only went to
    the format `rest`, else its storage, the number of maps in it, of scales, weight_error = ||W -
    Q|| / ||W||, and of maps output_error = ||X W - X Q|| / ||X W|| over these inputs beside
    rtn_output_error, what rounding to nearest would have left there.
    """
    if gpt.model.loops > 1 and spec.method not in CASTS:
        raise ConfigError(
            f"model.loops={gpt.model.loops}: {spec.method} rounds one block after the other, and "
            "here every block is used several times; choose a format to cast to"
        )
    flat_P = flat_P.clone()
    w = gpt.named(flat_P[None])  # views: writing to them changes the row
    if spec.method in CASTS:
        flat_P.copy_(flat_P.to(FLOATS[spec.method]))
        return (
            flat_P,
            {name: {"storage": spec.method} for name in w},
            flat_P.numel() * STORAGE[spec.method],
        )
    assert spec.rest is not None, f"{spec.method} has no format for the rest"
    maps = {weight.name: parts for weight, parts in _maps(gpt)}
    own = [weight.name for weight in gpt.layout if weight.kind == "table"]
    tables = ["token.weight", "position.weight", *own] if spec.embeddings else []
    tables = [name for name in tables if name in w]
    coded = {*maps, *tables, *(["head.weight"] if spec.embeddings and "head.weight" in w else [])}
    report: dict[str, dict | None] = {name: None for name in w if name not in coded}
    for name in report:
        w[name].copy_(w[name].to(FLOATS[spec.rest]))
    stored = STORAGE[spec.rest] * sum(w[name].numel() for name in report)
    for name in tables:
        report[name], bits = _replace(w[name], None, [w[name].shape[2]], spec, table=True)
        stored += bits
    model = Observed(gpt)
    with torch.no_grad():
        parts = model.inputs(w, rows_BT)
        for layer in range(gpt.model.n_layers):
            at = f"blocks.{layer}."
            for stage in STAGES:
                names = [
                    n
                    for kind in stage
                    for n in (f"{at}{kind}", f"{at}experts.{kind}")
                    if n + ".weight" in maps
                ]
                _, grams = model.through(w, layer, parts, names)
                for name in names:
                    report[name + ".weight"], bits = _replace(
                        w[name + ".weight"], grams[name], maps[name + ".weight"], spec
                    )
                    stored += bits
            parts, _ = model.through(w, layer, parts, [])
        if "head.weight" in coded:
            report["head.weight"], bits = _replace(
                w["head.weight"],
                model.head_gram(w, parts)[None],
                [w["head.weight"].shape[2]],
                spec,
                table=True,
            )
            stored += bits
    return flat_P, {name: report[name] for name in w}, stored


def _maps(gpt: GPT) -> Iterator[tuple[Weight, list[int]]]:
    """The maps of blocks in the order of the layout: (weight, widths of the maps side by side in
    it)."""
    first, by_place = 0, {place: parts for place, _, parts in gpt.matrices()}
    for weight, size in zip(gpt.layout, gpt.sizes, strict=True):
        if first in by_place:
            yield weight, by_place[first]
        first += size


def _replace(
    w: Tensor, gram_XII: Tensor | None, widths: list[int], spec: Spec, table: bool = False
) -> tuple[dict[str, Any], int]:
    """Quantize a tensor in place: [1, X, in, out] or [1, in, out] with maps of these widths side by
    side, or a table [1, V, D]; what became of it, and the bits that it takes."""
    stacked = w[0] if w.dim() == 4 else w  # [X, in, out]
    maps, scales, stored, squares = 0, 0, 0, torch.zeros(5, dtype=torch.float64)
    for x, matrix in enumerate(stacked):
        for part in [matrix] if table else matrix.split(widths, dim=1):
            w_OI = part.clone() if table else part.T.clone()
            nearest = rtn(w_OI, spec)
            q_OI = (
                gptq(w_OI, gram_XII[x], spec)
                if spec.method == "gptq" and gram_XII is not None
                else nearest
            )
            squares[0] += float((w_OI.double() - q_OI.double()).square().sum())
            squares[1] += float(w_OI.double().square().sum())
            if gram_XII is not None:
                error, whole = output_error(w_OI, q_OI, gram_XII[x])
                squares[2:] += torch.tensor(
                    [error, whole, output_error(w_OI, nearest, gram_XII[x])[0]]
                )
            part.copy_(q_OI if table else q_OI.T)
            maps += 1
            scales += spec.grids(1, w_OI.shape[0], w_OI.shape[1])
            stored += spec.stored_bits(1, w_OI.shape[0], w_OI.shape[1])
    out: dict[str, Any] = {
        "storage": f"int{spec.bits}",
        "maps": maps,
        "scales": scales,
        "weight_error": _ratio(squares[0], squares[1]),
    }
    if gram_XII is not None:
        out |= {
            "output_error": _ratio(squares[2], squares[3]),
            "rtn_output_error": _ratio(squares[4], squares[3]),
        }
    return out, stored


def _ratio(part: Tensor, whole: Tensor) -> float:
    """Root of a ratio of squares, to the digits that mean anything; 0 where there is nothing to err
    about."""
    return float(f"{math.sqrt(max(0.0, float(part / whole))):.5g}") if whole > 0 else 0.0
