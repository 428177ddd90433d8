"""Part of `make coverage`: do the intervals of the laws of canaries hold what was planted, also
where the law is wrong, and is that told?

Writes results/studies/coverage/canaries.csv (a row per kind of study, number and method) and
canaries.md. About fifteen minutes of one core.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from capacity.analysis.text import canaries, simulated
from capacity.analysis.text.schema import CanaryLaw
from capacity.base import files
from capacity.base.files import csv
from capacity.base.hardware import cores
from capacity.fitting import censored
from capacity.fitting.coverage import summary

STUDIES, CHUNK = 200, 10
LOW, HIGH = 0.92, 0.98
LACK = 0.05  # probability of the misfit below which it is told
METHODS = {
    "ranks": "the law that is quoted: likelihood of ranks, one by one",
    "censored": "a censored line (Tobit) through single exposures, as they read up to the ceiling",
    "levels": "least squares through level means between the ends, quoted before",
    "logistic": "the logistic law of what is extracted",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=STUDIES, help="simulated, of each kind")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    began, folder = time.perf_counter(), args.results / "studies" / "coverage"
    jobs = [
        (kind, start, min(start + CHUNK, args.studies))
        for kind in simulated.KINDS
        for start in range(0, args.studies, CHUNK)
    ]
    with ProcessPoolExecutor(args.workers) as pool:
        rows = [row for part in pool.map(work, jobs) for row in part]
    table = pd.DataFrame(summary(rows))
    told = pd.DataFrame(rows).groupby(["study", "number", "method"]).warned.mean().reset_index()
    table = table.drop(columns="warned").merge(told.rename(columns={"warned": "told"}))
    files.write_atomic(folder / "canaries.csv", csv(table.round(6)))
    files.write_atomic(folder / "canaries.md", report(table).encode())
    print(report(table) + f"\n{len(jobs)} pieces in {time.perf_counter() - began:.0f} s\n{folder}")


def work(job: tuple[str, int, int]) -> list[dict[str, Any]]:
    """Rows of some simulated studies of one kind, as `fitting.coverage.once` has them."""
    kind, start, end = job
    return [row for draw in range(start, end) for row in once(kind, draw)]


def once(kind: str, draw: int) -> list[dict[str, Any]]:
    """One simulated study: slopes by each method, and log2 of the views at which the middle size
    writes out a half."""
    table = simulated.draw(np.random.default_rng([draw, 11]), kind)
    views, size = simulated.planted(kind)
    truth: dict[str, float] = {"views": views, "size": size}
    rows = []

    def add(number: str, method: str, value: float, ends: list[float] | None, told: bool) -> None:
        low, high = ends or (-np.inf, np.inf)
        about = {"study": kind, "draw": draw, "number": number, "planted": truth[number]}
        found = {"estimate": value, "method": method, "low": low, "high": high}
        rows.append(about | found | {"refused": ends is None, "warned": told})

    law = canaries.law("exposure", table)
    if "reason" not in law:
        told = _told(law)
        for letter, number in (("b", "views"), ("c", "size")):
            add(number, "ranks", law[letter]["value"], law[letter]["interval"], told)
    for method, fitted in (("censored", _censored(table)), ("levels", _levels(table))):
        for i, number in ((1, "views"), (2, "size")):
            if fitted is not None:
                add(number, method, float(fitted.beta[i]), fitted.interval(i), False)
    logistic = canaries.law("logistic", table)
    half = canaries.half_extracted(logistic, table)
    if len(half) == len(simulated.SIZES) and "reason" not in logistic:
        truth["views of a half"] = _half(kind)
        ends = half[1]["interval"]
        log_ends = None if ends is None else [float(np.log2(end)) for end in ends]
        add(
            "views of a half",
            "logistic",
            float(np.log2(half[1]["views"])),
            log_ends,
            _told(logistic),
        )
    return rows


def _told(law: CanaryLaw) -> bool:
    """Whether a law is said not to fit: by the one p that knows that there are two tests."""
    p = (law["lack_of_fit"] or {}).get("any")
    return p is not None and p < LACK


def _half(kind: str) -> float:
    """log2 of the views at which canaries of the middle size have HALF bits, passes in the
    middle."""
    seen = np.linspace(1, 12, 11_001)
    size = np.full(len(seen), np.log2(simulated.SIZES[1]))
    bits = simulated.line(kind, seen, size, np.full(len(seen), 2.585))
    return float(np.interp(simulated.HALF, bits, seen))


def _columns(table: pd.DataFrame) -> np.ndarray:
    return np.column_stack([np.ones(len(table)), table["seen"], table["size"]])


def _censored(table: pd.DataFrame) -> censored.Fit | None:
    n, clusters = len(table), [table[c].to_numpy() for c in ("run", "sequence", "cell")]
    limits = np.full(n, -np.log2(0.01)), table["at_most"].to_numpy(float)
    return censored.fit(_columns(table), table["exposure"].to_numpy(float), *limits, clusters)


def _levels(table: pd.DataFrame) -> censored.Fit | None:
    """Without limits the censored fit is least squares."""
    means = simulated.level_means(table)
    inside = (means.exposure > canaries.CHANCE_BITS + 1) & (means.exposure < means.at_most - 1)
    some, none = means[inside], np.full(int(inside.sum()), np.inf)
    y = some.exposure.to_numpy(float)
    return censored.fit(_columns(some), y, -none, none, [some.run.to_numpy()])


def report(table: pd.DataFrame) -> str:
    """Markdown: by kind of study and number the coverage of each method, its bias, and how often
    the law that is quoted says that it does not fit."""
    lines = [
        "# Coverage of the laws of canaries",
        "",
        f"Written by `scripts/coverage_canaries.py`: {table.studies.max():.0f} simulated studies "
        "of each kind (`capacity/analysis/text/simulated.py`),",
        f"standard error of coverage about 1.6%. Planted: {simulated.VIEWS} bits per doubling of "
        f"views, {simulated.SIZE} of parameters; where the truth is no line, the",
        "slopes of the line that is nearest to it over all cells, which no law between limits is "
        "about. Cells: coverage (bias of the median).",
        "",
        *(f"- {name}: {words}" for name, words in METHODS.items()),
        "",
        "Told to misfit: the p of both tests together, by simulated studies of the law, is below "
        f"{LACK:.0%}; so it should be {LACK:.0%} where a line is true, as in the first six kinds.",
        "",
        "| study | number | ranks | half width | told to misfit | censored | levels |",
        "| --- | --- " + "| ---: " * 5 + "|",
    ]
    at: Any = table.set_index(["study", "number", "method"])
    for kind in simulated.KINDS:
        for number in ("views", "size"):
            known = [at.loc[kind, number, m] for m in ("ranks", "censored", "levels")]
            quoted = known[0]
            lines.append(
                f"| {kind} | {number} | {_cell(known[0])} | {quoted.half_width_percent:.0f}% | "
                f"{quoted.told:.0%} | {_cell(known[1])} | {_cell(known[2])} |"
            )
    lines += [
        "",
        "Views after which a half is extracted, log2, of the middle size (logistic law):",
        "",
        "| study | coverage (bias) | told to misfit |",
        "| --- | ---: | ---: |",
    ]
    for kind in simulated.KINDS:
        if (kind, "views of a half", "logistic") in at.index:
            row = at.loc[kind, "views of a half", "logistic"]
            lines.append(f"| {kind} | {_cell(row)} | {row.told:.0%} |")
    failed = [
        row
        for row in table.to_dict("records")
        if row["method"] in ("ranks", "logistic") and not LOW <= row["coverage"] <= HIGH
    ]
    lines += ["", f"Quoted laws outside of {LOW:.0%} to {HIGH:.0%}:", ""]
    lines += [
        f"- {row['study']}: {row['number']} {row['coverage']:.1%} (misfit told in "
        f"{row['told']:.0%})"
        for row in failed
    ] or ["- none"]
    lines += ["", "Kinds:", "", *(f"- {kind}: {words}" for kind, words in simulated.KINDS.items())]
    return "\n".join(lines) + "\n"


def _cell(row: Any) -> str:
    mark = "" if LOW <= row.coverage <= HIGH else " (!)"
    return f"{row.coverage:.1%}{mark} ({row.bias_percent:+.1f}%)"


if __name__ == "__main__":
    main()
