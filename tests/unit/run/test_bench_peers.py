"""What the benchmark puts beside the tool does the same work: else it is not timed."""

import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
STACKS = (((2, 16, 4), 64, 16, 16, 3), ((1, 24, 3), 50, 12, 8, 1))


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("benchmarks.peers")


@pytest.mark.parametrize("stack", STACKS)
def test_vmap_trains_the_very_models_of_the_stack(peers, stack):
    work = peers.Work(peers.stack(*stack), torch.device("cpu"))
    assert peers.agree(peers.ours(work), peers.torch_func(work)) < 1e-5


def test_a_peer_that_does_other_work_is_refused(peers, monkeypatch):
    work = peers.Work(peers.stack(*STACKS[0]), torch.device("cpu"))
    slower = peers.Work(peers.stack(*STACKS[0]), torch.device("cpu"))
    slower.learning_rate = lambda steps: 0.9 * work.learning_rate(steps)
    later = peers.Work(peers.stack(*STACKS[0]), torch.device("cpu"))
    later.rows = lambda first, steps: work.rows(first + 1, steps)
    for other in (slower, later):
        with pytest.raises(AssertionError, match="losses"):
            peers.agree(peers.ours(work), peers.torch_func(other))
    rectified = peers.torch_func(work)
    monkeypatch.setattr(peers.F, "gelu", torch.relu)  # ours has its function by now
    with pytest.raises(AssertionError, match="losses"):
        peers.agree(peers.ours(work), rectified)


def test_a_package_that_is_not_there_is_named(peers, monkeypatch, capsys):
    monkeypatch.setattr(peers, "installed", lambda package: False)
    monkeypatch.setattr("benchmarks.training.PLAIN", {})
    assert peers.peers(torch.device("cpu"), 1, {}) == {}
    shown = capsys.readouterr().out
    assert all(f"{name}: not installed" in shown for name in peers.PEERS)
