"""The next block in a thread: the same data, the same checkpoints, and no thread that outlives its
run."""

import threading

import pytest
import torch

from capacity import records
from capacity.config import from_dict
from capacity.feed import feed
from capacity.feed.prefetch import Block, Prefetch
from capacity.run.job import Job
from capacity.run.run import execute

CPU = torch.device("cpu")
MODEL = {"n_layers": 1, "d_model": 8, "n_heads": 2}
DATA = {
    "uniform": {"vocab_size": 16, "seq_len": 8, "n_sequences": 50},
    "bios": {
        "kind": "bios",
        "n_people": 40,
        "seq_len": 48,
        "first_names": 20,
        "middle_names": 0,
        "last_names": 50,
        "years": 0,
        "cities": 6,
        "universities": 0,
        "majors": 5,
        "employers": 0,
        "templates": 4,
        "vocabulary": "world",
        "other_people": 90,
        "other_parts": 2,
    },
}


def member(kind, seed, prefetch, steps=40, **train):
    return from_dict(
        {
            "data": DATA[kind],
            "model": MODEL,
            "train": {"steps": steps, "batch_size": 4, "warmup_steps": 1} | train,
            "cluster": {"prefetch": prefetch},
            "seed": seed,
        }
    )


def members(kind, prefetch):
    return [member(kind, seed, prefetch) for seed in (0, 1)]


def threads():
    return [t for t in threading.enumerate() if t.name == "next block"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Five steps in a block of a table, ten in one of streams: blocks end within intervals of a
    log."""
    monkeypatch.setattr(feed, "TABLE_STEPS", 5)
    monkeypatch.setattr(feed, "CHUNK_TOKENS", 10 * 4 * 48)


def read(configs, cuts=(), most=7):
    """Tokens and cursors of 40 steps, with interruptions after some of them."""
    at = feed.FEEDS[configs[0].data.kind](configs, CPU)
    cursor, rows, cursors = torch.zeros(2, feed.CURSOR, dtype=torch.int64), [], []
    while len(rows) < 40:
        for tokens in at.chunk(cursor, len(rows), min(most, 40 - len(rows))):
            rows.append(tokens)
            cursors.append(cursor.clone())
            assert len(threads()) <= 1
            if len(rows) in cuts:
                at.close()
                assert not threads()
                at = feed.FEEDS[configs[0].data.kind](configs, CPU)
                cursor = cursor.clone()
                break
    at.close()
    return torch.stack(rows), torch.stack(cursors)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("cuts", [(), (1, 5, 10, 11, 27)], ids=["whole", "cut"])
def test_data_and_cursors_are_the_same_with_and_without_the_thread(kind, cuts):
    plain, ahead = read(members(kind, "never")), read(members(kind, "always"), cuts)
    assert torch.equal(plain[0], ahead[0])
    assert torch.equal(plain[1], ahead[1])  # of what was read, not of what was prepared


@pytest.mark.parametrize("kind", DATA)
def test_runs_stop_go_on_and_end_bit_identical(kind, tmp_path):
    looks = iter(range(10**9))
    stops = {"whole": lambda: False, "cut": lambda: next(looks) > 50}
    for where, prefetch in (("whole", "never"), ("cut", "always")):
        job = Job(tmp_path / where, CPU, stop=stops[where])
        outcome = execute(members(kind, prefetch), job)
        assert set(outcome.values()) == {"finished" if where == "whole" else "interrupted"}
        assert not threads()
    assert set(execute(members(kind, "always"), Job(tmp_path / "cut", CPU)).values()) == {
        "finished"
    }
    assert not threads()
    for config in members(kind, "never"):
        whole, cut = (
            records.run_dir(tmp_path / where, config.run_id) / "weights.safetensors"
            for where in ("whole", "cut")
        )
        assert whole.read_bytes() == cut.read_bytes()


def test_what_fails_in_the_thread_fails_the_run_alone(tmp_path, monkeypatch):
    good, bad = (member("uniform", seed, "always") for seed in (0, 1))
    original = feed.TableFeed.batch_rows

    def broken(self, first_step, n_steps):
        if first_step and any(c.seed == 1 for c in self.configs):
            assert threading.current_thread().name == "next block"
            raise RuntimeError("planted")
        return original(self, first_step, n_steps)

    monkeypatch.setattr(feed.TableFeed, "batch_rows", broken)
    outcome = execute([good, bad], Job(tmp_path, CPU))
    assert outcome == {good.run_id: "finished", bad.run_id: "failed"}
    error = records.read(tmp_path, bad.run_id)["error"]
    assert error["reason"] == "RuntimeError: planted" and "broken" in error["traceback"]
    assert not threads()


class Numbered(Block):
    def __init__(self, key):
        self.key = key

    def tensors(self):
        return ()


def test_a_block_that_nobody_wants_ends_between_its_parts():
    begun, parts, go = threading.Event(), [], threading.Event()

    def make(key):
        for part in range(10**9):
            prefetch.check()
            parts.append(part)
            begun.set()
            go.wait(1)
        return Numbered(key)

    prefetch = Prefetch(make, CPU)
    prefetch.start(7)
    assert begun.wait(60)
    prefetch.close()
    assert not threads() and len(parts) < 100


def test_one_block_ahead_at_most_and_the_one_that_is_asked_for():
    made = []

    def make(key):
        made.append((key, threading.current_thread().name))
        return Numbered(key)

    prefetch = Prefetch(make, CPU)
    assert prefetch.take(0).key == 0
    prefetch.start(1)
    prefetch.start(1)  # it is in the making
    prefetch.rest()
    assert made == [(0, "MainThread"), (1, "next block")] and not threads()
    assert prefetch.take(1).key == 1
    prefetch.start(2)
    assert prefetch.take(5).key == 5  # another one was asked for
    assert [key for key, _ in made if key != 2] == [0, 1, 5] and not threads()
