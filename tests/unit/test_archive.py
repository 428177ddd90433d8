"""Studies are fitted again from their kept records alone, to the byte; a run folder wins; sweeps
take no notice."""

import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from capacity import archive, records
from capacity.analysis import freeze, kinds
from capacity.analysis.text import attacks
from capacity.base.scores import read_scores, write_scores
from capacity.cli.main import main
from capacity.study import load_study
from frozen.analysis import no_pictures
from planted import plant


@pytest.fixture(autouse=True)
def _pictures(request, monkeypatch):
    """Pictures take most of the time, so one study has to do for all."""
    if "vocabulary" not in request.node.name:
        no_pictures(monkeypatch)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fitted(results, name, *more, verb="fit-laws"):
    assert main([verb, name, "--results", str(results), "--bootstraps", "100", *more]) == 0
    return files_of(results / "studies" / name)


def frozen(results, study):
    """What `fit-laws --freeze` does besides fitting."""
    with archive.reading(results, [study.name]):
        return freeze.freeze(study, results)


@pytest.mark.parametrize(
    "name",
    [
        "morris/vocabulary@pocket",
        "physics33/10_junk@pocket",
        "morris/canaries@pocket",
        pytest.param("precision/bios@pocket", marks=pytest.mark.slow),
        pytest.param("morris/membership@pocket", marks=pytest.mark.slow),
        pytest.param("morris/forgetting@pocket", marks=pytest.mark.slow),
    ],
)
@pytest.mark.long
def test_a_study_is_fitted_to_the_byte_without_its_run_folders(tmp_path, capsys, name):
    plant(tmp_path, name)
    first = fitted(tmp_path, name, "--freeze")
    assert archive.RECORDS in first and (archive.SCORES in first) == name.startswith(
        ("morris/c", "morris/m", "morris/f")
    )
    assert "records from" not in capsys.readouterr().err
    shutil.rmtree(tmp_path / "runs")
    again = fitted(tmp_path, name, "--freeze")
    n = len(gzip.decompress(first[archive.RECORDS]).splitlines())
    assert re.search(
        rf"^{n} of \d+ records from \S+{archive.RECORDS}$", capsys.readouterr().err, re.M
    )
    assert [file for file in first if first[file] != again[file]] == [] and set(first) == set(again)
    assert not (tmp_path / "runs").exists()  # reading leaves nothing behind


def test_report_compare_and_table_read_kept_records_and_a_sweep_does_not(tmp_path, capsys):
    study = plant(tmp_path, "optimizers")
    fitted(tmp_path, "optimizers", "--freeze")
    sides = [
        "--a",
        "train.optimizer=muon",
        "--b",
        "train.optimizer=adamw",
        "--results",
        str(tmp_path),
    ]
    asked = (["compare", "optimizers", *sides], ["table", "optimizers", "--results", str(tmp_path)])

    def said(args):
        capsys.readouterr()
        assert main(args) == 0
        return capsys.readouterr().out

    page = fitted(tmp_path, "optimizers", verb="report")["report.html"]
    before = [said(args) for args in asked]
    shutil.rmtree(tmp_path / "runs")
    assert [said(args) for args in asked] == before
    assert fitted(tmp_path, "optimizers", verb="report")["report.html"] == page
    assert f"{len(study.runs)} to do" in said(
        ["sweep", "optimizers", "--dry-run", "--results", str(tmp_path)]
    )
    assert main(["status", "optimizers", "--results", str(tmp_path)]) == 1


def test_a_record_of_a_run_folder_wins_and_runs_in_neither_are_missing(tmp_path):
    study = plant(tmp_path, "pocket", without=[3], failed=[5])
    frozen(tmp_path, study)
    one, other, failed = study.runs[0].run_id, study.runs[1].run_id, study.runs[5].run_id
    changed = records.read(tmp_path, one) | {"finished_at": "2027-01-01T00:00:00+00:00"}
    for run in study.runs:
        if run.run_id != one:
            shutil.rmtree(records.run_dir(tmp_path, run.run_id), ignore_errors=True)
    records.write(tmp_path, changed)
    assert (
        records.read(tmp_path, other) is None
    )  # outside of `reading` there is nothing but run folders
    with archive.reading(tmp_path, ["pocket"]) as kept:
        assert records.read(tmp_path, one) == changed
        assert records.read(tmp_path, other)["run_id"] == other
        assert records.read(tmp_path, study.runs[3].run_id) is None
        assert [records.status(tmp_path, run_id) for run_id in (one, other, failed)] == [
            "finished",
            "finished",
            "failed",
        ]
        assert len(kept.used(tmp_path, study.runs)) == len(study.runs) - 2
        records.read(tmp_path, other)["status"] = "changed by a caller"
        assert records.read(tmp_path, other)["status"] == "finished"
    frozen(tmp_path, study)  # keeps what has no folder any more, and takes over what has
    with archive.reading(tmp_path, ["pocket"]) as kept:
        assert len(kept.records) == len(study.runs) - 1
        assert kept.records[one]["finished_at"] == changed["finished_at"]


def test_kept_records_say_nothing_of_a_site_and_are_the_same_bytes_in_any_order(tmp_path):
    study = plant(tmp_path, "pocket", failed=[5])
    found = [records.read(tmp_path, run.run_id) for run in study.runs]
    found[5]["error"]["traceback"] = "File /a/machine/of/mine"
    found[0]["config"]["cluster"]["partition"] = "a-queue-of-mine"
    content = archive.pack_records(found)
    assert archive.pack_records(found[::-1]) == content
    assert content[4:8] == bytes(4)  # no time
    text = gzip.decompress(content).decode()
    assert "mine" not in text and "wandb" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["run_id"] for line in lines] == sorted(run.run_id for run in study.runs)
    by_id = sorted(found, key=lambda record: record["run_id"])
    for line, record in zip(lines, by_id, strict=True):
        assert line["measures"] == record["measures"] and line["training"] == record["training"]
        assert [*line["config"]["train"].items()] == [*record["config"]["train"].items()]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda data: data[:-9], ["not a file of records"]),
        (lambda data: b"{}", ["not a file of records"]),
        (lambda data: gzip.compress(b"{}\n"), ["line 1", "not a record"]),
        (lambda data: gzip.compress(gzip.decompress(data) * 2), ["line 21", "a second time"]),
    ],
)
def test_a_file_that_is_none_of_records_is_named(tmp_path, capsys, spoil, words):
    frozen(tmp_path, plant(tmp_path, "pocket"))
    file = tmp_path / "studies" / "pocket" / archive.RECORDS
    file.write_bytes(spoil(file.read_bytes()))
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert main(["fit-laws", "pocket", "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in [*words, str(file)])


def test_scores_come_back_to_the_bit_and_their_curves_too(tmp_path):
    """Ties, a run that shares the rows of another, one with rows of its own, and one that saw
    nothing."""
    dice = np.random.default_rng(0)
    n = 3000

    def table(rows, seen):
        k = len(rows)
        scores = {
            name: (dice.normal(0, 1, k) + seen).astype(np.float32)
            for name in ("loss", "min_k", "min_k_plus", "recall")
        }
        scores["min_k"] = np.round(scores["min_k"], 1)
        return {
            "row": rows.astype(np.int64),
            "seen": seen.astype(np.uint8),
            "zlib": (20 + rows % 50).astype(np.int32),
            **scores,
        }

    rows = dice.permutation(10 * n)[:n]
    tables = {
        "a" * 12: table(rows, np.arange(n) >= 1000),
        "b" * 12: table(rows[:1500], np.arange(1500) >= 1000),
        "c" * 12: table(rows[::-1], np.arange(n) < 2000),
        "d" * 12: table(rows, np.zeros(n, bool)),
    }
    tables["c" * 12]["seen"][0] = 0
    passing = {run_id: attacks.passing(found) for run_id, found in tables.items()}
    assert passing["d" * 12] == {}
    content = archive.pack_scores(tables, passing)
    assert content == archive.pack_scores(dict(reversed(tables.items())), passing)
    (tmp_path / archive.SCORES).write_bytes(content)
    back = archive.unpack_scores(tmp_path / archive.SCORES)
    assert back.keys() == tables.keys()
    for run_id, kept in back.items():
        for name in ("row", "seen", "zlib", "loss"):
            assert (
                kept[name].dtype == tables[run_id][name].dtype
                and (kept[name] == tables[run_id][name]).all()
            ), name
        assert not set(attacks.RANKED) & kept.keys()
        whole, some = attacks._curves(run_id, tables[run_id]), attacks._curves(run_id, kept)
        assert [told.attack[0] for told in whole] == list(attacks.SINGLE) * (run_id[0] != "d")
        assert len(whole) == len(some)
        assert all(of_all.equals(of_kept) for of_all, of_kept in zip(whole, some, strict=True))
        again = attacks.passing(kept)
        assert all((again[name] == passing[run_id][name]).all() for name in passing[run_id])


def test_scores_that_do_not_fit_are_said_to_be_left_out(tmp_path, capsys, monkeypatch):
    study = plant(tmp_path, "morris/canaries@pocket")
    file = tmp_path / "studies" / study.name / archive.SCORES
    assert len(frozen(tmp_path, study)) == 2
    monkeypatch.setattr(archive, "LARGEST_SCORES", file.stat().st_size - 1)
    assert "not written" in frozen(tmp_path, study)[-1]
    assert not file.exists()
    shutil.rmtree(tmp_path / "runs")
    assert main(["fit-laws", "morris/canaries@pocket", "--results", str(tmp_path)]) == 2
    assert "scores" in capsys.readouterr().err


def test_freeze_is_for_the_study_as_its_file_has_it_and_needs_no_law(tmp_path, capsys, monkeypatch):
    known = {name: where for name, where in kinds.REGISTRY.items() if name != "budget"}
    monkeypatch.setattr(kinds, "REGISTRY", known)  # as if no kind knew what to do with budgets
    assert (
        main(["fit-laws", "pocket", "train.steps=700", "--freeze", "--results", str(tmp_path)]) == 2
    )
    assert "leave out train.steps=700" in capsys.readouterr().err
    plant(tmp_path, "pocket_budget")
    assert main(["fit-laws", "pocket_budget", "--freeze", "--results", str(tmp_path)]) == 2
    assert len(
        archive.unpack_records(tmp_path / "studies" / "pocket_budget" / archive.RECORDS)
    ) == len(load_study("pocket_budget", []).runs)


def test_scores_of_a_run_folder_win_too(tmp_path):
    study = plant(tmp_path, "morris/canaries@pocket")
    frozen(tmp_path, study)
    one = study.runs[0].run_id
    with archive.reading(tmp_path, [study.name]):
        mine = archive.scores(tmp_path, one)
        assert (mine["min_k"] == read_scores(records.run_dir(tmp_path, one))["min_k"]).all()
        shutil.rmtree(records.run_dir(tmp_path, one))
        assert "min_k" not in archive.scores(tmp_path, one)


def test_status_says_which_missing_runs_have_a_kept_record(tmp_path, capsys):
    """A sweep trains them, while the table of the study has their numbers."""
    name = "morris/vocabulary@pocket"
    kept = Path(__file__).parents[2] / "results" / "studies" / name / archive.RECORDS
    there = tmp_path / "studies" / name / archive.RECORDS
    there.parent.mkdir(parents=True)
    there.write_bytes(kept.read_bytes())
    assert main(["status", name, "--results", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "12 runs, 12 missing" in said and "12 of the missing have a kept record" in said
    assert f"{archive.RECORDS}, which fit-laws" in said
    there.unlink()
    assert main(["status", name, "--results", str(tmp_path)]) == 1
    assert "kept record" not in capsys.readouterr().out


def test_tables_of_people_are_not_kept(tmp_path):
    """No law reads them, and they have no rows of a pool."""
    plant(tmp_path, "physics33/10_junk@pocket")
    study = load_study("physics33/10_junk@pocket", [])
    for run in study.runs:
        table = {"person": np.arange(3, dtype=np.int32), "name_nats": np.ones(3, np.float32)}
        write_scores(records.run_dir(tmp_path, run.run_id), table, run.run_id)
    (line,) = frozen(tmp_path, study)
    assert line.split(":")[0].endswith(archive.RECORDS)
    assert not (tmp_path / "studies" / study.name / archive.SCORES).exists()
