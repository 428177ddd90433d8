"""Fitted forms of a study of text as rows of its document."""

from __future__ import annotations

from capacity.analysis import lack_of_fit
from capacity.analysis.document import Interval, Law, Number
from capacity.analysis.text import canaries, crossing, forgetting_law, random_capacity
from capacity.analysis.text import membership_law as membership
from capacity.analysis.text.schema import (
    Canaries,
    CanaryLaw,
    Descent,
    Estimate,
    Forgetting,
    LevelLine,
    MembershipLaw,
    Memory,
    NoLaw,
    PowerLaw,
)
from capacity.analysis.text.tables import KINDS, measured
from capacity.base.words import digits, percent, plural

INTERVALS = {  # of which laws -> how
    "membership": "constants by profile likelihood, runs as replicates; t by the sources that are "
    "named (restricted maximum likelihood, Student's t)",
    "peaks": "seeds resampled within sizes of the data",
    "canaries": "Student's t; a model, a canary (the same ones are in all models) and a cell of "
    "equal size, passes and level each share noise",
    "forgetting": "scatter of curves and runs about the law, besides the noise of canaries "
    "(restricted maximum likelihood, Student's t)",
}


def note(numbers: Memory) -> str:
    """How the intervals of a study's laws were made."""
    has = {
        "membership": any("reason" not in law for law in numbers["laws"].values()),
        "peaks": bool(numbers["descent"]),
        "canaries": numbers["canaries"] is not None and numbers["forgetting"] is None,
        "forgetting": numbers["forgetting"] is not None,
    }
    parts = [f"{name}: {how}" for name, how in INTERVALS.items() if has[name]]
    return f"95% intervals of {'; of '.join(parts)}." if parts else ""


def laws(numbers: Memory) -> list[Law]:
    """All fitted forms, membership first."""
    fitted = []
    if numbers["targets"]:
        fitted += [
            _membership(numbers["laws"][key], f"{words} of the loss attack")
            for key, words in (("f1_median", "F1"), ("auc", "AUC"))
        ]
    if (other := numbers["logarithmic"]) is not None:
        compared = comparison(numbers["forms"] or [])
        fitted.append(_membership(other, "F1, a sigmoid in log t", "not published", compared))
    fitted += [_descent(model, one) for model, one in numbers["descent"].items()]
    if numbers["canaries"] is not None and numbers["forgetting"] is None:
        fitted += _canaries(numbers["canaries"])
    if numbers["forgetting"] is not None:
        fitted += _forgetting(numbers["forgetting"])
    return fitted


def comparison(rows: list[dict]) -> str:
    """Rows of `membership_law.compared` in words."""
    errors = ", ".join(
        f"{digits(row['held_out']['rms'])} of {membership.WORDS[row['form']]}"
        for row in rows
        if row["held_out"]["rms"] is not None
    )
    worse = next((row for row in rows if row["aicc_difference"]), None)
    parts = [f"rms error on sizes of the data left out in turn: {errors}"] if errors else []
    if worse is not None:
        name = membership.WORDS[worse["form"]]
        parts.append(f"AICc of {name} is {digits(worse['aicc_difference'])} higher")
    return "; ".join(parts)


def _membership(law: MembershipLaw | NoLaw, name: str, *more: str) -> Law:
    if "reason" in law:
        return Law(name, reason=law["reason"])
    numbers = [
        Number(c, value, "", [Interval("over runs", ends, _unbounded(ends), True)])
        for c, value in zip(membership.CONSTANTS, membership.constants_of(law), strict=True)
        for ends in [law["intervals"][c]]
    ]
    for level, at in law["falls_to"].items():
        if at["t"] is not None:
            over = f"over {crossing.words(at['sources'])}"
            wide = Interval(over, at["interval"], _unbounded(at["interval"]), True)
            narrow = Interval("over runs", at["over_runs"], _unbounded(at["over_runs"]))
            numbers.append(Number(f"t at {level}", at["t"], "tokens per parameter", [wide, narrow]))
    remarks = [*filter(None, more), f"rms error {digits(law['rmse'])} over {law['points']} runs"]
    remarks.append(lack_of_fit.told(law["lack_of_fit"], "trainings of equal data"))
    if (at := law["falls_to"]["0.75"])["scatter"]:
        parts = ", ".join(f"{crossing.WORDS[k]} {percent(v)}" for k, v in at["scatter"].items())
        remarks.append(
            f"standard deviation of t at 0.75 by source: {parts}; Student's t of "
            f"{digits(at['dof'])} degrees of freedom"
        )
    remarks += law.get("bounds", [])
    return Law(name, law["form"] + ", t tokens per parameter", numbers, remarks)


def _unbounded(ends: object) -> str:
    return "" if ends else "the runs do not bound it"


def _estimate(symbol: str, number: Estimate, unit: str, over: str, reason: str) -> Number:
    ends = number["interval"]
    return Number(
        symbol, number["value"], unit, [Interval(over, ends, "" if ends else reason, True)]
    )


def _descent(model: str, one: Descent) -> Law:
    most = "memorized at least" if one["at_edge"] else "memorized at most"
    asked = [(most, one["alpha"], "bits per parameter")]
    remarks = []
    if one["clear"]:
        asked += [
            ("peak of the held-out loss", one["peak"], "data bits per parameter"),
            ("peak / memorized at most", one["peak_over_capacity"], ""),
        ]
        if over := one.get("peak_over_random"):
            asked.append(("peak / capacity of random data", over, ""))
    else:
        remarks.append(
            "no peak of the held-out loss: its highest value does not stand clear of both sides"
        )
    if one.get("left_out"):
        remarks.append(
            f"{most}: each seed read where the others memorized most; the largest mean "
            f"over sizes is {digits(one.get('most'))}, too high by the noise that chose it"
        )
    elif "left_out" in one:
        remarks.append(f"{most}: the largest of all sizes, too high by what noise chose")
    if one["at_edge"]:
        remarks.append(
            "the most was memorized at the smallest or largest size tried: a lower bound"
        )
    if (random := one.get("random")) is not None:
        remarks.append(
            f"capacity of random data: {measured(random['alpha'])} bits per parameter "
            f"({random_capacity.words(random)})"
        )
    return Law(
        f"memorized and generalised bits, {model}",
        "parabola through the highest loss and its neighbours",
        [_estimate(symbol, n, unit, "over seeds", "one seed") for symbol, n, unit in asked],
        remarks,
    )


def _canaries(numbers: Canaries) -> list[Law]:
    out = []
    for name, law in canaries.laws_of(numbers).items():
        form = canaries.FORMS[name]
        if "reason" in law:
            out.append(Law(f"canaries, {name}", form, reason=law["reason"]))
            continue
        asked = [(letter, law[letter]) for letter in canaries.LETTERS if letter in law]
        out.append(
            Law(
                f"canaries, {name}",
                form,
                [
                    _estimate(
                        letter, n, "", "over runs and canaries", "these runs do not determine it"
                    )
                    for letter, n in asked
                ],
                _of_canaries(
                    law, numbers["lines"]["exposure" if name == "exposure" else "extracted"]
                ),
            )
        )
    return out


def _of_canaries(law: CanaryLaw, line: LevelLine) -> list[str]:
    """What a law of canaries rests on, what is censored, whether it fits, and what the line through
    level means that was quoted before gives."""
    out = [f"{law['canaries']} canaries in {law['runs']} runs of {plural(law['sizes'], 'size')}"]
    if "censored" in law:
        at = law["censored"]
        out.append(
            f"censored: {at['below']:,} at {digits(at['low'])} bits or less, which one in a "
            f"hundred reaches by chance, {at['above']:,} at the ceiling of {digits(at['high'])}; "
            f"{at['between']:,} between"
        )
    if "sigma" in law:
        out.append(f"a canary scatters by {digits(law['sigma'])} bits about the line")
    out += _misfit(law)
    if line["b"] is not None:
        size = "" if line["c"] is None else f" and {digits(line['c'])} by size"
        out.append(
            f"no law: a line through the {line['levels']} of {line['of']} level means between the "
            f"ends has slopes of {digits(line['b'])} by views{size} "
            f"({plural(line['sizes'], 'size')}), too flat, because it leaves levels out by their "
            "outcome"
        )
    return out


def _misfit(law: CanaryLaw) -> list[str]:
    """What says that a law is not the whole of it."""
    out, p = [], law["lack_of_fit"]
    if p is not None:
        words = {"bend": "bent in views or size", "passes": "moved by passes at equal views"}
        departures = [
            f"{words[key]}: p = {value:.2g}"
            for key, value in (("bend", p["bend"]), ("passes", p["passes"]))
            if value is not None
        ]
        if departures:
            either = p.get("any")
            both = (
                f"; either: p = {either:.2g}" if len(departures) > 1 and either is not None else ""
            )
            out.append(f"lack of fit: {', '.join(departures)}{both}")
    other = [row for row in law.get("other_limits", []) if row["b"] is not None]
    if other:
        slopes = [
            f"{digits(row['b'])}" + ("" if row["c"] is None else f" and {digits(row['c'])}")
            for row in other
        ]
        limits = ", ".join(digits(row["low"]) for row in other)
        out.append(f"slopes with the lower limit at {limits} bits: {'; '.join(slopes)}")
    return out


def _forgetting(forgetting_numbers: Forgetting) -> list[Law]:
    out = []
    for words, by_kind in (
        ("bits at first", forgetting_numbers["first_bits"]),
        ("half-life", forgetting_numbers["half_life"]),
    ):
        for kind, law in by_kind.items():
            name = f"{words}, {KINDS[kind]}"
            if "reason" in law:
                out.append(Law(name, reason=law["reason"]))
                continue
            over = f"over {' and '.join(law['scatter']) or 'canaries'}"
            numbers = [
                Number(
                    f"exponent of {axis}",
                    exponent["exponent"],
                    "",
                    [Interval(over, exponent["interval"], "", True)],
                )
                for axis, exponent in forgetting_law.exponents(law).items()
            ]
            out.append(Law(name, "product of powers", numbers, _remarks(law)))
    return out


def _remarks(law: PowerLaw) -> list[str]:
    """How well a law of forgetting fits, and on what its intervals rest."""
    fit = law["lack_of_fit"]
    bounds = f", {law['bounds']} of them lower bounds" if law["bounds"] else ""
    scatter = " and ".join(f"{digits(sd)} of {name}" for name, sd in law["scatter"].items())
    rest = ", ".join(
        f"{digits(exponent['dof'])} ({axis})"
        for axis, exponent in forgetting_law.exponents(law).items()
    )
    return [
        f"{law['curves']} curves{bounds}",
        f"scatter about it, in octaves: {scatter}",
        f"lack of fit by the noise of canaries alone: chi2 {digits(fit['chi2'])} for {fit['dof']} "
        f"degrees of freedom, p = {digits(fit['p'])}",
        f"degrees of freedom of Student's t: {rest}",
    ]
