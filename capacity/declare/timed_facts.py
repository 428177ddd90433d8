"""Numbers of new facts that a training shows at set steps: what `run/timed_facts.py` says of its
probes."""

from __future__ import annotations

from typing import Any

from capacity.base.words import digits
from capacity.declare.field import FLOAT, INT, LEVELS, LIST, Field


def _of(name: str, type: str, unit: str, meaning: str, *, missing: bool = False) -> Field:
    return Field(f"facts.[part].{name}", type, unit, meaning, missing=missing)


FIELDS = (
    Field("facts", LEVELS, optional=True),
    _of("arm", "text", "", "duplicate, paraphrase, once, never"),
    _of("kind", "text", "", "of probe: memorization, semantic, composition"),
    _of("facts", INT, "facts", "of the arm"),
    _of("window", INT, "steps", "after a view, in which its local acquisition maximum lies"),
    _of("step", LIST, "steps", "after which all facts were asked"),
    _of("nats", LIST, "nats", "of the value's tokens at each step, mean over facts of {part}"),
    _of("before", LIST, "nats", "of each fact by view, just before it"),
    _of("best", LIST, "nats", "of each fact by view, at the local acquisition maximum"),
    _of("lam", LIST, "steps", "of each fact by view, at which that is reached"),
    _of("lags", LIST, "steps", "behind the local acquisition maximum of the last view"),
    _of("later", LIST, "nats", "of each fact at each lag, straight between probes"),
    _of("never_before", LIST, "nats", "of never shown facts, mean, before a fact's first view"),
    _of("never_later", LIST, "nats", "the same at each lag, fact by fact; at lag 0 first"),
    _of(
        "effectivity",
        FLOAT,
        "bits",
        "mean over facts and views of {part}: gained from just before a view to its maximum",
    ),
    _of(
        "gained",
        FLOAT,
        "bits",
        "mean over facts of {part}: gained from before the first view to the maximum of the last "
        "one, above never shown facts",
    ),
    _of("held", FLOAT, "bits", "the same at the last lag", missing=True),
)


def lines(part: dict[str, Any]) -> list[str]:
    """A line per arm and kind of probe; none where a run has no facts."""
    if "facts" not in part:
        return []
    out = ["  facts: shown, asked (bits)   effectivity    gained    held"]
    for one in part["facts"]:
        held = "" if one["held"] is None else digits(one["held"], 2)
        words = f"{one['arm']}, {one['kind']}"
        out.append(f"  {words:28s} {one['effectivity']:>10.2f} {one['gained']:>9.2f} {held:>7s}")
    return out
