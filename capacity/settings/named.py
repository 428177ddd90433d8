"""Settings that all data of named people have, and those of the items of a seed (standard library
only)."""

from __future__ import annotations

from typing import Any, ClassVar

from capacity.settings.field import setting

LARGEST = 2**40


class Named:
    """People with names of three lists, in windows of a stream; an end of text stands in front of
    every biography."""

    bos: ClassVar[bool] = False
    unit: ClassVar[str] = "people"
    size_key: ClassVar[str] = "n_people"

    first_names: int
    middle_names: int
    last_names: int

    @property
    def n_names(self) -> int:
        """N0, different full names."""
        return self.first_names * max(1, self.middle_names) * self.last_names


def load() -> Any:
    """Bits of data per parameter."""
    return setting(
        None, "R^max: bits of data per parameter (total), instead of n_people", above=0.0, high=1e9
    )


def skip(words: str) -> Any:
    """Items of a seed that others have."""
    return setting(0, words, low=0, high=LARGEST, neutral=0)


def skip_people() -> Any:
    """People of a seed that others have."""
    return skip(
        "people of this seed before the first one: worlds of one seed and the same lists that skip "
        "each other's people have nobody in common"
    )


def seq_len() -> Any:
    """Tokens of a window."""
    return setting(512, "predicted tokens per window of the stream", low=8, high=65536)


def first_names() -> Any:
    """The first list."""
    return setting(400, "first names", low=1)


def middle_names() -> Any:
    """The second list."""
    return setting(400, "middle names; 0: none", low=0)


def last_names() -> Any:
    """The third list."""
    return setting(1000, "last names", low=1)
