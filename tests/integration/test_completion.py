"""Completion: what a tab offers, asked of the program itself and in real shells."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from capacity.cli import complete
from capacity.cli.completion import SCRIPTS
from capacity.cli.main import VERBS, main
from capacity.compose import option_names, read_yaml, shared_dir
from capacity.config import known_keys
from capacity.fitting.forms import FORMS
from capacity.study import study_names
from waiting import patience

ROOT = Path(__file__).resolve().parents[2]


def offered(capsys, *words):
    assert main(["complete", "fish", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_verbs_and_options_are_offered(capsys):
    verbs = offered(capsys, "")
    assert len(verbs) == len(VERBS) and {"sweep", "list", "completion"} <= set(verbs)
    assert offered(capsys, "sw") == ["sweep"]
    assert offered(capsys, "--v") == ["--version"]
    assert offered(capsys, "sweep", "pocket", "--re") == ["--retry-failed", "--results"]
    assert offered(capsys, "fit-laws", "pocket", "--lira-variance", "s") == ["sequence"]
    assert offered(capsys, "completion", "") == [*SCRIPTS]
    assert offered(capsys, "nonsense", "x") == []
    assert main(["complete"]) == 0


def test_studies_are_offered_a_folder_at_a_time_with_their_presets(here, capsys):
    (here / "own.yaml").write_text("pins: []\n")
    first = offered(capsys, "sweep", "")
    assert {"pocket", "optimizers", "physics33/", "morris/", "own.yaml"} <= set(first)
    below = offered(capsys, "status", "morris/memb")
    assert "morris/membership@shadows" in below and "morris/membership" in below
    assert offered(capsys, "fit-laws", "morris/membership@s") == ["morris/membership@shadows"]
    assert offered(capsys, "measure", "--study", "pocket_") == ["pocket_budget"]
    assert offered(capsys, "new", "x.yaml", "--like", "opt") == ["optimizers"]


def test_presets_of_all_studies_are_those_of_a_yaml_reader():
    for name in study_names([shared_dir("sweeps")]):
        path = shared_dir("sweeps") / f"{name}.yaml"
        assert complete.presets_of(path) == [*(read_yaml(path).get("presets") or {})], name


def test_settings_and_their_values_are_offered(capsys):
    first = offered(capsys, "train", "")
    assert {"model.", "model=", "data.", "seed="} <= set(first) and len(first) < 30
    found = [
        key for group in first if group.endswith(".") for key in offered(capsys, "train", group)
    ]
    assert {f"{key}=" for key in known_keys()} - {"seed="} == set(found)
    assert offered(capsys, "sweep", "pocket", "model.nor") == ["model.norm="]
    assert offered(capsys, "train", "model.tied=") == ["model.tied=true", "model.tied=false"]
    assert offered(capsys, "train", "model=ll") == ["model=llama"]
    assert offered(capsys, "train", "model=") == [f"model={o}" for o in option_names("model")]
    axis = offered(capsys, "sweep", "pocket", "model.norm=layernorm,r")
    assert axis == ["model.norm=layernorm,rmsnorm"]
    assert offered(capsys, "compare", "optimizers", "--a", "train.opt") == ["train.optimizer="]
    # a verb without settings has none
    assert offered(capsys, "cancel", "pocket", "model.") == offered(capsys, "cancel", "model.")


def test_runs_forms_and_lists_are_offered(here, capsys):
    for run_id in ("0123456789ab", "01ff00000000", "aaaa00000000"):
        (here / "results" / "runs" / run_id).mkdir(parents=True)
    assert offered(capsys, "show", "01") == ["0123456789ab", "01ff00000000"]
    assert offered(capsys, "measure", "a") == ["aaaa00000000"]
    assert offered(capsys, "show", "--results", "elsewhere", "01") == []
    assert set(complete.forms()) == set(FORMS)
    assert offered(capsys, "fit", "hard") == ["hard_corner"]
    assert offered(capsys, "list", "m") == ["measures"]
    assert offered(capsys, "list", "settings", "wan") == ["wandb", "wandb."]
    assert offered(capsys, "list", "measures", "mem") == ["memorization"]


def test_a_tab_imports_nothing_heavy_and_is_fast(cli):
    args = ("complete", "fish", "sweep", "phy")
    done = cli(*args, python=["-X", "importtime"])
    assert done.returncode == 0 and "physics33/01_peak_1000" in done.stdout
    heavy = ("hydra", "omegaconf", "numpy", "pandas", "torch", "scipy", "capacity.study")
    assert not [name for name in heavy if f"| {name}\n" in done.stderr.replace("|   ", "| ")]

    def seconds(*words):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert cli(*words).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # CPU time, so that a load does not count, and beside --help, so that a slow machine does not:
    # 0.05 s and 0.09 s on the machine of 2026-11-29
    assert min(seconds(*args) for _ in range(3)) < 5 * min(seconds("--help") for _ in range(3))


# Real shells


@pytest.fixture
def path(tmp_path):
    """PATH with a command `capacity` that runs this package."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "capacity"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m capacity "$@"\n')
    command.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def shell(name, script, path, cwd):
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed (apt install {name})")
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(cwd), "TERM": "dumb"}
    done = subprocess.run(
        [program, *(["--norc", "--noprofile"] if name == "bash" else ["-f"] * (name == "zsh"))]
        + ["-c", script],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


BASH = """
eval "$(capacity completion bash)"
ask() {{
    COMP_LINE=$1 COMP_POINT=${{#1}} COMP_WORDS=($1) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
    _capacity capacity
    printf '%s ' "${{COMPREPLY[@]}}"; echo
}}
{asked}
"""


def test_bash_completes(path, tmp_path):
    lines = {
        "capacity swe": "sweep",
        "capacity sweep pock": "pocket pocket_budget",
        "capacity sweep pocket model.nor": "model.norm=",
        # bash breaks words at = and @, and takes what stands behind
        "capacity sweep pocket model.norm=rms": "rmsnorm",
        "capacity sweep morris/membership@sh": "shadows",
        "capacity sweep 'pock": "pocket pocket_budget",
        "FOO=1 capacity sweep optim": "optimizers",
    }
    asked = "\n".join(f'ask "{line}"' for line in lines)
    found = shell("bash", BASH.format(asked=asked), path, tmp_path)
    assert [line.strip() for line in found] == [*lines.values()]


def test_zsh_completes(path, tmp_path):
    """The function itself, with `compadd` in the place of the line editor's."""
    script = """
    compadd() { while [[ $1 == -* && $1 != -- ]]; do [[ $1 == -S ]] && shift; shift; done
                shift; print -rn -- "$@ " }
    source <(capacity completion zsh)
    for line in "capacity swe" "capacity sweep pocket model.norm=rms" "capacity list set"; do
        words=(${(z)line}) CURRENT=${#words}
        _capacity
        print
    done
    """
    found = [line.strip() for line in shell("zsh", script, path, tmp_path)]
    assert found == ["sweep", "model.norm=rmsnorm", "settings"]


def test_fish_completes(path, tmp_path):
    script = """
    capacity completion fish | source
    complete -C 'capacity swe'
    complete -C 'capacity sweep pocket model.norm=rms'
    complete -C 'capacity list set'
    """
    assert shell("fish", script, path, tmp_path) == ["sweep", "model.norm=rmsnorm", "settings"]
