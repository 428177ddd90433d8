"""`capacity prune`: what goes is what was asked for, of runs that nobody else needs, and whoever
misses it is told."""

import itertools
import json
import re
import shutil
import types

import pytest
import torch

from capacity import records
from capacity.cli.main import main
from capacity.inspection import prune
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.study import load_study
from capacity.sweep import submissions
from command_line import one_line

STUDY = """
pins: [data.vocab_size=16, data.seq_len=4, data.n_sequences=20, model.d_model=8, train.steps=40,
       train.batch_size=8, train.warmup_steps=5, cluster.device=cpu]
grids: [{seed: [0, 1]}]
"""
WIDE = STUDY.replace("[0, 1]", "[1, 2]")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a study of two runs that are finished."""
    folder = tmp_path_factory.mktemp("prune")
    (folder / "mine.yaml").write_text(STUDY)
    runs = load_study(str(folder / "mine.yaml"), []).runs
    job = Job(folder / "results", torch.device("cpu"), "mine")
    assert set(execute(runs, job).values()) == {"finished"}
    return folder


@pytest.fixture
def bench(trained, tmp_path, monkeypatch):
    """A copy of it as the current folder: (its results, ids of its runs)."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results", [run.run_id for run in load_study("mine.yaml", []).runs]


def weights(results, run_ids):
    folders = [records.run_dir(results, run_id) for run_id in run_ids]
    return [(folder / "weights.safetensors").exists() for folder in folders]


def answers(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: True))
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or text)
    return asked


def test_weights_go_with_their_sizes_and_records_stay(bench, capsys, monkeypatch):
    results, run_ids = bench
    before = [records.read(results, run_id) for run_id in run_ids]
    size = sum(records.sizes(results, run_id)["weights.safetensors"] for run_id in run_ids)
    asked = answers(monkeypatch, "n")
    assert main(["prune", "mine.yaml", "--weights"]) == 0
    out = capsys.readouterr().out
    assert "nothing was removed" in out and weights(results, run_ids) == [True, True]
    assert max(map(len, out.splitlines())) <= 80 and all(run_id in out for run_id in run_ids)
    assert f"{size / 1000:.3g} kB" in asked[0] and "2 files" in asked[0]
    answers(monkeypatch, "y")
    assert main(["prune", "mine.yaml", "--weights"]) == 0
    assert f"removed 2 files, {size / 1000:.3g} kB" in capsys.readouterr().out
    assert weights(results, run_ids) == [False, False]
    assert [records.read(results, run_id) for run_id in run_ids] == before
    assert main(["table", "mine.yaml", "--output", "runs.csv"]) == 0
    assert main(["status", "mine.yaml"]) == 0  # all finished still
    assert "2 finished" in capsys.readouterr().out
    assert main(["prune", "mine.yaml", "--weights"]) == 0  # nothing is left to ask about
    assert capsys.readouterr().out == "mine: no weights that can go\n"


def test_who_misses_weights_is_told(bench, capsys):
    results, run_ids = bench
    assert main(["prune", "mine.yaml", "--weights", "--yes"]) == 0
    capsys.readouterr()
    for command in (["measure", run_ids[0]], ["export", run_ids[0], "--output", "model"]):
        assert main(command) == 2
        assert "removed by `capacity prune`" in one_line(capsys.readouterr().err)
    assert main(["show", run_ids[0]]) == 0
    assert "weights: removed by `capacity prune`" in " ".join(capsys.readouterr().out.split())


def test_measure_leaves_out_runs_without_weights_and_says_so(bench, capsys):
    results, run_ids = bench
    with records.claim(results, run_ids[1]):
        assert main(["prune", "mine.yaml", "--weights", "--yes"]) == 0
    capsys.readouterr()
    assert main(["measure", "--study", "mine.yaml"]) == 1
    out, err = capsys.readouterr()
    assert run_ids[1] in out and run_ids[0] not in out
    assert f"1 run not measured, without weights since `capacity prune`: {run_ids[0]}" in err
    assert main(["prune", "mine.yaml", "--weights", "--yes"]) == 0
    capsys.readouterr()
    assert main(["measure", "--study", "mine.yaml"]) == 2
    assert "none can be measured again" in one_line(capsys.readouterr().err)


def test_without_a_terminal_nothing_goes_unless_it_was_agreed(bench, capsys, monkeypatch):
    results, run_ids = bench
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: False))
    assert main(["prune", "mine.yaml", "--weights"]) == 2
    assert "give --yes" in one_line(capsys.readouterr().err)
    assert weights(results, run_ids) == [True, True]
    for wrong, word in ((["--weights"], "no study"), (["mine.yaml"], "nothing selected")):
        assert main(["prune", *wrong]) == 2
        assert word in one_line(capsys.readouterr().err)


def test_a_run_that_is_held_stays(bench, capsys):
    results, run_ids = bench
    with records.claim(results, run_ids[0]):  # an earlier checkpoint, or it is measured again
        records.read(results, run_ids[0])
        (records.run_dir(results, run_ids[0]) / "record.json").rename(results / "aside")
        assert main(["prune", "mine.yaml", "--weights", "--yes"]) == 0
    assert "running or queued" in capsys.readouterr().out
    assert weights(results, run_ids) == [True, False]


def test_a_finished_run_that_is_being_measured_stays(bench, capsys):
    results, run_ids = bench
    with records.claim(results, run_ids[1]):
        assert main(["prune", "mine.yaml", "--weights", "--yes"]) == 0
    assert f"left alone, in use since: {run_ids[1]}" in capsys.readouterr().out
    assert weights(results, run_ids) == [False, True]


def test_a_run_that_a_sweep_holds_stays(bench, capsys, monkeypatch):
    results, run_ids = bench
    element = {"pack": "pack.json", "runs": [run_ids[1]], "seconds": 1.0, "end": None}
    holder = submissions.Submission(results / "submissions" / "s", {"elements": [element]})
    waits = {(holder, 0): submissions.Element("queued", "PENDING")}
    monkeypatch.setattr(submissions, "alive", lambda *_: waits)
    assert main(["prune", "mine.yaml", "--weights", "--yes"]) == 0
    assert "running or queued" in capsys.readouterr().out
    assert weights(results, run_ids) == [False, True]


@pytest.mark.parametrize("trace", ["runs.csv", "submission", "records", "sweeps"])
def test_what_another_study_has_stays_unless_it_is_named_too(bench, capsys, trace):
    """Whatever the other study has left: a fit, a sweep, kept records, or its file alone."""
    from capacity import archive

    results, run_ids = bench
    folder = results / "studies" / "other"
    (results.parent / "other.yaml").write_text(WIDE)
    folder.mkdir(parents=True)
    if trace == "runs.csv":
        (folder / "runs.csv").write_text(f"seed,run_id\n1,{run_ids[1]}\n")
    elif trace == "records":
        kept = archive.pack_records([records.read(results, run_ids[1])])
        (folder / archive.RECORDS).write_bytes(kept)
    elif trace == "submission":
        place = results / "submissions" / "other-1"
        place.mkdir(parents=True)
        tree = {
            "schema": submissions.SCHEMA, "study": "other", "launcher": "local", "job": None,
            "host": "here", "pid": 1, "over": True, "submitted_at": 0.0, "overrides": [],
            "elements": [{"pack": "p", "runs": [run_ids[1]], "seconds": 1.0, "end": None}],
        }  # fmt: skip
        (place / "submission.json").write_text(json.dumps(tree))
    else:
        (results.parent / "sweeps").mkdir()
        (results.parent / "sweeps" / "other.yaml").write_text(WIDE)
    assert main(["prune", "mine.yaml", "--weights", "--yes"]) == 0
    out = capsys.readouterr().out
    assert f"stay: 1 run, also of other ({run_ids[1]})" in " ".join(out.split())
    assert weights(results, run_ids) == [False, True]
    named = "other" if trace == "sweeps" else "other.yaml"
    assert main(["prune", "mine.yaml", named, "--weights", "--yes"]) == 0
    assert weights(results, run_ids) == [False, False]


def test_a_run_without_its_checkpoint_begins_again_and_says_so(bench, capsys, monkeypatch):
    results, run_ids = bench
    study = load_study("mine.yaml", [])
    before = [records.read(results, run_id) for run_id in run_ids]
    shutil.rmtree(results)
    asked = itertools.count()
    stopped = Job(results, torch.device("cpu"), "mine", stop=lambda: next(asked) >= 5)
    assert set(execute(study.runs, stopped).values()) == {"interrupted"}
    assert main(["status", "mine.yaml"]) == 1
    assert "of which checkpoints" in capsys.readouterr().out
    assert main(["prune", "mine.yaml", "--checkpoints", "--yes"]) == 0
    step = int(re.search(r"checkpoint at step (\d+) of 40", capsys.readouterr().out)[1])
    assert 0 < step < 40
    assert main(["status", "mine.yaml"]) == 1
    assert "its checkpoint was pruned" in capsys.readouterr().out
    assert main(["show", run_ids[0]]) == 0
    assert f"checkpoint of step {step} was removed" in " ".join(capsys.readouterr().out.split())
    told = []
    job = Job(results, torch.device("cpu"), "mine", told.append)
    assert set(execute(study.runs, job).values()) == {"finished"}
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert len(notes) == 2 and f"begins again at step 0: its checkpoint of step {step}" in notes[0]
    after = [records.read(results, run_id) for run_id in run_ids]
    assert [r["measures"] for r in after] == [r["measures"] for r in before]
    assert records.pruned(results, run_ids[0], prune.CHECKPOINT) is None  # it has been told


def test_weights_of_an_unreadable_neighbour_are_not_guessed(bench, capsys):
    results, run_ids = bench
    folder = results / "studies" / "other"
    folder.mkdir(parents=True)
    (folder / "records.jsonl.gz").write_bytes(b"not gzip")
    assert main(["prune", "mine.yaml", "--weights", "--yes"]) == 2
    assert "cannot be read" in one_line(capsys.readouterr().err)
    assert weights(results, run_ids) == [True, True]
