"""Ablations of vocabulary and length: does one number of bits per parameter hold for models whose V
or S differ?

After Morris et al., arXiv 2505.24832 v3, appendix A.1: min(alpha P, bits of the data) with one
alpha and every model's own P, against what was measured. A cell is all runs that differ in nothing
but the seed: shape, V, S and N. Ceilings are those of the convention, so that short sequences are
not counted as errors; the published errors are about the plain data bits, which is computed beside.
"""

import numpy as np

from capacity.analysis.random.analysis import _digits, _ids, _runs, _short
from capacity.analysis.random.plateaus import (
    CONVENTIONS,
    COUNTS,
    RISING,
    check,
    classify,
    inputs_hash,
    rising,
)
from capacity.analysis.result import Outcome
from capacity.base.files import plain
from capacity.fitting import capacity_forms, linear
from capacity.fitting.statistics import t_interval
from capacity.published import values as published
from capacity.published.values import wrapped as _wrap

SCHEMA = 1
VARIED = {"vocab_size": "V", "seq_len": "S"}
CELL = ["label", "vocab_size", "seq_len", "n_sequences"]
SHARP = 12.0  # k of a corner so sharp that no row reads low near it
WAYS = (("strict", "total"), ("paper", "paper"))


def varied(table):
    """The columns among vocabulary and length in which the planned runs of a table differ."""
    return [column for column in VARIED if table[column].nunique() > 1]


def cells(table, convention, parameters):
    """One row per cell with a positive number of bits: bits (mean over seeds), sd over seeds, P,
    ceiling and data bits."""
    bits, ceiling = CONVENTIONS[convention]
    kind = classify(table, convention)
    used = table[kind.isin(["underfilled", "corner", "saturated"])].assign(
        full=kind == "saturated", near=kind == "corner"
    )
    found = used.groupby(CELL).agg(
        parameters=(COUNTS[parameters], "first"),
        seeds=("seed", "nunique"),
        bits=(bits, "mean"),
        sd=(bits, "std"),
        ceiling=(ceiling, "mean"),
        data_bits=("entropy_bits", "first"),
        over_filled=("full", "sum"),
        near=("near", "sum"),
    )
    return found.reset_index().astype(
        {name: float for name in ("parameters", "bits", "ceiling", "data_bits")}
    )


def fit(cell, ceiling="ceiling"):
    """One alpha for all cells with min(alpha P, ceiling) and with its smooth form, intervals over
    cells, and the errors.

    cell: of `cells`; ceiling: its column that bounds a cell. Errors are expected / measured - 1, in
    percent; every cell counts equally.
    """
    p, h, m = (cell[name].to_numpy(float) for name in ("parameters", ceiling, "bits"))
    if not (cell.over_filled + cell.near).any():
        return {
            "reason": "all data fit into every model; no cell is limited by capacity",
            "limited_by_capacity": 0,
        }
    alpha = linear.fit_hard_corner(p, h, m)
    limited = int((alpha * p < h).sum())
    hard = _told(
        alpha,
        capacity_forms.hard_corner(p, h, alpha),
        m,
        linear.jackknife(
            lambda kept: linear.fit_hard_corner(p[kept], h[kept], m[kept]),
            len(p),
            limited - 1 if limited > 2 else 0,
        ),
    )
    smooth = {"reason": "needs three cells"}
    if len(p) > 2:
        found = linear.fit_smooth_corner(p, h, m)
        at = found["alpha"], found["k"]
        smooth = _told(
            at[0],
            capacity_forms.smooth_corner(p, h, *at),
            m,
            linear.jackknife(
                lambda kept: linear.fit_smooth_corner(p[kept], h[kept], m[kept], at)["alpha"],
                len(p),
                limited - 2,
            ),
        )
        smooth |= {"k": found["k"], "k_determined": not found["at_bound"], "reason": None}
    tested = alpha * p < h  # the others have their ceiling, whatever alpha is
    hard["mean_absolute_error_limited_percent"] = (
        float(np.abs(np.array(hard["error_percent"])[tested]).mean()) if tested.any() else None
    )
    return {"reason": None, "hard": hard, "smooth": smooth, "limited_by_capacity": limited}


def _told(alpha, expected, measured, interval):
    error = 100 * (expected / measured - 1)
    return {
        "alpha": alpha,
        "interval": None if interval["reason"] else [interval["low"], interval["high"]],
        "dof": interval["dof"],
        "interval_reason": interval["reason"],
        "expected": expected.tolist(),
        "error_percent": error.tolist(),
        "mean_absolute_error_percent": float(np.abs(error).mean()),
    }


def judge(table, name):
    """Everything that fit.json says of a study, JSON-able. ValueError, in one line, for a table
    that cannot be judged."""
    apart = table.assign(
        shape=table.label,
        label=[f"{row.label} V={row.vocab_size} S={row.seq_len}" for row in table.itertuples()],
    )
    runs = (
        check(apart, pinned=["precision"])
        .assign(label=lambda checked: checked["shape"])
        .drop(columns="shape")
    )
    found = {
        "schema": SCHEMA,
        "study": name,
        "varied": varied(table),
        "inputs_sha256": inputs_hash(runs),
        "finished": int((runs.status == "finished").sum()),
        "runs": len(runs),
        "tokens": float(runs.tokens.max()),
        "rising": sorted(runs.run_id[rising(runs)]),
        "left_out": {},
    }
    for convention, count in WAYS:
        cell, kind = cells(runs, convention, count), classify(runs, convention)
        if cell.empty:
            raise ValueError(
                f"no run to fit: none of {len(runs)} finished with a positive number of bits"
            )
        found[convention] = {"parameters": count, "cells": cell.to_dict("records"), **fit(cell)}
        found["left_out"] |= {
            what: sorted(runs.run_id[kind == what]) for what in ("missing", "failed", "unlearned")
        }
    found["paper"]["as_printed"] = fit(
        cells(runs, "paper", "paper"), "data_bits"
    )  # min(alpha P, H), what the published errors are about
    found["verdicts"] = verdicts(found)
    return plain(found), runs


def verdicts(found):
    """alpha and the mean error of min(alpha P, data bits), in paper bits and parameters, beside the
    published ones: rows of `published.verdict`. Intervals: of alpha the jackknife over rows, of the
    error Student's t over rows."""
    here, p = found["paper"]["as_printed"], [row["parameters"] for row in found["paper"]["cells"]]
    measured = {}
    if here["reason"]:
        measured["alpha_of_rows"] = {"value": None, "interval": None, "lacks": here["reason"]}
    else:
        hard = here["hard"]
        measured["alpha_of_rows"] = {
            "value": hard["alpha"],
            "interval": hard["interval"],
            "why": hard["interval_reason"],
            "method": "jackknife over rows",
        }
        if len(found["varied"]) == 1:
            low, high = t_interval(np.abs(hard["error_percent"]))
            measured[f"error_{found['varied'][0]}"] = {
                "value": hard["mean_absolute_error_percent"],
                "interval": None if np.isnan(low) else [max(0.0, low), high],
                "why": "one row leaves no scatter of rows",
                "method": "Student's t over rows",
            }
    there = {name: published.get(f"morris/{name}") for name in measured}
    return [
        published.verdict(
            there[name].expected(),
            number,
            scale=published.scale_of(there[name], p, found["tokens"]),
        )
        for name, number in measured.items()
    ]


def write_study(table, folder, name):
    """Write fit.json, runs.csv and the figures of `outcome`; returns the report."""
    found = outcome(table, name)
    found.write(folder)
    return found.text


def outcome(table, name):
    """`judge` of a study of vocabularies or lengths, with its table, figure and report."""
    from capacity.analysis.random.figures import ablation_figure

    found, runs = judge(table, name)
    figures = {f"ablation_{way}": ablation_figure(runs, found, way) for way in CONVENTIONS}
    runs = runs.assign(
        class_strict=classify(runs, "strict"),
        class_paper=classify(runs, "paper"),
        still_rising=rising(runs),
    )
    return Outcome(
        "ablation",
        found,
        "fit.json",
        {"runs.csv": runs.sort_values([*CELL, "seed", "run_id"])},
        figures,
        report(found),
    )


def report(found):
    """At most 80 columns."""
    what = " and ".join(
        {"vocab_size": "vocabulary V", "seq_len": "length S"}[column] for column in found["varied"]
    )
    lines = [
        *_wrap(f"Ablation of {found['study']}: {what}", ""),
        "",
        *_wrap(
            f"{found['finished']} of {found['runs']} runs finished. Each row: mean over seeds; "
            f"error: expected / measured - 1; d: limited by its "
            "data.",
            "",
        ),
    ]
    for convention, _ in WAYS:
        lines += ["", *_section(convention, found[convention])]
    lines += [*_beside(found), "", "Notes"]
    for what, text in (
        ("missing", "missing, so rows may lack"),
        ("failed", "failed, see the error in runs.csv"),
        ("unlearned", "finished without positive bits and not in the fit"),
    ):
        if ids := found["left_out"][what]:
            lines += _wrap(f"{_runs(ids)} {text}: {_ids(ids)}", "  - ", "    ")
    if found["rising"]:
        lines += _wrap(
            f"{_runs(found['rising'])} gained over {RISING:.0%} in the last tenth of training and "
            f"may not be at capacity: "
            f"{_ids(found['rising'])}",
            "  - ",
            "    ",
        )
    return "\n".join(
        lines + [line for note in notes(found) for line in _wrap(note, "  - ", "    ")]
    )


def notes(found):
    """What the corner does, where these runs show one, and how intervals are made."""
    rounded = [
        part
        for part in (found[way] for way in CONVENTIONS)
        if not part["reason"]
        and not part["smooth"]["reason"]
        and part["smooth"]["k_determined"]
        and part["smooth"]["k"] < SHARP
    ]
    why = (
        "min() has a sharp corner, these models do not: rows near the corner read low and pull its "
        "alpha down; the smooth form allows for that."
    )
    return [*[why] * bool(rounded), "Intervals: jackknife over rows."]


def _section(convention, part):
    lines = [f"{convention} bits, {part['parameters']} parameters"]
    if part["reason"]:
        return lines + _wrap(f"none: {part['reason']}", "  ")
    hard, smooth = part["hard"], part["smooth"]
    lines.append(
        f"{'V':>6}{'S':>6}{'N':>8}{'P':>11}{'measured':>11}{'min()':>11}{'error':>8}{'smooth':>10}{'error':>7}"
    )
    shapes = list(dict.fromkeys(row["label"] for row in part["cells"]))
    for shape in shapes:
        lines += _wrap(shape, "") if len(shapes) > 1 else []
        for i, row in enumerate(part["cells"]):
            if row["label"] == shape:
                soft = (
                    f"{_short(smooth['expected'][i]):>10}{smooth['error_percent'][i]:>+6.1f}%"
                    if not smooth["reason"]
                    else f"{'-':>10}{'-':>7}"
                )
                lines.append(
                    f"{row['vocab_size']:>6}{row['seq_len']:>6}{row['n_sequences']:>8}{row['parameters']:>11,.0f}{_short(row['bits']):>11}"
                    f"{_short(hard['expected'][i]):>11}{hard['error_percent'][i]:>+7.1f}%{soft}"
                    + " d"
                    * (hard["alpha"] * row["parameters"] >= row["ceiling"])
                )
    for form, fitted in (("min(alpha P, ceiling)", hard), ("smooth corner", smooth)):
        if fitted.get("reason"):
            lines += _wrap(f"{form}: none, {fitted['reason']}", "  ")
            continue
        ends = fitted["interval"]
        told = (
            f"95% [{_digits(ends[0])}, {_digits(ends[1])}]"
            if ends
            else f"no interval: {fitted['interval_reason']}"
        )
        corner = (
            (f", k {fitted['k']:.2g}" if fitted["k_determined"] else ", k not determined")
            if "k" in fitted
            else ""
        )
        lines += _wrap(
            f"{form}: alpha = {_digits(fitted['alpha'])} bits per parameter, {told}{corner}; mean "
            f"absolute error "
            f"{fitted['mean_absolute_error_percent']:.1f}%"
            + (
                f", of the {part['limited_by_capacity']} rows that alpha decides "
                f"{fitted['mean_absolute_error_limited_percent']:.1f}%"
                if fitted.get("mean_absolute_error_limited_percent") is not None
                and part["limited_by_capacity"] < len(part["cells"])
                else ""
            ),
            "  ",
            "    ",
        )
    return lines


def _beside(found):
    """The published errors beside those of the same formula here; paper bits and paper parameters
    only."""
    lines, here = (
        ["", "Beside Morris et al. (arXiv 2505.24832 v3, appendix A.1): paper bits"],
        found["paper"]["as_printed"],
    )
    if here["reason"]:
        return [*lines, "  nothing measured to compare"]
    stated = published.get("morris/alpha_stated")
    errors = ", ".join(
        f"{published.get(f'morris/error_{column}').value}% over {VARIED[column]}"
        for column in found["varied"]
    )
    less = stated.setting["tokens"] / found["tokens"]
    more = f", {less:,.0f} times the tokens of training" if less > 1 else ""
    lines += _wrap(
        f"min(alpha P, data bits), as there: here alpha {here['hard']['alpha']:.3f}, mean absolute "
        f"error "
        f"{here['hard']['mean_absolute_error_percent']:.1f}%; published {errors}, alpha "
        f"{stated.value} stated, "
        f"{published.get('morris/alpha_of_rows').value} by its own predictions. Theirs: N "
        f"{stated.setting['n_sequences']}, "
        f"{stated.setting['shape']}, V 2048 or S 64{more}.",
        "  ",
    )
    p = [row["parameters"] for row in found["paper"]["cells"]]
    small = any(row["scale"] != "published" for row in found["verdicts"])
    caveat = (
        published.caveat("another", f"P {published.short(min(p))} to {published.short(max(p))}")
        if small
        else []
    )
    return lines + caveat + published.lines(found["verdicts"])
