"""Kernels: when they are used, what is told where they cannot be, their shapes; and, in a process
of its own, the kernels themselves under Triton's interpreter."""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.model.kernels import dispatch
from stack_members import config, run
from waiting import patience

HERE = Path(__file__).resolve().parent
TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(
    not TRITON, reason="needs the package triton (Linux on x86_64, extra test)"
)


def asks_for(kernels, **more):
    one = config(**more)
    return dataclasses.replace(one, cluster=dataclasses.replace(one.cluster, kernels=kernels))


def test_who_asks_for_kernels_that_cannot_run_is_told_so(tmp_path, monkeypatch):
    monkeypatch.delenv(dispatch.INTERPRETER, raising=False)
    for installed, words in (
        (True, "Triton has no kernels for the device cpu"),
        (False, "the package triton is not installed"),
    ):
        monkeypatch.setattr(
            dispatch.importlib.util, "find_spec", lambda name: object() if installed else None
        )
        with pytest.raises(ConfigError, match=f"^cluster.kernels=triton: {words}") as error:
            run([asks_for("triton")], tmp_path)
        assert "\n" not in str(error.value) and "cluster.kernels=torch" in str(error.value)
        assert not list(tmp_path.iterdir())
        assert not dispatch.why_not("auto", "cpu") and not dispatch.why_not("torch", "cpu")
        assert bool(dispatch.why_not("triton", "cuda")) is not installed


def test_auto_is_torchs_path():
    assert [dispatch.wants_kernels(one) for one in ("auto", "torch", "triton")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operations_tell_their_shapes_without_running(dtype):
    """On tensors without numbers, as a tracer or a compiler has them, forward and backward."""
    x, table = (
        torch.empty(2, n, 8, dtype=dtype, device="meta", requires_grad=True) for n in (5, 7)
    )
    target = torch.empty(2, 5, dtype=torch.int64, device="meta")
    loss = dispatch.mean_nll(x, table, target)
    dx, dtable = torch.autograd.grad(loss.sum(), (x, table))
    assert loss.shape == (2,) and loss.dtype == torch.float32
    assert (dx.shape, dtable.shape) == (x.shape, table.shape)
    assert dx.dtype == dtable.dtype == dtype
    qkv = torch.empty(3, 6, 8, 4, dtype=dtype, device="meta", requires_grad=True)
    y = dispatch.packed_attention(qkv, 4)
    assert y.shape == (3, 6, 4, 4)
    assert torch.autograd.grad(y.sum(), qkv)[0].shape == qkv.shape
    parts = [torch.empty(3, n, 6, 4, device="meta", requires_grad=True) for n in (4, 2, 2)]
    grads = torch.autograd.grad(dispatch.causal_attention(*parts).sum(), parts)
    assert [g.shape for g in grads] == [p.shape for p in parts]


@needs_triton
@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "interpreter"), [("interpreted_kernels.py", "1"), ("compiled_kernels.py", "0")]
)
def test_kernels_in_a_process_of_their_own(file, interpreter):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", file],
        cwd=HERE,
        env=os.environ | {dispatch.INTERPRETER: interpreter},
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
