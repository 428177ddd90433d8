"""Scores of documents beside the formulas of the field's code, written anew."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from capacity.audit import attacks
from tests.helpers import audited


def _case(seed=0, n=30, vocabulary=50):
    """Documents of several windows, each token's whole prediction known."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, n) * 5  # 20% of them is whole: roundings agree
    logits = [rng.normal(0, 2, (size, vocabulary)) for size in sizes]
    all_log_p = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in logits]
    target = [rng.integers(0, vocabulary, size) for size in sizes]
    log_p = [a[np.arange(len(t)), t] for a, t in zip(all_log_p, target, strict=True)]
    mean = [(np.exp(a) * a).sum(1) for a in all_log_p]
    second = [(np.exp(a) * a**2).sum(1) for a in all_log_p]
    z = [(x - m) / np.sqrt(s - m**2) for x, m, s in zip(log_p, mean, second, strict=True)]
    texts = [" ".join(f"t{i}" for i in t) for t in target]
    return texts, log_p, z


def test_scores_are_those_of_mimir_open_unlearning_and_min_k_plus_plus():
    texts, log_p, z = _case()
    documents = audited.documents(texts, np.arange(30) < 15)
    scored = audited.tokens(log_p, window=16, z=z)
    reference = audited.tokens([x - 0.1 * np.arange(len(x)) for x in log_p])
    mine = attacks.scores(documents, scored, reference)
    for i, text in enumerate(texts):
        size = len(log_p[i])
        loss = -np.mean(log_p[i])  # avg_loss there
        k = int(size * 0.2)
        theirs = {  # lower is a member there
            "loss": loss,
            "zlib": loss / len(zlib.compress(bytes(text, "utf-8"))),
            "min_k": -np.mean(np.sort(log_p[i])[:k]),
            "min_k_plus": -np.mean(np.sort(z[i])[:k]),
            "reference": loss - (loss + 0.1 * np.arange(size).mean()),
        }
        for name, score in theirs.items():
            # 32-bit sums of at most 145 numbers of about 5
            assert mine[name][i] == pytest.approx(-score, rel=2e-6, abs=2e-6), name


def test_tokens_that_nothing_predicts_and_documents_without_any():
    log_p = [np.array([np.nan, -1.0, -3.0]), np.array([np.nan]), np.array([np.nan, -2.0])]
    documents = audited.documents(["a b c", "a", "b c"], np.array([True, True, False]))
    scored = audited.tokens(log_p, recall_D=np.array([1.5, 1.0, np.nan]))
    got = attacks.scores(documents, scored)
    assert got["loss"][[0, 2]].tolist() == [-2.0, -2.0] and np.isnan(got["loss"][1])
    assert got["min_k"][0] == -3.0 and got["min_k"][2] == -2.0
    assert all(np.isnan(score[1]) for score in got.values())
    assert got["recall"][0] == 1.5 and np.isnan(got["recall"][2])
    assert attacks.primary(None) == "min_k_plus" and attacks.primary(scored) == "reference"


def test_every_score_ranks_documents_that_are_known_better():
    rng = np.random.default_rng(1)
    memory = np.repeat([0.6, 0.0], 150)
    texts, model, reference = audited.world(rng, 300, memory)
    documents = audited.documents(texts, memory > 0)
    found = attacks.all_statistics(attacks.scores(documents, model, reference), documents)
    assert list(found) == ["loss", "zlib", "min_k", "min_k_plus", "reference"]
    for name, attack in found.items():
        assert attack["auc"]["interval"][0] > 0.5, name
        assert attack["p"] < 0.05 and attack["documents"] == 300
    assert found["reference"]["auc"]["value"] > found["loss"]["auc"]["value"]
    assert found["loss"]["tpr"] == {"0.01": None, "0.001": None}  # 150 others do not resolve them


def test_intervals_are_of_the_documents_that_have_a_score():
    score, member = np.array([3.0, np.nan, 2.0, 1.0, 0.0, np.nan]), np.arange(6) < 3
    got = attacks.statistics(score, member, np.arange(6))
    assert got["auc"]["value"] == 1.0 and got["documents"] == 4
    assert got["auc"]["interval"][0] < 0.5  # two of each say nothing
