"""How often junk people are seen is told as it is."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from capacity.analysis.facts import other_people

STUDY = Path(__file__).resolve().parents[3] / "results" / "studies" / "physics33" / "10_junk@pocket"


def test_junk_people_of_the_committed_study_are_seen_twice_and_six_times():
    """Counted from tokens: seven of eight windows are of others, their texts as long as those of
    the main people, whose exposures were counted one by one."""
    found = {one["asked"]: one["each"] for one in kept()["other_exposures"]}
    runs = pd.read_csv(STUDY / "runs.csv").query("`data.other_people` > 0")
    for asked, rows in runs.groupby("asked"):
        run = rows.iloc[0]
        windows = run.steps * run.batch_size
        a_text = windows / 8 * run.seq_len / (run.exposures_mean * run.n_people)  # tokens
        assert found[asked] == pytest.approx(
            windows * 7 / 8 * run.seq_len / a_text / run["data.other_people"], rel=0.01
        )
    (sentence,) = other_people.words(kept()["other_exposures"])
    assert "each of the 100,000 others is seen 2.1 times at 300 and 6.3 times at 900" in sentence


def test_a_study_without_others_says_nothing_of_them():
    assert other_people.exposures(pd.DataFrame({"r": [1.0]})) == []
    assert other_people.words([]) == []


def test_the_sentence_is_on_the_terminal():
    text = Path(__file__).resolve().parents[2] / "data/terminal/physics33/10_junk@pocket.txt"
    assert "is seen 2.1 times at 300" in " ".join(text.read_text(encoding="utf-8").split())


def test_records_of_that_study_have_seven_parts_of_junk():
    lines = gzip.decompress((STUDY / "records.jsonl.gz").read_bytes()).decode().splitlines()
    parts = {
        (c := json.loads(line)["config"]["data"])["other_parts"] / c["main_parts"] for line in lines
    }
    assert parts == {0.0, 7.0}


def kept():
    return json.loads((STUDY / "fit.json").read_bytes())
