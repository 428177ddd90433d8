"""Lists and sets of rows through the coder and back, by predictors that are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.certify import tables
from capacity.certify.claims import packed
from capacity.certify.coder import WORD, Reader, Writer
from capacity.certify.loops import code_list, code_set
from capacity.certify.message import order_bits


class Chain:
    """A predictor that knows the last token, the place, and nothing of the rows."""

    def __init__(self, vocab, seed, sharp=3.0):
        draw = np.random.default_rng(seed)
        self.logits = torch.from_numpy(draw.normal(size=(vocab + 1, 12, vocab)) * sharp)
        self.vocab = vocab

    def closed(self, prefixes, who):
        return np.zeros(len(prefixes), bool)

    def __call__(self, prefixes, who):
        last = prefixes[:, -1] if prefixes.shape[1] else np.full(len(prefixes), self.vocab)
        table, log_p = tables.of_logits(self.logits[last, prefixes.shape[1] % 12])
        return table, -log_p.numpy() / math.log(2)


def rows_of(seed, n, length, vocab):
    return np.random.default_rng(seed).integers(0, vocab, (n, length))


def through_list(predict, rows, coded=None, batch=5):
    coded = np.ones(rows.shape, bool) if coded is None else coded
    writer = Writer()
    _, ideal = code_list(writer, predict, rows, coded, rows, batch)
    content = writer.content()
    reader = Reader(content, writer.blocks, "code", "here")
    back, again = code_list(reader, predict, np.where(coded, 0, rows), coded, None, batch)
    reader.close()
    assert again == ideal
    return back, ideal, writer, content


def through_set(predict, rows, batch=5):
    writer = Writer()
    _, ideal = code_set(writer, predict, *rows.shape, rows, batch)
    content = writer.content()
    reader = Reader(content, writer.blocks, "code", "here")
    back, again = code_set(reader, predict, *rows.shape, None, batch)
    reader.close()
    assert again == ideal
    return back, ideal, writer, content


sizes = st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 6), st.integers(2, 9)


@given(*sizes)
def test_a_list_comes_back_in_its_order(seed, n, length, vocab):
    rows = rows_of(seed, n, length, vocab)
    back, *_ = through_list(Chain(vocab, seed), rows)
    assert np.array_equal(back, rows)


@given(*sizes)
def test_a_set_comes_back_sorted_with_its_copies(seed, n, length, vocab):
    rows = rows_of(seed, n, length, vocab)
    back, *_ = through_set(Chain(vocab, seed), rows)
    assert np.array_equal(back, rows[np.lexsort(rows.T[::-1])])


@given(*sizes)
def test_a_set_saves_the_bits_of_its_orders_whatever_the_model(seed, n, length, vocab):
    """sum -log2 p of the list less log2 (N! / prod c!), which the splits telescope to."""
    rows, chain = rows_of(seed, n, length, vocab), Chain(vocab, seed, 1.0)
    _, listed, by_list, _ = through_list(chain, rows)
    _, ideal, by_set, _ = through_set(chain, rows)
    assert ideal == pytest.approx(listed - order_bits(rows), abs=1e-6)
    # tables cost no more than that, and less where a surprise is capped at 24 bits
    assert by_set.bits <= ideal + 0.05
    assert by_list.bits <= listed + 0.05


class Ended(Chain):
    """A chain whose rows are over behind token 0."""

    def closed(self, prefixes, who):
        return (prefixes == 0).any(1)


@given(*sizes)
def test_rows_that_end_are_leaves_of_the_tree(seed, n, length, vocab):
    rows = rows_of(seed, n, length, vocab)
    rows[np.logical_or.accumulate(rows == 0, axis=1)] = 0
    model, told = Ended(vocab, seed, 1.0), rows != 0
    told[:, 1:] |= rows[:, :-1] != 0  # an end is told once
    told[:, 0] = True
    back, listed, by_list, _ = through_list(model, rows)
    assert np.array_equal(back, rows)
    assert sum(block["symbols"] for block in by_list.blocks) == told.sum()
    back, ideal, *_ = through_set(model, rows)
    assert np.array_equal(back, rows[np.lexsort(rows.T[::-1])])
    assert ideal == pytest.approx(listed - order_bits(rows), abs=1e-6)


def test_a_file_is_as_long_as_its_tables_say_to_two_words():
    rows = rows_of(3, 400, 8, 7)
    for through in (through_list, through_set):
        _, ideal, writer, content = through(Chain(7, 1, 0.5), rows)
        assert writer.bits == pytest.approx(ideal, rel=0.01)
        assert writer.bits <= 8 * len(content) <= writer.bits + 64


def test_what_is_given_costs_nothing():
    rows = rows_of(4, 12, 6, 5)
    coded = np.random.default_rng(0).random(rows.shape) < 0.3
    back, ideal, *_ = through_list(Chain(5, 2), rows, coded)
    assert np.array_equal(back, rows)
    _, whole, *_ = through_list(Chain(5, 2), rows)
    assert ideal < whole


def test_one_block_with_nothing_to_code_is_a_block():
    rows = rows_of(5, 12, 3, 4)
    coded = np.ones(rows.shape, bool)
    coded[5:10] = False
    back, *_ = through_list(Chain(4, 2), rows, coded)
    assert np.array_equal(back, rows)


@given(st.data())
def test_a_changed_or_cut_file_is_refused_with_its_block(data):
    rows = rows_of(6, 40, 5, 8)
    writer = Writer()
    code_list(writer, Chain(8, 3), rows, np.ones(rows.shape, bool), rows, 10)
    content = bytearray(writer.content())
    place = data.draw(st.integers(0, len(content) - 1))
    cut = data.draw(st.booleans())
    if cut:
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ConfigError, match=r"code: block (\d) of 4 \(rows") as error:
        Reader(bytes(content), writer.blocks, "code", "here")
    named = int(str(error.value).split("block ")[1][0]) - 1
    first, last = (WORD * w for w in writer.blocks[named]["words"])
    assert place < last if cut else first <= place < last


def test_bytes_behind_the_end_are_refused():
    rows = rows_of(6, 4, 5, 8)
    writer = Writer()
    code_list(writer, Chain(8, 3), rows, np.ones(rows.shape, bool), rows)
    with pytest.raises(ConfigError, match="bytes, the header says"):
        Reader(writer.content() + b"\0", writer.blocks, "code", "here")


@pytest.mark.parametrize("as_set", [False, True])
def test_a_model_that_computes_something_else_is_found_in_its_block(as_set):
    rows, writer = rows_of(7, 40, 5, 8), Writer()
    coded = np.ones(rows.shape, bool)

    class From:
        """As `Chain`, and from place 3 on by one part in 10^6 another."""

        def __init__(self, chain):
            self.chain = chain

        def closed(self, prefixes, who):
            return self.chain.closed(prefixes, who)

        def __call__(self, prefixes, who):
            table, bits = self.chain(prefixes, who)
            if prefixes.shape[1] >= 3:
                table = tables.quantized(table * 2**14 + np.arange(8) * 2**18)
            return table, bits

    chain = Chain(8, 3)
    if as_set:
        code_set(writer, chain, *rows.shape, rows)
    else:
        code_list(writer, chain, rows, coded, rows)
    reader = Reader(writer.content(), writer.blocks, "code", "torch 1 there, torch 2 here")
    with pytest.raises(ConfigError, match=r"block \d of \d .*computes something else.*torch 2"):
        if as_set:
            code_set(reader, From(chain), *rows.shape, None)
        else:
            code_list(reader, From(chain), 0 * rows, coded, None)
        reader.close()


@given(st.integers(2, 3000), st.integers(0, 2**32), st.integers(1, 50))
def test_a_raw_table_has_every_bit_of_its_symbols(alphabet, seed, n):
    symbols = np.random.default_rng(seed).integers(0, alphabet, n)
    width = (alphabet - 1).bit_length()
    text = "".join(f"{byte:08b}" for byte in packed(symbols, alphabet))
    assert [int(text[i * width : (i + 1) * width], 2) for i in range(n)] == symbols.tolist()
