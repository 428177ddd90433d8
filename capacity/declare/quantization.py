"""What is left after quantization: what `measure/quantization.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import (
    BOOL,
    FLOAT,
    INT,
    LIST,
    SECTION,
    TEXT,
    VERSION,
    Field,
    Measure,
)
from capacity.settings.quantize import Quantize, Spec, spec_of, specs

HELD = (  # of the unquantized model and of each variant
    Field(
        "held_bits",
        FLOAT,
        "bits",
        "what is held after quantization: strict bits, or bits as in the table of runs",
        column="held_bits",
        needed=True,
    ),
    Field(
        "paper_bits",
        FLOAT,
        "bits",
        "memorized bits after quantization, paper convention",
        column="paper_bits",
        optional=True,
    ),
    Field(
        "accuracy",
        FLOAT,
        "fraction",
        "attribute values that are reproduced exactly after quantization",
        column="accuracy",
        optional=True,
    ),
    Field(
        "fraction_of_unquantized",
        FLOAT,
        "fraction",
        "held_bits / those of the unquantized model; below 0: worse than a uniform guess",
        column="fraction_of_unquantized",
        needed=True,
        missing=True,
    ),
    Field(
        "bits_per_parameter.total",
        FLOAT,
        "bits per parameter",
        "held_bits / parameters_total",
        column="bits_per_parameter",
        needed=True,
    ),
    Field(
        "bits_per_parameter.{parameters}",
        FLOAT,
        "bits per parameter",
        "held_bits / parameters_{parameters}",
    ),
    Field(
        "stored_bits",
        INT,
        "bits",
        "codes, scales, zero points and the rest, without padding",
        column="stored_bits",
        needed=True,
    ),
    Field(
        "stored_bits_per_weight",
        FLOAT,
        "bits per parameter",
        "stored_bits / parameters_total",
        column="stored_bits_per_weight",
        needed=True,
    ),
    Field(
        "bits_per_stored_bit",
        FLOAT,
        "fraction",
        "held_bits / stored_bits",
        column="bits_per_stored_bit",
        needed=True,
    ),
)


def _setting(name: str, type: str) -> Field:
    """A setting of a variant, null where its method does not depend on it."""
    return Field(
        name, type, "", f"setting quantize.{name} of this variant", column=name, missing=True
    )


VARIANT = (  # fields of `settings.quantize.Spec`
    Field(
        "method",
        TEXT,
        "",
        "none (the unquantized model, fp32), bf16 and fp16 (all weights cast), rtn (round to "
        "nearest) or gptq",
        column="method",
    ),
    Field("bits", INT, "bits", "bits of a code, or of the format", column="bits"),
    _setting("symmetric", BOOL),
    _setting("embeddings", BOOL),
    _setting("act_order", BOOL),
    _setting("granularity", TEXT),
    _setting("scales", TEXT),
    _setting("rest", TEXT),
    _setting("group_size", INT),
    _setting("calibration", INT),
    _setting("damping", FLOAT),
    Field(
        "calibration_tokens",
        INT,
        "tokens",
        "tokens that the inputs of maps were taken from",
        column="calibration_tokens",
        optional=True,
    ),
)


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Columns: bits held, their part of the unquantized model's, per weight, bits stored per
    weight, the ratio of these two."""
    out = [
        "  quantized after training      bits held     kept  per weight stored  ratio",
        _line("none (fp32)", "", m["unquantized"]),
    ]
    return out + [_line(f"{row['method']} {row['bits']}", _grid(row), row) for row in m["rows"]]


def _grid(row: dict[str, Any]) -> str:
    """What shares a scale, and whether embeddings are quantized too."""
    if row["granularity"] is None:
        return "all weights cast"
    size = f" {row['group_size']}" if row["group_size"] else ""
    parts = ["sym" if row["symmetric"] else "asym", row["granularity"] + size]
    return " ".join(parts + ["+emb"] * row["embeddings"])


def variants(rows: list[dict[str, Any]]) -> list[str]:
    """Each variant in one word, such as rtn_4_asym_row; variants that differ in further settings
    have these in it."""
    names = ("scales", "rest", "calibration", "damping", "act_order")
    varied = [name for name in names if len({row.get(name) for row in rows}) > 1]
    out = []
    for row in rows:
        words = [row["method"], str(row["bits"])]
        words += _grid(row).replace("+emb", "embeddings").split() * (row["granularity"] is not None)
        words += [f"{name}={row[name]}" for name in varied if row.get(name) is not None]
        out.append("_".join(words))
    return out


def _line(name: str, grid: str, row: dict[str, Any]) -> str:
    kept = row["fraction_of_unquantized"]
    held = row["bits_per_parameter"]["total"]
    return (
        f"  {name:11s} {grid:19s}{row['held_bits']:>9,.0f}  "
        f"{'-' if kept is None else format(kept, '.1%'):>7s}  {held:>10.3f}"
        f" {row['stored_bits_per_weight']:>6.2f} {row['bits_per_stored_bit']:>6.3f}"
    )


MEASURE = Measure(
    name="quantization",
    version=1,
    fields=(
        VERSION,
        Field("arithmetic", TEXT, "", "in what the variants are evaluated"),
        Field("shapes", SECTION),
        Field("unquantized", SECTION),
        Field("rows", LIST),
    ),
    rows=(*VARIANT, *HELD, Field("quantized", SECTION), Field("skipped", LIST)),
    describe=lines,
)


def asked(settings: Quantize, record: dict | None = None) -> list[Spec]:
    """The variants that a run's settings ask for, and those that its record has already."""
    had = [
        spec_of(row)
        for row in (record or {"measures": {}})["measures"].get(MEASURE.name, {"rows": []})["rows"]
    ]
    wanted = specs(settings)
    return [spec for spec in had if spec not in wanted] + wanted
