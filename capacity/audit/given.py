"""The files of an audit as documents: members, others, canaries.

A file is anything that data of text read from files (`data/sources.py`): txt, jsonl, json, csv,
tsv, parquet, arrow, the first five also packed by gzip or zstd; a pattern stands for several, and
package:NAME/FILE looks into an installed package. A row may have a column `tokens` of token ids, as
`capacity export RUN --data` writes them; a file has them in all rows or in none. Rows without any
text are left out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from capacity.audit.scored import Documents
from capacity.base.errors import ConfigError
from capacity.base.files import content_digest
from capacity.base.rng import raw_words
from capacity.base.words import plural
from capacity.data import lines, sources

FEWEST = 10  # documents of a side, below which an interval over documents says nothing
TOKENS, ID, REPEATS, BITS = "tokens", "id", "repeats", "bits"
SIDES = ("members", "others")
ENCODED_AT_ONCE = 64  # documents, where a budget decides how many are needed


@dataclass(frozen=True)
class Columns:
    """Which columns of a row are its text, its id and its group. document: None takes the column
    `id` of files with tokens, else FILE:LINE."""

    text: str = "text"
    document: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Given:
    """Both files. rows, blank (rows without a text), sha256 (of one file its bytes, of several the
    digests of all) and left_out (documents that a budget left out), each by side. spare: those of
    the others among them, which no score knows; None where none were left out."""

    documents: Documents
    rows: dict[str, int]
    blank: dict[str, int]
    sha256: dict[str, str]
    left_out: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    spare: Documents | None = None


@dataclass(frozen=True)
class Canaries:
    """Sequences that were put into the training set on purpose, and candidates, which were drawn in
    the same way and never trained on. documents: member where it was trained on; no text is merged
    with an equal one. repeats_C: int64, how often each was shown, 0 of a candidate. bits_C:
    float64, entropy of a random one; NaN where the file does not say."""

    documents: Documents
    repeats_C: np.ndarray
    bits_C: np.ndarray


@dataclass
class _Side:
    """The different documents of one file, by what makes two of them equal."""

    place: dict[bytes, int] = field(default_factory=dict)
    ats: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    tokens: list[np.ndarray] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)
    rows: int = 0
    blank: int = 0


def read(members: str, others: str, columns: Columns | None = None) -> Given:
    """The documents of both files. ConfigError for files that are the same, share documents or
    groups, hold fewer than FEWEST different documents, or cannot be read."""
    columns = columns or Columns()
    paths = {"members": members, "others": others}
    names = {side: sources.file_names(path, f"--{side}") for side, path in paths.items()}
    sha256 = {side: _digest(files) for side, files in names.items()}
    both = {Path(name).resolve() for name in names["members"]} & {
        Path(name).resolve() for name in names["others"]
    }
    if both or sha256["members"] == sha256["others"]:
        what = sorted(map(str, both))[0] if both else f"{members} and {others}"
        raise ConfigError(
            f"--others={others}: {'the file ' + what + ' is' if both else what + ' are'} the same "
            "as --members; members were trained on, others were not"
        )
    sides = {side: _read(side, files, columns) for side, files in names.items()}
    _check_apart(sides["members"], sides["others"], columns)
    for side, one in sides.items():
        if len(one.ids) < FEWEST:
            raise ConfigError(
                f"--{side}={paths[side]}: {plural(len(one.ids), 'different document')}; an "
                f"interval over documents needs at least {FEWEST}"
            )
    return Given(
        _documents(list(sides.values()), columns),
        {side: one.rows for side, one in sides.items()},
        {side: one.blank for side, one in sides.items()},
        sha256,
    )


def canaries(path: str, columns: Columns | None = None) -> Canaries:
    """Canaries and candidates of a file whose rows have text or tokens, repeats, and maybe bits.
    ConfigError where there is no canary or no candidate."""
    columns = columns or Columns()
    side, repeats, bits = _Side(), [], []
    for row in sources.rows_of(sources.file_names(path, "--canaries")):
        side.rows += 1
        if _add(side, row, columns, merge=False):
            repeats.append(int(_number(row, REPEATS, whole=True)))
            bits.append(_number(row, BITS) if row.value.get(BITS) is not None else np.nan)
    repeats_C = np.array(repeats, np.int64)
    for name, count in (
        ("repeats above 0", (repeats_C > 0).sum()),
        ("repeats 0", (~(repeats_C > 0)).sum()),
    ):
        if not count:
            raise ConfigError(
                f"--canaries={path}: no row with {name}; exposure is the rank of a canary (repeats "
                "above 0) among candidates (repeats 0)"
            )
    side.copies = np.maximum(repeats_C, 1).tolist()
    documents = _documents([side], columns)
    return Canaries(
        dataclasses.replace(documents, member_D=repeats_C > 0), repeats_C, np.array(bits, float)
    )


def within(
    given: Given, encode: Callable[[list[str]], list[np.ndarray]], tokens: int, seed: int
) -> Given:
    """Whole documents chosen at random by a seed, at most so many tokens: half of them from each
    side, and what one side does not have from the other. encode: texts -> token ids of each.
    ConfigError where the budget holds fewer than FEWEST documents of a side."""
    documents = given.documents
    orders = {
        side: _shuffled(np.flatnonzero(documents.member_D == (side == "members")), seed, side)
        for side in SIDES
    }
    lengths = {side: _Lengths(documents, orders[side], encode) for side in SIDES}
    half = tokens // 2
    chosen = {side: lengths[side].fitting(half) for side in SIDES}
    for side, other in (SIDES, SIDES[::-1]):
        if chosen[side] == len(orders[side]):  # all that it has: the other may have the rest
            chosen[other] = lengths[other].fitting(tokens - lengths[side].total(chosen[side]))
            break
    for side in SIDES:
        if chosen[side] < min(FEWEST, len(orders[side])):
            raise ConfigError(
                f"--tokens={tokens}: holds {plural(chosen[side], 'document')} of --{side}, an "
                f"interval needs {FEWEST}: at least --tokens={2 * lengths[side].total(FEWEST)}, or "
                "shorter documents"
            )
    kept = np.sort(np.concatenate([orders[side][: chosen[side]] for side in SIDES]))
    unused = np.sort(orders["others"][chosen["others"] :])
    return dataclasses.replace(
        given,
        documents=subset(documents, kept),
        spare=subset(documents, unused) if len(unused) else None,
        left_out={side: len(orders[side]) - chosen[side] for side in SIDES},
    )


def subset(documents: Documents, kept: np.ndarray) -> Documents:
    """The documents of these numbers, int [n], in their order."""

    def some(values: Sequence[Any] | None) -> Any:
        return None if values is None else [values[i] for i in kept.tolist()]

    return Documents(
        some(documents.ids),
        some(documents.texts),
        documents.member_D[kept],
        documents.copies_D[kept],
        documents.bytes_D[kept],
        documents.zlib_D[kept],
        some(documents.groups),
        some(documents.tokens),
    )


def of_texts(texts: list[str], member_D: np.ndarray, ids: list[str] | None = None) -> Documents:
    """Documents from texts that are at hand, each once and without a group."""
    side = _Side(ids=ids or [str(i) for i in range(len(texts))], texts=texts)
    side.copies, side.groups = [1] * len(texts), [None] * len(texts)
    return dataclasses.replace(_documents([side], Columns()), member_D=np.asarray(member_D, bool))


class _Lengths:
    """Tokens of documents in an order, counted as far as they are asked for."""

    def __init__(
        self,
        documents: Documents,
        order: np.ndarray,
        encode: Callable[[list[str]], list[np.ndarray]],
    ) -> None:
        self.documents, self.order, self.encode = documents, order.tolist(), encode
        self.known: list[int] = []

    def _more(self) -> bool:
        """Count the next documents; False where there are none."""
        places = self.order[len(self.known) : len(self.known) + ENCODED_AT_ONCE]
        if self.documents.tokens is not None:
            self.known += [len(self.documents.tokens[i]) for i in places]
        elif places:
            self.known += map(len, self.encode([self.documents.texts[i] for i in places]))
        return bool(places)

    def fitting(self, budget: int) -> int:
        """How many of the first ones a budget holds."""
        while sum(self.known) <= budget and self._more():
            pass
        return int(np.searchsorted(np.cumsum(self.known), budget, "right"))

    def total(self, n: int) -> int:
        """Tokens of the first n."""
        while len(self.known) < n and self._more():
            pass
        return sum(self.known[:n])


def _shuffled(places: np.ndarray, seed: int, side: str) -> np.ndarray:
    words = raw_words(seed, f"audit {side}", 0, len(places))
    return places[np.argsort(words, kind="stable")]


def _digest(names: list[str]) -> str:
    """SHA-256 of a file, of several of the list of theirs."""
    digests = [content_digest(Path(name)) for name in names]
    return digests[0] if len(names) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _read(side: str, names: list[str], columns: Columns) -> _Side:
    one = _Side()
    for row in sources.rows_of(names):
        one.rows += 1
        if not _add(one, row, columns, merge=True):
            one.blank += 1
    if not one.ids:
        held = "no row" if not one.rows else f"no text in {plural(one.rows, 'row')}"
        raise ConfigError(f"--{side}={names[0]}: {held}")
    return one


def _add(side: _Side, row: sources.Row, columns: Columns, *, merge: bool) -> bool:
    """Take a row in; whether it has a text."""
    tokens = _tokens(row)
    if (tokens is None) != (not side.tokens) and side.ids:
        raise ConfigError(
            f"{row.at}: {'no' if tokens is None else 'a'} column {TOKENS}, unlike the rows before; "
            "a file has token ids in all rows or in none"
        )
    text = row.value.get(columns.text) if tokens is not None else None
    text = sources.value(row, "--field", columns.text) if text is None and tokens is None else text
    if not isinstance(text or "", str):
        raise ConfigError(f"{row.at}: --field={columns.text}: {lines.kind(text)}, expected a text")
    text = text or ""
    if tokens is None and not text.strip():
        return False
    equal = text.strip().encode() if tokens is None else tokens.tobytes()
    if merge and equal in side.place:
        side.copies[side.place[equal]] += 1
        return True
    named = columns.document or (ID if tokens is not None and ID in row.value else None)
    identity = None if named is None else sources.name_in(row, "--document", named)
    side.place.setdefault(equal, len(side.ids))
    side.ats.append(row.at)
    side.ids.append(row.at if identity is None else identity)
    side.texts.append(text)
    side.copies.append(1)
    side.groups.append(
        None if columns.group is None else sources.name_in(row, "--group", columns.group)
    )
    if tokens is not None:
        side.tokens.append(tokens)
    return True


def _tokens(row: sources.Row) -> np.ndarray | None:
    """Token ids of a row, int32, None where it has no such column."""
    found = row.value.get(TOKENS)
    if not isinstance(found, list):  # a number of tokens, or nothing
        return None
    if not found or not all(type(one) is int and 0 <= one < 2**31 for one in found):
        raise ConfigError(f"{row.at}: {TOKENS}: expected token ids, whole numbers of 0 or more")
    return np.array(found, np.int32)


def _number(row: sources.Row, name: str, whole: bool = False) -> float:
    found = sources.value(row, "column", name)
    try:
        number = float(found)
        if isinstance(found, bool) or not number >= 0 or (whole and number != int(number)):
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{row.at}: {name}={found}: expected {kind} of 0 or more") from None


def _check_apart(members: _Side, others: _Side, columns: Columns) -> None:
    """ConfigError where the files share documents or groups."""
    if (shared := [key for key in members.place if key in others.place]) or bool(
        members.tokens
    ) != bool(others.tokens):
        if not shared:
            which = "members" if members.tokens else "others"
            raise ConfigError(f"--{which}: has a column {TOKENS}, the other file has none")
        first = shared[0]
        raise ConfigError(
            f"--members and --others share {plural(len(shared), 'document')}, the first "
            f"{members.ats[members.place[first]]} and {others.ats[others.place[first]]}; a "
            "document was trained on or it was not"
        )
    first_of = [
        dict(zip(reversed(one.groups), reversed(one.ats), strict=True)) for one in (members, others)
    ]
    names = [name for name in first_of[0] if name is not None and name in first_of[1]]
    if names:
        name = min(names)
        raise ConfigError(
            f"--group={columns.group}: {plural(len(names), 'group')} in both files, the first "
            f"{name!r} at {first_of[0][name]} and {first_of[1][name]}; a group is one unit and "
            "belongs to one side"
        )


def _documents(sides: list[_Side], columns: Columns) -> Documents:
    """Both sides, members first."""
    texts = [text for side in sides for text in side.texts]
    raw = [text.encode() for text in texts]
    tokens = [one for side in sides for one in side.tokens]
    return Documents(
        [one for side in sides for one in side.ids],
        texts,
        np.repeat([True, False][: len(sides)], [len(side.ids) for side in sides]),
        np.array([n for side in sides for n in side.copies], np.int32),
        np.array([len(one) for one in raw], np.int64),
        np.array([len(zlib.compress(one, 6)) for one in raw], np.int64),
        None if columns.group is None else [one for side in sides for one in side.groups],
        tokens or None,
    )
