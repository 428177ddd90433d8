"""What a study of facts says, in words."""

from __future__ import annotations

from typing import cast

from capacity.analysis import published_rows
from capacity.analysis.document import (
    RESIDUAL,
    Block,
    Document,
    Laws,
    Section,
    Text,
)
from capacity.analysis.facts import other_people, run_lists, wording_laws
from capacity.analysis.facts.schema import Arm, Choice, Fit, Peak
from capacity.analysis.finding import Finding
from capacity.analysis.thresholds import EXPOSURES_OFF, RISING
from capacity.base.table import Column, Table
from capacity.base.words import (
    capitalized,
    count,
    digits,
    ends,
    joined,
    percent,
    plural,
    some,
    span,
)
from capacity.fitting.noise import OWN

MOST_ARMS = 60  # rows of the table of arms; all are in arms.csv
DASH = "–"
QUANTITIES = {
    "rising": "R grows by a factor of",
    "ratio": "a ratio of",
    "peak_ratio": "R =",
    "saturated_fraction": "R / R^max =",
}
CAPTIONS = {
    "arms": "R of every run, by arm",
    "exposures": "Bits per parameter against exposures",
    "ratio": "Learned bits against parameters",
}
MARKS = {  # key of an arm -> mark, meaning
    "rising": ("r", f"some run gained over {RISING:.0%} in its last tenth"),
    "off": ("e", f"counted exposures off by over {EXPOSURES_OFF:.0%}"),
    "failed": ("f", "failed runs"),
    "missing": ("m", "missing runs"),
}


def document(finding: Finding) -> Document:
    """What was found, in words: levels of R first, then verdicts, then laws over exposures."""
    fit = cast(Fit, finding.numbers)
    peaks = "Peak R over models" if _several(fit) else "R of arms with intervals"
    sections = [
        Section("arms", "R by arm", _arms(fit)),
        Section("peaks", peaks, _peaks(fit)),
    ]
    if fit["exposure_laws"]:
        laws = Laws([wording_laws.exposure_law(law) for law in fit["exposure_laws"]])
        title = "R against exposures E, saturating forms fitted to one model and N"
        sections.append(Section("fits", title, [laws]))
    sections.append(
        published_rows.section(
            fit["verdicts"],
            _scale(fit),
            "this study names no published values (expects)",
            fit["overrides"],
        )
    )
    return Document(
        f"Knowledge in {fit['study']}: R = learned bits per parameter",
        [
            *_levels(fit),
            *_verdicts(fit),
            *wording_laws.law_ratios(fit),
            *wording_laws.plateaus(fit),
        ],
        sections,
        run_lists.flags(fit),
        _notes(fit),
        _conventions(fit),
        CAPTIONS,
        _facts(fit),
    )


def _facts(fit: Fit) -> list[str]:
    n, best = fit["n"], joined(fit["best_over"]["settings"])
    chosen = f"; of otherwise equal runs, the one with the most bits over {best}" if best else ""
    aside = f", {n['refused']} refused" if "refused" in n else ""
    size = f"{n['finished']} of {plural(n['rows'], 'run')} finished{aside}"
    size += f", {plural(n['arms'], 'arm')}"
    return [*filter(None, [capitalized(fit["question"])]), f"{size}{chosen}."]


def _scale(fit: Fit) -> str:
    """The scale of these runs."""
    n, p, e = (
        [row[key] for row in fit["arms"]] for key in ("n_people", "parameters_paper", "exposures")
    )
    sizes = f"N {span(min(n), max(n))}, P {span(min(p), max(p))}"
    return f"{sizes}, {span(min(e), max(e))} exposures"


# --- answers
# --------------------------------------------------------------------------------------------------


def _levels(fit: Fit) -> list[str]:
    """What was held: the lowest and the highest peak, and whether runs had ended learning."""
    peaks, rising = fit["peaks"], len(fit["flags"]["rising"])
    if not peaks:
        return ["**No answer yet:** no arm has a finished run."]
    low, high = (pick(peaks, key=lambda peak: peak["value"]) for pick in (min, max))
    seeds = sorted({peak["seeds"] for peak in peaks})
    several = _several(fit)
    over = "seeds and models" if several else "seeds, noise by arm"
    about = [
        f"95% over {over}" if high["interval"] else f"no interval: {high['reason']}",
        plural(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds",
    ]
    if rising:
        about.append(
            f"{rising} of {plural(fit['n']['finished'], 'run')} still gained over {RISING:.0%} in "
            "the last tenth of training"
        )
    best = f"{high['model']}, R^max {digits(high['r_max'])}"
    if low is high:
        return [
            f"R = {_level(high)} bits per parameter ({high['name']}; {best}; {'; '.join(about)})."
        ]
    what = "peak R over models" if several else "R"
    return [
        f"R = {_level(low)} ({low['name']}) to {_level(high)} bits per parameter ({high['name']}; "
        f"{best}): {what} of {len(peaks)} arms ({'; '.join(about)})."
    ]


def _several(fit: Fit) -> bool:
    """Whether some peak is one over models."""
    return any(peak["models"] > 1 for peak in fit["peaks"])


def _level(peak: Peak) -> str:
    return f"**{digits(peak['value'])}** {ends(peak['interval'])}".strip()


def _verdicts(fit: Fit) -> list[str]:
    rows, out = fit["verdicts"], []
    scale = "" if fit["scale"] == "published" else f" at {fit['scale']} scale"
    for v in rows:
        if v["measured"] is None:
            continue
        where = f" ({v['at']})" if v["at"] else ""
        quantity = QUANTITIES.get(v["quantity"], v["quantity"].replace("_", " "))
        interval = f", 95% {ends(v['interval'])}" if v["interval"] else " (no interval)"
        out.append(
            f"{capitalized(v['name'])}{where}: {quantity} **{digits(v['measured'])}**{interval}; "
            f"published {published_rows.row(v).published}: **{v['verdict']}**{scale}."
        )
    if rows and not out:
        out.append(
            "**No answer yet:** nothing of what this study compares was measured "
            f"({rows[0]['reason']})."
        )
    return out


# --- tables and laws
# --------------------------------------------------------------------------------------------------


def _arms(fit: Fit) -> list[Block]:
    arms, rows, last = fit["arms"], [], None
    asked = any(arm["extraction_accuracy"] is not None for arm in arms)
    guessed = any(arm["accuracy_guess"] is not None for arm in arms)
    for arm in arms[:MOST_ARMS]:
        if arm["curve"] != last:
            rows.append([arm["curve_name"]])
        last = arm["curve"]
        rows.append(_arm(arm, guessed, asked))
    heads = [
        Column("model", "layers x width, and what tells models of one size apart", right=False),
        Column("P", "parameters without the rows of unused tokens"),
        Column("seeds"),
        Column("R^max", "bits of the data / P"),
        Column("R", "learned bits / P, mean over seeds"),
        Column("± sd", "over seeds", detail=True),
        Column("R/R^max", "part of the data's bits that is learned"),
        *[
            Column("extraction", "of questions about held-out people", detail=True),
            Column("guessing", "part of these questions that guessing gets", detail=True),
        ]
        * asked,
        Column("accuracy", "part of the values written exactly", detail=True),
        *[Column("guessing values", "part of them that guessing gets", detail=True)] * guessed,
        Column("R total", "learned bits per parameter of all", detail=True),
        Column("95% of R", "Student's t over the arm's own seeds", detail=True),
        Column("", right=False),
    ]
    key = "sd over seeds; intervals are in arms.csv"
    if len(arms) > MOST_ARMS:
        key = f"{len(arms) - MOST_ARMS} more arms are in arms.csv; {key}"
    return [Table(heads, rows, key=key, name="arms", marks=dict(MARKS.values()))]


def _arm(arm: Arm, guessed: bool, asked: bool) -> list[str]:
    low, high = arm["r_low"], arm["r_high"]
    return [
        arm["model"],
        count(arm["parameters_paper"]),
        str(arm["seeds"]),
        digits(arm["r_max"]),
        digits(arm["r"]),
        digits(arm["r_sd"], 2),
        percent(arm["fraction"]),
        *[percent(arm["extraction_accuracy"]), percent(arm["extraction_accuracy_guess"])] * asked,
        percent(arm["accuracy"]),
        *[percent(arm["accuracy_guess"])] * guessed,
        digits(arm["r_total"]),
        DASH if low is None or high is None else ends([low, high]),
        "".join(mark for key, (mark, _) in MARKS.items() if arm[key]),
    ]


def _peaks(fit: Fit) -> list[Block]:
    peaks = fit["peaks"]
    references = dict.fromkeys(p["against_first"]["name"] for p in peaks if p["against_first"])
    ratios = [
        Column("ratio", "to the first arm with the same data"),
        Column(
            "95% of ratio", "Fieller over seeds: by pairs, or by the noise of arms", detail=True
        ),
    ]
    heads = [
        Column("arm", right=False),
        Column("R"),
        Column("95%", "over seeds; allows for the bias of a maximum over models"),
        Column("model", right=False),
        *(ratios if references else []),
        Column("R^max", detail=True),
        Column("models", detail=True),
        Column("95% of its own seeds", detail=True),
    ]
    key = "95% over seeds, noise by arm"
    if _several(fit):
        key = "95% allows for the bias of a maximum over models"
    if reasons := dict.fromkeys(peak["reason"] for peak in peaks if peak["reason"]):
        key = f"no interval: {'; '.join(reasons)}"
    if references:
        key = f"{key}; ratio: to R of {joined(references, 'or')}, whose data are the same"
    rows = [_peak(peak, bool(references)) for peak in peaks]
    blocks: list[Block] = [Table(heads, rows, key=key, name="peaks")]
    small = fit["data_limited"]
    if small["arms"]:
        blocks.append(
            Text(
                f"Of {plural(small['arms'], 'arm')} whose R^max is at most "
                f"{small['below_peak']:g} of the peak, R/R^max is at least "
                f"{percent(small['min'])} ({small['lowest']}), on average {percent(small['mean'])}."
            )
        )
    return blocks


def _peak(peak: Peak, with_ratio: bool) -> list[str]:
    against, ratio = peak["against_first"], ["", ""]
    if against:
        ratio = [digits(against["value"]), ends(against["interval"]) or DASH]
    return [
        peak["name"],
        digits(peak["value"]),
        ends(peak["interval"]) or DASH,
        peak["model"],
        *(ratio if with_ratio else []),
        digits(peak["r_max"]),
        str(peak["models"]),
        ends(peak["own_interval"]) or DASH,
    ]


# --- notes and conventions
# --------------------------------------------------------------------------------------------------


def _notes(fit: Fit) -> list[str]:
    notes, best, sizes = [], fit["best_over"], fit["vocabulary_sizes"]
    for column, names in best["at_edge"].items():
        notes.append(
            f"The best {column} is the smallest or largest tried, so others might raise R: "
            f"{some(names, 3)}."
        )
    if best["settings"]:
        notes.append(
            "The reported number itself chooses the best of several runs, so its noise biases it "
            f"upward. {describe_choice(best['choice'])}".strip()
        )
    if sizes:
        notes.append(
            f"Vocabularies of {sizes[0]:,} to {sizes[-1]:,} rows are mixed, as settings of the "
            "data explain; P holds the rows, so R of small models moves with them."
        )
    if fit["noise"]:
        notes.append(_noise(fit))
    notes += other_people.words(fit.get("other_exposures", []))
    notes.append(
        "Training by gradient descent gives a lower bound of what a model can hold at these "
        "exposures; better training can raise R."
    )
    return notes


def _noise(fit: Fit) -> str:
    """What the intervals of peaks and ratios take for the noise of seeds."""
    own = sum(arm["noise_of"] == "its own seeds" for arm in fit["arms"])
    others = sum(bool(arm["noise_of"]) for arm in fit["arms"]) - own
    sources = []
    if own:
        sources.append(f"an arm's own where it has {OWN} seeds ({plural(own, 'arm')})")
    if others:
        through = f"a line through the other arms where it has fewer ({plural(others, 'arm')})"
        sources.append(through)
    classes = {"data_limited": "data-limited arms", "open": "other arms"}
    lines = [
        f"sd {digits(line['sd'], 2)} at R = {digits(line['at'], 2)}, as R^{line['slope']:.1f} "
        f"({classes[name]}, {plural(line['dof'], 'degree of freedom', 'degrees of freedom')})"
        for name, line in fit["noise"].items()
    ]
    return f"Noise of R over seeds: {', '.join(sources)}. Over all arms: {'; '.join(lines)}."


def describe_choice(choice: Choice | None) -> str:
    """By how much choosing the best biases R, in a sentence or two; empty where nothing was
    chosen."""
    if choice is None:
        return ""
    left = ", ".join(f"{n} ({why})" for why, n in choice["left_out"].items() if n)
    if choice["percent"] is None:
        return f"By how much cannot be said: {left}." if left else ""
    over = f"on average over {plural(len(choice['arms']), 'arm')}"
    if choice["interval"]:
        low, high = choice["interval"]
        over = f"[{low:.2g}, {high:.2g}] {over}"
    skipped = f" Arms left out: {left}." if left else ""
    return (
        f"R as quoted exceeds a choice by the other seeds by {choice['percent']:.2g}% ({over}); "
        f"noise alone adds {choice['noise_percent']:.2g}% to the best mean. A choice by so few "
        f"seeds may be the worse one, so the bias is at most about this.{skipped}"
    )


_OF_CORPORA = (
    "bits beyond the frequencies: a value counts log2(n / c) bits, c of the n people whose texts "
    "state the attribute have it; values that no text states add none, so bits are a lower bound; "
    "R^max has all values",
)


def _conventions(fit: Fit) -> list[tuple[str, str]]:
    convention = fit["convention"]
    return [
        ("R", convention["R"]),
        ("R total", convention["r_total"]),
        ("R^max", convention["r_max"]),
        ("source", convention["source"]),
        *(("corpora", text) for text in _OF_CORPORA * ("corpus" in fit["data_kinds"])),
        ("arm", "runs that are equal but for the seed and, of a peak, the size of the model"),
        ("exposures", "how often a rendering of a person is seen; counted"),
        (
            "interval of a peak",
            "95% over seeds, and over which model is best: it allows for the bias of a maximum; "
            "noise of seeds by arm",
        ),
        (
            "interval of a ratio",
            "95% by Fieller's theorem: over pairs of size and seed where there are three, else by "
            "the noise of its arms, as its row says; the same in every table",
        ),
        ("interval of a law over exposures", "95%, profile likelihood, every run a replicate"),
        ("bootstrap", f"{fit['bootstrap']['resamples']:,} resamples"),
        RESIDUAL,
    ]
