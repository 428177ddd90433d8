"""Banks of units that the first tokens fetch: against a slow form, which blocks are chosen and from
where on, limits in which they are the plain MLP, rows read against rows with a gradient, counts."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from capacity import counts
from capacity.config import from_dict
from capacity.measure import tables
from capacity.model.gpt import GPT
from capacity.model.parts import banks as part
from capacity.model.parts.mlp import ACTIVATIONS
from capacity.parts import banks
from part_forms import BANKS, MODELS, PLAIN, D, S, V, both, built_model, tokens

OF_SEQUENCES, OF_DOCUMENTS = MODELS["banks"], MODELS["banks of documents"]
# two documents whose starts are seen, and the rest of one whose start is not
ROW = torch.tensor([[[5, 3, 0, 7, 9, 2, 0, 4, 8, 6]]])


def key_by_hand(ids):
    """In whole numbers: a polynomial of tokens modulo 2^31, then MurmurHash3's last steps."""
    mix, low = 0, 2**31 - 1
    for one in ids:
        mix = (mix * 0x9E3779B1 + one + 1) & low
    mix = ((mix ^ (mix >> 16)) * 0x85EBCA6B) & low
    mix = ((mix ^ (mix >> 13)) * 0xC2B2AE35) & low
    return mix ^ (mix >> 16)


def chosen_by_hand(ids, model, bos):
    """Of each position the key that it knows, or None."""
    out, n = [], model.banks_prefix
    for t in range(len(ids)):
        start = 0 if bos else -1
        if model.banks_of == "document":
            starts = [s for s in range(t + 1) if ids[s] == 0]
            start = starts[-1] if starts else None
        known = start is not None and t >= start + n
        out.append(key_by_hand(ids[start + 1 : start + 1 + n]) if known else None)
    return out


@both
@pytest.mark.parametrize("model", [OF_SEQUENCES, OF_DOCUMENTS], ids=lambda m: m.banks_of)
@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_keys_are_those_of_the_first_tokens(model, bos, n):
    model = dataclasses.replace(model, banks_prefix=n)
    gpt = GPT(model, V, S + 1, bos)
    batch = ROW[..., 1:] if bos else ROW
    c = gpt.context(batch)
    key, known = part.chosen(c)
    ids = c.ids()[0, 0].tolist()
    expected = chosen_by_hand(ids, model, bos)
    assert known[0, 0].tolist() == [one is not None for one in expected]
    keys = key[0].tolist() * (len(ids) if model.banks_of == "sequence" else 1)
    assert all(one is None or one == k for one, k in zip(expected, keys, strict=True))
    assert n == 20 or any(one is not None for one in expected)


def test_keys_spread_evenly_and_share_levels_above():
    """16 blocks by pairs of tokens, 4,225 of them: a chi square of 15 degrees of freedom exceeds 45
    once in 10,000."""
    pairs = torch.cartesian_prod(torch.arange(65), torch.arange(65)).view(1, -1, 2)
    keys = part.hashed(pairs, 2)[0, :, 1]
    assert len(keys.unique()) > 0.999 * len(keys) and keys.min() >= 0 and keys.max() < 2**31
    hits = torch.bincount(keys % 16).double()
    assert ((hits - hits.mean()).square() / hits.mean()).sum() < 45
    assert torch.equal((keys % 16) % 4, keys % 4)


def by_hand(w, model, ids, h, layer, bos):
    """What the channel adds, position by position, in fp64."""
    w = {name: one[0].double() for name, one in w.items()}
    at, act = f"blocks.{layer}.", ACTIVATIONS[model.activation]
    gated = model.mlp == "gated"
    out = []
    for t, key in enumerate(chosen_by_hand(ids, model, bos)):
        up, bias = w[at + "up.weight"], w[at + "up.bias"]
        down = w[at + "down.weight"]
        gate = w[at + "gate.weight"] if gated else None
        gate_bias = w[at + "gate.bias"] if gated else None
        for level, r in enumerate(model.banks_units, 1) if key is not None else ():
            block = key % model.banks_branching**level
            more = w[f"{at}banks.{level}.inward.weight"][block].view(D, -1, r)
            bias = torch.cat([bias, torch.zeros(r).double()])
            up = torch.cat([up, more[:, -1]], 1)
            if gated:
                gate = torch.cat([gate, more[:, 0]], 1)
                gate_bias = torch.cat([gate_bias, torch.zeros(r).double()])
            down = torch.cat([down, w[f"{at}banks.{level}.down.weight"][block].view(r, D)])
        hidden = h[t] @ up + bias
        hidden = act(h[t] @ gate + gate_bias) * hidden if gated else act(hidden)
        out.append(hidden @ down + w[at + "down.bias"])
    return torch.stack(out)


@both
@pytest.mark.parametrize("model", [OF_SEQUENCES, OF_DOCUMENTS], ids=lambda m: m.banks_of)
def test_an_mlp_with_the_units_of_its_blocks(model, bos):
    """fp32 against fp64: sums of some tens of products."""
    model = dataclasses.replace(model, canon="")
    gpt, flat = built_model(model, bos)
    w, batch, layer = gpt.named(flat), ROW[..., : S + (not bos)], 1
    x = torch.randn(1, S, D, generator=torch.Generator().manual_seed(2))
    c = gpt.context(batch)
    y = gpt.blocks[layer][-1].forward(w, f"blocks.{layer}.", x, c)[0]
    norm = [w[f"blocks.{layer}.norm2.{name}"][0].double() for name in ("weight", "bias")]
    h = F.layer_norm(x[0].double(), (D,), *norm)
    expected = by_hand(w, model, c.ids()[0, 0].tolist(), h, layer, bos)
    assert torch.allclose(y.double(), expected, atol=3e-5)


@both
@pytest.mark.parametrize("model", [OF_SEQUENCES, OF_DOCUMENTS], ids=lambda m: m.banks_of)
def test_blocks_of_zeros_are_the_plain_mlp_bit_for_bit(model, bos):
    gpt, flat = built_model(model, bos, seeds=(0, 1))
    named = gpt.named(flat)
    for name, one in named.items():
        if "banks" in name and "down" in name:
            one.zero_()
    plain = GPT(dataclasses.replace(model, channel="mlp", channel_layers=()), V, S, bos)
    rest = torch.cat([named[one.name].reshape(2, -1) for one in plain.layout], 1)
    batch = tokens(bos, members=2)
    assert torch.equal(gpt.nll(flat, batch), plain.nll(rest, batch))
    drawn, start = plain.named(plain.init([3])), gpt.named(gpt.init([3]))
    assert all(torch.equal(start[name], one) for name, one in drawn.items())


def test_one_block_is_a_wider_mlp_where_the_key_is_known():
    model = dataclasses.replace(OF_SEQUENCES, banks_branching=1, banks_units=(5,), bias=False)
    gpt, flat = built_model(model)
    wide = dataclasses.replace(PLAIN, mlp_ratio=(4 * D + 5) / D, bias=False)
    other = GPT(wide, V, S)
    w = gpt.named(flat)
    merged = dict(w)
    for at in ("blocks.0.", "blocks.1."):
        inward, down = (w[f"{at}banks.1.{name}.weight"] for name in ("inward", "down"))
        merged[at + "up.weight"] = torch.cat([w[at + "up.weight"], inward.view(1, D, 5)], -1)
        merged[at + "down.weight"] = torch.cat([w[at + "down.weight"], down.view(1, 5, D)], 1)
    x = torch.randn(1, S, D, generator=torch.Generator().manual_seed(2))
    batch = tokens(n=1)
    c, theirs = gpt.context(batch), other.context(batch)
    ours = gpt.blocks[0][-1].forward(w, "blocks.0.", x, c)
    found = other.blocks[0][-1].forward(merged, "blocks.0.", x, theirs)
    n = model.banks_prefix
    assert torch.allclose(ours[:, n:], found[:, n:], atol=1e-5)
    assert not torch.allclose(ours[:, :n], found[:, :n], atol=1e-2)
    assert counts.parameters(model, V, S)["total"] == counts.parameters(wide, V, S)["total"]
    assert counts.idle_parameters(model, V, True) == 0


@both
@pytest.mark.parametrize("model", [OF_SEQUENCES, OF_DOCUMENTS], ids=lambda m: m.banks_of)
def test_rows_have_a_gradient_if_and_only_if_they_are_read(model, bos):
    gpt, flat = built_model(dataclasses.replace(model, activation="silu"), bos)
    batch = ROW[..., : S + (not bos)]
    leaf = flat.requires_grad_()
    (gradient,) = torch.autograd.grad(gpt.nll(leaf, batch).sum(), leaf)
    counted = tables.reads(gpt, flat.detach()[0], batch[0], torch.float32, 100)
    for key, of_table in gpt.named(gradient).items():
        if ".banks." in key:
            _, layer, _, level, _, _ = key.split(".")
            hits = counted[f"{layer} banks {level}"]
            assert torch.equal(of_table[0].abs().sum(1) > 0, hits > 0), key
            assert 0 < (hits > 0).sum() < len(hits)


def test_counts_by_hand():
    """Of every level k^l blocks of r units, of which a token fetches one; (1 + inward) d numbers of
    a unit."""
    for model, unit, blocks in ((OF_SEQUENCES, 2 * D, 2), (OF_DOCUMENTS, 3 * D, 1)):
        plain = dataclasses.replace(model, channel="mlp", channel_layers=())
        found, other = (counts.parameters(one, V, S) for one in (model, plain))
        table, read = unit * (3 * 3 + 9 * 2), unit * (3 + 2)
        assert found["total"] - other["total"] == blocks * table
        assert found["active"] - other["active"] == blocks * read
        assert counts.idle_parameters(model, V, True) == blocks * (table - read)
        assert counts.values_read(model, V, True) == blocks * read
        flops = [counts.forward_flops_per_token(one, V, S) for one in (model, plain)]
        assert flops[0] - flops[1] == 2 * blocks * read
        state = [counts.state_numbers(one, 99) for one in (model, plain)]
        assert state[0] - state[1] == blocks * model.banks_prefix
    assert banks.fetched(OF_SEQUENCES, 10) == 2 * D * 5 / 10
    assert banks.fetched(OF_DOCUMENTS, 10) == 3 * D * 5


def test_what_the_first_tokens_are_of_follows_the_data():
    people = {"data": {"kind": "bios", "n_people": 60, "seq_len": 64}}
    rest = {"train": {"steps": 60, "warmup_steps": 5}}
    banked = {"channel": "banks", **{k: v for k, v in BANKS.items() if k != "banks_units"}}
    with pytest.raises(ValueError, match="model.banks_of=sequence.*windows.*banks_of=document"):
        from_dict(people | rest | {"model": banked})
    ids = {
        from_dict(people | rest | {"model": model}).run_id
        for model in ({}, banked | {"banks_of": "document"})
    }
    assert len(ids) == 2


def test_random_rows_among_people_start_no_document():
    mixed = {"data": {"kind": "mixed", "n_people": 60, "n_rows": 10, "seq_len": 64}}
    rest = {"train": {"steps": 60, "warmup_steps": 5}}
    for name, model in (
        ("model.channel=banks", {"channel": "banks", "banks_of": "document"}),
        ("model.document_mask=true", {"document_mask": True}),
    ):
        with pytest.raises(ValueError, match=f"{name}.*random rows of data.kind=mixed"):
            from_dict(mixed | rest | {"model": model})
    assert from_dict(mixed | rest).data.kind == "mixed"
