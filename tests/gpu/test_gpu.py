"""What only a CUDA device can show: `make gpu-check` runs this file where there is one, without
hydra and without a network.

Everything here compares with the CPU, whose numbers the other tests check.
"""

import dataclasses
import math

import pytest
import torch

from capacity import counts
from capacity.config import from_dict
from capacity.edits.quantize import quantize
from capacity.feed.feed import StreamFeed
from capacity.feed.stream import MemberStream
from capacity.model.gpt import GPT
from capacity.model.numerics import tf32, to_bf16
from capacity.settings.model import Model
from capacity.settings.quantize import Spec
from capacity.train import loop
from capacity.train.loop import Stack, advance
from gpu_models import CPU, CUDA, MODELS, PEOPLE, config
from stacks import trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_those_of_the_cpu(name, bos):
    gpt = GPT(dataclasses.replace(MODELS[name], document_mask=not bos), 23, 7, bos)
    flat = gpt.init([0, 1]) * 4.0
    batch = torch.randint(0, 23, (2, 5, 7 + (not bos)), generator=torch.Generator().manual_seed(0))
    results = []
    for device in (CPU, CUDA):
        leaf = flat.to(device).requires_grad_()
        (gradient,) = torch.autograd.grad(gpt.loss(leaf, batch.to(device)).sum(), leaf)
        results.append((gpt.nll(leaf, batch.to(device)).detach().cpu(), gradient.cpu()))
        assert torch.isfinite(gpt.loss(leaf, batch.to(device), torch.bfloat16)).all()
    assert torch.allclose(results[0][0], results[1][0], atol=1e-4)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-4, rtol=1e-2)


# Relative differences of losses and gradients between CPU and CUDA that
# docs/explanation/limits.md allows for
FORMATS = {
    "tf32": ({"precision": "tf32"}, 2e-3),
    "fp16": ({"precision": "fp16"}, 2e-2),
    "bf16": ({"precision": "bf16"}, 1e-1),
    "weights": ({"weights": "bf16_stochastic"}, 1e-3),
    "int8": ({"qat": "int8", "qat_embeddings": True}, 1e-2),
    "int4": ({"qat": "int4"}, 1e-2),
    "ternary": ({"qat": "ternary", "qat_embeddings": True}, 1e-2),
    "binary": ({"qat": "binary"}, 1e-2),
}


@pytest.mark.parametrize("name", ["gpt", "llama", "moe"])
@pytest.mark.parametrize("form", FORMATS)
def test_formats_are_those_of_the_cpu(form, name):
    train, tolerance = FORMATS[form]
    results = []
    for device in (CPU, CUDA):
        stack = Stack([config(0, name, **train), config(1, name, **train)], device)
        state = stack.start()
        state.flat_MP.mul_(4.0)
        tokens = torch.randint(0, 50, (2, 8, 16), generator=torch.Generator().manual_seed(0)).to(
            device
        )
        scale_M = torch.full((2,), 2.0**10, device=device) if stack.scaled else None
        loss_M, grad_MP = loop.gradient(stack, state.flat_MP, tokens, scale_M)
        results.append((loss_M.cpu(), grad_MP.cpu()))
    (loss, grad), (loss_cuda, grad_cuda) = results
    assert torch.allclose(loss, loss_cuda, rtol=tolerance)
    assert float((grad - grad_cuda).norm() / grad.norm()) < tolerance


def test_stochastic_rounding_is_that_of_the_cpu():
    x = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    key, step = torch.tensor([[5], [6]]), torch.full((2, 1), 12345)
    here = to_bf16(x, "bf16_stochastic", key, step)
    assert torch.equal(here, to_bf16(x.cuda(), "bf16_stochastic", key.cuda(), step.cuda()).cpu())
    assert torch.equal(tf32(x), tf32(x.cuda()).cpu())


@pytest.mark.parametrize("name", ["gpt", "llama", "moe"])
@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_quantization_after_training_is_that_of_the_cpu(method, name):
    """Maps of rounded weights are equal but for weights within rounding of the middle between two
    codes."""
    gpt = GPT(MODELS[name], 50, 16)
    flat = gpt.init([0])[0] * 4.0
    rows = torch.randint(0, 50, (64, 16), generator=torch.Generator().manual_seed(0))
    spec = Spec(
        method,
        4,
        False,
        "row",
        None,
        True,
        "fp16",
        "bf16",
        64,
        *((0.01, False) if method == "gptq" else (None, None)),
    )
    here, _, stored = quantize(gpt, flat, rows, spec)
    there, _, stored_there = quantize(gpt, flat.cuda(), rows.cuda(), spec)
    assert stored == stored_there
    assert (here != there.cpu()).float().mean() < (1e-3 if method == "rtn" else 2e-2)
    nll, nll_there = gpt.nll(here[None], rows[None]), gpt.nll(there[None], rows[None].cuda()).cpu()
    assert torch.allclose(nll.mean(), nll_there.mean(), rtol=1e-3 if method == "rtn" else 1e-2)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "tf32"])
@pytest.mark.parametrize("kind", ["uniform", "people"])
@pytest.mark.parametrize("name", MODELS)
def test_a_cuda_graph_does_what_the_plain_step_does(name, kind, precision, optimizer):
    configs = [
        config(0, name, kind, precision=precision, optimizer=optimizer),
        config(
            1,
            name,
            kind,
            precision=precision,
            optimizer=optimizer,
            steps=40,
            lr=0.005,
            weight_decay=0.1,
        ),
    ]
    _, plain = trained(configs, 30, CUDA, stepper=loop.plain)
    _, graph = trained(configs, 30, CUDA)
    loose = 2e-2 if precision in ("bf16", "fp16") or optimizer == "muon" else 1e-3
    assert torch.equal(plain.alive_M, graph.alive_M) and torch.equal(
        plain.dead_step_M, graph.dead_step_M
    )
    assert torch.allclose(plain.flat_MP, graph.flat_MP, atol=loose)
    assert torch.allclose(plain.loss_sum_M, graph.loss_sum_M, rtol=loose)


def test_a_graph_freezes_what_fails_and_goes_on_after_others_left():
    configs = [config(0), config(1, lr=1e30, grad_clip=0.0), config(2)]
    _, state = trained(configs, 20, CUDA)
    assert state.alive_M.tolist() == [True, False, True] and 1 <= int(state.dead_step_M[1]) <= 10
    assert torch.isfinite(state.flat_MP).all()
    left = Stack([configs[0], configs[2]], CUDA)
    after = state.select([0, 2])
    advance(left, after, 40, lambda: False)
    _, whole = trained([configs[0], configs[2]], 40, CUDA)
    assert torch.allclose(after.flat_MP, whole.flat_MP, atol=1e-3)


@pytest.mark.parametrize("precision, tolerance", [("fp32", 0.02), ("bf16", 0.1)])
def test_training_ends_where_it_ends_on_a_cpu(precision, tolerance):
    configs = [config(seed, precision=precision) for seed in (0, 1)]
    losses = []
    for device in (CPU, CUDA):
        stack, state = trained(configs, 300, device)
        rows = [stack.feed.member_tokens(m).long() for m in range(2)]
        losses.append(
            [
                float(
                    stack.gpt.nll(state.flat_MP[m : m + 1], rows[m][None], stack.dtype)
                    .double()
                    .mean()
                )
                for m in range(2)
            ]
        )
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"biographies": 3, "order": "pairs"},
        {"other_people": 70, "other_parts": 3, "tag": "main"},
        {"other_people": 70, "other_parts": 3, "windows": "mixed"},
    ],
    ids=str,
)
def test_the_same_windows_are_rendered_on_both_devices(changes):
    c = from_dict({"data": PEOPLE | changes, "train": {"steps": 1000}})
    ours, theirs = (MemberStream(c, device) for device in (CPU, CUDA))
    assert torch.equal(ours.windows([0] * 4, 0, 300), theirs.windows([0] * 4, 0, 300).cpu())
    assert ours.cursor_at(211) == theirs.cursor_at(211)


@pytest.mark.parametrize("changes", [{}, {"other_people": 70, "other_parts": 3}], ids=str)
def test_members_rendered_together_on_the_device_read_what_each_reads_on_a_cpu(changes):
    c = [
        from_dict({"data": PEOPLE | changes, "train": {"steps": 60, "batch_size": 4}, "seed": seed})
        for seed in range(5)
    ]
    together = StreamFeed(c, CUDA)
    assert together.groups == [[0, 1, 2, 3, 4]]
    rows = torch.stack(list(together.chunk(torch.zeros(5, 4, dtype=torch.int64), 0, 60))).cpu()
    for m in range(5):
        alone = StreamFeed([c[m]], CPU).chunk(torch.zeros(1, 4, dtype=torch.int64), 0, 60)
        assert torch.equal(rows[:, m : m + 1], torch.stack(list(alone)))


@pytest.mark.parametrize("members, batch, length", [(1, 12, 512), (8, 12, 512), (64, 64, 32)])
def test_memory_is_predicted(members, batch, length):
    """Within a factor of two above what is taken, and hardly below."""
    model = Model(n_layers=2, d_model=128, n_heads=2, position="rotary")
    configs = [
        from_dict(
            {
                "data": {"vocab_size": 3275, "seq_len": length, "n_sequences": 200},
                "model": dataclasses.asdict(model),
                "train": {"steps": 1000, "batch_size": batch, "precision": "bf16"},
                "seed": s,
            }
        )
        for s in range(members)
    ]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trained(configs, 3, CUDA)
    taken = torch.cuda.max_memory_allocated() - before
    planned = counts.memory_bytes(model, 3275, length, configs[0].train, members, "cuda")
    print(
        f"{members} members of {batch} x {length}: {taken / 1e9:.2f} GB taken, {planned / 1e9:.2f} "
        f"GB planned"
    )
    assert 0.8 < planned / taken < 2.5


def test_the_head_never_holds_the_logits_of_a_stack():
    """64 members, V = 3,275, 512 tokens, batch 12: the logits alone would be 5.2 GB a copy, the
    whole step stays below 40."""
    if torch.cuda.get_device_properties(0).total_memory < 60e9:
        pytest.skip("needs 60 GB of device memory")
    model = Model(n_layers=2, d_model=128, n_heads=2, position="rotary")
    configs = [
        from_dict(
            {
                "data": {"vocab_size": 3275, "seq_len": 512, "n_sequences": 200},
                "model": dataclasses.asdict(model),
                "train": {"steps": 1000, "batch_size": 12, "precision": "bf16"},
                "seed": s,
            }
        )
        for s in range(64)
    ]
    torch.cuda.reset_peak_memory_stats()
    _, state = trained(configs, 3, CUDA)
    assert torch.isfinite(state.flat_MP).all() and torch.cuda.max_memory_allocated() < 40e9
    assert math.isclose(state.flat_MP.shape[1], 816_000 + 128 + 0, rel_tol=1e-3)  # GPT2-2-2 and BOS
