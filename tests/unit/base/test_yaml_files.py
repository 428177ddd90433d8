"""Words of YAML 1.1 that are other numbers than people mean, and files that cannot be read."""

from pathlib import Path

import pytest

from capacity.base import yaml_files
from capacity.base.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    def of(content):
        path = tmp_path / "f.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return yaml_files.read(path)

    return of


@pytest.mark.parametrize(
    "word, value",
    [
        ("010", "010"),  # PyYAML: 8
        ("00123", "00123"),  # 83
        ("1:30", "1:30"),  # 90
        ("1:30:00", "1:30:00"),  # 5400
        ("1:30.5", "1:30.5"),  # 90.5
        ("0b11", "0b11"),  # 3
        ("2026-01-02", "2026-01-02"),  # a date
        ("1e-3", 0.001),  # a text
        ("-1E5", -1e5),
        (".5e2", 50.0),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("0", 0),
        ("-12", -12),
        ("1_000", 1000),
        ("0x10", 16),
        (".inf", float("inf")),
        ("yes", True),
        ("null", None),
        ("-", "-"),
        ("1.2.3", "1.2.3"),
        ("'7'", "7"),
    ],
)
def test_a_word_is_what_a_person_reads(read, word, value):
    got = read(f"a: {word if word != '-' else repr(word)}\n")["a"]
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    "content, words",
    [
        ("a: [1,\n", "f.yaml:2: not valid YAML: while parsing a flow"),
        ("b: 0\na: 1\na: 2\n", "f.yaml:3: not valid YAML: found duplicate key a"),
        ("- {a: {b: 1, b: 2}}\n", "f.yaml:1: not valid YAML: found duplicate key b"),
        ("a: 1\n---\nb: 1\n", "but found another document"),
        ("a:\n\t- b\n", "f.yaml:2: not valid YAML: while scanning for the next token"),
        ("a: !!python/object/apply:os.system ['echo']\n", "f.yaml:1: not valid YAML"),
        (b"a: 1\nb: caf\xe9\n", "f.yaml:2: not UTF-8 text: 0xe9 at byte 11; if it is Latin-1"),
        ("\x00", "f.yaml: not valid YAML"),
        ("- a\n", "f.yaml: expected named entries"),
        ("word\n", "f.yaml: expected named entries"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(read, content, words):
    with pytest.raises(ConfigError) as error:
        read(content)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_an_empty_file_a_bom_and_line_ends_of_windows(read, tmp_path):
    assert read("") == {} and read("# nothing\n") == {}
    assert read(b"\xef\xbb\xbfa: 1\r\nb:\r\n- 2\r\n") == {"a": 1, "b": [2]}
    with pytest.raises(ConfigError, match="no.yaml: No such file"):
        yaml_files.read(tmp_path / "no.yaml")


def test_both_readers_read_the_files_of_the_project_alike(monkeypatch):
    files = sorted((Path(__file__).parents[3]).glob("[cs][ow]*/**/*.yaml"))
    assert len(files) > 100
    fast = [yaml_files.read(path) for path in files]
    monkeypatch.setattr(yaml_files, "_FAST", yaml_files._Loader)
    assert [yaml_files.read(path) for path in files] == fast
