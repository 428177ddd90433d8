"""Questions about people after a fine-tuning: what `measure/extraction.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.base.words import wrap
from capacity.declare.field import FLOAT, INT, INTERVAL, TEXT, VERSION, Field, Measure

GUESSES = {
    "uniform": "answering any value of the list alike",
    "most_frequent": "always answering the value that most of all people have",
    "most_frequent_taught": "always answering the value that most people of the fine-tuning have",
}  # ways of guessing: what each does


def guess(m: dict[str, Any], attribute: str = "") -> float | None:
    """The best that guessing answers, of an attribute or on average; None in a record of version 1,
    which did not measure it."""
    if "accuracy_uniform" not in m:
        return None
    if attribute:
        return max(m[f"attributes_{method}"][attribute] for method in GUESSES)
    return max(m[f"accuracy_{method}"] for method in GUESSES)


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Answers about held-out people and about those of the fine-tuning, beside what guessing
    answers."""
    out = [
        f"  asked by questions after fine-tuning ({m['mode']}) on {m['people_trained']:,} people: "
        f"{m['accuracy']:.1%} exact",
        f"  {_ends(m.get('accuracy_interval'))}on {m['people_tested']:,} held-out people, "
        f"{m['accuracy_trained']:.1%} on those of the fine-tuning",
        *_guessing(m),
    ]
    ends = m.get("attributes_interval", {})
    for name, a in m["attributes"].items():
        best = guess(m, name)
        guessing = "" if best is None else f" guessing {best:.1%}"
        out.append(f"    {name:14s} {a:>6.1%} {_ends(ends.get(name)):16s}{guessing}".rstrip())
    return out


def _guessing(m: dict[str, Any]) -> list[str]:
    best = guess(m)
    if best is None:
        return ["  what guessing answers was not measured: capacity measure adds it"]
    low, high = m.get("accuracy_interval") or (m["accuracy"], m["accuracy"])
    out = [f"  guessing: {m['accuracy_uniform']:.1%} any value alike, {best:.1%} the commonest"]
    comparison = "are fewer than" if high < best else "are not shown to be more than"
    if low <= best:
        out.append(f"  on average these answers {comparison} guessing gets")
        out += wrap(_above(m), "  ")
    return out


def _above(m: dict[str, Any]) -> str:
    """The attributes whose answers are shown to be more than guessing gets."""
    ends = m.get("attributes_interval", {})
    more = [name for name in ends if ends[name][0] > (guess(m, name) or 0.0)]
    return f"more than guessing they are about: {', '.join(more) or 'no attribute'}"


def _ends(interval: list[float] | None) -> str:
    """An interval in percent with a space behind it; empty where a record of old has none."""
    return "" if interval is None else f"[{interval[0]:.1%}, {interval[1]:.1%}] "


MEASURE = Measure(
    name="extraction",
    version=2,
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
        *(
            Field(
                f"accuracy_{method}",
                FLOAT,
                "fraction",
                f"what {what} gets of these questions (from version 2 on)",
                column=f"extraction_{method}",
                optional=True,
            )
            for method, what in GUESSES.items()
        ),
        *(
            Field(
                f"attributes_{method}.{{attribute}}",
                FLOAT,
                "fraction",
                f"what {what} gets of questions about {{attribute}} (from version 2 on)",
                optional=True,
            )
            for method, what in GUESSES.items()
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
