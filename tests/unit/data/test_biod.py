"""bioD against its definition, and texts that there cannot be."""

import collections
import itertools
import math

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.data import resolve
from small_worlds import POOLS, make


@pytest.mark.parametrize(
    "data",
    [
        {"attributes": 6, "chunks": 2, "diversity": 50, "length": 3, "alphabet": 10},
        {
            "attributes": 1,
            "chunks": 3,
            "diversity": 9,
            "length": 2,
            "alphabet": 3,
            "separator": "none",
        },
        {
            "attributes": 2,
            "chunks": 1,
            "diversity": 8,
            "length": 3,
            "alphabet": 2,
        },  # every string there is
        {
            "attributes": 3,
            "chunks": 2,
            "diversity": 40,
            "length": 40,
            "alphabet": 3000,
            "middle_names": 0,
        },
    ],
    ids=str,
)
def test_biod_is_its_definition(data):
    """Definition 2.2: K sets of D distinct strings of L symbols, C uniform chunks a value, a new
    order every time."""
    n, k, c, d, length = 300, data["attributes"], data["chunks"], data["diversity"], data["length"]
    world = make(n=n, kind="biod", **data)
    assert world.symbols_KDL.shape == (k, d, length)
    assert 0 <= int(world.symbols_KDL.min()) and int(world.symbols_KDL.max()) < data["alphabet"]
    sets = [[tuple(s) for s in some] for some in world.symbols_KDL.tolist()]
    assert all(len(set(some)) == d for some in sets)
    content, drawn = world.lexicon.content, world.chunks(torch.arange(n))
    assert drawn.shape == (n, k, c) and int(drawn.max()) == d - 1 and int(drawn.min()) == 0
    names = [
        (POOLS / f"{part}_name.txt").read_text().split() for part in ("first", "middle", "last")
    ]
    orders = collections.Counter()
    for e in range(3):
        tokens, lengths = world.pieces.join(world.render(torch.arange(n), torch.full((n,), e)))
        for i, part in enumerate(tokens.split(lengths.tolist())):
            shown = "".join(content["tokens"][row] for row in part.tolist())
            first, middle, last = (
                words[int(p)]
                for words, p in zip(names, world.names.parts(torch.tensor([i])), strict=True)
            )
            name = f"{first} {middle} {last}" if data.get("middle_names", 1) else f"{first} {last}"
            comma = "," if data.get("separator", "comma") == "comma" else ""
            said = [shown.index(f" ID {a + 1} is") for a in range(k)]
            order = sorted(range(k), key=said.__getitem__)
            orders[tuple(order)] += 1
            wanted = "<|endoftext|>"
            for place, a in enumerate(order):
                chunks = ["".join(f" <{s}>" for s in sets[a][int(v)]) for v in drawn[i, a]]
                wanted += (
                    " Her" if place else f" {name}'s"
                ) + f" ID {a + 1} is{comma.join(chunks)}."
            assert shown == wanted
            symbols = [row for row in part.tolist() if row >= content["first_symbol"]]
            assert len(symbols) == k * c * length  # a symbol is one token, a chunk exactly L
        if k == 1:
            break
    assert k == 1 or len(orders) == math.factorial(k) or k == 6
    assert world.lexicon.mean_tokens(world.data) == pytest.approx(
        float(lengths.double().mean()) - 1, rel=0.02
    )
    assert world.lexicon.shortest(world.data) <= int(lengths.min()) - 1


def test_biod_values_are_uniform():
    world = make(n=20_000, kind="biod", attributes=2, chunks=2, diversity=30, length=2, alphabet=10)
    drawn = world.chunks(torch.arange(20_000))
    for k, c in itertools.product(range(2), range(2)):
        count = drawn[:, k, c].bincount(minlength=30).double()
        assert float(((count - 20_000 / 30) ** 2 / (20_000 / 30)).sum()) < 29 + 4 * math.sqrt(58)
    for other in (drawn[:, 1, 0], drawn[:, 0, 1]):
        pairs = (drawn[:, 0, 0] * 30 + other).bincount(minlength=900).double()
        assert float(((pairs - 20_000 / 900) ** 2 / (20_000 / 900)).sum()) < 899 + 4 * math.sqrt(
            1800
        )
    assert set(map(tuple, world.symbols_KDL[0].tolist())) != set(
        map(tuple, world.symbols_KDL[1].tolist())
    )


@pytest.mark.parametrize(
    "data", [{}, {"chunks": 1}, {"separator": "none"}, {"attributes": 1}], ids=str
)
def test_rows_of_biod_are_those_in_use(data):
    """P counts rows in use; of the alphabet all symbols, whether or not the drawn strings have
    them."""
    world = make(
        n=2000,
        kind="biod",
        **{
            "attributes": 3,
            "chunks": 2,
            "diversity": 50,
            "alphabet": 50,
            "first_names": 20,
            "middle_names": 10,
            "last_names": 30,
        }
        | data,
    )
    tokens, _ = world.pieces.join(world.render(torch.arange(2000), torch.arange(2000)))
    data = resolve.of(world.data)
    assert data.used_rows == data.rows == len(world.lexicon.content["tokens"])
    unseen = set(range(data.rows)) - set(tokens.tolist())
    assert [world.lexicon.content["tokens"][row] for row in unseen] == []


@pytest.mark.parametrize(
    "data, key",
    [
        ({"diversity": 101, "length": 2, "alphabet": 10}, "data.diversity=101"),
        ({"first_names": 2, "middle_names": 1, "last_names": 2, "n": 31}, "data.n_people=31"),
    ],
)
def test_an_impossible_biod_is_refused(data, key):
    with pytest.raises(ConfigError, match=key):
        make(kind="biod", **data)


@pytest.mark.parametrize(
    "data",
    [
        {"biographies": 2, "same_sentences": True, "order": "fixed"},
        {"biographies": 7, "same_sentences": True, "order": "pairs"},
        {"biographies": 2, "templates": 1, "order": "fixed"},
    ],
    ids=str,
)
def test_more_different_texts_than_there_can_be_are_refused(data):
    with pytest.raises(ConfigError, match="data.biographies"):
        make(**data)
