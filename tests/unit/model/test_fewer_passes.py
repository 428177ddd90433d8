"""Rounding in fewer passes over memory gives the bits of its plain form, and takes as few
operations as it says."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from capacity.data import hashing
from capacity.model import numerics, qat


def plainly(w, levels, dim):
    """Scales tried one by one, each code and error from scratch."""

    def fp16(scale):
        return scale.half().float().clamp(min=qat.SMALLEST)

    def codes(scale):
        middle = (levels - 1) / 2
        return (w / scale + middle).round().clamp(0, levels - 1) - middle

    widest = w.abs().amax(dim, keepdim=True) * (2 / (levels - 1))
    best, least = None, None
    for ratio in qat.RATIOS if levels > 2 else qat.RATIOS[:1]:
        now = codes(fp16(widest * ratio))
        error = (now * fp16(widest * ratio) - w).square().sum(dim, keepdim=True)
        best = now if best is None else torch.where(error < least, now, best)
        least = error if least is None else torch.minimum(error, least)
    scale = fp16(
        (w * best).sum(dim, keepdim=True) / best.square().sum(dim, keepdim=True).clamp(min=0.25)
    )
    return codes(scale) * scale


SHAPES = [((3, 16, 48), -2), ((2, 37, 5), -2), ((1, 7, 130), -1), ((2, 3, 24, 33), -2)]


@pytest.mark.parametrize("at_once", [1, 2000, 2**16])
@pytest.mark.parametrize("shape,dim", SHAPES)
@pytest.mark.parametrize("levels", [2, 3, 4, 16, 256])
def test_weights_of_few_values_are_those_of_the_plain_form(
    levels, shape, dim, at_once, monkeypatch
):
    monkeypatch.setattr(qat, "AT_ONCE", at_once)
    draw = torch.Generator().manual_seed(levels)
    flat = torch.randn(shape[0], 11 + torch.Size(shape[1:]).numel(), generator=draw)
    w = flat[:, 11:].view(shape)  # of a row with other weights before it
    before = w.clone()
    assert torch.equal(qat.rounded(w, levels, dim), plainly(w, levels, dim))
    assert torch.equal(w, before)


@pytest.mark.parametrize("levels", [2, 3, 16])
def test_channels_that_no_scale_suits_are_those_of_the_plain_form(levels):
    w = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(1))
    w[0, 0], w[0, 1, 3], w[0, 2, 3] = 0.0, float("nan"), float("inf")
    w[0, 3] *= 3e5  # beyond fp16 at the widest scales, within it at narrow ones
    w[0, 4] = 1.0
    found, wanted = (f(w, levels, -1) for f in (qat.rounded, plainly))
    assert torch.equal(found.isnan(), wanted.isnan()) and found.isnan().any()
    assert torch.equal(found.nan_to_num(7.0), wanted.nan_to_num(7.0))


def test_short_words_are_the_ends_of_words():
    draw = torch.Generator().manual_seed(2)
    base = torch.randint(-(2**63), 2**63 - 1, (40, 1), generator=draw)
    index = torch.cat([torch.arange(3000), torch.tensor([2**31, 2**40, 2**62])])
    found = hashing.short_words(base, index)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), hashing.words(base, index) & 0xFFFF)


def test_stochastic_rounding_is_that_of_whole_words():
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(3, 501, generator=draw) * 10.0 ** torch.randint(-30, 30, (3, 501))
    base, step = torch.tensor([[5], [2**61], [9]]), torch.tensor([[1], [2], [10**6]])
    found = numerics.to_bf16(x, "bf16_stochastic", base, step)
    assert torch.equal(found, wholly(x, base, step))


class Counted(TorchDispatchMode):
    """Operations, and bytes of the tensors that they read and write; a view reads nothing."""

    def __init__(self):
        super().__init__()
        self.operations = self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        if not any(word in str(func) for word in ("view", "detach", "split", "select")):
            touched = tree_leaves([args, out])
            self.bytes += sum(t.nbytes for t in touched if isinstance(t, torch.Tensor))
        return out


def counted(function, *args):
    with Counted() as mode:
        function(*args)
    return mode


def wholly(x, base, step):
    """Stochastic rounding by whole words."""
    words = hashing.words(hashing.words(base, step), torch.arange(x.shape[1])) & 0xFFFF
    return ((x.view(torch.int32) + words.int()) & ~0xFFFF).view(torch.float32)


def test_fewer_operations_and_bytes_than_the_plain_form():
    w, x, key = torch.randn(2, 16, 48), torch.randn(2, 900), torch.tensor([[1], [2]])
    few, plain = (counted(f, w, 16, -2) for f in (qat.rounded, plainly))
    assert few.operations < plain.operations / 3 and few.bytes < plain.bytes
    arguments = (x, "bf16_stochastic", key, key)
    few, plain = counted(numerics.to_bf16, *arguments), counted(wholly, x, key, key)
    assert few.operations < plain.operations
    assert plain.bytes - few.bytes >= 2 * 16 * x.numel()  # two masks of words of 64 bits
