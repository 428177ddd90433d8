"""The registry of kinds: a folder and a line add one, and all that shows a study shows it."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from capacity import run_table
from capacity.analysis import finding, kinds, labels
from capacity.analysis.finding import Options
from capacity.base.words import digits
from capacity.cli.main import main
from capacity.figures.look import Look
from capacity.report import markdown, page, text
from capacity.study import load_study
from pages import Reader, answer_of, packed
from planted import plant
from waiting import patience

FIGURE = [f"figures/speed.{kind}" for kind in ("png", "pdf", "csv")]
FOLDER = Path(__file__).parents[2] / "data" / "kinds"


@pytest.fixture
def training_speed(monkeypatch):
    """A kind in a folder of its own, added by one line, before the others."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(kinds, "REGISTRY", {"training_speed": "training_speed", **kinds.REGISTRY})


@pytest.fixture
def pocket(tmp_path, training_speed):
    """A study with a record of each run, its table, and the folder of results."""
    results = tmp_path / "results"
    study = plant(results, "pocket")
    return study, run_table.table(results, study.runs), results


def words(shown):
    return " ".join(shown.split())


def test_a_folder_and_a_line_are_a_kind_with_numbers_words_figures_errors_and_columns(pocket):
    study, table, results = pocket
    assert kinds.kind_of(study, table) == "training_speed"
    assert kinds.kinds_of(study.runs, table) == ["training_speed"]
    found = kinds.analyse(study, table, results)
    assert found.kind == "training_speed"
    speed = table.flops / table.wall_s / table.parameters_total
    value = float(np.exp(np.log(speed.astype(float)).mean()))
    assert found.numbers["per_parameter"] == pytest.approx(value, rel=1e-12)
    shown = text.render(kinds.document(found))
    assert max(map(len, shown.splitlines())) <= 80
    low, high = (digits(end, 4) for end in found.numbers["interval"])
    for part in (
        "Speed of pocket 20 runs timed.",
        f"{digits(value, 4)} operations per second and parameter, 95% [{low}, {high}].",
        "Speed of each model model P operations / s 2x8",
        f"v = s P s = {digits(value, 4)} 1/s; 95% [{low}, {high}] over runs",
        "What to do - train wider models",
        "Notes - Seconds depend on the machine.",
    ):
        assert part in words(shown)
    drawn = kinds.figures(found)
    assert list(drawn) == ["speed"]
    (errors,) = kinds.residuals(found)
    expected = 100 * (value / speed - 1)
    np.testing.assert_allclose(errors.points.error, expected.astype(float))
    paper = markdown.render(kinds.document(found), [*drawn])
    assert "![Operations per second against parameters](figures/speed.png)" in paper
    assert f"| v = s P | s | {digits(value, 4)} 1/s | **[{low}, {high}]** over runs |" in paper
    assert "- *operations*: floating-point operations of training" in paper


def test_fit_laws_shows_and_writes_a_kind_that_it_does_not_know(pocket, capsys):
    study, table, results = pocket
    assert main(["fit-laws", "pocket", "--results", str(results), "--bootstraps", "100"]) == 0
    out = capsys.readouterr().out
    found = kinds.analyse(study, table, results)
    document = kinds.document(found)
    folder = results / "studies" / "pocket"
    names = ["speed.json", "runs.csv", *FIGURE, "README.md"]
    paths = [str(folder / name) for name in names]
    assert out == "\n".join([text.render(document), "", *paths]) + "\n"
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*")) == sorted(names)
    assert json.loads((folder / "speed.json").read_text(encoding="utf-8")) == found.numbers
    assert (folder / "README.md").read_text(encoding="utf-8") == markdown.render(
        document, ["speed"]
    )
    assert (folder / "figures" / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "figures" / "speed.pdf").read_bytes().startswith(b"%PDF")
    kept = pd.read_csv(folder / "runs.csv").set_index("run_id").speed
    np.testing.assert_allclose(
        kept[table.run_id], (table.flops / table.wall_s).astype(float), rtol=1e-9
    )


def test_the_page_shows_a_kind_that_it_does_not_know(pocket, capsys):
    study, table, results = pocket
    assert main(["report", "pocket", "--results", str(results)]) == 0
    path = results / "studies" / "pocket" / "report.html"
    assert capsys.readouterr().out == f"{path}\n"
    content = path.read_bytes()
    found = kinds.analyse(study, table, results)
    assert content == page.build(page.Request("pocket", study, table, results, []), found)
    reader = Reader(content)
    assert reader.wrong == []
    document = kinds.document(found)
    assert answer_of(content) == document.answers[0].replace("**", "")
    titles = words(reader.texts["h2"])
    for section in document.sections:
        assert section.title in titles
    cells = words(reader.texts["td"] + " " + reader.texts["th"])
    assert "v = s P" in cells and digits(found.numbers["per_parameter"], 4) in cells
    assert document.figures["speed"] in reader.texts["figcaption"]
    ids = {attrs.get("id") for _, attrs in reader.elements}
    assert {"figure-speed", "figure-residuals", "speeds", "laws", "advice"} <= ids
    assert "train wider models" in reader.texts["li"] and "slow" in words(content.decode())
    assert "floating-point operations of training" in words(content.decode())
    files = packed(content)
    data = {f"figures/{name}.csv" for name in ("speed", "residuals")}
    assert set(files) == {"speed.json", "runs.csv", *data} and files["speed.json"] == found.json()
    columns = list(kinds.load("training_speed").columns(table))
    assert "operations/s" in reader.texts["th"] and "error:speed" in reader.texts["th"]
    shown = page.runs.build(
        study.runs,
        found.tables["runs.csv"],
        columns,
        page.runs.states(results, table),
        list(document.flags),
        kinds.residuals(found),
    )
    heads = [column["heading"] for column in shown["columns"]]
    place, run = heads.index("operations/s"), heads.index("run")
    speeds = {row[run]: row[place] for row in shown["rows"]}
    assert speeds == pytest.approx(dict(zip(table.run_id, table.flops / table.wall_s, strict=True)))


def test_a_kind_that_has_no_law_for_some_runs_says_why_in_one_line(
    tmp_path, training_speed, capsys
):
    results = tmp_path / "results"
    plant(results, "pocket", without=range(2, 20))
    assert main(["fit-laws", "pocket", "--results", str(results)]) == 2
    err = capsys.readouterr().err
    assert err == "capacity: error: pocket: 2 finished runs; a speed needs three\n"
    assert not (results / "studies").exists()
    assert main(["report", "pocket", "--results", str(results)]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("no law: 2 finished runs; a speed needs three")
    content = (results / "studies" / "pocket" / "report.html").read_bytes()
    assert "No law from these runs: 2 finished runs" in answer_of(content)


def test_without_its_line_the_same_study_is_of_another_kind(tmp_path):
    results = tmp_path / "results"
    study = plant(results, "pocket")
    table = run_table.table(results, study.runs)
    assert kinds.kind_of(study, table) == "random"
    assert kinds.analyse(study, table, results, Options(bootstraps=100)).kind == "random"


MIXED = """question: q
pins: [model.d_model=8, train.steps=10, train.warmup_steps=2]
grids: [{data: [uniform, bios]}]
"""


def test_a_study_of_several_families_is_refused_in_one_line(here, training_speed, capsys):
    (here / "mixed.yaml").write_text(MIXED, encoding="utf-8")
    study = load_study("mixed.yaml", [])
    assert {labels.family(run) for run in study.runs} == {"random data", "facts"}
    says = "runs on facts and random data; a law is about one of them"
    with pytest.raises(ValueError) as refused:
        kinds.kind_of(study, run_table.table(here / "results", study.runs))
    assert str(refused.value) == says
    plant(here / "results", "mixed.yaml")
    assert main(["fit-laws", "mixed.yaml", "--results", "results"]) == 2
    assert capsys.readouterr().err == f"capacity: error: mixed: {says}\n"
    assert not (here / "results" / "studies").exists()
    assert main(["report", "mixed.yaml", "--results", "results"]) == 0
    assert capsys.readouterr().err.startswith(f"no law: {says}")


def test_runs_that_no_kind_knows_are_refused_in_one_line(monkeypatch, tmp_path):
    study = load_study("pocket", [])
    table = run_table.table(tmp_path, study.runs)
    only = {name: kinds.REGISTRY[name] for name in ("facts", "precision")}
    monkeypatch.setattr(kinds, "REGISTRY", only)
    with pytest.raises(ValueError, match="^no kind of study knows runs on data.kind=uniform$"):
        kinds.kind_of(study, table)


@pytest.mark.parametrize("name", kinds.REGISTRY)
def test_every_kind_has_every_function_of_the_protocol(name):
    kind = kinds.load(name)
    assert isinstance(kind.COMPARES, bool)
    protocol = {
        part: inspect.signature(function)
        for part, function in vars(kinds.Kind).items()
        if inspect.isfunction(function) and not part.startswith("_")
    }
    wanted = {"applies", "analyse", "document", "figures", "residuals", "columns", "expected"}
    assert set(protocol) == wanted
    for part, signature in protocol.items():
        arguments = list(signature.parameters)[1:]  # but for self
        assert list(inspect.signature(getattr(kind, part)).parameters) == arguments
        assert getattr(kind, part).__doc__


def test_figures_come_in_the_order_of_the_document_and_laws_without_points_have_no_errors(
    pocket, monkeypatch
):
    study, table, results = pocket
    found = kinds.analyse(study, table, results)
    kind = kinds.load("training_speed")
    (figure,), (errors,) = kind.figures(found).values(), kind.residuals(found)
    monkeypatch.setattr(kind, "figures", lambda f: {"other": figure, "speed": figure})
    assert list(kinds.figures(found)) == ["speed", "other"]
    empty = type(errors)(errors.law, "none", "%", errors.over, errors.points[:0])
    monkeypatch.setattr(kind, "residuals", lambda f: [empty, errors])
    assert [part.key for part in kinds.residuals(found)] == ["speed"]


def test_a_finding_without_figures_is_numbers_tables_and_a_page(tmp_path, pocket):
    study, table, results = pocket
    found = kinds.analyse(study, table, results)
    paths = finding.write(found, {}, "words\n", tmp_path / "out")
    assert sorted(path.name for path in paths) == ["README.md", "runs.csv", "speed.json"]
    assert sorted(os.listdir(tmp_path / "out")) == ["README.md", "runs.csv", "speed.json"]


def test_a_figure_of_the_page_before_goes_with_its_law(tmp_path, pocket):
    study, table, results = pocket
    found = kinds.analyse(study, table, results)
    (speed,) = kinds.load("training_speed").figures(found).values()
    page = "![a](figures/law.png) ![b](figures/speed.png)"
    finding.write(found, {"law": speed, "speed": speed}, page, tmp_path)
    (tmp_path / "figures" / "mine.png").write_bytes(b"a person's own")
    (tmp_path / "speed.png").write_bytes(b"where older versions put it")
    finding.write(found, {"speed": speed}, "![b](figures/speed.png)", tmp_path)
    kept = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.p*")}
    assert kept == {"figures/mine.png", "figures/speed.pdf", "figures/speed.png"}
    # of a format that is not asked for any more no older picture stays beside a newer fit
    finding.write(found, {"speed": speed}, "", tmp_path, Look(formats=("svg",)))
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "mine.png",
        "speed.svg",
        "speed.csv",
    }


def test_the_folder_is_written_as_contributors_are_told():
    """What it finds is read without matplotlib, which `plots.py` alone imports."""
    blocked = (
        "import sys; sys.modules['matplotlib'] = sys.modules['torch'] = None\n"
        "import training_speed as kind\n"
        "print(*sorted(n for n in kinds if hasattr(kind, n)))"
    )
    asked = sorted(name for name in vars(kinds.Kind) if not name.startswith("_"))
    done = subprocess.run(
        [sys.executable, "-c", f"kinds = {asked}\n{blocked}"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(FOLDER), *sys.path])},
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == asked
