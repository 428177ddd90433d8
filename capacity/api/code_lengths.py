"""`capacity.bits`: how many bits a causal model needs for sequences of tokens, and how many of
their bits it therefore holds.

Conventions are those of `measure.memorization`. l_t = -log2 p(x_t | what stands before it), in
bits; S tokens a sequence, V the vocabulary:

strict       code length sum_{t=1..S} l_t: every token is predicted, as an honest code has to
paper        S / (S - 1) sum_{t=2..S} l_t: what a shifted-label loss times S gives (Morris et al.,
             arXiv 2505.24832)
given_first  sum_{t=2..S} l_t: the bits of what follows, the first token being known

Memorized bits are those of uniform tokens, n log2 V with n the tokens that the convention counts
(S, S, S - 1), less the code length; of other data (text, people) they mean nothing, and the code
length alone is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from capacity.api import html
from capacity.api.runs import Model
from capacity.base.errors import ConfigError, nearest
from capacity.measure import memorization

CONVENTIONS = ("strict", "paper", "given_first")


@dataclass(frozen=True)
class Bits:
    """Bits of N sequences. convention: strict, paper or given_first. first: what the first token
    was predicted from ("learned BOS", "token 5"), or "" where it was not predicted.

    code_length, memorized: float64 [N], bits by sequence; the latter against uniform tokens of
    `vocab_size`, signed (a model that is worse than a uniform guess scores below 0). ceiling: the
    most that any model can memorize of exactly this set, strict and paper; None for given_first."""

    code_length: np.ndarray
    memorized: np.ndarray
    convention: str
    first: str
    seq_len: int
    vocab_size: int
    ceiling: float | None

    @property
    def total(self) -> float:
        """Memorized bits of the whole set: what a record calls strict bits or paper bits."""
        return float(self.memorized.sum())

    @property
    def bits_per_token(self) -> float:
        """Mean code length of a counted token, in bits."""
        counted = self.seq_len - (self.convention == "given_first")
        return float(self.code_length.mean()) / counted

    def __len__(self) -> int:
        return len(self.code_length)

    def __repr__(self) -> str:
        return (
            f"Bits({len(self)} sequences of {self.seq_len} tokens, {self.convention}: "
            f"{self.code_length.sum():,.1f} bits of code, {self.total:,.1f} memorized)"
        )

    def _repr_html_(self) -> str:
        rows = [
            [
                "code length",
                f"{self.code_length.sum():,.1f} bits, {self.bits_per_token:.4f} a token",
            ],
            ["memorized, against uniform tokens", f"{self.total:,.1f} bits"],
            ["first token", f"predicted from {self.first}" if self.first else "not predicted"],
        ]
        if self.ceiling is not None:
            rows.insert(2, ["the most that a model can hold", f"{self.ceiling:,.1f} bits"])
        about = f"{len(self):,} sequences of {self.seq_len} tokens, V = {self.vocab_size:,}"
        return html.table(f"{about}; {self.convention} bits", [], rows)


def bits(
    model: nn.Module | Callable[..., Any],
    tokens: Tensor | np.ndarray | Sequence[Sequence[int]],
    *,
    convention: str = "strict",
    start: int | None = None,
    leave_out: Sequence[int] = (),
    batch_size: int = 256,
) -> Bits:
    """Code lengths and memorized bits of sequences under a causal model.

    model: that of `capacity.load`; a causal model of transformers; or any callable that maps int64
    tokens [B, T] to logits [B, T, V], row t about token t + 1. Dropout is off while it is asked.
    tokens: [N, S], one length, without padding. convention: strict, paper or given_first, see the
    head of this module.

    start: a token that is put before each sequence, so that a model without a learned BOS predicts
    the first token too. Strict bits of such a model need it, and no token is taken by itself,
    because p(x_1) depends on which. A run that `capacity export` wrote opens every sequence with
    its bos_token_id and needs it in every convention. leave_out: tokens that are no part of the
    vocabulary: their logits stay out of the softmax and they do not count in V. Those that a
    model's config.unused_token_ids names, as an exported run's does of rows that it added, are left
    out by themselves. batch_size: sequences at once; with experts, what a
    token gets depends on the others of its batch.

    Logits are taken to float32 and summed over tokens in float64. ConfigError, in one line, for
    tokens and options that do not fit."""
    if convention not in CONVENTIONS:
        raise ConfigError(
            f"convention={convention!r}: expected one of {', '.join(CONVENTIONS)}"
            f"{nearest(str(convention), list(CONVENTIONS))}"
        )
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: expected a whole number above 0")
    rows = _tokens(tokens)
    unused = getattr(getattr(model, "config", None), "unused_token_ids", None) or ()
    leave_out = list(dict.fromkeys([*leave_out, *unused]))
    if start is not None and start < 0:
        raise ConfigError(f"start={start}: expected a token, 0 or more")
    learned = isinstance(model, Model) and model.predicts_first
    if start is not None and learned:
        raise ConfigError(f"start={start}: the run has a learned BOS; leave start out")
    if convention == "strict" and start is None and not learned:
        raise ConfigError(_no_first(model))
    training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    try:
        parts, size = [], 0
        with torch.no_grad():
            for batch in rows.split(batch_size):
                nll, size = _nll(model, batch, start, leave_out)
                parts.append(nll.double().cpu() / math.log(2))
    finally:
        if isinstance(model, nn.Module):
            model.train(training)
    if start is None and not learned:
        first, rest = np.full(len(rows), math.nan), torch.cat(parts).numpy().sum(1)
    else:
        code_lengths = torch.cat(parts).numpy()
        first, rest = code_lengths[:, 0], code_lengths[:, 1:].sum(1)
    opened_by = "learned BOS" if learned else "" if start is None else f"token {start}"
    return _by_convention(rows, first, rest, convention, (opened_by, size))


def _by_convention(
    rows: Tensor, first: np.ndarray, rest: np.ndarray, convention: str, about: tuple[str, int]
) -> Bits:
    s, (opened_by, size) = rows.shape[1], about
    token_bits, ceiling = math.log2(size), None
    if convention == "strict":
        code, uniform = first + rest, s * token_bits
    elif convention == "paper":
        code, uniform = s / (s - 1) * rest, s * token_bits
    else:
        code, uniform = rest, (s - 1) * token_bits
    if convention != "given_first":
        ceiling = memorization.ceilings(rows.cpu().numpy(), size)[convention]
    return Bits(code, uniform - code, convention, opened_by, s, size, ceiling)


def _nll(
    model: Any, batch: Tensor, start: int | None, leave_out: Sequence[int]
) -> tuple[Tensor, int]:
    """Nats of the predicted tokens of a batch, [B, S] or [B, S - 1], and the vocabulary V."""
    device = _device(model)
    batch = batch.to(device)
    if isinstance(model, Model) and start is None and not leave_out:
        _check_range(batch, model.vocab_size, ())
        most = model.gpt.seq_len + (not model.predicts_first)
        if batch.shape[1] > most:
            raise ConfigError(f"{batch.shape[1]} tokens a sequence: the run's model has {most}")
        return model.nll(batch), model.vocab_size
    targets, seen = batch[:, 1:], batch[:, :-1]
    if start is not None:
        targets = batch
        seen = torch.cat([torch.full_like(batch[:, :1], start), seen], dim=1)
    if (known := getattr(getattr(model, "config", None), "vocab_size", None)) is not None:
        _check_range(seen, known, ())
    try:
        answer = model(seen)
    except IndexError as error:  # of a table of the model, which names no token
        raise ConfigError(
            f"model: {error}; it was given tokens {int(seen.min())} to {int(seen.max())}"
        ) from error
    logits = getattr(answer, "logits", answer)
    if not isinstance(logits, Tensor) or logits.shape[:2] != seen.shape or logits.dim() != 3:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigError(
            f"model: expected logits of shape {(*seen.shape, 'V')}, or an answer with them as "
            f".logits, found {shape}"
        )
    logits = logits.float()
    size = logits.shape[-1]
    if wrong := [token for token in leave_out if not 0 <= token < size]:
        raise ConfigError(f"leave_out: {wrong[0]}: the model has tokens 0 to {size - 1}")
    _check_range(batch, size, leave_out)
    if leave_out:
        logits = logits.index_fill(-1, torch.tensor([*leave_out], device=logits.device), -math.inf)
    nll = torch.nn.functional.cross_entropy(
        logits.reshape(-1, size), targets.reshape(-1), reduction="none"
    )
    return nll.view(targets.shape), size - len(set(leave_out))


def _device(model: Any) -> torch.device:
    if isinstance(model, nn.Module) and (one := next(model.parameters(), None)) is not None:
        return one.device
    return torch.device("cpu")


def _tokens(tokens: Any) -> Tensor:
    """int64 [N, S] of whole numbers; ConfigError for what is none."""
    try:
        rows = tokens if isinstance(tokens, Tensor) else torch.as_tensor(np.asarray(tokens))
    except (TypeError, ValueError):
        raise ConfigError("tokens: expected sequences of one length, [N, S], of numbers") from None
    if rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise ConfigError(f"tokens: expected whole numbers, found {rows.dtype}")
    if rows.dim() != 2 or rows.shape[0] < 1 or rows.shape[1] < 2:
        raise ConfigError(
            f"tokens: expected [N, S] with at least one sequence of two tokens, found shape "
            f"{tuple(rows.shape)}"
        )
    if (low := int(rows.min())) < 0:
        raise ConfigError(f"tokens: {low}: expected 0 or more; padding is not supported")
    return rows.long()


def _check_range(batch: Tensor, size: int, leave_out: Sequence[int]) -> None:
    if (high := int(batch.max())) >= size:
        raise ConfigError(f"tokens: {high}: the model has tokens 0 to {size - 1}")
    for token in leave_out:
        if bool((batch == token).any()):
            raise ConfigError(f"leave_out: {token}: the sequences hold this token")


def _no_first(model: Any) -> str:
    """Why strict bits cannot be had of a model, and what can."""
    settings = getattr(model, "config", None)
    token = getattr(settings, "bos_token_id", None)
    known = "" if token is None else f" (its bos_token_id is {token})"
    return (
        f"convention='strict': nothing stands before the first token, so that it is not predicted; "
        f"give start=TOKEN{known}, or convention='paper' or 'given_first'"
    )
