"""What texts share, against sets of n-grams written out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from capacity.data import near_duplicates as near

ROWS = st.lists(st.lists(st.integers(0, 2), min_size=9, max_size=9), min_size=1, max_size=12)


def grams(row, n):
    return {tuple(row[i : i + n]) for i in range(len(row) - n + 1)}


@given(ROWS, ROWS, st.integers(2, 11))
def test_shared_n_grams_are_counted_exactly(mine, theirs, n):
    held = set().union(*(grams(row, n) for row in theirs))
    expected = [
        sum(tuple(row[i : i + n]) in held for i in range(max(0, len(row) - n + 1))) for row in mine
    ]
    found = near.shared(np.array(mine, np.int32), np.array(theirs, np.int32), n)
    assert found.tolist() == expected and found.dtype == np.int32
    assert near.shared(np.array(mine), np.empty((0, 9), np.int32), n).tolist() == [0] * len(mine)


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=10),
    st.integers(2, 6),
    st.booleans(),
)
def test_documents_that_share_an_n_gram_are_connected_and_no_others(docs, n, in_parts):
    """Also where n-grams are hashed and sorted in many parts, and never across two documents."""
    stream = np.concatenate([[9], *docs]).astype(np.int32)
    starts = 1 + np.cumsum([0] + [len(doc) for doc in docs[:-1]])
    kept = near.BLOCK, near.PART
    try:
        near.BLOCK, near.PART = (3, 5) if in_parts else kept
        label = near.together(len(docs), near.linked(stream, starts, n))
    finally:
        near.BLOCK, near.PART = kept
    expected, sets = list(range(len(docs))), [grams(doc, n) for doc in docs]
    for _ in docs:  # labels run along the links until nothing moves
        for i, a in enumerate(sets):
            for j, b in enumerate(sets):
                if a & b:
                    expected[i] = expected[j] = min(expected[i], expected[j])
    assert near.numbered(np.array(expected)).tolist() == label.tolist()


def test_numbers_follow_the_order_of_first_meetings():
    assert near.numbered(np.array([7, 3, 7, 0])).tolist() == [0, 1, 0, 2]
    assert near.pairs_of_equals(np.array([7, 3, 7, 7])).tolist() == [[0, 2], [0, 3]]
    assert near.together(4, np.array([[3, 1]])).tolist() == [0, 1, 2, 1]
    assert near.together(2, np.empty((0, 2), np.int64)).tolist() == [0, 1]


def test_hashes_of_a_million_different_n_grams_differ():
    rows = np.arange(2**20, dtype=np.int32)[:, None] // np.array([1, 32, 1024, 32768]) % 32
    assert len(np.unique(near.hashes(rows, 4))) == 2**20
