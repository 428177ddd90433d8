"""One run by the command line: from start to record, interrupted, damaged, and measured again."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from capacity import records
from capacity.base import files
from capacity.cli.main import main
from capacity.compose import load
from capacity.config import from_dict
from capacity.run.job import Job
from capacity.run.run import execute
from command_line import one_line, trained  # noqa: F401
from waiting import patience, wait_until


def test_train_leaves_a_complete_run_and_trains_it_once(cli, tmp_path, tiny):
    run = load(tiny)
    done = cli("train", *tiny)
    assert done.returncode == 0, done.stderr
    assert run.run_id in done.stdout and "bits per parameter" in done.stdout
    folder = tmp_path / "results" / "runs" / run.run_id
    assert sorted(os.listdir(folder)) == [
        "config.json",
        "lock",
        "metrics.jsonl",
        "record.json",
        "weights.safetensors",
    ]
    record = records.read(tmp_path / "results", run.run_id)
    assert record["status"] == "finished" and record["study"] is None and record["error"] is None
    assert record["training"]["steps"] == 120 and record["training"]["wall_s"] > 0
    assert (record["training"]["exposures_min"], record["training"]["exposures_max"]) == (
        48,
        48,
    )  # 120 x 8 / 20
    assert (
        from_dict(record["config"])
        == run
        == from_dict(json.loads((folder / "config.json").read_text()))
    )
    assert record["identity"] == run.identity
    assert record["parameters"] == run.parameters | {"idle": 0}
    metrics = records.read_metrics(tmp_path / "results", run.run_id)
    assert [line["step"] for line in metrics] == sorted(
        line["step"] for line in metrics
    ) and metrics[-1]["step"] == 120
    evaluated = [line for line in metrics if "strict_bits" in line]
    assert evaluated[-1]["strict_bits"] == record["measures"]["memorization"]["strict"]["bits"]
    gain = record["convergence"]["gain_last_tenth"]
    before = next(line["strict_bits"] for line in evaluated if line["step"] == 108)
    assert gain == pytest.approx(
        (evaluated[-1]["strict_bits"] - before) / abs(evaluated[-1]["strict_bits"])
    )

    stamps = {name: (folder / name).stat().st_mtime_ns for name in os.listdir(folder)}
    again = cli("train", *tiny)
    assert (
        again.returncode == 0 and "already finished" in again.stderr and again.stdout == done.stdout
    )
    assert {name: (folder / name).stat().st_mtime_ns for name in stamps} == stamps


def test_measuring_again_gives_the_same_numbers_without_training(trained, capfd):
    results, record = trained
    path = records.run_dir(results, record["run_id"])
    spoiled = copy.deepcopy(record)
    spoiled["measures"]["memorization"]["strict"]["bits"] = (
        1.0  # so that the numbers must come from the weights
    )
    records.write(results, spoiled)
    weights = (path / "weights.safetensors").stat()
    assert main(["measure", record["run_id"]]) == 0
    assert records.read(results, record["run_id"]) == record
    assert record["run_id"] in capfd.readouterr().out
    assert (path / "weights.safetensors").stat().st_mtime_ns == weights.st_mtime_ns


def test_measuring_a_study(trained, tiny, here, capfd):
    _, record = trained
    (here / "study.yaml").write_text("pins: " + json.dumps(tiny) + "\ngrids: [{seed: [0, 1]}]\n")
    assert main(["measure", "--study", "study.yaml"]) == 0  # one of the two is finished
    assert capfd.readouterr().out.count(record["run_id"]) == 2


@pytest.mark.parametrize(
    "damage", ["truncated", "garbage", "empty", "missing", "other shape", "other run"]
)
def test_wrong_weights_are_refused_in_one_line(trained, tiny, here, capfd, damage):
    results, record = trained
    path = records.run_dir(results, record["run_id"]) / "weights.safetensors"
    if damage in ("other shape", "other run"):
        other = tiny + (["model.d_model=16"] if damage == "other shape" else ["seed=1"])
        assert main(["train", *other, "train.steps=20"]) == 0
        shutil.copy(
            records.run_dir(results, load(other + ["train.steps=20"]).run_id) / path.name, path
        )
    elif damage == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(
            {"truncated": data[: len(data) // 2], "garbage": b"x" * len(data), "empty": b""}[damage]
        )
    capfd.readouterr()
    assert main(["measure", record["run_id"]]) == 2
    assert str(path.relative_to(here)) in one_line(capfd.readouterr().err)
    assert records.read(results, record["run_id"]) == record


@pytest.mark.parametrize("damage", ["truncated", "empty", "other run"])
def test_a_wrong_checkpoint_is_refused_in_one_line(here, tiny, capfd, damage):
    run, other = load(tiny), load(tiny + ["seed=1"])
    steps = iter(range(60))
    outcome = execute(
        [other],
        Job(
            here / "results",
            torch.device("cpu"),
            stop=lambda: next(steps, None) is None,
        ),
    )
    assert outcome == {other.run_id: "interrupted"}
    data = (records.run_dir(here / "results", other.run_id) / "checkpoint.safetensors").read_bytes()
    path = records.run_dir(here / "results", run.run_id) / "checkpoint.safetensors"
    files.write_atomic(path, {"truncated": data[:-8], "empty": b"", "other run": data}[damage])
    assert main(["train", *tiny]) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("capacity: error: ") and str(path.relative_to(here)) in error
    assert records.read(here / "results", run.run_id) is None


def test_what_a_killed_write_left_is_cleared_away(here, tiny):
    folder = records.run_dir(here / "results", load(tiny).run_id)
    files.write_atomic(folder / ".checkpoint.safetensors.123.tmp", b"half of a checkpoint")
    assert main(["train", *tiny]) == 0
    assert sorted(os.listdir(folder)) == [
        "config.json",
        "lock",
        "metrics.jsonl",
        "record.json",
        "weights.safetensors",
    ]


@pytest.mark.slow
def test_an_interrupted_run_continues_exactly(here, tiny):
    """Ctrl-C and a scheduler's SIGTERM, each with a run of its own, side by side."""
    tiny = tiny + [
        "train.steps=600",
        "cluster.checkpoint_seconds=1000",
    ]  # so the signal alone makes the checkpoint
    run_id = load(tiny).run_id
    command = [sys.executable, "-m", "capacity", "train", *tiny, "--results"]

    def start(name):
        return subprocess.Popen(
            [*command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    processes = {name: start(name) for name in ("SIGINT", "SIGTERM")}
    for name, process in processes.items():
        wait_until(
            lambda: (
                process.poll() is not None or len(records.read_metrics(here / name, run_id)) >= 10
            ),
            "ten lines of the log",
            every=0.01,
        )
        assert process.poll() is None
        process.send_signal(getattr(signal, name))
    for name, code in (("SIGINT", 130), ("SIGTERM", 130)):
        err = processes[name].communicate(timeout=patience())[1]
        assert (
            processes[name].returncode == code
            and "the same command continues" in err
            and "Traceback" not in err
        )
        assert records.status(here / name, run_id) == "interrupted"
    logs = records.read_metrics(here / "SIGINT", run_id)
    assert (
        main(["train", *tiny, "--results", "SIGINT"])
        == main(["train", *tiny, "--results", "alone"])
        == 0
    )
    assert (
        records.read_metrics(here / "SIGINT", run_id)[: len(logs)] == logs
    )  # nothing is trained again
    assert (
        records.read(here / "SIGINT", run_id)["measures"]
        == records.read(here / "alone", run_id)["measures"]
    )
    weights = [
        (records.run_dir(here / name, run_id) / "weights.safetensors").read_bytes()
        for name in ("SIGINT", "alone")
    ]
    assert weights[0] == weights[1]


def test_a_corrupt_record_is_one_line_that_names_it(trained, tiny, capfd):
    results, record = trained
    path = records.run_dir(results, record["run_id"]) / "record.json"
    path.write_text(path.read_text()[:-40])
    assert main(["train", *tiny]) == 2
    assert "record.json" in one_line(capfd.readouterr().err)


def test_a_diverging_run_fails_with_its_step_and_is_tried_again(here, tiny, capfd):
    wild = tiny + ["train.lr=1e9", "train.grad_clip=0"]
    for _ in range(2):
        assert main(["train", *wild]) == 1
        out, err = capfd.readouterr()
        record = records.read(here / "results", load(wild).run_id)
        assert (
            record["status"] == "failed"
            and 0 < record["error"]["step"] <= 120
            and record["measures"] == {}
        )
        assert f"step {record['error']['step']}" in record["error"]["reason"]
        assert out == "" and record["error"]["reason"] in err.splitlines()[-1]
        assert not (here / "results" / "runs" / load(wild).run_id / "weights.safetensors").exists()


def test_a_run_held_by_another_process_is_not_trained(here, tiny, capfd):
    run = load(tiny)
    with records.claim(here / "results", run.run_id):
        assert main(["train", *tiny]) == 2
        assert "being trained by another process" in capfd.readouterr().err.splitlines()[-1]
    assert records.read(here / "results", run.run_id) is None


def test_results_folder_from_the_environment(here, tiny, capfd, monkeypatch):
    monkeypatch.setenv("CAPACITY_RESULTS", str(here / "elsewhere"))
    assert main(["train", *tiny]) == 0
    assert records.status(here / "elsewhere", load(tiny).run_id) == "finished" and os.listdir(
        here
    ) == ["elsewhere"]


@pytest.mark.parametrize("what", ["a row without a text", "too few sequences"])
def test_data_that_are_refused_leave_nothing(here, capfd, what):
    rows = [{"text": f"It is text number {i}, of several words."} for i in range(40)]
    if what == "a row without a text":
        rows[5] = {"text": None}
    (here / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = ["data.n_sequences=20000", "data.n_held_out=10", "data.vocab_size=300"]
    source = ["data=text", "data.source=files", "data.path=t.jsonl", "data.seq_len=8"]
    assert main(["train", *source, *sizes, "model.d_model=8", "model.n_heads=2"]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("capacity: error: ")
    assert not list((here / "results" / "runs").glob("*"))
