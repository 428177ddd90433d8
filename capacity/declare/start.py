"""What a run has kept of the data of the run with whose weights it began: what `measure/start.py`
says of it."""

from __future__ import annotations

from typing import Any

from capacity.base.words import count
from capacity.declare.field import FLOAT, TEXT, VERSION, Field, Measure


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Bits held of the first data before and after."""
    kept = "" if m["kept"] is None else f" = {m['kept']:.1%}"
    out = [
        f"  began with the weights of run {m['run_id']} ({m['kind']}): of its data",
        f"  {count(m['bits_before'])}bit held then, {count(m['bits_after'])}bit now{kept}",
    ]
    if "accuracy_before" in m:
        out.append(f"  accuracy {m['accuracy_before']:.1%} then, {m['accuracy_after']:.1%} now")
    return out


MEASURE = Measure(
    name="start",
    version=1,
    fields=(
        VERSION,
        Field("run_id", TEXT, "", "the run with whose final weights training began"),
        Field("kind", TEXT, "", "data.kind of that run"),
        Field(
            "bits_before",
            FLOAT,
            "bits",
            "what those weights held of their own data, as that run was measured: strict bits of "
            "random data, bits of facts, and of text also those that are not memorized",
            column="start_bits_before",
        ),
        Field(
            "bits_after",
            FLOAT,
            "bits",
            "what the weights of this run hold of the same data, in the same arithmetic, of the "
            "same people in the same contexts",
            column="start_bits_after",
        ),
        Field(
            "bits_lost",
            FLOAT,
            "bits",
            "start_bits_before - start_bits_after, a sum over all items: what some gain makes up "
            "for what others lose",
            column="start_bits_lost",
        ),
        Field(
            "kept",
            FLOAT,
            "fraction",
            "start_bits_after / start_bits_before; none where nothing was held",
            column="start_kept",
            missing=True,
        ),
        Field(
            "accuracy_before",
            FLOAT,
            "fraction",
            "of facts: accuracy of the weights that training began with, on their own people",
            column="start_accuracy_before",
            optional=True,
        ),
        Field(
            "accuracy_after",
            FLOAT,
            "fraction",
            "of facts: accuracy of this run on the same people",
            column="start_accuracy_after",
            optional=True,
        ),
    ),
    describe=lines,
)
