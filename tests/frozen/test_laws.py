"""Committed tables give the committed fits, tables and words, number by number: see
tests/frozen."""

import dataclasses
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from capacity.analysis import expectations
from capacity.settings.data import KINDS
from capacity.settings.field import REQUIRED
from capacity.settings.model import Model
from capacity.settings.train import Train
from frozen import compare
from frozen.analysis import (
    CURVES,
    NO_FIT,
    STUDIES,
    committed,
    fit_file,
    kept,
    not_frozen,
    refitted,
    table_of,
)

SECTIONS = {"model": [Model], "train": [Train], "data": [*KINDS.values()]}
TEXTS = Path(__file__).parents[1] / "data" / "terminal"


@pytest.mark.parametrize("name", committed())
@pytest.mark.slow
@pytest.mark.long
def test_what_is_committed_of_a_study_gives_its_committed_fit(name, tmp_path):
    found, file = refitted(name, tmp_path), fit_file(name)
    if compare.UPDATE and name not in not_frozen():
        file.write_bytes((json.dumps(found.fit, indent=1, ensure_ascii=False) + "\n").encode())
    wrong = [*compare.differences(kept(name), found.fit)]
    for table, rows in found.tables.items():
        was = table_of(name, table)
        later = [column for column in rows if column not in was]
        wrong += [f"{table}/{column}: new" for column in later if not _came_later(rows[column])]
        wrong += [
            f"{table}{line}"
            for line in compare.differences(_rows(was), _rows(rows.drop(columns=later)))
        ]
    if told := compare.golden(TEXTS / f"{name}.txt", found.text + "\n"):
        wrong.append(f"what fit-laws prints:\n{told}")
    assert not wrong, f"{name}: {len(wrong)} differences\n{compare.told(wrong)}"


def _came_later(column: pd.Series) -> bool:
    """Whether it is about a setting that joined after the runs, and says of each that it was
    trained as before; or a count that joined."""
    section, _, key = str(column.name).partition(".")
    if not key:
        return column.name == "parameters_idle"
    fields = [f for kind in SECTIONS[section] for f in dataclasses.fields(kind) if f.name == key]
    # one kind may have had it from the first run on, and another not: that is no neutral value
    (neutral,) = {field.metadata["neutral"] for field in fields} - {REQUIRED}
    return all(value == neutral for value in column.replace(math.nan, None))


def _rows(table: pd.DataFrame) -> list[dict]:
    """As a CSV file gives them, with None for an empty cell."""
    rows = pd.read_csv(pd.io.common.StringIO(table.to_csv(index=False))).to_dict("records")
    return [
        {key: None if isinstance(x, float) and math.isnan(x) else x for key, x in row.items()}
        for row in rows
    ]


def test_every_committed_study_is_frozen_or_says_why_not():
    folders = {
        path.parent.relative_to(STUDIES).as_posix()
        for path in STUDIES.rglob("*.*")
        if path.is_file() and path.parent.name != "figures" and path.name != expectations.FILE
    }  # expectations are there before the first run is
    assert folders - set(committed()) == set(NO_FIT)
    tables = [path for path in STUDIES.rglob("*.csv") if path.parent.name != "figures"]
    files = {path.name for path in tables}
    assert files == {
        "runs.csv",
        "rows.csv",
        "arms.csv",
        "plateaus.csv",
        "attacks.csv",
        "canaries.csv",
        "coverage.csv",
        "misfit.csv",
        "sources.csv",
        "samples.csv",
        "design.csv",
        "groups.csv",
        "levels.csv",
        "extraction.csv",
        "points.csv",
        "sequences.csv",
        "parts.csv",
        "people.csv",
        "retained.csv",
        "retention.csv",
        "probes.csv",
        "explained.csv",
        CURVES,
    }
    for name, left in not_frozen().items():
        kept = json.loads(fit_file(name).read_text(encoding="utf-8"))
        for path in left:
            place = kept
            for key in path.strip("/").split("/"):
                place = place[key]
            assert place


def test_a_digit_or_a_word_that_changes_is_found_by_its_path():
    kept = {
        "a": [
            {
                "value": 3.51,
                "count": 3,
                "interval": [1.0, 2.0],
                "word": "agrees, 3.25 of 4 runs",
                "none": None,
                "sure": True,
            }
        ]
    }

    def said(**changed):
        return [*compare.differences(kept, {"a": [kept["a"][0] | changed]})]

    assert said() == []
    for changed, path in (
        ({"value": 3.52}, "/a/0/value"),
        ({"value": 3.5101}, "/a/0/value"),
        ({"count": 4}, "/a/0/count"),
        ({"interval": [1.0, 2.001]}, "/a/0/interval/1"),
        ({"interval": [1.0]}, "/a/0/interval"),
        ({"word": "differs, 3.25 of 4 runs"}, "/a/0/word"),
        ({"word": "agrees, 3.29 of 4 runs"}, "/a/0/word"),
        ({"word": "agrees, 3.25 of 5 runs"}, "/a/0/word"),
        ({"word": "agrees,  3.25 of 4 runs"}, "/a/0/word"),
        ({"none": 0.0}, "/a/0/none"),
        ({"sure": 1}, "/a/0/sure"),
        ({"new": 1}, "/a/0/new"),
    ):
        lines = said(**changed)
        assert len(lines) == 1 and lines[0].startswith(path + ":"), (changed, lines)
    assert [*compare.differences({"a": 1, "versions": 1}, {"versions": 2})] == ["/a: gone"]
    for equal in (
        {"value": 3.51 * (1 + 2e-6)},
        {"interval": [1.0, 2.00002]},
        {"word": "agrees, 3.26 of 4 runs"},
    ):
        assert said(**equal) == []
