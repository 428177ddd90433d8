"""`make bench`: how fast families of tiny models train, beside the machine's roofline and a plain
PyTorch loop.

Prints tables and writes results/bench/DEVICE.json after each part. Numbers are medians over repeats
after a warm-up, with the smallest and largest; ratios are formed within one process, the two sides
taking turns, so that a slow machine does not move them. Parts that need what is not installed
(hydra for start-up and planning, transformers for the plain loop) say so and are left out. On a GPU
(`make gpu-bench`) the plain loop is compiled, once: in `plain`.

  machine  bytes copied per second, matrix products in FLOP per second
  stacks   steps of models of 0.02M to 10M parameters, alone and in stacks
  plain    the same model in a loop of the usual kind around transformers' GPT-2, one model at a
           time
  peers    the same stacks by JAX's vmap and jit with optax, and by torch.func.vmap, whose losses
           have to be ours
  render   biographies, and what part of training that is
  cost     coefficients of the cost model from random shapes, and its error on others and on stacks
           of the pocket studies
  score    100,000 sequences by all attacks that need one model, beside one forward pass with the
           loss only, and peak memory
  fits     a fit of 500 runs, and 4,000 cluster bootstraps of it
  threads  steps with all threads over steps with one, alone and beside a process that keeps one
           core busy
  start    seconds until a command is there, and until a thousand runs are planned
  variants steps of every model preset over those of the plain GPT of its layers and width:
           results/bench/variants_DEVICE.json
  ops      launches and bytes of a step on a GPU, of torch's operations and with kernels, counted on
           tensors without numbers: results/bench/ops.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from capacity.base.hardware import most_threads, rest_idle_threads

rest_idle_threads()  # as workers do, before torch is there

import torch

from benchmarks.commands import fits, start
from benchmarks.cost import model_of_cost
from benchmarks.measuring import render, score
from benchmarks.ops import ops
from benchmarks.peers import peers
from benchmarks.threads import threads
from benchmarks.timing import installed
from benchmarks.training import machine, plain, speed, stacks
from benchmarks.variants import variants
from capacity.base.files import write_json
from capacity.base.hardware import pick_device
from capacity.run.environment import environment, keep_freed_memory

PARTS = {
    "machine": machine,
    "stacks": stacks,
    "plain": plain,
    "peers": peers,
    "render": render,
    "cost": model_of_cost,
    "score": score,
    "fits": fits,
    "threads": threads,
    "start": start,
    "variants": variants,
    "ops": ops,
}
# where a part stands in the file, if not under its own name: `threads` is their number there
PLACES = {"threads": "two_threads"}
# Counted, or ratios that another machine may tell, too: a file of their own
OWN = {"ops": "ops.json", "variants": "variants_{device}.json"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    device = pick_device(args.device)
    torch.set_num_threads(most_threads())
    keep_freed_memory()
    out = {
        "environment": environment(device),
        "threads": torch.get_num_threads(),
        "repeats": args.repeats,
    }
    print(
        f"{out['environment']['hardware']}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}"
    )
    path = args.results / "bench" / f"{device.type}.json"
    out |= kept(path, out, args.only)
    for name in args.only:
        print(f"\n{name}")
        if name in OWN:
            own = args.results / "bench" / OWN[name].format(device=device.type)
            about = {"git": out["environment"]["git"]}
            if name != "ops":
                about = {"environment": out["environment"], "repeats": args.repeats}
            write_json(own, {**about, **PARTS[name](device, args.repeats, out)})
            print(f"  {own}")
            continue
        out[place(name)] = PARTS[name](device, args.repeats, out)
        out["commits"][name] = out["environment"]["git"]
        if "stacks" in out and installed("scipy"):
            if name == "stacks" or "speed" not in out:
                threads = out["threads"] if device.type == "cpu" else 1
                out["speed"] = out.get("speed", {}) | speed(out["stacks"]["rows"], threads)
            if out.get("cost"):
                out["speed"] |= {
                    "terms": out["cost"]["terms"],
                    "precisions": out["cost"]["precisions"],
                    "error": out["cost"]["errors"]["held_out"],
                }
        write_json(path, out)  # what is known is kept, whatever ends the next part
    if set(args.only) - set(OWN):
        print(f"\n{path}")


def place(name: str) -> str:
    """Where a part stands in the file."""
    return PLACES.get(name, name)


def kept(path: Path, out: dict, only: list[str]) -> dict:
    """Parts of an earlier benchmark of this machine, with the commits that they were measured at,
    but for those that are measured now; none of another machine, number of threads or torch."""
    try:
        before = json.loads(path.read_bytes())
        same = all(before[k] == out[k] for k in ("threads", "repeats")) and all(
            before["environment"][k] == out["environment"][k]
            for k in ("hardware", "cores", "torch")
        )
    except (OSError, ValueError, KeyError):
        return {"commits": {}}
    places = {
        name: place(name) for name in PARTS if same and name not in only and place(name) in before
    }
    return {
        "commits": {
            name: before.get("commits", {}).get(name, before["environment"]["git"])
            for name in places
        }
    } | {key: before[key] for key in places.values()}


if __name__ == "__main__":
    main()
