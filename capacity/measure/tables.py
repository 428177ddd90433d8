"""Which rows of its tables, and which experts, a trained model reads on its training data.

A row that no token reads holds nothing, so that a table of which few are read is a smaller table;
papers of product keys report the same two numbers, the share of rows hit and the KL divergence of
hits from uniform (Lample et al., arXiv 1907.05242, section 4.5).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from capacity.config import Config
from capacity.declare import tables as declared
from capacity.model.gpt import GPT
from capacity.parts import registry

MEASURE = declared.MEASURE
MOST_TOKENS = 2**20  # that are passed; a row that none of so many reads is hardly ever read


def applies(config: Config) -> bool:
    """Whether a model has something that a token reads a part of."""
    return registry.has_tables(config.model) or config.model.n_experts > 0


def windows(config: Config) -> int:
    """Rows of the training data that hold all of it once, or MOST_TOKENS."""
    length = config.data.seq_len
    tokens = config.trained_items * config.resolved.tokens_of(config.items)
    return max(1, math.ceil(min(tokens, MOST_TOKENS) / length))


def measure(
    gpt: GPT, flat_P: Tensor, rows_NT: Tensor, config: Config, dtype: torch.dtype
) -> dict[str, Any]:
    """MEASURE of one member's weights; rows: of its training data, as the model takes them."""
    counted = reads(gpt, flat_P, rows_NT, dtype, config.measure.batch_tokens)
    unused = config.rows - config.resolved.used_rows
    tables = {}
    for name, hits_R in counted.items():
        rows = len(hits_R) - (unused if name.endswith(" stem") else 0)
        tables[name] = {"rows": rows, **used(hits_R, rows)}
    out = {
        "version": MEASURE.version,
        "tokens": gpt.targets(rows_NT).numel(),
        "read": min(one["read"] for one in tables.values()),
        "kl_bits": max(one["kl_bits"] for one in tables.values()),
        "tables": tables,
    }
    return MEASURE.returns(out)


def used(hits_R: Tensor, rows: int) -> dict[str, float]:
    """read: rows with a hit over `rows`; kl_bits: sum of p log2(p rows), p the share of hits."""
    hit = hits_R[hits_R > 0].double()
    p = hit / hit.sum()
    return {
        "read": len(hit) / rows,
        "kl_bits": max(0.0, float((p * (p * rows).log2()).sum())),
    }


def reads(
    gpt: GPT, flat_P: Tensor, rows_NT: Tensor, dtype: torch.dtype, batch_tokens: int
) -> dict[str, Tensor]:
    """How often each row is read, int64 [R] on the CPU by table (`1 engram`: of block 1), and each
    expert chosen, whether it has room or not."""
    counted: dict[str, Tensor] = {}

    def watch(name: str, row_I: Tensor, rows: int) -> None:
        hits = torch.bincount(row_I.reshape(-1).cpu(), minlength=rows)
        counted[name] = counted.get(name, 0) + hits

    size = max(1, batch_tokens // rows_NT.shape[1])
    with torch.no_grad():
        for batch in rows_NT.split(size):
            gpt.watched(flat_P[None], batch[None], watch, dtype)
    return counted
