"""At which steps single items are scored during training (standard library only)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError
from capacity.data import canaries
from capacity.settings.data import BiodData, BiosData, TextData
from capacity.settings.measure import Measure

if TYPE_CHECKING:
    from capacity.config import Config

KINDS = ("uniform", "text", "bios", "biod")  # of data whose items can be scored one by one


@cache
def steps_of(number: int, steps: int) -> tuple[int, ...]:
    """`number` different steps from the first to the last one, as even in their logarithm as whole
    numbers are; one alone is the last."""
    if number < 2:
        return (steps,) * number
    out: list[int] = []
    for k in range(number):
        even = round(steps ** (k / (number - 1)))
        out.append(max(even, out[-1] + 1 if out else 1))
    return tuple(out)


def check(measure: Measure, steps: int, data: object) -> None:
    """ConfigError for more snapshots than steps, for data of other kinds, and for canaries where
    there are none."""
    number, kind = measure.snapshots, getattr(data, "kind", "")
    if number > steps:
        raise ConfigError(
            f"measure.snapshots={number}: more than the {steps} steps of the run; give at most "
            f"{steps}"
        )
    if number and kind not in KINDS:
        raise ConfigError(
            f"measure.snapshots={number}: scores sequences or people one by one, which "
            f"data.kind={kind} does not have; allowed: 0, or data.kind={' or '.join(KINDS)}"
        )
    if number and measure.snapshot_items == "canaries" and not getattr(data, "canaries", 0):
        raise ConfigError(
            "measure.snapshot_items=canaries: this run has none; give data.kind=text with "
            "data.canaries, or measure.snapshot_items=all"
        )


def held_out_people(config: Config) -> int:
    """People who are asked and not trained on: as given, or all who are left out of a half."""
    if isinstance(config.data, BiosData) and config.data.halved:
        return config.items
    return config.measure.held_out_people


def scored(config: Config) -> tuple[str, int]:
    """What each snapshot scores: its name, and tokens, of people at most: a question is no longer
    than a text."""
    measure, data = config.measure, config.data
    if isinstance(data, (BiosData, BiodData)):
        asked = min(config.items, measure.people or config.items) + held_out_people(config)
        attributes = data.attributes if isinstance(data, BiodData) else len(data.attribute_sizes)
        text = config.tokens / (config.items * config.exposures)
        return "person", round(asked * (1 + attributes * measure.contexts) * text)
    if measure.snapshot_items == "canaries" and isinstance(data, TextData):
        number = data.canaries * len(data.repeats) * canaries.count(data)
        return "canary", number * data.seq_len
    return "sequence", (config.items + getattr(data, "n_held_out", 0)) * data.seq_len
