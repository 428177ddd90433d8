"""Models and runs that the benchmark and the first run on a GPU have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch

from capacity.config import Config, from_dict
from capacity.train.loop import Stack, advance

# name -> layers, width, heads; with V = 256 and S = 64 the models have about as many parameters
SIZES = {
    "0.02M": (2, 24, 3),
    "0.1M": (2, 56, 7),
    "0.3M": (2, 104, 13),
    "1M": (2, 200, 25),
    "3M": (2, 344, 43),
    "10M": (2, 640, 80),
}
WORDS = {"kind": "bios", "n_people": 10000}
RENDER = {
    "bios": WORDS,
    "bios, 7/8 junk": WORDS | {"other_people": 10**8, "other_parts": 7},
    "bios, mixed windows": WORDS
    | {"other_people": 1000, "other_parts": 7, "windows": "mixed", "tag": "main"},
    "biod": {"kind": "biod", "n_people": 10000},
}


def config(  # noqa: PLR0913
    shape: tuple[int, int, int],
    vocab: int,
    length: int,
    batch: int,
    seed: int,
    precision: str,
    compile: str = "never",
) -> Config:
    layers, width, heads = shape
    return from_dict(
        {
            "cluster": {"compile": compile},
            "data": {"vocab_size": vocab, "seq_len": length, "n_sequences": 1000},
            "model": {"n_layers": layers, "d_model": width, "n_heads": heads},
            "seed": seed,
            "train": {"steps": 10**6, "batch_size": batch, "precision": precision},
        }
    )


def people(data: dict, seed: int = 0) -> Config:
    """GPT2-2-2 with the paper's batch for N = 50K."""
    return from_dict(
        {
            "data": data,
            "model": {"n_layers": 2, "d_model": 128, "n_heads": 2, "position": "rotary"},
            "seed": seed,
            "train": {"steps": 10**6, "batch_size": 12},
        }
    )


def trainer(configs: list[Config], device: torch.device) -> Callable[[int], None]:
    """A function that trains so many steps."""
    stack = Stack(configs, device)
    state = stack.start()
    return lambda steps: advance(stack, state, state.step + steps, lambda: False)
