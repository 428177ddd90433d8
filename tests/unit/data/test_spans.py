"""Where texts state names and values: planted places are found, others are not taken for them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.data import spans
from capacity.data.people import Person, Text, normalized


def stated(name, values, text, others=(), places=None):
    person = Person(name, values, (Text(normalized(text), places or {}),))
    return spans.Finder([person, *others]).stated(person, person.texts[0]), person.texts[0].text


def words(found, text, name):
    return text[slice(*found.places[name])] if name in found.places else None


@pytest.mark.parametrize(
    "text, value, front",
    [
        ("Ann Bell was born in Rome.", "Rome", " Ann Bell was born in "),
        ("Ann Bell is a Roman from Rome, Italy", "Rome", " Ann Bell is a Roman from "),
        ('Ann Bell: "Rome"', "Rome", ' Ann Bell: "'),
        ("Ann Bell, Rome's best", "Rome", " Ann Bell, "),
        ("Ann Bell (Rome-based)", "Rome", " Ann Bell ("),
        ("Ann Bell d’Orléans", "Orléans", " Ann Bell d’"),
        ("Ann Bell at O’Neill House", "O'Neill House", " Ann Bell at "),
        ("Ann Bell in Winston-Salem, then Salem", "Salem", " Ann Bell in Winston-Salem, then "),
        ("Ann Bell knows C++ and C", "C++", " Ann Bell knows "),
        ("Ann Bell, 1950年生まれ", "1950", " Ann Bell, "),
        ("Ann Bell 出生在北京大学", "北京", " Ann Bell 出生在"),
        ("Ann Bell 서울에서", "서울", " Ann Bell "),
        ("Ann Bell パリス、パリで", "パリ", " Ann Bell パリス、"),
        ("Ann Bell रामा, राम", "राम", " Ann Bell रामा, "),
        ("Ann Bell in Cafe\u0301 Noir", "Café Noir", " Ann Bell in "),
    ],
)
def test_a_value_is_found_as_whole_words(text, value, front):
    found, line = stated("Ann Bell", {"a": unicodedata.normalize("NFC", value)}, text)
    start, end = found.places["a"]
    assert line[:start] == front and spans.folded(line[start:end]) == spans.folded(value)


@pytest.mark.parametrize(
    "text, why",
    [
        ("Ann Bell was born somewhere.", spans.ABSENT),
        ("Ann Bell was born in Romeo.", spans.ABSENT),
        ("Ann Bell was born in rome.", spans.CASE),
        ("Ann Bell was born in ROME.", spans.CASE),
    ],
)
def test_what_is_not_stated_says_why(text, why):
    found, _ = stated("Ann Bell", {"a": "Rome"}, text)
    assert found.missed == {"a": why}


def test_a_city_in_the_name_or_in_a_longer_value_states_nothing():
    values = {"city": "York", "school": "New York University"}
    found, text = stated("York Bell", values, "York Bell left New York University for York.")
    assert text[: found.places["city"][0]].endswith("University for ")
    assert words(found, text, "school") == "New York University"
    found, _ = stated("York Bell", values, "York Bell left New York University.")
    assert found.missed == {"city": spans.NESTED}
    other = Person("Cy Orr", {"city": "York St. John"}, ())
    found, text = stated("Ann Bell", {"city": "York"}, "Ann Bell, York St. John, York", [other])
    assert text[: found.places["city"][0]] == " Ann Bell, York St. John, "
    other = Person("York Orr", {"city": "Rome"}, ())  # somebody else's name
    found, text = stated("Ann Bell", {"city": "York"}, "Ann Bell met York Orr in York.", [other])
    assert text[: found.places["city"][0]].endswith("Orr in ")


def test_two_attributes_of_one_value_are_not_told_apart():
    values = {"born": "Rome", "lives": "Rome", "job": "cook"}
    text = "Ann Bell, a cook, was born in Rome and lives in Rome."
    found, _ = stated("Ann Bell", values, text)
    assert found.missed == {"born": spans.SHARED, "lives": spans.SHARED}
    line = normalized(text)
    at = line.index("Rome"), line.index("Rome") + 4
    found, line = stated("Ann Bell", values, text, places={"born": at})
    assert found.missed == {} and line[: found.places["lives"][0]].endswith("lives in ")
    found, _ = stated("Ann Bell", values, text, places={"born": None})
    assert found.missed == {"born": spans.GIVEN} and "lives" in found.places


def test_places_never_overlap_and_the_name_keeps_its_own():
    found, text = stated("Ann Arbor", {"a": "Arbor Day", "b": "Ann Arbor Day"}, "Ann Arbor Day")
    assert words(found, text, "b") == "Ann Arbor Day" and set(found.places) == {"b"}
    found, text = stated("Jo Vis", {"a": "green sea", "b": "deep green"}, "Jo Vis: deep green sea")
    assert words(found, text, "b") == "deep green" and found.missed == {"a": spans.NESTED}


WORD = st.text("abcdéßñ北京", min_size=1, max_size=4)
PHRASE = st.lists(WORD, min_size=1, max_size=2).map(" ".join)


@given(
    st.lists(st.text("xyz", min_size=1, max_size=3), max_size=6),
    st.lists(st.text("xyz", min_size=1, max_size=3), max_size=6),
    PHRASE,
    st.sampled_from(["", ",", ".", "'s", ")", '"']),
    st.sampled_from(["NFC", "NFD"]),
)
def test_a_planted_value_is_found_where_it_was_planted(front, behind, value, glue, form):
    """Fillers share no letter with values; accents in either normal form."""
    value = unicodedata.normalize("NFC", value)
    text = " ".join(["Q W", *front, value + glue, *behind])
    person = Person("Q W", {"a": value}, (Text(normalized(text), {}),))
    raw = unicodedata.normalize(form, text)
    line = normalized(raw)
    found = spans.Finder([person]).stated(person, Text(line, {}))
    expected = len(" " + " ".join(["Q W", *front])) + 1
    assert found.places["a"] == (expected, expected + len(value))
    assert line[slice(*found.places["a"])] == value
    assert found.places[None] == (1, 4)


@given(st.lists(st.sampled_from("ab abb aab ba".split()), min_size=1, max_size=8), st.data())
def test_what_is_found_is_a_whole_word_outside_of_the_name(tokens, data):
    value = data.draw(st.sampled_from(["ab", "ba", "ab ba"]))
    name = data.draw(st.sampled_from(["ab ab", "ba abb", "aab"]))
    found, line = stated(name, {"a": value}, " ".join(tokens))
    names = list(spans.occurrences(line, name))
    if "a" in found.places:
        start, end = found.places["a"]
        assert line[start:end] == value and line[start - 1] == " "
        assert end == len(line) or line[end] == " "
        assert all(end <= a or b <= start for a, b in names)
    else:
        free = [
            (s, e)
            for s, e in spans.occurrences(line, value)
            if not any(a < e and s < b for a, b in names)
        ]
        assert not free
