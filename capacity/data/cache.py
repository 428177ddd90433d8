"""What data needs besides its settings, kept in the results folder so that a worker needs no source
of it: lexicons, pools of text."""

from __future__ import annotations

from pathlib import Path

from capacity.data import lexicons, text
from capacity.settings.data import Data, TextData, WordedData


def keep(results: Path, data: Data) -> None:
    """Write what a run of this data needs, once. data: the settings of any kind."""
    if isinstance(data, TextData):
        text.keep(results, data)
    elif isinstance(data, WordedData):
        lexicons.keep(results, lexicons.of(data))


def load(results: Path, tree: dict) -> None:
    """Take what was kept into this process. tree: settings of data as in a pack or a record."""
    if tree.get("kind") == "text":
        text.load(results, tree.get("pool"))
    else:
        lexicons.load(results, tree.get("lexicon"))
