"""The command line: help, bad input, one run from start to record, and measuring it again."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from capacity import compose, records
from capacity.base import files
from capacity.cli.main import main
from capacity.compose import load
from capacity.config import from_dict
from capacity.measure.describe import describe
from capacity.run.job import Job
from capacity.run.run import execute
from waiting import patience, wait_until

VERBS = ("train", "sweep", "status", "fit-laws", "compare", "report", "measure", "worker")


def one_line(text):
    """The only line of an error stream, which must be the program's own message."""
    assert "Traceback" not in text
    assert re.fullmatch(r"capacity: error: [^\n]+\n", text), text
    return text


# Help


def test_help_of_every_verb_fits_a_terminal_and_shows_examples(capsys):
    texts = {}
    for verb in ((),) + tuple((verb,) for verb in VERBS):
        with pytest.raises(SystemExit) as ended:
            main([*verb, "--help"])
        assert ended.value.code == 0
        texts[" ".join(verb)] = capsys.readouterr().out
    for verb, text in texts.items():
        assert max(map(len, text.splitlines())) <= 80, verb
        if verb != "worker":  # a person never calls it
            assert "examples:" in text and f"capacity {verb}" in text
    assert all(verb in texts[""] for verb in VERBS)


def test_the_examples_in_the_help_are_valid(here, capsys):
    """Every `capacity train ...` line of the help composes."""
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    lines = re.findall(r"^  capacity train(.*?)(?:  .*)?$", capsys.readouterr().out, re.M)
    assert len(lines) >= 4
    for line in lines:
        load([word for word in line.split() if "=" in word])


def imported(stderr):
    return {
        line.split("|")[-1].strip().split(".")[0]
        for line in stderr.splitlines()
        if line.startswith("import time:")
    }


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_nothing_heavy(cli, args):
    done = cli(*args, python=["-X", "importtime"])
    assert done.returncode == 0 and "capacity" in done.stdout
    modules = imported(done.stderr)
    assert "argparse" in modules  # the listing is there
    assert (
        modules & {"torch", "pandas", "hydra", "omegaconf", "numpy", "scipy", "matplotlib", "wandb"}
        == set()
    )


def test_reading_commands_do_not_import_torch(cli, tmp_path):
    (tmp_path / "s.yaml").write_text("grids: [{seed: [0, 1]}]\n")
    for args in (
        ["train", "--print-config"],
        ["sweep", "s.yaml", "--dry-run"],
        ["status", "s.yaml"],
    ):
        done = cli(*args, python=["-X", "importtime"])
        assert "Traceback" not in done.stderr and done.stdout
        assert imported(done.stderr) & {"torch", "pandas", "scipy", "matplotlib"} == set()
    for verb in ("fit-laws", "report"):
        done = cli(verb, "s.yaml", python=["-X", "importtime"])
        assert done.returncode == 2 and "torch" not in imported(done.stderr)


def test_a_worker_needs_neither_hydra_nor_pandas(tmp_path):
    code = (
        "import sys; import capacity.config, capacity.records; assert not {'torch', 'hydra', "
        "'numpy'} & set(sys.modules)\n"
        "import capacity.sweep.worker, capacity.run.run, capacity.run.mirror\n"
        "assert not {'hydra', 'omegaconf', 'pandas', 'scipy', 'matplotlib', 'wandb'} & "
        "set(sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=patience()).returncode
        == 0
    )


# Bad input


@pytest.mark.parametrize(
    "args, words",
    [
        (["train", "model.d_modle=8"], ["model.d_modle", "did you mean model.d_model?"]),
        (["train", "model.d_model=wide"], ["model.d_model=wide", "a whole number"]),
        (
            ["train", "data.load=1", "data.n_sequences=2"],
            ["data.load", "data.n_sequences", "only one"],
        ),
        (["train", "model=gtp"], ["model=gtp", "did you mean gpt?"]),
        (["train", "--print-config", "seed=-1"], ["seed=-1"]),
        (["train", "--results", "out", "train.lr=0"], ["train.lr=0"]),
        (["train", "train.lr=0", "--results", "out"], ["train.lr=0"]),
        (["train", "wandb.mode=sometimes"], ["wandb.mode=sometimes", "disabled, offline, online"]),
        (["sweep", "no_such_study"], ["no_such_study: no such study", "allowed:"]),
        (["sweep", "no_such_file.yaml"], ["no_such_file.yaml", "no such file"]),
        (["sweep", "study.yaml", "seed=x"], ["error: command line: seed=x"]),
        (["sweep", "empty.yaml"], ["empty.yaml: no entry", "pins, grids"]),
        (["sweep", "comment.yaml"], ["comment.yaml: no entry"]),
        (["sweep", "broken.yaml"], ["broken.yaml", "not valid YAML"]),
        (["status", "no_such_study"], ["no_such_study"]),
        (["status", "study.yaml", "modle=gpt"], ["modle"]),
        (["fit-laws", "no_such_study"], ["no_such_study"]),
        (["fit-laws", "study.yaml"], ["study", "no finished run", "capacity sweep study.yaml"]),
        (["fit-laws", "study.yaml", "--bootstraps", "5"], ["--bootstraps 5", "100"]),
        (["measure"], ["run ids or --study"]),
        (["measure", "0123456789ab"], ["0123456789ab", "no finished run"]),
        (["measure", "--study", "study.yaml"], ["study.yaml: none of its runs is finished"]),
        (["worker", "--pack", "no.json"], ["no.json", "No such file"]),
        (["worker", "--pack", "broken.yaml"], ["broken.yaml", "not valid JSON"]),
        (["worker", "--pack", "empty.json"], ["empty.json", "not a pack file"]),
        (["worker", "--pack", "list.json"], ["list.json", "not a pack file"]),
    ],
    ids=lambda value: " ".join(value)[:45],
)
def test_bad_input_is_one_line_with_code_2_and_nothing_is_written(here, capsys, args, words):
    (here / "study.yaml").write_text("grids: [{seed: [0, 1]}]\n")
    (here / "broken.yaml").write_text("grids: [\n")
    (here / "empty.json").write_text("{}")
    (here / "empty.yaml").write_text("")
    (here / "comment.yaml").write_text("# grids: [{seed: [0]}]\n")
    (here / "list.json").write_text("[1]")
    before = sorted(here.rglob("*"))
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [word for word in words if word not in one_line(err)] == []
    assert sorted(here.rglob("*")) == before


def test_bad_input_ends_the_process_with_code_2(cli, tmp_path):
    done = cli("train", "model.d_model=0")
    assert done.returncode == 2 and done.stdout == "" and "model.d_model=0" in one_line(done.stderr)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["trian"],
        ["train", "--bogus"],
        ["sweep"],
        ["sweep", "s", "--results"],
        ["fit-laws", "s", "--bootstraps", "many"],
        ["worker"],
    ],
    ids=" ".join,
)
def test_wrong_options_end_with_code_2(capsys, args):
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "args, hint",
    [
        ("train --lr 0.1", "(a setting has no dashes: train.lr=0.1)"),
        ("train --lr=0.1", "(a setting has no dashes: train.lr=0.1)"),
        ("train --learning-rate 3e-4 seed=1", "(a setting has no dashes: train.lr=3e-4)"),
        ("train --train.steps", "(a setting has no dashes: train.steps=...)"),
        ("sweep pocket -wd 0.1", "(a setting has no dashes: train.weight_decay=0.1)"),
        ("sweep pocket --dryrun", "(did you mean --dry-run?)"),
        ("fit-laws pocket --bootstarps 500", "(did you mean --bootstraps?)"),
        ("train --dropout 0.1", "unrecognized arguments: --dropout"),
        ("cancel pocket --lr 0.1", "unrecognized arguments: --lr 0.1"),
    ],
)
def test_an_option_that_is_not_there_hints_at_what_was_meant(capsys, args, hint):
    with pytest.raises(SystemExit):
        main(args.split())
    assert capsys.readouterr().err.splitlines()[-1].endswith(hint)


def unwritable(here):
    """A folder in which even root cannot create anything."""
    if os.geteuid() == 0:
        return Path("/sys/results" if Path("/sys").is_dir() else "/dev/null/results")
    (here / "closed").mkdir(mode=0o555)
    return here / "closed" / "results"


@pytest.mark.parametrize(
    "kind", ["file", "unwritable", "below a file", "broken link", "run is a file"]
)
@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_results_that_cannot_be_written_are_one_line(here, capfd, tiny, kind, verb):
    (here / "study.yaml").write_text("grids: [{seed: [0, 1]}]\n")
    (here / "file").write_text("")
    (here / "link").symlink_to(here / "nowhere" / "deeper")
    paths = {
        "file": here / "file",
        "unwritable": unwritable(here),
        "below a file": here / "file" / "results",
        "broken link": here / "link",
        "run is a file": here / "taken",
    }
    if kind == "run is a file":
        (here / "taken" / "runs").mkdir(parents=True)
        for seed in range(2):
            (here / "taken" / "runs" / load(tiny + [f"seed={seed}"]).run_id).write_text("")
        (here / "taken" / "packs").write_text("")
    where = ["study.yaml"] if verb == "sweep" else []
    assert main([verb, *where, *tiny, "--results", str(paths[kind])]) == 2
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert (
        err.splitlines()[-1].startswith("capacity: error: ") and err.count("capacity: error:") == 1
    )
    assert str(paths[kind]) in err.splitlines()[-1]


# Configuration on paper


def flat(tree, prefix=""):
    """Nested settings as overrides."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield (
                f"{prefix}{key}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}"  # noqa: E501
            )


@pytest.mark.parametrize(
    "overrides",
    [[], ["model=rotary", "train.exposures=50", "train.warmup_steps=0", "seed=5"], ["data=morris"]],
    ids=" ".join,
)
def test_printed_config_fed_back_is_the_same_run(here, capsys, overrides):
    assert main(["train", "--print-config", *overrides]) == 0
    printed, err = capsys.readouterr()
    assert err == "" and sorted(here.iterdir()) == []
    (here / "printed.yaml").write_text(printed)
    tree = compose.read_yaml(here / "printed.yaml")
    assert from_dict(tree) == load(overrides)
    assert load(list(flat(tree))) == load(overrides)


def test_settings_may_stand_after_options(here, capsys):
    assert main(["train", "seed=4", "--print-config", "model.d_model=16"]) == 0
    text = capsys.readouterr().out
    assert "seed: 4" in text and "d_model: 16" in text


# One run


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
    assert record["identity"] == run.identity and record["parameters"] == run.parameters
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


@pytest.fixture
def trained(here, tiny, capfd):
    """A finished run, trained inside this process, as (folder of results, its record)."""
    assert main(["train", *tiny]) == 0
    capfd.readouterr()
    return here / "results", records.read(here / "results", load(tiny).run_id)


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


# Words for people


def test_description_fits_a_terminal(trained, capfd):
    results, record = trained
    big = copy.deepcopy(record)
    for name in ("strict", "paper"):
        part = big["measures"]["memorization"][name]
        part["bits"], part["fraction_of_ceiling"] = 123456789.0, 1.0
        part["bits_per_parameter"] = dict.fromkeys(part["bits_per_parameter"], 123.456)
    big["training"]["wall_s"] = 123456.0
    for each in (record, big):
        assert max(map(len, describe(each, Path("results")).splitlines())) <= 80
    big["measures"]["memorization"]["strict"]["fraction_of_ceiling"] = (
        None  # no ceiling to take a part of
    )
    big["convergence"]["gain_last_tenth"] = None
    assert "None" not in describe(big, Path("results"))


def test_status_counts_names_and_codes(trained, tiny, here, capfd):
    results, record = trained
    (here / "study.yaml").write_text(
        "pins: " + json.dumps(tiny) + "\ngrids: [{seed: [0, 1, 2, 3]}]\n"
    )
    ids = [load(tiny + [f"seed={seed}"]).run_id for seed in range(4)]
    failed = copy.deepcopy(record) | {
        "run_id": ids[1],
        "status": "failed",
        "error": {"reason": "diverged badly", "step": 3},
    }
    records.write(results, failed)
    files.write_atomic(records.run_dir(results, ids[2]) / "checkpoint.safetensors", b"")
    records.append_metrics(results, ids[2], {"step": 60})
    assert main(["status", "study.yaml"]) == 1
    text = capfd.readouterr().out
    assert "4 runs" in text and all(
        f"1 {state}" in text for state in ("finished", "failed", "interrupted", "missing")
    )
    assert "diverged badly" in text and "60/120 steps" in text and ids[0] not in text
    assert main(["status", "study.yaml", "--json"]) == 1
    listing = json.loads(capfd.readouterr().out)
    assert listing["totals"] == {"finished": 1, "failed": 1, "interrupted": 1, "missing": 1}
    assert [(row["run_id"], row["status"]) for row in listing["runs"]] == list(
        zip(ids, ["finished", "failed", "interrupted", "missing"], strict=True)
    )
    assert main(["status", "study.yaml", "seed=0"]) == 0
    assert "1 run, 1 finished" in capfd.readouterr().out


def test_a_closed_pipe_is_no_error(tmp_path):
    (tmp_path / "s.yaml").write_text('grids: [{seed: "range(0,600)"}]\n')
    command = f"{sys.executable} -m capacity status s.yaml --json | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=patience()
    )
    assert done.stdout == "{\n" and done.stderr == ""
