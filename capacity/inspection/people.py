"""The people of a run's data as a person reads them: values, texts, where a text states what, and
how they are asked.

A text is what the run shows, decoded byte by byte; places are characters of it. Imported corpora
are read from their file again, since a lexicon has their tokens only.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from capacity.base.errors import ConfigError
from capacity.config import Config
from capacity.data import compile_lexicon as compiling
from capacity.data import lexicon, lexicons, spans
from capacity.data.biographies import BiodWorld, BiosWorld
from capacity.data.corpus import read_people
from capacity.data.people import Span
from capacity.data.questions import context_of
from capacity.measure.extraction import halves
from capacity.measure.questions import (
    Question,
    gender_question,
    id_question,
    name_question,
    value_question,
)
from capacity.settings.data import BiodData, BiosData, CorpusData, worded_data

AT_ONCE = 500  # people who are rendered together
Places = Mapping[str | None, Span | None]  # by attribute, under None the name; None: not stated


@dataclass(frozen=True)
class Shown:
    """One text of a person: [start, end) in characters by attribute."""

    text: str
    places: Places


@dataclass(frozen=True)
class Asked:
    """One question: what stands in front of the answer, and the answer. attribute: None for the
    name."""

    attribute: str | None
    prompt: str
    answer: str


@dataclass(frozen=True)
class Told:
    """One person. alternatives: of how many equally likely values each was drawn, where that is
    known; follows: what is stated but follows from a value and holds no bits of its own; split:
    main, or of extraction taught and asked."""

    name: str
    values: Mapping[str, str]
    texts: list[Shown]
    asked: list[Asked]
    split: str = "main"
    alternatives: Mapping[str, float] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)


class Decoder:
    """Rows of the token table as text."""

    def __init__(self, config: Config) -> None:
        data = worded_data(config.data)
        content, encoder, row = compiling.compiled(data)
        if (now := lexicon.Lexicon(content).digest) != lexicons.of(data).digest:
            raise ConfigError(
                f"data.lexicon={lexicons.of(data).digest}: the files of these data have changed "
                f"since, they now compile to {now}; leave data.lexicon empty"
            )
        self.encoder = encoder
        self.bytes_of = [word.encode() for word in content["tokens"]]
        for token, at in row.items():
            self.bytes_of[at] = encoder.bytes_of(token)
        self.bytes_of[0] = b""  # the end of text between texts
        self.symbols = isinstance(data, BiodData)
        self.pieces = lexicons.of(data).pieces

    @cached_property
    def piece_texts(self) -> list[str]:
        """The text of each piece."""
        return [self.text(rows) for rows in self.pieces]

    def text(self, rows: list[int]) -> str:
        """Rows as text; a tag that marks a stream has none."""
        some = (self.bytes_of[row] for row in rows if row < len(self.bytes_of))
        return b"".join(some).decode("utf-8", "replace")

    def encoded(self, shown: Shown, cut: bool) -> list[bytes]:
        """The bytes of each token of a text as a run has it: with a space in front. cut: at the
        ends of its places, as texts of a corpus are; a symbol of bioD is one token."""
        text = " " + shown.text
        borders = {0, len(text)}
        if cut:
            for span in shown.places.values():
                if span is not None:
                    first, end = span[0] + 1, span[1] + 1
                    borders |= {first - (text[first - 1] == " "), end}
        ordered = sorted(borders)
        parts = [text[a:b] for a, b in itertools.pairwise(ordered)]
        if self.symbols:
            parts = [one for part in parts for one in re.split(r"( <\d+>)", part) if one]
        return [
            word
            for part in parts
            for word in (
                [part.encode()]
                if self.symbols and re.fullmatch(r" <\d+>", part)
                else [self.encoder.bytes_of(i) for i in self.encoder.encode(part)]
            )
        ]


def texts_of(config: Config, wanted: int | None) -> int:
    """How many texts of a person are written: all where a run has so many, else as many as a value
    is asked for in."""
    data = config.data
    if isinstance(data, CorpusData):
        return 0  # those of the file
    if isinstance(data, BiosData) and data.biographies is not None:
        return min(wanted or data.biographies, data.biographies)
    return wanted or config.measure.contexts


def people(config: Config, decoder: Decoder, n_texts: int, most: int | None) -> Iterator[Told]:
    """The people that are measured, the first `most` of them, each with `n_texts` texts (of a
    corpus with its own)."""
    data = worded_data(config.data)
    if isinstance(data, CorpusData):
        yield from _of_corpus(config, data, most)
        return
    everybody = config.resolved.people(config.items)
    n = min(everybody, everybody if most is None else most)
    device = torch.device("cpu")
    if isinstance(data, BiosData):
        bios = BiosWorld(data, lexicons.of(data), everybody, config.seed, device)
        taught = set(halves(bios, config.seed)[0].tolist()) if _extracts(config) else None
        source = _Bios(bios, config, decoder, n_texts)
        for first in range(0, n, AT_ONCE):
            person_R = torch.arange(first, min(n, first + AT_ONCE))
            for i, person in zip(person_R.tolist(), source.people(person_R), strict=True):
                if taught is not None:
                    person = dataclasses.replace(person, split="taught" if i in taught else "asked")
                yield person
        return
    assert isinstance(data, BiodData)
    biod = BiodWorld(data, lexicons.of(data), config.items, config.seed, device)
    for first in range(0, n, AT_ONCE):
        yield from _biod(biod, decoder, torch.arange(first, min(n, first + AT_ONCE)), n_texts)


def _extracts(config: Config) -> bool:
    return config.extraction.mode != "none"


# bioS


class _Bios:
    """Texts of bioS from the pieces that a rendering is made of."""

    def __init__(self, world: BiosWorld, config: Config, decoder: Decoder, n_texts: int) -> None:
        self.world, self.decoder, self.n_texts = world, decoder, n_texts
        self.context = context_of(config.data, config.measure.context)
        self.sizes = world.data.attribute_sizes

    def people(self, person_R: Tensor) -> list[Told]:
        """People with their texts."""
        world, piece = self.world, self.decoder.piece_texts
        first, middle, last = world.names.parts(person_R)
        parts = [world.names.first[first], world.names.middle[middle], world.names.last_GN[0, last]]
        names = self._joined(torch.stack(parts, 1), [world.names.glues[0]] * len(person_R))
        values: dict[str, list[str]] = {}
        if "gender" in self.sizes:
            glue = world.names.glues[0]
            pronouns = world.pronoun_G2[0, world.values("gender", person_R)]
            values["gender"] = [piece[p].removesuffix(glue).strip() for p in pronouns.tolist()]
        for a, name in enumerate(world.attributes):
            zeros = torch.zeros_like(person_R)
            slots, _ = world.value_slots(a, world.values(name, person_R), zeros)
            values[name] = self._joined(slots, [world.value_glues[a][0]] * len(person_R))
        texts = [self._texts(person_R, exposure) for exposure in range(self.n_texts)]
        asked = self._asked(person_R, names, values)
        follows = [name for name in values if name not in self.sizes]
        own = [name for name in values if name in self.sizes]
        # of values that are not equally likely no such number can be said
        alike = not self.world.data.value_zipf
        alternatives = {name: float(self.sizes[name]) for name in own if alike}
        return [
            Told(
                names[r],
                {name: values[name][r] for name in own},
                [some[r] for some in texts],
                [question[r] for question in asked],
                "main",
                alternatives,
                {name: values[name][r] for name in follows},
            )
            for r in range(len(person_R))
        ]

    def _joined(self, slots_R3: Tensor, glues: list[str]) -> list[str]:
        """Three pieces as words, without what is glued to the last."""
        piece = self.decoder.piece_texts
        return [
            "".join(piece[p] for p in three).removesuffix(glue).strip()
            for three, glue in zip(slots_R3.tolist(), glues, strict=True)
        ]

    def _texts(self, person_R: Tensor, exposure: int) -> list[Shown]:
        world, d = self.world, self.world.data
        order_RK, template_RA = world.texts(
            person_R,
            torch.full_like(person_R, exposure),
            d.biographies,
            d.order,
            d.same_sentences,
        )
        slots, first, _ = world.sentences(person_R, order_RK, template_RA)
        rows = world.template_ATC[torch.arange(len(world.attributes)), template_RA]
        subject = rows[:, :, 2].gather(1, order_RK).tolist()
        value = rows[:, :, 4].gather(1, order_RK).tolist()
        columns = zip(
            slots.tolist(), first.tolist(), order_RK.tolist(), subject, value, strict=True
        )
        return [self._one(*some) for some in columns]

    def _one(
        self,
        slots_KC: list[list[int]],
        first_K: list[bool],
        order_K: list[int],
        subject_K: list[int],
        value_K: list[int],
    ) -> Shown:
        """One text, sentence by sentence: before, three pieces, between, three pieces, after."""
        world, piece = self.world, self.decoder.piece_texts
        text, places = "", dict[str | None, Span | None]()
        for k, slots in enumerate(slots_KC):
            named = world.attributes[order_K[k]]
            ends = world.names.glues[subject_K[k]], world.value_glues[order_K[k]][value_K[k]]
            who: str | None = None
            if k and not world.data.full_names:
                who = "gender"
            order = (who, named) if first_K[k] else (named, who)
            for begin, what in ((0, ""), (1, order[0]), (4, ""), (5, order[1]), (8, "")):
                some = slots[begin : begin + (3 if begin in (1, 5) else 1)]
                here = "".join(piece[p] for p in some)
                if what != "":
                    glue = ends[what == named]
                    start = len(text) + len(here) - len(here.lstrip())
                    places.setdefault(what, (start, len(text) + len(here) - len(glue)))
                text += here
        known = {None, *self.sizes}
        lead = len(text) - len(text.lstrip())
        kept = {
            name: (span[0] - lead, span[1] - lead)
            for name, span in places.items()
            if name in known and span is not None
        }
        return Shown(text[lead:], kept)

    def _asked(
        self, person_R: Tensor, names: list[str], values: dict[str, list[str]]
    ) -> list[list[Asked]]:
        """The first question of each kind that the measure asks."""
        world, out = self.world, []
        out.append(self._questions(None, name_question(world, person_R), names))
        for name, answers in values.items():
            if name == "gender":
                question = gender_question(world, person_R, 0, self.context)
            else:
                question = value_question(world, person_R, name, 0, self.context)
            out.append(self._questions(name, question, answers))
        return out

    def _questions(self, name: str | None, question: Question, answers: list[str]) -> list[Asked]:
        return _prompts(self.world, self.decoder, name, question, answers)


def _prompts(
    world: BiosWorld | BiodWorld,
    decoder: Decoder,
    name: str | None,
    question: Question,
    answers: list[str],
) -> list[Asked]:
    tokens, length = world.pieces.join(question.slots)
    rows, at = tokens.tolist(), (length.cumsum(0) - length).tolist()
    return [
        Asked(name, decoder.text(rows[start : start + begin]).lstrip(), answer)
        for start, begin, answer in zip(at, question.begin.tolist(), answers, strict=True)
    ]


# bioD


def _biod(world: BiodWorld, decoder: Decoder, person_R: Tensor, n_texts: int) -> Iterator[Told]:
    """People of bioD; a value is its symbols, as the tokens are written."""
    d, piece = world.data, decoder.piece_texts
    first, middle, last = world.names.parts(person_R)
    columns = [world.names.first[first], world.names.middle[middle], world.names.last_GN[0, last]]
    names = [
        "".join(piece[p] for p in three).removesuffix("'s").strip()
        for three in torch.stack(columns, 1).tolist()
    ]
    symbols = world.symbols_KDL
    comma = piece[world.comma] if world.comma else ""
    base, begin = decoder.bytes_of, lexicons.of(d).content["first_symbol"]

    def value(k: int, chunks: list[int]) -> str:
        decoded = (
            b"".join(base[begin + s] for s in symbols[k, c].tolist()).decode() for c in chunks
        )
        return comma.join(decoded).strip()

    drawn = world.chunks(person_R).tolist()
    values = [{f"ID {k + 1}": value(k, row[k]) for k in range(d.attributes)} for row in drawn]
    between = len(world.lexicon.pieces[world.comma]) if world.comma else 0
    length = d.chunks * d.length + (d.chunks - 1) * between
    texts = []  # by exposure and person, with the token at which each value begins
    for exposure in range(n_texts):
        slots = world.render(person_R, torch.full_like(person_R, exposure))
        tokens, each = world.pieces.join(slots)
        begins = [
            id_question(world, person_R, k, length, "text", exposure).begin.tolist()
            for k in range(d.attributes)
        ]
        rows = [row.tolist() for row in tokens.split(each.tolist())]
        texts.append(list(zip(rows, zip(*begins, strict=True), strict=True)))
    context = context_of(d, "auto")
    prompts = [
        [
            decoder.text(row[:begin]).strip()
            for row, begin in _in_front(world, id_question(world, person_R, k, length, context, 0))
        ]
        for k in range(d.attributes)
    ]
    for r, name in enumerate(names):
        shown = []
        for some in texts:
            row, begins = some[r]
            text = decoder.text(row).strip()
            places: dict[str | None, Span | None] = {None: (0, len(name))}
            for (key, words), begin in zip(values[r].items(), begins, strict=True):
                start = len(decoder.text(row[:begin]).strip()) + 1
                places[key] = (start, start + len(words))
                assert text[start : start + len(words)] == words, "a value is not in its place"
            shown.append(Shown(text, places))
        asked = [Asked(None, "", name)]
        asked += [
            Asked(key, prompts[k][r], words) for k, (key, words) in enumerate(values[r].items())
        ]
        alternatives = dict.fromkeys(values[r], float(d.diversity**d.chunks))
        yield Told(name, values[r], shown, asked, "main", alternatives)


def _in_front(world: BiodWorld, question: Question) -> list[tuple[list[int], int]]:
    """The tokens of each question, and how many stand in front of what is asked."""
    tokens, length = world.pieces.join(question.slots)
    rows = [row.tolist() for row in tokens.split(length.tolist())]
    return list(zip(rows, question.begin.tolist(), strict=True))


# Corpora


def _of_corpus(config: Config, data: CorpusData, most: int | None) -> Iterator[Told]:
    partial = data.missing_attributes == "allow"
    corpus_people = read_people(Path(data.path), data.n_people, partial)
    finder = spans.Finder(corpus_people)
    for person in corpus_people[:most]:
        texts, asked = [], []
        counts: dict[str | None, int] = {}
        for text in person.texts:
            stated = finder.stated(person, text)
            lead = len(text.text) - len(text.text.lstrip())
            places: dict[str | None, Span | None] = {
                name: (a - lead, b - lead) for name, (a, b) in stated.places.items()
            }
            places |= {name: None for name, span in text.given.items() if span is None}
            shown = Shown(text.text[lead:], places)
            texts.append(shown)
            for name, span in places.items():
                if span is not None and counts.setdefault(name, 0) < 1:
                    counts[name] += 1
                    front, answer = shown.text[: span[0]], shown.text[span[0] : span[1]]
                    asked.append(Asked(name, front.rstrip(), answer))
        yield Told(person.name, person.values, texts, asked, "main", person.alternatives)
