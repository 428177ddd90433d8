"""Muon: its rule, replayed and in company."""

import pytest
import torch

from capacity.train.loop import Stack, advance
from capacity.train.optim import orthogonal
from stack_members import CPU, config, traced, trained


@pytest.mark.parametrize("variant", ["gpt", "mistral", "moe"])
def test_muon_replayed_and_in_company(variant):
    configs = [
        config(seed, variant, optimizer="muon", steps=steps, lr=0.01 + 0.01 * seed)
        for seed, steps in ((0, 20), (1, 60))
    ]
    _, plain = trained(configs, 14)
    _, replayed = trained(configs, 14, stepper=traced)
    assert torch.equal(plain.flat_MP, replayed.flat_MP)
    for m, c in enumerate(configs):
        _, solo = trained([c], 14)
        assert torch.allclose(plain.flat_MP[m], solo.flat_MP[0], atol=5e-4)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 24), (2, 24, 6), (1, 1, 5)])
def test_orthogonal_keeps_directions_and_levels_sizes(shape):
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    turned = orthogonal(matrices)
    sizes = torch.linalg.svdvals(turned)
    assert 0.65 < float(sizes.min()) and float(sizes.max()) < 1.25
    assert torch.allclose(
        u.transpose(1, 2) @ turned @ v.transpose(1, 2),
        torch.diag_embed(
            torch.diagonal(u.transpose(1, 2) @ turned @ v.transpose(1, 2), dim1=1, dim2=2)
        ),
        atol=1e-6,
    )  # the same singular vectors
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


@pytest.mark.parametrize("variant", ["gpt", "mistral", "moe"])
def test_muon_equals_a_slow_reading_of_its_rule(variant):
    """One matrix at a time, queries, keys, values and experts apart; everything else by torch's
    AdamW."""
    c = config(
        0,
        variant,
        optimizer="muon",
        lr=0.02,
        weight_decay=0.1,
        grad_clip=0.5,
        momentum=0.9,
        warmup_steps=0,
        final_lr_fraction=1.0,
    )
    stack = Stack([c], CPU)
    state, gpt = stack.start(), stack.gpt
    mine = {
        name: w[0].clone().double().requires_grad_() for name, w in gpt.named(state.flat_MP).items()
    }
    inside = [
        n
        for n in mine
        if n.startswith("blocks.")
        and n.endswith("weight")
        and "norm" not in n
        and "router" not in n
    ]
    decays = [w.name for w in gpt.layout if w.decays and w.name not in inside]
    others = torch.optim.AdamW(
        [
            {"params": [mine[n] for n in decays], "weight_decay": 0.1},
            {"params": [mine[n] for n in mine if n not in decays + inside], "weight_decay": 0.0},
        ],
        lr=0.02,
        betas=(c.train.beta1, c.train.beta2),
        eps=c.train.eps,
    )
    buffers = {name: torch.zeros_like(mine[name]) for name in inside}
    d, wide = c.model.d_model, c.model.kv_heads * (c.model.d_model // c.model.n_heads)
    for tokens in stack.feed.chunk(state.cursor_MC, 0, 6):
        leaf = (
            torch.cat([mine[w.name].detach().reshape(-1) for w in gpt.layout])[None]
            .float()
            .requires_grad_()
        )
        (grad,) = torch.autograd.grad(gpt.loss(leaf, tokens)[0], leaf)
        grad = gpt.named(grad * min(1.0, 0.5 / float(grad.norm())))
        for name, weight in mine.items():
            weight.grad = grad[name][0].double()
        others.step()
        for name in inside:
            g = mine[name].grad
            buffers[name] = 0.9 * buffers[name] + 0.1 * g
            ahead = 0.1 * g + 0.9 * buffers[name]
            parts = ahead.split([d, wide, wide], -1) if name.endswith("qkv.weight") else [ahead]
            turned = []
            for part in parts:
                each = part if part.dim() == 3 else part[None]
                rows, columns = each.shape[1:]
                done = (
                    torch.stack([orthogonal(one[None])[0] for one in each])
                    * 0.2
                    * max(rows, columns) ** 0.5
                )
                turned.append(done if part.dim() == 3 else done[0])
            with torch.no_grad():
                mine[name].mul_(1 - 0.02 * 0.1).sub_(0.02 * torch.cat(turned, -1))
        advance(stack, state, state.step + 1, lambda: False)
    for name, w in gpt.named(state.flat_MP).items():
        assert torch.allclose(w[0].double(), mine[name].detach(), atol=3e-4), name
