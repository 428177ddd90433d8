"""Text as sequences: documents from a grammar, files or a data set, tokenized, cut into S tokens.

A pool is the table of sequences of a source, the documents that they come from, and the settings
that cut it; it is made once and kept in results/texts/<digest>.safetensors, so that a worker needs
neither the files nor a tokenizer. `feed/split.py` deals it out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError
from capacity.base.files import content_digest, write_atomic
from capacity.data import lines, sources

if TYPE_CHECKING:
    import numpy as np

    from capacity.data.vocabulary import Encoder
    from capacity.data.windows import Origin
    from capacity.settings.data import TextData

SCHEMA = 1
EOS_ROW = 0
GRAMMAR_DOCUMENTS = 10000  # unless data.documents is set
ENCODE_AT_ONCE, TRAINING_DOCUMENTS = 1000, 100000  # documents; a BPE is trained on the first ones
_POOLS: dict[str, Pool] = {}


@dataclass(frozen=True)
class Pool:
    """Sequences, in the order in which the source has them: different ones where windows are split,
    with their copies where documents are. origin: None for a pool that an older version kept.
    null_rows: rows of the source that have no text and were skipped, of how many; an older version
    refused such sources."""

    digest: str
    tokens_NS: np.ndarray  # int32
    words: list[str]  # by row of the vocabulary
    origin: Origin | None = None
    null_rows: tuple[int, int] | None = None

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
    """What the text of a source depends on: bytes of files, unpacked and without a byte order mark,
    and where files end, unless one file of these bytes has the same documents; of a data set that
    is a folder all its files; of one of the hub its name and revision only, so that without a
    commit a run does not notice when somebody changes it there. ConfigError where files are
    missing."""
    if source == "grammar":
        return f"grammar/1/{documents or GRAMMAR_DOCUMENTS}"
    if source == "hub" and path and os.path.isdir(path):
        return f"folder/{sources.folder_digest(path)}/{split}/{field}/{documents}"
    if source == "hub":
        return f"hub/{path}/{split}/{field}/{documents}" + (f"@{revision}" if revision else "")
    content, head, names = hashlib.sha256(), b"", sources.file_names(path)
    kind, size, seams = sources.ending(names[0]), 0, []
    for name in names:
        ends = b""  # line ends that end what was read of this file
        for block in lines.blocks(name):
            head, size = head or block[:1], size + len(block)
            content.update(block)
            if kind == "txt":
                left = block.rstrip(b"\r\n")
                ends = block[len(left) :] if left else ends + block
        if not sources.ends_apart(kind, ends):
            seams.append(size)
    # The same bytes are other documents under another type. Types that came first keep their ids;
    # plain text is told from JSONL where it begins as JSONL does.
    marked = kind in ("csv", "tsv") or (kind == "txt" and head == b"{")
    # And they are other documents where one file ends and the next begins; the end of the last one
    # says nothing.
    seams = [at for at in seams if at < size]
    return (
        f"files/{content.hexdigest()}/{field}/{documents}"
        + (f"/{kind}" if marked else "")
        + (f"/ends {seams}" if seams else "")
    )


_SEEN: dict[tuple[str, str | None], tuple[str, ...]] = {}


def _seen(data: TextData) -> tuple[str, ...]:
    """The content of the files of a source as they are now."""
    if data.source == "files":
        return tuple(content_digest(Path(name)) for name in sources.file_names(data.path))
    if data.source == "hub" and data.path and os.path.isdir(data.path):
        paths = sorted(path for path in Path(data.path).rglob("*") if path.is_file())
        return tuple(f"{path}:{content_digest(path)}" for path in paths)
    return ()


@lru_cache(maxsize=64)
def _sizes(path: str | None) -> tuple[int, ...]:
    """Bytes of each file, unpacked."""
    return tuple(sum(map(len, lines.blocks(name))) for name in sources.file_names(path))


def pool_digest(data: TextData) -> str:
    """Names the table of sequences: the source's content and all that cuts it into tokens."""
    if data.pool is not None:
        return data.pool
    place, now = (data.source, data.path), _seen(data)
    if _SEEN.setdefault(place, now) != now:  # other files of that name, or they have changed
        source_digest.cache_clear()
        _sizes.cache_clear()
        _SEEN[place] = now
    content = source_digest(
        data.source, data.path, data.field, data.split, data.documents, data.revision
    )
    if data.text_seed:  # of a grammar
        content += f"/{data.text_seed}"
    cut = [
        SCHEMA,
        content,
        data.tokenizer,
        data.vocab_size,
        data.seq_len,
    ]
    if data.splits_documents:
        together = data.near_duplicates == "keep_together"
        cut += ["document", data.group, data.overlap_tokens if together else None]
        if data.group == sources.FILE and data.source == "files":
            cut.append(_sizes(data.path))  # the same bytes may be one file or two
    if data.null_rows == "skip":
        cut.append("skip null")  # else a file would be refused or not by who was there first
    return hashlib.sha256(repr(cut).encode()).hexdigest()[:16]


def documents(data: TextData) -> Iterator[str]:
    """The texts of the source, one by one; ConfigError where they cannot be had."""
    return (text for text, _ in grouped(data))


def grouped(
    data: TextData, counted: sources.Counted | None = None
) -> Iterator[tuple[str, str | None]]:
    """The texts of the source, and the group of each: the value of data.group in words, None where
    it has none. ConfigError where they cannot be had. counted: told of every row of files and data
    sets."""
    if data.source == "grammar":
        from capacity.data.grammar import Grammar

        grammar, seed = Grammar(), data.text_seed
        count = data.documents or GRAMMAR_DOCUMENTS
        return ((grammar.document(seed, i), None) for i in range(count))
    return sources.documents(data, counted)


def of(data: TextData) -> Pool:
    """The pool of these settings: kept, made before in this process, or made now."""
    digest = pool_digest(data)
    if digest not in _POOLS:
        _POOLS[digest] = _make(data, digest)
    return _POOLS[digest]


def _make(data: TextData, digest: str) -> Pool:
    import numpy as np

    data = _settings_of(data, digest)
    counted = sources.Counted()
    source = ((text, group) for text, group in grouped(data, counted) if text.strip())
    first = list(itertools.islice(source, TRAINING_DOCUMENTS))
    if not first:
        raise ConfigError(f"data.source={data.source}: {data.path or 'the grammar'} has no text")
    encoder = _encoder(data, [text for text, _ in first])
    ids, lengths = [np.array([EOS_ROW], np.int32)], []
    hashes, names = [], []
    source = itertools.chain(first, source)
    while batch := list(itertools.islice(source, ENCODE_AT_ONCE)):
        texts = [text for text, _ in batch]
        for encoding in encoder.tokenizer.encode_batch(texts, add_special_tokens=False):
            ids.append(np.array([*encoding.ids, EOS_ROW - 1], np.int32) + 1)
            lengths.append(len(ids[-1]))
        hashes += [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
        names += [group for _, group in batch]
    stream = np.concatenate(ids)
    starts = 1 + np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    text_D = np.frombuffer(b"".join(hashes), np.uint64)
    tokens, origin = _cut(data, stream, starts, text_D, names)
    return Pool(digest, tokens, _words(encoder), origin, (counted.null, counted.rows))


def _settings_of(data: TextData, digest: str) -> TextData:
    """The settings that give a pool of this digest: those at hand, or those of a version that split
    windows only. ConfigError where the text has changed since."""
    tried = [dataclasses.replace(data, pool=None)]
    tried += [dataclasses.replace(tried[0], split_by="window")] * (data.split_by is None)
    for one in tried:
        if pool_digest(one) == digest:
            return one
    raise ConfigError(
        f"data.pool={digest}: the text of {data.path or 'the grammar'}, or what cuts it, has "
        f"changed since: it gives pool {pool_digest(tried[0])} now; without data.pool it is a new "
        "run"
    )


def _cut(
    data: TextData,
    stream: np.ndarray,
    starts: np.ndarray,
    text_D: np.ndarray,
    names: list[str | None],
) -> tuple[np.ndarray, Origin]:
    """Windows of the documents, which begin in the stream at `starts`, and where they come from.
    text_D: equal where texts are; names: their groups."""
    import numpy as np

    from capacity.data import near_duplicates as near
    from capacity.data import windows

    groups = {name: i for i, name in enumerate(dict.fromkeys(n for n in names if n is not None))}
    group_D = np.array([-1 if name is None else groups[name] for name in names])
    _, copy_D, counts = np.unique(text_D, return_inverse=True, return_counts=True)
    pairs = [near.pairs_of_equals(copy_D)]
    if data.splits_documents and data.near_duplicates == "keep_together":
        pairs.append(near.linked(stream, starts, data.overlap_tokens))
    cluster_D, unit_D, same_N = near.together(len(names), np.concatenate(pairs)), None, None
    if data.splits_documents:
        alone = np.arange(len(names)) + len(groups)  # a document without a group is one of its own
        pairs.append(near.pairs_of_equals(np.where(group_D < 0, alone, group_D)))
        unit_D = near.together(len(names), np.concatenate(pairs))
        tokens, pieces, unit_D = windows.inside(stream, starts, unit_D, data.seq_len)
        same_N = windows.same_rows(tokens).astype(np.int32)
        unit_D = unit_D.astype(np.int32)
    else:
        tokens, pieces = windows.through(stream, starts, data.seq_len)
    documents = windows.Documents(
        counts[copy_D].astype(np.int32),
        cluster_D.astype(np.int32),
        group_D.astype(np.int32),
        list(groups),
        unit_D,
    )
    return tokens, windows.Origin(documents, pieces, same_N)


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


def path(results: Path, digest: str) -> Path:
    return results / "texts" / f"{digest}.safetensors"


def keep(results: Path, data: TextData) -> None:
    """Write the pool to the results folder, once."""
    if path(results, pool_digest(data)).exists():
        return
    from safetensors.numpy import save

    pool = of(data)
    about = {"schema": SCHEMA, "digest": pool.digest, "words": pool.words}
    tensors = {"tokens": pool.tokens_NS}
    if pool.origin is not None:
        tensors |= pool.origin.tensors()
        about["groups"] = pool.origin.documents.groups
    if pool.null_rows is not None:
        about["null_rows"] = list(pool.null_rows)
    write_atomic(
        path(results, pool.digest), save(tensors, metadata={"capacity": json.dumps(about)})
    )


def load(results: Path, digest: str | None) -> None:
    """Take a kept pool into this process, if there is one; ConfigError if the file is not what it
    says."""
    if digest is None or digest in _POOLS or not path(results, digest).exists():
        return
    from safetensors import SafetensorError, safe_open

    from capacity.data.windows import Origin

    try:
        with safe_open(path(results, digest), "numpy") as file:
            about = json.loads(file.metadata()["capacity"])
            if about["schema"] != SCHEMA or about["digest"] != digest:
                raise ValueError("of another version or another text")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            origin = Origin.of(tensors, about["groups"]) if "groups" in about else None
            null = tuple(about["null_rows"]) if "null_rows" in about else None
            _POOLS[digest] = Pool(digest, tensors["tokens"], about["words"], origin, null)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path(results, digest)}: not a pool of text ({error}); remove the file"
        ) from None
