"""Checkpoints by time, between the lines of a log: a run that goes on from one ends as if nothing
had happened."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from capacity import records
from capacity.config import from_dict
from capacity.run import run as running
from capacity.run.job import Job
from capacity.train import checkpoint, loop, pace
from stack_members import CPU, config, members
from waiting import patience, wait_until


def every(configs, seconds):
    """The same runs with a checkpoint every so many seconds, and one evaluation beside that at
    90%."""
    changes = {"cluster": {"checkpoint_seconds": seconds}, "measure": {"evaluations": 1}}
    return [
        from_dict({**(tree := c.as_dict()), **{k: {**tree[k], **v} for k, v in changes.items()}})
        for c in configs
    ]


def left_by(results, run):
    """All that a run leaves but times: weights, lines, measures."""
    record = records.read(results, run.run_id)
    lines = records.read_metrics(results, run.run_id)
    return (
        (records.run_dir(results, run.run_id) / "weights.safetensors").read_bytes(),
        [{name: v for name, v in line.items() if name != "wall_s"} for line in lines],
        record["measures"],
        record["convergence"],
        {k: v for k, v in record["training"].items() if k.startswith("exposures")},
    )


class Clock:
    """A second for every step, and `write_s` for every checkpoint."""

    def __init__(self, monkeypatch, write_s):
        self.now = 0.0
        step, save = loop.step, checkpoint.save_states

        def counted(*args):
            self.now += 1.0
            return step(*args)

        def timed(*args):
            self.now += write_s
            return save(*args)

        monkeypatch.setattr(loop, "step", counted)
        monkeypatch.setattr(checkpoint, "save_states", timed)
        monkeypatch.setattr(pace, "time", self)

    def monotonic(self):
        return self.now


@pytest.mark.parametrize("variant", ["gpt", "people", "copies", "recall"])
def test_a_checkpoint_falls_between_log_points_and_resumes_to_the_same_bits(
    tmp_path, monkeypatch, variant
):
    """Whatever is lost behind it, as by kill -9: the folder as it was at a checkpoint goes on. Log
    points are eight steps apart for two of the members and six for the other."""
    monkeypatch.setattr(running, "LOG_POINTS", 7)
    plain = every(members(variant, lengths=(60, 47, 60)), 1e6)
    assert set(running.execute(plain, Job(tmp_path / "plain", CPU)).values()) == {"finished"}
    with monkeypatch.context() as patch:
        Clock(patch, 0.01)
        timed, cut, kept = every(plain, 7.0), tmp_path / "cut", {}
        save = checkpoint.save_states

        def snapshot(paths, state, wall_s):
            save(paths, state, wall_s)
            kept[state.step] = shutil.copytree(cut, tmp_path / f"kept{state.step}")

        patch.setattr(checkpoint, "save_states", snapshot)
        assert set(running.execute(timed, Job(cut, CPU)).values()) == {"finished"}
    assert [c.run_id for c in timed] == [c.run_id for c in plain]
    # every seven seconds, and when a member ends
    assert list(kept) == [7, 14, 21, 28, 35, 42, 47, 54]
    logs = [records.read_metrics(tmp_path / "plain", c.run_id) for c in plain]
    lines = {line["step"] for log in logs for line in log}
    assert not lines & {7, 14, 21, 28, 35}
    for step in (7, 28, 54):  # all three alone, behind two lines, two members
        results, left = kept[step], [c for c in timed if c.steps > step]
        ended = running.execute(timed, Job(results, CPU))
        assert set(ended.values()) == {"finished"}
        for c in left:
            assert left_by(results, c) == left_by(tmp_path / "plain", c), step
    for c in plain:
        assert left_by(cut, c) == left_by(tmp_path / "plain", c)


def test_writing_does_not_take_over(tmp_path, monkeypatch):
    """Checkpoints that take three seconds are sixty apart, whatever was asked for; training gets on
    between them even where it is asked for one all the time."""
    monkeypatch.setattr(running, "LOG_POINTS", 1)
    (run,) = every([config(steps=150)], 1e-9)
    clock, saved = Clock(monkeypatch, 3.0), []
    save = checkpoint.save_states
    monkeypatch.setattr(
        checkpoint,
        "save_states",
        lambda paths, state, wall: (saved.append(state.step), save(paths, state, wall)),
    )
    assert running.execute([run], Job(tmp_path, CPU)) == {run.run_id: "finished"}
    assert saved == [1, 61, 121] and clock.now == 150 + 3.0 * 3


def test_members_are_replaced_together(tmp_path, monkeypatch):
    """A process that dies while it writes leaves all members at one step, so that they go on as the
    stack that they were."""
    monkeypatch.setattr(running, "LOG_POINTS", 1)
    Clock(monkeypatch, 0.0)
    runs = every(members(lengths=(60, 60, 60)), 7.0)
    packed = checkpoint._packed

    class Killed(BaseException):
        pass

    def dies(state, member, run_id, wall_s):
        if state.step == 21 and member == 1:
            raise Killed
        return packed(state, member, run_id, wall_s)

    monkeypatch.setattr(checkpoint, "_packed", dies)
    with pytest.raises(Killed):
        running.execute(runs, Job(tmp_path, CPU))
    paths = [Job(tmp_path, CPU).checkpoint(run) for run in runs]
    assert [checkpoint.read_meta(path)["step"] for path in paths] == [14, 14, 14]
    assert not list(tmp_path.rglob("*.tmp"))


CHILD = """
import json, sys, torch
from pathlib import Path
from capacity.config import from_dict
from capacity.run import run as running
from capacity.run.job import Job
torch.set_num_threads(1)
running.LOG_POINTS = 1
run = from_dict(json.loads(sys.stdin.read()))
running.execute([run], Job(Path(sys.argv[1]), torch.device("cpu")))
"""


@pytest.mark.slow
@pytest.mark.long
def test_kill_9_costs_what_is_behind_the_last_checkpoint(tmp_path, monkeypatch):
    """A real process whose log has no line before its end."""
    monkeypatch.setattr(running, "LOG_POINTS", 1)
    (run,) = every([config(steps=1000)], 0.05)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        running.execute(every([run], 1e6), Job(tmp_path / "plain", CPU))
        job = Job(tmp_path / "cut", CPU)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(job.results)], stdin=subprocess.PIPE, text=True
        )
        child.stdin.write(json.dumps(run.as_dict()))
        child.stdin.close()

        def again():
            """Not only the first one."""
            meta = checkpoint.read_meta(job.checkpoint(run))
            return child.poll() is not None or (meta is not None and meta["wall_s"] > 0.1)

        wait_until(again, "a checkpoint", every=0.002)
        child.kill()
        assert child.wait(patience()) == -signal.SIGKILL, "it was through before it was killed"
        assert 0 < checkpoint.read_meta(job.checkpoint(run))["step"] < 0.9 * run.steps
        assert records.read_metrics(job.results, run.run_id) == []
        assert running.execute([run], job) == {run.run_id: "finished"}
        assert left_by(job.results, run) == left_by(tmp_path / "plain", run)
    finally:
        torch.set_num_threads(threads)
