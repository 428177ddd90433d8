"""Kill a sweep at random a hundred times; its table must end as the undisturbed one, bit for bit on
a CPU.

Trains about 40 small runs twice: once in peace, once while workers, the processes that watch over
them, and (with --slurm) whole jobs are killed, stopped or requeued at random moments, the sweep
being issued again whenever it is gone. Compares tables, weights and logs, and writes what it did to
RESULTS/studies/torture/NAME.json. Exit code 1 if anything differs.

    make torture                                                               on this machine, then
                                                                               on a SLURM of its own
    python tests/helpers/slurm_cluster.py python scripts/torture.py --slurm            in a cluster
                                                                                       that lives
                                                                                       for this
                                                                                       command only
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from capacity import records, run_table
from capacity.base import files
from capacity.study import load_study

STUDY = """\
question: does a sweep that is killed all the time end as one that is not?
pins: [data.vocab_size=16, data.seq_len=8, train.batch_size=8, train.warmup_steps=10, train.steps={steps}, cluster.device=cpu,
       cluster.checkpoint_seconds=0.3, cluster.stack=4, cluster.workers={workers}]
grids:
- model.d_model: [8, 16]
  data.n_sequences: [20, 60]
  seed: "range(0,10)"
"""  # noqa: E501
QUEUE = [
    "cluster=slurm",
    "cluster.gpus=0",
    "cluster.cpus=1",
    "cluster.workers=1",
    "cluster.mem=100M",
    "cluster.signal_seconds=5",
    "cluster.pack_minutes=0.2",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument(
        "--steps", type=int, default=12000, help="of each run; more make the sweep longer"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between two kills")
    parser.add_argument("--slurm", action="store_true", help="on the SLURM of this environment")
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    name = "slurm" if args.slurm else "local"
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        told = torture(Path(folder), args)
    path = args.results / "studies" / "torture" / f"{name}.json"
    files.write_json(path, told)
    print(json.dumps(told, indent=1))
    print(path)
    return 0 if not told["differences"] else 1


def torture(folder: Path, args: argparse.Namespace) -> dict:
    """What was done, and every difference that it made."""
    (folder / "s.yaml").write_text(STUDY.format(steps=args.steps, workers=2))
    runs = load_study(str(folder / "s.yaml"), []).runs
    began = time.monotonic()
    subprocess.run(
        _sweep("peace"),
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peace_s, began = time.monotonic() - began, time.monotonic()
    print(f"{len(runs)} runs in peace: {peace_s:.0f} s", flush=True)
    dice, done, failures, issued = random.Random(args.seed), collections.Counter(), 0, 0
    war, sweep = folder / "war", None
    while True:
        states = collections.Counter(records.status(war, run.run_id) for run in runs)
        if sweep is not None and sweep.poll() is not None:
            sweep = None
        if states["finished"] == len(runs):
            break
        if sweep is None and (
            not args.slurm or issued == 0 or dice.random() < 0.3 or states["running"] == 0
        ):
            failures += states["failed"]
            sweep = subprocess.Popen(
                _sweep("war", "--retry-failed", *(QUEUE if args.slurm else [])),
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=open(folder / "war.log", "ab"),  # noqa: SIM115
            )
            issued += 1
        time.sleep(dice.uniform(0.1, 2 * args.pause - 0.1))
        if sum(done.values()) < args.kills and (blow := _strike(dice, folder, sweep, args.slurm)):
            done[blow] += 1
            if sum(done.values()) % 10 == 0:
                print(
                    f"{sum(done.values()):4d} blows, {time.monotonic() - began:4.0f} s, "
                    f"{dict(states)}",
                    flush=True,
                )
    if sweep is not None:
        sweep.wait()
    return {
        "where": "a SLURM of one node" if args.slurm else "two workers on one machine",
        "runs": len(runs),
        "steps": args.steps,
        "seed": args.seed,
        "blows": sum(done.values()),
        "by_kind": dict(sorted(done.items())),
        "sweeps_issued": issued,
        "runs_recorded_as_failed_and_tried_again": failures,
        "seconds_in_peace": round(peace_s, 1),
        "seconds_at_war": round(time.monotonic() - began, 1),
        "differences": differences(folder / "peace", war, runs),
    }


def _sweep(results: str, *args: str) -> list[str]:
    return [sys.executable, "-m", "capacity", "sweep", "s.yaml", "--results", results, *args]


def _strike(
    dice: random.Random, folder: Path, sweep: subprocess.Popen | None, slurm: bool
) -> str | None:
    """Hit one process or job at random; returns what was hit, None if there was nothing."""
    trainers, watchers = _ours(folder)
    choices = {"a training process, SIGKILL": trainers, "a training process, SIGTERM": trainers}
    if slurm:
        jobs = subprocess.run(
            ["squeue", "-h", "-r", "-t", "RUNNING", "-o", "%F_%K"],
            check=False,
            capture_output=True,
            text=True,  # noqa: E501
        ).stdout.split()
        choices |= {
            "the watching process of an element, SIGKILL": watchers,
            "an element, the signal before its limit": jobs,
            "an element, requeued": jobs,
            "an element, scancel": jobs,
        }
    elif sweep is not None:
        choices |= {f"the sweep, {name}": [sweep.pid] for name in ("SIGKILL", "SIGTERM", "SIGINT")}
    there = [kind for kind in sorted(choices) if choices[kind]]
    if not there:
        return None
    kind = dice.choice([kind for kind in there for _ in range(1 + kind.startswith("a training"))])
    victim = dice.choice(sorted(choices[kind]))
    command = {
        "an element, the signal before its limit": ["scancel", "--signal=USR1", "--batch"],
        "an element, requeued": ["scontrol", "requeue"],
        "an element, scancel": ["scancel"],
    }.get(kind)
    if command is not None:
        return (
            kind
            if subprocess.run([*command, victim], check=False, capture_output=True).returncode == 0
            else None
        )
    try:
        os.kill(victim, getattr(signal, kind.split()[-1]))
    except ProcessLookupError:
        return None
    return kind


def _ours(folder: Path) -> tuple[list[int], list[int]]:
    """Processes that train stacks below this folder, and those that watch over a pack in a
    queue."""
    trainers, watchers = [], []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "worker" in words and any(word.startswith(str(folder)) for word in words):
            (trainers if "--runs" in words else watchers).append(int(path.parent.name))
    return trainers, watchers


def differences(peace: Path, war: Path, runs: list) -> list[str]:
    """Every number of the tables, every weight, every logged loss that is not the same."""
    found = []
    tables = [run_table.table(results, runs).drop(columns="wall_s") for results in (peace, war)]
    for name in tables[0]:
        if not tables[0][name].equals(tables[1][name]):
            found.append(f"table: {name}")
    for run in runs:
        folders = [records.run_dir(results, run.run_id) for results in (peace, war)]
        if len({(folder / "weights.safetensors").read_bytes() for folder in folders}) > 1:
            found.append(f"{run.run_id}: weights")
        lines = [
            [
                {k: v for k, v in line.items() if k != "wall_s"}
                for line in records.read_metrics(results, run.run_id)
            ]
            for results in (peace, war)
        ]
        if lines[0] != lines[1]:
            found.append(f"{run.run_id}: metrics.jsonl")
        kept = (
            records.read(war, run.run_id)["measures"],
            records.read(peace, run.run_id)["measures"],
        )
        if kept[0] != kept[1]:
            found.append(f"{run.run_id}: measures")
        left = [path.name for path in folders[1].iterdir() if path.name == "checkpoint.safetensors"]
        found += [f"{run.run_id}: {name} is left" for name in left]
    return found


if __name__ == "__main__":
    sys.exit(main())
