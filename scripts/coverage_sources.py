"""`make coverage`, third part: do intervals hold what was planted where curves and runs lie off
their law, by texts, splits, sets of runs, unequal noise, or a wrong form?

Writes results/studies/coverage/sources.csv and sources.md: exponents of forgetting and the tokens
per parameter at which F1 is 0.75, by the intervals that are quoted and by those that know the noise
of replicates alone. About two minutes on two cores.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from capacity.analysis.text import planted
from capacity.base import files
from capacity.base.files import csv
from capacity.base.hardware import cores

DRAWS = 200
CHUNK = 25  # simulated studies per piece of work
LOW = 0.92  # where a variance is estimated as 0, intervals are too wide, never too narrow


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=DRAWS, help="simulated studies of each kind")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    jobs = [
        (i, start, min(start + CHUNK, args.studies))
        for i in range(len(planted.STUDIES))
        for start in range(0, args.studies, CHUNK)
    ]
    with ProcessPoolExecutor(args.workers) as pool:
        rows = pd.DataFrame(
            [row for part in pool.map(work, jobs) for row in part],
            columns=["study", "number", "held", "width"],
        )
    table = (
        rows.groupby(["study", "number"], sort=False)
        .agg(studies=("held", "size"), coverage=("held", "mean"), width=("width", "median"))
        .reset_index()
    )
    folder = args.results / "studies" / "coverage"
    files.write_atomic(folder / "sources.csv", csv(table.round(4)))
    files.write_atomic(folder / "sources.md", report(table).encode())
    print(report(table))


def work(job: tuple[int, int, int]) -> list[tuple[str, str, bool, float]]:
    """Rows of some simulated studies of one kind."""
    study = planted.STUDIES[job[0]]
    return [
        (study.name, *row) for draw in range(job[1], job[2]) for row in planted.held(study, draw)
    ]


def report(table: pd.DataFrame) -> str:
    """Markdown: a row per kind of study and number, intervals that are quoted and others beside."""
    studies = int(table.studies.max())
    error = np.sqrt(0.95 * 0.05 / studies)
    lines = [
        "# Coverage of 95% intervals where points lie off the law",
        "",
        f"Written by `scripts/coverage_sources.py`: {studies} simulated studies of each kind "
        f"(`capacity/analysis/text/planted.py`; standard error {error:.1%}). quoted: by sources of",
        "variation; replicates: canaries resampled within curves, or runs as replicates. Widths:",
        "medians, of tokens per parameter in log t. (!): the quoted interval holds the planted",
        f"number in fewer than {LOW:.0%} of the studies. With few groups, or where a source adds",
        "nothing, the quoted interval is wider than it had to be.",
        "",
        "| study | number | quoted | width | replicates | width |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    table = table.assign(name=table.number.str.split(", ").str[0])
    for key, part in table.groupby(["study", "name"], sort=False):
        study, name = cast(tuple[str, str], key)
        quoted = part.number.str.endswith("sources")
        own, other = part[quoted].iloc[0], part[~quoted].iloc[0]
        mark = "" if own.coverage >= LOW else " (!)"
        number = "tokens per parameter" if name == "t" else f"exponent of {name}"
        lines.append(
            f"| {study} | {number} | {own.coverage:.1%}{mark} | {own.width:.3g} | "
            f"{other.coverage:.1%} | {other.width:.3g} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
