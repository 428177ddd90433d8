"""What a process knows of files follows their content: one relative name in two folders, and a file
that changes between two runs, are other data."""

from capacity.base.files import content_digest
from capacity.compose import load
from corpora import config, lines, write

PLAIN = lines("plain")


def test_lexicons_are_told_apart_by_content(tmp_path, monkeypatch):
    """One relative name in two folders, and a file that changes between two runs of a process."""
    found = []
    for folder, cities in (("a", 4), ("b", 2)):
        (tmp_path / folder).mkdir()
        people = [
            p | {"attributes": {"city": p["attributes"]["city"]}} for p in PLAIN[: 8 * cities // 2]
        ]
        write(tmp_path / folder / "p.jsonl", people)
        monkeypatch.chdir(tmp_path / folder)
        found.append(config("p.jsonl", {"seq_len": 24}).items)
    assert found == [16, 8]
    write(tmp_path / "b" / "p.jsonl", PLAIN[:12])
    assert config("p.jsonl", {"seq_len": 24}).items == 12


def test_templates_are_told_apart_by_content(tmp_path, monkeypatch):
    from capacity.data import lists

    own = (lists.OWN / "templates.txt").read_text("utf-8")
    ids = []
    for folder, text in (("a", own), ("b", own.replace(" was born", " came to life"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.txt").write_text(text, "utf-8")
        monkeypatch.chdir(tmp_path / folder)
        ids.append(load(["data=bios_pocket", "data.templates_file=t.txt"]).run_id)
    assert len(set(ids)) == 2


def test_texts_are_told_apart_by_content(tmp_path, monkeypatch):
    ids = []
    for folder, word in (("a", "one"), ("b", "two")):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        for more in ("", " more"):
            (tmp_path / folder / "t.txt").write_text(f"{word} is a word{more}.\n" * 200)
            ids.append(
                load(
                    [
                        *"data=text data.source=files data.path=t.txt data.seq_len=8".split(),
                        *"data.vocab_size=260 data.n_sequences=9 data.n_held_out=9".split(),
                    ]
                ).run_id
            )
    assert len(set(ids)) == 4


def test_a_digest_follows_the_bytes(tmp_path):
    path = tmp_path / "x"
    assert content_digest(path) == ""
    found = []
    for text in ("a", "b", "a"):
        path.write_text(text)
        found.append(content_digest(path))
    assert found[0] == found[2] != found[1]
