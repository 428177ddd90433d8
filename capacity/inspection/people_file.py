"""People as a file that `data=corpus` reads: JSONL, a line a person, or Parquet, a row a person.

Beside what `data/people.py` describes, a person has `questions` (what stands in front of an answer,
and the answer, as the measure asks first), `split`, and `follows` (values that follow from others
and hold no bits), which nothing reads. FILE.about.json, in a Parquet file also the entry `capacity`
of its metadata, says by which settings and seed the people were drawn, and the digest of what
`data=corpus` reads of them: it is the same in both formats, and the same again when the file is
read and written once more.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.inspection.people import Told

AT_ONCE = 1000  # people of a group of rows


class Digest:
    """SHA-256 of people as `data=corpus` reads them, the first 12 digits, whatever the format."""

    def __init__(self) -> None:
        self.hash, self.count = hashlib.sha256(), 0

    def add(self, person: Told) -> None:
        """The next person."""
        tree = read_of(person)
        text = json.dumps(tree, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        self.hash.update(text.encode() + b"\n")
        self.count += 1

    @property
    def text(self) -> str:
        return self.hash.hexdigest()[:12]


def read_of(person: Told) -> dict[str, Any]:
    """What is read of a person: a line of the file without what nothing reads."""
    tree: dict[str, Any] = {
        "person": person.name,
        "attributes": dict(person.values),
        "texts": [
            {"text": shown.text}
            | {
                "spans": {
                    name: None if span is None else list(span)
                    for name, span in shown.places.items()
                    if name is not None
                }
            }
            | (
                {"person": None if shown.places[None] is None else list(shown.places[None] or ())}
                if None in shown.places
                else {}
            )
            for shown in person.texts
        ],
    }
    if person.alternatives:
        tree["alternatives"] = {
            name: int(n) if n < 2**53 and n == int(n) else n
            for name, n in person.alternatives.items()
        }
    return tree


def line_of(person: Told) -> dict[str, Any]:
    """A whole line."""
    tree = read_of(person)
    if person.follows:
        tree["follows"] = dict(person.follows)
    tree["questions"] = [
        {"attribute": one.attribute, "prompt": one.prompt, "answer": one.answer}
        for one in person.asked
    ]
    return tree | {"split": person.split}


def write(path: Path, people: Iterable[Told], about: dict[str, Any]) -> dict[str, Any]:
    """Write people, and what the file is of beside it; returns the latter with number of people and
    digest. The file appears whole or not at all. ConfigError where two people have one name."""
    digest, seen = Digest(), set[str]()

    def checked() -> Iterator[Told]:
        for person in people:
            if person.name in seen:
                raise ConfigError(
                    f"--output {path}: two people are called {person.name!r}, which data=corpus "
                    "does not take for two; use other lists of names"
                )
            seen.add(person.name)
            digest.add(person)
            yield person

    files.make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".parquet":
            _write_parquet(temporary, checked(), about, digest)
        else:
            with open(temporary, "w", encoding="utf-8", newline="\n") as file:
                for person in checked():
                    file.write(json.dumps(line_of(person), ensure_ascii=False) + "\n")
        about = about | {"people": digest.count, "digest": digest.text}
        files.write_json(path.with_name(path.name + ".about.json"), about)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return about


def _write_parquet(
    path: Path, people: Iterator[Told], about: dict[str, Any], digest: Digest
) -> None:
    """Rows in groups; all attributes are columns of every row, so that null stands for what a
    person or a text does not have, and an empty list for a place given as not stated."""
    import pyarrow
    from pyarrow import parquet

    kept = list(people)  # the names of all attributes are needed before the first row
    names = list(dict.fromkeys(name for person in kept for name in person.values))
    follows = list(dict.fromkeys(name for person in kept for name in person.follows))
    word, span = pyarrow.string(), pyarrow.list_(pyarrow.int32())
    number = pyarrow.float64()
    fields = [
        ("person", word),
        ("attributes", pyarrow.struct([(name, word) for name in names])),
        (
            "texts",
            pyarrow.list_(
                pyarrow.struct(
                    [
                        ("text", word),
                        ("spans", pyarrow.struct([(name, span) for name in names])),
                        ("person", span),
                    ]
                )
            ),
        ),
    ]
    if any(person.alternatives for person in kept):
        fields.append(("alternatives", pyarrow.struct([(name, number) for name in names])))
    if follows:
        fields.append(("follows", pyarrow.struct([(name, word) for name in follows])))
    question = pyarrow.struct([(name, word) for name in ("attribute", "prompt", "answer")])
    fields += [("questions", pyarrow.list_(question)), ("split", word)]
    metadata = about | {"people": digest.count, "digest": digest.text}
    schema = pyarrow.schema(fields, metadata={"capacity": json.dumps(metadata)})
    with parquet.ParquetWriter(path, schema) as writer:
        for first in range(0, len(kept), AT_ONCE):
            rows = [
                _row(line_of(person)) for person in itertools.islice(kept, first, first + AT_ONCE)
            ]
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))


def _row(tree: dict[str, Any]) -> dict[str, Any]:
    for text in tree["texts"]:
        text["spans"] = {name: span or [] for name, span in text["spans"].items()}
        if "person" in text:
            text["person"] = text["person"] or []
    if "alternatives" in tree:
        tree["alternatives"] = {name: float(n) for name, n in tree["alternatives"].items()}
    return tree
