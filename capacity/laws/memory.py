"""A study of text from its records: losses, unintended memorization against reference models, membership by attack, and the law.

Runs of one pool and split are joined by the rows of the pool, from the scores.safetensors of each run; no model is loaded.
"""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd

from capacity import records
from capacity.data.split import CANDIDATES
from capacity.laws import membership as law
from capacity.laws.tables import checked, csv, plain
from capacity.measure import membership
from capacity.measure.text import read_scores

SAME_POOL = ["pool", "data.split_seed", "data.n_held_out", "seq_len", "vocab_size"]
INPUTS = ("run_id", "label", "seed", "status", "trained_on", "tokens_per_parameter", "parameters_total", "pool")
SINGLE = ("loss", "zlib", "min_k", "min_k_plus", "recall")
CHANCE_BITS, CEILING_BITS = math.log2(math.e), math.log2(CANDIDATES + 1)  # exposure without memory, and of a canary that beats all candidates
BROKEN = 4.0  # standard errors of 0.5: a bag of words beyond tells members and others apart without a model
FEWEST_SHADOWS = 5  # two that saw a sequence and two that did not, besides the target: about this many at least


def write_study(table, results: Path, folder: Path, name: str, *, n_boot: int = 1000) -> str:
    """Join, fit and write runs.csv, memory.json and the figures; returns the report. ValueError, in one line, for a
    table that cannot be judged; everything is computed before anything is written."""
    from capacity.plots import render
    from capacity.plots_text import canary_figure, membership_figure

    table = checked(table, INPUTS, ["tokens_per_parameter"], "judge")
    runs = joined(table, results)
    found = judge(runs, name, n_boot=n_boot)
    files = {"runs.csv": csv(runs), "memory.json": (json.dumps(plain(found), indent=1, allow_nan=False) + "\n").encode()}
    figures = {}
    if "reason" not in found["laws"]["f1_median"]:
        figures["membership"] = membership_figure(runs, found)
    if found["canaries"] is not None:
        figures["canaries"] = canary_figure(runs, found)
    files |= {f"{figure}.{kind}": render(drawn, kind) for figure, drawn in figures.items() for kind in ("png", "pdf")}
    for file, data in files.items():
        records.write_atomic(folder / file, data)
    return report(found, runs) + "\n" + "\n".join(str(folder / file) for file in files)


def joined(table, results: Path):
    """The table with what takes more than one model: unintended bits against the reference of the same size and the oracle,
    and AUC and F1 of the reference attack and of LiRA and RMIA where there are models for them."""
    done = table[table.status == "finished"].copy()
    scores = {run_id: read_scores(records.run_dir(results, run_id)) for run_id in done.run_id}
    if lacking := [run_id for run_id, found in scores.items() if found is None]:
        raise ValueError(f"finished run {lacking[0]} has no scores.safetensors; measure it again: capacity measure {lacking[0]}")
    extra: dict[str, dict] = {run_id: {} for run_id in done.run_id}
    for _, group in done.groupby(SAME_POOL, dropna=False):
        targets = group[group.trained_on == "members"]
        references = group[group.trained_on == "reference"]
        others = group[group.trained_on == "others"]
        for _, target in targets.iterrows():
            same = references[references.label == target.label]
            for kind, chosen in (("same", same), ("oracle", references)):
                if len(chosen):
                    best = chosen.loc[chosen.held_out_loss_bits_per_token.idxmin()]
                    extra[target.run_id] |= _unintended(scores[target.run_id], scores[best.run_id], kind, best.run_id)
            if len(others):
                same = others[others.label == target.label]
                best = (same if len(same) else others).iloc[0]
                extra[target.run_id] |= _reference_attack(scores[target.run_id], scores[best.run_id], best.run_id, target.run_id)
        shadows = group[group.trained_on == "half"]
        for _, family in shadows.groupby(["label", "n_sequences", "train.lr", "train.batch_size", "steps"]):
            if len(family) >= FEWEST_SHADOWS:
                for run_id, numbers in _shadow_attacks({r: scores[r] for r in family.run_id}, int(family.seq_len.iloc[0])).items():
                    extra[run_id] |= numbers
    more = pd.DataFrame([{"run_id": run_id, **numbers} for run_id, numbers in extra.items()])
    return table.merge(more, on="run_id", how="left").sort_values(["trained_on", "label", "tokens_per_parameter", "seed"], ignore_index=True)


def _rows_of(scores: dict, rows: np.ndarray, whose: str) -> np.ndarray:
    """Places of pool rows in a run's table of scores."""
    order = np.argsort(scores["row"])
    places = order[np.minimum(np.searchsorted(scores["row"], rows, sorter=order), len(order) - 1)]
    if not (scores["row"][places] == rows).all():
        raise ValueError(f"reference run {whose} was not scored on all sequences of the target; give it a larger data.n_reference")
    return places


def unintended(target_nats: np.ndarray, reference_nats: np.ndarray) -> dict[str, float]:
    """Unintended memorization in bits, summed over sequences, given the losses of target and reference.

    clipped: sum of max(0, log2 p_target / p_reference), the paper's estimator (arXiv 2505.24832, section 2.3); signed: without the
    maximum; mixture: of log2 (p_target + p_reference) / (2 p_reference), a code that exists, at most a bit per sequence below clipped.
    """
    gain = (reference_nats.astype(float) - target_nats.astype(float)) / math.log(2)
    return {"clipped": float(np.maximum(0.0, gain).sum()), "signed": float(gain.sum()),
            "mixture": float((np.logaddexp2(gain, 0.0) - 1.0).sum())}


def _unintended(target: dict, reference: dict, kind: str, whose: str) -> dict:
    """`unintended`, and `gap`: signed, minus what the target gains over the reference on as many held-out sequences. Clipping turns
    noise of single sequences into bits, and a target that generalises better than the reference gains without memory; the gap has
    neither, and tends to zero where nothing is memorized. But an overfitted target is worse than no model on held-out text, which
    the gap counts too: with few tokens per parameter it is more than what is stored."""
    seen = target["seen"].astype(bool)
    places = _rows_of(reference, target["row"], whose)
    found = unintended(target["loss"][seen], reference["loss"][places[seen]])
    elsewhere = unintended(target["loss"][~seen], reference["loss"][places[~seen]])
    found["gap"] = found["signed"] - elsewhere["signed"] * seen.sum() / (~seen).sum()
    return {f"unintended_{kind}_{name}": value for name, value in found.items()} | {f"reference_{kind}": whose}


def _reference_attack(target: dict, reference: dict, whose: str, run_id: str) -> dict:
    seen = target["seen"].astype(bool)
    places = _rows_of(reference, target["row"], whose)
    if reference["seen"][places].any():
        raise ValueError(f"reference run {whose} was trained on sequences of run {run_id}: its members must be other ones")
    score = reference["loss"][places] - target["loss"]
    return _told("reference", score, seen)


def _told(name: str, score: np.ndarray, seen: np.ndarray) -> dict:
    found = membership.statistics(score[seen], score[~seen], n_boot=100)
    return {f"{name}_{key}": value for key, value in found.items() if not isinstance(value, list)} | {
        f"{name}_auc_low": found["auc_interval"][0], f"{name}_auc_high": found["auc_interval"][1]}


def _shadow_attacks(scores: dict[str, dict], seq_len: int) -> dict[str, dict]:
    """Each shadow model as the target of the others; RMIA works on losses per token."""
    ids = list(scores)
    first = np.argsort(scores[ids[0]]["row"])
    rows = scores[ids[0]]["row"][first]
    places = {r: _rows_of(scores[r], rows, r) for r in ids}
    losses = np.stack([scores[r]["loss"][places[r]] for r in ids]).astype(float)
    seen = np.stack([scores[r]["seen"][places[r]] for r in ids]).astype(bool)
    out: dict[str, dict] = {}
    for i, run_id in enumerate(ids):
        keep = np.arange(len(ids)) != i
        enough = (seen[keep].sum(0) >= 2) & ((~seen[keep]).sum(0) >= 2)
        if enough.sum() < 20:
            continue
        mine, target, theirs, masks = seen[i][enough], losses[i][enough], losses[keep][:, enough], seen[keep][:, enough]
        shared = len(ids) < 33
        found = {"lira": membership.lira(target, theirs, masks, True, shared),
                 "lira_offline": membership.lira(target, theirs, masks, False, shared),
                 "rmia": membership.rmia(target / seq_len, theirs / seq_len, np.flatnonzero(~mine))}
        out[run_id] = {"shadows": len(ids) - 1, "sequences_with_shadows": int(enough.sum())}
        for name, score in found.items():
            out[run_id] |= _told(name, score, mine)
    return out


def judge(runs, name: str, *, n_boot: int = 1000) -> dict:
    """The law of F1 and AUC of the loss attack over the study's targets, its printed form fitted to the same points, and notes."""
    done = runs[runs.status == "finished"]
    targets = done[done.trained_on == "members"]
    if targets.empty:
        raise ValueError("no finished run with data.trained_on=members to judge")
    t = targets.tokens_per_parameter.to_numpy(float)
    found: dict = {"study": name, "targets": len(targets), "finished": len(done), "runs": len(runs), "laws": {}, "notes": []}
    for value in ("f1_median", "auc"):
        try:
            found["laws"][value] = law.fit(t, targets[f"loss_{value}"].to_numpy(float), n_boot=n_boot)
        except ValueError as error:
            found["laws"][value] = {"reason": str(error)}
    found["printed"] = _printed(targets)
    found["logarithmic"] = law.fit_logarithmic(t, targets.loss_f1_median) if "reason" not in found["laws"]["f1_median"] else None
    se = np.sqrt((done.n_members + done.n_others + 1) / (12 * done.n_members * done.n_others))  # of an AUC where nothing is to be told
    found["canaries"] = canary_law(targets, n_boot=n_boot)
    broken = done[(done.bag_of_words_auc - 0.5).abs() > BROKEN * se]
    for _, run in broken.iterrows():
        found["notes"].append(f"run {run.run_id}: a bag of words reaches AUC {run.bag_of_words_auc:.3f} without any model; its split is broken")
    left = runs[runs.status != "finished"]
    if len(left):
        found["notes"].append(f"{len(left)} runs are not finished: {', '.join(left.run_id[:6])}")
    return found


def _printed(targets) -> dict:
    """The printed form with its own constants on these runs, Capacity = 3.64 bits per parameter."""
    per_sequence = 3.64 * targets.parameters_total / (targets.tokens_per_parameter * targets.parameters_total / targets.seq_len)
    said = law.printed(per_sequence.to_numpy(float), **law.PRINTED)
    measured = targets.loss_f1_median.to_numpy(float)
    order = np.argsort(targets.tokens_per_parameter.to_numpy(float))
    return {"constants": law.PRINTED, "rmse": float(np.sqrt(np.mean((said - measured) ** 2))),
            "rises_with_data": bool(said[order[-1]] > said[order[0]])}


def canary_law(targets, *, n_boot: int = 1000, seed: int = 0) -> dict | None:
    """Exposure of canaries = a + b log2(times seen) + c log2(P) in bits, least squares over runs and levels that lie between chance
    and the ceiling (arXiv 2202.07646 finds extraction log-linear in repeats and size; this is the same for exposure). 95%
    intervals resample runs. None without canaries; a reason where too few points lie between."""
    levels = sorted(int(c.removeprefix("exposure_")) for c in targets if c.startswith("exposure_") and c.removeprefix("exposure_").isdigit())
    if not levels:
        return None
    rows = [(run.run_id, np.log2(level * run.exposures), np.log2(run.parameters_total), run[f"exposure_{level}"])
            for _, run in targets.iterrows() for level in levels if level]
    points = pd.DataFrame(rows, columns=["run", "seen", "size", "bits"]).dropna()
    free = points[(points.bits > CHANCE_BITS + 1) & (points.bits < CEILING_BITS - 1)]
    table = {str(level): {"exposure": float(targets[f"exposure_{level}"].mean()), "extractable": float(targets[f"extractable_{level}"].mean())}
             for level in levels}
    by = ["seen"] + ["size"] * (free["size"].nunique() > 1)
    if len(free) < 3 * len(by) or free.seen.nunique() < 3:
        return {"levels": table, "reason": f"{len(free)} of {len(points)} levels lie between chance and the ceiling"}

    def solve(frame) -> np.ndarray:
        return np.linalg.lstsq(np.column_stack([np.ones(len(frame))] + [frame[c] for c in by]), frame.bits, rcond=None)[0]

    best, dice, ids = solve(free), np.random.default_rng(seed), free.run.unique()
    groups = {i: g for i, g in free.groupby("run")}
    draws = [solve(pd.concat([groups[i] for i in dice.choice(ids, len(ids))])) for _ in range(n_boot)]
    ends = np.quantile(draws, [0.025, 0.975], axis=0)
    return {"levels": table, "points": len(free), "law": "exposure = a + b log2(times seen) + c log2(P)",
            **{name: {"value": float(best[i]), "interval": [float(ends[0, i]), float(ends[1, i])]} for i, name in enumerate(["a", "b", "c"][:1 + len(by)])}}


def report(found: dict, runs) -> str:
    """At most 80 columns."""
    done = runs[runs.status == "finished"]
    targets = done[done.trained_on == "members"]
    lines = [f"Memory of {found['study']}: {found['finished']} of {found['runs']} runs finished, {found['targets']} of them targets", "",
             f"{'shape':8s}{'tokens/P':>9s}{'runs':>5s}  {'bits/token':>17s}  {'AUC':>6s} {'F1':>6s}  {'unintended bits/P':>17s}",
             f"{'':22s}  {'trained':>8s} {'held out':>8s}  {'(loss)':>6s} {'(loss)':>6s}  {'clipped':>8s} {'gap':>8s}"]
    for (label, t), group in targets.groupby(["label", "tokens_per_parameter"]):
        per = [_mean(group, f"unintended_same_{way}", group.parameters_total) for way in ("clipped", "gap")]
        lines.append(f"{label[:8]:8s}{t:>9.2f}{len(group):>5d}  {group.members_loss_bits_per_token.mean():>8.3f} "
                     f"{group.held_out_loss_bits_per_token.mean():>8.3f}  {group.loss_auc.mean():>6.3f} {group.loss_f1_median.mean():>6.3f} "
                     f"  {per[0]:>8s} {per[1]:>8s}")
    lines += ["", "Attacks, mean AUC over runs (by tokens per parameter)"]
    levels = sorted(targets.tokens_per_parameter.round(2).unique())[:8]
    lines.append(f"  {'':12s}" + "".join(f"{level:>8.2f}" for level in levels))
    for attack in (*SINGLE, "reference"):
        if f"{attack}_auc" in targets:
            means = [targets[targets.tokens_per_parameter.round(2) == level][f"{attack}_auc"].mean() for level in levels]
            lines.append(f"  {attack:12s}" + "".join(f"{m:>8.3f}" for m in means))
    shadows = done[done.trained_on == "half"]
    for attack in ("lira", "lira_offline", "rmia"):
        if f"{attack}_auc" in shadows and shadows[f"{attack}_auc"].notna().any():
            values = shadows[f"{attack}_auc"].dropna()
            loss = shadows.loc[values.index, "loss_auc"].mean()
            lines.append(f"  {attack:12s}{values.mean():>8.3f} over {len(values)} shadow models as targets (loss: {loss:.3f})")
    lines += ["", "Law: F = 1/2 (1 + c1 sigma(-c2 (t - c3))), t tokens per parameter, loss attack"]
    for value, words in (("f1_median", "F1"), ("auc", "AUC")):
        lines += _law_lines(found["laws"][value], words)
    if (other := found["logarithmic"]) is not None:
        lines.append(f"  a sigmoid in log t instead: error {other['rmse']:.3f}, c1 {other['c1']:.3g}, c2 {other['c2']:.3g}, c3 {other['c3']:.3g}")
    p = found["printed"] if "reason" not in found["laws"]["f1_median"] else None
    if p is not None:
        lines.append(f"  as printed in arXiv 2505.24832: error {p['rmse']:.3f}" + (", and it rises with data" if p["rises_with_data"] else ""))
    lines += _canary_lines(found["canaries"], targets)
    lines += ["", "Notes", "  unintended: bits over a model of the same size trained on more data. clipped:",
              "  the paper's; noise of sequences counts as bits. gap: minus the same on",
              "  held-out sequences, where an overfitted model is worse than none: upper value",
              "  F1: half of all is flagged, chance is 0.5; intervals: bootstrap of residuals"]
    return "\n".join(lines + [f"  {note}" for note in found["notes"]])


def _canary_lines(law_of: dict | None, targets) -> list[str]:
    if law_of is None:
        return []
    lines = ["", "Canaries: exposure in bits (chance 1.44, at most 12), part that is extractable", f"  {'shape':8s}{'exposures':>10s}" + "".join(
        f"{'x' + level:>7s}" for level in law_of["levels"])]
    for (label, exposures), group in targets.groupby(["label", "exposures"]):
        lines.append(f"  {label[:8]:8s}{exposures:>10.0f}" + "".join(f"{group[f'exposure_{level}'].mean():>7.2f}" for level in law_of["levels"]))
        lines.append(f"  {'':18s}" + "".join(f"{group[f'extractable_{level}'].mean():>7.0%}" for level in law_of["levels"]))
    if "reason" in law_of:
        return lines + [f"  no law: {law_of['reason']}"]
    told = [f"{name} {law_of[name]['value']:.2f} [{law_of[name]['interval'][0]:.2f}, {law_of[name]['interval'][1]:.2f}]" for name in "abc" if name in law_of]
    return lines + textwrap.wrap(f"{law_of['law']}: {', '.join(told)} ({law_of['points']} points)", 80, initial_indent="  ", subsequent_indent="    ",
                                 break_on_hyphens=False)


def _law_lines(fit: dict, words: str) -> list[str]:
    if "reason" in fit:
        return textwrap.wrap(f"{words}: none: {fit['reason']}", 80, initial_indent="  ", subsequent_indent="    ")
    ends = fit["intervals"]
    lines = textwrap.wrap(", ".join(f"{c} {fit[c]:.3g} [{ends[c][0]:.3g}, {ends[c][1]:.3g}]" for c in ("c1", "c2", "c3")), 80, initial_indent=f"  {words:4s}",
                          subsequent_indent=" " * 6, break_on_hyphens=False)
    if fit["c1"] > law.C1_MOST - 1e-3:
        lines.append(f"      c1 is at its bound of {law.C1_MOST:g}: read the curve, not the constants")
    for level, at in fit["falls_to"].items():
        if at["t"] is not None:
            span = f" [{at['interval'][0]:.2f}, {at['interval'][1]:.2f}]" if at["interval"] else ""
            lines.append(f"      falls to {level} at {at['t']:.2f}{span} tokens per parameter")
    return lines + [f"      error {fit['rmse']:.3f} over {fit['points']} runs"]


def _mean(group, column: str, over) -> str:
    if column not in group or group[column].isna().all():
        return "-"
    return f"{(group[column] / over).mean():.3f}"
