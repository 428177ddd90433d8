"""Mixers whose state does not grow: closed forms against recurrences, chunks, layers of
transformers, how they start, counts."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from capacity import counts
from capacity.model import recurrence, recurrent
from capacity.model.gpt import GPT
from capacity.parts import recurrent as formulas
from part_forms import MODELS, PLAIN, D, S, V, built_model, tokens

KINDS = ("based", "gla", "ssd", "delta", "gated delta", "titans")
kinds = pytest.mark.parametrize("kind", KINDS)
H, W = 2, D // 2


def layer(kind, x, mask=None, **more):
    """Weights of a block, and what its mixer adds, of one member."""
    model = dataclasses.replace(MODELS[kind], **more)
    gpt, flat = built_model(model)
    c = gpt.context(tokens())
    c.mask, c.document_NT = mask or (None, None)
    w = gpt.named(flat)
    y = gpt.blocks[0][0].forward(w, "blocks.0.", x, c)
    return {name.removeprefix("blocks.0."): one[0] for name, one in w.items()}, y


def state_of(x, seed=1):
    return torch.randn(1, x, D, generator=torch.Generator().manual_seed(seed))


def slow(kind, w, x, starts=(0,)):
    """The recurrence of one sequence in fp64, one head and position at a time; a state is empty at
    these positions."""
    w = {name: one.double() for name, one in w.items()}
    h = F.layer_norm(x.double(), (D,), w["norm1.weight"], w.get("norm1.bias"))
    qkv = h @ w["qkv.weight"] + w.get("qkv.bias", 0.0)
    if "mixer.conv.weight" in w:
        first = [max(s for s in starts if s <= t) for t in range(len(x))]
        taps = w["mixer.conv.weight"]
        qkv = torch.stack(
            [
                sum(taps[k] * qkv[t - k] for k in range(4) if t - k >= first[t])
                for t in range(len(x))
            ]
        )
        qkv = qkv * torch.sigmoid(qkv)
    K = (qkv.shape[1] - D) // (2 * H)
    out = torch.zeros(len(x), D, dtype=torch.float64)
    for head in range(H):
        q, k = qkv[:, K * head : K * (head + 1)], qkv[:, K * (H + head) : K * (H + head + 1)]
        v = qkv[:, 2 * H * K + W * head : 2 * H * K + W * (head + 1)]
        for t in range(len(x)):
            if t in starts:
                rows = formulas_of_based(K) if kind == "based" else K
                S_, total = (torch.zeros(rows, n, dtype=torch.float64) for n in (W, 1))
                moving = torch.zeros_like(S_)
            if kind == "based":
                S_ = S_ + torch.outer(taylor(k[t]), v[t])
                total = total + taylor(k[t])[:, None]
                y = taylor(q[t]) @ S_ / (taylor(q[t]) @ total)
            elif kind == "gla":
                wide = h[t] @ w["mixer.low.weight"] @ w["mixer.high.weight"] + w["mixer.high.bias"]
                a = torch.sigmoid(wide[K * head : K * (head + 1)]) ** (1 / 16)
                S_ = a[:, None] * S_ + torch.outer(k[t], v[t])
                y = q[t] / math.sqrt(K) @ S_
            elif kind == "ssd":
                step = F.softplus(h[t] @ w["mixer.step.weight"] + w["mixer.step.bias"])[head]
                S_ = torch.exp(-step * w["mixer.rate.weight"][head].exp()) * S_
                S_ = S_ + step * torch.outer(k[t], v[t])
                y = q[t] @ S_ + w["mixer.skip.weight"][head] * v[t]
            else:
                a, b = 1.0, torch.sigmoid(h[t] @ w["mixer.beta.weight"])[head]
                if "mixer.alpha.weight" in w:
                    step = F.softplus(h[t] @ w["mixer.alpha.weight"] + w["mixer.alpha.bias"])[head]
                    a = torch.exp(-step * w["mixer.rate.weight"][head].exp())
                key, query = (z / (z.square().sum() + 1e-6).sqrt() for z in (k[t], q[t]))
                if kind == "titans":
                    e = torch.sigmoid(h[t] @ w["mixer.eta.weight"] + w["mixer.eta.bias"])[head]
                    moving = e * moving - b * half_squared_error(S_, key, v[t])
                    S_ = a * S_ + moving
                else:
                    forget = torch.eye(K, dtype=torch.float64) - b * torch.outer(key, key)
                    S_ = a * forget @ S_ + b * torch.outer(key, v[t])
                y = query / math.sqrt(K) @ S_
            out[t, W * head : W * (head + 1)] = y
    if "mixer.z.weight" in w:
        z = h @ w["mixer.z.weight"] + w.get("mixer.z.bias", 0.0)
        z = (z * torch.sigmoid(z)).view(-1, H, W)
        out = out.view(-1, H, W) * (z if kind == "ssd" else 1.0)
        out = out / (out.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        out = out * w["mixer.norm.weight"].view(-1, W) * (1.0 if kind == "ssd" else z)
        out = out.flatten(1)
    return out @ w["out.weight"] + w.get("out.bias", 0.0)


def half_squared_error(memory, key, value):
    """The gradient of |M^T k - v|^2 / 2 by M, by autograd."""
    with torch.enable_grad():
        memory = memory.detach().requires_grad_()
        error = (memory.T @ key.detach() - value.detach()).square().sum() / 2
        return torch.autograd.grad(error, memory)[0]


def formulas_of_based(K):
    return 1 + K + K * K


def taylor(x):
    """Features whose products are 1 + s + s^2 / 2, s = q k / sqrt K."""
    x = x / len(x) ** 0.25
    return torch.cat([x.new_ones(1), x, torch.outer(x, x).flatten() / math.sqrt(2)])


SLOW = [*KINDS, "gated gla", "mamba", "gated titans"]


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("chunk", [64, 4, 3], ids=lambda n: f"chunks of {n}")
def test_a_mixer_is_its_recurrence(monkeypatch, name, chunk):
    """fp32 against fp64: values of about 1, some tens of products each."""
    monkeypatch.setattr(recurrence, "CHUNK", chunk)
    monkeypatch.setattr(recurrence, "SHORT_CHUNK", chunk)
    x = state_of(3 * S)
    w, y = layer(name, x, canon="")
    kind = MODELS[name].mixer
    for b in range(3):
        at = slice(b * S, (b + 1) * S)
        assert torch.allclose(y[0, at].double(), slow(kind, w, x[0, at]), atol=3e-5), b


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("chunk", [64, 4])
def test_a_document_starts_with_an_empty_state(monkeypatch, name, chunk):
    monkeypatch.setattr(recurrence, "CHUNK", chunk)
    monkeypatch.setattr(recurrence, "SHORT_CHUNK", chunk)
    starts = (0, 2, 3, 7)
    number = torch.bucketize(torch.arange(S), torch.tensor(starts), right=True)
    mask = (number[:, None] == number[None]).tril()
    x = state_of(3 * S)
    w, y = layer(name, x, (mask.expand(3, S, S), number.expand(3, S)), canon="")
    expected = slow(MODELS[name].mixer, w, x[0, :S], starts)
    assert torch.allclose(y[0, :S].double(), expected, atol=3e-5)


@pytest.mark.parametrize("kind", ["gla", "ssd", "delta", "gated delta"])
def test_no_decay_and_no_key_spoils_a_number(kind):
    """Closed gates over more positions than a chunk has, and the same key again and again."""
    n, T = 2, 2 * formulas.CHUNK + 3
    generator = torch.Generator().manual_seed(0)
    q, v = (torch.randn(n, T, 4, generator=generator).requires_grad_() for _ in range(2))
    k = F.normalize(torch.ones(n, T, 4), dim=-1).requires_grad_()
    for rate in (0.0, -1e-3, -1e4):
        log_decay = torch.full((n, T), rate, requires_grad=True)
        if kind == "gla":
            wide = log_decay[..., None].expand(n, T, 4).clamp(min=recurrence.LEAST_LOG)
            y = recurrence.vector_decay(q, k, v, wide, None, torch.bmm)
        else:
            strength = torch.full((n, T), 1.0) if "delta" in kind else None
            log = None if kind == "delta" else log_decay
            y = recurrence.scalar_decay(q, k, v, log, strength, None, torch.bmm)
        found = torch.autograd.grad(y.square().sum(), (q, k, v))
        assert all(torch.isfinite(one).all() for one in (y, *found))
        if "delta" in kind:  # what a key has is what was written last
            assert torch.allclose(y, (q @ k.mT)[..., :1] * v, atol=1e-4)


@pytest.mark.parametrize("mask", [False, True])
def test_a_decay_of_every_number_with_one_value_is_that_of_a_head(mask):
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(2, 70, 4, generator=generator) for _ in range(3))
    log = -torch.rand(2, 70, generator=generator)
    number = torch.arange(70) // 17
    allowed = (number[:, None] == number[None]).tril().expand(2, 70, 70) if mask else None
    one = recurrence.scalar_decay(q, k, v, log, None, allowed, torch.bmm)
    wide = log[..., None].expand(2, 70, 4)
    other = recurrence.vector_decay(q, k, v, wide, allowed, torch.bmm)
    assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", ["delta", "gated delta"])
def test_without_decay_the_gated_delta_rule_is_the_delta_rule(name):
    x = state_of(3 * S)
    w, expected = layer("delta", x)
    gpt = GPT(dataclasses.replace(MODELS["delta"], mixer_decay=True), V, S)
    named = gpt.named(gpt.init([0]))
    for key, one in named.items():
        if key.removeprefix("blocks.0.") in w and key.startswith("blocks.0."):
            one[0] = w[key.removeprefix("blocks.0.")]
    named["blocks.0.mixer.rate.weight"].fill_(-math.inf)
    found = gpt.blocks[0][0].forward(named, "blocks.0.", x, gpt.context(tokens()))
    assert torch.allclose(found, expected, atol=1e-6)


# Layers of transformers


def test_mamba_2_is_the_layer_of_transformers():
    transformers = pytest.importorskip("transformers")
    mamba = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    K = 5
    x = state_of(3 * S)
    w, y = layer("mamba", x, mixer_key=K, bias=False, norm="rmsnorm")
    config = transformers.Mamba2Config(
        hidden_size=D,
        expand=1,
        num_heads=H,
        head_dim=W,
        state_size=K,
        n_groups=H,
        conv_kernel=4,
        chunk_size=4,
        use_bias=False,
        use_conv_bias=False,
        num_hidden_layers=1,
        layer_norm_epsilon=recurrent.NORM_EPS,
    )
    theirs = mamba.Mamba2Mixer(config, 0).eval()
    q, k, v = w["qkv.weight"].split([H * K, H * K, D], 1)
    fq, fk, fv = w["mixer.conv.weight"].flip(0).split([H * K, H * K, D], 1)
    state = {
        "in_proj.weight": torch.cat([w["mixer.z.weight"], v, k, q, w["mixer.step.weight"]], 1).T,
        "conv1d.weight": torch.cat([fv, fk, fq], 1).T[:, None],
        "dt_bias": w["mixer.step.bias"],
        "A_log": w["mixer.rate.weight"],
        "D": w["mixer.skip.weight"],
        "norm.weight": w["mixer.norm.weight"],
        "out_proj.weight": w["out.weight"].T,
    }
    theirs.load_state_dict(state)
    h = F.rms_norm(x, (D,), w["norm1.weight"], 1e-5)
    with torch.no_grad():
        expected = theirs(h.view(3, S, D))
    assert torch.allclose(y.view(3, S, D), expected, atol=2e-5)


def test_gated_deltanet_is_the_layer_of_transformers():
    transformers = pytest.importorskip("transformers")
    qwen = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    K = 5
    x = state_of(3 * S)
    w, y = layer("gated delta", x, mixer_key=K, bias=False, norm="rmsnorm")
    config = transformers.Qwen3NextConfig(
        hidden_size=D,
        linear_num_value_heads=H,
        linear_num_key_heads=H,
        linear_key_head_dim=K,
        linear_value_head_dim=W,
        linear_conv_kernel_dim=4,
        num_hidden_layers=1,
        rms_norm_eps=recurrent.NORM_EPS,
        hidden_act="silu",
        layer_types=["linear_attention"],
    )
    theirs = qwen.Qwen3NextGatedDeltaNet(config, 0).eval()
    q, k, v = (one.view(D, H, -1) for one in w["qkv.weight"].split([H * K, H * K, D], 1))
    sides = torch.cat([q, k, v, w["mixer.z.weight"].view(D, H, W)], -1).flatten(1)
    rates = torch.stack([w["mixer.beta.weight"], w["mixer.alpha.weight"]], -1).flatten(1)
    theirs.load_state_dict(
        {
            "in_proj_qkvz.weight": sides.T,
            "in_proj_ba.weight": rates.T,
            "conv1d.weight": w["mixer.conv.weight"].flip(0).T[:, None],
            "dt_bias": w["mixer.alpha.bias"],
            "A_log": w["mixer.rate.weight"],
            "norm.weight": w["mixer.norm.weight"],
            "out_proj.weight": w["out.weight"].T,
        }
    )
    h = F.rms_norm(x, (D,), w["norm1.weight"], 1e-5)
    with torch.no_grad():
        expected = theirs(h.view(3, S, D))
    assert torch.allclose(y.view(3, S, D), expected, atol=2e-5)


@pytest.mark.parametrize("kept_apart", [False, True])
def test_an_lstm_is_that_of_torch(kept_apart):
    """Of a document by itself where they are kept apart."""
    starts = (0, 4) if kept_apart else (0,)
    number = torch.bucketize(torch.arange(S), torch.tensor(starts), right=True)
    x = state_of(3 * S)
    w, y = layer("lstm", x, (None, number.expand(3, S)) if kept_apart else None)
    theirs = torch.nn.LSTM(D, D, batch_first=True)
    state = {
        "weight_ih_l0": w["lstm.input.weight"].T,
        "weight_hh_l0": w["lstm.state.weight"].T,
        "bias_ih_l0": w["lstm.input.bias"],
        "bias_hh_l0": torch.zeros(4 * D),
    }
    theirs.load_state_dict(state)
    h = F.layer_norm(x, (D,), w["norm1.weight"], w["norm1.bias"]).view(3, S, D)
    with torch.no_grad():
        expected = torch.cat([theirs(part)[0] for part in h.tensor_split(starts[1:], 1)], 1)
    assert torch.allclose(y.view(3, S, D), expected, atol=1e-6)


def test_an_lstm_starts_and_counts_as_it_says():
    model = dataclasses.replace(PLAIN, mixer="lstm", mlp_ratio=0.0, n_layers=1)
    gpt = GPT(model, V, S)
    w = {key: one[0] for key, one in gpt.named(gpt.init([0])).items()}
    bias = w["blocks.0.lstm.input.bias"].view(4, D)
    assert (bias[1] == 1).all() and bias.sum() == D
    assert w["blocks.0.lstm.state.weight"].abs().max() <= D**-0.5
    blocks = counts.parameters(model, V, S)["non_embedding"]
    assert blocks == 8 * D * D + 4 * D + 2 * D + 2 * D  # with its norm and the last
    assert counts.forward_flops_per_token(model, V, S) == 2 * (8 * D * D + V * D)
    assert counts.state_numbers(model, 5) == counts.state_numbers(model, 50) == 2 * D


# How they start, and what they count


def test_initial_values_are_those_that_were_released():
    wide = dataclasses.replace(PLAIN, n_heads=64, d_model=128, mixer_conv=True, n_layers=1)
    for kind, name, lowest in (("ssd", "step", 1.0), ("delta", "alpha", 0.01)):
        model = dataclasses.replace(wide, mixer=kind, mixer_decay=kind == "delta")
        gpt = GPT(model, V, S)
        w = {key: one[0] for key, one in gpt.named(gpt.init([0])).items()}
        rates = w["blocks.0.mixer.rate.weight"].exp()
        assert lowest <= rates.min() and rates.max() <= 16
        assert rates.mean().item() == pytest.approx((lowest + 16) / 2, abs=5 * 15 / 768**0.5)
        steps = F.softplus(w[f"blocks.0.mixer.{name}.bias"])
        assert 0.00099 < steps.min() and steps.max() < 0.101
        middle = math.log(0.001 * 0.1) / 2  # of numbers that are uniform by their logarithm
        spread = math.log(100) / 768**0.5
        assert steps.log().mean().item() == pytest.approx(middle, abs=5 * spread)
        assert (w["blocks.0.mixer.conv.weight"].abs() <= 0.5).all()


@kinds
def test_mimetic_layers_start_near_a_mixer_that_finds_what_it_has_seen(kind):
    model = dataclasses.replace(MODELS[kind], mixer_init="mimetic", mixer_conv=True)
    gpt = GPT(model, V, S)
    w = {key.removeprefix("blocks.0."): one[0] for key, one in gpt.named(gpt.init([0])).items()}
    wide = H * formulas.key(model)
    assert torch.equal(w["qkv.weight"][:, :wide], w["qkv.weight"][:, wide : 2 * wide])
    assert not torch.equal(w["qkv.weight"][:, :W], w["qkv.weight"][:, 2 * wide : 2 * wide + W])
    conv = w["mixer.conv.weight"]
    assert (conv[0] == 1).all() and not conv[1:].any()
    other = GPT(dataclasses.replace(model, mixer_init="default"), V, S)
    usual = {key: one[0] for key, one in other.named(other.init([0])).items()}
    assert torch.equal(w["qkv.weight"][:, wide:], usual["blocks.0.qkv.weight"][:, wide:])
    if "mixer.rate.weight" in w:
        rate = usual["blocks.0.mixer.rate.weight"] + math.log(recurrent.SLOW)
        assert torch.allclose(w["mixer.rate.weight"], rate, atol=1e-5)
    elif kind == "gla":
        assert (w["mixer.high.bias"] == 8).all()


E = 3 * D
BY_HAND = {
    "based": (D * D + D + W, 2 * (D * D)),
    "gla": (16 * (D + 10) + 10 - (E - 2 * 10 - D) * (D + 1) + 4 * (20 + D), None),
    "gated gla": (D * D + D + W + 16 * (D + D) + D + 4 * (D + E), None),
    "ssd": (D * H + 3 * H, 2 * D * H),
    "mamba": (D * H + 3 * H + 4 * E + D * D + D + D, 2 * (D * H + 4 * E + D * D)),
    "delta": (D * H, 2 * (D * H + H * S * (W + W))),
    "titans": (3 * D * H + 3 * H, 2 * (3 * D * H + H * S * (W + W + S))),
    "gated delta": (
        2 * D * H + 2 * H + 4 * E + D * D + D + W,
        2 * (2 * D * H + 4 * E + D * D + H * S * (W + W)),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_counts_by_hand(name):
    plain = dataclasses.replace(PLAIN, bias=MODELS[name].bias)
    more, flops = BY_HAND[name]
    found = counts.parameters(MODELS[name], V, S)
    assert found["total"] - counts.parameters(plain, V, S)["total"] == 2 * more
    assert found["total"] == found["active"]
    if flops is not None:
        ours = counts.forward_flops_per_token(MODELS[name], V, S)
        assert ours - counts.forward_flops_per_token(plain, V, S) == 2 * flops


def test_state_does_not_grow():
    """A matrix per head, features of based, inputs of convolutions."""
    by_hand = {
        "based": H * (1 + W + W * (W + 1) // 2) * (W + 1),
        "gla": H * 5 * W + 3 * (20 + D),
        "ssd": H * W * W,
        "mamba": H * W * W + 3 * E,
        "delta": H * W * W,
        "titans": 2 * H * W * W,
        "gated titans": 2 * H * 5 * W + 3 * (20 + D),
    }
    for name, numbers in by_hand.items():
        for length in (5, 500):
            assert counts.state_numbers(MODELS[name], length) == 2 * numbers, name


def test_long_contexts_take_chunks_not_squares():
    model = MODELS["ssd"]
    near, far = (counts.forward_flops_per_token(model, V, n) for n in (64, 4096))
    assert far - near == 2 * 2 * H * 2 * W * W
