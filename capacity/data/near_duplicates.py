"""What texts have in common: runs of n tokens that two of them share.

The convention is that of GPT-3's check of contamination, 13 in a row (Brown et al., arXiv
2005.14165, appendix C), of tokens instead of words, so that numbers and code count, and without
their exception for n-grams that more than ten documents have: here nothing that is shared is left
out. n-grams are compared by hashes of 64 bits alone: among 10^9 of them two different ones meet
with a chance of 3%.
"""

from __future__ import annotations

import numpy as np

BLOCK = 2**22  # hashes made or compared at once: 32 MiB
FILTER_BITS = 26  # of a table that most n-grams are told apart by: 64 MiB
PART = 2**25  # n-grams that are sorted at once


def _mixed(x: np.ndarray) -> np.ndarray:
    """uint64 -> uint64, every bit of the input in every bit of the output (splitmix64's
    finalizer)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hashes(tokens: np.ndarray, n: int) -> np.ndarray:
    """Of every n tokens in a row along the last axis, uint64 [..., T - n + 1]; [..., 0] where there
    are fewer."""
    length = tokens.shape[-1] - n + 1
    if length < 1:
        return np.empty((*tokens.shape[:-1], 0), np.uint64)
    one = _mixed(tokens.astype(np.uint64))
    odd, total = np.uint64(0xD6E8FEB86659FD93), np.zeros((*tokens.shape[:-1], length), np.uint64)
    for i in range(n):
        total = total * odd + one[..., i : i + length]
    return _mixed(total)


def shared(tokens_NS: np.ndarray, others_MS: np.ndarray, n: int) -> np.ndarray:
    """Of each sequence, how many of its n-grams some of the others holds, int32 [N]. Memory is that
    of the n-grams of the N sequences."""
    mine = hashes(tokens_NS, n)
    if not mine.size or not len(others_MS):
        return np.zeros(len(tokens_NS), np.int32)
    different, place = np.unique(mine, return_inverse=True)
    top = np.uint64(64 - FILTER_BITS)
    likely = np.zeros(2**FILTER_BITS, bool)
    likely[different >> top] = True
    is_shared = np.zeros(len(different), bool)
    rows = max(1, BLOCK // max(1, others_MS.shape[1]))
    for first in range(0, len(others_MS), rows):
        theirs = hashes(others_MS[first : first + rows], n).reshape(-1)
        theirs = theirs[likely[theirs >> top]]
        at = np.minimum(np.searchsorted(different, theirs), len(different) - 1)
        is_shared[at[different[at] == theirs]] = True
    return is_shared[place.reshape(mine.shape)].sum(1).astype(np.int32)


def linked(stream_T: np.ndarray, starts_D: np.ndarray, n: int) -> np.ndarray:
    """Pairs of documents that share n tokens in a row, int64 [pairs, 2], enough of them to connect
    all that do. Documents lie one behind the other in the stream from their starts on.

    Memory: 16 bytes a token, and 40 for each of at most PART n-grams that are sorted at once.
    """
    ends_D = np.append(starts_D[1:], len(stream_T))
    inside = np.zeros(len(stream_T), bool)  # where n tokens of one document begin
    lengths = np.maximum(ends_D - starts_D - n + 1, 0)
    places = np.repeat(starts_D - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    inside[places + np.arange(len(places))] = True
    del places
    hash_T = np.empty(len(stream_T), np.uint64)
    for first in range(0, len(stream_T), BLOCK):
        part = hashes(stream_T[first : first + BLOCK + n - 1], n)
        hash_T[first : first + len(part)] = part
    parts = 1 + int(inside.sum()) // PART
    bounds = [round(i * 2**64 / parts) for i in range(1, parts)]
    which = np.searchsorted(np.array(bounds, np.uint64), hash_T, "right").astype(np.int16)
    pairs = []
    for i in range(parts):
        at = np.flatnonzero(inside & (which == i))
        document = np.searchsorted(starts_D, at, "right") - 1
        order = np.argsort(hash_T[at], kind="stable")
        value, document = hash_T[at][order], document[order]
        same = (value[1:] == value[:-1]) & (document[1:] != document[:-1])
        both = np.stack([document[:-1][same], document[1:][same]], 1)
        pairs.append(np.unique(both, axis=0))
    return np.concatenate(pairs)


def together(n: int, pairs: np.ndarray) -> np.ndarray:
    """Numbers 0, 1, ... of the sets that pairs of n things connect, by the first of each set, int64
    [n]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (n, n))
    _, label = connected_components(links, directed=False)
    return numbered(label)


def numbered(label: np.ndarray) -> np.ndarray:
    """The same sets with numbers in the order in which each is met first."""
    _, first, place = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[place.reshape(-1)]


def pairs_of_equals(label: np.ndarray) -> np.ndarray:
    """Each thing beside the first one with the same label, int64 [pairs, 2]."""
    _, first, place = np.unique(label, return_index=True, return_inverse=True)
    mine = np.arange(len(label))
    head = first[place.reshape(-1)]
    return np.stack([head, mine], 1)[head != mine]
