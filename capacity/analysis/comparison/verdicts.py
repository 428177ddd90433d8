"""What pairs of runs say of A and B: effect, interval, exact test, the difference that so many
pairs could show, and a verdict.

A and B differ where the interval over replicates excludes equality and the exact sign-flip test,
two-sided and corrected for the number of comparisons, has p <= 0.05. Two-sided, because which of
the two stores more is known only afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from capacity.analysis import arm_ratio
from capacity.analysis.comparison.pairs import Paired
from capacity.analysis.comparison.runs import Runs
from capacity.base.frames import Column, Frame
from capacity.base.words import plural
from capacity.fitting import ratios, statistics
from capacity.fitting.noise import OWN
from capacity.fitting.statistics import (
    ALPHA,
    fewest_replicates,
    holm,
    needed_replicates,
    standardized_effect,
)

NONE_SHOWN = "no difference shown"  # the words of laws, tables and comparisons alike
INTERVAL_ONLY = "though the interval excludes equality"
WANTED = (0.05, 0.10)  # differences of which is said how many replicates they need


def analyse(runs: Runs, paired: Paired) -> dict[str, Any]:
    """What the pairs say of one comparison, before it is corrected for others (`corrected` adds
    verdict and p_holm)."""
    used = paired.pairs[paired.pairs.left_out == ""]
    described: dict[str, Any] = {"number": runs.number} | _which(paired, used)
    if used.empty:
        why = ", ".join(f"{plural(n, 'pair')} ({why})" for why, n in described["left_out"].items())
        return described | {
            "what": None,
            "units": 0,
            "effect": None,
            "interval": None,
            "method": "",
            "dof": None,
            "p": None,
            "reason": f"the data decide, not the model: {why}",
        }
    means = used[["value_a", "value_b"]].groupby([used["size"], used.seed], sort=False)
    units = means.mean()
    size = units.index.get_level_values("size")
    ratio = bool((units.groupby("size").mean() > 0).all(axis=None))
    if ratio and arm_ratio.of_pairs(used, paired.noise)["why"] == ratios.NO_ENDS:
        ratio = False  # B is not distinguishable from 0
    test = ratios.paired(units.value_a, units.value_b, by=size, ratio=ratio)
    test |= _effect(paired, used, ratio, test)
    over_sizes = test.pop("sizes")
    if over_sizes["units"] < 2:
        over_sizes["reason"] = "one size has no spread of sizes"
    mean = {"A": float(units.value_a.mean()), "B": float(units.value_b.mean())}
    return described | test | {"mean": mean, "over_sizes": over_sizes} | _power(test, mean["B"])


def _effect(paired: Paired, used: Frame, ratio: bool, test: Mapping[str, Any]) -> dict[str, Any]:
    """Effect and interval by the function of every ratio of two arms; of differences of fewer than
    three pairs by the noise of the same arms. dof and sd: of what the interval is made."""
    if ratio:
        known = arm_ratio.of_pairs(used, paired.noise)
    else:
        known = arm_ratio.difference(used, paired.noise) if test["units"] < OWN else None
    if known is None:
        n = test["units"]
        method = f"Student's t over {n} pairs of size and seed" if test["interval"] else ""
        return {"method": method, "dof": float(n - 1) if test["interval"] else None}
    return {
        "effect": known["value"],
        "interval": known["interval"],
        "method": known["method"],
        "sd": known["sd"],
        "dof": known["dof"],
        "reason": known["why"],
    }


def _which(paired: Paired, used: Frame) -> dict[str, Any]:
    """The runs behind a comparison, and those left out of it."""
    left_out = paired.pairs.left_out.value_counts().drop("", errors="ignore").sort_index()
    return {
        "pairs_of_runs": len(used),
        "left_out": {str(why): int(n) for why, n in left_out.items()},
        "alone": paired.alone,
        "also_differ": paired.also,
        "best_of": paired.tried,
        "rising": int(used.rising_a.sum() + used.rising_b.sum()),
        "sizes": list(dict.fromkeys(used["size"])),
        "seeds": sorted(int(s) for s in set(used.seed)),
        "run_ids": {side.upper(): sorted(used[f"run_id_{side}"]) for side in "ab"},
        "parameters": {side.upper(): _range(used[f"parameters_{side}"]) for side in "ab"},
    }


def _range(column: Column) -> list[float] | None:
    return [float(column.min()), float(column.max())] if len(column) else None


def _power(test: dict[str, Any], level_b: float) -> dict[str, Any]:
    """detectable: the smallest difference that so many replicates show in four of five studies, in
    the unit of the effect: as a part of B's number for ratios (0.05 is 5%). needed: replicates for
    differences of WANTED. Intervals: by the 95% limits of the noise."""
    n, sd, dof = test["units"], test.get("sd"), test["dof"]
    if not sd or dof is None:
        why = (
            "one replicate has no spread"
            if n < 2
            else "the differences are equal to the last digit"
        )
        return {"detectable": {"effect": None, "interval": None, "reason": why}, "needed": None}
    ratio = test["what"] == "A / B"
    by_t = statistics.detectable(sd, n, sd_dof=dof, dof=dof)
    scale = (
        standardized_effect(n) / standardized_effect(n, exact=False)
        if n >= fewest_replicates()
        else 1.0
    )
    detectable = {
        "effect": scale * by_t["effect"],
        "interval": [scale * e for e in by_t["interval"]],
        "power": by_t["power"],
        "by": "interval and exact test" if n >= fewest_replicates() else "interval alone",
        "reason": None,
    }
    factors = [e / by_t["effect"] for e in by_t["interval"]]
    wanted = {f"{part:g}": part if ratio else part * abs(level_b) for part in WANTED}
    counts = {
        part: {
            "pairs": needed_replicates(sd, x),
            "interval": [needed_replicates(f * sd, x) for f in factors],
        }
        for part, x in wanted.items()
    }
    return {"detectable": detectable, "needed": counts}


def corrected(rows: list[dict[str, Any]], stores: bool) -> list[dict[str, Any]]:
    """Comparisons with p_holm, differs (A has `more`, `less`, or neither: None) and a verdict in
    words. rows: of `analyse`, with names a, b."""
    tested = sum(row["p"] is not None for row in rows)
    corrected_p = holm([row["p"] for row in rows])
    return [
        row | {"p_holm": p} | _verdict(row, p, tested, stores)
        for row, p in zip(rows, corrected_p, strict=True)
    ]


def by_interval(row: Mapping[str, Any]) -> str | None:
    """What the interval alone says of A: "more", "less", or neither."""
    return _side(row["interval"], row["what"])


def _side(interval: Sequence[float], what: str) -> str | None:
    equal = 1.0 if what == "A / B" else 0.0
    if interval[0] > equal:
        return "more"
    return "less" if interval[1] < equal else None


def _verdict(row: dict[str, Any], p: float | None, tested: int, stores: bool) -> dict[str, Any]:
    if row["effect"] is None:
        return {"differs": None, "verdict": f"nothing to compare: {row['reason']}"}
    if row["interval"] is None:
        return {"differs": None, "verdict": "no verdict: one pair of size and seed has no spread"}
    side, has = by_interval(row), "stores" if stores else "has"
    if side and p is not None and p <= ALPHA:
        text = f"{row['a']} {has} {side} than {row['b']} {_reach(row, side)}"
        return {"differs": side, "verdict": text}
    n, least = row["units"], fewest_replicates(max(tested, 1))
    among = f" among {tested} comparisons" if tested > 1 else ""
    cannot = f"below {least} the exact test cannot reach {ALPHA:.0%}{among}"
    if side and n < least:
        # an interval that excludes equality, and a test that could not have followed it
        text = f"{NONE_SHOWN} with {plural(n, 'pair')}: {cannot}, {INTERVAL_ONLY}"
        return {"differs": None, "verdict": text}
    text = f"{NONE_SHOWN} with {plural(n, 'pair')}"
    if (smallest := row["detectable"]["effect"]) is not None:
        seen = effect_in_words(smallest, row["what"])
        if n < least:
            text += f": {cannot}; the {row['detectable']['by']} would have"
        else:
            text += "; compared alone they would have" if tested > 1 else "; they would have"
        text += f" seen a difference of {seen} in four of five studies"
    return {"differs": None, "verdict": text}


def _reach(row: dict[str, Any], side: str) -> str:
    """Whether a difference at these sizes is one over sizes too."""
    ends = row["over_sizes"]["interval"]
    if ends is None:
        return "at these sizes"
    if _side(ends, row["what"]) == side:
        return "at these sizes, and over sizes"
    return "at these sizes; over sizes it is not shown"


def effect_in_words(x: float, what: str) -> str:
    """A detectable difference in words: 12%, a factor of 3.1, or in the unit of the number."""
    if what != "A / B":
        return f"{x:.3g}"
    if x < 0.995:
        return f"{100 * x:.2g}%"
    return f"a factor of {1 + x:.3g}" if x < 1e3 else "a factor above 1,000"
