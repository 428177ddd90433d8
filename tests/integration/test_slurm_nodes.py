"""Ranks over the nodes of a real SLURM (two slurmd on this machine): a group is a step of srun, and
what becomes of a lost rank, a lost node and a time limit."""

import os
import re
import signal

import pytest
import torch

from capacity import records
from capacity.config import from_dict
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.sweep import submissions
from capacity.train.checkpoint import read_meta
from slurm_cluster import _missing, slurm_cluster
from sweeps import bench  # noqa: F401
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]

STEPS = 600
STUDY = (
    "pins: [data.vocab_size=50, data.seq_len=8, data.n_sequences=40, model.d_model=32, "
    "model.n_heads=4, train.batch_size=8, train.warmup_steps=5, train.steps={steps}, "
    "cluster.device=cpu, cluster.threads=1, cluster.checkpoint_seconds=0.05, "
    "cluster.micro_batches=4]\ngrids: [{{seed: [0]}}]\n"
)
HERE = [
    "cluster=slurm",
    "cluster.gpus=0",
    "cluster.cpus=1",
    "cluster.mem=100M",
    "cluster.signal_seconds=5",
    "cluster.environment=[GLOO_SOCKET_IFNAME=lo]",
]
NODES = [*HERE, "cluster.nodes=2", "cluster.ranks=2"]
# every process of a group notes where it is
NOTE_NODE = """name = os.environ.get("SLURMD_NODENAME", "none") + "-%d" % os.getpid()
    open(os.path.join(os.path.dirname(__file__), name), "w").close()"""


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    if missing := _missing():
        pytest.skip(f"SLURM is not installed: no {', '.join(missing)}")
    with slurm_cluster(tmp_path_factory.mktemp("s2"), nodes=2) as cluster:
        yield cluster


@pytest.fixture
def slurm(two_nodes, monkeypatch):
    for name in set(os.environ) - set(two_nodes.env):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", str(two_nodes.conf))
    yield two_nodes
    assert two_nodes.clear(), two_nodes.logs()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Weights and bits of the run by one process, in the same parts."""
    known = {}

    def of(run):
        if not known:
            torch.set_num_threads(1)
            results = tmp_path_factory.mktemp("alone")
            cluster = {"ranks": 1, "micro_batches": 4, "device": "cpu"}
            one = from_dict(run.as_dict() | {"cluster": cluster})
            assert execute([one], Job(results, torch.device("cpu"))) == {run.run_id: "finished"}
            known["end"] = end(results, run)
        return known["end"]

    return of


def end(results, run):
    weights = records.run_dir(results, run.run_id) / "weights.safetensors"
    return weights.read_bytes(), records.read(results, run.run_id)["measures"]


def submit(bench, *more):
    bench.write(STUDY, steps=STEPS)
    bench.spoil(NOTE_NODE)
    code, out, err = bench.sweep(*NODES, *more)
    assert code == 0, err
    (job,) = re.findall(r"^submitted   job (\d+):", out, re.M)
    return job


def groups(bench):
    """Process ids by the node that they ran on."""
    found = {}
    for path in bench.hooks.glob("node?-*"):
        node, _, pid = path.name.partition("-")
        found.setdefault(node, set()).add(int(pid))
    return found


def logs(bench):
    return "\n".join(path.read_text() for path in sorted(bench.results.glob("submissions/*/*.log")))


def further(bench, than=0):
    """Wait for a checkpoint beyond that step; returns its step."""
    (run,) = bench.runs

    def step():
        meta = read_meta(bench.folder_of(run) / "checkpoint.safetensors")
        assert not records.read(bench.results, run.run_id), "the run has ended; give it more steps"
        return meta["step"] if meta and meta["step"] > than else 0

    return wait_until(step, lambda: f"a checkpoint beyond {than}\n{logs(bench)}")


def test_a_lost_rank_a_limit_and_a_lost_node(bench, slurm, alone):
    """One element through all of them, one after the other, and its bits are those of one process
    that nothing has happened to."""
    job = submit(bench)
    (submission,) = submissions.read_all(bench.results)
    script = (submission.folder / "submit.sbatch").read_text()
    assert "#SBATCH --nodes=2\n#SBATCH --ntasks=2\n#SBATCH --ntasks-per-node=1\n" in script
    (run,) = bench.runs
    reached = further(bench)
    assert sorted(groups(bench)) == ["node0", "node1"]  # a rank on each

    (other,) = groups(bench)["node1"]  # a lost rank: the pool starts the group again
    os.kill(other, signal.SIGKILL)
    reached = further(bench, reached)
    wait_until(lambda: len(groups(bench)["node1"]) == 2, "another group")
    assert "starting it again" in logs(bench)

    with slurm.closed():  # the signal before a limit: it saves and requeues itself
        reached = further(bench, reached)
        slurm.run("scancel", "--signal=USR1", "--batch", f"{job}_0")
        wait_until(lambda: slurm.states(job) == {"PENDING"}, lambda: f"the requeue\n{logs(bench)}")
        saved = read_meta(bench.folder_of(run) / "checkpoint.safetensors")["step"]
        assert saved >= reached
    reached = further(bench, saved)

    with slurm.closed():  # a lost node: the queue puts the element back
        slurm.run("scontrol", "update", "nodename=node1", "state=down", "reason=test")
        wait_until(lambda: slurm.states(job) <= {"PENDING", "NODE_FAIL"}, "the node's end")
        wait_until(lambda: "running" not in bench.states(), "the end of the group")
        slurm.run("scontrol", "update", "nodename=node1", "state=resume", check=False)
    assert slurm.wait(job) == {"COMPLETED"}, logs(bench)
    assert int(slurm.jobs(job)[0]["Restarts"]) == 2
    assert bench.states() == ["finished"] and end(bench.results, run) == alone(run)
    assert records.read(bench.results, run.run_id)["training"]["ranks"] == 2


def test_ranks_of_one_node_are_started_by_the_first(bench, slurm, alone):
    """No step of srun; the element asks for the CPUs of all of them."""
    job = submit(bench, "cluster.nodes=1", "cluster.ranks=4")
    (submission,) = submissions.read_all(bench.results)
    script = (submission.folder / "submit.sbatch").read_text()
    assert "#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=4\n" in script
    assert slurm.wait(job) == {"COMPLETED"}, logs(bench)
    (run,) = bench.runs
    assert end(bench.results, run) == alone(run)
