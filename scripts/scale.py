"""`make scale`: what the commands of a large study need, tried on synthetic records.

Writes a study file of 20,000 runs and for every run the folder that a finished run leaves (its
numbers are planted, its weights are a hole in the file system), then times `status`, `table`,
`fit-laws`, `report` and `sweep --dry-run` on it, each as a process of its own: seconds, seconds of
CPU, peak memory. Writes results/bench/scale.json, which docs/explanation/scale.md quotes.

python scripts/scale.py --runs 2000 --dry     # a tenth of it, printed and not kept
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from capacity import archive, records
from capacity.base.files import write_json
from capacity.base.hardware import cores, cpu_name
from capacity.base.rng import derived_seed
from capacity.config import Config
from capacity.study import load_study

RUNS, NODES = 20_000, 1000
LAYERS, WIDTHS, LOADS = (1, 2, 3, 4, 6), (16, 24, 32, 48, 64), (1.0, 2.0, 4.0, 6.0, 8.0)
PER_SEED = len(LAYERS) * len(WIDTHS) * len(LOADS)  # runs
LOG_LINES = 110  # of a run: LOG_POINTS and its evaluations
PLANTED, SPREAD = 3.0, 0.02  # bits per parameter, and how models and seeds scatter around it
ROOT = Path(__file__).resolve().parents[1]


def study_file(runs: int) -> str:
    """A study of random data with at least so many runs: models, loads, seeds."""
    return (
        "question: how many bits per parameter do many small GPTs hold of random data?\n"
        "pins: [data=uniform, data.vocab_size=256, data.seq_len=32, model.n_heads=8, "
        "train.exposures=600]\n"
        "grids:\n"
        f"  - model.n_layers: {list(LAYERS)}\n"
        f"    model.d_model: {list(WIDTHS)}\n"
        f"    data.load: {list(LOADS)}\n"
        f'    seed: "range(0,{math.ceil(runs / PER_SEED)})"\n'
    )


def planted(run: Config, template: dict) -> dict:
    """The record of a finished run of random data whose bits follow min(alpha P, H), with scatter
    over models and seeds. template: what a record says beside."""
    total, data = run.parameters["total"], run.entropy_bits
    scatter = 1 + SPREAD * (_unit(run.shape) + _unit(run.run_id))
    parts, ceilings = {}, {}
    for name, over in (("strict", 1.0), ("paper", 1.03)):
        most = data - run.items * math.log2(run.items) if name == "strict" else 0.999 * data
        held = PLANTED * total * scatter * over
        held = most / (1 + (most / held) ** 8) ** (1 / 8)  # a corner that is a little round
        ceilings[name] = most
        parts[name] = {
            "bits": held,
            "ceiling_bits": most,
            "fraction_of_ceiling": held / most,
            "bits_per_parameter": {key: held / n for key, n in run.parameters.items()},
        }
    bits = parts["strict"]["bits"]
    return template | {
        "run_id": run.run_id,
        "config": run.as_dict(),
        "identity": run.identity,
        "parameters": run.parameters,
        "data": {
            "n_sequences": run.items,
            "entropy_bits": data,
            "load": data / total,
        },
        "training": template["training"]
        | {"steps": run.steps, "tokens": run.tokens, "flops": run.flops},
        "measures": {
            "memorization": {
                "version": 1,
                "n_sequences": run.items,
                "distinct_sequences": run.items,
                "entropy_bits": data,
                "loss_bits_per_token": 8 - bits / (run.items * run.data.seq_len),
                "strict_clipped_bits": bits,
            }
            | parts
        },
        "convergence": {
            "strict_bits_at_90_percent": 0.995 * bits,
            "gain_last_tenth": 0.005,
            "meaning": "of the last tenth of the steps",
        },
    }


def _unit(text: str) -> float:
    """A number in [-1, 1] that follows from a text."""
    return derived_seed(0, text, 32) % 2000 / 1000 - 1


def template_of(study: str) -> dict:
    """What a committed record says beside the numbers of its run."""
    path = ROOT / "results" / "studies" / "pocket" / archive.RECORDS
    record = next(iter(archive.unpack_records(path).values()))
    return record | {"study": study}


def write_runs(runs: list[Config], results: Path, study: str) -> dict[str, float]:
    """A folder for every run, as training leaves it; files and bytes of one on average."""
    template, files, size = template_of(study), 0, 0
    for run in runs:
        folder = records.run_dir(results, run.run_id)
        folder.mkdir(parents=True)
        record = planted(run, template)
        (folder / "config.json").write_text(json.dumps(record["config"]))
        (folder / "lock").touch()
        every = max(1, run.steps // LOG_LINES)
        (folder / "metrics.jsonl").write_text(
            "".join(
                json.dumps(
                    {
                        "step": every * (i + 1),
                        "loss_bits_per_token": 8 - 4 * i / LOG_LINES,
                        "bits_per_parameter_running": PLANTED * i / LOG_LINES,
                        "tokens": every * (i + 1) * run.train.batch_size * run.data.seq_len,
                        "wall_s": 0.5 * i,
                    }
                )
                + "\n"
                for i in range(LOG_LINES)
            )
        )
        with open(folder / records.WEIGHTS, "wb") as file:
            file.truncate(4 * run.parameters["total"])
        (folder / "record.json").write_text(json.dumps(record))
        with os.scandir(folder) as entries:
            sizes = [entry.stat().st_size for entry in entries]
        files, size = files + len(sizes) + 1, size + sum(sizes)  # and the folder itself
    return {"files_per_run": files / len(runs), "bytes_per_run": size / len(runs)}


def timed(args: list[str], folder: Path) -> dict[str, float]:
    """Seconds, CPU seconds and peak bytes of a command, which has to end well (1 of `status`: not
    all is finished)."""
    began = time.perf_counter()
    with open(folder / "out.txt", "wb") as out:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "capacity", *args],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
            ],
        )
        _, code, used = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(code):
        raise SystemExit(f"capacity {' '.join(args)}:\n{(folder / 'out.txt').read_text()[-2000:]}")
    return {
        "wall_s": time.perf_counter() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_bytes": 1024 * used.ru_maxrss,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", nargs="*", help="some of the commands; nothing is kept")
    parser.add_argument("--dry", action="store_true", help="print, and keep nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), args.runs, args.only)
    if not args.dry and not args.only:
        path = ROOT / "results" / "bench" / "scale.json"
        write_json(path, found)
        print(path)


def measure(folder: Path, runs: int, only: list[str] | None = None) -> dict:
    """The study, its records, and every command on them."""
    os.chdir(folder)
    Path("scale.yaml").write_text(study_file(runs))
    planned = load_study("scale.yaml", [])
    results = folder / "results"
    about = write_runs(planned.runs, results, planned.name)
    print(
        f"{len(planned.runs):,} runs, {about['files_per_run']:.1f} files and "
        f"{about['bytes_per_run'] / 1e3:.0f} KB of each"
    )
    queue = ["cluster=slurm", "cluster.device=cuda", "cluster.gpus=1", "cluster.memory_gb=70"]
    commands = {
        "status": ["status", "scale.yaml"],
        "table": ["table", "scale.yaml", "--output", "table.csv"],
        "fit-laws": ["fit-laws", "scale.yaml"],
        "report": ["report", "scale.yaml"],
        "sweep --dry-run, all finished": ["sweep", "scale.yaml", "--dry-run"],
        "sweep --dry-run, nothing finished, a queue": [
            *("sweep", "scale.yaml", "--dry-run", "--results", "empty"),
            *queue,
        ],
    }
    found = {}
    for name, args in commands.items():
        if only and not any(name.startswith(one) for one in only):
            continue
        found[name] = timed(args, folder)
        told = found[name]
        print(
            f"  {name:44s}{told['wall_s']:8.1f} s {told['cpu_s']:8.1f} s of CPU "
            f"{told['peak_bytes'] / 1e6:8,.0f} MB",
            flush=True,
        )
    kept = results / "studies" / planned.name
    sizes = {path.name: path.stat().st_size for path in kept.glob("*") if path.is_file()}
    if Path("table.csv").exists():
        sizes["table.csv"] = Path("table.csv").stat().st_size
    return {
        "runs": len(planned.runs),
        "environment": {"hardware": cpu_name(), "cores": cores()},
        **about,
        "commands": found,
        "sizes": sizes,
        "nodes": NODES,
        "elements_per_hour": 60 * NODES / planned.runs[0].cluster.pack_minutes,
    }


if __name__ == "__main__":
    main()
