"""What docs show of a run and of a plan is what the commands print."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
NUMBER = r"-?\d[\d,]*(?:\.\d+)?"


def block(page, begins):
    """The lines of a block of code that begins with these words."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = [re.sub(r"^ {4}", "", part, flags=re.M) for part in re.findall(
        r"^((?:    .*\n)+)", text, re.M)]  # fmt: skip
    (found,) = [one for one in blocks if one.lstrip().startswith(begins)]
    return [line.split() for line in found.splitlines()]


def words(line):
    """Without its numbers."""
    return [re.sub(NUMBER, "#", word) for word in line]


@pytest.mark.slow
@pytest.mark.long
def test_the_run_of_facts_prints_what_its_page_shows(cli):
    """Word by word, after a quarter of its steps, which take a slow machine a minute: less is
    learned, and what can be learned is what the page shows."""
    few = "train.steps=1250"
    done = cli("train", "data=bios_pocket", few, env={"OMP_NUM_THREADS": "1"}, deadline=3000)
    assert done.returncode == 0, done.stderr
    printed = [line.split() for line in done.stdout.splitlines()]
    shown = block("how-to/facts.md", "R  ")
    assert len(shown) > 10
    known = [words(line) for line in printed]
    assert [line for line in map(words, shown) if line not in known] == []
    r, most = (
        next(float(line[2]) for line in printed if line[0] == name) for name in ("R", "R^max")
    )
    assert most == float(shown[1][2])
    assert 0.1 * most < r < float(shown[0][2])


@pytest.mark.slow
@pytest.mark.long
def test_the_plan_of_planning_prints_what_its_page_shows(cli):
    asked = "--form capacity_linear --parameter alpha --width 0.1 --budget-hours 0.5"
    done = cli("plan", "design", *asked.split(), deadline=3000)
    assert done.returncode == 0, done.stderr
    printed = [line.split() for line in done.stdout.splitlines()]
    shown = [
        line
        for line in block("how-to/planning.md", "model  parameters")
        if line not in ([], ["..."])
    ]
    known = [words(line) for line in printed]
    assert [line for line in map(words, shown) if line not in known] == []
