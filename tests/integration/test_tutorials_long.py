"""Tutorials work as they are written: their files are written, their commands given, one after the
other, and what they show is what is printed, but for numbers."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slurm_cluster import slurm, slurm_for_run  # noqa: F401
from waiting import patience

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[KMG]\b)?")
pytestmark = [pytest.mark.slow, pytest.mark.long]


def blocks(page):
    """(language, text) of every block of code, in order."""
    text = (TUTORIALS / page).read_text(encoding="utf-8")
    return re.findall(r"```(\w+)\n(.*?)```", text, re.S)


def words(text):
    """Without numbers and without where lines break."""
    return " ".join(NUMBER.sub("#", text).split())


@pytest.fixture
def follow(tmp_path):
    """Does what a page says in a folder of its own; returns its folder."""
    (tmp_path / "bin").mkdir()
    for name, module in (("capacity", "-m capacity"), ("python", "")):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
        command.chmod(0o755)

    def given(page, only=lambda line: True, instead=("", "")):
        printed: str | None = ""
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        env |= {"PATH": f"{tmp_path / 'bin'}:{env['PATH']}", "COLUMNS": "80"}
        env["CAPACITY_LOCAL"] = ""  # the page writes a conf/local.yaml of its own, to be read
        for language, text in blocks(page):
            if language == "text":
                if printed is None:
                    continue
                for line in filter(None, map(words, text.splitlines())):
                    assert line in words(printed), f"{page} shows: {line}\n{printed}"
                continue
            if name := re.match(r"# (\S+\.(?:yaml|py))\n", text):
                (tmp_path / name[1]).parent.mkdir(exist_ok=True)
                assert instead[0] in text or not name[1].endswith(".yaml")
                (tmp_path / name[1]).write_text(text.replace(*instead) if instead[0] else text)
                continue
            assert language == "bash", f"{page}: a block of {language} without a name"
            lines = "\n".join(filter(only, text.splitlines()))
            if not lines:
                printed = None
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", lines],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                timeout=patience(1200),
            )
            assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"
            printed = done.stdout + done.stderr
        return tmp_path

    return given


def test_every_tutorial_is_followed_by_a_test():
    followed = re.findall(r'"([\w-]+\.md)"', Path(__file__).read_text())
    elsewhere = {"index.md", "python.md"}  # test_python_tutorial has the second
    assert {path.name for path in TUTORIALS.glob("*.md")} == {*followed, *elsewhere}


def test_a_first_law(follow, tmp_path):
    """Of the kept records, which are what the page shows; the demo's test trains the study."""
    kept = ROOT / "results" / "studies" / "pocket"
    shutil.copytree(kept, tmp_path / "results" / "studies" / "pocket")
    trains = re.compile(r"capacity (sweep|status) pocket$")
    folder = follow("first-law.md", only=lambda line: not trains.match(line))
    assert (folder / "runs.csv").stat().st_size > 0
    assert (folder / "results" / "studies" / "pocket" / "report.html").stat().st_size > 0


def test_a_study_of_your_own(follow):
    folder = follow("own-study.md") / "results" / "studies" / "mine"
    for name in (
        "compare.json",
        "fit.json",
        "figures/capacity.png",
        "report.html",
        "records.jsonl.gz",
    ):
        assert (folder / name).stat().st_size > 0, name


def test_data_of_your_own(follow):
    # an eighth of the page's exposures, which take minutes of a core; what is printed is the same
    folder = follow("own-data.md", instead=("[300, 2000]", "[40, 250]"))
    assert len((folder / "people.jsonl").read_text().splitlines()) == 100
    assert (folder / "results" / "studies" / "people" / "figures" / "exposures.png").exists()


def test_an_audit_of_a_model(follow):
    folder = follow("audit.md") / "results" / "audits" / "model-members-others"
    for name in ("audit.json", "documents.csv", "report.html"):
        assert (folder / name).stat().st_size > 0, name


def test_a_study_on_a_cluster(follow, slurm):
    folder = follow("slurm.md")
    (submission,) = (folder / "results" / "submissions").glob("mine-*/")  # one of two sweeps
    assert "#SBATCH --partition=debug" in (submission / "submit.sbatch").read_text()
