"""Adversarial compression: what `measure/prompt_search.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import (
    FLOAT,
    INT,
    INTERVAL,
    LIST,
    VERSION,
    Field,
    Measure,
)
from capacity.declare.prompts import SIDES


def _side(side: str, who: str) -> tuple[Field, ...]:
    """Of the sequences of one side."""

    def field(name: str, type: str, unit: str, meaning: str, column: bool = True) -> Field:
        named = f"prompt_search_{side}_{name}" if column else ""
        return Field(
            f"{side}.{name}", type, unit, meaning.format(who), column=named, optional=column
        )

    return (
        field("searched", INT, "sequences", "{} that a shorter prompt is searched for"),
        field("shortened", INT, "sequences", "{} of which one was found"),
        field("added", FLOAT, "fraction", "{} with a ratio above 1 by such a prompt alone"),
        field(
            "memorized",
            FLOAT,
            "fraction",
            "{} with a ratio above 1: by a prompt that was tried or found or their own beginning",
        ),
        Field(
            f"{side}.memorized_interval",
            INTERVAL,
            "fraction",
            f"{{end}} end of the exact 95% interval of prompt_search_{side}_memorized",
            column=f"prompt_search_{side}_memorized_{{end}}",
            optional=True,
        ),
        field(
            "unknown",
            FLOAT,
            "fraction",
            "{} of which the search found none either, which says nothing",
        ),
        field(
            "ratio_at_least",
            FLOAT,
            "",
            "mean of (S - m) / m over {}, m the shortest prompt that is known",
        ),
        field(
            "saved_bits",
            FLOAT,
            "bits",
            "saved by sending {} as prompts of fewer than S/2 tokens, less the log2 of how many "
            "lengths and none there are, of each",
        ),
        field(
            "bound",
            LIST,
            "tokens",
            "of each of {}, of the shortest prompt that is known: an upper bound, exact where it "
            "was among all that were tried",
            column=False,
        ),
    )


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """What the search adds to what all short prompts and own beginnings bring out."""
    out = [
        f"  longer prompts searched for: {m['steps']:,} steps of {m['swaps']:,} swaps, of the "
        f"{m['top_k']:,} best tokens",
        f"  {'':9s} {'searched':>9s} {'shorter':>8s}   {'ratio above 1':22s} {'unknown':>8s} "
        f"{'saved bits':>11s}",
    ]
    for side in SIDES:
        one = m[side]
        low, high = one["memorized_interval"]
        held = f"{one['memorized']:.1%} [{low:.1%}, {high:.1%}]"
        out.append(
            f"  {side.replace('_', ' '):9s} {one['searched']:>9,} {one['shortened']:>8,}   "
            f"{held:22s} {one['unknown']:>8.1%} {one['saved_bits']:>11,.0f}"
        )
    for tokens, one in m["recall"].items():
        low, high = one["interval"]
        out.append(
            f"  recall from {tokens} random tokens: {one['found']:.1%} [{low:.1%}, {high:.1%}] of "
            f"{one['sequences']:,} members"
        )
    return out


MEASURE = Measure(
    name="prompt_search",
    version=1,
    data=("uniform", "text"),
    fields=(
        VERSION,
        Field("steps", INT, "steps", "of the search for each length, at most"),
        Field("swaps", INT, "swaps", "of one token, tried in a step"),
        Field("top_k", INT, "tokens", "of a place that swaps are drawn from, the best by gradient"),
        Field(
            "sequences",
            INT,
            "sequences",
            "members, and as many held-out sequences, whether or not they were searched for",
            column="prompt_search_sequences",
            optional=True,
        ),
        Field(
            "rejected",
            INT,
            "prompts",
            "that wrote a sequence when it was scored at once, but not token by token: not counted",
        ),
        *(one for side, who in SIDES.items() for one in _side(side, who)),
        Field(
            "recall.{tokens}.sequences",
            INT,
            "sequences",
            "members that are known to have a prompt of {tokens} tokens: up to M of which it is "
            "the shortest, and at the longest below S/2 all of which this search did not find it",
            column="prompt_search_recall_{tokens}_sequences",
            optional=True,
        ),
        Field(
            "recall.{tokens}.found",
            FLOAT,
            "fraction",
            "of these for which the search finds one, begun at {tokens} random tokens",
            column="prompt_search_recall_{tokens}",
            optional=True,
        ),
        Field(
            "recall.{tokens}.interval",
            INTERVAL,
            "fraction",
            "{end} end of the exact 95% interval of prompt_search_recall_{tokens}",
        ),
        Field(
            "recall.{tokens}.by_chance",
            FLOAT,
            "fraction",
            "that as many prompts drawn at random would find, if there is one",
        ),
    ),
    describe=lines,
)
