"""Part of `make coverage`: do 95% intervals of ratios of arms hold the truth where arms have few
replicates and noise of their own, and where the best of several is chosen?

Writes results/studies/coverage/arms.csv (a row per kind of study, number and method) and arms.md.
Two minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import pandas as pd

from capacity.base import files
from capacity.base.files import csv
from capacity.base.hardware import cores
from capacity.fitting.simulated_arms import NOISES, Cell, coverage

STUDIES = 400
LOW, HIGH = 0.92, 0.98
PLANS = ((3, 3, 0.0), (3, 2, 0.0), (8, 2, 0.0), (8, 3, 0.5))  # arms, seeds, part that seeds share
METHODS = ("here", "pooled", "moderated")


def cells() -> list[Cell]:
    """The kinds of study."""
    plain = [Cell(noise, *plan) for noise in NOISES for plan in PLANS]
    chosen = [Cell(noise, 6, 3, options=2) for noise in ("proportional", "constant")]
    return [*plain, *chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=STUDIES, help="simulated studies per kind")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    began, folder = time.perf_counter(), args.results / "studies" / "coverage"
    jobs = [(cell, args.studies) for cell in cells()]
    with ProcessPoolExecutor(args.workers) as pool:
        table = pd.DataFrame([row for rows in pool.map(work, jobs) for row in rows])
    files.write_atomic(folder / "arms.csv", csv(table.round(6)))
    files.write_atomic(folder / "arms.md", report(table).encode())
    print(report(table))
    print(f"{len(jobs)} kinds of study in {time.perf_counter() - began:.0f} s\n{folder}")


def work(job: tuple[Cell, int]) -> list[dict]:
    cell, studies = job
    return coverage(cell, range(studies))


def report(table: pd.DataFrame) -> str:
    """Markdown: per kind of study and number the coverage and width of every method."""
    heads = " | ".join(f"{m}: all, least and most covered arm, width" for m in METHODS)
    lines = [
        "# Coverage of 95% intervals of ratios of arms",
        "",
        "Written by `scripts/coverage_arms.py`: "
        f"{table.studies.max()} simulated studies of each kind (standard error 1.1% of an arm),",
        "planted by `capacity/fitting/simulated_arms.py`. here: what the package quotes (three",
        "pairs of seeds by themselves, fewer by a line of noise through the other arms); pooled:",
        "what it quoted before (one relative noise for all arms, no pairs, no selection);",
        "moderated: variances drawn to the line also where there are three. Widths are medians,",
        "over the true ratio. (!) lies outside of 92% to 98%.",
        "",
        f"| study | number | {heads} |",
        "| --- | --- " + "| --- " * len(METHODS) + "|",
    ]
    for key, rows in table.groupby(["study", "number"], sort=False):
        (study, number), by = cast(tuple, key), cast(Any, rows.set_index("method"))
        told = [_cell(by.loc[m]) if m in by.index else "-" for m in METHODS]
        lines.append(f"| {study} | {number} | " + " | ".join(told) + " |")
    own = table[table.method == "here"]
    low = cast(Any, own[own.coverage < LOW])
    lines += ["", f"Below {LOW:.0%} here:", ""]
    lines += [f"- {r.study}, {r.number}: {r.coverage:.1%}" for r in low.itertuples()] or ["- none"]
    return "\n".join(lines) + "\n"


def _cell(row: Any) -> str:
    mark = "" if LOW <= row.coverage <= HIGH else " (!)"
    return f"{row.coverage:.1%}{mark}, {row.least:.1%} to {row.most:.1%}, {row.width:.2f}"


if __name__ == "__main__":
    main()
