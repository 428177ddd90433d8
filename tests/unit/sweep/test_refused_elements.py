"""An element that ended before it could train: status and sweep say the same of its runs."""

import json

from capacity.cli.main import main
from capacity.sweep import submissions
from queues import QUEUE, found, submitted  # noqa: F401

WHY = "cluster.device=cuda: no CUDA device is visible"


def test_status_and_sweep_say_the_same_of_runs_that_failed_without_a_record(
    found, here, monkeypatch, capsys
):
    monkeypatch.setattr("capacity.sweep.slurm.elements", lambda submissions: {})
    monkeypatch.setattr("capacity.sweep.slurm.array_limit", lambda: None)
    s = submitted(found(), here / "results", job="7")
    assert main(["status", "s.yaml", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["totals"] == {"missing": 8}
    s.log(0).write_text(f"element 0, start 1, on n1\ncapacity: error: {WHY}\n")
    assert main(["status", "s.yaml", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["totals"] == {"failed": 8}
    assert all(row["again"] and row["error"] == WHY for row in told["runs"])
    assert main(["status", "s.yaml"]) == 1
    assert "it has no record, so sweep trains it again" in capsys.readouterr().out
    assert main(["sweep", "s.yaml", *QUEUE, "--dry-run"]) == 0
    told = capsys.readouterr().out
    shown = " ".join(told.split())
    assert "0 finished, 0 failed, 8 to do (8 failed without a record)" in shown
    assert f"failed 8 runs: {WHY}" in shown
    assert max(map(len, told.split("submit.sbatch")[0].splitlines())) <= 80
    assert list(submissions.last_places(here / "results").values()) == [(s, 0)] * 8
