"""What a study of random data found, in words: answers, plateaus, laws, forms, published values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from capacity.analysis import lack_of_fit, published_rows
from capacity.analysis.document import (
    FAILED,
    GAIN,
    MISSING,
    P_TOTAL,
    RESIDUAL,
    RISING_MEANS,
    Block,
    Bullets,
    Document,
    Flag,
    Interval,
    Law,
    Laws,
    Number,
    RunColumn,
    Section,
    Text,
)
from capacity.analysis.finding import Finding
from capacity.analysis.random import flatness, forms
from capacity.analysis.thresholds import CORNER, DATA_LIMITED, STRICT_CORNER
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, joined, percent, plural, span
from capacity.fitting import bounds
from capacity.published import values as published

CAPTIONS = {
    "capacity": "Capacity against parameters",
    "memorized": "Memorized bits against the bits of the data",
}
MODELS = "seeds of a model"  # what the noise is by which forms of plateaus are judged
RUNS = "runs of equal model and size of the data"  # and forms of all runs
P_PAPER = ("P paper", "parameters without BOS, as arXiv 2505.24832 counts them")
STRICT = (
    "strict bits",
    "memorized bits with every token predicted, the first one from a learned BOS; a perfect "
    "memorizer still pays log2 N bits per sequence, because a set has no order",
)
PAPER = (
    "paper bits",
    "mean over positions 2..S times S, as the tables of arXiv 2505.24832 were made; higher by "
    "about S/(S-1); only for comparison with them",
)
DECAYED = (
    "A learning rate that ends at zero makes this gain small by itself: only a longer run shows "
    "whether more can be held"
)
MARKS = {
    "≥": "only a lower bound",
    "r": "some runs still rising",
    "f": "failed",
    "m": "missing",
    "u": "finished without positive bits",
}
CONVENTIONS = (
    STRICT,
    P_TOTAL,
    (
        "interval over models",
        "95%: what other models of the family would give; resampled residuals of the models' means "
        "about the law",
    ),
    (
        "interval over seeds",
        "95%: what other seeds of these very models would give; it says nothing about other models",
    ),
    PAPER,
    P_PAPER,
    ("load", "data bits per parameter: N S log2 V / P"),
    (
        "held-out error",
        "each size is predicted by a fit to the others, by the fitting engine: Huber loss on "
        "logarithms, bounds as bounds, 95% intervals over models",
    ),
    (
        "AICc",
        "Akaike's criterion with the small-sample term; points of one model count as independent, "
        "so held-out errors come first",
    ),
    RESIDUAL,
)
COLUMNS = [
    RunColumn("parameters_total", "P", "parameters, total count"),
    RunColumn("strict_bits", "bits", "memorized bits, strict"),
    RunColumn(
        "strict_bits",
        "bits/P",
        "memorized bits per parameter (strict, total)",
        "parameters_total",
        main=True,
    ),
    RunColumn(
        "strict_bits",
        "bits/ceiling",
        f"part of the most that the data can give; over {DATA_LIMITED} is data-limited",
        "strict_ceiling_bits",
    ),
]


def columns(runs: pd.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of random data."""
    return [*COLUMNS, *GAIN]


def document(finding: Finding) -> Document:
    """The document of a study of random data; finding: of `analysis.analyse`."""
    fit = finding.numbers
    strict, n = fit["strict"], fit["strict"]["n"]
    law = strict["alpha"]
    facts = [
        f"{n['finished']} of {plural(n['rows'], 'run')} finished; "
        f"{n['used']} capacity-limited runs measure {n['models_measured']} of "
        f"{plural(n['models'], 'model')}."
    ]
    laws = [_law(strict, which) for which in ("alpha", "power", "slope")] if law else []
    laws = laws or [Law("capacity law", reason=strict["reason"])]
    return Document(
        f"Capacity of {fit['study']}: {_conventions(strict)}",
        _answers(fit) if law else [_none(strict)],
        [
            Section(
                "plateaus",
                "What each model holds when its data are more",
                [_plateaus(strict), *map(Text, flatness.told(strict.get("flatness")))],
            ),
            Section(
                "laws",
                "Capacity C against parameters P",
                [Laws([*laws, *_corners(strict)]), *_other_choices(strict)],
            ),
            Section("forms", "Forms compared", _forms(strict["forms"])),
            _published(fit),
        ],
        _flags(strict),
        _notes(strict),
        CONVENTIONS,
        CAPTIONS,
        facts,
    )


def _conventions(fit: Mapping[str, Any]) -> str:
    return f"{fit['convention']} bits, {fit['parameters'].replace('_', '-')} parameters"


def _none(strict: Mapping[str, Any]) -> str:
    least = strict["alpha_at_least"]
    more = f" alpha is at least {digits(least, 4)}." if least else ""
    return f"**No law from these runs:** {strict['reason']}.{more}"


def _answers(fit: Mapping[str, Any]) -> list[str]:
    strict = fit["strict"]
    alpha, n = strict["alpha"], strict["n"]
    low, high = strict["validity"]["parameters"]
    over = (
        f"C = alpha P over {n['models_measured']} of {plural(n['models'], 'model')} of "
        f"{span(low, high)} parameters, {plural(n['seeds'], 'seed')} ({_conventions(strict)})"
    )
    value = digits(alpha["value"], 4)
    gamma = strict["power"].get("gamma")
    limits = gamma[gamma["quote"]]["ends"] if gamma and gamma["quote"] else None
    answers = [f"**{value} bits per parameter**{_quoted(alpha)}: {over}."]
    if limits and (limits[0] > 1 or limits[1] < 1):
        # one number for all sizes is then a convention, not a finding
        models = [row for row in strict["plateaus"] if row["bits"] and not row["lower_bound"]]
        models.sort(key=lambda row: row["parameters"])
        small, large = (
            f"{digits(row['bits_per_parameter'], 4)} ({row['model']})"
            for row in (models[0], models[-1])
        )
        trend = "rise" if limits[0] > 1 else "fall"
        answers = [
            f"**Bits per parameter {trend} with size, from {small} to {large}.** As one number "
            f"**{value}**{_quoted(alpha)}: {over}."
        ]
    if gamma:
        if limits is None:
            constant = "no interval says whether the ratio is constant"
        elif limits[0] > 1 or limits[1] < 1:
            constant = "so the ratio is not constant"
        else:
            constant = "which leaves room for a constant ratio"
        answers.append(
            f"As a power of size, C grows as P^**{digits(gamma['value'], 4)}**{_quoted(gamma)}, "
            f"{constant}."
        )
    answers += [*_held_out(strict), *_best_form(strict)]
    if fit["verdicts"] and fit["verdicts"][0]["measured"] is not None:
        first = published_rows.row(fit["verdicts"][0])
        answers.append(
            f"In the convention of arXiv 2505.24832 the {fit['verdicts'][0]['name']} is "
            f"{first.here}, beside a published {first.published}: {first.verdict}."
        )
    return answers


def _quoted(number: Mapping[str, Any]) -> str:
    """The wider interval first, then the other one."""
    intervals = sorted(
        (part for part in _both(number) if part.ends), key=lambda part: not part.quote
    )
    if not intervals:
        return f" (no interval: {number['interval_models']['reason']})"
    return ", 95% " + joined([f"{ends(part.ends, 4)} {part.over}" for part in intervals])


def _both(number: Mapping[str, Any]) -> list[Interval]:
    return [
        Interval(over, number[key]["ends"], number[key]["reason"] or "", number["quote"] == key)
        for key, over in (("interval_models", "over models"), ("interval_seeds", "over seeds"))
    ]


def _form(strict: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    rows = strict["forms"]["plateaus"]["forms"]
    return next((row for row in rows if row["form"] == name), None)


def _held_out(strict: Mapping[str, Any]) -> list[str]:
    row = _form(strict, "capacity_linear")
    if row is None or forms.largest(row) == "–":
        return []
    error, times = row["held_out"]["largest"]["percent"], row["held_out"]["extrapolation"]
    return [
        f"C = alpha P fitted to the others predicts the largest size, {digits(times, 2)} times the "
        f"next, {abs(error):.1f}% too {'low' if error < 0 else 'high'}."
    ]


def _best_form(strict: Mapping[str, Any]) -> list[str]:
    """The form that predicts held-out sizes best, where it is not the headline's."""
    best, line = forms.best(strict), _form(strict, "capacity_linear")
    if best is None or line is None:
        return []
    off = ""
    if lack_of_fit.shown(best.get("lack_of_fit")):
        off = "; it lies off the models by more than seeds differ"
    return [
        f"{forms.SHOWN[best['form']][0]}, {forms.number(best)}, predicts held-out sizes best: its "
        f"error is **{forms.rms(best)}**, that of C = alpha P {forms.rms(line)}{off}."
    ]


def _plateaus(strict: Mapping[str, Any]) -> Table:
    names = (
        ("model", "layers x width"),
        ("P", "parameters"),
        ("seeds", "replicates behind the mean"),
        ("runs", "capacity-limited runs, averaged per seed, then over seeds"),
        ("other", "finished, but not capacity-limited"),
        ("capacity bits", ""),
        ("bits/P", ""),
        ("± sd", "over seeds"),
    )
    heads = [Column(name, meaning, right=name != "model") for name, meaning in names]
    rows = []
    for row in strict["plateaus"]:
        bound, measured = row["lower_bound"], row["bits"] is not None
        used = 0 if bound else row["runs"]
        sd = row["bits_per_parameter_sd"]
        counts = {"r": "rising", "f": "failed", "m": "missing", "u": "unlearned"}
        marks = ("≥" if bound else "") + "".join(mark for mark, key in counts.items() if row[key])
        rows.append(
            [
                row["model"],
                digits(row["parameters"]),
                str(0 if bound else row["seeds"]),
                str(used),
                str(row["finished"] - used),
                digits(row["bits"], 4),
                digits(row["bits_per_parameter"], 4) if measured else "–",
                "–" if sd is None or bound or not measured else f"{sd:.3f}",
                marks,
            ]
        )
    key = (
        "runs: capacity-limited, averaged per seed, then over seeds; other: finished, but not "
        "capacity-limited; sd: over seeds"
    )
    return Table([*heads, Column("", right=False)], rows, key=key, name="plateaus", marks=MARKS)


def _law(strict: Mapping[str, Any], which: str) -> Law:
    part = strict[which]
    names = {"alpha": ("alpha",), "power": ("a", "gamma"), "slope": ("alpha1", "c0")}[which]
    values = {"alpha": part} if which == "alpha" else part
    numbers = [
        Number(name, values[name]["value"], values[name]["unit"], _both(values[name]))
        for name in names
        if name in values
    ]
    remarks = [part["estimator"]]
    if which == "alpha":
        other = {
            "through the origin": "through_origin",
            "median": "median",
            "mean of ratios": "mean_of_ratios",
        }
        estimates = [f"{text} {strict['other_estimators'][key]:.3f}" for text, key in other.items()]
        remarks.append(f"other estimators: {', '.join(estimates)}")
    engine = {"alpha": "capacity_linear", "power": "capacity_power", "slope": "capacity_affine"}
    if row := _form(strict, engine[which]):
        remarks.append(f"the fitting engine gives {forms.number(row)} over models; {_errors(row)}")
        remarks += _misfit(row, MODELS)
        remarks += [*row["warnings"], *bounds.ends(row["record"]["intervals"]), *_resampled(row)]
    formula = part["formula"].replace(" *", "")
    return Law(formula, formula, numbers, remarks, part.get("reason") or "")


def _corners(strict: Mapping[str, Any]) -> list[Law]:
    """The corner forms over all runs, by the fitting engine."""
    part = strict["forms"]["runs"]
    if part["reason"]:
        return [Law("corner of min(alpha P, H)", reason=part["reason"])]
    laws = []
    for row in part["forms"]:
        numbers = [
            Number(
                name,
                entry["value"],
                entry["unit"],
                [
                    Interval(
                        "over models", forms.interval(entry), entry["reason"] or "an end is open"
                    )
                ],
            )
            for name, entry in row["record"]["intervals"].items()
        ]
        name = f"{forms.SHOWN[row['form']][0]}, all runs"
        cut = bounds.ends(row["record"]["intervals"])
        remarks = [_errors(row), *_misfit(row, RUNS), *row["warnings"], *cut, *_resampled(row)]
        laws.append(Law(name, row["formula"], numbers, remarks))
    return laws


def _misfit(row: Mapping[str, Any], noise: str) -> list[str]:
    """Whether a form fits; nothing of a file of before."""
    if "lack_of_fit" not in row:
        return []
    text = lack_of_fit.told(row["lack_of_fit"], noise)
    if lack_of_fit.shown(row["lack_of_fit"]):
        off = f"{percent(row['lack_of_fit']['off'])} beyond that noise"
        carried = "which the interval over models holds" if noise == MODELS else "not quoted"
        text += f": it lies off by {off}, {carried}"
    return [text]


def _resampled(row: Mapping[str, Any]) -> list[str]:
    """That there are fewer resamples than asked for, where so many points are fitted."""
    drawn = row["record"].get("bootstrap") or {}
    if "asked" not in drawn:
        return []
    return [
        f"the bootstrap beside it in fit.json has {drawn['resamples']:,} resamples of "
        f"{drawn['asked']:,} asked for, of {row['record']['points']['fitted']:,} points"
    ]


def _errors(row: Mapping[str, Any]) -> str:
    """How well a form predicts sizes that it was not fitted to, as far as these runs show it."""
    largest, rms, more = forms.largest(row), forms.rms(row), forms.more(row)
    parts = [] if largest == "–" else [f"held-out error {largest} for the largest size"]
    if rms != "–":
        parts.append(f"rms {rms} over all sizes" if parts else f"held-out error rms {rms}")
    phrases = [", ".join(parts) or "no size can be held out"]
    if more != "–":
        phrases.append(f"AICc {more} above the best of its kind")
    return "; ".join(phrases)


def _other_choices(strict: Mapping[str, Any]) -> list[Text]:
    if not strict["alpha"] or not strict["sensitivity"]:
        return []
    names = {
        f"corner_cut_{STRICT_CORNER}": f"ceiling / bits ≥ {STRICT_CORNER}",
        "levelled_off_only": "levelled-off runs",
        "maximum_over_data_sizes": "maximum over data sizes (biased up)",
    }
    estimates = [
        f"{text} {strict['sensitivity'][key]:.3f}"
        for key, text in names.items()
        if strict["sensitivity"][key]
    ]
    return [Text(f"alpha with other choices: {', '.join(estimates)}")]


def _forms(comparisons: Mapping[str, Any]) -> list[Block]:
    heads = [
        Column("form", right=False),
        Column("largest size", "held-out error of the largest size"),
        Column("rms", "held-out error over all sizes"),
        Column("AICc", "above the best of its kind", detail=True),
        Column("parameter", "95% over models", right=False),
    ]
    rows: list[list[str]] = []
    absent: list[str] = []
    for part, what in (("plateaus", "plateaus"), ("runs", "all runs")):
        compared = comparisons[part]
        for row in compared["forms"]:
            name = forms.SHOWN[row["form"]][0]
            cells = [forms.largest(row), forms.rms(row), forms.more(row), forms.number(row)]
            rows.append([name, *cells])
        absent += [f"{forms.SHOWN[name][0]}: {why}" for name, why in compared["without"].items()]
        if compared["reason"] and not compared["without"]:
            absent.append(f"{what}: {compared['reason']}")
    key = (
        "C: plateaus of models and seeds, fitted in log C with bounds as bounds; m: all runs; each "
        "size is predicted by a fit to the others; AICc: above the best of its kind"
    )
    blocks: list[Block] = [Table(heads, rows, key=key, name="forms")] if rows else []
    return blocks + ([Bullets([f"Not fitted: {why}." for why in absent])] if absent else [])


def _published(fit: Mapping[str, Any]) -> Section:
    paper = fit["paper"]
    there = published.get("morris/mean_bf16")
    here = paper["validity"]
    words = (
        f"P {span(*here['parameters'])}, V {'/'.join(map(str, here['vocab_size']))}, "
        f"S {'/'.join(map(str, here['seq_len']))}, {'/'.join(here['precision'])}, at most "
        f"{count(here['tokens'][1])} tokens per run"
    )
    fewer = there.setting["tokens"] / here["tokens"][1]
    if fewer > 1:
        words += f", {fewer:,.0f} times fewer than published"
    return published_rows.section(
        fit["verdicts"],
        words,
        "nothing measured to compare",
        title="Beside Morris et al. (arXiv 2505.24832 v3): paper bits, paper parameters",
    )


def _flags(strict: Mapping[str, Any]) -> list[Flag]:
    dropped = {name: entry["runs"] for name, entry in strict["dropped"].items()}
    return [
        Flag(*FAILED, dropped["failed"]),
        Flag(*MISSING, dropped["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; flagged, not removed. {DECAYED}", strict["rising"]),
        Flag(
            "data-limited",
            f"holds over {DATA_LIMITED:.0%} of its data: a lower bound of capacity, not data for "
            "the law",
            dropped["data_limited"],
        ),
        Flag(
            "corner",
            f"ceiling / bits < {CORNER}, in the rounded corner of min(alpha P, H): a lower bound "
            "too",
            dropped["corner"],
        ),
        Flag(
            "near-corner",
            f"in the law with ceiling / bits < {STRICT_CORNER}, where the corner may still lower "
            "bits by several percent",
            strict["near_corner"],
        ),
        Flag("unlearned", "finished without positive bits; not in the law", dropped["unlearned"]),
        Flag(
            "above-ceiling",
            "above what the data can give: repeated sequences, or a wrong count",
            strict["above_ceiling"],
        ),
    ]


def _notes(strict: Mapping[str, Any]) -> list[str]:
    notes = [
        f"{bound['model']}, seed {bound['seed']}: a lower bound {bound['percent']:.1f}% above the "
        "law"
        for bound in strict.get("bounds_above_line", [])
    ]
    return [
        *notes,
        "A small gain at the end proves little once the learning rate has decayed; a doubled "
        "budget does.",
        "Gradient descent finds a lower bound on capacity: longer or better tuned training can "
        "raise these numbers.",
    ]
