"""Threads: steps with all threads over steps with one, alone and beside a load."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable

import torch

from benchmarks.models import SIZES, config, trainer
from benchmarks.timing import CPU, spread, timed
from capacity.base.hardware import most_threads

# size and members, from the least step that two threads might share to one that they certainly do
THREADED = [("0.02M", 1), ("0.02M", 4), ("0.1M", 4), ("0.3M", 4), ("1M", 4), ("3M", 4)]


def threads(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Model-steps per second with all threads over those with one, measured in turns: alone, and
    beside a process that keeps one core busy. By shape, with the FLOP of its step, which
    `capacity.base.hardware.SHARED_FLOP` decides by."""
    most = most_threads()
    if device.type != "cpu" or most < 2:
        print("  needs a CPU and two threads")
        return None
    waits = os.environ["OMP_WAIT_POLICY"]
    load = os.getloadavg()[0]  # of everything else here: alone is alone on a quiet machine only
    print(
        f"  1 against {most} threads, {waits} waiting, V 256, S 64, batch 16; median (low to high) "
        f"of ratios"
    )
    print("  size  members  MFLOP/step    step, 1 thread        alone                beside a load")
    rows = []
    for name, members in THREADED:
        configs = [config(SIZES[name], 256, 64, 16, seed, "fp32") for seed in range(members)]
        run, flop = trainer(configs, device), sum(c.flops / c.steps for c in configs)
        ratios, single = {}, {}
        for place in ("alone", "beside a load"):
            busy = (
                []
                if place == "alone"
                else [subprocess.Popen([sys.executable, "-c", "while True: pass"])]
            )
            try:
                ratios[place], single[place] = in_turns(run, most, repeats)
            finally:
                for process in busy:
                    process.kill()
                    process.wait()
        torch.set_num_threads(most)
        rows.append(
            {
                "size": name,
                "members": members,
                "flop_per_step": flop,
                "step_s": single,
                "ratio": ratios,
            }
        )
        told = "  ".join(
            f"{r['median']:6.2f} ({r['low']:.2f} to {r['high']:.2f})" for r in ratios.values()
        )
        print(
            f"  {name:6s}{members:>7}{flop / 1e6:>12,.0f}{1e3 * single['alone']:>14,.1f} ms  "
            f"{told}",
            flush=True,
        )
    return {"threads": most, "waiting": waits, "load_before": load, "rows": rows}


def in_turns(run: Callable[[int], None], most: int, repeats: int) -> tuple[dict, float]:
    """(ratios of speed with `most` threads over one, seconds of a step with one)."""
    torch.set_num_threads(1)
    run(3)
    n = max(2, min(200, int(0.3 / (timed(CPU, lambda: run(3)) / 3))))
    ratios, single = [], []
    for _ in range(repeats):
        seconds = {}
        for count in (1, most):
            torch.set_num_threads(count)
            run(1)
            seconds[count] = timed(CPU, lambda: run(n))
        ratios.append(seconds[1] / seconds[most])
        single.append(seconds[1] / n)
    return spread(ratios), statistics.median(single)
