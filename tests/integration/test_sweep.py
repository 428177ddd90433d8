"""A sweep of real processes that are killed, interrupted, starved and doubled: it ends as if
nothing had happened."""

import json
import os
import signal
import subprocess
import sys

import pytest

from capacity import records
from capacity.cli.main import main
from capacity.study import load_study
from capacity.sweep import packs
from capacity.sweep.packs import Pack
from capacity.train.checkpoint import read_meta
from sweeps import (  # noqa: F401
    FOUR,
    PINS,
    TWO,
    assert_undisturbed,
    bench,
    small_disk,
    stacks_of,
    undisturbed,
)
from waiting import patience, pending, wait_until


@pytest.mark.slow
def test_a_sweep_trains_everything_once(bench, undisturbed):
    bench.write(TWO, steps=200)
    code, out, err = bench.sweep("cluster.workers=2")
    assert code == 0 and "2 of 2 runs finished" in out
    assert_undisturbed(bench, undisturbed, 2)
    assert len(bench.workers()) == 2
    assert all(records.read(bench.results, run.run_id)["study"] == "s" for run in bench.runs)
    stamps = [path.stat().st_mtime_ns for path in sorted(bench.results.rglob("runs/*/*"))]
    code, out, err = bench.sweep("cluster.workers=2")
    assert code == 0 and "2 of 2 runs finished" in out
    assert len(bench.workers()) == 2  # no other was started
    assert [path.stat().st_mtime_ns for path in sorted(bench.results.rglob("runs/*/*"))] == stamps


@pytest.mark.slow
@pytest.mark.long
def test_a_diverging_run_is_recorded_and_the_others_finish(bench):
    bench.write(
        PINS + "grids: [{{seed: [0, 1, 2]}}, {{seed: 3, hot: [{{train.lr: 1e9, train.grad_clip: "
        "0}}]}}]\n",
        steps=200,
    )
    assert [len(stack) for stack in stacks_of(bench.runs, 1, 16)] == [
        4
    ]  # so it shares a stack with a sound run
    code, out, err = bench.sweep("cluster.workers=1")
    hot = bench.runs[3]
    assert code == 1 and bench.states() == ["finished"] * 3 + ["failed"]
    record = records.read(bench.results, hot.run_id)
    assert (
        0 < record["error"]["step"] <= 200
        and str(record["error"]["step"]) in record["error"]["reason"]
    )
    assert (
        "3 of 4 runs finished" in out
        and "1 failed" in out
        and hot.run_id in out
        and record["error"]["reason"] in out
    )
    assert hot.run_id in err  # said when it happened, not only at the end

    stamps = [(bench.folder_of(run) / "record.json").stat().st_mtime_ns for run in bench.runs]
    workers = bench.workers()
    code, out, _ = bench.sweep()
    assert code == 1 and bench.workers() == workers and hot.run_id in out
    code, out, _ = bench.sweep("--retry-failed")
    assert (
        code == 1
        and bench.states() == ["finished"] * 3 + ["failed"]
        and len(bench.workers()) == len(workers) + 1
    )
    after = [(bench.folder_of(run) / "record.json").stat().st_mtime_ns for run in bench.runs]
    assert after[:3] == stamps[:3] and after[3] > stamps[3]


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_nothing_changes(bench, undisturbed):
    bench.write(TWO, steps=800)
    sweep = bench.start("cluster.workers=2")
    bench.wait_for_the_middle()
    victim = min(bench.workers())
    os.kill(victim, signal.SIGKILL)
    code, out, err = bench.end(sweep)
    assert code == 0 and "was killed by signal SIGKILL; starting it again" in err
    assert len(bench.workers()) == 3
    assert_undisturbed(bench, undisturbed, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="SIGKILL"),
        pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.long),
    ],
)
def test_an_ended_sweep_stops_its_workers_and_continues_exactly(bench, undisturbed, number):
    """After Ctrl-C the workers save before they stop; after kill -9 of the sweep they must notice
    by themselves."""
    bench.write(FOUR, steps=800)
    killed = number == signal.SIGKILL
    sweep = bench.start(
        "cluster.workers=1", f"cluster.checkpoint_seconds={0.05 if killed else 1000}"
    )
    bench.wait_for_the_middle(checkpoint=killed)
    sweep.send_signal(number)
    code, out, err = bench.end(sweep)
    if killed:
        assert code == -signal.SIGKILL
        wait_until(lambda: "running" not in bench.states(), "workers to stop", every=0.01)
    else:
        assert code == 130 and "the same command continues" in err and "interrupted" in out
        assert "running" not in bench.states()
    interrupted = [
        run for run in bench.runs if records.status(bench.results, run.run_id) == "interrupted"
    ]
    assert interrupted and "finished" not in bench.states()
    logs = {}
    for run in interrupted:
        reached = read_meta(bench.folder_of(run) / "checkpoint.safetensors")["step"]
        assert 0 < reached < 800
        logs[run.run_id] = [
            line
            for line in records.read_metrics(bench.results, run.run_id)
            if line["step"] <= reached
        ]
    assert bench.sweep("cluster.workers=1")[0] == 0
    assert_undisturbed(bench, undisturbed, 1)
    for (
        run_id,
        lines,
    ) in (
        logs.items()
    ):  # lines hold times, so they are the same only if their steps were not trained again
        assert records.read_metrics(bench.results, run_id)[: len(lines)] == lines


@pytest.mark.slow
@pytest.mark.long
def test_a_sweep_on_this_machine_can_be_cancelled_from_elsewhere(bench, undisturbed):
    bench.write(FOUR, steps=2000)
    sweep = bench.start("cluster.workers=1", "cluster.checkpoint_seconds=1000")
    bench.wait_for_the_middle(checkpoint=False)
    (worker,) = bench.workers()
    os.kill(worker, signal.SIGSTOP)  # on a busy machine it would end before the verbs do

    def verb(*args):
        return subprocess.run(
            [sys.executable, "-m", "capacity", *args],
            cwd=bench.folder,
            capture_output=True,
            text=True,
            timeout=patience(),
        )

    rows = json.loads(verb("status", "s.yaml", "--json").stdout)["runs"]
    assert sorted(row["status"] for row in rows) == [
        "queued",
        "queued",
        "running",
        "running",
    ]  # the second stack waits
    assert all(f"process {sweep.pid}" in row["where"] for row in rows)
    done = verb("cancel", "s.yaml")
    assert done.returncode == 0 and f"local {sweep.pid}: 1 element, 4 runs" in done.stdout, (
        done.stderr
    )
    wait_until(lambda: pending(worker, signal.SIGTERM), "the sweep to end its worker")
    os.kill(worker, signal.SIGCONT)
    code, out, err = bench.end(sweep)
    assert (
        code == 130
        and "the same command continues" in err
        and "2 interrupted" in out
        and "2 missing" in out
    )
    assert verb("cancel", "s.yaml").stdout == "s: nothing is queued or running\n"
    assert bench.sweep("cluster.workers=1")[0] == 0
    assert_undisturbed(bench, undisturbed, 1)


def test_a_worker_leaves_finished_runs_alone(here, capsys):
    """A sweep that was planned a moment too early sends runs that another one has finished
    since."""
    (here / "s.yaml").write_text(TWO.format(steps=20))
    runs = load_study("s.yaml", []).runs
    packs.write_pack(here / "p.json", Pack("s", here / "results", "cpu", 1, 1, [runs]))
    command = ["worker", "--pack", "p.json", "--runs", ",".join(run.run_id for run in runs)]
    assert main(command) == 0
    files = [path for path in (here / "results").rglob("*") if path.is_file()]
    stamps = [path.stat().st_mtime_ns for path in files]
    capsys.readouterr()
    assert len(files) == 2 * 5 and main(command) == 0
    assert [path.stat().st_mtime_ns for path in files] == stamps
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "outcome", "outcome": {run.run_id: "finished" for run in runs}}
    assert main(["worker", "--pack", "p.json"]) == 0  # in a process of its own
    assert [path.stat().st_mtime_ns for path in files] == stamps


@pytest.mark.slow
@pytest.mark.long
def test_two_sweeps_at_once_train_no_run_twice(bench, undisturbed):
    bench.write(FOUR, steps=800)
    seen = {}

    def look(processes):
        # a run that begins writes its config.json, one that ends its record.json, both as new files
        for run in bench.runs:
            for name in ("config.json", "record.json"):
                try:
                    stat = (bench.folder_of(run) / name).stat()
                except FileNotFoundError:
                    continue
                seen.setdefault((run.run_id, name), set()).add((stat.st_ino, stat.st_mtime_ns))
        return all(process.poll() is not None for process in processes)

    sweeps = [bench.start("cluster.workers=1") for _ in range(2)]
    wait_until(lambda: look(sweeps), "both sweeps", every=0.01)
    ends = [bench.end(sweep) for sweep in sweeps]
    codes = sorted(code for code, _, _ in ends)
    assert codes[0] == 0 and codes[1] in (
        0,
        1,
    )  # the first to end may find runs still in the other's hands, and says so
    assert all("being trained by another process" in out for code, out, _ in ends if code)
    assert {key: len(files) for key, files in seen.items()} == {
        (run.run_id, name): 1 for run in bench.runs for name in ("config.json", "record.json")
    }
    assert_undisturbed(bench, undisturbed, 1)


@pytest.mark.slow
@pytest.mark.long
def test_sweeps_of_one_study_with_different_settings_do_not_mix(bench):
    """Both workers wait until both packs are written, so that neither sweep can lose its pack to
    the other unseen."""
    bench.write(PINS + "grids: [{{seed: [0]}}]\n", steps=200)
    bench.spoil(
        "import glob, waiting\n"
        "    waiting.wait_until(lambda: len(glob.glob(os.path.dirname(__file__) + '/worker-*')) >= "
        "2, 'both workers')"
    )
    ends = [
        bench.end(sweep) for sweep in [bench.start(f"train.steps={steps}") for steps in (150, 200)]
    ]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert len(bench.workers()) == 2 and bench.states() == ["finished"]


@pytest.mark.slow
@pytest.mark.long
def test_a_run_that_kills_its_workers_ends_as_failed_and_the_rest_finishes(bench):
    bench.write(PINS + "grids: [{{seed: [0, 1, 2, 7]}}]\n", steps=200)
    bench.spoil('if any(run["seed"] == 7 for run in runs): os._exit(9)')
    code, out, err = bench.sweep("cluster.workers=1")
    deadly = bench.runs[3]
    assert code == 1 and bench.states() == ["finished"] * 3 + ["failed"]
    record = records.read(bench.results, deadly.run_id)
    assert (
        "exit code 9" in record["error"]["reason"]
        and record["error"]["reason"] in out
        and record["study"] == "s"
    )
    assert "one by one" in err


@pytest.mark.slow
@pytest.mark.long
def test_a_full_disk_is_one_line_and_no_failed_run(bench, small_disk, undisturbed):
    bench.write(FOUR, steps=800)
    options, make_room = small_disk
    code, out, err = bench.end(bench.start("cluster.workers=1", **options))
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("capacity: error: ") and "results" in last
    assert "No space left" in last or "File too large" in last
    assert "failed" not in bench.states()  # it is the disk that failed, not the run
    make_room()
    wait_until(lambda: "running" not in bench.states(), "workers to stop", every=0.01)
    assert bench.sweep("cluster.workers=1")[0] == 0
    assert_undisturbed(bench, undisturbed, 1)
