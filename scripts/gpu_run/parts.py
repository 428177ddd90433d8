"""The two parts of the run: their steps, order and time limits, and the table at the end."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gpu_run.processes import ROOT, child_environment, end_group, read_json

DEADLINE = {1: 330.0, 2: 300.0}  # seconds of a part
WORTH_STARTING = 10.0  # seconds; a step with less left is not begun
MOST_CHARACTERS = 11_000  # of the table, whose reader sees no more than 12,000


@dataclass(frozen=True)
class Step:
    """A step of a part: its limit in seconds, its file, and the seconds that it leaves for those
    behind it."""

    name: str
    seconds: float
    file: str
    leave: float = 0.0


PARTS = {
    1: [
        Step("env", 30, "1_env.json"),
        Step("smoke", 40, "2_smoke.json"),
        Step("tests", 150, "1_env.json", leave=135),
        Step("steps", 75, "4_steps.json"),
        Step("kernels", 50, "5_kernels.json"),
        Step("attention", 45, "6_attention.json"),
    ],
    2: [
        Step("bisect", 30, "7_bits.json"),
        Step("bits", 60, "7_bits.json"),
        Step("head_chunk", 45, "8_tuning.json"),
        Step("compile", 85, "8_tuning.json"),
        Step("feed", 60, "8_tuning.json"),
        Step("pack", 60, "8_tuning.json"),
        Step("counters", 35, "8_tuning.json", leave=45),
        Step("limits", 45, "7_bits.json"),
    ],
}


def run_part(args: argparse.Namespace) -> int:
    """All steps of a part, one after the other, and the table; 0 unless nothing could be
    measured."""
    end = time.monotonic() + (args.deadline or DEADLINE[args.part])
    steps = [step for step in PARTS[args.part] if not args.only or step.name in args.only]
    steps = [step for step in steps if step.name != "bisect" or args.smoke]
    log = args.out / "log.txt"
    for step in steps:
        seconds = min(step.seconds, end - time.monotonic() - step.leave)
        if seconds < WORTH_STARTING:
            print(
                f"{step.name}: left out, {max(0.0, end - time.monotonic()):.0f} s left of the part",
                flush=True,
            )
            continue
        began = time.monotonic()
        outcome = start(step, seconds, args, log)
        print(f"{step.name}: {outcome} after {time.monotonic() - began:.1f} s", flush=True)
    for left in args.out.glob("*.tmp"):
        left.unlink()
    table = table_of(args.out, steps)
    print(table, flush=True)
    return 0 if "\n" in table else 1


def start(step: Step, seconds: float, args: argparse.Namespace, log: Path) -> str:
    """Run a step in its own process group, at most so long; how it ended."""
    command = [
        sys.executable,
        str(ROOT / "scripts" / "gpu_first_run.py"),
        "--step",
        step.name,
        "--out",
        str(args.out),
        "--seconds",
        f"{seconds:.0f}",
        "--device",
        args.device,
        *["--small"] * args.small,
    ]
    if args.smoke:
        command += ["--smoke", str(args.smoke)]
    with open(log, "ab") as file:
        file.write(f"\n===== {step.name}\n".encode())
        file.flush()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=child_environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=seconds)
            outcome = "done" if code == 0 else f"ended with code {code}, see log.txt"
        except subprocess.TimeoutExpired:
            outcome = f"stopped at its limit of {seconds:.0f} s"
        end_group(process)
    return outcome


def table_of(out: Path, steps: list[Step]) -> str:
    """Measured beside predicted, of all files in `out` that these steps write."""
    lines = [f"{'':46s}{'measured':>11s} {'predicted':>10s} {'ratio':>6s}"]
    for step in steps:
        found = read_json(out / step.file).get(step.name)
        if found is None:
            lines.append(f"-- {step.name}: nothing written")
            continue
        lines.append(f"-- {step.name}")
        for row in found.get("rows", []):
            value, predicted = row["value"], row.get("predicted")
            ratio = (
                f"{value / predicted:6.2f}" if predicted and isinstance(value, (int, float)) else ""
            )
            shown = f"{number(value)} {row.get('unit', '')}".strip()
            told = "" if predicted is None else number(predicted)
            line = f"{row['label'][:45]:46s}{shown:>11s} {told:>10s} {ratio:>6s}  "
            lines.append((line + row.get("note", "")).rstrip()[:150])
    text = "\n".join(lines)
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS // 2] + "\n[...]\n" + text[-MOST_CHARACTERS // 2 :]
    return text


def number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
