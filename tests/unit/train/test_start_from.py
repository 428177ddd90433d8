"""Runs that begin with the weights of others (`train.start_from`): which weights, what is kept of
the data before, and what is refused."""

import dataclasses
import json

import pytest
import torch

from capacity import records
from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.run.remeasure import remeasure
from capacity.train import checkpoint, starts
from capacity.train.loop import Stack
from stack_members import CPU, config, run


def other(start, seed=5, variant="gpt", **train):
    """A run of other data that begins with the weights of `start`."""
    return config(seed, variant, **{"start_from": start.run_id, **train})


def weights(results, which):
    gpt = Stack([which], CPU).gpt
    path = records.run_dir(results, which.run_id) / records.WEIGHTS
    return checkpoint.load_weights(path, gpt, which.run_id)


@pytest.fixture(params=["gpt", "people"])
def begun(request, tmp_path):
    """A finished run, and what it was made of."""
    first = config(0, request.param, lr=0.02, steps=60 if request.param == "gpt" else 500)
    assert run([first], tmp_path) == {first.run_id: "finished"}
    return first, request.param, tmp_path


def test_training_begins_with_exactly_these_weights_and_moments_of_zero(begun):
    first, variant, results = begun
    after = other(first, variant=variant)
    stack = Stack([after, config(6, variant)], CPU)
    state = stack.start(starts.weights(results, stack.configs, stack.gpt))
    assert torch.equal(state.flat_MP[0], weights(results, first))
    assert torch.equal(state.flat_MP[1], stack.gpt.init([6])[0])
    assert not state.m_MP.any() and not state.v_MP.any() and state.step == 0


def test_what_changes_nothing_keeps_all_that_was_held(begun):
    """A learning rate below the rounding of every weight leaves them as they are, so that what is
    held of the first data is the number in the record of the first run."""
    first, variant, results = begun
    after = other(first, variant=variant, lr=1e-30, steps=12)
    run([after], results)
    assert torch.equal(weights(results, after), weights(results, first))
    kept = records.read(results, after.run_id)["measures"]["start"]
    assert kept["bits_after"] == kept["bits_before"] and kept["bits_lost"] == 0.0
    assert kept["run_id"] == first.run_id
    if variant == "people":
        assert kept["accuracy_after"] == kept["accuracy_before"]


def test_other_data_cost_what_the_first_run_held(begun):
    """And measuring again, which knows the weights alone, finds the same."""
    first, variant, results = begun
    after = other(first, variant=variant, lr=0.02, steps=200)
    run([after], results)
    record = records.read(results, after.run_id)
    kept = record["measures"]["start"]
    assert kept["bits_lost"] == pytest.approx(kept["bits_before"] - kept["bits_after"])
    assert kept["bits_lost"] > 0.05 * kept["bits_before"] > 0
    assert remeasure(results, after.run_id, CPU, None)["measures"]["start"] == kept


def test_a_stack_of_different_starts_is_each_run_alone(tmp_path):
    firsts = [config(seed, lr=0.01) for seed in (0, 1)]
    run(firsts, tmp_path)
    together = [other(firsts[0], 5), other(firsts[1], 5), config(5)]
    run(together, tmp_path)
    alone = tmp_path / "alone"
    for first in firsts:
        (folder := records.run_dir(alone, first.run_id)).parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(records.run_dir(tmp_path, first.run_id))
    for one in together:
        run([one], alone)
        assert torch.equal(weights(alone, one), weights(tmp_path, one))
    assert len({weights(alone, one).sum().item() for one in together}) == 3


def test_an_interrupted_run_ends_with_the_same_bits(begun):
    first, variant, results = begun
    after = other(first, variant=variant)
    run([after], results)
    whole = weights(results, after)
    for path in records.run_dir(results, after.run_id).iterdir():
        path.unlink()
    calls = iter([False] * 25 + [True] * 99)
    assert run([after], results, stop=lambda: next(calls)) == {after.run_id: "interrupted"}
    (records.run_dir(results, first.run_id) / records.WEIGHTS).unlink()  # not needed any more
    assert run([after], results) == {after.run_id: "finished"}
    assert torch.equal(weights(results, after), whole)


def test_the_start_is_part_of_what_a_run_is_but_its_name_is_not():
    plain = config(5)
    first, second = (config(5, start_from=name + "0123456789ab") for name in ("", "facts:"))
    assert first.run_id == second.run_id != plain.run_id
    assert "start_from" not in plain.identity["train"]
    assert config(5, start_from="0123456789ac").run_id != first.run_id
    assert from_dict(second.as_dict()) == second


def refusal(results, which):
    with pytest.raises(ConfigError) as caught:
        run([which], results)
    assert not records.run_dir(results, which.run_id).exists()
    return str(caught.value)


def test_what_cannot_be_begun_with_is_refused_before_anything_is_written(tmp_path):
    first = config(0)
    assert f"train.start_from={first.run_id}: this run is missing" in refusal(
        tmp_path, other(first)
    )
    run([first], tmp_path)
    tree = other(first).as_dict()
    rows = {"n_sequences": 20, "vocab_size": 19, "seq_len": 8}
    assert "rows in its token table: 16 there, 19 in this run" in refusal(
        tmp_path, from_dict(tree | {"data": {"kind": "uniform"} | rows})
    )
    wide = dataclasses.replace(other(first), model=dataclasses.replace(first.model, d_model=16))
    assert "model.d_model=8 there, 16 here" in refusal(tmp_path, wide)
    (records.run_dir(tmp_path, first.run_id) / records.WEIGHTS).unlink()
    with pytest.raises(ConfigError, match="the run has no final weights"):
        run([other(first)], tmp_path)


@pytest.mark.parametrize("wrong", ["abc", "0123456789AB", "facts", ":0123456789ab", "9:0123"])
def test_what_is_no_id_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match="train.start_from=.*: expected the id of a run"):
        config(5, start_from=wrong)


def test_a_failed_run_is_nothing_to_begin_with(tmp_path):
    first = config(0, lr=1e6, grad_clip=0.0)
    run([first], tmp_path)
    record = json.loads((records.run_dir(tmp_path, first.run_id) / "record.json").read_text())
    assert record["status"] == "failed"
    assert "this run is failed" in refusal(tmp_path, other(first))


FORMS = {
    "gpt": {},
    "gated": {"mlp": "gated", "activation": "silu", "norm": "rmsnorm", "bias": False},
}


def expert_runs(form, top_k, results, n_experts=4):
    """A finished run with an MLP of 32 units, and one with experts of 8 that begins with it."""
    tree = config(0, lr=0.01).as_dict()
    tree["model"] |= {"mlp_ratio": 4.0} | FORMS[form]
    whole = from_dict(tree)
    run([whole], results)
    tree = whole.as_dict()
    tree["model"] |= {"mlp_ratio": 4.0 / n_experts, "n_experts": n_experts, "top_k": top_k}
    tree["model"] |= {"capacity_factor": float(n_experts), "eval_capacity_factor": float(n_experts)}
    tree["train"] |= {"start_from": whole.run_id, "lr": 1e-30, "steps": 12, "exposures": None}
    return whole, from_dict(tree)


@pytest.mark.parametrize("form", FORMS)
def test_experts_cut_from_an_mlp_hold_the_same_while_all_are_visited(form, tmp_path):
    """The one difference is that gates are probabilities near 1/X instead of equal to it: with
    routers of 0 the two functions are the same within rounding."""
    whole, cut = expert_runs(form, 4, tmp_path)
    stack, before = Stack([cut], CPU), Stack([whole], CPU)
    flat_P = starts.weights(tmp_path, [cut], stack.gpt)[0]
    for name, view in stack.gpt.named(flat_P[None]).items():
        if name.endswith("router.weight"):
            assert view.any()
            view.zero_()
    tokens = stack.feed.member_tokens(0)[:5].long()[None]
    one, _ = stack.gpt.score(flat_P[None], tokens, torch.float32)
    other, _ = before.gpt.score(weights(tmp_path, whole)[None], tokens, torch.float32)
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_units_that_are_not_visited_are_missed(tmp_path):
    lost = []
    for top_k in (1, 2, 4):
        _, cut = expert_runs("gpt", top_k, tmp_path)
        run([cut], tmp_path)
        lost.append(records.read(tmp_path, cut.run_id)["measures"]["start"]["bits_lost"])
    assert lost[0] > lost[1] > lost[2]
    held = records.read(tmp_path, cut.train.start)["measures"]["memorization"]["strict"]["bits"]
    assert abs(lost[2]) < 0.02 * held


def test_experts_of_other_sizes_are_not_cut(tmp_path):
    whole, _ = expert_runs("gpt", 1, tmp_path)
    tree = other(whole).as_dict()
    tree["model"] |= {"mlp_ratio": 2.0, "n_experts": 4}
    assert "model.n_experts=0 there, 4 here" in refusal(tmp_path, from_dict(tree))
