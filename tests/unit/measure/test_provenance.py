"""What a record says of where its sequences come from: documents, groups, copies, and what
held-out sequences share with the training set, from one stack of two tiny runs."""

import numpy as np
import pytest
import torch

import telephones
from capacity import records
from capacity.base.scores import read_scores
from capacity.compose import load
from capacity.data import text
from capacity.declare.text import MEASURE
from capacity.feed import split
from capacity.fitting import membership, separation
from capacity.measure import provenance
from capacity.run.job import Job
from capacity.run.run import execute

SMALL = [
    "data=text",
    "data.source=files",
    "data.vocab_size=256",
    "data.seq_len=32",
    "data.n_held_out=90",
    "data.tokens_per_parameter=null",
    "data.n_sequences=140",
    "model.d_model=8",
    "model.n_layers=1",
    "model.n_heads=2",
    "train.steps=60",
    "train.batch_size=16",
    "train.warmup_steps=5",
    "train.lr=0.03",
    "cluster.device=cpu",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder, and by way to split a config, its record and its scores."""
    folder = tmp_path_factory.mktemp("provenance")
    found = telephones.documents(persons=40, texts=(1, 6))
    path = telephones.write(folder / "calls.jsonl", found + 2 * found[:20] + 5 * found[5:9])
    base = [*SMALL, f"data.path={path}"]
    configs = [load([*base, "data.split_by=window"]), load([*base, "data.group=person"])]
    execute(configs, Job(folder, torch.device("cpu")))
    return folder, {
        name: (c, records.read(folder, c.run_id), read_scores(folder / "runs" / c.run_id))
        for name, c in zip(("window", "person"), configs, strict=True)
    }


def test_the_same_telephone_numbers_on_both_sides_are_counted_and_the_split_is_called_unsound(
    trained,
):
    """A random split of windows; the count is that of sets of n-grams written out. The bag of words
    sees nothing of it."""
    config, record, _ = trained[1]["window"]
    m, dealt = record["measures"]["text"], split.of(config)
    held = {tuple(row[i : i + 13]) for row in dealt.trained_tokens.tolist() for i in range(32 - 12)}
    slow = sum(
        any(tuple(row[i : i + 13]) in held for i in range(32 - 12))
        for row in dealt.pool.tokens_NS[dealt.held_out].tolist()
    )
    assert m["overlap"] == {
        "tokens": 13,
        "sequences": slow,
        "fraction": slow / 90,
        "limit": 0.01,
    }
    assert slow >= 9 and abs(m["bag_of_words_auc"] - 0.5) < 4 * m["bag_of_words_sd"]
    assert m["split"]["by"] == "window" and m["split"]["documents_on_both"] > 10
    told = "\n".join(MEASURE.lines(m, record))
    assert f"{slow} of 90 held-out sequences share 13 tokens in a row" in told
    assert "NOT A SOUND SPLIT" in told and max(map(len, told.splitlines())) <= 80
    assert "AUC without them" in told


def test_split_by_person_nothing_is_shared_and_copies_are_an_axis(trained):
    config, record, scores = trained[1]["person"]
    m = record["measures"]["text"]
    assert m["overlap"]["sequences"] == 0 and "without_overlap" not in m
    assert m["split"] == m["split"] | {
        "by": "document",
        "documents_on_both": 0,
        "groups": 40,
        "groups_on_both": 0,
        "documents_without_group": 0,
    }
    told = "\n".join(MEASURE.lines(m, record))
    assert "0.0%, at most 1% as it should" in told and "SOUND" not in told
    assert "by document and group; on both sides:\n                 0 of" in told
    assert max(map(len, told.splitlines())) <= 80
    seen, copies = scores["seen"].astype(bool), scores["copies"]
    sides = [len(set(scores["unit"][side].tolist())) for side in (seen, ~seen)]
    assert [m["split"]["members_units"], m["split"]["held_out_units"]] == sides
    assert f"independent sets of them: {sides[0]} trained on, {sides[1]} held out" in told
    assert [(row["copies"], row["up_to"]) for row in m["copies"]] == [(1, 1), (3, 4), (5, 8)]
    for row in m["copies"]:
        here = (copies >= row["copies"]) & (copies <= row["up_to"])
        assert row["members"] == (here & seen).sum() and row["held_out"] == (here & ~seen).sum()
        if row["auc"] is not None:
            ours = membership.auc(-scores["loss"][here & seen], -scores["loss"][here & ~seen])
            assert row["auc"] == row["attacks"]["loss"] == ours
            other = scores["min_k"][here & seen], scores["min_k"][here & ~seen]
            assert row["attacks"]["min_k"] == membership.auc(*other)
            low, high = row["auc_interval"]
            assert low <= ours <= high
        written = scores["tail"][here & seen] >= 16
        assert row["members_extractable"] == pytest.approx(written.mean())
    assert set(copies.tolist()) == {1, 3, 8}


def test_every_scored_sequence_says_where_it_stands(trained):
    """Its tokens are those of its document from there on, which is a file's line."""
    for config, _, scores in trained[1].values():
        dealt = split.of(config)
        origin = dealt.pool.origin
        ids = dealt.pool.words
        for row, document, offset, group in zip(
            *(scores[name].tolist() for name in ("row", "document", "offset", "group")), strict=True
        ):
            told = origin.piece_P4[origin.piece_P4[:, 0] == row]
            _, _, _, length = told[told[:, 1] == document][0].tolist()
            assert (told[:, 3] <= length).all()
            if "unit" in scores:  # by document: windows begin at multiples of their length
                assert offset % 32 == 0
            assert (group == -1) == (config.data.group is None)
        assert len(ids) == 256
        assert {scores[name].dtype for name in ("document", "copies", "shared")} == {
            np.dtype(np.int32)
        }
        assert (scores["shared"][scores["seen"] == 1] == -1).all()


def test_texts_of_documents_are_found_again_by_document_and_offset(trained):
    config, _, scores = trained[1]["person"]
    texts = list(text.documents(config.data))
    pool = split.of(config).pool
    first = scores["offset"] == 0
    assert first.sum() > 20
    for row, document in zip(scores["row"][first], scores["document"][first], strict=True):
        told = pool.text(int(row)).split("\n")[0]
        whole = np.flatnonzero(pool.origin.piece_P4[:, 0] == row)
        if len(whole) == 1 and told:
            assert texts[document].startswith(told.rstrip("\ufffd"))


def test_a_pool_without_documents_still_counts_what_is_shared(trained):
    config, record, _ = trained[1]["window"]
    dealt = split.of(config)
    old = text.Pool(dealt.pool.digest, dealt.pool.tokens_NS, dealt.pool.words)
    columns = provenance.columns(split.Split(**{**vars(dealt), "pool": old}), config)
    assert set(columns) == {"shared"}
    assert (columns["shared"] > 0).sum() == record["measures"]["text"]["overlap"]["sequences"]


def test_levels_of_copies_need_different_counts_and_two_sequences_a_side():
    table = {
        "copies": np.array([1, 1, 2, 3, 4, 9]),
        "seen": np.array([1, 0, 1, 1, 0, 1]),
        "tail": np.array([4, 0, 2, 1, 4, 0]),
    }
    loss, none = {"loss": np.arange(6.0)}, np.zeros(6, bool)
    rows = provenance.by_copies(table, loss, none, 4)
    assert [(r["copies"], r["up_to"], r["members"], r["held_out"]) for r in rows] == [
        (1, 1, 1, 1),
        (2, 2, 1, 0),
        (3, 4, 1, 1),
        (9, 16, 1, 0),
    ]
    assert all(r["auc"] is None for r in rows)
    assert [r["members_extractable"] for r in rows] == [1.0, 1.0, 0.0, 0.0]
    assert rows[1]["held_out_extractable"] is None
    assert provenance.by_copies(table | {"copies": np.full(6, 3)}, loss, none, 4) is None
    assert provenance.by_copies({}, loss, none, 4) is None


def test_an_interval_over_documents_is_as_wide_as_their_number_asks_for():
    """Ten equal sequences of a document are one, and text by a few documents can look as if it were
    recognised: coverage of the AUC of nothing, from 12 documents of 20 sequences a side."""
    rng, covered, alone = np.random.default_rng(0), 0, 0
    units = np.repeat(np.arange(12), 20), np.repeat(np.arange(12), 20)
    for _ in range(60):
        sides = [np.repeat(rng.normal(size=12), 20) + 0.1 * rng.normal(size=240) for _ in range(2)]
        low, high = separation.statistics(*sides, units=units)["auc_interval"]
        covered += low <= 0.5 <= high
        low, high = separation.statistics(*sides)["auc_interval"]
        alone += low <= 0.5 <= high
    assert covered >= 49 and alone <= 40  # of 60; over sequences the interval misses often


def test_a_bag_of_words_is_not_deceived_by_the_words_of_a_document():
    """Each document has a word of its own: by sequence a classifier knows the sides perfectly, by
    document it knows nothing."""
    words = np.repeat(np.arange(40), 8)
    table = np.stack([words, np.full(320, 40)], 1)
    mine, theirs = table[:160], table[160:]
    units = words[:160], words[160:]
    assert membership.bag_of_words_auc(mine, theirs, 41) > 0.95
    auc = membership.bag_of_words_auc(mine, theirs, 41, units=units)
    sd = membership.bag_of_words_sd(mine, theirs, 41, units=units)
    assert abs(auc - 0.5) <= 4 * sd and auc < 0.7
