"""`nice capacity sweep`: its workers lead sessions of their own, and are nice as sessions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from capacity.base import hardware
from capacity.cli import sweep
from capacity.cli.main import main
from capacity.run import follow

GROUP = Path("/proc/self/autogroup")
SAID = (
    "from capacity.base.hardware import keep_nice; keep_nice(); "
    "print(open('/proc/self/autogroup').read())"
)


@pytest.mark.parametrize("level", [0, 7])
def test_a_session_is_as_nice_as_the_process_that_leads_it(level):
    if not GROUP.exists():  # another kernel, where nice values alone count
        hardware.keep_nice()
        return
    mine = os.nice(0)
    done = subprocess.run(
        [sys.executable, "-c", SAID],
        preexec_fn=lambda: os.nice(level),
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[1:] == ["nice", str(min(19, max(0, mine + level)))]


def test_a_kernel_without_groups_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda by: 5)
    hardware.keep_nice(tmp_path / "none" / "autogroup")
    hardware.keep_nice(tmp_path / "autogroup")
    assert (tmp_path / "autogroup").read_text() == "5"
    monkeypatch.delattr(os, "nice")
    hardware.keep_nice(tmp_path / "other")  # Windows
    assert not (tmp_path / "other").exists()


def test_workers_and_ranks_do_so_and_other_commands_do_not(here, monkeypatch):
    told = []
    for module in (sweep, follow):
        monkeypatch.setattr(module, "keep_nice", lambda: told.append(1))
    monkeypatch.setattr(follow, "follow", lambda place, device: None)
    monkeypatch.setattr(follow.signal, "signal", lambda *args: None)
    monkeypatch.setattr(follow, "_end_with", lambda parent: None)
    assert main(["worker", "--pack", "none.json", "--runs", "a"]) == 2 and told == [1]
    follow.main(["meeting", "1", "2", "cpu", "1"])
    assert told == [1, 1]
    assert main(["list", "forms"]) == 0 and told == [1, 1]
