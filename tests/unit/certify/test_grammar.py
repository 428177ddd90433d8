"""Texts read back into what was drawn of them, and rows of people, by worlds and models that are
known."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity.certify import biographies, tables
from capacity.certify.coder import Reader, Writer
from capacity.certify.grammar import Grammar, Phrase, Reading, Template
from capacity.certify.loops import code_set
from capacity.certify.message import order_bits
from capacity.certify.persons import People, Texts
from small_worlds import make

SMALL = {"cities": 5, "universities": 6, "majors": 4, "employers": 7, "templates": 2, "years": 2}
SMALL |= {"first_names": 8, "last_names": 12, "vocabulary": "world", "biographies": 2}
WORLDS = {
    "bios": {"middle_names": 0},
    "middle names, pairs": {"middle_names": 3, "order": "pairs"},
    "full names, all templates": {"middle_names": 0, "full_names": True, "templates": None},
    "one order, a tag": {"middle_names": 2, "order": "fixed", "tag": "main"},
    "same sentences": {"middle_names": 0, "same_sentences": True},
}


@pytest.fixture(scope="module", params=WORLDS)
def world(request):
    more = {"other_people": 30, "other_parts": 1} if request.param.endswith("a tag") else {}
    return make(n=30, seed=4, **(SMALL | more | WORLDS[request.param]))


def texts_of(world, grammar, person_R, copy_R):
    slots, drawn, _ = biographies._rendered(world, person_R, copy_R)
    flat, length = world.pieces.join(slots)
    head = len(grammar.head)
    rows = [tuple(row.tolist()) for row in flat.split(length.tolist())]
    assert all(row[:head] == grammar.head for row in rows)
    return [row[head:] for row in rows], drawn


def test_every_text_is_read_as_what_was_drawn_and_as_nothing_else(world):
    grammar = biographies.of_world(world)
    person_R = torch.arange(30).repeat_interleave(2)
    rows, drawn = texts_of(world, grammar, person_R, torch.arange(2).repeat(30))
    for row, one in zip(rows, drawn, strict=True):
        assert grammar.readings(row) == [one]
        assert len(row) <= grammar.longest
        assert not grammar.readings(row[:-1]) and not grammar.readings((*row, row[-1]))


def test_a_grammar_comes_back_from_its_file_and_says_nothing_of_the_people(world):
    grammar = biographies.of_world(world)
    assert Grammar.of_json(grammar.to_json()) == grammar
    assert biographies.of_world(world.with_seed(5)).to_json() == grammar.to_json()


def test_texts_of_strings_are_read():
    strings = make(
        n=30, kind="biod", attributes=3, chunks=2, diversity=9, order="fixed", alphabet=20
    )
    grammar = biographies.of_world(strings)
    rows, drawn = texts_of(strings, grammar, torch.arange(30), torch.zeros(30, dtype=torch.int64))
    assert [grammar.readings(row) for row in rows] == [[one] for one in drawn]
    assert {one.gender for one in drawn} == {None}


# "2 3" is the first name 2 with the last name 3, and "2 3 4" may be cut in two places
CUT = Phrase([[(2,), (2, 3)], [(3, 4), (4,)]], [2, 1])
TINY = Grammar(
    (0,), "", {"": CUT}, ["one"], [{"": Phrase([[(5,), (6,)]], [1, 1])}],
    [[Template((), True, "", (1,), "", ())]], {}, [[0]], False, [], [(0, 0)],
)  # fmt: skip


def test_a_text_that_says_two_names_has_two_readings():
    two = TINY.readings((2, 3, 4, 1, 5))
    assert two == [
        Reading((0, 0), None, 0, (0,), ((0,),)),
        Reading((1, 1), None, 0, (0,), ((0,),)),
    ]
    assert len(TINY.readings((2, 4, 1, 6))) == 1


V = 8
NAMES = Phrase([[(2,), (3,)], [(4,), (4, 2), (5, 5), (7,)]], [1, 2, 2, 1])
VALUES = Phrase([[(6,), (6, 1), (3, 3, 3)]], [1, 2, 3])
PEOPLE = dataclasses.replace(
    TINY,
    names={"": NAMES},
    values=[{"": VALUES}],
    templates=[[Template((), True, "", (1,), "", ())]],
)


class Fixed:
    """Probabilities by the last token and by how long a row is."""

    def __init__(self, seed):
        draw = torch.Generator().manual_seed(seed)
        self.logits = 2 * torch.randn(V, 12, V, generator=draw).double()

    def __call__(self, prefixes):
        table, log_p = tables.of_logits(self.logits[prefixes[:, -1], prefixes.shape[1] % 12])
        return table, -log_p.numpy() / math.log(2)

    def bits(self, row, begin, stops=()):
        """-log2 p of tokens from `begin` on; stops: at these ends, of what does not go on so."""
        total = 0.0
        for end in range(begin, len(row)):
            log_p = self.logits[row[end - 1], end % 12].log_softmax(0)
            total -= float(log_p[row[end]]) / math.log(2)
        for token in stops:
            p = self.logits[row[-1], len(row) % 12].softmax(0)
            total -= math.log2(1 - float(p[token]))
        return total


def through_set(model, rows):
    writer = Writer()
    _, ideal = code_set(writer, model, *rows.shape, rows)
    reader = Reader(writer.content(), writer.blocks, "code", "here")
    back, _ = code_set(reader, model, *rows.shape, None)
    reader.close()
    return back, ideal


@given(st.sets(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1), st.data())
def test_people_come_back_as_a_set_and_cost_what_the_model_says(names, data):
    fixed = Fixed(data.draw(st.integers(0, 99)))
    people = People(fixed, PEOPLE)
    persons, cost = [], 0.0
    for name in names:
        value = data.draw(st.integers(0, 2))
        told = NAMES.bare.join(name), VALUES.bare.join((value,))
        persons.append(told)
        # 4 may go on to 4 2, and 6 to 6 1
        cost += fixed.bits((0, *told[0]), 1, (2,) if name[1] == 0 else ())
        cost += fixed.bits((0, *told[0], 1, *told[1]), len(told[0]) + 2, (1,) * (value == 0))
    rows = np.stack([people.row(list(person)) for person in persons])
    back, ideal = through_set(people, rows)
    assert sorted(map(tuple, map(people.split, back.tolist()))) == sorted(persons)
    assert ideal == pytest.approx(cost - order_bits(rows), abs=1e-6)


@given(st.sets(st.lists(st.integers(1, V - 1), max_size=6).map(tuple), min_size=1, max_size=20))
def test_texts_come_back_as_a_set_though_one_begins_another(texts):
    fixed = Fixed(1)
    rows = np.zeros((len(texts), 7), np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    back, ideal = through_set(Texts(fixed, PEOPLE), rows)
    assert {tuple(row[: row.index(0)]) for row in back.tolist()} == texts
    cost = sum(fixed.bits((0, *text, 0), 1) for text in texts)
    assert ideal == pytest.approx(cost - order_bits(rows), abs=1e-6)
