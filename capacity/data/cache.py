"""What data needs besides its settings, kept in the results folder so that a worker needs no source
of it: lexicons, pools of text."""

from __future__ import annotations

from pathlib import Path

from capacity.data import lexicon, text


def keep(results: Path, data) -> None:
    """Write what a run of this data needs, once. data: the settings of any kind."""
    if data.kind == "text":
        text.keep(results, data)
    elif data.kind != "uniform":
        lexicon.keep(results, data.compiled)


def load(results: Path, tree: dict) -> None:
    """Take what was kept into this process. tree: settings of data as in a pack or a record."""
    if tree.get("kind") == "text":
        text.load(results, tree.get("pool"))
    else:
        lexicon.load(results, tree.get("lexicon"))
