"""The written result of a study of knowledge: report, tables and figures, with published values
beside measured ones.

R is quoted per parameter of the "paper" count (all but the rows of unused tokens; Physics of
Language Models 3.3, arXiv 2404.05405, appendix A), because published values use it; R per parameter
of the total count stands beside it.
"""

import hashlib
import platform

import numpy as np
import pandas as pd

import capacity
from capacity.analysis.comparison import variants as differences
from capacity.analysis.facts import arms, exposures, verdicts
from capacity.analysis.result import Outcome
from capacity.base.files import csv, plain
from capacity.fitting.statistics import LEVEL
from capacity.published.expects import BELOW
from capacity.published.values import caveat
from capacity.published.values import digits as _digits
from capacity.published.values import ends as _ends
from capacity.published.values import lines as verdict_lines
from capacity.published.values import wrapped as _wrap

SCHEMA = 1
FEW_SIZES, MOST_ROWS = (
    2,
    14,
)  # shapes, and arms, that a row for each arm tells better than a figure over parameters
MOST_ARMS = 60  # rows of the printed table; all are in shapes.csv
FLAGS = {"rising": "r", "off": "e", "failed": "f", "missing": "m"}


def write_study(table, out_dir, study, *, n_boot=4000, seed=0):
    """Write fit.json, shapes.csv, runs.csv, ratio.png and .pdf (and exposures.png and .pdf where
    exposures vary) of `outcome` into out_dir; returns the report, no line over 80 columns."""
    found = outcome(table, study, n_boot=n_boot, seed=seed)
    found.write(out_dir)
    return found.text


def outcome(table, study, *, n_boot=4000, seed=0):
    """A judged study as an Outcome.

    table: one row per planned run, see `arms.INPUTS`, and every setting as a dotted column. study:
    a `sweep.study.Study`. ValueError, in one line, for a table that cannot be judged.
    """
    # matplotlib takes as long to import as everything else together
    from capacity.analysis.facts.figures import (
        arms_figure,
        exposures_figure,
        ratio_figure,
    )

    runs = arms.prepare(table, study.best_over)
    fit = judge_study(runs, study, n_boot=n_boot, seed=seed)
    figures = {"ratio": ratio_figure(runs)}
    told = runs[runs.chosen]
    curves = told.groupby(
        ["label", "series"]
    ).asked.nunique()  # which the figure over exposures tells
    if (
        curves.min() == 1
        and told.label.nunique() <= FEW_SIZES
        and 1 < told.groupby(["label", "curve_name"]).ngroups <= MOST_ROWS
    ):
        figures = {"arms": arms_figure(runs)} | figures
    if runs[runs.chosen].groupby(["label", "series"]).asked.nunique().max() > 1:
        figures["exposures"] = exposures_figure(runs, fit["exposure_laws"])
    told = runs.drop(columns=[c for c in runs if c.startswith("axis ") or c == "amount"])
    return Outcome(
        "people",
        fit,
        "fit.json",
        {"shapes.csv": pd.DataFrame(fit["arms"]), "runs.csv": told},
        figures,
        report(fit),
    )


def judge_study(runs, study, *, n_boot=4000, seed=0):
    """Everything that fit.json states, as a dict that JSON can hold. runs: of `arms.prepare`."""
    table, pooled = arms.arms(runs), arms.noise(runs)
    done = runs[runs.status == "finished"]
    best_over = [c for c in study.best_over if c in runs.attrs["varied"]]
    room = table[(table.r_max <= BELOW) & (table.seeds > 0)]
    return plain(
        {
            "schema": SCHEMA,
            "study": study.name,
            "question": study.question,
            "scale": study.scale,
            "overrides": study.overrides,
            "kinds": sorted(set(runs.kind)),
            "convention": {
                "R": "learned bits / parameters, count paper: all but the rows of unused tokens",
                "r_total": "learned bits / parameters, count total",
                "r_max": "bits of the data / parameters (paper)",
                "source": "arXiv 2404.05405, Definitions 4.1 and 4.3, appendix A",
            },
            "n": {
                "rows": len(runs),
                "finished": len(done),
                "failed": int((runs.status == "failed").sum()),
                "missing": int((runs.status == "missing").sum()),
                "arms": len(table),
                "curves": runs.curve.nunique(),
                "chosen": int(runs.chosen.sum()),
                "seeds": runs.seed.nunique(),
            },
            "best_over": {
                "settings": best_over,
                "at_edge": arms.at_edge(runs, best_over),
                "choice": differences.choice(runs),
            },
            "varied": runs.attrs["varied"],
            "vocabulary_sizes": runs.attrs["vocabulary"],
            "noise": {
                name: {"sd": sd, "dof": dof, "of": "R of one run over seeds, relative"}
                for name, (sd, dof) in pooled.items()
            },
            "arms": table.to_dict("records"),
            "peaks": arms.peaks(runs, table, pooled, n_boot=n_boot, seed=seed),
            "saturated": {
                "below": BELOW,
                "arms": len(room),
                "min": room.fraction.min(),
                "mean": room.fraction.mean(),
                "models": room[["curve_name", "label", "r_max", "fraction"]].to_dict("records"),
                "lowest": "{0.label}, {0.curve_name}".format(room.loc[room.fraction.idxmin()])
                if len(room)
                else None,
            },
            "exposure_laws": exposure_laws(runs),
            "verdicts": verdicts.judge(
                study.expects, runs, table, pooled, scale=study.scale, n_boot=n_boot, seed=seed
            ),
            "flags": {
                "failed": _ids(runs, runs.status == "failed"),
                "missing": _ids(runs, runs.status == "missing"),
                "rising": _ids(done, done.gain_last_tenth > arms.RISING),
                "unknown_gain": _ids(done, done.gain_last_tenth.isna()),
                "exposures_off": _ids(done, arms.exposures_off(done)),
                "negative": _ids(done, done.bits <= 0),
                # the name term may exceed its bound a little, see measure/knowledge.py
                "above_ceiling": _ids(
                    done, done.bits > 1.005 * done.ceiling_bits + 2 * done.bits_se
                ),
            },
            "bootstrap": {"resamples": n_boot, "seed": seed, "level": LEVEL},
            "versions": {
                "capacity": capacity.__version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "pandas": pd.__version__,
            },
            "inputs_sha256": hashlib.sha256(
                csv(runs[[*arms.INPUTS, "extraction_accuracy"]])
            ).hexdigest(),
        }
    )


def exposure_laws(runs):
    """`exposures.fit_exposures` of every model, N and arm that has four different exposures: a list
    of dicts."""
    used = runs[runs.chosen]
    same = ["label", "amount", *(c for c in runs if c.startswith("axis "))]
    keys = [tuple(row) for row in used[same].to_numpy(object)]
    out = []
    for key in dict.fromkeys(keys):
        rows = used[[k == key for k in keys]]
        if rows.asked.nunique() < exposures.FEWEST:
            continue
        seen = rows.exposures_mean.fillna(rows.exposures)
        law = exposures.fit_exposures(seen, rows.r, rows.r_max.mean())
        out.append(
            {
                "label": rows.iloc[0].label,
                "series": rows.iloc[0].series,
                "n_people": float(rows.iloc[0].n_people),
            }
            | law
        )
    return out


def report(fit):
    """The report as text; fit: what `judge_study` returned."""
    n = fit["n"]
    best = (
        f"; the best over {', '.join(fit['best_over']['settings'])} of otherwise equal runs, by "
        f"bits"
        if fit["best_over"]["settings"]
        else ""
    )
    head = [
        *_wrap(f"Knowledge in {fit['study']}: R = learned bits per parameter", ""),
        *_wrap(fit["question"], "  "),
        "",
        *_wrap(
            "R and R^max per parameter without the rows of unused tokens, as published (3.3, "
            "appendix A); R "
            f"total per parameter of all. {n['finished']} of {n['rows']} runs finished, "
            f"{n['arms']} arms{best}.",
            "",
        ),
        "",
    ]
    lines = [
        *head,
        *_table(fit),
        "",
        *_peaks(fit),
        *_laws(fit),
        "",
        *_verdicts(fit),
        "",
        "Notes",
        *_notes(fit),
    ]
    return "\n".join(lines)


def _table(fit):
    rows = fit["arms"]
    wide = min(max([5, *(len(row["label"]) for row in rows)]), 14)
    lines = [
        f"{'model':<{wide + 2}}{'P':>8}{'seeds':>6}{'R^max':>8}{'R':>8}{'± sd':>7}{'R total':>9}{'R/R^max':>9}"
        f"{'accuracy':>10}"
    ]
    last = None
    for row in rows[:MOST_ARMS]:
        if row["curve"] != last:
            lines += _wrap(row["curve_name"], "")
        last, label = row["curve"], row["label"]
        if len(label) > wide:  # a line of its own: cut names could not be told apart
            lines += _wrap(label, "  ")
            label = ""
        numbers = f"{row['r_max']:>8.2f}" + (
            f"{row['r']:>8.3f}{_or_dash(row['r_sd'], '.3f'):>7}{row['r_total']:>9.3f}{row['fraction']:>9.1%}"
            f"{_or_dash(row['accuracy'], '.1%'):>10}"
            if row["seeds"]
            else f"{'-':>8}{'-':>7}{'-':>9}{'-':>9}{'-':>10}"
        )
        flags = "".join(mark for key, mark in FLAGS.items() if row[key])
        size = f"{arms.short(row['parameters_paper']):>8}{row['seeds']:>6}"
        lines.append(f"  {label:<{wide}}{size}{numbers} {flags}".rstrip())
        if row["extraction_accuracy"] is not None:
            lines.append(
                f"    questions about held-out people: {row['extraction_accuracy']:.1%} exact"
            )
    if len(rows) > MOST_ARMS:
        lines.append(f"  ... and {len(rows) - MOST_ARMS} more arms in shapes.csv")
    return [
        *lines,
        *_wrap(
            "sd over seeds; r: some run gained over 2% in its last tenth, e: counted exposures off "
            "by "
            "over 1%, f: failed, m: missing runs; intervals are in shapes.csv",
            "  ",
        ),
    ]


def _peaks(fit):
    lines = ["Peak R over models, 95% interval that allows for the bias of a maximum"]
    for peak in fit["peaks"]:
        ends = "[{:.3f}, {:.3f}]".format(*peak["interval"]) if peak["interval"] else "no interval"
        own = (
            "; its own seeds [{:.3f}, {:.3f}]".format(*peak["own_interval"])
            if peak["own_interval"]
            else ""
        )
        other, relative = peak["against_first"], ""
        if other and other["value"] is not None:
            relative = (
                f"; {_digits(other['value'])} {_ends(other['interval'])} times that of "
                f"{other['name']}"
            )
        lines += _wrap(
            f"{peak['name']}: {peak['value']:.3f} {ends} at {peak['label']}{own}{relative}",
            "  ",
            "      ",
        )
    if any(peak["reason"] for peak in fit["peaks"]):
        lines += _wrap(
            "no interval: one seed per arm, so the noise of seeds was not measured", "  "
        )
    room = fit["saturated"]
    if room["arms"]:
        lines += _wrap(
            f"Of {room['arms']} arms with R^max <= {room['below']:g}, R/R^max is at least "
            f"{room['min']:.1%} "
            f"({room['lowest']}), on average {room['mean']:.1%}.",
            "  ",
        )
    return lines


def _laws(fit):
    if not fit["exposure_laws"]:
        return []
    lines = ["", "R against exposures E, saturating forms fitted to one model and N"]
    for law in fit["exposure_laws"]:
        lines += _wrap(", ".join(filter(None, (law["label"], law["series"]))), "  ")
        if law["reason"]:
            lines += _wrap(f"none: {law['reason']}", "    ")
            continue
        formula = {
            "exponential": "R_inf (1 - exp(-(E/E0)^b))",
            "power": "R_inf (1 - (1 + E/E0)^-b)",
        }[law["form"]]
        told = [
            f"{name} {_digits(law[key]['value'])} {_ends(law[key]['interval'])}".strip()
            for key, name in (("r_inf", "R_inf"), ("e0", "E0"), ("b", "b"))
        ]
        told.append(f"rms {law['rms']:.3f}, R^max {law['r_max']:.2f}")
        lines += _wrap(f"{formula}: {', '.join(told)}", "    ", "      ")
        e95, top = law["e95"], law["exposures"][1]
        at = (
            f"{_digits(e95['value'])} {_ends(e95['interval'])}"
            if exposures.determined(e95["interval"])
            else "what these runs do not determine"
        )
        lines += _wrap(
            f"95% of the plateau at E = {at}; the {law['other']['form']} form says "
            f"{_digits(law['other']['e95'])} (rms "
            f"{law['other']['rms']:.3f})",
            "    ",
            "      ",
        )
        if law["data_limited"]:
            lines += _wrap("the plateau is the end of the data (R^max), not of the model", "    ")
        elif not law["plateau_reached"]:
            lines += _wrap(
                f"not reached: runs end at {_digits(top)} exposures, so plateau and E95 are "
                f"extrapolated",
                "    ",
            )
    return lines


def _verdicts(fit):
    if not fit["verdicts"]:
        return ["Beside published values", "  this study states none (expects)"]
    lines = ["Beside published values"]
    if fit["scale"] != "published":
        n = [row["n_people"] for row in fit["arms"]]
        p = [row["parameters_paper"] for row in fit["arms"]]
        e = [row["exposures"] for row in fit["arms"]]
        lines += caveat(fit["scale"], f"N {_span(n)}, P {_span(p)}, {_span(e)} exposures")
    if fit["overrides"]:
        lines += _wrap(
            f"Settings were changed with the command: {', '.join(fit['overrides'])}", "  "
        )
    return lines + verdict_lines(fit["verdicts"])


def _notes(fit):
    flags, notes = fit["flags"], []
    for key, text in (
        ("missing", "missing, so arms have holes"),
        ("failed", "failed, see the error in runs.csv"),
        (
            "rising",
            "gained over 2% in the last tenth of training (flag r): not at the end of what this "
            "model can "
            "learn; with exposures fixed that is the measured state, not an error",
        ),
        ("unknown_gain", "left no trace of the gain over their last tenth"),
        ("exposures_off", "were shown people more or less often than asked, by over 1% (flag e)"),
        (
            "negative",
            "finished with R <= 0: names or value lists not learned yet; kept as they are",
        ),
        (
            "above_ceiling",
            "above R^max, which cannot be: look for a leak in the measure or a wrong count",
        ),
    ):
        if flags[key]:
            notes.append(
                f"{len(flags[key])} run{'s' * (len(flags[key]) != 1)} {text}: {_some(flags[key])}"
            )
    for column, names in fit["best_over"]["at_edge"].items():
        notes.append(
            f"The best {column} is the smallest or largest tried, so others might raise R: "
            f"{_some(names, 3)}"
        )
    if fit["best_over"]["settings"]:
        notes.append(
            "The best of several runs is chosen by the reported number itself: its noise biases it "
            "upward." + differences.told_choice(fit["best_over"]["choice"])
        )
    if fit["vocabulary_sizes"]:
        sizes = fit["vocabulary_sizes"]
        notes.append(
            f"Vocabularies of {sizes[0]:,} to {sizes[-1]:,} rows are mixed, as settings of the "
            f"data explain; "
            "P holds the rows, so R of small models moves with them."
        )
    if fit["noise"]:
        told = [
            f"{100 * v['sd']:.1f}% ({name} arms, {v['dof']} dof)"
            for name, v in fit["noise"].items()
        ]
        notes.append(f"Noise of R over seeds, pooled: {', '.join(told)}.")
    notes.append(
        "Gradient descent finds a lower bound of what a model can hold at these exposures; better "
        "training "
        "can raise R."
    )
    return [line for note in notes for line in _wrap(note, "  - ", "    ")]


def _or_dash(x, form):
    return "-" if x is None else format(x, form)


def _span(values):
    low, high = arms.short(min(values)), arms.short(max(values))
    return low if low == high else f"{low} to {high}"


def _some(names, most=5):
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _ids(runs, which):
    return sorted(runs.run_id[which])
