"""What the page says of studies of precision: their fit (`Outcome.fit`) in words. Nothing is computed here that the fit does not state."""

from __future__ import annotations

from capacity.laws.precision import LADDERS, TRAINED
from capacity.report.parts import FAILED, MISSING, P_TOTAL, Flag, Interval, Law, Number, View
from capacity.report.views import at_scale, judged

ANSWERED = (("gptq", "int8"), ("gptq", "int4"), ("qat", "int4"), ("trained", "bf16"))  # rungs that the answer names, where the study has them


def of_precision(fit: dict) -> View:
    """The words of a study of precision that has been judged."""
    kept = {(row["way"], row["rung"]): row for row in fit["kept"]}
    most = {(row["way"], row["rung"]): row for row in fit["capacity"]}
    answers = []
    for way, rung in ANSWERED:
        words = f"{rung}, {LADDERS[way]}" if way in LADDERS else f"trained in {TRAINED[rung]}"
        if row := kept.get((way, rung)):
            held = most.get((way, rung))
            more = f"; the most that a shape holds there is {held['capacity']:.2f} bits per parameter{_ends(held, 1, 2)}" if held else ""
            answers.append(f"{words}: full models keep **{100 * row['kept']:.1f}%** of fp32{_ends(row, 100, 1)}{more}.")
    if fit["capacity"]:
        best = max(fit["capacity"], key=lambda row: row["per_stored_bit"])
        answers.append(f"Most bits held per stored bit: **{best['per_stored_bit']:.2f}**, by {LADDERS.get(best['way'], best['way'])}, {best['rung']} "
                       f"({best['stored']:.2f} stored bits per weight, scales included).")
    laws = [_law(f"{words}, {LADDERS.get(way, way)}", both[question]) for question, words in (("kept", "kept by full models"), ("capacity", "capacity"))
            for way, both in fit["laws"].items()]
    flags = [Flag(*FAILED, fit["run_ids"]["failed"]), Flag(*MISSING, fit["run_ids"]["missing"]), Flag(
        "not-quantized", "finished, but without the rows of quantization that its settings ask for", fit["run_ids"]["without_rows"])]
    c = fit["conventions"]
    return View(answers, laws, judged(fit["verdicts"]), at_scale(fit["verdicts"]) if fit["verdicts"] else "nothing published to compare", flags, [
        ("bits", c["bits"]), P_TOTAL, ("kept", c["kept"]), ("capacity", c["capacity"]), ("stored bits", c["stored"]), ("intervals", c["intervals"])], fit["notes"])


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
        ends = None if entry["low"] is None or entry["high"] is None else [entry["low"], entry["high"]]
        numbers.append(Number(key, entry["value"], entry["unit"], [Interval("over shapes", ends, entry["reason"] or "open on one side", True)]))
    others = ", ".join(f"{form['formula'].removeprefix('R = ')} {form['held_out']:.3f}" for key, form in law["forms"].items()
                       if key != law["preferred"] and not form["reason"])
    return Law(name, told["formula"], numbers, [f"R as a part of fp32's, b = bits of a code; rms error of rungs left out {told['held_out']:.3f} (others: {others})",
                                                *told["warnings"]])
