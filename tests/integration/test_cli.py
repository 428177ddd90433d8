"""The command line: help, bad input, configuration on paper, words for people."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from capacity import compose, records
from capacity.base import files
from capacity.cli.main import main
from capacity.compose import load
from capacity.config import from_dict
from capacity.measure.describe import describe
from command_line import one_line, trained  # noqa: F401
from waiting import patience

VERBS = ("train", "sweep", "status", "fit-laws", "compare", "report", "measure", "worker")


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
        assert not imported(done.stderr) & {"torch", "numpy", "pandas", "scipy", "matplotlib"}
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
        (["measure", "0123456789ab"], ["0123456789ab", "no run in"]),
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
            word = str(value).lower() if isinstance(value, bool) else value
            yield f"{prefix}{key}={'null' if value is None else word}"


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
