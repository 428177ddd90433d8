"""`capacity worker --pack FILE`: train a pack on the machine where it is called, without hydra;
and, with --runs, one stack of it, in a process of its own that reports progress as JSON lines.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from capacity.base.hardware import SHARERS, allowed_threads
from capacity.base.progress import Progress
from capacity.sweep import pool
from capacity.sweep.packs import read_pack

PLAIN_SECONDS = 60.0  # between two lines of progress in a log that nobody may ever read


def work(path: Path) -> int:
    """Train a pack; returns 0 if every run finished, 1 if one failed or is held elsewhere, 130
    after an interruption."""
    pack = read_pack(path)
    print(
        f"{path}: {len(pack.runs)} runs in {len(pack.stacks)} stacks, {pack.workers} at a time, on "
        f"{pack.device}",
        file=sys.stderr,
    )
    progress = Progress(
        sum(pool.GUESSES["cpu"].seconds([run]) for run in pack.runs), plain_seconds=PLAIN_SECONDS
    )
    return exit_code(pool.train(pack, path, pack.runs, progress))


def exit_code(outcome: dict[str, str]) -> int:
    """0 if every run finished, 130 after an interruption, else 1."""
    if "interrupted" in outcome.values():
        return 130
    return 0 if set(outcome.values()) <= {"finished"} else 1


def train_stack(path: Path, run_ids: list[str], parent: int | None) -> int:
    """Train the named runs of a pack as one stack; returns as `work`. With `parent`, the id of the
    process that started it, checkpoint and stop when that process is gone."""
    pack = read_pack(path, run_ids)
    import torch  # after the pack was found to be good

    from capacity.base.hardware import pick_device
    from capacity.run import group
    from capacity.run.job import Job, Stop
    from capacity.run.mirror import Mirror
    from capacity.run.run import execute

    torch.set_num_threads(allowed_threads(pack.threads))
    stop = Stop(parent)
    follows = group.follows(pack.runs[0].cluster.ranks, pack.results)

    def report(event: dict) -> None:
        if follows:
            return
        try:
            print(json.dumps(event), flush=True)
        except OSError:  # nobody reads any more; stop() sees that the parent is gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    mirror = Mirror(pack.runs, pack.results, pack.study, variants=pack.variants)
    with nullcontext() if follows else mirror:
        job = Job(
            pack.results,
            pick_device(pack.device),
            pack.study,
            report,
            stop,
            sharers=int(os.environ.get(SHARERS, "1")),
        )
        outcome = execute(pack.runs, job)
    report({"event": "outcome", "outcome": outcome})
    # srun ends a group as soon as one of it fails; rank 0 tells how it went
    return 0 if follows else exit_code(outcome)
