"""What there is, before anything is trained: list, sweep --show, train --dry-run; axes and ids as a
person types them; --quiet."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from capacity import naming, records, run_table
from capacity.cli.main import main
from capacity.compose import load, option_names
from capacity.config import known_keys
from capacity.cost import GUESSES, device_time, speed_of, stack_bytes
from capacity.study import load_study
from command_line import one_line, trained  # noqa: F401
from comparisons import write

ROOT = Path(__file__).parents[2]
STUDY = """\
question: does it hold more?
pins: [data.load=5, train.steps=300, model.n_heads=4]
grids:
  - form:
      - {model.norm: layernorm, model.activation: gelu}
      - {model.norm: rmsnorm, model.activation: relu2}
    model.d_model: [8, 16]
    seed: [0, 1]
"""


def said(capfd, *args):
    """What a command prints, which has to end well and fit a terminal."""
    capfd.readouterr()
    assert main(list(args)) == 0
    out = capfd.readouterr().out
    if "--json" not in args and "--csv" not in args:
        assert max(map(len, out.splitlines())) <= 80
    return out


# list


def test_a_command_without_a_verb_shows_the_help(capfd):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    out = capfd.readouterr().out
    assert "verbs:" in out and "\n    list " in out


def test_studies_are_listed_with_their_question_and_what_is_finished(here, capfd):
    (here / "sweeps").mkdir()
    (here / "sweeps" / "mine.yaml").write_text(STUDY)
    out = said(capfd, "list", "studies")
    assert "\nmine (8)\n    does it hold more?" in out
    assert re.search(r"^morris/canaries \(9\), @pocket \(18\)\n    how often", out, re.M)
    listed = {row["study"]: row for row in json.loads(said(capfd, "list", "studies", "--json"))}
    table = (ROOT / "docs" / "reference" / "studies.md").read_text()
    rows = re.findall(r"^\| \[(\S+?)\]\(.*?\) \|(?:[^|]*\|){2} ([\d,]+) \|", table, re.M)
    assert len(rows) > 50
    for name, runs in rows:  # as planned in full, which the page's own test compares
        row, exact = listed[name], int(runs.replace(",", ""))
        assert row["planned"] <= exact if row["references"] else row["planned"] == exact, name
    (row,) = json.loads(said(capfd, "list", "studies", "mine", "--json"))
    cost = {name: row.pop(name) for name in ("flop_to_do", "hours_to_do", "hours_of")}
    assert row == {
        "study": "mine",
        "scale": "published",
        "runs": 8,
        "finished": 0,
        "question": "does it hold more?",
    }
    runs = load_study("mine", []).runs
    assert cost["flop_to_do"] == sum(run.flops for run in runs) and cost["hours_of"] == "core"
    seconds = sum(GUESSES["cpu"].seconds([run]) for run in runs)
    assert cost["hours_to_do"] == pytest.approx(seconds / 3600)
    told = " ".join(said(capfd, "list", "studies", "mine").split())
    assert f"mine (0 of 8 finished, {device_time(cost['hours_to_do'], 'core')} to do)" in told
    assert "by guessed speeds" in told


def test_hours_are_minutes_below_one_and_of_a_device():
    assert device_time(0.05, "core") == "3 core-min" and device_time(2.5, "core") == "2.5 core-h"
    assert device_time(1234.4, "H100") == "1,234 H100-h"


def test_runs_are_listed_with_their_state_and_what_they_hold(trained, capfd):
    results, record = trained
    out = said(capfd, "list", "runs")
    bits = record["measures"]["memorization"]["strict"]["bits"]
    assert re.search(rf"^{record['run_id']}  finished  uniform  1x8 .* {bits:,.0f} ", out, re.M)
    (row,) = csv.DictReader(io.StringIO(said(capfd, "list", "runs", "--csv")))
    assert float(row["bits"]) == bits
    assert float(row["bits_per_parameter"]) == bits / record["parameters"]["total"]
    (results.parent / "s.yaml").write_text(STUDY)
    rows = json.loads(said(capfd, "list", "runs", "s.yaml", "--json"))
    assert len(rows) == 8 and {row["status"] for row in rows} == {"missing"}
    assert said(capfd, "list", "runs", "--results", "nowhere") == "no run in nowhere/runs\n"


def test_every_setting_is_listed_with_the_default_that_train_takes(capfd):
    rows = json.loads(said(capfd, "list", "settings", "--json"))
    assert {row["key"] for row in rows} == set(known_keys())
    config = load([])
    defaults = {row["key"]: row["default"] for row in rows if row["group"] != "data"}
    assert defaults["train.steps"] == str(config.train.steps)
    assert defaults["model.tied"] == "true" and defaults["cluster.time"] == "null"
    text = said(capfd, "list", "settings", "model")
    assert ", ".join(option_names("model")[:3]) in text
    assert "  model.norm=layernorm\n" in text and "rmsnorm" in text
    (one,) = json.loads(said(capfd, "list", "settings", "model.norm", "--json"))
    assert one["choices"] == ["layernorm", "layernorm_no_bias", "rmsnorm"]


def test_defaults_in_the_list_are_what_the_command_line_takes(capfd):
    """Each but null, and what a run cannot have by itself, gives the run without it."""
    rows = json.loads(said(capfd, "list", "settings", "--json"))
    here = [row for row in rows if row["group"] in ("model", "train", "measure", "extraction")]
    given = [f"{row['key']}={row['default']}" for row in here if row["default"] != "null"]
    assert len(given) > 30
    assert load(given) == load([])


def test_forms_and_measures_are_listed(capfd):
    out = said(capfd, "list", "forms")
    assert re.search(r"^capacity_linear +bits +C = alpha P$", out, re.M)
    (row,) = json.loads(said(capfd, "list", "forms", "capacity_power", "--json"))
    assert row["parameters"] == ["a", "gamma"]
    out = said(capfd, "list", "measures")
    assert "memorization, version" in out and "strict_bits, strict_ceiling_bits" in out
    columns = csv.DictReader(io.StringIO(said(capfd, "list", "measures", "memo", "--csv")))
    assert (
        "memorized bits, strict"
        in {row["column"]: row["meaning"] for row in columns}["strict_bits"]
    )


# sweep --show


def test_the_runs_of_a_study_are_shown_with_what_varies(here, capfd):
    (here / "s.yaml").write_text(STUDY)
    out = said(capfd, "sweep", "--show", "s.yaml")
    assert out.startswith("s: 8 runs, all missing\n")
    runs = load_study("s.yaml", []).runs
    lines = out.splitlines()[2:10]
    assert [line.split()[0] for line in lines] == [run.run_id for run in runs]
    assert lines[0].split()[1:3] == ["1x8", f"{runs[0].parameters['total']:,}"]
    assert lines[-1].endswith("1  norm=rmsnorm, activation=relu2")
    assert not (here / "results").exists()
    rows = json.loads(said(capfd, "sweep", "--show", "s.yaml", "--json"))
    assert rows[-1]["model.activation"] == "relu2" and rows[-1]["variant"]
    with_seed = said(capfd, "sweep", "--show", "pocket")
    assert "model.n_heads, train.batch_size and train.lr follow from these" in with_seed


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_formats_are_for_show(here, capfd, option):
    assert main(["sweep", "pocket", option]) == 2
    assert f"{option}: is for `capacity sweep --show`" in one_line(capfd.readouterr().err)
    assert list(here.iterdir()) == []


# axes on the command line


def test_axes_on_the_command_line_cross_the_runs_of_a_study(here):
    (here / "s.yaml").write_text(STUDY)
    runs = load_study("s.yaml", ["train.lr=0.01,0.02", "seed=range(3)"]).runs
    plain = load_study("s.yaml", ["seed=0"]).runs
    assert len(plain) == 4 and len(runs) == 4 * 2 * 3
    assert {run.seed for run in runs} == {0, 1, 2}
    # each is the run that the values name one by one
    one_by_one = {
        run.run_id
        for lr in (0.01, 0.02)
        for seed in range(3)
        for run in load_study("s.yaml", [f"train.lr={lr}", f"seed={seed}"]).runs
    }
    assert {run.run_id for run in runs} == one_by_one
    assert [run.run_id for run in load_study("s.yaml", ["seed=choice(5)"]).runs] == [
        run.run_id for run in load_study("s.yaml", ["seed=5"]).runs
    ]


@pytest.mark.parametrize(
    "text, words",
    [
        ("cluster.workers=1,2", ["cluster.workers", "no part of what a run is"]),
        ("wandb.mode=offline,online", ["wandb.mode", "no part of what a run is"]),
        ("measure=default,default", ["measure", "no part of what a run is"]),
        ("data.path=a,b", ["data.path=choice(a,b)", "'data.path=\"a,b\"'"]),
        ("seed=0,x", ["command line: seed=x"]),
        ("train.lr=interval(0,1)", ["command line: train.lr"]),
        ("model=gpt,gtp", ["model=gtp", "did you mean gpt?"]),
        ("model.d_modle=8,16", ["model.d_modle", "did you mean model.d_model?"]),
    ],
)
def test_bad_axes_are_one_line(here, capfd, text, words):
    (here / "s.yaml").write_text(STUDY)
    assert main(["sweep", "s.yaml", "--dry-run", text]) == 2
    err = one_line(capfd.readouterr().err)
    assert [word for word in words if word not in err] == []


# train --dry-run


def test_a_dry_run_says_what_a_run_costs_and_writes_nothing(here, tiny, capfd):
    config = load([*tiny, "cluster.threads=1"])
    out = said(capfd, "train", "--dry-run", *tiny, "cluster.threads=1")
    assert out.startswith(f"run         {config.run_id}, missing\n")
    assert f"{config.parameters['total']:,} parameters in total" in out
    assert "120 steps of 8 windows" in out and "48 exposures" in out
    seconds = speed_of("cpu", here / "results").seconds([config])
    assert f"about 0:{round(seconds):02}" in out
    assert stack_bytes(config, 1, "cpu") < 1e6 and "memory      about 1 MB" in out
    assert list(here.iterdir()) == []


def test_a_dry_run_knows_that_the_run_is_there(trained, tiny, capfd):
    assert "finished" in said(capfd, "train", "--dry-run", *tiny).splitlines()[0]


# --quiet and ids


def test_quiet_commands_print_their_result_only(here, tiny, capfd):
    run_id = load(tiny).run_id
    for _ in range(2):  # trained, and found to be there
        assert main(["train", "--quiet", *tiny]) == 0
        assert capfd.readouterr() == (f"{run_id}\n", "")
    assert main(["measure", "-q", run_id]) == 0
    assert capfd.readouterr() == (f"{run_id}\n", "")
    pins = ", ".join(tiny)
    (here / "s.yaml").write_text(f"pins: [{pins}]\ngrids: [{{seed: [0, 1]}}]\n")
    assert main(["sweep", "-q", "s.yaml"]) == 0
    assert capfd.readouterr() == ("2 of 2 runs finished\n", "")


def test_a_run_is_found_by_the_first_digits_of_its_id(trained, capfd, tmp_path):
    results, record = trained
    run_id = record["run_id"]
    assert main(["measure", "-q", run_id[:6]]) == 0
    assert capfd.readouterr().out == f"{run_id}\n"
    assert main(["export", run_id[:5], "--output", str(tmp_path / "model")]) == 0
    assert (tmp_path / "model" / "config.json").exists()
    twin = run_id[:7] + ("0" if run_id[7] != "0" else "1") + "0000"
    (records.runs_dir(results) / twin).mkdir()
    capfd.readouterr()
    assert main(["measure", run_id[:7]]) == 2
    err = one_line(capfd.readouterr().err)
    assert run_id in err and twin in err and "give more digits" in err
    nobody = "0000" if not run_id.startswith("0000") else "1111"
    assert main(["measure", nobody]) == 2
    assert f"{nobody}: no run in" in one_line(capfd.readouterr().err)


# names of variants


NAMED = STUDY + "names: {ours: {model.norm: rmsnorm}, theirs: {model.activation: [gelu, silu]}}\n"


def test_names_are_shown_and_change_no_run(here, capfd):
    (here / "s.yaml").write_text(STUDY)
    (here / "named.yaml").write_text(NAMED)
    plain, named = load_study("s.yaml", []), load_study("named.yaml", [])
    assert [run.run_id for run in plain.runs] == [run.run_id for run in named.runs]
    assert set(named.variants.values()) == {"ours", "theirs"}
    assert set(plain.variants.values()) == {
        "norm=layernorm, activation=gelu",
        "norm=rmsnorm, activation=relu2",
    }
    assert said(capfd, "sweep", "--show", "named.yaml").splitlines()[9].endswith("1  ours")


def test_names_stand_in_status_and_in_the_names_of_models(here, capfd):
    (here / "named.yaml").write_text(NAMED)
    assert main(["status", "named.yaml"]) == 1
    lines = [line for line in capfd.readouterr().out.splitlines() if " seed " in line]
    assert len(lines) == 8 and {line.split("  ")[-1] for line in lines} == {"ours", "theirs"}
    assert main(["status", "named.yaml", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["runs"][-1]["variant"] == "ours"
    runs = load_study("named.yaml", []).runs
    called = run_table.model_names(runs, load_study("named.yaml", []).names)
    assert set(called.values()) == {"1x8 ours", "1x8 theirs", "1x16 ours", "1x16 theirs"}
    plain = run_table.model_names(runs)
    assert "1x8 norm=rmsnorm activation=relu2" in plain.values()
    # the same models, whatever they are called
    pairs = set(zip(called.values(), plain.values(), strict=True))
    assert len(pairs) == len(set(called.values())) == len(set(plain.values()))


def test_sides_of_a_comparison_go_by_name(tmp_path, capfd):
    study = write(tmp_path, tmp_path / "r")
    with open(study.path, "a") as file:
        file.write("names: {gated: {model.mlp: gated}, plain: {model.mlp: standard}}\n")
    command = ["compare", str(study.path), "--results", str(tmp_path / "r")]
    rows = []
    sides = (("gated", "plain"), ("model.mlp=gated", "model.mlp=standard"))
    for a, b in sides:
        assert main([*command, "--a", a, "--b", b, "--value", "strict_bits"]) == 0
        path = tmp_path / "r" / "studies" / study.name / "compare.json"
        (row,) = json.loads(path.read_text())["comparisons"]
        assert (row.pop("a"), row.pop("b")) == (a, b)
        assert row.pop("verdict").startswith(f"{a} has more than {b}")
        rows.append(row)
    assert rows[0] == rows[1]
    capfd.readouterr()
    assert main([*command, "--a", "gatd", "--b", "plain"]) == 2
    assert "did you mean gated?" in one_line(capfd.readouterr().err)


@pytest.mark.parametrize(
    "entry, words",
    [
        ("names: [ours]", ["names: expected a mapping", "ours: {model.norm: rmsnorm}"]),
        ("names: {ours: rmsnorm}", ["names: ours: expected the settings"]),
        ("names: {ours: {}}", ["names: ours: expected the settings"]),
        ("names: {ours: {model.nrom: rmsnorm}}", ["model.nrom", "did you mean model.norm?"]),
        ("names: {ours: {cluster.workers: 2}}", ["cluster.workers", "data, model or train"]),
        ("names: {ours: {model: llama}}", ["model: no such setting"]),
        ("names: {'a,b': {model.norm: rmsnorm}}", ["'a,b'", "without comma"]),
        ("names: {ours: {model.norm: rms}}", ["model.norm: no run has this", "rmsnorm"]),
        (
            "names: {ours: {model.norm: rmsnorm, model.activation: gelu}}",
            ["ours: no run has all of these"],
        ),
        ("names: {ours: {model.norm: {a: 1}}}", ["model.norm", "a value or a list"]),
        ("name: {ours: {model.norm: rmsnorm}}", ["name: no such entry", "did you mean names?"]),
    ],
)
def test_bad_names_are_one_line(here, capfd, entry, words):
    (here / "s.yaml").write_text(f"{STUDY}{entry}\n")
    assert main(["sweep", "s.yaml", "--dry-run"]) == 2
    err = one_line(capfd.readouterr().err)
    assert "s.yaml: " in err and [word for word in words if word not in err] == []


def test_a_preset_may_leave_names_of_its_study_without_a_run(here):
    (here / "s.yaml").write_text(NAMED + "presets: {small: {grids: [{model.d_model: [8]}]}}\n")
    assert set(load_study("s.yaml@small", []).variants.values()) == {"theirs"}
    assert set(load_study("s.yaml", ["model.norm=layernorm"]).variants.values()) == {
        "theirs",
        "activation=relu2",
    }


def test_the_narrower_of_two_names_counts_and_others_are_joined():
    names = {
        "GPT2": {"model.mlp": ("standard",)},
        "quarter": {"model.mlp": ("standard",), "model.mlp_ratio": (1.0,)},
        "Muon": {"train.optimizer": ("muon",)},
    }
    row = {"model.mlp": "standard", "model.mlp_ratio": 4.0, "train.optimizer": "adamw"}
    assert naming.given(names, row) == "GPT2"
    assert naming.given(names, row | {"model.mlp_ratio": 1.0}) == "quarter"
    assert naming.given(names, row | {"train.optimizer": "muon"}) == "GPT2, Muon"
    assert naming.given(names, row | {"model.mlp": "gated"}) == ""
    assert naming.given({"third": {"model.mlp_ratio": (2.667,)}}, {"model.mlp_ratio": 8 / 3})


def test_runs_that_differ_are_never_called_the_same():
    """A name covers two runs that differ in the optimizer, and one is called as the published form
    of another."""
    names = {"GPT2": {"model.norm": ("rmsnorm",)}}
    form = {f"model.{key}": naming.plain(v) for key, v in naming.ARCHITECTURES["GPT2"].items()}
    rows = [
        form | {"train.optimizer": "adamw"},
        form | {"model.norm": "rmsnorm", "train.optimizer": "adamw"},
        form | {"model.norm": "rmsnorm", "train.optimizer": "muon"},
    ]
    found = naming.variants(rows, ["model.norm"], [], ["train.optimizer"], names)
    assert len(set(found)) == 3
    assert found[1:] == ["GPT2, optimizer=adamw", "GPT2, optimizer=muon"]
