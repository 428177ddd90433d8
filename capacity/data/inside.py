"""Whether what a model stores about people can be told from what it says (standard library
only)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError
from capacity.data.lexicon import attributes_of
from capacity.settings.data import BiosData

if TYPE_CHECKING:
    from capacity.settings.data import Data
    from capacity.settings.measure import Extraction
    from capacity.settings.train import Train

FEWEST, MOST = 2, 1024  # values of a list that is closed: all of them are scored
FOLLOWS = "work_city"  # follows from the employer and counts no bits


def attributes(data: BiosData) -> list[str]:
    """Attributes whose values are all scored: of 2 to 1,024 values, and no city of work. The date
    of birth has a value per day, month and year together and is left out where these are more."""
    sizes = data.attribute_sizes
    named = [name for name in attributes_of(data) if name != FOLLOWS and name in sizes]
    return [name for name in named if FEWEST <= sizes[name] <= MOST]


def check(people: int, data: Data, items: int, extraction: Extraction, train: Train) -> None:
    """ConfigError where `measure.inside` asks for people that are not there, or for questions that
    the vocabulary has no words for."""
    if not people:
        return
    asked = f"measure.inside={people}"
    if not isinstance(data, BiosData) or not data.questions:
        raise ConfigError(
            f"{asked}: asks questions about people, so it needs data.kind=bios and "
            "data.questions=true; give both, or measure.inside=0"
        )
    if data.value_zipf:
        raise ConfigError(
            f"{asked}: counts bits of values that are drawn alike, log2 of the list's size, not "
            f"with data.value_zipf={data.value_zipf:g}; leave one of the two out"
        )
    if not attributes(data):
        raise ConfigError(
            f"{asked}: no attribute of this data has a list of {FEWEST} to {MOST:,} values; give "
            "one of data.cities, data.universities, data.majors and data.employers such a length"
        )
    if people % 2 or people < 8:
        raise ConfigError(
            f"{asked}: a probe is fitted on one half and evaluated on the other; give an even "
            "number of at least 8, or 0"
        )
    there = items if extraction.mode == "none" else items - items // 2
    if people > there:
        whom = "are there" if extraction.mode == "none" else "the fine-tuning does not ask"
        raise ConfigError(f"{asked}: {there:,} people {whom}; give at most {there - there % 2:,}")
    if train.start_from:
        raise ConfigError(
            f"{asked}: its control needs people never trained on, but with train.start_from="
            f"{train.start_from} the weights come from another run; leave one of the two out"
        )
    taken = data.skip + items + data.other_people
    if taken + people > data.n_names:
        raise ConfigError(
            f"{asked}: its control needs as many people never trained on, but {taken:,} of "
            f"{data.n_names:,} names are taken; give at most {max(0, data.n_names - taken):,}, or "
            "longer lists of names"
        )
