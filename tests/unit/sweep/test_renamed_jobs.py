"""Jobs that a person has renamed or submitted again, and jobs of others with the same number."""

import subprocess

import pytest

from capacity.cli.main import main
from capacity.sweep import slurm, submissions
from queues import found, submitted  # noqa: F401


def answering(monkeypatch, answer):
    """SLURM's commands, answered by a function of their words; the words that were asked."""
    asked = []

    def run(*command):
        asked.append(command)
        code, out = answer(*command)
        return subprocess.CompletedProcess(command, code, out, "")

    monkeypatch.setattr(slurm, "_run", run)
    return asked


def squeue(job, index, name, command):
    return f"{job}|{index}|RUNNING|0|None|{name}   |{command}   |\n"


@pytest.mark.parametrize("folder", ["/a | b", "/results/submissions"])
@pytest.mark.parametrize("name", ["another name", "another|name", "x"])
def test_a_renamed_job_is_found_by_its_number_and_its_script(
    found, here, monkeypatch, folder, name
):
    s = submitted(found(), here / "results", job="12")
    scripts = [f"{folder}/{s.folder.name}/submit.sbatch"]

    def answer(*command):
        return 0, squeue(12, 0, name, scripts[-1]) if "--jobs=12" in command else ""

    answering(monkeypatch, answer)
    (living,) = submissions.alive(here / "results")
    assert living == (s, 0)
    foreign = ["(null)", "/elsewhere/run.sh", f"/a/{s.folder.name}/x", "/a/b/submit.sbatch", ""]
    for other in foreign:
        scripts.append(other)
        assert submissions.alive(here / "results") == {}  # another's job with this number


def test_what_was_submitted_again_is_cancelled_by_the_number_that_the_queue_says(
    found, here, monkeypatch, capsys
):
    s = submitted(found(), here / "results", job="12")

    def answer(*command):
        shown = squeue(31, 0, s.folder.name, "x") if command[0] == "squeue" else ""
        return 0, shown if "--jobs=12" not in command else ""

    asked = answering(monkeypatch, answer)
    assert main(["cancel", "s.yaml"]) == 0
    assert ("scancel", "31_0") in asked and "1 element, 8 runs" in capsys.readouterr().out


def job_line(name, script):
    return (
        f"JobId=7 ArrayJobId=7 ArrayTaskId=0 JobName={name} UserId=x(1) JobState=TIMEOUT "
        f"Reason=None Command={script} WorkDir=/a StdErr=/b\n"
    )


def test_how_anothers_job_ended_is_not_how_ours_did(found, here, monkeypatch):
    s = submitted(found(), here / "results", job="7")
    name, ours = s.folder.name, f"/a b/{s.folder.name}/submit.sbatch"
    for shown, expected in (
        (job_line(name, ours), "TIMEOUT"),
        (job_line("renamed", ours), "TIMEOUT"),
        (job_line(name, "/elsewhere/x.sh"), "TIMEOUT"),
        (job_line("another", "/elsewhere/submit.sbatch"), None),
        (job_line("another", "(null)"), None),
    ):
        answering(monkeypatch, lambda *c, shown=shown: (0, shown if c[0] == "scontrol" else ""))
        assert slurm.end(s, 0) == expected, shown


@pytest.mark.parametrize("knows_lines", [True, False])
def test_accounting_is_believed_of_our_own_job_only(found, here, monkeypatch, knows_lines):
    s = submitted(found(), here / "results", job="7")
    name = s.folder.name
    for job_name, line, expected in (
        (name, "", "CANCELLED"),
        ("renamed", f"sbatch --parsable /a b/{name}/submit.sbatch", "CANCELLED"),
        ("another", "sbatch x.sh", None),
    ):

        def answer(*command, job_name=job_name, line=line):
            if command[0] == "scontrol":
                return 1, ""
            if "SubmitLine" in command[-1] and not knows_lines:
                return 1, ""  # sacct: fatal: Invalid field requested
            more = f"|{line}" if "SubmitLine" in command[-1] else ""
            return 0, f"7_0|CANCELLED by 0|{job_name}{more}\n"

        answering(monkeypatch, answer)
        known = expected if knows_lines or job_name == name else None
        assert slurm.end(s, 0) == known


def test_time_that_anothers_job_ran_out_of_does_not_make_ours_longer(found, here, monkeypatch):
    study = found()
    s = submitted(study, here / "results", job="7")
    shown = job_line("another", "/elsewhere/run.sh")
    answering(monkeypatch, lambda *c: (0, shown if c[0] == "scontrol" else ""))
    submissions.close(here / "results", submissions.alive(here / "results"))
    assert submissions.read_all(here / "results")[0].elements[0]["end"] is None
    from capacity.sweep.plan import grown_runs

    assert grown_runs(here / "results", study.runs) == {} and s.job == "7"
