"""Which rows of tables, and which experts, a model reads: held against rows with a gradient."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from capacity.compose import load
from capacity.declare import registry as declared
from capacity.measure import registry, tables
from capacity.model.gpt import GPT
from capacity.settings.model import Model
from capacity.train.loop import Stack

V, S = 19, 7
PLAIN = Model(n_layers=2, d_model=8, n_heads=2)
FORMS = {
    "stem": ({"channel": "stem", "channel_layers": (1,)}, "1 stem", "rows.", 1),
    "keys": (
        {"channel": "keys", "channel_layers": (0,), "keys_side": 12, "keys_width": 4},
        "0 keys",
        "rows.",
        8,
    ),
    "engram": (
        {"memory": "engram", "memory_layers": (1,), "engram_rows": 31, "engram_width": 3},
        "1 engram",
        "engram.rows.",
        4,
    ),
    "experts": (
        {"n_experts": 6, "top_k": 2, "eval_capacity_factor": 9.0},
        "1 experts",
        "experts.",
        2,
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_rows_that_are_read_are_those_with_a_gradient(name):
    form, table, weight, each = FORMS[name]
    model = dataclasses.replace(PLAIN, **form)
    gpt = GPT(model, V, S, bos=True)
    flat = gpt.init([3])[0] * 3
    rows = torch.randint(2, V, (3, S), generator=torch.Generator().manual_seed(1))
    counted = tables.reads(gpt, flat, rows, torch.float32, batch_tokens=2 * S)
    flat_P = flat.clone().requires_grad_()
    gpt.nll(flat_P[None], rows[None]).sum().backward()
    named = gpt.named(flat_P.grad[None])
    at = f"blocks.{table.split()[0]}."
    own = next(t for key, t in named.items() if key.startswith(f"{at}{weight}"))
    moved_R = own[0].flatten(1).abs().sum(1) > 0
    assert ((counted[table] > 0) == moved_R).all()
    assert int(counted[table].sum()) == rows.numel() * each
    assert 0 < int(moved_R.sum()) < len(moved_R) or name == "experts"


def test_share_and_divergence_by_hand():
    hits = torch.tensor([6, 2, 0, 0])
    found = tables.used(hits, 4)
    assert found["read"] == 0.5
    assert found["kl_bits"] == pytest.approx(0.75 * math.log2(3) + 0.25 * math.log2(1))
    assert tables.used(torch.tensor([5, 5]), 2) == {"read": 1.0, "kl_bits": 0.0}
    assert tables.used(torch.tensor([7, 0]), 2) == {"read": 0.5, "kl_bits": 1.0}


SETTINGS = ["model.d_model=8", "model.n_heads=2", "train=adamw", "train.exposures=2"]


@pytest.mark.parametrize(
    "data", [["data=uniform", "data.n_sequences=30"], ["data=bios_pocket", "data.n_people=30"]]
)
def test_a_record_has_the_measure_where_a_model_has_tables(data):
    small = [*data, *SETTINGS, "train.warmup_steps=0"]
    stack = Stack([load([*small, "model=stem"])], torch.device("cpu"))
    flat_P = stack.gpt.init([0])[0]
    parts, _ = registry.measure_all(stack, flat_P, 0, registry.Asked(Path("none"), []))
    part = parts["tables"]
    (one,) = part["tables"].values()
    run = stack.configs[0]
    assert one["rows"] == run.resolved.used_rows + run.data.bos
    assert (
        part["read"] == one["read"] > 0.5
        and part["tokens"] >= 0.9 * run.items * run.resolved.tokens_per_item
    )
    columns = {declared.column(v): v.value for v in declared.numbers({"tables": part})}
    assert columns["rows_read"] == part["read"] and columns["rows_kl_bits"] == part["kl_bits"]
    assert "rows, " in declared.MEASURES["tables"].lines(part, {})[1]
    plain = Stack([load([*small, "model=gpt", "model.n_layers=2"])], torch.device("cpu"))
    parts, _ = registry.measure_all(
        plain, plain.gpt.init([0])[0], 0, registry.Asked(Path("none"), [])
    )
    assert "tables" not in parts
