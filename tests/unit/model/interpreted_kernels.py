"""Kernels under Triton's interpreter, in fp32 (it has no products of bf16): each against its torch
form and against fp64, sizes that no tile divides, several members, equal bits when repeated; and a
step of a stack. `test_kernels.py` runs this file in a process of its own, because triton reads
TRITON_INTERPRET when it is imported.

u is the unit roundoff 2^-24; a sum of n terms in any order errs by at most n u times the sum of
their magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2).
"""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

import stacks
from capacity.model import attention, head
from capacity.model.kernels import dispatch
from capacity.model.numerics import tf32, to_bf16
from capacity.train import optim
from capacity.train.one_pass import OnePass
from capacity.train.optim import Gradient, Hyper, Schedule, Weights
from stack_members import CPU, config

U = 2.0**-24


def within(found, exact, bound):
    """bound: a number, or one for each entry."""
    assert found.shape == exact.shape and found.dtype == torch.float32
    over = (found.double() - exact).abs() - bound
    assert (over <= 0).all(), f"{over.max().item()} above the bound"


# ------------------------------------------------------------------ head


def head_results(form, x, table, target, weight, **more):
    x, table = x.clone().requires_grad_(), table.clone().requires_grad_()
    loss = form(x, table, target, **more)
    return [loss.detach(), *torch.autograd.grad((loss * weight.to(loss)).sum(), (x, table))]


def plain_nll(x, table, target):
    logits = x @ table.transpose(1, 2)
    nll = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    return nll.view(target.shape).mean(1)


@pytest.mark.parametrize(("M", "N", "V", "D"), [(3, 41, 37, 5), (1, 300, 20, 40), (2, 7, 45, 130)])
def test_head(M, N, V, D):
    """(1, 300, 20, 40): few blocks of the vocabulary, so tokens are summed in parts."""
    generator = torch.Generator().manual_seed(N)
    x, table = (torch.randn(M, n, D, generator=generator) for n in (N, V))
    target = torch.randint(0, V, (M, N), generator=generator)
    weight = torch.randn(M, generator=generator)
    found = head_results(dispatch.mean_nll, x, table, target, weight)
    again = head_results(dispatch.mean_nll, x, table, target, weight)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    exact = head_results(plain_nll, x.double(), table.double(), target, weight)
    torchs = head_results(head.mean_nll, x, table, target, weight)
    # a logit errs by delta, so a probability by a factor of 1 + 2 delta and the sums' own roundings
    delta = (D + 2) * U * (x.abs() @ table.abs().transpose(1, 2)).max().item()
    factor = 4 * delta + 4 * (N + V + 8) * U
    p = (x.double() @ table.double().transpose(1, 2)).softmax(-1) + F.one_hot(target, V)
    scale = factor / N * weight.double().abs().view(-1, 1, 1)
    bounds = [factor + N * U * exact[0].abs().max().item()]
    bounds += [scale * (p @ table.abs().double()), scale * (p.transpose(1, 2) @ x.abs().double())]
    for ours, theirs, truth, bound in zip(found, torchs, exact, bounds, strict=True):
        within(ours, truth, bound)
        within(ours, theirs.double(), 2 * bound)
    assert all(
        (truth.abs() > 100 * bound).any() for truth, bound in zip(exact, bounds, strict=True)
    )


def test_head_in_tf32_is_that_of_rounded_operands():
    generator = torch.Generator().manual_seed(1)
    x, table = (torch.randn(2, n, 24, generator=generator) for n in (20, 17))
    target = torch.randint(0, 17, (2, 20), generator=generator)
    found, again = (
        head_results(dispatch.mean_nll, a, b, target, torch.ones(2), in_tf32=True)
        for a, b in ((x, table), (tf32(x), tf32(table)))
    )
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    exact = head_results(plain_nll, tf32(x).double(), tf32(table).double(), target, torch.ones(2))
    within(found[0], exact[0], 1e-5)
    for ours, truth, most in zip(found[1:], exact[1:], (table / 20, x), strict=True):
        error = (ours.double() - truth).abs().max()
        # probabilities are rounded to 11 bits, and not less
        assert 1e-7 * most.abs().max() < error < 2 * 2.0**-11 * most.abs().max()


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # of numpy
def test_head_survives_extreme_logits_and_tells_of_broken_ones():
    x = torch.tensor([[[300.0], [-300.0]], [[float("inf")], [1.0]]])
    table = torch.tensor([[[1.0], [0.0]]] * 2)
    loss = dispatch.mean_nll(x, table, torch.tensor([[1, 1]] * 2))
    assert loss[0].item() == pytest.approx(150.0) and not torch.isfinite(loss[1])


# ------------------------------------------------------------------ attention


def attention_results(form, qkv, dy, heads, groups):
    """Output and gradient of q, k, v side by side."""
    qkv = qkv.clone().requires_grad_()
    if form is dispatch.packed_attention:
        y = form(qkv, heads)
    else:
        y = form(*qkv.transpose(1, 2).split([heads, groups, groups], dim=1))
    return y.detach(), torch.autograd.grad((y * dy).sum(), qkv)[0]


def plain_attention(q, k, v):
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    T, K = q.shape[2:]
    scores = q @ k.transpose(2, 3) / K**0.5
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    return (scores.masked_fill(later, float("-inf")).softmax(-1) @ v).transpose(1, 2)


def attention_bounds(qkv, dy, H, G):
    """Of output and gradients: the sums of the magnitudes of their terms, times what a score's
    error delta does to a probability, a factor of 1 + 2 delta, and the sums' own roundings."""
    q, k, v = qkv.transpose(1, 2).split([H, G, G], dim=1)
    k, v, dy = k.repeat_interleave(H // G, 1), v.repeat_interleave(H // G, 1), dy.transpose(1, 2)
    T, K = q.shape[2:]
    scores = q @ k.transpose(2, 3) / K**0.5
    delta = (K + 3) * U * (q.abs() @ k.abs().transpose(2, 3)).max().item() / K**0.5
    factor = 4 * delta + (4 * T + 2 * K + 16) * U
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    p = scores.masked_fill(later, float("-inf")).softmax(-1)
    dp = dy.abs() @ v.abs().transpose(2, 3)
    ds = p * (dp + (p * dp).sum(-1, keepdim=True)) / K**0.5
    dk, dv = ds.transpose(2, 3) @ q.abs(), p.transpose(2, 3) @ dy.abs()
    dk, dv = (x.unflatten(1, (G, H // G)).sum(2) for x in (dk, dv))
    gradients = torch.cat([ds @ k.abs(), dk, dv], 1)
    return factor * (p @ v.abs()).transpose(1, 2), factor * gradients.transpose(1, 2)


@pytest.mark.parametrize(
    ("N", "H", "G", "T", "K"), [(2, 5, 5, 10, 6), (1, 4, 2, 33, 8), (1, 2, 2, 70, 32)]
)
def test_attention(N, H, G, T, K):
    """(2, 5, 5, 10, 6): a program's heads do not divide H; (1, 4, 2, 33, 8): two heads share keys
    and values."""
    generator = torch.Generator().manual_seed(T)
    qkv = torch.randn(N, T, H + 2 * G, K, generator=generator)
    dy = torch.randn(N, T, H, K, generator=generator)
    packed = attention_results(dispatch.packed_attention, qkv, dy, H, G)
    apart = attention_results(dispatch.causal_attention, qkv, dy, H, G)
    assert all(torch.equal(a, b) for a, b in zip(packed, apart, strict=True))
    torchs = attention_results(attention.causal_attention, qkv, dy, H, G)
    exact = attention_results(plain_attention, qkv.double(), dy.double(), H, G)
    for ours, theirs, truth, bound in zip(
        packed, torchs, exact, attention_bounds(qkv.double(), dy.double(), H, G), strict=True
    ):
        within(ours, truth, bound)
        within(ours, theirs.double(), 2 * bound)
        assert (truth.abs() > 100 * bound).float().mean() > 0.5


# ------------------------------------------------------------------ AdamW

MEMBERS = [
    {"lr": 0.03, "weight_decay": 0.1, "grad_clip": 0.5},
    {"lr": 0.01, "grad_clip": 0.0, "beta1": 0.3, "warmup_steps": 0},
    {"lr": 0.02},
    {"lr": 0.02},
]


def updates(kernel, rounding, P=300, steps=4, M=4):
    """Weights, moments and who lives after a few updates: member 1 skips one, member 2 loses its
    loss, member 3 its gradient."""
    trains = [dataclasses.replace(config(steps=50).train, **one) for one in MEMBERS[:M]]
    hyper, schedule = Hyper.of(trains, CPU), Schedule(trains, [50] * M)
    generator = torch.Generator().manual_seed(0)
    flat, keys = torch.randn(M, P, generator=generator), torch.tensor([[3], [2**61], [7], [9]])
    if rounding != "fp32":
        flat = flat.bfloat16().float()
    state = [flat, torch.zeros(M, P), torch.zeros(M, P)]
    update = OnePass(rounding, keys, copies=True)
    update.renew(flat)
    alive, decay = torch.ones(M, dtype=torch.bool), (torch.arange(P) % 3 > 0).float()
    history = []
    for step in range(steps):
        gradient, loss = torch.randn(M, P, generator=generator), torch.ones(M)
        skipped = torch.arange(M) == (1 if step == 1 else M)
        if step == 2:
            loss[2], gradient[3, 5] = float("inf"), float("nan")
        now = torch.from_numpy(schedule.rows(step, 1)[0])
        given = Gradient(gradient.clone(), loss, skipped)
        one = update if kernel else optim.adamw
        alive = one(Weights(*state, decay), given, hyper, now, alive)
        if not kernel and rounding != "fp32":
            state[0].copy_(to_bf16(state[0], rounding, keys, now[:, optim.STEP, None].long()))
        if kernel:
            assert torch.equal(update.copy_MP, state[0].bfloat16())
        history.append([x.clone() for x in (*state, alive)])
    return history, schedule.rows(0, steps)


@pytest.mark.parametrize("rounding", ["fp32", "bf16_nearest"])
def test_adamw(rounding):
    (found, rows), (torchs, _) = updates(True, rounding), updates(False, rounding)
    bound = torch.zeros(4)
    for step, (ours, theirs) in enumerate(zip(found, torchs, strict=True)):
        assert torch.equal(ours[3], theirs[3])
        for a, b in zip(ours[1:3], theirs[1:3], strict=True):
            assert (a - b).abs().max() <= 8 * (step + 1) * U * b.abs().max()
        # a step is lr / (1 - beta1^t) m / (sqrt(v) ... + eps), of twenty roundings by now
        moved = torch.from_numpy(rows[step, :, optim.UPDATE]) * 10
        bound = bound + 24 * (step + 1) * U * moved + 4 * U * theirs[0].abs().amax(1)
        place = 2.0**-7 * theirs[0].abs() if rounding == "bf16_nearest" else torch.zeros(())
        assert ((ours[0] - theirs[0]).abs() <= bound[:, None] + place).all()
        if rounding == "bf16_nearest":
            assert (ours[0] != theirs[0]).float().mean() < 1e-2
            assert torch.equal(ours[0], ours[0].bfloat16().float())
    assert found[-1][3].tolist() == [True, True, False, False]
    for place in range(3):  # who skips or is out stays to the bit; who goes on does not
        assert torch.equal(found[1][place][1], found[0][place][1])
        assert torch.equal(found[3][place][2:], found[1][place][2:])
        assert not torch.equal(found[1][place][0], found[0][place][0])
    if rounding == "fp32":
        assert all(
            torch.equal(a, b)
            for a, b in zip(found[-1], updates(True, rounding)[0][-1], strict=True)
        )


@pytest.mark.parametrize("rounding", ["bf16_nearest", "bf16_stochastic"])
def test_rounding_of_weights_is_that_of_numerics_to_the_bit(rounding):
    """With steps of zero the weights before rounding are known exactly: numbers of many
    magnitudes, halves between two bfloat16 values among them."""
    P, generator = 1100, torch.Generator().manual_seed(2)
    flat = torch.randn(2, P, generator=generator) * 10.0 ** torch.randint(
        -30, 30, (2, P), generator=generator
    )
    halves = (flat[:, :50].view(torch.int32) & ~0xFFFF | 0x8000).view(torch.float32)
    flat[:, :50] = halves
    keys, step = torch.tensor([[2**62 - 1], [12345]]), torch.tensor([[1.0], [987654.0]])
    trains = [config().train] * 2
    now, before = torch.zeros(2, optim.COLUMNS), flat.clone()
    now[:, optim.STEP], now[:, optim.ROOT] = step[:, 0], 1.0
    update = OnePass(rounding, keys, copies=False)
    state = [flat, torch.zeros(2, P), torch.ones(2, P)]
    update(
        Weights(*state, torch.ones(P)),
        Gradient(torch.zeros(2, P), torch.zeros(2)),
        Hyper.of(trains, CPU),
        now,
        torch.ones(2, dtype=torch.bool),
    )
    assert torch.equal(flat, to_bf16(before, rounding, keys, step.long()))
    assert not torch.equal(flat, before)


def test_a_gradient_in_bf16_is_read_as_the_same_numbers():
    """As the forward pass in bf16 leaves it behind."""
    P, generator = 130, torch.Generator().manual_seed(3)
    gradient = torch.randn(1, P, generator=generator).bfloat16()
    states = []
    for given in (gradient, gradient.float()):
        state = [torch.ones(1, P), torch.zeros(1, P), torch.zeros(1, P)]
        OnePass("fp32", torch.tensor([[3]]), copies=False)(
            Weights(*state, torch.ones(P)),
            Gradient(given, torch.zeros(1)),
            Hyper.of([config(grad_clip=0.0).train], CPU),
            torch.tensor([[1.0, 0.1, 0.01, 1.0, 0.1]]),
            torch.ones(1, dtype=torch.bool),
        )
        states.append(state)
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert not torch.equal(states[0][0], torch.ones(1, P))


# ------------------------------------------------------------------ a step


def one_step(kernels, members, steps=1):
    return stacks.trained(
        [
            dataclasses.replace(c, cluster=dataclasses.replace(c.cluster, kernels=kernels))
            for c in members
        ],
        steps,
        CPU,
    )[1]


@pytest.mark.parametrize(
    ("variant", "weights"), [("gpt", "fp32"), ("mistral", "fp32"), ("gpt", "bf16_stochastic")]
)
def test_a_step_of_a_stack(variant, weights):
    """After one step the first moments are the gradient times 1 - beta1: they differ by rounding
    alone, of at most some thousand operations between a weight and the loss; a step moves a weight
    by at most about the learning rate."""
    members = [
        config(seed, variant, batch_size=2, warmup_steps=0, weights=weights, **more)
        for seed, more in ((0, {}), (1, {"lr": 0.003, "grad_clip": 0.1}))
    ]
    found, torchs = one_step("triton", members), one_step("torch", members)
    assert torch.equal(found.alive_M, torchs.alive_M) and found.alive_M.all()
    assert torch.allclose(found.loss_sum_M, torchs.loss_sum_M, rtol=1000 * U, atol=0)
    for name in ("m_MP", "v_MP"):
        ours, theirs = getattr(found, name), getattr(torchs, name)
        most = theirs.abs().amax(1, keepdim=True)
        assert (most > 0).all() and ((ours - theirs).abs() <= 4000 * U * most).all(), name
    # where the gradient is well above its own rounding the weights agree, too
    clear = torchs.m_MP.abs() > 0.01 * torchs.m_MP.abs().amax(1, keepdim=True)
    place = 2.0**-7 * torchs.flat_MP.abs() if weights != "fp32" else torch.zeros(())
    near = (found.flat_MP - torchs.flat_MP).abs() <= 4000 * 100 * U * 0.01 + place
    assert near[clear].all() and clear.any()
