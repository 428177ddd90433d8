"""What a training step of each model preset costs beside the plain GPT of the same layers, width
and data: one model, and a stack of eight narrow ones.

Both sides take turns in one process, in seconds of CPU (of a clock on a GPU), by one thread, so
that a load on the machine moves neither; a ratio is that of a turn to the turns of the plain model
around it.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.models import trainer
from benchmarks.timing import per_step, spread
from capacity.base.errors import ConfigError
from capacity.config import Config, from_dict
from capacity.work import of_member

PLAIN = "gpt"
LEFT_OUT = ("gpt2_small", "pocket")  # the same form in other sizes
PRESETS = Path(__file__).resolve().parents[2] / "conf" / "model"
# layers, width, heads; rows of the token table, positions, sequences of a batch; members
SHAPES = {
    "one": ((2, 64, 4), (512, 64, 32), 1),
    "stack": ((2, 16, 2), (256, 32, 32), 8),
}
SLICE_S = 0.1  # of one side between two of the other


def variants(device: torch.device, repeats: int, out: dict) -> dict[str, Any]:
    """By shape and preset: seconds of a step over the plain model's (median, low, high), FLOPs over
    its FLOPs, parameters in all and those that a token uses; the plain model's seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, ((layers, width, _), (vocab, length, batch), members) in SHAPES.items():
        called = f"{layers} layers, d {width}, V {vocab}, S {length}, batch {batch}"
        called = f"{members} x {called}" if members > 1 else called
        print(f"  {called}")
        beside = Beside(stack(PLAIN, name), device, repeats)
        rows = {}
        for preset in sorted(path.stem for path in PRESETS.glob("*.yaml")):
            if preset == PLAIN or preset in LEFT_OUT:
                continue
            try:
                runs = stack(preset, name)
            except ConfigError as error:
                print(f"  {preset}: {error}")
                continue
            plain = beside.runs[0]
            rows[preset] = {
                "seconds": spread(beside.ratios(runs)),
                "flops": of_member(runs[0])["flop"] / of_member(plain)["flop"],
                "total": runs[0].parameters["total"],
                "active": runs[0].parameters["active"],
            }
            seen = rows[preset]["seconds"]
            print(
                f"  {preset:15s} {seen['median']:6.2f} ({seen['low']:.2f} to {seen['high']:.2f}) "
                f"x the time, {rows[preset]['flops']:.2f} x the FLOPs"
            )
        found[name] = {
            "shape": called,
            "plain_s": beside.quickest,
            "plain_total": beside.runs[0].parameters["total"],
            "rows": rows,
        }
    torch.set_num_threads(before)
    return found


def stack(preset: str, shape: str) -> list[Config]:
    """Runs of one preset at a shape. ConfigError where its form does not allow it."""
    (layers, width, heads), (vocab, length, batch), members = SHAPES[shape]
    model = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text(encoding="utf-8"))
    model |= {"n_layers": layers, "d_model": width, "n_heads": heads}
    return [
        from_dict(
            {
                "data": {"vocab_size": vocab, "seq_len": length, "n_sequences": 1000},
                "model": model,
                "seed": seed,
                "train": {"steps": 10**6, "batch_size": batch},
            }
        )
        for seed in range(members)
    ]


class Beside:
    """Times stacks in turns with a plain one."""

    def __init__(self, runs: list[Config], device: torch.device, repeats: int) -> None:
        self.runs, self.device, self.repeats = runs, device, repeats
        self.plain = trainer(runs, device)
        self.plain(3)
        self.quickest = math.inf

    def ratios(self, runs: list[Config]) -> list[float]:
        """Seconds of a step over those of the plain stack, a value per turn."""
        run = trainer(runs, self.device)
        run(2)
        steps = max(1, int(SLICE_S / max(1e-5, per_step(self.device, run, 1))))
        plain = max(1, int(SLICE_S / max(1e-5, per_step(self.device, self.plain, 1))))
        beside, here = [per_step(self.device, self.plain, plain)], []
        for _ in range(self.repeats):
            here.append(per_step(self.device, run, steps))
            beside.append(per_step(self.device, self.plain, plain))
        self.quickest = min(self.quickest, statistics.median(beside))
        around = zip(here, beside, beside[1:], strict=False)
        return [x / math.sqrt(a * b) for x, a, b in around]
