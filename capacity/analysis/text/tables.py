"""Tables of a study of text: means over runs, attacks, canaries, forgetting, double descent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from capacity.analysis.text.attacks import NAMES, SHADOWED, SINGLE, VARIANCES
from capacity.analysis.text.canaries import CHANCE_BITS, levels_of, seen_by
from capacity.analysis.text.crossing import WORDS
from capacity.analysis.text.schema import (
    Canaries,
    Descent,
    Estimate,
    Frame,
    SetUp,
    TokenBits,
)
from capacity.analysis.text.sizes import parameters
from capacity.analysis.thresholds import OVERLAP
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, percent, span

# columns of a level of copies: an AUC and two parts with their intervals
OF_COPIES = ("up_to", "members", "held_out", "tpr_at_0.01") + tuple(
    name + end
    for name in ("auc", "members_extractable", "held_out_extractable")
    for end in ("", "_low", "_high")
)
COPIES = re.compile(r"copies_\d+_up_to")
MODEL = Column("model", right=False)
SIZE = Column("tokens/P", "tokens of the distinct training sequences per parameter")
KINDS = {"random": "random tokens", "pool": "passages of the text"}


def measured(estimate: Estimate) -> str:
    """A number with its interval."""
    return f"{digits(estimate['value'])} {ends(estimate['interval'])}".strip()


def number(x: float | None) -> float:
    """A half-life as the file has it, None where it is infinite."""
    return math.inf if x is None else x


def grouped(table: Frame, by: Sequence[str]) -> Iterable[tuple[tuple[Any, ...], Frame]]:
    """Key and rows of each group."""
    return cast(Any, table.groupby(list(by)))


def mean(group: Frame, column: str) -> float:
    """Of a column of numbers; NaN where there is none."""
    return (
        float(np.nanmean(group[column].to_numpy(float)))
        if group[column].notna().any()
        else math.nan
    )


def _cells(runs: Frame) -> Iterator[tuple[list[str], Frame]]:
    """Model and tokens per parameter in words, and their runs, small models first."""
    by = ["parameters_total", "model", "tokens_per_parameter"]
    for (_, model, t), group in grouped(runs, by):
        yield [str(model), digits(t)], group


def targets(runs: Frame) -> Table:
    """Losses, the loss attack and unintended bits by model and size of the data."""
    rows = []
    for head, group in _cells(runs):
        p = parameters(group)
        means = [
            group.members_loss_bits_per_token.mean(),
            group.held_out_loss_bits_per_token.mean(),
            group.loss_auc.mean(),
            group.loss_f1_median.mean(),
            *(_per_parameter(group, f"unintended_same_{how}", p) for how in ("clipped", "gap")),
        ]
        rows.append([*head, str(len(group)), *map(digits, means)])
    columns = [
        MODEL,
        SIZE,
        Column("runs"),
        Column("trained", "bits per token on trained sequences"),
        Column("held-out", "bits per token on held-out sequences"),
        Column("AUC", "of the loss attack"),
        Column("F1", "of the loss attack"),
        Column("clipped", "unintended bits per parameter, the paper's estimator"),
        Column("gap", "the same minus what the target gains on held-out sequences"),
    ]
    return Table(
        columns,
        rows,
        "Bits per token on trained and held-out sequences, the loss attack, and unintended bits "
        "per parameter; means over runs",
        key="AUC and F1: 0.5 by chance, half of all flagged for F1. Unintended bits: over a model "
        "of the same size trained on more data; clipped: the paper's, which counts the noise of "
        "sequences as bits; gap: minus the same on held-out sequences, too high for a model that "
        "overfits." + _in_use(runs),
        name="targets",
    )


def _in_use(runs: Frame) -> str:
    """By which parameters ratios go, where rows of the table are idle."""
    if "parameters_used" not in runs or (runs.parameters_used >= runs.parameters_total).all():
        return ""
    models = runs.drop_duplicates("model").sort_values("parameters_total")
    text = ", ".join(
        f"{run.model}: {run.parameters_used:,.0f} of {run.parameters_total:,.0f}"
        for run in models.itertuples()
    )
    return f" P is of rows in use ({text})."


def _per_parameter(group: Frame, column: str, p: Frame) -> float:
    return float((group[column] / p).mean()) if column in group else math.nan


def attacks(runs: Frame) -> Table:
    """Mean AUC of the attacks that need no shadow models."""
    names = [name for name in (*SINGLE, "reference") if f"{name}_auc" in runs]
    rows = [
        [*head, *(digits(group[f"{name}_auc"].mean()) for name in names)]
        for head, group in _cells(runs)
    ]
    columns = [MODEL, SIZE, *(Column(NAMES[name]) for name in names)]
    return Table(columns, rows, "AUC of attacks, means over runs", name="attacks")


def clean_attacks(runs: Frame) -> Table | None:
    """`attacks` without the held-out sequences that share tokens in a row with the training set;
    None where no run has such ones, or none was asked."""
    if "overlap" not in runs or not (asked := runs[runs.overlap.astype(float) > 0]).size:
        return None
    names = [name for name in (*SINGLE, "reference") if f"clean_{name}_auc" in asked]
    rows = [
        [
            *head,
            percent(group.overlap.astype(float).max()),
            *(digits(mean(group, f"clean_{name}_auc")) for name in names),
        ]
        for head, group in _cells(asked)
    ]
    columns = [
        MODEL,
        SIZE,
        Column("overlap", "held-out sequences that are left out; of runs the largest part"),
        *(Column(NAMES[name]) for name in names),
    ]
    n = span(asked.overlap_tokens.min(), asked.overlap_tokens.max())
    return Table(
        columns,
        rows,
        f"AUC without held-out sequences that share {n} tokens in a row with the training set, "
        "means over runs",
        key=f"overlap: what part of the held-out sequences is left out; above {OVERLAP:.0%} the "
        "table of all is not about clean non-members.",
        name="clean_attacks",
    )


def copies(runs: Frame) -> list[Table]:
    """The loss attack, and extraction, by copies of the document; none where these do not vary."""
    levels = sorted(int(c.split("_")[1]) for c in runs if COPIES.fullmatch(c))
    if not levels:
        return []
    asked = [a for a in ("min_k_plus", "reference") if f"copies_{levels[0]}_{a}_auc" in runs]
    attack: list[Sequence[str]] = []
    written: list[Sequence[str]] = []
    for (model, t), group in _cells(runs):
        known = [n for n in levels if group[f"copies_{n}_up_to"].notna().any()]
        if known:
            attack.append([f"{model}, {t} tokens per parameter"])
            written.append(attack[-1])
        for level in known:
            got = {name: mean(group, f"copies_{level}_{name}") for name in OF_COPIES}
            about = [span(level, got["up_to"])]
            about += [f"{got[side]:,.0f}" for side in ("members", "held_out")]
            more = (digits(mean(group, f"copies_{level}_{name}_auc")) for name in asked)
            rate = percent(got["tpr_at_0.01"])
            attack.append([*about, _between(got, "auc", digits), rate, *more])
            sides = ("members_extractable", "held_out_extractable")
            written.append([*about, *(_between(got, side, percent) for side in sides)])
    about = [
        Column("copies", "of the document, in the source"),
        Column("members", "different sequences trained on"),
        Column("held-out", "sequences held out"),
    ]
    key = "Means of the runs' own 95% intervals, over documents where these are split; –: too few."
    return [
        Table(
            [
                *about,
                Column("AUC"),
                Column("TPR", "at a false positive rate of 1%"),
                *(Column(NAMES[name], "AUC") for name in asked),
            ],
            attack,
            "Loss attack by copies of the document: members and held-out sequences of equally many "
            "copies, means over runs",
            key=f"{key} TPR: at 1% FPR; AUC of other attacks behind it.",
            name="copies",
        ),
        Table(
            [*about, Column("of members"), Column("of held-out")],
            written,
            "Sequences whose second half greedy decoding writes, by copies of the document",
            key=key,
            name="copies_extraction",
        ),
    ]


def _between(got: Mapping[str, float], name: str, words: Callable[[float], str]) -> str:
    """A mean with its interval; a dash where no run has it."""
    if math.isnan(got[name]):
        return digits(None)
    return f"{words(got[name])} [{words(got[f'{name}_low'])}, {words(got[f'{name}_high'])}]"


def extraction(runs: Frame) -> Table | None:
    """Parts of the sequences whose end greedy decoding writes: of trained ones minus held-out ones,
    which is memory, and of held-out ones; None where it was not measured."""
    prefixes = sorted(
        (int(c.rpartition("_")[2]) for c in runs if c.startswith("members_extractable_")),
        reverse=True,
    )
    asked = [(f"{prefix} given", f"extractable_{prefix}") for prefix in prefixes]
    measured = {c for c in runs if runs[c].notna().any()}
    asked = [a for a in [*asked, ("by token", "correct")] if f"members_{a[1]}" in measured]
    if not asked:
        return None
    rows = []
    for head, group in _cells(runs):
        pairs = [
            (group[f"members_{column}"].mean(), group[f"held_out_{column}"].mean())
            for _, column in asked
        ]
        rows.append([*head, *(f"{percent(a - b, 0)} ({percent(b, 0)})" for a, b in pairs)])
    return Table(
        [MODEL, SIZE, *(Column(words) for words, _ in asked)],
        rows,
        "Extraction by greedy decoding: trained minus held-out sequences (held-out)",
        key="given: tokens of the sequence that decoding starts from; by token: exact next tokens.",
        name="extraction",
    )


def shadows(attacks: Frame, runs: Frame) -> Table | None:
    """Attacks with shadow models, means over the models as targets; None without any."""
    half = attacks[attacks.trained_on == "half"] if len(attacks) else attacks
    if not len(half) or "lira" not in set(half.attack):
        return None
    rows: list[Sequence[str]] = []
    clean = "clean_auc" in half and half.clean_auc.notna().any()
    for (model, t), group in half.groupby(["model", "tokens_per_parameter"]):
        models = int(group.models.max())
        rows.append([f"{model}, {digits(t)} tokens per parameter, {models} models as targets"])
        by_attack = {row["attack"]: row for row in group.to_dict("records")}
        rows += [
            [
                NAMES[name],
                _mean(by_attack[name], "auc"),
                _mean(by_attack[name], "tpr_at_0.01", 100.0, "%"),
                _mean(by_attack[name], "clean_auc" if clean else "f1_median"),
            ]
            for name in SHADOWED
            if name in by_attack
        ]
    used = runs.shadows.dropna()
    how = " and ".join(VARIANCES[name] for name in sorted(set(runs.lira_variance.dropna())))
    return Table(
        [
            Column("attack", right=False),
            Column("AUC"),
            Column("TPR at 1% FPR"),
            Column("AUC without overlap", "on held-out sequences that share nothing")
            if clean
            else Column("F1"),
        ],
        rows,
        f"Attacks with {span(used.min(), used.max())} shadow models; LiRA with {how}",
        key="95% over models as targets: about training, not about another text (attacks.csv has "
        "intervals over sequences); –: too few non-members for this rate.",
        name="shadows",
    )


def _mean(row: Mapping[str, Any], name: str, scale: float = 1.0, unit: str = "") -> str:
    """A row's mean times a scale with its interval; a dash where there is none."""
    if pd.isna(row.get(name, math.nan)):
        return digits(None)
    low, high = scale * row[f"{name}_low"], scale * row[f"{name}_high"]
    interval = None if pd.isna(low) else [low, high]
    return f"{digits(scale * row[name])}{unit} {ends(interval)}".strip()


def canaries(runs: Frame) -> list[Table]:
    """Exposure, and the part that is extractable, by model, passes and repeats."""
    levels = levels_of(runs)
    columns = [MODEL, Column("passes"), *(Column(f"x{level}") for level in levels)]
    most = digits(runs.exposure_at_most.max())
    captions = {
        "exposure": f"Exposure of canaries by repeats, bits ({digits(CHANCE_BITS)} by chance, "
        f"at most {most})",
        "extractable": "Part of the canaries that greedy decoding writes out, by repeats",
    }
    tables = []
    for name, caption in captions.items():
        rows = []
        groups = runs.assign(passes=seen_by(runs)).groupby(["parameters_total", "model", "passes"])
        for (_, model, passes), group in groups:
            means = [group[f"{name}_{level}"].mean() for level in levels]
            words = map(digits if name == "exposure" else _whole_percent, means)
            rows.append([str(model), f"{passes:.0f}", *words])
        tables.append(Table(columns, rows, caption, name=name))
    return tables


def _whole_percent(part: float) -> str:
    return percent(part, 0)


def descent(models: Mapping[str, Descent]) -> Table:
    """Bits per parameter over the size of the data."""
    names = ("t", "data", "memorized", "clipped", "generalised", "held_out")
    rows = [
        [model, *(digits(one["sizes"][name][i]) for name in names)]
        for model, one in _by_size(models)
        for i in range(len(one["sizes"]["t"]))
    ]
    columns = [
        MODEL,
        SIZE,
        Column("data", "code length of the members under the reference model"),
        Column("memorized", "unintended bits, mixture"),
        Column("clipped", "the same by the paper's estimator"),
        Column("generalised", "bits off a code of log2 V per token, minus the memorized ones"),
        Column("held-out", "bits per token on held-out sequences"),
    ]
    return Table(
        columns,
        rows,
        "Bits per parameter by the size of the data, over a reference of the same size; held-out "
        "loss in bits per token",
        name="descent",
    )


def _by_size(models: Mapping[str, Descent]) -> list[tuple[str, Descent]]:
    return sorted(models.items(), key=lambda item: item[1]["parameters"])


def setups(set_ups: Sequence[SetUp], bits: TokenBits | None) -> list[Table]:
    """Where F1 falls to 0.75, by model and budget; none where all runs are of one."""
    if not set_ups:
        return []
    columns = [
        Column("model and budget", right=False),
        Column("runs"),
        Column("texts"),
        Column("splits", "of all texts"),
        Column("tokens/P", "at which F1 of the loss attack is 0.75"),
        Column("log2 V bits/P", "the same tokens at log2 V bits each"),
    ]
    unit = math.nan if bits is None else bits["uniform"]
    rows = [
        [
            row["name"],
            str(row["runs"]),
            str(row["texts"]),
            str(row["splits"]),
            f"{digits(row['crossing']['t'])} {ends(row['crossing']['interval'])}".strip(),
            digits((row["crossing"]["t"] or math.nan) * unit),
        ]
        for row in set_ups
    ]
    known = {WORDS[name]: None for row in set_ups for name in row["crossing"]["sources"]}
    return [
        Table(
            columns,
            rows,
            "Tokens per parameter at which F1 of the loss attack is 0.75, by model and budget",
            key=f"95% over {', '.join(known)}; one curve (a sigmoid in log t) for all.",
            name="setups",
        )
    ]


def half_extracted(numbers: Canaries) -> str:
    """Views after which half of the canaries are extracted with their interval, in words with two
    digits: the law is no more precise."""
    return ", ".join(
        f"about {_two_digits(row['views'])}{_between_views(row['interval'])} views"
        f"{' (more than were tried)' if row['beyond'] else ''} at {row['parameters']:,} parameters"
        for row in numbers["half_extracted"]
    )


def _between_views(interval: list[float] | None) -> str:
    if interval is None:
        return ""
    return f" [{', '.join(_two_digits(x) if x < 1e6 else 'over a million' for x in interval)}]"


def _two_digits(x: float) -> str:
    return f"{float(f'{x:.2g}'):,.0f}" if x >= 10 else f"{x:.2g}"
