"""How much of the wording of people's texts a model has memorized: what `measure/wording.py`
says."""

from __future__ import annotations

from typing import Any

from capacity.base.words import digits
from capacity.declare.field import FLOAT, INT, VERSION, Field, Measure

PER_TEXT = "bits per text"


def _texts(kind: str, texts: str) -> tuple[Field, ...]:
    return (
        Field(
            f"{kind}.code_bits_per_text",
            FLOAT,
            PER_TEXT,
            f"code length of a whole text, EOS in front of it given; {texts}",
        ),
        Field(
            f"{kind}.held_bits_per_text",
            FLOAT,
            PER_TEXT,
            "entropy_bits_per_text less what the code has beside the name and the values: a lower "
            f"bound of what is known of the wording; {texts}",
            column=f"wording_{kind}_bits_per_text",
            optional=True,
        ),
        Field(
            f"{kind}.held_bits_per_text_se",
            FLOAT,
            PER_TEXT,
            f"standard error of wording_{kind}_bits_per_text over people, as a sample of such",
            column=f"wording_{kind}_bits_per_text_se",
            optional=True,
        ),
    )


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """What is held of the wording of texts that were shown, and of texts that never were."""
    out = [
        f"  wording: {digits(m['entropy_bits_per_text'])} bits a text (orders and templates); held "
        "of it, a text:"
    ]
    words = {"shown": "texts that were shown", "fresh": "texts that never were (control)"}
    for kind, what in words.items():
        one = m[kind]
        out.append(
            f"    {what:32s} {digits(one['held_bits_per_text'], 4):>8s} +- "
            f"{digits(one['held_bits_per_text_se'], 2)}  (code {digits(one['code_bits_per_text'])})"
        )
    fixed = m["fixed_texts"]
    if fixed:
        out.append(
            f"    {m['wording_bits']:,.0f} of {m['ceiling_bits']:,.0f} bits of all wording, "
            f"{m['wording_bits_per_parameter']:.3f} per parameter"
        )
    return out


MEASURE = Measure(
    name="wording",
    version=1,
    data=("bios",),
    fields=(
        VERSION,
        Field("people", INT, "people", "trained people whose texts were scored"),
        Field("texts", INT, "texts", "of each person"),
        Field(
            "fixed_texts",
            INT,
            "texts",
            "that each person has (data.biographies); null: wording is drawn anew, and none can be "
            "held",
            missing=True,
        ),
        Field(
            "entropy_bits_per_text",
            FLOAT,
            PER_TEXT,
            "log2 of the orders of sentences times the templates of each",
            column="wording_entropy_bits_per_text",
            optional=True,
        ),
        Field(
            "ceiling_bits",
            FLOAT,
            "bits",
            "entropy_bits_per_text of all fixed texts of all people, 0 where none is fixed",
            column="wording_ceiling_bits",
            optional=True,
        ),
        *_texts("shown", "texts that training shows"),
        *_texts("fresh", "texts of the same people whose wording training never shows"),
        Field(
            "wording_bits",
            FLOAT,
            "bits",
            "held of all wording: wording_shown_bits_per_text times people and fixed texts (one "
            "where none is fixed)",
            column="wording_bits",
            optional=True,
        ),
        Field(
            "wording_bits_per_parameter",
            FLOAT,
            "bits per parameter",
            "wording_bits / parameters_paper",
            column="wording_bits_per_parameter",
            optional=True,
        ),
    ),
    describe=lines,
)
