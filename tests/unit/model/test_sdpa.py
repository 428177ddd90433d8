"""Attention by the library's kernels: which, in parts of what size, and in one order of sums."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from capacity.compose import shared_dir
from capacity.model import attention, sdpa
from capacity.model.sdpa import KERNELS, LIMITS, Kernel, Limits
from capacity.study import load_study, study_names

CPU = KERNELS["cpu"]
HALF, FP32 = torch.bfloat16, torch.float32


def heads(n, count, length, size, dtype=FP32, device="cpu"):
    """q, k and v [n, count, length, size] as the model has them: views of one product."""
    qkv = torch.randn(n, length, 3 * count, size, generator=torch.Generator().manual_seed(n))
    return tuple(qkv.to(device, dtype).transpose(1, 2).split(count, dim=1))


def documents(n, length):
    tokens = torch.randint(0, 5, (n, length), generator=torch.Generator().manual_seed(1))
    return attention.document_mask(tokens)


# -------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("sequences", [1, 2, 3, 10])
@pytest.mark.parametrize("entries", [128 * 32, 5 * 128 * 32, 10**9])
def test_parts_are_the_fewest_within_the_limits(sequences, entries):
    for n in range(1, 24):
        sizes = sdpa.parts(n, 1, 100, 4, Limits(sequences, entries))
        most = min(sequences, entries // (128 * 32))
        assert sum(sizes) == n and len(sizes) == -(-n // most)
        assert max(sizes) <= most and max(sizes) - min(sizes) <= 1


def test_a_sequence_beyond_the_limits_is_refused():
    assert sdpa.parts(2, 3, 129, 40, Limits(9, 3 * 256 * 40)) == [1, 1]
    with pytest.raises(ValueError, match="3 heads, 129 positions .* 30,720 entries"):
        sdpa.parts(2, 3, 129, 40, Limits(9, 3 * 256 * 40 - 1))


def calls_of(name):
    """Most calls that a batch of a study's stacks is cut into; stacks of 64 are four times the
    default."""
    shapes = {
        (run.train.batch_size, run.model.n_heads, run.data.seq_len, run.model.d_model)
        for run in load_study(name, []).runs
    }
    most = 0
    for (batch, n_heads, length, width), members in itertools.product(shapes, (1, 16, 32, 64)):
        size = width // n_heads
        sizes = sdpa.parts(members * batch, n_heads, length, size)
        assert sum(sizes) == members * batch and max(sizes) < 65_536
        assert max(sizes) * n_heads * -(-length // 128) * 128 * max(32, size) < 2**31
        most = max(most, len(sizes))
    return most


@pytest.mark.parametrize("name", ["morris/uniform_bf16", "physics33/09_moe"])
def test_stacks_of_published_shapes_are_within_the_limits(name):
    """64 x 2,048 sequences; 64 x 1,536 of 20 heads with 512 positions."""
    assert calls_of(name) > 1


@pytest.mark.long
def test_stacks_of_every_study_are_within_the_limits():
    names = study_names([shared_dir("sweeps")])
    names = [name for name in names if not name.startswith("precision")]
    assert len(names) > 20 and max(map(calls_of, names)) > 1


def whole_and_cut(kernel, qkv, mask, limits):
    """y and gradients at once and in parts."""
    dy = torch.randn(qkv[0].shape, generator=torch.Generator().manual_seed(7)).to(qkv[0].dtype)
    for some in (LIMITS, limits):
        y, lse = sdpa.attend(kernel, qkv, mask, some)
        yield y, *sdpa.attend_backward(kernel, dy, qkv, mask, y, lse, some)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [FP32, HALF])
@pytest.mark.parametrize("limits", [Limits(1, 2**31), Limits(3, 2**31), Limits(9, 2 * 256 * 64)])
def test_parts_give_the_bits_of_the_whole(limits, dtype, masked):
    qkv = heads(7, 2, 140, 6, dtype)
    assert len(sdpa.parts(7, 2, 140, 6, limits)) > 1
    mask = documents(7, 140) if masked else None
    for a, b in zip(*whole_and_cut(CPU, qkv, mask, limits), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length, size", [(1, 4), (40, 2), (140, 6), (300, 64)])
def test_attention_and_its_gradients_are_those_of_the_library(length, size, masked):
    mask = documents(3, length) if masked else None
    results = []
    for attend in (
        lambda *qkv: sdpa.library_attention(*qkv, mask),
        lambda *qkv: F.scaled_dot_product_attention(
            *qkv, attn_mask=mask[:, None] if masked else None, is_causal=not masked
        ).transpose(1, 2),
    ):
        leaves = [x.clone().requires_grad_() for x in heads(3, 2, length, size)]
        y = attend(*leaves)
        assert y.shape == (3, length, 2, size)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), leaves)))
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-5)  # two orders of up to 300 fp32 sums


def test_heads_are_filled_up_for_kernels_that_need_it():
    """Zeros in q and k add nothing to scores, those in v nothing to y."""
    wide = CPU._replace(size=8)
    qkv, limits = heads(5, 2, 50, 6), Limits(2, 2**31)
    (plain, _), (filled, _) = (list(whole_and_cut(k, qkv, None, limits)) for k in (CPU, wide))
    for a, b in zip(plain, filled, strict=True):
        assert a.shape == b.shape and b.is_contiguous()
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-5)


def test_nothing_to_look_at_is_no_error():
    assert sdpa.library_attention(*heads(0, 2, 5, 4)).shape == (0, 5, 2, 4)


# ----------------------------------------------------------------------------------- which kernel


def test_kernels_are_named_one_by_one():
    hopper, volta = (9, 0), (7, 0)
    for size in (2, 4, 8, 64, 256):
        assert sdpa.kernel_name(HALF, size, False, hopper) == "flash"
        assert sdpa.kernel_name(torch.float16, size, False, hopper) == "flash"
    assert sdpa.kernel_name(HALF, 264, False, hopper) == "efficient"
    assert sdpa.kernel_name(HALF, 8, True, hopper) == "efficient"  # flash knows no mask
    assert sdpa.kernel_name(HALF, 4, True, hopper) is None
    assert sdpa.kernel_name(FP32, 4, False, hopper) == "efficient"
    assert sdpa.kernel_name(FP32, 2, False, hopper) is None
    assert sdpa.kernel_name(torch.float64, 8, False, hopper) is None
    assert sdpa.kernel_name(torch.float16, 8, False, volta) == "efficient"
    assert sdpa.kernel_name(HALF, 8, False, volta) is None


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [2, 8, 64])
@pytest.mark.parametrize("name, dtype", [("flash", HALF), ("efficient", HALF), ("efficient", FP32)])
def test_the_gpus_kernels_take_what_they_are_given(name, dtype, size, masked):
    """On tensors without numbers: torch checks the arguments and says what shapes come back."""
    if name == "flash" and masked:
        return
    qkv = heads(5, 2, 70, size, dtype, "meta")
    mask = torch.ones(5, 70, 70, dtype=torch.bool, device="meta") if masked else None
    kernel, limits = KERNELS[name], Limits(2, 2**31)
    y, lse = sdpa.attend(kernel, qkv, mask, limits)
    assert y.shape == (5, 70, 2, size) and y.dtype == dtype
    assert lse.shape == (5, 2, -(-70 // kernel.lse) * kernel.lse) and lse.dtype == FP32
    dy = torch.empty(5, 70, 2, size, dtype=dtype, device="meta").transpose(1, 2)
    for gradient in sdpa.attend_backward(kernel, dy, qkv, mask, y, lse, limits):
        assert gradient.shape == y.shape and gradient.dtype == dtype


def test_a_gpu_without_a_kernel_for_a_head_gets_the_plain_form(monkeypatch):
    monkeypatch.setattr(sdpa, "name_for", lambda q, masked: None)
    mask = documents(3, 20)
    for one in (None, mask):
        y = sdpa.library_attention(*heads(3, 2, 20, 3), one)
        expected = F.scaled_dot_product_attention(
            *heads(3, 2, 20, 3),
            attn_mask=None if one is None else one[:, None],
            is_causal=one is None,
        )
        assert torch.allclose(y, expected.transpose(1, 2), atol=1e-5)


# ------------------------------------------------------------------------------------- one order


@pytest.mark.parametrize("before", ["default", "warn"])
def test_only_the_backward_kernel_runs_under_the_switch(before):
    seen = []

    def forward(q, k, v, bias, scale):
        seen.append(torch.get_deterministic_debug_mode())
        return CPU.forward(q, k, v, bias, scale)

    def backward(*given):
        seen.append(torch.get_deterministic_debug_mode())
        assert not torch.utils.deterministic.fill_uninitialized_memory
        return CPU.backward(*given)

    def broken(*given):
        raise MemoryError

    qkv = heads(4, 1, 9, 4)
    torch.set_deterministic_debug_mode(before)
    mode = torch.get_deterministic_debug_mode()
    try:
        list(whole_and_cut(Kernel(forward, backward), qkv, None, Limits(2, 2**31)))
        assert seen == [mode, 2, mode, mode, 2, 2]  # whole, then in two parts
        assert torch.get_deterministic_debug_mode() == mode
        with pytest.raises(MemoryError):
            list(whole_and_cut(Kernel(forward, broken), qkv, None, LIMITS))
        assert torch.get_deterministic_debug_mode() == mode
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.set_deterministic_debug_mode("default")


@pytest.mark.parametrize("masked", [False, True])
def test_a_tracer_may_take_the_operations_as_they_stand(masked):
    mask = documents(2, 20) if masked else None
    qkv = heads(2, 2, 20, 4)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.capacity.causal.default, (*qkv, mask), test_utils=checks)
    y, lse = torch.ops.capacity.causal(*qkv, mask)
    given = (y.transpose(1, 2), *qkv, mask, y, lse)
    torch.library.opcheck(torch.ops.capacity.causal_backward.default, given, test_utils=checks)


@pytest.mark.slow
def test_a_compiler_traces_through_and_leaves_the_operations_alone():
    """In one graph, forward and backward, and the switch of the process stays as it is."""
    traced = torch.compile(sdpa.library_attention, backend="aot_eager", fullgraph=True)
    results = []
    for attend in (traced, sdpa.library_attention):
        leaves = [x.clone().requires_grad_() for x in heads(2, 2, 20, 4)]
        y = attend(*leaves)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), leaves)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert torch.get_deterministic_debug_mode() == 0
