"""Short causal convolutions, one filter per channel, and the Canon layers that consist of one
(Allen-Zhu, Physics of Language Models 4.1, arXiv 2512.17351, and its released code)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from capacity.model.context import Context, Named
from capacity.model.weights import Weight
from capacity.parts.base import TAPS
from capacity.settings.model import Model


def convolved(x_MND: Tensor, filter_MKD: Tensor, c: Context, dilation: int = 1) -> Tensor:
    """sum_k filter[k] * x[t - k dilation], in fp32, over places k >= 0 of the same sequence and
    document; what lies before them counts as zeros. x: [M, B T, D] -> fp32 [M, B T, D]."""
    M, N, D = x_MND.shape
    K = filter_MKD.shape[1]
    front = (K - 1) * dilation
    padded = F.pad(x_MND.float().view(M, c.B, c.T, D), (0, 0, front, 0))
    taps = filter_MKD.float().view(M, 1, K, 1, D).unbind(2)
    y = padded[:, :, front:] * taps[0]
    for k in range(1, K):
        back = k * dilation
        before = padded[:, :, front - back : front - back + c.T]
        if c.document_NT is not None:
            same_NT = c.document_NT == F.pad(c.document_NT, (back, 0), value=-1)[:, : c.T]
            before = before * same_NT.view(M, c.B, c.T, 1)
        y = y + before * taps[k]
    return y.view(M, N, D)


def canon_weights(model: Model, at: str, where: str, width: int) -> list[Weight]:
    """The filters of the Canon layer at A, B, C or D, uniform within 1/sqrt(taps), the default of
    the convolution in its released code; none where there is no such layer."""
    name = f"{at}canon_{where.lower()}.weight"
    one = Weight(name, (TAPS, width), None, bound=TAPS**-0.5, own=True)
    return [one] if where in model.canon else []


def canon(w: Named, at: str, where: str, h_MNE: Tensor, c: Context, first: int = 0) -> Tensor:
    """h and its convolution, without bias or activation; h where there is no such layer. first: of
    its channels that h has."""
    filters_MKE = w.get(f"{at}canon_{where.lower()}.weight")
    if filters_MKE is None:
        return h_MNE
    filter_MKE = filters_MKE[:, :, first : first + h_MNE.shape[2]]
    return (h_MNE.float() + convolved(h_MNE, filter_MKE, c)).to(h_MNE.dtype)
