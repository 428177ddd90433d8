"""Sweeps on a real SLURM, as a person and a cluster treat them. What is finished in the end is
compared bit for bit with training in this process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from capacity import records
from capacity.base import hardware
from capacity.cli.main import main
from capacity.sweep import slurm as launcher
from capacity.sweep import submissions
from capacity.train.checkpoint import read_meta
from slurm_cluster import slurm, slurm_for_run  # noqa: F401
from sweeps import PINS, assert_undisturbed, bench, small_disk, undisturbed  # noqa: F401
from waiting import patience, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]

# every run an element of its own, as far as there is more than a second to do
HERE = [
    "cluster=slurm",
    "cluster.gpus=0",
    "cluster.cpus=1",
    "cluster.mem=100M",
    "cluster.signal_seconds=5",
    "cluster.pack_minutes=0.001",
]
FOUR = PINS + "grids: [{{seed: [0, 1, 2, 3]}}]\n"
ONE = PINS + "grids: [{{seed: [0]}}]\n"
LONG = 4000  # steps: about 5 s


def submit(bench, *args):
    """The job ids of a sweep."""
    code, out, err = bench.sweep(*HERE, *args)
    assert code == 0, err
    return re.findall(r"^submitted   job (\d+):", out, re.M)


def test_odd_names_of_studies_and_folders(bench, slurm, monkeypatch):
    """Blanks, commas and per cents in paths, and variables of a job that submits."""
    bench.write(PINS + "grids: [{{seed: [0, 1]}}]\n", steps=100)
    (bench.folder / "s.yaml").rename(bench.folder / "50% more, please.yaml")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "100")
    monkeypatch.setenv("SBATCH_ARRAY_INX", "7-9")
    odd = bench.folder / "50% of results"
    command = [
        sys.executable,
        "-m",
        "capacity",
        "sweep",
        "50% more, please.yaml",
        *HERE,
        "--results",
        str(odd),
    ]
    done = subprocess.run(
        command, cwd=bench.folder, capture_output=True, text=True, timeout=patience()
    )
    assert (jobs := re.findall(r"^submitted   job (\d+):", done.stdout, re.M)), done.stderr
    (job,) = jobs
    again = subprocess.run(
        command, cwd=bench.folder, capture_output=True, text=True, timeout=patience()
    )
    assert "nothing to submit" in again.stdout
    assert slurm.wait(job) == {"COMPLETED"}
    assert [records.status(odd, run.run_id) for run in bench.runs] == ["finished"] * 2
    assert "start 1, on" in next(odd.glob(f"submissions/*/{job}_0.log")).read_text()


def verb(bench, *args):
    """(exit code, output, error) of another verb on the study."""
    done = subprocess.run(
        [sys.executable, "-m", "capacity", args[0], "s.yaml", *args[1:]],
        cwd=bench.folder,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def rows(bench):
    return {row["run_id"]: row for row in json.loads(verb(bench, "status", "--json")[1])["runs"]}


def logs(bench):
    return "\n".join(path.read_text() for path in sorted(bench.results.glob("submissions/*/*.log")))


def test_a_name_beyond_ascii_is_submitted_once_queued_and_cancelled(bench, slurm):
    """Queues pad by bytes and cut by characters; the job's name has plain letters."""
    name = "étude de café, très longue, pour des modèles où ça déborde.yaml"
    bench.write(PINS + "grids: [{{seed: [0, 1]}}]\n", steps=LONG)
    (bench.folder / "s.yaml").rename(bench.folder / name)

    def run(verb, *more):
        done = subprocess.run(
            [sys.executable, "-m", "capacity", verb, name, *more, "--results", str(bench.results)],
            cwd=bench.folder,
            capture_output=True,
            text=True,
            timeout=patience(),
        )
        return done.stdout + done.stderr

    held = [*HERE, 'cluster.options=["--hold", "--comment=two words"]']
    shown = run("sweep", *held)
    assert (jobs := re.findall(r"^submitted   job (\d+):", shown, re.M)), shown
    (job,) = jobs
    assert "2 queued" in run("status", *HERE)
    assert "nothing to submit" in run("sweep", *held)
    shown = subprocess.run(
        ["scontrol", "show", "job", f"{job}_0"], capture_output=True, text=True, timeout=patience()
    ).stdout
    assert "Comment=two words" in shown
    assert "2 elements, 2 runs" in " ".join(run("cancel").split())
    assert "2 missing" in run("status", *HERE)


def test_a_renamed_job_is_found_and_anothers_with_its_number_is_left_alone(bench, slurm):
    bench.write(ONE, steps=100)
    (job,) = submit(bench, "cluster.options=[--hold]")
    slurm.run("scontrol", "update", f"jobid={job}", "name=another|name")
    assert "nothing to submit" in bench.sweep(*HERE)[1]
    assert "1 queued" in verb(bench, "status")[1]
    assert f"slurm {job}: 1 element" in verb(bench, "cancel")[1]
    foreign = slurm.sbatch("--hold", "--array=0", "--output=/dev/null", wrap="true")
    submissions.read_all(bench.results)[0].save(job=foreign)
    assert verb(bench, "cancel")[:2] == (0, "s: nothing is queued or running\n")
    assert slurm.states(foreign) == {"PENDING"}


def test_an_element_without_cuda_has_failed_with_its_reason(bench, slurm):
    bench.write(ONE, steps=100)
    (job,) = submit(bench, "cluster.device=cuda")
    assert slurm.wait(job) == {"FAILED"}
    code, out, _ = verb(bench, "status", *HERE)
    log = next(bench.results.glob(f"submissions/*/{job}_0.log")).read_text("utf-8")
    assert code == 1 and "1 failed" in out and "no CUDA device is visible" in out, out + log
    code, out, err = verb(bench, "retry", "cluster.device=cpu", "--failed")
    assert (jobs := re.findall(r"^submitted   job (\d+):", out, re.M)), out + err
    assert slurm.wait(jobs[0]) == {"COMPLETED"}


def test_an_array_with_a_throttle_trains_everything(bench, slurm, undisturbed):
    bench.write(FOUR, steps=200)
    (job,) = submit(
        bench,
        "cluster.throttle=2",
        "cluster.stack=1",
        "cluster.setup=['export GREETING=hello']",
        "cluster.environment=['NAME=a b']",
    )
    together = []
    wait_until(
        lambda: (
            together.append(sum(j["JobState"] == "RUNNING" for j in slurm.jobs(job))),
            slurm.states(job) == {"COMPLETED"},
        )[1],
        "the array",
    )
    assert max(together) == 2
    assert_undisturbed(bench, undisturbed, 1)
    (submission,) = submissions.read_all(bench.results)
    assert [len(element["runs"]) for element in submission.elements] == [
        1,
        1,
        1,
        1,
    ] and submission.job == job
    script = (submission.folder / "submit.sbatch").read_text()
    assert (
        "#SBATCH --array=0-3%2" in script
        and "export GREETING=hello\n" in script
        and "export NAME='a b'\n" in script
    )
    code, out, _ = verb(bench, "status")  # a second line has the size of the files
    assert (code, out.splitlines()[0]) == (0, "s: 4 runs, 4 finished")
    code, out, _ = bench.sweep(*HERE)
    assert code == 0 and "nothing to submit" in out and "4 finished" in out
    code, out, _ = bench.sweep()  # on this machine, too, there is nothing to do
    assert code == 0 and "4 of 4 runs finished" in out and len(bench.workers()) == 4


PINNED = """import torch, capacity.base.hardware as e
    e.pick_device = lambda name: torch.device("cpu")
    here = os.path.dirname(__file__)
    with open(os.path.join(here, "gpu-%d" % os.getpid()), "w") as seen:
        seen.write(os.environ["CUDA_VISIBLE_DEVICES"])
    import glob, waiting
    waiting.wait_until(lambda: len(glob.glob(here + "/gpu-*")) >= 2, "both workers")"""


@pytest.mark.parametrize("gpus", [1, 2])
def test_every_worker_gets_a_gpu_of_its_own(bench, slurm, gpus):
    """Two elements with one GPU each, and one element with two GPUs and so two workers. Workers
    wait for each other, so that both are there at once; the GPUs are names only, so they train on
    the CPU."""
    bench.write(PINS + "grids: [{{seed: [0, 1]}}]\n", steps=100)
    bench.spoil(PINNED)
    long = ["cluster.pack_minutes=60"] if gpus == 2 else []
    (job,) = submit(bench, f"cluster.gpus={gpus}", "cluster.device=cuda", "cluster.stack=1", *long)
    assert slurm.wait(job) == {"COMPLETED"}, logs(bench)
    assert sorted(path.read_text() for path in bench.hooks.glob("gpu-*")) == ["0", "1"]
    assert bench.states() == ["finished"] * 2


def middle(bench, slurm, job):
    bench.wait_for_the_middle()
    assert "RUNNING" in slurm.states(job)


def test_a_signal_before_the_limit_requeues_and_continues_exactly(bench, slurm, undisturbed):
    bench.write(ONE, steps=LONG)
    (job,) = submit(bench, "cluster.checkpoint_seconds=1000")
    bench.wait_for_the_middle(checkpoint=False)
    (run,) = bench.runs
    with slurm.closed():
        slurm.run("scancel", "--signal=USR1", "--batch", f"{job}_0")
        wait_until(lambda: slurm.states(job) == {"PENDING"}, "the requeue")
        reached = read_meta(bench.folder_of(run) / "checkpoint.safetensors")["step"]
        assert 0 < reached < LONG
        row = rows(bench)[run.run_id]
        assert (
            row["status"] == "requeued"
            and row["where"].startswith(f"slurm {job}_0 PENDING")
            and 0 < row["step"] <= reached
        )
        code, out, _ = bench.sweep(*HERE)
        assert code == 0 and "1 requeued, 0 to do" in out and "nothing to submit" in out
    before = [
        line for line in records.read_metrics(bench.results, run.run_id) if line["step"] <= reached
    ]
    assert slurm.wait(job) == {"COMPLETED"}, logs(bench)
    assert slurm.jobs(job)[0]["Restarts"] == "1"
    assert_undisturbed(bench, undisturbed, 1)
    assert (
        records.read_metrics(bench.results, run.run_id)[: len(before)] == before
    )  # not trained again


def test_a_preempted_job_continues_exactly(bench, slurm, undisturbed):
    bench.write(ONE, steps=LONG)
    (job,) = submit(bench, "cluster.partition=low", "cluster.cpus=4")
    middle(bench, slurm, job)
    high = slurm.sbatch("--cpus-per-task=4", "--output=/dev/null", wrap="sleep 1")
    assert slurm.wait(high) == {"COMPLETED"}
    assert slurm.wait(job) == {"COMPLETED"}, logs(bench)
    assert int(slurm.jobs(job)[0]["Restarts"]) >= 1
    assert_undisturbed(bench, undisturbed, 1)


def test_a_node_that_goes_down_and_comes_back(bench, slurm, undisturbed):
    bench.write(ONE, steps=LONG)
    (job,) = submit(bench)
    middle(bench, slurm, job)
    with slurm.closed():
        slurm.run("scontrol", "update", f"nodename={slurm.host}", "state=down", "reason=test")
        wait_until(
            lambda: slurm.states(job) and slurm.states(job) <= {"PENDING", "NODE_FAIL"},
            "the node's end",
        )
        wait_until(lambda: "running" not in bench.states(), "the worker's end")
        slurm.run(
            "scontrol", "update", f"nodename={slurm.host}", "state=resume", check=False
        )  # it may have come back by itself
    assert slurm.wait(job) == {"COMPLETED"}, logs(bench)
    assert_undisturbed(bench, undisturbed, 1)


def test_cancelled_work_is_kept_and_a_new_sweep_continues_it(bench, slurm, undisturbed):
    bench.write(FOUR, steps=LONG)
    (job,) = submit(bench, "cluster.throttle=1", "cluster.checkpoint_seconds=1000")
    bench.wait_for_the_middle(checkpoint=False)
    code, out, _ = verb(bench, "cancel")
    assert code == 0 and f"slurm {job}: 4 elements, 4 runs" in out
    assert slurm.wait(job) == {"CANCELLED"}
    wait_until(lambda: "running" not in bench.states(), "the worker's end")
    assert sorted(bench.states()) == [
        "interrupted",
        "missing",
        "missing",
        "missing",
    ]  # it saved before it stopped
    assert "0 running" not in verb(bench, "status")[1]
    assert verb(bench, "cancel")[:2] == (0, "s: nothing is queued or running\n")
    (again,) = submit(bench)
    assert slurm.wait(again) == {"COMPLETED"}, logs(bench)
    assert_undisturbed(bench, undisturbed, 1)
    assert submissions.read_all(bench.results)[0].elements[0]["end"] == "CANCELLED"


def test_a_killed_worker_is_started_again_and_a_killed_job_by_the_next_sweep(
    bench, slurm, undisturbed
):
    bench.write(ONE, steps=LONG)
    (job,) = submit(bench)
    middle(bench, slurm, job)
    os.kill(min(bench.workers()), signal.SIGKILL)
    wait_until(lambda: len(bench.workers()) == 2, "another worker")
    assert "was killed by signal SIGKILL; starting it again" in logs(bench)
    (submission,) = submissions.read_all(bench.results)
    wait_until(
        lambda: len(records.read_metrics(bench.results, bench.runs[0].run_id)) > 60, "progress"
    )
    os.kill(
        submission.state(0)["pid"], signal.SIGKILL
    )  # the one that watches over workers: they stop when it is gone
    assert slurm.wait(job) == {"FAILED"}
    assert slurm.jobs(job)[0]["ExitCode"] == "137:0"
    wait_until(lambda: "running" not in bench.states(), "the worker's end")
    assert bench.states() == ["interrupted"]
    (again,) = submit(bench)
    assert rows(bench)[bench.runs[0].run_id]["status"] in ("queued", "running")
    assert slurm.wait(again) == {"COMPLETED"}, logs(bench)
    assert_undisturbed(bench, undisturbed, 1)


def test_a_failing_member_fails_its_element_and_no_other_run(bench, slurm):
    bench.write(
        PINS
        + "grids: [{{seed: [0, 1]}}, {{seed: 3, hot: [{{train.lr: 1e9, train.grad_clip: 0}}]}}]\n",
        steps=200,
    )
    (job,) = submit(bench, "cluster.pack_minutes=60")
    assert slurm.wait(job) == {"FAILED"} and slurm.jobs(job)[0]["ExitCode"] == "1:0"
    assert bench.states() == ["finished", "finished", "failed"]
    hot = bench.runs[2].run_id
    code, out, _ = verb(bench, "status")
    reason = records.read(bench.results, hot)["error"]["reason"]
    assert (
        code == 1
        and "2 finished, 1 failed" in out
        and hot in out
        and reason in out
        and f"{job}_0.log" in out
    )
    code, out, _ = bench.sweep(*HERE)
    assert "nothing to submit" in out  # failures are not tried again by themselves
    code, out, err = verb(bench, "retry")
    assert (
        code == 2
        and err
        == "capacity: error: retry: nothing selected; use --failed to rerun failed or lost runs\n"
    )
    code, out, _ = verb(bench, "retry", "--failed", "train.grad_clip=1")
    assert (
        code == 0 and "no run has failed" in out
    )  # with another setting it is another run, which nobody has tried
    code, out, _ = verb(bench, "retry", "--failed")
    (again,) = re.findall(r"^submitted   job (\d+): 1 run in 1 element", out, re.M)
    assert slurm.wait(again) == {"FAILED"}
    assert bench.states() == ["finished", "finished", "failed"]


def test_two_people_who_sweep_at_once_submit_every_run_once(bench, slurm, undisturbed):
    bench.write(FOUR, steps=4 * LONG)  # a sweep that is slow to start still meets them in training
    sweeps = [bench.start(*HERE) for _ in range(3)]
    ends = [bench.end(sweep) for sweep in sweeps]
    assert [code for code, _, _ in ends] == [0, 0, 0]
    (submission,) = submissions.read_all(bench.results)
    assert sum("nothing to submit" in out for _, out, _ in ends) == 2
    wait_until(lambda: "running" in bench.states(), "a start")
    code, out, _ = bench.sweep()  # on this machine
    assert (
        code == 1
        and "are being trained by another process" in out
        and len(submissions.read_all(bench.results)) == 1
    )
    code, out, _ = bench.sweep(*HERE, "train.steps=100")  # other runs are another matter
    (other,) = re.findall(r"^submitted   job (\d+)", out, re.M)
    assert slurm.wait(submission.job) == {"COMPLETED"} and slurm.wait(other) == {"COMPLETED"}
    assert_undisturbed(bench, undisturbed, 1)
    stacks = [
        json.loads(s.pack(i).read_text())["stacks"]
        for s in submissions.read_all(bench.results)
        for i in range(len(s.elements))
    ]
    assert len(bench.workers()) == sum(map(len, stacks))  # one process each


def test_a_submitter_that_dies_before_it_hears_the_job_id_leaves_no_doubt(bench, slurm):
    """The job is found by its name."""
    bench.write(ONE, steps=LONG)
    (job,) = submit(bench)
    (submission,) = submissions.read_all(bench.results)
    submission.save(job=None)
    code, out, _ = bench.sweep(*HERE)
    assert code == 0 and "nothing to submit" in out
    assert slurm.wait(job) == {"COMPLETED"} and bench.states() == ["finished"]


@pytest.mark.parametrize(
    "settings, words",
    [
        (["cluster.gpus=3", "cluster.device=cpu"], "Requested node configuration is not available"),
        (["cluster.partition=none"], "invalid partition specified: none"),
        (["cluster.gres=gpu:a100:1", "cluster.device=cpu"], ""),
    ],
)
def test_a_refused_request_is_one_line_and_leaves_nothing(bench, slurm, settings, words):
    bench.write(ONE, steps=100)
    code, out, err = bench.sweep(*HERE, *settings)
    assert code == 2 and len(err.splitlines()) == 1
    assert (
        err.startswith("capacity: error: SLURM refused the job: ")
        and words in err
        and "--array=0-0" in err
    )
    assert [path.name for path in (bench.results / "submissions").iterdir()] == ["lock"]
    assert slurm.jobs() == [] or all(j["JobState"] != "PENDING" for j in slurm.jobs())


def test_a_full_disk_fails_the_element_and_nothing_is_lost(bench, small_disk, slurm, undisturbed):
    options, make_room = small_disk
    if options:
        pytest.skip("needs the right to mount a small disk")
    bench.write(FOUR, steps=LONG)
    (job,) = submit(bench, "cluster.pack_minutes=60", "cluster.cpus=2")
    assert slurm.wait(job) == {"FAILED"} and slurm.jobs(job)[0]["ExitCode"] == "2:0"
    assert "failed" not in bench.states()
    make_room()
    wait_until(lambda: "running" not in bench.states(), "workers to stop")
    (again,) = submit(bench, "cluster.pack_minutes=60", "cluster.cpus=2")
    assert slurm.wait(again) == {"COMPLETED"}, logs(bench)
    assert_undisturbed(bench, undisturbed, 1)


def test_a_queue_that_does_not_answer_stops_a_sweep_but_not_status(
    bench, slurm, monkeypatch, tmp_path
):
    bench.write(ONE, steps=LONG)
    (job,) = submit(bench)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n"
    )
    (tmp_path / "bin/squeue").chmod(0o755)
    with monkeypatch.context() as down:
        down.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
        code, out, err = bench.sweep(*HERE)
        assert code == 2 and err.startswith("capacity: error: ") and len(err.splitlines()) == 1
        assert "may be queued or running" in err and "Unable to contact" in err
        code, out, err = verb(bench, "status")
        assert (
            code == 1
            and err == ""
            and "the state of the queue is unknown" in out
            and "Unable to contact" in out
        )
    assert len(submissions.read_all(bench.results)) == 1 and slurm.wait(job) == {"COMPLETED"}


@pytest.mark.parametrize("cpus, omp, threads", [(2, "1", 1), (1, "2", 1), (2, "2", 2)])
def test_a_nodes_environment_bounds_the_threads(bench, slurm, cpus, omp, threads):
    """OMP_NUM_THREADS of the node, and the cores that the element has."""
    bench.write(ONE.replace("cluster.threads=1", "cluster.threads=2"), steps=50)
    (job,) = submit(bench, f"cluster.cpus={cpus}", f"cluster.environment=['OMP_NUM_THREADS={omp}']")
    assert slurm.wait(job) == {"COMPLETED"}, logs(bench)
    threads = min(threads, hardware.cores())
    assert records.read(bench.results, bench.runs[0].run_id)["training"]["threads"] == threads
    assert ("2 threads a worker were planned; OMP_NUM_THREADS=" in logs(bench)) == (threads < 2)


def test_how_a_job_ended_is_known_without_sacct(slurm, monkeypatch, tmp_path):
    options = ("--array=0-1", "--output=/dev/null", "--job-name=ours-1")
    done = slurm.sbatch(*options, wrap="exit $SLURM_ARRAY_TASK_ID")
    slurm.wait(done)

    def end(i, job=done, name="ours-1"):
        return launcher.end(submissions.Submission(tmp_path / name, {"job": job}), i)

    assert [end(i) for i in range(3)] == ["COMPLETED", "FAILED", None]
    assert end(0, name="theirs-1") is None
    assert end(0, job="99999") is None  # forgotten; sacct answers that there is no accounting
    (tmp_path / "scontrol").symlink_to(shutil.which("scontrol"))
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PATH", str(tmp_path))
        # and where there is no sacct at all
        assert [end(i) for i in range(3)] == ["COMPLETED", "FAILED", None]


def test_without_slurm_a_person_is_told(bench, monkeypatch, capsys, tmp_path):
    bench.write(ONE, steps=100)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(bench.folder)
    assert main(["sweep", "s.yaml", *HERE]) == 2
    assert "sbatch: not found" in capsys.readouterr().err
    assert [path.name for path in (bench.results / "submissions").iterdir()] == ["lock"]
