"""Memory of stacks: the formula against the tensors of a traced step, tables, shares of a GPU."""

import dataclasses
import math
import types

import pytest
import torch

import live_memory
from capacity import counts
from capacity.base import hardware
from capacity.config import from_dict
from capacity.cost import GUESSES, STREAM_TOKENS, stack_bytes, table_bytes
from capacity.feed import feed
from capacity.run import run as running
from capacity.run.job import Job
from capacity.sweep import plan
from stack_members import CPU, PEOPLE

GPT = {"n_layers": 4, "d_model": 64, "n_heads": 4}
ROTARY = {**GPT, "position": "rotary"}
LLAMA = {
    **ROTARY,
    "norm": "rmsnorm",
    "mlp": "gated",
    "activation": "silu",
    "mlp_ratio": 8 / 3,
    "bias": False,
    "tied": False,
}
SHAPES = {
    "gpt": GPT,
    "one layer": {**GPT, "n_layers": 1},
    "rotary": ROTARY,
    "llama": LLAMA,
    "mistral": {**LLAMA, "n_kv_heads": 1, "mlp_ratio": 3.5},
    "no mlp": {**GPT, "mlp_ratio": 0.0},
    "moe": {**ROTARY, "n_experts": 4, "mlp_ratio": 1.0},
    "shared experts": {
        **ROTARY,
        "n_experts": 4,
        "mlp_ratio": 1.0,
        "n_shared": 1,
        "expert_rounds": 2,
        "router_shift": 0.01,
    },
    "parts": {**GPT, "memory": "engram", "canon": "ABCD"},
    "keys": {**GPT, "channel": "keys"},
    "peer, twice": {**GPT, "channel": "keys", "keys_expert": True, "loops": 2},
    "banks": {**LLAMA, "channel": "banks", "banks_units": [32, 16]},
    "low rank": {**LLAMA, "map_rank": 16},
    "other parts": {**GPT, "channel": "stem", "mixer": "linear"},
    "based": {**GPT, "mixer": "based"},
    "gla": {**GPT, "mixer": "gla", "mixer_gate": True},
    "ssd": {**GPT, "mixer": "ssd", "mixer_conv": True},
    "lstm": {**GPT, "mixer": "lstm"},
    "titans": {**GPT, "mixer": "titans"},
    "delta": {**GPT, "mixer": "delta", "mixer_decay": True},
}


def stack(shape, precision="fp32", *, vocab=256, length=64, batch=32, **train):
    return [
        from_dict(
            {
                "data": {"vocab_size": vocab, "seq_len": length, "n_sequences": 50},
                "model": shape,
                "train": {"steps": 1000, "batch_size": batch, "precision": precision} | train,
                "seed": seed,
            }
        )
        for seed in (0, 1)
    ]


def planned(configs):
    """Of a step on a GPU, without the copy of the state that is kept while it is recorded."""
    first = configs[0]
    weights = len(configs) * first.parameters["total"]
    return (
        counts.memory_bytes(
            first.model, first.rows, first.data.seq_len, first.train, len(configs), "cuda"
        )
        - 12 * weights
    )


PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


@pytest.mark.parametrize(
    "name, precision",
    [  # each shape in two precisions of different width, each precision with half of the shapes
        (name, precision)
        for i, name in enumerate(SHAPES)
        for precision in (PRECISIONS[i % 2], PRECISIONS[2 + i // 2 % 2])
    ],
)
def test_activations_are_planned_within_a_quarter_in_every_precision(monkeypatch, name, precision):
    configs = stack(SHAPES[name], precision)
    assert planned(configs) == pytest.approx(live_memory.of_step(configs, monkeypatch), rel=0.25)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_blocks_of_documents_are_planned_within_a_quarter(monkeypatch, precision):
    """They are fetched for every token. (Random tokens have no documents; a step asks no check.)"""
    configs = [
        dataclasses.replace(one, model=dataclasses.replace(one.model, banks_of="document"))
        for one in stack({**GPT, "channel": "banks", "banks_units": [4]}, precision)
    ]
    assert planned(configs) == pytest.approx(live_memory.of_step(configs, monkeypatch), rel=0.25)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"vocab": 4096, "length": 64, "batch": 32},  # the head's logits are most of it
        {"vocab": 64, "length": 8, "batch": 1},  # the optimizer
        {"vocab": 2048, "length": 8, "batch": 8},  # the table of tokens
    ],
    ids=str,
)
def test_what_is_most_of_it_is_planned_within_a_quarter(monkeypatch, sizes, precision):
    configs = stack(GPT, precision, **sizes)
    assert planned(configs) == pytest.approx(live_memory.of_step(configs, monkeypatch), rel=0.25)


def test_weights_rounded_at_random_are_planned_within_a_quarter(monkeypatch):
    configs = stack(GPT, vocab=64, length=8, batch=1, weights="bf16_stochastic")
    assert planned(configs) == pytest.approx(live_memory.of_step(configs, monkeypatch), rel=0.25)


def test_numbers_of_two_bytes_take_less():
    """Every activation but the norms' is half as large; fp16 forms fewer logits at once."""
    sizes = {p: planned(stack(GPT, p, batch=512)) for p in ("fp32", "bf16", "fp16")}
    assert 0.5 < sizes["bf16"] / sizes["fp32"] < 0.75 and sizes["fp16"] < sizes["bf16"]


# What it is trained on


def test_every_member_has_a_table_of_its_own():
    (run, _) = stack(GPT)
    large = dataclasses.replace(run, data=dataclasses.replace(run.data, n_sequences=4_000_000))
    table = large.items * 64 * 4
    assert table_bytes(large) == table > 1e9
    for members in (1, 8):
        more = stack_bytes(large, members, "cuda") - stack_bytes(run, members, "cuda")
        assert more == pytest.approx(members * (table - table_bytes(run)), rel=1e-6)
    fed = feed.TableFeed(stack(GPT), CPU).tokens
    assert fed.numel() * fed.element_size() == 2 * table_bytes(run)


def test_a_stream_is_rendered_in_chunks():
    run = from_dict(
        {"data": PEOPLE, "model": {"d_model": 8, "n_heads": 2}, "train": {"steps": 1000}}
    )
    assert STREAM_TOKENS == feed.CHUNK_TOKENS
    assert table_bytes(run) == 8 * STREAM_TOKENS


# Shares of a GPU


@pytest.mark.parametrize(
    "workers, gpus, each", [(1, 1, 1), (2, 2, 1), (2, 1, 2), (5, 2, 3), (1, 4, 1)]
)
def test_workers_of_one_gpu_share_its_memory(monkeypatch, workers, gpus, each):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: types.SimpleNamespace(
            total_memory=(100 + int(str(device)[-1] == "0")) * 1e9
        ),
    )
    smallest = 100e9 if gpus > 1 else 101e9
    assert hardware.room("cuda", workers) == pytest.approx(0.8 * smallest / each)


def test_a_worker_cuts_its_batch_to_its_share(monkeypatch, tmp_path):
    configs = stack(GPT, batch=512)
    needed = stack_bytes(configs[0], 2, "cuda")
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: types.SimpleNamespace(total_memory=1.01 * needed / 0.8),
    )

    def parts(sharers):
        return running._parts(configs, Job(tmp_path, torch.device("cuda"), sharers=sharers))

    assert parts(1) == 1 and parts(2) in (2, 4) and parts(4) > parts(2)


@pytest.mark.parametrize(
    "asked, gpus, each",
    [
        ({"gpus": 1}, 1, 1),
        ({"gpus": 2}, 2, 1),
        ({"gpus": 1, "workers": 4}, 1, 4),
        ({"gres": "gpu:a100:2", "workers": 4}, 2, 2),
        ({"gres": "gpu:a100", "workers": 4}, 1, 4),
        ({"gres": "gpu:1"}, 1, 1),
    ],
    ids=str,
)
def test_workers_of_an_array_element_share_its_gpus(asked, gpus, each):
    cluster = dataclasses.replace(stack(GPT)[0].cluster, **asked)
    assert plan.gpus_asked(cluster) == gpus and plan.sharers(cluster) == each


# Stacks of a queue with GPUs


def test_a_guess_cuts_no_stack_of_a_queue_with_gpus():
    """By memory alone, unless the speed was measured, or runs ran out of time before."""
    cluster = dataclasses.replace(stack(GPT)[0].cluster, gpus=1, pack_minutes=1e-6, time="10")
    limits = plan.Limits(most=16, device="cuda", memory=1e12)
    measured = dataclasses.replace(GUESSES["cuda"], source="measured")
    slow = dataclasses.replace(limits, speed=measured)
    tries = [
        plan._Try((1, 1), cluster, limits),
        plan._Try((1, 1), cluster, slow),
        plan._Try((2, 1), cluster, limits),
        plan._Try((1, 1), cluster, plan.Limits(most=16)),
    ]
    assert [tried.longest_s == math.inf for tried in tries] == [True, False, False, False]
    runs = stack(GPT)
    jobs = [plan._array_job("s", None, runs, tried, set()) for tried in tries]
    sizes = [[len(s) for pack in job.packs for s in pack.stacks] for job in jobs]
    assert sizes == [[2], [1, 1], [1, 1], [1, 1]]
