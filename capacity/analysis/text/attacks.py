"""What takes more than one model: unintended memorization against references, and attacks that
compare a model with others.

Runs of one pool and split are joined by the rows of the pool, from the scores.safetensors of each
run; no model is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from capacity import archive
from capacity.analysis.text.schema import Frame
from capacity.fitting import membership, separation
from capacity.fitting import shadows as shadow_models
from capacity.fitting.statistics import share_interval

SAME_POOL = ["pool", "data.split_seed", "data.n_held_out", "seq_len", "vocab_size"]
# shadow models that differ by their seeds only
FAMILY = ["model", "n_sequences", "train.lr", "train.batch_size", "steps"]
# How LiRA estimates the variance of a sequence's losses, on each side, in and out (Carlini et al.,
# arXiv 2112.03570, section VI-B: with fewer than 64 shadow models a global one is better).
VARIANCES = {
    "global": "one variance per side for all sequences",
    "sequence": "a variance per side of each sequence",
}
SINGLE = ("loss", "zlib", "min_k", "min_k_plus", "recall")
# of SINGLE: scores of their own, from which only ROC curves are made here
RANKED = ("min_k", "min_k_plus", "recall")
SHADOWED = ("loss", "lira", "lira_offline", "rmia")  # compared where there are shadow models
ATTACKS = (*SINGLE, "reference", "lira", "lira_offline", "rmia")
NAMES = {
    "loss": "loss",
    "zlib": "zlib",
    "min_k": "Min-K%",
    "min_k_plus": "Min-K%++",
    "recall": "ReCaLL",
    "reference": "reference",
    "lira": "LiRA",
    "lira_offline": "LiRA offline",
    "rmia": "RMIA",
}
KNOWN = ("shared", "unit", "copies")  # of scores, where a run has them: see `_Attack`
RECALL = re.compile(r"(?:clean_|copies_\d+_)?recall_(?!prefix)")  # its columns of a table of runs
FPR_GRID = np.geomspace(1e-4, 1.0, 81)

Scores = Mapping[str, np.ndarray]  # columns of one run, a row per sequence


def scores_of(table: Frame, results: Path) -> dict[str, Scores]:
    """By finished run its scores. ValueError, in one line, where a run has none."""
    by_run: dict[str, Scores] = {}
    for run_id in table.run_id[table.status == "finished"]:
        scores = archive.scores(results, run_id)
        if scores is None:
            raise ValueError(
                f"finished run {run_id} has no scores.safetensors; measure it again: capacity "
                f"measure {run_id}"
            )
        by_run[run_id] = scores
    return by_run


@dataclass(frozen=True)
class _Attack:
    """Scores of an attack by sequence, and which were seen; where they are known, which of the
    others share tokens in a row with the training set, what stays together, and how many copies
    the document has."""

    score: np.ndarray
    seen: np.ndarray
    shared: np.ndarray | None = None
    unit: np.ndarray | None = None
    copies: np.ndarray | None = None

    def units(self, others: np.ndarray) -> membership.Units | None:
        """Of members and of these others."""
        return None if self.unit is None else (self.unit[self.seen], self.unit[others])


@dataclass
class _Joined:
    """What is known of runs beyond their own records: columns by run, ROC curves."""

    columns: dict[str, dict[str, Any]]
    curves: list[Frame]

    def attack(self, run_id: str, name: str, made: _Attack) -> None:
        """Statistics and ROC curve of an attack on a run."""
        self.columns[run_id] |= _statistics(name, made)
        self.curves.append(curve(run_id, name, made.score, made.seen))


def joined(
    table: Frame,
    scores: Mapping[str, Scores],
    shadows: int | None = None,
    variance: str = "global",
) -> tuple[Frame, Frame]:
    """The table with what takes more than one model: unintended bits against the reference of the
    same size and the oracle, and AUC and F1 of the reference attack and of LiRA and RMIA where
    there are models for them; and the ROC curves of all attacks, a row for each run, attack and
    false positive rate of FPR_GRID that the run's non-members resolve.

    scores: of `scores_of`. shadows: how many shadow models an attack may use, the first ones by
    seed (None: all). ValueError where there are fewer. variance: of LiRA, of VARIANCES. ReCaLL is
    left out of runs that were trained on its prefix (`known_prefix`).
    """
    done = table[table.status == "finished"]
    if len(known := known_prefix(done, scores)):
        table = _without_recall(table, known)
        scores = dict(scores) | {
            run_id: {k: v for k, v in scores[run_id].items() if not k.startswith("recall")}
            for run_id in known
        }
        done = table[table.status == "finished"]
    if shadows is not None and not (done.trained_on == "half").any():
        raise ValueError(
            f"--shadows {shadows}: the study has no shadow models (data.trained_on=half)"
        )
    collected = _Joined(
        {run_id: {} for run_id in done.run_id},
        [
            roc
            for run_id in done.run_id
            for roc in _curves(run_id, scores[run_id], run_id not in known)
        ],
    )
    for _, group in done.groupby(SAME_POOL, dropna=False):
        _with_references(group, scores, collected)
        _with_shadows(group, scores, (shadows, variance), collected)
    more = pd.DataFrame([{"run_id": run_id, **row} for run_id, row in collected.columns.items()])
    runs = table.merge(more, on="run_id", how="left").sort_values(
        ["trained_on", "model", "tokens_per_parameter", "seed"], ignore_index=True
    )
    return _with_widths(runs), pd.concat(collected.curves, ignore_index=True)


def known_prefix(done: Frame, scores: Mapping[str, Scores]) -> list[str]:
    """Finished runs whose measure of version 1 took the first scored sequence for the prefix of
    ReCaLL although they were trained on it, as half of the shadow models are."""
    if "recall_prefix_row" in done:
        done = done[done.recall_prefix_row.isna()]
    return [run_id for run_id in done.run_id if bool(scores[run_id]["seen"][0])]


def _without_recall(table: Frame, run_ids: list[str]) -> Frame:
    """The table with nothing about ReCaLL in these runs."""
    table, its = table.copy(), [c for c in table if RECALL.match(str(c))]
    table.loc[table.run_id.isin(run_ids), its] = math.nan
    return table


def _with_widths(runs: Frame) -> Frame:
    """The runs, with an interval of each AUC of 0 or 1 in place of that of records before
    2026-11-28, whose bootstrap of sequences gave it no width."""
    for name in SINGLE:
        if f"{name}_auc_low" not in runs:
            continue
        for i in runs.index[runs[f"{name}_auc"].isin([0.0, 1.0])]:
            others = runs.n_others[i] - (name == "recall")  # its prefix is one of them
            runs.loc[i, [f"{name}_auc_low", f"{name}_auc_high"]] = separation.separated_interval(
                runs[f"{name}_auc"][i], int(runs.n_members[i]), int(others)
            )
    return runs


def _with_references(group: Frame, scores: Mapping[str, Scores], collected: _Joined) -> None:
    """Unintended bits and the reference attack of the targets of one pool."""
    references = group[group.trained_on == "reference"]
    attacked_with = references_of(group)
    for _, target in group[group.trained_on == "members"].iterrows():
        same = references[references.model == target.model]
        for kind, chosen in (("same", same), ("oracle", references)):
            if len(chosen):
                best = str(chosen.run_id[chosen.held_out_loss_bits_per_token.idxmin()])
                collected.columns[target.run_id] |= _unintended(
                    scores[target.run_id], scores[best], kind, best
                )
        if (best := attacked_with.get(target.run_id)) is not None:
            made = _reference_attack(scores[target.run_id], scores[best], best, target.run_id)
            collected.attack(target.run_id, "reference", made)


def references_of(done: Frame) -> dict[str, str]:
    """By run on members the run on other sequences of its pool whose loss the reference attack
    takes: of the same model, where there is one."""
    out: dict[str, str] = {}
    for _, group in done.groupby(SAME_POOL, dropna=False):
        others = group[group.trained_on == "others"]
        for _, target in group[group.trained_on == "members"].iterrows():
            if len(others):
                same = others[others.model == target.model]
                out[target.run_id] = str((same if len(same) else others).run_id.iloc[0])
    return out


def _with_shadows(
    group: Frame, scores: Mapping[str, Scores], asked: tuple[int | None, str], collected: _Joined
) -> None:
    """Attacks with shadow models on each other, family by family of one pool. asked: how many
    shadow models, and the variance of LiRA."""
    shadows, variance = asked
    for _, family in group[group.trained_on == "half"].sort_values("seed").groupby(FAMILY):
        if shadows is not None and shadows > len(family) - 1:
            raise ValueError(
                f"--shadows {shadows}: {family.model.iloc[0]} with "
                f"{family.n_sequences.iloc[0]} members has {len(family)} "
                f"models, {len(family) - 1} besides the target; train more seeds of "
                f"data.trained_on=half"
            )
        if len(family) < shadow_models.FEWEST_SHADOWS:
            continue
        mine = {run_id: scores[run_id] for run_id in family.run_id}
        seq_len = int(family.seq_len.iloc[0])
        for run_id, used, attacks in _shadow_attacks(mine, seq_len, shadows, variance):
            collected.columns[run_id] |= used
            for name, made in attacks.items():
                collected.attack(run_id, name, made)


def curve(run_id: str, attack: str, score: np.ndarray, seen: np.ndarray) -> Frame:
    """The ROC at FPR_GRID: for each rate the true positive rate of the most generous threshold that
    keeps it."""
    fpr, tpr = membership.roc(score[seen], score[~seen])
    grid = _rates(seen)
    return pd.DataFrame(
        {
            "run_id": run_id,
            "attack": attack,
            "fpr": grid,
            "tpr": tpr[np.searchsorted(fpr, grid * (1 + 1e-12), "right") - 1],
        }
    )


def passing(scores: Scores) -> dict[str, np.ndarray]:
    """Of the columns RANKED, for `archive.pack_scores`: by attack, how many of those that were seen
    pass at each rate of the curve, int32 [rates]. That is all that is made of them here."""
    seen = scores["seen"].astype(bool)
    if seen.all() or not seen.any():
        return {}
    out = {}
    for name in RANKED:
        if name in scores:
            roc = curve("", name, *_asked(name, scores[name], seen, scores))
            n = _asked(name, seen, seen, scores)[1].sum()
            out[name] = np.rint(roc.tpr.to_numpy() * n).astype(np.int32)
        elif name + archive.RATES in scores:
            out[name] = scores[name + archive.RATES]
    return out


def _curves(run_id: str, columns: Scores, recall: bool = True) -> list[Frame]:
    """The ROC of each attack that needs one model, of recall if it is asked for. Kept scores may
    say how many pass at each rate instead of who (`passing`)."""
    seen = columns["seen"].astype(bool)
    if seen.all() or not seen.any():
        return []
    known: dict[str, Any] = dict.fromkeys(RANKED) | dict(columns)
    scores = membership.attacks(known, known["zlib"]) | {"recall": known["recall"]}
    out = []
    for name, score in scores.items():
        if name == "recall" and not recall:
            continue
        if score is not None:
            out.append(curve(run_id, name, *_asked(name, score, seen, columns)))
            continue
        if (counts := columns.get(name + archive.RATES)) is None:
            raise ValueError(
                f"scores of run {run_id} lack {name}; measure it again: capacity measure {run_id}"
            )
        out.append(_from_counts(run_id, name, counts, _asked(name, seen, seen, columns)[1]))
    return out


def _asked(
    name: str, score: np.ndarray, seen: np.ndarray, columns: Scores
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and which were seen, of the sequences that an attack separates: all but for recall
    the sequence of its prefix (`membership.at_prefix`)."""
    if name != "recall":
        return score, seen
    asked = ~membership.at_prefix(seen, columns.get("unit"))
    return score[asked], seen[asked]


def _from_counts(run_id: str, attack: str, counts: np.ndarray, seen: np.ndarray) -> Frame:
    """`curve`, from how many of those that were seen pass at each of its rates."""
    n = int(seen.sum())
    rates = {"fpr": _rates(seen), "tpr": 1 - (n - counts) / n}  # as `membership.roc` has it
    return pd.DataFrame({"run_id": run_id, "attack": attack} | rates)


def _rates(seen: np.ndarray) -> np.ndarray:
    """Those of FPR_GRID that so many who were not seen resolve."""
    return FPR_GRID[FPR_GRID * (~seen).sum() >= 1]


def rows_of(scores: Scores, rows: np.ndarray, whose: str) -> np.ndarray:
    """Places of pool rows in a run's table of scores."""
    order = np.argsort(scores["row"])
    places = order[np.minimum(np.searchsorted(scores["row"], rows, sorter=order), len(order) - 1)]
    if not (scores["row"][places] == rows).all():
        raise ValueError(
            f"reference run {whose} was not scored on all sequences of the target; give it a "
            f"larger data.n_reference"
        )
    return places


def unintended(target_nats: np.ndarray, reference_nats: np.ndarray) -> dict[str, float]:
    """Unintended memorization in bits, summed over sequences, given the losses of target and
    reference.

    clipped: sum of max(0, log2 p_target / p_reference), the paper's estimator (arXiv 2505.24832,
    section 2.3); signed: without the maximum; mixture: of log2 (p_target + p_reference) / (2
    p_reference), a code that exists, at most a bit per sequence below clipped.
    """
    gain = (reference_nats.astype(float) - target_nats.astype(float)) / math.log(2)
    return {
        "clipped": float(np.maximum(0.0, gain).sum()),
        "signed": float(gain.sum()),
        "mixture": float((np.logaddexp2(gain, 0.0) - 1.0).sum()),
    }


def _unintended(target: Scores, reference: Scores, kind: str, whose: str) -> dict[str, Any]:
    """`unintended`, and `gap`: signed, minus what the target gains over the reference on as many
    held-out sequences. Clipping turns noise of single sequences into bits, and a target that
    generalises better than the reference gains without memory; the gap has neither, and tends to
    zero where nothing is memorized. But an overfitted target is worse than no model on held-out
    text, which the gap counts too: with few tokens per parameter it is more than what is stored."""
    seen = target["seen"].astype(bool)
    places = rows_of(reference, target["row"], whose)
    bits = unintended(target["loss"][seen], reference["loss"][places[seen]])
    elsewhere = unintended(target["loss"][~seen], reference["loss"][places[~seen]])
    bits["gap"] = bits["signed"] - elsewhere["signed"] * seen.sum() / (~seen).sum()
    # of a code for the members
    length = float(reference["loss"][places[seen]].sum(dtype=float)) / math.log(2)
    return {f"unintended_{kind}_{name}": value for name, value in bits.items()} | {
        f"reference_{kind}": whose,
        f"reference_{kind}_bits": length,
    }


def _reference_attack(target: Scores, reference: Scores, whose: str, run_id: str) -> _Attack:
    """Loss of a model that saw neither minus that of the target, and who was seen."""
    seen = target["seen"].astype(bool)
    places = rows_of(reference, target["row"], whose)
    if reference["seen"][places].any():
        raise ValueError(
            f"reference run {whose} was trained on sequences of run {run_id}: its members must be "
            f"other ones"
        )
    known = {name: target[name] for name in KNOWN if name in target}
    return _Attack(reference["loss"][places] - target["loss"], seen, **known)


def _statistics(name: str, made: _Attack) -> dict[str, Any]:
    """On all others and, where some of them share tokens in a row with the training set, without
    these; AUC by copies of the document, where these vary."""
    score, seen = made.score, made.seen
    sets = {name: ~seen}
    if made.shared is not None:
        clean = ~seen & (made.shared <= 0)
        if 2 <= clean.sum() < (~seen).sum():
            sets[f"clean_{name}"] = clean
    out: dict[str, Any] = {}
    if made.copies is not None and made.copies.min() < made.copies.max():
        for most, here in membership.copies_levels(made.copies).items():
            if min((here & seen).sum(), (here & ~seen).sum()) >= 2:
                column = f"copies_{membership.fewest_copies(most)}_{name}_auc"
                out[column] = membership.auc(score[here & seen], score[here & ~seen])
    for key, others in sets.items():
        units = made.units(others)
        statistics = separation.statistics(score[seen], score[others], units)
        out |= {f"{key}_{k}": x for k, x in statistics.items() if not k.endswith("_interval")}
        out |= dict(
            zip((f"{key}_auc_low", f"{key}_auc_high"), statistics["auc_interval"], strict=True)
        )
    return out


def _shadow_attacks(
    scores: Mapping[str, Scores], seq_len: int, most: int | None, variance: str
) -> Iterator[tuple[str, dict[str, int | str], dict[str, _Attack]]]:
    """Each shadow model as the target of the others: run id, how many were used and how, and by
    attack scores and who was seen. RMIA works on losses per token. Sequences that fewer than two of
    the others saw, or did not see, are left out."""
    ids = list(scores)
    first = np.argsort(scores[ids[0]]["row"])
    rows = scores[ids[0]]["row"][first]
    places = {r: rows_of(scores[r], rows, r) for r in ids}
    losses = np.stack([scores[r]["loss"][places[r]] for r in ids]).astype(float)
    seen = np.stack([scores[r]["seen"][places[r]] for r in ids]).astype(bool)
    made = shadow_models.leave_one_out(
        losses, seen, seq_len, most=most, shared_variance=variance == "global"
    )
    for one in made:
        run_id = ids[one.number]
        known = {
            name: column[places[run_id]][one.enough]
            for name in KNOWN
            if (column := scores[run_id].get(name)) is not None
        }
        yield (
            run_id,
            {
                "shadows": one.used,
                "sequences_with_shadows": int(one.enough.sum()),
                "lira_variance": variance,
            },
            {name: _Attack(score, one.seen, **known) for name, score in one.scores.items()},
        )


def over_models(runs: Frame) -> Frame:
    """By set of models that differ by their seeds, and attack: each statistic's mean with a 95%
    interval over models (Student's t within [0, 1], none where all are equal; they share members,
    shadows and references, so that it is about training, not about another text), and the interval
    over sequences, mean of the models'
    own."""
    rows = []
    by = ["trained_on", "model", "tokens_per_parameter"]
    for key, group in runs.groupby(by):
        for attack in ATTACKS:
            if f"{attack}_auc" not in group:
                continue
            models = group[group[f"{attack}_auc"].notna()]
            if len(models):
                about = dict(zip(by, key, strict=True)) | {"attack": attack, "models": len(models)}
                rows.append(about | _means(models, attack))
    return pd.DataFrame(rows)


def _means(models: Frame, attack: str) -> dict[str, float]:
    """Of one attack each statistic's mean and interval over models."""
    row: dict[str, float] = {}
    for name in ("auc", "advantage", "f1_median", *(f"tpr_at_{x:g}" for x in membership.FPRS)):
        column = f"{attack}_{name}"
        values = models[column].dropna().to_numpy(float) if column in models else []
        low, high = share_interval(values)
        row |= {
            name: float(np.mean(values)) if len(values) else math.nan,
            f"{name}_low": low,
            f"{name}_high": high,
        }
    if (clean := f"clean_{attack}_auc") in models and models[clean].notna().any():
        low, high = share_interval(models[clean].dropna().to_numpy(float))
        row |= {"clean_auc": models[clean].mean(), "clean_auc_low": low, "clean_auc_high": high}
    return row | {
        "auc_low_sequences": models[f"{attack}_auc_low"].mean(),
        "auc_high_sequences": models[f"{attack}_auc_high"].mean(),
    }


def over_curves(curves: Frame, runs: Frame) -> Frame:
    """ROC curves as mean over the models of a set, and their range: trained_on, model,
    tokens_per_parameter, attack, fpr, tpr, tpr_low, tpr_high, models."""
    by = ["trained_on", "model", "tokens_per_parameter"]
    joined = curves.merge(runs[["run_id", *by]], on="run_id")
    return (
        joined.groupby([*by, "attack", "fpr"])
        .tpr.agg(tpr="mean", tpr_low="min", tpr_high="max", models="size")
        .reset_index()
    )
