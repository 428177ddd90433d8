"""The tidy table of runs: every number of every record under a documented name, missing values
missing, files whole."""

import io
import json
import random
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from capacity import records, run_table
from capacity.cli.main import main
from capacity.compose import load
from capacity.export import columns, table
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.study import load_study

ONE_BY_ONE = ("exposures", "losses", "extracted")  # single canaries stay in the record
TINY = [
    "model.n_layers=1",
    "model.d_model=8",
    "model.n_heads=2",
    "train.batch_size=8",
    "train.warmup_steps=5",
    "cluster.device=cpu",
    "measure.contexts=1",
]
STUDY = (
    """
pins: [data=uniform, data.vocab_size=16, data.seq_len=4, data.n_sequences=20, train.steps=40,
  'quantize.methods=[rtn]', 'quantize.bits=[8,3]', """
    + ", ".join(TINY)
    + """]
grids: [{seed: [0, 1, 2], model.bias: [true, false]}]
"""
)
RUNS = [
    [
        "data=text_pocket",
        "data.documents=150",
        "data.seq_len=8",
        "data.n_held_out=20",
        "data.tokens_per_parameter=null",
        "data.n_sequences=30",
        "data.canaries=3",
        "data.repeats=[0,2]",
        "train.steps=20",
    ],
    [
        "data=bios_pocket",
        "data.n_people=60",
        "data.seq_len=48",
        "data.questions=true",
        "extraction=full",
        "extraction.steps=5",
        "measure.people=20",
        "train.steps=20",
    ],
    ["data=biod_pocket", "data.n_people=40", "data.seq_len=32", "train.steps=20"],
    ["data=uniform", "data.n_sequences=5", "train.steps=20", "train.lr=1e30"],
]  # fails


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a study of which a run is missing, a run that several studies have, runs of all
    kinds, one that failed and one that was only begun."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "s.yaml").write_text(STUDY)
    (folder / "part.yaml").write_text(
        STUDY.replace("seed: [0, 1, 2], model.bias: [true, false]", "seed: [0], model.bias: [true]")
    )
    results = folder / "results"
    planned = load_study(str(folder / "s.yaml"), []).runs
    for bias in (True, False):
        done = execute(
            [run for run in planned if run.model.bias == bias],
            Job(results, torch.device("cpu"), "s"),
        )
        assert list(done.values()) == ["finished"] * 3
    assert [main(["train", *settings, *TINY, "--results", str(results)]) for settings in RUNS] == [
        0,
        0,
        0,
        1,
    ]
    gone = next(
        run
        for run in records.runs_dir(results).iterdir()
        if json.loads((run / "config.json").read_text())["seed"] == 2
    )
    for name in ("record.json", "weights.safetensors", "metrics.jsonl"):
        (gone / name).unlink()
    return folder, results


@pytest.fixture(scope="module")
def frame(here):
    found, unread = table.groups([], [], here[1])
    assert not unread
    return table.tidy(found, here[1])


def leaves(tree, path=""):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, tree


def test_there_is_one_row_per_run_and_all_of_its_numbers_are_there(here, frame):
    runs = {path.name for path in records.runs_dir(here[1]).iterdir()}
    assert set(frame.run_id) == runs and len(frame) == len(runs) == 6 + 4
    checked = 0
    for row in frame.to_dict("records"):
        record = records.read(here[1], row["run_id"])
        if record is None:
            assert (
                row["status"] == "missing"
                and pd.isna(row["strict_bits"])
                and pd.isna(row["wall_s"])
                and row["steps"] == 40
            )
            continue
        column_of = {path: name for path, name, _ in columns.numbers(record)}
        for path, value in leaves(
            {
                name: record[name]
                for name in (
                    "parameters",
                    "data",
                    "training",
                    "measures",
                    "convergence",
                    "environment",
                )
            }
        ):
            if path.startswith("measures.quantization.") or path in (
                "convergence.meaning",
                "convergence",
            ):
                continue
            if isinstance(value, list) and "_interval" not in path:
                assert path == "measures.text.canaries", path
                parts = [
                    (f"{path}.{level['repeats']}.{name}", x)
                    for level in value
                    for name, x in level.items()
                    if name not in ("repeats", *ONE_BY_ONE)
                ]
            else:
                parts = [(path, value)]
            parts = [
                (f"{at}.{end}", x)
                for at, one in parts
                if "_interval" in at
                for end, x in zip(("low", "high"), one or (None, None), strict=True)
            ] + [(at, one) for at, one in parts if "_interval" not in at]
            for at, number in parts:
                cell = row[column_of[at]]
                assert (pd.isna(cell) and number is None) or cell == number, (at, cell, number)
                checked += 1
        for section in ("data", "model", "train", "measure", "extraction", "quantize"):
            for key, value in record["config"][section].items():
                cell = row[f"{section}.{key}"]
                assert (pd.isna(cell) and value in (None, "")) or cell == (
                    json.dumps(value) if isinstance(value, list) else value
                ), (section, key)
    assert checked > 500
    failed = frame[frame.status == "failed"]
    assert len(failed) == 1 and "finite" in failed.error.iloc[0] and failed.strict_bits.isna().all()


def test_numbers_are_those_of_the_tables_that_laws_are_fitted_to(here, frame):
    found, _ = table.groups([], [], here[1])
    shown, compared = frame.set_index("run_id"), 0
    for group in found:
        theirs = (
            run_table.table(here[1], group.runs)
            .set_index("run_id")
            .drop(columns=list(table.REPEATED))
        )
        for name in theirs:
            for run_id, value in theirs[name].items():
                cell = shown.loc[run_id, name]
                if value is not None and value == value and value != "":
                    assert cell == (json.dumps(value) if isinstance(value, tuple) else value), (
                        name,
                        run_id,
                        value,
                        cell,
                    )
                    compared += 1
    assert compared > 300


def test_every_column_is_documented_typed_and_in_a_stable_place(here, frame):
    dtypes = {"text": "string", "int": "Int64", "float": "Float64", "bool": "boolean"}
    for name in frame:
        kind, unit, meaning = columns.describe(name)
        assert meaning and "{" not in meaning and str(frame[name].dtype) == dtypes[kind], name
        assert kind != "text" or not unit
        assert max(map(len, table.describe(name))) <= 100
    names = list(frame)
    about = ["run_id", "study", "status", "error", "model", "variant", "kind", "seed"]
    assert names[:8] == about and len(set(names)) == len(names)
    dice = random.Random(0)
    for _ in range(20):
        some = dice.sample(names, dice.randint(2, len(names)))
        kept = columns.in_order(some)
        assert kept == [name for name in names if name in some]
    assert (
        names.index("data.kind")
        < names.index("train.lr")
        < names.index("parameters_total")
        < names.index("strict_bits")
        < names.index("finished_at")
    )
    assert (
        columns.describe("data.vocab_size")[2].startswith("text: V, rows")
        and columns.describe("data.seq_len")[0] == "int"
    )
    with pytest.raises(KeyError, match="my_number: not a column"):
        columns.describe("my_number")


def test_csv_and_parquet_hold_the_same_and_nothing_else_is_empty(here, frame, tmp_path, capsys):
    at = ["--results", str(here[1])]
    assert (
        main(["table", "--output", str(tmp_path / "a.csv"), *at]) == 0
        and main(["table", "--output", str(tmp_path / "deep" / "a.parquet"), *at]) == 0
    )
    out = capsys.readouterr()
    assert out.out == "" and f"a.csv: {len(frame)} rows, {len(frame.columns)} columns" in out.err
    assert main(["table", *at]) == 0
    assert capsys.readouterr().out == (tmp_path / "a.csv").read_text()
    raw = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    stored = pd.read_parquet(tmp_path / "deep" / "a.parquet")
    assert list(raw) == list(stored) == list(frame) and stored.equals(frame)
    assert (raw == "").equals(frame.isna()) and not raw.isin(
        ["nan", "NaN", "None", "null", "<NA>", "inf"]
    ).any(axis=None)
    for name in frame.columns[frame.dtypes == "Float64"]:
        known = frame[name].notna()
        assert [float(text) for text in raw[name][known]] == frame[name][
            known
        ].tolist()  # to the last digit
    import pyarrow.parquet

    field = pyarrow.parquet.read_schema(tmp_path / "deep" / "a.parquet").field("strict_bits")
    assert field.metadata[b"unit"] == b"bits" and b"strict convention" in field.metadata[b"meaning"]


def test_named_studies_have_their_rows_once_with_their_labels(here, capsys):
    folder, results = here
    names = [str(folder / name) for name in ("part.yaml", "s.yaml")]
    assert main(["table", *names, "--results", str(results)]) == 0
    both = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert len(both) == 6 == both.run_id.nunique() and both.study.value_counts().to_dict() == {
        "s": 5,
        "part; s": 1,
    }
    assert (
        both.status.value_counts().to_dict() == {"finished": 5, "missing": 1}
        or (both.status == "missing").sum() >= 1
    )
    assert set(both[both.study == "s"].model) == {"1x8 bias=True", "1x8 bias=False"} and both[
        both.study == "part; s"
    ].model.tolist() == ["1x8"]
    assert (
        main(["table", names[1], "train.lr=0.5", "--results", str(results)]) == 0
    )  # settings make other runs, none of which is there
    assert set(pd.read_csv(io.StringIO(capsys.readouterr().out)).status) == {"missing"}


def test_quantized_rows_are_those_of_the_measure(here, capsys):
    folder, results = here
    assert main(["table", str(folder / "s.yaml"), "--quantized", "--results", str(results)]) == 0
    shown = pd.read_csv(io.StringIO(capsys.readouterr().out))
    found, _ = table.groups([str(folder / "s.yaml")], [], results)
    theirs = run_table.quantized_table(results, found[0].runs)
    assert (
        len(shown) == len(theirs) == 3 * theirs.run_id.nunique()
        and shown.method.value_counts().to_dict()["rtn"] == 2 * theirs.run_id.nunique()
    )
    for name in set(theirs) - set(table.REPEATED):
        pd.testing.assert_series_equal(shown[name], theirs[name], check_dtype=False)
    assert {"data.vocab_size", "model.bias", "study"} <= set(shown) and "strict_bits" not in shown
    capsys.readouterr()
    assert (
        main(["table", str(folder / "s.yaml"), "seed=9", "--quantized", "--results", str(results)])
        == 2
    )
    assert "was measured after quantization" in capsys.readouterr().err


def test_columns_are_told_in_80_columns(here, capsys):
    assert main(["table", "--columns", "--results", str(here[1])]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert max(len(line) for line in lines if line.startswith(" ")) <= 80 and all(
        re.fullmatch(r".+  \[(text|int|float|bool)(, .+)?\]", h) for h in heads
    )
    assert (
        "strict_bits  [float, bits]" in heads
        and "train.lr  [float]" in heads
        and "seed  [int]" in heads
    )
    assert "    peak learning rate" in lines


def failed(capsys, *args):
    assert main(["table", *map(str, args)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_bad_input_is_one_line(here, tmp_path, capsys, monkeypatch):
    at = ["--results", here[1]]
    capsys.readouterr()
    assert "expected a file that ends in .csv or .parquet" in failed(
        capsys, "--output", tmp_path / "a.xlsx", *at
    )
    assert "train.lr=1: settings are those of a study" in failed(capsys, "train.lr=1", *at)
    assert "no such study" in failed(capsys, "nothing", *at)
    assert "no run in" in failed(capsys, "--results", tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = failed(capsys, "--output", tmp_path / "a.parquet", *at)
    assert "pip install pyarrow" in message and ".csv" in message and not list(tmp_path.iterdir())


def test_runs_of_another_version_are_named_and_left_out(here, tmp_path, capsys):
    source = next(
        path for path in records.runs_dir(here[1]).iterdir() if (path / "record.json").exists()
    )
    old, new = tmp_path / "runs" / "0123456789ab", tmp_path / "runs" / source.name
    for folder in (old, new):
        folder.mkdir(parents=True)
    record = json.loads((source / "record.json").read_text())
    (new / "record.json").write_text(json.dumps(record))
    record["config"]["cluster"]["compile"] = False  # no part of the run: is not looked at
    (new / "record.json").write_text(json.dumps(record))
    record["run_id"], record["config"]["model"]["depth"] = "0123456789ab", 3
    (old / "record.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert main(["table", "--results", str(tmp_path)]) == 1
    out = capsys.readouterr()
    assert (
        out.out.count("\n") == 2
        and source.name in out.out
        and "0123456789ab (model.depth" in out.err
    )
    record["config"]["model"] = json.loads((source / "record.json").read_text())["config"][
        "model"
    ] | {"init_std": 0.5}
    (old / "record.json").write_text(json.dumps(record))
    assert (
        main(["table", "--results", str(tmp_path)]) == 1
    )  # another id than its folder: of another time
    assert "0123456789ab (they are those of run" in capsys.readouterr().err
    (new / "record.json").write_text("{")
    assert "not a record" in failed(capsys, "--results", tmp_path)
    (new / "record.json").unlink()
    (new / "config.json").write_text("{")
    assert "config.json: not valid JSON" in failed(capsys, "--results", tmp_path)


def test_a_write_that_breaks_leaves_the_old_file(here, tmp_path, monkeypatch, capsys):
    import os

    (tmp_path / "a.csv").write_text("old")

    def broken(*_):
        raise OSError(28, "No space left on device", "a.csv")

    monkeypatch.setattr(os, "replace", broken)
    assert main(["table", "--output", str(tmp_path / "a.csv"), "--results", str(here[1])]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"] and (
        tmp_path / "a.csv"
    ).read_text() == "old"


def test_the_table_needs_no_torch(here):
    code = (
        f"import sys; from capacity.cli.main import main; main(['table', '--results', "
        f"{str(here[1])!r}]); assert not {{'torch', 'matplotlib'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_run_measured_otherwise_shows_how(here, capsys):
    """The settings of the measure are those of the record, not of the study."""
    folder, results = here
    config = load([*RUNS[1], *TINY])
    assert main(["measure", config.run_id, "measure.people=10", "--results", str(results)]) == 0
    found, _ = table.groups([], [], results)
    shown = table.tidy([table.Group("x", [config])], results)
    assert (
        shown["measure.people"].tolist()
        == [10]
        == shown["measures.knowledge.people_asked"].tolist()
        and np.isfinite(shown.bits_se).all()
    )


def test_a_table_calls_runs_what_their_study_calls_them(tmp_path, capsys):
    """Where a study has names, by these, and by settings that vary within a name; without names by
    the settings."""
    study = tmp_path / "norms.yaml"
    axes = (
        "grids: [{model.d_model: [8, 16], model.norm: [layernorm, rmsnorm], model.bias: [true,"
        " false]}]\n"
    )
    called = {}
    for names in ("", "names: {ours: {model.norm: rmsnorm}}\n"):
        study.write_text(f"pins: [data=uniform, train.steps=300]\n{names}{axes}")
        for quantized in (False, True):
            found, _ = table.groups([str(study)], [], tmp_path)
            if not quantized:
                assert main(["table", str(study), "--results", str(tmp_path)]) == 0
                shown = pd.read_csv(io.StringIO(capsys.readouterr().out))
                called[bool(names)] = shown.variant.tolist()[:4]
                models = shown.model.tolist()
            else:
                names_of = run_table.model_names(found[0].runs, found[0].names)
                assert [names_of[run.run_id] for run in found[0].runs] == models
    assert called[False] == [
        "bias=true, norm=layernorm",
        "bias=false, norm=layernorm",
        "bias=true, norm=rmsnorm",
        "bias=false, norm=rmsnorm",
    ]
    assert called[True][2:] == ["ours, bias=true", "ours, bias=false"]
    assert models[2] == "1x8 ours bias=True"
