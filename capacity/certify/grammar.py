"""The texts of people as both sides know them: lists, templates and orders; and a text read back
into what was drawn of them.

Nothing here is data: any run of the same settings has the same grammar, whatever its people are
called.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from capacity.certify.spelling import Lists, Piece

Choice = tuple[int, ...]  # of one piece of each part of a list


class Template(NamedTuple):
    """A sentence around subject and value, whose last pieces have the glue of these names."""

    before: Piece
    subject_first: bool
    subject: str
    between: Piece
    value: str
    after: Piece


@dataclass(frozen=True)
class Phrase:
    """A list of names or values as a sentence has them. parts: pieces, the last ones with what is
    glued to them; ends: tokens of each of the last ones without that."""

    parts: list[list[Piece]]
    ends: list[int]

    @cached_property
    def glued(self) -> Lists:
        return Lists(self.parts)

    @cached_property
    def bare(self) -> Lists:
        last = [piece[:end] for piece, end in zip(self.parts[-1], self.ends, strict=True)]
        return Lists([*self.parts[:-1], last])


@dataclass(frozen=True)
class Reading:
    """What a text was drawn as: pieces of the name, gender (0 or 1) if a pronoun tells it, which
    order, and by attribute which template and the pieces of the value."""

    name: Choice
    gender: int | None
    order: int
    templates: tuple[int, ...]
    values: tuple[Choice, ...]


@dataclass(frozen=True)
class _Read:
    """A beginning of a text, read: attributes said, their templates and values, name, gender."""

    said: tuple[int, ...] = ()
    templates: tuple[int, ...] = ()
    values: tuple[Choice, ...] = ()
    name: Choice | None = None
    gender: int | None = None


@dataclass(frozen=True)
class Grammar:
    """Everything that texts are made of.

    head: tokens in front of a text. glue: of names directly behind the head. names: by glue.
    attributes: those with a sentence. values, templates: by attribute, values by glue. pronouns: by
    glue, of each gender. orders: of the attributes. full_names: whether names stand in the place of
    pronouns. follows: attribute, another one that it follows from, and its value for each of that
    one's. asked: attribute and template of each value that is asked for behind the name.
    """

    head: Piece
    glue: str
    names: dict[str, Phrase]
    attributes: list[str]
    values: list[dict[str, Phrase]]
    templates: list[list[Template]]
    pronouns: dict[str, list[Piece]]
    orders: list[list[int]]
    full_names: bool
    follows: list[tuple[int, int, list[int]]]
    asked: list[tuple[int, int]]

    def to_json(self) -> bytes:
        """A file of it."""
        return (json.dumps(asdict(self), separators=(",", ":")) + "\n").encode()

    @classmethod
    def of_json(cls, content: bytes) -> Grammar:
        """`to_json` again."""
        raw = json.loads(content)
        return cls(
            **{name: raw[name] for name in ("glue", "attributes", "orders", "full_names")},
            head=tuple(raw["head"]),
            names=_phrases(raw["names"]),
            values=[_phrases(one) for one in raw["values"]],
            templates=[[_template(t) for t in some] for some in raw["templates"]],
            pronouns={glue: [tuple(p) for p in some] for glue, some in raw["pronouns"].items()},
            follows=[(a, b, table) for a, b, table in raw["follows"]],
            asked=[(a, t) for a, t in raw["asked"]],
        )

    @property
    def longest(self) -> int:
        """No text has more tokens."""
        name = max(phrase.glued.longest for phrase in self.names.values())
        pronoun = max((len(p) for some in self.pronouns.values() for p in some), default=0)
        subject = name if self.full_names else pronoun
        return name + sum(
            max(
                len(t.before) + subject + len(t.between) + values[t.value].glued.longest
                for t in some
            )
            + max(len(t.after) for t in some)
            for some, values in zip(self.templates, self.values, strict=True)
        )

    def number(self, a: int, choice: Choice) -> int:
        """Which value of attribute a a choice of pieces is: the last part changes first."""
        number = 0
        for part, i in zip(next(iter(self.values[a].values())).parts, choice, strict=True):
            number = number * len(part) + i
        return number

    def readings(self, text: Piece) -> list[Reading]:
        """Everything that a text may have been drawn as; exactly one where nothing is lost."""
        return [
            self._reading(one)
            for one, end in self._read(text, _Read(), 0)
            if end == len(text) and self._follow(one)
        ]

    @cached_property
    def _next(self) -> dict[tuple[int, ...], list[int]]:
        """Behind each beginning of an order, the attributes that may stand next."""
        found: dict[tuple[int, ...], set[int]] = {}
        for order in self.orders:
            for k, a in enumerate(order):
                found.setdefault(tuple(order[:k]), set()).add(a)
        return {said: sorted(some) for said, some in found.items()}

    def _read(self, text: Piece, read: _Read, at: int) -> Iterator[tuple[_Read, int]]:
        """A text from a place on, in every way."""
        if len(read.said) == len(self.attributes):
            yield read, at
        for a in self._next.get(read.said, ()):
            for t, template in enumerate(self.templates[a]):
                for more, end in self._sentence(text, read, at, (a, template)):
                    grown = replace(more, said=(*read.said, a), templates=(*read.templates, t))
                    yield from self._read(text, grown, end)

    def _sentence(
        self, text: Piece, read: _Read, at: int, which: tuple[int, Template]
    ) -> Iterator[tuple[_Read, int]]:
        """One sentence from a place on, in every way."""
        a, template = which
        found = _step([(read, at)], text, template.before)
        for is_subject in (template.subject_first, not template.subject_first):
            if is_subject:
                found = [new for one in found for new in self._subject(text, *one, template)]
            else:
                lists = self.values[a][template.value].glued
                found = [
                    (replace(one, values=(*one.values, choice)), end)
                    for one, place in found
                    for choice, end in lists.matches(text, place)
                ]
            if is_subject == template.subject_first:
                found = _step(found, text, template.between)
        yield from _step(found, text, template.after)

    def _subject(
        self, text: Piece, read: _Read, at: int, template: Template
    ) -> Iterator[tuple[_Read, int]]:
        if read.said and not self.full_names:
            for gender, pronoun in enumerate(self.pronouns[template.subject]):
                if read.gender in (None, gender):
                    yield from _step([(replace(read, gender=gender), at)], text, pronoun)
            return
        for choice, end in self.names[template.subject].glued.matches(text, at):
            if read.name in (None, choice):
                yield replace(read, name=choice), end

    def _follow(self, read: _Read) -> bool:
        said = zip(read.said, read.values, strict=True)
        values = {a: self.number(a, choice) for a, choice in said}
        return all(values[a] == table[values[b]] for a, b, table in self.follows)

    def _reading(self, read: _Read) -> Reading:
        place = sorted(range(len(read.said)), key=lambda k: read.said[k])
        assert read.name is not None
        return Reading(
            read.name,
            read.gender if any(len(some) > 1 for some in self.pronouns.values()) else None,
            self.orders.index(list(read.said)),
            tuple(read.templates[k] for k in place),
            tuple(read.values[k] for k in place),
        )

    def prompt(self, asked: int, name: Choice) -> Piece:
        """What stands in front of a value that is asked for."""
        a, t = self.asked[asked]
        template = self.templates[a][t]
        subject = (*self.names[template.subject].glued.join(name), *template.between)
        return (*self.head, *template.before, *(subject if template.subject_first else ()))

    def value_lists(self, asked: int) -> Lists:
        """All values that could stand there."""
        a, t = self.asked[asked]
        return self.values[a][self.templates[a][t].value].bare

    def value(self, a: int, choice: Choice) -> Piece:
        """A value of attribute a without what is glued to it."""
        return next(iter(self.values[a].values())).bare.join(choice)

    def pronoun(self, gender: int) -> Piece:
        """The pronoun of a gender, in its shortest form."""
        return min((some[gender] for some in self.pronouns.values()), key=len)

    @property
    def name_lists(self) -> Lists:
        """All names directly behind the head."""
        return self.names[self.glue].bare


def _step(found: list[tuple[_Read, int]], text: Piece, piece: Piece) -> list[tuple[_Read, int]]:
    """Those behind which a piece stands, and where it ends."""
    n = len(piece)
    return [(read, at + n) for read, at in found if text[at : at + n] == piece]


def _phrases(raw: dict[str, Any]) -> dict[str, Phrase]:
    return {
        glue: Phrase([[tuple(p) for p in part] for part in one["parts"]], one["ends"])
        for glue, one in raw.items()
    }


def _template(raw: list[Any]) -> Template:
    before, subject_first, subject, between, value, after = raw
    return Template(tuple(before), subject_first, subject, tuple(between), value, tuple(after))


def chained(pieces: list[Piece]) -> Piece:
    """Pieces one after the other."""
    return tuple(itertools.chain(*pieces))
