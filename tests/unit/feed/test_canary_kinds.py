"""Canaries of several kinds: views in windows that do not confound how often with when, lengths,
random tokens and replaced tokens, all counted exactly; exact resume and stacks."""

import collections
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity import records
from capacity.base.errors import ConfigError
from capacity.base.snapshots import read as snapshots_of
from capacity.compose import load
from capacity.data.canaries import Window
from capacity.declare.text import MEASURE
from capacity.feed import canary_schedule, split
from capacity.feed.feed import TableFeed
from capacity.measure import canary_kinds
from capacity.run.remeasure import remeasure
from small_text import SMALL
from stack_members import CPU, run

WINDOWS = "data.view_windows=[0-0.5,20s-40s/3]"
TIMED = [*SMALL, "data.canaries=3", "data.repeats=[0,1,4]", WINDOWS]
LADDER = ["data.canary_lengths=[4,8,16]", "data.canary_text=pool", "data.canary_noise=[0,0.5]"]
SHUFFLED = [*SMALL, "data.canaries=2", "data.repeats=[0,1,3]", *LADDER, "data.copy_noise=[0,0.25]"]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 50),
    st.integers(8, 400),
    st.integers(1, 20),
    st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True),
)
def test_levels_of_a_window_begin_and_end_together(first, width, n, levels):
    """Canary i is seen first in one step whatever its level, last in one step from two views on,
    each level exactly as often as it says, and never outside."""
    window, most = Window(first, first + width), max(levels)
    if most > width - max(1, width // 8) + 1:
        return  # refused
    for i in range(n):
        views = {level: window.views(i, n, level, most) for level in levels}
        assert {len(set(v)) for v in views.values()} == set(levels)
        assert len({v[0] for v in views.values()}) == 1
        assert len({v[-1] for level, v in views.items() if level > 1}) <= 1
        assert all(first <= s < first + width for v in views.values() for s in v)
        assert all(list(v) == sorted(v) for v in views.values())


def test_views_by_hand():
    """W = 16, so G = 2 and views of level 3 lie 7 apart; canary 1 of 2 begins a step later."""
    window = Window(10, 26)
    assert window.views(0, 2, 3, 3) == [10, 17, 24]
    assert window.views(1, 2, 3, 3) == [11, 18, 25]
    assert window.views(1, 2, 1, 3) == [11]
    assert window.views(1, 2, 2, 3) == [11, 25]
    spaced = Window(10, 26, 7)  # 2 x 7 leave 2 steps to begin in
    assert spaced.views(1, 2, 3, 3) == [11, 18, 25] and spaced.views(1, 2, 2, 3) == [11, 18]


def test_a_run_sees_each_canary_in_its_window_exactly_as_often_as_its_level():
    config = load(TIMED)
    feed, dealt = TableFeed([config], CPU), split.of(config)
    rows = feed.batch_rows(0, config.steps)[:, 0].numpy()
    tokens = feed.tokens.numpy()
    where = collections.defaultdict(list)
    for step, row in zip(*np.nonzero(rows >= config.trained_items), strict=True):
        where[tokens[rows[step, row]].tobytes()].append(int(step))
    assert len(dealt.canaries) == 2 * 3 * 3  # windows, levels, canaries
    for j, canary in enumerate(dealt.canaries):
        seen = where.pop(canary.tobytes(), [])
        assert len(seen) == dealt.repeats[j]
        low, high = ((0, 20), (20, 40))[dealt.inserted.arm[j]]
        assert all(low <= step < high for step in seen)
        if dealt.inserted.arm[j] == 1 and len(seen) > 1:
            assert set(np.diff(seen)) == {3}
    assert not where
    exposures = canary_schedule.exposures(config, config.steps)
    counted = np.bincount(rows[rows < config.trained_items], minlength=config.trained_items)
    assert exposures == {"min": counted.min(), "mean": counted.mean(), "max": counted.max()}


def test_shuffled_kinds_are_rows_of_the_training_set():
    """Copies in the training set: lengths begin rows, exactly so many tokens are replaced in every
    copy but the first, and text of its own follows each."""
    config = load(SHUFFLED)
    dealt = split.of(config)
    kinds = dealt.inserted.arms
    assert [(a.length, a.noise, a.replaced) for a in kinds[:4]] == [
        (4, 0, 0), (4, 0, 1), (4, 2, 0), (4, 2, 1)
    ]  # fmt: skip
    assert len(kinds) == 12 and len(dealt.canaries) == 12 * 3 * 2
    assert config.trained_items == len(dealt.trained_tokens) == 60 + 12 * 2 * (0 + 1 + 3)
    copies, at = dealt.inserted.copies, 0
    passages = {row[:4].tobytes() for row in dealt.pool.tokens_NS}
    hosts = []
    for j, canary in enumerate(dealt.canaries):
        arm = kinds[dealt.inserted.arm[j]]
        for k in range(dealt.repeats[j]):
            other = (copies[at][: arm.length] != canary[: arm.length]).sum()
            assert other == (arm.replaced if k else 0)
            hosts += [copies[at][arm.length :].tobytes()] * (arm.length == 4)
            at += 1
        assert arm.noise or canary[:4].tobytes() in passages
    assert at == len(copies)
    assert len(set(hosts)) == len(hosts)  # the text had enough
    # canaries differ, and nothing else has their sequences
    assert len({c[:16].tobytes() for c in dealt.canaries}) == len(dealt.canaries)
    assert not set(dealt.members) & set(dealt.held_out)


def test_random_tokens_and_replacements_are_drawn_alike_in_every_run():
    one, other = (
        split.of(load([*SHUFFLED, f"seed={s}", f"model.d_model={d}"])) for s, d in ((0, 8), (3, 12))
    )
    assert np.array_equal(one.inserted.copies, other.inserted.copies)
    assert np.array_equal(one.canaries, other.canaries)


def test_one_kind_is_what_there_was_before():
    """No kinds: whole rows, copies as often as levels say, in the order of canaries."""
    dealt = split.of(load([*SMALL, "data.canaries=3", "data.repeats=[0,1,4]"]))
    assert np.array_equal(
        dealt.trained_tokens[60:], np.repeat(dealt.canaries, dealt.repeats, axis=0)
    )
    assert len(dealt.inserted.arms) == 1 and not dealt.once


def test_two_spellings_of_kinds_are_one_run():
    def run_id(*more):
        return load([*SMALL, "data.canaries=2", "data.repeats=[0,2]", *more]).run_id

    assert run_id("data.view_windows=[0.25-0.5]") == run_id("data.view_windows=[10s-20s]")
    assert run_id("data.copy_noise=[0.5]") == run_id("data.copy_noise=[.50]")
    assert run_id("data.view_windows=[10s-20s]") != run_id("data.view_windows=[10s-21s]")
    assert run_id("data.view_windows=[10s-20s]") != run_id("data.view_windows=[10s-20s/2]")


def test_numbers_of_kinds_are_those_of_their_own_tokens(tmp_path):
    """Code length of a canary behind BOS is the sum over its own tokens, whatever follows; bits
    held are against never seen ones of the kind; the printed lines name the kinds."""
    config = load([*SHUFFLED, "train.steps=120", "measure.snapshots=2"])
    run([config], tmp_path)
    record = records.read(tmp_path, config.run_id)
    part = record["measures"]["text"]
    groups = part["canary_kinds"]
    assert "canaries" not in part and [g["group"] for g in groups] == list(range(1, 37))
    for group in groups:
        never = next(g for g in groups if g["kind"] == group["kind"] and not g["repeats"])
        held = np.mean(never["bits"]) - np.mean(group["bits"])
        assert group["held_bits"] == pytest.approx(held, abs=1e-9)
        assert len(group["bits"]) == group["canaries"] == 2
        assert max(group["tails"]) <= group["length"]
    # snapshots score the same tokens: the last one is the end of training
    table = snapshots_of(records.run_dir(tmp_path, config.run_id))
    kind = table["kind"] == 2
    nats = dict(zip(table["item"][kind].tolist(), table["nats"][-1][kind].tolist(), strict=True))
    bits = [b for g in groups for b in g["bits"]]
    assert [nats[j] / np.log(2) for j in range(len(bits))] == pytest.approx(bits, rel=1e-5)
    again = remeasure(tmp_path, config.run_id, CPU, None)
    assert again["measures"]["text"]["canary_kinds"] == groups
    record["measures"]["text"]["canary_kinds"] = groups
    printed = "\n".join(MEASURE.lines(part, record))
    assert "4 tokens, 2 random, 1 replaced" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_held_bits_and_auc_by_hand(monkeypatch):
    """Never seen 10 and 12 bits, seen 4 and 11: held 11 - 7.5, AUC 3 of 4 pairs, standard error
    sqrt(1 + 12.25)."""
    config = load([*SMALL, "data.canaries=2", "data.repeats=[0,1]", "data.canary_lengths=[4]"])
    dealt = split.of(config)
    bits = np.array([10.0, 12.0, 4.0, 11.0])

    def scored(gpt, flat_P, tokens, config, dtype):
        n = len(tokens)
        loss = bits if n == 4 else np.linspace(1, 20, n)
        tail = np.array([0, 1, 4, 2]) if n == 4 else np.zeros(n, int)
        return {"loss": np.float64(loss) * np.log(2), "tail": tail}

    monkeypatch.setattr(canary_kinds, "_scored", scored)
    never, seen = canary_kinds.groups(None, None, dealt, config, None)
    assert never["held_bits"] == 0 and never["auc"] is None and never["extractable"] == 0
    assert seen["held_bits"] == pytest.approx(3.5) and seen["auc"] == 0.75
    assert seen["held_bits_se"] == pytest.approx(np.sqrt(1.0 + 12.25))
    assert seen["extractable"] == 1.0 and seen["tails"] == [4, 2]


@pytest.mark.parametrize("settings_", [TIMED, SHUFFLED], ids=["windows", "shuffled"])
def test_resume_and_stacks_are_exact(tmp_path, settings_):
    one = load([*settings_, "measure.snapshots=5"])
    other = dataclasses.replace(one, seed=1)
    run([one], tmp_path / "whole")
    calls = iter([False] * 15 + [True] * 99)
    assert run([one], tmp_path / "cut", stop=lambda: next(calls)) == {one.run_id: "interrupted"}
    run([one], tmp_path / "cut")
    run([one, other], tmp_path / "both")
    whole = records.read(tmp_path / "whole", one.run_id)
    for folder in ("cut", "both"):
        again = records.read(tmp_path / folder, one.run_id)
        assert again["measures"] == whole["measures"]
        table = snapshots_of(records.run_dir(tmp_path / folder, one.run_id))
        first = snapshots_of(records.run_dir(tmp_path / "whole", one.run_id))
        assert all(np.array_equal(table[name], first[name]) for name in first)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ["data.view_windows=[0.5-1.2]"],
            "ends with step 48, after the last one of the training, 40",
        ),
        (["data.view_windows=[10s-41s]"], "ends with step 41, after the last"),
        (["data.view_windows=[0.5-0.5]"], "hold no view"),
        (["data.view_windows=[0.5-0.55]"], "4 views need 4 steps"),
        (["data.view_windows=[0-0.5/8]"], "4 views every 8 steps need 25 steps"),
        (["data.view_windows=[half]"], "parts of training such as"),
        (["data.view_windows=[0-0.5,0s-20s]"], "two of these are one"),
        (["data.view_windows=[0-0.5]", "data.canaries=90"], "would meet in a batch of 8"),
        (["data.view_windows=[0-0.5]", "data.last_view=0.5"], "leave one of the two out"),
        (["data.view_windows=[0-0.5]", "data.repeats=[1,4]"], "data.repeats with 0 and more"),
        (["data.view_windows=[0-0.5]", "data.canaries=0"], "give data.canaries"),
        (["data.canary_lengths=[4,32]"], "32 tokens are more than a row of data.seq_len=16"),
        (["data.canary_lengths=[1]"], "whole numbers from 2 on"),
        (["data.copy_noise=[0.3]"], "this is 4.8 tokens, no whole number"),
        (["data.copy_noise=[0.25]", "data.canary_lengths=[6]"], "multiples of 1/6"),
        (["data.copy_noise=[0.25]", "data.repeats=[0,1]"], "has no second one"),
        (["data.copy_noise=[1.5]"], "a share from 0 to 1"),
        (["data.canary_noise=[0.5]"], "give data.canary_text=pool"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(more, words):
    with pytest.raises(ConfigError) as refused:
        load([*SMALL, "data.canaries=3", "data.repeats=[0,1,4]", *more])
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_text_without_a_sequence_to_follow_is_refused():
    config = load([*SMALL, "data.canaries=3", "data.repeats=[0,1]", "data.canary_lengths=[4]"])
    rows = len(split.of(config).pool.tokens_NS)
    data = dataclasses.replace(config.data, n_sequences=rows - 100)
    with pytest.raises(ConfigError, match="no sequence left that could follow"):
        split.of(dataclasses.replace(config, data=data))
