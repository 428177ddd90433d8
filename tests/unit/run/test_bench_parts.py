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


def test_what_any_machine_may_tell_has_a_file_of_its_own(bench, monkeypatch, tmp_path):
    parts = {"variants": lambda *_: {"one": {"rows": {}}}}
    monkeypatch.setattr(bench, "PARTS", parts)
    words = ["bench.py", "--device", "cpu", "--results", str(tmp_path), "--only", "variants"]
    monkeypatch.setattr(sys, "argv", words)
    bench.main()
    (found,) = (tmp_path / "bench").iterdir()
    tree = json.loads(found.read_text())
    assert found.name == "variants_cpu.json" and tree["one"] == {"rows": {}}
    assert tree["environment"]["git"] and tree["repeats"] == 7


def test_a_variant_is_timed_in_turns_with_the_plain_model(monkeypatch):
    """Each of its steps takes three times one of the plain model, whatever the machine does."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    variants = importlib.import_module("benchmarks.variants")
    load, turns = [1.0], []

    def trainer(runs, device):
        def run(steps):
            turns.append(runs[0])

        run.costs = 3.0 if runs == ["variant"] else 1.0
        return run

    def per_step(device, run, steps):
        run(steps)
        load[0] *= 1.1  # a machine that gets slower
        return 0.01 * run.costs * load[0]

    monkeypatch.setattr(variants, "trainer", trainer)
    monkeypatch.setattr(variants, "per_step", per_step)
    beside = variants.Beside(["plain"], torch.device("cpu"), 4)
    del turns[:]
    ratios = beside.ratios(["variant"])
    assert ratios == pytest.approx([3.0] * 4)
    assert turns[3:] == ["plain", *["variant", "plain"] * 4]


@pytest.mark.parametrize("shape", ["one", "stack"])
def test_every_preset_has_runs_at_the_shapes_of_the_benchmark(monkeypatch, shape):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    variants = importlib.import_module("benchmarks.variants")
    committed = json.loads((ROOT / "results/bench/variants_cpu.json").read_text())
    presets = {path.stem for path in (ROOT / "conf/model").glob("*.yaml")}
    assert set(committed[shape]["rows"]) == presets - {variants.PLAIN, *variants.LEFT_OUT}
    for preset, row in committed[shape]["rows"].items():
        runs = variants.stack(preset, shape)
        assert runs[0].parameters["total"] == row["total"], preset
        assert len(runs) == variants.SHAPES[shape][2]
