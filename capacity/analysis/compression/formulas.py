"""The formulas of published rulers of compression (standard library only)."""

from __future__ import annotations

import math

# The biases of calc_ic.py in github.com/TeleAI-AI-Flow/InformationCapacity, by data set; every
# other text has the last one.
BIASES = {"mixed_text": -24.0, "Ch-FineWeb-Edu": -18.7, "other text": -27.0}
BITS_OF_A_BYTE = 8


def information_capacity(
    text_bits: float, loss_bits: float, flops: float, bias: float = 0.0
) -> float:
    """(text bits per token - code length per token + bias) / log2(FLOPs per token): Information
    Capacity (arXiv 2511.08066; calc_ic.py of its repository). Without the bias it is the definition
    of the paper; the bias is chosen so that sizes of one series get one number.

    text_bits: of UTF-8, 8 per byte, per token; of random tokens log2 V. ValueError for flops that
    are not above 1.
    """
    if flops <= 1:
        raise ValueError(f"flops={flops:g}: expected more than 1 per token")
    return (text_bits - loss_bits + bias) / math.log2(flops)


def effective_parameters(bits: float, family: list[tuple[float, float]]) -> float | None:
    """Parameters with which a family of reference models holds so many bits: between two of its
    sizes by a power law. The effective size of the Densing law (arXiv 2412.04315), whose density is
    this over the parameters that a model has; there through a law of loss and of scores, here
    straight from bits. family: (parameters, bits), both above 0. None outside of its sizes, where
    nothing was measured, and for fewer than two."""
    points = sorted(family)
    if bits <= 0 or len(points) < 2:
        return None
    for (p, held), (q, more) in zip(points, points[1:], strict=False):
        low, high = sorted((held, more))
        if low <= bits <= high and low > 0 and low < high:
            share = math.log(bits / held) / math.log(more / held)
            return p * (q / p) ** share
    return None
