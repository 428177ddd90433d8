"""Maps that are products of two factors: the limit in which they are the plain model, what they
start as, counts by hand, and the maps that they are multiplied out to."""

import dataclasses

import pytest
import torch

from capacity import counts
from capacity.config import from_dict
from capacity.export import huggingface
from capacity.model import low_rank
from capacity.model.gpt import GPT
from capacity.train.loop import Stack
from part_forms import MODELS, PLAIN, D, S, V, built_model, tokens

LOW = MODELS["low rank"]
GATED = {"mlp": "gated", "bias": False, "n_kv_heads": 1, "norm": "rmsnorm", "position": "rotary"}
HIGHS = {"qkv": ("qkv.q", "qkv.k", "qkv.v"), "out": ("out",), "up": ("up",), "down": ("down",)}


def identity(flat, gpt, plain_flat, plain):
    """Weights of a model of full rank whose first factors are the maps of the plain one and whose
    second factors are identities; other weights are those of the plain one."""
    w, given = gpt.named(flat.clone()), plain.named(plain_flat)
    for name, one in w.items():
        if name in given:
            one.copy_(given[name])
            continue
        at, _, last = name.rpartition(".")
        stem, _, side = at.rpartition(".")
        if side == "low":
            one.copy_(given[f"{stem}.weight"])
        elif last == "weight":
            one.copy_(torch.eye(one.shape[-2], one.shape[-1]).expand_as(one))
        else:
            whole, _, letter = stem.rpartition(".")
            both = given[f"{whole}.bias"] if letter in ("q", "k", "v") else given[f"{stem}.bias"]
            number = "qkv".index(letter) if letter in ("q", "k", "v") else 0
            one.copy_(both.split(one.shape[-1], -1)[number])
    return torch.cat([one.reshape(len(flat), -1) for one in w.values()], 1)


def test_full_rank_and_an_identity_are_the_plain_model_bit_for_bit():
    """mlp_ratio 1, so that a map to hidden units is square and one identity serves all; a product
    with an identity rounds nothing."""
    square = dataclasses.replace(PLAIN, mlp_ratio=1.0)
    plain, plain_flat = built_model(square, seeds=(0, 1))
    gpt = GPT(dataclasses.replace(square, map_rank=D), V, S)
    flat = identity(gpt.init([0, 1]), gpt, plain_flat, plain)
    batch = tokens(members=2)
    assert torch.equal(gpt.nll(flat, batch), plain.nll(plain_flat, batch))
    assert torch.equal(gpt.loss(flat, batch), plain.loss(plain_flat, batch))


@pytest.mark.parametrize("more", [{}, GATED, {"canon": "ABCD"}, {"mlp_ratio": 0.0}], ids=str)
def test_the_maps_that_factors_make_are_those_of_the_same_model(more):
    low = dataclasses.replace(LOW, map_rank=3, **more)
    gpt, flat = built_model(low)
    plain = GPT(dataclasses.replace(low, map_rank=None), V, S)
    w = low_rank.multiplied({name: one[0] for name, one in gpt.named(flat).items()})
    assert w.keys() == {one.name for one in plain.layout}
    merged = torch.cat([w[one.name].reshape(-1) for one in plain.layout])[None]
    batch = tokens()
    # sums of some tens of products in another order
    assert torch.allclose(plain.nll(merged, batch), gpt.nll(flat, batch), atol=2e-5)
    for name, one in w.items():
        if name.endswith(("up.weight", "out.weight")):
            assert torch.linalg.matrix_rank(one.double(), tol=1e-5) == 3, name


@pytest.mark.parametrize("rank", [2, 16])
def test_products_start_with_the_variance_of_the_maps(rank):
    """Standard deviations of 4,096 entries and more, which depend on each other through 64 r
    numbers of each factor: a relative error of a few over the root of those."""
    model = dataclasses.replace(PLAIN, d_model=64, map_rank=rank)
    gpt = GPT(model, V, S)
    w = low_rank.multiplied({name: one[0] for name, one in gpt.named(gpt.init([0])).items()})
    for name, std in (("qkv", 0.02), ("up", 0.02), ("out", 0.01), ("down", 0.01)):
        one = w[f"blocks.0.{name}.weight"]
        assert one.std().item() == pytest.approx(std, rel=4 / (64 * rank) ** 0.5), name
        assert abs(one.mean().item()) < 4 * std / (64 * rank) ** 0.5
    q, k, v = w["blocks.0.qkv.weight"].split(64, -1)
    assert not torch.equal(q, k) and not torch.equal(k, v)
    again = gpt.named(gpt.init([1]))["blocks.0.up.low.weight"]
    assert not torch.equal(again, gpt.named(gpt.init([0]))["blocks.0.up.low.weight"])


@pytest.mark.parametrize("gated", [False, True])
def test_counts_by_hand(gated):
    """r (in + out) of every map; operations twice that of what stood there."""
    r, kv = 3, D // 2
    model = dataclasses.replace(PLAIN, map_rank=r, **(GATED if gated else {}))
    plain = dataclasses.replace(model, map_rank=None)
    inward, F = 2 if gated else 1, 4 * D
    wide = [D, kv, kv] if gated else [D, D, D]
    full = D * sum(wide) + D * D + (inward + 1) * D * F
    low = r * (3 * D + sum(wide)) + r * 2 * D + (inward + 1) * r * (D + F)
    found, other = counts.parameters(model, V, S), counts.parameters(plain, V, S)
    for convention in ("total", "paper", "non_embedding", "active"):
        assert found[convention] - other[convention] == 2 * (low - full)
    assert counts.idle_parameters(model, V, True) == 0
    flops = [counts.forward_flops_per_token(one, V, S) for one in (model, plain)]
    assert flops[0] - flops[1] == 2 * 2 * (low - full)
    assert counts.state_numbers(model, 9) == counts.state_numbers(plain, 9)


def test_every_factor_is_a_matrix_of_its_own_for_muon():
    shapes = {(shape, tuple(widths)) for _, shape, widths in GPT(LOW, V, S).matrices()}
    r, F = LOW.map_rank, 4 * D
    assert shapes == {
        ((D, 3 * r), (r, r, r)),
        ((r, D), (D,)),
        ((D, r), (r,)),
        ((r, F), (F,)),
        ((F, r), (r,)),
    }


def run(**more):
    return from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 40},
            "train": {"steps": 60, "warmup_steps": 5},
            "model": {"d_model": 8, "n_heads": 2, "n_layers": 2, "map_rank": 2} | more,
        }
    )


def test_an_export_has_the_products():
    """The model that transformers makes of it computes what the run does."""
    transformers = pytest.importorskip("transformers")
    from exports import theirs  # needs transformers

    config = run(bias=False, norm="rmsnorm", position="rotary", mlp="gated", activation="silu")
    stack = Stack([config], torch.device("cpu"))
    flat = stack.start().flat_MP * 8
    w = {name: one[0] for name, one in stack.gpt.named(flat).items()}
    exported = huggingface.convert(config, w)
    assert any("rank 2" in note for note in exported.notes)
    there = transformers.LlamaConfig(**exported.config)
    model = transformers.LlamaForCausalLM(there).eval()
    missing = model.load_state_dict(exported.tensors, strict=False)
    assert not missing.unexpected_keys
    batch = tokens(members=1)[..., :8] % 16
    ours = stack.gpt.logits(flat, batch)[0]
    found = theirs(model, config, exported.start, batch[0])
    assert torch.allclose(found, ours, atol=1e-4)
    assert ours.std() > 0.1


def test_low_rank_updates_of_products_are_refused():
    people = {"kind": "bios", "n_people": 60, "questions": True, "seq_len": 64}
    tree = {"data": people, "train": {"steps": 60, "warmup_steps": 5}, "model": {"map_rank": 2}}
    with pytest.raises(ValueError, match="extraction.mode=lora.*model.map_rank=2.*full"):
        from_dict(tree | {"extraction": {"mode": "lora"}})
    assert from_dict(tree | {"extraction": {"mode": "full"}}).model.map_rank == 2
