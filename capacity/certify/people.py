"""Questions about the values of people as a certificate codes them: what stands in front of a
value, and all values that could stand there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from capacity.certify.spelling import Lists, Piece
from capacity.data.biographies import BiodWorld, BiosWorld
from capacity.data.world import EMPTY
from capacity.measure.questions import Question, name_question, starts, value_question

UNASKED = "gender"  # of bioS: it stands behind another value, as a pronoun


@dataclass(frozen=True)
class Values:
    """One attribute of all people.

    rows: tokens up to the end of the value. begin: the first token of the value. names: by row.
    lists: all values. bits: of one of them. index: what is drawn as whole numbers, and how many of
    those there are."""

    attribute: str
    rows: list[list[int]]
    begin: np.ndarray
    names: list[str]
    lists: Lists
    bits: float
    index: tuple[np.ndarray, int]


def questions(world: BiosWorld | BiodWorld) -> list[Values]:
    """Every attribute of the world that counts bits but the gender, of all its people, directly
    behind the name, by the first of the clear templates (`BiosWorld.clear`)."""
    person_R = torch.arange(world.n_people, device=world.device)
    called = _names(world, person_R)
    if isinstance(world, BiosWorld):
        asked = _of_bios(world, person_R)
    else:
        asked = _of_biod(world, person_R)
    return [
        Values(name, *cut(world, question), called, lists, bits, index)
        for name, question, lists, bits, index in asked
    ]


Asked = Iterator[tuple[str, Question, Lists, float, tuple[np.ndarray, int]]]


def asked_of(world: BiosWorld) -> list[str]:
    """Attributes of bioS that are asked for."""
    sizes = world.data.attribute_sizes.items()
    return [name for name, size in sizes if name != UNASKED and size >= 2]


def _of_bios(world: BiosWorld, person_R: Tensor) -> Asked:
    for name in asked_of(world):
        size = world.data.attribute_sizes[name]
        a = world.attributes.index(name)
        glue = int(world.template_ATC[a, world.clear[a][0], 4])
        (lead1, lead2), last_GN, length_GN = world.parts[a]
        ends = zip(last_GN[glue].tolist(), length_GN[glue].tolist(), strict=True)
        parts = [
            [piece(world, p) for p in lead1.tolist()],
            [piece(world, p) for p in lead2.tolist()],
            [piece(world, p)[:length] for p, length in ends],
        ]
        question = value_question(world, person_R, name, 0, "first")
        drawn = world.values(name, person_R).cpu().numpy()
        yield name, question, Lists(parts), math.log2(size), (drawn, size)


def _of_biod(world: BiodWorld, person_R: Tensor) -> Asked:
    d = world.data
    comma = [piece(world, world.comma)] if world.comma != EMPTY else [()]
    for k, parts in enumerate(strings(world, comma)):
        order = torch.full((len(person_R), 1), k, device=world.device)
        slots = torch.cat([torch.ones_like(order), world.sentences(person_R, order).flatten(1)], 1)
        begin = starts(world, slots)[:, 5]
        length = d.chunks * d.length + (d.chunks - 1) * len(comma[0])
        question = Question(slots, begin, torch.full_like(begin, length))
        drawn = world.chunks(person_R)[:, k].reshape(-1).cpu().numpy()
        bits = d.chunks * math.log2(d.diversity)
        yield f"ID {k + 1}", question, Lists(parts), bits, (drawn, d.diversity)


def strings(world: BiodWorld, comma: list[Piece]) -> Iterator[list[list[Piece]]]:
    """The parts of each attribute's values: chunks, and what stands between two of them."""
    first, d = world.lexicon.content["first_symbol"], world.data
    for k in range(d.attributes):
        chunk = [tuple(row) for row in (first + world.symbols_KDL[k]).tolist()]
        yield list(itertools.chain(*([chunk, comma] for _ in range(d.chunks))))[:-1]


def piece(world: BiosWorld | BiodWorld, number: int) -> Piece:
    """The tokens of a piece."""
    begin, length = int(world.pieces.start[number]), int(world.pieces.length[number])
    return tuple(world.pieces.tokens[begin : begin + length].tolist())


def cut(world: BiosWorld | BiodWorld, question: Question) -> tuple[list[list[int]], np.ndarray]:
    """The tokens of each row up to the end of what is asked, and where that begins."""
    tokens, length = world.pieces.join(question.slots)
    end = (question.begin + question.length).tolist()
    whole = tokens.split(length.tolist())
    rows = [row[:last].tolist() for row, last in zip(whole, end, strict=True)]
    return rows, question.begin.cpu().numpy()


def _names(world: BiosWorld | BiodWorld, person_R: Tensor) -> list[str]:
    question = name_question(world, person_R)
    rows, begin = cut(world, question)
    return [
        world.lexicon.text(row[first:]).strip()
        for row, first in zip(rows, begin.tolist(), strict=True)
    ]
