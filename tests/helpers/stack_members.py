"""Members of stacks: every variant of the model in a size that trains in a second."""

import dataclasses

import torch
from torch.fx.experimental.proxy_tensor import make_fx

import stacks
from capacity.config import from_dict
from capacity.run.job import Job
from capacity.run.run import execute
from capacity.train import loop
from capacity.train.optim import COLUMNS

CPU = torch.device("cpu")
PEOPLE = {
    "kind": "bios",
    "n_people": 40,
    "seq_len": 24,
    "first_names": 20,
    "middle_names": 0,
    "last_names": 50,
    "years": 0,
    "cities": 6,
    "universities": 0,
    "majors": 5,
    "employers": 0,
    "templates": 4,
    "vocabulary": "world",
}
VARIANTS = {
    "gpt": {},
    "rotary": {"position": "rotary", "bias": False, "tied": False},
    "llama": {
        "position": "rotary",
        "norm": "rmsnorm",
        "mlp": "gated",
        "activation": "silu",
        "mlp_ratio": 8 / 3,
        "bias": False,
        "tied": False,
    },
    "mistral": {
        "position": "rotary",
        "norm": "rmsnorm",
        "mlp": "gated",
        "activation": "silu",
        "mlp_ratio": 3.5,
        "bias": False,
        "n_kv_heads": 1,
    },
    "quarter": {"mlp_ratio": 1.0, "n_layers": 2},
    "no mlp": {"mlp_ratio": 0.0},
    "moe": {"n_experts": 4, "mlp_ratio": 1.0},
    "people": {"position": "rotary"},
    "people, documents apart": {"position": "rotary", "document_mask": True},
    "rows and people": {"position": "rotary"},
    "copies": {"position": "none", "mixer": "delta", "mixer_conv": True},
    "recall": {"position": "rotary"},
}
FRESH = {
    "rows and people": PEOPLE | {"kind": "mixed", "n_rows": 30, "row_len": 5},
    "copies": {"kind": "copy", "vocab_size": 16, "copy_length": 4},
    "recall": {"kind": "mqar", "vocab_size": 16, "seq_len": 12, "pairs": 2},
}


def config(seed=0, variant="gpt", precision="fp32", **train):
    data = (
        PEOPLE
        if variant.startswith("people")
        else FRESH.get(variant, {"vocab_size": 16, "seq_len": 8, "n_sequences": 30 + 7 * seed})
    )
    return from_dict(
        {
            "data": data,
            "model": {"d_model": 8, "n_heads": 2} | VARIANTS[variant],
            "seed": seed,
            "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5, "precision": precision}
            | train,
        }
    )


def members(variant="gpt", precision="fp32", lengths=(60, 60, 60)):
    return [
        config(0, variant, precision, steps=lengths[0]),
        config(1, variant, precision, steps=lengths[1], lr=0.003),
        config(
            2,
            variant,
            precision,
            steps=lengths[2],
            weight_decay=0.1,
            grad_clip=0.2,
            beta2=0.95,
            warmup_steps=0,
        ),
    ]


def trained(configs, until, stepper=None):
    return stacks.trained(configs, until, CPU, stepper)


def traced(stack, state):
    """The step as operations on tensors alone, taken down once, with numbers that are not those of
    the run."""
    tensors = [getattr(state, name) for name in loop.CHANGED]

    def one(tokens, now, *tensors):
        loop.step(
            stack,
            dataclasses.replace(state, **dict(zip(loop.CHANGED, tensors, strict=True))),
            tokens,
            now,
        )
        return ()

    T = stack.gpt.seq_len + (not stack.gpt.bos)
    tokens = torch.zeros(
        len(stack.configs), stack.configs[0].train.batch_size, T, dtype=torch.int64
    )
    taken = make_fx(one)(
        tokens, torch.zeros(len(stack.configs), COLUMNS), *[t.clone() for t in tensors]
    )
    return lambda tokens, now: taken(tokens, now, *tensors)


def run(configs, results, stop=lambda: False, report=lambda event: None):
    return execute(configs, Job(results, CPU, None, report, stop))
