"""Grids and weights for tests of quantization."""

import torch

from capacity.settings.quantize import Spec

CPU = torch.device("cpu")


def spec(
    method="rtn",
    bits=4,
    symmetric=False,
    granularity="row",
    group_size=None,
    embeddings=False,
    scales="fp32",
    rest="fp32",
    damping=0.01,
    act_order=False,
):
    own = (damping, act_order) if method == "gptq" else (None, None)
    return Spec(
        method, bits, symmetric, granularity, group_size, embeddings, scales, rest, 64, *own
    )
