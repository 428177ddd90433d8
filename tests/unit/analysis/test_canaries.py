"""Laws of canaries: planted slopes, what is said of them, and records of an older version."""

import json

import numpy as np
import pandas as pd
import pytest

from capacity import records, run_table
from capacity.analysis import convert, kinds
from capacity.analysis.finding import Options
from capacity.analysis.text import canaries, fits, tables
from capacity.analysis.text.simulated import EACH, LEVELS, OTHERS, SIZE, VIEWS, draw
from capacity.analysis.text.simulated import level_means as means
from capacity.analysis.text.wording import _canaries
from capacity.base.table import text as table_text
from capacity.report import text
from planted import plant


@pytest.fixture(scope="module")
def study():
    table = draw(np.random.default_rng(11))
    laws = {name: canaries.law(name, table) for name in canaries.FORMS}
    return table, laws


def test_planted_slopes_are_in_their_intervals_and_nothing_is_left_out(study):
    table, laws = study
    law = laws["exposure"]
    for letter, planted in (("b", VIEWS), ("c", SIZE)):
        low, high = law[letter]["interval"]
        assert low < planted < high and high - low < planted
    at = law["censored"]
    assert at["below"] + at["between"] + at["above"] == law["points"] == len(table)
    assert (law["canaries"], law["runs"], law["sizes"]) == (LEVELS * EACH, 18, 3)
    assert at["low"] == pytest.approx(-np.log2(0.01), abs=0.05) and at["high"] == np.log2(
        OTHERS + 1
    )
    for row in law["other_limits"]:
        assert row["b"] == pytest.approx(VIEWS, rel=0.25), row
    assert min(law["lack_of_fit"].values()) > 0.01


def test_a_line_through_chosen_levels_is_flatter_and_called_no_law(study):
    table, laws = study
    found = canaries.lines(means(table))
    assert found["exposure"]["b"] < laws["exposure"]["b"]["interval"][0]
    assert found["exposure"]["levels"] < found["exposure"]["of"] == 18 * LEVELS
    words = " ".join(fits._of_canaries(laws["exposure"], found["exposure"]))
    assert "no law: a line through the" in words and "censored: " in words


def test_the_logistic_law_and_the_views_of_a_half_have_intervals(study):
    """Planted: a half at 14 bits, with another scatter of latent bits, which flattens the slope but
    does not move the half."""
    table, laws = study
    assert laws["logistic"]["b"]["interval"][0] > 0
    for row in canaries.half_extracted(laws["logistic"], table):
        views = 2 ** ((14 + 55.8 - SIZE * np.log2(row["parameters"])) / VIEWS)
        low, high = row["interval"]
        assert low / 1.2 < views < high * 1.2 and low < row["views"] < high
        assert row["beyond"] == (row["views"] > 64 * 12)


def test_a_bent_truth_and_passes_that_matter_are_told():
    table = draw(np.random.default_rng(12))
    reported = table.at_most - np.log2(1 + ranks_of(table.exposure + 1.0 * (table.passes - 3)))
    moved = table.assign(exposure=np.clip(reported, 0, table.at_most))
    fitted = canaries._fit("exposure", moved, canaries._columns(moved))
    assert canaries.lack_of_fit("exposure", moved, fitted)["passes"] < 0.01
    assert "p = " in _canaries(found(moved))[-1] and "No line fits" in _canaries(found(moved))[-1]


def ranks_of(exposure):
    return np.rint(OTHERS * 2.0 ** -np.maximum(exposure, 0))


def found(table):
    laws = {name: canaries.law(name, table) for name in canaries.FORMS}
    half = canaries.half_extracted(laws["logistic"], table)
    return laws | {"half_extracted": half, "lines": canaries.lines(means(table)), "levels": {}}


def test_few_runs_have_slopes_without_an_interval_and_none_a_reason():
    table = draw(np.random.default_rng(13))
    few = table[table.run.isin([0, 5, 10, 15])]
    law = canaries.law("exposure", few)
    assert law["b"]["interval"] is None and law["lack_of_fit"] is None
    assert "no interval: 4 runs" in _canaries(found(few))[-1]
    flat = table.assign(exposure=0.5, extracted=0)
    told = _canaries(found(flat))
    assert "0 of 1008 canaries lie between chance and the ceiling" in told[0]
    assert "all 1008 canaries are at 0%" in told[0]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canaries")
    study = plant(folder, "morris/canaries@pocket")
    return folder, study


def analysed(folder, study):
    table = run_table.table(folder, study.runs)
    return kinds.load("text").analyse(study, table, folder, Options(bootstraps=60))


def test_a_planted_study_ends_in_the_law_and_keeps_its_canaries(planted):
    """Exposures of 2 bits per doubling of views and 3 of parameters."""
    finding = analysed(*planted)
    law = finding.numbers["canaries"]["exposure"]
    for letter, slope in (("b", 2.0), ("c", 3.0)):
        assert law[letter]["interval"][0] < slope < law[letter]["interval"][1]
    each = finding.tables["canaries.csv"]
    assert len(each) == 18 * 8 * 8 and set(each.repeats) == {0, 1, 2, 4, 8, 16, 32, 64}
    page = text.render(kinds.document(finding))
    assert "are censored" in page and max(map(len, page.splitlines())) <= 80
    targets = finding.tables["runs.csv"]
    for table in tables.canaries(targets):
        assert max(map(len, table_text(table))) <= 80
    errors = [part for part in kinds.residuals(finding) if part.key in ("exposure", "logistic")]
    assert len(errors) == 2


def test_records_of_an_older_version_are_read_and_say_that_the_law_needs_them_again(planted):
    folder, study = planted
    for run in study.runs[:3]:
        path = records.run_dir(folder, run.run_id) / "record.json"
        record = json.loads(path.read_text())
        part = record["measures"]["text"] | {"version": 1}
        del part["recall_prefix"]
        for level in part["canaries"]:
            del level["exposures"], level["extracted"]
        record["measures"]["text"] = part
        path.write_text(json.dumps(record))
    finding = analysed(folder, study)
    for name in ("exposure", "logistic"):
        reason = finding.numbers["canaries"][name]["reason"]
        assert reason.startswith("records of 3 of 18 runs are of an older version")
        assert "capacity measure --study" in reason
    assert finding.numbers["canaries"]["lines"]["exposure"]["of"] == 126
    assert "**No law of canaries:**" in " ".join(kinds.document(finding).answers)


def test_a_file_of_schema_2_keeps_its_lines_as_descriptions():
    line = {"law": "l", "points": 41, "runs": 15} | {
        letter: {"value": value, "interval": [0.0, 1.0]}
        for letter, value in (("a", -43.0), ("b", 2.27), ("c", 3.06))
    }
    half = {"parameters": 10, "views": 3.0, "beyond": False}
    old = {"half_extracted": [half], "levels": {}, "exposure": line, "logistic": line}
    old |= {"extracted": {"reason": "too few"}}
    new = convert.current({"kind": "text", "schema": 2, "canaries": old})
    assert new["schema"] == 4 and "reason" in new["canaries"]["exposure"]
    assert new["canaries"]["lines"]["exposure"]["b"] == 2.27
    assert new["canaries"]["lines"]["extracted"]["b"] is None
    assert convert.current({"kind": "text", "schema": 2, "canaries": None})["canaries"] is None
    assert pd.DataFrame(new["canaries"]["half_extracted"]).interval.isna().all()
