"""Commands, pages and verdicts say one thing of one number: over all committed studies."""

import json
import math
from itertools import combinations
from pathlib import Path

import pytest

from capacity import archive, run_table
from capacity.analysis.comparison import command, verdicts
from capacity.analysis.comparison import runs as compared_runs
from capacity.study import load_study
from frozen.analysis import STUDIES, committed, kept

COMPARED = [name for name in committed() if (kept(name).get("differences") or {}).get("first")]


def said(fit):
    """(where, value, interval) of every ratio and estimate that a fit file states beside another
    one, under the name of what it is of."""
    out = []
    for row in fit.get("verdicts", []):
        out.append(("verdict", row["name"], row["measured"], row["interval"]))
    for row in (fit.get("differences") or {}).get("comparisons", []):
        out.append(("Differences", f"{row['a']} / {row['b']}", row["effect"], row["interval"]))
    for row in fit.get("law_ratios", []):
        out.append(("law", row["above"], row["value"], row["interval"]))
    for row in fit.get("peaks", []):
        if ratio := row.get("ratio"):
            out.append(("arms", row["curve_name"], ratio["value"], ratio["interval"]))
    for row in fit.get("retained", []):
        ends = None if row["low"] is None else [row["low"], row["high"]]
        out.append(("retained", f"{row['method']} {row['format']}", row["retained"], ends))
    laws = fit.get("laws") or {}
    for form, law in laws.items() if isinstance(laws, dict) else ():  # idle has a law per system
        for level, at in law.get("falls_to", {}).items():
            out.append(("law", f"{form} {level}", at["t"], at["interval"]))
    if (printed := fit.get("paper", {}).get("as_printed")) and not printed["reason"]:
        out.append(("law", "alpha", printed["hard"]["alpha"], printed["hard"]["interval"]))
    return [row for row in out if row[2] is not None]


@pytest.mark.parametrize("name", committed())
def test_a_number_has_one_interval(name):
    """Equal to ten digits is the same number: such ratios of two seeds coincide by chance in one of
    ten billion."""
    for one, other in combinations(said(kept(name)), 2):
        if math.isclose(one[2], other[2], rel_tol=1e-10):
            assert one[3] == pytest.approx(other[3], rel=1e-9), (one, other)


def test_the_numbers_of_several_places_are_looked_at():
    """The test above compares something: verdicts stand beside the tables of their studies."""
    met = set()
    for name in committed():
        for one, other in combinations(said(kept(name)), 2):
            if math.isclose(one[2], other[2], rel_tol=1e-10):
                met.add(frozenset({one[0], other[0]}))
    assert {
        frozenset(pair) for pair in (("verdict", "Differences"), ("verdict", "retained"))
    } <= met
    assert frozenset(("verdict", "law")) in met


@pytest.mark.parametrize("name", COMPARED)
def test_compare_says_what_the_page_says(name, tmp_path):
    """`capacity compare` of a variant against the first, under the page's own condition, has the
    page's effect and interval; and its words are those of the page."""
    study, rows = load_study(name, []), kept(name)["differences"]["comparisons"]
    (tmp_path / "studies").symlink_to(STUDIES)
    with archive.reading(tmp_path, [name]):
        runs = compared_runs.read(study, run_table.table(tmp_path, study.runs))
    names = {}
    for row in rows:
        sides = [selection(row[side], row["at"], runs, study.names) for side in "ab"]
        if None in sides or row["effect"] is None:
            continue
        (again,) = command.against(study, runs, sides[0], [sides[1]])["comparisons"]
        assert again["effect"] == pytest.approx(row["effect"], rel=1e-9), row["a"]
        assert again["interval"] == pytest.approx(row["interval"], rel=1e-9), row["a"]
        names[row["a"], row["at"]] = again
        if row["differs"]:  # alone it is corrected for fewer comparisons
            assert again["differs"] == row["differs"]
    assert names, rows


def selection(form, at, runs, named):
    """What `--a` takes for a variant of a page, or None where no settings name one. named: of the
    study, what its variants are called."""
    short = {column.split(".")[-1]: column for column in runs.varied}
    parts = [at.replace(" exposures", "") and f"train.exposures={at.split()[0]}"] if at else []
    if "architecture" in runs.table and form in set(runs.table.architecture):
        return ",".join([f"architecture={form}", *parts])
    if form in named:
        chosen = [f"{column}={values[0]}" for column, values in named[form].items()]
        return ",".join([*chosen, *parts])
    pairs = [part.split("=") for part in form.split(", ")]
    if any(len(pair) != 2 or pair[0] not in short for pair in pairs):
        return None
    return ",".join([*(f"{short[key]}={value}" for key, value in pairs), *parts])


def test_an_interval_alone_is_no_difference():
    """Muon against AdamW over all exposures, as docs and the command's help give it: two pairs,
    whose interval excludes equality. The command says what the page says, first."""
    row = {
        "a": "muon",
        "b": "adamw",
        "effect": 1.2,
        "interval": [1.09, 1.32],
        "what": "A / B",
        "p": 0.5,
        "units": 2,
        "over_sizes": {"interval": None},
        "detectable": {"effect": 0.1, "by": "interval alone"},
    }
    (told,) = verdicts.corrected([row], stores=True)
    assert told["differs"] is None
    assert told["verdict"].startswith(verdicts.NONE_SHOWN)
    assert "stores more" not in told["verdict"] and "excludes equality" in told["verdict"]


@pytest.mark.parametrize("name", COMPARED)
def test_no_page_says_more_than_its_comparisons(name):
    rows = kept(name)["differences"]["comparisons"]
    page = (Path(STUDIES) / name / "README.md").read_text(encoding="utf-8")
    for row in rows:
        if not row["differs"]:
            started = ("no difference shown", "nothing to compare", "no verdict")
            assert row["verdict"].startswith(started), row["verdict"]
            assert f"{row['a']} stores" not in page and f"{row['a']} has" not in page
    ratios = json.loads((Path(STUDIES) / name / "fit.json").read_text()).get("law_ratios", [])
    for ratio in ratios:
        ends = ratio["interval"]
        assert (ratio["shown"] is None) == (ends is None or ends[0] <= 1 <= ends[1])
