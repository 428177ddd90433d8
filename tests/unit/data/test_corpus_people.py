"""Lines of an imported corpus: places that the file gives, normal forms, people without an
attribute, and every wrong line named."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.data.people import normalized, person_of
from corpora import CASES, asked, before, config, lines, world, write


def line(texts, **more):
    return json.dumps({"person": "Ann Bell", "attributes": {"city": "Rome"}, "texts": texts} | more)


def test_a_given_place_may_hold_other_words_than_the_value(tmp_path):
    people = [
        {
            "person": f"Ann Bell{i}",
            "attributes": {"city": ("Roma", "Praha")[i % 2]},
            "texts": [
                {
                    "text": f"  Ann Bell{i}  zije v {('Rime', 'Praze')[i % 2]}.",
                    "spans": {"city": [20, 24 + i % 2]},
                    "person": [2, 11],
                }
            ],
        }
        for i in range(8)
    ]
    w, _ = world(write(tmp_path / "p.jsonl", people), seq_len=8)
    assert asked(w, "city") == [[(" Rime", " Praze")[i % 2]] for i in range(8)]
    assert asked(w, None) == [[f" Ann Bell{i}"] for i in range(8)]
    facts = w.lexicon.facts
    assert facts.bits == 8.0 and facts.unasked(True) == 0
    # which value was meant is no more in the texts, so it is part of the run's identity
    assert w.lexicon.content["otherwise"] == [[i, "city", 1 - i % 2] for i in range(8)]


@pytest.mark.parametrize(
    "text, words",
    [
        ({"text": "In Rome.", "spans": {"city": [3, 9]}}, ["0 <= start < end <= 8"]),
        ({"text": "In Rome.", "spans": {"city": [3, 3]}}, ["[start, end)"]),
        ({"text": "In Rome.", "spans": {"city": [-1, 3]}}, ["[start, end)"]),
        ({"text": "In Rome.", "spans": {"city": [True, 3]}}, ["[start, end)"]),
        ({"text": "In Rome.", "spans": {"city": [3.0, 7]}}, ["[start, end)"]),
        ({"text": "In Rome.", "spans": {"city": "Rome"}}, ["[start, end)"]),
        ({"text": "In Rome.", "spans": {"citi": [3, 7]}}, ["'citi' is no attribute", "city"]),
        ({"text": "In Rome.", "spans": [3, 7]}, ["spans=[3, 7]", "an object"]),
        ({"text": "In Rome.", "span": {}}, ["span: expected text, spans"]),
        ({"text": "", "spans": {}}, ["text="]),
        ({"text": "In  Rome.", "spans": {"city": [2, 4]}}, ["holds no words"]),
        ({"text": "In Rome.", "spans": {"city": [3, 7]}, "person": [0, 4]}, ["overlap"]),
        ({"text": "In Cafe\u0301.", "spans": {"city": [3, 7]}}, ["a letter and its accent"]),
        ({"text": "In Cafe\u0301.", "spans": {"city": [7, 8]}}, ["a letter and its accent"]),
        (7, ["texts[0]=7", "a text, or an object"]),
    ],
)
def test_a_wrong_place_is_named(text, words):
    with pytest.raises(ConfigError) as error:
        person_of(json.loads(line([text])), "p.jsonl:3", False)
    told = str(error.value)
    assert "p.jsonl:3" in told and [w for w in words if w not in told] == [] and "\n" not in told


@given(
    st.lists(st.text("aé ñ\t北", max_size=5), min_size=3, max_size=3),
    st.sampled_from(["NFC", "NFD"]),
)
def test_given_places_follow_their_words_through_normalisation(parts, form):
    front, value, behind = parts[0] + " ", parts[1], " " + parts[2]
    raw = [unicodedata.normalize(form, part) for part in (front, value, behind)]
    if not value.strip():
        return
    span = [len(raw[0]), len(raw[0]) + len(raw[1])]
    given_line = line([{"text": "".join(raw), "spans": {"city": span}}])
    text = person_of(json.loads(given_line), "p", False).texts[0]
    start, end = text.given["city"]
    assert text.text == normalized("".join(raw))
    assert text.text[start:end] == " ".join(unicodedata.normalize("NFC", value).split())
    assert text.text[:start].split() == unicodedata.normalize("NFC", front).split()


def test_normal_forms_are_one(tmp_path):
    """All 16 people of both files are asked: accents in another form are the same value."""
    for case in ("nfd", "nfd_half"):
        w, settings = world(CASES / f"people_{case}.jsonl", seq_len=48)
        facts = w.lexicon.facts
        assert facts.unasked(True) == 0 and facts.missed == {}
        assert len(w.lexicon.content["values"]["city"]) == 4 and settings.entropy_bits == 64.0
    twice = lines("plain")
    twice[3]["person"], twice[5]["person"] = "Zoë Orr", "Zoe\u0308 Orr"
    with pytest.raises(ConfigError, match="twice, first in line 4"):
        config(write(tmp_path / "twice.jsonl", twice))


def test_chinese_values_are_asked_alone():
    w, _ = world(CASES / "people_cjk.jsonl")
    content = w.lexicon.content
    people = lines("cjk")
    for i, person in enumerate(people):
        (text,) = w.lexicon.content["texts"][i]
        assert w.lexicon.text(content["pieces"][text]) == normalized(person["texts"][0])
    assert asked(w, "city") == [[p["attributes"]["city"]] for p in people]
    assert asked(w, "major") == [[p["attributes"]["major"]] for p in people]
    assert asked(w, None) == [[" " + p["person"]] for p in people]


def test_a_city_is_asked_where_the_sentence_states_it():
    w, _ = world(CASES / "people_name_holds_city.jsonl", seq_len=48)
    fronts = before(w, "city")
    assert len(fronts) == 32
    assert all(t.endswith((" was born in", " grew up in")) for t in fronts)
    assert w.lexicon.facts.shown == {"city": 32, "major": 0}  # and a copy could answer


@pytest.mark.parametrize(
    "case, words",
    [
        ("missing_attr", [":7:", "'major' is missing", "missing_attributes=allow"]),
        ("empty_attr", [":7:", "'major' is \"\"", "not empty", "missing_attributes=allow"]),
        ("null_attr", [":7:", "'major' is null", "missing_attributes=allow"]),
        ("number_attr", [":1:", "'year' is 1950", '"1950"']),
        ("duplicate", [":10:", "'Ines Varga'", "twice", "line 3"]),
        ("nested", [":1:", "person=", "expected a name"]),
        ("wrong_keys", [":1:", "no person"]),
    ],
)
def test_a_wrong_attribute_is_named_with_its_value(case, words):
    with pytest.raises(ConfigError) as error:
        config(CASES / f"people_{case}.jsonl", {"seq_len": 48})
    told = str(error.value)
    assert [w for w in words if w not in told] == [] and "\n" not in told


@pytest.mark.parametrize("case", ["missing_attr", "null_attr"])
def test_people_may_lack_an_attribute(case):
    allowed = {"seq_len": 48, "missing_attributes": "allow"}
    settings = config(CASES / f"people_{case}.jsonl", allowed)
    w, _ = world(CASES / f"people_{case}.jsonl", **allowed)
    major = w.lexicon.facts.attributes["major"]
    assert major.having == major.stating == 15 and w.lexicon.facts.unasked(False) == 0
    assert asked(w, "major")[6] == [None, None]
    plain = config(CASES / "people_plain.jsonl", {"seq_len": 48})
    also = config(CASES / "people_plain.jsonl", allowed)
    assert plain.run_id == also.run_id != settings.run_id


def test_line_ends_and_other_scripts_change_nothing():
    plain = config(CASES / "people_plain.jsonl", {"seq_len": 48})
    assert config(CASES / "people_crlf.jsonl", {"seq_len": 48}).run_id == plain.run_id
    w, _ = world(CASES / "people_emoji_rtl.jsonl", seq_len=48)
    assert w.lexicon.facts.unasked(True) == 0
    for name in w.lexicon.facts.attributes:
        stated = [p["attributes"][name] for p in lines("emoji_rtl")]
        texts = [p["texts"] for p in lines("emoji_rtl")]
        assert asked(w, name) == [
            [" " + v] * len(some) for v, some in zip(stated, texts, strict=True)
        ]


def test_names_that_differ_in_case_only_are_told():
    settings = config(CASES / "people_duplicate_case.jsonl", {"seq_len": 48})
    (note,) = settings.resolved.notes(settings.items)
    assert "'Ines Varga' and 'INES VARGA' are two people" in note
    assert config(CASES / "people_plain.jsonl", {"seq_len": 48}).resolved.notes(16) == []


def test_what_cannot_be_asked_is_told_with_its_reason(tmp_path):
    people = lines("plain")
    for person in people[:4]:
        person["attributes"]["city"] = person["attributes"]["city"].upper()
    settings = config(write(tmp_path / "upper.jsonl", people), {"seq_len": 48})
    told = "\n".join(settings.resolved.notes(16))
    assert "4 of 32 values cannot be asked for (12.5%)" in told and "no law" in told
    assert "city: 4 in other letter case" in told


def test_an_attribute_that_follows_from_another_is_told(tmp_path):
    cities = {"Rome": "Italy", "Bern": "Swiss", "Turin": "Italy", "Graz": "Austria"}
    people = [
        {
            "person": f"Ann Bell{i}",
            "attributes": {"city": city, "country": cities[city], "pet": "cat" if i < 6 else "dog"},
            "texts": [f"Ann Bell{i}, {city}, {cities[city]}, cat or dog."],
        }
        for i, city in enumerate(list(cities) * 3)
    ]
    settings = config(write(tmp_path / "p.jsonl", people))
    assert settings.resolved.facts.following() == [("city", "country")]
    assert "'country' follows from 'city'" in settings.resolved.notes(12)[0]
    # values of one person each tell everything, and no rule
    for i, person in enumerate(people):
        person["attributes"] = {"id": f"x{i}", "pet": person["attributes"]["pet"]}
        person["texts"][0] += f" x{i}"
    assert config(write(tmp_path / "p.jsonl", people)).resolved.facts.following() == []


def test_data_of_no_bits_are_refused(tmp_path):
    people = [
        {"person": f"Ann Bell{i}", "attributes": {"city": "Rome"}, "texts": [f"Ann Bell{i}, Rome."]}
        for i in range(12)
    ]
    path = write(tmp_path / "one.jsonl", people)
    with pytest.raises(ConfigError, match="same values.*0 bits"):
        config(path, {"seq_len": 8})
    assert config(path, {"seq_len": 8, "n_names": 24}).entropy_bits == 12.0


@pytest.mark.parametrize("name", ["", " ", "a\x07b", "a\u0000"])
def test_attribute_names_must_be_printable(name):
    with pytest.raises(ConfigError, match="printable"):
        person_of(json.loads(line(["x"], attributes={name: "y"})), "p", False)


def test_attributes_that_are_one_but_for_accents_are_refused():
    with pytest.raises(ConfigError, match="there twice"):
        person_of(
            json.loads(line(["x"], attributes={"caf\u00e9": "a", "cafe\u0301": "b"})), "p", False
        )
