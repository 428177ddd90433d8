"""A study of text from its records: losses, unintended memorization, membership by attack,
canaries, forgetting, and their laws.

What takes more than one model is joined by `laws/attacks.py`; here it is put together, fitted and
reported.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd

from capacity import records
from capacity.analysis.result import Outcome
from capacity.analysis.table_checks import checked
from capacity.analysis.text import attacks, canaries, forgetting
from capacity.analysis.text import double_descent as descent
from capacity.analysis.text import membership_law as law
from capacity.base.files import plain
from capacity.fitting.statistics import t_interval
from capacity.published import values as published

INPUTS = (
    "run_id",
    "label",
    "seed",
    "status",
    "trained_on",
    "tokens_per_parameter",
    "parameters_total",
    "pool",
)
# standard deviations of random splits from 0.5: a bag of words beyond tells members and others
# apart without a model
BROKEN = 4.0


def write_study(
    table, results: Path, folder: Path, name: str, *, n_boot: int = 1000, shadows: int | None = None
) -> str:
    """Write runs.csv, attacks.csv, roc.csv, memory.json and the figures of `outcome`; returns the
    report and the files' names."""
    found = outcome(table, results, name, n_boot=n_boot, shadows=shadows)
    return found.text + "\n" + "\n".join(map(str, found.write(folder)))


def outcome(
    table, results: Path, name: str, *, n_boot: int = 1000, shadows: int | None = None
) -> Outcome:
    """Join and fit. ValueError, in one line, for a table that cannot be judged."""
    from capacity.analysis.text import figures as drawn

    table = checked(table, INPUTS, ["tokens_per_parameter"], "judge")
    runs, curves = attacks.joined(table, results, shadows)
    views = {
        run_id: seen
        for run_id in runs.run_id[runs.status == "finished"]
        if (seen := records.read(results, run_id)["measures"]["text"].get("views"))
    }
    found = judge(runs, name, views, n_boot=n_boot)
    done = runs[runs.status == "finished"]
    roc = attacks.over_curves(curves, done)
    tables = {"runs.csv": runs, "attacks.csv": attacks.over_models(done), "roc.csv": roc.round(5)}
    figures = {
        name: drawn.roc_figure(roc, done, kind)
        for name, kind in (("roc", "members"), ("roc_shadows", "half"))
        if kind in set(roc.trained_on)
    }
    if "reason" not in found["laws"]["f1_median"]:
        figures["membership"] = drawn.membership_figure(runs, found)
    if done[done.trained_on == "members"].groupby("label").tokens_per_parameter.nunique().max() > 1:
        figures["losses"] = drawn.losses_figure(runs)
    if found["canaries"] is not None and not views:
        figures |= {
            "canaries": drawn.canary_figure(runs, found),
            "extraction": drawn.extraction_figure(runs, found),
        }
    if found["descent"]:
        figures |= {
            "descent": drawn.descent_figure(found["descent"]),
            "generalised": drawn.generalised_figure(found["descent"]),
        }
    if views:
        figures |= drawn.forgetting_figures(found["forgetting"])
    return Outcome("text", plain(found), "memory.json", tables, figures, report(found, runs))


def judge(runs, name: str, views: dict[str, dict] | None = None, *, n_boot: int = 1000) -> dict:
    """The law of F1 and AUC of the loss attack over the study's targets, its printed form fitted to
    the same points, what smaller shapes say of the largest, canaries, forgetting, double descent,
    and notes. views: by run, what probes of canaries have found."""
    done = runs[runs.status == "finished"]
    targets = done[done.trained_on == "members"]
    if done.empty:
        raise ValueError("no finished run to judge")
    t = targets.tokens_per_parameter.to_numpy(float)
    found: dict = {
        "study": name,
        "targets": len(targets),
        "finished": len(done),
        "runs": len(runs),
        "laws": {},
        "notes": [],
    }
    for value in ("f1_median", "auc"):
        try:
            found["laws"][value] = law.fit(t, targets[f"loss_{value}"].to_numpy(float))
        except ValueError as error:
            found["laws"][value] = {"reason": str(error)}
    fitted = "reason" not in found["laws"]["f1_median"]
    found["printed"] = _printed(targets) if fitted else None
    found["logarithmic"] = law.fit(t, targets.loss_f1_median, "membership_log") if fitted else None
    found["forms"] = law.compared(t, targets.loss_f1_median) if fitted else None
    found["predicted"] = {
        value: law.predicted(targets, f"loss_{value}") for value in ("f1_median", "auc")
    }
    found["canaries"] = canaries.judge(targets, n_boot=n_boot)
    found["descent"] = descent.judge(targets, n_boot=n_boot)
    found["verdicts"] = verdicts(found, targets.parameters_total)
    if views:
        found["forgetting"] = forgetting.judge(
            targets[targets.run_id.isin(views)], views, n_boot=n_boot
        )
    broken = done[(done.bag_of_words_auc - 0.5).abs() > BROKEN * done.bag_of_words_sd]
    for _, run in broken.iterrows():
        found["notes"].append(
            f"run {run.run_id}: a bag of words reaches AUC {run.bag_of_words_auc:.3f} without any "
            f"model; its split is broken"
        )
    if unknown := int(done.bag_of_words_sd.isna().sum()):
        found["notes"].append(
            f"{unknown} runs do not say what chance does to a bag of words; measure them again"
        )
    left = runs[runs.status != "finished"]
    if len(left):
        found["notes"].append(f"{len(left)} runs are not finished: {', '.join(left.run_id[:6])}")
    return found


def verdicts(found: dict, parameters) -> list[dict]:
    """Where F1 has fallen to 0.75, and where the loss on other text peaks, beside the published
    values: rows of `published.verdict`, for what this study has measured. parameters: of its
    targets."""
    rows = []
    law_f1 = found["laws"]["f1_median"]
    if "reason" not in law_f1:
        best, form = law.quoted(found)
        at = best["falls_to"]["0.75"]
        lacks = {} if at["t"] is not None else {"lacks": "the fitted law never falls to it"}
        rows.append(
            (
                "morris/f1_at_75",
                "",
                parameters,
                {
                    "value": at["t"],
                    "interval": at["interval"],
                    "method": f"{form}, runs as replicates",
                    "why": "the runs do not bound it",
                }
                | lacks,
            )
        )
    for label, shape in found["descent"].items():
        lacks = (
            {}
            if shape["clear"]
            else {"value": None, "interval": None, "lacks": "no peak stands clear of both sides"}
        )
        rows.append(
            (
                "morris/descent_peak",
                label,
                [shape["parameters"]],
                shape["peak_over_capacity"]
                | {"why": "one seed per size leaves no scatter", "method": "bootstrap of seeds"}
                | lacks,
            )
        )
    return [
        published.verdict(
            value.expected(), measured, at=at, scale=published.scale_of(value, list(p))
        )
        for id, at, p, measured in rows
        for value in [published.get(id)]
    ]


def _verdict_lines(found: dict, targets) -> list[str]:
    p = targets.parameters_total
    small = any(row["scale"] != "published" for row in found["verdicts"])
    if not found["verdicts"]:
        return []
    caveat = published.caveat("another", f"P {p.min():,.0f} to {p.max():,.0f}") if small else []
    return [
        "",
        "Beside Morris et al. (arXiv 2505.24832 v3)",
        *caveat,
        *published.lines(found["verdicts"]),
    ]


def _printed(targets) -> dict:
    """The printed form with its own constants on these runs, Capacity = `law.ALPHA` bits per
    parameter."""
    per_sequence = (
        law.ALPHA
        * targets.parameters_total
        / (targets.tokens_per_parameter * targets.parameters_total / targets.seq_len)
    )
    said = law.printed(per_sequence.to_numpy(float), **law.PRINTED)
    measured = targets.loss_f1_median.to_numpy(float)
    order = np.argsort(targets.tokens_per_parameter.to_numpy(float))
    return {
        "constants": law.PRINTED,
        "rmse": float(np.sqrt(np.mean((said - measured) ** 2))),
        "rises_with_data": bool(said[order[-1]] > said[order[0]]),
    }


def report(found: dict, runs) -> str:
    """At most 80 columns."""
    done = runs[runs.status == "finished"]
    targets = done[done.trained_on == "members"]
    lines = [
        f"Memory of {found['study']}: {found['finished']} of {found['runs']} runs finished, "
        f"{found['targets']} of them targets"
    ]
    lines += _target_lines(targets) if len(targets) else []
    lines += _shadow_lines(done[done.trained_on == "half"])
    lines += _all_law_lines(found) if len(targets) else []
    lines += (
        forgetting.lines(found["forgetting"])
        if "forgetting" in found
        else canaries.lines(found["canaries"], targets)
    )
    lines += descent.lines(found["descent"])
    lines += _verdict_lines(found, targets)
    lines += [
        "",
        "Notes",
        "  unintended: bits over a model of the same size trained on more data. clipped:",
        "  the paper's; noise of sequences counts as bits. gap: minus the same on",
        "  held-out sequences, where an overfitted model is worse than none: upper value",
        "  F1: half of all is flagged, chance is 0.5. Intervals of laws: runs as",
        "  replicates; of attacks: over models (attacks.csv has those over sequences)",
    ]
    return "\n".join(lines + [f"  {note}" for note in found["notes"]])


def _target_lines(targets) -> list[str]:
    lines = [
        "",
        f"{'shape':8s}{'tokens/P':>9s}{'runs':>5s}  {'bits/token':>17s}  {'AUC':>6s} {'F1':>6s}  "
        f"{'unintended bits/P':>17s}",
        f"{'':22s}  {'trained':>8s} {'held out':>8s}  {'(loss)':>6s} {'(loss)':>6s}  "
        f"{'clipped':>8s} {'gap':>8s}",
    ]
    for (label, t), group in targets.groupby(["label", "tokens_per_parameter"]):
        per = [
            _mean(group, f"unintended_same_{way}", group.parameters_total)
            for way in ("clipped", "gap")
        ]
        lines.append(
            f"{label[:8]:8s}{t:>9.2f}{len(group):>5d}  "
            f"{group.members_loss_bits_per_token.mean():>8.3f} "
            f"{group.held_out_loss_bits_per_token.mean():>8.3f}  {group.loss_auc.mean():>6.3f} "
            f"{group.loss_f1_median.mean():>6.3f} "
            f"  {per[0]:>8s} {per[1]:>8s}"
        )
    every = sorted(targets.tokens_per_parameter.round(2).unique())
    levels = [every[round(i)] for i in np.linspace(0, len(every) - 1, min(8, len(every)))]
    lines += [
        "",
        "Attacks, mean AUC over runs (by tokens per parameter)",
        f"  {'':12s}" + "".join(f"{level:>8.2f}" for level in levels),
    ]
    for attack in (*attacks.SINGLE, "reference"):
        if f"{attack}_auc" in targets:
            means = [
                targets[targets.tokens_per_parameter.round(2) == level][f"{attack}_auc"].mean()
                for level in levels
            ]
            lines.append(f"  {attack:12s}" + "".join(f"{m:>8.3f}" for m in means))
    return lines + _extraction_lines(targets, levels[:5])


def _shadow_lines(shadows) -> list[str]:
    if "lira_auc" not in shadows or shadows.lira_auc.isna().all():
        return []
    told = shadows.dropna(subset=["lira_auc"])
    used = f"{told.shadows.min():.0f}" + (
        f" to {told.shadows.max():.0f}" if told.shadows.nunique() > 1 else ""
    )
    lines = [
        "",
        f"Attacks with {used} shadow models, means over {len(told)} models as targets",
        f"  {'':14s}{'AUC':>22s}{'TPR at 1% FPR':>22s}{'F1':>22s}",
    ]
    for attack in ("loss", "lira", "lira_offline", "rmia"):
        cells = []
        for name in ("auc", "tpr_at_0.01", "f1_median"):
            values = (
                pd.to_numeric(told[f"{attack}_{name}"]).dropna()
                if f"{attack}_{name}" in told
                else []
            )
            low, high = t_interval(values)
            cells.append(
                f"{values.mean():.3f} [{low:.3f}, {high:.3f}]" if len(values) > 1 else "needs more"
            )
        lines.append(f"  {attack:14s}" + "".join(f"{cell:>22s}" for cell in cells))
    return lines


def _all_law_lines(found: dict) -> list[str]:
    lines = ["", "Law: F = 1/2 (1 + c1 sigma(-c2 (t - c3))), t tokens per parameter, loss attack"]
    for value, words in (("f1_median", "F1"), ("auc", "AUC")):
        lines += _law_lines(found["laws"][value], words)
    if (other := found["logarithmic"]) is not None:
        lines += [
            "  F1 by a sigmoid in log t instead, F = 1/2 (1 + c1 / (1 + (t/c3)^c2))",
            *_law_lines(other, ""),
        ]
        lines += textwrap.wrap(
            law.told_compared(found["forms"]), 80, initial_indent="  ", subsequent_indent="    "
        )
    if (p := found["printed"]) is not None:
        lines.append(
            f"  as printed in arXiv 2505.24832: error {p['rmse']:.3f}"
            + (", and it rises with data" if p["rises_with_data"] else "")
        )
    return lines + _predicted_lines(found["predicted"])


def _extraction_lines(targets, levels) -> list[str]:
    """Parts of the sequences whose end greedy decoding writes: of trained ones, of held-out ones,
    and the difference, which is memory."""
    prefixes = sorted(
        (int(c.rpartition("_")[2]) for c in targets if c.startswith("members_extractable_")),
        reverse=True,
    )
    rows = [(f"{prefix} tokens given", f"extractable_{prefix}") for prefix in prefixes] + [
        ("exact, by token", "correct")
    ]
    at = [targets[targets.tokens_per_parameter.round(2) == level] for level in levels]
    lines = [
        "",
        "Extraction: trained on minus held out (held out), by tokens per parameter",
        f"  {'':16s}" + "".join(f"{level:>12.2f}" for level in levels),
    ]
    for words, column in rows:
        if f"members_{column}" in targets:
            cells = [
                (group[f"members_{column}"].mean(), group[f"held_out_{column}"].mean())
                for group in at
            ]
            lines.append(
                f"  {words:16s}" + "".join(f"{f'{a - b:.0%} ({b:.0%})':>12s}" for a, b in cells)
            )
    return lines


def _predicted_lines(predicted: dict) -> list[str]:
    lines = []
    for p in predicted["f1_median"]:
        worst = max(
            zip(p["t"], p["measured"], p["said"]), key=lambda point: abs(point[1] - point[2])
        )
        lines += textwrap.wrap(
            f"fitted to smaller shapes, asked about {p['label']} (F1): error {p['rmse']:.3f}, at "
            f"worst {worst[2]:.3f} for "
            f"{worst[1]:.3f} at {worst[0]:.2f} tokens per parameter",
            80,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    return lines


def _law_lines(fit: dict, words: str) -> list[str]:
    if "reason" in fit:
        return textwrap.wrap(
            f"{words}: none: {fit['reason']}", 80, initial_indent="  ", subsequent_indent="    "
        )
    ends = fit["intervals"]
    lines = textwrap.wrap(
        ", ".join(
            f"{c} {fit[c]:.3g}" + (f" [{ends[c][0]:.3g}, {ends[c][1]:.3g}]" if ends[c] else "")
            for c in ("c1", "c2", "c3")
        ),
        80,
        initial_indent=f"  {words:4s}",
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
    )
    if fit["c1"] > law.C1_MOST - 1e-3:
        lines.append(
            f"      c1 is at its bound of {law.C1_MOST:g}: read the curve, not the constants"
        )
    for level, at in fit["falls_to"].items():
        if at["t"] is not None:
            span = f" [{at['interval'][0]:.2f}, {at['interval'][1]:.2f}]" if at["interval"] else ""
            lines.append(f"      falls to {level} at {at['t']:.2f}{span} tokens per parameter")
    return lines + [f"      error {fit['rmse']:.3f} over {fit['points']} runs"]


def _mean(group, column: str, over) -> str:
    if column not in group or group[column].isna().all():
        return "-"
    return f"{(group[column] / over).mean():.3f}"
