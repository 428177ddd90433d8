"""Models and runs that the tests of GPUs and the first run on one have in common."""

import dataclasses

import torch

from capacity.config import from_dict
from capacity.settings.model import Model

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROTARY = Model(n_layers=2, d_model=24, n_heads=6, position="rotary")
LLAMA = dataclasses.replace(
    ROTARY, norm="rmsnorm", mlp="gated", activation="silu", mlp_ratio=8 / 3, bias=False, tied=False
)
MODELS = {
    "gpt": Model(n_layers=2, d_model=24, n_heads=6),
    "rotary": ROTARY,
    "llama": LLAMA,
    "mistral": dataclasses.replace(LLAMA, n_kv_heads=3, mlp_ratio=3.5),
    "quarter": dataclasses.replace(ROTARY, mlp_ratio=1.0),
    "no mlp": dataclasses.replace(ROTARY, mlp_ratio=0.0),
    "moe": dataclasses.replace(ROTARY, n_experts=4, mlp_ratio=1.0),
    "moe, two": dataclasses.replace(ROTARY, n_experts=4, mlp_ratio=1.0, top_k=2),
}
PEOPLE = {
    "kind": "bios",
    "n_people": 60,
    "seq_len": 48,
    "first_names": 20,
    "middle_names": 0,
    "last_names": 50,
    "cities": 6,
    "universities": 7,
    "majors": 5,
    "employers": 9,
    "templates": 4,
    "vocabulary": "world",
}


def config(seed=0, name="gpt", kind="uniform", **train):
    data = (
        PEOPLE
        if kind == "people"
        else {"vocab_size": 50, "seq_len": 16, "n_sequences": 40 + 9 * seed}
    )
    return from_dict(
        {
            "data": data,
            "model": dataclasses.asdict(MODELS[name]),
            "seed": seed,
            "train": {"steps": 300, "batch_size": 8, "warmup_steps": 5} | train,
        }
    )
