"""Experts that product keys find, one table of values for several blocks, and blocks that are used
several times."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from capacity import counts
from capacity.compose import load
from capacity.edits.quantize import quantize
from capacity.export import forms
from capacity.model.gpt import GPT
from capacity.model.parts import keys as keys_part
from capacity.settings.quantize import Spec
from part_forms import MODELS, PLAIN, D, S, V, built_model, tokens
from stack_members import config

VALUES, TAKEN = 25, 2 * 3


def test_a_found_expert_looks_and_adds():
    """sum_i p_i gelu(v_i h) u_i, one token and row after the other."""
    gpt, flat = built_model(MODELS["peer"], seeds=(0, 1))
    w, at, c = gpt.named(flat), "blocks.1.", gpt.context(tokens(members=2))
    x = torch.randn(2, 3 * S, D, generator=torch.Generator().manual_seed(5))
    y = gpt.blocks[1][1].forward(w, at, x, c)
    h = gpt._norm(w, at + "norm2", x)
    rows, p = keys_part.found(w, at, h, c)
    for m in range(2):
        table = w[at + "rows.weight"][m]
        assert table.shape == (VALUES, 2 * D)
        for t in range(0, 3 * S, 4):
            expected = torch.zeros(D)
            for row, weight in zip(rows[m, t], p[m, t], strict=True):
                looks, adds = table[row].split(D)
                expected += weight * F.gelu(looks @ h[m, t]) * adds
            assert torch.allclose(y[m, t], expected, atol=1e-5)


def test_experts_that_add_nothing_are_a_block_without_an_mlp():
    gpt, flat = built_model(MODELS["peer"])
    named = gpt.named(flat)
    for layer in range(2):
        named[f"blocks.{layer}.rows.weight"][..., D:] = 0.0
    plain = GPT(dataclasses.replace(PLAIN, mlp_ratio=0.0), V, S)
    rest = torch.cat([named[w.name].flatten(1) for w in plain.layout], 1)
    assert torch.equal(gpt.logits(flat, tokens()), plain.logits(rest, tokens()))


def test_counts_by_hand():
    plain, experts, shared = (
        counts.parameters(MODELS[name], V, S) for name in ("keys", "peer", "shared keys")
    )
    gate = 2 * (D * D + D)
    assert experts["total"] - plain["total"] == 2 * (VALUES * D - gate)
    assert experts["total"] - experts["active"] == 2 * (VALUES - TAKEN) * 2 * D
    assert counts.values_read(MODELS["peer"], V, True) == 2 * TAKEN * 2 * D
    assert plain["total"] - shared["total"] == VALUES * D
    assert shared["total"] - shared["active"] == (VALUES - 2 * TAKEN) * D
    many = dataclasses.replace(MODELS["shared keys"], n_layers=6)
    assert counts.idle_parameters(many, V, True) == 0  # more choices than values
    found = counts.forward_flops_per_token(MODELS["peer"], V, S)
    found -= counts.forward_flops_per_token(MODELS["keys"], V, S)
    assert found == 2 * 2 * (TAKEN * D - 2 * D * D)
    loops = MODELS["loops"]
    assert counts.parameters(loops, V, S) == counts.parameters(PLAIN, V, S)
    head = 2 * V * D
    once = counts.forward_flops_per_token(PLAIN, V, S) - head
    assert counts.forward_flops_per_token(loops, V, S) == head + 3 * once
    assert counts.state_numbers(loops, 50) == 3 * counts.state_numbers(PLAIN, 50)


def test_a_shared_table_is_one_table_in_every_block():
    """Its logits are those of blocks with equal tables, its gradient the sum of theirs."""
    model = dataclasses.replace(MODELS["shared keys"], n_layers=3, channel_layers=(1, 2))
    gpt, flat = built_model(model)
    other = GPT(dataclasses.replace(model, keys_shared=False), V, S)
    tables = [w.name for w in gpt.layout if w.kind == "table"]
    assert tables == ["blocks.1.rows.weight"]
    named = gpt.named(flat)
    named["blocks.2.rows.weight"] = named["blocks.1.rows.weight"]
    apart = torch.cat([named[w.name].flatten(1) for w in other.layout], 1)
    assert torch.equal(gpt.logits(flat, tokens()), other.logits(apart, tokens()))
    gradients = []
    for one, weights in ((gpt, flat), (other, apart)):
        leaf = weights.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(one.loss(leaf, tokens()).sum(), leaf)
        gradients.append(one.named(gradient))
    both = sum(gradients[1][f"blocks.{i}.rows.weight"] for i in (1, 2))
    assert torch.allclose(gradients[0]["blocks.1.rows.weight"], both, atol=1e-6)


# Loops


def test_loops_are_as_many_blocks_with_the_same_weights():
    gpt, flat = built_model(MODELS["loops"])
    deep = GPT(dataclasses.replace(PLAIN, n_layers=6), V, S)
    named = gpt.named(flat)
    names = [
        ".".join(["blocks", str(int(w.name.split(".")[1]) % 2), *w.name.split(".")[2:]])
        if w.name.startswith("blocks.")
        else w.name
        for w in deep.layout
    ]
    rest = torch.cat([named[name].flatten(1) for name in names], 1)
    assert torch.equal(gpt.logits(flat, tokens()), deep.logits(rest, tokens()))
    once = GPT(PLAIN, V, S)
    assert torch.equal(gpt.init([0]), once.init([0]))
    assert not torch.allclose(once.logits(flat, tokens()), gpt.logits(flat, tokens()), atol=1e-2)


def test_blocks_that_are_used_again_are_not_rounded_one_after_the_other():
    gpt, flat = built_model(MODELS["loops"])
    spec = Spec("rtn", 3, False, "row", None, False, "fp16", "bf16", 20, 0.01, False)
    rows = tokens()[0]
    with pytest.raises(ValueError, match="model.loops=3: rtn rounds one block after the other"):
        quantize(gpt, flat[0], rows, spec)
    after, _, bits = quantize(gpt, flat[0], rows, dataclasses.replace(spec, method="bf16"))
    assert torch.equal(after, flat[0].bfloat16().float()) and bits == 16 * after.numel()
    with pytest.raises(ValueError, match=r"quantize.methods=\[rtn\].*model.loops=2.*bf16"):
        load(
            "model=gpt model.loops=2 quantize.methods=[rtn] data.n_sequences=40 train.steps=300 "
            "data.load=null".split()
        )


def test_loops_are_not_exported():
    one = config()
    looped = dataclasses.replace(one, model=dataclasses.replace(one.model, loops=2))
    with pytest.raises(ValueError, match="model.loops=2: cannot be exported"):
        forms.check(looped)
