"""What is known of facts by how often they, and their values, were shown: what
`measure/fact_cells.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.base.words import digits, percent
from capacity.declare.field import FLOAT, INT, LIST, VERSION, Field, Measure

# A row of the table is a cell; the key of each, then means and sums over its facts.
KEYS = {
    "attribute": ("", "place of the attribute of each cell in `attributes`"),
    "tier": ("", "tier of its people, 1 where all are seen alike"),
    "rank": ("", "class of its values: floor(2 log2 r), r from 1 on by texts that showed them"),
}
SUMS = {
    "facts": ("facts", "facts (a person and a value) of each cell"),
    "log2_texts": ("", "sum of log2 of the texts that showed the fact, counted"),
    "log2_value_texts": ("", "sum of log2 of the texts that showed its value, of anybody"),
    "hits": ("", "sum of hits: part of the contexts in which greedy decoding writes the value"),
    "hits_squared": ("", "sum of their squares"),
    "bits": ("bits", "sum of the entropy of a value less its nats, in bits"),
    "bits_squared": ("", "sum of their squares"),
    "own_bits": ("bits", "sum of -log2 of the chance of just this value less its nats, in bits"),
    "own_bits_squared": ("", "sum of their squares"),
}


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """How many facts there are, and what is known of them."""
    cells, n = m["cells"], m["facts"]
    return [
        f"  facts: {n:,} in {len(cells['facts']):,} cells (attribute, tier, rank of the value); "
        f"{percent(m['accuracy'])} written,",
        f"    {digits(m['bits_per_fact'])} bits of each against the entropy of a value, "
        f"{digits(m['own_bits_per_fact'])} against its own chance",
    ]


MEASURE = Measure(
    name="fact_cells",
    version=1,
    data=("bios",),
    fields=(
        VERSION,
        Field("texts", INT, "texts", "of all people that training showed, counted"),
        Field("facts", INT, "facts", "of people who were asked and shown, gender left out"),
        Field("people_unseen", INT, "people", "who were asked, of whom no whole text was shown"),
        Field(
            "accuracy",
            FLOAT,
            "fraction",
            "mean hits over facts",
            column="fact_cells_accuracy",
            optional=True,
        ),
        Field(
            "bits_per_fact",
            FLOAT,
            "bits per fact",
            "entropy of a value less its nats, mean over facts",
            column="fact_cells_bits",
            optional=True,
        ),
        Field(
            "own_bits_per_fact",
            FLOAT,
            "bits per fact",
            "-log2 of the chance of a fact's value less its nats, mean over facts",
            column="fact_cells_own_bits",
            optional=True,
        ),
        Field("attributes", LIST, "", "names of the attributes"),
        *(
            Field(f"cells.{name}", LIST, unit, meaning)
            for name, (unit, meaning) in (KEYS | SUMS).items()
        ),
    ),
    describe=lines,
)
