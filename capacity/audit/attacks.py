"""Membership scores of whole documents, and how well they tell members from others.

Every score is higher for what looks more like a member. They are those of the field's code on the
same log-probabilities (open-unlearning, MIMIR, Min-K%++), up to two roundings: 20% of the tokens
are rounded up, as for runs of this project, where those round down; and a mean is over the tokens
of the document that were predicted, whatever window they are in.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from capacity.audit.schema import Attack, Estimate
from capacity.audit.scored import Documents, TokenScores
from capacity.fitting import separation
from capacity.fitting.membership import FPRS

K = 0.2  # part of the tokens of Min-K% and Min-K%++ (Shi et al., arXiv 2310.16789, section 4)
RATIO = "reference"
# Without a reference: of the attacks on one model Min-K%++ is the best or level with it on random
# splits of pretraining text (Zhang et al., arXiv 2404.02936, table 2: MIMIR), and on runs of this
# project (docs/results/text.md). Fixed here, because the best of six on the data at hand is high by
# chance.
ALONE = "min_k_plus"
NAMES = ("loss", "zlib", "min_k", "min_k_plus", "recall", RATIO)
DEPTHS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)  # of Min-K% among features of dataset inference


def primary(reference: TokenScores | None) -> str:
    """The attack that decides and by which documents are flagged: the ratio to the reference where
    there is one, because it takes away what is easy as such (Carlini et al., arXiv 2012.07805,
    section 5.2), which no score of one model can."""
    return ALONE if reference is None else RATIO


def scores(
    documents: Documents, tokens: TokenScores, reference: TokenScores | None = None
) -> dict[str, np.ndarray]:
    """By attack the score of each document, float64 [D]; NaN where it has none: no token was
    predicted, or it is the non-member whose text is ReCaLL's prefix.

    loss: - mean nats per predicted token. zlib: that over the bytes after zlib (Carlini et al.,
    arXiv 2012.07805). min_k: mean of the lowest 20% of log p; min_k_plus: of (log p - mu) / sigma,
    over all tokens of the document. recall: absent where it was not asked. reference: nats of the
    reference less those of the model, over the tokens that the model predicts: both code the same
    text, so tokenizers may differ.
    """
    count_D = tokens.predicted_D().astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = -tokens.nats_D() / count_D
        out = {
            "loss": loss,
            "zlib": loss / documents.zlib_D,
            "min_k": lowest(tokens.log_p_T, tokens, (K,))[0],
            "min_k_plus": lowest(tokens.z_T, tokens, (K,))[0],
        }
        if tokens.recall_D is not None:
            out["recall"] = np.asarray(tokens.recall_D, float)
        if reference is not None:
            out[RATIO] = (reference.nats_D() - tokens.nats_D()) / count_D
    return {name: np.where(count_D > 0, score, np.nan) for name, score in out.items()}


def lowest(values_T: np.ndarray, tokens: TokenScores, parts: tuple[float, ...]) -> list[np.ndarray]:
    """Mean of the lowest part of each document's values, at least of one, for each of the parts:
    float64 [D] each, NaN where no token was predicted."""
    known = np.isfinite(tokens.log_p_T)
    document = tokens.document_T[known]
    order = np.lexsort((values_T[known], document))
    values = values_T[known][order].astype(np.float64)
    count_D = tokens.predicted_D()
    starts = np.concatenate([[0], np.cumsum(count_D)])
    sums = np.concatenate([[0.0], np.cumsum(values)])
    out = []
    for part in parts:
        k_D = np.minimum(count_D, np.maximum(1, np.ceil(part * count_D - 1e-9).astype(np.int64)))
        with np.errstate(invalid="ignore"):
            out.append((sums[starts[:-1] + k_D] - sums[starts[:-1]]) / k_D)
    return [np.where(count_D > 0, mean, np.nan) for mean in out]


def features(
    documents: Documents, tokens: TokenScores, reference: TokenScores | None = None
) -> np.ndarray:
    """What dataset inference weighs, float64 [D, F]: the scores, Min-K% and Min-K%++ at DEPTHS, the
    part of the tokens that are the most likely one, and perplexity over that of zlib."""
    by_name = scores(documents, tokens, reference)
    columns = [by_name[name] for name in by_name if not name.startswith("min_k")]
    columns += lowest(tokens.log_p_T, tokens, DEPTHS) + lowest(tokens.z_T, tokens, DEPTHS)
    known = np.isfinite(tokens.log_p_T)
    right = np.bincount(
        tokens.document_T[known], tokens.right_T[known], minlength=len(tokens.starts_D) - 1
    )
    columns.append(right / np.maximum(1, tokens.predicted_D()))
    columns.append(-tokens.nats_D() / documents.zlib_D)
    return np.column_stack(columns)


def statistics(score_D: np.ndarray, member_D: np.ndarray, unit_D: np.ndarray) -> Attack:
    """Of one attack, over the documents that have a score."""
    known = np.isfinite(score_D)
    mine, theirs = known & member_D, known & ~member_D
    units = (unit_D[mine], unit_D[theirs])
    found = separation.statistics(score_D[mine], score_D[theirs], units)

    def estimate(name: str) -> Estimate:
        return {"value": found[name], "interval": list(found[f"{name}_interval"])}

    rates = {f"{fpr:g}": f"tpr_at_{fpr:g}" for fpr in FPRS}
    return {
        "auc": estimate("auc"),
        "tpr": {
            rate: None if found[name] is None else estimate(name) for rate, name in rates.items()
        },
        "f1": estimate("f1_median"),
        "p": separation.auc_p(score_D[mine], score_D[theirs], units),
        "documents": int(known.sum()),
    }


def all_statistics(
    score_by_name: Mapping[str, np.ndarray], documents: Documents
) -> dict[str, Attack]:
    """Of every attack, in the order of NAMES."""
    return {
        name: statistics(score_by_name[name], documents.member_D, documents.unit_D)
        for name in NAMES
        if name in score_by_name
    }
