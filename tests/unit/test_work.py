"""The cost model: its units against the code that they count, its arithmetic, and whose benchmark
it believes."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from capacity import cost, work
from capacity.config import from_dict
from capacity.model import qat
from capacity.train.loop import Stack, advance


def run(model=None, train=None, data=None, seed=0):
    return from_dict(
        {
            "data": {"vocab_size": 64, "seq_len": 16, "n_sequences": 100} | (data or {}),
            "model": {"n_layers": 2, "d_model": 16, "n_heads": 2} | (model or {}),
            "train": {"steps": 1000, "batch_size": 4} | (train or {}),
            "seed": seed,
        }
    )


class Dispatched(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.by_name = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.by_name[str(func)] += 1
        return func(*args, **(kwargs or {}))


def dispatched(runs):
    """Operations that torch dispatches in one step."""
    stack = Stack(runs, torch.device("cpu"))
    state = stack.start()
    advance(stack, state, 1, lambda: False)
    with Dispatched() as counted:
        advance(stack, state, 2, lambda: False)
    return counted.by_name.total()


SHAPES = {
    "plain": run(),
    "one layer": run({"n_layers": 1}),
    "deep": run({"n_layers": 5}),
    "chunks": run(data={"vocab_size": 4096, "seq_len": 128}, train={"batch_size": 8}),
    "rotary": run({"position": "rotary", "tied": False}),
    "gated": run({"mlp": "gated", "norm": "rmsnorm", "bias": False}),
    "no MLP": run({"mlp_ratio": 0.0, "n_layers": 4}),
    "experts": run({"n_experts": 4}),
    "shared experts": run({"n_experts": 4, "n_shared": 1, "expert_rounds": 2, "router_shift": 0.1}),
    "canon": run({"canon": "ABCD"}),
    "linear": run({"mixer": "linear"}),
    "based": run({"mixer": "based"}),
    "gla": run({"mixer": "gla"}, data={"seq_len": 70}),
    "Mamba-2": run({"mixer": "ssd", "mixer_conv": True, "mixer_gate": True}),
    "delta": run({"mixer": "delta"}, data={"seq_len": 70}),
    "gated delta": run({"mixer": "delta", "mixer_decay": True}, data={"seq_len": 130}),
    "titans": run({"mixer": "titans"}),
    "titans, chunks": run({"mixer": "titans", "mixer_gate": True}, data={"seq_len": 130}),
    "lstm": run({"mixer": "lstm"}),
    "lstm, long": run({"mixer": "lstm"}, data={"seq_len": 70}),
    "stem": run({"channel": "stem"}),
    "keys": run({"channel": "keys"}),
    "PEER": run({"channel": "keys", "keys_expert": True, "keys_shared": True}),
    "banks": run({"channel": "banks", "mlp": "gated"}),
    "low rank": run({"map_rank": 4}),
    "low rank, gated": run({"map_rank": 2, "mlp": "gated"}, {"optimizer": "muon"}),
    "low rank, int4": run({"map_rank": 2, "mlp_ratio": 0.0}, {"qat": "int4"}),
    "loops": run({"loops": 3}),
    "engram": run({"memory": "engram"}),
    "Muon": run(train={"optimizer": "muon"}),
    "int4": run(train={"qat": "int4"}),
    "int4, wide": run({"d_model": 128}, {"qat": "int4"}),
    "binary": run(train={"qat": "binary"}),
    "long": run(data={"seq_len": 160}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_operations_of_a_step_are_those_that_torch_dispatches(name):
    assert work.operations(SHAPES[name]) == pytest.approx(dispatched([SHAPES[name]]), rel=0.2)


def test_rounding_is_counted_scale_by_scale():
    """What quantization-aware training adds, of which maps that are tried in several passes have
    more; a bf16 pass of the other tensors is left out."""
    assert (len(qat.RATIOS), qat.AT_ONCE) == (work.ALL_SCALES, work.TRIED_AT_ONCE)
    for form, model in (("int4", {}), ("binary", {}), ("int4", {"d_model": 128})):
        rounded, plain = run(model, {"qat": form}), run(model)
        added = dispatched([rounded]) - dispatched([plain])
        assert work.operations(rounded) - work.operations(plain) == pytest.approx(added, rel=0.2)


def test_members_of_a_stack_share_its_operations():
    assert dispatched([run(seed=s) for s in range(4)]) < 1.05 * dispatched([run()])


def test_floating_point_operations_are_those_of_the_closed_formula():
    for config in (run(), run({"mlp_ratio": 0.0}), run({"mlp": "gated"})):
        assert work.of_member(config)["flop"] == pytest.approx(config.flops / config.steps)


def test_every_unit_has_a_term_and_none_is_negative():
    for config in SHAPES.values():
        units = work.of_member(config)
        assert {"operation", *units} == set(work.TERMS)
        assert all(math.isfinite(n) and n >= 0 for n in units.values())


def test_seconds_are_the_sum_over_terms_with_shared_operations():
    config = run({"n_layers": 1})
    terms = {name: 10.0 ** -(i % 5) for i, name in enumerate(work.TERMS)}
    speed = replace(cost.GUESSES["cpu"], terms=terms)
    alone = sum(terms[name] * n for name, n in work.of_member(config).items())
    shared = terms["operation"] * work.operations(config)
    steps = config.steps + work.evaluation_steps(config) / 3
    assert speed.seconds([config]) == pytest.approx(config.steps * shared + steps * alone)
    members = [run({"n_layers": 1}, seed=s) for s in range(3)]
    together = config.steps * shared + 3 * steps * alone
    assert speed.seconds(members) == pytest.approx(together)
    assert speed.seconds(members, threads=2) == pytest.approx(
        config.steps * shared + 1.5 * steps * alone
    )
    assert speed.step_seconds(members) == pytest.approx(shared + 3 * alone)
    bf16 = replace(speed, precisions={"bf16": 2.0})
    assert bf16.seconds([run({"n_layers": 1}, {"precision": "bf16"})]) > speed.seconds([config])


def test_evaluations_score_the_whole_training_set():
    config = run()  # 100 sequences of 16 tokens, 4 of them a step; ten evaluations and one at 90%
    assert work.evaluation_steps(config) == 11 * 100 / 4


def bench(tmp_path, name, **more):
    speed = {"step_s": 0.002, "flop_per_s": 5e10, "value_s": 1e-9} | more
    (tmp_path / "bench").mkdir(exist_ok=True)
    text = json.dumps({"environment": {"hardware": name}, "speed": speed})
    (tmp_path / "bench" / "cpu.json").write_text(text)


ERROR = {"median": 0.1, "p80": 0.2, "within": 16, "of": 20}


def test_only_a_benchmark_of_this_hardware_is_believed(tmp_path):
    terms = dict.fromkeys(work.TERMS, 1e-9)
    bench(tmp_path, "CPU A", terms=terms, error=ERROR)
    mine = cost.speed_of("cpu", tmp_path, "CPU A")
    assert mine.terms == terms and mine.source.startswith("by ")
    assert "within 25% for 16 of 20 shapes" in mine.source and "guess" not in mine.source
    other = cost.speed_of("cpu", tmp_path, "CPU B")
    assert other == cost.GUESSES["cpu"] and "guess" in other.source
    nodes = cost.speed_of("cpu", tmp_path)  # of a queue, whose hardware is not known here
    assert "guess" in nodes.source and "CPU A" in nodes.source


def test_a_benchmark_of_older_terms_still_tells_its_speed(tmp_path):
    bench(tmp_path, "CPU A")
    old = cost.speed_of("cpu", tmp_path, "CPU A")
    assert old.terms is None and old.step_s == 0.002
    assert old.seconds([run()]) > 1000 * 0.002


def test_stacks_are_cut_alike_whatever_was_measured():
    """The guess that sweeps cut their stacks by keeps its arithmetic."""
    config = run()
    guess = cost.GUESSES["cpu"]
    alone = config.flops / 100e9 + config.tokens * cost.values_per_token(config) * 0.65e-9
    assert guess.seconds([config]) == 1000 * 1.5e-3 + alone
