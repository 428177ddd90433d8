"""A benchmark measured part by part: each part keeps its place in the file beside the others."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bench(monkeypatch):
    """scripts/bench.py with parts that answer at once; a function of --only."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    module = importlib.import_module("bench")
    monkeypatch.setattr(module, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    rows = json.loads((ROOT / "results/bench/cpu.json").read_text())["stacks"]
    parts = {"stacks": lambda *_: rows, "threads": lambda *_: {"rows": [{"size": "1M"}]}}
    monkeypatch.setattr(module, "PARTS", parts)
    return module


def measured(bench, monkeypatch, results, *only):
    words = ["bench.py", "--device", "cpu", "--results", str(results), "--only", *only]
    monkeypatch.setattr(sys, "argv", words)
    bench.main()
    return json.loads((results / "bench" / "cpu.json").read_text())


@pytest.mark.parametrize("order", [("stacks", "threads"), ("threads", "stacks")])
def test_the_row_of_threads_stands_beside_the_number_of_threads(
    bench, monkeypatch, tmp_path, order
):
    for part in order:
        found = measured(bench, monkeypatch, tmp_path, part)
    assert found["threads"] == torch.get_num_threads()
    assert found["two_threads"] == {"rows": [{"size": "1M"}]}
    assert found["stacks"]["rows"] and found["speed"]["flop_per_s"] > 0
    assert set(found["commits"]) == {"stacks", "threads"}
    assert measured(bench, monkeypatch, tmp_path, *order).keys() == found.keys()
