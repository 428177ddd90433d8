"""What the page says of studies of precision: their fit (`Outcome.fit`) in words. Nothing is
computed here that the fit does not state."""

from __future__ import annotations

from capacity.analysis.precision.bit_widths import LADDERS, TRAINED
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.report.parts import (
    FAILED,
    MISSING,
    P_TOTAL,
    RISING_MEANS,
    Flag,
    Interval,
    Law,
    Number,
    View,
)
from capacity.report.views import at_scale, judged

ANSWERED = (
    ("gptq", "int8"),
    ("gptq", "int4"),
    ("qat", "int4"),
    ("trained", "bf16"),
)  # rungs that the answer names, where the study has them


def of_precision(fit: dict) -> View:
    """The words of a study of precision that has been judged."""
    kept = {(row["way"], row["rung"]): row for row in fit["kept"]}
    most = {(row["way"], row["rung"]): row for row in fit["capacity"]}
    answers, part = [], fit["fp32_of_data"]
    full = part is None or part["high"] < 1 / CORNER
    models = "full models" if full else "models at the largest data"
    for way, rung in ANSWERED:
        words = f"{rung}, {LADDERS[way]}" if way in LADDERS else f"trained in {TRAINED[rung]}"
        if row := kept.get((way, rung)):
            held = most.get((way, rung))
            more = (
                f"; the most held there is {held['capacity']:.2f} bits per "
                f"parameter{_ends(held, 1, 2)}"
                if held and full
                else ""
            )
            below = ", worse than a code of equal lengths" if row["kept"] < 0 else ""
            answers.append(
                f"{words[:1].upper()}{words[1:]}: {models} keep **{100 * row['kept']:.1f}%** of "
                f"fp32's bits{_ends(row, 100, 1)}{below}{more}."
            )
    if fit["capacity"]:
        best, second = (
            sorted(fit["capacity"], key=lambda row: -row["per_stored_bit"])[:2]
            if len(fit["capacity"]) > 1
            else (fit["capacity"][0], None)
        )
        answers.append(
            f"Most bits held per stored bit: **{best['per_stored_bit']:.3g}**, by "
            f"{LADDERS.get(best['way'], best['way'])}, {best['rung']} "
            f"({best['stored']:.2f} stored bits per weight, scales included)"
            + (
                f"; next {second['per_stored_bit']:.3g}, by "
                f"{LADDERS.get(second['way'], second['way'])}, {second['rung']}"
                if second
                else ""
            )
            + ". No interval."
        )
    if part:
        answers.append(
            f"At the study's largest data fp32 models hold {part['low']:.0%} ({part['low_at']}) to "
            f"{part['high']:.0%} ({part['high_at']}) of it"
            + (
                "."
                if full
                else ': where nearly all is held the data, not the model, set the bits, and "kept" '
                "is not that of a full model."
            )
        )
    laws = [
        _law(f"{words}, {LADDERS.get(way, way)}", both[question])
        for question, words in (("kept", "kept by full models"), ("capacity", "capacity"))
        for way, both in fit["laws"].items()
    ]
    flags = [
        Flag("unconverged", f"{RISING_MEANS}; flagged, not removed", fit["run_ids"]["rising"]),
        Flag(
            "under-filled",
            f"holds over {DATA_LIMITED:.0%} of its data: a lower bound of what it could hold",
            fit["run_ids"]["under_filled"],
        ),
        Flag(*FAILED, fit["run_ids"]["failed"]),
        Flag(*MISSING, fit["run_ids"]["missing"]),
        Flag(
            "not-quantized",
            "finished, but without the rows of quantization that its settings ask for",
            fit["run_ids"]["without_rows"],
        ),
    ]
    c = fit["conventions"]
    return View(
        answers,
        laws,
        judged(fit["verdicts"]),
        at_scale(fit["verdicts"]) if fit["verdicts"] else "nothing published to compare",
        flags,
        [
            ("bits", c["bits"]),
            P_TOTAL,
            ("kept", c["kept"]),
            ("capacity", c["capacity"]),
            ("stored bits", c["stored"]),
            ("intervals", c["intervals"]),
        ],
        fit["notes"],
    )


def _ends(row: dict, times: float, digits: int) -> str:
    if row["low"] is None:
        return " (one shape, no interval)"
    return f", 95% [{times * row['low']:.{digits}f}, {times * row['high']:.{digits}f}] over shapes"


def _law(name: str, law: dict) -> Law:
    if law["reason"] or law["preferred"] is None:
        return Law(name, reason=law["reason"] or "no form could be fitted")
    told = law["forms"][law["preferred"]]
    numbers = []
    for key, entry in told["parameters"].items():
        ends = (
            None if entry["low"] is None or entry["high"] is None else [entry["low"], entry["high"]]
        )
        numbers.append(
            Number(
                key,
                entry["value"],
                entry["unit"],
                [
                    Interval(
                        "over shapes", ends, entry["reason"] or "open on one side", not law["poor"]
                    )
                ],
            )
        )
    others = ", ".join(
        f"{form['formula'].removeprefix('R = ')} {form['held_out']:.3f}"
        for key, form in law["forms"].items()
        if key != law["preferred"] and not form["reason"]
    )
    return Law(
        name,
        told["formula"],
        numbers,
        [
            *["no form fits; this is the least bad one"] * law["poor"],
            f"R as a part of fp32's, b = bits of a code; rms error of rungs left out "
            f"{told['held_out']:.3f} (others: {others})",
            *told["warnings"],
        ],
    )
