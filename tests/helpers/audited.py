"""A model's numbers of documents whose members are known, without a model."""

from __future__ import annotations

import zlib

import numpy as np

from capacity.analysis.finding import Finding
from capacity.audit import numbers, page, plots, wording
from capacity.audit.schema import About
from capacity.audit.scored import CanaryScores, Documents, ScoredModel, TokenScores
from pages import EVIL


def documents(texts: list[str], member_D: np.ndarray, **more) -> Documents:
    """Members first, as the files give them."""
    raw = [text.encode() for text in texts]
    return Documents(
        more.pop("ids", [f"d{i}" for i in range(len(texts))]),
        texts,
        np.asarray(member_D, bool),
        np.asarray(more.pop("copies_D", np.ones(len(texts))), np.int32),
        np.array([len(r) for r in raw]),
        np.array([len(zlib.compress(r)) for r in raw]),
        **more,
    )


def tokens(
    log_p: list[np.ndarray], window: int = 64, z: list[np.ndarray] | None = None, **more
) -> TokenScores:
    """Of the log-probabilities of each document's tokens; right: those that are above -log 2."""
    flat = np.concatenate(log_p).astype(np.float32)
    sizes = np.array([len(x) for x in log_p])
    return TokenScores(
        flat,
        (flat + 3.0) / 2 if z is None else np.concatenate(z).astype(np.float32),
        more.pop("right_T", flat > -np.log(2)),
        np.concatenate([np.arange(n) % window for n in sizes]).astype(np.int32),
        np.concatenate([[0], np.cumsum(sizes)]),
        window,
        **more,
    )


def world(
    rng: np.random.Generator, n: int, memory: np.ndarray, length: int = 40
) -> tuple[list[str], TokenScores, TokenScores]:
    """Texts of random words, a reference that knows nothing of them, and a model that knows
    `memory` [n] nats per token of each, whatever else it thinks of a token."""
    words = rng.integers(0, 3000, (n, length))
    texts = [" ".join(f"w{i}" for i in row) for row in words]
    hard = rng.gamma(2.0, 1.5, (n, length))
    model = np.maximum(0.01, hard + 0.7 * rng.standard_normal((n, length)) - memory[:, None])
    return texts, tokens(list(-model)), tokens(list(-hard - 0.01))


def about(**more) -> About:
    known = {
        "model": "model",
        "model_sha256": "",
        "model_type": "gpt2",
        "parameters": 1000,
        "vocab_size": 3000,
        "context": 64,
        "window": 64,
        "opens_with": 0,
        "dtype": "float32",
        "reference": None,
        "members": "members.jsonl",
        "others": "others.jsonl",
        "members_sha256": "",
        "others_sha256": "",
        "group": None,
        "training_tokens": None,
        "tokens_per_parameter": None,
        "seed": 0,
    }
    return About(**(known | more))


def found(kind: str, n: int = 240):
    """An audit of documents of which n each were seen and not; kind: its verdict."""
    rng = np.random.default_rng(3)
    memory = np.zeros(2 * n)
    if kind in ("evidence", "differs"):
        memory[:n], memory[:20] = 0.3, 2.0
    texts, model, other = world(rng, 2 * n, memory)
    if kind == "differs":
        texts = [f"{one} court ruling" if i < n else one for i, one in enumerate(texts)]
    copies = np.ones(2 * n, int)
    copies[:20] = 8
    ids = [EVIL if i == 3 else f"doc {i}" for i in range(2 * n)]
    groups = [f"author {i // 4}" for i in range(2 * n)] if kind == "evidence" else None
    given = documents(texts, np.arange(2 * n) < n, copies_D=copies, ids=ids, groups=groups)
    canaries = CanaryScores(
        np.repeat([1, 16], 8),
        np.r_[rng.normal(300, 9, 8), np.full(8, 5.0)],
        np.arange(16) > 7,
        rng.normal(300, 9, 200),
        np.full(16, 430.0),
    )
    models = [
        ScoredModel("checkpoint", model, canaries),
        ScoredModel("int4", other, canaries, 4300),
    ]
    asked = about(tokens_per_parameter=3.0, reference="base", group="author" if groups else None)
    whole = numbers.audit(
        given,
        models if kind in ("evidence", "differs") else models[:1],
        asked,
        reference=other if kind in ("evidence", "differs") else None,
    )
    return whole.numbers, whole.documents["checkpoint"], whole.groups.get("checkpoint")


def built(all_numbers, frame, groups) -> tuple[bytes, dict]:
    """The page of an audit, and the tables in it."""
    tables = {"documents.csv": frame} | ({"groups.csv": groups} if groups is not None else {})
    finding = Finding("audit", "audit.json", all_numbers, tables)
    document = wording.document(all_numbers, frame, groups)
    figures = plots.draw(all_numbers, frame)
    return page.build(finding, document, figures, ["capacity audit model"]), tables
