"""Pools of sequences and their splits into members, held out and reference data."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.data import text, windows
from capacity.data.grammar import Grammar
from capacity.feed import split
from small_text import SMALL


def test_sequences_are_distinct_and_hold_the_text(here):
    config = load(SMALL)
    pool = text.of(config.data)
    assert (
        len(np.unique(pool.tokens_NS, axis=0)) == len(pool.tokens_NS)
        and pool.tokens_NS.max() < 256
        and pool.tokens_NS.min() == 0
    )
    joined = "".join(map(pool.text, range(20)))
    assert joined.startswith("\n" + Grammar().document(0, 0)[:100])
    assert pool.zlib_bytes(np.array([5])) == [len(zlib.compress(pool.text(5).encode()))]


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=40),
    st.booleans(),
)
def test_deduplication_is_exact_also_where_hashes_meet(rows, meet):
    table = np.array(rows, np.int32)
    expected = list(dict.fromkeys(map(tuple, rows)))
    power = np.cumprod
    with pytest.MonkeyPatch.context() as patch:
        if meet:  # a hash that tells nothing apart but the sum
            patch.setattr(np, "cumprod", lambda a: np.ones_like(power(a)))
        assert list(map(tuple, table[windows.distinct(table)].tolist())) == expected or meet
        assert sorted(map(tuple, table[windows.distinct(table)].tolist())) == sorted(expected)


def test_a_kept_pool_needs_no_source_and_a_broken_one_is_told(here):
    config = load(SMALL)
    pool = text.of(config.data)
    text.keep(here, config.data)
    text._POOLS.clear()
    text.load(here, text.pool_digest(config.data))
    again = text._POOLS[pool.digest]
    assert (again.tokens_NS == pool.tokens_NS).all() and again.words == pool.words
    text._POOLS.clear()
    text.path(here, pool.digest).write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not a pool of text"):
        text.load(here, pool.digest)


@given(
    st.integers(2, 80), st.integers(1, 80), st.integers(1, 90), st.integers(0, 5), st.integers(0, 5)
)
@settings(max_examples=40)
def test_members_held_out_and_reference_data_never_overlap_wrongly(
    held, n, reference, split_seed, seed
):
    def dealt(**data):
        tree = load(SMALL).as_dict()
        tree["data"] |= {
            "n_held_out": held,
            "n_sequences": n,
            "split_seed": split_seed,
            "pool": None,
        } | data
        from capacity.config import from_dict

        return split.of(from_dict(tree | {"seed": seed}))

    target = dealt()
    assert len(target.members) == n and not set(target.held_out) & set(target.members)
    assert (
        set(target.trained) == set(target.members)
        and (target.seen == np.isin(target.scored, target.members)).all()
    )
    assert (
        set(dealt(n_sequences=n + 7).members) > set(target.members)
        and (dealt(n_sequences=n + 7).held_out == target.held_out).all()
    )
    others = dealt(trained_on="others", n_reference=reference)
    assert not set(others.trained) & (set(target.members) | set(target.held_out)) and set(
        others.scored
    ) > set(target.members)
    if reference >= n:
        more = dealt(trained_on="reference", n_reference=reference)
        assert set(more.trained) >= set(target.members) and not set(more.trained) & set(
            more.held_out
        )
    half = dealt(trained_on="half")
    assert len(half.trained) == (n + held) // 2 and set(half.trained) <= set(half.scored) == set(
        target.scored
    )


def test_the_number_of_trained_sequences_is_known_before(here):
    for extra in (
        [],
        ["data.trained_on=half"],
        ["data.trained_on=reference", "data.n_reference=90"],
        ["data.trained_on=others", "data.n_reference=30"],
    ):
        config = load([*SMALL, "train.steps=null", "train.exposures=7", *extra])
        assert config.trained_items == len(split.of(config).trained)
        assert config.steps == math.ceil(7 * config.trained_items / 8)
