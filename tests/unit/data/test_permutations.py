"""Words by index and permutations: uniform, distinct, a function of the seed."""

import collections
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.data import hashing


def word(base, *indices):
    """SplitMix64's finalizer in a chain, in Python's own integers."""
    state = base % 2**64
    for index in indices:
        z = (state + 0x9E3779B97F4A7C15 * (index + 1)) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        state = z ^ z >> 31
    return state % 2**62


@given(
    st.integers(0, 2**62 - 1),
    st.lists(st.integers(0, 2**62 - 1), min_size=1, max_size=3),
    st.integers(0, 10**6),
)
def test_a_word_is_what_exact_integers_give(base, indices, last):
    wanted = word(base, *indices, last)
    tensors = [torch.tensor([i]) for i in indices]
    assert hashing.words(base, *tensors, last).tolist() == [wanted]
    assert hashing.words(torch.tensor([[base]]), *tensors, torch.tensor([last])).tolist() == [
        [wanted]
    ]
    assert 0 <= wanted < 2**62


def test_words_show_no_bias():
    """Every bit, every residue and neighbours, of consecutive indices, which is how people are
    numbered."""
    n = 1 << 18
    w = hashing.words(hashing.key(0, "test"), torch.arange(n))
    ones = torch.stack([(w >> bit & 1).sum() for bit in range(62)]).double()
    assert float(((ones - n / 2).abs() / math.sqrt(n / 4)).max()) < 4.5
    for size in (2, 3, 7, 100, 263):
        for draws in (w % size, hashing.words(w[:1], torch.arange(n), size) % size):
            count = draws.bincount(minlength=size).double()
            chi2 = float(((count - n / size) ** 2 / (n / size)).sum())
            assert abs(chi2 - (size - 1)) < 5 * math.sqrt(2 * (size - 1)) + 3
    pairs = (w[:-1] % 10 * 10 + w[1:] % 10).bincount(minlength=100).double()
    assert float(((pairs - n / 100) ** 2 / (n / 100)).sum()) < 99 + 5 * math.sqrt(2 * 99)
    # another seed: half the bits
    flipped = (w ^ hashing.words(hashing.key(1, "test"), torch.arange(n))).bitwise_and(2**20 - 1)
    assert (
        abs(sum(float((flipped >> bit & 1).double().mean()) for bit in range(20)) / 20 - 0.5)
        < 0.002
    )
    assert len(w.unique()) == n


@settings(max_examples=200)
@given(st.integers(1, 3000), st.integers(0, 2**62 - 1))
def test_a_permutation_hits_every_place_once(n, base):
    assert hashing.permute(base, torch.arange(n), n).sort().values.tolist() == list(range(n))


@settings(max_examples=50)
@given(
    st.integers(2, 2**60),
    st.integers(0, 2**62 - 1),
    st.lists(st.integers(0, 2**60), min_size=2, max_size=50, unique=True),
)
def test_a_permutation_of_any_size_stays_inside_and_distinct(n, base, index):
    index = torch.tensor(sorted({i % n for i in index}))
    out = hashing.permute(base, index, n)
    assert 0 <= int(out.min()) and int(out.max()) < n and len(out.unique()) == len(index)
    assert (hashing.permute(torch.full_like(index, base), index, n) == out).all()  # a key per row


@pytest.mark.parametrize("n", [0, -1, 2**60 + 1])
def test_a_permutation_has_a_size(n):
    with pytest.raises(ValueError, match=f"n={n}"):
        hashing.permute(1, torch.arange(1), n)


@pytest.mark.parametrize("n", [2, 3, 4, 8, 50])
def test_every_place_is_equally_likely(n):
    """Over keys each index comes to each place as often; of up to four all orders do (of more, odd
    and even differ)."""
    m = 24_000 if n < 10 else 3000
    keys = hashing.words(hashing.key(0, "keys"), torch.arange(m))
    rows = hashing.permute(
        keys[:, None].expand(-1, n).reshape(-1), torch.arange(n).repeat(m), n
    ).view(-1, n)
    for i in range(n):
        count = rows[:, i].bincount(minlength=n).double()
        assert float(((count - m / n) ** 2 / (m / n)).sum()) < n - 1 + 5 * math.sqrt(2 * n) + 3
    orders = math.factorial(min(n, 5))
    if orders <= 24:
        count = torch.tensor(list(collections.Counter(map(tuple, rows.tolist())).values())).double()
        assert len(count) == orders
        assert (
            float(((count - m / orders) ** 2 / (m / orders)).sum())
            < orders + 5 * math.sqrt(2 * orders) + 3
        )
