"""torch.compile with a compiler that does not build what torch writes."""

import os
import subprocess
import sys

import pytest
import torch

from capacity.compose import load
from capacity.run import run as running
from capacity.run.environment import not_compiled
from capacity.run.job import Job
from waiting import patience

TINY = ["data=uniform", "data.vocab_size=16", "data.seq_len=4", "data.n_sequences=8"]
TINY += ["model.d_model=8", "model.n_heads=2", "model.n_layers=1", "train.batch_size=4"]
TINY += ["train.steps=4", "train.warmup_steps=1", "measure.evaluations=1", "cluster.device=cpu"]
BROKEN = """#!/bin/sh
echo 'x.cpp:3:7: error: no vectors here' >&2
exit 1
"""


@pytest.fixture
def command(tmp_path):
    """`capacity train` on a machine whose C++ compiler refuses everything."""
    compiler = tmp_path / "c++"
    compiler.write_text(BROKEN)
    compiler.chmod(0o755)

    def run(*more):
        environment = {"CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
        return subprocess.run(
            [sys.executable, "-m", "capacity", "train", *TINY, *more, "--results", "r"],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=patience(),
        )

    return run


@pytest.mark.slow
@pytest.mark.long
def test_a_compiler_that_fails_is_one_line_with_the_remedy(command, tmp_path):
    done = command("cluster.compile=always")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert last.startswith("capacity: error: cluster.compile=always: torch.compile fails on this")
    assert last.endswith("use cluster.compile=never")
    assert not list(tmp_path.glob("r/runs/*/record.json"))
    done = command("cluster.compile=never")  # and the run can still be trained
    assert done.returncode == 0, done.stderr


def test_other_errors_are_not_those_of_a_compiler():
    assert not_compiled(RuntimeError("C++ compile error: error: x")) is None
    assert not_compiled(MemoryError()) is None


def test_where_compiling_was_only_an_option_the_run_goes_on_without(tmp_path, monkeypatch):
    from torch._inductor.exc import CppCompileError, InductorError

    trained, told = running._train_and_record, []

    def failing(configs, job):
        if configs[0].cluster.compile != "never":
            inner = CppCompileError(["c++"], "/t/x.cpp:3:7: error: no vectors here")
            raise InductorError(inner, None)
        return trained(configs, job)

    monkeypatch.setattr(running, "_train_and_record", failing)
    config = load([*TINY, "cluster.compile=auto"])
    job = Job(tmp_path, torch.device("cpu"), report=told.append)
    assert running.execute([config], job) == {config.run_id: "finished"}
    (note,) = [event["text"] for event in told if event["event"] == "note"]
    assert note == (
        "torch.compile fails on this machine (CppCompileError: no vectors here); going on without"
    )
