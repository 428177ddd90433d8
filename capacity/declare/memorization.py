"""Memorized bits of random data: what `measure/memorization.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare import tiers
from capacity.declare.field import FLOAT, INT, VERSION, Field, Measure, per_parameter

MEANINGS = {
    "strict": "strict convention: every token counts, from BOS on",
    "paper": "paper convention: mean over positions 2..S times S",
}


def _of(convention: str) -> tuple[Field, ...]:
    name, how = convention, MEANINGS[convention]
    return (
        Field(
            f"{name}.bits",
            FLOAT,
            "bits",
            f"memorized bits, {how}",
            column=f"{name}_bits",
            needed=True,
        ),
        Field(
            f"{name}.ceiling_bits",
            FLOAT,
            "bits",
            f"most bits that the data can give, {name} convention; of an unfinished run the "
            "expected one",
            column=f"{name}_ceiling_bits",
            needed=True,
        ),
        Field(
            f"{name}.fraction_of_ceiling",
            FLOAT,
            "fraction",
            f"{name}_bits / {name}_ceiling_bits",
            needed=True,
            missing=True,
        ),
        *per_parameter(
            f"{name}.bits_per_parameter",
            f"{name}_bits",
            summary={"total": f"{name}_bits_per_parameter"},
            needed=True,
        ),
    )


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Bits, their part of the ceiling and bits per parameter, by convention."""
    out = ["  convention          bits  of ceiling   bits per parameter: total, paper"]
    for name in MEANINGS:
        c, per = m[name], m[name]["bits_per_parameter"]
        fraction = (
            f"{c['fraction_of_ceiling']:.1%}" if c["fraction_of_ceiling"] is not None else "-"
        )
        out.append(
            f"  {name:10s} {c['bits']:>13,.0f}  {fraction:>10s}   {per['total']:.3f}  "
            f"{per['paper']:.3f}"
        )
    return out + tiers.of_sequences(m, record["training"])


MEASURE = Measure(
    name="memorization",
    version=1,
    data=("uniform",),
    held="strict.bits",
    evaluated="strict_bits",
    fields=(
        VERSION,
        Field("n_sequences", INT, "sequences", "sequences that were scored"),
        Field(
            "distinct_sequences", INT, "sequences", "different ones among those that were scored"
        ),
        Field("entropy_bits", FLOAT, "bits", "N S log2 V"),
        Field("loss_bits_per_token", FLOAT, "bits per token", "mean code length, strict"),
        Field(
            "strict_clipped_bits",
            FLOAT,
            "bits",
            "strict bits with each sequence cut off at 0: biased upward",
        ),
        *_of("strict"),
        *_of("paper"),
        *tiers.SEQUENCES,
    ),
    describe=lines,
)
