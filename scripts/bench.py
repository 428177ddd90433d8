"""`make bench`: how fast families of tiny models train, beside the machine's roofline and a plain
PyTorch loop.

Prints tables and writes results/bench/DEVICE.json. Numbers are medians over repeats after a
warm-up, with the smallest and largest; ratios are formed within one process, the two sides taking
turns, so that a slow machine does not move them. Parts that need what is not installed (hydra for
start-up and planning, transformers for the plain loop) say so and are left out.

  machine  bytes copied per second, matrix products in FLOP per second
  stacks   steps of models of 0.02M to 10M parameters, alone and in stacks
  plain    the same model in a loop of the usual kind around transformers' GPT-2, one model at a
           time
  render   biographies, and what part of training that is
  score    100,000 sequences by all attacks that need one model, beside one forward pass with the
           loss only, and peak memory
  fits     a fit of 500 runs, and 4,000 cluster bootstraps of it
  threads  steps with all threads over steps with one, alone and beside a process that keeps one
           core busy
  start    seconds until a command is there, and until a thousand runs are planned
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from capacity.base.hardware import most_threads, rest_idle_threads

rest_idle_threads()  # as workers do, before torch is there

import torch

from capacity.base.files import write_json
from capacity.base.hardware import has_compiler, pick_device
from capacity.config import Config, from_dict
from capacity.cost import values_per_token
from capacity.data.text import Pool
from capacity.feed.feed import CHUNK_TOKENS
from capacity.feed.stream import MemberStream
from capacity.fitting import bootstrap, forms
from capacity.fitting import fit as estimate
from capacity.fitting.membership import statistics as statistics_of
from capacity.measure.memorization import code_lengths
from capacity.measure.sequence_scores import Prefix, recall, scores
from capacity.model.gpt import GPT
from capacity.run.environment import environment, keep_freed_memory
from capacity.train.loop import Stack, advance

# name -> layers, width, heads; with V = 256 and S = 64 the models have about as many parameters
SIZES = {
    "0.02M": (2, 24, 3),
    "0.1M": (2, 56, 7),
    "0.3M": (2, 104, 13),
    "1M": (2, 200, 25),
    "3M": (2, 344, 43),
    "10M": (2, 640, 80),
}
STACKS = (1, 4, 16, 64)
CPU = torch.device("cpu")
# size and members, from the least step that two threads might share to one that they certainly do
THREADED = [("0.02M", 1), ("0.02M", 4), ("0.1M", 4), ("0.3M", 4), ("1M", 4), ("3M", 4)]
CPU_STEP = 4e10  # FLOP; a CPU leaves out stacks whose step would take longer

PLAIN = {  # name -> layers, width, heads, V, S, batch, members
    "1 x 2 layers, d 32, V 256, S 32, batch 128": (2, 32, 4, 256, 32, 128, 1),
    "1 x 2 layers, d 64, V 2048, S 64, batch 64": (2, 64, 4, 2048, 64, 64, 1),
    "16 x 8K parameters, V 64, S 16, batch 64": (2, 16, 4, 64, 16, 64, 16),
}
PLAIN_CUDA = {
    f"64 x {name}, V 256, S 64, batch 32": (*SIZES[name], 256, 64, 32, 64)
    for name in ("0.1M", "0.3M", "1M")
}

SCORED = 100_000
SCORED_BY = {  # name -> layers, width, heads, V
    "20K, V 256": (2, 24, 3, 256),
    "0.3M, V 256": (2, 104, 13, 256),
    "20K, V 2048": (2, 8, 1, 2048),
    "0.3M, V 2048": (2, 80, 10, 2048),
}

WORDS = {"kind": "bios", "n_people": 10000}
RENDER = {
    "bios": WORDS,
    "bios, 7/8 junk": WORDS | {"other_people": 10**8, "other_parts": 7},
    "bios, mixed windows": WORDS
    | {"other_people": 1000, "other_parts": 7, "windows": "mixed", "tag": "main"},
    "biod": {"kind": "biod", "n_people": 10000},
}


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
        out[name] = PARTS[name](device, args.repeats, out)
        out["commits"][name] = out["environment"]["git"]
    if "stacks" in out:
        out["speed"] = speed(out["stacks"]["rows"], out["threads"] if device.type == "cpu" else 1)
    write_json(path, out)
    print(f"\n{path}")


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
    names = [name for name in PARTS if same and name in before and name not in only]
    return {
        "commits": {
            name: before.get("commits", {}).get(name, before["environment"]["git"])
            for name in names
        }
    } | {name: before[name] for name in names}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(device: torch.device, work: Callable[[], None]) -> float:
    """Seconds."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


# -------------------------------------------------------------------------------------- the machine


def machine(device: torch.device, repeats: int, out: dict) -> dict:
    """Copy bandwidth in bytes/s (read and written) and the rate of large matrix products in
    FLOP/s."""
    n, size = (2**28, 8192) if device.type == "cuda" else (2**26, 2048)
    source = torch.ones(n, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    found = {
        "copy_bytes_per_s": spread(
            [8.0 * n / timed(device, lambda: target.copy_(source)) for _ in range(repeats)]
        )
    }
    print(f"  copy        {found['copy_bytes_per_s']['median'] / 1e9:10.1f} GB/s")
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        a @ b
        rates = [2.0 * size**3 / timed(device, lambda: a @ b) for _ in range(repeats)]
        found[f"{name}_flop_per_s"] = spread(rates)
        print(f"  matrix {name} {statistics.median(rates) / 1e9:10.1f} GFLOP/s")
    return found


# ------------------------------------------------------------------------------------------- stacks


def config(  # noqa: PLR0913
    shape: tuple[int, int, int],
    vocab: int,
    length: int,
    batch: int,
    seed: int,
    precision: str,
    compile: str = "never",
) -> Config:
    layers, width, heads = shape
    return from_dict(
        {
            "cluster": {"compile": compile},
            "data": {"vocab_size": vocab, "seq_len": length, "n_sequences": 1000},
            "model": {"n_layers": layers, "d_model": width, "n_heads": heads},
            "seed": seed,
            "train": {"steps": 10**6, "batch_size": batch, "precision": precision},
        }
    )


def trainer(configs: list[Config], device: torch.device) -> Callable[[int], None]:
    """A function that trains so many steps."""
    stack = Stack(configs, device)
    state = stack.start()
    return lambda steps: advance(stack, state, state.step + steps, lambda: False)


def stacks(device: torch.device, repeats: int, out: dict) -> dict:
    """Model-steps and tokens per second, achieved FLOP/s, that as a part of the rate of large
    matrix products, and the model-steps over those of the plain loop with the same model, measured
    in turns with them."""
    precision = "bf16" if device.type == "cuda" else "fp32"
    peak = out["machine"][f"{precision}_flop_per_s"]["median"] if "machine" in out else None
    batch = 32 if device.type == "cuda" else 16
    print(f"  V 256, S 64, batch {batch}, {precision}")
    print(
        "  size           P members  model-steps/s (low to high)   Mtok/s GFLOP/s of peak  x plain"
    )
    found = []
    for name, shape in SIZES.items():
        theirs = (
            plain_loop(*shape, 256, 64, batch, device, precision)
            if installed("transformers")
            else None
        )
        if theirs:
            theirs(5)
            n = max(3, min(200, int(0.3 / (timed(device, lambda: theirs(3)) / 3))))
        for members in STACKS:
            configs = [config(shape, 256, 64, batch, seed, precision) for seed in range(members)]
            flops = members * configs[0].flops / configs[0].steps
            if device.type == "cpu" and flops > CPU_STEP:
                continue
            run = trainer(configs, device)
            run(5)
            steps = max(3, min(200, int(0.3 / (timed(device, lambda: run(3)) / 3))))
            pairs = [
                (
                    members * steps / timed(device, lambda: run(steps)),
                    n / timed(device, lambda: theirs(n)) if theirs else None,
                )
                for _ in range(repeats)
            ]
            rates = spread([ours for ours, _ in pairs])
            ratio = spread([ours / plain for ours, plain in pairs]) if theirs else None
            achieved = rates["median"] / members * flops
            found.append(
                {
                    "size": name,
                    "parameters": configs[0].parameters["total"],
                    "members": members,
                    "batch": batch,
                    "flops_per_step": flops,
                    "values_per_step": members * batch * 64 * values_per_token(configs[0]),
                    "model_steps_per_s": rates,
                    "tokens_per_s": rates["median"] * batch * 64,
                    "flop_per_s": achieved,
                    "part_of_peak": achieved / peak if peak else None,
                    "over_plain": ratio,
                }
            )
            told = f"{achieved / peak:7.1%}" if peak else "      -"
            times = f"{ratio['median']:8.2f}" if ratio else "       -"
            low_high = f"({rates['low']:,.0f} to {rates['high']:,.0f})"
            print(
                f"  "
                f"{name:6s}{configs[0].parameters['total']:>10,}{members:>8}{rates['median']:>10,.0f} {low_high:18s}"  # noqa: E501
                f"{rates['median'] * batch * 64 / 1e6:>7.3f}{achieved / 1e9:>8.0f} {told}{times}",
                flush=True,
            )
    return {"precision": precision, "rows": found}


def speed(rows: list[dict], threads: int) -> dict[str, float]:
    """The numbers of `capacity.cost.Speed` that predict these times best, relative errors squared;
    a CPU's for one core."""
    from scipy.optimize import nnls

    seconds = np.array([row["members"] / row["model_steps_per_s"]["median"] for row in rows])
    parts = np.array(
        [[1.0, row["flops_per_step"] / threads, row["values_per_step"] / threads] for row in rows]
    )
    scale = parts.max(0)
    found = nnls(parts / scale / seconds[:, None], np.ones(len(rows)))[0] / scale
    errors = np.abs(parts @ found / seconds - 1.0)
    print(
        f"  seconds = {found[0] * 1e3:.2f} ms + FLOP / {1e-9 / max(found[1], 1e-18):,.0f} GFLOP/s "
        f"+ values x {found[2] * 1e9:.3g} ns, "
        f"within {np.median(errors):.0%} (median), {errors.max():.0%} at most"
    )
    return {
        "step_s": found[0],
        "flop_per_s": 1.0 / max(found[1], 1e-18),
        "value_s": found[2],
        "median_error": float(np.median(errors)),
        "largest_error": float(errors.max()),
    }


# ------------------------------------------------------------------------------------------ threads


def threads(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Model-steps per second with all threads over those with one, measured in turns: alone, and
    beside a process that keeps one core busy. By shape, with the FLOP of its step, which
    `capacity.base.hardware.SHARED_FLOP` decides by."""
    most = most_threads()
    if device.type != "cpu" or most < 2:
        print("  needs a CPU and two threads")
        return None
    waits = os.environ["OMP_WAIT_POLICY"]
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
    return {"threads": most, "waiting": waits, "rows": rows}


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


# -------------------------------------------------------------------------------------------- plain


def plain_loop(  # noqa: PLR0913
    layers: int,
    width: int,
    heads: int,
    vocab: int,
    length: int,
    batch: int,
    device: torch.device,
    precision: str,
) -> Callable[[int], None]:
    """The usual way: a library's GPT-2, its loss, backward, clipping, AdamW, a schedule; compiled
    where there is a GPU."""
    import logging

    from transformers import GPT2Config, GPT2LMHeadModel

    logging.getLogger("transformers").setLevel(logging.ERROR)
    net = (
        GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab,
                n_positions=length,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                activation_function="gelu",
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=0,
                eos_token_id=0,
                use_cache=False,
            )
        )
        .to(device)
        .train()
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=device.type == "cuda")
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    data = torch.randint(0, vocab, (1000, length), device=device)
    forward = torch.compile(net) if device.type == "cuda" else net

    def run(steps: int) -> None:
        for _ in range(steps):
            rows = data[torch.randint(0, len(data), (batch,), device=device)]
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = forward(input_ids=rows, labels=rows).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)

    return run


def plain(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Model-steps per second of a stack over those of the plain loop, the two taking turns; once
    more with torch.compile, where there is a compiler, with the seconds that this takes."""
    if not installed("transformers"):
        print("  transformers is not installed")
        return None
    precision = "bf16" if device.type == "cuda" else "fp32"
    ways = ["never"] + ["always"] * (device.type == "cuda" or has_compiler())
    found = {}
    print(
        "  model-steps/s                                   plain      here    ratio (low to "
        "high)   compiled in"
    )
    for name, (*shape, vocab, length, batch, members) in (
        PLAIN_CUDA if device.type == "cuda" else PLAIN
    ).items():
        theirs = plain_loop(*shape, vocab, length, batch, device, precision)
        theirs(5)
        n = max(3, int(0.5 / (timed(device, lambda: theirs(3)) / 3)))
        for compile in ways:
            configs = [
                config(tuple(shape), vocab, length, batch, seed, precision, compile)
                for seed in range(members)
            ]
            ours = trainer(configs, device)
            first_s = timed(device, lambda: ours(5))
            k = max(3, int(0.5 / (timed(device, lambda: ours(3)) / 3)))
            pairs = [
                (n / timed(device, lambda: theirs(n)), members * k / timed(device, lambda: ours(k)))
                for _ in range(repeats)
            ]
            ratio = spread([b / a for a, b in pairs])
            key = name if compile == "never" else f"{name}, compiled"
            found[key] = {
                "plain": spread([a for a, _ in pairs]),
                "here": spread([b for _, b in pairs]),
                "ratio": ratio,
            }
            told = ""
            if compile != "never":
                found[key]["first_steps_s"] = first_s
                told = f"{first_s:10.0f} s"
            print(
                f"  {name:44s} {found[key]['plain']['median']:8,.1f} "
                f"{found[key]['here']['median']:9,.1f} {ratio['median']:8.2f} "
                f"({ratio['low']:.2f} to {ratio['high']:.2f}){told}",
                flush=True,
            )
    return found


# ------------------------------------------------------------------------------------------- render


def people(data: dict, seed: int = 0) -> Config:
    """GPT2-2-2 with the paper's batch for N = 50K."""
    return from_dict(
        {
            "data": data,
            "model": {"n_layers": 2, "d_model": 128, "n_heads": 2, "position": "rotary"},
            "seed": seed,
            "train": {"steps": 10**6, "batch_size": 12},
        }
    )


def render(device: torch.device, repeats: int, out: dict) -> dict:
    """Rendered tokens per second, a repeat being one chunk as training asks for it; and its part of
    training GPT2-2-2."""
    found = {"tokens_per_s": {}}
    for name, data in RENDER.items():
        stream = MemberStream(people(data), device)
        per_chunk = max(1, CHUNK_TOKENS // stream.seq_len)
        cursor, rates = [0, 0, 0, 0], []
        for i in range(repeats + 2):
            if i:
                cursor = stream.cursor_at(i * per_chunk)
            seconds = timed(device, lambda: stream.windows(cursor, i * per_chunk, per_chunk))
            rates.append(per_chunk * stream.seq_len / seconds)
        found["tokens_per_s"][name] = spread(rates[2:])
        print(
            f"  {name:22s} {statistics.median(rates[2:]) / 1e6:8.2f} Mtok/s "
            f"({min(rates[2:]) / 1e6:.2f} to {max(rates[2:]) / 1e6:.2f})"
        )
    run = trainer([people(WORDS)], device)
    run(2)
    seconds = statistics.median(timed(device, lambda: run(3)) for _ in range(repeats)) / 3
    rate = 12 * 512 / seconds
    part = rate / found["tokens_per_s"]["bios"]["median"]
    found["training"] = {"tokens_per_s": rate, "part_rendering": part}
    print(
        f"  training GPT2-2-2      {rate / 1e6:8.3f} Mtok/s, rendering takes {part:.2%} of its time"
    )
    return found


# -------------------------------------------------------------------------------------------- score


def score(device: torch.device, repeats: int, out: dict) -> dict:
    """Seconds for 100,000 sequences of words with Zipf's frequencies, in as many slices as repeats,
    the sides taking turns on each: one pass with the loss only (`bits.code_lengths`), all columns
    (`sequences.scores`), and ReCaLL behind them; memory: the most that all three, the loss first,
    took of the process (which keeps what it frees) or the GPU. Then what needs no model: zlib's
    bytes of the texts, and the statistics of one attack."""
    found = {}
    print(
        f"  {SCORED:,} sequences of 32 tokens, seconds (times one pass with the loss only, low to "
        f"high)"
    )
    print("  model                     P   loss                 scores                 ReCaLL   MB")
    dice = np.random.default_rng(0)
    for name, (layers, width, heads, vocab) in SCORED_BY.items():
        one = config((layers, width, heads), vocab, 32, 16, 0, "fp32")
        gpt = GPT(one.model, vocab, 32)
        flat_P, frequency = gpt.init([0])[0].to(device), 1.0 / np.arange(2, vocab + 2)
        table = dice.choice(vocab, (SCORED, 32), p=frequency / frequency.sum()).astype(np.int32)
        tokens, more = torch.from_numpy(table).to(device), (torch.float32, one.measure.batch_tokens)
        sides = {
            "loss": lambda rows: code_lengths(gpt, flat_P, rows, *more),
            "scores": lambda rows: scores(gpt, flat_P, rows, *more),
            "recall": lambda rows: recall(
                gpt, flat_P, rows, Prefix(tokens[0, :16], np.ones(len(rows), np.float32)), *more
            ),
        }
        for side in sides.values():
            side(tokens[:1000])
        before = memory_mb(device, reset=True)
        turns = [
            {key: timed(device, lambda: side(rows)) for key, side in sides.items()}
            for rows in tokens.split(-(-SCORED // repeats))
        ]
        found[name] = {"parameters": one.parameters["total"], "peak_mb": memory_mb(device) - before}
        for key in sides:
            seconds = sum(turn[key] for turn in turns)
            found[name][key] = {
                "seconds": seconds,
                "sequences_per_s": SCORED / seconds,
                "ratio": spread([turn[key] / turn["loss"] for turn in turns]),
            }
        told = "".join(
            f"{found[name][key]['seconds']:>8.1f} ({ratio['median']:.2f}, {ratio['low']:.2f} to "
            f"{ratio['high']:.2f})"
            for key in ("scores", "recall")
            for ratio in [found[name][key]["ratio"]]
        )
        print(
            f"  "
            f"{name:16s}{one.parameters['total']:>11,}{found[name]['loss']['seconds']:>7.1f}{told}{found[name]['peak_mb']:>5.0f}",
            flush=True,
        )
        words = [
            "".join(dice.choice(list("etaoinshrdlu"), 1 + int(np.log2(2 + i)) // 2)) + " "
            for i in range(vocab)
        ]
        pool = Pool("bench", table, words)
        found[name]["zlib_s"] = timed(device, lambda: pool.zlib_bytes(np.arange(SCORED)))
    found["statistics_s"] = timed(
        device,
        lambda: statistics_of(dice.normal(0.5, 1, SCORED // 2), dice.normal(0, 1, SCORED // 2)),
    )
    texts = ", ".join(f"{found[name]['zlib_s']:.1f}" for name in SCORED_BY)
    print(
        f"  zlib of the texts {texts} s; statistics of one attack with 200 resamples "
        f"{found['statistics_s']:.1f} s"
    )
    return found


def memory_mb(device: torch.device, reset: bool = False) -> float:
    """Largest memory of the GPU, or of this process (Linux; elsewhere since its start), since the
    last reset, in 2^20 bytes."""
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    if not Path("/proc/self/clear_refs").exists():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**10


# -------------------------------------------------------------------------------------------- start


def start(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Seconds of whole processes: what a person waits for."""
    if not installed("hydra"):
        print("  hydra is not installed")
        return None
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "many.yaml"
        study.write_text(
            "question: how long does planning take?\ngrids:\n- model.d_model: [8, 16, 24, 32]\n  "
            "train.lr: [0.01, 0.02]\n"
            '  data.load: [1, 2, 3, 4, 5]\n  seed: "range(0,25)"\n'
        )
        for name, command in {
            "capacity --help": ["-m", "capacity", "--help"],
            "settings of a run": ["-m", "capacity", "train", "--print-config"],
            "planning 1,000 runs": [
                "-m",
                "capacity",
                "sweep",
                str(study),
                "--dry-run",
                "--results",
                folder,
            ],
            "import torch": ["-c", "import torch"],
        }.items():
            seconds = [
                timed(
                    torch.device("cpu"),
                    lambda: subprocess.run(
                        [sys.executable, *command], check=True, capture_output=True
                    ),
                )
                for _ in range(min(repeats, 5) + 1)
            ][1:]
            found[name] = spread(seconds)
            print(
                f"  {name:22s} {found[name]['median']:6.2f} s ({found[name]['low']:.2f} to "
                f"{found[name]['high']:.2f})",
                flush=True,
            )
    return found


# --------------------------------------------------------------------------------------------- fits


def fits(device: torch.device, repeats: int, out: dict) -> dict:
    """Seconds of a fit from all starts and of 4,000 cluster bootstraps of it (two starts each), of
    500 runs, on one core."""
    dice, found = np.random.default_rng(0), {}
    p, load = (
        np.repeat(np.geomspace(4e3, 1e6, 25), 20),
        np.tile(np.repeat([0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.3, 1.5, 1.7, 2.2], 2), 25),
    )
    n, d = np.repeat(np.geomspace(5e7, 1.6e10, 25), 20), np.tile(np.geomspace(1e9, 3e11, 20), 25)
    shapes = np.repeat(np.arange(25), 20)
    for name, x, truth in (
        (
            "smooth_corner",
            {"parameters": p, "ceiling_bits": load * 3.6 * p},
            {"alpha": 3.6, "k": 5.0},
        ),
        (
            "chinchilla",
            {"parameters": n, "tokens": d},
            {"e": 1.82, "a": 482.0, "b": 2085.4, "alpha": 0.348, "beta": 0.366},
        ),
    ):
        noise = 0.02 * dice.standard_normal(25)[shapes] + 0.01 * dice.standard_normal(500)
        points = estimate.Points(x, forms.form(name).predict(x, truth) * np.exp(noise), shapes)
        fitted = estimate.fit(name, points)
        found[name] = {
            "fit": spread(
                [timed(device, lambda: estimate.fit(name, points)) for _ in range(repeats)]
            ),
            "bootstraps": spread(
                [
                    timed(device, lambda: bootstrap.draw(fitted, 4000))
                    for _ in range(min(repeats, 3))
                ]
            ),
        }
        print(
            f"  {name:14s} fit {found[name]['fit']['median']:6.3f} s, 4,000 bootstraps over 500 "
            f"runs {found[name]['bootstraps']['median']:6.1f} s",
            flush=True,
        )
    return found


PARTS = {
    "machine": machine,
    "stacks": stacks,
    "plain": plain,
    "render": render,
    "score": score,
    "fits": fits,
    "threads": threads,
    "start": start,
}

if __name__ == "__main__":
    main()
