"""CPU threads: as many as are useful or wanted, never more than the environment allows, in every
process that trains."""

import os

import pytest

from capacity import records
from capacity.base import hardware
from capacity.base.hardware import SHARED_FLOP
from capacity.cli.main import main
from capacity.compose import load
from capacity.study import load_study
from capacity.sweep import plan, plan_text, pool
from capacity.sweep.packs import Pack, read_pack, write_pack
from sweeps import PINS, bench  # noqa: F401

WORDS = {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "SLURM_CPUS_PER_TASK", "KMP_BLOCKTIME"}
UNPINNED = PINS.replace("cluster.threads=1, ", "") + "grids: [{{seed: [0, 1]}}]\n"


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores and such an environment."""

    def make(cores, **environment):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        for name in WORDS:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize(
    "omp, most",
    [
        (None, 8),
        ("", 8),
        ("1", 1),
        ("3", 3),
        ("8", 8),
        ("64", 8),
        ("4,2", 4),
        (" 2 ", 2),
        ("0", 8),
        ("-1", 8),
        ("many", 8),
        (",4", 8),
        ("2.5", 8),
    ],
)
def test_the_environment_bounds_what_is_useful_and_what_is_wanted(machine, omp, most):
    machine(8, **({} if omp is None else {"OMP_NUM_THREADS": omp}))
    assert hardware.most_threads() == most
    assert hardware.pick_threads(100 * SHARED_FLOP) == most
    assert [hardware.pick_threads(0.0, wanted) for wanted in (1, 2, 100)] == [1, min(2, most), most]
    assert hardware.pick_threads(100 * SHARED_FLOP, None, 2) == min(2, most)  # a worker's share
    refused = hardware.refused_threads(9)
    assert f"8 cores allow {most}" in refused
    assert (f"OMP_NUM_THREADS={omp} and" in refused) == bool(omp)
    assert hardware.refused_threads(None) == hardware.refused_threads(1) == ""


@pytest.mark.parametrize("asked, cores", [("3", 3), ("16", 8), ("0", 8), ("", 8), ("3(x2)", 8)])
def test_a_slurm_task_has_the_cores_that_it_asked_for(machine, asked, cores):
    machine(8, SLURM_CPUS_PER_TASK=asked)
    assert hardware.cores() == hardware.most_threads() == cores


def test_a_thread_has_enough_to_do(machine):
    machine(8)
    shares = (0.0, 0.9, 1.0, 1.9, 2.0, 7.5, 1e9)
    assert [hardware.pick_threads(s * SHARED_FLOP) for s in shares] == [1, 1, 1, 1, 2, 7, 8]


def planned(tmp_path, *overrides, text=UNPINNED, **numbers):
    (tmp_path / "s.yaml").write_text(text.format(steps=20, **numbers))
    study = load_study(str(tmp_path / "s.yaml"), list(overrides))
    made = plan.make_plan(study, tmp_path / "results", {}, False)
    return made, plan_text.summary(made)


def test_a_plan_says_how_many_threads_there_will_be(machine, tmp_path):
    machine(8)
    made, text = planned(tmp_path, "cluster.workers=2", "cluster.threads=3")
    assert made.jobs[0].packs[0].threads == 3 and "workers of 3 threads each" in text
    small, text = planned(tmp_path, "cluster.workers=1")
    assert small.jobs[0].packs[0].threads == 1 and "worker of 1 thread," in text  # a tiny step
    large = ["cluster.workers=1", "model.d_model=512", "train.batch_size=1024"]
    made, text = planned(tmp_path, *large)
    assert made.jobs[0].packs[0].threads == 8 and "worker of 8 threads," in text
    machine(8, OMP_NUM_THREADS="2")
    assert planned(tmp_path, *large)[0].jobs[0].packs[0].threads == 2
    made, text = planned(tmp_path, "cluster.workers=2", "cluster.threads=3")
    told = " ".join(text.split())
    assert made.jobs[0].packs[0].threads == 2
    assert "2 threads each (cluster.threads=3: OMP_NUM_THREADS=2 and 8 cores allow 2)" in told


def test_threads_do_not_depend_on_what_is_left(machine, tmp_path, monkeypatch):
    """Bits depend on them. A stack of four has work for three threads here, one run for one."""
    machine(8)
    text = UNPINNED.replace("seed: [0, 1]", "seed: [0, 1, 2, 3]")
    how = ["cluster.workers=1", "cluster.stack=4"]
    run = planned(tmp_path, *how, text=text)[0].study.runs[0]
    monkeypatch.setattr(hardware, "SHARED_FLOP", 4 * run.flops / run.steps / 3.5)
    made, _ = planned(tmp_path, *how, text=text)
    (pack,) = made.jobs[0].packs
    assert pack.threads == 3 and len(pack.stacks[0]) == 4
    some = {run.run_id for run in pack.runs[:1]}
    left = plan.make_plan(made.study, tmp_path / "results", {}, False, only=some).jobs[0].packs[0]
    assert len(left.runs) == 1 and left.threads == pack.threads
    queued = planned(tmp_path, *how, "cluster=slurm", "cluster.gpus=0", "cluster.cpus=8", text=text)
    assert queued[0].jobs[0].packs[0].threads == pack.threads
    machine(8, OMP_NUM_THREADS="1")  # of the submitting machine: the node has its own
    queued = planned(tmp_path, *how, "cluster=slurm", "cluster.gpus=0", "cluster.cpus=8", text=text)
    assert queued[0].jobs[0].packs[0].threads == pack.threads
    assert f"of {pack.threads} threads" in " ".join(queued[1].split())


def test_processes_of_a_pack_get_what_is_allowed(machine, tmp_path, monkeypatch, capsys):
    machine(8, OMP_NUM_THREADS="2")
    study = planned(tmp_path)[0].study
    file = tmp_path / "p.json"
    write_pack(file, Pack("s", tmp_path / "results", "cpu", 1, 4, [study.runs]))
    given = []

    class Nothing:
        returncode, stdout = 2, ()

        def __init__(self, command, env, **rest):
            given.append(env["OMP_NUM_THREADS"])

        def wait(self):
            return 2

    monkeypatch.setattr(pool.subprocess, "Popen", Nothing)
    with pytest.raises(Exception, match="worker refused its pack"):
        pool.train(read_pack(file), file, study.runs)
    assert given == ["2"]
    said = "4 threads a worker were planned; OMP_NUM_THREADS=2 and 8 cores allow 2"
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("omp", ["1", pytest.param("2,1", marks=pytest.mark.long), "64"])
def test_a_sweeps_workers_train_with_that_many(bench, monkeypatch, omp):
    bench.write(UNPINNED.replace("[0, 1]", "[0]"), steps=30)
    bench.spoil(
        "import atexit\n"
        "    file = os.path.join(os.path.dirname(__file__), 'environment')\n"
        "    words = ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY')\n"
        "    told = lambda: ' '.join(map(os.environ.get, words))\n"
        "    atexit.register(lambda: open(file, 'w').write(told()))"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    code, out, err = bench.sweep("cluster.threads=2")
    wanted = min(2, int(omp[0:2].rstrip(",")), hardware.cores())
    assert code == 0 and f"of {wanted} thread" in out
    record = records.read(bench.results, bench.runs[0].run_id)
    assert record["training"]["threads"] == wanted
    assert (bench.hooks / "environment").read_text() == f"{wanted} passive"


@pytest.mark.slow
@pytest.mark.parametrize(
    "omp, wait", [("1", None), pytest.param("4,2", "active", marks=pytest.mark.long)]
)
def test_a_run_alone_obeys_too(cli, tiny, tmp_path, omp, wait):
    env = {"OMP_NUM_THREADS": omp} | ({"OMP_WAIT_POLICY": wait} if wait else {})
    done = cli("train", *tiny, "cluster.threads=3", env=env)
    assert done.returncode == 0, done.stderr
    most = min(int(omp[0]), hardware.cores())
    record = records.read(tmp_path / "results", load(tiny).run_id)
    assert record["training"]["threads"] == min(3, most)
    line = f"capacity: cluster.threads=3: OMP_NUM_THREADS={omp} and"
    assert (line in done.stderr) == (most < 3)


def test_idle_threads_rest_unless_the_environment_says_otherwise(machine):
    machine(8)
    hardware.rest_idle_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "passive" and os.environ["KMP_BLOCKTIME"] == "0"
    machine(8, OMP_WAIT_POLICY="active")
    hardware.rest_idle_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "active" and "KMP_BLOCKTIME" not in os.environ


def test_a_dry_run_says_so(machine, here, capsys):
    machine(4, OMP_NUM_THREADS="2")
    (here / "s.yaml").write_text(UNPINNED.format(steps=20))
    assert main(["sweep", "s.yaml", "--dry-run", "cluster.threads=4"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "workers of 2 threads each (cluster.threads=4: OMP_NUM_THREADS=2 and 4 cores" in told
