"""What tells two sets of texts apart without any model of text.

Members and others of a membership inference have to come from one pool: where words, shared phrases
or lengths alone tell them apart, no attack on them means anything (Das et al., arXiv 2406.16201;
Duan et al., arXiv 2402.07841). Three looks, each an AUC:

    words      naive Bayes on counts of words, cross-validated: units of a fold are scored by a
               classifier of the other folds, mean log-odds per word
    n_grams    the part of a document's word n-grams that other units of the members' side have,
               less the part that other units of the others' side have
    lengths    bytes

Scores of one look share what they are compared with, so the usual interval of an AUC is too narrow,
and leaving one out pulls the AUC of sets that are alike below 0.5. Labels of units are permuted
instead, which is right whatever the scores share: p is exact, and the value is the AUC less what
permuted labels give on average.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from capacity.fitting.membership import auc
from capacity.fitting.statistics import LEVEL, holm

LOOKS = ("words", "n_grams", "lengths")
PERMUTATIONS = 400  # the smallest corrected p is 3 / 401
FOLDS = 5
GRAM = (
    5  # words in a row: long enough that chance does not repeat them, short enough for quotations
)
VOCABULARY = 2**14  # words in most documents; rarer ones say little of documents that lack them
MOST_WORDS = 4_000_000  # of all documents; of more a random part of the units is looked at
# letters of scripts that set no spaces stand alone, or a sentence would be one word
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True)
class Look:
    """value: AUC less what random labels give, 0.5 where sets are alike; interval: 95%, as wide as
    random labels scatter; p: two-sided, corrected for all looks."""

    value: float
    interval: tuple[float, float]
    p: float

    @property
    def differs(self) -> bool:
        return self.p < 1 - LEVEL


@dataclass(frozen=True)
class Looks:
    """By name of LOOKS what was found; documents: how many were looked at."""

    by_name: dict[str, Look]
    permutations: int
    documents: int

    @property
    def differs(self) -> list[str]:
        return [name for name, look in self.by_name.items() if look.differs]


@dataclass(frozen=True)
class _Labels:
    """Units on one side each (a unit with texts on both is two): those of the documents, and which
    are members'. beside_C: the other half of a unit on both sides, -1 where there is none."""

    place_D: np.ndarray
    member_C: np.ndarray
    unit_C: np.ndarray
    beside_C: np.ndarray


def looks(
    texts: Sequence[str],
    member_D: np.ndarray,
    unit_D: np.ndarray | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Looks:
    """All looks at D texts. member_D: bool, of which set each is; unit_D: equal where texts are not
    independent, such as those of one author. ValueError for fewer than two units of a set."""
    member_D = np.asarray(member_D, bool)
    unit_D = np.arange(len(texts)) if unit_D is None else np.asarray(unit_D)
    rng = np.random.default_rng(seed)
    words = [WORD.findall(text.lower()) for text in texts]
    size_D = np.array([len(text.encode()) for text in texts], float)
    chosen = _part(np.array([len(w) for w in words]), unit_D, rng)
    words, member_D, unit_D = [words[i] for i in chosen], member_D[chosen], unit_D[chosen]
    size_D = size_D[chosen]
    labels = _labels(member_D, unit_D)
    if min(labels.member_C.sum(), (~labels.member_C).sum()) < 2:
        raise ValueError("blind: each set needs two units")
    ids, starts = _numbered(words)
    scorers: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "words": _bag_of_words(ids, starts, labels, rng),
        "n_grams": _n_grams(ids, starts, labels),
        "lengths": lambda member_C: size_D,
    }
    drawn = [rng.permutation(labels.member_C) for _ in range(permutations)]
    found: dict[str, tuple[float, np.ndarray]] = {}
    for name, scores in scorers.items():

        def area(member_C: np.ndarray, scores: Callable = scores) -> float:
            score_D, mine = scores(member_C), member_C[labels.place_D]
            return auc(score_D[mine], score_D[~mine])

        found[name] = area(labels.member_C), np.array([area(member_C) for member_C in drawn])
    p = holm([_p(value, null) for value, null in found.values()])
    return Looks(
        {
            name: _look(value, null, float(p[i] or 0.0))
            for i, (name, (value, null)) in enumerate(found.items())
        },
        permutations,
        len(chosen),
    )


def _p(value: float, null: np.ndarray) -> float:
    """Two-sided, about the mean; the data count as one of the permutations (Phipson & Smyth 2010,
    Stat. Appl. Genet. Mol. Biol. 9, 39)."""
    off = np.abs(np.append(null, value) - np.append(null, value).mean())
    return float((off >= off[-1] - 1e-12).mean())


def _look(value: float, null: np.ndarray, p: float) -> Look:
    middle = float(null.mean())
    half = float(np.quantile(np.abs(null - middle), LEVEL))
    value = value - middle + 0.5
    low, value, high = (min(1.0, max(0.0, x)) for x in (value - half, value, value + half))
    return Look(value, (low, high), p)


def _part(words_D: np.ndarray, unit_D: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Documents that are looked at: all, or whole units in random order up to MOST_WORDS."""
    if words_D.sum() <= MOST_WORDS:
        return np.arange(len(words_D))
    _, place = np.unique(unit_D, return_inverse=True)
    order = rng.permutation(place.max() + 1)[place.reshape(-1)]
    rows = np.argsort(order, kind="stable")
    before = np.cumsum(words_D[rows]) - words_D[rows]
    last = order[rows[np.searchsorted(before, MOST_WORDS) - 1]]
    return np.flatnonzero(order < max(last, 8))


def _labels(member_D: np.ndarray, unit_D: np.ndarray) -> _Labels:
    _, unit = np.unique(unit_D, return_inverse=True)
    keys, place = np.unique(unit.reshape(-1) * 2 + member_D, return_inverse=True)
    unit_C, member_C = keys // 2, keys % 2 == 1
    same = np.flatnonzero(unit_C[1:] == unit_C[:-1])
    beside_C = np.full(len(keys), -1)
    beside_C[same], beside_C[same + 1] = same + 1, same
    return _Labels(place.reshape(-1), member_C, unit_C, beside_C)


def _numbered(words: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of all words one after another, and where documents begin, [D + 1]."""
    number: dict[str, int] = {}
    ids = [number.setdefault(word, len(number)) for text in words for word in text]
    return np.array(ids, np.int64), np.concatenate([[0], np.cumsum([len(w) for w in words])])


def _bag_of_words(
    ids: np.ndarray, starts: np.ndarray, labels: _Labels, rng: np.random.Generator
) -> Callable[[np.ndarray], np.ndarray]:
    """Scores [D] by labels of units [C]: mean log-odds of a word, one added to each count."""
    from scipy.sparse import csr_array

    D = len(starts) - 1
    document = np.repeat(np.arange(D), np.diff(starts))
    size = int(ids.max()) + 1 if len(ids) else 1
    counts = csr_array((np.ones(len(ids)), (document, ids)), shape=(D, size))
    counts.sum_duplicates()
    in_documents = np.bincount(counts.indices, minlength=size)
    kept = np.argsort(-in_documents, kind="stable")[:VOCABULARY]
    counts = counts[:, kept[in_documents[kept] > 1]]
    total_D = np.maximum(1.0, counts.sum(axis=1))
    folds = min(FOLDS, len(np.unique(labels.unit_C)))
    _, unit_C = np.unique(labels.unit_C, return_inverse=True)
    fold_D = (rng.permutation(unit_C.max() + 1) % folds)[unit_C.reshape(-1)][labels.place_D]
    parts = [np.flatnonzero(fold_D == fold) for fold in range(folds)]
    rows = [counts[part] for part in parts]
    columns = [csr_array(part.T) for part in rows]
    all_V = [np.asarray(part.sum(axis=1)) for part in columns]

    def scores(member_C: np.ndarray) -> np.ndarray:
        member_D = member_C[labels.place_D].astype(float)
        mine = [c @ member_D[part] for c, part in zip(columns, parts, strict=True)]
        theirs = [every - own for every, own in zip(all_V, mine, strict=True)]
        sums = np.sum(mine, axis=0), np.sum(theirs, axis=0)
        out = np.zeros(D)
        for fold, part in enumerate(parts):
            inside, outside = sums[0] - mine[fold] + 1.0, sums[1] - theirs[fold] + 1.0
            odds = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
            out[part] = (rows[fold] @ odds) / total_D[part]
        return out

    return scores


def _n_grams(
    ids: np.ndarray, starts: np.ndarray, labels: _Labels, n: int = GRAM
) -> Callable[[np.ndarray], np.ndarray]:
    """Scores [D] by labels of units [C]. N-grams of a single unit say nothing and are left out."""
    D, place_D = len(starts) - 1, labels.place_D
    document, grams = _distinct_grams(ids, starts, n)
    total_D = np.maximum(1, np.bincount(document, minlength=D))
    pairs = np.unique(np.column_stack([grams, place_D[document]]), axis=0)  # gram, unit
    many = np.bincount(pairs[:, 0]) > 1 if len(pairs) else np.zeros(0, bool)
    kept = many[grams]
    document, grams = document[kept], grams[kept]
    pairs = pairs[many[pairs[:, 0]]]
    own = place_D[document]
    beside = labels.beside_C[own]
    has = {tuple(pair) for pair in pairs.tolist()} if (beside >= 0).any() else set()
    also = np.array(
        [b >= 0 and (g, b) in has for g, b in zip(grams.tolist(), beside.tolist(), strict=True)],
        bool,
    )
    size = len(many)

    def scores(member_C: np.ndarray) -> np.ndarray:
        found = []
        for side_C in (member_C, ~member_C):
            holders = np.bincount(pairs[:, 0], side_C[pairs[:, 1]], minlength=size)
            others = holders[grams] - side_C[own] - (also & side_C[beside])
            found.append(others > 0)
        return np.bincount(document, found[0].astype(float) - found[1], minlength=D) / total_D

    return scores


def _distinct_grams(ids: np.ndarray, starts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Document and number of every different n-gram of each document."""
    document = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if len(ids) < n:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    within = document[: len(ids) - n + 1] == document[n - 1 :]
    mixed = np.zeros(len(ids) - n + 1, np.uint64)
    for i in range(n):  # 64 bits: two of ten million differ in all but one of 10^5 corpora
        mixed = (mixed ^ ids[i : len(ids) - n + 1 + i].astype(np.uint64)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        mixed ^= mixed >> np.uint64(29)
    _, number = np.unique(mixed[within], return_inverse=True)
    both = np.unique(np.column_stack([document[: len(within)][within], number.reshape(-1)]), axis=0)
    return both[:, 0], both[:, 1]
