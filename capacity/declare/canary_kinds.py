"""Numbers of canaries of several kinds: what `measure/canary_kinds.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import FLOAT, INT, LEVELS, LIST, Field


def _of_group(
    name: str, type: str, unit: str, meaning: str, column: str = "", missing: bool = False
) -> Field:
    return Field(f"canary_kinds.[group].{name}", type, unit, meaning, column, missing=missing)


FIELDS = (
    Field("canary_kinds", LEVELS, optional=True),
    _of_group("kind", INT, "", "number of the kind of canaries, from 1 on"),
    _of_group("length", INT, "tokens", "of a canary"),
    _of_group("noise", INT, "tokens", "of them random ones, in a sequence of the text"),
    _of_group("replaced", INT, "tokens", "of them replaced in every copy but the first"),
    _of_group("window_first", INT, "steps", "before the window of views", missing=True),
    _of_group("window_end", INT, "steps", "to the end of the window of views", missing=True),
    _of_group("spacing", INT, "steps", "between two views; empty: evenly", missing=True),
    _of_group("repeats", INT, "", "copies of a canary in the training set, or views"),
    _of_group("canaries", INT, "canaries", "of the kind and the level"),
    _of_group("at_most", FLOAT, "bits", "largest exposure that one can have"),
    _of_group(
        "exposure",
        FLOAT,
        "bits",
        "mean exposure of the canaries of group {group}",
        column="exposure_group_{group}",
    ),
    _of_group(
        "held_bits",
        FLOAT,
        "bits per canary",
        "mean code length of never seen canaries of the same kind - that of group {group}",
        column="held_bits_group_{group}",
    ),
    _of_group(
        "held_bits_se",
        FLOAT,
        "bits per canary",
        "standard error of held_bits_group_{group} over canaries of both",
        missing=True,
    ),
    _of_group(
        "auc",
        FLOAT,
        "",
        "AUC of the loss attack, group {group} against never seen canaries of the same kind",
        column="auc_group_{group}",
        missing=True,
    ),
    _of_group(
        "extractable",
        FLOAT,
        "fraction",
        "of the canaries of group {group}, part whose second half greedy decoding writes",
        column="extractable_group_{group}",
    ),
    _of_group("exposures", LIST, "bits", "exposure of each of them"),
    _of_group("bits", LIST, "bits", "code length of each of them"),
    _of_group("tails", LIST, "tokens", "at the end of each of them that greedy decoding writes"),
    Field(
        "canary_steps",
        LIST,
        "steps",
        "of measure.snapshots, at which canaries were scored during training",
        optional=True,
    ),
    Field(
        "canary_kinds.[group].first_update",
        LIST,
        "steps",
        "of each of them, the update with its first view; empty: never, or shuffled",
        optional=True,
        missing=True,
    ),
    Field(
        "canary_kinds.[group].bits_at",
        LIST,
        "bits",
        "at each of canary_steps, code length of each of them",
        optional=True,
    ),
    Field(
        "canary_kinds.[group].tails_at",
        LIST,
        "tokens",
        "at each of canary_steps, the end of each of them that greedy decoding writes",
        optional=True,
    ),
)


def words(group: dict[str, Any], seq_len: int) -> str:
    """The kind of a group: what it differs in from whole rows and exact copies."""
    out = [f"{group['length']} tokens"] * (group["length"] != seq_len)
    out += [f"{group['noise']} random"] * bool(group["noise"])
    out += [f"{group['replaced']} replaced"] * bool(group["replaced"])
    if group["window_end"] is not None:
        every = f" every {group['spacing']}" if group["spacing"] else ""
        out.append(f"steps {group['window_first']:,}-{group['window_end']:,}{every}")
    return ", ".join(out) or "whole rows"


def lines(part: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """A line per group, in lines of at most 80 columns; none where canaries are one kind."""
    if "canary_kinds" not in part:
        return []
    out = ["  canaries: kind                     seen  held bits (se)      AUC  extractable"]
    for group in part["canary_kinds"]:
        held, area = "", ""
        if group["repeats"]:
            se = group["held_bits_se"]
            held = f"{group['held_bits']:.2f}" + ("" if se is None else f" ({se:.2f})")
            area = f"{group['auc']:.3f}"
        kind = words(group, record["config"]["data"]["seq_len"])
        out.append(
            f"  {kind[:33]:33s}{group['repeats']:>6,}  {held:<16s}  {area:>5s}  "
            f"{group['extractable']:>10.0%}"
        )
    return out
