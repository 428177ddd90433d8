"""What a study of items found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from capacity.analysis.items import forecast_words, retention_words
from capacity.analysis.items.analysis import UNITS, said
from capacity.analysis.items.extraction import LEAST
from capacity.analysis.items.forecast_words import named
from capacity.analysis.items.orders import ALPHA, AUC, PRECISION, ROBUST, SAYS, SHARE
from capacity.analysis.items.retention import by_spacing
from capacity.analysis.order_verdicts import AGREES, DIFFERS, SHOWN, UNKNOWN
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural

if TYPE_CHECKING:
    import pandas

DASH = "–"
TERMS = {
    "b": "b log2 copies",
    "c": "c log2 P",
    "d": "- d log2 T",
    "e": "e log2 L",
    "f": "f q",
    "h": "h log2 k",
    "s": "s log2 of the steps between views",
}
CONVENTIONS = [
    (
        "share held",
        "1 - mean code length of canaries that were seen / of never seen ones drawn alike, "
        "each asked for behind BOS by its own tokens",
    ),
    ("AUC", "of the loss attack: seen canaries against never seen ones drawn alike"),
    (
        "written out",
        "greedy decoding writes the last tokens of a canary behind its first k, as many for every "
        "length (half of the shortest), in laws and orders minus the part of never seen ones; "
        "where no k is named its second half behind its first",
    ),
    *forecast_words.CONVENTIONS,
    *retention_words.CONVENTIONS,
    ("T", "tokens of training, canaries and what follows them among them"),
    (
        "interval over replicates",
        "95%, jackknife over replicates with Student's t, of rho Student's t over replicates: "
        "knows seeds of training and, where data.split_seed goes with them, other sequences; not "
        "another text",
    ),
    (
        "p of an order",
        "two-sided, permutation of the values of an axis within replicates; the statistic is the "
        "least-squares trend; of each order alone, not corrected for their number",
    ),
    (
        "rho",
        "worth of a copy with replaced tokens: n copies, the first exact, leave what 1 + rho (n - "
        "1) exact ones do (arXiv 2405.15523)",
    ),
    P_TOTAL,
    RESIDUAL,
]


def columns(runs: pandas.DataFrame) -> Sequence[RunColumn]:
    """What a page's table of runs shows of such runs."""
    return [
        RunColumn("parameters", "P", "parameters, total count"),
        RunColumn("tokens", "T", "tokens of training"),
        RunColumn("held_share", "held", "share held, mean over groups of seen canaries", main=True),
        *GAIN,
    ]


def document(finding: Finding) -> Document:
    """The document of a study of items; finding: of `analysis.analyse`."""
    fit = finding.numbers
    sections = [
        Section("orders", "Orders, by permutation within replicates", [_orders(fit)]),
        Section(
            "laws", "Share held, logistic in doublings", [Laws([_law(x) for x in fit["laws"]])]
        ),
    ]
    if fit["worth"]:
        sections.append(Section("worth", "Worth of a fuzzy copy", [_worth(fit)]))
    if any(row["extraction"] >= LEAST for row in fit["rates"]):
        written = [Laws([_law(x) for x in fit["written"]]), _rates(fit)]
        sections.append(Section("written", "What greedy decoding writes, by prompt", written))
    if told := forecast_words.tables(fit):
        sections.append(Section("forecasts", "What a cheaper model predicts", told))
    if fit["retention"]:
        sections.append(Section("retention", "What lasts", [retention_words.table(fit)]))
    sections.append(Section("groups", "What is held of each group", [_groups(fit)]))
    figures = {"held": "Share held against copies"}
    if any(row["rho"] for row in fit["worth"]):
        figures["worth"] = "Worth of a fuzzy copy against the share of its replaced tokens"
    if fit["retention"]:
        figures["retention"] = "Recognition and recall against the time after the last view"
    if by_spacing(fit):
        figures = {"retention": "Bits held behind the last view, by the steps between views"}
    if fit["earlier"]:
        figures["forecasts"] = "Recall of a forecast against its cost"
    return Document(
        f"Items in {fit['study']}",
        _answers(fit),
        sections,
        [
            Flag(*FAILED, fit["failed"]),
            Flag(*MISSING, fit["missing"]),
            Flag("unconverged", f"{RISING_MEANS}; all count here", fit["rising"]),
        ],
        [
            "A shorter canary begins its row and is asked for there; in the published studies "
            "sequences stand at random places of a document.",
            "Slopes are those of one family of small models; published sizes are a thousand times "
            "larger, so that orders are compared and no constant.",
            "A sequence of random tokens costs more bits, so that share and bits may order kinds "
            "differently; the table of groups has both.",
        ],
        CONVENTIONS,
        figures,
        [said(fit)],
    )


def _answers(fit: Mapping[str, Any]) -> list[str]:
    """A sentence for each order, then what fuzzy copies are worth, then slopes."""
    out = [_order_said(row) for row in fit["orders"]]
    for row in fit["worth"]:
        if row["outcome"] == SHARE:
            out.append(_worth_said(row))
    out += [_law_said(law) for law in fit["laws"]]
    return out + forecast_words.answers(fit)


def _order_said(row: Mapping[str, Any]) -> str:
    name = f"{named(row['system'])}{SAYS[row['outcome']]} by {row['axis']}"
    if row["axis"] == ROBUST:
        name = f"{named(row['system'])}the part of recognition that is kept beside that of recall"
    if row["axis"] == PRECISION:
        name = f"{named(row['system'])}a forecast's precision beside its recall"
    if not row["means"]:
        return f"{name}: **cannot tell** ({row['reason']})."
    first, last = digits(row["means"][0]), digits(row["means"][-1])
    ends_of = f"{_value(row, 0)}: {first}, {_value(row, -1)}: {last}"
    p = f"p = {p_value(row['p'])}, {plural(row['replicates'], 'replicate')}"
    if row["verdict"] == UNKNOWN:
        return f"{name}: **cannot tell** ({ends_of}; {p}; {row['reason']})."
    way = "rises" if row["slope"] > 0 else "falls"
    if row["axis"] in (PRECISION, ROBUST):
        way = f"is {'higher' if row['slope'] > 0 else 'lower'}"
    as_published = {AGREES: "as published", SHOWN: "of which no sign is published"}.get(
        row["verdict"], "against what is published"
    )
    return f"{name} **{way}**, {as_published} ({ends_of}; {p})."


def _value(row: Mapping[str, Any], i: int) -> str:
    value = row["values"][i]
    if row["axis"] in ("random tokens", "replaced tokens"):
        return percent(float(value))
    return value if isinstance(value, str) else count(float(value))


def _worth_said(row: Mapping[str, Any]) -> str:
    name = f"{named(row['system'])}a copy with {percent(row['replaced'])} of its tokens replaced"
    if row["rho"] is None:
        return f"{name}: **cannot tell its worth**, exact copies leave nothing that rises."
    value, interval = row["rho"]["value"], row["rho"]["interval"]
    if interval is None:
        return f"{name} is worth {digits(value)} of an exact one (one replicate, no interval)."
    found = f"{digits(value)}, 95% {ends(interval)} over {row['rho']['replicates']} replicates"
    zero, one = row["above_zero"], row["below_one"]
    less = one is not None and one <= ALPHA + 1e-12
    more = zero is not None and zero <= ALPHA + 1e-12
    tests = f"p = {p_value(zero)} that it adds nothing, {p_value(one)} that it counts as exact"
    if less and more:
        return f"{name} is worth **{found}** of an exact one ({tests})."
    what = "less than an exact one" if more else "anything"
    return f"{name} is worth {found} of an exact one; **cannot tell** whether {what} ({tests})."


def _law_said(law: Mapping[str, Any]) -> str:
    if law["reason"]:
        return f"{named(law['system'])}**no law:** {law['reason']}."
    letter = "b" if "b" in law["numbers"] else "s"
    slope, what = law["numbers"][letter], "copies" if letter == "b" else "the steps between views"
    text = (
        f"{named(law['system'])}a doubling of {what} adds {digits(slope['value'])} "
        f"{ends(slope['interval'])} to the logit of the share held".replace("  ", " ")
    )
    if "dilution" not in law:
        return f"{text}."
    one, p = law["dilution"], law["dilution"]["p"]
    told = p is not None and p <= ALPHA + 1e-12
    word = "more slowly" if one["difference"] > 0 else "faster"
    word = f"**{word}**" if told else "**cannot tell** whether more slowly"
    return (
        f"{text}, a doubling of tokens takes {digits(law['numbers']['d']['value'])}: d / b = "
        f"{digits(one['ratio'])} {ends(one['interval'])}; {word} than in proportion to its "
        f"share of training (p = {p_value(p)})."
    )


def _rates(fit: Mapping[str, Any]) -> Table:
    prompts = sorted({row["prompt"] for row in fit["rates"]})
    cells: dict[tuple, dict[int, float]] = {}
    for row in fit["rates"]:
        key = tuple(row[k] for k in ("system", "parameters", "tokens", "repeats"))
        cells.setdefault(key, {})[row["prompt"]] = row["written"]
    rows = [
        [f"{named(system)}{count(size)}", count(tokens), str(copies)]
        + [percent(by[k]) if k in by else DASH for k in prompts]
        for (system, size, tokens, copies), by in cells.items()
    ]
    headings = ["P", "T", "copies", *(f"k={k}" for k in prompts)]
    tokens = fit["rates"][0]["continuation"]
    return Table(
        [Column(h, right=i > 0, detail=h == "T") for i, h in enumerate(headings)],
        rows,
        key=f"part of the canaries whose last {tokens} tokens are written behind the first k",
    )


def _law(law: Mapping[str, Any]) -> Law:
    if law["reason"]:
        return Law(law["system"], reason=law["reason"])
    axes = law["axes"]
    terms = [TERMS.get(name) or name for name in axes]
    formula = "X = sigma(a + " + " + ".join(terms).replace("+ - ", "- ") + ")"
    numbers = [
        Number(
            name,
            one["value"],
            "logits" if name == "a" else UNITS.get(name, "logits"),
            [Interval("over replicates", one["interval"], law["no_interval"] or "", True)],
        )
        for name, one in law["numbers"].items()
    ]
    remarks = [
        f"{law['points']:,} groups of canaries, {plural(law['replicates'], 'replicate')}; rms of "
        f"the share {digits(law['rms'], 2)}",
    ]
    return Law(law["system"], formula, numbers, remarks)


def _orders(fit: Mapping[str, Any]) -> Table:
    headings = ("order", "from", "to", "published", "replicates", "p", "verdict")
    ways = {1: "rises", -1: "falls", 0: DASH}
    rows = []
    for row in fit["orders"]:
        means = row["means"]
        rows.append(
            [
                f"{named(row['system'])}{row['axis']}, {SAYS[row['outcome']]}",
                f"{_value(row, 0)}: {digits(means[0])}" if means else DASH,
                f"{_value(row, -1)}: {digits(means[-1])}" if means else DASH,
                ways[row["published"]],
                str(row["replicates"]),
                p_value(row["p"]),
                row["verdict"],
            ]
        )
    left = ("order", "from", "to", "published", "verdict")
    any_unsigned = any(not row["published"] for row in fit["orders"])
    return Table(
        [Column(h, right=h not in left, detail=h == "replicates") for h in headings],
        rows,
        key=f"{AGREES} or {DIFFERS}: p <= {ALPHA:.0%} and the sign that is published or the other"
        + f"; {SHOWN}: p <= {ALPHA:.0%}, no sign is published" * any_unsigned,
    )


def _worth(fit: Mapping[str, Any]) -> Table:
    headings = ("system", "replaced", "by", "rho", "95%", "replicates", "p: 0", "p: 1")
    rows = [
        [
            row["system"],
            percent(row["replaced"]),
            SAYS[row["outcome"]],
            DASH if row["rho"] is None else digits(row["rho"]["value"]),
            DASH if row["rho"] is None else ends(row["rho"]["interval"]) or DASH,
            f"{0 if row['rho'] is None else row['rho']['replicates']} of {row['of']}",
            p_value(row["above_zero"]),
            p_value(row["below_one"]),
        ]
        for row in fit["worth"]
    ]
    return Table(
        [Column(h, right=h not in ("system", "by")) for h in headings],
        rows,
        key="p: 0, that fuzzy copies leave no more than the exact one; p: 1, that they leave as "
        "much as exact ones; by flipping signs over replicates",
    )


def _groups(fit: Mapping[str, Any]) -> Table:
    headings = ("kind", "P", "T", "copies", "held bits", "share", AUC, "written out", "canaries")
    rows, before = [], None
    for row in fit["groups"]:
        kind = [f"{row['length']} tokens"]
        kind += [f"{row['noise']} random"] * bool(row["noise"])
        kind += [f"{row['replaced']} replaced"] * bool(row["replaced"])
        kind += [row["window"]] * bool(row["window"])
        name = named(row["system"]) + ", ".join(kind)
        if not row["repeats"]:
            continue
        rows.append(
            [
                name if name != before else "",
                count(row["parameters"]),
                count(row["tokens"]),
                str(row["repeats"]),
                digits(row["held_bits"]),
                digits(row["share"]),
                digits(row["auc"]),
                percent(row["extractable"]),
                str(row["canaries"]),
            ]
        )
        before = name
    details = ("T", "canaries")
    return Table(
        [Column(h, right=h != "kind", detail=h in details) for h in headings],
        rows,
        key="means over replicates; written out: second halves that greedy decoding writes",
    )
