"""Text that is split by document: what must stay together does, and sides are as large as asked."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import telephones
from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.config import from_dict
from capacity.data import text, windows
from capacity.feed import split

TEXT = [
    "data=text",
    "data.source=files",
    "data.path=calls.jsonl",
    "data.vocab_size=256",
    "data.seq_len=32",
    "data.n_held_out=60",
    "data.tokens_per_parameter=null",
    "data.n_sequences=80",
    "model.d_model=8",
    "model.n_heads=2",
    "train.steps=40",
    "train.batch_size=8",
    "train.warmup_steps=5",
    "cluster.device=cpu",
]


@pytest.fixture(autouse=True)
def calls(here):
    """Documents of 30 persons, some of them twice or four times in the file."""
    found = telephones.documents(persons=30, texts=(1, 5))
    telephones.write(here / "calls.jsonl", found + found[:8] + 2 * found[:3])
    text.source_digest.cache_clear()
    return here


def shares(dealt, n=13):
    """Held-out sequences that share n tokens in a row with the training set, the slow way."""

    def grams(rows):
        return [{tuple(r[i : i + n]) for i in range(len(r) - n + 1)} for r in rows.tolist()]

    trained = set().union(*grams(dealt.trained_tokens))
    return sum(bool(one & trained) for one in grams(dealt.pool.tokens_NS[dealt.held_out]))


def test_documents_and_their_copies_and_groups_are_on_one_side_where_windows_are_on_both():
    by = {}
    for name, more in {
        "window": ["data.split_by=window"],
        "document": [],
        "person": ["data.group=person"],
        "near": ["data.near_duplicates=keep_together"],
    }.items():
        dealt = split.of(load([*TEXT, *more]))
        origin = dealt.pool.origin
        assert len(dealt.held_out) == 60 and len(dealt.trained) == 80
        document = origin.main_N2[:, 0]
        sides = [document[dealt.held_out], document[dealt.trained]]
        by[name] = (
            len(np.intersect1d(*sides)),
            len(np.intersect1d(*(origin.documents.cluster_D[side] for side in sides))),
            len(np.intersect1d(*(origin.documents.group_D[side] for side in sides))),
            shares(dealt),
        )
        if name == "person":
            assert len(origin.documents.groups) == 30
            assert (origin.documents.copies_D == 4).sum() == 12
            assert (origin.documents.copies_D == 2).sum() == 10
    assert by["window"][0] > 10 and by["window"][3] > 5
    assert by["document"][:2] == (0, 0) and by["document"][3] > 5  # a number is in many documents
    assert by["person"] == (0, 0, 0, 0)
    assert by["near"][:2] == (0, 0) and by["near"][3] == 0


def test_settings_of_the_split_are_in_the_run_id_and_counting_is_not():
    base = load(TEXT).run_id
    ids = {
        more: load([*TEXT, more]).run_id
        for more in (
            "data.split_by=window",
            "data.group=person",
            "data.group=id",
            "data.near_duplicates=keep_together",
        )
    }
    assert len({base, *ids.values()}) == 5
    assert load([*TEXT, "data.split_by=document"]).run_id == base
    assert load([*TEXT, "data.overlap_tokens=9"]).run_id == base
    both = ["data.near_duplicates=keep_together", "data.overlap_tokens=9"]
    assert load([*TEXT, *both]).run_id not in {base, *ids.values()}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(2, 100), st.integers(2, 120), st.integers(0, 3), st.integers(0, 3))
def test_sides_are_as_large_as_asked_or_the_refusal_names_what_fits(held, n, seed, split_seed):
    tree = load([*TEXT, "data.group=person"]).as_dict()

    def dealt(**data):
        tree["data"] |= {"n_held_out": held, "n_sequences": n, "split_seed": split_seed} | data
        config = from_dict(tree | {"seed": seed})
        return config, split.of(config)

    try:
        config, target = dealt()
    except ConfigError as error:
        assert "of documents that stay" in str(error)  # too few of them, or of sequences
        return
    unit, same = target.pool.origin.unit_N, target.pool.origin.same_N
    assert len(target.held_out) == held and len(target.trained) == n == config.trained_items
    assert len(np.unique(same[target.scored])) == len(target.scored)
    assert not np.intersect1d(same[target.held_out], same[target.trained]).size
    assert not np.intersect1d(unit[target.held_out], unit[target.trained]).size
    assert (target.scored[:held] == target.held_out).all()
    assert (target.seen == (np.arange(len(target.scored)) >= held)).all()
    _, fewer = dealt(n_sequences=max(2, n - 3)) if n > 30 else (None, target)
    assert set(fewer.members) <= set(target.members) and (fewer.held_out == target.held_out).all()
    for trained_on in ("half", "reference", "others"):
        try:
            config, other = dealt(trained_on=trained_on, n_reference=n + 5)
        except ConfigError:
            continue
        assert len(other.trained) == config.trained_items
        assert (other.held_out == target.held_out).all()
        if trained_on == "half":
            trained = np.unique(unit[other.trained])
            elsewhere = np.unique(unit[other.scored[~other.seen]])
            assert len(np.intersect1d(trained, elsewhere)) <= 1
            assert set(other.scored.tolist()) == set(target.scored.tolist())
        elif trained_on == "reference":
            assert set(target.trained.tolist()) <= set(other.trained.tolist())
            assert set(target.scored.tolist()) <= set(other.scored.tolist())
        else:
            both = np.concatenate([target.trained, target.held_out])
            assert not np.intersect1d(unit[other.trained], unit[both]).size
            unseen = unit[other.scored[~other.seen]]
            assert not np.intersect1d(unit[other.trained], unseen).size
            assert set(target.scored.tolist()) <= set(other.scored.tolist())


def test_passages_that_serve_as_canaries_are_of_documents_that_nothing_else_uses():
    config = load(
        [
            *TEXT,
            "data.canaries=3",
            "data.repeats=[0,2]",
            "data.canary_text=pool",
            "data.n_held_out=30",
            "data.n_sequences=40",
        ]
    )
    dealt = split.of(config)
    unit, tokens = dealt.pool.origin.unit_N, dealt.pool.tokens_NS
    rows = [int(np.flatnonzero((tokens == canary).all(1))[0]) for canary in dealt.canaries]
    used = np.concatenate([dealt.trained, dealt.scored])
    assert len(set(unit[rows].tolist())) == 6 and not np.intersect1d(unit[rows], unit[used]).size


@pytest.mark.parametrize(
    "more, words",
    [
        (["data.n_sequences=4000"], "60 held-out sequences and 4000 for training are asked for"),
        (["data.n_sequences=4000"], "or up to "),
        (["data.group=nobody"], "calls.jsonl:1: no data.group=nobody; it has id, person, text"),
        (["data.group=person", "data.split_by=window"], "data.group=person: needs"),
        (["data.near_duplicates=keep_together", "data.split_by=window"], "=keep_together: needs"),
        (
            ["data.near_duplicates=keep_together", "data.overlap_tokens=2"],
            "too much stays together: data.near_duplicates=report, a larger data.overlap_tokens",
        ),
        (["data.n_held_out=2", "data.n_sequences=2"], "needed on each side"),
        (["data.split_by=documents"], "one of document, window (did you mean document?)"),
        (["data.overlap_tokens=1"], "data.overlap_tokens=1: expected a whole number from 2"),
    ],
)
def test_what_cannot_be_split_is_one_line(more, words):
    with pytest.raises(ConfigError) as error:
        split.of(load([*TEXT, *more]))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_kept_pool_says_itself_how_it_is_split(here, monkeypatch):
    """Also a run of before there was a choice, whose record names its pool and no split; and a pool
    whose text has changed is refused, not made anew under its old name."""
    window, document = load([*TEXT, "data.split_by=window"]), load([*TEXT, "data.group=person"])
    expected = {}
    for config in (window, document):
        text.keep(here, config.data)
        expected[config.run_id] = split.of(config)
    old = window.as_dict()
    for name in ("split_by", "group", "near_duplicates", "overlap_tokens"):
        del old["data"][name]
    for tree in (old, document.as_dict()):
        for kept in (True, False):
            text._POOLS.clear()
            config = from_dict(tree)
            if kept:
                text.load(here, config.data.pool)
            again, then = split.of(config), expected[config.run_id]
            assert (again.trained_tokens == then.trained_tokens).all()
            assert (again.scored == then.scored).all() and (again.seen == then.seen).all()
            for name, tensor in then.pool.origin.tensors().items():
                assert (again.pool.origin.tensors()[name] == tensor).all()
            assert again.pool.origin.documents.groups == then.pool.origin.documents.groups
    text._POOLS.clear()
    telephones.write(here / "calls.jsonl", telephones.documents(persons=31))
    text.source_digest.cache_clear()
    with pytest.raises(ConfigError, match="calls.jsonl, or what cuts it, has changed since"):
        split.of(from_dict(old))


def test_a_pool_of_an_older_version_has_no_documents_and_is_split_by_window(here):
    config = load([*TEXT, "data.split_by=window"])
    pool = text.of(config.data)
    then = split.of(config)
    text._POOLS[pool.digest] = text.Pool(pool.digest, pool.tokens_NS, pool.words)
    assert (split.of(config).scored == then.scored).all()
    text.keep(here, config.data)
    text._POOLS.clear()
    text.load(here, pool.digest)
    assert text._POOLS[pool.digest].origin is None


def test_sequences_that_stand_in_several_documents_are_trained_on_and_never_scored():
    """By hand: three documents of two windows begin with the same one."""
    class_N, unit_N = np.array([0, 1, 0, 3, 0, 5, 5]), np.array([0, 0, 1, 1, 2, 2, 2])
    assert split._scorable(class_N, unit_N).tolist() == [
        False,
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    assert windows.same_rows(np.array([[1, 2], [2, 1], [1, 2]])).tolist() == [0, 1, 0]


def test_files_of_plain_text_nested_columns_and_tables_can_be_groups(here):
    """The same documents by person: as files, as an inner column, as CSV; and how the bytes are
    divided into files is part of what is trained on."""
    found = telephones.documents(persons=30, texts=(2, 5))
    people = sorted({name for name, _ in found})
    for name in people:
        texts = [text for person, text in found if person == name]
        (here / f"by_{name}.txt").write_text("\n\n".join(texts) + "\n\n")
    rows = [{"text": text, "meta": {"who": {"name": name}}} for name, text in found]
    (here / "nested.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = "".join(f'{name},"{text}"\n' for name, text in found)
    (here / "calls.csv").write_text("who,text\n" + table)
    for path, group in (
        ("by_*.txt", "file"),
        ("nested.jsonl", "meta.who.name"),
        ("calls.csv", "who"),
    ):
        dealt = split.of(load([*TEXT, f"data.path={path}", f"data.group={group}"]))
        origin = dealt.pool.origin
        assert len(origin.documents.groups) == len(people)
        side = origin.documents.group_D[origin.main_N2[:, 0]]
        assert not np.intersect1d(side[dealt.held_out], side[dealt.trained]).size
        assert shares(dealt) == 0
    before = load([*TEXT, "data.path=by_*.txt", "data.group=file"]).run_id
    whole = "".join((here / f"by_{name}.txt").read_text() for name in people)
    for path in here.glob("by_*.txt"):
        path.unlink()
    (here / "by_all.txt").write_text(whole)
    text.source_digest.cache_clear()
    text._sizes.cache_clear()
    assert load([*TEXT, "data.path=by_*.txt", "data.group=file"]).run_id != before


def test_documents_without_a_group_are_told_and_stay_alone(here):
    found = telephones.documents(persons=30, texts=(1, 5))
    rows = [
        {"text": text, "person": name if i % 3 else None} for i, (name, text) in enumerate(found)
    ]
    (here / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    of = split.of(load([*TEXT, "data.path=some.jsonl", "data.group=person"])).pool.origin.documents
    alone = of.group_D < 0
    assert alone.sum() == len(rows[::3])
    assert len(np.unique(of.unit_D[alone])) > len(of.groups) / 2
