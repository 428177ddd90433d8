"""How a model answers for the people of an imported corpus: every value and name where the person's
own texts state it, with all that stands in front.

A value is worth the probability of exactly its tokens: where these start those of another value of
the attribute, the probability of the longer one is taken off, as for bioS (`questions.ask_value`).
Tokens of a value are those that some text has at its place; a value that no text states cannot be
said. Another form of the same value, such as an inflected one, is not taken off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from capacity.data.biographies import CorpusWorld, Pieces
from capacity.data.facts import NAME, Facts, key_of
from capacity.measure.questions import Asking, Question

Form = tuple[int, ...]  # token rows of a value at its place


@dataclass(frozen=True)
class Answers:
    """Of one attribute, or the name: people who were asked (as places among those given), means
    over their texts of nats and of exact answers, and how many texts a person was asked in at
    most."""

    who: list[int]
    nats: np.ndarray
    correct: np.ndarray
    texts: int


@dataclass(frozen=True)
class _Place:
    """Where one text states a value: its asker among those given, piece, tokens, and value."""

    who: int
    piece: int
    begin: int
    length: int
    value: int | None


def answers(
    world: CorpusWorld, facts: Facts, person_R: Tensor, asking: Asking
) -> dict[str | None, Answers]:
    """The answers of these people by attribute, under None of their names. A person is asked in the
    first `asking.draws` texts that state the value."""
    people = person_R.tolist()
    out: dict[str | None, Answers] = {}
    for name in (None, *facts.attributes):
        places = list(_places(world, facts, people, name, asking.draws))
        nats, hits = _ask(world, places, asking)
        if name is not None:
            longer, goes_on = _longer(world, facts, name, places, asking)
            nats, hits = nats - np.log1p(-np.minimum(longer, 1 - 1e-15)), hits & ~goes_on
        by_person: dict[int, list[int]] = {}
        for i, place in enumerate(places):
            by_person.setdefault(place.who, []).append(i)
        out[name] = Answers(
            list(by_person),
            np.array([nats[rows].mean() for rows in by_person.values()]),
            np.array([hits[rows].mean() for rows in by_person.values()]),
            max(map(len, by_person.values()), default=0),
        )
    return out


def _places(
    world: CorpusWorld, facts: Facts, people: list[int], name: str | None, draws: int
) -> Iterator[_Place]:
    content, key = world.lexicon.content, NAME if name is None else key_of(name)
    for who, i in enumerate(people):
        value = None if name is None else facts.attributes[name].value_N[i]
        stated = [
            (piece, span[key])
            for piece, span in zip(content["texts"][i], content["spans"][i], strict=True)
            if span.get(key) is not None
        ]
        for piece, (begin, length) in stated[:draws]:
            yield _Place(who, piece, begin, length, value)


def _ask(world: CorpusWorld, places: list[_Place], asking: Asking) -> tuple[np.ndarray, np.ndarray]:
    if not places:
        return np.zeros(0), np.zeros(0, bool)
    piece, begin, length = (
        torch.tensor(column, device=world.device)
        for column in zip(*((p.piece, p.begin, p.length) for p in places), strict=True)
    )
    slots = torch.stack([torch.ones_like(piece), piece], 1)  # EOS and the text
    return asking.ask(world.pieces, Question(slots, begin + 1, length))


def _longer(
    world: CorpusWorld, facts: Facts, name: str, places: list[_Place], asking: Asking
) -> tuple[np.ndarray, np.ndarray]:
    """Of each place the probability that the model, having said the value, goes on to a longer one,
    and whether it does when it says what is most likely."""
    pieces = world.lexicon.pieces
    known = forms(world, facts, name)
    above = longer_forms(known)
    mass, goes_on = np.zeros(len(places)), np.zeros(len(places), bool)
    rows: list[list[int]] = []
    where: list[tuple[int, int]] = []  # place, first token of the rest
    for i, place in enumerate(places):
        end = place.begin + place.length
        front = pieces[place.piece][:end]
        form = tuple(front[place.begin :])
        others = [u for u in above.get(form, ()) if known[u] != {place.value}]
        for u in _shortest(others):
            rows.append([0, *front, *u[len(form) :]])
            where.append((i, end + 1))
    if rows:
        more = Pieces([[], *rows], world.device)
        slots = torch.arange(1, len(rows) + 1, device=world.device)[:, None]
        begin = torch.tensor([first for _, first in where], device=world.device)
        rest = Question(slots, begin, more.length[1:] - begin)
        nats, _ = asking.ask(more, rest)
        _, first = asking.ask(more, Question(slots, begin, torch.ones_like(begin)))
        at = [i for i, _ in where]
        np.add.at(mass, at, np.exp(-nats))
        np.logical_or.at(goes_on, at, first)
    return mass, goes_on


def forms(world: CorpusWorld, facts: Facts, name: str) -> dict[Form, set[int]]:
    """Token rows that state a value of the attribute somewhere, with the numbers of those
    values."""
    content, key, out = world.lexicon.content, key_of(name), {}
    pairs = zip(content["texts"], content["spans"], strict=True)
    for value, (texts, spans) in zip(facts.attributes[name].value_N, pairs, strict=True):
        for piece, span in zip(texts, spans, strict=True):
            if span.get(key) is not None:
                begin, length = span[key]
                form = tuple(content["pieces"][piece][begin : begin + length])
                out.setdefault(form, set()).add(value)
    return out


def longer_forms(known: Iterable[Form]) -> dict[Form, list[Form]]:
    """By form the longer ones that its tokens start, the shortest first."""
    some, out = set(known), {}
    for u in sorted(some, key=lambda form: (len(form), form)):
        for end in range(1, len(u)):
            if u[:end] in some:
                out.setdefault(u[:end], []).append(u)
    return out


def _shortest(longer: list[Form]) -> list[Form]:
    """Without those that start with another one, whose probability holds theirs."""
    out: list[Form] = []
    for u in longer:
        if not any(u[: len(v)] == v for v in out):
            out.append(u)
    return out
