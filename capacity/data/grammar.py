"""English-like text from a grammar, for studies of text that need no download: documents of
sentences over invented words.

Words are drawn by a Zipf law (rank r with weight 1/(r + 2.7), Mandelbrot's form), sentences from a
few nested rules, so that the text has frequent and rare words, agreement, and much that only memory
can predict: names and numbers.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Sequence

ONSETS = "b br c ch cl d dr f fl g gl gr h j k l m n p pl pr r s sh sl sp st t th tr v w".split()
VOWELS = "a e i o u ai ea ee oa oo ou".split()
CODAS = ["", "", "n", "r", "l", "s", "t", "m", "d", "ck", "nd", "st", "rn", "ng"]
SIZES = {"noun": 800, "verb": 400, "adjective": 300, "adverb": 60, "name": 1000, "place": 300}
PREPOSITIONS = ["of", "in", "with", "near", "from", "under", "over", "beside"]


def _words(kind: str, count: int) -> list[str]:
    """Different words of one to three syllables, always the same ones."""
    rng, words = random.Random(f"words of kind {kind}"), {}
    while len(words) < count:
        syllables = 1 + int(rng.random() * (2 if kind != "name" else 3))
        word = "".join(_pick(rng, ONSETS) + _pick(rng, VOWELS) for _ in range(syllables)) + _pick(
            rng, CODAS
        )
        words[word.capitalize() if kind in ("name", "place") else word] = None
    return list(words)


def _pick(rng: random.Random, values: Sequence[str]) -> str:
    return values[int(rng.random() * len(values))]


class Grammar:
    """Documents by number: document i of a seed is always the same text."""

    def __init__(self) -> None:
        self.words = {kind: _words(kind, count) for kind, count in SIZES.items()}
        self.weights = {
            kind: list(itertools.accumulate(1 / (r + 2.7) for r in range(count)))
            for kind, count in SIZES.items()
        }

    def document(self, seed: int, number: int) -> str:
        """Two to eight sentences about a few names that come up again."""
        rng = random.Random(f"{seed}/{number}")
        cast = [self._word(rng, "name") for _ in range(2)]
        return " ".join(self._sentence(rng, cast) for _ in range(2 + int(rng.random() * 7)))

    def _word(self, rng: random.Random, kind: str) -> str:
        weights = self.weights[kind]
        return self.words[kind][bisect.bisect(weights, rng.random() * weights[-1])]

    def _sentence(self, rng: random.Random, cast: list[str]) -> str:
        subject = _pick(rng, cast) if rng.random() < 0.5 else self._noun_phrase(rng, cast, 0)
        tail = ""
        if rng.random() < 0.25:
            tail = f" in {1000 + int(rng.random() * 1000)}"
        elif rng.random() < 0.3:
            tail = f" at {self._word(rng, 'place')}"
        adverb = f" {self._word(rng, 'adverb')}ly" if rng.random() < 0.2 else ""
        text = (
            f"{subject}{adverb} {self._word(rng, 'verb')}s {self._noun_phrase(rng, cast, 0)}{tail}."
        )
        return text[0].upper() + text[1:]

    def _noun_phrase(self, rng: random.Random, cast: list[str], depth: int) -> str:
        roll = rng.random()
        if roll < 0.15:
            return _pick(rng, cast)
        article = "the" if roll < 0.6 else "a" if roll < 0.85 else str(2 + int(rng.random() * 98))
        plural = "s" if article[0].isdigit() else ""
        adjective = f"{self._word(rng, 'adjective')} " if rng.random() < 0.4 else ""
        text = f"{article} {adjective}{self._word(rng, 'noun')}{plural}"
        if depth < 2 and rng.random() < 0.25:
            text += f" {_pick(rng, PREPOSITIONS)} {self._noun_phrase(rng, cast, depth + 1)}"
        elif depth < 1 and rng.random() < 0.1:
            text += f" that {self._word(rng, 'verb')}s {self._noun_phrase(rng, cast, depth + 1)}"
        return text
