"""Several files as one source: a run's id follows the documents, folders are told apart, and rows
without a text are refused or counted."""

import itertools
import json
import random

import pyarrow as pa
import pytest

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.config import from_dict
from capacity.data import sources, text
from capacity.feed import used_rows
from text_files import DOCUMENTS, arrow, cells, jsonl, parquet

SMALL = ["data=text_pocket", "data.documents=null", "data.source=files"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text.source_digest.cache_clear()
    return tmp_path


def put(here, name, parts, ending="txt"):
    """A folder of files with these contents; the pattern that names them."""
    (here / name).mkdir()
    for i, part in enumerate(parts):
        (here / name / f"{i:03d}.{ending}").write_bytes(part)
    return f"{name}/*.{ending}"


def of(pattern, *more):
    """Documents and id of what a pattern names."""
    config = load([*SMALL, f"data.path={pattern}", *more])
    return tuple(text.documents(config.data)), config.run_id


def test_the_same_bytes_in_other_files_are_another_run_where_documents_differ(here):
    whole = b"one two\n\nthree\n\n\nfour\n"
    ways = {
        "whole": [whole],
        "within": [whole[:3], whole[3:]],
        "between": [whole[:9], whole[9:]],
        "end": [whole[:8], whole[8:]],
        "empty": [b"", whole],
    }
    found = {name: of(put(here, name, parts)) for name, parts in ways.items()}
    assert found["within"][0] == ("one", " two", "three", "\nfour\n")
    assert found["between"] == found["whole"]
    for one, two in itertools.combinations(ways.keys() - {"empty"}, 2):
        assert (found[one][0] == found[two][0]) == (found[one][1] == found[two][1])
    assert found["empty"][0] == found["whole"][0]


def test_ids_follow_the_documents_of_plain_text_however_it_is_cut(here):
    """Every way to cut short texts of letters and line ends into two or three files: equal ids mean
    equal documents, and files that end between documents have the id of the whole."""
    draw = random.Random(3)
    for n in range(12):
        whole = "".join(draw.choice(["x", "\n", "\n", "\r\n", "\r"]) for _ in range(7)).encode()
        found = {}
        for k, places in enumerate([(), *itertools.combinations(range(1, len(whole)), 2)]):
            cuts = [0, *places, len(whole)]
            parts = [whole[a:b] for a, b in itertools.pairwise(cuts)]
            documents, run_id = of(put(here, f"{n}_{k}", parts))
            assert found.setdefault(run_id, documents) == documents, (whole, places)
        assert len(found) > 1


def test_types_with_a_head_or_a_foot_say_where_files_end_and_jsonl_need_not(here):
    table = cells(",")
    (one,) = [of(put(here, "csv", [table, table], "csv"))]
    (two,) = [of(put(here, "csv_joined", [table + table], "csv"))]
    assert len(one[0]) == len(two[0]) - 1 and one[1] != two[1]
    for kind, make in (("parquet", parquet), ("arrow", lambda t: arrow(t, stream=True))):
        content = make(pa.table({"text": DOCUMENTS[:4]}))
        twice = of(put(here, kind, [content, content], kind))
        joined = load([*SMALL, f"data.path={put(here, f'{kind}_joined', [content * 2], kind)}"])
        assert len(twice[0]) == 8 and joined.run_id != twice[1]
    rows = [{"text": document} for document in DOCUMENTS[:6]]
    apart = of(put(here, "jsonl", [jsonl(rows[:2]), jsonl(rows[2:])], "jsonl"))
    assert apart == of(put(here, "jsonl_joined", [jsonl(rows)], "jsonl"))


def test_a_pattern_leaves_folders_out_as_other_tools_do_and_says_so(here):
    put(here, "texts", [b"one\n", b"two\n"])
    (here / "texts" / "more").mkdir()
    (here / "texts" / "more" / "x.txt").write_bytes(b"three\n")
    config = load([*SMALL, "data.path=texts/*"])
    assert [t.strip() for t in text.documents(config.data)] == ["one", "two"]
    assert config.run_id == of("texts/*.txt")[1]
    (note,) = config.resolved.notes(config.items)
    assert note == (
        "data.path=texts/*: the folder texts/more is left out; data.path='texts/**' reads what is "
        "in folders, too"
    )
    deep = load([*SMALL, "data.path=texts/**"])
    assert [t.strip() for t in text.documents(deep.data)] == ["one", "two", "three"]
    assert deep.resolved.notes(deep.items) == []
    (here / "nested" / "inner").mkdir(parents=True)
    with pytest.raises(ConfigError) as error:
        load([*SMALL, "data.path=nested/*"])
    assert "data.path=nested/*: only folders (nested/inner); data.path='nested/**'" in str(
        error.value
    )


def test_rows_without_a_text_are_skipped_where_asked_counted_told_and_kept(here):
    rows = [{"text": None if i in (5, 9) else t} for i, t in enumerate(DOCUMENTS)]
    rows[7] = {"id": 7}
    (here / "t.jsonl").write_bytes(jsonl(rows))
    line = [*SMALL, "data.path=t.jsonl", "data.vocab_size=64", "data.n_sequences=20"]
    line += ["data.n_held_out=10", "data.seq_len=16"]
    refused, config = load(line), load([*line, "data.null_rows=skip"])
    with pytest.raises(ConfigError, match=r"t\.jsonl:6: .*null, .*; data\.null_rows=skip leaves"):
        text.of(refused.data)
    kept = [t for i, t in enumerate(DOCUMENTS) if i not in (5, 7, 9)]
    assert list(text.documents(config.data)) == kept
    assert (
        "t.jsonl: 3 of 60 rows without data.field=text skipped" in used_rows.warnings([config])[0]
    )
    text.keep(here, config.data)
    text._POOLS.clear()
    tree = config.as_dict()
    (here / "t.jsonl").unlink()  # a worker has the kept pool only
    text.load(here, tree["data"]["pool"])
    config = from_dict(tree)
    record = {"parameters": {}, "data": {}}
    used_rows.put(record, config)
    assert record["data"]["null_rows"] == 3 and record["data"]["source_rows"] == 60


def test_first_documents_are_those_with_a_text(here):
    rows = [{"text": None}, *({"text": t} for t in "abc"), {"text": None}]
    (here / "t.jsonl").write_bytes(jsonl(rows))
    data = load([*SMALL, "data.path=t.jsonl", "data.null_rows=skip", "data.documents=2"]).data
    counted = sources.Counted()
    assert [t for t, _ in sources.documents(data, counted)] == ["a", "b"]
    assert counted == sources.Counted(rows=3, null=1)


def test_a_wrong_field_is_not_taken_for_rows_without_a_text(here):
    (here / "t.jsonl").write_bytes(jsonl([{"content": "a"}, {"content": "b"}]))
    data = load([*SMALL, "data.path=t.jsonl", "data.null_rows=skip"]).data
    with pytest.raises(ConfigError, match=r"t\.jsonl:1: no data\.field=text; it has content"):
        list(text.documents(data))
    assert json.loads(jsonl([{"text": None}])) == {"text": None}


def test_skipping_is_a_run_of_its_own_and_refusing_keeps_the_id_of_before(here):
    (here / "t.jsonl").write_bytes(jsonl([{"text": t} for t in DOCUMENTS]))
    line = [*SMALL, "data.path=t.jsonl"]
    plain = load(line).run_id
    assert load([*line, "data.null_rows=refuse"]).run_id == plain
    assert load([*line, "data.null_rows=skip"]).run_id != plain
