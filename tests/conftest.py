"""Shared by all tests: one thread per process, the command line as a person would call it, and a run of a second."""

import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the tests themselves run side by side
os.environ.pop("CAPACITY_RESULTS", None)
os.environ["CAPACITY_LOCAL"] = os.devnull  # nothing of this site

import pytest

from waiting import patience

try:
    from hypothesis import settings
except ImportError:  # a machine that only runs `make gpu-check`
    pass
else:
    settings.register_profile("capacity", deadline=None, derandomize=True)  # a slow or unlucky machine must not fail a test
    settings.load_profile("capacity")


OFFICIAL = Path(__file__).resolve().parents[2] / "shared" / "physicslm4_fields"


def pytest_collection_modifyitems(config, items):
    """Tests against the published value lists are left out where those are absent: they are not ours to ship."""
    if not OFFICIAL.is_dir():
        absent = [item for item in items if "official" in item.keywords]
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if "official" not in item.keywords]


@pytest.fixture
def official() -> Path:
    """The folder of the published value lists; mark the test `official`."""
    return OFFICIAL


@pytest.fixture
def tiny() -> list[str]:
    """Overrides for a model of about a thousand parameters that trains in well under a second."""
    return ["data.vocab_size=16", "data.seq_len=4", "data.n_sequences=20", "model.d_model=8", "train.steps=120",
            "train.batch_size=8", "train.warmup_steps=10", "cluster.device=cpu"]


@pytest.fixture
def cli(tmp_path):
    """`capacity` as a process of its own, in an empty folder; returns the CompletedProcess with both streams as text."""

    def run(*args, cwd=tmp_path, env=None, python=()):
        command = [sys.executable, *python, "-m", "capacity", *map(str, args)]
        return subprocess.run(command, cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True, timeout=patience())

    return run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder; signal handlers, which `main` replaces, are put back."""
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_sessionfinish(session, exitstatus):
    """In CI a skipped test is a failure, unless it needs a GPU: a green run must not hide what did not run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = [report.nodeid for report in reporter.stats.get("skipped", []) if "gpu" not in report.keywords]
    if skipped and exitstatus == 0:
        reporter.write_line(f"skipped in CI without needing a GPU: {', '.join(skipped)}", red=True)
        session.exitstatus = 1
