"""Values of known lists, spelled by a model of known probabilities."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity.certify import tables
from capacity.certify.coder import Reader, Writer
from capacity.certify.loops import code_list
from capacity.certify.spelling import STOP, Lists, Spelling

V = 7


def values_of(lists):
    """All values, listed: what `Lists` says without."""
    return {tuple(itertools.chain(*choice)) for choice in itertools.product(*lists.parts)}


# (2,) starts (2, 3), which starts (2, 3, 4); both parts may be empty, not together
NAMES = Lists([[(2,), (2, 3), (2, 3, 4), (5,)]])
DATES = Lists([[(1,), (6, 6)], [(3,), (4,), (5,)]])


class Fixed:
    """Probabilities that depend on nothing."""

    def __init__(self, seed=0):
        draw = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(1, V, generator=draw).double()
        self.p = self.logits.softmax(1)[0].tolist()

    def __call__(self, prefixes):
        table, log_p = tables.of_logits(self.logits.expand(len(prefixes), V))
        return table, -log_p.numpy() / math.log(2)


def rows_of(values, head=(6,)):
    """A value behind a head, in a row each, padded."""
    width = len(head) + max(NAMES.longest, DATES.longest)
    rows = np.zeros((len(values), width), np.int64)
    coded = np.zeros(rows.shape, bool)
    for row, mask, value in zip(rows, coded, values, strict=True):
        row[: len(head)], row[len(head) : len(head) + len(value)] = head, value
        mask[len(head) :] = True
    return rows, coded


def round_trip(values, lists, list_N, model):
    rows, coded = rows_of(values)
    spelling = Spelling(model, lists, np.array(list_N), coded.argmax(1))
    writer = Writer()
    _, ideal = code_list(writer, spelling, rows, coded, rows)
    content = writer.content()
    reader = Reader(content, writer.blocks, "code", "here")
    back, _ = code_list(reader, spelling, np.where(coded, 0, rows), coded, None)
    reader.close()
    assert np.array_equal(back, rows)
    return ideal, writer


def test_lists_know_beginnings_and_ends():
    assert NAMES.longest == 3 and DATES.longest == 3
    assert NAMES.follows(()) == {2, 5} and NAMES.follows((2,)) == {3}
    assert NAMES.is_whole((2, 3)) and not NAMES.is_whole((3,)) and not NAMES.follows((5,))
    assert not NAMES.is_whole((2,) * 2) and not NAMES.follows((5, 2))
    again = Lists.unpacked(DATES.packed())
    assert again.parts == DATES.parts == [[(1,), (6, 6)], [(3,), (4,), (5,)]]
    empty = Lists([[(1,)], [()], [(2, 3), (4,)]])
    assert values_of(Lists.unpacked(empty.packed())) == {(1, 2, 3), (1, 4)}


PIECES = st.lists(st.lists(st.integers(1, 3), max_size=3).map(tuple), min_size=1, max_size=4)


@given(st.lists(PIECES, min_size=1, max_size=3), st.lists(st.integers(1, 3), max_size=8))
def test_lists_say_what_a_list_of_all_values_says(parts, tokens):
    lists, begin = Lists(parts), tuple(tokens)
    values = [tuple(itertools.chain(*choice)) for choice in itertools.product(*parts)]
    n = len(begin)
    assert lists.is_whole(begin) == (begin in values)
    assert lists.follows(begin) == {v[n] for v in values if v[:n] == begin and len(v) > n}
    found = sorted(end for _, end in lists.matches(begin))
    assert found == sorted(len(v) for v in values if begin[: len(v)] == v)
    assert all(lists.join(choice) == begin[:end] for choice, end in lists.matches(begin))


@given(
    st.lists(st.sampled_from(sorted(values_of(NAMES))), min_size=1, max_size=12), st.integers(0, 99)
)
def test_values_come_back_though_one_starts_another(values, seed):
    round_trip(values, [NAMES], [0] * len(values), Fixed(seed))


@given(st.data())
def test_rows_of_several_lists_come_back_together(data):
    lists = [NAMES, DATES]
    which = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=9))
    values = [data.draw(st.sampled_from(sorted(values_of(lists[k])))) for k in which]
    round_trip(values, lists, which, Fixed(1))


@pytest.mark.parametrize("value", sorted(values_of(NAMES)) + sorted(values_of(DATES)))
def test_a_value_costs_its_tokens_less_the_longer_ones(value):
    """-log2 of the product of its tokens' probabilities times what does not go on."""
    model = Fixed()
    names = value in values_of(NAMES)
    ideal, _ = round_trip([value], [NAMES if names else DATES], [0], model)
    p = math.prod(model.p[token] for token in value)
    steps = [(2,), (2, 3)] if names else []
    if value in steps:
        p *= 1 - model.p[{(2,): 3, (2, 3): 4}[value]]
    assert ideal == pytest.approx(-math.log2(p), abs=1e-9)


def test_all_values_of_a_list_have_at_most_one_together():
    """So that lengths that are not given cost nothing: Kraft's sum over the values of a list."""
    for lists in (NAMES, DATES):
        costs = [round_trip([value], [lists], [0], Fixed(3))[0] for value in values_of(lists)]
        assert sum(2**-cost for cost in costs) < 1


def test_places_behind_a_value_are_not_coded():
    _, writer = round_trip([(5,), (2, 3, 4)], [NAMES], [0, 0], Fixed())
    # 5 ends where it stands; behind 2 and 3 a value may end, and does not
    assert sum(block["symbols"] for block in writer.blocks) == 1 + 3
    assert STOP not in set(itertools.chain(*values_of(NAMES)))
