"""The runs of a study as rows that can be compared: settings as plain values, and one number each.

limited: a run that says something about the data and not about the model: random data that fit
(`plateaus.classify`: data-limited or in the corner). Runs on people are judged in pairs, by the
mean over seeds (`pairs`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from capacity import naming
from capacity.analysis import labels, refused
from capacity.analysis.facts import reading
from capacity.analysis.random import plateaus
from capacity.analysis.table_checks import shown_rising
from capacity.base.errors import nearest
from capacity.base.files import csv
from capacity.base.frames import Frame
from capacity.settings.aliases import near_setting

if TYPE_CHECKING:
    from capacity.study import Study

SIZE = naming.SIZES[
    :2
]  # what makes pairs of one size; heads follow the width or are part of an architecture
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
    table: Frame
    # stored (what a best is chosen by), most (value of all data, people), limited (why the data
    # decide, or empty)
    varied: list[str]  # those settings, but for SIZE and the amounts of data and training
    best_over: list[str]  # of them, what the best is taken over
    number: str  # what is compared, in words
    stores: bool  # whether more of it is more stored
    kind: str  # random data, facts, text


def read(study: Study, table: Frame, value: str | None = None) -> Runs:
    """table: of `run_table.table`. value: one of its numeric columns, instead of strict bits per
    parameter (total count) of random data or R of people. ValueError, in one line, for a table that
    cannot be compared."""
    if len(families := labels.families(study.runs)) > 1:
        raise ValueError(f"runs on {' and '.join(families)}: no number is the same for both")
    (kind,) = families
    table = refused.set_aside(table)
    if "finished" not in set(table.status):
        raise ValueError("; ".join(["no finished run to compare", *refused.describe(table)]))
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
    plain: Frame = pd.DataFrame([_settings(run) for run in study.runs], dtype=object)
    plain = plain.where(plain.notna(), None).set_axis([run.run_id for run in study.runs])
    amounts = [c for c in plain if c in (*naming.AMOUNTS, *WHERE, *naming.FOLLOWS)]
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
    if "refused" in rows:
        out["refused"] = rows.refused
    out["rising"] = shown_rising(rows).reindex(out.index)
    out["architecture"] = [naming.architecture(row) or None for row in plain.to_dict("records")]
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
        f"{section}.{key}": labels.plain(
            str(value) if isinstance(value, (list, tuple)) else naming.without_id(key, value)
        )
        for section in ("data", "model", "train")
        for key, value in tree[section].items()
    }


def _stored(table: Frame, kind: str) -> tuple[Frame, str]:
    """The table with value (bits per parameter), limited (why the data decide, or empty) and
    parameters of the count that is meant."""
    if kind == "text":
        raise ValueError(
            "text has no one number of stored bits: name a column with --value, such as "
            "members_loss_bits_per_token"
        )
    if kind == "facts":
        rows = reading.check(table)
        p = rows.parameters_paper
        return (
            rows.assign(value=rows.bits / p, most=rows.ceiling_bits / p, parameters=p, limited=""),
            "R = learned bits per parameter (count paper: used rows)",
        )
    rows = plateaus.check(table, allow_mixed=True)
    why = plateaus.classify(rows)
    p, why = rows.parameters_total, np.where(why == "capacity_limited", "", why)
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
                f"{key}: no such setting of these runs{near_setting(key, known)}; the study varies "
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


def select(runs: Runs, where: dict[str, Any]) -> Frame:
    """The runs that have these values."""
    keep = np.ones(len(runs.table), bool)
    for key, value in where.items():
        keep &= np.array([v == value for v in runs.table[key]])
    return runs.table[keep]


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
