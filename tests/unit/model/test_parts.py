"""Parts of blocks: closed counts, initial weights, limits in which they are the plain model, what
they read, and causality."""

import dataclasses
import inspect
import itertools

import pytest
import torch
import torch.nn.functional as F

from capacity import counts
from capacity.model.gpt import GPT
from capacity.model.parts import engram as engram_part
from capacity.model.parts import keys as keys_part
from capacity.model.parts import registry as built
from capacity.model.short_conv import convolved
from capacity.parts import engram, registry
from capacity.settings.model import Model
from part_forms import MODELS, PLAIN, D, S, V, both, built_model, forms, tokens


def test_every_choice_of_a_setting_is_a_part_with_formulas_and_code():
    choices = {
        key: set(Model.__dataclass_fields__[key].metadata["choices"])
        for key in ("mixer", "channel", "memory")
    }
    assert choices["mixer"] == set(registry.MIXERS)
    assert choices["channel"] | {"experts"} == set(registry.CHANNELS)
    assert choices["memory"] == set(registry.MEMORIES) | {"none"}
    assert set(built.PARTS) == set(registry.PARTS)
    for kind, part in registry.PARTS.items():
        for name in ("count", "flops", "state", "kept", "inputs"):
            assert callable(getattr(part, name)), (kind, name)
        assert inspect.getdoc(part) and inspect.getdoc(built.PARTS[kind])
    tabled = set()
    for model in MODELS.values():
        for kind in registry.kinds(model):
            weights = built.PARTS[kind].weights(model, "blocks.1.", V)
            tabled |= {kind} if any(w.kind == "table" for w in weights) else set()
    assert tabled == set(registry.TABLES)


# parameters of all blocks beyond those of the plain form, idle ones, and numbers read
E, FF = 3 * D, 4 * D
ROWS = 11 + 13 + 17 + 19  # primes from 11 on: two heads of bigrams and trigrams
BY_HAND = {
    "linear": (0, 0, 0),
    "stem": ((V + 1) * FF - D * FF - FF + D * FF + FF, V * FF, FF),
    "engram": (
        3 * ROWS + 2 * (12 * D + D) + 2 * D + 5 * D,
        3 * (ROWS - 4),
        12,
    ),
    "keys": (
        2 * ((D * 8 + 8) + 8 + 2 * 5 * 4 + 25 * D + 2 * (D * D + D) - (2 * D * FF + FF + D)),
        2 * (25 - 6) * D,
        2 * 6 * D,
    ),
    "keys, no gate": (
        (D * 16 + 16) + 16 + 2 * 16 * 8 + 256 * D - (2 * D * FF + FF + D),
        (256 - 8) * D,
        8 * D,
    ),
    "engram, longer": (
        2 * (3 * (ROWS + 23 + 29) + 2 * (18 * D + D) + 2 * D),
        2 * 3 * (ROWS + 23 + 29 - 6),
        2 * 18,
    ),
    "canon": (2 * 4 * (2 * D + E + FF), 0, 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_counts_by_hand(name):
    plain = counts.parameters(PLAIN, V, S)
    found = counts.parameters(MODELS[name], V, S)
    more, idle, read = BY_HAND[name]
    if name == "stem":  # gate and down are those of an MLP, the table has no bias
        more = (V + 1) * FF
    assert found["total"] - plain["total"] == more
    assert found["non_embedding"] - plain["non_embedding"] == more
    assert found["total"] - found["active"] == idle
    assert counts.idle_parameters(MODELS[name], V, True) == idle
    assert counts.values_read(MODELS[name], V, True) == read


def test_rows_of_tokens_that_no_text_has_are_not_counted_as_the_paper_counts():
    model = MODELS["stem"]
    p = counts.parameters(model, V, S, bos=False, used_rows=20)
    assert p["total"] - p["paper"] == 3 * (D + FF)
    assert counts.used_parameters(model, p["total"], V, 20) == p["paper"]


@both
@forms
def test_built_count_is_the_formula_and_idle_are_the_rows_not_read(name, bos):
    model = MODELS[name]
    gpt = GPT(model, V, S, bos)
    assert sum(gpt.sizes) == counts.parameters(model, V, S, bos)["total"]
    tables = sum(size for w, size in zip(gpt.layout, gpt.sizes, strict=True) if w.kind == "table")
    if not model.n_experts:
        read = counts.values_read(model, V, bos)
        assert counts.idle_parameters(model, V, bos) == tables - read
    assert int(gpt.table_mask().sum()) == tables


def test_state_by_hand():
    """Keys and values of every token; of linear attention a matrix and a sum per head; inputs of
    convolutions, and tokens of n-grams."""
    assert counts.state_numbers(PLAIN, 100) == 2 * 2 * 100 * D
    assert counts.state_numbers(MODELS["linear"], 100) == 2 * 2 * 6 * (6 + 1)
    assert counts.state_numbers(MODELS["linear"], 5) == counts.state_numbers(MODELS["linear"], 99)
    canon = counts.state_numbers(MODELS["canon"], 100) - counts.state_numbers(PLAIN, 100)
    assert canon == 2 * 3 * (2 * D + E + FF)
    memory = counts.state_numbers(MODELS["engram"], 100) - counts.state_numbers(PLAIN, 100)
    assert memory == 2 + 3 * 3 * D


def test_flops_count_products_and_convolutions():
    def more(name):
        plain = counts.forward_flops_per_token(PLAIN, V, S)
        return counts.forward_flops_per_token(MODELS[name], V, S) - plain

    assert more("linear") == more("stem") == 0  # a look-up costs none
    mlp = 2 * 2 * D * FF
    assert more("keys, no gate") == 2 * (D * 16 + 2 * 16 * 8 + 8 * D) - mlp
    assert more("keys") == 2 * (2 * (D * 8 + 2 * 5 * 4 + 6 * D + 2 * D * D) - mlp)
    assert more("engram") == 2 * (2 * 12 * D + 4 * D)
    assert more("canon") == 2 * 4 * 2 * (2 * D + E + FF)


# an LSTM has no maps of attention, which others are drawn behind, and factors are in their place
OTHERS = [name for name in MODELS if name != "lstm" and not MODELS[name].map_rank]


@pytest.mark.parametrize("name", OTHERS)
def test_added_weights_leave_all_others_as_they_start(name):
    """Members of one seed differ in the part alone, so that pairs are pairs."""
    # of maps of another width, and of queries that start as keys, the others' numbers move on
    model = dataclasses.replace(MODELS[name], mixer_key=None, mixer_init="default")
    if model.channel != "mlp" or model.n_experts:
        model = dataclasses.replace(model, channel="mlp", channel_layers=(), n_experts=0)
    plain = dataclasses.replace(model, mixer="attention", memory="none", memory_layers=(), canon="")
    ours, theirs = GPT(model, V, S), GPT(plain, V, S)
    w, expected = ours.named(ours.init([3])), theirs.named(theirs.init([3]))
    assert all(torch.equal(w[key], value) for key, value in expected.items())
    own = {weight.name for weight in ours.layout if weight.own}
    assert own == w.keys() - expected.keys()
    again = ours.named(ours.init([4]))
    drawn = [n for n in own if n.endswith(("rows.weight", "key.weight")) or "canon" in n]
    assert all(not torch.equal(w[key], again[key]) for key in drawn)


def test_initial_values():
    wide = dataclasses.replace(
        PLAIN, d_model=64, canon="ABCD", memory="engram", engram_rows=500, channel="stem"
    )
    gpt = GPT(wide, 300, S)
    w = {name: one[0] for name, one in gpt.named(gpt.init([0])).items()}
    at = "blocks.0."
    for name, std in (
        ("engram.rows", 1.0),
        ("engram.key", 0.02),
        ("engram.value", 0.01),
        ("rows", (2 / (301 + 256)) ** 0.5),
        ("canon_b", 0.5 / 3**0.5),  # uniform within half
    ):
        n = w[f"{at}{name}.weight"].numel()
        spread = w[f"{at}{name}.weight"].std().item()
        assert spread == pytest.approx(std, rel=5 / n**0.5), name  # its error is std / sqrt(2 n)
    assert w[at + "canon_d.weight"].abs().max() < 0.5
    assert not w[at + "engram.conv.weight"].any() and (w[at + "engram.key_norm.weight"] == 1).all()
    keys = GPT(dataclasses.replace(wide, channel="keys", keys_width=32, keys_heads=4), 300, S)
    found = {name: one[0] for name, one in keys.named(keys.init([0])).items()}
    for name, std in (
        ("query", (6 / (64 + 128)) ** 0.5 / 3**0.5),
        ("keys", 32**-0.5 / 3**0.5),
        ("rows", 1 / 8),
        ("gate", 1 / 8),
        ("down", 1 / 8),
    ):
        one = found[f"{at}{name}.weight"]
        assert one.std().item() == pytest.approx(std, rel=5 / one.numel() ** 0.5), name
    given = GPT(dataclasses.replace(wide, table_std=0.25), 300, S)
    mine = {name: one[0] for name, one in given.named(given.init([0])).items()}
    for name in ("engram.rows.weight", "rows.weight"):
        n = mine[at + name].numel()
        assert mine[at + name].std().item() == pytest.approx(0.25, rel=5 / n**0.5)


def without(gpt, flat, *parts):
    """The weights with all of these names set to zeros."""
    named = {name: w.clone() for name, w in gpt.named(flat).items()}
    for name, w in named.items():
        if any(part in name for part in parts):
            w.zero_()
    return torch.cat([named[w.name].flatten(1) for w in gpt.layout], 1)


@both
@pytest.mark.parametrize(
    "name, zeros",
    [
        ("canon", ("canon_",)),
        ("gated canon", ("canon_",)),
        ("canon with experts", ("canon_",)),
        ("engram", ("engram.rows", "engram.value.bias")),
        ("engram", ("engram.value",)),
        ("engram, longer", ("engram.value",)),
    ],
)
def test_with_zeros_it_is_the_plain_model_bit_for_bit(name, zeros, bos):
    model = MODELS[name]
    plain = dataclasses.replace(model, canon="", memory="none", memory_layers=())
    gpt, flat = built_model(model, bos)
    other = GPT(plain, V, S, bos)
    silent, named = without(gpt, flat, *zeros), gpt.named(flat)
    rest = torch.cat([named[w.name].flatten(1) for w in other.layout], 1)
    expected = other.logits(rest, tokens(bos))
    assert torch.equal(gpt.logits(silent, tokens(bos)), expected)
    assert not torch.allclose(gpt.logits(flat, tokens(bos)), expected, atol=1e-3)


@both
def test_a_table_of_ones_is_an_mlp_without_it(bos):
    """down(act(gate h) * 1): the MLP whose map up is the gate."""
    gpt, flat = built_model(dataclasses.replace(PLAIN, channel="stem"), bos)
    plain, named = GPT(PLAIN, V, S, bos), gpt.named(flat)
    for layer in range(2):
        named[f"blocks.{layer}.rows.weight"].fill_(1.0)
    names = [w.name.replace(".up.", ".gate.") for w in plain.layout]
    rest = torch.cat([named[name].flatten(1) for name in names], 1)
    assert torch.equal(gpt.logits(flat, tokens(bos)), plain.logits(rest, tokens(bos)))


@pytest.mark.parametrize("gate", [True, False])
def test_product_keys_with_values_of_zero_are_a_block_without_an_mlp(gate):
    model = dataclasses.replace(PLAIN, channel="keys", keys_gate=gate)
    gpt, flat = built_model(model)
    plain = GPT(dataclasses.replace(PLAIN, mlp_ratio=0.0), V, S)
    silent, named = without(gpt, flat, ".rows.", "down.bias"), gpt.named(flat)
    rest = torch.cat([named[w.name].flatten(1) for w in plain.layout], 1)
    assert torch.equal(gpt.logits(silent, tokens()), plain.logits(rest, tokens()))


# Against slow forms


@pytest.mark.parametrize("choices", [1, 3, 5])
def test_product_keys_find_the_best_of_all_pairs(choices):
    """Against all n^2 scores of every head."""
    model = dataclasses.replace(MODELS["keys"], keys_choices=choices)
    gpt, flat = built_model(model, seeds=(0, 1))
    w, at = gpt.named(flat), "blocks.1."
    h = torch.randn(2, 3 * S, D, generator=torch.Generator().manual_seed(4))
    rows, p = keys_part.found(w, at, h, gpt.context(tokens(members=2)))
    for m in range(2):
        q = h[m] @ w[at + "query.weight"][m] + w[at + "query.bias"][m]
        q = q.view(-1, 2, 2, 2)  # token, head, half, number
        q = q / (q.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        q = q * w[at + "query_norm.weight"][m].view(2, 2, 2)
        scores = torch.einsum("nhsk,hskj->nhsj", q, w[at + "keys.weight"][m].view(2, 2, 2, 5))
        sums = (scores[:, :, 0, :, None] + scores[:, :, 1, None, :]).flatten(-2)
        best, places = sums.topk(choices, -1)
        mine = rows[m].view(-1, 2, choices)
        assert torch.equal(mine.sort(-1).values, places.sort(-1).values)
        expected = torch.zeros_like(sums).scatter(-1, places, torch.softmax(best, -1))
        found = torch.zeros_like(sums).scatter(-1, mine, p[m].view(-1, 2, choices))
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("choices", [1, 3])
def test_a_value_goes_to_the_tokens_that_take_it_by_its_weight(choices):
    """down(y * silu(gate h)), y the weighted sum of rows over heads."""
    model = dataclasses.replace(MODELS["keys"], keys_choices=choices)
    gpt, flat = built_model(model)
    w, at, c = gpt.named(flat), "blocks.1.", gpt.context(tokens())
    x = torch.randn(1, 3 * S, D, generator=torch.Generator().manual_seed(5))
    h = F.layer_norm(x, (D,), w[at + "norm2.weight"][0], w[at + "norm2.bias"][0])
    rows, p = keys_part.found(w, at, h, c)
    y = torch.stack(
        [
            sum(weight * w[at + "rows.weight"][0, row] for row, weight in zip(*one, strict=True))
            for one in zip(rows[0], p[0], strict=True)
        ]
    )
    gate = h[0] @ w[at + "gate.weight"][0] + w[at + "gate.bias"][0]
    inner = y * gate * torch.sigmoid(gate)
    expected = inner @ w[at + "down.weight"][0] + w[at + "down.bias"][0]
    found = gpt.blocks[1][1].forward(w, at, x, c)[0]
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_convolution_is_that_of_torch(dilation):
    gpt, _ = built_model(PLAIN)
    c = gpt.context(tokens(members=2, n=3))
    x, taps = (torch.randn(2, n, 5, generator=torch.Generator().manual_seed(n)) for n in (3 * S, 4))
    y = convolved(x, taps, c, dilation)
    for m in range(2):
        signal = F.pad(x[m].view(3, S, 5).transpose(1, 2), (3 * dilation, 0))
        kernel = taps[m].flip(0).T[:, None]  # torch's last tap is of this position
        expected = F.conv1d(signal, kernel, groups=5, dilation=dilation)
        assert torch.allclose(y[m].view(3, S, 5), expected.transpose(1, 2), atol=1e-6)


@pytest.mark.parametrize("groups", [None, 1])
def test_linear_attention_is_its_recurrence(groups):
    model = dataclasses.replace(PLAIN, mixer="linear", n_kv_heads=groups, n_layers=1)
    gpt, flat = built_model(model)
    w, c = gpt.named(flat), gpt.context(tokens())
    x = torch.randn(1, 3 * S, D, generator=torch.Generator().manual_seed(1))
    found = gpt.blocks[0][0].forward(w, "blocks.0.", x, c).view(3, S, D)
    h = F.layer_norm(x, (D,), w["blocks.0.norm1.weight"][0], w["blocks.0.norm1.bias"][0])
    qkv = (h[0] @ w["blocks.0.qkv.weight"][0] + w["blocks.0.qkv.bias"][0]).double().view(3, S, -1)
    q, k, v = qkv.split([D, *[model.kv_heads * 6] * 2], -1)
    out = torch.zeros(3, S, D, dtype=torch.float64)
    for b, head in itertools.product(range(3), range(2)):
        state, total = torch.zeros(6, 6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
        of_keys = slice(*(6 * (head * model.kv_heads // 2) + i for i in (0, 6)))
        for t in range(S):
            key, query = (
                F.elu(y) + 1 for y in (k[b, t, of_keys], q[b, t, 6 * head : 6 * head + 6])
            )
            state += torch.outer(key, v[b, t, of_keys])
            total += key
            out[b, t, 6 * head : 6 * head + 6] = query @ state / (query @ total)
    expected = out.float() @ w["blocks.0.out.weight"][0] + w["blocks.0.out.bias"][0]
    assert torch.allclose(found, expected, atol=1e-5)


def rows_by_hand(sequence, model, layer, pad):
    """Row numbers of one sequence of input tokens, from the definition, one n-gram at a time."""
    factors = engram.multipliers(model, layer, pad + 1)
    heads = [(n, k) for n in engram.orders(model) for k in range(model.engram_heads)]
    sizes = engram.sizes(model)
    firsts = [sum(sizes[:i]) for i in range(len(sizes))]
    out = []
    for t in range(len(sequence)):
        mixes = {}
        for n in engram.orders(model):
            mix = 0
            for k in range(n):
                mix ^= (sequence[t - k] if t >= k else pad) * factors[k]
            mixes[n] = mix
        out.append(
            [
                mixes[n] % size + first
                for (n, _), size, first in zip(heads, sizes, firsts, strict=True)
            ]
        )
    return out


@pytest.mark.parametrize("name", ["engram", "engram, longer"])
def test_rows_of_n_grams_are_exact(name):
    """64-bit products and XOR as in whole numbers without a limit; every block has other rows."""
    model = MODELS[name]
    ids = torch.randint(0, V + 1, (2, 3, S), generator=torch.Generator().manual_seed(2))
    for layer in (0, 1):
        found = engram_part.hashed(ids, model, layer, V)
        expected = [[rows_by_hand(row, model, layer, V) for row in one] for one in ids.tolist()]
        assert found.tolist() == expected
    assert not torch.equal(found, engram_part.hashed(ids, model, 0, V))
    assert found.min() >= 0 and found.max() < sum(engram.sizes(model))
    large = 2**40  # also of ids that fill a word
    far = torch.tensor([[[large - 1, 5, large - 2]]])
    assert engram_part.hashed(far, model, 1, large).tolist()[0][0] == rows_by_hand(
        far[0, 0].tolist(), model, 1, large
    )


def test_heads_have_distinct_prime_sizes_and_odd_factors():
    assert engram.primes(1, 5) == (2, 3, 5, 7, 11) and engram.primes(24, 2) == (29, 31)
    for layer in (0, 1):
        factors = engram.multipliers(MODELS["engram"], layer, V + 1)
        assert all(f % 2 == 1 and 0 < f * V <= 2**63 - 1 for f in factors)
        assert len(set(factors)) == 3
    # bigrams share rows as chance has it: the number of rows in use, by balls in bins
    model = dataclasses.replace(PLAIN, memory="engram", engram_rows=1009, engram_heads=1)
    pairs = torch.cartesian_prod(torch.arange(V), torch.arange(V)).view(1, -1, 2)
    rows = engram_part.hashed(pairs, model, 0, V)[0, :, 1, 0]
    n, size = V * V, 1009
    empty = size * (1 - 1 / size) ** n
    assert len(rows.unique()) == pytest.approx(size - empty, abs=5 * (n / 4) ** 0.5)


@both
@pytest.mark.parametrize("name", ["stem", "engram", "all"])
def test_rows_have_a_gradient_if_and_only_if_they_are_read(name, bos):
    model = MODELS[name]
    gpt, flat = built_model(model, bos)
    batch = tokens(bos, n=2)
    leaf = flat.requires_grad_()
    (gradient,) = torch.autograd.grad(gpt.nll(leaf, batch).sum(), leaf)
    ids = gpt.context(batch).ids()
    for key, of_table in gpt.named(gradient).items():
        if key.endswith("engram.rows.weight"):
            read = engram_part.hashed(ids, model, int(key.split(".")[1]), V).unique()
        elif key.endswith("rows.weight"):
            read = ids.unique()
            assert len(read) < len(of_table[0])
        else:
            continue
        moved = of_table[0].abs().sum(1).nonzero()[:, 0]
        assert torch.equal(moved, read), key


# Causality and company


@both
@forms
def test_what_a_part_adds_comes_from_this_position_and_those_before(name, bos):
    """By the gradient of the hidden states, one part at a time."""
    gpt, flat = built_model(MODELS[name], bos)
    w, batch = gpt.named(flat), tokens(bos, n=1)
    for layer, parts in enumerate(gpt.blocks):
        for part in parts:
            c = gpt.context(batch)
            x = torch.randn(1, S, D, generator=torch.Generator().manual_seed(3)).requires_grad_()
            y = part.forward(w, f"blocks.{layer}.", x, c)[0]
            for t in range(S):
                (gradient,) = torch.autograd.grad(y[t].square().sum(), x, retain_graph=True)
                reached = gradient[0].abs().sum(-1) > 0
                assert reached[t] and not reached[t + 1 :].any()


@both
@forms
def test_no_prediction_sees_its_target_or_a_later_token(name, bos):
    """By swapping tokens: a look-up has no gradient."""
    gpt, flat = built_model(MODELS[name], bos)
    batch = tokens(bos)
    before = gpt.logits(flat, batch)
    for t in (0, 3, S - 1):
        other = batch.clone()
        at = t if bos else t + 1
        other[..., at:] = torch.randint(1, V, other[..., at:].shape)
        other[..., at] = batch[..., at] % (V - 1) + 1
        after = gpt.logits(flat, other)
        assert torch.equal(before[:, :, : t + 1], after[:, :, : t + 1])
        assert t == S - 1 or not torch.allclose(before[:, :, t + 1 :], after[:, :, t + 1 :])


@both
@forms
def test_a_member_is_its_solo_model_bit_for_bit(name, bos):
    gpt, flat = built_model(MODELS[name], bos, seeds=(3, 4))
    flat, batch = flat.requires_grad_(), tokens(bos, members=2)
    together = gpt.nll(flat, batch)
    (gradient,) = torch.autograd.grad(gpt.loss(flat, batch).sum(), flat)
    for m in range(2):
        solo = flat[m : m + 1].detach().requires_grad_()
        assert torch.allclose(together[m], gpt.nll(solo, batch[m : m + 1])[0], atol=1e-5)
        (expected,) = torch.autograd.grad(gpt.loss(solo, batch[m : m + 1]).sum(), solo)
        assert torch.allclose(gradient[m], expected[0], atol=1e-5, rtol=1e-3)


# banks of sequences, refused beside a mask of documents, see the start of their row
@pytest.mark.parametrize("name", [name for name in MODELS if name != "banks"])
def test_documents_that_are_kept_apart_do_not_see_each_other(name):
    """A document scores the same alone and behind another one, but for its place."""
    model = dataclasses.replace(MODELS[name], document_mask=True)
    gpt, flat = built_model(model, bos=False)
    named = gpt.named(flat)
    named["position.weight"].zero_()
    first = torch.tensor([[[5, 3, 8, 0, 7, 9, 2, 4, 8, 6]]])
    changed = first.clone()
    changed[..., :3] = torch.tensor([9, 9, 1])
    assert torch.equal(gpt.nll(flat, first)[..., 3:], gpt.nll(flat, changed)[..., 3:])
    alone = gpt.nll(flat, first[..., 3:])
    assert torch.allclose(gpt.nll(flat, first)[..., 3:], alone, atol=1e-5)
