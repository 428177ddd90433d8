"""Stored bits by hand, and the inputs of maps that GPTQ observes."""

import pytest
import torch

from capacity.compose import load
from capacity.config import from_dict
from capacity.edits import rounding
from capacity.edits.quantize import Observed, quantize
from capacity.feed.feed import StreamFeed
from capacity.model.gpt import GPT
from capacity.settings.quantize import Spec
from grids import CPU, spec

# Stored bits


def test_stored_bits_by_hand():
    kind = {"bits": 4, "scales": "fp16", "rest": "bf16"}
    assert spec(**kind).stored_bits(1, 16, 64) == 16 * 64 * 4 + 16 * (16 + 4)
    assert spec(symmetric=True, **kind).stored_bits(1, 16, 64) == 16 * 64 * 4 + 16 * 16
    assert spec(granularity="tensor", **kind).stored_bits(3, 16, 16) == 3 * (16 * 16 * 4 + 20)
    grouped = spec(granularity="group", group_size=32, **kind)
    assert (
        grouped.stored_bits(1, 16, 64) / (16 * 64) == 4.625
    )  # the usual number of int4 in groups of 32
    assert spec(scales="fp32", bits=4).stored_bits(1, 16, 64) == 16 * 64 * 4 + 16 * (32 + 4)
    assert Spec("bf16", 16).stored_bits(2, 3, 5) == 16 * 30


@pytest.mark.parametrize("method", ["rtn", "gptq"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embeddings", [True, False])
def test_a_whole_model_by_hand(method, tied, embeddings):
    """One block of width 8: every tensor is either quantized or skipped, and the bits add up."""
    model = from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 4, "n_sequences": 9},
            "model": {"d_model": 8, "n_heads": 2, "tied": tied},
            "train": {"steps": 9, "warmup_steps": 0},
        }
    ).model
    gpt = GPT(model, 16, 4)
    flat = gpt.init([0])[0] * 10
    s = spec(
        method,
        3,
        granularity="group",
        group_size=4,
        embeddings=embeddings,
        scales="fp16",
        rest="bf16",
    )
    after, tensors, stored = quantize(
        gpt, flat, torch.randint(16, (30, 4), generator=torch.Generator().manual_seed(0)), s
    )
    codes = 8 * 24 + 8 * 8 + 8 * 32 + 32 * 8
    tables = (16 * 8 * (1 if tied else 2) + 4 * 8) * embeddings
    rest = len(flat) - codes - tables
    assert stored == (codes + tables) * 3 + (codes + tables) // 4 * (16 + 3) + rest * 16
    before, named = gpt.named(flat[None]), gpt.named(after[None])
    assert set(tensors) == set(before)
    for name, found in tensors.items():
        if found is None:
            assert torch.equal(named[name], before[name].bfloat16().float()), name
            continue
        assert found["storage"] == "int3" and found["maps"] == (3 if "qkv" in name else 1)
        w = (
            named[name][0]
            if name in ("token.weight", "position.weight", "head.weight")
            else named[name][0].T
        )
        assert (
            max(len(group.unique()) for group in w.reshape(-1, 4)) <= 8
            and found["scales"] == w.numel() // 4
        )
        assert 0 < found["weight_error"] < 0.5
        assert ("output_error" in found) == (name not in ("token.weight", "position.weight"))
        if method == "rtn" and "output_error" in found:
            assert found["output_error"] == found["rtn_output_error"]
    assert {
        name for name in ("token.weight", "position.weight", "head.weight") if tensors.get(name)
    } == (
        set()
        if not embeddings
        else {"token.weight", "position.weight"} | ({"head.weight"} if not tied else set())
    )


def test_per_tensor_grids_are_of_single_maps():
    """Queries, keys and values lie in one tensor and are three maps."""
    gpt = GPT(
        from_dict(
            {
                "data": {"vocab_size": 16, "seq_len": 4, "n_sequences": 9},
                "train": {"steps": 9, "warmup_steps": 0},
                "model": {"d_model": 8, "n_heads": 4, "n_kv_heads": 1},
            }
        ).model,
        16,
        4,
    )
    flat = gpt.init([0])[0]
    w = gpt.named(flat[None])["blocks.0.qkv.weight"][0]
    w[:, :8] *= 100
    after, tensors, _ = quantize(
        gpt, flat, torch.zeros(1, 4, dtype=torch.int64), spec(bits=8, granularity="tensor")
    )
    assert tensors["blocks.0.qkv.weight"]["scales"] == 3
    q = gpt.named(after[None])["blocks.0.qkv.weight"][0]
    assert torch.equal(q[:, 8:10], rounding.rtn(w[:, 8:10].T, spec(bits=8, granularity="tensor")).T)
    assert (
        q[:, 8:] != 0
    ).any()  # beside queries a hundred times as large, one scale would leave nothing of them


# Inputs of maps


VARIANTS = {
    "gpt2": {},
    "llama": {
        "mlp": "gated",
        "bias": False,
        "norm": "rmsnorm",
        "tied": False,
        "position": "rotary",
    },
    "no mlp": {"mlp_ratio": 0},
    "experts": {"n_experts": 3, "top_k": 1},
    "gated experts": {"n_experts": 4, "top_k": 2, "mlp": "gated"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_observed_inputs_are_those_of_the_maps(variant):
    """Outputs of the model after the block follow from the same maps; the grams are those of all
    tokens, each expert's of its own."""
    model = from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 6, "n_sequences": 9},
            "train": {"steps": 9, "warmup_steps": 0},
            "model": {"d_model": 8, "n_heads": 2, "n_layers": 2} | VARIANTS[variant],
        }
    ).model
    gpt = GPT(model, 16, 6)
    flat = gpt.init([0]) * 10
    w, rows = (
        gpt.named(flat),
        torch.randint(16, (20, 6), generator=torch.Generator().manual_seed(0)),
    )
    observed = Observed(gpt)
    parts = observed.inputs(w, rows)
    seen = [
        name
        for name in ("blocks.0.qkv", "blocks.0.up", "blocks.0.experts.up", "blocks.0.experts.down")
        if name + ".weight" in w
    ]
    behind, grams = observed.through(w, 0, parts, seen)
    x = gpt._norm(w, "blocks.0.norm1", parts[0][0])[0].double()
    assert torch.allclose(grams["blocks.0.qkv"][0], x.T @ x)
    behind, _ = observed.through(w, 1, behind, [])
    assert torch.allclose(
        gpt._norm(w, "norm", behind[0][0]), gpt.hidden(w, rows[None])[0], atol=1e-5
    )
    if model.n_experts:
        up, down = grams["blocks.0.experts.up"], grams["blocks.0.experts.down"]
        assert up.shape == (model.n_experts, 8, 8) and down.shape == (model.n_experts, 32, 32)
        attention = gpt.blocks[0][0]
        after_attention = parts[0][0] + attention.forward(w, "blocks.0.", *parts[0])
        h = gpt._norm(w, "blocks.0.norm2", after_attention)[0]
        top = torch.softmax(h @ w["blocks.0.router.weight"][0], -1).topk(model.top_k, -1).indices
        for e in range(model.n_experts):
            mine = h[(top == e).any(-1)]
            assert torch.allclose(up[e], mine.double().T @ mine.double(), atol=1e-4)
            one = {
                name: weight[0, e : e + 1]
                for name, weight in w.items()
                if name.startswith("blocks.0.experts.")
            }
            hidden = gpt._linear(mine[None], one, "blocks.0.experts.up")
            act = (
                torch.nn.functional.gelu(gpt._linear(mine[None], one, "blocks.0.experts.gate"))
                * hidden
                if model.mlp == "gated"
                else (torch.nn.functional.gelu(hidden))
            )
            assert torch.allclose(down[e], act[0].double().T @ act[0].double(), atol=1e-4), (
                "an empty place must not count"
            )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_eight_bits_are_nearly_free_in_every_architecture(variant, method):
    model = from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 6, "n_sequences": 9},
            "train": {"steps": 9, "warmup_steps": 0},
            "model": {"d_model": 8, "n_heads": 2, "n_layers": 2} | VARIANTS[variant],
        }
    ).model
    gpt = GPT(model, 16, 6)
    flat, rows = (
        gpt.init([0])[0] * 5,
        torch.randint(16, (50, 6), generator=torch.Generator().manual_seed(0)),
    )
    after, tensors, _ = quantize(gpt, flat, rows, spec(method, 8, embeddings=True))
    assert all(
        found["output_error"] < 0.02
        for found in tensors.values()
        if found and "output_error" in found
    )
    if not model.n_experts:  # a router may send a token elsewhere
        moved = gpt.nll(after[None], rows[None]) - gpt.nll(flat[None], rows[None])
        assert moved.abs().mean() < 0.05


def test_the_stream_of_biographies_is_where_it_was():
    config = load(
        [
            "data=bios_pocket",
            "data.n_people=60",
            "model.d_model=8",
            "model.n_heads=2",
            "train.steps=20",
            "train.warmup_steps=2",
            "train.batch_size=4",
        ]
    )
    feed, other = StreamFeed([config], CPU), StreamFeed([config], CPU)
    cursor, second = torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64)
    first = torch.cat([tokens[0] for tokens in feed.chunk(cursor, 0, 3)])
    list(other.chunk(second, 0, 3))
    assert torch.equal(feed.first_rows(0, 12), first)  # what was trained on first
    assert feed.exposures(0, 3) == other.exposures(0, 3)
