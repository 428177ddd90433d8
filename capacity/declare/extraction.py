"""Questions about people after a fine-tuning: what `measure/extraction.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import FLOAT, INT, TEXT, VERSION, Field, Measure


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Answers about held-out people and about those of the fine-tuning."""
    out = [
        f"  asked by questions after fine-tuning ({m['mode']}) on {m['people_trained']:,} people: "
        f"{m['accuracy']:.1%} exact",
        f"  on {m['people_tested']:,} held-out people, {m['accuracy_trained']:.1%} on those of the "
        f"fine-tuning",
    ]
    attributes = list(m["attributes"].items())
    return out + [
        "    " + ", ".join(f"{name} {a:.1%}" for name, a in part)
        for part in (attributes[:3], attributes[3:])
        if part
    ]


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
            "binomial standard error of extraction_accuracy",
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
