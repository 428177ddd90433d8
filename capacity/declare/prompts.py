"""Adversarial compression: what `measure/prompts.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.base.words import digits
from capacity.declare.field import (
    FLOAT,
    INT,
    INTERVAL,
    LIST,
    VERSION,
    Field,
    Measure,
)

SIDES = {"members": "members", "held_out": "held-out sequences"}


def _side(side: str, who: str) -> tuple[Field, ...]:
    """Of the sequences of one side."""
    before = f"prompts_{side}_"

    def field(name: str, type: str, unit: str, meaning: str, column: bool = True) -> Field:
        named = f"{before}{name}" if column else ""
        return Field(
            f"{side}.{name}", type, unit, meaning.format(who), column=named, optional=column
        )

    return (
        Field(
            f"{side}.within.{{tokens}}",
            FLOAT,
            "fraction",
            f"{who} that a prompt of at most {{tokens}} tokens makes the model write, exact",
            column=f"{before}within_{{tokens}}",
            optional=True,
        ),
        Field(
            f"{side}.within_interval.{{tokens}}",
            INTERVAL,
            "fraction",
            f"{{end}} end of the exact 95% interval of {before}within_{{tokens}}",
        ),
        field(
            "memorized",
            FLOAT,
            "fraction",
            "{} with a ratio above 1: a prompt shorter than half is tried or their own beginning",
        ),
        Field(
            f"{side}.memorized_interval",
            INTERVAL,
            "fraction",
            f"{{end}} end of the exact 95% interval of {before}memorized",
            column=f"{before}memorized_{{end}}",
            optional=True,
        ),
        field(
            "unknown",
            FLOAT,
            "fraction",
            "{} of which no prompt was found and longer ones than tried might give a ratio above 1",
        ),
        field(
            "ratio_at_least",
            FLOAT,
            "",
            "mean of (S - m) / m over {}, m the shortest prompt that is known",
        ),
        field(
            "ratio_at_most",
            FLOAT,
            "",
            "mean of (S - m) / m over {}, m the shortest prompt there could be",
        ),
        field(
            "own_memorized",
            FLOAT,
            "fraction",
            "{} that greedy decoding writes behind less than half of their own tokens",
        ),
        field("ties", INT, "sequences", "{} written by a choice between equally likely tokens"),
        field(
            "saved_bits",
            FLOAT,
            "bits",
            "saved by sending {} as prompts, less log2(longest + 1) of each",
        ),
        field(
            "code_bits",
            FLOAT,
            "bits",
            "saved of the same {} by the model's own code (strict convention)",
        ),
        field(
            "shortest",
            LIST,
            "tokens",
            "of each of {}, of its shortest prompt; 0: none among those tried",
            column=False,
        ),
        field(
            "own",
            LIST,
            "tokens",
            "of each of {}, of the shortest own beginning that makes the model write the rest",
            column=False,
        ),
    )


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """How many sequences short prompts make the model write, of members and held-out ones."""
    most = f"{m['longest']}"
    out = [
        f"  {m['prompts']:,} prompts of up to {most} tokens for {m['sequences']:,} members and as "
        "many others",
        f"  {'':9s} {'within ' + most:>9s}   {'ratio above 1':22s} {'mean ratio':>13s} "
        f"{'saved bits':>11s}",
    ]
    for side in SIDES:
        one = m[side]
        low, high = one["memorized_interval"]
        held = f"{one['memorized']:.1%} [{low:.1%}, {high:.1%}]"
        ratio = f"{digits(one['ratio_at_least'])} to {digits(one['ratio_at_most'])}"
        out.append(
            f"  {side.replace('_', ' '):9s} {one['within'][most]:>9.1%}   {held:22s} {ratio:>13s} "
            f"{one['saved_bits']:>11,.0f}"
        )
    code = m["members"]["code_bits"]
    out.append(f"  the model's own code saves {code:,.0f} bits of the same members")
    if m["shared"]:
        out.append(f"  {m['shared']} of the others end as a member does")
    return out


MEASURE = Measure(
    name="prompts",
    version=1,
    data=("uniform", "text"),
    fields=(
        VERSION,
        Field("longest", INT, "tokens", "of the longest prompts that are tried, M"),
        Field(
            "sequences",
            INT,
            "sequences",
            "members that prompts were tried for, and as many held-out sequences",
            column="prompts_sequences",
            optional=True,
        ),
        Field("prompts", INT, "prompts", "all of up to M tokens"),
        Field(
            "shared",
            INT,
            "sequences",
            "held-out sequences whose tokens behind the first M are those of a member scored",
            column="prompts_shared",
            optional=True,
        ),
        Field(
            "rejected",
            INT,
            "prompts",
            "that wrote a sequence token by token, but not when it was scored at once: counted "
            "as none",
        ),
        *(one for side, who in SIDES.items() for one in _side(side, who)),
    ),
    describe=lines,
)
