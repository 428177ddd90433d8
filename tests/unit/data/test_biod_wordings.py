"""bioD without sentences, in one order, and with rows that no text uses."""

import math

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.config import check_questions, from_dict
from capacity.measure import knowledge
from capacity.measure.questions import Asking
from small_worlds import make

SMALL = {
    "kind": "biod",
    "first_names": 20,
    "middle_names": 0,
    "last_names": 30,
    "chunks": 2,
    "diversity": 9,
    "length": 2,
    "alphabet": 7,
}


def texts(world, n, exposure):
    tokens, length = world.pieces.join(world.render(torch.arange(n), torch.full((n,), exposure)))
    return [row.tolist() for row in tokens.split(length.tolist())]


def name_tokens(world, i):
    first, middle, last = (int(part[0]) for part in world.names.parts(torch.tensor([i])))
    content = world.lexicon.content
    names = (content["first"][first], content["last"]["'s"]["pieces"][last])
    assert middle == 0
    return [row for piece in names for row in world.lexicon.pieces[piece]]


def value_tokens(world, i, k):
    first = world.lexicon.content["first_symbol"]
    drawn = world.chunks(torch.tensor([i]))[0, k]
    comma = list(world.lexicon.pieces[world.comma]) if world.comma else []
    chunks = [[first + s for s in world.symbols_KDL[k, c].tolist()] for c in drawn]
    return chunks[0] + [row for chunk in chunks[1:] for row in comma + chunk]


@pytest.mark.parametrize("separator", ["comma", "none"])
@pytest.mark.parametrize("wording", ["values", "attributes"])
def test_without_sentences_a_text_is_its_name_its_marks_and_its_values(wording, separator):
    """EOS, the name, then each value, behind one token of its attribute where that is told."""
    order = "fixed" if wording == "values" else "permute"
    world = make(n=40, attributes=3, wording=wording, order=order, separator=separator, **SMALL)
    marks = {}
    orders = set()
    for exposure in range(8):
        for i, row in enumerate(texts(world, 40, exposure)):
            name = name_tokens(world, i)
            assert row[: 1 + len(name)] == [0, *name]
            rest, seen = row[1 + len(name) :], []
            while rest:
                if wording == "attributes":
                    k = marks.setdefault(rest[0], len(marks))
                    rest = rest[1:]
                    # which attribute a mark is of follows from the first texts in their order
                else:
                    k = len(seen)
                seen.append(k)
                length = len(value_tokens(world, i, 0))
                value, rest = rest[:length], rest[length:]
                own = {tuple(value_tokens(world, i, j)): j for j in range(3)}
                assert tuple(value) in own
                if wording == "values":
                    assert own[tuple(value)] == k
            orders.add(tuple(seen))
    if wording == "attributes":
        heads = [world.lexicon.pieces[piece] for piece in world.lexicon.content["heads"]]
        assert sorted(marks) == sorted(row for (row,) in heads)
        assert len(orders) == math.factorial(3)
    else:
        assert orders == {(0, 1, 2)}


def test_marks_name_their_attributes():
    world = make(n=40, attributes=3, wording="attributes", order="fixed", **SMALL)
    heads = [world.lexicon.pieces[piece][0] for piece in world.lexicon.content["heads"]]
    for i, row in enumerate(texts(world, 40, 5)):
        wanted = [0, *name_tokens(world, i)]
        for k in range(3):
            wanted += [heads[k], *value_tokens(world, i, k)]
        assert row == wanted


@pytest.mark.parametrize("wording", ["sentences", "attributes", "values"])
def test_lengths_are_those_of_the_texts(wording):
    world = make(n=500, attributes=3, wording=wording, order="fixed", **SMALL)
    lengths = torch.tensor([len(row) - 1 for row in texts(world, 500, 0)]).double()
    mean = world.lexicon.mean_tokens(world.data)
    assert mean == pytest.approx(float(lengths.mean()), rel=0.05)
    assert world.lexicon.shortest(world.data) <= int(lengths.min())


def test_values_do_not_depend_on_wording_or_order():
    one = make(n=50, attributes=3, **SMALL)
    other = make(n=50, attributes=3, wording="attributes", order="fixed", **SMALL)
    person = torch.arange(50)
    assert one.chunks(person).equal(other.chunks(person))
    assert one.symbols_KDL.equal(other.symbols_KDL)


def test_the_token_table_can_have_rows_that_no_text_uses():
    plain = make(n=40, attributes=3, **SMALL)
    rows = plain.lexicon.rows + 13
    padded = make(n=40, attributes=3, rows=rows, **SMALL)
    assert padded.lexicon.rows == rows
    assert padded.lexicon.used_rows(padded.data) == plain.lexicon.rows
    assert texts(padded, 40, 3) == texts(plain, 40, 3)
    with pytest.raises(ConfigError, match=f"data.rows={plain.lexicon.rows - 1}: texts of this"):
        make(n=40, attributes=3, rows=plain.lexicon.rows - 1, **SMALL)


def test_values_alone_need_one_order():
    with pytest.raises(ConfigError, match="data.wording=values: nothing tells which attribute"):
        make(n=40, attributes=3, wording="values", **SMALL)
    make(n=40, attributes=1, wording="values", **SMALL)  # one attribute is never mistaken


def _scorer(batch):
    """Nats that follow from a token and its place, so that any other place gives another sum."""
    target = batch[:, 1:].double()
    place = torch.arange(1, batch.shape[1]).double()
    nats = (target + 1).sqrt() + 0.01 * place * (target % 5)
    return nats, torch.ones_like(nats, dtype=torch.bool)


def _nats(row, begin, length):
    return sum(
        math.sqrt(row[t] + 1) + 0.01 * t * (row[t] % 5) for t in range(begin, begin + length)
    )


@pytest.mark.parametrize("wording", ["sentences", "attributes", "values"])
@pytest.mark.parametrize("order", ["permute", "fixed"])
@pytest.mark.parametrize("context", ["auto", "text", "first"])
def test_values_are_asked_where_they_stand(wording, order, context):
    """auto: directly behind the name where orders are new, else in the person's text."""
    if wording == "values" and order == "permute":
        return  # refused
    world = make(n=30, attributes=3, wording=wording, order=order, **SMALL)
    found = knowledge.measure(
        world, Asking(_scorer, None, 2, context, 10**6), {"total": 100, "paper": 100}
    )
    asked = context if context != "auto" else "first" if order == "permute" else "text"
    assert found["context"] == asked
    again = 2 if asked == "text" and order == "permute" else 1
    assert {row["contexts"] for row in found["attributes"].values()} == {again}
    nats = []
    for exposure in range(again):
        shown = texts(world, 30, exposure)
        for i, k in ((i, k) for i in range(30) for k in range(3)):
            value = value_tokens(world, i, k)
            if asked == "first":
                one = torch.tensor([[k]])
                slots = torch.cat(
                    [torch.ones_like(one), world.sentences(torch.tensor([i]), one).flatten(1)], 1
                )
                row = world.pieces.join(slots)[0].tolist()
            else:
                row = shown[i]
            at = world.order(torch.tensor([i]), torch.tensor([exposure]))[0].tolist().index(k)
            places = [
                t for t in range(1, len(row)) if row[t : t + len(value)] == value
            ]  # two values of one person can be the same string
            own = [value_tokens(world, i, j) == value for j in range(3)]
            before = sum(
                own[j]
                for j in world.order(torch.tensor([i]), torch.tensor([exposure]))[0].tolist()[:at]
            )
            begin = places[0] if asked == "first" else places[before]
            nats.append(_nats(row, begin, len(value)))
    assert found["p2_nats"] == pytest.approx(sum(nats) / len(nats), rel=1e-9)


@pytest.mark.parametrize("wording", ["sentences", "attributes", "values"])
def test_a_question_in_a_whole_text_needs_as_many_positions(wording):
    """The last value ends a text but for its stop, which is not asked."""
    data = {"attributes": 3, "wording": wording, "order": "fixed"}
    world = make(n=600, **data, **SMALL)  # every name there is
    longest = max(len(row) - 1 for row in texts(world, 600, 0)) - (wording == "sentences")
    tree = SMALL | data | {"n_people": 600, "seq_len": longest}
    check_questions(from_dict({"data": tree, "train": {"steps": 1000}}))
    with pytest.raises(ConfigError, match=f"a question of this data can have {longest} tokens"):
        check_questions(
            from_dict({"data": tree | {"seq_len": longest - 1}, "train": {"steps": 1000}})
        )
