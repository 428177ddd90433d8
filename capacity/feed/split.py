"""Who is trained on and who is not: one seeded permutation of a pool of text, dealt out for each
run.

Held-out sequences come first, so that they are the same whatever is trained on, then the members,
then further reference data; data of a reference model that must not know the members come from the
end, and passages that serve as canaries from the very end. Members and non-members come from one
pool by chance alone, so nothing but training tells them apart.

A pool that is split by document is dealt out unit by unit (documents, or groups of them) in a
random order. Where a side ends within a unit, the rest of the unit goes unused, so that both have
exactly as many sequences as asked for. The training set has copies as often as they come; scored is
each different sequence once, unless it stands in several units: then it is on both sides and on
neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.base.errors import ConfigError
from capacity.base.rng import raw_words
from capacity.config import Config
from capacity.data import canaries as kinds_of_canaries
from capacity.data import text
from capacity.feed import facts as fact_rows
from capacity.feed import inserted
from capacity.settings.data import TextData, text_data

# random sequences that a canary's rank is found among: exposure is at most 12 bits
CANDIDATES = 2**12
FEWEST_UNITS = 2  # on each side of a split by document: of one, nothing can be told apart from it


@dataclass(frozen=True)
class Split:
    """Rows of the pool; those that a run trains on, and those that it is scored on."""

    pool: text.Pool
    held_out: np.ndarray  # int64, rows of the pool
    members: np.ndarray
    trained: np.ndarray  # what this run sees
    scored: np.ndarray  # held out and members, of a reference model all that it may be asked about
    seen: np.ndarray  # bool, by scored row: whether this run was trained on it
    inserted: inserted.Inserted
    candidates: np.ndarray  # int32 [n, S]: drawn like canaries, never trained on
    once: bool  # each canary stands behind the training set once, and is seen at set steps
    facts: fact_rows.FactRows | None = None  # new facts that are seen at set steps

    @property
    def canaries(self) -> np.ndarray:
        """int32 [kinds x levels x n, S]."""
        return self.inserted.tokens

    @property
    def repeats(self) -> np.ndarray:
        """int64, by canary: how often it stands in the training set, or how often it is seen at set
        steps."""
        return self.inserted.repeats

    @property
    def trained_tokens(self) -> np.ndarray:
        """The training set, int32 [n, S]; a canary stands there as often as its level says, or
        behind it once if it is seen at set steps before data.last_view; of views in windows every
        copy stands behind it. Rows about known facts are in it, views of new ones behind it."""
        rows = self.inserted.tokens if self.once else self.inserted.copies
        if self.facts is not None:
            rows = np.concatenate([self.facts.known, self.facts.views])
        return np.concatenate([self.pool.tokens_NS[self.trained], rows])


def permutation(split_seed: int, n: int) -> np.ndarray:
    """Rows of a pool in the order in which they are dealt out, int64 [n]."""
    return np.argsort(raw_words(split_seed, "split", 0, n), kind="stable")


@dataclass(frozen=True)
class _Dealt:
    """Rows of a pool by what becomes of them, int64 each: held out, canaries, and all others in
    their order. scorable: bool by row of the pool. class_N: equal where tokens are; None: all rows
    differ."""

    held_out: np.ndarray
    held_out_copies: np.ndarray  # of held-out sequences, which only shadow models are trained on
    rest: np.ndarray
    passages: np.ndarray
    unit_N: np.ndarray
    class_N: np.ndarray | None

    def seen(self, scored: np.ndarray, trained: np.ndarray) -> np.ndarray:
        """bool, by scored row: whether its tokens are among the trained ones."""
        if self.class_N is None:
            return np.isin(scored, trained)
        return np.isin(self.class_N[scored], self.class_N[trained])


def of(config: Config) -> Split:
    """The split of a run. ConfigError where the pool has too few different sequences, or too few
    documents."""
    data, n = text_data(config.data), config.items
    pool = text.of(data)
    reference = data.n_reference or 0
    wanted = {"members": n, "half": n, "reference": max(n, reference), "others": n + reference}[
        data.trained_on
    ]
    by_document = pool.origin is not None and pool.origin.documents.unit_D is not None
    dealt = (_by_document if by_document else _by_window)(pool, data, wanted)
    members = dealt.rest[:n]
    if data.trained_on == "half":
        trained = _half(config, dealt, members)
    else:
        trained = {
            "members": members,
            "reference": dealt.rest[:reference],
            "others": dealt.rest[len(dealt.rest) - reference :],
        }[data.trained_on]
    asked = {"reference": dealt.rest[:reference], "others": dealt.rest}.get(
        data.trained_on, members
    )
    if by_document:
        asked = asked[_scorable(dealt.class_N, dealt.unit_N)[asked]]
    scored = np.concatenate([dealt.held_out, asked])
    seen = dealt.seen(scored, trained)
    if by_document and data.trained_on == "others":  # its first unit may be divided
        whole = seen | (dealt.unit_N[scored] != dealt.unit_N[trained[0]])
        scored, seen = scored[whole], seen[whole]
    if by_document:
        _check_units(dealt.unit_N, scored, seen)
    number = data.canaries * len(data.repeats) * kinds_of_canaries.count(data)
    if data.canary_text == "pool":
        canaries, candidates = pool.tokens_NS[dealt.passages], pool.tokens_NS[dealt.held_out]
    else:
        random_tokens = _random_sequences(
            data.split_seed, number + CANDIDATES * (data.canaries > 0), data
        )
        canaries, candidates = random_tokens[CANDIDATES:], random_tokens[:CANDIDATES]
    end = len(dealt.rest) - reference if data.trained_on == "others" else len(dealt.rest)
    first = n if data.trained_on == "others" else wanted
    hosts = pool.tokens_NS[dealt.rest[first:end]]
    return Split(
        pool,
        dealt.held_out,
        members,
        trained,
        scored,
        seen,
        inserted.of(data, config.steps, canaries, hosts),
        candidates,
        data.last_view is not None,
        fact_rows.of(data, hosts) if data.facts or data.known_facts else None,
    )


def _passages(data: TextData) -> int:
    """Sequences of the pool that serve as canaries."""
    if data.canary_text != "pool":
        return 0
    return data.canaries * len(data.repeats) * kinds_of_canaries.count(data)


def _by_window(pool: text.Pool, data: TextData, wanted: int) -> _Dealt:
    """Rows dealt out one by one."""
    n, passages = len(pool.tokens_NS), _passages(data)
    if data.n_held_out + wanted + passages > n:
        canaries = f", {passages} canaries" if passages else ""
        raise ConfigError(
            f"data: {data.n_held_out} held-out sequences{canaries} and {wanted} for training are "
            f"asked for, but the text has {n} different ones of {data.seq_len} tokens"
        )
    dealt, last = np.split(permutation(data.split_seed, n), [n - passages])
    held_out, rest = dealt[: data.n_held_out], dealt[data.n_held_out :]
    none = np.empty(0, np.int64)
    return _Dealt(held_out, none, rest, last, np.arange(n), None)


def _by_document(pool: text.Pool, data: TextData, wanted: int) -> _Dealt:
    """Rows dealt out unit by unit."""
    assert pool.origin is not None
    unit_N, class_N = pool.origin.unit_N, pool.origin.same_N
    assert unit_N is not None and class_N is not None
    units = int(unit_N.max(initial=-1)) + 1
    place_U = np.empty(units, np.int64)
    place_U[permutation(data.split_seed, units)] = np.arange(units)
    rows = np.argsort(place_U[unit_N], kind="stable")
    scorable = _scorable(class_N, unit_N)[rows]
    count = np.cumsum(scorable)
    end = int(np.searchsorted(count, data.n_held_out)) + 1
    held, rest = rows[:end], rows[end:]
    if len(held):
        rest = rest[unit_N[rest] != unit_N[held[-1]]]
    passages, rest = _from_units_at_the_end(_passages(data), rest, unit_N, class_N)
    room = len(rest)
    if data.trained_on == "others" and wanted <= room:
        # members and these share no unit
        first = rest[len(rest) - (data.n_reference or 0)]
        room = int(np.flatnonzero(unit_N[rest] == unit_N[first])[0]) + (data.n_reference or 0)
    if end > len(rows) or wanted > room or passages is None:
        raise ConfigError(_too_few(pool, data, wanted, max(0, room)))
    first = _scorable(class_N, unit_N)[held]
    return _Dealt(held[first], held[~first], rest, passages, unit_N, class_N)


def _scorable(class_N: np.ndarray | None, unit_N: np.ndarray) -> np.ndarray:
    """bool by row: the first of equal rows, where all of them are of one unit."""
    assert class_N is not None
    elsewhere = np.zeros(len(class_N), bool)
    elsewhere[class_N[unit_N != unit_N[class_N]]] = True
    return (class_N == np.arange(len(class_N))) & ~elsewhere


def _from_units_at_the_end(
    count: int, rest: np.ndarray, unit_N: np.ndarray, class_N: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """One sequence of each of so many last units, and the rows of all others; None where there are
    not as many."""
    if not count:
        return rest[:0], rest
    rows = rest[_scorable(class_N, unit_N)[rest]]
    first = rows[np.flatnonzero(np.diff(unit_N[rows], prepend=-1))]
    if len(first) < count:
        return None, rest
    used = np.isin(unit_N[rest], unit_N[first[-count:]])
    return first[-count:], rest[~used]


def _too_few(pool: text.Pool, data: TextData, wanted: int, room: int) -> str:
    """What was asked for, what there is, and which settings fit."""
    assert pool.origin is not None and pool.origin.unit_N is not None
    rows, sizes = len(pool.tokens_NS), np.unique(pool.origin.unit_N, return_counts=True)[1]
    canaries = f", {_passages(data)} canaries" if _passages(data) else ""
    cure = f"give more text, a smaller data.n_held_out, or up to {room} for training"
    largest = int(sizes.max(initial=0))
    if largest > rows // 4:
        cure = "too much stays together: " + " or ".join(
            ["data.near_duplicates=report, a larger data.overlap_tokens"]
            * (data.near_duplicates == "keep_together")
            + [f"another column than data.group={data.group}"] * (data.group is not None)
            + ["data.split_by=window"]
        )
    return (
        f"data: {data.n_held_out} held-out sequences{canaries} and {wanted} for training are asked "
        f"for, but the text has {rows} of {data.seq_len} tokens in {len(sizes)} sets of documents "
        f"that stay on one side, the largest with {largest}; {cure}"
    )


def _check_units(unit_N: np.ndarray, scored: np.ndarray, seen: np.ndarray) -> None:
    """Each side needs different documents, or the split is one comparison."""
    for words, rows in (("held out", scored[~seen]), ("trained on", scored[seen])):
        if (n_units := len(np.unique(unit_N[rows]))) < FEWEST_UNITS:
            raise ConfigError(
                f"data.split_by=document: the sequences that are {words} come from {n_units} set "
                f"of documents that stay together, and at least {FEWEST_UNITS} are needed on each "
                "side: give more sequences, smaller groups (data.group), or data.split_by=window"
            )


def _half(config: Config, dealt: _Dealt, members: np.ndarray) -> np.ndarray:
    """A random half of members and held-out sequences, by the run's seed: unit by unit, so that at
    most one document is on both sides."""
    data = text_data(config.data)
    both = np.concatenate([dealt.held_out, dealt.held_out_copies, members])
    units, unit = np.unique(dealt.unit_N[both], return_inverse=True)
    if dealt.class_N is None:
        units, unit = both, np.arange(len(both))
    words = raw_words(config.seed, "half", 0, len(units))
    place = np.empty(len(units), np.int64)
    place[np.argsort(words, kind="stable")] = np.arange(len(units))
    return both[np.argsort(place[unit], kind="stable")[: (data.n_held_out + len(members)) // 2]]


def _random_sequences(seed: int, n: int, data: TextData) -> np.ndarray:
    """Sequences of uniform tokens but the end of text, int32 [n, S]: all of the same length and
    equally likely, as exposure asks (Carlini et al., arXiv 1802.08232, section 4)."""
    words = raw_words(seed, "canaries", 0, n * data.seq_len)
    return (1 + words % np.uint64(data.vocab_size - 1)).astype(np.int32).reshape(n, data.seq_len)
