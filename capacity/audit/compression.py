"""How well one checkpoint compresses a text: bits per token, byte and character, and Information
Capacity.

Bits per character are the code length of all predicted tokens over the characters of those tokens
(Compression represents intelligence linearly, arXiv 2404.09937: BPC of main.py in
github.com/hkust-nlp/llm-compression-intelligence). There a window of 1,900 tokens slides by 512;
here windows do not overlap, as in an audit, so that tokens see less before them and the number is
higher, if anything. Characters are those of decoded tokens, without special ones.

Information Capacity (arXiv 2511.08066) is of the first window of each document, as its script cuts
rows, without the first token. Both of its averages are over tokens; the script takes the mean of
text sizes over rows, which is the same where rows are equally long.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.analysis.compression.formulas import BIASES, BITS_OF_A_BYTE, information_capacity
from capacity.audit.score import Pass
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.words import count, digits, ends, plural, wrap
from capacity.data import lines, sources
from capacity.fitting import ratios

if TYPE_CHECKING:
    from capacity.audit.logits import Checkpoint
    from capacity.audit.scored import TokenScores

SCHEMA = 1
NO_FLOPS = (
    "FLOPs of a token are not known of this form (experts, or a mixer that is not attention), so "
    "that there is no Information Capacity"
)
CANNOT = "cannot tell"


@dataclass(frozen=True)
class Asked:
    """What the command was asked; window, bias: None where they were not given."""

    model: str
    text: str
    results: Path
    field: str
    window: int | None
    bias: float | None
    output: Path


@dataclass(frozen=True)
class Sizes:
    """By document: code length in bits, tokens that were predicted, and of those the bytes of UTF-8
    and characters, float64 [D] each."""

    bits_D: np.ndarray
    tokens_D: np.ndarray
    bytes_D: np.ndarray
    characters_D: np.ndarray


def of_model(asked: Asked) -> int:
    """`capacity compression MODEL --text FILE`. Returns 0; ConfigError, in one line, for a text or
    a model that cannot be read."""
    from capacity.audit import checkpoint as checkpoints
    from capacity.base.hardware import pick_device

    names = sources.file_names(asked.text, "--text")
    texts = read(names, asked.field)
    checkpoint = checkpoints.load(asked.model, asked.results, pick_device("auto"))
    one = Pass(checkpoint, checkpoint.encode(texts), window=asked.window)
    stem = "-".join(
        re.sub(r"[^\w.-]+", "_", Path(name).name.partition(".")[0] or "all")
        for name in (asked.model, asked.text)
    )
    path = asked.output / f"{stem}.json"
    print(f"{plural(len(texts), 'document')}, {count(sum(map(len, one.tokens_D)))} tokens, rows of "
          f"{one.window}", file=sys.stderr)  # fmt: skip
    scores = one.run(asked.output / "scores")
    bias = BIASES["other text"] if asked.bias is None else asked.bias
    found = numbers(checkpoint, one.tokens_D, scores, bias)
    about = {"schema": SCHEMA, "model": checkpoint.name, "weights_sha256": checkpoint.sha256}
    about |= {"parameters": checkpoint.parameters, "text": [Path(name).name for name in names]}
    about |= {"field": asked.field, "notes": checkpoint.notes}
    content = json.dumps(files.plain(about | found), indent=1, allow_nan=False, ensure_ascii=False)
    files.write_atomic(path, (content + "\n").encode())
    print("\n".join([*described(checkpoint.name, found), str(path)]))
    return 0


def read(names: Sequence[str], column: str) -> list[str]:
    """The different texts of files, in their order; rows without a text are left out. ConfigError
    where there is none, or a value is no text."""
    found: dict[str, None] = {}
    for row in sources.rows_of(list(names)):
        text = sources.value(row, "--field", column)
        if not isinstance(text or "", str):
            raise ConfigError(f"{row.at}: --field={column}: {lines.kind(text)}, expected a text")
        if text and text.strip():
            found.setdefault(text)
    if not found:
        raise ConfigError(f"--text={names[0]}: no text in it")
    return list(found)


def sizes(
    checkpoint: Checkpoint, tokens_D: Sequence[np.ndarray], scores: TokenScores, first: int | None
) -> Sizes:
    """What was predicted and how long it is. first: place from which the tokens of the first window
    count, and no other window does; None for all tokens of all windows."""
    rows = []
    for d, ids in enumerate(tokens_D):
        log_p = scores.log_p_T[scores.starts_D[d] : scores.starts_D[d + 1]].astype(np.float64)
        bits = tokens = octets = characters = 0.0
        for start in range(0, len(ids), scores.window):
            begin = start + (first if first is not None else 0)
            end = min(start + scores.window, len(ids))
            begin += first is None and not np.isfinite(log_p[start])
            if begin < end:
                text = checkpoint.decode(ids[begin:end].tolist())
                bits -= float(log_p[begin:end].sum()) / np.log(2)
                tokens += end - begin
                octets += len(text.encode())
                characters += len(text)
            if first is not None:
                break
        rows.append((bits, tokens, octets, characters))
    return Sizes(*np.array(rows, np.float64).reshape(-1, 4).T)


def numbers(
    checkpoint: Checkpoint, tokens_D: Sequence[np.ndarray], scores: TokenScores, bias: float
) -> dict[str, Any]:
    """Everything of one model and text, JSON-able. ConfigError where no token was predicted."""
    every = sizes(checkpoint, tokens_D, scores, None)
    if not every.tokens_D.sum() or not every.characters_D.sum():
        raise ConfigError(
            f"{checkpoint.name}: no token of the text is predicted: documents need two tokens each"
        )
    out: dict[str, Any] = {"documents": len(tokens_D), "window": scores.window}
    out |= {f"predicted_{k.removesuffix('_D')}": float(v.sum()) for k, v in asdict(every).items()}
    for name, below in (
        ("bits_per_token", every.tokens_D),
        ("bits_per_byte", every.bytes_D),
        ("bits_per_character", every.characters_D),
    ):
        out[name] = over_documents(every.bits_D, below)
    rows = sizes(checkpoint, tokens_D, scores, 1)
    flops = checkpoint.decoded_flops(scores.window)
    out |= {"flops_decoded": flops, "bias": bias}
    if flops is None or not rows.tokens_D.sum():
        why = NO_FLOPS if flops is None else "no row has two tokens"
        return out | {"information_capacity": None, "with_bias": None, "why": why}
    out["text_bits_per_token"] = BITS_OF_A_BYTE * float(rows.bytes_D.sum() / rows.tokens_D.sum())
    for name, b in (("information_capacity", 0.0), ("with_bias", bias)):
        gain_D = BITS_OF_A_BYTE * rows.bytes_D - rows.bits_D + b * rows.tokens_D
        found = over_documents(gain_D, rows.tokens_D)
        both = [found["value"], *(found["interval"] or [])]
        scaled = [information_capacity(gain, 0.0, flops) for gain in both]
        out[name] = {"value": scaled[0], "interval": scaled[1:] or None, "why": found["why"]}
    return out | {"why": None}


def over_documents(above_D: np.ndarray, below_D: np.ndarray) -> dict[str, Any]:
    """Sum over sum with Fieller's interval over documents, two at least; documents without anything
    below do not count."""
    known = below_D > 0
    a, b = above_D[known], below_D[known]
    value = float(a.sum() / b.sum())
    if len(a) < 2:
        return {"value": value, "interval": None, "why": "one document"}
    found = ratios.of_pairs(a, b)
    return {"value": value, "interval": found["interval"], "why": found["why"]}


def described(name: str, found: dict[str, Any]) -> list[str]:
    """Lines of at most 80 columns."""

    def one(words: str, row: dict[str, Any] | None) -> list[str]:
        if row is None:
            return wrap(f"{words}: {CANNOT}: {found['why']}", "  ", "    ")
        interval = ends(row["interval"]) or f"(95%: {CANNOT}: {row['why']})"
        return wrap(f"{words}: {digits(row['value'])} {interval}", "  ", "    ")

    flops = found["flops_decoded"]
    at = "" if flops is None else f" at {count(flops)} FLOPs per token of rows of {found['window']}"
    return [
        *wrap(f"{name}: {count(found['predicted_tokens'])} tokens of "
              f"{plural(found['documents'], 'document')}, 95% over documents"),
        *one("bits per token", found["bits_per_token"]),
        *one("bits per byte", found["bits_per_byte"]),
        *one("bits per character", found["bits_per_character"]),
        *one(f"Information Capacity{at}, bias 0", found["information_capacity"]),
        *one(f"Information Capacity, bias {found['bias']:g}", found["with_bias"]),
    ]  # fmt: skip
