"""Tuning: the chunk of the output head, and whether feeding and rendering hold up the device."""

from __future__ import annotations

import statistics

from gpu_run.bench import Bench
from gpu_run.processes import PACK, read_json
from gpu_run.runs import batch_of, new_stack, run_config, sized


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


def feed(bench: Bench) -> None:
    """Host seconds per block of batches, of whole training over replays, and of rendering per
    chunk."""
    import torch

    from benchmarks.models import people
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
                f"64 members one by one: {64 * ms / steps:.1f} ms per step",
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
