"""What a study of precision found, in words: share retained and capacity in every format, laws of
bit width, pairs of methods, published values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from capacity.analysis import lack_of_fit, published_rows
from capacity.analysis.document import (
    FAILED,
    GAIN,
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
    RunColumn,
    Section,
)
from capacity.analysis.finding import Finding
from capacity.analysis.precision.bit_widths import METHODS, TRAINED
from capacity.analysis.thresholds import CORNER, DATA_LIMITED
from capacity.base.frames import Frame
from capacity.base.table import Column, Table
from capacity.base.words import capitalized, digits, ends, percent, plural
from capacity.fitting import bounds
from capacity.fitting.misfit import POINTS

Row = Mapping[str, Any]

CAPTIONS = {
    "capacity": "Capacity against the bits of a weight",
    "retained": "What a full model retains at fewer bits",
    "stored": "Bits held per stored bit",
}
ANSWERED = (
    ("gptq", "int8"),
    ("gptq", "int4"),
    ("qat", "int4"),
    ("trained", "bf16"),
)  # formats that the answers name, where the study has them
QUESTIONS = (("retained", "retained by full models"), ("capacity", "capacity"))
HEADS = {"trained": "trained in", "cast": "cast after training", **METHODS}
FORMATS = (
    Column("format", right=False),
    Column("stored", "stored bits per weight: codes, scales, zero points and all the rest"),
    Column("retained, %", "what a full model still holds, in percent of fp32's bits"),
    Column("95%", "of the share retained, Student's t over models"),
    Column("capacity", "the most that a model holds over the study's data, bits per parameter"),
    Column("95% of capacity", "Student's t over models", detail=True),
    Column("held per stored bit", "capacity / stored bits per weight", detail=True),
    Column("models", "models behind the mean", detail=True),
)
PAIRS = (
    Column("format", right=False),
    Column("difference", "of the parts of fp32's bits"),
    Column("95% over pairs", "Student's t"),
    Column("pairs", "of one model and seed"),
    Column("positive", "pairs in which the first method holds more"),
)

LAWS_NOTE = (
    "R is a part of fp32's bits. The form of least error on held-out formats comes first; that "
    "error is the rms over formats left out of the fit one at a time."
)


def columns(runs: Frame) -> Sequence[RunColumn]:
    """What a page's table of runs shows: as of random data or of facts, by the data of the runs."""
    kinds = {"uniform": "random", "text": "text"}
    named = {kinds.get(kind, "facts") for kind in runs.kind.unique()}
    from capacity.analysis import kinds as registry

    wanted = [column for name in sorted(named) for column in registry.load(name).columns(runs)]
    return list(dict.fromkeys([*wanted, *GAIN]))


def document(finding: Finding) -> Document:
    """The document of a study of precision; finding: of `analysis.analyse`."""
    fit = finding.numbers
    laws = [law for question, words in QUESTIONS for law in _laws(fit, question, words)]
    sections = [
        Section("formats", "Share retained and capacity in every format", [_formats(fit)]),
        Section("laws", "Laws of the bits b of a code", [Laws(laws, LAWS_NOTE)]),
    ]
    if fit["paired"]:
        title = "Methods compared in pairs of one model and seed"
        sections.append(Section("pairs", title, [_pairs(fit["paired"])]))
    nothing = "nothing published to compare"
    sections.append(
        published_rows.section(fit["verdicts"], "models of another size", nothing=nothing)
    )
    c = fit["conventions"]
    return Document(
        f"Precision of {fit['study']}: {c['bits']}, {c['parameters']} parameters",
        _answers(fit),
        sections,
        _flags(fit["run_ids"]),
        fit["notes"],
        [
            ("bits", c["bits"]),
            P_TOTAL,
            ("retained", c["retained"]),
            ("capacity", c["capacity"]),
            ("stored bits", c["stored"]),
            ("intervals", c["intervals"]),
            RESIDUAL,
        ],
        CAPTIONS,
        [
            f"{fit['finished']} of {plural(fit['runs'], 'run')} finished ({fit['failed']} failed, "
            f"{fit['missing']} missing)."
        ],
    )


def _at(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row["method"], row["format"]): row for row in rows}


def _answers(fit: Row) -> list[str]:
    retained, most, part = _at(fit["retained"]), _at(fit["capacity"]), fit["fp32_of_data"]
    full = part is None or part["high"] < 1 / CORNER
    models = "full models" if full else "models at the largest data"
    answers = []
    if empty := fit.get("base", {}).get("empty"):  # files of before have no such entry
        answers.append(f"{capitalized(empty)}: what is retained of it says nothing of formats.")
    for method, format in ANSWERED:
        if (row := retained.get((method, format))) is None:
            continue
        words = (
            f"{format}, {METHODS[method]}" if method in METHODS else f"trained in {TRAINED[format]}"
        )
        below = ", worse than a code of equal lengths" if row["retained"] < 0 else ""
        text = (
            f"{capitalized(words)}: {models} retain **{100 * row['retained']:.1f}%** of fp32's bits"
            f"{_quoted(row, 100, 1)}{below}"
        )
        if full and (held := most.get((method, format))):
            text += (
                f"; the most held there is {held['capacity']:.2f} bits per parameter"
                f"{_quoted(held, 1, 2)}"
            )
        answers.append(f"{text}.")
    if most:
        answers.append(_densest(fit["capacity"]))
    if part:
        answers.append(_fullness(part, full))
    return answers


def _quoted(row: Row, times: float, decimals: int) -> str:
    if row["low"] is None:
        return " (one model, no interval)"
    low, high = (f"{times * row[end]:.{decimals}f}" for end in ("low", "high"))
    return f", 95% [{low}, {high}] over models"


def _densest(rows: Sequence[Row]) -> str:
    best, *rest = sorted(rows, key=lambda row: -row["per_stored_bit"])
    text = (
        f"Most bits held per stored bit: **{digits(best['per_stored_bit'])}**, by "
        f"{METHODS.get(best['method'], best['method'])}, {best['format']} "
        f"({best['stored']:.2f} stored bits per weight, scales included)"
    )
    if rest:
        second = rest[0]
        text += (
            f"; next {digits(second['per_stored_bit'])}, by "
            f"{METHODS.get(second['method'], second['method'])}, {second['format']}"
        )
    return f"{text}. No interval."


def _fullness(part: Row, full: bool) -> str:
    text = (
        f"At the study's largest data fp32 models hold {part['low']:.0%} ({part['low_at']}) to "
        f"{part['high']:.0%} ({part['high_at']}) of it"
    )
    if full:
        return f"{text}."
    return (
        f"{text}: where nearly all is held the data, not the model, set the bits, and the share "
        "retained is not that of a full model."
    )


def _formats(fit: Row) -> Table:
    retained, most = _at(fit["retained"]), _at(fit["capacity"])
    cells: list[list[str]] = []
    last = None
    for method, format in dict.fromkeys([*most, *retained]):
        if method != last:
            cells.append([HEADS.get(method, method)])
        last = method
        mine, held = retained.get((method, format)), most.get((method, format))
        either = held or mine or {}
        name = TRAINED.get(format, format) if method == "trained" else format.removeprefix("cast ")
        cells.append(
            [
                name,
                f"{either['stored']:.2f}",
                "–" if mine is None else digits(100 * mine["retained"], 4),
                _ends(mine, 100, 4),
                "–" if held is None else digits(held["capacity"]),
                _ends(held, 1),
                "–" if held is None else digits(held["per_stored_bit"]),
                f"{either['models']}",
            ]
        )
    key = (
        "retained: what a model trained full still holds, in percent of fp32's bits; capacity: "
        "the most that a model holds over the study's data sizes, bits per parameter; 95%: "
        "Student's t over models"
    )
    return Table(FORMATS, cells, key=key, name="formats")


def _ends(row: Row | None, times: float, significant: int = 3) -> str:
    if row is None:
        return "–"
    if row["low"] is None:
        return "one model"
    return ends([times * row["low"], times * row["high"]], significant)


def _laws(fit: Row, question: str, words: str) -> list[Law]:
    return [
        _law(f"{words}, {METHODS.get(method, method)}", both[question])
        for method, both in fit["laws"].items()
    ]


def _law(name: str, law: Row) -> Law:
    if law["reason"] or law["preferred"] is None:
        return Law(name, reason=law["reason"] or "no form could be fitted")
    best = law["forms"][law["preferred"]]
    over = lack_of_fit.over(best.get("scatter", {}), "means", "models")
    hidden = lack_of_fit.shown(best.get("lack_of_fit")) and not best["scatter"]
    quote = not law["poor"] and not hidden
    numbers = [_number(key, entry, over, quote) for key, entry in best["parameters"].items()]
    fitted = [form for form in law["forms"].values() if not form["reason"] and form is not best]
    others = [
        f"{form['formula'].removeprefix('R = ')} {form['held_out']:.3f}"
        for form in sorted(fitted, key=lambda form: form["held_out"])
    ]
    remarks = ["no form fits; this is the least bad one"] if law["poor"] else []
    error = f"held-out error {best['held_out']:.3f}"
    remarks.append(f"{error} (others: {', '.join(others)})" if others else error)
    if "lack_of_fit" in best:  # files of before have none
        remarks.append(
            lack_of_fit.told(best["lack_of_fit"], "models that differ from format to format")
        )
        remarks += _scattered(best["scatter"])
    if hidden:
        remarks.append(
            "not quoted: its misfit is where models hardly differ, and intervals by the noise of "
            "all formats do not hold it"
        )
    remarks += [*best["warnings"], *bounds.ends(best["parameters"])]
    return Law(name, best["formula"], numbers, remarks)


def _scattered(scatter: Mapping[str, float]) -> list[str]:
    """What formats and models have in common, in percent of fp32's bits."""
    parts = [f"{percent(sd)} of {name}" for name, sd in scatter.items() if name != POINTS]
    if not parts:
        return []
    return [
        f"scatter about it, in parts of fp32's bits: {', '.join(parts)}, beside "
        f"{percent(scatter[POINTS])} of single means: intervals hold all of it"
    ]


def _number(key: str, entry: Row, over: str, quote: bool) -> Number:
    low, high = entry["low"], entry["high"]
    interval = None if low is None or high is None else [low, high]
    why = entry["reason"] or "open on one side"
    return Number(key, entry["value"], entry["unit"], [Interval(over, interval, why, quote)])


def _pairs(rows: Sequence[Row]) -> Table:
    cells: list[list[str]] = []
    last = None
    for row in rows:
        question = dict(QUESTIONS)[row["question"]]
        one, other = (METHODS.get(row[side], row[side]) for side in ("one", "other"))
        head = f"{question}: {one} - {other}"
        if head != last:
            cells.append([head])
        last = head
        interval = None if row["low"] is None else [row["low"], row["high"]]
        cells.append(
            [
                row["format"],
                f"{row['difference']:+.3f}",
                ends(interval) or "–",
                f"{row['pairs']:,}",
                f"{row['wins']:,}",
            ]
        )
    key = "difference of the parts of fp32's bits; 95%: Student's t over pairs"
    return Table(PAIRS, cells, key=key, name="pairs")


def _flags(run_ids: Mapping[str, Sequence[str]]) -> list[Flag]:
    return [
        Flag(*FAILED, run_ids["failed"]),
        Flag(*MISSING, run_ids["missing"]),
        Flag("unconverged", f"{RISING_MEANS}; flagged, not removed", run_ids["rising"]),
        Flag(
            "data-limited",
            f"holds over {DATA_LIMITED:.0%} of its data: a lower bound of what it could hold",
            run_ids["data_limited"],
        ),
        Flag(
            "not-quantized",
            "finished, but without the rows of quantization that its settings ask for",
            run_ids["without_rows"],
        ),
    ]
