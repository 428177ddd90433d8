"""A run that goes on keeps the parts of its batches, or says that it does not."""

import json

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from capacity import cost, records
from capacity.config import from_dict
from capacity.export import columns
from capacity.run import order
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.train import checkpoint
from stack_members import CPU, config

STOP = 20  # steps


def trained(run, results, parts=None, until=None):
    """Train in so many parts, up to a step where one is given; returns what was noted."""
    looks, noted = iter(range(10**9)), []

    def stop():
        return until is not None and next(looks) >= 2 * until  # asked twice per step

    def heard(event):
        if event["event"] == "note":
            noted.append(event["text"])

    outcome = execute([run], Job(results, CPU, report=heard, stop=stop, parts=parts))
    assert outcome == {run.run_id: "finished" if until is None else "interrupted"}
    return noted


def weights(results, run):
    return (records.run_dir(results, run.run_id) / "weights.safetensors").read_bytes()


def meta(results, run):
    return checkpoint.read_meta(records.run_dir(results, run.run_id) / "checkpoint.safetensors")


def test_parts_are_kept_where_memory_allows(tmp_path):
    run = config(steps=40)
    trained(run, tmp_path / "whole", parts=2)
    trained(run, tmp_path / "one")
    assert weights(tmp_path / "whole", run) != weights(tmp_path / "one", run)
    cut = tmp_path / "cut"
    trained(run, cut, parts=2, until=STOP)
    assert meta(cut, run)["order"]["parts"] == 2
    assert trained(run, cut) == []  # by memory it would be computed in one
    assert weights(cut, run) == weights(tmp_path / "whole", run)
    record = records.read(cut, run.run_id)
    assert record["training"]["micro_batches"] == 2 and "order_changed" not in record["training"]


def test_another_number_of_parts_is_told_and_recorded(tmp_path):
    run = config(steps=40)
    trained(run, tmp_path, until=STOP // 2)
    (told,) = trained(run, tmp_path, parts=2, until=STOP // 2)
    step = meta(tmp_path, run)["step"]
    assert 0 < step < 40
    assert "a batch in 2 parts (before: a batch in 1 part)" in told and run.run_id in told
    (again,) = trained(run, tmp_path, parts=4)
    assert f"from step {step} on a batch in 4 parts (before: a batch in 2 parts)" in again
    said = records.read(tmp_path, run.run_id)["training"]["order_changed"]
    first, second = said.split("; ")
    assert first in told and second in again
    known = {path: value for path, _, value in columns.numbers(records.read(tmp_path, run.run_id))}
    assert known["training.order_changed"] == said


def test_memory_that_does_not_allow_the_parts_is_told(tmp_path):
    run = config(steps=40)
    trained(run, tmp_path, until=STOP)
    small = from_dict({**run.as_dict(), "cluster": {"memory_gb": 1e-6}})  # a device with less
    parts = cost.micro_batches(small, 1, "cpu", 1e3)
    assert small.run_id == run.run_id and parts > 1
    (told,) = trained(small, tmp_path)
    assert f"a batch in {parts} parts" in told


@pytest.mark.parametrize(
    "before,planned,ranks,kept",
    [
        ([2], 1, None, 2),
        ([1], 4, None, 4),  # one part would not fit
        ([3], 1, None, 3),
        ([3], 2, 2, 2),  # ranks want a power of two
        ([4], 2, 2, 4),
        ([2, 4], 1, None, 1),
        ([None], 1, None, 1),
        ([], 2, None, 2),
    ],
)
def test_which_parts_are_kept(before, planned, ranks, kept):
    found = [None if parts is None else {"parts": parts} for parts in before]
    assert order.kept_parts(found, planned, ranks) == kept


def test_every_way_to_round_otherwise_is_told():
    now = {"parts": 2, "ranks": False, "device": "cpu", "kernels": False, "compiled": False}
    assert order.changed(now, dict(now)) == ""
    other = {"parts": 1, "ranks": True, "device": "cuda", "kernels": True, "compiled": True}
    assert set(other) == set(order.WORDS) == set(now)
    for name, value in other.items():
        told = order.changed(now, now | {name: value})
        assert "before" in told and ";" not in told
    assert order.changed(now, other).count("before") == len(other)


def test_a_checkpoint_of_before_says_nothing_and_goes_on(tmp_path):
    run = config(steps=40)
    for name, parts in (("same", None), ("parts", 2)):
        trained(run, tmp_path / name, until=STOP)
        path = records.run_dir(tmp_path / name, run.run_id) / "checkpoint.safetensors"
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["capacity"])
        del about["order"], about["changes"]
        save_file(load_file(path), path, metadata={"capacity": json.dumps(about)})
        told = trained(run, tmp_path / name, parts)
        assert [text for text in told if "not known" in text] == told
        assert len(told) == (parts is not None)
