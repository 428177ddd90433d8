"""Training: the optimizer, exact resume, stacks against single runs, failures, and memorization
down to the floor."""

import itertools
import math

import numpy as np
import pytest
import torch

from capacity import records
from capacity.config import from_dict
from capacity.feed.feed import TableFeed
from capacity.measure import memorization as bits
from capacity.run.job import Job
from capacity.run.record import last_tenth
from capacity.run.run import evaluation_steps, execute
from capacity.settings.train import Train
from capacity.train import checkpoint
from capacity.train.loop import Stack, advance
from capacity.train.optim import (
    ROOT,
    SHRINK,
    STEP,
    UPDATE,
    Gradient,
    Hyper,
    Schedule,
    Weights,
    adamw,
    lr_factor,
)

CPU = torch.device("cpu")


def config(seed=0, **changes):
    tree = {
        "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 40},
        "model": {"d_model": 8, "n_heads": 2},
        "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5},
        "seed": seed,
    }
    for key, value in changes.items():
        section, name = key.split("__")
        tree[section][name] = value
    return from_dict(tree)


def trained(configs, until=None, device=CPU):
    stack = Stack(configs, device)
    state = stack.start()
    advance(stack, state, until or configs[0].steps, lambda: False)
    return stack, state


def run(configs, results, report=lambda event: None, stop=lambda: False):
    return execute(configs, Job(results, CPU, None, report, stop))


# The optimizer


@pytest.mark.parametrize("weight_decay, clip", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.5), (0.1, 0.5)])
def test_adamw_equals_torch(weight_decay, clip):
    settings = Train(
        steps=40,
        warmup_steps=0,
        final_lr_fraction=1.0,
        lr=0.03,
        beta1=0.8,
        beta2=0.97,
        weight_decay=weight_decay,
        grad_clip=clip,
    )
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(1, 50, generator=generator)
    reference = torch.nn.Parameter(flat[0].clone())
    optimizer = torch.optim.AdamW(
        [reference], lr=0.03, betas=(0.8, 0.97), eps=settings.eps, weight_decay=weight_decay
    )
    m, v = torch.zeros_like(flat), torch.zeros_like(flat)
    alive = torch.ones(1, dtype=torch.bool)
    schedule = Schedule([settings], [40])
    for step in range(40):
        gradient = torch.randn(1, 50, generator=generator)
        reference.grad = gradient[0].clone()
        if clip:
            torch.nn.utils.clip_grad_norm_([reference], clip)
        optimizer.step()
        now = torch.from_numpy(schedule.rows(step, 1)[0])
        alive = adamw(
            Weights(flat, m, v, torch.ones(50)),
            Gradient(gradient, torch.zeros(1)),
            Hyper.of([settings], CPU),
            now,
            alive,
        )
    assert torch.allclose(flat[0], reference.detach(), atol=2e-6)


def test_weight_decay_spares_biases_and_norms():
    stack = Stack([config(train__weight_decay=0.1)], CPU)
    decays = {w.name for w in stack.gpt.layout if w.decays}
    assert (
        "token.weight" in decays and "blocks.0.up.weight" in decays and "position.weight" in decays
    )
    assert not any(name.endswith("bias") or "norm" in name or name == "bos" for name in decays)
    assert stack.decay_P.sum() == sum(
        size for w, size in zip(stack.gpt.layout, stack.gpt.sizes, strict=True) if w.decays
    )


def test_learning_rate_schedule():
    factors = [float(lr_factor(np.array(step), 100, 10, 0.1)) for step in range(100)]
    assert (
        factors[0] == pytest.approx(0.1)
        and factors[9] == pytest.approx(1.0)
        and factors[10] == pytest.approx(1.0)
    )
    assert factors[55] == pytest.approx(0.55) and 0.1 < factors[99] < 0.101
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))
    assert lr_factor(np.array(0), 10, 0, 0.0) == 1.0


def test_the_rows_of_a_schedule_are_each_members_own():
    """AdamW's numbers of a step, written out in exact arithmetic; blocks of any size give the same
    rows."""
    members = [
        Train(steps=50, warmup_steps=5, lr=0.03, weight_decay=0.1, beta1=0.8, beta2=0.999),
        Train(steps=20, warmup_steps=0, lr=0.01, final_lr_fraction=0.5),
    ]
    schedule = Schedule(members, [50, 20])
    rows = schedule.rows(0, 20)
    assert np.array_equal(rows, np.concatenate([schedule.rows(0, 7), schedule.rows(7, 13)]))
    for m, (train, steps) in enumerate(zip(members, (50, 20), strict=True)):
        for step in (0, 3, 4, 5, 19):
            rate = train.lr * (
                (step + 1) / 5
                if step < train.warmup_steps
                else train.final_lr_fraction
                + (1 - train.final_lr_fraction)
                * (
                    1
                    + math.cos(math.pi * (step - train.warmup_steps) / (steps - train.warmup_steps))
                )
                / 2
            )
            wanted = {
                STEP: step + 1,
                SHRINK: rate * train.weight_decay,
                ROOT: (1 - train.beta2 ** (step + 1)) ** -0.5,
                UPDATE: rate / (1 - train.beta1 ** (step + 1)),
            }
            for column, value in wanted.items():
                assert rows[step, m, column] == pytest.approx(value, rel=2e-7)


# One step and many


def test_golden_training():
    """A change that alters numbers shows here; if it is meant to, raise IDENTITY_SCHEMA, because
    run ids name results."""
    stack, state = trained([config(train__steps=40)])
    held = bits.memorized(
        bits.code_lengths(
            stack.gpt, state.flat_MP[0], stack.feed.member_tokens(0), torch.float32, 4096
        ),
        8,
        16,
    )
    assert held["strict"] == pytest.approx(90.245, rel=2e-3)


def test_a_few_facts_are_memorized_to_the_entropy_floor():
    """20 sequences in a model with room for many times that: only the order bits log2 N remain."""
    c = config(data__n_sequences=20, model__d_model=16, train__steps=800, train__batch_size=20)
    stack, state = trained([c])
    result = bits.measure(
        stack.gpt, state.flat_MP[0], stack.feed.member_tokens(0), torch.float32, 4096, c.parameters
    )
    for convention in bits.CONVENTIONS:
        assert 0.99 < result[convention]["fraction_of_ceiling"] <= 1.0 + 1e-6
    assert result["loss_bits_per_token"] == pytest.approx(math.log2(20) / 8, rel=0.03)


def test_every_member_of_a_stack_equals_its_solo_run():
    """Different data, sizes, seeds and optimizer numbers in one stack; 300 steps; fp32 rounding
    grows on the way, so the tolerance is on the loss, and on the weights after 30 steps."""
    members = [
        config(seed=0),
        config(seed=1, data__n_sequences=23),
        config(seed=2, train__lr=0.005),
        config(seed=3, train__weight_decay=0.1, train__grad_clip=0.1, train__beta2=0.95),
    ]
    stack, state = trained(members, until=30)
    for m, c in enumerate(members):
        solo_stack, solo = trained([c], until=30)
        assert torch.equal(solo_stack.feed.member_tokens(0), stack.feed.member_tokens(m))
        assert torch.allclose(state.flat_MP[m], solo.flat_MP[0], atol=1e-4)
    members = [
        config(seed=c.seed, train__steps=300, data__n_sequences=n)
        for c, n in zip(members, (40, 23, 31, 12), strict=True)
    ]
    stack, state = trained(members)
    for m, c in enumerate(members):
        solo_stack, solo = trained([c])
        together, alone = (
            bits.code_lengths(s.gpt, f, t, torch.float32, 4096).sum()
            for s, f, t in (
                (stack, state.flat_MP[m], stack.feed.member_tokens(m)),
                (solo_stack, solo.flat_MP[0], solo_stack.feed.member_tokens(0)),
            )
        )
        assert together == pytest.approx(alone, rel=0.02)


@pytest.mark.parametrize(
    "variant",
    [
        {"model__position": "rotary", "model__tied": False, "model__bias": False},
        {"model__n_layers": 2},
        {"train__precision": "bf16"},
    ],
)
def test_variants_train_in_stacks(variant):
    members = [config(seed=s, **variant) for s in (0, 1)]
    stack, state = trained(members, until=20)
    _, solo = trained(members[1:], until=20)
    assert torch.allclose(
        state.flat_MP[1], solo.flat_MP[0], atol=2e-2 if variant.get("train__precision") else 1e-4
    )


def test_bf16_computes_in_bf16_and_keeps_fp32_masters():
    stack, state = trained([config(train__precision="bf16", train__steps=200)])
    assert state.flat_MP.dtype == torch.float32 and stack.dtype == torch.bfloat16
    assert not torch.equal(state.flat_MP, state.flat_MP.bfloat16().float())
    _, exact = trained([config(train__steps=200)])
    half, full = (
        bits.code_lengths(
            stack.gpt, s.flat_MP[0], stack.feed.member_tokens(0), torch.float32, 4096
        ).sum()
        for s in (state, exact)
    )
    assert half != full and half == pytest.approx(full, rel=0.1)


# Failure


def test_a_member_that_fails_is_frozen_and_nobody_else_notices():
    bad = config(seed=1, train__lr=1e30, train__grad_clip=0.0)
    stack, state = trained([config(seed=0), bad, config(seed=2)])
    assert state.alive_M.tolist() == [True, False, True]
    assert 1 <= state.dead_step_M[1] <= 10 and state.dead_step_M[0] == 0
    assert torch.isfinite(state.flat_MP).all()
    good, alone = trained([config(seed=0), config(seed=2)])
    for m, other in ((0, 0), (2, 1)):
        assert torch.allclose(state.flat_MP[m], alone.flat_MP[other], atol=1e-4)


def test_failed_and_finished_records_of_one_stack(tmp_path):
    bad = config(seed=1, train__lr=1e30, train__grad_clip=0.0)
    good = config(seed=0)
    assert run([good, bad], tmp_path) == {good.run_id: "finished", bad.run_id: "failed"}
    error = records.read(tmp_path, bad.run_id)["error"]
    assert "not finite at step" in error["reason"] and error["step"] is not None
    assert records.read(tmp_path, bad.run_id)["measures"] == {}
    assert not (records.run_dir(tmp_path, bad.run_id) / "weights.safetensors").exists()
    assert not (records.run_dir(tmp_path, bad.run_id) / "checkpoint.safetensors").exists()


def test_divergence_with_finite_numbers_is_a_failure(tmp_path):
    bad = config(train__lr=30.0, train__grad_clip=0.0, train__warmup_steps=0)
    assert run([bad], tmp_path)[bad.run_id] == "failed"
    assert "diverged" in records.read(tmp_path, bad.run_id)["error"]["reason"]


def test_a_bug_in_one_member_does_not_sink_the_stack(tmp_path, monkeypatch):
    good, bad = config(seed=0), config(seed=1)
    original = TableFeed.batch_rows

    def broken(self, first_step, n_steps):
        if any(c.seed == 1 for c in self.configs):
            raise RuntimeError("planted")
        return original(self, first_step, n_steps)

    monkeypatch.setattr(TableFeed, "batch_rows", broken)
    assert run([good, bad], tmp_path) == {good.run_id: "finished", bad.run_id: "failed"}
    error = records.read(tmp_path, bad.run_id)["error"]
    assert error["reason"] == "RuntimeError: planted" and "Traceback" in error["traceback"]


# Resume


@pytest.mark.parametrize("stop_after", [1, 17, 30, 59])
def test_an_interrupted_run_ends_bit_identical(tmp_path, stop_after):
    members = [config(seed=0), config(seed=1, data__n_sequences=33)]
    plain = tmp_path / "plain"
    assert set(run(members, plain).values()) == {"finished"}

    looks = iter(range(10**9))
    cut = tmp_path / "cut"
    outcome = run(
        members, cut, stop=lambda: next(looks) >= 2 * stop_after
    )  # advance looks twice per step
    assert set(outcome.values()) == {"interrupted"}
    step = checkpoint.read_meta(records.run_dir(cut, members[0].run_id) / "checkpoint.safetensors")[
        "step"
    ]
    assert 0 < step < 60
    assert set(run(members, cut).values()) == {"finished"}
    for c in members:
        ours, theirs = (records.run_dir(folder, c.run_id) for folder in (cut, plain))
        assert (ours / "weights.safetensors").read_bytes() == (
            theirs / "weights.safetensors"
        ).read_bytes()
        a, b = records.read(cut, c.run_id), records.read(plain, c.run_id)
        assert a["measures"] == b["measures"] and a["convergence"] == b["convergence"]
        strip = [
            {k: v for k, v in line.items() if k != "wall_s"}
            for line in records.read_metrics(cut, c.run_id)
        ]
        assert strip == [
            {k: v for k, v in line.items() if k != "wall_s"}
            for line in records.read_metrics(plain, c.run_id)
        ]


def test_checkpoints_restore_every_tensor_exactly(tmp_path):
    stack, state = trained([config(seed=0), config(seed=1)], until=11)
    paths = [tmp_path / "a", tmp_path / "b"]
    for m, path in enumerate(paths):
        checkpoint.save_state(path, state, m, f"run{m}", 1.5)
    loaded = checkpoint.load_states(paths, CPU)
    for name in checkpoint.TENSORS:
        assert torch.equal(getattr(loaded, name), getattr(state, name)), name
    assert (loaded.step, loaded.logged) == (11, [0, 0])


def test_members_at_different_steps_go_on_as_separate_stacks(tmp_path):
    """As after a kill between the checkpoints of two members."""
    ahead, fresh = config(seed=0), config(seed=1)
    looks = iter(range(10**9))
    run([ahead], tmp_path, stop=lambda: next(looks) >= 40)
    assert set(run([ahead, fresh], tmp_path).values()) == {"finished"}
    reference = tmp_path / "reference"
    run([ahead], reference), run([fresh], reference)
    for c in (ahead, fresh):
        assert (records.run_dir(tmp_path, c.run_id) / "weights.safetensors").read_bytes() == (
            records.run_dir(reference, c.run_id) / "weights.safetensors"
        ).read_bytes()


# The record


def test_record_of_a_run(tmp_path):
    events = []
    c = config()
    run([c], tmp_path, report=events.append)
    record = records.read(tmp_path, c.run_id)
    assert record["training"]["tokens"] == 60 * 8 * 8 and record["training"]["flops"] == c.flops
    assert (record["training"]["exposures_min"], record["training"]["exposures_max"]) == (12, 12)
    assert record["identity"] == c.identity and from_dict(record["config"]) == c
    evaluations = {
        line["step"]: line["strict_bits"]
        for line in records.read_metrics(tmp_path, c.run_id)
        if "strict_bits" in line
    }
    assert set(evaluations) == evaluation_steps(60, 10)
    final = record["measures"]["memorization"]["strict"]["bits"]
    assert evaluations[60] == pytest.approx(final)
    assert record["convergence"]["gain_last_tenth"] == pytest.approx(
        (final - evaluations[last_tenth(60)]) / final
    )
    assert events[-1]["step"] == 60 and events[-1]["bits_per_parameter"][0] == pytest.approx(
        record["measures"]["memorization"]["strict"]["bits_per_parameter"]["total"], abs=0.15
    )


def test_evaluations_always_include_the_last_tenth():
    assert evaluation_steps(5000, 3) == {1667, 3333, 4500, 5000}
    assert evaluation_steps(1, 10) == {1}
