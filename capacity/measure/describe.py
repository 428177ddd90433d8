"""A finished record in lines of at most 80 columns: of each measure what it declares."""

from __future__ import annotations

from pathlib import Path

from capacity.declare import registry


def describe(record: dict, results: Path) -> str:
    """What `capacity train` and `capacity measure` print of a record."""
    t = record["training"]
    lines = [
        f"run {record['run_id']} finished in {t['wall_s']:.0f} s on {t['device']} ({_format(t)})"
    ]
    for name, measure in registry.MEASURES.items():
        if name in record["measures"]:
            lines += measure.lines(record["measures"][name], record)
    if (stored := record.get("storage")) and (held := _held(record["measures"])) is not None:
        lines.append(
            f"  stored as {stored['weights']}: {stored['bits_per_weight']:.2f} bits per weight, "
            f"{held / stored['bits']:.3f} bits held per stored bit"
        )
    if (null := record["data"].get("null_rows")) is not None:
        rows = record["data"]["source_rows"]
        lines.append(f"  {null:,} of {rows:,} rows of the source had no text and were skipped")
    if t.get("steps_skipped"):
        lines.append(f"  {t['steps_skipped']} steps skipped for an overflow in fp16")
    gain = record["convergence"]["gain_last_tenth"]
    lines.append(
        f"  gained over the last tenth of training: {'-' if gain is None else format(gain, '.2%')}"
    )
    lines.append(f"  {results / 'runs' / record['run_id']}/record.json")
    return "\n".join(lines)


def _format(t: dict) -> str:
    """In what a run was trained; records of before have the precision only."""
    qat, weights = t.get("qat", "none"), t["master_weights"]
    return ", ".join(
        [t["precision"]]
        + [f"weights {weights}"] * (weights != "fp32")
        + [f"trained {qat}"] * (qat != "none")
    )


def _held(measures: dict) -> float | None:
    """Bits that weights can be asked about: of random data or facts."""
    for name, part in measures.items():
        measure = registry.MEASURES.get(name)
        if measure is not None and measure.main and measure.bounded:
            return measure.held_bits(part)
    return None
