"""Questions about people after a fine-tuning: what `measure/extraction.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import FLOAT, INT, INTERVAL, TEXT, VERSION, Field, Measure


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Answers about held-out people and about those of the fine-tuning."""
    out = [
        f"  asked by questions after fine-tuning ({m['mode']}) on {m['people_trained']:,} people: "
        f"{m['accuracy']:.1%} exact",
        f"  {_ends(m.get('accuracy_interval'))}on {m['people_tested']:,} held-out people, "
        f"{m['accuracy_trained']:.1%} on those of the fine-tuning",
    ]
    ends = m.get("attributes_interval", {})
    return out + [
        f"    {name:14s} {a:>6.1%} {_ends(ends.get(name))}".rstrip()
        for name, a in m["attributes"].items()
    ]


def _ends(interval: list[float] | None) -> str:
    """An interval in percent with a space behind it; empty where a record of old has none."""
    return "" if interval is None else f"[{interval[0]:.1%}, {interval[1]:.1%}] "


MEASURE = Measure(
    name="extraction",
    version=1,
    data=("bios", "biod", "corpus"),
    fields=(
        VERSION,
        Field(
            "accuracy",
            FLOAT,
            "fraction",
            "questions about held-out people answered exactly",
            column="extraction_accuracy",
        ),
        Field("mode", TEXT, "", "full or lora"),
        Field("steps", INT, "steps", "of the fine-tuning on questions"),
        Field("lr", FLOAT, "", "peak learning rate of the fine-tuning"),
        Field("people_trained", INT, "people", "people that were trained on"),
        Field("people_tested", INT, "people", "people that were tested on"),
        Field(
            "accuracy_trained",
            FLOAT,
            "fraction",
            "questions answered about people of the fine-tuning",
        ),
        Field(
            "accuracy_se_over_people",
            FLOAT,
            "fraction",
            "standard error of extraction_accuracy, the answers of a person taken together "
            "(records before 2026-11-28: as if they were independent)",
            missing=True,
        ),
        Field(
            "accuracy_interval",
            INTERVAL,
            "fraction",
            "{end} end of the 95% interval of extraction_accuracy over held-out people",
            optional=True,
        ),
        Field(
            "attributes_interval.{attribute}",
            INTERVAL,
            "fraction",
            "{end} end of the exact 95% interval of attributes.{attribute}",
            optional=True,
        ),
        Field(
            "extractable_people",
            FLOAT,
            "people",
            "twice extraction_accuracy times the held-out people",
        ),
        Field(
            "attributes.{attribute}",
            FLOAT,
            "fraction",
            "questions about {attribute} of held-out people answered exactly",
        ),
        Field(
            "attributes_trained.{attribute}",
            FLOAT,
            "fraction",
            "the same of {attribute}, people of the fine-tuning",
        ),
    ),
    describe=lines,
)
