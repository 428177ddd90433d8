"""The whole of an audit on documents whose truth is known: verdicts, tables, coverage."""

from __future__ import annotations

import json

import numpy as np
import pytest

from capacity.audit import attacks, numbers, predicted
from capacity.audit.scored import ScoredModel
from capacity.base.errors import ConfigError
from tests.helpers import audited


def _audit(seed, memory, n=None, reference=True, **more):
    rng = np.random.default_rng(seed)
    texts, model, other = audited.world(rng, len(memory), memory)
    count = len(memory) // 2 if n is None else n
    documents = audited.documents(texts, np.arange(len(memory)) < count, **more)
    return numbers.audit(
        documents,
        [ScoredModel("model", model), ScoredModel("int8", model, stored_bits=8000)],
        audited.about(tokens_per_parameter=3.0),
        reference=other if reference else None,
    )


def test_what_was_memorized_is_evidence_and_ranks_by_copies():
    copies = np.ones(600, int)
    copies[:20] = 8
    memory = np.where(np.arange(600) < 300, 0.25, 0.0)
    memory[:20] = 2.0
    got = _audit(0, memory, copies_D=copies)
    assert got.numbers["verdict"] == "evidence" and len(got.numbers["reasons"]) == 2
    model = got.numbers["models"][0]
    assert model["primary"] == "reference"
    assert model["dataset_inference"]["p"] < 0.01
    levels = {row["level"]: row for row in model["at_risk"]}
    assert list(levels) == ["1", "5 to 8", "others"]
    assert levels["5 to 8"]["share"]["interval"][0] > levels["1"]["share"]["value"]
    assert levels["others"]["flagged"] == 3  # of 300 ranked among themselves
    table = got.documents["model"]
    assert table.side.tolist() == ["members"] * 300 + ["others"] * 300
    assert (table.copies[:18] == 8).mean() > 0.9 and table.flagged[:18].all()
    assert set(table.word) == {"flagged", "cannot tell", "like others"}
    assert (table.bits_saved[:18] > 0).all()
    assert [m["name"] for m in got.numbers["models"]] == ["model", "int8"]
    assert got.numbers["predicted"]["f1"] == pytest.approx(0.765, abs=1e-3)
    assert got.numbers["sizes"]["members"] == {
        "rows": 440,
        "documents": 300,
        "left_out": 0,
        "units": 300,
        "tokens": 12_000,
        "bytes": int(table.bytes[:300].sum()),
    }
    json.dumps(got.numbers, allow_nan=False)


def test_intervals_of_random_halves_cover_chance():
    covered = dict.fromkeys(("loss", "zlib", "min_k", "min_k_plus", "reference"), 0)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        texts, model, reference = audited.world(rng, 240, np.zeros(240))
        documents = audited.documents(texts, np.arange(240) < 120)
        scores = attacks.scores(documents, model, reference)
        for name, attack in attacks.all_statistics(scores, documents).items():
            low, high = attack["auc"]["interval"]
            covered[name] += low <= 0.5 <= high
            assert (attack["p"] < 0.05) == (not low <= 0.5 <= high)
    assert min(covered.values()) >= 45


@pytest.mark.slow
def test_random_halves_are_rarely_called_evidence():
    said, flagged = [], []
    for seed in range(16):
        got = _audit(1000 + seed, np.zeros(240), reference=seed % 2 == 0)
        said.append(got.numbers["verdict"])
        flagged.append(got.numbers["models"][0]["at_risk"][0]["share"]["value"])
    # 4 of 16 at 5% happen in 0.7% of cases, of each word
    assert said.count("evidence") <= 3 and said.count("differs") <= 3
    assert "no evidence" not in said  # 120 of each are too few to say so
    assert np.mean(flagged) <= 0.02  # 1 in 121, of 1,920 that depend on 16 sets of others


def test_many_documents_without_memory_are_no_evidence():
    got = _audit(5, np.zeros(3000))
    assert got.numbers["verdict"] == "no evidence"
    assert "0.45 to 0.55" in got.numbers["reasons"][0]
    assert got.numbers["models"][0]["attacks"]["loss"]["tpr"]["0.01"] is not None


def test_files_that_differ_without_a_model_get_no_verdict():
    rng = np.random.default_rng(2)
    texts, model, _ = audited.world(rng, 200, np.repeat([1.0, 0.0], 100))
    texts[:100] = [text + " on 3 March 2025" for text in texts[:100]]
    documents = audited.documents(texts, np.arange(200) < 100)
    got = numbers.audit(documents, [ScoredModel("model", model)], audited.about())
    assert got.numbers["verdict"] == "differs"
    assert got.numbers["blind"]["differs"] == ["words", "lengths"]
    assert "without a model" in got.numbers["reasons"][0]
    assert got.numbers["predicted"] is None and got.numbers["models"][0]["bits"] is None


def test_members_that_are_harder_are_no_evidence():
    """Something tells the sets apart, but not memory: the AUC is below 0.5."""
    got = _audit(3, np.repeat([-0.5, 0.0], 150))
    assert got.numbers["models"][0]["dataset_inference"]["p"] < 0.05
    assert got.numbers["verdict"] == "cannot tell"


def test_groups_are_units_and_are_named():
    author = np.repeat(np.arange(60), 8)
    memory = np.where(author == 4, 2.0, 0.0)
    got = _audit(4, memory, groups=[f"author {i}" for i in author])
    groups = got.groups["model"]
    assert groups.group[0] == "author 4" and bool(groups.at_risk[0])
    assert got.numbers["models"][0]["at_risk_groups"] == 1
    assert got.numbers["sizes"]["others"]["units"] == 30
    assert list(got.documents["model"].columns[:4]) == ["id", "side", "group", "copies"]


def test_too_few_units_are_refused():
    texts, model, _ = audited.world(np.random.default_rng(0), 24, np.zeros(24))
    groups = [f"g{i % 4}" if i < 12 else f"o{i}" for i in range(24)]
    documents = audited.documents(texts, np.arange(24) < 12, groups=groups)
    with pytest.raises(ConfigError, match="--members: 4 groups; an interval over groups needs"):
        numbers.check(documents)
    few = audited.documents(texts, np.arange(24) < 20)
    with pytest.raises(ConfigError, match="--others: 4 documents"):
        numbers.audit(few, [ScoredModel("model", model)], audited.about())


def test_the_law_is_the_repaired_one():
    # Table 2 of the paper, 0.109670 and 0.049352 sequences of 64 tokens per parameter
    assert predicted.predicted(64 * 0.109670)["f1"] == pytest.approx(0.55, abs=0.002)
    assert predicted.predicted(64 * 0.049352)["f1"] == pytest.approx(0.75, abs=0.002)
    far = predicted.predicted(100.0)
    assert far["extrapolated"] and far["f1"] == pytest.approx(0.5, abs=1e-4)
    assert "64 tokens" in far["scope"] and "2505.24832" in far["source"]
    assert not predicted.predicted(5.0)["extrapolated"]
