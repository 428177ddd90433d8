"""Every preset of conf/model and other forms, with BOS and without: counts, causality, documents,
stacks, precision."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from capacity import counts
from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.model.attention import document_mask
from capacity.model.gpt import GPT
from capacity.model.parts.mlp import ACTIVATIONS
from capacity.model.rotary import rotate
from capacity.settings import field as settings
from capacity.settings.model import Model

ROOT = Path(__file__).resolve().parents[3]
V, S = 23, 7


def preset(name):
    tree = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/model" / f"{name}.yaml"))
    return settings.section(Model, "model", tree, ConfigError)


def small(model):
    """The same form with 2 layers of width 24 and few experts."""
    heads, experts = min(6, model.n_heads), min(4, model.n_experts)
    return dataclasses.replace(model, n_layers=2, d_model=24, n_heads=heads, n_experts=experts)


PRESETS = {path.stem: preset(path.stem) for path in sorted((ROOT / "conf/model").glob("*.yaml"))}
TINY = Model(n_layers=2, d_model=16, n_heads=4)
MODELS = {name: small(model) for name, model in PRESETS.items()} | {
    "grouped": dataclasses.replace(TINY, n_kv_heads=2, position="rotary", rotary_base=500.0),
    "norm": dataclasses.replace(
        TINY, norm="layernorm_no_bias", activation="relu", mlp_ratio=0.3, mlp_multiple_of=3
    ),
    "gated": dataclasses.replace(TINY, mlp="gated", activation="gelu_tanh"),
    "gated_moe": dataclasses.replace(
        TINY, n_experts=3, top_k=2, mlp="gated", activation="relu2", tied=False
    ),
}
FORMS = [(name, bos) for name in MODELS for bos in (True, False)]
forms = pytest.mark.parametrize(
    "name, bos", FORMS, ids=[f"{name}-{'bos' if bos else 'eos'}" for name, bos in FORMS]
)
everything = pytest.mark.parametrize("name", list(MODELS))


def built(model, bos, seeds=(0,), scale=8.0):
    """A model with weights large enough that every path through it matters."""
    if model.map_rank:  # of a product of two factors each has its root
        scale = math.sqrt(scale)
    gpt = GPT(model, V, S, bos)
    flat = gpt.init(list(seeds))
    return gpt, flat + (scale - 1) * flat * gpt.decay_mask()


def tokens(bos, members=1, n=5, seed=0):
    return torch.randint(
        0, V, (members, n, S + (not bos)), generator=torch.Generator().manual_seed(seed)
    )


# What a configuration may say


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_states_every_field(name):
    stated = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/model" / f"{name}.yaml"))
    assert set(stated) == {field.name for field in dataclasses.fields(Model)}


def config(**model):
    return from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 40},
            "train": {"steps": 60, "warmup_steps": 5},
            "model": {"d_model": 8, "n_heads": 4} | model,
        }
    )


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"n_kv_heads": 3}, ["model.n_kv_heads=3", "model.n_heads=4", "1, 2, 4"]),
        ({"n_kv_heads": 8}, ["model.n_kv_heads=8", "1, 2, 4"]),
        ({"document_mask": True}, ["model.document_mask", "uniform"]),
        ({"n_experts": 4, "mlp_ratio": 0}, ["model.n_experts=4", "model.mlp_ratio=0"]),
        ({"n_experts": 4, "top_k": 5}, ["model.top_k=5", "model.n_experts=4"]),
        ({"activation": "gelu2"}, ["model.activation=gelu2", "relu2"]),
        ({"norm": "rms"}, ["rmsnorm"]),
        ({"mlp": "glu"}, ["standard, gated"]),
        ({"mlp_ratio": -1}, ["model.mlp_ratio=-1"]),
    ],
)
def test_impossible_models_are_one_clear_line(bad, words):
    with pytest.raises(ConfigError) as error:
        config(**bad)
    assert [word for word in words if word not in str(error.value)] == [] and "\n" not in str(
        error.value
    )


def test_variants_at_their_neutral_values_stay_out_of_the_identity():
    """Runs that were finished before the variants existed are found by their old ids."""
    old = {"n_layers", "d_model", "n_heads", "mlp_ratio", "position", "tied", "bias", "init_std"}
    assert set(config().identity["model"]) == old
    assert config(n_kv_heads=4).run_id == config().run_id  # all heads, said in another way
    assert set(config(n_kv_heads=2, norm="rmsnorm").identity["model"]) == old | {
        "n_kv_heads",
        "norm",
    }
    assert config(n_kv_heads=4).model.n_kv_heads is None and json.loads(
        json.dumps(config().as_dict()["model"])
    )


@pytest.mark.parametrize(
    "ratio, d, multiple, width",
    [
        (8 / 3, 192, 1, 512),
        (2.6666666666666665, 384, 1, 1024),
        (2.66666666667, 192, 1, 512),
        (8 / 3, 128, 1, 342),
        (8 / 3, 128, 32, 352),
        (4.0, 32, 1, 128),
        (1.5, 8, 1, 12),
        (1.3, 8, 1, 11),
        (0.0, 64, 32, 0),
        (1e-9, 8, 1, 1),
        (1.0, 8, 3, 9),
    ],
)
def test_mlp_width(ratio, d, multiple, width):
    assert Model(d_model=d, mlp_ratio=ratio, mlp_multiple_of=multiple).mlp_width == width


# The forward pass


@forms
def test_built_count_is_the_formula(name, bos):
    gpt = GPT(MODELS[name], V, S, bos)
    assert sum(gpt.sizes) == counts.parameters(MODELS[name], V, S, bos)["total"]
    assert ("bos" in gpt.named(gpt.init([0]))) == bos


@forms
def test_position_t_depends_on_inputs_up_to_t_and_on_all_of_them(name, bos):
    gpt, flat = built(MODELS[name], bos)
    captured = {}
    original = gpt._embed

    def embed(w, tok):
        captured["x"] = original(w, tok).detach().requires_grad_()
        return captured["x"]

    gpt._embed = embed
    logits = gpt.logits(flat, tokens(bos, n=1))[0, 0]  # [T, V]
    for t in range(S):
        (gradient,) = torch.autograd.grad(
            logits[t].square().sum(), captured["x"], retain_graph=True
        )
        reached = gradient[0].abs().sum(-1) > 1e-9
        assert reached[: t + 1].all() and not reached[t + 1 :].any()


@forms
def test_changing_a_token_changes_only_what_follows(name, bos):
    gpt, flat = built(MODELS[name], bos)
    a = tokens(bos, n=1)
    b = a.clone()
    b[..., 4] = (b[..., 4] + 1) % V
    first = 5 if bos else 4  # the first prediction that sees column 4
    before, after = gpt.logits(flat, a), gpt.logits(flat, b)
    assert torch.equal(before[:, :, :first], after[:, :, :first])
    assert not torch.allclose(before[:, :, first:], after[:, :, first:])


@forms
def test_two_members_equal_two_single_models(name, bos):
    gpt, flat = built(MODELS[name], bos, seeds=(3, 4), scale=4.0)
    flat, batch = flat.requires_grad_(), tokens(bos, members=2)
    loss = gpt.loss(flat, batch)
    (gradient,) = torch.autograd.grad(loss.sum(), flat)
    (of_first,) = torch.autograd.grad(gpt.loss(flat, batch)[0], flat)
    assert of_first[0].abs().sum() > 0 and of_first[1].abs().sum() == 0
    for m in range(2):
        solo = flat[m : m + 1].detach().requires_grad_()
        assert torch.allclose(
            gpt.nll(flat, batch)[m], gpt.nll(solo, batch[m : m + 1])[0], atol=1e-5
        )
        alone = gpt.loss(solo, batch[m : m + 1])
        assert torch.allclose(loss[m], alone[0], atol=1e-5)
        (expected,) = torch.autograd.grad(alone.sum(), solo)
        assert torch.allclose(gradient[m], expected[0], atol=1e-5, rtol=1e-3)


@forms
def test_loss_is_the_mean_of_nll_and_the_balance_term(name, bos):
    model = dataclasses.replace(
        MODELS[name], capacity_factor=8.0
    )  # training then has the places of evaluation
    gpt, flat = built(model, bos, seeds=(0, 1), scale=4.0)
    batch = tokens(bos, members=2)
    nll = gpt.nll(flat, batch)
    assert nll.shape == (2, 5, S)
    expected = nll.mean((1, 2))
    if model.n_experts:
        balance = gpt.hidden(gpt.named(flat), batch, training=True)[1]
        assert (balance > 0.9).all()
        expected = expected + model.balance_weight * balance
    assert torch.allclose(gpt.loss(flat, batch), expected, atol=1e-6)


@forms
def test_bf16_is_close_to_fp32(name, bos):
    gpt, flat = built(MODELS[name], bos, scale=4.0)
    batch = tokens(bos, n=16)
    exact, rough = gpt.nll(flat, batch), gpt.nll(flat, batch, torch.bfloat16)
    assert rough.dtype == torch.float32 and 0 < (exact - rough).abs().mean() < 0.03
    assert torch.allclose(gpt.loss(flat, batch), gpt.loss(flat, batch, torch.bfloat16), atol=0.03)


@forms
def test_score_is_nll_and_what_greedy_decoding_would_write(name, bos):
    gpt, flat = built(MODELS[name], bos)
    batch = tokens(bos, n=20)
    nll, greedy = gpt.score(flat, batch)
    assert torch.equal(nll, gpt.nll(flat, batch)) and greedy.dtype == torch.bool
    best = gpt.logits(flat, batch).argmax(-1)
    assert torch.equal(greedy, best == (batch if bos else batch[..., 1:]))
    if bos:
        written = batch.clone()
        written[..., -1] = best[..., -1]  # the last prediction does not see its own target
        assert gpt.score(flat, written)[1][..., -1].all()


@everything
def test_without_bos_the_first_token_is_given(name):
    """The probabilities of everything that can follow a given first token add up to one."""
    model = dataclasses.replace(
        MODELS[name], eval_capacity_factor=64.0
    )  # a score depends on its own sequence only
    gpt = GPT(model, 3, 4, bos=False)
    rest = torch.cartesian_prod(*[torch.arange(3)] * 4)
    space = torch.cat([torch.ones(81, 1, dtype=torch.int64), rest], dim=1)[None]
    nll = gpt.nll(gpt.init([1]) * 5, space)
    assert nll.shape == (1, 81, 4) and nll.sum(-1).neg().exp().sum().item() == pytest.approx(
        1.0, abs=1e-5
    )
    with pytest.raises(AssertionError, match="5 positions, built for 4"):
        gpt.nll(gpt.init([1]), torch.ones(1, 1, 6, dtype=torch.int64))


def test_the_form_with_bos_stays_as_it_was_before_there_were_variants():
    """Finished runs hang on these numbers, which the code of before gave: weights by seed, and what
    comes of them."""
    gpt, without = GPT(TINY, V, S), GPT(TINY, V, S, bos=False)
    assert [w.name for w in gpt.layout if w.name != "bos"] == [w.name for w in without.layout]
    flat = gpt.init([0])
    w = gpt.named(flat)
    drawn = [w["token.weight"][0, 0, 0], w["bos"][0, 0], w["position.weight"][0, 0, 0]]
    drawn.append(w["blocks.1.down.weight"][0, -1, -1])
    assert torch.stack(drawn).tolist() == pytest.approx(
        [-0.04536808, 0.01254978, 0.01660127, 0.00033276], abs=1e-7
    )
    leaf = (flat * 8).requires_grad_()
    loss = gpt.loss(leaf, (torch.arange(21).view(1, 3, 7) * 5) % V)
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    # a CPU without AVX draws weights that differ in their last bits, which moved the loss by 1e-7
    # and this norm by 2e-5 of it
    assert loss.item() == pytest.approx(9.9143009, rel=1e-5)
    assert gradient.norm().item() == pytest.approx(108.1567, rel=2e-4)


# Documents


@everything
def test_document_mask_blocks_exactly(name):
    """With the mask a token of an earlier document changes nothing behind the next EOS; without it
    it does."""
    gpt_tokens = tokens(bos=False, n=1)
    gpt_tokens[0, 0] = torch.tensor(
        [5, 3, 0, 7, 9, 0, 4, 8]
    )  # the rest of a document, and two that EOS starts
    changed = gpt_tokens.clone()
    changed[0, 0, 1] = 6
    inside = gpt_tokens.clone()
    inside[0, 0, 3] = 6
    of = {"banks_of": "document"} if name == "banks" else {}
    for masked in (True, False):
        gpt, flat = built(dataclasses.replace(MODELS[name], document_mask=masked, **of), bos=False)
        logits = gpt.logits(flat, gpt_tokens)
        assert torch.equal(logits[:, :, 2:], gpt.logits(flat, changed)[:, :, 2:]) == masked
        assert not torch.allclose(
            logits[:, :, 1], gpt.logits(flat, changed)[:, :, 1]
        )  # its own document sees it
        moved = (logits - gpt.logits(flat, inside)).abs().amax(-1)[0, 0] > 0
        assert moved.tolist() == [False] * 3 + ([True] * 2 + [False] * 2 if masked else [True] * 4)


def test_a_document_scores_the_same_alone_and_in_a_window():
    """With rotary positions, which know distances only."""
    gpt, flat = built(dataclasses.replace(MODELS["gpt2_rotary"], document_mask=True), bos=False)
    window = torch.tensor([[[5, 3, 0, 7, 9, 2, 4, 8]]])
    assert torch.allclose(gpt.nll(flat, window)[..., 2:], gpt.nll(flat, window[..., 2:]), atol=1e-4)


def test_document_mask_by_hand():
    assert document_mask(torch.tensor([[4, 0, 3, 0]])).int().tolist() == [
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    ]


# Against independent forms


def test_mistral_matches_an_independent_form():
    """Grouped heads, rotary positions as complex numbers, RMSNorm, gated MLP, untied head, one head
    at a time."""
    model = dataclasses.replace(MODELS["mistral"], n_heads=4, n_kv_heads=2, rotary_base=50.0)
    gpt, flat = built(model, bos=False, scale=4.0)
    w = {name: tensor[0] for name, tensor in gpt.named(flat).items()}
    batch = tokens(bos=False, n=3)
    K = 6
    turn = torch.exp(1j * torch.arange(S)[:, None] * 50.0 ** (-torch.arange(K // 2) * 2 / K))

    def norm(x, gain):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain

    def rotary(x):
        z = torch.complex(x[..., : K // 2], x[..., K // 2 :]) * turn
        return torch.cat([z.real, z.imag], -1)

    x = w["token.weight"][batch[0, :, :-1]]
    for layer in ("blocks.0.", "blocks.1."):
        qkv = norm(x, w[layer + "norm1.weight"]) @ w[layer + "qkv.weight"]
        heads = []
        for head in range(4):
            q = rotary(qkv[..., head * K : (head + 1) * K])
            k, v = (
                qkv[..., start + head // 2 * K : start + (head // 2 + 1) * K] for start in (24, 36)
            )
            scores = q @ rotary(k).transpose(1, 2) / math.sqrt(K)
            heads.append(
                torch.softmax(scores.masked_fill(~torch.ones(S, S).tril().bool(), -torch.inf), -1)
                @ v
            )
        x = x + torch.cat(heads, -1) @ w[layer + "out.weight"]
        h = norm(x, w[layer + "norm2.weight"])
        gate = h @ w[layer + "gate.weight"]
        x = (
            x
            + (gate * torch.sigmoid(gate) * (h @ w[layer + "up.weight"])) @ w[layer + "down.weight"]
        )
    logits = norm(x, w["norm.weight"]) @ w["head.weight"].T
    assert torch.allclose(gpt.logits(flat, batch)[0], logits, atol=1e-4)


def test_grouped_heads_equal_all_heads_with_repeated_keys_and_values():
    few, all_ = GPT(dataclasses.replace(TINY, n_kv_heads=2), V, S), GPT(TINY, V, S)
    flat = few.init([0]) * 6
    parts = []
    for weight, value in zip(few.layout, few.named(flat).values(), strict=True):
        if ".qkv." in weight.name:
            q, k, v = value.split([16, 8, 8], dim=-1)
            k, v = (
                x.unflatten(-1, (2, 4)).repeat_interleave(2, dim=-2).flatten(-2) for x in (k, v)
            )
            value = torch.cat([q, k, v], dim=-1)
        parts.append(value.flatten(1))
    batch = tokens(bos=True)
    assert torch.allclose(
        few.logits(flat, batch), all_.logits(torch.cat(parts, dim=1), batch), atol=1e-5
    )


def test_activations():
    x = torch.linspace(-3, 3, 7)
    cdf = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    tanh = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    expected = {
        "gelu": x * cdf,
        "gelu_tanh": tanh,
        "silu": x / (1 + torch.exp(-x)),
        "relu": x.clamp(min=0),
        "relu2": x.clamp(min=0) ** 2,
    }
    assert (
        set(ACTIVATIONS)
        == set(Model.__dataclass_fields__["activation"].metadata["choices"])
        == set(expected)
    )
    for name, values in expected.items():
        assert torch.allclose(ACTIVATIONS[name](x), values, atol=1e-6), name


def test_rotary_base_sets_the_frequencies():
    x = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(
        3, 4
    )  # the pair (1, 3), whose frequency is base^(-1/2)
    assert torch.allclose(
        rotate(x, 100.0)[2], torch.tensor([0.0, math.cos(0.2), 0.0, math.sin(0.2)]), atol=1e-6
    )


# What depends on the kind of weight


@everything
def test_decay_acts_on_matrices_and_tables_only(name):
    gpt = GPT(MODELS[name], V, S)
    mask = gpt.named(gpt.decay_mask()[None])
    for weight, values in mask.items():
        spared = weight == "bos" or weight.endswith(".bias") or "norm" in weight
        # convolutions, and tables but those of STEM, whose paper lets them decay
        spared |= any(part in weight for part in ("canon", ".conv.", "engram.rows"))
        spared |= any(part in weight for part in ("mixer.rate", "mixer.skip", ".shift"))
        spared |= weight.endswith(".rows.weight") and MODELS[name].channel == "keys"
        assert (values == (0.0 if spared else 1.0)).all(), weight


@everything
def test_initial_spread(name):
    model = MODELS[name]
    for weight in GPT(model, V, S).layout:
        last = weight.name.split(".")[-2:]
        if last[-1] == "bias" or "norm" in weight.name:
            assert weight.std is None and weight.constant == (
                "norm" in weight.name and last[-1] == "weight"
            )
        elif not weight.own or "engram" in weight.name and weight.kind == "map":
            # those of parts that start otherwise are in test_parts; sqrt(2 L) = 2
            residual = last[0] in ("down", "out", "value")
            assert weight.std == pytest.approx(0.02 / (2.0 if residual else 1.0))
