"""What runs say of compression, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from capacity.analysis.compression.constancy import COMMON
from capacity.analysis.document import Document, Flag, Section, Text
from capacity.analysis.labels import apart
from capacity.base.table import Column, Table
from capacity.base.words import digits, ends, p_value, percent, plural

DASH = "–"
CANNOT = "cannot tell"
CAPTIONS = {
    "capacity": "Information Capacity against parameters, by family of runs",
    "knowledge": "Answers against the code length of values",
}
CONVENTIONS = [
    (
        "IC",
        "Information Capacity (arXiv 2511.08066): (text bits per token - code length per token) / "
        "log2(FLOPs per token), without bias; FLOPs of a decoded token, attention over "
        "(S - 1) / 2 earlier ones on the mean, rows of S tokens (the published one: 1,024); "
        "runs.csv also has it with the FLOPs of a forward pass",
    ),
    (
        "text bits",
        "of text 8 per byte of UTF-8; of random tokens log2 V. Every token counts, the first one "
        "too (the published script leaves it out)",
    ),
    (
        "one data set",
        "random data: bits of each size while its data do not decide, over the tokens of the "
        "largest size's data; at equal load every size has data of its own",
    ),
    ("bent", "chance of a larger misfit of gain = IC log2(FLOPs) - bias by the scatter of seeds"),
    (
        "code",
        "code length of a person's values, bits per bit of log2(possible values); 0 known, 1 not",
    ),
    ("groups", "runs of one model, data and exposures; they are what intervals draw"),
    (
        "effective",
        "parameters of the reference family that hold the same bits / parameters of the variant: "
        "the density of arXiv 2412.04315, with bits for scores",
    ),
]


def document(numbers: Mapping[str, Any]) -> Document:
    """The document; numbers: compression.json."""
    answers = [_together(row) for row in numbers["together"]]
    answers += [_correlation(row) for row in numbers["correlations"]]
    forms = [row for row in numbers["architectures"] if row["ratio"] is not None]
    answers += [_density(forms)] if forms else []
    sections = [
        Section(
            "together", "Is Information Capacity one number over sizes?", [_constancy(numbers)]
        ),
        Section("families", "Information Capacity by family", [_families(numbers)]),
        Section("characters", "Bits per character of held-out text", [_characters(numbers)]),
        Section("correlation", "Compression and knowledge", [_knowledge(numbers)]),
        Section("residuals", "Answers beyond what code lengths say", _residuals(numbers)),
        Section("density", "Density of architectures", [_forms(numbers)]),
        Section("edits", "Density of quantized models", [_edits(numbers)]),
    ]
    left = [f"{name}: {why}" for name, why in numbers["left_out"].items()]
    return Document(
        "Compression over runs",
        answers or ["**no ruler:** no finished run of text, random data or facts."],
        sections,
        [
            Flag("without text", "characters are not at hand: no IC", numbers["without_text"]),
            Flag("data decide", "random data that fit: not in families", numbers["limited"]),
        ],
        [
            "Families of one study share their seeds; several families are no several answers.",
            "Accuracy and code length are of the same values: their correlation says how far "
            "greedy answers follow code lengths, not that one explains the other.",
            *left,
        ],
        CONVENTIONS,
        CAPTIONS,
        [
            f"{plural(len(numbers['studies']), 'study', 'studies')}: "
            f"{plural(numbers['runs'], 'run')} of text and random data, "
            f"{plural(numbers['people'], 'run')} of facts."
        ],
    )


def _together(row: Mapping[str, Any]) -> str:
    over = f"{plural(row['units'], 'seed')} of {plural(row['studies'], 'study', 'studies')}"
    read = f"{digits(row['ratio'])} {ends(row['interval'])}".strip()
    p = "" if row["p"] is None else f", p {p_value(row['p'])}".replace("p 0", "p = 0")
    says = {"rises": "**rises with size**", "falls": "**falls with size**"}
    word = says.get(row["verdict"], f"**{CANNOT}** whether it is one number")
    return (
        f"{row['what'].capitalize()}: Information Capacity of the largest over that of the "
        f"smallest size is {read} ({over}{p}): {word}."
    )


def _correlation(row: Mapping[str, Any]) -> str:
    what = {"accuracy": "accuracy", "bits_per_parameter": "R, bits per parameter,"}[row["y"]]
    if row["r"] is None:
        return f"Code length of values and {what}: **{CANNOT}**: {row['why']}."
    return (
        f"Code length of values and {what} over {plural(row['runs'], 'run')} in "
        f"{plural(row['groups'], 'group')}: **r = {digits(row['r'])}** {ends(row['interval'])}."
    )


def _density(rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [row for row in rows if row["differs"]]
    told = [
        f"{_name(row)} {digits(row['ratio'])} {ends(row['interval'])} ({row['study']})"
        for row in shown
    ]
    many = f"{len(shown)} of {plural(len(rows), 'variant')} differ from their reference"
    what = "Bits per parameter over those of a reference architecture"
    return f"{what}: {'; '.join([many, *told])}." if told else f"{what}: {many}, **{CANNOT}**."


def _name(row: Mapping[str, Any]) -> str:
    """A variant and its reference by what tells them apart, and at which exposures or data."""
    one, other = row["variant"], row["reference"]
    name = f"{apart(one, other) or one} / {apart(other, one) or other}"
    return f"{name}, {row['at']}" if row["at"] else name


def brief(whole: Document) -> Document:
    """What a terminal shows: without the tables of single families, variants and edits."""
    kept = [part for part in whole.sections if part.id in ("together", "correlation")]
    notes = [*whole.notes, "README.md: by family, residuals by form and size, densities."]
    return replace(whole, sections=kept, notes=notes)


def _constancy(numbers: Mapping[str, Any]) -> Table:
    headings = ["what", "families", "seeds", "largest / smallest", "95%", "p", "over sizes"]
    rows = [
        [
            row["what"],
            str(row["families"]),
            str(row["units"]),
            digits(row["ratio"]),
            ends(row["interval"]) or DASH,
            p_value(row["p"]),
            row["verdict"],
        ]
        for row in numbers["together"]
    ]
    return Table(
        [
            Column(h, right=h not in ("what", "over sizes"), detail=h == "families")
            for h in headings
        ],
        rows,
        key="p: exact sign flips over seeds",
        page="README.md",
    )


def _families(numbers: Mapping[str, Any]) -> Table:
    """Families of at least three sizes; sizes.csv has all."""
    names = ["family", "IC by size", "spread", "ratio", "95%", "bent"]
    rows: list[list[str]] = []
    last = ""
    for one in numbers["families"]:
        if len(one["sizes"]) < 3:
            continue
        if one["study"] != last:
            rows.append([one["study"]])
            last = one["study"]
        parts = [(one, "")]
        if "common" in one:
            parts.append((one["common"], f", {COMMON.split(', ')[1]}"))
        for part, more in parts:
            about = [one["side"].replace("_", " "), one["variant"], one["amount"]]
            about += [f"{one['exposures']:g} exposures"]
            ic = [f"{size} {digits(x)}" for size, x in zip(one["sizes"], part["ic"], strict=True)]
            rows.append(
                [
                    ", ".join(filter(None, about)) + more,
                    ", ".join(ic),
                    percent(part["spread"], 0),
                    digits(part["ratio"]["value"]),
                    ends(part["ratio"]["interval"]) or DASH,
                    p_value(part["bent"]),
                ]
            )
    return Table(
        [
            Column(n, right=n not in ("family", "IC by size"), detail=n == "IC by size")
            for n in names
        ],
        rows,
        "Families of three sizes and more (sizes.csv: all):",
        key="spread: (largest - smallest) / mean; ratio: largest over smallest size",
        page="README.md",
    )


def _characters(numbers: Mapping[str, Any]) -> Table:
    """Families of text of at least three sizes; sizes.csv has all."""
    rows: list[list[str]] = []
    for one in numbers["families"]:
        if one["side"] != "held_out" or len(one["sizes"]) < 3 or "bits_per_character" not in one:
            continue
        about = [one["study"], one["variant"], one["amount"], f"{one['exposures']:g} exposures"]
        rows.append([", ".join(filter(None, about))])
        rows += [
            [size, digits(mean["value"]), ends(mean["interval"]) or DASH]
            for size, mean in zip(one["sizes"], one["bits_per_character"], strict=True)
        ]
    return Table(
        [Column("size", right=False), Column("bits per character"), Column("95%")],
        rows,
        "Families of three sizes and more (sizes.csv: all); 95% over seeds:",
        page="README.md",
    )


def _knowledge(numbers: Mapping[str, Any]) -> Table:
    rows = [
        [
            row["y"].replace("_", " "),
            str(row["runs"]),
            str(row["groups"]),
            CANNOT if row["r"] is None else digits(row["r"]),
            ends(row["fisher"]) or DASH,
            ends(row["bootstrap"]) or DASH,
        ]
        for row in numbers["correlations"]
    ]
    headings = ["code length and", "runs", "groups", "r", "Fisher's z", "bootstrap"]
    return Table([Column(h, right=h != headings[0]) for h in headings], rows, page="README.md")


def _residuals(numbers: Mapping[str, Any]) -> list[Any]:
    return [
        Text("In percentage points, beside others of the same study."),
        *(_residuals_by(numbers["residuals"][by], by) for by in ("architecture", "size")),
    ]


def _residuals_by(found: Sequence[Mapping[str, Any]], by: str) -> Table:
    headings = [by, "groups", "line", "95%", "p", "parabola", "95%", "p", "answers"]
    rows = []
    for row in found:
        cells = [row[by], str(row["groups"])]
        for word in ("line", "parabola"):
            both = row[f"{word}_interval"]
            cells += [f"{100 * row[word]:+.1f}"]
            cells += [DASH if both is None else f"[{100 * both[0]:.1f}, {100 * both[1]:.1f}]"]
            cells += [p_value(row[f"{word}_p_holm"])]
        rows.append([*cells, row["verdict"]])
    return Table(
        [Column(h, right=h not in (by, "answers"), detail=h == "groups") for h in headings],
        rows,
        key="p: exact sign flips over groups, corrected for the rows (Holm)",
        page="README.md",
    )


def _forms(numbers: Mapping[str, Any]) -> Table:
    headings = ["variant / reference", "pairs", "ratio", "95%", "p", "effective", "95% "]
    rows: list[list[str]] = []
    last = ""
    for row in numbers["architectures"]:
        if row["study"] != last:
            rows.append([f"{row['study']}: {row['number']}"])
            last = row["study"]
        rows.append(
            [
                _name(row),
                str(row["units"]),
                CANNOT if row["ratio"] is None else digits(row["ratio"]),
                ends(row["interval"]) or DASH,
                p_value(row["p_holm"]),
                CANNOT if row["effective"] is None else digits(row["effective"]),
                ends(row["effective_interval"]) or DASH,
            ]
        )
    return Table(
        [Column(h, right=h != headings[0], detail=h in headings[5:]) for h in headings],
        rows,
        key="ratio: of bits per parameter, at equal layers and width; p: exact sign flips (Holm); "
        "effective: cannot tell where no size of the reference holds as much or as little",
        page="README.md",
    )


def _edits(numbers: Mapping[str, Any]) -> Table:
    """Edits of all tensors with three pairs and more; edits.csv has all."""
    headings = ["edit", "pairs", "kept", "per stored bit", "95%", "p"]
    rows: list[list[str]] = []
    last = ""
    for row in numbers["edits"]:
        if row["interval"] is None or not row["embeddings"]:
            continue
        head = ": ".join(filter(None, [row["study"], row["variant"]]))
        if head != last:
            rows.append([head])
            last = head
        rows.append(
            [
                edit(row),
                str(row["units"]),
                percent(row["kept"]),
                digits(row["ratio"]),
                ends(row["interval"]),
                p_value(row["p_holm"]),
            ]
        )
    return Table(
        [Column(h, right=h != "edit") for h in headings],
        rows,
        "Quantized models, all tensors (edits.csv: all):",
        key="kept: of the bits of bf16; per stored bit: over that of the same models in bf16; p: "
        "exact sign flips, corrected for the edits of the study (Holm)",
        page="README.md",
    )


def edit(row: Mapping[str, Any]) -> str:
    """What was done to the weights."""
    if row["method"] == "fp16":
        return "fp16"
    parts = [f"int{row['bits']:g}", str(row["method"])]
    parts += ["symmetric"] if row["symmetric"] is True else []
    if row["granularity"] not in (None, "row"):
        parts.append(f"{row['granularity']} {row['group_size']:g}" if row["group_size"] else "")
    return " ".join(filter(None, parts))
