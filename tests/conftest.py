"""Shared by all tests: one thread per process, the command line as a person would call it, and a
run of a second."""

import gc
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch is imported: the tests themselves run side by side
)
os.environ.pop("CAPACITY_RESULTS", None)
os.environ["CAPACITY_LOCAL"] = os.devnull  # nothing of this site

import pytest

from waiting import DEADLINE, patience

try:
    from hypothesis import settings
except ImportError:  # a machine that only runs `make gpu-check`
    pass
else:
    settings.register_profile(
        "capacity", deadline=None, derandomize=True, max_examples=50
    )  # a slow or unlucky machine must not fail a test
    settings.load_profile("capacity")


OFFICIAL = Path(__file__).resolve().parents[2] / "shared" / "physicslm4_fields"


def pytest_collection_modifyitems(config, items):
    """Tests against the published value lists are left out where those are absent: they are not
    ours to ship."""
    if not OFFICIAL.is_dir():
        absent = [item for item in items if "official" in item.keywords]
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if "official" not in item.keywords]


@pytest.hookimpl(optionalhook=True)  # `make gpu-check` runs without xdist
def pytest_xdist_auto_num_workers(config):
    """One more than there are cores for the second tier alone: much of it waits for clusters and
    other processes."""
    return (os.cpu_count() or 1) + 1 if config.option.markexpr == "long" else None


def pytest_collection_finish(session):
    """What is collected stays to the end: without it, a pass over all objects (which a run without
    room asks for, and Python now and then) takes 20 ms instead of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def official() -> Path:
    """The folder of the published value lists; mark the test `official`."""
    return OFFICIAL


@pytest.fixture
def tiny() -> list[str]:
    """Overrides for a model of about a thousand parameters that trains in well under a second."""
    return [
        "data.vocab_size=16",
        "data.seq_len=4",
        "data.n_sequences=20",
        "model.d_model=8",
        "train.steps=120",
        "train.batch_size=8",
        "train.warmup_steps=10",
        "cluster.device=cpu",
    ]


@pytest.fixture
def cli(tmp_path):
    """`capacity` as a process of its own, in an empty folder; returns the CompletedProcess with
    both streams as text."""

    def run(*args, cwd=tmp_path, env=None, python=(), deadline=DEADLINE):
        command = [sys.executable, *python, "-m", "capacity", *map(str, args)]
        return subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | (env or {}),
            capture_output=True,
            text=True,
            timeout=patience(deadline),
        )

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
    """In CI a skipped test is a failure, unless it needs a GPU or shared/: a green run must not
    hide what did not run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None or hasattr(session.config, "workerinput"):
        return
    skipped = [
        (report.nodeid, _reason(report))
        for report in reporter.stats.get("skipped", [])
        if not _may_be_skipped(report)
    ]
    if skipped:
        reporter.write_line("")
        reporter.write_line(
            "skipped in CI, though neither a GPU nor shared/ was missing:", red=True
        )
        for nodeid, reason in skipped:
            reporter.write_line(f"  {nodeid}: {reason}", red=True)
        if exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _may_be_skipped(report) -> bool:
    return (
        "gpu" in getattr(report, "keywords", ())
        or re.search(r"\b(GPU|CUDA)\b|\bshared/", _reason(report)) is not None
    )


def _reason(report) -> str:
    """Why a test, or a module as a whole, was skipped: the last of (path, line, "Skipped: why")."""
    return (
        str(report.longrepr[2])
        if isinstance(report.longrepr, (tuple, list))
        else str(report.longrepr)
    )
