"""What is spoken for, what a plan for a queue asks for, what a site says of itself, and another
queue in one file."""

import fcntl
import json
import math
import os
import re
import shlex
import subprocess
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity import compose, cost, records
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import load
from capacity.settings.cluster import duration_seconds
from capacity.sweep import plan, plan_text, slurm, submissions
from outcomes import outcome
from queues import QUEUE, STUDY, found, submitted  # noqa: F401
from waiting import patience, wait_until

# A site's own values


def site(tmp_path, monkeypatch, text):
    (tmp_path / "local.yaml").write_text(text)
    monkeypatch.setenv("CAPACITY_LOCAL", str(tmp_path / "local.yaml"))


def test_a_site_fills_in_what_nobody_said(tmp_path, monkeypatch):
    run_id = load(["cluster=slurm"]).run_id
    site(
        tmp_path,
        monkeypatch,
        "slurm: {partition: gpu, cpus: 8, setup: [module load cuda, source env/bin/activate], "
        "time: '2:00:00'}\n"
        "workstation: {stack: 4}\nwandb: {project: lab}\n",
    )
    queue, here = load(["cluster=slurm", "cluster.cpus=2"]), load([])
    assert (
        queue.cluster.partition,
        queue.cluster.cpus,
        queue.cluster.time,
        queue.cluster.stack,
    ) == ("gpu", 2, "2:00:00", 16)
    assert (
        queue.cluster.setup == ("module load cuda", "source env/bin/activate")
        and queue.wandb.project == "lab"
    )
    assert (here.cluster.partition, here.cluster.stack, here.wandb.project) == (None, 4, "lab")
    assert load(["cluster=slurm", "cluster=workstation"]).cluster.stack == 4
    assert (
        load(["wandb.project=mine"]).wandb.project == "mine"
        and load(["++cluster.cpus=3", "cluster=slurm"]).cluster.cpus == 3
    )
    assert queue.run_id == run_id  # a site never changes what a run is


@pytest.mark.parametrize(
    "text, words",
    [
        ("slrm: {partition: gpu}", "slrm: not a section of this file (did you mean slurm?)"),
        ("model: {d_model: 8}", "model: not a section of this file"),
        (
            "slurm: {partitoin: gpu}",
            "slurm: partitoin: no such setting (did you mean cluster.partition?)",
        ),
        ("slurm: {time: 2h}", "slurm: time=2h: expected a time as SLURM has them, in quotes"),
        ("slurm: {account: 123}", "slurm: account=123: expected a text without spaces; in quotes"),
        ("slurm: {partition: 'a b'}", "slurm: partition=a b: expected a text without spaces"),
        ("slurm: gpu", "slurm: expected named settings"),
        ("slurm: {cpus: 0}", "slurm: cpus=0: expected a whole number from 1 to 1024"),
        ("slurm: {setup: module load cuda}", "expected a list of texts"),
        ("slurm: {environment: [A B]}", "expected NAME=value"),
        ("- slurm", "expected named entries"),
        ("slurm: {partition: [", "not valid YAML"),
    ],
)
def test_a_wrong_site_file_is_one_line_with_its_name(tmp_path, monkeypatch, capsys, text, words):
    site(tmp_path, monkeypatch, text)
    assert main(["train", "--print-config", "cluster=slurm"]) == 2
    err = capsys.readouterr().err
    assert "local.yaml" in err and words in err and len(err.splitlines()) == 1


def test_an_empty_site_file_says_nothing_and_an_absent_one_is_named(tmp_path, monkeypatch, capsys):
    site(tmp_path, monkeypatch, "")
    assert compose.site_settings()[1] == {}
    monkeypatch.setenv("CAPACITY_LOCAL", str(tmp_path / "no.yaml"))
    assert (
        main(["train", "--print-config"]) == 2
        and "no.yaml: no such file" in capsys.readouterr().err
    )


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_time_limits_are_read_as_slurm_reads_them(d, h, m, s):
    day = 86400
    assert duration_seconds(f"{d}-{h}:{m:02}:{s:02}") == d * day + h * 3600 + m * 60 + s
    assert (
        duration_seconds(f"{d}-{h}:{m:02}") == d * day + h * 3600 + m * 60
        and duration_seconds(f"{d}-{h}") == d * day + h * 3600
    )
    assert duration_seconds(f"{h}:{m:02}:{s:02}") == h * 3600 + m * 60 + s
    assert duration_seconds(f"{m}:{s:02}") == m * 60 + s and duration_seconds(f"{m}") == 60 * m


# The plan for a queue


def job_of(study, results, **kwargs):
    (job,) = plan.make_plan(study, results, {}, False, **kwargs).jobs
    return job


def test_limits_follow_from_the_cost_model_unless_they_are_given(found, tmp_path):
    job = job_of(found(), tmp_path)
    assert (
        job.time_s >= plan.START_S + plan.SLACK * max(job.seconds)
        and job.time_s % 600 == 0
        and re.fullmatch(r"\d+G", job.mem)
    )
    assert job.packs[0].workers == 4 and job.packs[0].threads == 1 and job.packs[0].device == "cpu"
    given_ = job_of(found("cluster.time='2:30:00'", "cluster.mem=17M"), tmp_path)
    assert (given_.time_s, given_.mem) == (9000, "17M")
    gpus = job_of(found("cluster.gpus=2"), tmp_path)
    assert (
        gpus.packs[0].device == "cuda" and gpus.packs[0].workers == 2 and gpus.packs[0].threads == 2
    )
    assert job_of(found("cluster.gpus=0", "cluster.gres=gpu:1"), tmp_path).packs[0].device == "cuda"
    assert job_of(found("cluster.gpus=1", "cluster.device=cpu"), tmp_path).packs[0].device == "cpu"


def test_the_batch_script_holds_what_was_asked_and_survives_a_shell(found, tmp_path):
    study = found(
        "cluster.partition=gpu",
        "cluster.account=p1",
        "cluster.qos=q",
        "cluster.constraint='a100|h100'",
        "cluster.throttle=3",
        "cluster.gres=gpu:a100:1",
        "cluster.options=['--exclude=n1']",
        "cluster.setup=['module load x', 'cd /tmp']",
        "cluster.environment=['A=it\\'s', 'B=$HOME']",
        "cluster.prefix='apptainer exec --nv \"my image.sif\"'",
        "cluster.python=/opt/py/bin/python3",
        "cluster.signal_seconds=90",
        "cluster.requeues=5",
    )
    text = slurm.script(
        submitted(study, tmp_path / "with a space"), study.runs[0].cluster, 3700, "5G"
    )
    options = re.findall(r"^#SBATCH (.*)$", text, re.M)
    for option in (
        "--partition=gpu",
        "--account=p1",
        "--qos=q",
        "--constraint=a100|h100",
        "--array=0-0%3",
        "--gres=gpu:a100:1",
        "--mem=5G",
        "--time=1:02:00",
        "--exclude=n1",
        "--signal=B:USR1@90",
        "--requeue",
        "--open-mode=append",
        "--cpus-per-task=4",
    ):
        assert option in options
    assert not any("gpus-per-node" in option for option in options)
    assert (
        subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).returncode == 0
    )
    line = next(line for line in text.replace("\\\n", "").splitlines() if "--pack" in line)
    assert shlex.split(line)[:8] == [
        "apptainer",
        "exec",
        "--nv",
        "my image.sif",
        "/opt/py/bin/python3",
        "-m",
        "capacity",
        "worker",
    ]
    exports = [line for line in text.splitlines() if line.startswith("export ")]
    shown = subprocess.run(
        ["bash", "-c", "\n".join(exports) + '\nprintf "%s\\n" "$A" "$B"'],
        capture_output=True,
        text=True,
    ).stdout
    assert shown == "it's\n$HOME\n" and text.index("module load x") < text.index("--pack")


def test_a_benchmark_of_the_device_takes_the_place_of_the_guess(found, tmp_path):
    guess = plan.make_plan(found("cluster.gpus=1"), tmp_path, {}, False)
    assert "a guess" in plan_text.summary(guess) and "GPU-hours" in plan_text.summary(guess)
    bench = {
        "environment": {"hardware": "Some GPU"},
        "speed": {"step_s": 1.0, "flop_per_s": 1e12, "value_s": 0.0},
    }
    files.write_json(tmp_path / "bench/cuda.json", bench)
    measured = plan.make_plan(found("cluster.gpus=1"), tmp_path, {}, False)
    assert "Some GPU" in plan_text.summary(measured).replace("\n            ", " ")
    (job,) = measured.jobs
    stacks = [stack for pack in job.packs for stack in pack.stacks]
    assert sum(job.seconds) == pytest.approx(
        500 * len(stacks), rel=1e-3
    )  # one second a step, whatever the size of the stack
    assert cost.speed_of("cuda", tmp_path, "Another GPU") == cost.GUESSES["cuda"]
    files.write_json(tmp_path / "bench/cuda.json", {"speed": {}})
    assert cost.speed_of("cuda", tmp_path) == cost.GUESSES["cuda"]


def test_what_ran_out_of_time_or_memory_gets_more_and_is_told(found, here):
    study, results = found("cluster.stack=4"), here / "results"
    first = job_of(study, results)
    assert first.why == "" and max(len(stack) for pack in first.packs for stack in pack.stacks) > 1
    one = submitted(study, results)
    one.elements[0]["end"] = "TIMEOUT"
    one.save(over=True)
    (again,) = plan.make_plan(study, results, {}, False).jobs
    assert again.growth == {"time": 2, "memory": 1} and again.time_s == 2 * first.time_s
    assert "ran out of time before: limit 2 times longer" in plan_text.summary(
        plan.make_plan(study, results, {}, False)
    ).replace("\n" + 12 * " ", " ")
    (split,) = plan.make_plan(found("cluster.stack=4", "cluster.time=60"), results, {}, False).jobs
    assert (
        split.time_s == 3600 and "packs 2 times shorter" in split.why
    )  # a limit that a person gave is not changed
    two = submitted(study, results, growth={"time": 2, "memory": 1})
    two.elements[0]["end"] = "OUT_OF_MEMORY"
    two.save(over=True)
    (third,) = plan.make_plan(study, results, {}, False).jobs
    assert (
        third.growth == {"time": 2, "memory": 2}
        and max(len(stack) for pack in third.packs for stack in pack.stacks) <= 2
    )
    assert (
        int(third.mem[:-1]) >= 2 * int(first.mem[:-1]) - 1
        and "ran out of memory before: at most 2 in a stack" in third.why
    )
    for run in study.runs[:2]:  # a worker that the kernel killed, twice
        records.write(
            results,
            outcome(run, "failed")
            | {
                "error": {
                    "reason": "worker was killed by signal SIGKILL 2 times",
                    "step": None,
                    "traceback": None,
                }
            },
        )
    jobs = plan.make_plan(study, results, {}, True).jobs
    assert [job.growth["memory"] for job in jobs] == [2, 4] and sum(
        len(pack.runs) for pack in jobs[1].packs
    ) == 2


# Who holds what


def test_a_foreign_job_that_the_queue_hides_is_left_alone(found, here, monkeypatch):
    results = here / "results"
    s = submitted(found(), results, user="somebody else")
    answers = {"squeue": "", "scontrol": "PrivateData = accounts,jobs\n"}
    monkeypatch.setattr(
        slurm,
        "_run",
        lambda *command: subprocess.CompletedProcess(command, 0, answers[command[0]], ""),
    )
    living = submissions.alive(results)
    assert [element.words for element in living.values()] == ["hidden: a job of somebody else"]
    files.write_json(s.pack(0).with_suffix(".state.json"), {"state": "ended"})
    assert submissions.alive(results) == {}
    answers["scontrol"] = "PrivateData = none\n"
    (s.pack(0).with_suffix(".state.json")).unlink()
    assert submissions.alive(results) == {}


def test_only_one_submits_at_a_time_and_the_other_waits(here, capsys, monkeypatch):
    inside, waiting_for_it, told, take = [], set(), [], files.flock
    refused = Counter()  # thread -> how often it found the lock taken

    def noted(file):
        got, thread = take(file), threading.get_ident()
        waiting_for_it.discard(thread) if got else waiting_for_it.add(thread)
        refused[thread] += not got
        return got

    def heard():
        told.append(capsys.readouterr().err)
        return "".join(told)

    def work(name):
        with submissions.submitting(here):
            inside.append(name)
            others = 2 - len(inside) // 2
            wait_until(lambda: len(waiting_for_it) == others, "the others to find the lock taken")
            if len(inside) == 1:
                wait_until(lambda: ") is submitting" in heard(), "the others to be told by whom")
            inside.append(name)

    monkeypatch.setattr(files, "flock", noted)
    monkeypatch.setattr(submissions, "NAMELESS_S", patience())
    name = submissions.user()

    def named():
        """The first one holds the lock until another has looked who it is, and found no name."""
        if not inside:
            wait_until(lambda: max(refused.values(), default=0) > 1, "a look at the lock")
        return name

    monkeypatch.setattr(submissions, "user", named)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert inside[0::2] == inside[1::2] and sorted(inside[0::2]) == [0, 1, 2]
    assert ") is submitting" in heard() and "somebody" not in heard()
    monkeypatch.setattr(submissions, "PATIENCE_S", 0.3)
    with (
        submissions.submitting(here),
        pytest.raises(
            ConfigError, match=f"process {os.getpid()}.*has been submitting for \\d+ s; nothing was"
        ),
        submissions.submitting(here),
    ):
        pass


def test_a_look_at_a_sweeps_lock_does_not_disturb_it(found, here, monkeypatch):
    """Somebody asks for its state at the very moment at which it begins."""
    s = submitted(found(), here / "results", launcher="local")
    looking, take = open(s.folder / "lock", "a"), files.flock  # noqa: SIM115, closed by `noted`
    fcntl.flock(looking, fcntl.LOCK_SH)

    def noted(file, *args, **options):
        """The look ends once the sweep has found the lock taken."""
        got = take(file, *args, **options)
        if not got:
            looking.close()
        return got

    monkeypatch.setattr(files, "flock", noted)
    with submissions.held(s):
        assert looking.closed
        assert [element.state for element in submissions.alive(here / "results").values()] == [
            "running"
        ]
    assert submissions.alive(here / "results") == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 0}', '{"schema": 1, "study": 3}'])
def test_a_broken_submission_is_one_line(here, found, capsys, text):
    files.write_atomic(here / "results/submissions/x/submission.json", text.encode())
    assert main(["sweep", "s.yaml", "--dry-run"]) == 2 or not found()
    err = capsys.readouterr().err
    assert "submission.json: not a submission" in err and len(err.splitlines()) == 1


# Another queue

QUEUE_IN_ONE_FILE = '''
"""A queue of one machine: every element is a process."""
import subprocess, sys
from capacity.sweep.submissions import Element
RUNNING = {}

def submit(submission, cluster, time_s, mem):
    for i in range(len(submission.elements)):
        command = [sys.executable, "-m", "capacity", "worker", "--pack", str(submission.pack(i))]
        RUNNING[submission.folder.name, i] = subprocess.Popen(command)
    return "42"

def elements(submissions):
    alive = [key for key, process in RUNNING.items() if process.poll() is None]
    return {key: Element("running", "busy") for key in alive}

def end(submission, index):
    return "COMPLETED"

def cancel(job, indices):
    for process in RUNNING.values():
        process.terminate()
'''


@pytest.mark.slow
def test_another_queue_is_one_file(found, here, monkeypatch, capfd):
    (here / "my_queue.py").write_text(QUEUE_IN_ONE_FILE)
    monkeypatch.syspath_prepend(here)
    sweep = ["sweep", "s.yaml", *QUEUE, "cluster.launcher=my_queue", "cluster.cpus=2"]
    assert main(sweep) == 0 and "submitted   job 42: 8 runs" in capfd.readouterr().out
    assert main(sweep) == 0 and "nothing to submit" in capfd.readouterr().out
    import my_queue

    assert [process.wait() for process in my_queue.RUNNING.values()] == [0]
    assert main(["status", "s.yaml"]) == 0
    assert (
        main(["cancel", "s.yaml"]) == 0
        and "nothing is queued" in capfd.readouterr().out.splitlines()[-1]
    )


@pytest.mark.parametrize(
    "name, words",
    [
        (
            "slrum",
            "cluster.launcher=slrum: No module named 'slrum'; allowed: local, slurm, or a module "
            "in PYTHONPATH (did you mean slurm?)",
        ),
        ("json", "has no function submit"),
        ("'a b'", "expected a text without spaces"),
    ],
)
def test_a_launcher_that_is_none_is_one_line(found, capsys, name, words):
    assert main(["sweep", "s.yaml", "cluster=slurm", f"cluster.launcher={name}"]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1


def test_train_does_not_pretend_to_submit(capsys):
    assert main(["train", "cluster=slurm"]) == 2
    assert "train works on this machine; `capacity sweep` submits" in capsys.readouterr().err


def test_the_state_of_a_pack_tells_status_where_its_runs_are(found, here, monkeypatch, capsys):
    study, results = found(), here / "results"
    s = submitted(study, results)
    monkeypatch.setattr(
        submissions, "alive", lambda *_: {(s, 0): submissions.Element("running", "RUNNING")}
    )
    busy, done = study.runs[0].run_id, study.runs[1].run_id
    files.write_json(
        s.pack(0).with_suffix(".state.json"),
        {
            "state": "running",
            "running": [{"runs": [busy], "log": str(s.folder / "x.log")}],
            "outcome": {done: "failed"},
        },
    )
    records.write(results, outcome(study.runs[1], "failed"))
    (results / "runs" / busy).mkdir(parents=True)
    (s.folder / "x.log").write_text("something went wrong\n")
    records.append_metrics(results, busy, {"step": 100, "loss_bits_per_token": 1.0, "wall_s": 10.0})
    assert main(["status", "s.yaml", "--json"]) == 1
    rows = {row["run_id"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    assert rows[busy]["status"] == "running" and rows[busy]["seconds_left"] == pytest.approx(40.0)
    assert rows[busy]["log"].endswith("x.log") and rows[busy]["where"] == "slurm 7_0 RUNNING"
    assert rows[done]["status"] == "failed" and rows[done]["error"] == "planted"
    assert {row["status"] for run_id, row in rows.items() if run_id not in (busy, done)} == {
        "queued"
    }
    assert not math.isnan(rows[busy]["seconds_left"])
    assert main(["status", "s.yaml"]) == 1
    text = capsys.readouterr().out
    assert "1 running, 6 queued, 1 failed; running ones need up to 0:40 more" in text
