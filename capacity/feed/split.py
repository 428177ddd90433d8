"""Who is trained on and who is not: one seeded permutation of a pool of text, dealt out for each
run.

Held-out sequences come first, so that they are the same whatever is trained on, then the members,
then further reference data; data of a reference model that must not know the members come from the
end, and passages that serve as canaries from the very end. Members and non-members come from one
pool by chance alone, so nothing but training tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capacity.base.errors import ConfigError
from capacity.base.rng import raw_words
from capacity.config import Config
from capacity.data import text
from capacity.settings.data import TextData, text_data

CANDIDATES = (
    2**12
)  # random sequences that a canary's rank is found among: exposure is at most 12 bits


@dataclass(frozen=True)
class Split:
    """Rows of the pool; those that a run trains on, and those that it is scored on."""

    pool: text.Pool
    held_out: np.ndarray  # int64, rows of the pool
    members: np.ndarray
    trained: np.ndarray  # what this run sees
    scored: np.ndarray  # held out and members, of a reference model all that it may be asked about

    canaries: np.ndarray  # int32 [levels x n, S]
    # int64, by canary: how often it stands in the training set, or how often it is seen at set
    # steps
    repeats: np.ndarray
    candidates: np.ndarray  # int32 [n, S]: drawn like canaries, never trained on
    shuffled: bool  # canaries are rows of the training set

    @property
    def trained_tokens(self) -> np.ndarray:
        """The training set, int32 [n, S]; a canary stands there as often as its level says, or
        behind it once if it is seen at set steps."""
        inserted = (
            np.repeat(self.canaries, self.repeats, axis=0) if self.shuffled else self.canaries
        )
        return np.concatenate([self.pool.tokens_NS[self.trained], inserted])

    @property
    def seen(self) -> np.ndarray:
        """bool, by scored row: whether this run was trained on it."""
        return np.isin(self.scored, self.trained)


def permutation(split_seed: int, n: int) -> np.ndarray:
    """Rows of a pool in the order in which they are dealt out, int64 [n]."""
    return np.argsort(raw_words(split_seed, "split", 0, n), kind="stable")


def of(config: Config) -> Split:
    """The split of a run. ConfigError where the pool has too few different sequences."""
    data, n = text_data(config.data), config.items
    pool = text.of(data)
    reference = data.n_reference or 0
    wanted = {"members": n, "half": n, "reference": max(n, reference), "others": n + reference}[
        data.trained_on
    ]
    passages = data.canaries * len(data.repeats) if data.canary_text == "pool" else 0
    if data.n_held_out + wanted + passages > len(pool.tokens_NS):
        canaries = f", {passages} canaries" if passages else ""
        raise ConfigError(
            f"data: {data.n_held_out} held-out sequences{canaries} and {wanted} for training are "
            f"asked for, but the text has {len(pool.tokens_NS)} different ones of "
            f"{data.seq_len} tokens"
        )
    dealt = permutation(data.split_seed, len(pool.tokens_NS))
    dealt, last = np.split(dealt, [len(dealt) - passages])
    held_out, rest = dealt[: data.n_held_out], dealt[data.n_held_out :]
    members = rest[:n]
    if data.trained_on == "half":
        both = np.concatenate([held_out, members])
        trained = both[
            np.argsort(raw_words(config.seed, "half", 0, len(both)), kind="stable")[
                : len(both) // 2
            ]
        ]
    else:
        trained = {
            "members": members,
            "reference": rest[:reference],
            "others": rest[len(rest) - reference :],
        }[data.trained_on]
    scored = {"reference": rest[:reference], "others": rest}.get(data.trained_on, members)
    if data.canary_text == "pool":
        canaries, candidates = pool.tokens_NS[last], pool.tokens_NS[held_out]
    else:
        random_tokens = _random_sequences(
            data.split_seed,
            data.canaries * len(data.repeats) + CANDIDATES * (data.canaries > 0),
            data,
        )
        canaries, candidates = random_tokens[CANDIDATES:], random_tokens[:CANDIDATES]
    repeats = np.repeat(np.array(data.repeats, np.int64), data.canaries)
    return Split(
        pool,
        held_out,
        members,
        trained,
        np.concatenate([held_out, scored]),
        canaries,
        repeats,
        candidates,
        data.last_view is None,
    )


def _random_sequences(seed: int, n: int, data: TextData) -> np.ndarray:
    """Sequences of uniform tokens but the end of text, int32 [n, S]: all of the same length and
    equally likely, as exposure asks (Carlini et al., arXiv 1802.08232, section 4)."""
    words = raw_words(seed, "canaries", 0, n * data.seq_len)
    return (1 + words % np.uint64(data.vocab_size - 1)).astype(np.int32).reshape(n, data.seq_len)
