"""Documents cut into windows: every token of a window is where its pieces say, and what is split by
document has no window with text of both sides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from capacity.data import windows

DOCS = st.lists(st.lists(st.integers(1, 3), min_size=0, max_size=20), min_size=1, max_size=12)


def stream_of(docs):
    """As `text` makes it: an end of text in front, and one behind every document."""
    ended = [[*doc, 0] for doc in docs]
    starts = 1 + np.cumsum([0] + [len(doc) for doc in ended[:-1]])
    return np.concatenate([[0], *ended]).astype(np.int32), starts, ended


def from_pieces(pieces, ended, row):
    return [
        token
        for _, document, offset, length in pieces[pieces[:, 0] == row].tolist()
        for token in ended[document][offset : offset + length]
    ]


@given(DOCS, st.integers(2, 6))
def test_windows_through_documents_are_the_distinct_ones_and_say_where_they_are_from(docs, S):
    stream, starts, ended = stream_of(docs)
    tokens, pieces = windows.through(stream, starts, S)
    cut = [tuple(stream[i : i + S].tolist()) for i in range(0, len(stream) - S + 1, S)]
    assert list(map(tuple, tokens.tolist())) == list(dict.fromkeys(cut))
    for row, window in enumerate(tokens.tolist()):
        told = from_pieces(pieces, ended, row)
        assert told == window[len(window) - len(told) :]
        assert len(told) == S - (row == 0)  # the end of text in front belongs to no document


@given(DOCS, st.integers(2, 6), st.lists(st.integers(0, 4), min_size=12, max_size=12))
def test_windows_inside_documents_keep_units_apart_and_lose_no_whole_window(docs, S, labels):
    stream, starts, ended = stream_of(docs)
    unit = windows.near_duplicates.numbered(np.array(labels[: len(docs)]))
    tokens, pieces, joined = windows.inside(stream, starts, unit, S)
    assert len(tokens) == len(set(pieces[:, 0].tolist()))
    for row, window in enumerate(tokens.tolist()):
        assert from_pieces(pieces, ended, row) == window
        assert len(np.unique(joined[pieces[pieces[:, 0] == row, 1]])) == 1
    whole = [
        (d, offset) for d, doc in enumerate(ended) for offset in range(0, len(doc) // S * S, S)
    ]
    alone = pieces[pieces[:, 3] == S]
    assert [tuple(x) for x in alone[:, 1:3].tolist()][: len(whole)] == whole
    # units only grow, and only where one of them fills no window of its own
    for a in range(len(docs)):
        for b in range(len(docs)):
            if unit[a] == unit[b]:
                assert joined[a] == joined[b]
            elif joined[a] == joined[b]:
                sizes = [
                    sum(
                        len(ended[d])
                        for d in range(len(docs))
                        if unit[d] == u and len(ended[d]) % S > 1
                    )
                    for u in (unit[a], unit[b])
                ]
                assert min(sizes) < S
    # no token is used twice
    used = [(d, o + i) for _, d, o, n in pieces.tolist() for i in range(n)]
    assert len(used) == len(set(used))


def test_short_documents_of_a_person_come_together_and_others_only_where_they_must():
    """By hand, S = 4: of a person's three texts of 3 tokens (with their end) two fill a window, and
    what is left goes; two strangers of 2 and 3 tokens share one; the last one's 2 fill none."""
    docs = [[1, 1], [2], [1, 2], [3, 3], [1, 3], [2]]
    unit = np.array([0, 1, 0, 2, 0, 3])
    stream, starts, _ = stream_of(docs)
    tokens, pieces, joined = windows.inside(stream, starts, unit, 4)
    assert tokens.tolist() == [[1, 1, 0, 1], [2, 0, 3, 3]]
    assert pieces.tolist() == [[0, 0, 0, 3], [0, 2, 0, 1], [1, 1, 0, 2], [1, 3, 0, 2]]
    assert joined.tolist() == [0, 1, 0, 1, 0, 2]


def test_the_document_of_a_window_is_the_one_that_has_most_of_it():
    none = np.zeros(3, np.int32)
    origin = windows.Origin(
        windows.Documents(none + 1, none, none - 1, [], np.arange(3)),
        np.array([[0, 2, 5, 4], [1, 0, 0, 1], [1, 1, 8, 3], [2, 0, 7, 2], [2, 2, 0, 2]]),
        None,
    )
    assert origin.main_N2.tolist() == [[2, 5], [1, 8], [0, 7]]
    again = windows.Origin.of(origin.tensors(), [])
    assert (again.piece_P4 == origin.piece_P4).all() and again.same_N is None
