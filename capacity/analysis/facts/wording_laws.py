"""What a study of facts says of its laws over exposures, in words."""

from __future__ import annotations

from capacity.analysis import lack_of_fit
from capacity.analysis.document import Interval, Law, Number
from capacity.analysis.facts import exposures
from capacity.analysis.facts.schema import ExposureLaw, Fit, LawRatio
from capacity.analysis.thresholds import DATA_CEILING
from capacity.base.words import digits, ends, joined, percent
from capacity.fitting.misfit import POINTS
from capacity.naming import listed

FORMULAS = {
    "exponential": "R = R_inf (1 - exp(-(E/E0)^b))",
    "power": "R = R_inf (1 - (1 + E/E0)^-b)",
}


def plateaus(fit: Fit) -> list[str]:
    """Where each law ends, and when it is reached; a sentence each."""
    out = []
    for law in fit["exposure_laws"]:
        if law["reason"]:
            continue
        r_inf, e95 = law["r_inf"], law["e95"]
        reached = "these runs do not determine when it is reached"
        if exposures.determined(e95["interval"]):
            reached = f"95% of it after {digits(e95['value'])} {ends(e95['interval'])} exposures"
            reached += "" if law["plateau_reached"] else ", an extrapolation"
        interval = f", 95% {ends(r_inf['interval'])}" if r_inf["interval"] else " (no interval)"
        ceiling = ""
        if law["data_limited"]:
            share = percent(r_inf["value"] / law["r_max"])
            ceiling = f", which is the data's ceiling ({share} of R^max)"
        off = ""
        if lack_of_fit.shown(fit_of := law.get("lack_of_fit")):
            off = f"; the law {lack_of_fit.told(fit_of, 'runs of equal exposures')}, and so its "
            off += "intervals are over exposures, too"
        out.append(
            f"{_name(law)}: the plateau is R = **{digits(r_inf['value'])}** bits per parameter"
            f"{interval}{ceiling}; {reached}{off}."
        )
    return out


def law_ratios(fit: Fit) -> list[str]:
    """Whether one law reaches its plateau after more exposures than another, with what limits the
    answer."""
    out = []
    for ratio in fit["law_ratios"]:
        if ratio["value"] is None:
            continue
        verdict = {"more": "more exposures", "less": "fewer exposures"}.get(
            ratio["shown"] or "", "no difference shown"
        )
        interval = f", 95% {ends(ratio['interval'])}" if ratio["interval"] else " (no interval)"
        text = f"{ratio['what']} of {ratio['above']} / {ratio['below']} ({ratio['model']}): "
        text += f"**{digits(ratio['value'])}**{interval}: **{verdict}**"
        out.append("; ".join([text, *_limits(ratio, fit)]) + ".")
    return out


def _limits(ratio: LawRatio, fit: Fit) -> list[str]:
    out = []
    if any(ratio["data_limited"]):
        shares = " and ".join(percent(x) for x in ratio["r_inf_of_r_max"])
        out.append(
            f"the plateau is the data's ceiling (R_inf is {shares} of R^max), so what is timed is "
            "the end of the data"
        )
    if len(set(ratio["forms"])) > 1:
        out.append(f"by two forms ({' and '.join(ratio['forms'])})")
    if settings := fit["best_over"]["settings"]:
        out.append(f"each point is the best over {joined(settings)}, chosen by its own R")
    return out


def _name(law: ExposureLaw) -> str:
    return listed([law["model"], law["series"]])


def exposure_law(law: ExposureLaw) -> Law:
    """A law with its numbers, intervals and remarks."""
    name = f"R against exposures: {_name(law)}"
    if law["reason"]:
        return Law(name, reason=law["reason"])
    shown = [
        ("R_inf", law["r_inf"], "bits per parameter"),
        ("E0", law["e0"], "exposures"),
        ("b", law["b"], "exponent"),
    ]
    determined = exposures.determined(law["e95"]["interval"])
    if determined:
        shown.append(("E95", law["e95"], "exposures to 95% of R_inf"))
    over = lack_of_fit.over(law.get("scatter", {}), "runs", "runs")
    numbers = [
        Number(
            symbol,
            estimate["value"],
            unit,
            [Interval(over, estimate["interval"], "these runs do not determine it", True)],
        )
        for symbol, estimate, unit in shown
    ]
    other, last = law["other"], law["exposures"][1]
    remarks = [
        f"rms {digits(law['rms'], 2)}, R^max {digits(law['r_max'])}; the {other['form']} form puts "
        f"E95 at {digits(other['e95'])} (rms {digits(other['rms'], 2)})"
    ]
    remarks += _misfit(law)
    remarks += law.get("bounds", [])
    if not determined:
        remarks.append("these runs do not determine E95, the exposures to 95% of R_inf")
    if law["data_limited"]:
        share = f"R_inf is over {DATA_CEILING:.0%} of R^max"
        remarks.append(f"the plateau is the data's ceiling, not the model's: {share}")
    elif not law["plateau_reached"]:
        remarks.append(
            f"the plateau is not reached: runs end at {digits(last)} exposures, so R_inf and E95 "
            "are extrapolated"
        )
    return Law(name, FORMULAS[law["form"]], numbers, remarks)


def _misfit(law: ExposureLaw) -> list[str]:
    """Whether the law fits, and about what its intervals are."""
    if "lack_of_fit" not in law:  # a file of before
        return []
    remarks = [lack_of_fit.told(law["lack_of_fit"], "runs of equal exposures")]
    if exposures.PLACES in law["scatter"]:
        sd = law["scatter"]
        remarks.append(
            f"what exposures have in common scatters about the law by "
            f"{digits(sd[exposures.PLACES], 2)} bits per parameter, beside {digits(sd[POINTS], 2)} "
            "of runs: intervals hold both"
        )
    return remarks
