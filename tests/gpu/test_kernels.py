"""Triton's kernels on a CUDA device beside torch's operations: the two agree to the format, and a
kernel repeats its bits. `make gpu-check` runs this file."""

import importlib.util

import pytest
import torch

from capacity.config import from_dict
from capacity.model import attention, head
from capacity.model.kernels import dispatch
from capacity.train import loop
from stacks import trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or importlib.util.find_spec("triton") is None,
        reason="needs a CUDA device, and triton, which CUDA builds of torch bring",
    ),
]

CUDA = torch.device("cuda")
# the unit roundoff of a format, and what stands for it in the torch forms: logits in the format
# itself, whose errors reach a probability as they are
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2.0**-5}


def close(ours, theirs, dtype):
    error = (ours.float() - theirs.float()).norm() / theirs.float().norm()
    assert error < ROUNDING[dtype], error


def repeats(work):
    first, again = work(), work()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    return first


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize(
    ("M", "N", "V", "D"), [(3, 1000, 300, 24), (8, 2048, 256, 104), (2, 513, 2048, 200)]
)
def test_head(dtype, M, N, V, D):
    generator = torch.Generator().manual_seed(0)
    x, table = (
        torch.randn(M, n, D, generator=generator).div(D**0.25).to(CUDA, dtype).requires_grad_()
        for n in (N, V)
    )
    target = torch.randint(0, V, (M, N), generator=generator).to(CUDA)

    def results(form):
        loss = form(x, table, target)
        return [loss.detach(), *torch.autograd.grad(loss.sum(), (x, table))]

    for ours, theirs in zip(
        repeats(lambda: results(dispatch.mean_nll)), results(head.mean_nll), strict=True
    ):
        close(ours, theirs, dtype)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize(
    ("N", "H", "G", "T", "K"),
    [(70, 13, 13, 64, 8), (5, 4, 2, 33, 4), (9, 2, 2, 128, 32), (3, 5, 5, 16, 2)],
)
def test_attention(dtype, N, H, G, T, K):
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(N, T, H + 2 * G, K, generator=generator).to(CUDA, dtype).requires_grad_()
    dy = torch.randn(N, T, H, K, generator=generator).to(CUDA, dtype)

    def results(form):
        y = form(qkv)
        return [y.detach(), torch.autograd.grad(y, qkv, dy)[0]]

    def reference(qkv):
        return attention.causal_attention(*qkv.transpose(1, 2).split([H, G, G], dim=1))

    ours = repeats(lambda: results(lambda z: dispatch.packed_attention(z, H)))
    for one, other in zip(ours, results(reference), strict=True):
        close(one, other, dtype)


def members(kernels, precision, weights):
    return [
        from_dict(
            {
                "cluster": {"kernels": kernels},
                "data": {"vocab_size": 50, "seq_len": 16, "n_sequences": 40},
                "model": {"n_layers": 2, "d_model": 24, "n_heads": 6},
                "seed": seed,
                "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5, "lr": lr}
                | {"precision": precision, "weights": weights, "grad_clip": clip},
            }
        )
        for seed, lr, clip in ((0, 0.01, 1.0), (1, 0.003, 0.1), (2, 1e30, 0.0))
    ]


@pytest.mark.parametrize(
    ("precision", "weights"), [("fp32", "fp32"), ("bf16", "fp32"), ("bf16", "bf16_stochastic")]
)
def test_a_recorded_step_with_kernels(precision, weights):
    """Replayed it is the plain one to the bit; beside torch's path the same losses; the member
    that fails, fails there, too."""
    replayed = trained(members("triton", precision, weights), 20, CUDA)[1]
    plain = trained(members("triton", precision, weights), 20, CUDA, loop.plain)[1]
    for name in loop.CHANGED:
        assert torch.equal(
            *(torch.nan_to_num(getattr(s, name).float()) for s in (replayed, plain))
        ), name
    torchs = trained(members("torch", precision, weights), 20, CUDA)[1]
    assert replayed.alive_M.tolist() == torchs.alive_M.tolist() == [True, True, False]
    # 20 steps multiply roundings; a loss of about log 50 nats per token moves by far less
    tolerance = 1e-4 if precision == "fp32" else 2e-2
    assert torch.allclose(replayed.loss_sum_M[:2], torchs.loss_sum_M[:2], rtol=tolerance)


def test_the_bf16_copy_is_that_of_the_weights():
    stack, state = trained(members("triton", "bf16", "fp32")[:2], 7, CUDA)
    assert stack.one_pass is not None and stack.one_pass.copy_MP is not None
    assert torch.equal(stack.one_pass.copy_MP, state.flat_MP.bfloat16())
