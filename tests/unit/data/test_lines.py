"""Lines, byte order marks, packing and JSON: what one reader does for every file."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.data import lines
from capacity.data.corpus import read_people

CASES = Path(__file__).parents[2] / "data" / "cases"
BREAKS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e\r"  # where str.splitlines would cut
PLANTED = st.text(st.sampled_from("a é漢😀\ufeff" + BREAKS), max_size=12)


def zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACK = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few bytes, so that they end inside characters and line ends."""
    monkeypatch.setattr(lines, "BLOCK", 3)


@given(
    st.lists(PLANTED, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(sorted(PACK)),
    st.integers(1, 7),
)
def test_lines_end_at_a_line_feed_only(tmp_path_factory, texts, end, bom, ended, packed, block):
    texts = [text.rstrip("\r") for text in texts]
    if texts:
        texts[0] = texts[0].lstrip("\ufeff")
    content = end.join(texts) + end * (ended and bool(texts))
    if not ended and texts and not texts[-1]:
        content, texts = content + "a", [*texts[:-1], "a"]
    data = b"\xef\xbb\xbf" * bom + content.encode()
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_bytes(PACK[packed](data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", block)
        found = list(lines.lines(path))
    assert [line.text for line in found if line.text or line.ended] == texts
    for line in found:  # the offset points at the line in the unpacked file
        assert data[line.offset :].startswith(line.text.encode())
    assert [line.number for line in found] == list(range(1, len(found) + 1))


@given(st.lists(st.dictionaries(PLANTED, PLANTED, max_size=3), max_size=6), st.booleans())
def test_objects_come_back_whatever_their_texts_hold(tmp_path_factory, entries, escaped):
    path = tmp_path_factory.getbasetemp() / "objects.jsonl"
    text = "".join(json.dumps(e, ensure_ascii=escaped) + "\n" for e in entries)
    path.write_bytes(text.encode())
    assert [entry.value for entry in lines.objects(path)] == entries


@pytest.mark.parametrize("character", [*BREAKS, "\t"])
def test_a_raw_control_character_inside_a_text_is_content(tmp_path, character):
    path = tmp_path / "a.jsonl"
    path.write_bytes(f'{{"t": "x{character}y"}}\n{{"t": 2}}\n'.encode())
    assert [e.value["t"] for e in lines.objects(path)] == [f"x{character}y", 2]


def test_people_are_the_same_whatever_the_file_is_wrapped_in(tmp_path):
    plain = (CASES / "people_plain.jsonl").read_bytes()
    expected = read_people(CASES / "people_plain.jsonl", None)
    assert len(expected) == 16
    for name in ("bom", "crlf"):
        assert read_people(CASES / f"people_{name}.jsonl", None) == expected
    for name, pack in PACK.items():
        (tmp_path / f"people.{name}").write_bytes(pack(plain))  # known by content, not by name
        assert read_people(tmp_path / f"people.{name}", None) == expected


@pytest.mark.parametrize("name, sign", [("u2028", "\u2028"), ("u0085", "\u0085")])
def test_people_whose_texts_hold_a_line_separator(name, sign):
    expected = read_people(CASES / "people_plain.jsonl", None)
    found = read_people(CASES / f"people_{name}.jsonl", None)
    for one, other in zip(found, expected, strict=True):
        assert (one.name, one.values) == (other.name, other.values)
        for text, plain in zip(one.texts, other.texts, strict=True):
            assert text.text.startswith(plain.text)  # and what stands behind the separator
    raw = [
        t for entry in lines.objects(CASES / f"people_{name}.jsonl") for t in entry.value["texts"]
    ]
    assert any(sign in text for text in raw)


def test_packed_pieces_that_follow_each_other_are_one_file(tmp_path):
    for pack in (gzip.compress, zstd):
        (tmp_path / "a").write_bytes(pack(b'{"a": 1}\n') + pack(b'{"a": 2}\n'))
        assert [e.value for e in lines.objects(tmp_path / "a")] == [{"a": 1}, {"a": 2}]


GOOD = b'{"t": "x"}\n'


@pytest.mark.parametrize(
    "data, words",
    [
        (GOOD + '{"t": "é"}'.encode("latin-1"), ":2: not UTF-8 text: 0xe9 at byte 18 of the file"),
        (b"\xef\xbb\xbf" + GOOD + b"\xff", ":2: not UTF-8 text: 0xff at byte 14"),
        ('{"t": 1}'.encode("utf-16"), ": UTF-16 text; expected UTF-8 text"),
        (b"PK\x03\x04", ": a zip archive; expected UTF-8"),
        (b"BZh91AY&SY12", ": packed by bzip2"),
        (gzip.compress(GOOD * 99, mtime=0)[:-9], ": its gzip data are cut off or damaged"),
        (gzip.compress(GOOD, mtime=0) + b"xx", ": its gzip data are cut off or damaged"),
        (zstd(GOOD * 9999)[:-9], ": its zstd data are cut off or damaged"),
        (b'\n[{"t": "x"}]', ":2: a JSON array, expected one object per line; jq -c '.[]'"),
        (b'[\n{"t": "x"}\n]', ":1: a JSON array, expected one object per line"),
        (GOOD + b"[1]\n", ":2: a list, expected an object on every line"),
        (GOOD + b'"a"\n', ":2: a text, expected an object"),
        (b"3\n", ":1: a number, expected an object"),
        (b"null\n", ":1: null, expected an object"),
        (GOOD + b'{"t": "x\n', ":2: not JSON: Unterminated string starting at byte 17"),
        ('{"é": "漢" x}'.encode(), ":1: not JSON: Expecting ',' delimiter at byte 13 of the file"),
        (b"{\n}", ":1: not JSON: "),
        (GOOD + b'{"t": 1, "t": 2}', ":2: the key 't' stands twice in one object"),
        (GOOD + b'{"t": "\\ud800x"}', ":2: \\ud800 is half of a surrogate pair"),
        (b'{"t": ' + b"[" * 100000, ":1: not JSON that can be read: nested too deeply"),
        (b'{"t": ' + b"9" * 5000 + b"}", ":1: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_line_and_byte(tmp_path, data, words):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as error:
        list(lines.objects(path))
    assert f"{path}{words}" in str(error.value)


def test_a_missing_file_a_folder_and_a_file_without_a_byte(tmp_path):
    for path, words in ((tmp_path / "no", "no such file"), (tmp_path, "a folder, expected a file")):
        with pytest.raises(ConfigError, match=words):
            list(lines.lines(path))
    for data in (b"", b"\xef\xbb\xbf", gzip.compress(b"")):
        (tmp_path / "empty").write_bytes(data)
        assert not list(lines.objects(tmp_path / "empty"))
        assert b"".join(lines.blocks(tmp_path / "empty")) == b""


def test_memory_does_not_grow_with_the_file(tmp_path):
    """32 MiB unpacked are read within a few blocks' room."""
    path = tmp_path / "large.gz"
    path.write_bytes(gzip.compress((b'{"t": "' + b"x" * 1000 + b'"}\n') * 32768, 1))
    tracemalloc.start()
    count = sum(1 for _ in lines.objects(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 32768 and peak < 16 * lines.BLOCK
