"""Scores of every sequence at some steps of a training."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import capacity
from capacity import records
from capacity.base import snapshots as table
from capacity.base.errors import ConfigError
from capacity.cli import dry_run
from capacity.compose import load
from capacity.config import from_dict
from capacity.data import canaries
from capacity.data.snapshots import steps_of
from capacity.measure import sequence_scores, snapshots
from capacity.run.remeasure import remeasure
from capacity.train import checkpoint
from capacity.train.loop import Stack
from small_text import SMALL
from stack_members import CPU, config, members, run


def with_snapshots(which, number=5):
    return dataclasses.replace(which, measure=dataclasses.replace(which.measure, snapshots=number))


def read(results, which):
    return table.read(records.run_dir(results, which.run_id))


@given(st.integers(1, 10**6).flatmap(lambda s: st.tuples(st.just(s), st.integers(1, min(s, 60)))))
def test_steps_are_different_ascend_and_end_with_the_last(drawn):
    steps, number = drawn
    found = steps_of(number, steps)
    assert len(found) == number and list(found) == sorted(set(found))
    assert found[-1] == steps and found[0] >= 1
    assert number == 1 or found[0] == 1


def test_steps_are_even_in_their_logarithm():
    assert steps_of(5, 10000) == (1, 10, 100, 1000, 10000)
    assert steps_of(4, 5) == (1, 2, 3, 5)
    assert steps_of(0, 5) == ()


def test_a_snapshot_is_the_score_of_the_weights_of_its_step(tmp_path):
    """The last one, of the weights that are kept; and training is what it is without."""
    plain = config()
    asked = with_snapshots(plain)
    assert asked.run_id == plain.run_id
    run([asked], tmp_path / "asked")
    run([plain], tmp_path / "plain")
    kept = [
        (records.run_dir(tmp_path / name, plain.run_id) / records.WEIGHTS).read_bytes()
        for name in ("asked", "plain")
    ]
    assert kept[0] == kept[1] and read(tmp_path / "plain", plain) is None
    found = read(tmp_path / "asked", asked)
    assert found["step"].tolist() == list(steps_of(5, 60))
    stack = Stack([asked], CPU)
    path = records.run_dir(tmp_path / "asked", asked.run_id) / records.WEIGHTS
    flat_P = checkpoint.load_weights(path, stack.gpt, asked.run_id)
    scored = sequence_scores.scores(
        stack.gpt, flat_P, stack.feed.member_tokens(0), stack.dtype, 10**6
    )
    assert np.array_equal(found["nats"][-1], scored["loss"])
    assert np.array_equal(found["tail"][-1], scored["tail"])
    assert found["item"].tolist() == list(range(30)) and not found["kind"].any()
    assert found["nats"][-1].sum() < found["nats"][0].sum()


def test_runs_of_a_stack_have_the_snapshots_that_they_have_alone(tmp_path):
    together = [with_snapshots(one) for one in members(lengths=(60, 47, 60))]
    run(together, tmp_path / "all")
    for one in together:
        run([one], tmp_path / "alone")
        both = read(tmp_path / "all", one), read(tmp_path / "alone", one)
        assert both[0].keys() == both[1].keys()
        assert all(np.array_equal(both[0][name], both[1][name]) for name in both[0])
        assert both[0]["step"][-1] == one.steps


def test_an_interrupted_run_ends_with_the_same_snapshots(tmp_path):
    asked = with_snapshots(config(), 9)
    run([asked], tmp_path / "whole")
    calls = iter([False] * 25 + [True] * 99)
    assert run([asked], tmp_path / "cut", stop=lambda: next(calls)) == {asked.run_id: "interrupted"}
    late = read(tmp_path / "cut", asked)
    late["step"] += 25  # as if it had got further before it was killed, and had saved no checkpoint
    columns = {name: late[name] for name in ("item", "kind")}
    columns |= {name: late[name][-1] for name in ("nats", "tail")}
    folder = records.run_dir(tmp_path / "cut", asked.run_id)
    table.add(folder, asked.run_id, 48, columns)
    assert run([asked], tmp_path / "cut") == {asked.run_id: "finished"}
    whole, cut = read(tmp_path / "whole", asked), read(tmp_path / "cut", asked)
    assert all(np.array_equal(whole[name], cut[name]) for name in whole)


def test_text_has_members_held_out_sequences_and_canaries(tmp_path):
    asked = load([*SMALL, "data.canaries=3", "data.repeats=[0,2]", "measure.snapshots=4"])
    run([asked], tmp_path)
    found = read(tmp_path, asked)
    counts = np.bincount(found["kind"], minlength=3).tolist()
    dealt_scores = records.read(tmp_path, asked.run_id)["measures"]["text"]
    assert counts[:2] == [dealt_scores["n_members"], dealt_scores["n_held_out"]]
    assert counts[2] == 6
    bits = found["nats"][-1][found["kind"] == 0].sum() / np.log(2)
    S, V = asked.data.seq_len, asked.rows
    held = dealt_scores["n_members"] * S * np.log2(V) - bits
    assert held == pytest.approx(dealt_scores["bits"], rel=1e-5, abs=1e-2)


KINDS = [*SMALL, "data.canaries=3", "data.repeats=[0,1,4]", "data.view_windows=[0-0.5,0.5-1]"]


def test_canaries_alone_are_what_they_are_among_all_and_stand_in_the_record(tmp_path):
    """The last snapshot is what the record says of the end, and the first view of a canary is the
    first update with one of its rows."""
    everything = load([*KINDS, "measure.snapshots=6"])
    alone = load([*KINDS, "measure.snapshots=6", "measure.snapshot_items=canaries"])
    assert alone.run_id == everything.run_id
    run([everything], tmp_path / "all")
    run([alone], tmp_path / "alone")
    both, mine = read(tmp_path / "all", everything), read(tmp_path / "alone", alone)
    canary = both["kind"] == snapshots.CANARY
    assert canary.sum() == 18 == len(mine["item"]) and (mine["kind"] == snapshots.CANARY).all()
    assert np.array_equal(both["item"][canary], mine["item"])
    assert np.allclose(both["nats"][:, canary], mine["nats"], rtol=1e-5)
    part = records.read(tmp_path / "alone", alone.run_id)["measures"]["text"]
    assert part["canary_steps"] == list(steps_of(6, 40)) == mine["step"].tolist()
    firsts = {}
    for step, number, _ in canaries.schedule(alone.data, alone.steps):
        firsts.setdefault(number, step + 1)
    number = 0
    for group in part["canary_kinds"]:
        assert group["tails_at"][-1] == group["tails"]
        assert group["bits_at"][-1] == pytest.approx(group["bits"], rel=1e-5, abs=6e-4)
        assert group["first_update"] == [firsts.get(number + i) for i in range(3)]
        number += 3
    again = remeasure(tmp_path / "alone", alone.run_id, CPU, None)["measures"]["text"]
    assert again["canary_steps"] == part["canary_steps"]
    assert again["canary_kinds"] == part["canary_kinds"]


def test_canaries_that_are_shuffled_have_no_first_view(tmp_path):
    asked = [*SMALL, "data.canaries=2", "data.repeats=[0,3]", "data.canary_lengths=[8]"]
    shuffled = load([*asked, "measure.snapshots=2", "data.canary_text=pool"])
    run([shuffled], tmp_path)
    part = records.read(tmp_path, shuffled.run_id)["measures"]["text"]
    assert all(group["first_update"] is None for group in part["canary_kinds"])
    assert [len(group["bits_at"]) for group in part["canary_kinds"]] == [2, 2]


def test_canaries_alone_need_some():
    with pytest.raises(ConfigError, match="measure.snapshot_items=canaries: this run has none"):
        load([*SMALL, "measure.snapshots=2", "measure.snapshot_items=canaries"])


@pytest.mark.parametrize(
    ("data", "number", "words"),
    [
        ({}, 61, "measure.snapshots=61: more than the 60 steps of the run"),
        ({"kind": "copy", "vocab_size": 8, "copy_length": 4}, 3, "data.kind=copy does not have"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(data, number, words):
    tree = {"data": data or {"vocab_size": 16, "seq_len": 8, "n_sequences": 30}}
    tree |= {"train": {"steps": 60, "warmup_steps": 5}, "measure": {"snapshots": number}}
    with pytest.raises(ConfigError, match=words):
        from_dict(tree)


def test_scores_are_compact(tmp_path):
    """Six bytes of an item and step, beside nine of an item."""
    asked = with_snapshots(config(), 20)
    run([asked], tmp_path)
    size = (records.run_dir(tmp_path, asked.run_id) / table.SNAPSHOTS).stat().st_size
    assert size < 30 * (20 * 6 + 9) + 20 * 8 + 1000
    assert torch.equal(torch.tensor(snapshots.TRAINED), torch.tensor(0))


def test_python_has_them_as_a_table(tmp_path):
    asked = with_snapshots(config(), 3)
    run([asked], tmp_path)
    found = capacity.load(asked.run_id, results=tmp_path).snapshots
    assert list(found) == ["step", "item", "kind", "nats", "tail"] and len(found) == 3 * 30
    assert set(found.kind) == {"trained"}
    last = found[found.step == 60].set_index("item")
    assert np.array_equal(last.nats.to_numpy(), read(tmp_path, asked)["nats"][-1])
    run([plain := config(1)], tmp_path)
    with pytest.raises(ConfigError, match="no snapshots.safetensors"):
        _ = capacity.load(plain.run_id, results=tmp_path).snapshots


def test_a_plan_says_what_they_cost():
    """One forward pass is a third of a step of training: 5 of 30 sequences beside 60 steps of 8."""
    lines = dry_run.describe(with_snapshots(config()), Path("none"))
    (line,) = [line for line in lines if line.startswith("snapshots")]
    assert "5 steps at which every sequence is scored, about 10.4%" in " ".join(lines), line
    asked = load([*KINDS, "measure.snapshots=6", "measure.snapshot_items=canaries"])
    told = " ".join(" ".join(dry_run.describe(asked, Path("none"))).split())
    assert f"every canary is scored, about {6 * 18 / (3 * 40 * 8):.1%}" in told
