"""Files of every type give one set of documents; what is wrong with a row is told by file and
line."""

import gzip
import json

import pyarrow as pa
import pytest

from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.data import sources, text
from text_files import DOCUMENTS, every_type, jsonl, parquet

SMALL = ["data=text_pocket", "data.documents=null", "data.source=files"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text.source_digest.cache_clear()
    return tmp_path


def read(path, *more):
    """The documents of a file, without line ends at their ends."""
    data = load([*SMALL, f'data.path="{path}"', *more]).data
    return [document.strip("\n") for document in text.documents(data)]


@pytest.mark.parametrize("name", every_type())
def test_files_of_every_type_hold_the_same_documents(here, name):
    (here / name).write_bytes(every_type()[name])
    assert read(name) == DOCUMENTS


def test_a_run_is_the_same_for_the_same_text_packed_marked_or_named_in_capitals(here):
    files = every_type()
    ids = {}
    for name in ("t.txt", "t_bom.txt", "t.txt.gz", "t.jsonl", "T_UPPER.JSONL", "t.jsonl.zst"):
        (here / name).write_bytes(files[name])
        ids[name] = load([*SMALL, f"data.path={name}"]).run_id
    assert ids["t.txt"] == ids["t_bom.txt"] == ids["t.txt.gz"]
    assert ids["t.jsonl"] == ids["T_UPPER.JSONL"] == ids["t.jsonl.zst"] != ids["t.txt"]


def test_columns_of_objects_are_named_by_dots_unless_a_column_has_the_name(here):
    rows = [{"meta": {"id": i, "by": "x" * (i % 2)}, "data": {"text": f"d{i}"}} for i in range(4)]
    (here / "t.jsonl").write_bytes(jsonl(rows))
    assert read("t.jsonl", "data.field=data.text") == ["d0", "d1", "d2", "d3"]
    data = load([*SMALL, "data.path=t.jsonl", "data.field=data.text", "data.group=meta.by"]).data
    assert [group for _, group in sources.documents(data)] == [None, "x", None, "x"]
    (here / "t.parquet").write_bytes(parquet(pa.Table.from_pylist(rows)))
    assert read("t.parquet", "data.field=data.text") == ["d0", "d1", "d2", "d3"]
    (here / "d.jsonl").write_bytes(jsonl([{"data.text": "own", "data": {"text": "inner"}}]))
    assert read("d.jsonl", "data.field=data.text") == ["own"]


@pytest.mark.parametrize(
    "name, content, more, words",
    [
        ("t.jsonl", jsonl([{"text": "a"}, {"text": None}]), [], "t.jsonl:2: data.field=text: null"),
        ("t.jsonl", jsonl([{"text": ["a"]}]), [], "t.jsonl:1: data.field=text: a list, expected"),
        (
            "t.jsonl",
            jsonl([{"content": "a", "id": 1}]),
            [],
            "t.jsonl:1: no data.field=text; it has",
        ),
        (
            "t.jsonl",
            jsonl([{"data": {"text": "a"}}]),
            [],
            "no data.field=text (did you mean data.text?); it has",
        ),
        (
            "t.jsonl",
            b'[{"text": "a"}]',
            [],
            "t.jsonl:1: a JSON array, expected one object per line",
        ),
        ("t.jsonl", b'"a"\n', [], "t.jsonl:1: a text, expected an object on every line"),
        ("t.jsonl", jsonl([{"text": "a"}]), ["data.group=who"], "t.jsonl:1: no data.group=who"),
        ("t.txt", "a\n\nriviè".encode("latin-1"), [], "t.txt:3: not UTF-8 text: 0xe8 at byte 7"),
        ("t.csv", b"id,text\n1,a\n2\n", [], "t.csv:3: 1 cells, the first line names 2 columns"),
        ("t.csv", b'text\n"a\n', [], "t.csv:2: not CSV: "),
        ("t.csv", b"text,text\n", [], "t.csv:1: two columns are named 'text'"),
        ("t.csv", b"", [], "t.csv: empty; expected a line of column names"),
        ("t.parquet", b"PAR1", [], "t.parquet: not a Parquet file that can be read"),
        ("t.arrow", b"ARROW1", [], "t.arrow: not an Arrow file that can be read"),
        (
            "t.parquet",
            parquet(pa.table({"text": [["a", "b"], ["c"]]})),
            [],
            "t.parquet, row 1: data.field=text: a list, expected a text",
        ),
        (
            "t.txt.gz",
            gzip.compress(b"abc" * 999, mtime=0)[:-9],
            [],
            "t.txt.gz: its gzip data are cut off",
        ),
    ],
)
def test_a_wrong_row_is_told_by_file_and_line(here, name, content, more, words):
    (here / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read(name, *more)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_bad_file_of_a_pattern_is_named(here):
    for name in ("t_a.txt", "t_c.txt"):
        (here / name).write_bytes(every_type()["t.txt"])
    (here / "t_b.txt").write_bytes("un été".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^t_b\.txt:1: not UTF-8 text: 0xe9 at byte 3"):
        read("t_*.txt")


def test_a_folder_is_told_apart_and_a_name_may_hold_the_signs_of_a_pattern(here):
    (here / "texts").mkdir()
    (here / "texts" / "a.jsonl").write_bytes(jsonl([{"text": "a"}]))
    with pytest.raises(
        ConfigError, match=r"texts is a folder; name its files, such as texts/\*\.j"
    ):
        read("texts")
    (here / "a[1].txt").write_text("one", "utf-8")
    assert read("a[1].txt") == ["one"]


def test_texts_that_look_like_dates_stay_texts_and_line_separators_content(here):
    texts = ["2024-01-01", "a\u2028b\u0085c", "1e3", "\x0bx"]
    (here / "t.jsonl").write_bytes(jsonl([{"text": t} for t in texts]))
    assert read("t.jsonl") == texts


def test_paragraphs_that_blocks_cut_anywhere_are_whole(here, monkeypatch):
    content = "é\n\n\nb\r\n\r\nc\n\n\n\nd\re\n"
    (here / "t.txt").write_bytes(b"\xef\xbb\xbf" + content.encode())
    expected = [p for p in content.replace("\r\n", "\n").replace("\r", "\n").split("\n\n") if p]
    for size in range(4, 30):
        monkeypatch.setattr("capacity.data.lines.BLOCK", size)
        data = load([*SMALL, "data.path=t.txt"]).data
        assert list(text.documents(data)) == expected
        rows = list(sources._paragraphs("t.txt"))
        assert [row.at for row in rows] == ["t.txt:1", "t.txt:3", "t.txt:6", "t.txt:10"]


def test_a_row_of_null_costs_nothing_that_was_read_before(here):
    """The run is refused before it trains, with exit code 2 and no results."""
    rows = [{"text": None if i == 5 else t} for i, t in enumerate(DOCUMENTS)]
    (here / "t.jsonl").write_bytes(jsonl(rows))
    with pytest.raises(ConfigError, match=r"t\.jsonl:6: data\.field=text: null, expected a text"):
        text.of(load([*SMALL, "data.path=t.jsonl", "data.vocab_size=64"]).data)
    assert json.loads((here / "t.jsonl").read_text("utf-8").splitlines()[5]) == {"text": None}
