"""A job on a real SLURM that a person renamed before anybody had noted its number."""

import re
import subprocess
import sys

import pytest

from capacity.sweep import submissions
from slurm_cluster import slurm, slurm_for_run  # noqa: F401
from sweeps import PINS, bench  # noqa: F401
from waiting import patience

pytestmark = [pytest.mark.slow, pytest.mark.long]

HERE = ["cluster=slurm", "cluster.gpus=0", "cluster.cpus=1", "cluster.mem=100M"]
HERE += ["cluster.signal_seconds=5"]


def verb(bench, name):
    """What another verb prints of the study."""
    return subprocess.run(
        [sys.executable, "-m", "capacity", name, "s.yaml", "--results", str(bench.results)],
        cwd=bench.folder,
        capture_output=True,
        text=True,
        timeout=patience(),
    ).stdout


def test_a_renamed_job_whose_submitter_died_is_queued_once_and_cancelled(bench, slurm):
    bench.write(PINS + "grids: [{{seed: [0]}}]\n", steps=100)
    code, out, err = bench.sweep(*HERE, "cluster.options=[--hold]")
    assert code == 0, err
    (job,) = re.findall(r"^submitted   job (\d+):", out, re.M)
    (submission,) = submissions.read_all(bench.results)
    submission.save(job=None)
    slurm.run("scontrol", "update", f"jobid={job}", "name=another")
    assert "1 queued" in verb(bench, "status")
    assert "nothing to submit" in bench.sweep(*HERE)[1]
    assert submissions.read_all(bench.results)[0].job == job
    assert f"slurm {job}: 1 element" in verb(bench, "cancel")
    assert "1 missing" in verb(bench, "status")
