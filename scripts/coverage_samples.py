"""Part of `make coverage`: do 95% intervals of shares, AUC, F1 and true positive rates hold the
truth, from two sequences to a thousand?

Writes results/studies/coverage/samples.csv (a row per kind of sample) and samples.md. Five minutes
on two cores.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from capacity.base import files
from capacity.base.files import csv
from capacity.base.hardware import cores
from capacity.fitting import small_samples as small
from capacity.fitting.small_samples import Cell
from capacity.fitting.statistics import proportion

SIZES = (
    *((1, 1), (2, 2), (2, 10), (3, 3), (5, 5), (8, 8), (10, 10), (3, 200), (200, 3), (20, 20)),
    *((10, 200), (50, 50), (100, 100), (300, 300), (1000, 1000)),
)
RATES = (("tpr 0.1", (100, 1000)), ("tpr 0.01", (1000, 5000)), ("tpr 0.001", (10000,)))
RATE_MEMBERS = (2, 5, 10, 30, 100, 1000)
SHARES = (1, 2, 3, 5, 8, 16, 30, 100, 300, 1000)
GRID = np.linspace(0.0005, 0.9995, 1999)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000, help="simulated samples of each kind")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    began, folder = time.perf_counter(), args.results / "studies" / "coverage"
    cells = [
        Cell("auc", shape, auc, m, n)
        for m, n in SIZES
        for shape in small.SHAPES
        for auc in small.AUCS
    ]
    cells += [  # of scores that fall apart flagging a half is no threshold
        Cell("f1", shape, auc, m, n)
        for m, n in SIZES
        for shape in ("normal", "wide", "narrow", "part")
        for auc in small.AUCS
    ]
    cells += [
        Cell(rate, shape, auc, m, n)
        for rate, others in RATES
        for n in others
        for m in RATE_MEMBERS
        for shape in ("normal", "wide", "narrow", "part")
        for auc in small.AUCS
    ]
    jobs = [(cell, args.samples) for cell in cells]
    with ProcessPoolExecutor(args.workers) as pool:
        rows = list(pool.map(work, jobs, chunksize=8))
    table, shares = pd.DataFrame(rows), share_table()
    files.write_atomic(folder / "samples.csv", csv(table.round(6)))
    files.write_atomic(folder / "samples.md", report(table, shares).encode())
    print(f"{len(jobs)} kinds of sample in {time.perf_counter() - began:.0f} s\n{folder}")


def work(job: tuple[Cell, int]) -> dict:
    cell, samples = job
    return asdict(cell) | small.coverage(cell, samples)


def share_table() -> pd.DataFrame:
    """A row per n and method."""
    methods = {"exact": proportion, "Wilson": small.wilson, "Jeffreys": small.jeffreys}
    return pd.DataFrame(
        [
            {"n": n, "method": name} | small.share_coverage(n, GRID, method)
            for n in SHARES
            for name, method in methods.items()
        ]
    )


def report(table: pd.DataFrame, shares: pd.DataFrame) -> str:
    """Markdown: shares by method, then a row per number and sample sizes."""
    lines = [
        "# Coverage of 95% intervals of small samples",
        "",
        "Written by `scripts/coverage_samples.py`. Shares (extraction rates, members above a "
        "threshold): counted out over 1,999 true shares; exact is",
        "what is used. Others: simulated by `capacity/fitting/small_samples.py`, "
        f"{table.samples.max():,} samples of each kind (standard error 0.7%), over true AUCs of",
        f"{', '.join(f'{x:g}' for x in small.AUCS)} and scores of members that are as wide as "
        "those of others, three times, a third, in part far above, all far",
        "above or below (apart), and rounded to whole numbers. Least: the kind of sample that is "
        "covered least.",
        "",
        "| n | " + " | ".join(f"{m}: mean, least, width" for m in shares.method.unique()) + " |",
        "| ---: | " + "---: | " * shares.method.nunique(),
    ]
    for n, group in shares.groupby("n"):
        lines.append(
            f"| {n} | "
            + " | ".join(
                f"{r['coverage']:.1%}, {r['least']:.1%}, {r['width']:.3f}"
                for r in group.to_dict("records")
            )
            + " |"
        )
    lines += [
        "",
        "| number | members | others | mean | least | of | width |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for key, group in table.groupby(["number", "members", "others"], sort=False):
        number, m, n = cast(tuple, key)
        worst = group.loc[group.coverage.idxmin()]
        lines.append(
            f"| {number.replace('tpr', 'TPR at FPR')} | {m:,} | {n:,} | "
            f"{group.coverage.mean():.1%} | {worst.coverage:.1%} | "
            f"{worst['shape']}, AUC {worst.auc:g} | {group.width.mean():.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
