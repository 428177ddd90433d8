"""Data parallel ranks without processes: threads stand for them, whose tensors are handed over in
memory. Real processes are in tests/integration/test_ranks.py."""

import math

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.cost import GUESSES, NETWORK, WITHIN, exchange_s, micro_batches
from capacity.train.loop import Stack, gradient
from capacity.train.ranks import BLOCK, Ranks, halved, tree_sum
from threads_as_ranks import CPU, PARTS, equal, trained


def config(seed=0, cluster=None, **train):
    return from_dict(
        {
            "data": {"vocab_size": 50, "seq_len": 8, "n_sequences": 30},
            "model": {"n_layers": 1, "d_model": 16, "n_heads": 4},
            "train": {"steps": 20, "batch_size": 8, "warmup_steps": 5} | train,
            "seed": seed,
            "cluster": cluster or {},
        }
    )


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"optimizer": "muon"},
        {"precision": "fp16", "weights": "bf16_stochastic"},
        {"precision": "bf16", "grad_clip": 0.01},
        {"qat": "int8"},
    ],
    ids=lambda train: ",".join(map(str, train.values())) or "adamw",
)
def test_bits_depend_on_parts_and_not_on_ranks(train):
    configs = [config(seed, **train) for seed in (0, 1)]
    (one,) = trained(configs, 1)
    assert torch.isfinite(one.flat_MP).all() and one.alive_M.all()
    for size in (2, 4):
        assert all(equal(state, one) for state in trained(configs, size))


def test_a_resumed_state_may_have_other_ranks():
    (one,) = trained([config()], 1)
    halfway, *_ = trained([config()], 4, 3)
    assert all(equal(state, one) for state in trained([config()], 2, started=halfway))


def test_a_member_that_is_out_stays_out_for_all_ranks():
    """Its weights hold what they held, and the other member goes on as alone."""
    start = Stack([config(0), config(1)], CPU, PARTS).start()
    start.flat_MP[0, 5] = math.inf
    for size in (1, 2):
        for state in trained([config(0), config(1)], size, 3, start):
            assert state.alive_M.tolist() == [False, True]
            assert state.dead_step_M.tolist() == [1, 0]
            assert torch.equal(state.flat_MP[0], start.flat_MP[0])
            assert torch.isfinite(state.flat_MP[1]).all()
            assert not torch.equal(state.flat_MP[1], start.flat_MP[1])


def test_gradient_and_norm_are_those_of_the_whole_batch():
    stack = Stack([config(0), config(1)], CPU)
    flat = stack.start().flat_MP
    tokens = torch.randint(0, 50, (2, 8, 8), generator=torch.Generator().manual_seed(3))
    loss, grad = gradient(stack, flat, tokens)
    ranks = Ranks()
    in_parts = Stack([config(0), config(1)], CPU, PARTS, ranks)
    tree_loss, tree_grad = ranks.gradient(in_parts, flat, tokens)
    torch.testing.assert_close(tree_loss, loss)
    torch.testing.assert_close(tree_grad[:, : grad.shape[1]], grad, rtol=1e-4, atol=1e-7)
    assert tree_grad.shape[1] % BLOCK == 0 and not tree_grad[:, grad.shape[1] :].any()
    norm = torch.linalg.vector_norm(grad.double(), dim=1)
    torch.testing.assert_close(
        ranks.norm(tree_grad, grad.shape[1]).double(), norm, rtol=1e-5, atol=0
    )


def test_sums_are_trees_over_numbers():
    """Of 2^24 and ones: fp32 loses a one that is added alone, and not two that were added
    before."""
    big = [torch.tensor([2.0**24]), *[torch.tensor([1.0])] * 3]
    assert float(tree_sum((x,) for x in big)[0]) == 2.0**24 + 2
    assert float(halved(torch.cat(big))) == 2.0**24 + 2  # (0 + 2) + (1 + 3), by halves
    with pytest.raises(ValueError, match="power of two"):
        tree_sum((x,) for x in big[:3])


@pytest.mark.parametrize(
    "cluster, train, model, words",
    [
        ({"ranks": 2}, {}, {"n_experts": 4, "top_k": 1}, "cluster.ranks=2: the places of experts"),
        ({"ranks": 3}, {}, {}, "cluster.ranks=3: expected a power of two"),
        ({"ranks": 16}, {}, {}, "cluster.ranks=16: more ranks than the rows of a batch"),
        ({"ranks": 4, "micro_batches": 2}, {}, {}, "cluster.micro_batches=2: with cluster.ranks=4"),
        ({"ranks": 2, "micro_batches": 6}, {}, {}, "cluster.micro_batches=6: with cluster.ranks=2"),
        ({"nodes": 2}, {}, {}, "cluster.nodes=2: needs cluster.launcher=slurm and cluster.ranks"),
        ({"nodes": 2, "ranks": 2}, {}, {}, "cluster.nodes=2: needs cluster.launcher=slurm"),
        (
            {"nodes": 4, "ranks": 2, "launcher": "slurm"},
            {},
            {},
            "cluster.nodes=4: needs cluster.launcher=slurm and cluster.ranks=N with N a multiple",
        ),
        (
            {"ranks": 4, "launcher": "slurm", "gpus": 1},
            {},
            {},
            "cluster.gpus=1: 4 ranks on a node need as many GPUs; give cluster.gpus=4",
        ),
    ],
)
def test_what_ranks_cannot_do_is_refused_by_name(cluster, train, model, words):
    with pytest.raises(ConfigError) as refused:
        from_dict(
            {
                "data": {"n_sequences": 30},
                "model": {"d_model": 16, "n_heads": 4} | model,
                "train": {"steps": 20, "batch_size": 8, "warmup_steps": 5} | train,
                "cluster": cluster,
            }
        )
    assert str(refused.value).startswith(words) and "\n" not in str(refused.value)


def test_parts_of_a_batch_are_at_least_the_ranks():
    def parts(room, **cluster):
        return micro_batches(config(cluster=cluster), 1, "cpu", room)

    assert parts(math.inf) == 1 and parts(math.inf, ranks=4) == 4
    assert parts(0.0, ranks=4) == 8  # the rows of the batch
    assert parts(0.0, ranks=2, micro_batches=4) == 4


def test_time_on_ranks_is_a_share_of_the_work_and_what_they_exchange():
    run, speed = config(), GUESSES["cuda"]
    size = 8 * run.parameters["total"]  # bytes, of gradients and weights
    assert exchange_s([run], "cuda", 1) == 0
    assert exchange_s([run], "cuda", 8) == pytest.approx(size * 7 / 8 / WITHIN["cuda"])
    # to the other node goes half, of eight ranks over one network
    assert exchange_s([run], "cuda", 16, 2) == pytest.approx(size / 2 * 8 / NETWORK)
    alone, launches = speed.seconds([run]), run.steps * speed.step_s
    waits = run.steps * exchange_s([run], "cuda", 8)
    expected = launches + (alone - launches) / 8 + waits
    assert speed.seconds([run], ranks=8) == pytest.approx(expected)
    assert speed.seconds([config(cluster={"ranks": 8})]) == pytest.approx(expected)


def test_ranks_are_no_part_of_what_a_run_is():
    ids = {config(cluster=cluster).run_id for cluster in ({}, {"ranks": 1}, {"ranks": 4})}
    assert len(ids) == 1
