"""What a study over budgets found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from capacity.analysis import lack_of_fit, published_rows
from capacity.analysis.budget.analysis import BOTH, FEWEST_BUDGETS, fitted
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
)
from capacity.analysis.facts.exposures import CONSTANTS, FEWEST_DOF, determined
from capacity.analysis.facts.wording_laws import FORMULAS
from capacity.analysis.finding import Finding
from capacity.analysis.random.wording import DECAYED, P_PAPER, PAPER, STRICT
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, percent, plural
from capacity.naming import listed

KNOWN = 0.02  # half an interval over its value, above which an answer says that budgets are too few
SETTINGS = {
    "vocab_size": "V {}",
    "seq_len": "S {}",
    "n_sequences": "N {:,}",
    "precision": "{}",
    "batch_size": "batch {}",
    "lr": "lr {:g}",
}
CAPTIONS = {"budget": "Strict bits per parameter after each budget, and where they end"}


def named(cell: Mapping[str, Any], varied: Sequence[str]) -> str:
    """A model by what it differs in from the others of its study."""
    differs = [text.format(cell[key]) for key, text in SETTINGS.items() if key in varied]
    return listed([cell["model"], *differs])


def document(finding: Finding) -> Document:
    """The document of a study over budgets; finding: of `analysis.analyse`."""
    fit = finding.numbers
    sections = [
        Section(
            f"fits-{bits}",
            f"{bits} bits, {p} parameters",
            [_table(fit, bits), Laws([_law(cell, fit["varied"]) for cell in fit[bits]["cells"]])],
        )
        for bits, p in BOTH
    ]
    if fit["verdicts"]:
        sections.append(published_rows.section(fit["verdicts"]))
    return Document(
        f"Budgets of {fit['study']}",
        [_answer(cell, fit["varied"]) for cell in fit["strict"]["cells"]],
        sections,
        _flags(finding),
        [
            "A plateau is an extrapolation by a form that no paper states. Two are fitted; the "
            "interval holds both where the runs do not tell them apart.",
            "Every run is a training of its own with a schedule of its own length; a budget is not "
            "a point of one longer run.",
        ],
        [STRICT, P_TOTAL, PAPER, P_PAPER, RESIDUAL],
        CAPTIONS,
        [f"{fit['finished']} of {fit['runs']} runs finished; a row is the mean over seeds."],
    )


def _answer(cell: Mapping[str, Any], varied: Sequence[str]) -> str:
    last, law = cell["budgets"][-1], cell["law"]
    text = (
        f"{named(cell, varied)} holds **{digits(last['r'])} bits per parameter** after "
        f"{count(last['exposures'])} exposures (strict, mean of {plural(last['seeds'], 'seed')})"
    )
    if last["doubling"] is not None:
        gains = "gains" if last["doubling"] >= 0 else "loses"
        text += f", and {gains} {percent(abs(last['doubling']))} with the last doubling"
    if law["reason"]:
        return f"{text}; **no plateau from these budgets:** {law['reason']}."
    r_inf = law["r_inf"]
    if r_inf["interval"] is None:
        return f"{text}; these budgets do not determine the plateau of the law."
    text += f"; the plateau of the law is **{digits(r_inf['value'])}**, 95% "
    text += f"{ends(r_inf['interval'])}, known to {percent(law['known_to'], 0)}"
    if law["bounded_by_data"]:
        return f"{text}: its upper end is what the data hold, so these budgets do not bound it."
    if law["known_to"] > KNOWN:
        return f"{text}: longer runs are needed to know it to {percent(KNOWN, 0)}."
    return f"{text}."


def _table(fit: Mapping[str, Any], bits: str) -> Table:
    headings = ("exposures", "seeds", "bits/P", "sd", "per doubling", "law", "error")
    rows: list[list[str]] = []
    for cell in fit[bits]["cells"]:
        rows.append([f"{named(cell, fit['varied'])}, P {count(cell['p'])}"])
        rows += [_row(budget, cell["law"]) for budget in cell["budgets"]]
    return Table(
        [Column(heading) for heading in headings],
        rows,
        key="per doubling: relative gain since the budget above; error: fitted / measured - 1",
    )


def _row(budget: Mapping[str, Any], law: Mapping[str, Any]) -> list[str]:
    told = ["–", "–"]
    if not law["reason"]:
        value = float(fitted(law, budget["exposures"]))
        told = [digits(value), f"{100 * (value / budget['r'] - 1):+.1f}%"] if value else told
    gain = budget["doubling"]
    return [
        count(budget["exposures"]),
        str(budget["seeds"]),
        digits(budget["r"]),
        "–" if budget["sd"] is None else digits(budget["sd"], 2),
        "–" if gain is None else f"{100 * gain:+.1f}%",
        *told,
    ]


def _law(cell: Mapping[str, Any], varied: Sequence[str]) -> Law:
    law, name = cell["law"], named(cell, varied)
    if law["reason"]:
        return Law(name, reason=law["reason"])
    over = lack_of_fit.over(law["scatter"], "runs", "runs")
    numbers = [
        Number("R_inf", law["r_inf"]["value"], "bits per parameter", [_ends(law, "r_inf", over)]),
        Number("E95", law["e95"]["value"], "exposures", [_ends(law, "e95", over)]),
    ]
    other = law["other"]
    remarks = [
        f"{FORMULAS[other['form']]} would end at {digits(other['r_inf'])} "
        f"{ends(other['r_inf_interval'])}".rstrip()
        + f" (rms {digits(other['rms'], 2)} for {digits(law['rms'], 2)}); "
        + _forms(law),
        f"the data hold {digits(law['r_max'])} bits per parameter at most, and the runs of the "
        f"largest budget {digits(law['r_at_most'])} already",
        lack_of_fit.told(law["lack_of_fit"], "runs of equal exposures"),
        *law["bounds"],
    ]
    if law["unlearned"]:
        remarks.append(f"{plural(law['unlearned'], 'run')} without bits count with 0")
    return Law(name, FORMULAS[law["form"]], numbers, remarks)


def _forms(law: Mapping[str, Any]) -> str:
    if not law["forms_joined"]:
        return "the runs tell the forms apart"
    if law["dof"] < FEWEST_DOF:
        few = f"{plural(law['runs'], 'run')} for {CONSTANTS} constants cannot tell the forms apart"
        return f"{few}, so the interval holds both"
    return "the interval holds both"


def _ends(law: Mapping[str, Any], name: str, over: str) -> Interval:
    found = law[name]["interval"]
    if name == "e95" and not determined(found):
        found = None
    return Interval(over, found, "" if found else "these budgets do not determine it", True)


def _flags(finding: Finding) -> list[Flag]:
    fit, runs = finding.numbers, finding.tables["runs.csv"]
    nothing = sorted(runs.run_id[runs.class_strict == "unlearned"])
    fewer = [
        cell["model"] for cell in fit["strict"]["cells"] if len(cell["budgets"]) < FEWEST_BUDGETS
    ]
    short = sorted(runs.run_id[runs.model.isin(fewer) & (runs.status == "finished")])
    return [
        Flag(*FAILED, fit["failed"]),
        Flag(*MISSING, fit["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; flagged, not removed. {DECAYED}", fit["rising"]),
        Flag("unlearned", "finished without positive bits; counts with 0", nothing),
        Flag("few budgets", f"fewer than {FEWEST_BUDGETS} budgets of a model: no law", short),
    ]
