"""Sequences of a run's data, random tokens or text, as a person reads them and as a file.

A row of the file is a sequence: its number (of text, the row of the pool), its tokens, of text the
words, and its split: train; of text member, held_out, trained (a reference or shadow model was
trained on it and its split does not name it a member) or canary, with how often a canary is
repeated. Of sequences that are new at every step it also has the places of tokens that are asked
for. No person, so that `data=corpus` does not read it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from capacity.base import files
from capacity.config import Config
from capacity.data import fresh, text, uniform
from capacity.feed import split as splits
from capacity.settings.data import TextData, UniformData
from capacity.settings.fresh import FreshData

AT_ONCE = 10_000  # sequences that are drawn or written together


@dataclass(frozen=True)
class Sequence:
    """One sequence."""

    number: int
    tokens: list[int]
    split: str
    words: list[str] | None = None
    repeats: int | None = None
    asked: list[int] | None = None  # places of the tokens that are asked for, where not all are

    def tree(self) -> dict[str, Any]:
        """A line of the file."""
        out: dict[str, Any] = {"sequence": self.number, "tokens": self.tokens}
        if self.words is not None:
            out["text"] = "".join(self.words)
        if self.repeats is not None:
            out["repeats"] = self.repeats
        if self.asked is not None:
            out["asked"] = self.asked
        return out | {"split": self.split}


def sequences(config: Config, most: int | None = None) -> Iterator[Sequence]:
    """All sequences, or the first `most` of each split."""
    data = config.data
    if isinstance(data, UniformData):
        n = config.items if most is None else min(most, config.items)
        table = uniform.tokens(config.seed, n, data.seq_len, data.vocab_size, data.skip)
        for i, row in enumerate(table.tolist()):
            yield Sequence(i, row, "train")
        return
    if isinstance(data, FreshData):
        yield from _fresh(config, data, most)
        return
    assert isinstance(data, TextData)
    split = splits.of(config)
    words = split.pool.words
    known = np.concatenate([split.members, split.held_out])
    groups = {
        "member": split.members,
        "held_out": split.held_out,
        "trained": split.trained[~np.isin(split.trained, known)],
    }
    for name, rows in groups.items():
        for row in rows[:most].tolist():
            tokens = split.pool.tokens_NS[row].tolist()
            yield Sequence(row, tokens, name, [words[t] for t in tokens])
    of_canaries = zip(split.canaries.tolist(), split.inserted.length.tolist(), strict=True)
    shown = [tokens[:length] for tokens, length in of_canaries]
    pairs = list(zip(shown, split.repeats.tolist(), strict=True))
    if most is not None:  # one of each level tells more than several of the first
        pairs = pairs[:: max(1, len(pairs) // max(1, most))][:most]
    for i, (tokens, repeats) in enumerate(pairs):
        yield Sequence(i, tokens, "canary", [words[t] for t in tokens], repeats)


def _fresh(config: Config, data: FreshData, most: int | None) -> Iterator[Sequence]:
    """Sequences of training in the order in which they are seen, and held-out ones."""
    sizes = {"train": config.items, "held_out": config.measure.sequences}
    streams = {"train": fresh.TRAINED, "held_out": fresh.HELD_OUT}
    for name, size in sizes.items():
        n = size if most is None else min(most, size)
        for first in range(0, n, AT_ONCE):
            rows, asked = fresh.tokens(
                data, config.seed, streams[name], first, min(AT_ONCE, n - first)
            )
            for i, (row, places) in enumerate(zip(rows.tolist(), asked, strict=True), first):
                yield Sequence(i, row, name, asked=np.flatnonzero(places).tolist())


def counts(config: Config) -> dict[str, int]:
    """Sequences by split, without drawing those of random data."""
    if isinstance(config.data, FreshData):
        return {"train": config.items, "held_out": config.measure.sequences}
    if not isinstance(config.data, TextData):
        return {"train": config.items}
    split = splits.of(config)
    known = np.concatenate([split.members, split.held_out])
    return {
        "member": len(split.members),
        "held_out": len(split.held_out),
        "trained": int((~np.isin(split.trained, known)).sum()),
        "canary": len(split.canaries),
    }


def vocabulary(data: TextData) -> tuple[int, int]:
    """Rows of the token table, and those that some sequence of the pool has."""
    pool = text.of(data)
    return data.vocab_size, len(np.unique(pool.tokens_NS))


def write(path: Path, config: Config, about: dict[str, Any]) -> dict[str, Any]:
    """Write all sequences, and what the file is of beside it; returns the latter with number of
    sequences and digest (SHA-256 of the lines, the first 12 digits, in both formats)."""
    files.make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    digest, count = hashlib.sha256(), 0

    def lines() -> Iterator[dict[str, Any]]:
        nonlocal count
        for one in sequences(config):
            tree = one.tree()
            digest.update(json.dumps(tree, ensure_ascii=False).encode() + b"\n")
            count += 1
            yield tree

    try:
        if path.suffix == ".parquet":
            import pyarrow
            from pyarrow import parquet

            table = pyarrow.Table.from_pylist(list(lines()))
            about_table = about | {"sequences": count, "digest": digest.hexdigest()[:12]}
            metadata = {"capacity": json.dumps(about_table)}
            parquet.write_table(table.replace_schema_metadata(metadata), temporary)
        else:
            with open(temporary, "w", encoding="utf-8", newline="\n") as file:
                for tree in lines():
                    file.write(json.dumps(tree, ensure_ascii=False) + "\n")
        about = about | {"sequences": count, "digest": digest.hexdigest()[:12]}
        files.write_json(path.with_name(path.name + ".about.json"), about)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return about
