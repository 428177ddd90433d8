"""What takes more than one model: unintended memorization against references, and attacks that
compare a model with others.

Runs of one pool and split are joined by the rows of the pool, from the scores.safetensors of each
run; no model is loaded.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from capacity import archive
from capacity.fitting import membership

SAME_POOL = ["pool", "data.split_seed", "data.n_held_out", "seq_len", "vocab_size"]
FAMILY = [
    "label",
    "n_sequences",
    "train.lr",
    "train.batch_size",
    "steps",
]  # shadow models that differ by their seeds only
FEWEST_SHADOWS = (
    5  # two that saw a sequence and two that did not, besides the target: about this many at least
)
SINGLE = ("loss", "zlib", "min_k", "min_k_plus", "recall")
RANKED = (
    "min_k",
    "min_k_plus",
    "recall",
)  # of SINGLE: scores of their own, from which only ROC curves are made here
ATTACKS = (*SINGLE, "reference", "lira", "lira_offline", "rmia")
FPR_GRID = np.geomspace(1e-4, 1.0, 81)


def joined(table, results: Path, shadows: int | None = None):
    """The table with what takes more than one model: unintended bits against the reference of the
    same size and the oracle, and AUC and F1 of the reference attack and of LiRA and RMIA where
    there are models for them; and the ROC curves of all attacks, a row for each run, attack and
    false positive rate of FPR_GRID that the run's non-members resolve.

    shadows: how many shadow models an attack may use, the first ones by seed (None: all).
    ValueError where there are fewer.
    """
    done = table[table.status == "finished"].copy()
    scores = {run_id: archive.scores(results, run_id) for run_id in done.run_id}
    if lacking := [run_id for run_id, found in scores.items() if found is None]:
        raise ValueError(
            f"finished run {lacking[0]} has no scores.safetensors; measure it again: capacity "
            f"measure {lacking[0]}"
        )
    extra: dict[str, dict] = {run_id: {} for run_id in done.run_id}
    curves: list[pd.DataFrame] = [
        told for run_id, columns in scores.items() for told in _curves(run_id, columns)
    ]
    for _, group in done.groupby(SAME_POOL, dropna=False):
        targets = group[group.trained_on == "members"]
        references = group[group.trained_on == "reference"]
        others = group[group.trained_on == "others"]
        for _, target in targets.iterrows():
            same = references[references.label == target.label]
            for kind, chosen in (("same", same), ("oracle", references)):
                if len(chosen):
                    best = chosen.loc[chosen.held_out_loss_bits_per_token.idxmin()]
                    extra[target.run_id] |= _unintended(
                        scores[target.run_id], scores[best.run_id], kind, best.run_id
                    )
            if len(others):
                same = others[others.label == target.label]
                best = (same if len(same) else others).iloc[0]
                score, seen = _reference_attack(
                    scores[target.run_id], scores[best.run_id], best.run_id, target.run_id
                )
                extra[target.run_id] |= _told("reference", score, seen)
                curves.append(curve(target.run_id, "reference", score, seen))
        for _, family in group[group.trained_on == "half"].sort_values("seed").groupby(FAMILY):
            if shadows is not None and shadows > len(family) - 1:
                raise ValueError(
                    f"--shadows {shadows}: {family.label.iloc[0]} with "
                    f"{family.n_sequences.iloc[0]} members has {len(family)} "
                    f"models, {len(family) - 1} besides the target; train more seeds of "
                    f"data.trained_on=half"
                )
            if len(family) < FEWEST_SHADOWS:
                continue
            for run_id, used, found in _shadow_attacks(
                {r: scores[r] for r in family.run_id}, int(family.seq_len.iloc[0]), shadows
            ):
                extra[run_id] |= used
                for name, (score, seen) in found.items():
                    extra[run_id] |= _told(name, score, seen)
                    curves.append(curve(run_id, name, score, seen))
    if shadows is not None and not (done.trained_on == "half").any():
        raise ValueError(
            f"--shadows {shadows}: the study has no shadow models (data.trained_on=half)"
        )
    more = pd.DataFrame([{"run_id": run_id, **numbers} for run_id, numbers in extra.items()])
    runs = table.merge(more, on="run_id", how="left").sort_values(
        ["trained_on", "label", "tokens_per_parameter", "seed"], ignore_index=True
    )
    return runs, pd.concat(curves, ignore_index=True)


def curve(run_id: str, attack: str, score: np.ndarray, seen: np.ndarray) -> pd.DataFrame:
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


def passing(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of the columns RANKED, for `archive.pack_scores`: by attack, how many of those that were seen
    pass at each rate of the curve, int32 [rates]. That is all that is made of them here."""
    seen = scores["seen"].astype(bool)
    if seen.all() or not seen.any():
        return {}
    out = {}
    for name in RANKED:
        if name in scores:
            told = curve("", name, *_asked(name, scores[name], seen))
            n = _asked(name, seen, seen)[1].sum()
            out[name] = np.rint(told.tpr.to_numpy() * n).astype(np.int32)
        elif name + archive.RATES in scores:
            out[name] = scores[name + archive.RATES]
    return out


def _curves(run_id: str, columns: dict[str, np.ndarray]) -> list[pd.DataFrame]:
    """The ROC of each attack that needs one model. Kept scores may say how many pass at each rate
    instead of who (`passing`)."""
    seen = columns["seen"].astype(bool)
    if seen.all() or not seen.any():
        return []
    known = dict.fromkeys(RANKED) | columns
    scores = membership.attacks(known, known["zlib"]) | {"recall": known["recall"]}
    out = []
    for name, score in scores.items():
        if score is not None:
            out.append(curve(run_id, name, *_asked(name, score, seen)))
            continue
        if (counts := columns.get(name + archive.RATES)) is None:
            raise ValueError(
                f"scores of run {run_id} lack {name}; measure it again: capacity measure {run_id}"
            )
        out.append(_from_counts(run_id, name, counts, _asked(name, seen, seen)[1]))
    return out


def _asked(name: str, score: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and who was seen, of those whom an attack tells apart: the prefix of recall was the
    first sequence, which is held out."""
    return (score[1:], seen[1:]) if name == "recall" else (score, seen)


def _from_counts(run_id: str, attack: str, counts: np.ndarray, seen: np.ndarray) -> pd.DataFrame:
    """`curve`, from how many of those that were seen pass at each of its rates."""
    n = int(seen.sum())
    rates = {"fpr": _rates(seen), "tpr": 1 - (n - counts) / n}  # as `membership.roc` has it
    return pd.DataFrame({"run_id": run_id, "attack": attack} | rates)


def _rates(seen: np.ndarray) -> np.ndarray:
    """Those of FPR_GRID that so many who were not seen resolve."""
    return FPR_GRID[FPR_GRID * (~seen).sum() >= 1]


def _rows_of(scores: dict, rows: np.ndarray, whose: str) -> np.ndarray:
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


def _unintended(target: dict, reference: dict, kind: str, whose: str) -> dict:
    """`unintended`, and `gap`: signed, minus what the target gains over the reference on as many
    held-out sequences. Clipping turns noise of single sequences into bits, and a target that
    generalises better than the reference gains without memory; the gap has neither, and tends to
    zero where nothing is memorized. But an overfitted target is worse than no model on held-out
    text, which the gap counts too: with few tokens per parameter it is more than what is stored."""
    seen = target["seen"].astype(bool)
    places = _rows_of(reference, target["row"], whose)
    found = unintended(target["loss"][seen], reference["loss"][places[seen]])
    elsewhere = unintended(target["loss"][~seen], reference["loss"][places[~seen]])
    found["gap"] = found["signed"] - elsewhere["signed"] * seen.sum() / (~seen).sum()
    length = float(reference["loss"][places[seen]].sum(dtype=float)) / math.log(
        2
    )  # of a code for the members
    return {f"unintended_{kind}_{name}": value for name, value in found.items()} | {
        f"reference_{kind}": whose,
        f"reference_{kind}_bits": length,
    }


def _reference_attack(
    target: dict, reference: dict, whose: str, run_id: str
) -> tuple[np.ndarray, np.ndarray]:
    """Loss of a model that saw neither minus that of the target, and who was seen."""
    seen = target["seen"].astype(bool)
    places = _rows_of(reference, target["row"], whose)
    if reference["seen"][places].any():
        raise ValueError(
            f"reference run {whose} was trained on sequences of run {run_id}: its members must be "
            f"other ones"
        )
    return reference["loss"][places] - target["loss"], seen


def _told(name: str, score: np.ndarray, seen: np.ndarray) -> dict:
    found = membership.statistics(score[seen], score[~seen], n_boot=100)
    return {
        f"{name}_{key}": value for key, value in found.items() if not isinstance(value, list)
    } | {f"{name}_auc_low": found["auc_interval"][0], f"{name}_auc_high": found["auc_interval"][1]}


def _shadow_attacks(scores: dict[str, dict], seq_len: int, most: int | None):
    """Each shadow model as the target of the others: run id, how many were used, and by attack
    scores and who was seen. RMIA works on losses per token. Sequences that fewer than two of the
    others saw, or did not see, are left out."""
    ids = list(scores)
    first = np.argsort(scores[ids[0]]["row"])
    rows = scores[ids[0]]["row"][first]
    places = {r: _rows_of(scores[r], rows, r) for r in ids}
    losses = np.stack([scores[r]["loss"][places[r]] for r in ids]).astype(float)
    seen = np.stack([scores[r]["seen"][places[r]] for r in ids]).astype(bool)
    for i, run_id in enumerate(ids):
        keep = np.flatnonzero(np.arange(len(ids)) != i)[:most]
        enough = (seen[keep].sum(0) >= 2) & ((~seen[keep]).sum(0) >= 2)
        mine, target, theirs, masks = (
            seen[i][enough],
            losses[i][enough],
            losses[keep][:, enough],
            seen[keep][:, enough],
        )
        if min(mine.sum(), (~mine).sum()) < 10:
            continue
        shared = len(keep) < 32
        yield (
            run_id,
            {"shadows": len(keep), "sequences_with_shadows": int(enough.sum())},
            {
                "lira": (membership.lira(target, theirs, masks, True, shared), mine),
                "lira_offline": (membership.lira(target, theirs, masks, False, shared), mine),
                "rmia": (
                    membership.rmia(target / seq_len, theirs / seq_len, np.flatnonzero(~mine)),
                    mine,
                ),
            },
        )


def over_models(runs) -> pd.DataFrame:
    """By set of models that differ by their seeds, and attack: each statistic's mean with a 95%
    interval over models (Student's t; they share members, shadows and references, so that it is
    about training, not about another text), and the interval over sequences, mean of the models'
    own."""
    from capacity.fitting.statistics import t_interval

    rows = []
    for (trained_on, label, t), group in runs.groupby(
        ["trained_on", "label", "tokens_per_parameter"]
    ):
        for attack in ATTACKS:
            if (
                f"{attack}_auc" not in group
                or (told := group[group[f"{attack}_auc"].notna()]).empty
            ):
                continue
            row = {
                "trained_on": trained_on,
                "label": label,
                "tokens_per_parameter": t,
                "attack": attack,
                "models": len(told),
            }
            for name in (
                "auc",
                "advantage",
                "f1_median",
                *(f"tpr_at_{fpr:g}" for fpr in membership.FPRS),
            ):
                values = (
                    pd.to_numeric(told[f"{attack}_{name}"]).dropna()
                    if f"{attack}_{name}" in told
                    else []
                )
                low, high = t_interval(values)
                row |= {
                    name: np.mean(values) if len(values) else math.nan,
                    f"{name}_low": low,
                    f"{name}_high": high,
                }
            rows.append(
                row
                | {
                    "auc_low_sequences": told[f"{attack}_auc_low"].mean(),
                    "auc_high_sequences": told[f"{attack}_auc_high"].mean(),
                }
            )
    return pd.DataFrame(rows)


def over_curves(curves: pd.DataFrame, runs) -> pd.DataFrame:
    """ROC curves as mean over the models of a set, and their range: trained_on, label,
    tokens_per_parameter, attack, fpr, tpr, tpr_low, tpr_high, models."""
    by = ["trained_on", "label", "tokens_per_parameter"]
    joined = curves.merge(runs[["run_id", *by]], on="run_id")
    return (
        joined.groupby([*by, "attack", "fpr"])
        .tpr.agg(tpr="mean", tpr_low="min", tpr_high="max", models="size")
        .reset_index()
    )
