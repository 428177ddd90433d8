"""What a study of text found, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import cast

import pandas as pd

from capacity.analysis import published_rows
from capacity.analysis.document import (
    FAILED,
    MISSING,
    P_TOTAL,
    RESIDUAL,
    RISING_MEANS,
    Document,
    Flag,
    Laws,
    Section,
    Verdict,
    Verdicts,
)
from capacity.analysis.finding import Finding
from capacity.analysis.table_checks import rising
from capacity.analysis.text import (
    crossing,
    fits,
    random_capacity,
    sizes,
    tables,
    tables_forgetting,
    wording_forgetting,
    wording_risk,
    wording_subsets,
)
from capacity.analysis.text import membership_law as law
from capacity.analysis.text.analysis import broken, overlapping, targets_of
from capacity.analysis.text.schema import (
    AsPrinted,
    Canaries,
    CanaryLaw,
    Descent,
    Frame,
    Memory,
    NoLaw,
)
from capacity.analysis.text.tables import measured
from capacity.analysis.thresholds import BROKEN_SPLIT, OVERLAP
from capacity.base.words import digits, ends, percent, plural, span

LACK = 0.05  # probability below which a law is said not to fit
SOURCE = "arXiv 2505.24832 v3, section 5.2.1"
CAPTIONS = {  # in the order of a reader
    "forgetting_random": "Forgetting of random tokens, by model and batch",
    "forgetting_random_views": "Forgetting of random tokens, by views",
    "forgetting_passages": "Forgetting of passages, by model and batch",
    "forgetting_passages_views": "Forgetting of passages, by views",
    "canaries": "Exposure of canaries",
    "extraction": "Extraction of canaries",
    "membership": "Membership F1 against tokens per parameter",
    "losses": "Loss on trained and held-out text",
    "descent": "Loss on held-out text against the bits of the data",
    "generalised": "Memorized and generalised bits",
    "roc": "ROC curves of the attacks",
    "roc_shadows": "ROC curves of the attacks with shadow models",
    "subsets": "Memorized bits of sequences by their code length in models without them",
}
CONVENTIONS = [
    (
        "F1",
        "half of all sequences is flagged, so that chance is 0.5 and precision, recall and F1 are "
        "one number",
    ),
    ("AUC", "chance is 0.5; of the loss attack unless another is named"),
    (
        "unintended bits",
        "over a model of the same size trained on more data. clipped: the paper's, which counts "
        "the noise of sequences as bits; mixture: a code that exists; gap: minus the same on "
        "held-out sequences, where an overfitted model is worse than none, so that it is an upper "
        "value",
    ),
    ("data bits", "code length of the members under the reference model of the same size"),
    (
        "generalised bits",
        "what the model takes off a code of log2 V per token, minus what it memorized; memorized "
        "and generalised bits do not add up to the data bits, which are of another code",
    ),
    (
        "overlap",
        "held-out sequences that share so many tokens in a row with the training set, 13 unless "
        "data.overlap_tokens is set (Brown et al., arXiv 2005.14165, appendix C, of tokens instead "
        "of words)",
    ),
    (
        "LiRA",
        "one variance per side (seen, not seen) for all sequences, whatever the number of shadow "
        "models, unless --lira-variance sequence asks for one of each (Carlini et al., arXiv "
        "2112.03570, section VI-B)",
    ),
    (
        "exposure",
        "log2 of the rank of a canary's loss among so many sequences drawn like it, from their "
        "number down (Carlini et al., arXiv 1802.08232): 1.44 bits on average by chance, and a "
        "ceiling where none is ahead; its law takes both ends and the noise of ranks into account",
    ),
    ("tokens per parameter", "tokens of the distinct training sequences / P total"),
    P_TOTAL,
    (
        "intervals of laws",
        "95%; " + "; ".join(f"{name}: {how}" for name, how in fits.INTERVALS.items()),
    ),
    (
        "intervals of attacks",
        "95% over models (Student's t): about training, not about another text; attacks.csv has "
        "those over sequences",
    ),
    RESIDUAL,
]


def document(finding: Finding) -> Document:
    """Answers in this order: forgetting, where memorization peaks (only where the peak is clear),
    the law of membership and its predictions, canaries, shadow models."""
    numbers, runs = cast(Memory, finding.numbers), finding.tables["runs.csv"]
    attacks = finding.tables["attacks.csv"]
    clear = {model: one for model, one in numbers["descent"].items() if one["clear"]}
    first = ["descent"] if clear else []
    return Document(
        f"{numbers['study']}: memorization of text",
        _answers(numbers, runs, attacks, clear),
        _sections(numbers, runs, attacks),
        _flags(runs),
        numbers["notes"],
        _conventions(runs),
        {name: CAPTIONS[name] for name in dict.fromkeys([*first, *CAPTIONS])},
        [
            f"{numbers['finished']} of {plural(numbers['runs'], 'run')} finished"
            + (f", {numbers['targets']} of them targets" if numbers["targets"] else "")
        ],
    )


def _conventions(runs: Frame) -> list[tuple[str, str]]:
    """With the count of parameters that ratios are of."""
    if "parameters_used" not in runs:
        return CONVENTIONS
    in_use = (
        "P in use",
        "P total without rows of the table that no sequence or canary has; laws and ratios are of "
        "it, the settings data.tokens_per_parameter and data.load of P total",
    )
    tokens: tuple[str, str] = (
        "tokens per parameter",
        "tokens of the distinct training sequences / P in use",
    )
    conventions: list[tuple[str, str]] = [tokens if c[0] == tokens[0] else c for c in CONVENTIONS]
    return [*conventions, in_use]


def _few_rows(runs: Frame) -> Flag:
    """Runs of whose rows a text uses few, with the settings that fit."""
    if "used_rows" not in runs:
        return Flag("unused-rows", sizes.MEANS, [])
    few = runs[runs.used_rows < sizes.FEW * runs.vocab_size]
    phrases = []
    for (rows, used), group in few.groupby(["vocab_size", "used_rows"]):
        sizes_known = set(group.get("fitting_vocab_size", pd.Series(dtype=float)).dropna())
        fits = " or ".join(f"data.vocab_size={size:.0f} fits" for size in sorted(sizes_known))
        p, total = group.parameters_used, group.parameters_total
        phrases.append(
            f"data.vocab_size={rows}: {int(used):,} rows in use, {span(p.min(), p.max())} of "
            f"{span(total.min(), total.max())} parameters; {fits or 'no vocabulary fits'}"
        )
    text = "".join(f" ({one})" for one in phrases)
    return Flag("unused-rows", sizes.MEANS + text, sorted(few.run_id))


def _sections(numbers: Memory, runs: Frame, attacks: Frame) -> list[Section]:
    targets, out = targets_of(runs), []
    compared = []
    if len(targets):
        shown = [tables.targets(targets), *tables.setups(numbers["setups"], numbers["token_bits"])]
        out.append(Section("targets", "Targets", shown))
        compared += [tables.attacks(targets), tables.clean_attacks(targets)]
        compared += [tables.extraction(targets), *tables.copies(targets)]
    compared.append(tables.shadows(attacks, runs))
    if shown := [table for table in compared if table is not None]:
        out.append(Section("attacks", "Attacks", shown))
    if shown := wording_risk.tables(numbers):
        out.append(Section("at_risk", "Who is at risk", shown))
    if shown := wording_subsets.tables(numbers):
        out.append(Section("subsets", "What single sequences cost", shown))
    if (forgetting := numbers["forgetting"]) is not None:
        out.append(Section("forgetting", "Forgetting", tables_forgetting.forgetting(forgetting)))
    elif numbers["canaries"] is not None:
        out.append(Section("canaries", "Canaries", tables.canaries(targets)))
    if numbers["descent"]:
        out.append(Section("descent", "Double descent", [tables.descent(numbers["descent"])]))
    if laws := fits.laws(numbers):
        out.append(Section("fits", "Fits", [Laws(laws, fits.note(numbers))]))
    return [*out, _published(numbers, targets)]


def _published(numbers: Memory, targets: Frame) -> Section:
    p = targets.parameters_total
    here = f"P {span(p.min(), p.max())}" if len(p) else ""
    section = published_rows.section(
        numbers["verdicts"], here, "no published value for what this study fits"
    )
    if numbers["printed"] is None:
        return section
    (block,) = section.blocks
    verdicts = cast(Verdicts, block)
    rows = [*verdicts.rows, _as_printed(numbers["printed"])]
    return dataclasses.replace(section, blocks=[Verdicts(rows, verdicts.note)])


def _as_printed(printed: AsPrinted) -> Verdict:
    rises = ", and it rises with data" if printed["rises_with_data"] else ""
    return Verdict(
        "F1 by the law as printed",
        "its own constants",
        f"rms error {digits(printed['rmse'])}{rises}",
        "not judged",
        "the models there are 150 to 4,700 times larger and trained on English with another "
        "vocabulary",
        SOURCE,
    )


def _flags(runs: Frame) -> list[Flag]:
    def ids(mask: Frame) -> list[str]:
        return sorted(runs.run_id[mask])

    unknown = (runs.status == "finished") & runs.bag_of_words_sd.isna()
    unasked = runs.status == "finished"
    if "overlap" in runs:
        unasked &= runs.overlap.isna()
    return [
        Flag(*FAILED, ids(runs.status == "failed")),
        Flag(*MISSING, ids(runs.status == "missing")),
        Flag("unconverged", RISING_MEANS, ids(rising(runs))),
        Flag(
            "broken-split",
            f"a bag-of-words baseline separates members from others by more than {BROKEN_SPLIT:g} "
            "of its standard deviations: the split is biased",
            sorted(broken(runs).run_id),
        ),
        Flag(
            "unknown-split",
            "the record has no spread of the bag-of-words baseline by chance; measure it again",
            ids(unknown),
        ),
        _few_rows(runs),
        Flag(
            "overlap",
            f"more than {OVERLAP:.0%} of the held-out sequences share tokens in a row with the "
            "training set: they are members in part, and the split is not sound",
            sorted(overlapping(runs).run_id),
        ),
        Flag(
            "unknown-overlap",
            "the record does not say what held-out sequences share with the training set; measure "
            "it again",
            ids(unasked),
        ),
    ]


def _answers(
    numbers: Memory, runs: Frame, attacks: Frame, clear: Mapping[str, Descent]
) -> list[str]:
    answers = []
    if numbers["forgetting"] is not None:
        answers += wording_forgetting.answers(numbers["forgetting"], runs)
    answers += [_peak(model, one) for model, one in clear.items()]
    answers += [*_overlap(runs), *_membership(numbers), *_predictions(numbers)]
    if numbers["forgetting"] is None and numbers["canaries"] is not None:
        answers += _canaries(numbers["canaries"])
    answers += _shadows(attacks)
    answers += wording_risk.answers(numbers)
    answers += wording_subsets.answers(numbers)
    if answers:
        return answers
    f1 = numbers["laws"]["f1_median"]
    why = f"F1: {f1['reason']}" if "reason" in f1 else "the fitted law never falls to 0.75"
    return [f"**No law from these runs:** {why}."]


def _overlap(runs: Frame) -> list[str]:
    """What comes before any number of membership where held-out sequences are members in part."""
    if not len(unsound := overlapping(runs)):
        return []
    return [
        f"**The split of {plural(len(unsound), 'run')} is not sound:** up to "
        f"{percent(unsound.overlap.astype(float).max())} of the held-out sequences share "
        f"{span(unsound.overlap_tokens.min(), unsound.overlap_tokens.max())} tokens in a row with "
        "the training set, so that they are members in part; attacks without them stand beside "
        "those on all."
    ]


def _membership(numbers: Memory) -> list[str]:
    law_of_f1, form = law.deciding(numbers)
    if "reason" in law_of_f1 or law_of_f1["falls_to"]["0.75"]["t"] is None:
        return []
    at = law_of_f1["falls_to"]["0.75"]
    answers = [
        f"F1 of the loss attack falls to 0.75 at **{digits(at['t'])} tokens per parameter**"
        f"{crossing.covered(at)}, {law_of_f1['points']} runs (by {form}, which alone decides the "
        f"verdict); chance is 0.5.{crossing.in_bits(at['t'], numbers['token_bits'])}"
    ]
    other, words = law.beside(numbers)
    if other is None or "reason" in other:
        return answers
    there, more, apart = other["falls_to"]["0.75"], "", False
    if there["interval"] and there["t"] is not None:
        more = f" and puts this point at {digits(there['t'])} {ends(there['interval'])}"
        apart = at["interval"] is not None and not (
            at["interval"][0] <= there["t"] <= at["interval"][1]
        )
    end = ": the choice of the form moves the answer more than these sources" if apart else ""
    return [
        *answers,
        f"Beside it, {words} has an rms error of {digits(other['rmse'])}{more}; {form} has one of "
        f"{digits(law_of_f1['rmse'])}{end}.",
    ]


def _predictions(numbers: Memory) -> list[str]:
    """The largest model first."""
    out = []
    for row in reversed(numbers["predictions"]["f1_median"]):
        t, measured, predicted = max(
            zip(row["t"], row["measured"], row["predicted"], strict=True),
            key=lambda point: abs(point[1] - point[2]),
        )
        out.append(
            f"Fitted to smaller models, the law predicts F1 of {row['model']} with an rms error of "
            f"**{digits(row['rmse'])}**; the largest error is at {digits(t)} tokens per parameter "
            f"(predicted {digits(predicted)}, measured {digits(measured)})."
        )
    return out


def _peak(model: str, one: Descent) -> str:
    most = "at least" if one["at_edge"] else "at most"
    interval = " (95% over seeds)" if one["peak"]["interval"] else " (no interval: one seed)"
    of_random = ""
    if (over := one.get("peak_over_random")) and (random := one.get("random")):
        of_random = (
            f" and **{measured(over)}** times the {digits(random['alpha']['value'])} that it holds "
            f"of random data ({random_capacity.words(random)}), the paper's denominator"
        )
    return (
        f"{model} memorizes {most} **{measured(one['alpha'])} bits per parameter**; its loss on "
        f"held-out text is highest at {measured(one['peak'])} data bits per parameter, "
        f"{measured(one['peak_over_capacity'])} times that{of_random}{interval}."
    )


def _canaries(numbers: Canaries) -> list[str]:
    exposure, logistic = numbers["exposure"], numbers["logistic"]
    if "reason" in exposure and "reason" in logistic:
        why = "; ".join(
            dict.fromkeys(f"{name}: {law['reason']}" for name, law in _lawless(numbers).items())
        )
        return [f"**No law of canaries:** {why}."]
    out = []
    if numbers["half_extracted"] and "reason" not in logistic:
        out.append(
            f"Half of the canaries are written out after **{tables.half_extracted(numbers)}** "
            f"(logistic law over all levels of {plural(logistic['runs'], 'run')})."
        )
    if "reason" in exposure:
        return [*out, f"**No law of exposure:** {exposure['reason']}."]
    return [*out, _exposure(exposure)]


def _lawless(numbers: Canaries) -> dict[str, NoLaw]:
    laws = {"exposure": numbers["exposure"], "extraction": numbers["logistic"]}
    return {name: law for name, law in laws.items() if "reason" in law}


def _exposure(law: CanaryLaw) -> str:
    """The law of exposure with its range, and that it is no straight line where it is not."""
    at, size = law.get("censored"), ""
    assert at is not None, "a law of exposure says what is censored"
    if "c" in law:
        size = f" and by **{measured(law['c'])}** with every doubling of parameters"
    over = "95% over" if law["b"]["interval"] else "no interval:"
    text = (
        f"Exposure of canaries between {digits(at['low'])} bits and the ceiling of "
        f"{digits(at['high'])} grows by **{measured(law['b'])}** bits with every doubling of views"
        f"{size} ({over} {plural(law['runs'], 'run')} and "
        f"{plural(law['canaries'], 'canary', 'canaries')}; of all exposures {at['below']:,} below "
        f"and {at['above']:,} at the ceiling are censored, {at['between']:,} lie between)."
    )
    p = (law["lack_of_fit"] or {}).get("any")
    if p is not None and p < LACK:
        text += (
            f" No line fits (p = {p:.2g}): these are mean slopes of that range, not of all "
            "exposures."
        )
    return text


def _shadows(attacks: Frame) -> list[str]:
    """Of the first set of models with shadow models: LiRA and RMIA beside the loss alone."""
    half = attacks[attacks.trained_on == "half"] if len(attacks) else attacks
    if not len(half) or "lira" not in set(half.attack):
        return []
    lira = half[half.attack == "lira"].iloc[0]
    same = half[
        (half.model == lira.model) & (half.tokens_per_parameter == lira.tokens_per_parameter)
    ].set_index("attack")
    names = {"lira": "LiRA", "rmia": "RMIA", "loss": "the loss alone"}
    rows = {words: same.loc[name] for name, words in names.items() if name in same.index}
    aucs = ", ".join(
        f"{words} **{digits(row.auc)}** {_between(row, 'auc', digits)}".rstrip()
        for words, row in rows.items()
    )
    rates, rate = "", "tpr_at_0.01"
    if rate in same and pd.notna(lira[rate]):
        rates = " Members detected at 1% false positives: " + ", ".join(
            f"{words} {percent(row[rate])} {_between(row, rate, percent)}".rstrip()
            for words, row in rows.items()
            if words != "RMIA"
        )
        rates += "."
    return [
        f"With shadow models the AUC is {aucs} (95% over {plural(int(lira.models), 'model')} as "
        f"targets, {lira.model} at {digits(lira.tokens_per_parameter)} tokens per parameter)."
        f"{rates}"
    ]


def _between(row: Frame, name: str, words: Callable[[float], str]) -> str:
    """The interval of a row's mean over models in brackets, or that all models are equal."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(low):
        return "in every model" if row.models > 1 else ""
    return f"[{words(low)}, {words(high)}]"
