"""The questions that settings of every kind of data answer once their files are at hand (standard
library only)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from capacity.data import tiers
from capacity.settings import field as settings
from capacity.settings.data import Data

Settings = TypeVar("Settings", bound=Data)


class Resolved(ABC, Generic[Settings]):
    """The questions that every kind of data answers. ConfigError where a file that the settings
    name is absent or wrong."""

    def __init__(self, data: Settings) -> None:
        self.data = data

    @property
    @abstractmethod
    def rows(self) -> int:
        """Rows of the token table."""

    @property
    @abstractmethod
    def used_rows(self) -> int:
        """Rows that the training data can touch."""

    @property
    @abstractmethod
    def tokens_per_item(self) -> float:
        """Mean predicted tokens per exposure of an item (sequence or person)."""

    def tokens_of(self, items: int) -> float:
        """The same of so many items, where they differ in length and the mean depends on N."""
        return self.tokens_per_item

    @abstractmethod
    def items(self, parameters: int) -> int:
        """N: as given, or what comes nearest to the demanded load of so many parameters (total)."""

    def trained_items(self, items: int) -> int:
        """Items that a run sees, given the N of `items`."""
        return items

    @abstractmethod
    def bits(self, items: int) -> float:
        """Bits that so many items hold."""

    @abstractmethod
    def identity(self, items: int) -> dict:
        """The resolved settings that a result depends on."""

    def people(self, items: int) -> int:
        """How many of so many items are people, of data that tell of any."""
        return items

    def given(self, items: int) -> dict[str, int]:
        """The settings that give so many items by number."""
        return {self.data.size_key: items}

    def tiers(self, items: int) -> tiers.Tiers | None:
        """Classes of so many items that are seen at different rates; None: all alike."""
        return tiers.of(self.data, items)

    def _settings(self, items: int) -> dict:
        """Settings that a result depends on, with classes in the place of what they follow from."""
        out = settings.identity(self.data)
        for name in ("tiers", "zipf", "zipf_tiers"):
            out.pop(name, None)
        classes = self.tiers(items)
        return out if classes is None else out | {"tiers": classes.identity()}

    def notes(self, items: int) -> list[str]:
        """What is odd in these data and should be told before they are trained on, a line each."""
        return []
