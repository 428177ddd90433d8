"""Sweeps as real processes that tests disturb, and what they should have come to."""

import os
import resource
import shutil
import subprocess
import sys

import pytest

from capacity import records
from capacity.study import load_study
from capacity.sweep.packs import Limits, shared
from waiting import patience, wait_until


def stacks_of(runs, workers, most):
    """As a sweep on this machine cuts them."""
    return shared(runs, workers, Limits(most=most))


PINS = (
    "pins: [data.vocab_size=16, data.seq_len=4, model.d_model=8, train.batch_size=8, "
    "train.warmup_steps=10, "
    "cluster.device=cpu, cluster.threads=1, cluster.checkpoint_seconds=0.05, data.n_sequences=20, "
    "train.steps={steps}]\n"
)
TWO = PINS + "grids: [{{seed: [0, 1]}}]\n"
FOUR = (
    PINS.replace("cluster.threads", "cluster.stack=2, cluster.threads")
    + "grids: [{{data.n_sequences: [10, 40], seed: [0, 1]}}]\n"
)  # two stacks of two

# Every worker notes its process id, so that a test can kill one; `SPOIL` is what a test wants to
# happen in it besides.
NOTE = """
import json, os, sys
if "--runs" in sys.orig_argv:
    pack = json.load(open(sys.orig_argv[sys.orig_argv.index("--pack") + 1]))
    named = sys.orig_argv[sys.orig_argv.index("--runs") + 1].split(",")
    runs = [run["config"] for stack in pack["stacks"] for run in stack if run["run_id"] in named]
    open(os.path.join(os.path.dirname(__file__), "worker-%d" % os.getpid()), "w").close()
    SPOIL
"""


class Bench:
    """A folder with a study, and sweeps of it as processes that end with the test at the latest."""

    def __init__(self, folder):
        self.folder, self.results, self.hooks = folder, folder / "results", folder / "hooks"
        self.hooks.mkdir()
        self.started = []
        self.spoil("pass")

    def write(self, text, **numbers):
        (self.folder / "s.yaml").write_text(text.format(**numbers))
        self.runs = load_study(str(self.folder / "s.yaml"), []).runs

    def spoil(self, code):
        (self.hooks / "sitecustomize.py").write_text(NOTE.replace("SPOIL", code))

    def start(self, *args, **options):
        path = [
            self.hooks,
            os.path.dirname(__file__),
            os.environ.get("PYTHONPATH", ""),
        ]  # `waiting` for what spoils
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, filter(None, path))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "capacity", "sweep", "s.yaml", *args],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.started.append(process)
        return process

    def end(self, process):
        """(exit code, standard output, standard error)"""
        out, err = process.communicate(timeout=patience())
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def sweep(self, *args):
        return self.end(self.start(*args))

    def workers(self):
        return {int(path.name.split("-")[1]) for path in self.hooks.glob("worker-*")}

    def folder_of(self, run):
        return records.run_dir(self.results, run.run_id)

    def states(self):
        return [records.status(self.results, run.run_id) for run in self.runs]

    def weights(self):
        return [(self.folder_of(run) / "weights.safetensors").read_bytes() for run in self.runs]

    def wait_for_the_middle(self, checkpoint=True):
        """Until some run is well on its way (it logs about 110 lines), and has a checkpoint if it
        is to have one."""

        def there(run):
            return len(records.read_metrics(self.results, run.run_id)) > 20 and (
                not checkpoint or (self.folder_of(run) / "checkpoint.safetensors").exists()
            )

        wait_until(
            lambda: any(map(there, self.runs)),
            lambda: f"the middle of a run; they are {self.states()}",
            every=0.01,
        )
        assert "finished" not in self.states(), (
            "runs are too short to be disturbed; give them more steps"
        )


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    for process in bench.started:  # their workers stop by themselves, which is a test of its own
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed():
    """Weights and bits of a study's runs trained in this process, in the stacks that a sweep
    forms."""
    import torch

    from capacity.run.job import Job
    from capacity.run.run import execute

    known = {}

    def train(runs, workers, folder):
        torch.set_num_threads(1)
        key = (tuple(run.run_id for run in runs), workers, runs[0].cluster.stack)
        if key not in known:
            for stack in stacks_of(runs, workers, runs[0].cluster.stack):
                execute(stack, Job(folder, torch.device("cpu")))
            known[key] = [
                (
                    (records.run_dir(folder, run.run_id) / "weights.safetensors").read_bytes(),
                    records.read(folder, run.run_id)["measures"],
                )
                for run in runs
            ]
        return known[key]

    return train


def assert_undisturbed(bench, undisturbed, workers):
    """Every run is finished, bit for bit as if nothing had happened, and nothing unfinished is left
    behind."""
    assert bench.states() == ["finished"] * len(bench.runs)
    expected = undisturbed(bench.runs, workers, bench.folder / "undisturbed")
    assert bench.weights() == [weights for weights, _ in expected]
    held = [records.read(bench.results, run.run_id)["measures"] for run in bench.runs]
    assert held == [measures for _, measures in expected]
    for run in bench.runs:
        # a file that was being written at the moment of a kill may stay until the run is next
        # trained; it begins with a dot
        names = sorted(name for name in os.listdir(bench.folder_of(run)) if name[0] != ".")
        assert names == [
            "config.json",
            "lock",
            "metrics.jsonl",
            "record.json",
            "weights.safetensors",
        ]
        steps = [
            line["step"]
            for line in records.read_metrics(bench.results, run.run_id)
            if "strict_bits" not in line
        ]
        assert steps == sorted(set(steps)) and steps[-1] == run.steps  # no step is logged twice


@pytest.fixture
def small_disk(bench):
    """A disk that is nearly full; returns (options for the processes that must feel it, a way to
    make room)."""
    bench.results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(bench.results)]
    if (
        os.geteuid() == 0
        and shutil.which("mount")
        and subprocess.run(mount, capture_output=True).returncode == 0
    ):
        (bench.results / "ballast").write_bytes(bytes(440 * 1024))
        yield {}, (bench.results / "ballast").unlink
        subprocess.run(["umount", "-l", str(bench.results)], check=True)
    else:  # without the right to mount: files that may not grow beyond what a pack file needs
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (7000, 7000))  # noqa: E731
        yield {"preexec_fn": limit}, lambda: None
