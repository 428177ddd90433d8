"""Imported corpora: what the file must hold, what is refused where, and what is measured of it."""

import json
import math

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import lexicons
from capacity.data.corpus import read_people
from capacity.data.people import normalized
from capacity.feed.stream import MemberStream
from capacity.measure import knowledge
from capacity.measure.questions import Asking

CITIES, JOBS = ("Rome", "Paris", "New York"), ("cook", "judge")


def entry(i):
    city, job = CITIES[i % 3], JOBS[i % 2]
    return {
        "person": f"Ann{i} Zed",
        "attributes": {"city": city, "job": job},
        "texts": [
            f"Ann{i} Zed lives in {city}.  The work is that of a {job}.",
            f"Ann{i} Zed, a {job}, comes from {city}.",
        ],
    }


def write(path, entries):
    path.write_text("".join(json.dumps(e) + "\n" for e in entries))
    return path


def config(path, **data):
    return from_dict(
        {
            "data": {"kind": "corpus", "path": str(path), "seq_len": 24} | data,
            "train": {"steps": 20, "warmup_steps": 2},
            "model": {"d_model": 8},
        }
    )


def world(path, **data):
    settings = config(path, **data)
    return MemberStream(settings, torch.device("cpu")).world, settings


@pytest.mark.parametrize(
    "line, words",
    [
        ("{", ["people.jsonl:3", "not JSON"]),
        ("[1]", ["people.jsonl:3", "expected an object"]),
        (json.dumps({"attributes": {"a": "b"}, "texts": ["x"]}), ["people.jsonl:3", "no person"]),
        (json.dumps(entry(7) | {"person": " "}), ["people.jsonl:3", "person"]),
        (json.dumps(entry(7) | {"attributes": {}}), ["people.jsonl:3", "attributes"]),
        (
            json.dumps(entry(7) | {"attributes": {"city": 3, "job": "cook"}}),
            ["people.jsonl:3", "'city' is 3", '"3"'],
        ),
        (
            json.dumps(entry(7) | {"attributes": {"city": "Rome"}}),
            ["people.jsonl:3", "'job' is missing", "here: city", "city, job", "missing_attributes"],
        ),
        (
            json.dumps(entry(7) | {"attributes": {"city": "Rome", "job": "cook", "pet": "cat"}}),
            ["people.jsonl:3", "'pet' is not one of"],
        ),
        ('{"person": "A", "person": "B"}', ["people.jsonl:3", "the key 'person' stands twice"]),
        (json.dumps(entry(7) | {"texts": []}), ["people.jsonl:3", "texts"]),
        (json.dumps(entry(7) | {"texts": "x"}), ["people.jsonl:3", "texts"]),
        (json.dumps(entry(1)), ["people.jsonl:3", "twice", "line 2"]),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    path = write(tmp_path / "people.jsonl", [entry(0), entry(1)])
    path.write_text(path.read_text() + line + "\n" + json.dumps(entry(9)) + "\n")
    with pytest.raises(ConfigError) as error:
        read_people(path, None)
    assert [word for word in words if word not in str(error.value)] == [] and "\n" not in str(
        error.value
    )


def test_too_few_people_a_missing_file_and_too_large_a_demand(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        config(tmp_path / "none.jsonl")
    path = write(tmp_path / "few.jsonl", map(entry, range(3)))
    with pytest.raises(ConfigError, match="3 people"):
        config(path)
    path = write(tmp_path / "people.jsonl", map(entry, range(12)))
    with pytest.raises(ConfigError, match="only 12 people"):
        config(path, n_people=13)
    with pytest.raises(ConfigError, match="n_names=5"):
        config(path, n_names=5)
    path = write(
        tmp_path / "absent.jsonl",
        [entry(i) | {"texts": ["Nothing is said here."]} for i in range(12)],
    )
    with pytest.raises(ConfigError, match="word for word"):
        config(path)


def test_texts_come_back_from_their_rows_and_take_turns(tmp_path):
    people = [entry(i) for i in range(12)]
    w, settings = world(write(tmp_path / "people.jsonl", people))
    shown = {i: [] for i in range(12)}
    for exposure in range(4):
        person = torch.arange(12)
        tokens, length = w.pieces.join(w.render(person, torch.full_like(person, exposure)))
        for i, rows in enumerate(tokens.split(length.tolist())):
            assert rows[0] == 0
            shown[i].append(w.lexicon.text(rows[1:].tolist()))
    for i, texts in shown.items():
        assert texts[0] == texts[2] != texts[1] == texts[3]
        assert set(texts) == set(map(normalized, people[i]["texts"]))


def test_the_content_of_the_file_is_the_identity_not_its_path(tmp_path):
    one = config(write(tmp_path / "a.jsonl", map(entry, range(12))))
    same = config(write(tmp_path / "b.jsonl", map(entry, range(12))))
    first = config(write(tmp_path / "c.jsonl", map(entry, range(14))), n_people=12)
    other = config(write(tmp_path / "d.jsonl", map(entry, range(13))))
    assert one.run_id == same.run_id and other.run_id != one.run_id
    assert first.items == 12 and lexicons.of(first.data).digest == lexicons.of(one.data).digest


def test_measured_bits_of_a_reader_who_knows_the_values_and_of_one_who_guesses(tmp_path):
    w, settings = world(write(tmp_path / "people.jsonl", map(entry, range(12))), n_names=1000.0)
    names = settings.parameters

    def knows(
        tokens,
        # everything is certain, names too: more than a set without order allows, but a text may
        # tell
    ):
        shape = tokens.shape[0], tokens.shape[1] - 1
        return torch.zeros(shape), torch.ones(shape, dtype=torch.bool)

    out = knowledge.measure(w, Asking(knows, draws=2), names)
    assert (
        out["bits"] == pytest.approx(12 * (math.log2(1000) + math.log2(3) + 1))
        and out["accuracy"] == 1.0
    )
    assert out["fraction_of_ceiling"] > 1

    guess = math.log(7.0)

    def guesses(tokens):
        shape = tokens.shape[0], tokens.shape[1] - 1
        return torch.full(shape, guess), torch.zeros(shape, dtype=torch.bool)

    out = knowledge.measure(w, Asking(guesses, draws=2), names)
    spans = [s for some in w.lexicon.content["spans"] for s in some]
    for name in ("city", "job"):
        tokens = sum(s[name][1] for s in spans) / len(spans)
        assert out["attributes"][name]["nats"] == pytest.approx(tokens * guess, rel=1e-6)
        assert out["attributes"][name]["accuracy"] == 0.0
    assert out["attributes"]["city"]["entropy_bits"] == pytest.approx(math.log2(3))
    expected = 12 * (
        math.log2(1000) + math.log2(3) + 1 - (out["p1_nats"] + out["p2_nats"]) / math.log(2)
    )
    assert out["bits"] == pytest.approx(expected, rel=1e-9)


def test_a_value_inside_a_longer_word_is_not_found(tmp_path):
    people = [
        entry(i) | {"texts": [f"Ann{i} Zed: a judgement by a {JOBS[i % 2]} from {CITIES[i % 3]}."]}
        for i in range(12)
    ]
    w, _ = world(write(tmp_path / "people.jsonl", people))
    for i, ((span,), (piece,)) in enumerate(
        zip(w.lexicon.content["spans"], w.lexicon.content["texts"], strict=True)
    ):
        begin, length = span["job"]
        assert w.lexicon.text(w.lexicon.pieces[piece][begin : begin + length]) == f" {JOBS[i % 2]}"
