"""Bits of random rows and bits of facts in one model: what `measure/mixture.py` says of it."""

from __future__ import annotations

from typing import Any

from capacity.base.words import digits
from capacity.declare.field import FLOAT, INT, VERSION, Field, Measure

WHOSE = {"random": ("rows", "random rows"), "facts": ("people", "people")}
HELD = {
    "random": "strict memorized bits of random rows, behind their marker, as data=uniform counts "
    "them",
    "facts": "learned bits of names and values, as data=bios counts them",
}


def _family(name: str) -> tuple[Field, ...]:
    unit, whose = WHOSE[name]
    one = name.removesuffix("s")
    return (
        Field(
            f"{name}.items",
            INT,
            unit,
            f"{whose} in the training set",
            column=f"{one}_items",
            optional=True,
        ),
        Field(
            f"{name}.bits",
            FLOAT,
            "bits",
            f"{HELD[name]}; null: none were trained on",
            column=f"{one}_bits",
            optional=True,
            missing=True,
        ),
        Field(
            f"{name}.asked_bits",
            FLOAT,
            "bits",
            f"entropy of all {whose}: N S log2 V, or R^max P",
            column=f"{one}_asked_bits",
            optional=True,
        ),
        Field(
            f"{name}.ceiling_bits",
            FLOAT,
            "bits",
            "most bits that any model can score on them, in no order",
            column=f"{one}_ceiling_bits",
            optional=True,
            missing=True,
        ),
        Field(
            f"{name}.bits_per_parameter",
            FLOAT,
            "bits per parameter",
            f"{one}_bits / parameters_total",
            column=f"{one}_bits_per_parameter",
            optional=True,
            missing=True,
        ),
        *(
            Field(
                f"{name}.exposures_{which}",
                FLOAT,
                "exposures",
                f"{word} renderings of one of the {whose}",
                column=f"{one}_exposures_{which}",
                optional=True,
                missing=True,
            )
            for which, word in (("min", "fewest"), ("mean", "mean"), ("max", "most"))
        ),
    )


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Bits of both families, asked and held, in all and per parameter."""
    out = ["  family      items        asked         held  per parameter        seen"]
    for name in WHOSE:
        one = m[name]
        if one["bits"] is None:
            out.append(f"  {name:8s} {one['items']:>8,}  (none were trained on)")
            continue
        out.append(
            f"  {name:8s} {one['items']:>8,} {one['asked_bits']:>12,.0f} {one['bits']:>12,.0f} "
            f"{one['bits_per_parameter']:>14.3f} {one['exposures_mean']:>11,.1f}"
        )
    per = m["bits"] / record["parameters"]["total"]
    return [
        *out,
        f"  random tokens: {m['symbols']:,} ids alike, {digits(m['row_bits'])} bits a row",
        f"  both together: {m['bits']:,.0f} bits, {per:.3f} per parameter (total)",
    ]


MEASURE = Measure(
    name="mixture",
    version=1,
    data=("mixed",),
    held="bits",
    evaluated="bits",
    fields=(
        VERSION,
        Field(
            "bits",
            FLOAT,
            "bits",
            "bits of random rows and of facts together",
            column="mixture_bits",
            needed=True,
            optional=True,
        ),
        Field("symbols", INT, "ids", "V, different tokens that random rows are drawn from"),
        Field("row_bits", FLOAT, "bits", "S log2 V, entropy of a random row"),
        *_family("random"),
        *_family("facts"),
    ),
    describe=lines,
)
