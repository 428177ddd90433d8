"""`capacity data`: what it says of each kind of data, and sequences as a file."""

import json
import re

import numpy as np
import pytest

from capacity.cli.main import main
from capacity.compose import load
from capacity.data import uniform
from capacity.feed import split
from command_line import one_line

TEXT = [
    "data=text_pocket",
    "data.documents=150",
    "data.seq_len=8",
    "data.n_held_out=20",
    "data.tokens_per_parameter=null",
    "data.n_sequences=30",
    "data.canaries=3",
    "data.repeats=[0,2]",
]
KINDS = {
    "uniform": ["data.n_sequences=12", "data.load=null", "data.vocab_size=16", "data.seq_len=6"],
    "bios": ["data=bios_pocket", "data.n_people=40"],
    "biod": ["data=biod_pocket", "data.n_people=40"],
    "text": TEXT,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_bits_vocabulary_and_three_samples_at_80_columns(here, capsys, kind):
    config = load(KINDS[kind])
    assert main(["data", *KINDS[kind]]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert [line[0] for line in out.splitlines() if re.match(r"\d\. ", line)] == ["1", "2", "3"]
    total = re.search(r"([\d,.]+) in all \(|all: ([\d,.]+) bits", out)
    total = float((total[1] or total[2]).replace(",", ""))
    assert total == pytest.approx(config.entropy_bits, rel=1e-3)
    assert f"{config.rows:,} rows" in out and "token" in out


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_random_sequences_are_written_as_they_are_trained_on(here, capsys, ending):
    path = here / f"s.{ending}"
    assert main(["data", *KINDS["uniform"], "seed=4", "--output", str(path)]) == 0
    if ending == "parquet":
        from pyarrow import parquet

        table = parquet.read_table(path)
        rows, kept = table.to_pylist(), json.loads(table.schema.metadata[b"capacity"])
    else:
        rows, kept = [json.loads(line) for line in path.read_text().splitlines()], None
    about = json.loads((here / f"s.{ending}.about.json").read_text())
    assert about["sequences"] == len(rows) == 12 and about["seed"] == 4
    assert about["digest"] in capsys.readouterr().out and (kept or about) == about
    assert np.array_equal([row["tokens"] for row in rows], uniform.tokens(4, 12, 6, 16))


def test_text_is_written_with_its_split(here, capsys):
    assert main(["data", *TEXT, "--output", "t.jsonl"]) == 0
    rows = [json.loads(line) for line in (here / "t.jsonl").read_text().splitlines()]
    found = split.of(load(TEXT))
    by_split = {name: [r for r in rows if r["split"] == name] for name in
                ("member", "held_out", "canary", "trained")}  # fmt: skip
    assert [r["sequence"] for r in by_split["member"]] == found.members.tolist()
    assert [r["sequence"] for r in by_split["held_out"]] == found.held_out.tolist()
    assert [r["repeats"] for r in by_split["canary"]] == found.repeats.tolist() == [0] * 3 + [2] * 3
    assert not by_split["trained"] and len(rows) == 30 + 20 + 6
    pool = found.pool
    assert all(r["text"] == pool.text(r["sequence"]) for r in by_split["member"])


def test_a_reference_model_is_shown_with_what_it_is_trained_on(here, capsys):
    settings = [*TEXT, "data.trained_on=others", "data.n_reference=25"]
    assert main(["data", *settings, "--output", "t.jsonl"]) == 0
    rows = [json.loads(line) for line in (here / "t.jsonl").read_text().splitlines()]
    trained = [r["sequence"] for r in rows if r["split"] == "trained"]
    assert trained == split.of(load(settings)).trained.tolist() and len(trained) == 25


@pytest.mark.parametrize(
    "args, words",
    [
        (["--output", "people.csv"], "ends in .jsonl or .parquet"),
        (["data=corpus", "data.path=nobody.jsonl"], "no such file"),
        (["data=corpus", "data.path=nobody.parquet"], "no such file"),
        (["data=bios_pocket", "--texts", "0"], "at least 1"),
        (["data=nothing"], "no such choice"),
    ],
)
def test_what_cannot_be_is_one_line(here, capsys, args, words):
    assert main(["data", *args]) == 2
    assert words in one_line(capsys.readouterr().err)
    assert not [path for path in here.iterdir() if path.name.startswith(("people", "."))]


def test_a_broken_table_of_people_is_one_line(here, capsys):
    (here / "people.parquet").write_bytes(b"PAR1 nothing")
    assert main(["data", "data=corpus", "data.path=people.parquet"]) == 2
    assert "not a Parquet file" in one_line(capsys.readouterr().err)
