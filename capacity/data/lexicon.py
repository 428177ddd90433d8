"""Compiled text: every piece that a kind of data can show, as token ids over a vocabulary of the
rows in use.

Pools, templates and a tokenizer go in; a plain JSON-able content comes out, named by its digest,
which is part of a run's identity. It is kept in results/lexicons/, so that a worker needs neither
the lists nor the tokenizer, and a study goes on with the vocabulary it began with. Row 0 is EOS;
piece 0 is empty, piece 1 is EOS.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from capacity.data import lists
from capacity.data.facts import Facts
from capacity.settings.data import BiodData, BiosData, CorpusData, WordedData

EOS = "<|endoftext|>"
SCHEMA = 1
PAIRS = (
    ("birth_date", "birth_city"),
    ("university", "major"),
    ("employer", "work_city"),
)  # 3.1, appendix A.1.1


Number = TypeVar("Number", int, float)


class Lengths(NamedTuple):
    """Tokens of the pieces of a list, by how many of them are looked at: most[n], total[n]."""

    pieces: list[int]
    most: list[int]
    total: list[int]


class Lexicon:
    """Content with its digest. The content of each kind:

    all     tokens: text of each row; pieces: token ids of each piece; bio_rows: rows that
            biographies can use (the others are for questions only)
    names   first, middle: piece of each name; last: by glue, piece and length in tokens without the
            glue
    bios    pronoun: by glue, pieces of He and She and their lengths without the glue; values: by
            attribute, two lists of leading parts (months and days of dates) and, by glue, the last
            part with its length without the glue; templates and questions: by attribute, [before
            piece, first slot is the subject, its glue, between piece, second glue, after piece];
            headquarters; extensions: by attribute, pairs (v, u) where the tokens of value v start
            those of value u
    corpus  see `corpus.compile_corpus`
    """

    def __init__(self, content: dict) -> None:
        self.content = content
        # facts follow from the rest and are no part of what a run trains on
        named = {key: value for key, value in content.items() if key != "facts"}
        text = json.dumps(named, sort_keys=True, separators=(",", ":"))
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        # numbers of worlds, which settings ask for again and again
        self._known: dict[tuple[str, WordedData], Any] = {}
        self._lengths: dict[int, Lengths] = {}  # of lists of pieces in the content, by their id

    @property
    def rows(self) -> int:
        return len(self.content["tokens"])

    @property
    def pieces(self) -> list[list[int]]:
        return self.content["pieces"]

    @property
    def n_people(self) -> int:
        """People of an imported corpus."""
        return len(self.content["people"])

    @cached_property
    def facts(self) -> Facts | None:
        """Of an imported corpus: how often its values come, and which of them texts state; None
        where an older version compiled it, which did not keep that."""
        return Facts(self.content) if "facts" in self.content else None

    def text(self, rows: Iterable[int]) -> str:
        """Rows as text, for people."""
        return "".join(self.content["tokens"][row] for row in rows)

    def length(self, piece: int) -> int:
        return len(self.pieces[piece])

    def most(self, pieces: list[int], n: int | None = None) -> int:
        """Most tokens of the first n of a list of pieces in the content; 0 where there is none."""
        most = self._sizes(pieces).most
        return most[min(len(pieces), len(pieces) if n is None else n)]

    def mean(self, pieces: list[int], n: int | None = None) -> float:
        """Mean tokens of the first n of a list of pieces in the content."""
        n = min(len(pieces), len(pieces) if n is None else n)
        return self._sizes(pieces).total[n] / n

    def _sizes(self, pieces: list[int]) -> Lengths:
        """Worlds of one lexicon ask for the same lists, of up to a hundred thousand pieces, again
        and again. A list is kept beside its id, so that no other can have that id."""
        known = self._lengths.get(id(pieces))
        if known is None:
            sizes = [self.length(piece) for piece in pieces]
            most = itertools.accumulate(sizes, max, initial=0)
            total = itertools.accumulate(sizes, initial=0)
            known = self._lengths[id(pieces)] = Lengths(pieces, list(most), list(total))
        return known

    def used_rows(self, data: WordedData) -> int:
        """Rows that the training data of this world can touch, EOS included."""
        if not isinstance(data, BiosData):
            return self.content["bio_rows"]
        return self.once(
            "used_rows",
            data,
            lambda: len({0}.union(*(self.pieces[p] for p in world_pieces(self.content, data)))),
        )

    def mean_tokens(self, data: WordedData) -> float:
        """Expected tokens of a biography, without EOS and tag, over all values, templates and
        orders; exact."""
        return self.once("mean_tokens", data, lambda: MEANS[self.content["kind"]](self, data))

    def once(self, name: str, data: WordedData, compute: Callable[[], Number]) -> Number:
        """A number of these data, computed the first time that it is asked for: a large study is
        planned by asking for the same ones again and again."""
        if (name, data) not in self._known:
            self._known[name, data] = compute()
        return self._known[name, data]

    def shortest(self, data: WordedData) -> int:
        """A lower bound on the tokens of a biography, without EOS."""
        if isinstance(data, CorpusData):
            return min(self.length(p) for texts in self.content["texts"] for p in texts)
        if isinstance(data, BiodData):
            beside = {"sentences": 2, "attributes": 1, "values": 0}[data.wording]
            return 2 + data.attributes * (data.chunks * data.length + beside)
        return 3 * len(attributes_of(data))


def attributes_of(data: BiosData) -> tuple[str, ...]:
    """Attributes that have a sentence, in the fixed order."""
    sizes = data.attribute_sizes | {"work_city": data.employers}
    return tuple(name for name in lists.ATTRIBUTES if sizes.get(name, 0) > 0)


def sentence_groups(data: BiosData, order: str) -> list[tuple[int, ...]]:
    """Sentences, as indices into `attributes_of`, that stay together in this order."""
    names = attributes_of(data)
    if order == "fixed":
        return [tuple(range(len(names)))]
    if order == "permute":
        return [(i,) for i in range(len(names))]
    groups = [tuple(names.index(name) for name in pair if name in names) for pair in PAIRS]
    return [group for group in groups if group]


def world_sizes(data: BiosData) -> dict[str, int]:
    """Pool sizes of a world by the entries of `lists.FILES`."""
    return {
        "first_name": data.first_names,
        "middle_name": data.middle_names,
        "last_name": data.last_names,
        "birth_city": data.cities,
        "university": data.universities,
        "major": data.majors,
        "employer": data.employers,
    }


def world_templates(content: dict, data: BiosData, attribute: str) -> list[list]:
    """The templates of an attribute that this world uses."""
    return content["templates"][attribute][: data.templates]


def value_sizes(content: dict, data: BiosData, attribute: str) -> tuple[int, int, int]:
    """How many entries of each of the three parts of a value this world uses (0: the part is
    empty)."""
    if attribute == "birth_date":
        return data.months, data.days, data.years
    if attribute == "work_city":
        return 0, 0, len(set(content["headquarters"][: data.employers]))
    return 0, 0, data.attribute_sizes[attribute]


def different_texts(content: dict, data: BiosData, order: str, same_sentences: bool) -> int:
    """How many texts of a person differ: orders times, unless the sentences stay the same,
    wordings."""
    orders = math.factorial(len(sentence_groups(data, order)))
    return (
        orders
        if same_sentences
        else orders * math.prod(len(world_templates(content, data, a)) for a in attributes_of(data))
    )


def world_pieces(content: dict, data: BiosData) -> set[int]:
    """All pieces that biographies of this world are made of."""
    out = set(content["first"][: data.first_names]) | set(content["middle"][: data.middle_names])
    for name in attributes_of(data):
        value = content["values"][name]
        a, b, c = value_sizes(content, data, name)
        out |= set(value["parts"][0][:a]) | set(value["parts"][1][:b])
        for before, first_is_subject, glue1, between, glue2, after in world_templates(
            content, data, name
        ):
            subject_glue, value_glue = (glue1, glue2) if first_is_subject else (glue2, glue1)
            out |= {before, between, after}
            out |= set(content["last"][subject_glue]["pieces"][: data.last_names])
            names = attributes_of(data)
            if (
                not data.full_names
                and len(names) > 1
                and (data.order != "fixed" or name != names[0])
            ):
                out |= set(content["pronoun"][subject_glue]["pieces"])
            last = value["last"][value_glue]["pieces"]
            if name == "work_city":
                out |= {last[place] for place in content["headquarters"][: data.employers]}
            else:
                out |= set(last[:c])
    return out


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _bios_mean(lexicon: Lexicon, data: BiosData) -> float:
    content, length = lexicon.content, lexicon.length
    names = attributes_of(data)
    groups = sentence_groups(data, data.order)
    name = lexicon.mean(content["first"], data.first_names)
    if data.middle_names:
        name += lexicon.mean(content["middle"], data.middle_names)
    total = 0.0
    for i, attribute in enumerate(names):
        value = content["values"][attribute]
        a, b, c = value_sizes(content, data, attribute)
        lead = sum(
            lexicon.mean(part, n) for part, n in zip(value["parts"], (a, b), strict=True) if n
        )
        first = sum(group[0] == i for group in groups) / len(
            groups
        )  # how often this sentence has the full name
        tokens = []
        for before, first_is_subject, glue1, between, glue2, after in world_templates(
            content, data, attribute
        ):
            subject_glue, value_glue = (glue1, glue2) if first_is_subject else (glue2, glue1)
            full = name + lexicon.mean(content["last"][subject_glue]["pieces"], data.last_names)
            pronoun = (
                full
                if data.full_names
                else lexicon.mean(content["pronoun"][subject_glue]["pieces"])
            )
            last = value["last"][value_glue]["pieces"]
            shown = (
                _mean([length(last[at]) for at in content["headquarters"][: data.employers]])
                if attribute == "work_city"
                else lexicon.mean(last, c)
            )
            tokens.append(
                length(before)
                + length(between)
                + length(after)
                + lead
                + shown
                + first * full
                + (1 - first) * pronoun
            )
        total += _mean(tokens)
    return total


def _biod_mean(lexicon: Lexicon, data: BiodData) -> float:
    content, length = lexicon.content, lexicon.length
    name = lexicon.mean(content["first"], data.first_names)
    if data.middle_names:
        name += lexicon.mean(content["middle"], data.middle_names)
    name += lexicon.mean(content["last"]["'s"]["pieces"], data.last_names)
    commas = (data.chunks - 1) * length(content["comma"])
    sentence = data.chunks * data.length + commas + length(content["stop"])
    heads = sum(length(p) for p in content["heads"])
    return (
        name
        + heads
        + data.attributes * sentence
        + (data.attributes - 1) * length(content["pronoun"])
    )


def _corpus_mean(lexicon: Lexicon, data: CorpusData) -> float:
    return _mean([_mean([lexicon.length(p) for p in texts]) for texts in lexicon.content["texts"]])


MEANS: dict[str, Callable[[Lexicon, Any], float]] = {
    "bios": _bios_mean,
    "biod": _biod_mean,
    "corpus": _corpus_mean,
}
