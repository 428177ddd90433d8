"""The pages of docs/how-to do what they say: their lines are given to a shell, one after the other,
with a small study that is called as the one on the page."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import patience

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs" / "how-to"
STUDY = """
question: how many bits do these hold?
pins: [data=uniform, data.vocab_size=16, data.seq_len=4, train.steps=40, train.batch_size=8]
grids:
  - train.warmup_steps: [4]
    model.d_model: [4, 8]
    model.n_heads: [2]
    data.load: [6.0]
    seed: [0, 1]
"""


def blocks(page, language):
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


@pytest.fixture
def shell(tmp_path):
    """Runs lines of bash in a folder of its own, where `capacity` is this package and `pocket` a
    study of four small runs; what it exports holds for the next lines."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "capacity"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m capacity "$@"\n')
    command.chmod(0o755)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "pocket.yaml").write_text(STUDY)
    env = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }

    def run(lines):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{lines}\nenv -0 > env"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=patience(),
        )
        assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"
        for part in (tmp_path / "env").read_text().rstrip("\0").split("\0"):
            name, _, value = part.partition("=")
            env[name] = value
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.long
def test_results_are_moved_merged_and_deleted_as_the_page_says(shell, tmp_path):
    """Merging keeps what is finished here, takes what is missing here, and never mixes a run of two
    trainings; the law is the same after every step."""
    move, pack, merge, prune, keep, one = blocks("results.md", "bash")
    runs = tmp_path / "moved" / "runs"
    shell("capacity sweep pocket")
    shell(move)
    assert not (tmp_path / "results").exists()
    ids = {path.name for path in runs.iterdir()}
    assert len(ids) == 4
    shell(pack)
    there = tmp_path / "elsewhere" / "runs"
    assert {path.name for path in there.iterdir()} == ids
    fit = json.loads((tmp_path / "elsewhere/studies/pocket/fit.json").read_text())

    ours, lost, stopped = sorted(ids)[:3]  # one that is ours, one not here, one without an outcome
    marks = {ours: '{"ours": 1}', stopped: '{"theirs": 1}'}
    (runs / ours / "mark.json").write_text(marks[ours])
    (there / stopped / "mark.json").write_text(marks[stopped])
    shutil.rmtree(runs / lost)
    (runs / stopped / "record.json").unlink()
    (runs / stopped / "weights.safetensors").write_text("of another training")
    weights = (there / stopped / "weights.safetensors").read_bytes()
    dates = (tmp_path / "moved/studies/pocket/expectations.jsonl").read_text()
    shell(merge)
    assert {path.name for path in runs.iterdir()} == ids
    assert (runs / ours / "mark.json").read_text() == marks[ours]
    assert (runs / stopped / "mark.json").read_text() == marks[stopped]
    assert (runs / stopped / "weights.safetensors").read_bytes() == weights
    kept = (tmp_path / "moved/studies/pocket/expectations.jsonl").read_text()
    assert kept.startswith(dates)
    again = json.loads((tmp_path / "moved/studies/pocket/fit.json").read_text())
    assert again["strict"] == fit["strict"]

    shell(prune)
    assert (
        not list(runs.glob("*/weights.safetensors")) and len(list(runs.glob("*/record.json"))) == 4
    )

    shell(keep)
    assert not list(runs.iterdir())
    frozen = json.loads((tmp_path / "moved/studies/pocket/fit.json").read_text())
    assert frozen["strict"] == fit["strict"]

    shell(one)
    assert {path.name for path in runs.iterdir()} == ids
    assert shell("capacity status pocket").count("4 finished") >= 1


def test_the_study_of_own_data_is_planned(here, monkeypatch):
    from capacity.cli.main import main
    from capacity.study import load_study

    (people,), (study,) = blocks("own-data.md", "json"), blocks("own-data.md", "yaml")
    (here / "people.jsonl").write_text(people)
    (here / "mine.yaml").write_text(study)
    runs = load_study("mine.yaml", []).runs
    assert len({run.run_id for run in runs}) == 12
    assert main(["sweep", "mine.yaml", "--dry-run"]) == 0
    line = next(
        line
        for line in (HOW_TO / "own-data.md").read_text().splitlines()
        if line.startswith("    capacity train data=corpus")
    )
    assert main([*shlex.split(line)[1:], "--print-config"]) == 0


def test_offline_runs_lie_where_the_page_of_wandb_finds_them():
    """The pattern of `wandb sync` is that of the folders that the mirror's tests see."""
    (line,) = blocks("wandb.md", "bash")
    assert line.split() == ["wandb", "sync", "results/wandb/offline-run-*"]
