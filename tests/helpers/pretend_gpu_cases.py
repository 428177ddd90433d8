"""Trainings and whole runs on a pretend GPU, in a process of its own:

    python tests/helpers/pretend_gpu_cases.py steps --part 0 --of 4
    python tests/helpers/pretend_gpu_cases.py runs --only text
    python tests/helpers/pretend_gpu_cases.py quick

Prints one JSON object: cases, and what went wrong by the name of a case.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import torch

import corpora
import stacks
from capacity import records
from capacity.compose import load
from capacity.config import Config, from_dict
from capacity.model import gpt as gpt_module
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.train import loop
from pretend_gpu import NotOnAGPU, PretendGPU
from small_text import SMALL
from stack_members import CPU, PEOPLE, VARIANTS, config

STEPS = 4
# Beyond the variants of stacks: each is a form of the model that another does not have.
MODELS = VARIANTS | {
    "tied, no bias in norms": {"norm": "layernorm_no_bias", "activation": "relu2"},
    "moe, two choices": {"n_experts": 4, "mlp_ratio": 1.0, "top_k": 2, "position": "rotary"},
    "memory, canon": {"memory": "engram", "engram_rows": 11, "canon": "ABCD"},
    "product keys": {"channel": "keys"},
    "peer, shared, twice": {
        "channel": "keys",
        "keys_expert": True,
        "keys_shared": True,
        "loops": 2,
    },
    "table per token, linear": {"channel": "stem", "mixer": "linear"},
    "experts, shared, in rounds": {
        "n_experts": 4,
        "mlp_ratio": 1.0,
        "n_shared": 1,
        "expert_rounds": 2,
        "router_shift": 0.01,
        "router_score": "sigmoid",
        "router_z": 0.001,
    },
    "lstm": {"mixer": "lstm"},
    "gla": {"mixer": "gla", "mixer_gate": True},
    "mamba 2": {"mixer": "ssd", "mixer_conv": True, "mixer_gate": True},
    "gated delta rule": {"mixer": "delta", "mixer_decay": True},
    "titans": {"mixer": "titans"},
    "banks": {"channel": "banks", "banks_units": (3, 2)},
    "low rank": {"map_rank": 3, "position": "rotary"},
    "people, moe": {"n_experts": 4, "mlp_ratio": 1.0, "position": "rotary"},
}
FORMATS = {name: {"precision": name} for name in ("fp32", "tf32", "bf16", "fp16")}
FORMS = {
    "stochastic rounding": {"weights": "bf16_stochastic"},
    "nearest rounding": {"weights": "bf16_nearest", "precision": "bf16"},
    "int8": {"qat": "int8", "qat_embeddings": True},
    "ternary": {"qat": "ternary", "precision": "bf16"},
}
# Largest difference of a weight after the steps between this device and the CPU, whose attention
# sums in another order; AdamW's first steps are a learning rate whatever the gradient, so that
# where a gradient is nearly zero a weight may lie two of them per step apart
FAR = 2 * STEPS * 0.01


def members(name: str, **train) -> list[Config]:
    with mock.patch.dict(VARIANTS, MODELS):
        lr = {"lr": 0.01}
        return [config(0, name, **train, **lr), config(1, name, **train, weight_decay=0.1, **lr)]


def steps() -> Iterator[tuple[str, Callable[[PretendGPU], None]]]:
    """Every model by every format, with the optimizers in turn, so that each model and each format
    has both; other formats of weights with three models."""
    for (i, name), (j, form) in itertools.product(enumerate(MODELS), enumerate(FORMATS)):
        optimizer = ("adamw", "muon")[(i + j) % 2]
        train = FORMATS[form] | {"optimizer": optimizer}
        yield f"{name}, {form}, {optimizer}", lambda gpu, n=name, t=train: same_steps(gpu, n, **t)
    for name, form in itertools.product(("gpt", "llama", "moe"), FORMS):
        yield f"{name}, {form}", lambda gpu, n=name, t=FORMS[form]: same_steps(gpu, n, **t)


def same_steps(gpu: PretendGPU, name: str, **train) -> None:
    """The recorded step, captured once, does what the plain one does, bit for bit; and what the
    CPU's does."""
    configs = members(name, **train)
    _, plain = stacks.trained(configs, STEPS, gpu.device)
    _, recorded = stacks.trained(configs, STEPS, gpu.device, loop.record)
    for field in loop.CHANGED:
        a, b = getattr(plain, field).raw, getattr(recorded, field).raw
        assert torch.equal(a, b), f"{field} of the recorded step is another"
    _, there = stacks.trained(configs, STEPS, CPU)
    assert bool(there.alive_M.all()) and bool(plain.alive_M.raw.all())
    far = float((there.flat_MP - plain.flat_MP.raw).abs().max())
    assert far <= FAR, f"weights lie {far} from the CPU's"


# ------------------------------------------------------------------------------------- whole runs


def tree(data: dict, model: dict | None = None, **sections) -> Config:
    return from_dict(
        {
            "data": data,
            "model": {"d_model": 8, "n_heads": 2} | (model or {}),
            "train": {"steps": 24, "batch_size": 8, "warmup_steps": 3},
            "measure": {"evaluations": 2},
        }
        | sections
    )


def asked(mode: str) -> Config:
    people = PEOPLE | {"seq_len": 32, "questions": True, "templates": 2}
    settings = {"mode": mode, "steps": 6, "batch_size": 8, "rank_embedding": 4, "rank_attention": 2}
    return tree(people, {"position": "rotary"}, extraction=settings)


def text(*more: str) -> Config:
    return load([*SMALL, "train.steps=24", "measure.evaluations=2", *more])


UNIFORM = {"vocab_size": 16, "seq_len": 8, "n_sequences": 30}
BIOD = {
    "kind": "biod",
    "n_people": 40,
    "seq_len": 24,
    "attributes": 2,
    "chunks": 2,
    "diversity": 4,
    "length": 2,
    "alphabet": 5,
}
QUANTIZE = {
    "methods": ["bf16", "rtn", "gptq"],
    "bits": [4],
    "granularity": ["row", "group"],
    "group_size": [4],
    "embeddings": [False, True],
    "calibration": 8,
}
RUNS: dict[str, Callable[[Path], Config]] = {
    "uniform": lambda _: tree(UNIFORM),
    "uniform, moe": lambda _: tree(UNIFORM, {"n_experts": 4, "mlp_ratio": 1.0}),
    "uniform, quantized afterwards": lambda _: tree(UNIFORM, quantize=QUANTIZE),
    "uniform, gptq in order": lambda _: tree(UNIFORM, quantize=QUANTIZE | {"act_order": True}),
    "text": lambda _: text(),
    "text, canaries": lambda _: text("data.canaries=3", "data.repeats=[0,1,2]"),
    "text, canaries at set steps": lambda _: text(
        "data.canaries=2", "data.repeats=[0,1,2]", "data.last_view=0.5", "data.view_spacing=2"
    ),
    "bios": lambda _: tree(PEOPLE, {"position": "rotary"}),
    "bios, few texts in pairs": lambda _: tree(PEOPLE | {"biographies": 3, "order": "pairs"}),
    "bios, others, documents apart": lambda _: tree(
        PEOPLE | {"other_people": 50, "other_parts": 3, "windows": "mixed", "tag": "main"},
        {"position": "rotary", "document_mask": True},
    ),
    "biod": lambda _: tree(BIOD, {"position": "rotary"}),
    "biod, quantized afterwards": lambda _: tree(BIOD, quantize=QUANTIZE),
    "corpus": lambda folder: corpora.config(corpora.skewed(folder / "people.jsonl", 60)),
    "questions, full": lambda _: asked("full"),
    "questions, low rank": lambda _: asked("lora"),
}


def runs() -> Iterator[tuple[str, Callable[[PretendGPU], None]]]:
    """One whole run of each kind of data, and of what is measured beside."""
    for name, make in RUNS.items():
        yield name, lambda gpu, make=make: whole_run(gpu, make)


def whole_run(gpu: PretendGPU, make: Callable[[Path], Config]) -> None:
    """From settings to record, steps recorded; its losses are nearly those of the CPU's run."""
    with tempfile.TemporaryDirectory() as folder:
        one = make(Path(folder))
        curves = []
        for device in (gpu.device, CPU):
            results = Path(folder) / device.type
            with gpu.recorded() if device == gpu.device else contextlib.nullcontext():
                outcome = execute([one], Job(results, device, parts=1))
            record = records.read(results, one.run_id)
            assert record is not None and outcome == {one.run_id: "finished"}, record
            lines = records.read_metrics(results, one.run_id)
            curves.append([x["loss_bits_per_token"] for x in lines if "loss_bits_per_token" in x])
        ours, theirs = curves
        assert len(ours) == len(theirs) > 1
        worst = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
        assert worst < 0.02, f"losses lie up to {worst:.1%} from the CPU's"


# ----------------------------------------------------------------------------------------- faults


def broken_step(change: Callable) -> Callable[[PretendGPU], None]:
    """Training with a step that does something besides."""

    def work(gpu: PretendGPU) -> None:
        step = loop.step

        def spoiled(stack, state, tokens_MBT, now_MC):
            step(stack, state, tokens_MBT, now_MC)
            change(state, tokens_MBT, now_MC)

        with mock.patch.object(loop, "step", spoiled):
            stacks.trained(members("gpt"), STEPS, gpu.device, loop.record)

    return work


def once_read(gpu: PretendGPU) -> None:
    """A learning rate that the host reads while the step is captured is no wait if it comes from
    the host: only a replay shows that it stays what it was."""
    step, lr = loop.step, iter(range(1, 10**6))

    def spoiled(stack, state, tokens_MBT, now_MC):
        step(stack, state, tokens_MBT, now_MC)
        state.flat_MP.mul_(1.0 - 1e-3 * next(lr))

    with mock.patch.object(loop, "step", spoiled):
        same_steps(gpu, "gpt")


def host_tables(gpu: PretendGPU) -> None:
    """A table that is built on the CPU whatever the device."""
    mean_nll = gpt_module.mean_nll

    def spoiled(x_MND, table_MVD, target_MN, in_tf32=False):
        weight = torch.ones(x_MND.shape[-1])
        return mean_nll(x_MND * weight, table_MVD, target_MN, in_tf32)

    with mock.patch.object(gpt_module, "mean_nll", spoiled):
        stacks.trained(members("gpt"), STEPS, gpu.device)


def numpy_of_the_device(gpu: PretendGPU) -> None:
    torch.zeros(3, device=gpu.device).numpy()


FAULTS: dict[str, tuple[Callable[[PretendGPU], None], str]] = {
    "a number read": (
        broken_step(lambda state, *_: state.loss_sum_M.sum().item()),
        "wait while a graph is captured: aten._local_scalar_dense",
    ),
    "a branch on a tensor": (
        broken_step(lambda state, *_: bool(state.alive_M.all())),
        "wait while a graph is captured",
    ),
    "a list of a tensor": (
        broken_step(lambda state, *_: state.alive_M.tolist()),
        "device to host while a graph is captured: tolist",
    ),
    "a boolean index": (
        broken_step(lambda state, *_: state.flat_MP[state.alive_M]),
        "wait while a graph is captured: aten.index.Tensor by a mask",
    ),
    "nonzero": (
        broken_step(lambda state, *_: state.alive_M.nonzero()),
        "wait while a graph is captured: aten.nonzero",
    ),
    "repeats by a tensor": (
        broken_step(lambda s, *_: s.loss_sum_M.repeat_interleave(s.alive_M.long())),
        "wait while a graph is captured: aten.repeat_interleave",
    ),
    "a copy to the host": (
        broken_step(lambda state, *_: state.loss_sum_M.cpu()),
        "device to host while a graph is captured",
    ),
    "a copy to the device": (
        broken_step(lambda state, *_: torch.ones(2).to(state.loss_sum_M.device)),
        "host to device while a graph is captured",
    ),
    "a new tensor of numbers": (
        broken_step(lambda state, *_: torch.tensor([1.0], device=state.loss_sum_M.device)),
        "host to device while a graph is captured: torch.tensor",
    ),
    "a list as an index": (
        broken_step(lambda state, *_: state.flat_MP[[0]]),
        "host to device while a graph is captured",
    ),
    "a number that changes with the step": (once_read, "of the recorded step is another"),
    "a tensor of the host": (host_tables, "tensors of two devices; on the host: [(8,)]"),
    "numpy of the device": (numpy_of_the_device, "has no numpy view"),
}


def faults() -> Iterator[tuple[str, Callable[[PretendGPU], None]]]:
    """Code that CUDA would refuse has to be refused here, with these words."""
    for name, (work, words) in FAULTS.items():
        yield name, lambda gpu, work=work, words=words: refused(gpu, work, words)


def refused(gpu: PretendGPU, work: Callable[[PretendGPU], None], words: str) -> None:
    try:
        work(gpu)
    except (NotOnAGPU, AssertionError) as error:
        assert words in str(error), f"refused, but by: {error}"
    else:
        raise AssertionError("went through")


def quick() -> Iterator[tuple[str, Callable[[PretendGPU], None]]]:
    """The faults, and the steps of three models."""
    few = ("gpt, fp32, adamw", "moe, two choices, bf16, muon", "people, tf32, adamw")
    yield from ((name, work) for name, work in steps() if name in few)
    yield from faults()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("steps", "runs", "faults", "quick"))
    parser.add_argument("--part", type=int, default=0, help="cases number PART, PART + OF, ...")
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--only", help="cases whose name contains this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = {"steps": steps, "runs": runs, "faults": faults, "quick": quick}[args.what]()
    chosen = [case for i, case in enumerate(cases) if i % args.of == args.part]
    found: dict = {"cases": 0, "wrong": {}, "seen": {}}
    for name, work in chosen:
        if args.only and args.only not in name:
            continue
        found["cases"] += 1
        try:
            with PretendGPU() as gpu:
                work(gpu)
        except Exception as error:
            found["wrong"][name] = f"{type(error).__name__}: {error}"
            print(name, traceback.format_exc(), file=sys.stderr, sep="\n")
        for (kind, _, line), times in gpu.seen.items():
            at = found["seen"].setdefault(kind, {})
            at[line] = at.get(line, 0) + times
    print(json.dumps(found))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
