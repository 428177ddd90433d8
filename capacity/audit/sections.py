"""Sections of an audit: its numbers as tables, each membership number with the caution that the
files differ without a model where they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import cast

import pandas as pd

from capacity.analysis.document import Block, Bullets, Section, Text
from capacity.analysis.text.attacks import NAMES
from capacity.audit.schema import (
    About,
    AtRisk,
    Bits,
    CanaryLevel,
    Estimate,
    Extraction,
    Model,
    Numbers,
)
from capacity.base.frames import Frame
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, joined, p_value, percent, plural, some
from capacity.fitting.membership import FPRS

DIFFERS = "these sets differ without a model"
ATTACKS = {**NAMES, "reference": "ratio to reference", "ratio": "ratio to reference"}
LOOKS = {
    "words": "words (bag of words)",
    "n_grams": "shared n-grams",
    "lengths": "lengths in bytes",
}
NAMED = 10  # documents and groups that are told by name; all are in the files beside
RATES = tuple(f"{rate:g}" for rate in FPRS)
PAGE = "report.html"
SUFFIX = "50"  # tokens of the suffix that summaries quote, the longest that is there otherwise


def sections(numbers: Numbers, documents: Frame, groups: Frame | None) -> list[Section]:
    """All sections that there are numbers for, in the order of a reader. documents, groups: of
    documents.csv and groups.csv."""
    model, caution = numbers["models"][0], cautioned(numbers)
    out = [Section("blind", "The files without a model", _blind(numbers))]
    if numbers["predicted"] is not None:
        out.append(Section("predicted", "What a law predicts", [_predicted(numbers)]))
    out.append(Section("membership", "Membership", _membership(numbers, model)))
    if model["bits"] is not None:
        out.append(Section("bits", "Memorized bits", _bits(model["bits"], caution)))
    out.append(Section("extraction", "Extraction", _extraction(model["extraction"])))
    if model["canaries"]:
        out.append(Section("canaries", "Canaries", [_canaries(model["canaries"])]))
    out.append(Section("at_risk", "Who is at risk", at_risk(numbers, documents, groups)))
    if len(numbers["models"]) > 1:
        out.append(Section("variants", "After quantization", [_variants(numbers)]))
    return out


def cautioned(numbers: Numbers) -> str:
    """What every number of membership carries, empty where the files do not differ."""
    return DIFFERS if numbers["verdict"] == "differs" or numbers["blind"]["differs"] else ""


def called(numbers: Numbers) -> About:
    """`about` with models and files as a sentence calls them: the last part of a path; all of it
    where both files end alike, or of a name on the hub."""
    about = numbers["about"]
    last = {side: PurePath(about[side]).name or about[side] for side in ("members", "others")}
    if last["members"] == last["others"]:
        last = {side: about[side] for side in last}
    model = about["model"]
    if model.startswith((".", "/", "~")) and PurePath(model).name:
        model = PurePath(model).name
    return cast(About, {**about, **last, "model": model})


def units(numbers: Numbers, n: int) -> str:
    """1,500 documents, or 120 groups: what the intervals are over."""
    return plural(n, "group" if numbers["about"]["group"] else "document")


# --- numbers
# --------------------------------------------------------------------------------------------------


def measured(one: Estimate | None, words: Callable[[float], str] = digits) -> str:
    """0.580 [0.560, 0.599]; a dash where there is none."""
    if one is None:
        return "–"
    return f"{words(one['value'])} {between(one, words)}".strip()


def between(one: Estimate, words: Callable[[float], str] = digits) -> str:
    """The interval in brackets, empty where there is none."""
    if one["interval"] is None:
        return ""
    low, high = one["interval"]
    return f"[{words(low)}, {words(high)}]"


def auc(x: float) -> str:
    """Three decimals, as AUCs are read."""
    return f"{x:.3f}"


def signed(x: float) -> str:
    """A percentage with its sign."""
    return f"{x:+.1%}"


def captioned(text: str, caution: str) -> str:
    """With the caution behind it where there is one."""
    return f"{text} ({caution})" if caution else text


# --- tables
# --------------------------------------------------------------------------------------------------


def _blind(numbers: Numbers) -> list[Block]:
    blind = numbers["blind"]
    looks = {"words": blind["words"], "n_grams": blind["n_grams"], "lengths": blind["lengths"]}
    rows = [
        [
            LOOKS[name],
            measured(look, auc),
            p_value(look["p"]),
            "yes" if name in blind["differs"] else "no",
        ]
        for name, look in looks.items()
    ]
    columns = [
        Column("seen", "what is compared, of the two files alone", right=False),
        Column("AUC", "0.5 by chance; less what random labels give, 95%"),
        Column("p", "two-sided, of permuted labels, corrected for the number of looks"),
        Column("differs", "p below 5%"),
    ]
    about = called(numbers)
    if blind["differs"]:
        seen = joined(LOOKS[name] for name in blind["differs"])
        text = (
            f"**Not comparable:** {seen} alone tell documents of {about['members']} from those of "
            f"{about['others']}. What a model's scores tell apart may be that, so that no verdict "
            f"is given and every number of membership says: {DIFFERS}."
        )
    else:
        text = (
            "Nothing that was looked at tells the files apart without a model; other differences "
            "are not excluded."
        )
    table = Table(
        columns,
        rows,
        f"What tells the files apart without a model, of {plural(blind['documents'], 'document')}",
        f"p over {plural(blind['permutations'], 'permutation')}",
        name="blind",
    )
    return [Text(text), table]


def _predicted(numbers: Numbers) -> Block:
    return Text(predicted(numbers))


def predicted(numbers: Numbers) -> str:
    """The law's F1 beside the measured one; empty where no number of training tokens was given."""
    law, model = numbers["predicted"], numbers["models"][0]
    if law is None:
        return ""
    loss = model["attacks"].get("loss")
    beside = f"; measured {measured(loss['f1'], auc)}" if loss else ""
    beyond = ", extrapolated" if law["extrapolated"] else ""
    return (
        f"At {digits(law['tokens_per_parameter'])} tokens per parameter the law of membership "
        f"predicts an F1 of {auc(law['f1'])}{beyond}{_after(beside, cautioned(numbers))}. It was "
        f"measured on {law['scope']} ({law['source']}); chance is 0.5."
    )


def _after(text: str, caution: str) -> str:
    return f"{text} ({caution})" if text and caution else text


def _membership(numbers: Numbers, model: Model) -> list[Block]:
    caution = cautioned(numbers)
    rates = [(rate, f"TPR at {100 * float(rate):g}%") for rate in RATES]
    columns = [
        Column("score", "of a document, higher for what looks more like a member", right=False),
        Column("AUC", "chance that a member scores above another, 95%; 0.5 by chance"),
        *(
            Column(
                name, "members that score above all but this part of the others, 95%", detail=more
            )
            for (_, name), more in zip(rates, (False, True), strict=True)
        ),
        Column("F1", "where half of all is flagged; 0.5 by chance, 95%", detail=True),
        Column("p", "two-sided, of an AUC of 0.5; not corrected for the number of scores"),
    ]
    rows = [
        [
            ATTACKS.get(name, name) + ("*" if name == model["primary"] else ""),
            measured(one["auc"], auc),
            *(measured(one["tpr"].get(rate), percent) for rate, _ in rates),
            measured(one["f1"], auc),
            p_value(one["p"]),
        ]
        for name, one in model["attacks"].items()
    ]
    about, sizes = called(numbers), numbers["sizes"]
    caption = (
        f"{units(numbers, sizes['members']['units'])} of {about['members']} against "
        f"{sizes['others']['units']:,} of {about['others']}"
    )
    key = "*: decides and flags, chosen before the data were seen"
    if any(one["tpr"].get(rate) is None for one in model["attacks"].values() for rate, _ in rates):
        key += "; –: too few others for this rate"
    table = Table(columns, rows, captioned(caption, caution), key, "membership", PAGE)
    why = f"Verdict: **{numbers['verdict']}**: {'; '.join(numbers['reasons'])}."
    return [table, Text(inference(numbers)), Text(why)]


def inference(numbers: Numbers) -> str:
    """Dataset inference in a sentence."""
    found = numbers["models"][0]["dataset_inference"]
    if found["p"] is None:
        return f"Dataset inference: none: {found.get('reason', 'it was not computed')}."
    tested = joined(f"{n:,}" for n in found["units"])
    what = "groups" if numbers["about"]["group"] else "documents"
    return (
        f"Dataset inference, the scores of all documents together: {_p(found['p'])}, "
        f"one-sided, over {tested} {what} that no weight was fitted on "
        f"({plural(found['features'], 'feature')}){_after(' ', cautioned(numbers)).rstrip()}."
    )


def _p(p: float) -> str:
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def _bits(bits: Bits, caution: str) -> list[Block]:
    columns = [Column("bits", right=False), Column("members", "95%"), Column("others", "95%")]
    mine, theirs = bits["members"], bits["others"]
    rows = [
        ["signed", measured(mine["signed"]), measured(theirs["signed"])],
        ["clipped, documents below 0 as 0", measured(mine["clipped"]), measured(theirs["clipped"])],
        ["signed, per token", measured(mine["per_token"]), measured(theirs["per_token"])],
    ]
    caption = captioned("Bits that the model saves over the reference", caution)
    text = (
        f"By chance clipping gives {digits(bits['others_scaled'])} bits (the others', per token). "
        f"Beyond that the members take {measured(bits['share'], percent)} of a capacity of "
        f"{count(bits['capacity'])}bit ({bits['capacity_source']})."
    )
    return [Table(columns, rows, caption, name="bits", page=PAGE), Text(text)]


def _extraction(found: Extraction) -> list[Block]:
    tries = list(
        dict.fromkeys(
            n for one in found["by_suffix"].values() for n in one["members"]["discoverable"]
        )
    )
    columns = [
        Column("suffix", "tokens, with the window before them as prefix", right=False),
        Column("file", right=False),
        Column("suffixes"),
        Column("greedy", "the greedy continuation, word for word, 95%"),
        *(
            Column(f"n={int(n):,}", "with probability 1/2 among n samples", detail=n == tries[0])
            for n in tries
        ),
    ]
    rows = [
        [
            f"{size} tokens" if side == "members" else "",
            side,
            f"{one[side]['suffixes']:,}",
            measured(one[side]["greedy"], percent),
            *(percent(one[side]["discoverable"][n]["value"], 2) for n in tries),
        ]
        for size, one in found["by_suffix"].items()
        for side in ("members", "others")
    ]
    key = "n: (n, 0.5)-discoverable by sampling"
    table = Table(columns, rows, "Suffixes that the model writes", key, "extraction", PAGE)
    lines = [
        f"{size} tokens: members less others {measured(one, signed)}"
        for size, one in found["difference"].items()
    ]
    lines += [
        f"longest run that greedy decoding writes word for word, {side}: "
        f"{plural(one['tokens'], 'token')}, in {one['document']}"
        for side, one in found["longest"].items()
    ]
    if not rows:
        return [Text("No document is long enough for a suffix."), Bullets(lines)]
    return [table, Bullets(lines)]


def _canaries(levels: Sequence[CanaryLevel]) -> Table:
    columns = [
        Column("shown", "how often"),
        Column("canaries"),
        Column("exposure", "mean bits, 95%; 1.44 by chance"),
        Column("at most", "log2 of the number of candidates and itself", detail=True),
        Column("ceiling", "canaries that no candidate is ahead of"),
        Column("extracted", "second halves that greedy decoding writes, 95%"),
        Column("log2 e", "mean saved bits of random canaries, log2 of the e-value"),
    ]
    rows = [
        [
            f"{one['repeats']:,}",
            f"{one['canaries']:,}",
            measured(one["exposure"]),
            digits(one["at_most"]),
            f"{one['at_ceiling']:,}",
            measured(one["extracted"], percent),
            digits(one["log2_e_value"]),
        ]
        for one in levels
    ]
    return Table(columns, rows, "Canaries by how often they were shown", name="canaries", page=PAGE)


def at_risk(numbers: Numbers, documents: Frame, groups: Frame | None) -> list[Block]:
    """By copies, then documents and groups by name."""
    model, caution = numbers["models"][0], cautioned(numbers)
    if not model["resolves"]:
        return [Text(unresolved(numbers))]
    columns = [
        Column("copies", "of a document in its file", right=False),
        Column("documents"),
        Column("flagged", "at a false positive rate of 1%"),
        Column("share", "95%"),
    ]
    rows = [_risk(one) for one in model["at_risk"]]
    caption = captioned("Documents flagged at a false positive rate of 1%", caution)
    out: list[Block] = [Table(columns, rows, caption, name="at-risk", page=PAGE)]
    out += [_by_name(documents, model, caution)]
    if groups is not None:
        out.append(_groups(groups, caution))
    return out


def unresolved(numbers: Numbers) -> str:
    """Why no document is flagged."""
    n = numbers["sizes"]["others"]["documents"]
    return (
        f"No document can be flagged: a false positive rate of 1% takes 99 documents of "
        f"{called(numbers)['others']}, and it has {n:,}."
    )


def _risk(one: AtRisk) -> list[str]:
    name = "the others" if one["level"] == "others" else one["level"]
    return [name, f"{one['documents']:,}", f"{one['flagged']:,}", measured(one["share"], percent)]


def flagged(documents: Frame) -> Frame:
    """Members that are flagged, those that stand out most first."""
    return documents[documents["side"].eq("members") & documents["flagged"]]


def _by_name(documents: Frame, model: Model, caution: str) -> Block:
    some_flagged = flagged(documents)
    if some_flagged.empty:
        return Text("No document of the members is flagged.")
    has_bits = "bits_saved" in documents
    columns = [
        Column("document", right=False),
        Column("copies"),
        Column("tokens"),
        Column("false positives", "rate at which it is flagged, 95%"),
        Column("longest run", "tokens that greedy decoding writes word for word"),
        *([Column("bits", "over the reference")] if has_bits else []),
    ]
    rows = [
        [
            str(row["id"]),
            f"{row['copies']:,}",
            f"{row['tokens']:,}",
            _rate(row),
            f"{row['verbatim']:,}",
            *([digits(row["bits_saved"])] if has_bits else []),
        ]
        for row in some_flagged.head(NAMED).to_dict("records")
    ]
    n = len(some_flagged)
    shown = "" if n <= NAMED else f", the first {NAMED} of {n:,}; all in documents.csv"
    caption = f"Members that stand out by {ATTACKS.get(model['primary'], model['primary'])}{shown}"
    key = "of documents that were never seen one in a hundred is flagged, too"
    return Table(columns, rows, captioned(caption, caution), key, "by-name", PAGE)


def _rate(row: Mapping[str, float]) -> str:
    low, high = (row[f"false_positive_rate_{end}"] for end in ("low", "high"))
    ends = "" if pd.isna(low) else f" [{percent(low)}, {percent(high)}]"
    return f"{percent(row['false_positive_rate'])}{ends}"


def _groups(groups: Frame, caution: str) -> Block:
    columns = [
        Column("group", right=False),
        Column("documents"),
        Column("flagged"),
        Column("mean rank", "mean false positive rate of its documents; 50% by chance"),
        Column("p", "one-sided, corrected for the number of groups"),
    ]
    rows = [
        [
            str(row["group"]),
            f"{row['documents']:,}",
            f"{row['flagged']:,}",
            percent(row["mean_false_positive_rate"]),
            "–" if pd.isna(row["p_corrected"]) else p_value(row["p_corrected"]),
        ]
        for row in groups.head(NAMED).to_dict("records")
    ]
    n = len(groups)
    shown = "" if n <= NAMED else f", the first {NAMED} of {n:,}; all in groups.csv"
    return Table(
        columns, rows, captioned(f"Groups of members{shown}", caution), name="groups", page=PAGE
    )


def _variants(numbers: Numbers) -> Table:
    model, caution = numbers["models"][0], cautioned(numbers)
    sizes = [size for one in numbers["models"] for size in one["extraction"]["by_suffix"]]
    suffix = SUFFIX if SUFFIX in sizes else (sizes[-1] if sizes else "")
    p = numbers["about"]["parameters"]
    bits, canaries = model["bits"] is not None, bool(model["canaries"])
    columns = [
        Column("model", right=False),
        Column("bits/weight", "stored, scales among them, over all parameters"),
        Column("AUC", f"of {ATTACKS.get(model['primary'], model['primary'])}, 95%"),
        Column("flagged", "members, at a false positive rate of 1%"),
        *([Column(f"greedy {suffix}", "members' suffixes that it writes")] if suffix else []),
        *([Column("bits", "clipped, members")] if bits else []),
        *([Column("exposure", "mean bits of canaries shown most often")] if canaries else []),
    ]
    rows = []
    for one in numbers["models"]:
        found = one["extraction"]["by_suffix"].get(suffix)
        rows.append(
            [
                one["name"],
                "–" if one["stored_bits"] is None else digits(one["stored_bits"] / p),
                measured(one["attacks"][one["primary"]]["auc"], auc),
                f"{sum(row['flagged'] for row in one['at_risk'] if row['level'] != 'others'):,}",
                *(
                    [percent(found["members"]["greedy"]["value"] if found else None)]
                    if suffix
                    else []
                ),
                *([digits(one["bits"] and one["bits"]["members"]["clipped"]["value"])] * bits),
                *([_most_shown(one["canaries"])] if canaries else []),
            ]
        )
    return Table(
        columns, rows, captioned("What is left of it", caution), name="variants", page=PAGE
    )


def _most_shown(levels: Sequence[CanaryLevel] | None) -> str:
    if not levels:
        return "–"
    return digits(max(levels, key=lambda one: one["repeats"])["exposure"]["value"])


def names(documents: Frame, most: int = 3) -> str:
    """The first flagged members by name."""
    return some([str(name) for name in flagged(documents)["id"].tolist()], most)
