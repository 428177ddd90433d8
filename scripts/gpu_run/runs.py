"""Runs and stacks that the steps measure."""

from __future__ import annotations

GPT2_SMALLEST = {
    "n_layers": 2,
    "d_model": 128,
    "n_heads": 2,
    "position": "rotary",
}  # GPT2-2-2 of the studies of people


def run_config(
    model: dict,
    vocab: int,
    length: int,
    batch: int,
    seed: int = 0,
    precision: str = "bf16",
    compile: str = "never",
    sequences: int = 1000,
    **train,
):
    """A run on uniform tokens."""
    from capacity.config import from_dict

    return from_dict(
        {
            "cluster": {"compile": compile},
            "data": {"vocab_size": vocab, "seq_len": length, "n_sequences": sequences},
            "model": model,
            "seed": seed,
            "train": {"steps": 10**6, "batch_size": batch, "precision": precision} | train,
        }
    )


def sized(name: str) -> dict:
    """The model of this size in scripts/benchmarks/."""
    from benchmarks.models import SIZES

    layers, width, heads = SIZES[name]
    return {"n_layers": layers, "d_model": width, "n_heads": heads}


def new_stack(configs: list, device, same: bool = True):
    """A stack and its state; same: all members begin with the weights of the first, which are
    drawn once."""
    from capacity.train.loop import Stack

    stack = Stack(configs, device)
    if same:
        first = stack.gpt.init([configs[0].seed]).to(device)
        stack.gpt.init = lambda seeds: first.repeat(len(seeds), 1)
    return stack, stack.start()


def batch_of(stack, seed: int = 0):
    """Random tokens int64 [M, B, T] and a row of the schedule, on the device."""
    import torch

    config = stack.configs[0]
    generator = torch.Generator(stack.device).manual_seed(seed)
    tokens = torch.randint(
        0,
        config.rows,
        (len(stack.configs), config.train.batch_size, config.data.seq_len),
        generator=generator,
        device=stack.device,
    )
    return tokens, torch.from_numpy(stack.schedule.rows(300, 1)[0]).to(stack.device)
