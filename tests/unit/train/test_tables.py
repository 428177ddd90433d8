"""Tables of parts: their own learning rate and gradient norm, and what else a step does with parts:
taken down once, interrupted and resumed, rounded while it trains and afterwards, on ranks."""

import dataclasses

import pytest
import torch

from capacity import counts, naming, records
from capacity.cli.dry_run import describe
from capacity.compose import load
from capacity.config import from_dict
from capacity.edits.quantize import quantize
from capacity.export import forms
from capacity.measure.quantization import storage
from capacity.model.gpt import GPT
from capacity.parts import registry
from capacity.settings.quantize import Spec
from capacity.train import loop
from capacity.train.loop import Stack, advance, gradient
from capacity.train.optim import Gradient, Tables, Weights, adamw
from stack_members import CPU, run, traced, trained
from threads_as_ranks import equal
from threads_as_ranks import trained as on_ranks

SMALL = {"engram_rows": 11, "engram_width": 4}
PARTS = {
    "engram": {"memory": "engram", "memory_layers": [1], **SMALL},
    "lstm": {"mixer": "lstm"},
    "stem": {"channel": "stem", "activation": "silu"},
    "experts": {
        "n_experts": 5,
        "top_k": 2,
        "mlp_ratio": 1,
        "n_shared": 1,
        "expert_rounds": 2,
        "router_shift": 0.01,
        "router_z": 0.001,
    },
    "keys": {"channel": "keys", "keys_side": 4, "keys_choices": 2},
    "peer": {
        "channel": "keys",
        "keys_side": 4,
        "keys_choices": 2,
        "keys_expert": True,
        "keys_shared": True,
    },
    "banks": {"channel": "banks", "banks_units": [3, 2], "mlp": "gated"},
    "canon": {"canon": "ABCD"},
    "low rank": {"map_rank": 3, "n_kv_heads": 1},
    "linear": {"mixer": "linear"},
    "gla": {"mixer": "gla", "mixer_key": 3},
    "ssd": {"mixer": "ssd", "mixer_conv": True},
    "delta": {"mixer": "delta", "mixer_decay": True, "mixer_gate": True},
    "titans": {"mixer": "titans", "mixer_conv": True},
    "all": {"memory": "engram", "channel": "stem", "canon": "ABCD", "mixer": "linear", **SMALL},
}
parts = pytest.mark.parametrize("part", PARTS)


def config(seed=0, part="engram", precision="fp32", **train):
    return from_dict(
        {
            "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 30},
            "model": {"n_layers": 2, "d_model": 8, "n_heads": 2} | PARTS[part],
            "seed": seed,
            "train": {"steps": 40, "batch_size": 8, "warmup_steps": 5, "precision": precision}
            | train,
        }
    )


def table_of(stack):
    return stack.gpt.table_mask() > 0


# An own pace


def test_the_factor_of_the_learning_rate_moves_tables_and_nothing_else():
    """One step from equal states: AdamW's update and weight decay are proportional to the rate."""
    moved = []
    for factor in (1.0, 3.0):
        stack, state = trained([config(part="stem", table_lr=factor, weight_decay=0.1)], 1)
        moved.append((state.flat_MP - stack.start().flat_MP)[0])
    mask = table_of(stack)
    assert torch.equal(moved[0][~mask], moved[1][~mask])
    read = mask & (moved[0] != 0)
    # a step of about 0.004 of weights of about 0.2, each rounded twice by 2^-24 of the weight
    assert torch.allclose(moved[1][read], 3 * moved[0][read], rtol=1e-4, atol=2e-7)
    assert read.sum() > 100


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_member_with_the_usual_pace_is_the_same_beside_one_with_its_own(optimizer):
    usual, own = config(0, optimizer=optimizer), config(1, optimizer=optimizer, table_lr=5.0)
    stack, both = trained([usual, own], 6)
    assert stack.tables is not None
    for m, one in enumerate((usual, own)):
        alone_stack, alone = trained([one], 6)
        assert (alone_stack.tables is None) == (m == 0)
        assert torch.allclose(both.flat_MP[m], alone.flat_MP[0], atol=1e-5)


def by_hand(grad_MP, tables, clip, own, mask):
    """A member's clipped gradient, from the definition."""
    scale = torch.ones_like(grad_MP)
    sides = [torch.ones_like(mask)] if own is None else [~mask, mask]
    for side, most in zip(sides, [clip, own], strict=False):
        norm = float(grad_MP[side].double().norm())
        if most:
            scale[side] = min(1.0, most / (norm + 1e-6))
    return grad_MP * scale


@pytest.mark.parametrize("clip, own", [(0.1, None), (0.1, 0.02), (0.1, 0.0), (0.0, 0.02), (9, 9)])
def test_tables_are_clipped_by_themselves_where_it_is_asked(clip, own):
    """The first moment after one step is (1 - beta1) of the clipped gradient."""
    members = [config(0, grad_clip=clip, table_clip=own), config(1, table_lr=2.0)]
    stack = Stack(members, CPU)
    state = stack.start()
    (batch,) = stack.feed.chunk(state.cursor_MC, 0, 1)
    _, grad_MP = gradient(stack, state.flat_MP, batch)
    mask = table_of(stack)
    expected = [
        by_hand(grad_MP[0], True, clip, own, mask),
        by_hand(grad_MP[1], True, 1.0, None, mask),
    ]
    advance(stack, state, 1, lambda: False)
    for m, clipped in enumerate(expected):
        assert torch.allclose(state.m_MP[m], 0.1 * clipped, rtol=1e-4, atol=1e-9)


def test_without_an_own_pace_nothing_is_done():
    mask = GPT(config().model, 16, 8).table_mask()
    assert Tables.of([config().train], mask) is None
    weights = Weights(*(torch.zeros(1, 4) for _ in range(3)), torch.zeros(4))
    assert weights.paced(torch.ones(1, 1)).shape == (1, 1)


# What else a step does with parts


@parts
def test_a_step_taken_down_once_is_every_step(part):
    """What a CUDA graph needs, with members of different pace."""
    tables = registry.has_tables(config(0, part).model)
    own = {"table_lr": 3.0, "table_clip": 0.1} if tables else {}
    configs = [config(0, part, "bf16", **own), config(1, part, "bf16", lr=0.003)]
    _, plain = trained(configs, 5)
    _, replayed = trained(configs, 5, stepper=traced)
    for name in loop.CHANGED:
        assert torch.equal(getattr(plain, name), getattr(replayed, name)), name
    assert plain.alive_M.all()


@pytest.mark.parametrize("part", ["all", "keys", "peer", "delta", "experts"])
def test_an_interrupted_run_ends_bit_identical(tmp_path, part):
    one = config(
        0, part, **({} if part in ("delta", "experts") else {"table_lr": 3.0, "table_clip": 0.1})
    )
    calls = iter(range(10**6))
    assert run([one], tmp_path / "b", stop=lambda: next(calls) > 30) != {one.run_id: "finished"}
    for where in "ab":
        assert run([one], tmp_path / where) == {one.run_id: "finished"}
    a, b = (records.run_dir(tmp_path / where, one.run_id) for where in "ab")
    assert (a / "weights.safetensors").read_bytes() == (b / "weights.safetensors").read_bytes()
    record = records.read(tmp_path / "a", one.run_id)
    counted = record["parameters"]
    assert counted["idle"] == counted["total"] - counted["active"]
    assert (counted["idle"] > 0) == (part != "delta")
    assert counted["idle"] == counts.idle_parameters(one.model, 16, True)


@pytest.mark.parametrize(
    "train",
    [
        {"table_lr": 3.0, "table_clip": 0.05},
        {"table_clip": 0.05, "grad_clip": 0.01, "optimizer": "muon"},
        {"table_lr": 0.5, "precision": "fp16"},
    ],
    ids=str,
)
def test_bits_do_not_depend_on_ranks(train):
    configs = [config(seed, "all", **train) for seed in (0, 1)]
    (one,) = on_ranks(configs, 1, steps=3)
    assert one.alive_M.all()
    assert all(equal(state, one) for state in on_ranks(configs, 2, steps=3))
    # the tree of ranks sums in another order than one process does
    _, alone = trained(configs, 3)
    assert torch.allclose(one.flat_MP, alone.flat_MP, atol=2e-3 if "precision" in train else 1e-4)


# Rounded weights


@parts
@pytest.mark.parametrize("tables", [False, True])
def test_weights_that_are_trained_quantized_have_few_values(part, tables):
    c = config(0, part, qat="int3", qat_embeddings=tables)
    stack, state = trained([c], 2)
    gpt = stack.gpt
    used = gpt.named(gpt.used(state.flat_MP[0])[None])
    for w in gpt.layout:
        one = used[w.name][0]
        if w.is_map:
            assert max(len(column.unique()) for column in one.mT.flatten(0, -2)) <= 8, w.name
        elif tables and w.kind == "table":
            assert max(len(row.unique()) for row in one) <= 8, w.name
        elif w.kind == "table" or "canon" in w.name or "norm" in w.name:
            assert torch.equal(one, one.bfloat16().float()), w.name
    coded = storage(gpt, c.train)["quantized"]
    mine = {w.name for w in gpt.layout if w.kind == "table"}
    assert (mine <= set(coded)) == (tables or not mine)


@parts
@pytest.mark.parametrize("method, embeddings", [("rtn", True), ("gptq", False)])
def test_every_map_of_a_part_is_rounded_afterwards(part, method, embeddings):
    c = config(0, part)
    gpt = GPT(c.model, 16, 8)
    flat = gpt.init([0])[0] * 5
    rows = torch.randint(16, (20, 8), generator=torch.Generator().manual_seed(0))
    spec = Spec(method, 3, False, "row", None, embeddings, "fp16", "bf16", 20, 0.01, False)
    after, told, stored = quantize(gpt, flat, rows, spec)
    coded = {w.name for w in gpt.layout if w.is_map}
    tables = {"token.weight", "position.weight"} | {w.name for w in gpt.layout if w.kind == "table"}
    assert {name for name, about in told.items() if about} == coded | (
        tables if embeddings else set()
    )
    bits = 0
    for w, size in zip(gpt.layout, gpt.sizes, strict=True):
        if not told[w.name]:
            bits += 16 * size
            continue
        outputs = size // w.shape[-2] if w.is_map else w.shape[0]
        bits += 3 * size + outputs * (16 + 3)
        assert 0 < told[w.name]["weight_error"] < 0.5
        if w.is_map:
            assert told[w.name]["output_error"] > 0, w.name
    assert stored == bits
    assert not torch.equal(after, flat)


def test_groups_have_to_divide_what_a_memory_reads():
    with pytest.raises(ValueError, match="divide model.engram_width=3"):
        load(
            [
                *"model=engram model.engram_width=3 data.n_sequences=40 train.steps=300".split(),
                "quantize.methods=[rtn]",
                "quantize.granularity=[group]",
                "quantize.group_size=[4]",
                "data.load=null",
            ]
        )


@pytest.mark.parametrize("part", [part for part in PARTS if part != "low rank"])
def test_an_export_names_what_transformers_does_not_have(part):
    with pytest.raises(
        ValueError, match="model.(memory|channel|canon|mixer|n_experts)=.*cannot be exported"
    ):
        forms.check(config(0, part))


def test_gradient_of_some_columns_only_is_clipped_by_the_whole_norms():
    """As ranks have it: norms come from elsewhere."""
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0])
    members = [dataclasses.replace(config().train, grad_clip=1.0, table_clip=2.0, table_lr=1.0)]
    tables = Tables.of(members, mask)
    assert tables is not None
    stack = Stack([config()], CPU)
    weights = Weights(*(torch.zeros(1, 4) for _ in range(3)), torch.zeros(4), tables)
    grad = Gradient(
        torch.ones(1, 4), torch.ones(1), None, torch.tensor([50.0]), torch.tensor([[10.0, 40.0]])
    )
    now = torch.tensor([[1.0, 0.1, 0.0, 1.0, 0.1]])
    adamw(weights, grad, stack.hyper, now, torch.tensor([True]))
    assert torch.allclose(weights.m_MP, 0.1 * torch.tensor([[0.1, 0.1, 0.05, 0.05]]), rtol=1e-4)


def test_a_plan_says_what_a_token_uses(tmp_path):
    c = config(part="stem")
    told = " ".join(" ".join(describe(c, tmp_path)).split())
    active, idle = c.parameters["active"], c.idle_parameters
    assert f"uses {active:,} of the parameters, of which {2 * 32:,} are rows of tables" in told
    assert f"{idle:,} are idle" in told and active + idle == c.parameters["total"]
    assert "idle" not in " ".join(describe(config(part="canon"), tmp_path))


def test_a_part_is_in_the_name_of_a_run_and_of_no_published_form():
    runs = [config(part=part) for part in ("engram", "canon")]
    plain = dataclasses.replace(runs[1], model=dataclasses.replace(runs[1].model, canon=""))
    rows = [naming.settings(run) for run in (plain, *runs)]
    assert [naming.architecture(row) for row in rows] == ["GPT2", "", ""]
    before = {key: value for key, value in rows[0].items() if key != "model.canon"}
    assert naming.architecture(before) == "GPT2"  # a table from before there was such a setting
    names = naming.of_runs([plain, *runs])
    assert len(set(names)) == 3 and "engram" in names[1] and "ABCD" in names[2]
