"""What a model would write verbatim: suffixes of windows, by greedy decoding and by sampling, and
the longest runs. One pass with the true tokens before each token says it all: greedy decoding
writes a suffix exactly when each of its tokens is the most likely one given the true ones before
it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from capacity.audit.schema import Estimate, Extracted, Extraction, Longest
from capacity.audit.scored import Documents, TokenScores
from capacity.fitting import separation
from capacity.fitting.statistics import proportion
from capacity.fitting.verbatim import TRIES, discoverable, run_lengths

# Tokens: 50 is the field's usual (Carlini et al., arXiv 2202.07646, section 3.2)
SUFFIXES = (16, 32, 50)


@dataclass(frozen=True)
class _Suffixes:
    """document: of each suffix; greedy: whether greedy decoding writes it; nats: -log p."""

    document: np.ndarray
    greedy: np.ndarray
    nats: np.ndarray

    def of(self, side: np.ndarray) -> _Suffixes:
        return _Suffixes(self.document[side], self.greedy[side], self.nats[side])


def windows(tokens: TokenScores) -> np.ndarray:
    """Where windows begin, and the end of the last, int64 [W + 1]."""
    return np.append(np.flatnonzero(tokens.place_T == 0), len(tokens.place_T))


def longest_D(tokens: TokenScores) -> np.ndarray:
    """Of each document the longest run of tokens, within one window, that are all the most likely
    one, int64 [D]; a token that nothing predicts ends a run."""
    ends = windows(tokens)
    window_T = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    runs = run_lengths(tokens.right_T & np.isfinite(tokens.log_p_T), window_T)
    longest = np.maximum.reduceat(np.append(runs, 0), tokens.starts_D[:-1])
    return np.where(np.diff(tokens.starts_D) > 0, longest, 0)


def _suffixes(tokens: TokenScores, size: int) -> _Suffixes:
    """The last `size` tokens of every window that has at least as many before them."""
    ends = windows(tokens)
    chosen = np.diff(ends) >= 2 * size
    last = ends[1:][chosen]
    right = np.concatenate([[0], np.cumsum(tokens.right_T, dtype=np.int64)])
    nats = np.concatenate([[0.0], np.cumsum(-np.nan_to_num(tokens.log_p_T.astype(np.float64)))])
    return _Suffixes(
        tokens.document_T[ends[:-1][chosen]],
        right[last] - right[last - size] == size,
        nats[last] - nats[last - size],
    )


def extraction(documents: Documents, tokens: TokenScores) -> Extraction:
    """Shares of suffixes with exact intervals, of which those of one unit are not independent."""
    by_suffix, difference = {}, {}
    unit_D = documents.unit_D
    for size in SUFFIXES:
        all_of = _suffixes(tokens, size)
        member = documents.member_D[all_of.document]
        sides = {"members": all_of.of(member), "others": all_of.of(~member)}
        if not all(len(side.document) for side in sides.values()):
            continue
        found = {name: _extracted(side, unit_D) for name, side in sides.items()}
        by_suffix[f"{size}"] = found
        difference[f"{size}"] = subtracted(found["members"]["greedy"], found["others"]["greedy"])
    longest = longest_D(tokens)
    sides = {"members": documents.member_D, "others": ~documents.member_D}
    return {
        "by_suffix": by_suffix,
        "difference": difference,
        "longest": {
            name: _longest(longest, side, documents.ids)
            for name, side in sides.items()
            if side.any()
        },
    }


def _extracted(side: _Suffixes, unit_D: np.ndarray) -> Extracted:
    units = unit_D[side.document]
    return {
        "suffixes": len(side.document),
        "greedy": share(side.greedy, units),
        "discoverable": {f"{n}": share(discoverable(side.nats, n), units) for n in TRIES},
    }


def share(hits: np.ndarray, units: np.ndarray) -> Estimate:
    """Of hits, with the exact interval of as many independent trials as the units are worth."""
    value = float(hits.mean())
    return {"value": value, "interval": list(proportion(value, separation.trials(hits, units)))}


def subtracted(a: Estimate, b: Estimate) -> Estimate:
    """Difference of two independent shares with the interval that joins theirs (Newcombe 1998,
    Stat. Med. 17, 873, method 10, with exact intervals)."""
    assert a["interval"] is not None and b["interval"] is not None
    value, (a_low, a_high), (b_low, b_high) = a["value"] - b["value"], a["interval"], b["interval"]
    low = value - math.hypot(a["value"] - a_low, b_high - b["value"])
    high = value + math.hypot(a_high - a["value"], b["value"] - b_low)
    return {"value": value, "interval": [max(-1.0, low), min(1.0, high)]}


def _longest(longest: np.ndarray, side: np.ndarray, ids: list[str]) -> Longest:
    at = int(np.flatnonzero(side)[np.argmax(longest[side])])
    return {"tokens": int(longest[at]), "document": ids[at]}
