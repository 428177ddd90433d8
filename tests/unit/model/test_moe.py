"""Mixture of experts: routing, places, dropped tokens, the balance loss, and members that do not
mix."""

import dataclasses

import pytest
import torch

from capacity.model.gpt import GPT
from capacity.model.moe import mixture, places
from capacity.settings.model import Model

V, S, D = 23, 7, 8
MOE = Model(n_layers=2, d_model=12, n_heads=2, mlp_ratio=1.5, n_experts=4)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(h_ND, router_DX, weight_XDD, top_k, factor):
    """One member, one token after the other, straight from the definitions: outputs and balance
    loss."""
    X = router_DX.shape[1]
    p_NX = torch.softmax(h_ND @ router_DX, -1)
    room = [places(factor, top_k, len(h_ND), X)] * X
    rows, first = [], [0] * X
    for h, p in zip(h_ND, p_NX, strict=True):
        chosen = p.argsort(descending=True)[:top_k].tolist()
        first[chosen[0]] += 1
        total = p[chosen].sum() if top_k > 1 else 1.0
        y = torch.zeros_like(h)
        for x in chosen:
            if room[x]:
                room[x] -= 1
                y = y + p[x] / total * torch.tanh(h @ weight_XDD[x])
        rows.append(y)
    return torch.stack(rows), X * sum(
        n / len(h_ND) * p_NX[:, x].mean() for x, n in enumerate(first)
    )


@pytest.mark.parametrize(
    "members, n, n_experts, top_k, factor",
    [
        (1, 10, 4, 1, 100.0),
        (1, 10, 4, 4, 100.0),
        (2, 11, 5, 2, 100.0),
        (3, 12, 4, 1, 1.0),
        (2, 13, 5, 3, 0.7),
        (1, 1, 3, 1, 0.1),
        (2, 9, 1, 1, 1.0),
        (2, 6, 32, 1, 2.0),
    ],
)
def test_mixture_equals_a_loop_over_tokens(members, n, n_experts, top_k, factor):
    h = draws(members, n, D).requires_grad_()
    router = draws(members, D, n_experts, seed=1).requires_grad_()
    weight = draws(members, n_experts, D, D, seed=2).requires_grad_()
    upstream, alone = draws(members, n, D, seed=3), draws(members, seed=4)
    results = []
    for fast in (True, False):
        if fast:
            y, balance = mixture(
                h, router, lambda rows: torch.tanh(rows @ weight.flatten(0, 1)), top_k, factor
            )
        else:
            y, balance = map(
                torch.stack,
                zip(
                    *(naive(*part, top_k, factor) for part in zip(h, router, weight, strict=True)),
                    strict=False,
                ),
            )
        loss = (y * upstream).sum() + (balance * alone).sum()
        results.append((y, balance, *torch.autograd.grad(loss, (h, router, weight))))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "factor, top_k, n, n_experts, expected",
    [
        (2.0, 1, 512, 32, 32),
        (8.0, 1, 512, 32, 128),
        (2.0, 2, 512, 32, 64),
        (2.0, 1, 10, 32, 1),
        (1.0, 1, 33, 32, 2),
        (64.0, 1, 512, 32, 512),
        (1.1, 1, 10, 11, 1),
        (1e-9, 1, 5, 3, 1),
    ],
)
def test_places(factor, top_k, n, n_experts, expected):
    assert places(factor, top_k, n, n_experts) == expected


def test_tokens_beyond_the_places_get_nothing_in_the_order_of_tokens():
    h = draws(1, 6, D).abs()
    router = torch.zeros(1, D, 3)
    router[..., 1] = 5.0  # everyone wants expert 1
    y, _ = mixture(
        h, router, lambda rows: rows + 1, top_k=1, factor=1.0
    )  # two places each; empty ones give 1, unused
    assert torch.allclose(y[0, :2], h[0, :2] + 1, atol=1e-4)
    assert (y[0, 2:] == 0).all()


def test_a_dropped_token_passes_through_the_residual_stream_and_trains_no_expert():
    model = dataclasses.replace(
        MOE, n_layers=1, capacity_factor=1e-6
    )  # one place per expert in training
    gpt = GPT(model, V, S, bos=False)
    flat = gpt.init([0])
    w = gpt.named(flat)
    w["blocks.0.router.weight"][:] = 0.0  # all probabilities equal: all to the same expert
    flat.requires_grad_()
    w = gpt.named(flat)
    (gradient,) = torch.autograd.grad(
        gpt.loss(flat, torch.ones(1, 1, S + 1, dtype=torch.int64)).sum(), flat
    )
    moved = gpt.named(gradient)["blocks.0.experts.up.weight"][0].abs().sum((1, 2)) > 0
    assert moved.sum() == 1
    batch = torch.ones(1, 1, S + 1, dtype=torch.int64)
    x, experts = gpt._embed(w, batch), gpt.blocks[0][-1]
    y = experts.forward(w, "blocks.0.", x, gpt.context(batch, training=True))
    assert (y[0, 0] != 0).any() and (y[0, 1:] == 0).all()
    y = experts.forward(w, "blocks.0.", x, gpt.context(batch))
    assert (y[0] != 0).any(-1).all()  # factor 8 of 4 experts: room for all


def test_balance_loss_is_one_when_even_and_the_number_of_experts_when_all_go_to_one():
    h = draws(2, 40, D)
    _, even = mixture(h, torch.zeros(2, D, 5), lambda rows: rows, 1, 2.0)
    assert torch.allclose(even, torch.ones(2))
    one = torch.zeros(2, D, 5)
    one[..., 3] = 50.0
    assert torch.allclose(
        mixture(h.abs(), one, lambda rows: rows, 1, 2.0)[1], torch.full((2,), 5.0)
    )


def test_balance_loss_pushes_probability_away_from_the_popular_expert():
    h, router = draws(1, 200, D) + 0.5, draws(1, D, 4, seed=1)
    router[..., 2] += 0.3  # h has a positive mean, so this expert is popular
    first = None
    for _ in range(60):
        router.requires_grad_()
        _, balance = mixture(h, router, lambda rows: rows, 1, 2.0)
        first = balance.item() if first is None else first
        (gradient,) = torch.autograd.grad(balance.sum(), router)
        assert torch.isfinite(gradient).all()
        router = (router - 0.3 * gradient).detach()
    assert 0.9 < balance.item() < first


def test_one_expert_is_the_dense_model():
    """The gate of a single expert is 1 and the balance loss a constant."""
    dense = dataclasses.replace(MOE, n_experts=0)
    gpt, one = (
        GPT(dense, V, S),
        GPT(dataclasses.replace(MOE, n_experts=1, capacity_factor=1.0), V, S),
    )
    flat = gpt.init([0, 1]) * 6
    w = gpt.named(flat)
    same = [
        w.get(x.name.replace("experts.", ""), torch.zeros(2, *x.shape)) for x in one.layout
    ]  # routers are 0
    same = torch.cat([weight.flatten(1) for weight in same], dim=1)
    batch = torch.randint(0, V, (2, 3, S))
    assert torch.allclose(gpt.logits(flat, batch), one.logits(same, batch), atol=1e-5)
    assert torch.allclose(gpt.loss(flat, batch) + 0.01, one.loss(same, batch), atol=1e-5)


def test_members_route_alone():
    """Places are each member's own: crowding in one does not drop tokens of another, and no
    gradient crosses."""
    gpt = GPT(dataclasses.replace(MOE, top_k=2, capacity_factor=0.8), V, S)
    flat = gpt.init([3, 4]) * 6
    batch = torch.randint(0, V, (2, 5, S), generator=torch.Generator().manual_seed(0))
    together = gpt.loss(flat, batch)
    alone = torch.cat([gpt.loss(flat[m : m + 1], batch[m : m + 1]) for m in range(2)])
    assert torch.allclose(together, alone, atol=1e-6)
    flat.requires_grad_()
    (gradient,) = torch.autograd.grad(gpt.loss(flat, batch)[0], flat)
    assert gradient[0].abs().sum() > 0 and gradient[1].abs().sum() == 0


def test_with_places_for_all_a_score_does_not_depend_on_the_rest_of_the_batch():
    gpt = GPT(
        dataclasses.replace(MOE, eval_capacity_factor=4.0), V, S, bos=False
    )  # 4 experts, top_k 1
    flat = gpt.init([0]) * 8
    batch = torch.randint(0, V, (1, 6, S + 1), generator=torch.Generator().manual_seed(0))
    whole = gpt.nll(flat, batch)
    parts = torch.cat([gpt.nll(flat, part) for part in batch.split(1, dim=1)], dim=1)
    assert torch.allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_part_gets_a_finite_gradient(dtype):
    gpt = GPT(dataclasses.replace(MOE, top_k=2), V, S)
    flat = (gpt.init([0]) * 8).requires_grad_()
    batch = torch.randint(0, V, (1, 16, S), generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(gpt.loss(flat, batch, dtype).sum(), flat)
    assert torch.isfinite(gradient).all()
    for name, part in gpt.named(gradient).items():
        if "experts" in name or "router" in name:
            assert (part.flatten(2).abs().sum(-1) > 0).all(), name


def test_routers_stay_in_fp32():
    gpt = GPT(MOE, V, S)
    w = gpt._weights(gpt.init([0]), torch.bfloat16)
    assert {name for name, weight in w.items() if weight.dtype == torch.float32} == {
        "blocks.0.router.weight",
        "blocks.1.router.weight",
    }
