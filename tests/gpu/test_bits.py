"""Whether trainings on a CUDA device repeat and resume bit for bit, and attention at the limits of
its kernels. Without hydra and without a network, as test_gpu.py."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from capacity.config import from_dict
from capacity.model import sdpa
from capacity.model.attention import document_mask
from capacity.train import loop
from capacity.train.loop import Stack, advance
from gpu_models import CPU, CUDA, PEOPLE, config
from stacks import trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def run(seed=0, length=64, size=8, compile="never", **train):
    """A run whose heads have `size` values."""
    return from_dict(
        {
            "cluster": {"compile": compile},
            "data": {"vocab_size": 50, "seq_len": length, "n_sequences": 90 + seed},
            "model": {"n_layers": 2, "d_model": 128, "n_heads": 128 // size, "position": "rotary"},
            "seed": seed,
            "train": {"steps": 300, "batch_size": 12, "warmup_steps": 5} | train,
        }
    )


def people(seed=0, apart=False, **train):
    """GPT2-2-2 on windows of 512 tokens, whose documents may be kept apart."""
    model = {"n_layers": 2, "d_model": 128, "n_heads": 2, "position": "rotary"}
    return from_dict(
        {
            "data": PEOPLE | {"seq_len": 512},
            "model": model | {"document_mask": apart},
            "seed": seed,
            "train": {"steps": 300, "batch_size": 12, "warmup_steps": 5} | train,
        }
    )


def resumed(configs, first, until):
    """The state at `until` of a training that ended at step `first`, went to the host and came
    back to a new stack."""
    _, state = trained(configs, first, CUDA)
    tensors = {name: getattr(state, name).cpu().clone() for name in loop.CHANGED}
    stack = Stack(configs, CUDA)
    moved = {name: tensor.to(CUDA) for name, tensor in tensors.items()}
    state = dataclasses.replace(state, cursor_MC=state.cursor_MC.clone(), **moved)
    advance(stack, state, until, lambda: False)
    return state


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda s, **t: run(s, 64, 8, **t), id="T 64"),
        pytest.param(lambda s, **t: run(s, 512, 64, **t), id="T 512"),
        pytest.param(lambda s, **t: run(s, 512, 2, **t), id="T 512, K 2"),
        pytest.param(people, id="people"),
        pytest.param(lambda s, **t: people(s, True, **t), id="people apart"),
        pytest.param(lambda s, **t: config(s, "moe", **t), id="moe"),
        pytest.param(lambda s, **t: run(s, 512, 64, optimizer="muon", **t), id="muon"),
    ],
)
def test_a_training_repeats_and_resumes_bit_for_bit(make, precision):
    configs = [make(seed, precision=precision) for seed in (0, 1)]
    _, state = trained(configs, 12, CUDA)
    assert torch.isfinite(state.flat_MP).all() and state.alive_M.all()
    _, again = trained(configs, 12, CUDA)
    after = resumed(configs, 5, 12)
    for name in loop.CHANGED:
        assert torch.equal(getattr(state, name), getattr(again, name)), f"{name}, again"
        assert torch.equal(getattr(state, name), getattr(after, name)), f"{name}, resumed"


def both(attend, qkv, dy):
    """y and gradients of q, k and v."""
    leaves = [x.detach().requires_grad_() for x in qkv]
    y = attend(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy)]


def exact(qkv, dy, mask=None):
    def plain(q, k, v):
        with sdpa_kernel(SDPBackend.MATH):
            some = None if mask is None else mask[:, None]
            y = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=some, is_causal=mask is None
            )
        return y.transpose(1, 2)

    return both(plain, [x.double() for x in qkv], dy.double())


def drawn(n, heads, length, size, dtype):
    """q, k, v as views of one product, and a gradient of y."""
    generator = torch.Generator(CUDA).manual_seed(0)
    shape = (n, length, 3 * heads, size)
    qkv = torch.randn(shape, generator=generator, device=CUDA).to(dtype)
    dy = torch.randn((n, length, heads, size), generator=generator, device=CUDA).to(dtype)
    return qkv.transpose(1, 2).split(heads, dim=1), dy


# Relative to the largest norm of y and the gradients: a few units in the last place of the format,
# in which y and p are rounded. Gradients of q and k are differences, and vanish at one position.
ERRORS = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def error(found, expected):
    """The largest distance, over the largest norm."""
    apart = [float((a.double() - b).norm()) for a, b in zip(found, expected, strict=True)]
    return max(apart) / max(float(b.norm()) for b in expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("size", [2, 4, 8, 64])
@pytest.mark.parametrize("length", [1, 32, 64, 130, 512])
def test_attention_of_every_head_is_that_in_fp64(length, size, dtype, masked):
    qkv, dy = drawn(6, 4, length, size, dtype)
    mask = None
    if masked:
        mask = document_mask(torch.randint(0, 9, (6, length), device=CUDA))
    found = both(lambda *some: sdpa.library_attention(*some, mask), qkv, dy)
    again = both(lambda *some: sdpa.library_attention(*some, mask), qkv, dy)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    assert error(found, exact(qkv, dy, mask)) < ERRORS[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "n, heads, calls", [(65_535, 1, 1), (65_536, 1, 2), (131_072, 2, 3), (65_535, 9, 2)]
)
def test_a_batch_beyond_the_limits_of_kernels_is_right_to_its_last_sequence(n, heads, calls, dtype):
    """More than 65,535 sequences; and 9 heads, whose sums of dq have more than 2^31 entries."""
    assert len(sdpa.parts(n, heads, 8, 8)) == calls
    qkv, dy = drawn(n, heads, 8, 8, dtype)
    found = both(sdpa.library_attention, qkv, dy)
    torch.cuda.synchronize()
    for begin in (0, n // calls - 2, n // 2, n - 4):
        few = slice(begin, begin + 4)
        expected = exact([x[few] for x in qkv], dy[few])
        assert error([x[few] for x in found], expected) < ERRORS[dtype]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stack_of_65536_sequences_trains_each_member_as_alone(precision):
    tree = {
        "data": {"vocab_size": 16, "seq_len": 4, "n_sequences": 50},
        "model": {"n_layers": 1, "d_model": 8, "n_heads": 1},
        "train": {"steps": 300, "batch_size": 2048, "warmup_steps": 0, "precision": precision},
    }
    configs = [from_dict(tree | {"seed": seed}) for seed in range(32)]
    _, state = trained(configs, 4, CUDA)
    _, solo = trained(configs[-1:], 4, CUDA)
    assert torch.allclose(
        state.flat_MP[-1], solo.flat_MP[0], atol=2e-2 if precision == "bf16" else 1e-3
    )


def test_a_compiled_loss_inside_the_graph_does_what_the_plain_one_does():
    """Attention is one operation to the compiler, so that bits of two compiled trainings agree."""
    plain = [run(seed, 512, 64, precision="bf16") for seed in (0, 1)]
    fast = [run(seed, 512, 64, compile="always", precision="bf16") for seed in (0, 1)]
    _, there = trained(plain, 12, CUDA)
    _, here = trained(fast, 12, CUDA)
    _, again = trained(fast, 12, CUDA)
    assert torch.allclose(there.flat_MP, here.flat_MP, atol=2e-2)
    assert torch.equal(here.flat_MP, again.flat_MP)


def test_members_leave_one_after_the_other():
    """A smaller stack is recorded anew; who stays ends as it would have without the others."""
    configs = [config(0), config(1, lr=0.003), config(2, weight_decay=0.1)]
    _, state = trained(configs, 10, CUDA)
    for until, stay in ((16, [0, 2]), (24, [1])):
        state = state.select(stay)
        configs = [configs[m] for m in stay]
        advance(Stack(configs, CUDA), state, until, lambda: False)
    _, alone = trained(configs, 24, CUDA)
    assert torch.allclose(state.flat_MP, alone.flat_MP, atol=1e-3)
    _, there = trained(configs, 24, CPU)
    assert torch.allclose(state.flat_MP.cpu(), there.flat_MP, atol=2e-2)
