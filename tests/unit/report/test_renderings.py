"""One document, three renderings: nothing is lost, and a terminal has 80 columns."""

from capacity.analysis.document import (
    Bullets,
    Document,
    Flag,
    Interval,
    Law,
    Laws,
    Number,
    Section,
    Text,
    Verdict,
    Verdicts,
)
from capacity.base.table import Column, Table
from capacity.report import markdown, text

LONG = "a remark of many words that a terminal of eighty columns has to break somewhere " * 2
TABLE = Table(
    [Column("shape", right=False), *(Column(f"number {i}", detail=i > 3) for i in range(9))],
    [["of one kind"], ["2x16", *(f"{i}.{i}" for i in range(9))], [LONG, *["7"] * 9]],
    "A caption",
    key="number: any",
)
DOCUMENT = Document(
    "Capacity of a study",
    ["**3.1 bits per parameter**, 95% [2.8, 3.6]: a line.", LONG],
    [
        Section("table", "A table", [TABLE]),
        Section(
            "laws",
            "Laws",
            [
                Laws(
                    [
                        Law(
                            "C = alpha P",
                            "C = alpha P",
                            [
                                Number(
                                    "alpha",
                                    3.14159,
                                    "bits per parameter",
                                    [
                                        Interval("over models", [2.7, 3.6], quote=True),
                                        Interval("over seeds", None, "one seed"),
                                    ],
                                )
                            ],
                            [LONG],
                        ),
                        Law("nothing", reason="too few runs"),
                    ],
                    "a note on laws",
                ),
                Text("A **strong** paragraph."),
                Bullets(["one", "two"]),
            ],
        ),
        Section(
            "published",
            "Published",
            [
                Verdicts(
                    [Verdict("mean", "3.51", "3.2 [3.1, 3.3]", "differs", "below", "a paper")],
                    "at another scale",
                )
            ],
        ),
    ],
    [Flag("failed", "ended", [f"run{i}" for i in range(9)]), Flag("rising", "gains", [])],
    ["a note"],
    [("word", "meaning")],
    {"capacity": "Capacity"},
    ["20 of 20 runs finished"],
)
WORDS = (
    "Capacity of a study",
    "20 of 20 runs finished",
    "2x16",
    "C = alpha P",
    "3.142 bits per parameter",
    "[2.700, 3.600]",
    "over seeds: one seed",
    "too few runs",
    "a note on laws",
    "strong",
    "3.2 [3.1, 3.3]",
    "at another scale",
    "run5 and 3 more",
    "a note",
)


def test_a_terminal_shows_everything_in_80_columns_without_stars():
    shown = text.render(DOCUMENT)
    assert max(map(len, shown.splitlines())) <= 80
    assert "**" not in shown
    joined = " ".join(shown.split())
    assert [word for word in WORDS if word not in joined] == []
    left = joined.partition("the page of the study also has: ")[2]
    assert "number 8" in left.split(".")[0]  # what had no room is named
    assert "rising" not in joined  # a flag of no run


def test_markdown_shows_everything_and_the_figures_that_are_there():
    shown = markdown.render(DOCUMENT, ["capacity"])
    assert [word for word in WORDS if word not in shown] == []
    assert (
        "![Capacity](figures/capacity.png)" in shown and "**[2.700, 3.600]** over models" in shown
    )
    assert "![" not in markdown.render(DOCUMENT)
    rows = [line for line in shown.splitlines() if line.startswith("| 2x16")]
    assert rows == ["| 2x16 | " + " | ".join(f"{i}.{i}" for i in range(9)) + " |"]
    assert "- *word*: meaning" in shown
