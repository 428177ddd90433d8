"""What an audit needs of a causal model, of any origin: its sizes, its tokens, and what it says
of each token of a sequence.

The letters: B sequences, T tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from capacity.base.errors import ConfigError

NUMBERS = 3  # of a token: log p, (log p - mu) / sigma, right; see `measure.sequence_scores`
ENCODED_AT_ONCE = 1000  # texts


@dataclass
class Checkpoint(ABC):
    """A causal model in memory.

    name: as the command named it. sha256: of the weights, hashed says of which files. function: all
    but the weights that the numbers depend on, in words; `key` joins both. parameters: tied tables
    count once. vocab_size: tokens that the softmax is over; rows: token ids, of which `unused` are
    left out of it. context: positions. opens_with: the token that stands before every window, None
    where there is none (then the first token of a window is not predicted). dtype: what products
    are formed in. weight_bytes: in memory; flops_per_token: of a forward pass, 2 per weight that a
    token meets, without attention's products. notes: what a person should know, in sentences."""

    name: str
    sha256: str
    hashed: str
    function: str
    model_type: str
    parameters: int
    vocab_size: int
    rows: int
    context: int
    opens_with: int | None
    unused: tuple[int, ...]
    dtype: str
    weight_bytes: int
    flops_per_token: float
    notes: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Names what gives the numbers: weights, form and format."""
        about = [self.sha256, self.function, self.dtype, self.opens_with, self.unused]
        return hashlib.sha256(repr(about).encode()).hexdigest()

    @property
    def predicts_first(self) -> bool:
        """Whether the first token of a window is predicted."""
        return self.opens_with is not None

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 [T], without any that opens or ends it. ConfigError where
        there is no tokenizer, or one that gives ids the model does not have."""
        out = []
        for i in range(0, len(texts), ENCODED_AT_ONCE):
            out += [np.asarray(ids, np.int32) for ids in self._ids(texts[i : i + ENCODED_AT_ONCE])]
        self.check(out, "its tokenizer does not fit: it gives")
        return out

    def check(self, tokens: list[np.ndarray], said: str) -> None:
        """ConfigError for token ids that the softmax does not have."""
        low = min((int(ids.min()) for ids in tokens if len(ids)), default=0)
        high = max((int(ids.max()) for ids in tokens if len(ids)), default=0)
        wrong = high if high >= self.rows else low if low < 0 else None
        for one in self.unused if wrong is None else ():
            if low <= one <= high and any((ids == one).any() for ids in tokens):
                wrong = one
        if wrong is not None:
            raise ConfigError(
                f"{self.name}: {said} token {wrong}, the model has {self.rows} tokens"
                + (f", {len(self.unused)} of them without a meaning" if self.unused else "")
            )

    @abstractmethod
    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text."""

    @abstractmethod
    def decode(self, ids: list[int]) -> str:
        """The text of token ids, without special tokens. ConfigError without a tokenizer."""

    @abstractmethod
    def decoded_flops(self, length: int) -> float | None:
        """FLOPs per token where so many are written one by one (`counts.decoded_flops_per_token`),
        None where that is not known of this form."""

    @abstractmethod
    def numbers(self, tokens_BT: Tensor, first: int = 0) -> Tensor:
        """Log p, (log p - mu) / sigma and right of each token from place `first` on, given those
        before it and the token that opens the window, fp32 [B, T - first, 3] on the CPU; NaN where
        nothing stands before a token. tokens: int64."""

    @abstractmethod
    def memory(self, tokens: int, sequence: int) -> int:
        """Bytes that weights and a batch of so many tokens take, about; sequence: its longest."""


def with_first(numbers: Tensor, missing: bool) -> Tensor:
    """Numbers [B, T - 1, 3] of predicted tokens with NaN in front where the first is missing."""
    if not missing:
        return numbers
    return torch.cat(
        [
            torch.full_like(numbers[:, :1], torch.nan)
            if numbers.shape[1]
            else torch.full((len(numbers), 1, NUMBERS), torch.nan),
            numbers,
        ],
        1,
    )
