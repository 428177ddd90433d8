"""`make gpu-check`: the tests of GPUs in four minutes, results written as they come.

No hydra, no network; by several processes where pytest-xdist is installed. OUT/3_gpu_tests.jsonl
has a line for each test that has ended, .log what pytest prints, .xml all of it at the end. Exit
code 1 where a test failed or the time did not suffice, 2 where there is no device.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gpu_run.testing import run_tests


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--workers", default="8")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    args = parser.parse_args()
    if args.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            print("no CUDA device is visible to torch", file=sys.stderr)
            return 2
    told = run_tests(args.out.resolve(), args.seconds, args.workers, say)
    print(args.out)
    return 0 if set(told["codes"]) == {0} else 1


def say(label: str, value: object, unit: str, predicted: float | None, note: str) -> None:
    shown = f"{value:.1f}" if isinstance(value, float) else str(value)
    print(f"{label}: {shown} {unit} {note}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
