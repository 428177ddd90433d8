"""People that `capacity data --output` has written are, read by data=corpus, the same people with
the same bits and places; for every kind of data that has people."""

import json
import math
import re
import shlex

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import load
from capacity.data import lexicons
from capacity.data.biographies import WORLDS
from capacity.data.facts import NAME, key_of
from capacity.feed.stream import MemberStream
from capacity.inspection import data as inspection
from capacity.inspection import people
from capacity.measure import knowledge
from capacity.measure.questions import Asking
from command_line import one_line
from corpora import lines, write

BIOS = ["data=bios_pocket", "data.n_people=60", "data.seq_len=64", "seed=5"]
KINDS = {
    "bios": BIOS,
    "gpt2": [*BIOS, "data.tokenizer=gpt2"],
    "two texts": [*BIOS, "data.biographies=2", "data.order=fixed", "data.middle_names=30"],
    "full names": [*BIOS, "data.full_names=true"],
    "no work": [*BIOS, "data.employers=0", "data.years=0"],
    "biod": ["data=biod_pocket", "data.n_people=60", "data.attributes=3"],
    "one chunk": ["data=biod_pocket", "data.n_people=60", "data.chunks=1"],
    "named values": [
        "data=biod_pocket",
        "data.n_people=60",
        "data.attributes=3",
        "data.wording=attributes",
    ],
    "values alone": [
        "data=biod_pocket",
        "data.n_people=60",
        "data.attributes=3",
        "data.chunks=1",
        "data.length=2",
        "data.order=fixed",
        "data.wording=values",
    ],
}


def written(capsys, overrides, path, *more):
    """Writes a file; returns settings that read it, as the command said, and what stands beside."""
    assert main(["data", *overrides, "--output", str(path), *more]) == 0
    out = capsys.readouterr().out.replace("\\\n", " ")
    words = shlex.split(re.search(r"read by: capacity data (data=corpus .*)$", out, re.M)[1])
    about = json.loads(path.with_name(path.name + ".about.json").read_text())
    return [word for word in words if re.match(r"data[.=]", word)], about


def test_of_a_mixture_the_people_are_written_as_if_there_were_no_rows(here, capsys):
    mixed = ["data=mixed", "data.load=null", "data.n_people=60", "data.n_rows=50", "seed=5"]
    assert main(["data", *mixed, "--output", "mixed.jsonl"]) == 0
    assert "60 people and 50 random rows" in capsys.readouterr().out
    written(capsys, BIOS, here / "bios.jsonl")
    assert (here / "mixed.jsonl").read_bytes() == (here / "bios.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="data.n_people=0: there are no people to write"):
        inspection.show([*mixed, "data.n_people=0"], here / "none.jsonl", None)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("kind", KINDS)
def test_generated_people_are_read_with_the_same_bits_and_places(here, capsys, kind, ending):
    if ending == "parquet" and kind not in ("bios", "biod"):
        return  # the format does not depend on the settings
    before = load(KINDS[kind])
    read, about = written(capsys, KINDS[kind], here / f"people.{ending}")
    after = load(read)
    assert after.items == before.items == about["people"] == 60
    facts = lexicons.of(after.data).facts
    source = {name: bits for name, _, bits in inspection._source_bits(before)}
    assert set(facts.attributes) == source.keys() - {"(name)"}
    for name, attribute in facts.attributes.items():
        assert attribute.stating == attribute.having == 60
        assert attribute.bits == pytest.approx(source[name], rel=1e-12)
    sets = 0.0
    if before.data.kind == "biod":  # what the lists of strings hold is no bit of a corpus
        d = before.data
        sets = d.attributes * d.diversity * math.log2(d.alphabet**d.length / d.diversity)
    assert after.entropy_bits == pytest.approx(before.entropy_bits - sets, rel=1e-12)
    by_frequency = load([word for word in read if "value_bits" not in word and "names" not in word])
    counted = inspection._frequencies(before)
    assert by_frequency.entropy_bits == pytest.approx(
        60 * sum(bits for _, bits, _ in counted.values()), rel=1e-12
    )

    # texts, and places in characters and in tokens
    decoder = people.Decoder(before)
    told = list(people.people(before, decoder, people.texts_of(before, None), None))
    again = list(people.people(after, people.Decoder(after), 0, None))
    content = lexicons.of(after.data).content
    for i, (one, other) in enumerate(zip(told, again, strict=True)):
        assert (one.name, dict(one.values)) == (other.name, dict(other.values))
        assert [shown.text for shown in one.texts] == [shown.text for shown in other.texts]
        assert [dict(s.places) for s in one.texts] == [dict(s.places) for s in other.texts]
        for shown, spans in zip(one.texts, content["spans"][i], strict=True):
            for name, span in shown.places.items():
                words = shown.text[slice(*span)]
                assert words == (one.name if name is None else one.values[name])
            if before.data.kind != "biod":  # whose symbols are tokens by construction
                tokens = inspection.token_spans(shown, decoder.encoded(shown, cut=False))
                keys = {name: key_of(name) if name else NAME for name in tokens}
                assert {n: list(s) for n, s in tokens.items()} == {
                    n: spans[key] for n, key in keys.items()
                }


@pytest.mark.parametrize(
    "kind", ["bios", "gpt2", "full names", "biod", "named values", "values alone"]
)
def test_what_is_written_is_what_a_run_is_shown(kind):
    """Tokens of each text are those of the stream, byte for byte."""
    config = load(KINDS[kind])
    decoder = people.Decoder(config)
    world = MemberStream(config, torch.device("cpu")).world
    told = list(people.people(config, decoder, 2, 20))
    for exposure in range(2):
        slots = world.render(torch.arange(20), torch.full((20,), exposure))
        tokens, length = world.pieces.join(slots)
        for one, rows in zip(told, tokens.split(length.tolist()), strict=True):
            words = [decoder.bytes_of[row] for row in rows.tolist()[1:]]
            assert b"".join(words).decode() == " " + one.texts[exposure].text
            assert words == decoder.encoded(one.texts[exposure], cut=False)


def test_questions_are_those_that_the_measure_asks(here):
    config = load([*BIOS, "measure.context=first"])
    (one, *_) = people.people(config, people.Decoder(config), 1, 1)
    asked = {question.attribute: question for question in one.asked}
    assert asked.keys() == {None, *one.values, *one.follows}
    assert asked[None].prompt == "" and asked[None].answer == one.name
    for name, value in one.values.items():
        assert asked[name].answer == value and asked[name].prompt.startswith(one.name)
        assert value not in asked[name].prompt or name == "gender"
    assert "work_city" in one.follows and "work_city" not in one.values


def test_a_corpus_comes_back_to_the_last_token(here, capsys):
    """Inflected places, places that are given as not stated, lacking attributes: the compiled
    corpus is the same, and the digest through both formats."""
    entries = lines("plain")
    entries[0]["texts"] = [
        {"text": f"Known: {entries[0]['person']}.", "person": None, "spans": {}},
        *entries[0]["texts"],
    ]
    name = next(iter(entries[1]["attributes"]))
    del entries[1]["attributes"][name]
    write(here / "people.jsonl", entries)
    short = ["data=corpus", "data.missing_attributes=allow", "data.seq_len=32"]
    first = [*short, "data.path=people.jsonl"]
    _, about = written(capsys, first, here / "a.parquet")
    _, again = written(capsys, [*short, "data.path=a.parquet"], here / "b.jsonl")
    assert about["digest"] == again["digest"] and about["people"] == len(entries)
    found = [load([*short, f"data.path={path}"]) for path in
             ("people.jsonl", "a.parquet", "b.jsonl")]  # fmt: skip
    assert len({lexicons.of(config.data).digest for config in found}) == 1
    assert len({config.run_id for config in found}) == 1
    assert len({config.entropy_bits for config in found}) == 1


def test_who_knows_all_holds_the_bits_of_the_generator(here, capsys):
    """Measured bits of a model that says every text by heart: R^max of the generator."""
    before = load(BIOS)
    read, _ = written(capsys, BIOS, here / "people.jsonl", "--texts", "1")
    after = load(read)
    world = MemberStream(after, torch.device("cpu")).world
    starts = set()
    for piece in world.lexicon.pieces[2:]:
        starts |= {(0, *piece[:end]) for end in range(1, len(piece) + 1)}

    def scorer(tokens):
        right = torch.tensor(
            [
                [tuple(row[: t + 2]) in starts for t in range(len(row) - 1)]
                for row in tokens.tolist()
            ]
        )
        return torch.where(right, 0.0, 70.0), right

    out = knowledge.measure(world, Asking(scorer), after.parameters)
    names = 60 * math.log2(before.data.n_names) - (60 * math.log2(before.data.n_names / 60))
    assert out["bits"] == pytest.approx(before.entropy_bits + names, rel=1e-9)  # p1 = 0 here
    assert out["ceiling_bits"] == pytest.approx(before.entropy_bits, rel=1e-12)
    assert out["unasked_values"] == 0 and out["accuracy"] == 1.0


def test_who_is_taught_and_who_is_asked(here, capsys):
    settings = [*BIOS, "data.questions=true", "extraction=full"]
    written(capsys, settings, here / "people.jsonl")
    text = (here / "people.jsonl").read_text()
    splits = [json.loads(line)["split"] for line in text.splitlines()]
    assert splits.count("taught") == splits.count("asked") == 30


@pytest.mark.parametrize(
    "change, words",
    [
        ({"city": 200.0, "major": 3}, "has no alternatives"),
        ({"city": "many"}, "expected a number of values"),
        ({"city": 0.5}, "expected a number of values"),
        ([200], "expected an object"),
        ({"city": 2}, "different values of 'city'"),
        ("two", "expected one number for all people"),
    ],
)
def test_wrong_numbers_of_values_are_one_line(here, capsys, change, words):
    entries = [
        {
            "person": f"Ann{i} Zed",
            "attributes": {"city": f"Town{i}"},
            "texts": [f"Ann{i} Zed lives in Town{i}."],
            "alternatives": {"city": 100 + (change == "two" and i)} if change == "two" else change,
        }
        for i in range(6)
    ]
    if words == "has no alternatives":
        entries[3]["alternatives"] = {"major": 3}
    write(here / "people.jsonl", entries)
    wrong = [
        "data=corpus",
        "data.path=people.jsonl",
        "data.value_bits=alternatives",
        "data.seq_len=8",
    ]
    assert main(["data", *wrong]) == 2
    assert words in one_line(capsys.readouterr().err)


def test_ids_of_corpora_are_as_before(here):
    """The new setting at its neutral value is no part of an id, and the other value is."""
    write(here / "people.jsonl", lines("plain"))
    config = load(["data=corpus", "data.path=people.jsonl", "data.seq_len=32"])
    assert "value_bits" not in config.identity["data"]
    assert set(WORLDS) == {"bios", "mixed", "biod", "corpus"}  # each is written above
