"""Runs that begin with the weights of others, on a real SLURM."""

import re
import subprocess
import sys

import pytest

from capacity import records
from slurm_cluster import slurm, slurm_for_run  # noqa: F401
from sweeps import PINS, bench  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.long]

HERE = [
    "cluster=slurm",
    "cluster.gpus=0",
    "cluster.cpus=1",
    "cluster.mem=100M",
    "cluster.signal_seconds=5",
    "cluster.pack_minutes=0.001",
]


def test_runs_wait_in_the_queue_for_those_with_whose_weights_they_begin(bench, slurm):
    """Their job depends on the one that trains these, and ends with the same bits as here."""
    settings = "data=uniform, data.vocab_size=16, data.seq_len=4, data.n_sequences=30"
    start = f"starts: {{{{first: [{settings}, train.steps=80, train.warmup_steps=8]}}}}\n"
    bench.write(PINS + start + "grids: [{{train.start_from: [first], seed: [0, 1]}}]\n", steps=60)
    code, out, err = bench.sweep(*HERE)
    assert code == 0, err
    first, second = re.findall(r"^submitted   job (\d+):", out, re.M)
    assert f"afterany:{first}" in slurm.run("scontrol", "show", "job", second)
    assert slurm.wait(first) | slurm.wait(second) == {"COMPLETED"}
    assert bench.states() == ["finished"] * 2
    here = bench.folder / "here"
    command = [sys.executable, "-m", "capacity", "sweep", "s.yaml", "cluster.workers=1"]
    subprocess.run([*command, "--results", str(here)], cwd=bench.folder, check=True)
    for run, queued in zip(bench.runs, bench.weights(), strict=True):
        assert (records.run_dir(here, run.run_id) / records.WEIGHTS).read_bytes() == queued
