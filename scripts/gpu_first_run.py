"""First run on a GPU, in two parts of five minutes: what was predicted beside what is measured.

    python3 scripts/gpu_first_run.py --part 1 --out DIR   capture, tests, step times, attention
    python3 scripts/gpu_first_run.py --part 2 --out DIR   equal bits, compile, feed, a pack, limits
    python3 scripts/gpu_first_run.py --make-pack          beforehand: gpu_pack/, for part 2

No hydra, no network. Every step is a process of its own with a time limit; it writes what it has
found at once, and none can stop the others. A part ends by its deadline, leaves out what no longer
fits and says so; its last lines are a table of measured beside predicted numbers (of an H200; good
to a factor of 1.5, attention to a factor of 2). `--device cpu --small` goes through every step on a
CPU, in two to three minutes.

  1_env.json        versions, copy bandwidth, large matrix products; the outcome of the tests
  2_smoke.json      eight models in fp32 and bf16: replays of a captured step, plain steps
  3_gpu_tests.xml   tests/gpu, its memory tests alone; .log, and .jsonl with a line for each test
  4_steps.json      milliseconds per step by graph replay, peak memory against the plan
  5_kernels.json    kernels of a plain step, in groups
  6_attention.json  backends of attention: time, error against fp64, equal bits
  7_bits.json       trainings twice and interrupted, bit for bit; batches at the backends' limits
  8_tuning.json     HEAD_CHUNK, compile, feed and rendering, a pack, hardware counters
  log.txt           whatever the steps print
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from gpu_run.attention import attention
from gpu_run.bench import Bench, Book
from gpu_run.equal_bits import bisect, bits
from gpu_run.kernels import counters, kernels
from gpu_run.limits import limits
from gpu_run.machine import env, smoke, tests
from gpu_run.pack import make_pack, pack
from gpu_run.parts import PARTS, run_part
from gpu_run.processes import PACK
from gpu_run.step_times import compile, steps
from gpu_run.tuning import feed, head_chunk

STEPS = {
    function.__name__: function
    for function in (
        env,
        smoke,
        tests,
        steps,
        kernels,
        attention,
        bisect,
        bits,
        head_chunk,
        compile,
        feed,
        pack,
        counters,
        limits,
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", type=int, choices=(1, 2))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script itself")
    parser.add_argument("--only", nargs="*", help="steps of the part; all where absent")
    parser.add_argument("--deadline", type=float, help="seconds of the part")
    parser.add_argument(
        "--smoke", type=Path, help="2_smoke.json of part 1, whose failures part 2 takes apart"
    )
    parser.add_argument("--make-pack", action="store_true", help="write gpu_pack/ and end")
    parser.add_argument("--step", help=argparse.SUPPRESS)  # a step in its own process
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make_pack:
        make_pack(PACK)
        return 0
    if args.out is None or (args.part is None and args.step is None):
        parser.error("give --part and --out, or --make-pack")
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    return run_step(args) if args.step else run_part(args)


def run_step(args: argparse.Namespace) -> int:
    """One step, in this process."""
    began = time.monotonic()
    file = next(step.file for steps in PARTS.values() for step in steps if step.name == args.step)
    book = Book(args.out / file, args.step)
    try:
        import torch

        if args.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("no CUDA device is visible to torch")
        if args.device == "cpu":
            torch.set_num_threads(1)
        bench = Bench(
            torch.device(args.device), args.small, book, args.out, args.seconds, began, args.smoke
        )
        STEPS[args.step](bench)
    except Exception:
        book.failed(args.step)
        return 1
    finally:
        book.put(seconds=round(time.monotonic() - began, 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
