"""Speed of data and measures: rendering of biographies, and scores of sequences for attacks."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import numpy as np
import torch

from benchmarks.models import RENDER, WORDS, config, people, trainer
from benchmarks.timing import installed, spread, timed
from capacity.data.text import Pool
from capacity.feed.feed import CHUNK_TOKENS
from capacity.feed.stream import MemberStream
from capacity.fitting.separation import statistics as statistics_of
from capacity.measure.memorization import code_lengths
from capacity.measure.sequence_scores import Prefix, recall, scores
from capacity.model.gpt import GPT

SCORED = 100_000
SCORED_BY = {  # name -> layers, width, heads, V
    "20K, V 256": (2, 24, 3, 256),
    "0.3M, V 256": (2, 104, 13, 256),
    "20K, V 2048": (2, 8, 1, 2048),
    "0.3M, V 2048": (2, 80, 10, 2048),
}


def render(device: torch.device, repeats: int, out: dict) -> dict | None:
    """Rendered tokens per second, a repeat being one chunk as training asks for it; and its part of
    training GPT2-2-2."""
    if not installed("tokenizers"):
        print("  tokenizers is not installed")
        return None
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
    rng = np.random.default_rng(0)
    for name, (layers, width, heads, vocab) in SCORED_BY.items():
        one = config((layers, width, heads), vocab, 32, 16, 0, "fp32")
        gpt = GPT(one.model, vocab, 32)
        flat_P, frequency = gpt.init([0])[0].to(device), 1.0 / np.arange(2, vocab + 2)
        table = rng.choice(vocab, (SCORED, 32), p=frequency / frequency.sum()).astype(np.int32)
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
            f"{name:16s}{one.parameters['total']:>11,}{found[name]['loss']['seconds']:>7.1f}"
            f"{told}{found[name]['peak_mb']:>5.0f}",
            flush=True,
        )
        words = [
            "".join(rng.choice(list("etaoinshrdlu"), 1 + int(np.log2(2 + i)) // 2)) + " "
            for i in range(vocab)
        ]
        pool = Pool("bench", table, words)
        found[name]["zlib_s"] = timed(device, lambda: pool.zlib_bytes(np.arange(SCORED)))
    found["statistics_s"] = timed(
        device,
        lambda: statistics_of(rng.normal(0.5, 1, SCORED // 2), rng.normal(0, 1, SCORED // 2)),
    )
    texts = ", ".join(f"{found[name]['zlib_s']:.1f}" for name in SCORED_BY)
    print(
        f"  zlib of the texts {texts} s; statistics of one attack and their intervals "
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
