"""The Python of README and docs/tutorials/python.md runs as it stands, after one run of the pocket
study."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from capacity.run.job import Job
from capacity.run.run import execute
from capacity.study import load_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.long
def test_the_lines_of_the_tutorial_run(tmp_path, monkeypatch, capsys):
    kept = ROOT / "results" / "studies" / "pocket" / "records.jsonl.gz"
    there = tmp_path / "results" / "studies" / "pocket"
    there.mkdir(parents=True)
    shutil.copy(kept, there)
    monkeypatch.chdir(tmp_path)
    run = load_study("pocket", ["cluster.device=cpu"]).runs[0]
    execute([run], Job(Path("results"), torch.device("cpu")))
    (short,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    exec(compile(short, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Bits(" in printed and "Figure(" in printed
    text = (ROOT / "docs" / "tutorials" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/tutorials/python.md", "exec"), names)
    assert len(blocks) == 6 and (tmp_path / "capacity.png").stat().st_size > 1000
    record = names["run"].record["measures"]["memorization"]["strict"]
    assert abs(names["held"].total / record["bits"] - 1) < 1e-5
    assert names["law"].converged
    assert f"Run({run.run_id}, 2x8, uniform data)" in capsys.readouterr().out
