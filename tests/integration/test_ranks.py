"""Data parallel ranks as real processes (gloo): equal bits however many there are, a lost rank, and
the ways to start them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from capacity import records
from capacity.config import from_dict
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.train.checkpoint import read_meta
from sweeps import bench  # noqa: F401
from waiting import patience, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]

CPU = torch.device("cpu")
SETTINGS = {
    "data": {"vocab_size": 50, "seq_len": 8, "n_sequences": 40},
    "model": {"n_layers": 1, "d_model": 32, "n_heads": 4},
    "train": {"steps": 30, "batch_size": 8, "warmup_steps": 5},
}


def config(ranks, seed=0, steps=30):
    cluster = {"ranks": ranks, "micro_batches": 4, "device": "cpu", "checkpoint_seconds": 0.05}
    train = SETTINGS["train"] | {"steps": steps}
    return from_dict(SETTINGS | {"train": train, "cluster": cluster, "seed": seed})


def kept(results, run):
    """What a run has come to: its weights, what was measured, how often data were seen, its log."""
    folder = records.run_dir(results, run.run_id)
    record = records.read(results, run.run_id)
    seen = {k: v for k, v in record["training"].items() if k.startswith("exposures")}
    lines = [{**line, "wall_s": 0} for line in records.read_metrics(results, run.run_id)]
    return (folder / "weights.safetensors").read_bytes(), record["measures"], seen, lines


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process comes to with the same parts, by steps."""
    known = {}

    def of(steps):
        if steps not in known:
            torch.set_num_threads(1)
            results = tmp_path_factory.mktemp("alone")
            run = config(1, steps=steps)
            assert execute([run], Job(results, CPU)) == {run.run_id: "finished"}
            known[steps] = kept(results, run)
        return known[steps]

    return of


def test_one_two_and_four_processes_end_with_the_same_bits(tmp_path):
    """A stack of two, whose second member ends earlier and leaves a smaller stack."""
    torch.set_num_threads(1)
    ends = {}
    for ranks in (1, 2, 4):
        runs = [config(ranks), config(ranks, seed=1, steps=17)]
        results = tmp_path / str(ranks)
        assert set(execute(runs, Job(results, CPU)).values()) == {"finished"}
        ends[ranks] = [kept(results, run) for run in runs]
        record = records.read(results, runs[0].run_id)
        assert record["training"]["ranks"] == ranks and record["training"]["micro_batches"] == 4
        assert not (results / "ranks").exists()
    assert ends[1] == ends[2] == ends[4]
    assert ends[1][0][2]["exposures_min"] == 30 * 8 // 40


def test_exposures_are_those_of_a_run_without_ranks(tmp_path, alone):
    run = config(None)
    assert execute([run], Job(tmp_path, CPU)) == {run.run_id: "finished"}
    assert kept(tmp_path, run)[2] == alone(30)[2]


def test_an_interrupted_run_goes_on_with_other_ranks(tmp_path, alone):
    looks = iter(range(10**9))
    run = config(2)
    job = Job(tmp_path, CPU, stop=lambda: next(looks) > 6)
    assert execute([run], job) == {run.run_id: "interrupted"}
    assert 0 < read_meta(job.checkpoint(run))["step"] < 30
    for ranks in (4, 1):
        assert execute([config(ranks)], Job(tmp_path, CPU)) == {run.run_id: "finished"}
    assert kept(tmp_path, run) == alone(30)


LONG = 400  # steps


def command(ranks, results):
    """`capacity train` of the same run, long enough to be disturbed."""
    given = [
        f"{s}.{k}={v}" for s, part in SETTINGS.items() for k, v in part.items() if k != "steps"
    ]
    cluster = ["cluster.micro_batches=4", "cluster.device=cpu", "cluster.checkpoint_seconds=0.05"]
    return [
        *("capacity", "train", *given, *cluster, f"cluster.ranks={ranks}"),
        *(f"train.steps={LONG}", "data=uniform", "--results", str(results)),
    ]


def children(pid, mark):
    """Processes that `pid` has started, whose command holds the word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid and mark.encode() in line:
            found.append(int(folder.name))
    return sorted(found)


def gone(pid):
    """Whether a process has ended, also where nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_killed_rank_ends_its_group_and_the_run_goes_on_with_other_ranks(tmp_path, alone):
    run = config(2, steps=LONG)
    job = Job(tmp_path, CPU)

    def start(ranks):
        words = [sys.executable, "-m", *command(ranks, tmp_path)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def further(process, step):
        assert process.poll() is None, process.communicate()[1]
        meta = read_meta(job.checkpoint(run))
        return meta is not None and meta["step"] > step

    first = start(2)  # another rank is killed
    wait_until(lambda: further(first, 0), "a checkpoint")
    (other,) = children(first.pid, "capacity.run.follow")
    os.kill(other, signal.SIGKILL)
    _, err = first.communicate(timeout=patience(120))
    assert first.returncode == 1 and "rank 1 of 2 was killed by signal SIGKILL" in err, err
    assert "Traceback" not in err and "continues from the checkpoint" in err
    reached = read_meta(job.checkpoint(run))["step"]

    second = start(4)  # rank 0 is killed
    wait_until(lambda: further(second, reached), "another checkpoint")
    others = children(second.pid, "capacity.run.follow")
    assert len(others) == 3
    second.kill()
    second.communicate()
    wait_until(lambda: all(map(gone, others)), "the end of the others", deadline=120)

    (done,) = execute([config(1, steps=LONG)], job).values()
    assert done == "finished" and kept(tmp_path, run) == alone(LONG)


def test_a_sweep_starts_a_group_again_that_has_lost_a_rank(bench, alone):
    """As often as it gets further: twice alone would end a run that does not."""
    study = bench.folder / "s.yaml"
    pins = [f"{s}.{k}={v}" for s, part in SETTINGS.items() for k, v in part.items() if k != "steps"]
    cluster = ["micro_batches=4", "device=cpu", "threads=1", "ranks=2", "checkpoint_seconds=0.05"]
    pins += [f"train.steps={LONG}", *(f"cluster.{one}" for one in cluster)]
    bench.write(f"pins: [{', '.join(pins)}]\ngrids: [{{{{seed: [0]}}}}]\n")
    assert study.exists()
    process = bench.start()
    (run,) = bench.runs
    seen = set()
    for _ in range(2):

        def worker():
            new = bench.workers() - seen
            lines = records.read_metrics(bench.results, run.run_id)
            return (
                bool(new)
                and len(lines) > 20 * (len(seen) + 1)
                and children(next(iter(new)), "capacity.run.follow")
            )

        (other,) = wait_until(worker, lambda: f"a group beside {seen}; {bench.states()}")
        os.kill(other, signal.SIGKILL)
        seen |= bench.workers()
    code, out, err = bench.end(process)
    assert code == 0, out + err
    assert (out + err).count("rank 1 of 2 was killed by signal SIGKILL") == 2, out + err
    assert bench.states() == ["finished"] and kept(bench.results, run) == alone(LONG)


def test_torchrun_starts_them_too(tmp_path, alone):
    given = [one for one in command(2, tmp_path) if not one.startswith("train.steps")]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    done = subprocess.run(
        [sys.executable, *start, *given, "train.steps=30"],
        capture_output=True,
        text=True,
        timeout=patience(),
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    assert done.returncode == 0, done.stderr
    assert kept(tmp_path, config(2)) == alone(30)
    assert done.stdout.count("bits per parameter") == 1, done.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", *command(4, tmp_path)],
        capture_output=True,
        text=True,
        timeout=patience(),
        env=os.environ
        | {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    )
    assert wrong.returncode == 2
    assert "cluster.ranks=4: torchrun has started 2 processes" in wrong.stderr
