"""A range coder over whole-number tables: one writes symbols, the other reads them, and both are
called by the same loop.

The coder is that of the library `constriction` (Bamler, arXiv 2201.01741), whose tables of 24 bits
are given its weights as q - 1: with their sum 2^24 - K its scale is 1 and its whole numbers are q.
A stream has blocks. Of each the bytes that it added and the symbols that it holds have a digest, so
that a changed byte and a decoder that computes something else are told apart, and named.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from capacity.base.errors import ConfigError
from capacity.certify.tables import BITS

WORD = 4  # bytes of the coder's words
Block = dict[str, Any]  # see `Writer.end_block`


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _library() -> Any:
    """The coders and tables of `constriction`, which no other command needs."""
    import constriction

    return constriction.stream  # pyright: ignore[reportAttributeAccessIssue]


def _packed(symbols: np.ndarray) -> bytes:
    return symbols.astype("<i4").tobytes()


class Writer:
    """Codes known symbols; bits: sum of -log2 of their tables' probabilities, also by block."""

    def __init__(self) -> None:
        library = _library()
        self._encoder = library.queue.RangeEncoder()
        self._family = library.model.Categorical(perfect=False)
        self.bits = 0.0
        self.blocks: list[Block] = []
        self.block_bits: list[float] = []
        self._symbols = hashlib.sha256()
        self._count, self._begin = 0, 0

    def take(self, table_nK: np.ndarray, known_n: np.ndarray | None) -> np.ndarray:
        """The symbols int64 [n], which are written by tables [n, K]."""
        assert known_n is not None, "a writer is told what to write"
        if not len(known_n):
            return known_n
        _encode(self._encoder, self._family, table_nK, known_n)
        self.bits += float((BITS - np.log2(table_nK[np.arange(len(known_n)), known_n])).sum())
        self._symbols.update(_packed(known_n))
        self._count += len(known_n)
        return known_n

    def end_block(self, name: str) -> None:
        """Names what was written since the last block."""
        self.block_bits.append(self.bits - sum(self.block_bits))
        # the last two words may still change
        words = max(self._begin, self._encoder.num_words() - 2)
        self.blocks.append(
            {
                "name": name,
                "symbols": self._count,
                "words": [self._begin, words],
                "symbols_sha256": self._symbols.hexdigest(),
            }
        )
        self._begin, self._count, self._symbols = words, 0, hashlib.sha256()

    def content(self) -> bytes:
        """The stream; completes the blocks with the digests of their bytes."""
        words = self._encoder.get_compressed().astype("<u4")
        if self.blocks:
            self.blocks[-1]["words"][1] = len(words)
        for block in self.blocks:
            block["bytes_sha256"] = digest(words[slice(*block["words"])].tobytes())
        return words.tobytes()


class Reader:
    """Decodes the symbols of a stream. ConfigError, naming the block, where its bytes are not those
    that were written or where something else is computed here than was there."""

    def __init__(self, content: bytes, blocks: list[Block], place: str, made: str) -> None:
        """place: what the stream is called; made: where it was written, and where it is read."""
        check(content, blocks, place)
        words = np.frombuffer(content, "<u4").astype(np.uint32)
        library = _library()
        self._decoder = library.queue.RangeDecoder(words)
        self._family = library.model.Categorical(perfect=False)
        self._blocks, self._place, self._made = blocks, place, made
        self._done = 0
        self._symbols = hashlib.sha256()

    def take(self, table_nK: np.ndarray, known_n: np.ndarray | None) -> np.ndarray:
        """The next symbols int64 [n], by tables [n, K]."""
        assert known_n is None, "a reader is told nothing"
        if not len(table_nK):
            return np.zeros(0, np.int64)
        try:
            symbols = _decode(self._decoder, self._family, table_nK)
        except (AssertionError, ValueError, RuntimeError):
            raise self._other() from None
        self._symbols.update(_packed(symbols))
        return symbols

    def end_block(self, name: str) -> None:
        """Compares what was read since the last block with what was written."""
        if self._done >= len(self._blocks) or self._blocks[self._done]["name"] != name:
            raise self._other()
        if self._symbols.hexdigest() != self._blocks[self._done]["symbols_sha256"]:
            raise self._other()
        self._done, self._symbols = self._done + 1, hashlib.sha256()

    def close(self) -> None:
        """ConfigError where blocks are left."""
        if self._done < len(self._blocks):
            raise self._other()

    def _other(self) -> ConfigError:
        at = min(self._done, len(self._blocks) - 1)
        return ConfigError(
            f"{self._place}: {block_name(self._blocks, at)} does not decode to what was written, "
            f"although its bytes are those of the header: the model computes something else here "
            f"({self._made})"
        )


def block_name(blocks: list[Block], i: int) -> str:
    """A block as messages call it."""
    return f"block {i + 1} of {len(blocks)} ({blocks[i]['name']})"


def check(content: bytes, blocks: list[Block], place: str) -> None:
    """ConfigError, naming the first block, where bytes of a stream are not those of its header."""
    for i, block in enumerate(blocks):
        begin, end = (WORD * w for w in block["words"])
        if digest(content[begin:end]) != block["bytes_sha256"]:
            why = (
                f"the file ends at byte {len(content):,}"
                if len(content) < end
                else "its bytes were changed"
            )
            raise ConfigError(
                f"{place}: {block_name(blocks, i)}, bytes {begin:,} to {end:,}: {why}; nothing "
                "was restored"
            )
    most = max((WORD * block["words"][1] for block in blocks), default=0)
    if len(content) != most:
        raise ConfigError(
            f"{place}: {len(content):,} bytes, the header says {most:,}; nothing was restored"
        )


def _encode(encoder: Any, family: Any, table_nK: np.ndarray, symbols_n: np.ndarray) -> None:
    encoder.encode(symbols_n.astype(np.int32), family, (table_nK - 1).astype(np.float64))


def _decode(decoder: Any, family: Any, table_nK: np.ndarray) -> np.ndarray:
    return decoder.decode(family, (table_nK - 1).astype(np.float64)).astype(np.int64)
