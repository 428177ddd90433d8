"""Numbers of people by how often they were seen: what `measure/tiers.py` says of a model."""

from __future__ import annotations

import math
from typing import Any

from capacity.declare.field import FLOAT, INT, INTERVAL, LEVELS, Field

FIELDS = (
    Field("tiers", LEVELS, optional=True),
    Field("tiers.[tier].people", INT, "people", "people of tier {tier}, 1 is the most seen"),
    Field("tiers.[tier].people_asked", INT, "people", "of them, those who were asked"),
    Field(
        "tiers.[tier].bits",
        FLOAT,
        "bits per item",
        "learned bits of name and values, mean over the people of tier {tier} (bioD: without those "
        "of which strings there are)",
        column="bits_tier_{tier}",
        missing=True,
    ),
    Field(
        "tiers.[tier].bits_se",
        FLOAT,
        "bits per item",
        "standard error of bits_tier_{tier} over people, as a sample of such people",
        column="bits_se_tier_{tier}",
        missing=True,
    ),
    Field(
        "tiers.[tier].accuracy",
        FLOAT,
        "fraction",
        "values of people of tier {tier} that are reproduced exactly",
        column="accuracy_tier_{tier}",
        missing=True,
    ),
    Field(
        "tiers.[tier].accuracy_se",
        FLOAT,
        "fraction",
        "standard error of accuracy_tier_{tier} over people",
        column="accuracy_se_tier_{tier}",
        missing=True,
    ),
    Field(
        "tiers.[tier].frequency_bits",
        FLOAT,
        "bits per item",
        "bits of values in tier {tier} of a guesser who knows how often each value was shown",
        column="frequency_bits_tier_{tier}",
        missing=True,
    ),
    Field(
        "tiers.[tier].accuracy_most_shown",
        FLOAT,
        "fraction",
        "accuracy in tier {tier} of always answering the value that was shown most often",
        column="accuracy_most_shown_tier_{tier}",
        missing=True,
    ),
)


# Of single sequences, random or text.
SEQUENCES = (
    Field("tiers", LEVELS, optional=True),
    Field("tiers.[tier].sequences", INT, "sequences", "of tier {tier}, 1 is the most seen"),
    Field(
        "tiers.[tier].bits",
        FLOAT,
        "bits per item",
        "S log2 V - code length of a sequence, mean over those of tier {tier}",
        column="bits_tier_{tier}",
        missing=True,
    ),
    Field(
        "tiers.[tier].bits_se",
        FLOAT,
        "bits per item",
        "standard error of bits_tier_{tier} over sequences, as a sample of such sequences",
        column="bits_se_tier_{tier}",
        missing=True,
    ),
)
TEXT = (
    *SEQUENCES,
    Field(
        "tiers.[tier].extractable",
        FLOAT,
        "fraction",
        "sequences of tier {tier} whose second half greedy decoding writes, given the first",
        column="extractable_tier_{tier}",
        missing=True,
    ),
    Field(
        "tiers.[tier].extractable_interval",
        INTERVAL,
        "fraction",
        "{end} end of the exact 95% interval of extractable_tier_{tier}",
        column="extractable_tier_{tier}_{end}",
        missing=True,
    ),
)


def lines(m: dict[str, Any], training: dict[str, Any]) -> list[str]:
    """Bits and accuracy by how often people were seen, with standard errors over people."""
    if "tiers" not in m:
        return []
    seen = {one["tier"]: one["exposures_mean"] for one in training.get("tiers", [])}
    out = ["  tier   people      seen bits per person        accuracy  frequency alone"]
    for one in m["tiers"]:
        if not one["people_asked"]:
            out.append(f"  {one['tier']:>4} {one['people']:>8,}  nobody asked")
            continue
        out.append(
            f"  {one['tier']:>4} {one['people']:>8,} {seen.get(one['tier'], math.nan):>9,.1f}"
            f" {_with_se(one['bits'], one['bits_se'], '.2f'):>14}"
            f" {_with_se(one['accuracy'], one['accuracy_se'], '.1%'):>15}"
            f" {_or_none(one['frequency_bits'], '.2f'):>6} bits,"
            f" {_or_none(one['accuracy_most_shown'], '.1%'):>6}"
        )
    return out


def of_sequences(m: dict[str, Any], training: dict[str, Any]) -> list[str]:
    """Bits by how often sequences were seen; of text what is written out and what the attack by
    loss gets too."""
    if "tiers" not in m:
        return []
    seen = {one["tier"]: one["exposures_mean"] for one in training.get("tiers", [])}
    text = "extractable" in m["tiers"][0]
    of_text = " extractable  AUC (loss)" * text
    out = [f"  tier sequences      seen  bits per sequence{of_text}"]
    for one in m["tiers"]:
        line = (
            f"  {one['tier']:>4} {one['sequences']:>9,} {seen.get(one['tier'], math.nan):>9,.1f}"
            f" {_with_se(one['bits'], one['bits_se'], '.2f'):>18}"
        )
        if text:
            line += f" {_or_none(one['extractable'], '.1%'):>11}"
            line += f" {_or_none(one['membership']['loss']['auc'], '.3f'):>11}"
        out.append(line)
    return out


def _with_se(value: float | None, se: float | None, form: str) -> str:
    return _or_none(value, form) + ("" if se is None else f" se {_or_none(se, form)}")


def _or_none(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
