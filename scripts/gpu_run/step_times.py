"""Milliseconds of a step by graph replay, beside a plain step and torch.compile; peak memory beside
the plan."""

from __future__ import annotations

import time

from gpu_run.bench import Bench
from gpu_run.runs import GPT2_SMALLEST, batch_of, new_stack, run_config, sized

PEAK = 790e12  # FLOP per second in bf16, measured on an H200


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
