"""Rows of tables, and experts, that a trained model reads: what `measure/tables.py` says of it."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import FLOAT, INT, VERSION, Field, Measure


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """How much of its tables a model uses, of all of them and of each."""
    out = [f"  tables: {m['read']:.1%} of the rows of the least used one are read"]
    return out + [
        f"    {name:18s} {one['rows']:>9,} rows, {one['read']:.1%} read, {one['kl_bits']:.2f} bits "
        "from uniform"
        for name, one in m["tables"].items()
    ]


MEASURE = Measure(
    name="tables",
    version=1,
    fields=(
        VERSION,
        Field("tokens", INT, "tokens", "of the training data, of which reads were counted"),
        Field(
            "read",
            FLOAT,
            "fraction",
            "rows of the least used table (or experts of the least used layer) that some token of "
            "the training data reads; rows of tokens that no text has do not count",
            column="rows_read",
            optional=True,
        ),
        Field(
            "kl_bits",
            FLOAT,
            "bits",
            "KL divergence of reads from uniform, of the table where it is largest: 0 where all "
            "rows are read as often, log2 of the rows where all reads are of one",
            column="rows_kl_bits",
            optional=True,
        ),
        Field("tables.{table}.rows", INT, "rows", "of {table} that training data can read"),
        Field("tables.{table}.read", FLOAT, "fraction", "rows of {table} that are read"),
        Field("tables.{table}.kl_bits", FLOAT, "bits", "KL of reads of {table} from uniform"),
    ),
    describe=lines,
)
