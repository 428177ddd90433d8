"""Bits held in context: what `measure/context.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.base.words import digits
from capacity.declare.field import FLOAT, INT, LEVELS, VERSION, Field, Measure

SEQUENCE, STATE = "bits per sequence", "bits per state number"


def _scored(before: str, column: str, of: str) -> tuple[Field, ...]:
    """Of sequences of one length. before: of the path; column: of the name of a column, with {} for
    the quantity, empty: no columns; of: which sequences."""

    main = not before
    rows = (
        (
            "bits",
            FLOAT,
            SEQUENCE,
            "sum of log2(answers) + log2 p over what is asked for, never cut off at 0: a lower "
            "bound of what the state holds of it",
            "context_bits",
        ),
        ("bits_se", FLOAT, SEQUENCE, "standard error of it over sequences", "context_bits_se"),
        (
            "ceiling_bits",
            FLOAT,
            SEQUENCE,
            "what a sequence asks for: answers x log2(equally likely ones)",
            "context_ceiling_bits",
        ),
        ("fraction_of_ceiling", FLOAT, "fraction", "bits / ceiling_bits", ""),
        ("loss_bits_per_token", FLOAT, "bits per token", "mean code length of answers", ""),
        ("recall", FLOAT, "fraction", "answers that are the most likely token", "recall"),
        (
            "state_numbers",
            INT,
            "numbers",
            "what the model keeps, in all layers, where the first answer is asked for",
            "state_numbers",
        ),
        (
            "bits_per_state_number",
            FLOAT,
            STATE,
            "bits / state_numbers",
            "context_bits_per_state_number",
        ),
    )
    return tuple(
        Field(
            before + path,
            type,
            unit,
            meaning + of,
            column=column.format(short) if short else "",
            needed=main and bool(short),
        )
        for path, type, unit, meaning, short in rows
    )


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Bits in context by length, with what weights hold of the sequences that were trained on."""
    out = ["  length   bits in context      of  ceiling  recall  state numbers  bits per number"]
    for row in m["lengths"]:
        held = f"{digits(row['bits'], 4)} +- {digits(row['bits_se'], 2)}"
        out.append(
            f"  {row['times']:>5d}x {held:>17s} {digits(row['ceiling_bits'], 4):>7s} "
            f"{row['fraction_of_ceiling']:>8.1%} {row['recall']:>7.1%} "
            f"{row['state_numbers']:>14,} {row['bits_per_state_number']:>16.3f}"
        )
    t = m["trained"]
    out.append(
        f"  sequences of the last steps: {digits(t['bits'], 4)} bits, "
        f"{t['minus_held_out']:+.2g} +- {t['minus_held_out_se']:.2g} beside held-out ones"
    )
    return out


MEASURE = Measure(
    name="context",
    version=1,
    data=("copy", "mqar"),
    held="bits",
    evaluated="context_bits",
    bounded=False,  # a state holds them, not the weights
    fields=(
        VERSION,
        Field("sequences", INT, "sequences", "held-out sequences that were scored, of each length"),
        *_scored("", "{}", "; of held-out sequences of the length of training"),
        Field("trained.sequences", INT, "sequences", "those of the last steps that were scored"),
        Field("trained.bits", FLOAT, SEQUENCE, "bits, of sequences that were trained on"),
        Field(
            "trained.minus_held_out",
            FLOAT,
            SEQUENCE,
            "trained.bits - bits: what weights hold of single sequences",
            column="context_trained_minus_held_out",
        ),
        Field(
            "trained.minus_held_out_se",
            FLOAT,
            SEQUENCE,
            "standard error of that difference",
            column="context_trained_minus_held_out_se",
        ),
        Field("lengths", LEVELS),
        *_scored(
            "lengths.[times].",
            "{}_{{times}}x",
            "; of held-out sequences of {times} x the length of training",
        ),
    ),
    describe=lines,
)
