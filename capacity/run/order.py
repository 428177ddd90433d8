"""In which order a run's sums are taken, and what becomes of it when the run goes on.

The bits of a run depend on its settings and on what is no setting of it: in how many parts a batch
is computed (as memory allows), whether ranks sum them by a tree, on which kind of device, by which
kernels, compiled or not. A checkpoint says how its steps were made. Who goes on keeps the number of
parts where memory allows, and where something is different all the same, says so: to the person, in
the checkpoint, in the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from capacity.train.loop import Stack

# What a checkpoint says, and how a value is told.
WORDS = {
    "parts": lambda n: f"a batch in {n} {'part' if n == 1 else 'parts'}",
    "ranks": lambda tree: "parts summed as ranks do" if tree else "parts summed one by one",
    "device": lambda kind: f"on {kind}",
    "kernels": lambda on: "own kernels" if on else "torch's kernels",
    "compiled": lambda on: "compiled" if on else "not compiled",
}


def of(stack: Stack) -> dict[str, Any]:
    """How the steps of a stack are made, as far as bits depend on it."""
    return {
        "parts": stack.parts,
        "ranks": stack.ranks is not None,
        "device": stack.device.type,
        "kernels": stack.gpt.kernels,
        "compiled": stack.is_compiled,
    }


def changed(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """What is different from how the steps of a checkpoint were made, in words; empty where nothing
    is. before: None of a checkpoint that does not say it."""
    if before is None:
        # older ones say nothing: with one part of a batch nothing is likely to have been different
        return "" if now["parts"] == 1 else f"{WORDS['parts'](now['parts'])} (before: not known)"
    return "; ".join(
        f"{words(now[name])} (before: {words(before[name])})"
        for name, words in WORDS.items()
        if name in before and before[name] != now[name]
    )


def kept_parts(found: Sequence[Mapping[str, Any] | None], planned: int, ranks: int | None) -> int:
    """Parts in which a batch is computed by runs that go on from checkpoints, of which `found` says
    how they were made: as before, unless that takes more memory than is planned for (fewer parts)
    or ranks cannot divide them."""
    before = {one["parts"] for one in found if one is not None}
    if len(before) != 1 or None in found:
        return planned
    (parts,) = before
    divides = ranks is None or (parts & (parts - 1) == 0 and parts % ranks == 0)
    return parts if parts > planned and divides else planned
