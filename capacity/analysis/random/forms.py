"""Capacity laws of one study by the fitting engine, side by side: which form its plateaus follow,
and which corner its runs.

The headline of a study of random data is `fit.estimate`, a geometric mean over shapes with two
intervals. Here the same units are fitted as any other law is (robust loss, bounds as bounds,
intervals by cluster), so that forms can be told apart by the sizes that they did not see.
"""

from __future__ import annotations

from capacity.base.files import plain
from capacity.fitting import fit as estimate
from capacity.fitting import selection as compare
from capacity.published.values import digits, ends, wrapped

PLATEAUS = ("capacity_linear", "capacity_affine", "capacity_power")
RUNS = ("hard_corner", "smooth_corner")
SHOWN = {
    "capacity_linear": ("C = alpha P", "alpha"),
    "capacity_affine": ("C = c0 + alpha P", "alpha"),
    "capacity_power": ("C = a P^gamma", "gamma"),
    "hard_corner": ("m = min(alpha P, H)", "alpha"),
    "smooth_corner": ("m = smooth corner", "alpha"),
}


def judge(units, runs, convention: dict[str, str], *, resamples: int = 0, seed: int = 0) -> dict:
    """{"plateaus": ..., "runs": ...}, each with forms, the one with the smallest held-out error
    first (rows of `compare.forms`, with `record` of `compare.record`), or a reason why there are
    none.

    units: of `fit.units`, clustered by label. runs: parameters, ceiling, bits, label of all runs
    that hold something, and whether their data were more than they hold (over). convention: what
    the numbers count, kept with the fits. resamples: of the cluster bootstrap beside the intervals.
    """
    told = {
        "plateaus": (
            PLATEAUS,
            estimate.Points(
                {"parameters": units.parameters.to_numpy(float)},
                units.bits.to_numpy(float),
                cluster=units.label.to_numpy(),
                lower_bound=units.lower_bound.to_numpy(bool),
                convention=convention,
            ),
        ),
        "runs": (
            RUNS,
            estimate.Points(
                {
                    "parameters": runs.parameters.to_numpy(float),
                    "ceiling_bits": runs.ceiling.to_numpy(float),
                },
                runs.bits.to_numpy(float),
                cluster=runs.label.to_numpy(),
                convention=convention,
            ),
        ),
    }
    found = {
        what: _compared(names, points, resamples, seed) for what, (names, points) in told.items()
    }
    if not runs.over.any():  # nothing but ceilings: any alpha above them fits
        found["runs"] = {"forms": [], "without": {}, "reason": "no run is over-filled"}
    return found


def _compared(names, points, resamples, seed):
    rows, without = [], {}
    for name in names:
        try:
            rows += compare.compare_forms([name], points, "parameters")
        except ValueError as error:
            without[name] = str(error)
    rows = compare.ranked(rows)
    for row in rows:
        row["record"] = compare.record(
            estimate.fit(row["form"], points), "parameters", resamples=resamples, seed=seed
        )
    return plain(
        {
            "forms": rows,
            "without": without,
            "reason": None if rows else next(iter(without.values())),
        }
    )


def lines(found: dict) -> list[str]:
    """For a terminal of 80 columns; found: of `judge`."""
    out = [
        "Forms compared (95% over shapes; held out: each size told by the others)",
        f"  {'':20}{'held-out error':>17}{'AICc':>8}",
        f"  {'form':<20}{'largest':>9}{'rms':>8}{'more':>8}  parameter",
    ]
    for what in ("plateaus", "runs"):
        part = found[what]
        if part["reason"]:
            out += wrapped(f"{what}: none: {part['reason']}", "  ")
            continue
        for row in part["forms"]:
            out.append(
                f"  {SHOWN[row['form']][0]:<20}{largest(row):>9}{rms(row):>8}{more(row):>8}  "
                f"{number(row)}"
            )
        out += [
            line
            for name, why in part["without"].items()
            for line in wrapped(f"{name}: none: {why}", "  ")
        ]
    return out + wrapped(
        "C: plateaus of shapes and seeds, fitted in log C with bounds as bounds; m: all runs. AICc "
        "more: than the best of its kind; it counts "
        "points of one shape as independent, so held-out errors come first.",
        "  ",
    )


def largest(row: dict) -> str:
    """Error of the largest size, told by the others, in percent."""
    last = row["held_out"].get("largest")
    return "-" if not last or last["percent"] is None else f"{last['percent']:+.1f}%"


def rms(row: dict) -> str:
    """Error over all sizes left out in turn."""
    value = row["held_out"].get("rms_percent")
    return "-" if value is None else f"{value:.1f}%"


def more(row: dict) -> str:
    """AICc above the best form's."""
    return "-" if row["aicc_difference"] is None else f"{row['aicc_difference']:.1f}"


def number(row: dict) -> str:
    """The parameter that is asked for, with its interval."""
    name = SHOWN[row["form"]][1]
    entry = row["record"]["intervals"][name]
    return f"{name} {digits(entry['value'])} {ends(interval(entry))}".strip()


def interval(entry: dict) -> list[float] | None:
    """Both ends of an entry of `intervals.of`, None where one is open or there is none."""
    return None if entry["low"] is None or entry["high"] is None else [entry["low"], entry["high"]]
