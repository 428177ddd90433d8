"""Records: what is refused, what a crash leaves behind, who may train a run, and the table that
laws are fitted to."""

import copy
import errno
import fcntl
import json
import math
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity import records, run_table
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.declare import record as declared
from capacity.declare.field import FLOAT, TEXT
from waiting import patience


def config(seed=0, **model):
    return from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 40},
            "model": {"d_model": 8, "n_heads": 2} | model,
            "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5},
            "seed": seed,
        }
    )


def record(run=None, status="finished", **changes):
    """A record as a run writes it, put together by hand."""
    run = run or config()
    held = {
        "bits": 100.5,
        "ceiling_bits": 1000.0,
        "fraction_of_ceiling": 0.1005,
        "bits_per_parameter": {"total": 0.1, "paper": 0.11},
    }
    out = {
        "schema": records.SCHEMA,
        "run_id": run.run_id,
        "status": status,
        "study": None,
        "config": run.as_dict(),
        "identity": run.identity,
        "parameters": run.parameters,
        "data": {"n_sequences": 40, "entropy_bits": run.entropy_bits, "load": 1.5},
        "training": {
            "steps": 60,
            "tokens": run.tokens,
            "flops": run.flops,
            "exposures_min": 12,
            "exposures_max": 12,
            "wall_s": 8.0,
            "stack": 4,
            "device": "cpu",
            "threads": 1,
            "precision": "fp32",
            "master_weights": "fp32",
        },
        "measures": {
            "memorization": {"version": 1, "strict": held, "paper": held | {"bits": 90.0}}
        },
        "convergence": {"gain_last_tenth": 0.02},
        "error": None,
        "environment": {},
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    if status == "failed":
        out |= {
            "measures": {},
            "convergence": None,
            "error": {"reason": "diverged at step 7", "step": 7, "traceback": None},
        }
    return out | changes


def put(tree, key, value):
    """A copy of nested dictionaries with one dotted key changed."""
    out = copy.deepcopy(tree)
    *path, last = key.split(".")
    inner = out
    for part in path:
        inner = inner[part]
    inner[last] = value
    return out


def without(tree, key):
    out = copy.deepcopy(tree)
    *path, last = key.split(".")
    inner = out
    for part in path:
        inner = inner[part]
    del inner[last]
    return out


# The schema


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_whole_record_is_accepted_and_comes_back(tmp_path, status):
    whole = record(status=status)
    assert records.validate(whole) is whole
    records.write(tmp_path, whole)
    assert records.read(tmp_path, whole["run_id"]) == whole


NEEDED = {one.path: one.type for one in declared.ALWAYS if one.needed}


def test_the_fields_that_readers_rely_on():
    """By name, so that none is lost by a change of its declaration."""
    assert NEEDED.keys() == {
        "schema",
        "run_id",
        "status",
        "study",
        "config",
        "identity",
        *(f"parameters.{name}" for name in ("total", "paper", "non_embedding")),
        *(f"data.{name}" for name in ("entropy_bits", "load")),
        *(
            f"training.{name}"
            for name in (
                "steps",
                "tokens",
                "flops",
                "wall_s",
                "stack",
                "device",
                "threads",
                "precision",
                "master_weights",
            )
        ),
        "measures",
        "convergence",
        "error",
        "environment",
        "finished_at",
    }


@pytest.mark.parametrize("key", NEEDED)
def test_each_field_is_needed_in_its_type(key):
    with pytest.raises(ValueError, match=f"record: {key} is missing"):
        records.validate(without(record(), key))
    kind = NEEDED[key]
    wrong = [math.nan, math.inf, "1.0"] if kind == FLOAT else [] if kind == TEXT else ["x"]
    for value in [[], True, object(), *wrong]:
        with pytest.raises(ValueError, match=f"record: {key}"):
            records.validate(put(record(), key, value))


@pytest.mark.parametrize("key", ["parameters", "training", "data"])
def test_a_section_must_hold_its_fields(key):
    for value in ({}, None, 3):
        with pytest.raises(ValueError, match=f"record: {key}"):
            records.validate(put(record(), key, value))


@pytest.mark.parametrize("status", ["running", "Finished", ""])
def test_other_states_are_refused(status):
    with pytest.raises(ValueError, match="status"):
        records.validate(record() | {"status": status})


@pytest.mark.parametrize(
    "bad",
    [
        record(status="failed", error=None),
        record(status="failed", error={}),
        record(measures={}),
        record(convergence=None),
        put(record(), "measures.memorization.strict.bits", None),
        without(record(), "measures.memorization.paper"),
    ],
    ids=[
        "failed without error",
        "failed without reason",
        "finished without measure",
        "finished without convergence",
        "no bits",
        "one convention",
    ],
)
def test_what_readers_rely_on_is_part_of_the_schema(bad):
    with pytest.raises(ValueError, match="record: "):
        records.validate(bad)


KEYS = st.sampled_from(["schema", "run_id", "data"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner),
        max_leaves=5,
    )
)
def test_anything_else_is_refused_with_a_value_error(tree):
    with pytest.raises(ValueError):
        records.validate(tree)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "\x00" * 20, '{"schema": 1}'])
def test_a_corrupt_record_names_its_file(tmp_path, text):
    run = config()
    path = records.run_dir(tmp_path, run.run_id) / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    for look in (
        lambda: records.read(tmp_path, run.run_id),
        lambda: records.status(tmp_path, run.run_id),
        lambda: run_table.table(tmp_path, [run]),
    ):
        with pytest.raises(ConfigError) as error:
            look()
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_half_written_record_is_not_read_as_a_whole_one(tmp_path):
    whole = record()
    records.write(tmp_path, whole)
    path = records.run_dir(tmp_path, whole["run_id"]) / "record.json"
    data = path.read_bytes()
    for cut in range(0, len(data) - 2, 97):
        path.write_bytes(data[:cut])
        with pytest.raises(ConfigError):
            records.read(tmp_path, whole["run_id"])


def test_a_nan_in_a_record_is_refused_by_writer_and_reader(tmp_path):
    bad = put(record(), "measures.memorization.strict.bits", math.nan)
    with pytest.raises(ValueError):
        records.write(tmp_path, bad)
    path = records.run_dir(tmp_path, bad["run_id"]) / "record.json"
    assert not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bad))  # json itself would write and read NaN
    with pytest.raises(ConfigError):
        records.read(tmp_path, bad["run_id"])


def test_the_record_of_another_run_is_refused(tmp_path):
    """A copied folder must not lend its numbers to the run whose name it bears."""
    other = record(config(seed=1))
    records.write(tmp_path, other)
    (records.runs_dir(tmp_path) / other["run_id"]).rename(
        records.run_dir(tmp_path, config().run_id)
    )
    with pytest.raises(ConfigError, match=other["run_id"]):
        records.read(tmp_path, config().run_id)


# Atomic files


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, broken):
    path = tmp_path / "sub" / "file"
    files.write_atomic(path, b"old")

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(OSError):
            files.write_atomic(path, b"new content")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["file"]
    files.write_atomic(path, b"new content")
    assert path.read_bytes() == b"new content" and os.listdir(path.parent) == ["file"]


def test_a_kill_while_writing_keeps_the_old_file(tmp_path):
    files.write_atomic(tmp_path / "file", b"old")
    code = (
        "import os, sys; from pathlib import Path; from capacity import records\n"
        # at the moment when the new content lies beside the old
        "os.fsync = lambda fd: os.kill(os.getpid(), 9)\n"
        "records.write_atomic(Path(sys.argv[1]), b'new')"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], timeout=patience())
    assert ended.returncode == -signal.SIGKILL and (tmp_path / "file").read_bytes() == b"old"


# Claims and states

HOLD = (
    "import sys, time; from pathlib import Path; from capacity import records\n"
    "with records.claim(Path(sys.argv[1]), sys.argv[2]) as mine:\n"
    "    print(mine, flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    """A process that holds a run until its input ends or it is killed."""
    started = []

    def hold(run_id):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), run_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield hold
    for process in started:
        process.kill()
        process.wait(patience())


def claimed(results, run_id):
    with records.claim(results, run_id) as mine:
        return mine


def test_a_claim_excludes_others_and_dies_with_its_process(tmp_path, holder):
    run_id = config().run_id
    process, held = holder(run_id)
    assert held == "True"
    assert not claimed(tmp_path, run_id)
    assert records.status(tmp_path, run_id) == "running"
    assert holder(run_id)[1] == "False"
    assert claimed(tmp_path, config(seed=1).run_id)  # others are free
    process.kill()
    process.wait(patience())
    assert claimed(tmp_path, run_id)
    assert records.status(tmp_path, run_id) == "missing"
    assert holder(run_id)[1] == "True"  # and a claim that has ended is free too


def test_a_look_at_the_status_does_not_cost_a_claim(tmp_path, monkeypatch):
    """`status` takes the lock for an instant; a claim made at that instant tries again."""
    run_id = config().run_id
    claimed(tmp_path, run_id)
    with open(records.run_dir(tmp_path, run_id) / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        take, tries = files.flock, []

        def after_a_failure(*args):
            tries.append(take(*args))
            fcntl.flock(file, fcntl.LOCK_UN)  # the look ends
            return tries[-1]

        monkeypatch.setattr(records, "flock", after_a_failure)
        assert claimed(tmp_path, run_id) and tries == [False, True]


def test_states(tmp_path, holder):
    run = config()
    folder = records.run_dir(tmp_path, run.run_id)
    assert (
        records.status(tmp_path, run.run_id) == "missing" and not tmp_path.joinpath("runs").exists()
    )
    files.write_atomic(folder / "checkpoint.safetensors", b"")
    assert records.status(tmp_path, run.run_id) == "interrupted"
    process, _ = holder(run.run_id)
    assert records.status(tmp_path, run.run_id) == "running"
    process.kill()
    process.wait(patience())
    assert records.status(tmp_path, run.run_id) == "interrupted"
    records.write(tmp_path, record(run, "failed"))
    assert records.status(tmp_path, run.run_id) == "failed"
    records.write(tmp_path, record(run))
    assert records.status(tmp_path, run.run_id) == "finished"


# Metrics


def test_metrics_survive_a_torn_line_and_are_cut_at_a_step(tmp_path):
    run_id = config().run_id
    assert records.read_metrics(tmp_path, run_id) == []
    records.run_dir(tmp_path, run_id).mkdir(parents=True)
    lines = [{"step": step, "loss_bits_per_token": 1.0 / step} for step in (10, 20, 30)]
    for line in lines:
        records.append_metrics(tmp_path, run_id, line)
    path = records.run_dir(tmp_path, run_id) / "metrics.jsonl"
    whole = path.read_text()
    for torn in ('{"step": 40, "loss_bi', '{"step": 40', "{"):
        path.write_text(whole + torn)
        assert records.read_metrics(tmp_path, run_id) == lines
    records.cut_metrics(tmp_path, run_id, 20)
    records.append_metrics(tmp_path, run_id, lines[2])  # a torn line must not swallow the next one
    assert records.read_metrics(tmp_path, run_id) == lines
    records.cut_metrics(tmp_path, run_id, -1)
    assert records.read_metrics(tmp_path, run_id) == [] and path.exists()
    with pytest.raises(ValueError):
        records.append_metrics(tmp_path, run_id, {"step": 1, "loss_bits_per_token": math.nan})
    assert records.read_metrics(tmp_path, run_id) == []


# The table


def test_the_table_has_a_row_for_every_planned_run_and_invents_nothing(tmp_path):
    runs = [config(seed=seed) for seed in range(3)]
    records.write(tmp_path, record(runs[0]))
    records.write(tmp_path, record(runs[1], "failed"))
    records.write(tmp_path, record(config(seed=9)))  # not planned, so not in the table
    table = run_table.table(tmp_path, runs).set_index("run_id")
    assert list(table.index) == [run.run_id for run in runs]
    assert list(table["status"]) == ["finished", "failed", "missing"]
    assert list(table["error"]) == ["", "diverged at step 7", ""]
    assert list(table["seed"]) == [0, 1, 2] and set(table["n_sequences"]) == {40}
    finished = table.loc[runs[0].run_id]
    assert (finished["strict_bits"], finished["paper_bits"], finished["strict_ceiling_bits"]) == (
        100.5,
        90.0,
        1000.0,
    )
    assert (finished["gain_last_tenth"], finished["wall_s"]) == (
        0.02,
        8.0 / 4,
    )  # a stack of four shared the time
    for run in runs[1:]:
        row = table.loc[run.run_id]
        assert all(
            math.isnan(row[name])
            for name in ("strict_bits", "paper_bits", "gain_last_tenth", "wall_s")
        )
        # expected ceiling: H - log2 of the orders of 40 sequences, at most the whole entropy
        assert (
            0 < row["strict_ceiling_bits"] < run.entropy_bits == row["entropy_bits"] == 40 * 8 * 4
        )
        assert row["parameters_total"] == run.parameters["total"]


def test_an_unknown_gain_is_missing_not_zero(tmp_path):
    records.write(tmp_path, put(record(), "convergence.gain_last_tenth", None))
    assert math.isnan(run_table.table(tmp_path, [config()])["gain_last_tenth"][0])


def test_labels_name_the_shape_and_what_tells_equal_shapes_apart():
    plain, rotary, wide = config(), config(position="rotary"), config(d_model=16)
    labels = run_table.model_names([plain, wide])
    assert (labels[plain.run_id], labels[wide.run_id]) == ("1x8", "1x16")
    labels = run_table.model_names([plain, rotary, wide])
    assert (
        labels[plain.run_id] == "1x8 position=learned"
        and labels[rotary.run_id] == "1x8 position=rotary"
    )
    assert run_table.model_names([]) == {}
