"""One pass of a checkpoint over documents: the numbers of every token, and of ReCaLL.

A document is cut from its beginning into windows of at most `window` tokens without overlap.
Windows go through the model in batches, longest first, padded on the right: under causality no
token sees what is behind it, so that padding changes nothing. What is scored is written every
minute or so; an audit that was killed goes on, and an equal one is read. Batches depend on the
documents and the model alone, so that a pass in parts has the bytes of one at a stretch.

ReCaLL (Xie et al., arXiv 2406.15968): the beginning of a non-member, half a window or as long as
the median first window if that is shorter, is put in front of the first tokens of each document's
first window; that non-member, and others of its unit, are not told apart.

The letters: D documents, T tokens, W windows.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from capacity.audit.logits import NUMBERS, Checkpoint
from capacity.audit.scored import Documents, TokenScores
from capacity.base.errors import ConfigError
from capacity.base.files import make_folder, write_atomic

SCHEMA = 1
WINDOW = 1024  # tokens, unless asked otherwise: attention's memory and time stay small
BATCH_TOKENS = 4096
EVERY = 60.0  # seconds between writes
# a measured batch, and the seconds above which a whole one would be a long wait
PROBE_TOKENS, COLD_SECONDS = 64, 5.0
PAD = 0
FEWEST_PREFIX = 8  # tokens of a non-member, below which it is no context

Progress = Callable[[int, int], None]  # tokens that are scored, of how many


@dataclass(frozen=True)
class Batch:
    """Windows that go through the model together; behind: after ReCaLL's prefix."""

    windows: list[int]
    behind: bool


@dataclass(frozen=True)
class Plan:
    """What a pass will take. tokens: that go through the model, ReCaLL's among them; scored: those
    of documents; flops: of the forward passes; memory: bytes, weights among them; known_tokens:
    scored by an earlier pass; tokens_per_second: measured on one batch; seconds: for the rest."""

    documents: int
    windows: int
    window: int
    tokens: int
    scored: int
    flops: float
    memory: int
    known_tokens: int
    tokens_per_second: float
    seconds: float


def tokenized(
    checkpoint: Checkpoint, documents: Documents, *, texts: bool = False
) -> list[np.ndarray]:
    """Token ids of each document: those of its file, which the model must have, or, where it has
    none or texts are asked for (of a reference with another tokenizer), by the model's
    tokenizer."""
    if documents.tokens is None or texts:
        return checkpoint.encode(documents.texts)
    checkpoint.check(documents.tokens, "the files have")
    return documents.tokens


def default_window(checkpoint: Checkpoint) -> int:
    """Tokens of a window unless it is asked for."""
    return min(checkpoint.context, WINDOW)


class Pass:
    """A checkpoint and what it is asked. prefix: place of the document that ReCaLL's prefix is
    from, None without ReCaLL. ConfigError for a window that the context does not hold."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokens_D: list[np.ndarray],
        *,
        window: int | None = None,
        prefix: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.checkpoint, self.tokens_D = checkpoint, tokens_D
        self.window = default_window(checkpoint) if window is None else window
        if not 2 <= self.window <= checkpoint.context:
            raise ConfigError(
                f"window of {self.window} tokens: {checkpoint.name} has a context of "
                f"{checkpoint.context}; expected 2 to {checkpoint.context}"
            )
        self.batch_tokens = max(batch_tokens, self.window)
        lengths_D = np.array([len(ids) for ids in tokens_D], np.int64)
        self.starts_D = np.concatenate([[0], np.cumsum(lengths_D)])
        counts_D = -(-lengths_D // self.window)
        self.document_W = np.repeat(np.arange(len(tokens_D)), counts_D)
        self.first_D = np.cumsum(counts_D) - counts_D  # its first window
        number = np.arange(len(self.document_W)) - self.first_D[self.document_W]
        self.offset_W = number * self.window
        self.length_W = np.minimum(lengths_D[self.document_W] - self.offset_W, self.window)
        self.prefix_T, self.recalled_D = np.empty(0, np.int32), np.zeros(len(tokens_D), bool)
        if prefix is not None:
            self.prefix_T = tokens_D[prefix][: _prefix_tokens(lengths_D, self.window)]
        self.prefix, self.lengths_D = prefix, lengths_D

    @cached_property
    def batches(self) -> list[Batch]:
        """All batches in the order in which they run."""
        plain = self._batched(self.length_W, np.arange(len(self.length_W)), False)
        if self.prefix is None:
            return plain
        first_W = self.first_D[self.lengths_D > 0]
        return plain + self._batched(self._body(first_W) + len(self.prefix_T), first_W, True)

    def _body(self, first_W: np.ndarray) -> np.ndarray:
        """Tokens of first windows that the context has room for behind the prefix."""
        return np.minimum(self.length_W[first_W], self.checkpoint.context - len(self.prefix_T))

    def _batched(self, length_W: np.ndarray, windows: np.ndarray, behind: bool) -> list[Batch]:
        order = np.argsort(-length_W, kind="stable")
        out, at = [], 0
        while at < len(order):
            n = max(1, self.batch_tokens // int(length_W[order[at]]))
            out.append(Batch(windows[order[at : at + n]].tolist(), behind))
            at += n
        return out

    @cached_property
    def key(self) -> str:
        """Names the numbers: the model, the documents' tokens, and how they are cut."""
        content = hashlib.sha256()
        for ids in self.tokens_D:
            content.update(np.ascontiguousarray(ids, np.int32).tobytes())
        content.update(self.lengths_D.tobytes())
        about = [SCHEMA, self.checkpoint.key, content.hexdigest()]
        about += [self.window, self.prefix, self.batch_tokens]
        return hashlib.sha256(repr(about).encode()).hexdigest()[:16]

    def sizes(self, batch: Batch) -> int:
        """Tokens of a batch that go through the model, without padding."""
        windows = np.array(batch.windows)
        if batch.behind:
            return int((self._body(windows) + len(self.prefix_T)).sum())
        return int(self.length_W[windows].sum())

    def rows(self, batch: Batch) -> torch.Tensor:
        """The tokens of a batch, int64 [B, longest], padded on the right."""
        ids = []
        for w in batch.windows:
            own = self.tokens_D[self.document_W[w]][self.offset_W[w] :][: self.length_W[w]]
            if batch.behind:
                own = np.concatenate([self.prefix_T, own[: self._body(np.array([w]))[0]]])
            ids.append(own)
        out = torch.full((len(ids), max(map(len, ids))), PAD, dtype=torch.int64)
        for i, one in enumerate(ids):
            out[i, : len(one)] = torch.from_numpy(one.astype(np.int64))
        return out

    def numbers(self, batch: Batch) -> np.ndarray:
        """What the model says of a batch's tokens, one window after the other, fp32 [T, 3]; behind
        a prefix of those behind it only."""
        first = len(self.prefix_T) if batch.behind else 0
        found = self.checkpoint.numbers(self.rows(batch), first).numpy()
        sizes = self.length_W[batch.windows]
        if batch.behind:
            sizes = self._body(np.array(batch.windows))
        return np.concatenate([found[i, :n] for i, n in enumerate(sizes.tolist())])

    def plan(self, folder: Path) -> Plan:
        """What the pass will take; runs one batch to measure the speed."""
        done = self._known(folder / self.key)[1]
        tokens = [self.sizes(batch) for batch in self.batches]
        speed = self._speed() if done < len(tokens) else float("nan")
        longest = max((max(self.rows(b).shape) for b in self.batches[:1]), default=1)
        rest = sum(tokens[done:])
        return Plan(
            documents=len(self.tokens_D),
            windows=len(self.length_W),
            window=self.window,
            tokens=sum(tokens),
            scored=int(self.starts_D[-1]),
            flops=self.checkpoint.flops_per_token * sum(tokens),
            memory=self.checkpoint.memory(self.batch_tokens, longest),
            known_tokens=sum(tokens[:done]),
            tokens_per_second=speed,
            seconds=rest / speed if rest else 0.0,
        )

    def _speed(self) -> float:
        """Tokens per second of a short batch, or of a whole one where that is quick."""
        batch = self.batches[len(self.batches) // 2]
        rows = self.rows(batch)
        short = rows[:1, :PROBE_TOKENS]
        seconds = 0.0
        for part in (short, short, rows):  # the first call warms up: it tells only that it is slow
            began = time.perf_counter()
            self.checkpoint.numbers(part)
            seconds = time.perf_counter() - began
            if seconds > (COLD_SECONDS if part is short else 0.0):
                return part.numel() / seconds
        return rows.numel() / seconds

    def run(
        self, folder: Path, progress: Progress | None = None, every: float = EVERY
    ) -> TokenScores:
        """The numbers of every token; read from the folder where an equal pass has left them. Parts
        are written to it every so many seconds."""
        place = folder / self.key
        parts, done = self._known(place)
        total = sum(self.sizes(batch) for batch in self.batches)
        said = sum(self.sizes(batch) for batch in self.batches[:done])
        written, last = done, time.monotonic()
        new: list[np.ndarray] = []
        for i in range(done, len(self.batches)):
            if progress is not None:
                progress(said, total)
            new.append(self.numbers(self.batches[i]))
            said += self.sizes(self.batches[i])
            if time.monotonic() - last >= every or i == len(self.batches) - 1:
                parts.append(np.concatenate(new))
                _write(place / f"{written:06d}.safetensors", parts[-1], i + 1 - written)
                new, written, last = [], i + 1, time.monotonic()
        if progress is not None:
            progress(total, total)
        numbers = np.concatenate(parts) if parts else np.empty((0, NUMBERS), np.float32)
        if done < len(self.batches) and len(parts) > 1:
            _write(place / f"{0:06d}.safetensors", numbers, len(self.batches))
            for part in sorted(place.glob("[0-9]*.safetensors"))[1:]:
                part.unlink()
        return self._scores(numbers)

    def _known(self, place: Path) -> tuple[list[np.ndarray], int]:
        """What earlier passes have left, and how many batches that is."""
        parts, done = [], 0
        while done < len(self.batches):
            found = _read(place / f"{done:06d}.safetensors")
            if found is None:
                break
            parts.append(found[0])
            done += found[1]
        return parts, done

    def _scores(self, numbers: np.ndarray) -> TokenScores:
        T = int(self.starts_D[-1])
        all_T3 = np.full((T, NUMBERS), np.nan, np.float32)
        behind_D, at = np.full(len(self.tokens_D), np.nan), 0
        alone_D = np.full(len(self.tokens_D), np.nan)
        for batch in self.batches:
            for w in batch.windows:
                d, start = int(self.document_W[w]), int(self.starts_D[self.document_W[w]])
                if batch.behind:
                    n = int(self._body(np.array([w]))[0])
                    alone = all_T3[start : start + n, 0]
                    both = np.isfinite(alone)  # the first token may have nothing before it
                    behind_D[d] = -numbers[at : at + n, 0][both].sum(dtype=np.float64)
                    alone_D[d] = -alone[both].sum(dtype=np.float64)
                else:
                    n, start = int(self.length_W[w]), start + int(self.offset_W[w])
                    all_T3[start : start + n] = numbers[at : at + n]
                at += n
        place_T = np.arange(T) - np.repeat(self.starts_D[:-1], self.lengths_D)
        return TokenScores(
            log_p_T=all_T3[:, 0].copy(),
            z_T=all_T3[:, 1].copy(),
            right_T=all_T3[:, 2] == 1,
            place_T=(place_T % self.window).astype(np.int32),
            starts_D=self.starts_D,
            window=self.window,
            recall_D=None if self.prefix is None else behind_D / np.maximum(alone_D, 1e-6),
        )


def _prefix_tokens(lengths_D: np.ndarray, window: int) -> int:
    """Tokens of ReCaLL's prefix: half a window, and no more than the median first window, so that
    short documents do not cost many times their own tokens."""
    first = np.minimum(lengths_D[lengths_D > 0], window)
    return min(window // 2, max(FEWEST_PREFIX, int(np.median(first)))) if len(first) else 0


def recall_prefix(documents: Documents, tokens_D: list[np.ndarray], window: int) -> int | None:
    """The document whose beginning is ReCaLL's prefix: the first non-member that is as long as the
    prefix may be, else the longest; None where none has FEWEST_PREFIX tokens."""
    most = _prefix_tokens(np.array([len(ids) for ids in tokens_D], np.int64), window)
    lengths = np.where(documents.member_D, 0, [min(len(ids), most) for ids in tokens_D])
    place = int(np.argmax(lengths))  # the first of equals
    return place if lengths[place] >= min(FEWEST_PREFIX, window // 2) else None


def score(  # noqa: PLR0913  what is asked, and how
    checkpoint: Checkpoint,
    documents: Documents,
    folder: Path,
    *,
    window: int | None = None,
    recall: bool = True,
    texts: bool = False,
    progress: Progress | None = None,
) -> TokenScores:
    """Tokens, windows and the pass in one; see `Pass`, whose `plan` tells before what it takes.
    folder: where parts are kept."""
    one = passed(checkpoint, documents, window=window, recall=recall, texts=texts)
    return scores_of(one, documents, folder, progress)


def passed(
    checkpoint: Checkpoint,
    documents: Documents,
    *,
    window: int | None = None,
    recall: bool = True,
    texts: bool = False,
) -> Pass:
    """The pass of a checkpoint over documents. texts: tokens of the files are not used."""
    tokens_D = tokenized(checkpoint, documents, texts=texts)
    size = default_window(checkpoint) if window is None else window
    prefix = recall_prefix(documents, tokens_D, size) if recall else None
    return Pass(checkpoint, tokens_D, window=window, prefix=prefix)


def scores_of(
    one: Pass, documents: Documents, folder: Path, progress: Progress | None = None
) -> TokenScores:
    """Runs a pass; ReCaLL of the prefix's unit is NaN."""
    scores = one.run(folder, progress)
    if scores.recall_D is not None and one.prefix is not None:
        unit_D = documents.unit_D
        scores.recall_D[(unit_D == unit_D[one.prefix]) & ~documents.member_D] = np.nan
    return scores


def _write(path: Path, numbers: np.ndarray, batches: int) -> None:
    from safetensors.numpy import save

    make_folder(path.parent)
    about = {"schema": SCHEMA, "batches": batches}
    write_atomic(path, save({"numbers": numbers}, metadata={"capacity": json.dumps(about)}))


def _read(path: Path) -> tuple[np.ndarray, int] | None:
    """Numbers of a part and how many batches they are of; None where there is no whole one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})["capacity"])
            return file.get_tensor("numbers"), int(about["batches"])
    except (FileNotFoundError, SafetensorError, KeyError, ValueError):
        return None
