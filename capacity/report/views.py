"""What the page says of studies of random data, of vocabularies and lengths, and of people: their
fit (`Outcome.fit`) in words.

Nothing is computed here that the fit does not state; numbers are written with the digits of the
printed report.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from capacity.analysis.ablation import analysis as ablations
from capacity.analysis.comparison.judgement import effect_in_words
from capacity.analysis.document import Document
from capacity.analysis.random import analysis as summary
from capacity.analysis.random import forms as capacity_forms
from capacity.analysis.random.plateaus import CORNER, STRICT_CORNER, UNDERFILLED
from capacity.analysis.result import Outcome
from capacity.analysis.text import canaries
from capacity.base.words import p_value
from capacity.fitting.statistics import fewest_replicates
from capacity.published import values as published
from capacity.published.expects import EVIDENCE
from capacity.report.parts import (
    FAILED,
    GAIN,
    MISSING,
    P_TOTAL,
    RESIDUAL,
    RISING_MEANS,
    Beside,
    Column,
    Difference,
    Flag,
    Interval,
    Law,
    Number,
    View,
)

P_PAPER = ("P paper", "parameters without BOS, as arXiv 2505.24832 counts them")
STRICT = (
    "strict bits",
    "memorized bits with every token predicted, the first one from a learned BOS; a perfect "
    "memorizer still pays log2 N bits per sequence, "
    "because a set has no order",
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
QUANTITIES = {
    "rising": "R grows by a factor of",
    "ratio": "a ratio of",
    "peak_ratio": "R =",
    "saturated_fraction": "R / R^max =",
}

_BITS = [
    Column("parameters_total", "P", "parameters, total count"),
    Column("strict_bits", "bits", "memorized bits, strict"),
    Column(
        "strict_bits",
        "bits/P",
        "memorized bits per parameter (strict, total)",
        "parameters_total",
        main=True,
    ),
    Column(
        "strict_bits",
        "bits/ceiling",
        f"part of the most that the data can give; over {UNDERFILLED} is under-filled",
        "strict_ceiling_bits",
    ),
]
_PEOPLE = [
    Column("parameters_paper", "P", "parameters without the rows of unused tokens"),
    Column("arm_name", "arm", "what the run differs in from others of its size"),
    Column("bits", "R", "learned bits per parameter (used rows)", "parameters_paper", main=True),
    Column("ceiling_bits", "R^max", "bits of the data per parameter", "parameters_paper"),
    Column("bits", "R/R^max", "part of the data's bits that is learned", "ceiling_bits"),
    Column("accuracy", "accuracy", "part of the values written exactly", main=True),
    Column(
        "extraction_accuracy",
        "extraction",
        "part of the questions about held-out people answered exactly",
    ),
]
_TEXT = [
    Column("parameters_total", "P", "parameters, total count"),
    Column(
        "tokens_per_parameter", "tokens/P", "tokens of distinct training sequences per parameter"
    ),
    Column("members_loss_bits_per_token", "loss", "bits per token on trained sequences", main=True),
    Column("held_out_loss_bits_per_token", "held-out", "bits per token on held-out sequences"),
    Column("loss_auc", "AUC", "of the loss attack", main=True),
    Column("loss_f1_median", "F1", "of the loss attack, half flagged"),
    Column("reference_auc", "AUC:reference", "of the attack with a reference model"),
    Column("lira_auc", "AUC:LiRA", "with shadow models"),
    Column(
        "unintended_same_mixture",
        "memorized/P",
        "unintended bits per parameter, mixture, reference of the same size",
        "parameters_total",
    ),
    Column(
        "bag_of_words_auc",
        "bag-of-words",
        "AUC of a classifier that sees no model; must be at chance",
    ),
]
_COLUMNS = {"random data": _BITS, "people": _PEOPLE, "text": _TEXT}


def columns(kinds: set[str], runs: pd.DataFrame) -> list[Column]:
    """What the table of runs shows of these kinds, beside run, shape, settings and flags: the
    columns in which some run has something."""
    wanted = [column for kind in sorted(kinds) for column in _COLUMNS[kind]]
    wanted += [
        Column(
            f"exposure_{level}",
            f"exposure:x{level}",
            f"exposure in bits of canaries repeated {level} times",
        )
        for level in canaries.levels_of(runs)
    ]
    return [
        column
        for column in dict.fromkeys([*wanted, *GAIN])
        if column.name in runs and runs[column.name].notna().any()
    ]


def view(outcome: Outcome) -> View:
    """The words of a study that has been judged."""
    if outcome.kind == "text":
        from capacity.analysis.text.page import (
            of_text,  # brings torch, which other studies do not need
        )

        return of_text(outcome.fit, outcome.tables)
    if outcome.kind == "precision":
        from capacity.analysis import precision
        from capacity.analysis.finding import Finding

        return _of_document(precision.document(Finding("precision", "", outcome.fit, {})))
    of = {"random data": _of_random_data, "ablation": _of_ablation, "people": _of_people}[
        outcome.kind
    ]
    found = of(outcome.fit, outcome.tables)
    told = outcome.fit.get("differences")
    return (
        found if told is None else _with_differences(found, told, alone=not outcome.fit["verdicts"])
    )


def _with_differences(found: View, told: dict, alone: bool) -> View:
    """alone: nothing published is compared, so that these are what the study asks."""
    digits, ends, rows = published.digits, published.ends, []
    for row in told["comparisons"]:
        name = f"{row['a']} / {row['b']}" + (f", {row['at']}" if row["at"] else "")
        if row["effect"] is None:
            rows.append(Difference(name, "–", "–", "–", "–", "–", row["verdict"]))
            continue
        sizes, seen = row["over_sizes"], row["detectable"]
        size = (
            "–"
            if seen["effect"] is None
            else effect_in_words(seen["effect"], row["what"])
            + (f" ({seen['by']})" if row["units"] < fewest_replicates() else "")
        )
        rows.append(
            Difference(
                name if row["what"] == "A / B" else f"{name} (A - B)",
                digits(row["effect"]),
                f"{ends(row['interval']) or 'none'} over {row['units']} "
                f"pair{'s' * (row['units'] != 1)}",
                ends(sizes["interval"]) or f"none: {sizes['reason']}",
                f"{p_value(row['p'])} ({p_value(row['p_holm'])})",
                size,
                row["verdict"],
            )
        )
    note = f"{told['number']}. " + (
        f"None: {told['reason']}."
        if told["reason"]
        else "A pair is one size and seed, equal in all else; p of exact sign flips, two-sided, in "
        "brackets "
        "corrected for all rows (Holm); to be seen: the smallest difference that so many pairs "
        "show in four of five studies."
    )
    answers = (
        [
            f"{row['verdict']}{', ' * bool(row['at'])}{row['at']}."
            for row in told["comparisons"]
            if row["differs"]
        ]
        if alone
        else []
    )
    compared = [row for row in told["comparisons"] if row["effect"] is not None]
    if alone and compared and not answers:
        answers = [
            f"Between its variants no difference is shown ({len(compared)} compared, see "
            f"Differences)."
        ]
    return dataclasses.replace(
        found, answers=[*found.answers, *answers], differences=rows, differences_note=note
    )


def judged(verdicts: list[dict]) -> list[Beside]:
    """Rows of `published.verdict` as the page shows them."""
    out = []
    for v in verdicts:
        value = "" if v["published"]["value"] is None else f"{v['published']['value']:g}; "
        here = (
            "not measured"
            if v["measured"] is None
            else f"{published.digits(v['measured'])} {published.ends(v['interval'])}".strip()
        )
        where, scale = (
            f" ({v['at']})" if v["at"] else "",
            f" at {v['scale']} scale" * (v["scale"] != "published"),
        )
        there = f"there: {v['published']['there']}" if v["published"]["there"] else ""
        out.append(
            Beside(
                f"{v['name']}: {v['quantity'].replace('_', ' ')}{where}",
                f"{value}counts as agreement: {published.ranged(v['published']['range'])}",
                here,
                v["verdict"] + scale,
                v["reason"],
                f"{v['source']} [{EVIDENCE[v['evidence']]}]",
                [*filter(None, (there, v["convention"], v["note"])), *v["remarks"]],
            )
        )
    return out


def at_scale(verdicts: list[dict]) -> str:
    """What a reader must know where runs are not at the scale of what was published."""
    other = next((v["scale"] for v in verdicts if v["scale"] != "published"), None)
    return (
        ""
        if other is None
        else (
            f"These runs are at {other} scale: a verdict says whether the effect shows here, in a "
            f"range that this project chose, and confirms or "
            "refutes no published number."
        )
    )


def _of_random_data(fit: dict, tables: dict[str, pd.DataFrame]) -> View:
    strict, paper, n = fit["strict"], fit["paper"], fit["strict"]["n"]
    digits = summary._digits
    bits = f"{strict['convention']} bits, {strict['parameters']} parameters"
    if alpha := strict["alpha"]:
        low, high = strict["validity"]["parameters"]
        sizes = summary._span((low, high)) if low < high else f"{low:,.0f}"
        over = (
            f"C = alpha P over {n['shapes_measured']} of {n['shapes']} model shapes of {sizes} "
            f"parameters, {n['seeds']} seed{'s' * (n['seeds'] > 1)} ({bits})"
        )
        gamma = strict["power"].get("gamma")
        ends = gamma[gamma["quote"]]["ends"] if gamma and gamma["quote"] else None
        answers = [
            f"**{digits(alpha['value'])} bits per parameter**{_quoted(alpha, digits)}: {over}."
        ]
        if ends and (
            ends[0] > 1 or ends[1] < 1
        ):  # one number for all sizes is then a convention, not a finding
            shapes = sorted(
                (row for row in strict["plateaus"] if row["bits"] and not row["lower_bound"]),
                key=lambda row: row["parameters"],
            )
            small, large = (
                f"{row['bits_per_parameter']:.3f} ({row['label']})"
                for row in (shapes[0], shapes[-1])
            )
            answers = [
                f"**Bits per parameter {'rise' if ends[0] > 1 else 'fall'} with size, from {small} "
                f"to {large}.** As one number "
                f"**{digits(alpha['value'])}**{_quoted(alpha, digits)}: "
                f"{over}."
            ]
        if gamma:
            constant = (
                "no interval says whether the ratio is constant"
                if ends is None
                else "so the ratio is not constant"
                if ends[0] > 1 or ends[1] < 1
                else "which leaves room for a constant ratio"
            )
            answers.append(
                f"As a power of size, C grows as "
                f"P^**{digits(gamma['value'])}**{_quoted(gamma, digits)}, {constant}."
            )
        answers += [*_held_out(strict), *_best_form(strict)]
    else:
        least = (
            f" alpha is at least {strict['alpha_at_least']:.3f}."
            if strict["alpha_at_least"]
            else ""
        )
        answers = [f"**No law from these runs:** {strict['reason']}.{least}"]
    beside = judged(fit["verdicts"])
    if beside and (first := fit["verdicts"][0])["measured"] is not None:
        answers.append(
            f"In the convention of arXiv 2505.24832 the {first['name']} is {beside[0].here}, "
            f"beside a published {beside[0].published}: {beside[0].verdict}."
        )
    dropped = {name: entry["runs"] for name, entry in strict["dropped"].items()}
    flags = [
        Flag(*FAILED, dropped["failed"]),
        Flag(*MISSING, dropped["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; flagged, not removed. {DECAYED}", strict["rising"]),
        Flag(
            "under-filled",
            f"holds over {UNDERFILLED:.0%} of its data: a lower bound of capacity, not data for "
            f"the law",
            dropped["underfilled"],
        ),
        Flag(
            "corner",
            f"ceiling / bits < {CORNER}, in the rounded corner of min(alpha P, H): a lower bound "
            f"too",
            dropped["corner"],
        ),
        Flag(
            "near-corner",
            f"in the law with ceiling / bits < {STRICT_CORNER}, where the corner may still lower "
            f"bits by several percent",
            strict["near_corner"],
        ),
        Flag("unlearned", "finished without positive bits; not in the law", dropped["unlearned"]),
        Flag(
            "above-ceiling",
            "above what the data can give: repeated sequences, or a wrong count",
            strict["above_ceiling"],
        ),
    ]
    law = (
        [_capacity_law(strict, way) for way in ("alpha", "power", "slope")]
        if strict["alpha"]
        else [Law("capacity law", reason=strict["reason"])]
    )
    return View(
        answers,
        [*law, *_corners(strict)],
        beside,
        at_scale(fit["verdicts"]) if beside else "nothing measured to compare",
        flags,
        [
            STRICT,
            P_TOTAL,
            (
                "interval over shapes",
                "95%: what other shapes of the family would give; resampled residuals of the "
                "shapes' means about the law",
            ),
            (
                "interval over seeds",
                "95%: what other seeds of these very shapes would give; it says nothing about "
                "other shapes",
            ),
            (
                "bootstrap",
                f"{strict['bootstrap']['resamples']:,} resamples, {strict['bootstrap']['method']}",
            ),
            PAPER,
            P_PAPER,
            ("load", "data bits per parameter: N S log2 V / P"),
            (
                "held out",
                "each size told by a fit to the others, by the fitting engine: Huber loss on "
                "logarithms, bounds as bounds, 95% intervals over shapes",
            ),
            (
                "AICc",
                "Akaike's criterion with the small-sample term; points of one shape count as "
                "independent, so held-out errors come first",
            ),
            RESIDUAL,
        ],
    )


def _capacity_law(strict: dict, way: str) -> Law:
    part = strict[way]
    names = {"alpha": ("alpha",), "power": ("a", "gamma"), "slope": ("alpha1", "c0")}[way]
    values = {"alpha": part} if way == "alpha" else part
    numbers = [
        Number(name, values[name]["value"], values[name]["unit"], _both(values[name]))
        for name in names
        if name in values
    ]
    remarks = [part["estimator"]]
    if way == "alpha":
        other = {
            "through the origin": "through_origin",
            "median": "median",
            "mean of ratios": "mean_of_ratios",
        }
        remarks.append(
            "other estimators: "
            + ", ".join(
                f"{text} {strict['other_estimators'][key]:.3f}" for text, key in other.items()
            )
        )
    row = next(
        (
            row
            for row in strict["forms"]["plateaus"]["forms"]
            if row["form"]
            == {"alpha": "capacity_linear", "power": "capacity_power", "slope": "capacity_affine"}[
                way
            ]
        ),
        None,
    )
    if row:
        remarks.append(
            f"by the fitting engine {capacity_forms.number(row)} over shapes; "
            f"{_told_by_others(row)}"
        )
    return Law(
        part["formula"].replace(" *", ""),
        part["formula"].replace(" *", ""),
        numbers,
        remarks,
        part.get("reason") or "",
    )


def _corners(strict: dict) -> list[Law]:
    """The corner forms over all runs, by the fitting engine."""
    part = strict["forms"]["runs"]
    if part["reason"]:
        return [Law("corner of min(alpha P, H)", reason=part["reason"])]
    return [
        Law(
            f"{capacity_forms.SHOWN[row['form']][0]}, all runs",
            row["formula"],
            [
                Number(
                    name,
                    entry["value"],
                    entry["unit"],
                    [
                        Interval(
                            "over shapes",
                            capacity_forms.interval(entry),
                            entry["reason"] or "an end is open",
                        )
                    ],
                )
                for name, entry in row["record"]["intervals"].items()
            ],
            [_told_by_others(row), *row["warnings"]],
        )
        for row in part["forms"]
    ]


def _told_by_others(row: dict) -> str:
    return (
        f"held out: {capacity_forms.largest(row)} for the largest size, rms "
        f"{capacity_forms.rms(row)}; AICc {capacity_forms.more(row)} above the best of its kind"
    )


def _best_form(strict: dict) -> list[str]:
    """The form that foretells sizes best, where it is not the headline's."""
    rows = {row["form"]: row for row in strict["forms"]["plateaus"]["forms"]}
    best, line = next(iter(rows.values()), None), rows.get("capacity_linear")
    if best is None or line is None or best is line or best["held_out"]["rms_percent"] is None:
        return []
    return [
        f"Sizes left out in turn are foretold best by {capacity_forms.SHOWN[best['form']][0]}, "
        f"{capacity_forms.number(best)}: error "
        f"**{capacity_forms.rms(best)}**, of C = alpha P {capacity_forms.rms(line)}."
    ]


def _held_out(strict: dict) -> list[str]:
    row = next(
        (row for row in strict["forms"]["plateaus"]["forms"] if row["form"] == "capacity_linear"),
        None,
    )
    if row is None or capacity_forms.largest(row) == "-":
        return []
    error, times = row["held_out"]["largest"]["percent"], row["held_out"]["extrapolation"]
    return [
        f"Foretold from the others by C = alpha P, the largest size, {times:.2g} times the next, "
        f"comes out {abs(error):.1f}% too {'low' if error < 0 else 'high'}."
    ]


def _both(number: dict) -> list[Interval]:
    return [
        Interval(over, number[key]["ends"], number[key]["reason"] or "", number["quote"] == key)
        for key, over in (("interval_shapes", "over shapes"), ("interval_seeds", "over seeds"))
    ]


def _quoted(number: dict, digits) -> str:
    """The wider interval first, then the other one."""
    told = sorted((part for part in _both(number) if part.ends), key=lambda part: not part.quote)
    if not told:
        return f" (no interval: {number['interval_shapes']['reason']})"
    return ", 95% " + " and ".join(
        f"[{digits(part.ends[0])}, {digits(part.ends[1])}] {part.over}" for part in told
    )


def _of_ablation(fit: dict, tables: dict[str, pd.DataFrame]) -> View:
    part, digits = fit["strict"], ablations._digits
    names = {"vocab_size": ("vocabulary", "vocabularies"), "seq_len": ("length", "lengths")}
    laws, answers, beside = [], [], []
    if part["reason"]:
        answers.append(f"**No law from these runs:** {part['reason']}.")
        laws.append(Law("one alpha", reason=part["reason"]))
    else:
        hard, smooth, cells = part["hard"], part["smooth"], len(part["cells"])
        for name, form in (("min(alpha P, ceiling)", hard), ("smooth corner", smooth)):
            if form.get("reason"):
                laws.append(Law(name, reason=form["reason"]))
                continue
            over = Interval(
                "over cells (jackknife)", form["interval"], form["interval_reason"] or "", True
            )
            corner = (
                []
                if "k" not in form
                else [
                    f"k {form['k']:.2g}"
                    if form["k_determined"]
                    else "k is not determined by these runs"
                ]
            )
            laws.append(
                Law(
                    name,
                    name,
                    [Number("alpha", form["alpha"], "bits per parameter", [over])],
                    [
                        f"mean absolute error {form['mean_absolute_error_percent']:.1f}% over "
                        f"{cells} cells",
                        *corner,
                    ],
                )
            )
        ends = (
            f", 95% [{digits(hard['interval'][0])}, {digits(hard['interval'][1])}] over cells"
            if hard["interval"]
            else f" (no interval: {hard['interval_reason']})"
        )
        what = " and ".join(names[column][cells > 1] for column in fit["varied"])
        limited, error = part["limited_by_capacity"], hard["mean_absolute_error_limited_percent"]
        of_them = (
            f"; the {limited} that capacity limits, which alone test alpha, within **{error:.1f}%**"
            if error is not None and limited < cells
            else ""
        )
        answers.append(
            f"One alpha of **{digits(hard['alpha'])} bits per parameter**{ends}, fitted to them, "
            f"gives the bits of {cells} {what} within "
            f"{hard['mean_absolute_error_percent']:.1f}% on average{of_them} (strict bits, total "
            f"parameters; min(alpha P, ceiling))."
        )
        if not smooth["reason"]:
            answers.append(
                f"With a smooth corner: {digits(smooth['alpha'])} bits per parameter, mean error "
                f"{smooth['mean_absolute_error_percent']:.1f}%."
            )
    beside = judged(fit["verdicts"])
    left = fit["left_out"]
    flags = [
        Flag(*FAILED, left["failed"]),
        Flag(*MISSING, left["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; flagged, not removed. {DECAYED}", fit["rising"]),
        Flag(
            "under-filled",
            f"holds over {UNDERFILLED:.0%} of its data: limited by its data, not by capacity",
            _ids(tables, "class_strict", "underfilled"),
        ),
        Flag(
            "corner",
            f"ceiling / bits < {CORNER}, in the rounded corner: reads low",
            _ids(tables, "class_strict", "corner"),
        ),
        Flag("unlearned", "finished without positive bits and not in the fit", left["unlearned"]),
    ]
    notes = ablations.notes(fit)[:-1]
    return View(
        answers,
        laws,
        beside,
        at_scale(fit["verdicts"]) if beside else "nothing measured to compare",
        flags,
        [
            STRICT,
            P_TOTAL,
            ("interval over cells", "95%, leaving out one cell (all seeds of one V and S) in turn"),
            PAPER,
            P_PAPER,
            RESIDUAL,
        ],
        notes,
    )


def _of_people(fit: dict, tables: dict[str, pd.DataFrame]) -> View:
    """The document of facts as a view."""
    from capacity.analysis import facts
    from capacity.analysis.finding import Finding

    return _of_document(facts.document(Finding("facts", "fit.json", fit, tables)))


def _of_document(told: Document) -> View:
    from capacity.analysis.document import Laws, Verdicts

    blocks = [block for part in told.sections for block in part.blocks]
    laws = [law for block in blocks if isinstance(block, Laws) for law in block.laws]
    (beside,) = (block for block in blocks if isinstance(block, Verdicts))
    return View(
        list(told.answers),
        laws,
        beside.rows,
        beside.note,
        list(told.flags),
        list(told.conventions),
        list(told.notes),
    )


def _ids(tables: dict[str, pd.DataFrame], column: str, value: str) -> list[str]:
    runs = tables["runs.csv"]
    return sorted(runs.run_id[runs[column] == value])
