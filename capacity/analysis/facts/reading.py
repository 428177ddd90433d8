"""Runs on facts: checked, named and grouped into arms and curves.

R = learned bits / P and R^max = bits of the data / P (Physics of Language Models 3.3, arXiv
2404.05405, Definitions 4.1 and 4.3), P being all parameters but the rows of tokens that no text
uses (its appendix A; the column parameters_paper).

arm    runs that are equal but for the seed, after the best over `best_over` was taken: one model,
       one N, one number of exposures, one kind of data, one recipe
curve  arms that differ in the size of the model alone, along which R has a peak
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from capacity import naming
from capacity.analysis import labels
from capacity.analysis.facts.schema import Frame
from capacity.analysis.table_checks import check_numbers, checked
from capacity.base.words import count
from capacity.naming import Names

NUMBERS = [
    "seed",
    "n_people",
    "exposures",
    "exposures_mean",
    "parameters_total",
    "parameters_paper",
    "bits",
    "bits_se",
    "ceiling_bits",
    "accuracy",
    "gain_last_tenth",
    "vocab_size",
    "steps",
    "tokens",
]
# columns that older records, and runs that were asked no questions, do not have
EXTRACTION = "extraction_accuracy"
GUESSES = {
    "accuracy": ["accuracy_uniform", "accuracy_most_frequent"],
    EXTRACTION: [
        "extraction_uniform",
        "extraction_most_frequent",
        "extraction_most_frequent_taught",
    ],
}  # of an accuracy, what ways of guessing get
GUESS = {number: f"{number}_guess" for number in GUESSES}  # of an accuracy, the best of them
OPTIONAL = [EXTRACTION, *(c for some in GUESSES.values() for c in some)]
INPUTS = ["run_id", "model", "status", "kind", *NUMBERS]
POSITIVE = ("parameters_total", "parameters_paper", "ceiling_bits", "exposures")
AXIS = "axis "  # before the name of a setting: the column of its plain values


@dataclass(frozen=True)
class _Axes:
    """Settings that vary, by what they make: forms of the model, data, recipes of training."""

    varied: list[str]
    model: list[str]
    train: list[str]
    family: list[str]
    data: list[str]
    recipe: list[str]

    @property
    def of_curves(self) -> list[str]:
        return [*self.family, *self.data, *self.recipe]


def check(table: Frame) -> Frame:
    """The table sorted by run_id with numbers as floats, or ValueError: one line that says why it
    cannot be analysed."""
    numbers = [*NUMBERS, *OPTIONAL]
    table = checked(table, INPUTS, numbers, "analyse")
    table = table.assign(**{c: math.nan for c in OPTIONAL if c not in table})
    table = table.assign(**{c: table[c].astype(float) for c in numbers})
    check_numbers(table, ("bits", "bits_se", *POSITIVE), POSITIVE)
    return table


def unmeasured(runs: Frame) -> list[str]:
    """Columns of what guessing gets that no run has; runs: of `prepare`, or `arms.arms`."""
    names = (*(c for some in GUESSES.values() for c in some), *GUESS.values())
    return [c for c in names if c in runs and runs[c].isna().all()]


def prepare(table: Frame, best_over: Sequence[str] = (), names: Names | None = None) -> Frame:
    """The checked runs with r, r_total, r_max (bits per parameter), fraction (R / R^max), curve and
    arm (numbers), curve_name and arm_name, asked (exposures), chosen (finished, the best over
    `best_over`). ValueError in one line.

    Columns `axis <setting>` hold the settings that make curves differ, as plain values;
    `frame.attrs` has varied (settings) and vocabulary (sizes, where they are mixed).
    """
    runs = check(table)
    settings = _settings(runs)
    amount, asked = _amounts(runs, settings), _asked(runs, settings)
    axes = _axes(runs.assign(amount=amount, asked=asked), settings, best_over)
    _check_vocabulary(runs, settings, axes.data)
    runs["asked"], runs["amount"] = asked, amount
    for c in axes.of_curves:
        runs[f"{AXIS}{c}"] = settings[c]
    curve = list(zip(amount, asked, labels.tuples(settings, axes.of_curves), strict=True))
    runs["curve"] = labels.codes(curve)
    runs["model"] = _short_names(runs, settings)
    _add_names(runs, settings, axes, names)
    of_model = labels.tuples(settings, [*axes.model, *axes.train])
    arm = list(zip(curve, runs.model, of_model, strict=True))
    runs["arm"] = labels.codes(arm)
    runs["r"] = runs.bits / runs.parameters_paper
    runs["r_total"] = runs.bits / runs.parameters_total
    runs["r_max"] = runs.ceiling_bits / runs.parameters_paper
    runs["fraction"] = runs.bits / runs.ceiling_bits
    for number, ways in GUESSES.items():
        runs[GUESS[number]] = runs[ways].max(axis=1)
    best = [c for c in best_over if c in axes.varied]
    tried = labels.tuples(settings, best)
    runs["tried"] = [_tried(best, row) for row in tried]
    _check_twins(runs, list(zip(arm, runs.seed, tried, strict=True)))
    runs["chosen"] = _best(runs)
    runs.attrs["varied"] = axes.varied
    return runs


def _settings(runs: Frame) -> Frame:
    """Every setting of data, model and training as plain values."""
    sections = ("data", "model", "train")
    names = [
        c for c in runs if "." in c and c.split(".")[0] in sections and c not in naming.FOLLOWS
    ]
    plain = {c: [labels.plain(v) for v in runs[c]] for c in names}
    return pd.DataFrame(plain, index=runs.index, dtype=object)


def _axes(runs: Frame, settings: Frame, best_over: Sequence[str]) -> _Axes:
    varied = [c for c in settings if len(set(settings[c])) > 1]
    data = [c for c in varied if c.startswith("data.") and c not in naming.AMOUNTS]
    model = [c for c in varied if c.startswith("model.")]
    train = [c for c in varied if c.startswith("train.") and c not in (*naming.AMOUNTS, *best_over)]
    family = [c for c in model if c not in naming.SIZES]
    # heads make a curve only where they vary at one depth and width
    shape = [*naming.SIZES[:2], *family]
    family += [c for c in naming.SIZES[2:] if c in model and _splits(settings, shape, c)]
    of_model = labels.tuples(settings, [*data, *model])
    same = list(zip(runs.model, runs.amount, runs.asked, of_model, strict=True))
    # a setting that follows the size or the data is part of the recipe of an arm, and no axis
    recipe = [c for c in train if len(set(zip(same, settings[c], strict=True))) > len(set(same))]
    return _Axes(varied, model, train, family, data, recipe)


def _splits(settings: Frame, others: Sequence[str], column: str) -> bool:
    """Whether a column takes several values where all others are equal."""
    keys = labels.tuples(settings, [c for c in others if c in settings])
    return len(set(zip(keys, settings[column], strict=True))) > len(set(keys))


def _amounts(runs: Frame, settings: Frame) -> list[tuple[str, float]]:
    """("N", people) or, where the load is given instead of N, ("load", bits per parameter), for
    every run."""
    load = settings["data.load"] if "data.load" in settings else [None] * len(runs)
    pairs = zip(runs.n_people, load, strict=True)
    return [("N", float(n)) if x is None else ("load", x) for n, x in pairs]


def _amount_text(amount: tuple[str, float]) -> str:
    return f"N = {count(amount[1])}" if amount[0] == "N" else f"load {amount[1]:g}"


def _asked(runs: Frame, settings: Frame) -> list[float]:
    """Exposures as asked for, or, where steps were given, as expected from them, to three
    digits."""
    given = settings.get("train.exposures", [None] * len(runs))
    pairs = zip(given, runs.exposures, strict=True)
    return [float(f"{expected:.3g}") if e is None else float(e) for e, expected in pairs]


def _add_names(runs: Frame, settings: Frame, axes: _Axes, names: Names | None) -> None:
    """Names hold only what varies: N and exposures, then the variant, such as "N = 50K, 100
    exposures, LLaMA"; names: those that the study gives its variants."""
    several = runs.amount.nunique() > 1
    size = [_amount_text(a) if several else "" for a in runs.amount]
    seen = [f"{e:g} exposures" if runs.asked.nunique() > 1 else "" for e in runs.asked]
    runs["variant"] = labels.variants(settings, axes.family, axes.data, axes.recipe, names)
    # names do not change the order of arms, the first of which others are compared with
    runs["place"] = labels.variants(settings, axes.family, axes.data, axes.recipe)
    runs["series"] = [naming.listed(row) for row in zip(size, runs.variant, strict=True)]
    runs["arm_name"] = [naming.listed(row) for row in zip(seen, runs.variant, strict=True)]
    called = zip(size, runs.arm_name, strict=True)
    runs["curve_name"] = [naming.listed(row) or "all runs" for row in called]


def _short_names(runs: Frame, settings: Frame) -> list[str]:
    """Names such as "2x16 n_heads=2" without the settings that are the same wherever curve and
    size are: the name of the curve says them, or nothing varies."""
    words = runs.model.str.split()
    where = list(zip(runs.curve, words.str[0], strict=True))
    same = {
        c
        for c in settings
        if c.startswith("model.")
        and len(set(zip(where, settings[c], strict=True))) == len(set(where))
    }
    return [
        " ".join(word for word in some if f"model.{word.split('=')[0]}" not in same)
        for some in words
    ]


def _tried(best: Sequence[str], values: Sequence[Any]) -> str:
    pairs = zip(best, values, strict=True)
    return ", ".join(f"{c.split('.')[-1]} {naming.text(v)}" for c, v in pairs)


def _check_twins(runs: Frame, keys: list[tuple]) -> None:
    twin = pd.Series(keys, index=runs.index).duplicated()
    if twin.any():
        raise ValueError(
            f"run {runs.run_id[twin].iloc[0]} has the settings and the seed of another run of the "
            f"table"
        )


def _best(runs: Frame) -> Any:
    """True for the finished run with the most bits of every (arm, seed)."""
    done = runs[runs.status == "finished"]
    return runs.index.isin(done.groupby(["arm", "seed"]).bits.idxmax())


def _check_vocabulary(runs: Frame, settings: Frame, data: Sequence[str]) -> None:
    """Mixed vocabulary sizes are fine where a setting of the data explains them, and refused where
    none does."""
    done = runs[runs.status == "finished"]
    if done.vocab_size.nunique() < 2:
        runs.attrs["vocabulary"] = None
        return
    keys = labels.tuples(settings.loc[done.index], data)
    if len(set(keys)) < len(set(zip(keys, done.vocab_size, strict=True))):
        sizes = ", ".join(f"{v:.0f}" for v in sorted(set(done.vocab_size)))
        raise ValueError(
            f"finished runs mix vocabulary sizes {sizes} that no setting of data explains: their R "
            "has no common meaning"
        )
    runs.attrs["vocabulary"] = sorted({int(v) for v in done.vocab_size})
