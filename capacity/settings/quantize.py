"""Post-training quantization as a measure: its settings, the variants that they ask for, and the
bits that a variant stores.

A map is seen as [out, in], as in the literature (the weights file has [in, out]), a table of
embeddings or a head as it is stored, [V, D] or [S, D]; so a row is all that one output, token or
position has, and groups lie along the inputs of a row. Standard library only, so that settings can
be checked where there is no torch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from capacity.base.errors import ConfigError
from capacity.settings.field import setting

CASTS = (
    "bf16",
    "fp16",
)  # all weights in another floating-point format; also what may be stored beside codes
STORAGE = {"bf16": 16, "fp16": 16, "fp32": 32}  # bits
METHODS = (*CASTS, "rtn", "gptq")
# of quantization-aware training (train.qat): how many values a weight can take
LEVELS = {
    "int8": 256,
    "int6": 64,
    "int5": 32,
    "int4": 16,
    "int3": 8,
    "int2": 4,
    "ternary": 3,
    "binary": 2,
}


@dataclass(frozen=True)
class Quantize:
    """Quantization of the final weights without retraining: all combinations of the lists are
    measured. A measure: out of the run's identity."""

    methods: tuple[str, ...] = setting(
        (),
        "bf16, fp16: all weights cast; rtn: round to nearest; gptq: arXiv 2210.17323; empty: none",
        choices=METHODS,
    )
    bits: tuple[int, ...] = setting((8, 6, 5, 4, 3, 2), "bits of a code (rtn, gptq)", low=2, high=8)
    symmetric: tuple[bool, ...] = setting(
        (False,),
        "true: zero point in the middle, scale from the largest absolute value; false: zero "
        "point stored, scale from the smallest to the largest value",
    )
    granularity: tuple[str, ...] = setting(
        ("row",),
        "what shares a scale: a whole map, the weights of one output, or a group of them",
        choices=("tensor", "row", "group"),
    )
    group_size: tuple[int, ...] = setting(
        (16,),
        "inputs of a group, with granularity group; must divide every width that is quantized",
        low=1,
    )
    embeddings: tuple[bool, ...] = setting(
        (False,), "whether token and position tables and an untied head are quantized too"
    )
    scales: str = setting("fp16", "storage of scales, rounded up to it", choices=tuple(STORAGE))
    rest: str = setting("bf16", "storage of what is not quantized", choices=tuple(STORAGE))
    calibration: int = setting(
        128,
        "sequences or windows of the training data, its first ones, that the inputs of maps are "
        "taken from",
        low=1,
    )
    damping: float = setting(
        0.01, "gptq: added to the diagonal of the Hessian / its mean", above=0.0, high=1.0
    )
    act_order: bool = setting(
        False,
        "gptq: inputs in the order of falling diagonal; groups then keep the scales of the "
        "original weights",
    )


@dataclass(frozen=True, order=True)
class Spec:
    """One variant. What a method does not depend on is None, so that two spellings of one variant
    are one."""

    method: str
    bits: int
    symmetric: bool | None = None
    granularity: str | None = None
    group_size: int | None = None
    embeddings: bool = True
    scales: str | None = None
    rest: str | None = None
    calibration: int | None = None
    damping: float | None = None
    act_order: bool | None = None

    def grids(self, maps: int, rows: int, columns: int) -> int:
        """Scales that `maps` maps of shape [rows, columns] share among them."""
        assert self.granularity is not None, f"{self.method} has no scales"
        shared_by = {"tensor": 1, "row": rows, "group": rows * columns // (self.group_size or 1)}
        return maps * shared_by[self.granularity]

    def stored_bits(self, maps: int, rows: int, columns: int) -> int:
        """Bits of `maps` maps of shape [rows, columns]: a code per weight, and for each grid a
        scale and, where it is not symmetric, a zero point of the width of a code. Exact, without
        the padding of any file format."""
        if self.method in CASTS:
            return STORAGE[self.method] * maps * rows * columns
        assert self.scales is not None, f"{self.method} has no scales"
        return maps * rows * columns * self.bits + self.grids(maps, rows, columns) * (
            STORAGE[self.scales] + (0 if self.symmetric else self.bits)
        )


FIELDS = tuple(f.name for f in dataclasses.fields(Spec))


def specs(settings: Quantize) -> list[Spec]:
    """The variants that the settings ask for, casts first, then from many bits to few."""
    out = [Spec(method, STORAGE[method]) for method in settings.methods if method in CASTS]
    kinds = [
        (name, size)
        for name in settings.granularity
        for size in (settings.group_size if name == "group" else (None,))
    ]
    for method, symmetric, (granularity, size), embeddings, bits in itertools.product(
        [m for m in METHODS if m in settings.methods and m not in CASTS],
        settings.symmetric,
        kinds,
        settings.embeddings,
        sorted(settings.bits, reverse=True),
    ):
        own = (settings.damping, settings.act_order) if method == "gptq" else (None, None)
        out.append(
            Spec(
                method,
                bits,
                symmetric,
                granularity,
                size,
                embeddings,
                settings.scales,
                settings.rest,
                settings.calibration,
                *own,
            )
        )
    return out


def spec_of(row: dict) -> Spec:
    """The variant of a row of a record."""
    return Spec(**{name: row[name] for name in FIELDS})


def check(settings: Quantize, widths: Mapping[str, int], qat: str) -> None:
    """ConfigError for a model that is trained quantized, for an empty list, or for a group that
    does not divide one of the widths that the model's weights have, by the words for them."""
    if settings.methods and qat != "none":
        raise ConfigError(
            f"quantize.methods={_list(settings.methods)}: train.qat={qat} makes weights of few "
            f"values already; choose "
            "quantize=none or train.qat=none"
        )
    if not set(settings.methods) - set(CASTS):
        return
    for name in ("bits", "symmetric", "granularity", "embeddings") + ("group_size",) * (
        "group" in settings.granularity
    ):
        if not getattr(settings, name):
            raise ConfigError(
                f"quantize.{name}=[]: quantize.methods={_list(settings.methods)} needs at least one"
            )
    if "group" in settings.granularity:
        common = math.gcd(*widths.values())
        allowed = [n for n in range(1, min(common, 4096) + 1) if common % n == 0]
        for size in settings.group_size:
            for name, width in widths.items():
                if width % size:
                    raise ConfigError(
                        f"quantize.group_size={_list(settings.group_size)}: {size} does not divide "
                        f"{name}={width}; "
                        f"allowed: {', '.join(map(str, allowed))}"
                    )


def _list(values: tuple) -> str:
    return f"[{','.join(map(str, values))}]"
