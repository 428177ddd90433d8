"""What an audit found, in words: the headline first, what it does not show never left out.

A headline says what was asked, what was found, with the interval and the number of documents, in
words that need no statistics. "No evidence" is never "safe"; where the files differ without a model
there is no verdict, and every number of membership carries that.
"""

from __future__ import annotations

from typing import Literal

from capacity.analysis.document import P_TOTAL, Document
from capacity.audit import sections
from capacity.audit.schema import Estimate, Model, Numbers, Sizes
from capacity.audit.sections import ATTACKS, DIFFERS, LOOKS, auc, between, measured, units
from capacity.base.frames import Frame
from capacity.base.words import count, digits, joined, percent, plural

CAPTIONS = {  # in the order of a reader
    "roc": "Who is told apart: true against false positives",
    "scores": "Scores of both files",
    "copies": "Flagged documents by copies",
}
CONVENTIONS = [
    (
        "AUC",
        "of a document of each file, drawn at random, the chance that the member scores higher; "
        "0.5 by chance",
    ),
    ("TPR at 1%", "members that score above all but 1% of the others (Carlini et al., 2112.03570)"),
    ("F1", "half of all documents is flagged, so that chance is 0.5"),
    (
        "flagged",
        "of the others, itself counted among them, at most 1% score as high (a conformal p value): "
        "of documents that were never seen 1% is flagged",
    ),
    (
        "cannot tell",
        "of a document: the interval of the false positive rate at which it is flagged holds 1/2",
    ),
    (
        "scores",
        "loss: mean log-probability; zlib: over the bytes after zlib; Min-K%: of the least likely "
        "20% of tokens (2310.16789); Min-K%++: these standardised over the vocabulary "
        "(2404.02936); ReCaLL: behind a prefix of a non-member over without (2406.15968); ratio to "
        "the reference: log p less that of the reference",
    ),
    (
        "dataset inference",
        "scores put together by weights that are fitted on one half, tested on the other (Maini et "
        "al., 2406.06443)",
    ),
    (
        "memorized bits",
        "log2 p less log2 p of the reference; clipped: documents below 0 as 0, which counts noise "
        "as bits, so that the others' are beside them",
    ),
    (
        "(n, p)-discoverable",
        "among n samples at temperature 1 the true suffix is with probability p (Hayes et al., "
        "2410.19482)",
    ),
    (
        "exposure",
        "log2 of the number of candidates and the canary less log2 of its rank (Carlini et al., "
        "1802.08232); 1.44 bits on average by chance",
    ),
    (
        "e-value",
        "2 to the saved bits of a random canary: what a bet on its memory at fair odds returns",
    ),
    (
        "copies",
        "rows of a file with the same text; they are one document",
    ),
    P_TOTAL,
]


def document(numbers: Numbers, documents: Frame, groups: Frame | None = None) -> Document:
    """The whole audit. documents, groups: the tables beside audit.json."""
    about = sections.called(numbers)
    caution = sections.cautioned(numbers)
    captions = {name: sections.captioned(text, caution) for name, text in CAPTIONS.items()}
    return Document(
        heading(numbers),
        [headline(numbers), *_answers(numbers, documents)],
        sections.sections(numbers, documents, groups),
        notes=_notes(numbers),
        conventions=_conventions(numbers),
        figures=captions,
        facts=[
            f"Asked: was {about['model']} trained on {_of(numbers, 'members')}, against "
            f"{_of(numbers, 'others')}, which it is said not to have seen?",
            *_facts(numbers),
        ],
    )


def heading(numbers: Numbers) -> str:
    """The question."""
    about = sections.called(numbers)
    return f"What does {about['model']} remember of {about['members']}?"


def _of(numbers: Numbers, side: Literal["members", "others"]) -> str:
    sizes: Sizes = numbers["sizes"][side]
    grouped = f" in {units(numbers, sizes['units'])}" if numbers["about"]["group"] else ""
    name = sections.called(numbers)[side]
    return f"{plural(sizes['documents'], 'document')}{grouped} of {name}"


def _facts(numbers: Numbers) -> list[str]:
    about = sections.called(numbers)
    tokens = sum(one["tokens"] for one in numbers["sizes"].values())
    seconds = [f"{digits(sum(numbers['seconds'].values()))} s"] if numbers["seconds"] else []
    reference = [f"reference {about['reference']}"] if about["reference"] else []
    return [
        ", ".join(
            [
                f"{about['model_type']}, {count(about['parameters'])} parameters in "
                f"{about['dtype']}",
                f"{count(tokens)} tokens in windows of {about['window']:,}",
                *reference,
                *seconds,
            ]
        )
    ]


# --- answers
# --------------------------------------------------------------------------------------------------


def headline(numbers: Numbers) -> str:
    """What was found, for a reader without statistics."""
    about, verdict = sections.called(numbers), numbers["verdict"]
    model, members = about["model"], about["members"]
    if verdict == "differs":
        return _no_verdict(numbers)
    if verdict == "evidence":
        return (
            f"**Evidence that {model} was trained on documents of {members}.** {_pairs(numbers)} "
            "Without a model nothing that was looked at tells the files apart."
        )
    if verdict == "no evidence":
        return (
            f"**No evidence that {model} was trained on documents of {members}; this is no "
            f"evidence that it was not.** {_pairs(numbers)}"
        )
    why = f": {'; '.join(numbers['reasons'])}" if numbers["reasons"] else ""
    return (
        f"**Cannot tell whether {model} was trained on documents of {members}**"
        f"{why}. {_pairs(numbers)}"
    )


def _primary(model: Model) -> tuple[str, Estimate]:
    name = model["primary"]
    return ATTACKS.get(name, name), model["attacks"][name]["auc"]


def _pairs(numbers: Numbers) -> str:
    """The AUC of the score that decides, in words."""
    about, sizes = sections.called(numbers), numbers["sizes"]
    name, found = _primary(numbers["models"][0])
    interval = between(found, percent)
    holds = ""
    if found["interval"] is not None:
        low, high = found["interval"]
        holds = ", which holds chance, 50%" if low <= 0.5 <= high else "; chance is 50%"
    over = f"{units(numbers, sizes['members']['units'])} and {sizes['others']['units']:,}"
    return (
        f"Given one document of {about['members']} and one of {about['others']}, the model's score "
        f"({name}) picks the first in **{percent(found['value'])}** of pairs, 95% {interval} over "
        f"{over}{holds}."
    )


def _no_verdict(numbers: Numbers) -> str:
    about, blind = sections.called(numbers), numbers["blind"]
    looks = {"words": blind["words"], "n_grams": blind["n_grams"], "lengths": blind["lengths"]}
    differs = blind["differs"] or max(looks, key=lambda name: abs(looks[name]["value"] - 0.5))
    names = differs if isinstance(differs, list) else [differs]
    most = max(names, key=lambda name: abs(looks[name]["value"] - 0.5))
    return (
        f"**No verdict on whether {about['model']} was trained on {about['members']}: {DIFFERS}.** "
        f"Given one document of each file, {LOOKS[most]} alone, seen by no model, pick that of "
        f"{about['members']} in **{percent(looks[most]['value'])}** of pairs, 95% "
        f"{between(looks[most], percent)} over {plural(blind['documents'], 'document')}; chance is "
        f"50%. A score of the model may show that difference and not its memory. Needed: others of "
        f"the same source, time and length."
    )


def _answers(numbers: Numbers, documents: Frame) -> list[str]:
    out = [_risk(numbers, documents), _written(numbers), _bits(numbers), _canaries(numbers)]
    out += [sections.predicted(numbers), _quantized(numbers)]
    return [text for text in out if text]


def _carried(numbers: Numbers) -> str:
    caution = sections.cautioned(numbers)
    return f" ({caution})" if caution else ""


def _risk(numbers: Numbers, documents: Frame) -> str:
    """Those seen once, and those of most copies."""
    model = numbers["models"][0]
    if not model["resolves"]:
        return sections.unresolved(numbers)
    levels = [one for one in model["at_risk"] if one["level"] != "others"]
    if not levels:
        return ""
    parts = [
        f"**{one['flagged']:,} of {plural(one['documents'], 'document')}** with "
        f"{_copies(one['level'])} ({measured(one['share'], percent)})"
        for one in dict.fromkeys([0, len(levels) - 1])
        for one in [levels[one]]
    ]
    names = sections.names(documents)
    whose = f"; first among them: {names}" if names else ""
    groups = model["at_risk_groups"]
    of_groups = ""
    if groups is not None:
        of_groups = f" {plural(groups, 'group stands', 'groups stand')} out as a whole."
    return (
        f"At a false positive rate of 1%, flagged are {joined(parts)}{whose}"
        f"{_carried(numbers)}.{of_groups}"
    )


def _copies(level: str) -> str:
    return "one copy" if level == "1" else f"{level} copies"


def _written(numbers: Numbers) -> str:
    found = numbers["models"][0]["extraction"]
    longest = found["longest"].get("members")
    by = found["by_suffix"]
    if not by:
        return ""
    size = sections.SUFFIX if sections.SUFFIX in by else list(by)[-1]
    mine, theirs = by[size]["members"]["greedy"], by[size]["others"]["greedy"]
    run = ""
    if longest is not None:
        run = (
            f" The longest run has {plural(longest['tokens'], 'token')}, in {longest['document']}."
        )
    return (
        f"It writes out, word for word, **{percent(mine['value'])}** of suffixes of {size} tokens "
        f"of {sections.called(numbers)['members']}, 95% {between(mine, percent)}, and "
        f"{measured(theirs, percent)} of the others.{run}"
    )


def _bits(numbers: Numbers) -> str:
    bits = numbers["models"][0]["bits"]
    if bits is None:
        return ""
    return (
        f"Of the members it holds {measured(bits['members']['clipped'])} bits beyond the "
        f"reference, where chance gives {digits(bits['others_scaled'])}: "
        f"**{measured(bits['share'], percent)}** of its capacity{_carried(numbers)}."
    )


def _canaries(numbers: Numbers) -> str:
    levels = numbers["models"][0]["canaries"]
    if not levels:
        return ""
    first, last = (pick(levels, key=lambda one: one["repeats"]) for pick in (min, max))
    of_last = (
        f"**{measured(last['exposure'])} bits** where they were shown {_times(last['repeats'])} "
        f"(at most {digits(last['at_most'])}; {percent(last['extracted']['value'])} written out)"
    )
    if first is last:
        return f"Exposure of canaries is {of_last}; chance gives 1.44."
    return (
        f"Exposure of canaries is {measured(first['exposure'])} bits where they were shown "
        f"{_times(first['repeats'])} and {of_last}; chance gives 1.44."
    )


def _times(repeats: int) -> str:
    return "once" if repeats == 1 else f"{repeats:,} times"


def _quantized(numbers: Numbers) -> str:
    if len(numbers["models"]) < 2:
        return ""
    name, _ = _primary(numbers["models"][0])
    parts = [
        f"{measured(model['attacks'][model['primary']]['auc'], auc)} at {model['name']}"
        for model in numbers["models"][1:]
    ]
    return f"After quantization the AUC of {name} is {joined(parts)}{_carried(numbers)}."


# --- what it does not show
# --------------------------------------------------------------------------------------------------


def _notes(numbers: Numbers) -> list[str]:
    about = sections.called(numbers)
    out = []
    if numbers["verdict"] != "evidence":
        out.append(
            "No evidence is not safety: attacks with shadow models, other prompts or more "
            "documents may tell what these scores do not, and single documents may be remembered "
            "where the files as wholes look alike."
        )
    out += [
        f"Everything rests on {about['others']} being of the same source as {about['members']} and "
        "unseen by the model; the program sees neither. It only looks for differences of words, "
        "phrases and lengths.",
        "A flagged document is no proof about that document: of documents that were never seen one "
        "in a hundred is flagged, too.",
        "Evidence is about training on these documents or on near copies of them; it does not say "
        "who copied, or when.",
    ]
    for side, sizes in numbers["sizes"].items():
        if sizes["left_out"]:
            out.append(
                f"The budget of tokens left out {plural(sizes['left_out'], 'document')} of {side}; "
                "nothing is said of those."
            )
    out.append(
        f"Documents are scored in windows of {about['window']:,} tokens; what spans two windows is "
        "not seen. "
        + (
            "No token opens a window, so that its first token is not scored."
            if about["opens_with"] is None
            else f"Token {about['opens_with']} opens every window."
        )
    )
    return out


def _conventions(numbers: Numbers) -> list[tuple[str, str]]:
    over = (
        f"groups of {numbers['about']['group']}: documents of one group are not independent"
        if numbers["about"]["group"]
        else "documents, as if each were independent of the others"
    )
    return [("intervals", f"95%, over {over}"), *CONVENTIONS]
