"""`make bench`: how fast biographies are rendered, beside the training step that waits for them.

Prints a table and writes results/bench/render-DEVICE.json. Each number is the median over repeats after a warm-up, with the
smallest and largest; the ratio to the step is formed within one process, so a slow machine does not move it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch

from capacity.compose import load
from capacity.data.feed import CHUNK_TOKENS
from capacity.data.stream import MemberStream
from capacity.records import write_json
from capacity.run import environment, pick_device
from capacity.train.loop import Stack, advance

CASES = {
    "bios": ["data=bios"],
    "bios, 7/8 junk": ["data=bios", "data.other_people=100000000", "data.other_parts=7"],
    "bios, mixed windows": ["data=bios", "data.other_people=1000", "data.other_parts=7", "data.windows=mixed", "data.tag=main"],
    "bios_pocket": ["data=bios_pocket"],
    "biod": ["data=biod"],
}
STEPS = {"GPT2-2-2 on bios, batch 12 x 512": ["data=bios", "model=gpt2_rotary", "train=physics33"],
         "pocket on bios_pocket": ["data=bios_pocket", "model=pocket", "train=pocket_bios"]}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def rendering(overrides: list[str], device: torch.device, repeats: int) -> list[float]:
    """Tokens per second of each repeat; a repeat is one chunk, as training asks for it."""
    config = load(overrides + ["train=physics33"])
    stream = MemberStream(config, device)
    per_chunk = max(1, CHUNK_TOKENS // config.data.seq_len)
    cursor, rates = [0, 0, 0, 0], []
    for i in range(repeats + 2):
        synchronize(device)
        began = time.perf_counter()
        if i:
            cursor = stream.cursor_at(i * per_chunk)
        stream.windows(cursor, i * per_chunk, per_chunk)
        synchronize(device)
        rates.append(per_chunk * config.data.seq_len / (time.perf_counter() - began))
    return rates[2:]


def training(overrides: list[str], device: torch.device, steps: int) -> tuple[float, float]:
    """Tokens per second of training, and the part of its time that went into rendering."""
    stack = Stack([load(overrides + [f"train.steps={10**6}", "train.exposures=null"])], device)
    state = stack.start()
    advance(stack, state, 3, lambda: False)
    spent = [0.0]
    real = stack.feed._load

    def timed(*args) -> None:
        synchronize(device)
        began = time.perf_counter()
        real(*args)
        synchronize(device)
        spent[0] += time.perf_counter() - began

    stack.feed._load = timed
    stack.feed.loaded, stack.feed.tokens = None, None  # the timed part renders its own chunk
    state.step = 0
    synchronize(device)
    began = time.perf_counter()
    advance(stack, state, steps, lambda: False)
    synchronize(device)
    wall = time.perf_counter() - began
    chunks = -(-steps // stack.feed.steps_per_chunk)
    whole = spent[0] / chunks / stack.feed.steps_per_chunk * steps  # of the steps that were run, not of the whole last chunk
    per_step = stack.train.batch_size * stack.configs[0].data.seq_len
    return steps * per_step / (wall - spent[0] + whole), whole / (wall - spent[0] + whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60, help="training steps that are timed")
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    device = pick_device(args.device)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    out = {"environment": environment(device), "threads": torch.get_num_threads(), "rendering": {}, "training": {}}
    print(f"{out['environment']['hardware']}, {torch.get_num_threads()} threads")
    print("rendering              million tokens/s: median (smallest to largest)")
    for name, overrides in CASES.items():
        rates = [r / 1e6 for r in rendering(overrides, device, args.repeats)]
        out["rendering"][name] = rates
        print(f"  {name:22s} {statistics.median(rates):8.2f} ({min(rates):.2f} to {max(rates):.2f})")
    print("training                                 million tokens/s, of it rendering")
    for name, overrides in STEPS.items():
        rate, part = training(overrides, device, args.steps)
        out["training"][name] = {"tokens_per_s": rate, "part_rendering": part}
        print(f"  {name:36s} {rate / 1e6:8.3f}  {part:7.2%}")
    path = args.results / "bench" / f"render-{device.type}.json"
    write_json(path, json.loads(json.dumps(out)))
    print(path)


if __name__ == "__main__":
    main()
