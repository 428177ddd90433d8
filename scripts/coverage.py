"""`make coverage`: do 95% intervals hold what was planted in 95% of simulated studies? For every
form of capacity/fitting/forms.py.

Writes results/studies/coverage/coverage.csv (one row per study, number and method) and coverage.md.
The method of a form is measured over 400 simulated studies, cluster bootstraps of 400 resamples
beside it over the first 200. Whatever lies outside of 92% to 98% is looked at again in 1,600 other
studies, since of so many numbers chance alone puts some there. About ten minutes on two cores.
`--only FORM ...` runs some forms and keeps the others' rows.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from capacity.base import files
from capacity.base.files import csv
from capacity.base.hardware import cores
from capacity.fitting.coverage import once, summary
from capacity.fitting.forms import FORMS
from capacity.fitting.simulated import STUDIES

STUDIES_PER_TABLE = 400
CHUNK = 50  # simulated studies per piece of work
LOW, HIGH = 0.92, 0.98
AGAIN = (10_000, 1600)  # first, and how many, of the studies that look again at what lies outside
RESAMPLES, RESAMPLED = 400, 200
BOOTSTRAPS = ("percentile", "studentized", "bca")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--studies",
        type=int,
        default=STUDIES_PER_TABLE,
        help="simulated studies of each kind",
    )
    parser.add_argument(
        "--resampled", type=int, default=RESAMPLED, help="how many of them are also bootstrapped"
    )
    parser.add_argument(
        "--only", nargs="*", default=list(FORMS), choices=list(FORMS), metavar="FORM"
    )
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    began, folder = time.perf_counter(), args.results / "studies" / "coverage"
    chosen = [s for s in STUDIES.values() if s.form in args.only]
    jobs = [
        (
            s.name,
            start,
            min(start + CHUNK, args.studies),
            RESAMPLES if start < args.resampled else 0,
        )
        for s in chosen
        for start in range(0, args.studies, CHUNK)
    ]
    with ProcessPoolExecutor(args.workers) as pool:
        rows = [row for part in pool.map(work, jobs) for row in part]
        table = pd.DataFrame(summary(rows))
        own = table[
            (table.method == "default") & ((table.coverage < LOW) | (table.coverage > HIGH))
        ]
        more = [
            (name, start, start + CHUNK, 0)
            for name in dict.fromkeys(own.study)
            for start in range(AGAIN[0], sum(AGAIN), CHUNK)
        ]
        again = pd.DataFrame(summary([row for part in pool.map(work, more) for row in part]))
    if len(again):
        table = pd.concat([table, again.assign(method="again")])
    before = folder / "coverage.csv"
    if len(chosen) < len(STUDIES) and before.exists():
        kept = pd.read_csv(before)
        table = pd.concat([kept[~kept.study.isin(table.study)], table])
    order = {name: i for i, name in enumerate(STUDIES)}
    table = table.iloc[np.argsort(table.study.map(order), kind="stable")]
    files.write_atomic(before, csv(table.round(6)))
    files.write_atomic(folder / "coverage.md", report(table).encode())
    print(
        report(table)
        + f"\n{len(jobs)} pieces in {time.perf_counter() - began:.0f} s on {args.workers} "
        f"cores\n{folder}"
    )


def work(job: tuple[str, int, int, int]) -> list[dict]:
    """Rows of some simulated studies of one kind."""
    name, start, end, resamples = job
    return [
        row for draw in range(start, end) for row in once(STUDIES[name], draw, resamples=resamples)
    ]


def report(table: pd.DataFrame) -> str:
    """Markdown: per form and number the coverage in all kinds of study, what lies outside of the
    band, and bootstraps beside."""
    own = table[table.method == "default"]
    lines = [
        "# Coverage of 95% intervals",
        "",
        f"Written by `scripts/coverage.py`: {own.studies.max():.0f} simulated studies of each kind "
        f"(`capacity/fitting/simulated.py` plants them); coverage has a standard",
        "error of about 1.1%. even: a balanced plan; few: as small as a first study; rough: places "
        "drawn at random and clumped, a fifth of the points",
        "missing, a tenth unconverged and left out, under-filled runs as lower bounds. bias: "
        "median estimate against the planted value, in percent and in",
        'standard deviations of the estimates; half width: median, in percent. "prediction" is at '
        "one point inside of the range.",
        "",
        "| form (method) | number | even | few | rough | bias, even | bias, few | bias, rough | "
        "half width, even | few | rough |",
        "| --- | --- " + "| ---: " * 9 + "|",
    ]
    for form, law in FORMS.items():
        for number in own[own.study == f"{form}, even"].number:
            cells = [
                own[(own.study == f"{form}, {kind}") & (own.number == number)].iloc[0]
                for kind in ("even", "few", "rough")
            ]
            lines.append(
                f"| {form} ({law.interval}) | {_word(number)} | "
                + " | ".join(
                    [
                        *(
                            f"{c.coverage:.1%}" + ("" if LOW <= c.coverage <= HIGH else " (!)")
                            for c in cells
                        ),
                        *(f"{c.bias_percent:+.1f}% ({c.bias_sd:+.2f})" for c in cells),
                        *(f"{c.half_width_percent:.3g}%" for c in cells),
                    ]
                )
                + " |"
            )
    inside = own[own.study.str.contains(", (?:even|few|rough)$")]
    outside = inside[(inside.coverage < LOW) | (inside.coverage > HIGH)]
    lines += [
        "",
        f"{len(inside) - len(outside)} of {len(inside)} numbers lie between {LOW:.0%} and "
        f"{HIGH:.0%}; if all covered 95%, chance alone would put one or two outside.",
        f"Outside, with their coverage in {AGAIN[1]:,} other studies (standard error 0.6%):",
        "",
    ]
    again = table[table.method == "again"].set_index(["study", "number"]).coverage
    lines += [
        f"- {r.study}: {_word(r.number)} {r.coverage:.1%} (above {r.above:.1%}, below "
        f"{r.below:.1%} of studies), again {again[r.study, r.number]:.1%}"
        for r in outside.itertuples()
    ] or ["- none"]
    lines += [
        "",
        "Intervals that were refused (too few degrees of freedom), or have no end on one side:",
        "",
    ]
    lines += [
        f"- {r.study}: {_word(r.number)}: refused {r.refused:.1%}, open {r.open:.1%}"
        for r in own[(own.refused > 0.005) | (own.open > 0.02)].itertuples()
    ] or ["- none"]
    lines += [
        "",
        "## Beyond the plan",
        "",
        "| study | number | coverage | bias | half width |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.study} | {_word(r.number)} | {r.coverage:.1%} | {r.bias_percent:+.1f}% | "
        f"{r.half_width_percent:.3g}% |"
        if r.planted
        else f"| {r.study} | {_word(r.number)} | {r.coverage:.1%} | - | - |"
        for r in own[~own.study.isin(inside.study)].itertuples()
    ]
    lines += [
        "",
        "## Cluster bootstraps beside them",
        "",
        f"Mean coverage over the numbers of a form, {RESAMPLES} resamples of the first "
        f"{table[table.method == 'percentile'].studies.max():.0f} studies.",
        "",
        "| form | "
        + " | ".join(
            f"{m}, {kind}" for kind in ("even", "few", "rough") for m in ("default", *BOOTSTRAPS)
        )
        + " |",
        "| --- " + "| ---: " * 12 + "|",
    ]
    for form in FORMS:
        means = (
            table[table.study.str.startswith(f"{form}, ")]
            .groupby(["study", "method"])
            .coverage.mean()
        )
        lines.append(
            f"| {form} | "
            + " | ".join(
                f"{means.get((f'{form}, {kind}', m), float('nan')):.1%}"
                for kind in ("even", "few", "rough")
                for m in ("default", *BOOTSTRAPS)
            )
            + " |"
        )
    return "\n".join(lines) + "\n"


def _word(number: str) -> str:
    return "prediction" if number == "at 0" else number


if __name__ == "__main__":
    main()
