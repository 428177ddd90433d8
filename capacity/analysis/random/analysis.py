"""The written result of a study: a report for a terminal of 80 columns, and the files of its
folder."""

import numpy as np
import pandas as pd

from capacity.analysis.random import forms as capacity_forms
from capacity.analysis.random.plateaus import (
    CORNER,
    RISING,
    SCHEMA,
    STRICT_CORNER,
    check,
    classify,
    fit_laws,
    plateaus,
    rising,
)
from capacity.analysis.result import Outcome
from capacity.base.files import plain
from capacity.fitting.statistics import student, t_interval
from capacity.published import values as published
from capacity.published.values import wrapped as _wrap

# What is set beside values of Morris et al. (arXiv 2505.24832 v3), by the name of the estimator:
# words, and by precision the id of the published value.
COMPARED = {
    "mean_of_ratios": (
        "mean over shapes of bits / parameter",
        {"bf16": "morris/mean_bf16", "fp32": "morris/mean_fp32"},
    ),
    "with_intercept": ("slope over shapes", {"bf16": "morris/slope_bf16"}),
}
THERE = published.get("morris/mean_bf16")


def write_study(table, out_dir, name, *, n_boot=4000, seed=0, allow_mixed=False):
    """Write fit.json, plateaus.csv, runs.csv, and the figures of `outcome` into out_dir; returns
    the report as text."""
    found = outcome(table, name, n_boot=n_boot, seed=seed, allow_mixed=allow_mixed)
    found.write(out_dir)
    return found.text


def outcome(table, name, *, n_boot=4000, seed=0, allow_mixed=False):
    """The law of a study in both conventions, as an Outcome. table: one row per run (see
    `fit_laws`, whose ValueErrors pass through)."""
    # matplotlib takes as long to import as everything else together
    from capacity.analysis.random.figures import (
        capacity_figure,
        memorized_figure,
    )

    table = check(table, allow_mixed=allow_mixed)
    strict = fit_laws(table, "strict", "total", n_boot=n_boot, seed=seed, allow_mixed=allow_mixed)
    paper = fit_laws(table, "paper", "paper", n_boot=n_boot, seed=seed, allow_mixed=allow_mixed)
    runs = table.assign(
        class_strict=classify(table, "strict"),
        class_paper=classify(table, "paper"),
        still_rising=rising(table),
    )
    runs = runs.sort_values(["parameters_total", "label", "n_sequences", "seed", "run_id"])
    shapes = pd.concat(
        [
            plateaus(table, way, way_count).assign(convention=way, count=way_count)
            for way, way_count in (("strict", "total"), ("paper", "paper"))
        ]
    )
    result = {
        "schema": SCHEMA,
        "study": name,
        "strict": strict,
        "paper": paper,
        "verdicts": verdicts(paper),
    }
    tables = {
        "plateaus.csv": shapes[["convention", "count", *shapes.columns[:-2]]],
        "runs.csv": runs,
    }
    return Outcome(
        "random data",
        plain(result),
        "fit.json",
        tables,
        {"capacity": capacity_figure(strict), "memorized": memorized_figure(table, strict)},
        format_summary(strict, paper, name),
    )


def format_summary(fit, fit_paper, name="study"):
    """The report as text, no line over 80 columns. fit: any convention; fit_paper: convention and
    count "paper"."""
    if (fit_paper["convention"], fit_paper["parameters"]) != ("paper", "paper"):
        raise ValueError(
            "published values compare with convention 'paper' and parameters 'paper' only, not "
            "with "
            f"{fit_paper['convention']!r} and {fit_paper['parameters']!r}"
        )
    n, way = fit["n"], f"{fit['convention']} bits, {fit['parameters'].replace('_', '-')} parameters"
    head = [
        *_wrap(f"Capacity of {name}: {way}", ""),
        "",
        *_wrap(
            f"{n['finished']} of {n['rows']} runs finished; {n['used']} over-filled runs measure "
            f"{n['shapes_measured']} of {n['shapes']} model shapes.",
            "",
        ),
        "",
    ]
    lines = [
        *head,
        *_shape_table(fit),
        "",
        *_laws(fit),
        "",
        *capacity_forms.lines(fit["forms"]),
        "",
        *_comparison(fit_paper),
        "",
        "Notes",
        *_notes(fit),
    ]
    return "\n".join(lines)


def _shape_table(fit):
    wide = min(max([5, *(len(row["label"]) for row in fit["plateaus"])]), 16)
    rows = [
        f"{'shape':<{wide}}{'P':>13}{'seeds':>6}{'runs':>5}{'other':>6}"
        f"{'capacity bits':>15}{'bits/P':>8}{'± sd':>7}"
    ]
    marks = {"rising": "r", "failed": "f", "missing": "m", "unlearned": "u"}
    for row in fit["plateaus"]:
        label = row["label"]
        if len(label) > wide:  # a line of its own: cut names could not be told apart
            rows += _wrap(label, "")
            label = ""
        p = "?" if row["parameters"] is None else f"{row['parameters']:,.0f}"
        if row["bits"] is None:
            numbers = f"{'-':>15}{'-':>8}{'-':>7}"
        else:
            ratio = ("≥ " if row["lower_bound"] else "") + f"{row['bits_per_parameter']:.3f}"
            sd = row["bits_per_parameter_sd"]
            spread = "-" if sd is None or row["lower_bound"] else f"{sd:.3f}"
            numbers = f"{row['bits']:>15,.0f}{ratio:>8}{spread:>7}"
        used = 0 if row["lower_bound"] else row["runs"]
        seeds = 0 if row["lower_bound"] else row["seeds"]
        flags = "".join(mark for key, mark in marks.items() if row[key])
        rows.append(
            f"{label:<{wide}}{p:>13}{seeds:>6}{used:>5}{row['finished'] - used:>6}{numbers} "
            f"{flags}".rstrip()
        )
    key = (
        "runs: over-filled, averaged per seed, then over seeds; other: finished but not "
        "over-filled; sd: over "
        "seeds; ≥: only a lower bound; r: some runs still rising, f: failed, m: missing, u: "
        "finished without "
        "positive bits"
    )
    return [*rows, *_wrap(key, "  ")]


def _laws(fit):
    lines = [f"Capacity law ({fit['convention']} bits C against {fit['parameters']} parameters P)"]
    if not fit["alpha"]:
        least = fit["alpha_at_least"]
        return [
            *lines,
            *_wrap(
                f"none: {fit['reason']}" + (f"; alpha is at least {least:.3f}" if least else ""),
                "  ",
            ),
        ]
    numbers = [("C = alpha P", "alpha", fit["alpha"])]
    for law, names in (("power", ("gamma",)), ("slope", ("alpha1", "c0"))):
        if "reason" in fit[law]:
            numbers.append((fit[law]["formula"].replace(" *", ""), None, fit[law]["reason"]))
        numbers += [
            (fit[law]["formula"].replace(" *", ""), key, fit[law][key])
            for key in names
            if key in fit[law]
        ]
    last = None
    for formula, key, number in numbers:
        if formula != last:
            lines.append(f"  {formula}")
        last = formula
        if key is None:
            lines += _wrap(number, "    ")
            continue
        lines.append(f"    {key} = {_digits(number['value'])} {number['unit']}")
        for part, text in (("interval_seeds", "over seeds"), ("interval_shapes", "over shapes")):
            ends, why = number[part]["ends"], number[part]["reason"]
            told = f"[{_digits(ends[0])}, {_digits(ends[1])}]" if ends else f"none: {why}"
            quote = "  <- quote this one" if number["quote"] == part else ""
            lines += _wrap(f"95% {text:<11} {told}{quote}", "      ")
    names = {
        f"corner_cut_{STRICT_CORNER}": f"ceiling / bits ≥ {STRICT_CORNER}",
        "levelled_off_only": "levelled-off runs",
        "maximum_over_data_sizes": "maximum over data sizes (biased up)",
    }
    other = [
        f"{text} {fit['sensitivity'][key]:.3f}"
        for key, text in names.items()
        if fit["sensitivity"][key]
    ]
    return lines + _wrap(f"alpha with other choices: {', '.join(other)}", "  ")


def verdicts(paper):
    """Estimates of paper bits per paper parameter beside the published ones of the same precision,
    as `published.verdict` has them. Intervals are Student's t over shapes, each of which counts
    once."""
    precision = paper["validity"]["precision"]
    shapes = pd.DataFrame(
        [unit for unit in paper["units"] if not unit["lower_bound"]],
        columns=["label", "parameters", "bits"],
    )
    shapes = (
        shapes.assign(bits=np.log(shapes.bits.astype(float))).groupby("label", sort=False).mean()
    )
    p, c, out = shapes.parameters.to_numpy(float), np.exp(shapes.bits.to_numpy()), []
    here = f"here: {_here(paper)}"
    for key, (_, ids) in COMPARED.items():
        for value in [
            published.get(ids[one]) for one in precision if one in ids and len(precision) == 1
        ]:
            scale = published.scale_of(
                value, paper["validity"]["parameters"], paper["validity"]["tokens"][1]
            )
            out.append(
                published.verdict(value.expected(), _measured(key, p, c, [here]), scale=scale)
            )
    return out


def _measured(key, p, c, remarks):
    """An estimator over shapes with its interval, as `published.decide` takes it. p, c: parameters
    and capacity of each shape."""
    if not len(p):
        return {"value": None, "interval": None, "lacks": "no shape was measured"}
    if key == "mean_of_ratios":
        low, high = t_interval(c / p)
        found, interval = float(np.mean(c / p)), None if np.isnan(low) else [low, high]
    elif len(set(p)) < 3:
        return {
            "value": None,
            "interval": None,
            "lacks": f"{len(set(p))} sizes leave no scatter about a line",
        }
    else:
        from scipy.stats import linregress

        line = linregress(p, c)
        half = float(student(len(p) - 2) * line.stderr)
        found, interval = float(line.slope), [line.slope - half, line.slope + half]
    return {
        "value": found,
        "interval": interval,
        "why": "one shape leaves no scatter of shapes",
        "method": "Student's t over shapes",
        "remarks": remarks,
    }


def _comparison(paper):
    lines = ["Beside Morris et al. (arXiv 2505.24832 v3): paper bits, paper parameters"]
    if not paper["alpha"]:
        return [*lines, "  nothing measured to compare"]
    lines.append(f"  {'':<38}{'here':>8}{'bf16':>8}{'fp32':>8}")
    for key, (text, ids) in COMPARED.items():
        told = {precision: f"{published.get(id).value:.2f}" for precision, id in ids.items()}
        here = paper["other_estimators"][key]
        lines.append(
            f"  {text:<38}{'-' if here is None else f'{here:.2f}':>8}{told.get('bf16', '-'):>8}"
            f"{told.get('fp32', '-'):>8}"
        )
    alpha = paper["alpha"]
    if alpha["quote"]:
        low, high = alpha[alpha["quote"]]["ends"]
        lines += _wrap(
            f"here, geometric mean: {alpha['value']:.3f}, 95% [{low:.3f}, {high:.3f}] over "
            f"{alpha['quote'].removeprefix('interval_')}",
            "  ",
        )
    there = THERE.setting
    less = f", {_budget(paper):,.0f} times fewer" if _budget(paper) > 1 else ""
    lines += _wrap(
        f"Theirs: P {_span(there['parameters'])}, V {there['vocab_size']}, S {there['seq_len']}, "
        f"{_short(there['tokens'])} tokens per run, sd over shapes {THERE.sd_over_shapes} (bf16). "
        f"Here: {_here(paper)}{less}.",
        "  ",
    )
    rows = verdicts(paper)
    return (
        lines
        + (
            published.caveat("another", f"P {_span(paper['validity']['parameters'])}")
            if any(row["scale"] != "published" for row in rows)
            else []
        )
        + published.lines(rows)
    )


def _here(paper):
    """The runs of a fit in words."""
    here = paper["validity"]
    return (
        f"P {_span(here['parameters'])}, V {_several(here['vocab_size'])}, S "
        f"{_several(here['seq_len'])}, "
        f"{_several(here['precision'])}, at most {_short(here['tokens'][1])} tokens per run"
    )


def _budget(fit):
    """How many times more tokens per run the published study trained on than the longest run
    here."""
    return THERE.setting["tokens"] / fit["validity"]["tokens"][1]


def _notes(fit):
    """What a reader must know before quoting the number; the runs concerned by name."""
    dropped = {kind: entry["runs"] for kind, entry in fit["dropped"].items()}
    notes = []
    for kind, text in (
        ("missing", "missing, so the law has holes"),
        ("failed", "failed, see the error in runs.csv"),
        ("unlearned", "finished without positive bits; they are not in the law"),
        ("underfilled", "under-filled: all their data fitted, so they are lower bounds, not data"),
        (
            "corner",
            f"near the corner (ceiling / bits < {CORNER}): read low there, so lower bounds too",
        ),
    ):
        if dropped[kind]:
            notes.append(f"{_runs(dropped[kind])} {text}: {_ids(dropped[kind])}")
    if fit["rising"]:
        notes.append(
            f"{_runs(fit['rising'])} gained over {RISING:.0%} in the last tenth of training (or "
            f"left no trace "
            f"of it) and may not be at capacity; flagged r, not removed: {_ids(fit['rising'])}"
        )
    if fit["near_corner"]:
        notes.append(
            f"{_runs(fit['near_corner'])} in the law with ceiling / bits < {STRICT_CORNER}, where "
            f"the corner "
            f"can still lower bits by several percent: {_ids(fit['near_corner'])}"
        )
    if fit["above_ceiling"]:
        notes.append(
            f"{_runs(fit['above_ceiling'])} above what the data can give; look for repeated "
            f"sequences or a "
            f"wrong count: {_ids(fit['above_ceiling'])}"
        )
    for bound in fit.get("bounds_above_line", []):
        notes.append(
            f"{bound['label']}, seed {bound['seed']}: a lower bound {bound['percent']:.1f}% above "
            f"the law"
        )
    notes.append(
        "A small gain at the end proves little once the learning rate has decayed; a doubled "
        "budget does."
    )
    tiny = ", and the budget here is tiny compared with the paper's" if _budget(fit) > 10 else ""
    notes.append(
        "Gradient descent finds a lower bound on capacity: longer or better tuned training can "
        "raise these "
        f"numbers{tiny}."
    )
    return [line for note in notes for line in _wrap(note, "  - ", "    ")]


def _runs(ids):
    return f"{len(ids)} run{'s' * (len(ids) != 1)}"


def _ids(ids, most=6):
    more = f" and {len(ids) - most} more (runs.csv)" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def _short(x):
    step = next((i for i in (9, 6, 3) if x >= 10**i), 0)
    return f"{x / 10**step:.3g}{ {0: '', 3: 'k', 6: 'M', 9: 'G'}[step] }"


def _span(ends):
    return f"{_short(ends[0])} to {_short(ends[1])}"


def _several(values):
    return "/".join(str(v) for v in values)


def _digits(x):
    """Four significant digits, thousands separated: enough to read, the exact value is in
    fit.json."""
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:#.4g}"
