"""Commands on many records open each file a fixed number of times: what they read grows with the
runs and no faster. Files are counted, nothing is timed."""

import importlib.util
import sys
from pathlib import Path

import pytest

from capacity.cli.main import main
from capacity.study import load_study

ROOT = Path(__file__).parents[2]
OPENED: list[list[str]] = []  # of the command that runs now


def _note(event, args):
    if event == "open" and OPENED and isinstance(args[0], str | Path):
        OPENED[-1].append(str(args[0]))


sys.addaudithook(_note)  # for good, as hooks are; silent but in `opened`


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale", ROOT / "scripts" / "scale.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(folder, *args):
    """Names of the files of runs that a command opens."""
    OPENED.append([])
    try:
        assert main([*args, "--results", str(folder / "results")]) == 0
    finally:
        names = OPENED.pop()
    return [name for name in names if f"{folder}/results/runs/" in name]


@pytest.fixture(scope="module")
def folders(scale, tmp_path_factory):
    """Two studies, one with three times the records of the other."""
    made = []
    for seeds in (1, 3):
        folder = tmp_path_factory.mktemp("scale")
        text = scale.study_file(seeds * scale.per_seed())
        (folder / "scale.yaml").write_text(text)
        study = load_study(str(folder / "scale.yaml"), [])
        assert len(study.runs) == seeds * scale.per_seed()
        scale.write_runs(study.runs, folder / "results", study.name)
        made.append((folder, len(study.runs)))
    return made


COMMANDS = {
    "status": 1,  # opens of each run, at most
    "table": 2,  # laws' table, and what it leaves out
    "sweep": 2,
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_what_a_command_opens_grows_with_the_runs_and_no_faster(folders, verb, capfd):
    counted = []
    for folder, _ in folders:
        more = {"table": ["--output", str(folder / "t.csv")], "sweep": ["--dry-run"]}.get(verb, [])
        counted.append(len(opened(folder, verb, str(folder / "scale.yaml"), *more)))
    capfd.readouterr()
    (few, runs), (many, thrice) = zip(counted, [n for _, n in folders], strict=True)
    assert runs <= few <= COMMANDS[verb] * runs
    assert many - few <= few / runs * (thrice - runs)


def test_planted_records_follow_the_law_that_they_are_planted_by(scale, folders, capfd):
    folder, _ = folders[0]
    from capacity.run_table import table

    runs = table(folder / "results", load_study(str(folder / "scale.yaml"), []).runs)
    assert (runs.status == "finished").all()
    assert (runs.strict_bits <= runs.strict_ceiling_bits).all()
    full = runs[runs.load > 5]
    held = full.strict_bits / full.parameters_total
    assert abs(held / scale.PLANTED - 1).max() < 0.1  # scatter of 4% at most, and the corner


def test_what_the_script_measures_is_consistent(scale, tmp_path, monkeypatch, capsys):
    for name, values in (("LAYERS", (1,)), ("WIDTHS", (16, 24)), ("LOADS", (2.0, 6.0))):
        monkeypatch.setattr(scale, name, values)
    tried = []
    for runs in (scale.per_seed(), 2 * scale.per_seed()):
        folder = tmp_path / str(runs)
        folder.mkdir()
        tried.append(scale.measure(folder, runs, ["status"]))
    found = scale.together(*tried)
    assert (found["part"]["runs"], found["runs"]) == (4, 8)
    told, before = found["commands"]["status"], tried[0]["commands"]["status"]
    assert 0 < told["cpu_s"] and 1e7 < told["peak_bytes"] < 1e10
    grown = before["cpu_s"] * 2 ** told["growth_cpu_s"]
    assert grown == pytest.approx(told["cpu_s"])
    assert found["most"]["cpu_s"] == "status"
    runs = list((tmp_path / "8" / "results" / "runs").iterdir())
    files = [path for run in runs for path in run.iterdir()]
    assert found["files_per_run"] == (len(files) + len(runs)) / len(runs)
    size = sum(path.stat().st_size for path in files)
    assert found["bytes_per_run"] == pytest.approx(size / len(runs))
    queue = found["queue"]
    assert queue["runs_per_element"] * queue["elements"] == pytest.approx(8)
    hours = queue["elements"] * queue["element_s"] / 3600 / scale.NODES
    assert queue["runs_per_hour"] == pytest.approx(8 / hours)
    assert "8 runs" in capsys.readouterr().out


def test_a_run_asks_a_few_things_of_the_file_system_for_each_line_of_its_log(scale):
    counted = scale.asked_of_files()
    lines = 100 + 11  # LOG_POINTS, and evaluations
    assert lines <= counted["opened"] <= 2 * lines
    assert counted["made"] >= 1 and 3 <= counted["renamed"] <= 20
