"""Named streams of random 64-bit words: counter-based, so that any part is a pure function of
(seed, name, position)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BLOCK = 4  # Philox4x64 makes four words per counter value


def derived_seed(seed: int, name: str, bits: int) -> int:
    """A seed for one purpose: `bits` bits of the SHA-256 of seed and name, so that purposes never
    share a stream."""
    digest = hashlib.sha256(f"capacity/{name}/{seed}".encode()).digest()
    return int.from_bytes(digest, "little") % 2**bits


def raw_words(seed: int, name: str, first_block: int, n_words: int) -> np.ndarray:
    """uint64 [n_words] of the stream (seed, name), starting at word 4 first_block.

    Philox4x64-10 (Salmon et al., SC 2011) through numpy's bit generator, whose raw output numpy
    guarantees to keep (the derived distributions it does not, so none is used).
    """
    import numpy as np  # settings are read, and seeds derived, without it

    generator = np.random.Philox(key=derived_seed(seed, name, 128), counter=first_block)
    return generator.random_raw(n_words) if n_words else np.empty(0, np.uint64)
