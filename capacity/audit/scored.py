"""What an audit works on: documents, and what a model gave each of their tokens. No model, no
torch.

The letters: D documents, T tokens of all documents one after another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Documents:
    """Different documents of both files, members first; equal texts of one file are one document.

    ids: the value of --document, or FILE:LINE, of the first row with this text. groups: the value
    of --group in words, None where a document has none; None without --group. copies_D: rows of
    its file that have this text. bytes_D: of UTF-8; zlib_D: of those after zlib, level 6. tokens:
    token ids, where the files have them (as `capacity export --data` writes them)."""

    ids: list[str]
    texts: list[str]
    member_D: np.ndarray  # bool
    copies_D: np.ndarray  # int32
    bytes_D: np.ndarray  # int64
    zlib_D: np.ndarray  # int64
    groups: list[str | None] | None = None
    tokens: list[np.ndarray] | None = None

    @property
    def unit_D(self) -> np.ndarray:
        """int64 [D]: equal where documents are of one group, else every document is its own."""
        if self.groups is None:
            return np.arange(len(self.ids))
        number: dict[str, int] = {}
        for name in self.groups:
            if name is not None:
                number.setdefault(name, len(self.ids) + len(number))
        return np.array(
            [i if name is None else number[name] for i, name in enumerate(self.groups)], np.int64
        )


@dataclass(frozen=True)
class TokenScores:
    """One model's numbers of every token that it predicted, from one pass over windows.

    A document is cut into windows of at most `window` tokens without overlap, from its beginning;
    the last may be shorter. log_p_T: nats, given the tokens before it in its window; NaN where
    nothing stands before a token and the model has no token that opens a text. z_T: (log p - mu) /
    sigma, mean and standard deviation of log p over the model's own next token (Min-K%++, arXiv
    2404.02936). right_T: whether the token is the most likely one. place_T: place in the window, 0
    for its first token. starts_D: int64 [D + 1], where documents begin. recall_D: log-likelihood
    behind a prefix of a non-member over that without one (ReCaLL, arXiv 2406.15968) of the
    document's first window, float64; NaN where it was not asked, None where no document was."""

    log_p_T: np.ndarray  # float32
    z_T: np.ndarray  # float32
    right_T: np.ndarray  # bool
    place_T: np.ndarray  # int32
    starts_D: np.ndarray
    window: int
    recall_D: np.ndarray | None = None

    @property
    def document_T(self) -> np.ndarray:
        """int64 [T]: the document of each token."""
        return np.repeat(np.arange(len(self.starts_D) - 1), np.diff(self.starts_D))

    def nats_D(self) -> np.ndarray:
        """Code length of each document in nats, of its predicted tokens, float64 [D]."""
        nats = -np.nan_to_num(self.log_p_T.astype(np.float64))
        return np.add.reduceat(np.append(nats, 0.0), self.starts_D[:-1]) * (
            np.diff(self.starts_D) > 0
        )

    def predicted_D(self) -> np.ndarray:
        """Tokens of each document that were predicted, int64 [D]."""
        known = np.append(np.isfinite(self.log_p_T), False).astype(np.int64)
        return np.add.reduceat(known, self.starts_D[:-1]) * (np.diff(self.starts_D) > 0)


@dataclass(frozen=True)
class CanaryScores:
    """One model's numbers of C canaries, and of R candidates that are drawn like them and were not
    trained on. repeats_C: how often each was shown, int64. nats_C, candidates_R: code length of the
    whole sequence, float64. written_C: whether greedy decoding writes the second half of a canary
    given the first. bits_C: what the file says a random canary cost to draw (log2 of the number of
    equally likely ones), NaN where it says nothing, None where it does of none."""

    repeats_C: np.ndarray
    nats_C: np.ndarray
    written_C: np.ndarray
    candidates_R: np.ndarray
    bits_C: np.ndarray | None = None


@dataclass(frozen=True)
class ScoredModel:
    """The checkpoint, or a quantized variant of it. stored_bits: of a variant's weights with their
    scales, None of the checkpoint."""

    name: str
    tokens: TokenScores
    canaries: CanaryScores | None = None
    stored_bits: int | None = None
