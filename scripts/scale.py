"""`make scale`: what the commands of a large study need, tried on synthetic records.

Writes a study file of 20,000 runs and for every run the folder that a finished run leaves (its
numbers are planted, its weights are a hole in the file system), then times `status`, `table`,
`fit-laws`, `report` and `sweep --dry-run` on it, each as a process of its own: seconds, seconds of
CPU, peak memory; and on a quarter of it, which shows how these grow. Trains one tiny run and counts
what it asks of the file system. Writes results/bench/scale.json, which docs/explanation/scale.md
quotes.

python scripts/scale.py --runs 2000 --dry     # a tenth of it, printed and not kept
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from capacity import archive, records
from capacity.base.files import write_json
from capacity.base.hardware import cores, cpu_name
from capacity.base.rng import derived_seed
from capacity.config import Config
from capacity.study import Study, load_study
from capacity.sweep.plan import make_plan

RUNS, NODES = 20_000, 1000
LAYERS, WIDTHS, LOADS = (1, 2, 3, 4, 6), (16, 24, 32, 48, 64), (1.0, 2.0, 4.0, 6.0, 8.0)
PART = 4  # of the study is measured, too
# what a run asks of a file system -> the events of Python (sys.addaudithook) that are counted
ASKED = {
    "opened": ("open",),
    "renamed": ("os.rename",),
    "removed": ("os.remove",),
    "made": ("os.mkdir",),
    "listed": ("os.scandir", "os.listdir"),
}
LOG_LINES = 110  # of a run: LOG_POINTS and its evaluations
PLANTED, SPREAD = 3.0, 0.02  # bits per parameter, and how models and seeds scatter around it
ROOT = Path(__file__).resolve().parents[1]


def per_seed() -> int:
    """Runs of one seed."""
    return len(LAYERS) * len(WIDTHS) * len(LOADS)


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
        f'    seed: "range(0,{math.ceil(runs / per_seed())})"\n'
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


# A process in between: what a process is said to have needed counts what started it, too.
LAUNCH = """
import json, resource, subprocess, sys
with open(sys.argv[1], "wb") as out:
    code = subprocess.call(sys.argv[2:], stdout=out, stderr=out)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss]))
"""


def timed(args: list[str], folder: Path) -> dict[str, float]:
    """Seconds, CPU seconds and peak bytes of a command in a folder; it has to end well."""
    began, out = time.perf_counter(), folder / "out.txt"
    command = [sys.executable, "-m", "capacity", *args]
    told = subprocess.run(
        [sys.executable, "-c", LAUNCH, str(out), *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    code, cpu_s, peak = json.loads(told.stdout)
    if code:
        raise SystemExit(f"capacity {' '.join(args)}:\n{out.read_text()[-2000:]}")
    return {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s, "peak_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", nargs="*", help="some of the commands; nothing is kept")
    parser.add_argument("--dry", action="store_true", help="print, and keep nothing")
    args = parser.parse_args()
    counted = asked_of_files()
    tried = {}
    for runs in (args.runs // PART, args.runs):
        with tempfile.TemporaryDirectory() as name:
            tried[runs] = measure(Path(name), runs, args.only)
    found = in_all(together(*tried.values()) | {"asked": counted})
    if not args.dry and not args.only:
        path = ROOT / "results" / "bench" / "scale.json"
        write_json(path, found)
        print(path)


def together(part: dict, whole: dict) -> dict:
    """What was measured of the whole study, with the exponent by which seconds and memory grew from
    a part of it, and which command is the first to need too much of either."""
    ratio = math.log(whole["runs"] / part["runs"])
    commands = {
        name: told
        | {
            f"growth_{key}": math.log(told[key] / part["commands"][name][key]) / ratio
            for key in ("cpu_s", "peak_bytes")
        }
        for name, told in whole["commands"].items()
    }
    first = {
        key: max(commands, key=lambda name: commands[name][key])
        for key in ("cpu_s", "peak_bytes", "growth_cpu_s")
        if commands
    }
    return whole | {"commands": commands, "most": first, "part": part}


def in_all(found: dict) -> dict:
    """With what the whole study leaves, and what all nodes ask of one file system in a second."""
    per_second = found["queue"]["runs_per_hour"] / 3600
    return found | {
        "files": found["runs"] * found["files_per_run"],
        "bytes": found["runs"] * found["bytes_per_run"],
        "asked_per_second": {kind: n * per_second for kind, n in found["asked"].items()},
    }


def asked_of_files() -> dict[str, int]:
    """What one run asks of the file system while it trains: a tiny one on this CPU, with as many
    lines in its log as any, and no checkpoint, since it ends within the first minute."""
    import torch

    from capacity.compose import load
    from capacity.run.job import Job
    from capacity.run.run import execute

    kinds = {event: kind for kind, events in ASKED.items() for event in events}
    counts = dict.fromkeys(ASKED, 0)
    with tempfile.TemporaryDirectory() as name:

        def note(event: str, args: tuple) -> None:
            if event in kinds and watching and str(args[0]).startswith(name):
                counts[kinds[event]] += 1

        watching = True
        sys.addaudithook(note)  # for good, as hooks are
        settings = (
            "data=uniform data.vocab_size=16 data.seq_len=8 data.n_sequences=20 data.load=null "
            "model.d_model=8 model.n_heads=2 model.n_layers=1 train.batch_size=4 train.steps=200 "
            "train.exposures=null train.warmup_steps=5 cluster.device=cpu"
        )
        run = load([str(one) for one in settings.split()])
        assert execute([run], Job(Path(name), torch.device("cpu"))) == {run.run_id: "finished"}
        watching = False
    return counts


def measure(folder: Path, runs: int, only: list[str] | None = None) -> dict:
    """The study, its records, and every command on them."""
    (folder / "scale.yaml").write_text(study_file(runs))
    planned = load_study(str(folder / "scale.yaml"), [])
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
        "sweep --dry-run": ["sweep", "scale.yaml", "--dry-run"],
        "sweep --dry-run, queue": [
            *("sweep", "scale.yaml", "--dry-run", "--results", "empty"),
            *queue,
        ],
    }
    found = {}
    for name, args in commands.items():
        if only and name not in only:
            continue
        found[name] = timed(args, folder)
        told = found[name]
        print(
            f"  {name:24s}{told['wall_s']:8.1f} s {told['cpu_s']:8.1f} s of CPU "
            f"{told['peak_bytes'] / 1e6:8,.0f} MB",
            flush=True,
        )
    kept = results / "studies" / planned.name
    sizes = {path.name: path.stat().st_size for path in kept.glob("*") if path.is_file()}
    if (folder / "table.csv").exists():
        sizes["table.csv"] = (folder / "table.csv").stat().st_size
    return {
        "runs": len(planned.runs),
        "environment": {"hardware": cpu_name(), "cores": cores()},
        **about,
        "commands": found,
        "sizes": sizes,
        "nodes": NODES,
        "queue": in_queue(planned, folder, queue),
    }


def in_queue(study: Study, folder: Path, settings: list[str]) -> dict[str, float]:
    """What a queue of NODES nodes with a GPU each makes of the study, by the cost model: array
    elements, seconds of one and runs in one on average, and what all nodes together do in an
    hour."""
    planned = load_study(str(study.path), settings)
    (job,) = make_plan(planned, folder / "empty", {}, False).jobs
    seconds = sum(job.seconds)
    return {
        "elements": len(job.packs),
        "element_s": seconds / len(job.packs),
        "runs_per_element": len(planned.runs) / len(job.packs),
        "pack_minutes": planned.runs[0].cluster.pack_minutes,
        "array_limit": planned.runs[0].cluster.array_limit,
        "runs_per_hour": NODES * 3600 * len(planned.runs) / seconds,
        "elements_per_hour": NODES * 3600 * len(job.packs) / seconds,
    }


if __name__ == "__main__":
    main()
