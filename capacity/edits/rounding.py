"""Uniform grids, round to nearest, and GPTQ, as functions of tensors. Maps are [out, in] here: O
outputs, I inputs, G inputs of a group.

A grid of b bits holds the values scale (q - zero), q = 0 .. 2^b - 1.

asymmetric  from min(w, 0) to max(w, 0): scale = (max - min) / (2^b - 1), zero = round(-min /
            scale), stored in b bits
symmetric   scale = 2 max|w| / (2^b - 1), zero = 2^(b-1): all 2^b codes, of which the lowest lies
            half a step below -max|w| and the highest half a step below max|w|; the form of GPTQ's
            code and of torchao, not the one with 2^b - 1 codes

Either way no weight lies further than half a step from its value. Scales are rounded up to what
they are stored in, so that this holds exactly; a scale of zero (all weights are) becomes 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from capacity.settings.quantize import Spec

FLOATS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
COLUMNS = 128  # columns after which GPTQ corrects all that follow at once (its section 3.3, step 2)


@dataclass(frozen=True)
class Grid:
    """One grid per row of a matrix."""

    scale: Tensor  # fp64 [R, 1]
    zero: Tensor  # fp64 [R, 1], whole numbers
    bits: int

    def nearest(self, w_RN: Tensor) -> Tensor:
        """The value next to each weight, fp64 [R, N]; halves go to the even code, as in IEEE
        754."""
        code = ((w_RN / self.scale).round() + self.zero).clamp(0, 2**self.bits - 1)
        return (code - self.zero) * self.scale


def fit(w_RN: Tensor, bits: int, symmetric: bool, scales: str) -> Grid:
    """The grid of each row."""
    w = w_RN.double()
    low = w.amin(1, keepdim=True).clamp(max=0)
    width = (
        2 * w.abs().amax(1, keepdim=True)
        if symmetric
        else w.amax(1, keepdim=True).clamp(min=0) - low
    )
    scale = _up(width / (2**bits - 1), FLOATS[scales])
    scale = torch.where(scale > 0, scale, 1.0)
    zero = torch.full_like(scale, 2 ** (bits - 1)) if symmetric else (-low / scale).round()
    return Grid(scale, zero, bits)


def _fit_as(w_RN: Tensor, spec: Spec) -> Grid:
    """The grid of each row, as a variant with codes asks for it."""
    assert spec.symmetric is not None and spec.scales is not None, f"{spec.method} has no grids"
    return fit(w_RN, spec.bits, spec.symmetric, spec.scales)


def _group_size(spec: Spec, inputs: int) -> int:
    """Inputs of a row that share a scale; all of them but with granularity group."""
    if spec.granularity != "group":
        return inputs
    assert spec.group_size is not None, "granularity group has a size"
    return spec.group_size


def _up(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers of 0 or more rounded up to a floating-point format, in fp64. Behind such a number
    comes the one whose bits, as a whole number, are one more."""
    near = x.to(dtype)
    whole = torch.int32 if dtype == torch.float32 else torch.int16
    return (near.view(whole) + (near.double() < x).to(whole)).view(dtype).double()


def rows_of(w_OI: Tensor, spec: Spec) -> Tensor:
    """The weights with those that share a grid in one row."""
    if spec.granularity == "tensor":
        return w_OI.reshape(1, -1)
    return w_OI.reshape(-1, _group_size(spec, w_OI.shape[1]))


def rtn(w_OI: Tensor, spec: Spec) -> Tensor:
    """Round to nearest, fp32 [O, I]."""
    rows = rows_of(w_OI.double(), spec)
    return _fit_as(rows, spec).nearest(rows).reshape(w_OI.shape).float()


def gptq(w_OI: Tensor, gram_II: Tensor, spec: Spec, columns: int = COLUMNS) -> Tensor:
    """GPTQ (Frantar et al., arXiv 2210.17323, algorithm 1), fp32 [O, I]: columns are rounded one
    after the other, and those to come take up the error, so that ||(W - Q) X||^2 stays small. gram:
    X X^T, to which the Hessian 2 X X^T is proportional.

    damping times the mean of the diagonal is added to it (section 3.3, step 3). Grids of tensors
    and rows are those of the original weights, those of a group of the weights as they are when its
    first column is reached; with act_order all are the original ones. An input that is always zero
    has no say: its weights are rounded to nearest.
    """
    w, hessian = w_OI.double().clone(), gram_II.double().clone()
    assert spec.damping is not None, "gptq has a damping"
    inputs, group = w.shape[1], _group_size(spec, w.shape[1])
    whole = _fit_as(rows_of(w, spec), spec)
    scale_OG, zero_OG = (
        whole.scale.view(-1, inputs // group),
        whole.zero.view(-1, inputs // group),
    )  # one row for a whole tensor
    diagonal = hessian.diagonal()
    unused = diagonal == 0
    diagonal += spec.damping * diagonal.sum() / max(1, int((~unused).sum()))
    diagonal[unused] = 1.0
    order = (
        diagonal.argsort(descending=True, stable=True)
        if spec.act_order
        else torch.arange(inputs, device=w.device)
    )
    w, hessian = w[:, order], hessian[order][:, order]
    group_of = (order // group).tolist()
    upper = torch.linalg.cholesky(
        torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True
    )
    out = torch.empty_like(w)
    if spec.granularity == "group":  # a group within one block of columns
        columns = max(group, columns // group * group)
    regrouped = spec.granularity == "group" and not spec.act_order  # grids of weights as they are
    now = whole
    for first in range(0, inputs, columns):
        last = min(first + columns, inputs)
        error = torch.zeros(len(w), last - first, dtype=w.dtype, device=w.device)
        for c in range(first, last):
            g = group_of[c]
            if regrouped and c % group == 0:
                now = _fit_as(w[:, c : c + group], spec)
            elif not regrouped:
                now = Grid(scale_OG[:, g : g + 1], zero_OG[:, g : g + 1], spec.bits)
            out[:, c : c + 1] = now.nearest(w[:, c : c + 1])
            error[:, c - first] = (w[:, c] - out[:, c]) / upper[c, c]
            w[:, c + 1 : last] -= error[:, c - first, None] * upper[c, c + 1 : last]
        w[:, last:] -= error @ upper[first:last, last:]
    back = torch.empty_like(out)
    back[:, order] = out
    return back.float()


def output_error(w_OI: Tensor, q_OI: Tensor, gram_II: Tensor) -> tuple[float, float]:
    """||(W - Q) X||^2 and ||W X||^2, which GPTQ's layer-wise objective is made of."""
    gram = gram_II.double()

    def norm(m: Tensor) -> float:
        return float(((m @ gram) * m).sum())

    return norm(w_OI.double() - q_OI.double()), norm(w_OI.double())
