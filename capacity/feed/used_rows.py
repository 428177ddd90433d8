"""Rows of the token table that the text of a run can use.

A tokenizer that is trained on a small text ends before it has `data.vocab_size` tokens, some tokens
are only steps towards longer ones, and of GPT-2's 50,257 a small text has a few hundred. Rows of
all others are parameters that nothing trains as an input and no text asks for, so that tokens and
bits per parameter are too small. Other kinds of data number their rows by what their texts use
(people), or draw every row (uniform tokens).
"""

from __future__ import annotations

import numpy as np

from capacity.base.words import digits, percent, plural
from capacity.config import Config
from capacity.counts import used_parameters
from capacity.data import text
from capacity.feed import split
from capacity.settings.data import TextData, text_data

FEW = 0.9  # of the rows: below, a run is told which data.vocab_size fits
FITS = 0.95  # of a vocabulary that is proposed: it was tried on windows, not on whole documents
SAMPLE = 2**18  # tokens of the pool that smaller vocabularies are tried on
_FITTING: dict[tuple[str, int], int | None] = {}  # by pool and rows, of this process


def used(config: Config) -> int:
    """Rows of the table that sequences of the pool or canaries of the run have; text only."""
    dealt = split.of(config)
    canaries = np.union1d(np.unique(dealt.canaries), np.unique(dealt.inserted.copies))
    if dealt.facts is not None:
        canaries = np.union1d(np.unique(dealt.facts.known), np.unique(dealt.facts.views))
    return len(np.union1d(np.unique(dealt.pool.tokens_NS), canaries))


def counted(config: Config) -> dict[str, int]:
    """Of text, for the record: rows of the table, rows in use, parameters without the other rows,
    where few are in use the data.vocab_size that fits, if any does, and with data.null_rows=skip
    the rows of the source that were skipped, of how many; empty for other kinds of data."""
    if not isinstance(config.data, TextData):
        return {}
    rows = used(config)
    counts = {
        "rows": config.rows,
        "used_rows": rows,
        "used": used_parameters(config.model, config.parameters["total"], config.rows, rows),
    }
    if rows < FEW * config.rows and (size := fitting(config)) is not None:
        counts["fitting_vocab_size"] = size
    if config.data.null_rows == "skip" and (null := text.of(config.data).null_rows) is not None:
        counts["null_rows"], counts["source_rows"] = null
    return counts


def put(record: dict, config: Config) -> None:
    """`counted` into the record of a run of text."""
    if counts := counted(config):
        record["parameters"] |= {"used": counts.pop("used")}
        record["data"] |= counts


def warnings(configs: list[Config]) -> list[str]:
    """`skipped` and `warning` of the first run of each text and vocabulary."""
    first = {}
    for config in configs:
        if isinstance(config.data, TextData):
            first.setdefault((text.pool_digest(config.data), config.rows), config)
    messages = (words for config in first.values() for words in (skipped(config), warning(config)))
    return [words for words in messages if words is not None]


def skipped(config: Config) -> str | None:
    """What a run is told whose text was read with data.null_rows=skip; None for all others."""
    counts = counted(config)
    if "null_rows" not in counts:
        return None
    data = text_data(config.data)
    return (
        f"{data.path}: {counts['null_rows']:,} of {plural(counts['source_rows'], 'row')} without "
        f"data.field={data.field} skipped (data.null_rows=skip)"
    )


def warning(config: Config) -> str | None:
    """What a run with few rows in use is told, in a line; None for all others."""
    counts = counted(config)
    if not counts or counts["used_rows"] >= FEW * counts["rows"]:
        return None
    total, tokens = config.parameters["total"], config.trained_items * config.data.seq_len
    return (
        f"data.vocab_size={config.rows}: the text uses {counts['used_rows']:,} of "
        f"{counts['rows']:,} rows ({percent(counts['used_rows'] / counts['rows'], 0)}); tokens per "
        f"parameter are {digits(tokens / total)} of all {total:,} and "
        f"{digits(tokens / counts['used'])} of the {counts['used']:,} in use, by which laws go; "
        f"{remedy(text_data(config.data).tokenizer, counts.get('fitting_vocab_size'))}"
    )


def remedy(tokenizer: str, size: int | None) -> str:
    """Which setting fits, in words."""
    if size is None:
        return "the text is too short for any vocabulary; give more of it"
    bpe = "" if tokenizer == "bpe" else "data.tokenizer=bpe "
    return f"{bpe}data.vocab_size={size} fits"


def fitting(config: Config) -> int | None:
    """The largest data.vocab_size, to about 2%, of whose rows a BPE that is trained on this text
    uses FITS at least; None where even the smallest does not."""
    digest = text.pool_digest(text_data(config.data))
    if (digest, config.rows) not in _FITTING:
        _FITTING[digest, config.rows] = _fitting(config)
    return _FITTING[digest, config.rows]


def _fitting(config: Config) -> int | None:
    from capacity.data.vocabulary import text_bpe

    pool, seq_len = text.of(text_data(config.data)), config.data.seq_len
    texts = [pool.text(row) for row in range(min(len(pool.tokens_NS), SAMPLE // seq_len + 1))]
    smallest = len({byte for line in texts for byte in line.encode()}) + 2

    def fits(size: int) -> bool:
        encodings = text_bpe(texts, size - 1).tokenizer.encode_batch(texts)
        return len({i for one in encodings for i in one.ids}) + 1 >= FITS * size

    low, high = smallest, max(smallest + 1, min(config.rows, 2 * used(config)))
    if not fits(low):
        return None
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
