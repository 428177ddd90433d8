"""Jobs whose submitter died before it heard their number, and that a person has renamed since."""

import subprocess

import pytest

from capacity.cli.main import main
from capacity.sweep import slurm, submissions
from queues import QUEUE, found, submitted  # noqa: F401


@pytest.fixture
def queue(monkeypatch):
    """A queue that knows a renamed job by its owner only; returns what it was asked."""
    asked, rows = [], []

    def run(*command):
        asked.append(command)
        known = command[0] == "squeue" and any(word.startswith("--user=") for word in command)
        return subprocess.CompletedProcess(command, 0, "".join(rows) if known else "", "")

    monkeypatch.setattr(slurm, "_run", run)
    return asked, rows


def row(job, command):
    return f"{job}|0|PENDING|0|Priority|another name|{command}|\n"


def test_a_renamed_job_without_a_known_number_is_found_among_the_jobs_of_its_owner(
    found,
    here,
    queue,
    capsys,
):
    asked, rows = queue
    s = submitted(found(), here / "results", job=None)
    rows += [row(5, "/home/x/other.sh"), row(31, f"{s.folder}/submit.sbatch")]
    living = submissions.alive(here / "results")
    assert list(living) == [(s, 0)] and living[s, 0].job == "31"
    assert any(f"--user={s.tree['user']}" in command for command in asked)
    line = ["s.yaml", *QUEUE, "--results", str(here / "results")]
    assert main(["sweep", *line]) == 0 and "nothing to submit" in capsys.readouterr().out
    (s,) = submissions.read_all(here / "results")
    assert s.job == "31"  # so that its log and how it ended can be read
    assert main(["cancel", line[0], *line[-2:]]) == 0
    assert ("scancel", "31_0") in asked


def test_the_jobs_of_a_person_are_not_asked_for_where_all_are_known(
    found,
    here,
    monkeypatch,
):
    s = submitted(found(), here / "results", job="12")
    asked = []

    def run(*command):
        asked.append(command)
        out = f"12|0|RUNNING|0|None|{s.folder.name}|{s.folder}/submit.sbatch|\n"
        return subprocess.CompletedProcess(command, 0, out, "")

    monkeypatch.setattr(slurm, "_run", run)
    assert list(submissions.alive(here / "results")) == [(s, 0)]
    assert not any("--user" in word for command in asked for word in command)


def test_a_person_whom_this_cluster_does_not_know_has_no_jobs_there(
    found,
    here,
    monkeypatch,
):
    submitted(found(), here / "results", job=None, user="somebody-else")

    def run(*command):
        bad = any(word.startswith("--user=") for word in command)
        words = "squeue: error: Invalid user: somebody-else\n" if bad else ""
        return subprocess.CompletedProcess(command, int(bad), "", words)

    monkeypatch.setattr(slurm, "_run", run)
    assert submissions.alive(here / "results") == {}


def test_a_script_has_short_lines_and_starts_the_worker_of_its_own_pack(
    found,
    here,
    tmp_path,
):
    """Long commands are wrapped; the shell still runs one command with the pack of the element."""
    prefix = (
        "apptainer exec --nv --bind /data:/data --bind /scratch:/scratch '/images/my image.sif'"
    )
    study = found(f'cluster.prefix="{prefix}"', "cluster.python=/bin/echo")
    s = submitted(study, tmp_path / "a folder, of a person")
    text = slurm.script(s, study.runs[0].cluster, 3700, "5G")
    free = [
        line
        for line in text.splitlines()
        if not line.startswith(("#SBATCH --output=", "#SBATCH --job-name=", "here="))
    ]
    assert max(map(len, free)) <= 80, [line for line in free if len(line) > 80]
    (here / "bin").mkdir()
    for name in ("apptainer", "scontrol"):
        (here / "bin" / name).write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
        (here / "bin" / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", text],
        env={"PATH": f"{here / 'bin'}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "".join(
        f"<{word}>"
        for word in ("exec", "--nv", "--bind", "/data:/data", "--bind", "/scratch:/scratch")
        + ("/images/my image.sif", "/bin/echo", "-m", "capacity", "worker", "--pack")
        + (f"{s.folder}/pack-0003.json",)
    )
