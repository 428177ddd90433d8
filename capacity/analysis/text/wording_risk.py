"""Who is at risk, in words and tables."""

from __future__ import annotations

from collections.abc import Sequence

from capacity.analysis.text.attacks import NAMES
from capacity.analysis.text.schema import AtRisk, Memory, RiskLevel
from capacity.analysis.text.tables import MODEL, SIZE
from capacity.base.table import Column, Table
from capacity.base.words import digits, joined, percent, span
from capacity.fitting.flagging import RATE

RISK = percent(RATE, 0)


def answers(numbers: Memory) -> list[str]:
    """Of the last of the sizes of each study's largest model, where least is remembered, and by
    copies; nothing where it is not known."""
    cells = numbers.get("at_risk")
    if not cells:
        return []
    last = cells[-1]
    everyone, *levels = last["levels"]
    where = f"{last['model']} at {digits(last['tokens_per_parameter'])} tokens per parameter"
    by = ""
    if levels:
        most = levels[-1]
        by = (
            f"; of those whose document has {_copies(most)} copies {percent(most['flagged'])} "
            f"{_ends(most)}"
        )
    chance = "" if _beyond(last) else ", no more than chance"
    return [
        f"**Who is at risk:** the {NAMES[last['attack']]} attack flags "
        f"**{percent(everyone['flagged'])}** {_ends(everyone)} of the members of {where} at a "
        f"false positive rate of {RISK}{chance}{by}."
    ]


def tables(numbers: Memory) -> list[Table]:
    """Shares by model, size and copies; and the members that stand out furthest where not nearly
    all do."""
    cells = numbers.get("at_risk")
    if not cells:
        return []
    return [_shares(cells), *_highest(cells), *_groups(cells)]


def _shares(cells: Sequence[AtRisk]) -> Table:
    varied = any(len(cell["levels"]) > 1 for cell in cells)
    rows = []
    for cell in cells:
        for level in cell["levels"]:
            head = [cell["model"], digits(cell["tokens_per_parameter"])]
            copies = [_copies(level)] if varied else []
            others = cell["others_flagged"]
            rows.append(
                [
                    *head,
                    *copies,
                    f"{level['sequences']:,.0f}",
                    f"{percent(level['flagged'])} {_ends(level)}",
                    f"{percent(others['flagged'])} {_ends(others)}"
                    if level["copies"] is None
                    else "",
                ]
            )
    columns = [MODEL, SIZE]
    if varied:
        columns.append(Column("copies", "of the document, in the source"))
    columns += [
        Column("members"),
        Column("flagged", f"at a calibrated false positive rate of {RISK}"),
        Column("held-out", "of held-out sequences, each ranked among the rest of them"),
    ]
    names = joined(dict.fromkeys(NAMES[cell["attack"]] for cell in cells))
    return Table(
        columns,
        rows,
        f"Members that stand out at a false positive rate of {RISK}, {names} attack, means over "
        "runs",
        key="flagged: with the mean of the runs' own 95% intervals, over documents where these are "
        "split; what held-out sequences reach is chance. A member that is not flagged here can be "
        "found by a stronger attack.",
        name="at_risk",
    )


def _highest(cells: Sequence[AtRisk]) -> list[Table]:
    """Of the last cell in which some stand out beyond chance and not nearly all do."""
    some = [c for c in cells if c["highest"] and _beyond(c) and c["levels"][0]["interval"][0] < 0.5]
    if not some:
        return []
    cell = some[-1]
    known = [
        (name, words)
        for name, words in (("document", "document"), ("group", "group"), ("copies", "copies"))
        if any(one[name] is not None for one in cell["highest"])
    ]
    rows = [
        [
            f"{one['row']}",
            *("" if one[name] is None else f"{one[name]}" for name, _ in known),
            percent(one["rate"], 2),
            f"{one['flagged']} of {cell['runs']}",
        ]
        for one in cell["highest"]
    ]
    return [
        Table(
            [
                Column("sequence", "its row of the pool"),
                *(Column(words) for _, words in known),
                Column("rate", "false positive rate at which it is flagged, mean over runs"),
                Column("flagged", f"in so many runs, at {RISK}"),
            ],
            rows,
            f"Members that stand out furthest: {cell['model']} at "
            f"{digits(cell['tokens_per_parameter'])} tokens per parameter",
            key="capacity data RUN prints sequences by number.",
            name="at_risk_highest",
        )
    ]


def _groups(cells: Sequence[AtRisk]) -> list[Table]:
    rows = []
    for cell in cells:
        if (groups := cell["groups"]) is not None:
            names = ", ".join(map(str, groups["at_risk"])) or "none"
            rows.append(
                [
                    cell["model"],
                    digits(cell["tokens_per_parameter"]),
                    f"{groups['groups']}",
                    names if groups["resolved"] else "cannot tell",
                ]
            )
    if not rows:
        return []
    return [
        Table(
            [MODEL, SIZE, Column("groups"), Column("at risk", "by number", right=False)],
            rows,
            "Groups whose sequences together rank higher than those of held-out groups, in every "
            "run",
            key="Corrected for the number of groups (Holm, 5%).",
            name="at_risk_groups",
        )
    ]


def _beyond(cell: AtRisk) -> bool:
    """Whether more members are flagged than others can be by the same threshold, whose false
    positive rate these others know only roughly: of 1,000 it is 0.5% to 1.8%."""
    return cell["levels"][0]["interval"][0] > cell["others_flagged"]["interval"][1]


def _copies(level: RiskLevel) -> str:
    if level["copies"] is None or level["up_to"] is None:
        return "all"
    return span(level["copies"], level["up_to"])


def _ends(level: RiskLevel) -> str:
    low, high = level["interval"]
    return f"[{percent(low)}, {percent(high)}]"
