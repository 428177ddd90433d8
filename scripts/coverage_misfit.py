"""Part of `make coverage`: do 95% intervals of laws over exposures and over bit widths, and of
plateaus, hold the truth where points lie off the law by more than their replicates differ?

Writes results/studies/coverage/misfit.csv (a row per kind of study, number and method) and
misfit.md. Two minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from capacity.analysis import lack_of_fit
from capacity.analysis.facts import exposures
from capacity.analysis.precision import analysis as precision
from capacity.analysis.random import flatness
from capacity.base import files
from capacity.base.files import csv
from capacity.base.hardware import cores
from capacity.fitting import fit as estimate
from capacity.fitting import groups, intervals, misfit
from capacity.fitting.statistics import student

STUDIES = 100
LOW = 0.92
NOISE = 0.02  # of one run or one mean


@dataclass(frozen=True)
class Kind:
    """A kind of study. of: which law; name: in words; scatter: standard deviation of what a place
    lies off, in standard deviations of the noise; seeds: replicates of a place; places: how many;
    truth: "equal" or "unequal" noise, or "wrong" where the truth has another form."""

    of: str
    name: str
    scatter: float = 0.0
    seeds: int = 2
    places: int = 5
    truth: str = "equal"


KINDS = (
    Kind("exposures", "the law holds"),
    Kind("exposures", "places scatter as much as runs", 1.0),
    Kind("exposures", "places scatter more than runs", 2.5),
    Kind("exposures", "the law holds, unequal noise", truth="unequal"),
    Kind("exposures", "places scatter, unequal noise", 1.0, truth="unequal"),
    Kind("exposures", "places scatter, one seed", 1.0, seeds=1, places=8),
    Kind("exposures", "places scatter, seven places of three seeds", 2.5, seeds=3, places=7),
    Kind("exposures", "wrong form", truth="wrong"),
    Kind("bit widths", "the law holds", seeds=3),
    Kind("bit widths", "places scatter as much as means", 1.0, seeds=3),
    Kind("bit widths", "places scatter more than means", 4.0, seeds=3),
    Kind("bit widths", "wrong form", seeds=3, truth="wrong"),
    Kind("plateaus", "flat"),
    Kind("plateaus", "sizes of the data scatter as much as runs", 1.0),
    Kind("plateaus", "sizes of the data scatter more than runs", 2.5),
)


def study_of_exposures(kind: Kind, draw: np.random.Generator) -> list[dict[str, Any]]:
    """Runs at several exposures whose truth saturates; the form is chosen as a study chooses it."""
    r_inf, e0, b = 0.5, 300.0, 1.4
    at = np.geomspace(100.0, 1600.0, kind.places)
    e, place = np.repeat(at, kind.seeds), np.repeat(np.arange(kind.places), kind.seeds)
    form = "power" if kind.truth == "wrong" else "exponential"
    e0 = 1200.0 if form == "power" else e0
    b = 4.0 if form == "power" else b
    truth = exposures.curve(form, e, r_inf, e0, b)
    noise = NOISE * (2 * truth / r_inf if kind.truth == "unequal" else np.ones(len(e)))
    off = kind.scatter * NOISE * draw.standard_normal(kind.places)[place]
    y = np.maximum(truth + off + noise * draw.standard_normal(len(e)), 0.0)
    points = estimate.Points({"exposures": e}, y)
    limits = {"r_inf": (0.0, 4 * r_inf)}
    # the form is chosen by its rms, as studies choose it, but in the kind of wrong forms
    names = ("exponential",) if kind.truth == "wrong" else exposures.FORMS
    fits = {
        name: estimate.fit(f"exposure_{name}", points, delta=np.inf, bounds=limits)
        for name in names
    }
    name = min(fits, key=lambda one: float((fits[one].residuals() ** 2).sum()))
    codes = groups.rounded(e)[1]
    known = {"R_inf": r_inf, "E95": exposures.reach(form, e0, b)}
    derived = {"e95": (lambda theta: exposures.reach(name, theta[1], theta[2]), "exposures")}
    found = {
        method: intervals.of(fits[name], derived=derived, names=["r_inf"], groups=by)
        for method, by in (("quoted", {exposures.PLACES: codes}), ("clusters", None))
    }
    told = lack_of_fit.shown(misfit.lack_of_fit(fits[name], codes))
    return [
        row(kind, number, method, ends[key], truth_, told)
        for number, key, truth_ in (
            ("R_inf", "r_inf", known["R_inf"]),
            ("E95", "e95", known["E95"]),
        )
        for method, ends in found.items()
    ]


def study_of_bit_widths(kind: Kind, draw: np.random.Generator) -> list[dict[str, Any]]:
    """Means of three models in eight formats; truth max(0, C (1 - A exp(-b / b0)))."""
    bits, (c, a, b0) = np.array([32.0, 16, 8, 6, 5, 4, 3, 2]), (1.0, 4.0, 1.6)
    truth = np.maximum(0.0, c * (1 - a * np.exp(-bits / b0)))
    if kind.truth == "wrong":
        truth = np.maximum(0.0, c * (1 - 10 * 4.0 ** (-0.8 * bits)))
    off = kind.scatter * NOISE * draw.standard_normal(len(bits))
    off[:2] = 0.0  # fp32 is 1 by its definition, bf16 nearly so
    rows = [
        (f"{b:g}", b, f"model {i}", truth[j] * (1 + level) + off[j] + NOISE * noise)
        for i, level in enumerate(0.5 * NOISE * draw.standard_normal(kind.seeds))
        for j, (b, noise) in enumerate(zip(bits, draw.standard_normal(len(bits)), strict=True))
    ]
    mean = pd.DataFrame(rows, columns=["format", "x", "model", "y"])
    mean = mean.assign(y=cast(Any, mean.y).clip(lower=0.0))
    fitted = estimate.fit("precision_shifted", precision.points(mean), delta=np.inf)
    by = {"formats": mean.format.to_numpy(), "models": mean.model.to_numpy()}
    told = lack_of_fit.shown(misfit.lack_of_fit(fitted, mean.format, mean.model))
    return [
        row(kind, name, method, intervals.of(fitted, names=[name], groups=groups_)[name], x, told)
        for name, x in (("c", c), ("b0", b0))
        for method, groups_ in (("quoted", by), ("clusters", None))
    ]


def study_of_plateaus(kind: Kind, draw: np.random.Generator) -> list[dict[str, Any]]:
    """Four models, two sizes of the data each, two seeds: what the first model holds."""
    noise = 0.01
    rows = [
        (f"s{i}", seed, n, 3.0 * math.exp(off + noise * draw.standard_normal()))
        for i in range(4)
        for n, off in enumerate(kind.scatter * noise * draw.standard_normal(2))
        for seed in range(kind.seeds)
    ]
    used = pd.DataFrame(rows, columns=["model", "seed", "n_sequences", "bits"]).assign(p=1.0)
    found = flatness.of(used, "bits", "p")
    logs = np.log(cast(Any, used.bits)).groupby([used.model, used.seed]).mean()
    sd = math.sqrt(float(logs.groupby("model").var().mean()))  # of a seed, pooled over models
    middle, half = float(logs["s0"].mean()), float(student(4.0)) * sd / math.sqrt(kind.seeds)
    plain = [math.exp(middle - half), math.exp(middle + half)]
    quoted = found["intervals"].get("s0", plain)
    told = lack_of_fit.shown(found["lack_of_fit"])
    return [
        row(kind, "bits per parameter", method, {"low": ends[0], "high": ends[1]}, 3.0, told)
        for method, ends in (("quoted", quoted), ("clusters", plain))
    ]


def row(
    kind: Kind, number: str, method: str, ends: dict[str, Any], truth: float, told: bool
) -> dict[str, Any]:
    low, high = (math.nan if ends[end] is None else float(ends[end]) for end in ("low", "high"))
    has = math.isfinite(low) and math.isfinite(high)
    return {
        "of": kind.of,
        "study": kind.name,
        "number": number,
        "method": method,
        "none": not has,
        "covered": has and low <= truth <= high,
        "width": (high - low) / truth,
        "told": told,
    }


PLANTED = {
    "exposures": study_of_exposures,
    "bit widths": study_of_bit_widths,
    "plateaus": study_of_plateaus,
}


def work(job: tuple[int, Kind, int]) -> list[dict[str, Any]]:
    """All studies of one kind."""
    place, kind, studies = job
    draws = (np.random.default_rng([place, i]) for i in range(studies))
    return [one for draw in draws for one in PLANTED[kind.of](kind, draw)]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per kind of study, number and method; studies without an interval cover nothing and
    miss nothing."""
    out = []
    for key, part in rows.groupby(["of", "study", "number", "method"], sort=False):
        has = cast(Any, part[~part.none])
        out.append(
            {
                **dict(zip(("of", "study", "number", "method"), cast(tuple, key), strict=True)),
                "studies": len(part),
                "coverage": float(has.covered.mean()),
                "width": float(has.width.median()),
                "without": float(part.none.mean()),
                "told": float(part.told.mean()),
            }
        )
    return pd.DataFrame(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=STUDIES, help="simulated studies per kind")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    began, folder = time.perf_counter(), args.results / "studies" / "coverage"
    jobs = [(i, kind, args.studies) for i, kind in enumerate(KINDS)]
    with ProcessPoolExecutor(args.workers) as pool:
        rows = pd.DataFrame([one for part in pool.map(work, jobs) for one in part])
    table = summary(rows)
    files.write_atomic(folder / "misfit.csv", csv(table.round(6)))
    files.write_atomic(folder / "misfit.md", report(table).encode())
    print(report(table))
    print(f"{len(jobs)} kinds of study in {time.perf_counter() - began:.0f} s\n{folder}")


def report(table: pd.DataFrame) -> str:
    """Markdown: per kind of study and number the coverage and width of both intervals."""
    n = int(table.studies.max())
    lines = [
        "# Coverage of 95% intervals with and without lack of fit",
        "",
        f"Written by `scripts/coverage_misfit.py`: {n} simulated studies of each kind (standard",
        f"error {100 * math.sqrt(0.95 * 0.05 / n):.1f}%). quoted: with the scatter of places about",
        "the law, where it is seen; clusters: runs, models or seeds alone, as before. Widths:",
        "medians, over the true number. told: how often the test of lack of fit calls the law one",
        "that does not fit, at 5%. (!): the quoted interval holds the planted number in fewer than",
        f"{LOW:.0%} of the studies.",
        "",
        "| law | study | number | quoted | width | clusters | width | told |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for key, rows in table.groupby(["of", "study", "number"], sort=False):
        by = cast(Any, rows.set_index("method"))
        new, old = by.loc["quoted"], by.loc["clusters"]
        mark = " (!)" if new.coverage < LOW else ""
        cells = [
            *map(str, cast(tuple, key)),
            f"{new.coverage:.1%}{mark}",
            f"{new.width:.3g}",
            f"{old.coverage:.1%}",
            f"{old.width:.3g}",
            f"{new.told:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    low = cast(Any, table[(table.method == "quoted") & (table.coverage < LOW)])
    lines += ["", f"Below {LOW:.0%}:", ""]
    lines += [f"- {r.of}, {r.study}: {r.number} {r.coverage:.1%}" for r in low.itertuples()] or [
        "- none"
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
