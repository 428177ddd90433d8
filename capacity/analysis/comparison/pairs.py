"""Whether A stores more than B: runs of a study that differ in what is asked and in nothing else,
as pairs, with a test, an interval and the smallest difference that so many of them could have
shown.

pair of runs   one finished run of A and one of B, equal in size (layers and width), seed, data,
               exposures and all else that can be
replicate      the pairs of runs of one size and one seed, whose differences are averaged: runs of
               one seed at several data sizes or numbers of exposures share data and start, so they
               are no independent answers (the rule of `fit.units`)
limited        a pair that says something about the data and not about the model: random data that
               fit (`fit.classify`: under-filled or in the corner), people of whom a model holds
               over 95% (`thresholds.DATA_LIMITED`); left out and counted

A and B differ where the interval over replicates excludes equality and the exact sign-flip test,
two-sided and corrected for the number of comparisons, has p <= 0.05. Two-sided, because which of
the two stores more is known only afterwards.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity.analysis import labels
from capacity.analysis.facts import reading
from capacity.analysis.random import plateaus as fit
from capacity.analysis.thresholds import DATA_LIMITED
from capacity.base.errors import nearest
from capacity.base.files import csv
from capacity.fitting import statistics
from capacity.fitting.statistics import (
    ALPHA,
    fewest_replicates,
    holm,
    needed_replicates,
    standardized_effect,
)

if TYPE_CHECKING:
    from capacity.study import Study

SIZE = labels.SIZES[
    :2
]  # what makes pairs of one size; heads follow the width or are part of an architecture
WANTED = (0.05, 0.10)  # differences of which is said how many replicates they need
WHERE = {
    "train.exposures": "exposures",
    "train.steps": "exposures",
    **dict.fromkeys(
        ("data.load", "data.n_people", "data.n_sequences", "data.tokens_per_parameter"), "amount"
    ),
    **{key: key for key in SIZE},
}  # a setting -> the column that has to be equal in a pair


@dataclass(frozen=True)
class Runs:
    """The runs of a study, one row each in the order of the study, and the number that is
    compared."""

    # run_id, status, seed, size, amount, exposures, parameters, rising, all settings, architecture;
    # value (compared),
    table: pd.DataFrame
    # stored (what a best is chosen by), most (value of all data, people), limited (why the data
    # decide, or empty)
    varied: list[str]  # those settings, but for SIZE and the amounts of data and training
    best_over: list[str]  # of them, what the best is taken over
    number: str  # what is compared, in words
    stores: bool  # whether more of it is more stored
    kind: str  # random data, people, text


def read(study: Study, table: pd.DataFrame, value: str | None = None) -> Runs:
    """table: of `run_table.table`. value: one of its numeric columns, instead of strict bits per
    parameter (total count) of random data or R of people. ValueError, in one line, for a table that
    cannot be compared."""
    from capacity.analysis.result import kinds

    if len(found := kinds(study)) > 1:
        raise ValueError(f"runs on {' and '.join(sorted(found))}: no number is the same for both")
    kind = found.pop()
    if not (table.status == "finished").any():
        raise ValueError("no finished run to compare")
    if value is None:
        rows, number = _stored(table, kind)
    else:
        if (
            value not in table
            or not pd.api.types.is_numeric_dtype(table[value])
            or pd.api.types.is_bool_dtype(table[value])
        ):
            numeric = [c for c in table if pd.api.types.is_numeric_dtype(table[c])]
            raise ValueError(
                f"--value {value}: no numeric column of its runs{nearest(value, numeric)}; "
                f"`capacity table` shows them all"
            )
        stored = (
            _stored(table, kind)[0].set_index("run_id").value.reindex(table.run_id).to_numpy()
            if kind != "text"
            else table[value]
        )
        rows = table.assign(
            value=table[value].astype(float),
            stored=stored,
            limited="",
            most=math.nan,
            parameters=table.parameters_total,
        )
        number = f"column {value}"
    rows = rows.assign(stored=rows.get("stored", rows.value)).set_index("run_id")
    plain = pd.DataFrame([_settings(run) for run in study.runs], dtype=object)
    plain = plain.where(plain.notna(), None).set_axis([run.run_id for run in study.runs])
    amounts = [c for c in plain if c in (*labels.AMOUNTS, *WHERE, *labels.FOLLOWS, "data.pool")]
    varied = [c for c in plain if c not in amounts and plain[c].map(repr).nunique() > 1]
    out = pd.DataFrame(
        {
            "seed": [run.seed for run in study.runs],
            "size": [run.shape for run in study.runs],
            "amount": [_amount(run) for run in study.runs],
            "exposures": [
                float(run.train.exposures or f"{run.exposures:.3g}") for run in study.runs
            ],
        },
        plain.index,
    )
    out = out.join(rows[["status", "value", "stored", "limited", "most", "parameters"]]).join(plain)
    out["rising"] = (rows.gain_last_tenth.astype(float) > fit.RISING).reindex(out.index)
    out["architecture"] = [labels.architecture(row) or None for row in plain.to_dict("records")]
    return Runs(
        out.rename_axis("run_id").reset_index(),
        varied,
        [c for c in study.best_over if c in varied],
        number,
        value is None,
        kind,
    )


def _settings(run: Any) -> dict[str, Any]:
    """Every setting of data, model and training by dotted key, as values that compare."""
    tree = run.as_dict()
    return {
        f"{section}.{key}": labels.plain(str(value) if isinstance(value, (list, tuple)) else value)
        for section in ("data", "model", "train")
        for key, value in tree[section].items()
    }


def _stored(table: pd.DataFrame, kind: str) -> tuple[pd.DataFrame, str]:
    """The table with value (bits per parameter), limited (why the data decide, or empty) and
    parameters of the count that is meant."""
    if kind == "text":
        raise ValueError(
            "text has no one number of stored bits: name a column with --value, such as "
            "members_loss_bits_per_token"
        )
    if kind == "people":
        rows = reading.check(table)
        p = rows.parameters_paper
        return (
            rows.assign(value=rows.bits / p, most=rows.ceiling_bits / p, parameters=p, limited=""),
            "R = learned bits per parameter (count paper: used rows)",
        )
    rows = fit.check(table, allow_mixed=True)
    why = fit.classify(rows)
    p, why = rows.parameters_total, np.where(why == "saturated", "", why)
    return (
        rows.assign(value=rows.strict_bits / p, most=math.nan, parameters=p, limited=why),
        "strict bits per parameter (total count) on plateaus",
    )


def _amount(run: Any) -> str:
    """How much data: the load where that was asked for, so that models of other sizes count as
    equally loaded, else the items."""
    for key, words in (("load", "load"), ("tokens_per_parameter", "tokens per parameter")):
        if (asked := getattr(run.data, key, None)) is not None:
            return f"{words} {asked:g}"
    return f"N = {run.items}"


# --- which runs
# --------------------------------------------------------------------------------------------------


def varies(runs: Runs) -> dict[str, list[str]]:
    """What the study varies, and the values: {setting: values as text}, the settings that A and B
    may name."""
    names = [
        *(
            c
            for c in dict.fromkeys([*SIZE, *WHERE])
            if c in runs.table and runs.table[c].map(repr).nunique() > 1
        ),
        *runs.varied,
    ]
    names += ["architecture"] * (runs.table.architecture.nunique() > 1)

    def order(value: Any) -> tuple:
        return value is None, isinstance(value, str), 0 if value is None else value

    values = {
        name: runs.table[name].dropna() if name == "architecture" else runs.table[name]
        for name in names
    }  # not every form has a name
    return {
        name: [spelled(v) for v in sorted(set(column), key=order)]
        for name, column in values.items()
    }


def parse(text: str, runs: Runs) -> dict[str, Any]:
    """KEY=VALUE[,KEY=VALUE] as {setting: value of these runs}; ValueError in one line for what no
    run has."""
    out: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, word = (side.strip() for side in part.partition("="))
        if not equals or not key or not word:
            raise ValueError(f"{part!r}: expected KEY=VALUE, several with commas between")
        known = [c for c in runs.table if "." in c] + ["architecture"]
        if key not in known:
            varied = ", ".join(varies(runs)) or "none"
            raise ValueError(
                f"{key}: no such setting of these runs{nearest(key, known)}; the study varies "
                f"{varied}"
            )
        if key in out:
            raise ValueError(f"{key}: named twice")
        have = list(dict.fromkeys(runs.table[key]))
        same = [v for v in have if _means(word, v)]
        if not same:
            raise ValueError(
                f"{key}={word}: no run has it; the study has {', '.join(map(spelled, have[:12]))}"
            )
        out[key] = same[0]
    return out


def spelled(value: Any) -> str:
    """A value as `parse` takes it."""
    return "null" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value)


def _means(word: str, value: Any) -> bool:
    """Whether a word of the command line stands for a value, a number also with four of its
    digits."""
    if value is None:
        return word.lower() in ("null", "none")
    if isinstance(value, float):
        try:
            return math.isclose(float(word), value, rel_tol=5e-4)
        except ValueError:
            return False
    return word == value or word.lower() == value


def select(runs: Runs, where: dict[str, Any]) -> pd.DataFrame:
    """The runs that have these values."""
    keep = np.ones(len(runs.table), bool)
    for key, value in where.items():
        keep &= np.array([v == value for v in runs.table[key]])
    return runs.table[keep]


# --- pairs
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paired:
    """Pairs of runs; columns of the frame end in _a and _b."""

    pairs: pd.DataFrame  # also size, seed and left_out: why a pair does not count, or empty
    alone: dict[str, int]  # finished runs without a partner: {"A": n, "B": n}
    also: dict[
        str, list[str]
    ]  # settings that nobody named and in which A and B never agree: their values in A, in B
    tried: dict[str, int]  # of how many runs the best was taken


def pair(runs: Runs, a: pd.DataFrame, b: pd.DataFrame, named: set[str]) -> Paired:
    """Runs of a and b that are equal in everything but `named`.

    Size, seed, amount of data and exposures have to be equal, and so has every setting of the data.
    Another setting of model or training has to be equal where any pair can be; where none can (a
    recipe or a part of an architecture that always goes with what was named) it is told as `also`.
    ValueError, in one line, where a run has several partners or none has one."""
    if shared := set(a.run_id) & set(b.run_id):
        raise ValueError(
            f"A and B share {len(shared)} run(s), such as {sorted(shared)[0]}: name what tells "
            f"them apart on both sides"
        )
    (a, tried_a), (b, tried_b) = _best(runs, a, named), _best(runs, b, named)
    for side, part in (("A", a), ("B", b)):
        if part.empty:
            raise ValueError(f"{side} has no finished run")
    always = ["seed"]
    for column in dict.fromkeys(WHERE.values()):
        keys = {key for key, of in WHERE.items() if of == column}
        if not keys & named or set(a[column]) & set(b[column]):
            always.append(column)
    both = a.merge(b, on=always, suffixes=("_a", "_b"), how="inner")
    if both.empty:
        raise ValueError(f"no pair: no run of A has one of B with equal {', '.join(always)}")
    also = {}
    for c in runs.varied:
        if c in runs.best_over and c not in named:
            continue
        equal = np.array([x == y for x, y in zip(both[f"{c}_a"], both[f"{c}_b"])])
        if equal.any():
            both = both[equal]
        elif c not in named and c.startswith("data."):
            raise ValueError(
                f"no pair: A and B differ in {c} wherever they are equal otherwise; name it on "
                f"both sides"
            )
        elif c not in named:
            also[c] = [
                ", ".join(dict.fromkeys(labels.text(v) for v in both[f"{c}_{side}"]))
                for side in "ab"
            ]
    for side, other in (("a", "b"), ("b", "a")):
        twice = both[both.duplicated(f"run_id_{side}", keep=False)]
        if len(twice):
            differ = [
                c
                for c in runs.varied
                if (
                    twice.groupby(f"run_id_{side}")[f"{c}_{other}"].agg(lambda v: len(set(v))) > 1
                ).any()
            ]
            raise ValueError(
                f"run {twice[f'run_id_{side}'].iloc[0]} of {side.upper()} has several partners, "
                f"which differ in "
                f"{', '.join(differ) or 'nothing'}: name more settings"
            )
    both = both.assign(size=both.get("size", both.get("size_a")))
    both = both[both.value_a.notna() & both.value_b.notna()].reset_index(drop=True)
    alone = {"A": len(a) - len(both), "B": len(b) - len(both)}
    if both.empty:
        raise ValueError(f"no pair: no run has a value of {runs.number}")
    return Paired(
        both.assign(left_out=_left_out(runs, both)), alone, also, {"A": tried_a, "B": tried_b}
    )


def _best(runs: Runs, part: pd.DataFrame, named: set[str]) -> tuple[pd.DataFrame, int]:
    """Finished runs, of those that differ in `best_over` alone the one with the most, and how many
    that were at most."""
    part = part[part.status == "finished"]
    free = [c for c in runs.best_over if c not in named]
    if not free or part.empty:
        return part, 1
    same = ["seed", "amount", "exposures", *SIZE, *(c for c in runs.varied if c not in free)]
    groups = part.groupby([part[c].map(repr) for c in same], sort=False).stored
    return part.loc[groups.idxmax()].sort_index(), int(groups.size().max())


def _left_out(runs: Runs, both: pd.DataFrame) -> list[str]:
    """Why each pair says nothing about the model. People: by the mean over seeds of a model, as
    verdicts do, so that no seed is picked by its noise; random data: run by run, as the fit
    does."""
    if not runs.stores:
        return [""] * len(both)
    if runs.kind != "people":
        return [f"{x or y}" for x, y in zip(both.limited_a, both.limited_b)]
    out = np.zeros(len(both), bool)
    for side in "ab":
        fraction = both[f"value_{side}"] / both[f"most_{side}"]
        keys = [
            both["size"],
            *(both.get(c, both.get(f"{c}_{side}")) for c in ("amount", "exposures")),
        ]
        out |= (fraction.groupby(keys).transform("mean") > DATA_LIMITED).to_numpy()
    return ["holds over 95% of its data" if full else "" for full in out]


# --- numbers
# --------------------------------------------------------------------------------------------------


def judge(runs: Runs, found: Paired) -> dict:
    """What the pairs say of one comparison, before it is corrected for others (`corrected` adds
    verdict and p_holm)."""
    pairs, out = (
        found.pairs,
        found.pairs.left_out.value_counts().drop("", errors="ignore").sort_index(),
    )
    used = pairs[pairs.left_out == ""]
    told = {
        "number": runs.number,
        "pairs_of_runs": len(used),
        "left_out": {str(k): int(v) for k, v in out.items()},
        "alone": found.alone,
        "also_differ": found.also,
        "best_of": found.tried,
        "rising": int(used.rising_a.sum() + used.rising_b.sum()),
        "sizes": list(dict.fromkeys(used["size"])),
        "seeds": sorted(int(s) for s in set(used.seed)),
        "run_ids": {side.upper(): sorted(used[f"run_id_{side}"]) for side in "ab"},
        "parameters": {
            side.upper(): [
                float(used[f"parameters_{side}"].min()),
                float(used[f"parameters_{side}"].max()),
            ]
            if len(used)
            else None
            for side in "ab"
        },
    }
    if used.empty:
        why = ", ".join(f"{n} pair{'s' * (n != 1)} ({why})" for why, n in told["left_out"].items())
        return told | {
            "what": None,
            "units": 0,
            "effect": None,
            "interval": None,
            "p": None,
            "reason": f"the data decide, not the model: {why}",
        }
    ratio = bool((used.value_a > 0).all() and (used.value_b > 0).all())
    logs = {
        side: np.log(used[f"value_{side}"]) if ratio else used[f"value_{side}"] for side in "ab"
    }
    units = (
        pd.DataFrame(logs | {"size": used["size"], "seed": used.seed})
        .groupby(["size", "seed"], sort=False)
        .mean()
    )
    a, b = (np.exp(units[side]) if ratio else units[side] for side in "ab")
    test = statistics.paired(a, b, by=units.index.get_level_values("size"), ratio=ratio)
    over_sizes = test.pop("sizes")
    if over_sizes["units"] < 2:
        over_sizes["reason"] = "one size has no spread of sizes"
    return (
        told
        | test
        | {
            "mean": {"A": float(a.mean()), "B": float(b.mean())},
            "over_sizes": over_sizes,
            **_power(test, float(b.mean())),
        }
    )


def _power(test: dict, level_b: float) -> dict:
    """detectable: the smallest difference that so many replicates show in four of five studies, in
    the unit of the effect: as a part of B's number for ratios (0.05 is 5%). needed: replicates for
    differences of WANTED. Intervals: by the 95% limits of the noise."""
    n, sd = test["units"], test.get("sd")
    if n < 2 or not sd:
        why = (
            "one replicate has no spread"
            if n < 2
            else "the differences are equal to the last digit"
        )
        return {"detectable": {"effect": None, "interval": None, "reason": why}, "needed": None}
    ratio = test["what"] == "A / B"
    back = math.expm1 if ratio else float
    by_t = statistics.detectable(sd, n, sd_dof=n - 1)
    scale = (
        standardized_effect(n) / standardized_effect(n, exact=False)
        if n >= fewest_replicates()
        else 1.0
    )
    detectable = {
        "effect": back(min(scale * by_t["effect"], 700.0)),
        "interval": [back(min(scale * e, 700.0)) for e in by_t["interval"]],
        "power": by_t["power"],
        "by": "interval and exact test" if n >= fewest_replicates() else "interval alone",
        "reason": None,
    }
    factors = [e / by_t["effect"] for e in by_t["interval"]]
    wanted = {f"{part:g}": math.log1p(part) if ratio else part * abs(level_b) for part in WANTED}
    counts = {
        part: {
            "pairs": needed_replicates(sd, x),
            "interval": [needed_replicates(f * sd, x) for f in factors],
        }
        for part, x in wanted.items()
    }
    return {"detectable": detectable, "needed": counts}


def corrected(rows: list[dict], stores: bool) -> list[dict]:
    """Comparisons with p_holm, differs (A has `more`, `less`, or neither: None) and a verdict in
    words. rows: of `judge`, with names a, b."""
    tested = sum(row["p"] is not None for row in rows)
    return [
        row | {"p_holm": p, **_verdict(row, p, tested, stores)}
        for row, p in zip(rows, holm([row["p"] for row in rows]))
    ]


def by_interval(row: dict) -> str | None:
    """What the interval over pairs says of A alone: "more", "less", or neither."""
    equal = 1.0 if row["what"] == "A / B" else 0.0
    return "more" if row["interval"][0] > equal else "less" if row["interval"][1] < equal else None


def _verdict(row: dict, p: float | None, tested: int, stores: bool) -> dict:
    a, b, n, least = row["a"], row["b"], row["units"], fewest_replicates(max(tested, 1))
    if row["effect"] is None:
        return {"differs": None, "verdict": f"nothing to compare: {row['reason']}"}
    if p is None:
        return {"differs": None, "verdict": "no verdict: one pair of size and seed has no spread"}
    equal, side = 1.0 if row["what"] == "A / B" else 0.0, by_interval(row)
    if side and p <= ALPHA:
        ends = row["over_sizes"]["interval"]
        others = bool(ends) and (ends[0] > equal if side == "more" else ends[1] < equal)
        reach = (
            "at these sizes, and over sizes"
            if others
            else "at these sizes" + ("" if ends is None else "; over sizes it is not shown")
        )
        return {
            "differs": side,
            "verdict": f"{a} stores {side} than {b} {reach}"
            if stores
            else f"{a} has {side} than {b} {reach}",
        }
    if (
        side and n < least
    ):  # an interval that excludes equality, and a test that could not have followed it
        among = f" among {tested} comparisons" if tested > 1 else ""
        return {
            "differs": None,
            "verdict": f"by the interval alone {a} {'stores' if stores else 'has'} {side} than "
            f"{b}; not shown with {n} pairs: below {least} the exact test cannot reach "
            f"{ALPHA:.0%}{among}",
        }
    least_told, size = row["detectable"]["effect"], "pairs" if n > 1 else "pair"
    if least_told is None:
        return {"differs": None, "verdict": f"no difference that these {n} {size} could show"}
    seen = told_effect(least_told, row["what"])
    told = f"no difference that these {n} {size} could show"
    if n < least:
        among = f" among {tested} comparisons" if tested > 1 else ""
        told += (
            f": below {least} the exact test cannot reach {ALPHA:.0%}{among}; the "
            f"{row['detectable']['by']} would have"
        )
    else:
        told += "; compared alone they would have" if tested > 1 else "; they would have"
    return {
        "differs": None,
        "verdict": f"{told} seen a difference of {seen} in four of five studies",
    }


def told_effect(x: float, what: str) -> str:
    """A detectable difference in words: 12%, a factor of 3.1, or in the unit of the number."""
    if what != "A / B":
        return f"{x:.3g}"
    return (
        f"{100 * x:.2g}%"
        if x < 0.995
        else f"a factor of {1 + x:.3g}"
        if x < 1e3
        else "a factor above 1,000"
    )


def inputs_hash(runs: Runs) -> str:
    """SHA-256 over what comparisons read: a row per run by run_id, so that the order and other
    columns are free."""
    used = runs.table[
        [
            "run_id",
            "seed",
            "size",
            "amount",
            "exposures",
            "status",
            "value",
            "stored",
            "most",
            "limited",
            "rising",
            "parameters",
            *SIZE,
            *runs.varied,
        ]
    ]
    return hashlib.sha256(csv(used.sort_values("run_id"))).hexdigest()
