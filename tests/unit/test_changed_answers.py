"""Intervals of docs/changed_answers.md under "after" are those of the committed fits: a later
mending that moves one has to change its line."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "changed_answers.md"
STUDIES = ROOT / "results" / "studies"
NUMBER = r"-?[\d,]*\.?\d+"
PAIR = re.compile(rf"\[({NUMBER})%?, ({NUMBER})%?\]")
OLDER = re.compile(r"\(before .*?\)")
# of runs that were trained again since, which the line says
EXCEPT = {("optimizers", "0.549")}


def lines() -> list[list[str]]:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows[2:]]


def studies(cell: str) -> list[str]:
    names = cell.split(", ")
    return [n if "/" in n else f"{names[0].split('/')[0]}/{n}" for n in names[1:]] + names[:1]


def pairs(tree: object) -> Iterator[tuple[float, float]]:
    """Every interval of a fit: a list of two numbers, or entries low and high."""
    if isinstance(tree, dict):
        if isinstance(tree.get("low"), float) and isinstance(tree.get("high"), float):
            yield tree["low"], tree["high"]
        tree = list(tree.values())
    if isinstance(tree, list):
        if len(tree) == 2 and all(isinstance(x, int | float) for x in tree):
            yield tree[0], tree[1]
        for part in tree:
            yield from pairs(part)


def committed(study: str) -> list[tuple[float, float]]:
    """Those of a study's files, of its tables of attacks, and those that its page prints."""
    folder = STUDIES / study
    found = [p for f in folder.glob("*.json") for p in pairs(json.loads(f.read_text()))]
    for table in folder.glob("attacks.csv"):
        for row in csv.DictReader(table.open(newline="")):
            ends = [(row[c], row[c[:-3] + "high"]) for c in row if c.endswith("_low")]
            found += [(float(low), float(high)) for low, high in ends if low and high]
    page = folder / "README.md"
    printed = PAIR.findall(page.read_text()) if page.exists() else []
    return found + [(value(low), value(high)) for low, high in printed]


def value(text: str) -> float:
    return float(text.replace(",", ""))


def is_rounding(text: str, exact: float) -> bool:
    """Whether a printed number is this one, to half a unit of its last digit that is not 0."""
    digits = text.replace(",", "")
    places = len(digits.partition(".")[2])
    unit = 10.0**-places if places else 10.0 ** (len(digits) - len(digits.rstrip("0")))
    return abs(value(text) - exact) <= 0.51 * unit


def test_intervals_after_a_mending_are_those_of_the_committed_fits():
    wrong, seen = [], 0
    for cell, quantity, _, after, *_ in lines():
        names = [name for name in studies(cell) if (STUDIES / name / "README.md").exists()]
        known = [pair for name in names for pair in committed(name)]
        for low, high in PAIR.findall(OLDER.sub("", after)) if names else []:
            seen += 1
            if (cell, low) not in EXCEPT and not any(
                is_rounding(low, a) and is_rounding(high, b) for a, b in known
            ):
                wrong.append(f"{cell}: {quantity}: [{low}, {high}]")
    assert seen > 60 and not wrong, "\n".join(wrong)
