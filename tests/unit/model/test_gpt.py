"""The transformer: causality, the fused head, independence of stacked members, initial weights."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from capacity.model import attention, head
from capacity.model import gpt as gpt_module
from capacity.model.gpt import GPT
from capacity.model.rotary import rotate
from capacity.settings.model import Model

V, S = 23, 7
VARIANTS = [
    Model(n_layers=2, d_model=12, n_heads=2),
    Model(n_layers=2, d_model=12, n_heads=3, position="rotary"),
    Model(n_layers=1, d_model=8, n_heads=1, tied=False, bias=False),
    Model(n_layers=3, d_model=8, n_heads=8, mlp_ratio=1.5),
]
variants = pytest.mark.parametrize("model", VARIANTS, ids=["gpt2", "rotary", "untied", "odd"])


def built(model, seeds=(0,), scale=8.0):
    """A model with weights large enough that every path through it matters."""
    gpt = GPT(model, V, S)
    flat = gpt.init(list(seeds))
    return gpt, flat + (scale - 1) * flat * gpt.decay_mask()


def tokens(members=1, n=5, seed=0):
    return torch.randint(0, V, (members, n, S), generator=torch.Generator().manual_seed(seed))


@variants
def test_position_t_depends_on_tokens_before_t_and_on_all_of_them(model):
    """Causality by gradient of the logits with respect to the embedding of each input token."""
    gpt, flat = built(model)
    captured = {}
    original = gpt._embed

    def embed(w, tok):
        captured["x"] = original(w, tok).detach().requires_grad_()
        return captured["x"]

    gpt._embed = embed
    logits = gpt.logits(flat, tokens(n=1))[0, 0]  # [T, V]
    for t in range(S):
        (gradient,) = torch.autograd.grad(
            logits[t].square().sum(), captured["x"], retain_graph=True
        )
        reached = gradient[0].abs().sum(-1) > 1e-9
        assert reached[: t + 1].all() and not reached[t + 1 :].any()


@variants
def test_a_token_does_not_see_itself(model):
    gpt, flat = built(model)
    a = tokens(n=1)
    b = a.clone()
    b[..., 4] = (b[..., 4] + 1) % V
    before, after = gpt.logits(flat, a), gpt.logits(flat, b)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert not torch.allclose(before[:, :, 5:], after[:, :, 5:])


@variants
def test_first_token_is_predicted_from_bos_alone(model):
    gpt, flat = built(model)
    first = gpt.logits(flat, tokens(n=6))[0, :, 0]
    assert torch.allclose(first, first[:1].expand_as(first), atol=1e-6)
    assert first.std() > 1e-3


@variants
def test_probabilities_of_all_sequences_add_up_to_one(model):
    """The code length is of a real distribution: exhaustive over a tiny space."""
    gpt = GPT(dataclasses.replace(model), 3, 4)
    flat = gpt.init([1]) * 5
    space = torch.cartesian_prod(*[torch.arange(3)] * 4)[None]
    assert gpt.nll(flat, space).sum(-1).neg().exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@variants
@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_by_token_see_the_logits_of_each_prediction_in_pieces(
    model, rows, dtype, monkeypatch
):
    gpt, flat = built(model)
    monkeypatch.setattr("capacity.model.gpt.FEWEST_ROWS", rows)
    monkeypatch.setitem(gpt_module.counts.HEAD_CHUNK, "cpu", 1)
    tok, seen = tokens(n=4)[0], []

    def numbers(logits, target):
        seen.append(len(logits))
        found = torch.stack([logits.logsumexp(-1), logits.gather(-1, target[:, None])[:, 0]], 1)
        logits.zero_()  # they may be overwritten
        return found

    logits = gpt.logits(flat, tok[None], dtype)[0]
    expected = torch.stack([logits.logsumexp(-1), logits.gather(-1, tok[..., None])[..., 0]], -1)
    for first in (0, 5):
        seen.clear()
        found = gpt.by_token(flat[0], tok, numbers, dtype, first)
        torch.testing.assert_close(
            found,
            expected[:, first:],
            atol=1e-5 if dtype == torch.float32 else 0.1,
            rtol=1e-5 if dtype == torch.float32 else 0.02,
        )
        assert max(seen) <= rows and sum(seen) == 4 * (S - first)


@variants
def test_fused_loss_and_gradient_equal_plain_cross_entropy(model, monkeypatch):
    monkeypatch.setitem(head.HEAD_CHUNK, "cpu", 2 * V + 1)  # many small chunks, with a rest
    gpt, flat = built(model, seeds=(0, 1, 2))
    flat = flat.requires_grad_()
    batch = tokens(members=3)
    plain, fused = gpt.nll(flat, batch).mean((1, 2)), gpt.loss(flat, batch)
    assert torch.allclose(plain, fused, atol=1e-6)
    weight = torch.tensor([1.0, -2.0, 0.5])  # upstream gradients differ by member
    (a,), (b,) = (torch.autograd.grad((weight * loss).sum(), flat) for loss in (plain, fused))
    assert torch.allclose(a, b, atol=1e-6, rtol=1e-4)


def test_fused_loss_in_bf16_sums_chunks_in_fp32(monkeypatch):
    """Many chunks must not cost precision: as close to fp32 as one chunk is."""
    x = torch.randn(1, 4096, 8, generator=torch.Generator().manual_seed(0))
    table, target = (
        torch.randn(1, V, 8, generator=torch.Generator().manual_seed(1)),
        torch.arange(4096)[None] % V,
    )

    def gradient(dtype, chunk):
        monkeypatch.setitem(head.HEAD_CHUNK, "cpu", chunk)
        leaf = table.to(dtype).requires_grad_()
        return torch.autograd.grad(head.mean_nll(x.to(dtype), leaf, target).sum(), leaf)[0].float()

    exact = gradient(torch.float32, 2**20)
    errors = [
        (gradient(torch.bfloat16, chunk) - exact).norm() / exact.norm() for chunk in (2**20, 16 * V)
    ]
    assert errors[1] < 1.5 * errors[0] + 1e-3


def test_fused_loss_survives_extreme_logits():
    x = torch.tensor([[[300.0], [-300.0]]])
    table = torch.tensor([[[1.0], [0.0]]])
    loss = head.mean_nll(x, table, torch.tensor([[1, 1]]))  # -log softmax = 300 and 0
    assert loss.item() == pytest.approx(150.0)


@variants
def test_stacked_members_equal_single_models(model):
    gpt, flat = built(model, seeds=(3, 4, 5))
    batch = tokens(members=3)
    together = gpt.logits(flat, batch)
    for m in range(3):
        assert torch.allclose(
            together[m], gpt.logits(flat[m : m + 1], batch[m : m + 1])[0], atol=1e-5
        )


@variants
def test_members_do_not_mix(model):
    gpt, flat = built(model, seeds=(3, 4))
    flat = flat.requires_grad_()
    (gradient,) = torch.autograd.grad(gpt.loss(flat, tokens(members=2))[0], flat)
    assert gradient[0].abs().sum() > 0 and gradient[1].abs().sum() == 0


@variants
def test_initial_weights_depend_on_the_own_seed_only(model):
    gpt = GPT(model, V, S)
    both = gpt.init([5, 6])
    assert torch.equal(both[1], gpt.init([6])[0]) and not torch.equal(both[0], both[1])


def test_initial_scale_and_constants():
    model = Model(n_layers=8, d_model=64, n_heads=4, init_std=0.05)
    w = GPT(model, 500, 16).named(GPT(model, 500, 16).init([0]))
    assert w["token.weight"].std().item() == pytest.approx(0.05, rel=0.02)
    assert w["blocks.3.down.weight"].std().item() == pytest.approx(0.05 / math.sqrt(16), rel=0.05)
    assert (w["blocks.0.norm1.weight"] == 1).all() and (w["blocks.0.up.bias"] == 0).all()
    gpt = GPT(Model(), 500, 16)
    loss = gpt.nll(gpt.init([0]), torch.randint(0, 500, (1, 64, 16))).mean()
    assert loss.item() == pytest.approx(
        math.log(500), abs=0.05
    )  # an untrained model guesses about uniformly


def test_rotary_scores_depend_on_distance_only():
    q, k = torch.randn(2, 1, 1, 1, 8).unbind(0)
    T = 12
    scores = rotate(q.expand(1, 1, T, 8)) @ rotate(k.expand(1, 1, T, 8)).transpose(-1, -2)
    for distance in range(T):
        diagonal = scores[0, 0].diagonal(-distance)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5)


def test_forward_pass_matches_an_independent_gpt():
    """The same weights in a model written with torch.nn modules give the same logits."""
    model = Model(n_layers=2, d_model=12, n_heads=3)
    gpt, flat = built(model, scale=4.0)
    w = {name: tensor[0] for name, tensor in gpt.named(flat).items()}
    batch = tokens(n=4)
    x = (
        torch.cat([w["bos"].expand(4, 1, 12), w["token.weight"][batch[0, :, :-1]]], 1)
        + w["position.weight"]
    )
    mask = torch.ones(S, S).tril().bool()
    for layer in ("blocks.0.", "blocks.1."):
        h = F.layer_norm(x, (12,), w[layer + "norm1.weight"], w[layer + "norm1.bias"])
        attention = torch.nn.MultiheadAttention(12, 3, batch_first=True)
        with torch.no_grad():
            attention.in_proj_weight.copy_(w[layer + "qkv.weight"].T)
            attention.in_proj_bias.copy_(w[layer + "qkv.bias"])
            attention.out_proj.weight.copy_(w[layer + "out.weight"].T)
            attention.out_proj.bias.copy_(w[layer + "out.bias"])
        x = x + attention(h, h, h, attn_mask=~mask, need_weights=False)[0]
        h = F.layer_norm(x, (12,), w[layer + "norm2.weight"], w[layer + "norm2.bias"])
        up = F.gelu(h @ w[layer + "up.weight"] + w[layer + "up.bias"])
        x = x + up @ w[layer + "down.weight"] + w[layer + "down.bias"]
    logits = F.layer_norm(x, (12,), w["norm.weight"], w["norm.bias"]) @ w["token.weight"].T
    assert torch.allclose(gpt.logits(flat, batch)[0], logits, atol=1e-4)


@pytest.mark.parametrize("compiling", [False, True])
@pytest.mark.parametrize(
    "heads, length, size", [(3, 7, 2), (1, 32, 5), (4, 1, 3), (2, 32, 2), (3, 70, 4)]
)
def test_short_attention_equals_the_library_kernel(monkeypatch, heads, length, size, compiling):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    qkv = torch.randn(
        3, 2, heads, length, size, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    upstream = torch.randn(2, length, heads, size)
    results = []
    for limit in (attention.SHORT_CONTEXT, 0):  # 0 sends every length to the library
        monkeypatch.setattr(attention, "SHORT_CONTEXT", limit)
        y = attention.causal_attention(*qkv.unbind(0))
        results.append((y, *torch.autograd.grad(y, qkv, upstream)))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 12.0, 300.0])
def test_grouped_attention_holds_for_scores_of_any_size(monkeypatch, scale):
    """Powers of two without a maximum leave the range of fp32 beyond 44 nats; such heads are
    computed again, and only they."""
    monkeypatch.setattr(attention, "SCORES_AT_ONCE", 40 * 8 * 8)  # groups of 40 heads
    generator = torch.Generator().manual_seed(0)
    q, k, v, upstream = (torch.randn(101, 3, 8, generator=generator) for _ in range(4))
    loud = torch.zeros(101, 1, 1, dtype=torch.bool).index_fill(0, torch.tensor([0, 40, 100]), True)
    q = torch.where(loud, scale * q, q).requires_grad_()
    y = attention._Grouped.apply(q, k, v)
    exact = q.detach().double().requires_grad_()
    expected = F.scaled_dot_product_attention(
        *(x.double().transpose(1, 2)[:, None] for x in (exact, k, v)), is_causal=True
    )[:, 0].transpose(1, 2)
    assert torch.allclose(y.double(), expected, atol=3e-7 * max(1.0, scale))
    got, wanted = (
        torch.autograd.grad(y, q, upstream)[0],
        torch.autograd.grad(expected, exact, upstream.double())[0],
    )
    assert torch.allclose(got.double(), wanted, atol=1e-6 * max(1.0, scale))
    alone = attention._Grouped.apply(torch.where(loud, 1.0, q), k, v)
    assert torch.equal(
        torch.where(loud, 0.0, y), torch.where(loud, 0.0, alone)
    )  # whatever the others do


def test_grouped_attention_of_a_failed_member_is_no_number_and_stays_with_it():
    q, k, v = torch.randn(3, 6, 2, 5, generator=torch.Generator().manual_seed(1))
    whole = attention._Grouped.apply(q, k, v)
    q[2, 0, 3] = float("nan")
    y = attention._Grouped.apply(q, k, v)
    assert y[2, :, 3].isnan().all() and torch.equal(
        torch.cat([y[:2], y[3:]]), torch.cat([whole[:2], whole[3:]])
    )
