"""The linear memory of Titans: what it is without momentum and without decay, by hand, and where it
would run away. (Its recurrence, documents, counts and state: test_recurrent.py.)"""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from capacity import counts
from capacity.model import recurrence
from capacity.model.gpt import GPT
from capacity.parts.recurrent import CHUNK
from part_forms import MODELS, D, S, V, tokens

H = 2


def operands(T, seed=0, n=3, K=4, W=5):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(n, T, size, generator=generator) for size in (K, K, W))
    log_a = -0.3 * torch.rand(n, T, generator=generator)
    log_e = F.logsigmoid(torch.randn(n, T, generator=generator))
    return q, F.normalize(k, dim=-1), v, log_a, log_e, torch.rand(n, T, generator=generator)


NONE = -1e4  # logarithm of a momentum whose exponential is 0 in fp32


@pytest.mark.parametrize("T", [9, 2 * CHUNK + 5])
def test_without_momentum_and_decay_it_is_the_delta_rule(T):
    """The same sums of about T products in another order, in fp32."""
    q, k, v, _, _, b = operands(T)
    zeros, none = torch.zeros(3, T), torch.full((3, T), NONE)
    ours = recurrence.with_momentum(q, k, v, zeros, none, b, None, torch.bmm)
    delta = recurrence.scalar_decay(q, k, v, None, b, None, torch.bmm)
    assert torch.allclose(ours, delta, atol=2e-5)


@pytest.mark.parametrize("T", [9, 2 * CHUNK + 5])
def test_without_momentum_it_is_a_gated_delta_rule_of_other_strength_and_values(T):
    """a M - b k (M^T k - v)^T is a (M - b/a k (M^T k - a v)^T): strength b / a of values a v. With
    strength b of values v the two differ by the decay of what is erased."""
    q, k, v, log_a, _, b = operands(T)
    a = log_a.exp()
    ours = recurrence.with_momentum(q, k, v, log_a, torch.full((3, T), NONE), b, None, torch.bmm)
    other = recurrence.scalar_decay(q, k, a[..., None] * v, log_a, b / a, None, torch.bmm)
    assert torch.allclose(ours, other, atol=2e-5)
    gated = recurrence.scalar_decay(q, k, v, log_a, b, None, torch.bmm)
    assert torch.allclose(ours[:, 0], gated[:, 0], atol=1e-6)  # nothing is erased yet
    at = 1  # M_1 of the two differ by (1 - a) b M_0^T k, M_0 = b_0 k_0 v_0^T
    erased = (1 - a[:, at]) * b[:, at] * b[:, 0] * (k[:, 0] * k[:, at]).sum(-1)
    expected = -(erased * (q[:, at] * k[:, at]).sum(-1))[:, None] * v[:, 0]
    assert torch.allclose(ours[:, at] - gated[:, at], expected, atol=1e-6)
    assert expected.abs().max() > 0.01


def test_without_momentum_and_decay_the_layer_is_that_of_delta():
    x = torch.randn(1, 3 * S, D, generator=torch.Generator().manual_seed(1))
    plain, ours = (GPT(MODELS[name], V, S) for name in ("delta", "titans"))
    given, w = plain.named(plain.init([0])), ours.named(ours.init([0]))
    assert all(torch.equal(w[name], one) for name, one in given.items())
    at = "blocks.0."
    w[at + "mixer.eta.bias"].fill_(NONE)
    w[at + "mixer.rate.weight"].fill_(-math.inf)
    found, expected = (
        gpt.blocks[0][0].forward(named, at, x, gpt.context(tokens()))
        for gpt, named in ((ours, w), (plain, given))
    )
    assert torch.allclose(found, expected, atol=1e-6)


def test_momentum_alone_by_hand():
    """One key, strength 1, momentum 1/2, no decay: M = 0 -> v -> v + v/2 (the error is 0, the move
    goes on) -> 3/2 v + (1/4 - 1/2) v -> 5/4 v + (-1/8 - 1/4) v."""
    T, one = 4, torch.ones(1, 4, 1)
    log_e, zeros, b = torch.full((1, T), math.log(0.5)), torch.zeros(1, T), torch.ones(1, T)
    y = recurrence.with_momentum(one, one, 8 * one, zeros, log_e, b, None, torch.bmm)
    assert torch.allclose(y[0, :, 0], torch.tensor([8.0, 12.0, 10.0, 7.0]))


def test_the_same_key_again_and_again_settles_at_what_was_written():
    """Heavy ball on a square with curvature b is stable for 0 < b < 2 (1 + e) (Polyak 1964); the
    slower of both modes goes with sqrt e or faster, here 0.9^(T/2)."""
    n, T = 2, 3 * CHUNK
    k = F.normalize(torch.ones(n, T, 4), dim=-1).requires_grad_()
    v = torch.ones(n, T, 4, requires_grad=True)
    log_e, zeros = torch.full((n, T), math.log(0.9)), torch.zeros(n, T)
    y = recurrence.with_momentum(k, k, v, zeros, log_e, torch.ones(n, T), None, torch.bmm)
    assert torch.allclose(y[:, -1], v[:, -1], atol=10 * 0.9 ** (T / 2) + 1e-4)
    found = torch.autograd.grad(y.square().sum(), (k, v))
    assert all(torch.isfinite(one).all() for one in found)


def test_closed_gates_spoil_no_number():
    q, k, v, _, _, b = operands(2 * CHUNK + 3)
    for rate, moving in ((0.0, NONE), (-1e4, -1e-3), (-1e4, NONE), (-1e-3, -20.0)):
        log_a, log_e = (torch.full(b.shape, x).requires_grad_() for x in (rate, moving))
        y = recurrence.with_momentum(q, k, v, log_a, log_e, b, None, torch.bmm)
        assert torch.isfinite(y).all()
        assert all(torch.isfinite(x).all() for x in torch.autograd.grad(y.sum(), (log_a, log_e)))
        if rate < -1 and moving < -1:  # nothing stays but the last write, of what the one before
            u = b[:, 0, None] * v[:, 0]  # lacked
            for t in range(1, q.shape[1]):
                u = b[:, t, None] * (v[:, t] - (k[:, t - 1] * k[:, t]).sum(-1, keepdim=True) * u)
                read = (q[:, t] * k[:, t]).sum(-1, keepdim=True) * u
                assert torch.allclose(y[:, t], read, atol=1e-5)


def test_long_contexts_read_and_write_two_states():
    """Beyond one chunk, of each head and position: both states are read by a query and a key and
    written by a key, 6 K W multiply-adds."""
    near, far = (counts.forward_flops_per_token(MODELS["titans"], V, n) for n in (64, 4096))
    assert far - near == 2 * 2 * H * 6 * (D // H) ** 2


def test_it_starts_with_a_momentum_and_a_strength_of_one_half():
    wide = dataclasses.replace(MODELS["titans"], d_model=64)
    gpt = GPT(wide, V, S)
    w = gpt.named(gpt.init([0]))
    assert not w["blocks.0.mixer.eta.bias"].any()
    assert w["blocks.0.mixer.eta.weight"].std().item() == pytest.approx(0.02, rel=0.25)
    assert not torch.equal(w["blocks.0.mixer.eta.weight"], w["blocks.0.mixer.beta.weight"])
