"""What a study over vocabularies or lengths found, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from capacity.analysis import published_rows
from capacity.analysis.ablation.analysis import BOTH, VARIED
from capacity.analysis.document import (
    FAILED,
    MISSING,
    P_TOTAL,
    RESIDUAL,
    RISING_MEANS,
    Document,
    Flag,
    Interval,
    Law,
    Laws,
    Number,
    Section,
    Text,
)
from capacity.analysis.finding import Finding
from capacity.analysis.random.wording import DECAYED, P_PAPER, PAPER, STRICT
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, joined, plural, span
from capacity.published import values as published

SHARP = 12.0  # k of a corner so sharp that no row reads low near it
CAPTIONS = {
    "ablation_strict": "One alpha for all, strict bits",
    "ablation_paper": "One alpha for all, the paper's bits",
}
NAMES = {"vocab_size": ("vocabulary", "vocabularies"), "seq_len": ("length", "lengths")}


def document(finding: Finding) -> Document:
    """The document of a study over vocabularies or lengths; finding: of `analysis.analyse`."""
    fit = finding.numbers
    what = joined([f"{NAMES[column][0]} {VARIED[column]}" for column in fit["varied"]])
    sections = [
        Section(
            f"fits-{bits}",
            f"{bits} bits, {p} parameters",
            [*_rows(fit[bits]), Laws(_laws(fit[bits]))],
        )
        for bits, p in BOTH
    ]
    return Document(
        f"Ablation of {fit['study']}: {what}",
        _answers(fit),
        [*sections, _published(fit)],
        _flags(finding),
        _notes(fit),
        [
            STRICT,
            P_TOTAL,
            ("interval over cells", "95%, leaving out one cell (all seeds of one V and S) in turn"),
            PAPER,
            P_PAPER,
            RESIDUAL,
        ],
        CAPTIONS,
        [f"{fit['finished']} of {fit['runs']} runs finished; a row is the mean over seeds."],
    )


def _answers(fit: Mapping[str, Any]) -> list[str]:
    part = fit["strict"]
    if part["reason"]:
        return [f"**No law from these runs:** {part['reason']}."]
    hard, smooth, cells = part["hard"], part["smooth"], len(part["cells"])
    over = f" (no interval: {hard['interval_reason']})"
    if hard["interval"]:
        over = f", 95% {ends(hard['interval'], 4)} over cells"
    limited, error = part["limited_by_capacity"], hard["mean_absolute_error_limited_percent"]
    of_them = ""
    if error is not None and limited < cells:
        those = "one that is capacity-limited, which alone tests"
        if limited > 1:
            those = f"{limited} that are capacity-limited, which alone test"
        of_them = f"; the {those} alpha, within **{error:.1f}%**"
    answers = [
        f"One alpha of **{digits(hard['alpha'], 4)} bits per parameter**{over}, fitted to them, "
        f"predicts the bits of {_cells(fit)} within {hard['mean_absolute_error_percent']:.1f}% on "
        f"average{of_them} (strict bits, total parameters; min(alpha P, ceiling))."
    ]
    if not smooth["reason"]:
        answers.append(
            f"With a smooth corner: {digits(smooth['alpha'], 4)} bits per parameter, mean error "
            f"{smooth['mean_absolute_error_percent']:.1f}%."
        )
    return answers


def _cells(fit: Mapping[str, Any]) -> str:
    """How many cells there are, by what they differ in."""
    cells = fit["strict"]["cells"]
    names = [NAMES[column] for column in fit["varied"]]
    if len(names) == 1 and len({row[fit["varied"][0]] for row in cells}) == len(cells):
        return plural(len(cells), *names[0])
    return f"{plural(len(cells), 'cell')} of several {joined([many for _, many in names])}"


def _rows(part: Mapping[str, Any]) -> list[Table]:
    names = ("V", "S", "N", "P", "measured", "min()", "error", "smooth", "error", "")
    columns = [Column(name) for name in names]
    rows: list[list[str]] = []
    if part["reason"]:
        return []
    hard, smooth = part["hard"], part["smooth"]
    models = list(dict.fromkeys(row["model"] for row in part["cells"]))
    for model in models:
        rows += [[model]] if len(models) > 1 else []
        for i, row in enumerate(part["cells"]):
            if row["model"] != model:
                continue
            soft = ["–", "–"]
            if not smooth["reason"]:
                soft = [count(smooth["expected"][i]), f"{smooth['error_percent'][i]:+.1f}%"]
            data_limited = hard["alpha"] * row["parameters"] >= row["ceiling"]
            rows.append(
                [
                    str(row["vocab_size"]),
                    str(row["seq_len"]),
                    str(row["n_sequences"]),
                    digits(row["parameters"]),
                    count(row["bits"]),
                    count(hard["expected"][i]),
                    f"{hard['error_percent'][i]:+.1f}%",
                    *soft,
                    "d" if data_limited else "",
                ]
            )
    return [Table(columns, rows, key="error: fitted / measured - 1; d: data-limited")]


def _laws(part: Mapping[str, Any]) -> list[Law]:
    if part["reason"]:
        return [Law("one alpha", reason=part["reason"])]
    laws, cells = [], len(part["cells"])
    for name, form in (("min(alpha P, ceiling)", part["hard"]), ("smooth corner", part["smooth"])):
        if form.get("reason"):
            laws.append(Law(name, reason=form["reason"]))
            continue
        over = Interval(
            "over cells (jackknife)", form["interval"], form["interval_reason"] or "", True
        )
        remarks = [
            f"mean absolute error {form['mean_absolute_error_percent']:.1f}% over {cells} cells"
        ]
        if form.get("mean_absolute_error_limited_percent") is not None:
            remarks.append(
                f"{form['mean_absolute_error_limited_percent']:.1f}% over the "
                f"{part['limited_by_capacity']} that are capacity-limited"
            )
        if "k" in form:
            remarks.append(
                f"k {form['k']:.2g}" if form["k_determined"] else "these runs do not determine k"
            )
        number = Number("alpha", form["alpha"], "bits per parameter", [over])
        laws.append(Law(name, name, [number], remarks))
    return laws


def _published(fit: Mapping[str, Any]) -> Section:
    here = fit["paper"]["as_printed"]
    p = [row["parameters"] for row in fit["paper"]["cells"]]
    section = published_rows.section(
        fit["verdicts"],
        f"P {span(min(p), max(p))}",
        title="Beside Morris et al. (arXiv 2505.24832 v3, appendix A.1): paper bits",
    )
    if here["reason"]:
        return section
    stated = published.get("morris/alpha_stated")
    errors = [
        f"{published.get(f'morris/error_{column}').value}% over {VARIED[column]}"
        for column in fit["varied"]
    ]
    less = (stated.setting or {})["tokens"] / fit["tokens"]
    more = f", {less:,.0f} times the tokens of training" if less > 1 else ""
    setting = stated.setting
    note = Text(
        f"min(alpha P, data bits), as there: here alpha {digits(here['hard']['alpha'], 4)}, mean "
        f"absolute error {here['hard']['mean_absolute_error_percent']:.1f}%; published "
        f"{joined(errors)}, alpha {stated.value} stated, "
        f"{published.get('morris/alpha_of_rows').value} by its own predictions. Theirs: N "
        f"{setting['n_sequences']}, {setting['model']}, V 2048 or S 64{more}."
    )
    return Section(section.id, section.title, [note, *section.blocks])


def _flags(finding: Finding) -> list[Flag]:
    fit, runs = finding.numbers, finding.tables["runs.csv"]
    left = fit["left_out"]

    def of(kind: str) -> list[str]:
        return sorted(runs.run_id[runs.class_strict == kind])

    return [
        Flag(*FAILED, left["failed"]),
        Flag(*MISSING, left["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; flagged, not removed. {DECAYED}", fit["rising"]),
        Flag(
            "data-limited",
            f"holds over {DATA_LIMITED:.0%} of its data: limited by its data, not by capacity",
            of("data_limited"),
        ),
        Flag(
            "corner",
            f"ceiling / bits < {CORNER}, in the rounded corner: holds less than min(alpha P, H)",
            of("corner"),
        ),
        Flag("unlearned", "finished without positive bits and not in the fit", left["unlearned"]),
    ]


def _notes(fit: Mapping[str, Any]) -> list[str]:
    """What the corner does, where these runs show one, and how intervals are made."""
    rounded = any(
        not part["reason"]
        and not part["smooth"]["reason"]
        and part["smooth"]["k_determined"]
        and part["smooth"]["k"] < SHARP
        for part in (fit[bits] for bits, _ in BOTH)
    )
    corner = (
        "min() has a sharp corner, these models do not: rows near the corner hold less and pull "
        "its alpha down; the smooth form allows for that."
    )
    return [corner] * rounded + ["Intervals are jackknives over rows."]
