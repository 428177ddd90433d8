"""Files of an audit as documents, and what is refused of them."""

import gzip
import json

import numpy as np
import pytest

from capacity.audit import given
from capacity.base.errors import ConfigError


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(name, n, **more):
    return [{"text": f"{name} text {i}", **more} for i in range(n)]


def refused(*args, **columns):
    with pytest.raises(ConfigError) as error:
        given.read(*args, given.Columns(**columns))
    return str(error.value)


def test_equal_texts_of_a_file_are_one_document_with_copies(tmp_path):
    rows = texts("mine", 10) + texts("mine", 2) + [{"text": " "}]
    members = jsonl(tmp_path / "m.jsonl", rows)
    (tmp_path / "o.txt.gz").write_bytes(
        gzip.compress("\n\n".join(f"other {i}" for i in range(11)).encode())
    )
    read = given.read(members, str(tmp_path / "o.txt.gz"))
    one = read.documents
    assert one.member_D.tolist() == [True] * 10 + [False] * 11
    assert one.copies_D.tolist() == [2, 2] + [1] * 19
    assert read.rows == {"members": 13, "others": 11} and read.blank == {"members": 1, "others": 0}
    assert one.ids[0] == f"{members}:1" and one.ids[11] == f"{tmp_path / 'o.txt.gz'}:3"
    assert one.bytes_D[0] == len("mine text 0") and one.zlib_D[0] > 8
    assert one.tokens is None and one.groups is None and (one.unit_D == np.arange(21)).all()


def test_columns_name_text_document_and_group(tmp_path):
    rows = [{"body": {"de": f"Satz {i}"}, "key": i, "book": f"b{i % 3}"} for i in range(12)]
    others = [{"body": {"de": f"Anderer {i}"}, "key": i + 100, "book": None} for i in range(12)]
    columns = given.Columns("body.de", "key", "book")
    one = given.read(
        jsonl(tmp_path / "m.jsonl", rows), jsonl(tmp_path / "o.jsonl", others), columns
    ).documents
    assert one.ids[:2] == ["0", "1"] and one.texts[1] == "Satz 1"
    assert len(np.unique(one.unit_D)) == 3 + 12 and one.groups[:4] == ["b0", "b1", "b2", "b0"]


def test_files_with_tokens_are_told_apart_by_them(tmp_path):
    rows = [{"id": f"row {i}", "text": "\ufffd", "tokens": [i, 3]} for i in range(10)]
    others = [{"id": f"row {i + 10}", "text": "\ufffd", "tokens": [i, 4]} for i in range(10)]
    one = given.read(
        jsonl(tmp_path / "m.jsonl", rows + rows[:1]), jsonl(tmp_path / "o.jsonl", others)
    ).documents
    assert one.ids[10] == "row 10" and one.copies_D[0] == 2 and len(one.ids) == 20
    assert one.tokens[10].tolist() == [0, 4] and one.tokens[0].dtype == np.int32


def test_what_is_refused_says_why_and_where(tmp_path):
    members = jsonl(tmp_path / "m.jsonl", texts("mine", 12, book="a"))
    others = jsonl(tmp_path / "o.jsonl", texts("other", 12, book="b"))
    assert "no such file" in refused(members, str(tmp_path / "none.jsonl"))
    assert "same as --members" in refused(members, members)
    same = jsonl(tmp_path / "same.jsonl", texts("mine", 12, book="a"))
    assert "are the same as --members" in refused(members, same)
    shared = jsonl(tmp_path / "s.jsonl", texts("other", 12) + texts("mine", 3))
    assert refused(members, shared) == (
        f"--members and --others share 3 documents, the first {members}:1 and {shared}:13; "
        "a document was trained on or it was not"
    )
    few = jsonl(tmp_path / "few.jsonl", texts("few", 9))
    assert "9 different documents; an interval over documents needs at least 10" in refused(
        members, few
    )
    assert "no row" in refused(members, jsonl(tmp_path / "empty.jsonl", []))
    assert "no text in 2 rows" in refused(
        members, jsonl(tmp_path / "blank.jsonl", [{"text": ""}] * 2)
    )
    assert "no --field=txt (did you mean text?)" in refused(members, others, text="txt")
    assert "no --group=boo" in refused(members, others, group="boo")
    both = jsonl(tmp_path / "both.jsonl", texts("third", 12, book="a"))
    assert "1 group in both files, the first 'a'" in refused(members, both, group="book")
    tokens = jsonl(
        tmp_path / "t.jsonl", [row | {"tokens": [1, i]} for i, row in enumerate(texts("t", 12))]
    )
    assert "has a column tokens, the other file has none" in refused(tokens, others)
    mixed = jsonl(tmp_path / "x.jsonl", texts("x", 2) + [{"text": "y", "tokens": [1]}])
    assert f"{mixed}:3: a column tokens, unlike the rows before" in refused(members, mixed)
    wrong = jsonl(tmp_path / "w.jsonl", [{"text": "y", "tokens": [1.5]}])
    assert "expected token ids" in refused(members, wrong)


def test_a_budget_takes_whole_documents_of_both_sides_at_random(tmp_path):
    members = jsonl(tmp_path / "m.jsonl", texts("mine", 100))
    others = jsonl(tmp_path / "o.jsonl", texts("other", 30))
    read = given.read(members, others)

    def encode(some):
        return [np.zeros(5, np.int32) for _ in some]

    one = given.within(read, encode, 200, seed=0)
    assert one.documents.member_D.sum() == 20 == (~one.documents.member_D).sum()
    assert one.left_out == {"members": 80, "others": 10}
    assert given.within(read, encode, 200, seed=0).documents.ids == one.documents.ids
    unseen = [
        name for name, m in zip(read.documents.ids, read.documents.member_D, strict=True) if not m
    ]
    assert set(one.spare.ids) == set(unseen) - set(one.documents.ids) and one.spare.ids
    assert not one.spare.member_D.any() and read.spare is None
    assert given.within(read, encode, 200, seed=1).documents.ids != one.documents.ids
    rest = given.within(read, encode, 400, seed=0)  # others have 150 tokens, members get the rest
    assert rest.left_out == {"members": 50, "others": 0}
    assert given.within(read, encode, 10**6, seed=0).documents.ids == read.documents.ids
    with pytest.raises(
        ConfigError, match=r"--tokens=90: holds 9 documents of --members.*--tokens=100"
    ):
        given.within(read, encode, 90, seed=0)


def test_canaries_have_repeats_and_bits(tmp_path):
    rows = [
        {"text": "a", "repeats": 4, "bits": 8.0},
        {"text": "a", "repeats": 0},
        {"text": "b", "repeats": 0},
    ]
    one = given.canaries(jsonl(tmp_path / "c.jsonl", rows))
    assert one.repeats_C.tolist() == [4, 0, 0] and one.bits_C[0] == 8 and np.isnan(one.bits_C[1])
    assert one.documents.member_D.tolist() == [True, False, False] and len(one.documents.texts) == 3
    for bad, words in (
        ([{"text": "a", "repeats": 1}], "no row with repeats 0"),
        ([{"text": "a", "repeats": 0}], "no row with repeats above 0"),
        ([{"text": "a", "repeats": 1.5}], "repeats=1.5: expected a whole number"),
        ([{"text": "a"}], "no column=repeats"),
    ):
        with pytest.raises(ConfigError, match=words):
            given.canaries(jsonl(tmp_path / "bad.jsonl", bad))
