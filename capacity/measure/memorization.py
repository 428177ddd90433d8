"""Total memorization in bits, under both conventions for the first token, with exact ceilings.

Let l_t = -log2 p(x_t | BOS, x_<t), sums over the N sequences of the training set, H = N S log2 V.

strict  H - sum_{t=1..S} l_t: every token is predicted, as an honest code would have to. A perfect
        memorizer of a set in no order still spreads its probability over the members, so the
        ceiling is H - sum_i log2(N / c_i), c_i the number of copies of sequence i: N (S log2 V -
        log2 N) where all differ.
paper   N S (log2 V - mean of l_t over t = 2..S): what a shifted-label loss times S gives. The
        convention that reproduces the published tables of Morris et al. (arXiv 2505.24832, Table 1
        and appendix A.1; inferred from the tables, the paper does not state it). Higher than strict
        by about S/(S-1).

Both follow from mem(X) = H(X) - H(X | model) with code length -log2 p (sections 2.1 and 2.3 of the
paper) and the uniform distribution as the reference.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from capacity.data.tiers import Tiers
from capacity.declare import memorization as declared
from capacity.measure import tiers as by_tier
from capacity.model.gpt import GPT

MEASURE = declared.MEASURE
LOGITS_AT_ONCE = (
    2**26
)  # bounds an evaluation's memory to a few times 256 MiB, also with a vocabulary of 50,000
CONVENTIONS = ("strict", "paper")


def code_lengths(
    gpt: GPT, flat_P: Tensor, tokens_NS: Tensor, dtype: torch.dtype, batch_tokens: int
) -> np.ndarray:
    """Bits that one member's weights need for each sequence, fp64 [N, 2]: the first token, and all
    the others."""
    seq_len = tokens_NS.shape[1]
    rows = max(1, min(batch_tokens // seq_len, LOGITS_AT_ONCE // (seq_len * gpt.vocab_size)))
    parts = []
    with torch.no_grad():
        for batch in tokens_NS.split(rows):
            nll_BS = gpt.nll(flat_P[None], batch.long()[None], dtype)[0].double() / math.log(2)
            parts.append(torch.stack([nll_BS[:, 0], nll_BS[:, 1:].sum(1)], dim=1))
    return torch.cat(parts).cpu().numpy()


def memorized(bits_N2: np.ndarray, seq_len: int, vocab_size: int) -> dict[str, float]:
    """Memorized bits of the whole set by convention (signed; a model worse than a uniform guess
    scores below 0)."""
    n, token_bits = len(bits_N2), math.log2(vocab_size)
    first, rest = bits_N2.sum(axis=0)
    return {
        "strict": n * seq_len * token_bits - (first + rest),
        "paper": seq_len / (seq_len - 1) * (n * (seq_len - 1) * token_bits - rest),
    }


def clipped(bits_N2: np.ndarray, seq_len: int, vocab_size: int) -> float:
    """Sum over sequences of max(0, S log2 V - code length): the paper's per-sample form (section
    2.3), strict tokens. Biased upward where many sequences are near 0 bits."""
    return float(np.maximum(0.0, seq_len * math.log2(vocab_size) - bits_N2.sum(axis=1)).sum())


def ceilings(tokens_NS: np.ndarray, vocab_size: int) -> dict[str, float]:
    """The most bits that any model can score on exactly this set, by convention; 0 or more."""
    n, seq_len = tokens_NS.shape
    token_bits = math.log2(vocab_size)
    copies = _occurrences(tokens_NS)
    same_first = _occurrences(tokens_NS[:, :1])
    strict = n * seq_len * token_bits - np.log2(n / copies).sum()
    paper = (
        seq_len
        / (seq_len - 1)
        * (n * (seq_len - 1) * token_bits - np.log2(same_first / copies).sum())
    )
    return {"strict": max(0.0, float(strict)), "paper": max(0.0, float(paper))}


def distinct(tokens_NS: np.ndarray) -> int:
    """Number of different sequences in the set."""
    return len(np.unique(tokens_NS, axis=0))


def _occurrences(rows: np.ndarray) -> np.ndarray:
    """For each row, how many rows equal it."""
    _, inverse, count = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return count[inverse.reshape(-1)]


def measure(  # noqa: PLR0913  data, model, how to ask, and what to divide by
    gpt: GPT,
    flat_P: Tensor,
    tokens_NS: Tensor,
    dtype: torch.dtype,
    batch_tokens: int,
    parameters: dict[str, int],
    classes: tuple[Tiers, np.ndarray] | None = None,
) -> dict:
    """All numbers of this measure for one member, ready for its record.

    For each convention: bits, ceiling, fraction of the ceiling, and bits per parameter by parameter
    convention. classes: tiers of a run that has some, and the number of each sequence's, [N].
    """
    bits_N2 = code_lengths(gpt, flat_P, tokens_NS, dtype, batch_tokens)
    return of_codes(bits_N2, tokens_NS.cpu().numpy(), gpt.vocab_size, parameters, classes)


def of_codes(
    bits_N2: np.ndarray,
    table: np.ndarray,
    vocab_size: int,
    parameters: dict[str, int],
    classes: tuple[Tiers, np.ndarray] | None = None,
) -> dict:
    """`measure` from the code lengths of the sequences of a table [N, S] whose tokens are one of
    vocab_size alike."""
    n, seq_len = table.shape
    held, most = memorized(bits_N2, seq_len, vocab_size), ceilings(table, vocab_size)
    out = {
        "version": MEASURE.version,
        "n_sequences": n,
        "distinct_sequences": distinct(table),
        "entropy_bits": n * seq_len * math.log2(vocab_size),
        "loss_bits_per_token": float(bits_N2.sum() / (n * seq_len)),
        "strict_clipped_bits": clipped(bits_N2, seq_len, vocab_size),
    }
    if classes is not None:
        own_N = seq_len * math.log2(vocab_size) - bits_N2.sum(1)
        out["tiers"] = by_tier.of_sequences(*classes, own_N)
    for convention in CONVENTIONS:
        bits = float(held[convention])
        out[convention] = {
            "bits": bits,
            "ceiling_bits": most[convention],
            "fraction_of_ceiling": bits / most[convention] if most[convention] > 0 else None,
            "bits_per_parameter": {name: bits / p for name, p in parameters.items()},
        }
    return MEASURE.returns(out)
