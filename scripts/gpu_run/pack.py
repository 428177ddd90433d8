"""A pack of runs as a cluster's worker trains it, beside the bits that another device reached."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_run.bench import Bench
from gpu_run.processes import PACK, ROOT, child_environment, read_json


def pack(bench: Bench) -> None:
    """Six runs of gpu_pack/ by `capacity worker --pack`, interrupted once where they have begun,
    and continued to their records."""
    source = PACK / ("small.json" if bench.small else "pack.json")
    if not source.exists():
        bench.book.row("pack", "left out", note="no gpu_pack: --make-pack")
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        results = Path(folder) / "results"
        shutil.copytree(PACK / "results", results)
        tree = read_json(source) | {"results": str(results), "device": bench.device.type}
        path = Path(folder) / "pack.json"
        path.write_text(json.dumps(tree))
        runs = {
            run["run_id"]: run["config"]["data"]["kind"]
            for stack in tree["stacks"]
            for run in stack
        }
        try:
            code, seconds = worked(path, results, runs, bench.left - 8, interrupt=True)
            bench.book.row("pack, interrupted: exit code", code, "", 130, f"after {seconds:.1f} s")
            kept = len(list(results.glob("runs/*/checkpoint.safetensors")))
            before = read_records(results, runs)
            bench.book.row("  checkpoints then", kept, "", len(runs) - len(before))
            code, seconds = worked(path, results, runs, bench.left - 4, interrupt=False)
            found = read_records(results, runs)
            bench.book.row("pack, continued: exit code", code, "", 0, f"after {seconds:.1f} s")
            bench.book.row(
                "  finished runs",
                sum(r["status"] == "finished" for r in found.values()),
                "",
                len(runs),
            )
            reference = read_json(PACK / "reference.json")
            for run_id, record in found.items():
                if record["status"] != "finished":
                    bench.book.row(
                        f"  {run_id}", "failed", note=str(record["error"]["reason"])[:90]
                    )
                    continue
                told = stored_bits(record)
                training = record["training"]
                speed = training["steps"] / max(1e-9, training["wall_s"])
                bench.book.row(
                    f"  {run_id} {runs[run_id]}: bits stored",
                    told,
                    "",
                    reference.get(run_id),
                    f"{speed:,.0f} steps/s in {training['stack']}",
                )
            bench.book.put(
                records={
                    run_id: {
                        k: r.get(k)
                        for k in ("status", "training", "measures", "environment", "error")
                    }
                    for run_id, r in found.items()
                }
            )
        finally:
            bench.book.put(
                logs={
                    log.name: log.read_text(errors="replace")[-3000:]
                    for log in Path(folder).glob("*.log")
                }
            )


def stored_bits(record: dict) -> float | None:
    """Bits that a run holds, by the measure of its kind."""
    measures = record["measures"]
    if "memorization" in measures:
        return measures["memorization"]["strict"]["bits"]
    return measures["knowledge"]["bits"] if "knowledge" in measures else None


def read_records(results: Path, runs: dict[str, str]) -> dict[str, dict]:
    found = {run_id: read_json(results / "runs" / run_id / "record.json") for run_id in runs}
    return {run_id: record for run_id, record in found.items() if record}


def worked(
    path: Path, results: Path, runs: dict[str, str], limit: float, interrupt: bool
) -> tuple[object, float]:
    """Exit code and seconds of a worker; interrupt: by SIGTERM once a run of each kind has written
    its log."""
    began, limit = time.monotonic(), max(3.0, limit)
    with open(path.parent / f"worker{int(interrupt)}.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "capacity", "worker", "--pack", str(path)],
            cwd=ROOT,
            env=child_environment(CAPACITY_LOCAL=os.devnull),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            while (
                interrupt
                and process.poll() is None
                and time.monotonic() - began < min(30.0, limit - 3)
            ):
                begun = {
                    kind
                    for run_id, kind in runs.items()
                    if (results / "runs" / run_id / "metrics.jsonl").exists()
                }
                if begun == set(runs.values()):
                    break
                time.sleep(0.02)
            if interrupt:
                process.send_signal(signal.SIGTERM)
            return process.wait(
                timeout=max(2.0, limit - (time.monotonic() - began))
            ), time.monotonic() - began
        except subprocess.TimeoutExpired:
            process.kill()  # its own processes stop once it is gone
            process.wait()
            return "no end", time.monotonic() - began


def make_pack(folder: Path) -> None:
    """gpu_pack/: packs of six runs, three of uniform tokens and three of people, one for a GPU and
    a small one to try this script; and the lexicons that they and the kinds of rendering need.
    Bits that runs hold by another device can be added: reference.json."""
    from benchmarks.models import RENDER, people
    from capacity.base.files import write_json
    from capacity.config import from_dict
    from capacity.data import lexicons
    from capacity.data.cache import keep
    from capacity.sweep.packs import Pack, write_pack

    results = folder / "results"
    pocket = {"n_layers": 2, "d_model": 16, "n_heads": 8}
    world = {
        "kind": "bios",
        "n_people": 200,
        "seq_len": 64,
        "first_names": 20,
        "middle_names": 0,
        "last_names": 50,
        "cities": 6,
        "universities": 7,
        "majors": 5,
        "employers": 9,
        "templates": 4,
        "vocabulary": "world",
    }
    rotary = {"n_layers": 2, "d_model": 32, "n_heads": 4, "position": "rotary"}

    def uniform(seed: int, exposures: float):
        return from_dict(
            {
                "data": {"vocab_size": 256, "seq_len": 32, "load": 5.0},
                "model": pocket,
                "seed": seed,
                "train": {"exposures": exposures, "batch_size": 32, "lr": 0.03},
            }
        )

    def bios(seed: int, steps: int):
        return from_dict(
            {
                "data": world,
                "model": rotary,
                "seed": seed,
                "train": {
                    "steps": steps,
                    "batch_size": 16,
                    "lr": 0.003,
                    "precision": "bf16",
                    "warmup_steps": 50,
                },
            }
        )

    for name, exposures, steps in (("pack.json", 1500.0, 6000), ("small.json", 40.0, 120)):
        stacks = [
            [uniform(seed, exposures) for seed in range(3)],
            [bios(seed, steps) for seed in range(3)],
        ]
        write_pack(folder / name, Pack("gpu_first_run", results, "auto", 2, 1, stacks))
    kinds = {}
    for name, data in RENDER.items():
        config = people(data)
        keep(results, config.data)
        kinds[name] = data | {"lexicon": lexicons.of(config.data).digest}
    write_json(folder / "render.json", kinds)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**20:.2f} MiB")
