"""Bits of knowledge about people: what `measure/knowledge.py` says of a model."""

from __future__ import annotations

import math
from typing import Any

from capacity.declare.field import FLOAT, INT, SECTION, TEXT, VERSION, Field, Measure, per_parameter

SHOWN = 12  # attributes whose numbers are printed; the others stand in the record


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """R beside its bound, and bits and accuracy by attribute."""
    t, per, most = record["training"], m["bits_per_parameter"], m["ceiling_per_parameter"]
    asked = f"{m['people']:,} people"
    if m["people_asked"] < m["people"]:
        asked = f"{m['people_asked']:,} of {asked} asked"
    third = f", p3 = {m['p3_nats']:.3f}" if "p3_nats" in m else ""
    se = m["bits_se_over_people"] / record["parameters"]["paper"]
    return [
        f"  {asked}, each seen {t['exposures_mean']:,.1f} times ({t['exposures_min']:,} to "
        f"{t['exposures_max']:,}); context: {m['context']}",
        f"  R     = {per['paper']:.3f} bits per parameter (used rows), {per['total']:.3f} (total)"
        + (f", se {se:.3f}" if se else ""),
        f"  R^max = {most['paper']:.3f} bits per parameter (used rows), {most['total']:.3f} "
        "(total)",
        f"  learned {m['bits']:,.0f} of {m['ceiling_bits']:,.0f} bits = "
        f"{m['fraction_of_ceiling']:.1%}; "
        f"p1 = {m['p1_nats']:.3f}, p2 = {m['p2_nats']:.3f}{third} nats",
        *_by_attribute(m),
        f"  mean accuracy {m['accuracy']:.1%}: {m['memorized_people']:,.0f} people's worth of "
        "values",
    ]


def _by_attribute(m: dict[str, Any]) -> list[str]:
    out = ["  attribute      bits   of   accuracy   spread over contexts (nats)"]
    n = m["people"]
    if m["log2_names"] is not None:
        out.append(
            f"  {'name':12s} {m['name_bits'] / n:>6.2f}  {m['log2_names'] - math.log2(n):>5.2f}"
        )
    attributes = list(m["attributes"].items())
    for name, a in attributes[:SHOWN]:
        sd = a["nats_sd_over_contexts"]
        out.append(
            f"  {name[:12]:12s} {a['bits']:>6.2f}  {a['entropy_bits']:>5.2f}  {a['accuracy']:>7.1%}"
            + (f"   {sd:.3f}" if sd is not None else "")
            + ("   (not counted)" if name == "work_city" else "")
        )
    if len(attributes) > SHOWN:
        out.append(f"  ... and {len(attributes) - SHOWN} more in the record")
    return out


MEASURE = Measure(
    name="knowledge",
    version=1,
    data=("bios", "biod", "corpus"),
    held="bits",
    evaluated="bits",
    fields=(
        VERSION,
        Field(
            "bits",
            FLOAT,
            "bits",
            "learned bits (3.3, Definitions 4.1 and 4.3)",
            column="bits",
            needed=True,
        ),
        Field(
            "bits_se_over_people",
            FLOAT,
            "bits",
            "standard error of bits over people, where not all were asked",
            column="bits_se",
            needed=True,
        ),
        Field(
            "p1_nats",
            FLOAT,
            "nats",
            "loss of the name, summed over tokens, mean over people",
            column="p1_nats",
            needed=True,
        ),
        Field(
            "p2_nats",
            FLOAT,
            "nats",
            "loss of the values, summed over tokens (and attributes of bioS), mean over people",
            column="p2_nats",
            needed=True,
        ),
        Field(
            "accuracy",
            FLOAT,
            "fraction",
            "attribute values that are reproduced exactly",
            column="accuracy",
            needed=True,
        ),
        Field(
            "ceiling_bits",
            FLOAT,
            "bits",
            "R^max P, what the facts hold",
            column="ceiling_bits",
            needed=True,
        ),
        Field(
            "context",
            TEXT,
            "",
            "how values are asked for: first (their sentence first, behind the name) or text (the "
            "person's own)",
            needed=True,
        ),
        Field("people", INT, "people", "people of the data"),
        Field("people_asked", INT, "people", "people who were asked"),
        Field("p3_nats", FLOAT, "nats", "bioD: loss of the first chunk of a value", optional=True),
        Field("name_bits", FLOAT, "bits", "part of bits that is about the name"),
        Field("value_bits", FLOAT, "bits", "part of bits that is about the value"),
        Field(
            "diversity_bits",
            FLOAT,
            "bits",
            "bioD: part of bits that is about the diversity",
            optional=True,
        ),
        Field(
            "log2_names",
            FLOAT,
            "bits",
            "log2 of the number of possible names of a person",
            missing=True,
        ),
        Field("log2_values", FLOAT, "bits", "log2 of the number of possible values of a person"),
        Field("fraction_of_ceiling", FLOAT, "fraction", "bits / ceiling_bits", needed=True),
        Field("memorized_people", FLOAT, "people", "accuracy times people"),
        *per_parameter(
            "bits_per_parameter",
            "R: bits",
            summary={"paper": "bits_per_parameter"},  # as in metrics.jsonl: used rows
            needed=True,
        ),
        *per_parameter("ceiling_per_parameter", "R^max: ceiling_bits"),
        Field("attributes", SECTION, needed=True),
        Field(
            "attributes.{attribute}.bits",
            FLOAT,
            "bits per person",
            "learned bits of the attribute {attribute}",
            column="bits_{attribute}",
        ),
        Field(
            "attributes.{attribute}.accuracy",
            FLOAT,
            "fraction",
            "values of {attribute} that are reproduced exactly",
            column="accuracy_{attribute}",
        ),
        Field(
            "attributes.{attribute}.entropy_bits",
            FLOAT,
            "bits per person",
            "what a value of {attribute} holds",
        ),
        Field(
            "attributes.{attribute}.nats",
            FLOAT,
            "nats",
            "loss of {attribute}, summed over tokens, mean over people",
        ),
        Field(
            "attributes.{attribute}.nats_sd_over_contexts",
            FLOAT,
            "nats",
            "standard deviation of that loss over contexts",
            missing=True,
        ),
        Field(
            "attributes.{attribute}.contexts",
            INT,
            "contexts",
            "contexts in which {attribute} was asked for",
        ),
        Field(
            "attributes.{attribute}.people",
            INT,
            "people",
            "people whose texts have the value of {attribute} (corpus)",
            optional=True,
        ),
    ),
    describe=lines,
)
