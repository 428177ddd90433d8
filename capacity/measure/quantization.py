"""What a model still holds after post-training quantization, per parameter and per stored bit, one
row per variant.

All rows, and the numbers of the unquantized model beside them, are evaluated in fp32 arithmetic on
weights with the values of the grids (simulated quantization), also where training ran in bf16.
Stored bits are codes, scales, zero points and all other tensors in the format they are kept in; no
model can hold more bits of random data or of facts than it stores, which is checked. Of text,
"bits" are what the model takes off a code of log2 V per token over its training set: general
knowledge of the language counts at every use, so this bound does not hold there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from capacity.declare import quantization as declared
from capacity.declare import registry
from capacity.declare.field import Measure, exactly
from capacity.edits.quantize import quantize
from capacity.model.gpt import EXACT, GPT
from capacity.model.qat import stored_bits
from capacity.settings.quantize import Spec
from capacity.settings.train import Train

MEASURE = declared.MEASURE
ARITHMETIC = "fp32 on dequantized weights"


def storage(gpt: GPT, train: Train, arithmetic: str | None = None) -> dict:
    """What a model that is used in this arithmetic (default: that of its training) must store: its
    format, bits, bits per weight, and where it was trained quantized the tensors that are coded and
    those that are kept in bf16.

    fp32 and tf32 take 32 bits, as does what is used in bf16 or fp16 but for routers 16; weights
    that are kept in bf16 take 16 wherever they are used.
    """
    sizes, P = {w.name: w for w in gpt.layout}, sum(gpt.sizes)
    if gpt.qat is not None:
        shapes = {name: sizes[name].shape for name in gpt.qat.channels}
        coded = sum(math.prod(shape) for shape in shapes.values())
        bits = 16 * (P - coded)
        for name, dim in gpt.qat.channels.items():
            inputs = shapes[name][dim]
            bits += stored_bits(gpt.qat.levels, math.prod(shapes[name]) // inputs, inputs)
        return {
            "weights": train.qat,
            "bits": bits,
            "bits_per_weight": bits / P,
            "quantized": list(shapes),
            "skipped": [name for name in sizes if name not in shapes],
        }
    kept = "bf16" if train.weights != "fp32" else (arithmetic or train.precision)
    wide = (
        sum(size for w, size in zip(gpt.layout, gpt.sizes, strict=True) if w.name.endswith(EXACT))
        if train.weights == "fp32"
        else 0
    )
    bits = 32 * P if kept in ("fp32", "tf32") else 16 * P + 16 * wide
    return {
        "weights": "fp32" if kept == "tf32" else kept,
        "bits": bits,
        "bits_per_weight": bits / P,
    }


@dataclass(frozen=True)
class Source:
    """Where a variant's numbers come from. rows(n): the first n sequences of training data;
    evaluate: weights [P] -> held_bits and other numbers of `measure`."""

    rows: Callable[[int], Tensor]
    evaluate: Callable[[Tensor], dict]
    measure: Measure


def measure(
    gpt: GPT,
    flat_P: Tensor,
    wanted: list[Spec],
    source: Source,
    parameters: dict[str, int],
    unquantized_bits: int,
) -> dict:
    """Rows for the record, each with every quantized tensor and every skipped one, which is kept in
    the format `rest`."""
    before, name = source.evaluate(flat_P), source.measure.name
    out = {
        "version": MEASURE.version,
        "arithmetic": ARITHMETIC,
        "shapes": {weight.name: list(weight.shape) for weight in gpt.layout},
        "unquantized": _numbers(before, before, unquantized_bits, parameters, name),
        "rows": [],
    }
    for spec in wanted:
        calibration = source.rows(spec.calibration or 1)
        weights_P, tensors, stored = quantize(gpt, flat_P, calibration, spec)
        row = dataclasses.asdict(spec) | _numbers(
            source.evaluate(weights_P), before, stored, parameters, name
        )
        if spec.calibration is not None:
            row["calibration_tokens"] = gpt.targets(calibration).numel()
        row["quantized"] = {
            tensor: outcome for tensor, outcome in tensors.items() if outcome is not None
        }
        row["skipped"] = [tensor for tensor, outcome in tensors.items() if outcome is None]
        out["rows"].append(exactly(row, MEASURE.rows, MEASURE.name))
    return MEASURE.returns(out)


def check_bound(name: str, held: float, stored: int) -> None:
    """AssertionError where more bits of random data or facts are claimed than the weights can
    hold."""
    assert not registry.MEASURES[name].bounded or held <= stored, (
        f"{held} bits held by weights that are stored in {stored} bits"
    )


def _numbers(
    measured: dict, before: dict, stored: int, parameters: dict[str, int], name: str
) -> dict:
    held = measured["held_bits"]
    check_bound(name, held, stored)
    return measured | {
        "fraction_of_unquantized": held / before["held_bits"] if before["held_bits"] > 0 else None,
        "bits_per_parameter": {convention: held / p for convention, p in parameters.items()},
        "stored_bits": stored,
        "stored_bits_per_weight": stored / parameters["total"],
        "bits_per_stored_bit": held / stored,
    }
