"""What single sequences are worth, from models that were trained on random halves of them.

memorization of i: code length of i under models that have not seen it, minus that under those that
have (Feldman, arXiv 1906.05271; of language models Zhang et al., arXiv 2112.12938; both take
accuracies, here it is the loss in bits, which adds up over sequences and stands beside other bits).
influence of i on j: the same of the loss of j by whether i was seen (Feldman and Zhang, arXiv
2008.03703), here among models that agree about j. What chance gives is told by permuting which
model has which losses: two million pairs have thousands of large ones without any influence.

A model that has not seen i was trained on as few sequences as one that has, and overfits them
alike: its loss of i is larger than that of a good model, so that these bits are an upper value of
what is stored, as the gap between members and others is, and no unintended bits over a reference
(arXiv 2505.24832, section 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.fitting.statistics import LEVEL, student

PERMUTATIONS = 200
OF_PAIRS = 100  # permutations, each of which forms a number of every pair
TAIL = 1e-3
FEWEST = 5  # models on each side of a sequence, for a mean and its variance
BOOTSTRAPS = 1000
FEWEST_RANKED = 20  # sequences, of which tenths have two


@dataclass(frozen=True)
class Memorized:
    """bits, se, t: [n], by sequence; total: bits of as many sequences as a model has seen, with
    its 95% interval over models; above: share of sequences whose t passes what 5% pass by chance
    (`threshold`); surely: sequences whose t passes all by chance, but for one study in twenty
    (`extreme`)."""

    bits: np.ndarray
    se: np.ndarray
    t: np.ndarray
    members: float
    total: float
    interval: tuple[float, float]
    above: float
    threshold: float
    surely: int
    extreme: float


@dataclass(frozen=True)
class Influences:
    """pairs: ordered pairs of two sequences; surely: those whose t passes all by chance, but for
    one study in twenty; tail, chance: share of pairs beyond TAIL of Student's t, and by chance;
    first, second, bits, se: of the strongest pairs, places of the one that was seen and of the one
    whose loss it lowers."""

    pairs: int
    surely: int
    threshold: float
    tail: float
    chance: float
    first: np.ndarray
    second: np.ndarray
    bits: np.ndarray
    se: np.ndarray


def enough(seen: np.ndarray) -> np.ndarray:
    """Sequences, bool [n], that FEWEST models and more have seen and have not seen; seen: bool
    [models, n]."""
    return (seen.sum(0) >= FEWEST) & ((~seen).sum(0) >= FEWEST)


def memorized(loss: np.ndarray, seen: np.ndarray, seed: int = 0) -> Memorized:
    """loss: bits [models, n]; seen: bool [models, n]. ValueError where a sequence lacks models on
    one side (`enough`)."""
    y, s = _checked(loss, seen)
    bits, se, t = _difference(y, s)
    models = len(y)
    members = float(s.sum(1).mean())
    total = float(bits.mean()) * members
    kept = ~np.eye(models, dtype=bool)
    # pseudo-values of the jackknife over models (Efron and Tibshirani 1993, chapter 11)
    left_out = np.array([_difference(y[k], s[k])[0].mean() * members for k in kept])
    error = float(np.sqrt((models - 1) / models * ((left_out - left_out.mean()) ** 2).sum()))
    half = float(student(models - 1)) * error
    rng = np.random.default_rng(seed)
    chance = np.array([_difference(y[rng.permutation(models)], s)[2] for _ in range(PERMUTATIONS)])
    threshold = float(np.quantile(chance, LEVEL))
    extreme = float(np.quantile(chance.max(1), LEVEL))
    return Memorized(
        bits,
        se,
        t,
        members,
        total,
        (total - half, total + half),
        float((t > threshold).mean()),
        threshold,
        int((t > extreme).sum()),
        extreme,
    )


def influences(
    loss: np.ndarray, seen: np.ndarray, strongest: int = 10, seed: int = 0
) -> Influences:
    """The arguments of `memorized`. The loss of j is freed of whether j was seen, and so is
    whether i was seen (partial correlation); chance permutes what is then left of losses, and frees
    it again (Freedman and Lane 1983, J. Bus. Econ. Stat. 1, 292)."""
    y, s = _checked(loss, seen)
    models, n = y.shape
    side = (s - s.mean(0)) / s.std(0)
    # of i, without j; the diagonal has nothing left and is not read
    rest = np.sqrt(np.maximum(1 - (side.T @ side / models) ** 2, 1e-6)).astype(np.float32)
    left = _freed(y, s)
    beyond = float(student(models - 3, 1 - 2 * TAIL))
    rng = np.random.default_rng(seed)
    largest, tails = [], []
    for _ in range(OF_PAIRS):
        t = _partial(side, _freed(left[rng.permutation(models)], s), rest)
        largest.append(float(t.max()))
        tails.append(int((t > beyond).sum()))
    extreme = float(np.quantile(largest, LEVEL))
    t = _partial(side, left, rest)
    strongest = min(strongest, n * (n - 1))
    order = np.argpartition(t, -strongest, axis=None)[-strongest:]
    order = order[np.argsort(-t.ravel()[order], kind="stable")]
    first, second = np.unravel_index(order, t.shape)
    scale = left.std(0)[second] / (s.std(0)[first] * rest[first, second])
    top = t.ravel()[order].astype(float)
    bits = top / np.sqrt(models - 3 + top**2) * scale
    return Influences(
        n * (n - 1),
        int((t > extreme).sum()),
        extreme,
        float((t > beyond).sum() / (n * (n - 1))),
        float(np.mean(tails) / (n * (n - 1))),
        first,
        second,
        bits,
        bits / top,
    )


@dataclass(frozen=True)
class Rarity:
    """rho: rank correlation of what is memorized of a sequence and its code length without it;
    interval: its 95% by resampling sequences; p: two-sided, of permuted sequences; tenths: of the
    sequences by that code length, [10, 3]: its mean, mean memorized and its standard error, bits.
    """

    rho: float
    interval: tuple[float, float]
    p: float
    tenths: np.ndarray


def rarity(loss: np.ndarray, seen: np.ndarray, seed: int = 0) -> Rarity | None:
    """Whether sequences that surprise models are the ones that are memorized. Memorization is of
    one half of the models and surprise of the other, both ways, because the same noise would
    stand in both numbers and correlate them. None with so few models that halves of them have
    fewer than FEWEST_RANKED sequences with two models on each side."""
    y, s = _checked(loss, seen)
    rng = np.random.default_rng(seed)
    halves, kept = _halves(s, rng)
    if kept.sum() < FEWEST_RANKED:
        return None
    y, s = y[:, kept], s[:, kept]
    pairs, tenths = [], []
    for mine, other in (halves, halves[::-1]):
        bits = _difference(y[mine], s[mine])[0]
        out = ~s[other]
        surprise = np.where(out, y[other], 0).sum(0) / out.sum(0)
        pairs.append((_ranks(bits), _ranks(surprise)))
        tenths.append(_tenths(surprise, bits))

    def both(at: np.ndarray | None = None, to: np.ndarray | None = None) -> float:
        a, b = (slice(None) if x is None else x for x in (at, to))
        return float(np.mean([np.corrcoef(x[a], z[b])[0, 1] for x, z in pairs]))

    n, rho = y.shape[1], both()
    drawn = [rng.integers(n, size=n) for _ in range(BOOTSTRAPS)]
    low, high = np.quantile([both(at, at) for at in drawn], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    chance = np.array([both(None, rng.permutation(n)) for _ in range(BOOTSTRAPS)])
    p = (1 + int((np.abs(chance) >= abs(rho)).sum())) / (1 + BOOTSTRAPS)
    return Rarity(rho, (float(low), float(high)), p, np.mean(tenths, 0))


def _tenths(surprise: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """[10, 3]; the standard error is that over the sequences of a tenth."""
    parts = np.array_split(np.argsort(surprise, kind="stable"), 10)
    return np.array(
        [
            (
                surprise[p].mean(),
                bits[p].mean(),
                bits[p].std(ddof=min(1, len(p) - 1)) / len(p) ** 0.5,
            )
            for p in parts
        ]
    )


def _checked(loss: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, s = np.asarray(loss, float), np.asarray(seen, bool)
    if y.shape != s.shape or y.ndim != 2 or not np.isfinite(y).all():
        raise ValueError("losses and who was seen are finite tables of models by sequences")
    if not enough(s).all():
        raise ValueError(
            f"every sequence needs {FEWEST} models that saw it and {FEWEST} that did not"
        )
    return y, s


def _difference(y: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean without minus mean with, its standard error (one variance), and their ratio, [n]."""
    with_, without = s.sum(0), (~s).sum(0)
    means = np.where(s, y, 0).sum(0) / with_, np.where(s, 0, y).sum(0) / without
    left = y - np.where(s, means[0], means[1])
    variance = (left**2).sum(0) / (len(y) - 2)
    se = np.sqrt(variance * (1 / with_ + 1 / without))
    value = means[1] - means[0]
    return value, se, value / np.maximum(se, np.finfo(float).tiny)


def _freed(y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Losses without what it makes whether the sequence itself was seen."""
    means = (np.where(s, y, 0).sum(0) / s.sum(0), np.where(s, 0, y).sum(0) / (~s).sum(0))
    return y - np.where(s, *means)


def _partial(side: np.ndarray, left: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """t [i, j] of what seeing i takes off the loss of j; -inf on the diagonal."""
    models = len(side)
    spread = np.maximum(left.std(0), np.finfo(float).tiny)
    # fp32: a few parts in a million of t, and half the time
    r = (side / -models).astype(np.float32).T @ (left / spread).astype(np.float32)
    r /= rest
    np.clip(r, -1 + 1e-6, 1 - 1e-6, out=r)
    t = r * np.sqrt((models - 3) / (1 - r * r))
    np.fill_diagonal(t, -np.inf)
    return t


def _halves(
    s: np.ndarray, rng: np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Two halves of the models, of some draws those of which most sequences have two models on
    each side of each half, and these sequences."""
    best, most = None, np.zeros(s.shape[1], bool)
    for _ in range(100):
        order = rng.permutation(len(s))
        halves = order[: len(s) // 2], order[len(s) // 2 :]
        kept = np.all([(s[h].sum(0) >= 2) & ((~s[h]).sum(0) >= 2) for h in halves], axis=0)
        if best is None or kept.sum() > most.sum():
            best, most = halves, kept
        if kept.all():
            break
    assert best is not None
    return best, most


def _ranks(x: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(x)
