"""Data and batch order: pure functions of their arguments, exact exposures, nothing shared between
purposes."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.base import rng as streams
from capacity.data import uniform
from capacity.feed import batches


def test_tokens_never_change():
    """A golden digest: a new numpy or platform must give the same training sets, or published run
    ids lie."""
    digest = hashlib.sha256(uniform.tokens(7, 100, 32, 2048).astype("<i8").tobytes()).hexdigest()
    assert digest == "47bbb416db227f6b0860d7b79c6f3fc279dae7a159245b649d3c5f104c33c2f3"


def test_a_larger_set_extends_a_smaller_one_and_seeds_differ():
    small, large = uniform.tokens(3, 10, 8, 50), uniform.tokens(3, 25, 8, 50)
    assert (large[:10] == small).all()
    assert (uniform.tokens(4, 10, 8, 50) != small).mean() > 0.9


@pytest.mark.parametrize("vocab", [2, 3, 50, 256, 50_257])
def test_tokens_are_uniform_and_independent(vocab):
    tokens = uniform.tokens(1, 4000, 25, vocab)
    assert tokens.min() >= 0 and tokens.max() < vocab
    n, cells = tokens.size, min(vocab, 64)
    exact = (
        np.bincount(np.arange(vocab) * cells // vocab, minlength=cells) / vocab * n
    )  # unequal cells where 64 does not divide
    chi2 = (
        (np.bincount(tokens.reshape(-1) * cells // vocab, minlength=cells) - exact) ** 2 / exact
    ).sum()
    assert abs(chi2 - (cells - 1)) < 6 * np.sqrt(2 * (cells - 1)) + 3
    if vocab <= 3:  # pairs of neighbours
        pairs = np.bincount(
            (tokens[:, :-1] * vocab + tokens[:, 1:]).reshape(-1), minlength=vocab**2
        )
        assert np.abs(pairs / pairs.sum() - 1 / vocab**2).max() < 0.01


def test_every_sequence_of_a_tiny_space_is_equally_likely():
    """Exact entropy by enumeration: all V^S sequences appear at the same rate, so H per sequence is
    S log2 V."""
    seen = Counter(map(tuple, uniform.tokens(0, 80_000, 4, 3)))
    assert set(seen) == set(itertools.product(range(3), repeat=4))
    share = np.array(list(seen.values())) / 80_000
    assert -(share * np.log2(share)).sum() == pytest.approx(4 * np.log2(3), abs=2e-3)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**63 - 1),
    st.integers(1, 60),
    st.integers(1, 40),
    st.integers(0, 50),
    st.integers(1, 20),
)
def test_exposures_are_exact_from_any_step(seed, n, batch, first, steps):
    whole = batches.order(seed, n, batch, 0, first + steps)
    part = batches.order(seed, n, batch, first, steps)
    assert (whole[first:] == part).all()  # a function of (seed, step), not of where the call began
    seen = np.bincount(whole.reshape(-1), minlength=n)
    assert len(seen) == n
    fewest, most = batches.exposure_counts(n, batch, first + steps)
    assert fewest <= seen.min() and seen.max() <= most


def written_out(seed, n, batch, first_step, n_steps):
    """The chain of permutations as the definition has it: each epoch's words, sorted stably."""
    words_per_epoch = -(-n // streams.BLOCK) * streams.BLOCK
    epochs = range(first_step * batch // n, -(-(first_step + n_steps) * batch // n))
    chain = [
        np.argsort(
            batches.raw_words(seed, "order", e * words_per_epoch // streams.BLOCK, n),
            kind="stable",
        )
        for e in epochs
    ]
    start = first_step * batch - epochs.start * n
    return np.concatenate(chain)[start : start + n_steps * batch].reshape(n_steps, batch)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**63 - 1),
    st.one_of(st.integers(1, 60), st.integers(1, 3000)),
    st.integers(1, 200),
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0, 0, 0, 1, 7, -3])), max_size=6),
)
def test_a_reader_who_goes_on_gets_the_indices_of_the_definition(seed, n, batch, first, calls):
    """Whatever was read before, in pieces of any length, on and on or after a jump (a resume)."""
    reader = batches.Order(seed, n)
    for steps, jump in calls:
        first = max(0, first + jump)
        rows = reader.steps(batch, first, steps)
        assert rows.dtype == np.int64 and rows.shape == (steps, batch)
        assert (rows == written_out(seed, n, batch, first, steps)).all()
        if reader.kept is not None:  # one epoch at most, and only where it is not read to its end
            epoch, permutation = reader.kept
            assert permutation.nbytes == 4 * n
            assert epoch == ((first + steps) * batch - 1) // n
        assert (reader.kept is None) == ((first + steps) * batch % n == 0)
        first += steps


def test_epochs_larger_than_what_is_shuffled_together(monkeypatch):
    monkeypatch.setattr(batches, "TOGETHER", 100)
    for n in (7, 99, 101, 250):
        reader = batches.Order(3, n)
        for first in range(0, 60, 20):
            assert (reader.steps(17, first, 20) == written_out(3, n, 17, first, 20)).all()


@pytest.mark.parametrize("high", [1, 2, 300])
def test_equal_words_keep_their_order(monkeypatch, high):
    """Words that agree but for the bits that an index takes, or in all bits, sort as a stable sort
    of whole words does."""

    def few(seed, name, first_block, n_words):
        place = np.arange(n_words, dtype=np.uint64) + np.uint64(streams.BLOCK * first_block)
        mixed = (place * np.uint64(2654435761) % np.uint64(2**32)) >> np.uint64(7)
        return (mixed % np.uint64(high) << np.uint64(40)) + mixed % np.uint64(20)

    monkeypatch.setattr(batches, "raw_words", few)
    for n in (2, 5, 50, 1000):
        assert (batches.Order(0, n).steps(n, 0, 4) == written_out(0, n, n, 0, 4)).all()


def test_epochs_are_different_permutations():
    order = batches.order(5, 30, 30, 0, 40)
    assert all(sorted(row) == list(range(30)) for row in order)
    assert len({tuple(row) for row in order}) == 40
    first = np.bincount(
        batches.order(6, 5, 5, 0, 5000)[:, 0], minlength=5
    )  # each sequence comes first equally often
    assert np.abs(first - 1000).max() < 150


def test_streams_are_named_and_addressable():
    words = streams.raw_words(9, "data", 0, 40)
    assert (streams.raw_words(9, "data", 3, 8) == words[12:20]).all()
    assert not np.isin(streams.raw_words(9, "order", 0, 40), words).any()
    assert streams.derived_seed(1, "init", 63) != streams.derived_seed(2, "init", 63)
