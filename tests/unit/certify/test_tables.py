"""Tables of whole numbers: what a range coder is given is what was meant."""

import math
from fractions import Fraction

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.certify import tables


def some_tables(seed, n=6, k=9):
    logits = torch.randn(n, k, generator=torch.Generator().manual_seed(seed)) * 8
    return tables.of_logits(logits.double())


@given(st.integers(0, 2**32))
def test_a_table_has_its_sum_and_a_chance_for_every_symbol(seed):
    table, _ = some_tables(seed)
    assert (table >= 1).all()
    assert (table.sum(1) == tables.TOTAL).all()


def test_a_table_is_the_softmax_to_its_grid_and_its_logarithm_is_that_of_the_softmax():
    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(0)).double() * 4
    table, log_p = tables.of_logits(logits)
    want = logits.softmax(1).numpy()
    assert np.abs(table / tables.TOTAL - want).max() < 51 / tables.TOTAL
    assert torch.allclose(log_p, logits.log_softmax(1), atol=1e-12)


def test_logits_that_are_no_numbers_have_no_table():
    with pytest.raises(ConfigError, match="not all finite"):
        tables.of_logits(torch.tensor([[0.0, math.nan]]))


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_the_library_takes_whole_numbers_as_they_are(seed, k):
    """A stack coder's lowest 24 bits are the place in the table that its next symbol is read at: at
    each border the symbol changes, and one before it has not."""
    table = tables.quantized(
        np.random.default_rng(seed).integers(1, 1 << tables.WEIGHT_BITS, size=(1, k + 1))
    )[0]
    model = constriction.stream.model.Categorical((table - 1).astype(np.float64), perfect=False)
    borders = np.concatenate([[0], table.cumsum()])
    for symbol in range(k + 1):
        for place in (borders[symbol], borders[symbol + 1] - 1):
            coder = constriction.stream.stack.AnsCoder(np.array([place, 1], dtype=np.uint32))
            assert coder.decode(model) == symbol


@pytest.mark.parametrize("n, part, rest", [(1, 5, 11), (7, 1, 2), (40, 3, 1), (300, 1, 2**20)])
def test_a_binomial_table_is_the_binomial_distribution(n, part, rest):
    p = Fraction(part, part + rest)
    want = [float(math.comb(n, k) * p**k * (1 - p) ** (n - k)) for k in range(n + 1)]
    got = tables.binomial(n, np.array([part]), np.array([rest]))[0]
    assert got.sum() == tables.TOTAL
    assert np.abs(got / tables.TOTAL - want).max() < (n + 2) / tables.TOTAL


def test_a_table_that_would_be_mostly_doubt_is_refused():
    with pytest.raises(ConfigError, match="2,000,000 symbols"):
        tables.quantized(np.ones((1, 2_000_000), np.int64))
