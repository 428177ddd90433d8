"""Compiled vocabularies: pieces joined are the text tokenized whole, rows are those in use, lengths
are exact."""

import collections
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import compile_lexicon as compiling
from capacity.data import lexicon, lexicons, lists, resolve, vocabulary
from capacity.data.biographies import BiosWorld
from waiting import patience

POOLS = Path(__file__).resolve().parents[3] / "capacity" / "data" / "pools"
OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "physicslm4_fields"
FILES = {"birth_city": "city", "university": "university", "major": "field"}
# Forms that the templates of this package do not have: the value first, possessives, marks behind
# the value or none.
ODD = """[birth_date]
On {value}, {subject} was born.
{subject}'s birthday is {value}
[birth_city]
{subject} comes from {value}!
Born in {value}; {subject}'s home.
[university]
{subject} went to {value}, then left.
{value} was where {subject}, still young, studied.
[major]
{subject} {value}?
{subject}'s field was {value}.
[employer]
{subject} works ("{subject}") for {value}...
{value}'s payroll has {subject}.
[work_city]
{value} is the city {subject} works in.
{subject} commutes to {value} daily.
""".replace(' ("{subject}")', "")
MONTHS = (
    "January February March April May June July August September October November December".split()
)


def settings(**data):
    return from_dict(
        {"data": {"kind": "bios", "n_people": 500} | data, "train": {"steps": 1000}}
    ).data


def published(folder):
    return settings(pools_dir=str(folder), tokenizer="gpt2")


@pytest.fixture
def odd(tmp_path):
    (tmp_path / "odd.txt").write_text(ODD)
    return str(tmp_path / "odd.txt")


def lines_of(folder, name):
    return (Path(folder) / f"{name}.txt").read_text("utf-8").strip().split("\n")


def sections(path):
    out = {}
    for line in Path(path).read_text("utf-8").split("\n"):
        if line.startswith("["):
            current = out.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            current.append(line)
    return out


def values_of(folder):
    """All values as text; cities of work in the order in which the company list names them."""
    companies = [line.split("; ") for line in lines_of(folder, "company")]
    return {name: lines_of(folder, file) for name, file in FILES.items()} | {
        "employer": [company for company, _ in companies],
        "work_city": list(dict.fromkeys(city for _, city in companies)),
        "birth_date": [
            f"{month} {day}, {year}"
            for month in MONTHS
            for day in range(1, 29)
            for year in range(1900, 2100)
        ],
    }


def numbered_values(content, attribute, glue):
    """Pieces of every value of a pool, in the order of `values_of`."""
    value = content["values"][attribute]
    last = value["last"][glue]["pieces"]
    if attribute != "birth_date":
        return [[piece] for piece in last]
    return list(itertools.product(*value["parts"], last))


def whole_space(content, folder, file, kind="templates", all_dates=False):
    """(pieces, text) of every template with every value, of every last name and pronoun with all
    that is glued to them.

    Of the 67,200 dates every template shows so many that each year, day and month is there; all of
    them come with everything glued to them, if asked for.
    """
    values = values_of(folder)
    names = {part: lines_of(folder, f"{part}_name") for part in ("first", "middle", "last")}
    name = " ".join(words[0] for words in names.values())
    glues, date_glues = set(), set()
    for attribute, templates in sections(file).items():
        for line, numbered in zip(templates, content[kind][attribute], strict=True):
            before, subject_first, glue1, between, glue2, after = numbered
            subject_glue, value_glue = (glue1, glue2) if subject_first else (glue2, glue1)
            subject = [
                content["first"][0],
                content["middle"][0],
                content["last"][subject_glue]["pieces"][0],
            ]
            pieces = numbered_values(content, attribute, value_glue)
            some = range(len(pieces))
            if attribute == "birth_date":
                some = [(y % 12 * 28 + y % 28) * 200 + y for y in range(200)][
                    :: 1 if value_glue not in date_glues else 13
                ]
            assert len(pieces) == len(values[attribute])
            line = line.replace("{subject}", name)
            for value_pieces, value in ((pieces[i], values[attribute][i]) for i in some):
                slots = [subject, value_pieces] if subject_first else [value_pieces, subject]
                yield (
                    [before, *slots[0], between, *slots[1], after],
                    " " + line.replace("{value}", value),
                )
            glues.add(subject_glue)
            if attribute == "birth_date":
                date_glues.add(value_glue)
    for glue in date_glues if all_dates else ():
        yield from (
            (pieces, f" {value}{glue}")
            for pieces, value in zip(
                numbered_values(content, "birth_date", glue), values["birth_date"], strict=True
            )
        )
    for glue in glues:
        for words, pieces in (
            (names["last"], content["last"][glue]["pieces"]),
            (("He", "She"), content["pronoun"].get(glue, {"pieces": ()})["pieces"]),
        ):
            yield from (
                ([piece], f" {word}{glue}") for piece, word in zip(pieces, words, strict=True)
            )
        assert len(content["last"][glue]["pieces"]) == len(names["last"])
    for part in ("first", "middle"):
        yield from (
            ([piece], f" {word}") for piece, word in zip(content[part], names[part], strict=True)
        )


def assert_same(encoder, content, space):
    """Rows of the pieces equal the whole text's tokens up to one renaming of tokens; returns the
    rows in use."""
    space = list(space)
    rows = [row for pieces, _ in space for piece in pieces for row in content["pieces"][piece]]
    # a hundred sentences at once, in one another's midst
    texts = ["".join(text for _, text in space[i : i + 100]) for i in range(0, len(space), 100)]
    ids = [
        i
        for encoding in encoder.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for i in encoding.ids
    ]
    assert ids[: len(encoder.whole(texts[0]))] == encoder.whole(texts[0])
    pairs = set(zip(ids, rows, strict=True))
    if len(ids) != len(rows) or len(pairs) != len(set(ids)) or len(pairs) != len(set(rows)):
        for pieces, text in space:  # find one to show
            assert [content["tokens"][row] for p in pieces for row in content["pieces"][p]] == list(
                map(encoder.word, encoder.whole(text))
            ), text
        raise AssertionError(f"{len(ids)} tokens whole, {len(rows)} in pieces")
    assert all(encoder.word(i) == content["tokens"][row] for i, row in pairs)
    return set(rows)


@pytest.fixture
def spy(monkeypatch):
    """The encoders that were trained, so that a test can tokenize whole texts with them."""
    made, train = [], compiling.trained_bpe
    monkeypatch.setattr(
        compiling, "trained_bpe", lambda *args: made.append(train(*args)) or made[-1]
    )
    return made


@pytest.mark.parametrize(
    "tokenizer, size, lists_of, templates",
    [
        ("bpe", None, "own", "own"),
        ("bpe", 90, "own", "odd"),
        ("gpt2", None, "own", "own"),
        *(
            pytest.param(*case, marks=pytest.mark.official)
            for case in (
                ("gpt2", None, "official", "own"),
                ("gpt2", None, "official", "odd"),
                ("bpe", 1000, "official", "odd"),
            )
        ),
    ],
)
def test_pieces_joined_are_the_whole_text_tokenized(spy, odd, tokenizer, size, lists_of, templates):
    """Every template with every value; the rows of biographies are exactly the tokens of that whole
    space and EOS."""
    folder, file = (
        POOLS if lists_of == "own" else OFFICIAL,
        odd if templates == "odd" else POOLS / "templates.txt",
    )
    data = settings(
        pools_dir=str(folder),
        templates_file=str(file),
        tokenizer=tokenizer,
        vocab_size=size,
        questions=True,
    )
    content = compiling.compile(data)
    encoder = spy[0] if tokenizer == "bpe" else vocabulary.gpt2()
    used = assert_same(
        encoder, content, whole_space(content, folder, file, all_dates=lists_of == "own")
    )
    assert sorted(used) == list(range(1, content["bio_rows"]))
    asked = assert_same(
        encoder, content, whole_space(content, folder, POOLS / "questions.txt", "questions")
    )
    assert used | asked == set(range(1, len(content["tokens"])))
    assert size is None or len(content["tokens"]) <= size


def test_a_pool_is_what_its_text_says(odd):
    """Without a tokenizer in between: rows as text are the words of the lists."""
    data = settings(templates_file=odd)
    content = lexicons.of(data).content
    space = list(whole_space(content, POOLS, odd))
    for pieces, text in space[::53]:
        assert lexicons.of(data).text(row for p in pieces for row in content["pieces"][p]) == text
    assert lexicons.of(data).text([0]) == lexicon.EOS and content["pieces"][:2] == [[], [0]]


# -------------------------------------------------------------------------------- published numbers


@pytest.mark.official
def test_the_published_vocabulary_and_length(official):
    data = published(official)
    assert resolve.of(data).rows == resolve.of(data).used_rows == 3275
    assert lexicons.of(data).mean_tokens(data) == pytest.approx(72.9, abs=0.3)
    assert resolve.of(data).tokens_per_item == pytest.approx(73.9, abs=0.3)


@pytest.mark.official
def test_the_published_lists_have_their_known_lengths_and_prefixes(official):
    content = lexicons.of(published(official)).content
    mean = {
        name: np.mean(content["values"][name]["last"]["."]["lengths"])
        for name in ("birth_city", "university", "major", "employer")
    }
    assert mean == pytest.approx(
        {"birth_city": 3.72, "university": 4.07, "major": 1.70, "employer": 2.40}, abs=0.0051
    )
    places = np.array(content["headquarters"])
    lengths = np.array(content["values"]["work_city"]["last"]["."]["lengths"])
    assert lengths[places].mean() == pytest.approx(3.71, abs=0.0051)
    names = [
        np.mean([len(content["pieces"][p]) for p in content[part]]) for part in ("first", "middle")
    ]
    names.append(np.mean(content["last"][""]["lengths"]))
    assert names == pytest.approx([1.33, 1.40, 1.47], abs=0.0051)
    years = dict(
        zip(range(1900, 2100), content["values"]["birth_date"]["last"]["."]["lengths"], strict=True)
    )
    assert [y for y, n in years.items() if n == 1] == [
        *range(1900, 2023),
        2024,
        2025,
        2030,
        2048,
        2050,
    ]
    assert set(years.values()) == {1, 2}
    # a day and its comma
    assert all(len(content["pieces"][p]) == 2 for p in content["values"]["birth_date"]["parts"][1])
    count = {name: len(pairs) for name, pairs in content["extensions"].items()}
    assert count["university"] == 2 and count["major"] == 9 and count["employer"] == 2
    companies = values_of(official)["employer"]
    assert {(companies[v], companies[u]) for v, u in content["extensions"]["employer"]} == {
        ("Caterpillar", "Caterpillar Inc."),
        ("Disney", "Disney+"),
    }


@pytest.mark.official
def test_the_published_headquarters(official):
    data = published(official)
    places = lexicons.of(data).content["headquarters"]
    count = collections.Counter(places)
    assert len(places) == 263 and len(count) == 133 and max(count.values()) == 36
    assert values_of(official)["work_city"][count.most_common(1)[0][0]] == "New York, NY"
    city = -sum(n / 263 * math.log2(n / 263) for n in count.values())
    assert math.log2(263) == pytest.approx(8.039, abs=5e-4) and city == pytest.approx(
        6.313, abs=5e-4
    )
    assert math.log2(263) - city == pytest.approx(1.726, abs=5e-4)


# ------------------------------------------------------------------------ what a lexicon depends on


def test_training_a_bpe_does_not_depend_on_the_process(odd):
    """Digests name results, so hash seeds and threads of another process must not change a single
    merge."""
    code = (
        "import sys; from capacity.config import from_dict; from capacity.data import lexicons\n"
        "for size in (None, 90, 600):\n"
        f" data = "
        f"{{'kind': 'bios', 'n_people': 500, 'vocab_size': size, 'templates_file': {odd!r}}}\n"
        " config = from_dict({'data': data, 'train': {'steps': 1000}})\n"
        " print(lexicons.of(config.data).digest)"
    )
    env = os.environ | {
        "PYTHONHASHSEED": "12345",
        "RAYON_NUM_THREADS": "3",
        "TOKENIZERS_PARALLELISM": "true",
    }
    out = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=patience()
    )
    assert out.stdout.split() == [
        lexicons.of(settings(vocab_size=size, templates_file=odd)).digest
        for size in (None, 90, 600)
    ]


def test_the_size_of_a_world_changes_a_vocabulary_only_where_it_is_asked_to():
    small = {
        "first_names": 30,
        "middle_names": 0,
        "last_names": 50,
        "cities": 9,
        "universities": 0,
        "majors": 5,
        "employers": 7,
        "months": 2,
        "days": 3,
        "years": 4,
        "templates": 2,
    }
    assert lexicons.of(settings(**small)).digest == lexicons.of(settings()).digest
    whole, part = resolve.of(settings()), resolve.of(settings(**small))
    assert part.rows == whole.rows == whole.used_rows > part.used_rows
    worlds = [settings(vocabulary="world", **sizes) for sizes in (small, small | {"majors": 6}, {})]
    assert (
        len({lexicons.of(d).digest for d in worlds}) == 3
        and lexicons.of(worlds[2]).digest == lexicons.of(settings()).digest
    )
    own = [resolve.of(d) for d in worlds]
    assert [d.used_rows for d in own] == [d.rows for d in own]
    assert own[0].rows < own[1].rows < own[2].rows
    asked = resolve.of(settings(questions=True))
    assert asked.used_rows == whole.used_rows < asked.rows
    tagged = resolve.of(settings(tag="main"))
    assert tagged.rows == whole.rows + 1 == tagged.used_rows


def test_a_kept_lexicon_needs_neither_lists_nor_tokenizer(tmp_path, monkeypatch):
    data = settings(vocab_size=300, questions=True)
    made = lexicons.of(data)
    lexicons.keep(tmp_path, made)
    lexicons.keep(tmp_path, made)  # again: nothing to do
    wanted = resolve.of(data).used_rows, resolve.of(data).tokens_per_item
    monkeypatch.setattr(lexicons, "_COMPILED", {})
    monkeypatch.setattr(compiling, "compile", lambda data: pytest.fail("compiled again"))
    lexicons.load(tmp_path, made.digest)
    again = settings(vocab_size=300, questions=True, lexicon=made.digest, pools_dir="/nowhere")
    assert lexicons.of(again).digest == made.digest and lexicons.of(again).content == json.loads(
        json.dumps(made.content)
    )
    assert (resolve.of(again).used_rows, resolve.of(again).tokens_per_item) == wanted
    world = [
        BiosWorld(d, lex, 500, 1, torch.device("cpu"))
        for d, lex in ((data, made), (again, lexicons.of(again)))
    ]
    pieces = [w.render(torch.arange(40), torch.arange(40)) for w in world]
    assert (pieces[0] == pieces[1]).all()
    lexicons.load(tmp_path, "0" * 12)  # none of that digest: the files are compiled as usual
    lexicons.load(tmp_path, None)


@pytest.mark.parametrize(
    "tamper", [lambda c: c["tokens"].append("x"), lambda c: c["headquarters"].reverse(), None]
)
def test_a_lexicon_that_is_not_what_it_says_is_refused(tmp_path, monkeypatch, tamper):
    made = lexicons.of(settings(vocab_size=300))
    lexicons.keep(tmp_path, made)
    monkeypatch.setattr(lexicons, "_COMPILED", {})
    file = lexicons.path(tmp_path, made.digest)
    content = json.loads(file.read_text())
    if tamper:
        tamper(content)
    file.write_text(json.dumps(content) if tamper else "{")
    with pytest.raises(ConfigError, match=made.digest):
        lexicons.load(tmp_path, made.digest)


def test_a_list_that_changed_since_is_noticed(tmp_path, monkeypatch, odd):
    digest = lexicons.of(settings(templates_file=odd)).digest
    monkeypatch.setattr(lexicons, "_COMPILED", {})
    assert lexicons.of(settings(templates_file=odd, lexicon=digest)).digest == digest
    Path(odd).write_text(ODD.replace("commutes", "travels"))
    monkeypatch.setattr(lexicons, "_COMPILED", {})
    with pytest.raises(ConfigError, match=f"data.lexicon={digest}"):
        settings(templates_file=odd, lexicon=digest)


@pytest.mark.parametrize("size", [2, 40])
def test_a_vocabulary_below_the_alphabet_is_refused(size):
    with pytest.raises(ConfigError, match=f"data.vocab_size={size}"):
        settings(vocab_size=size)


def test_values_that_start_others_are_paired_with_the_longest_only():
    values = ([1], [1, 2], [1, 2, 3, 4], [2], [1, 2, 5], [1, 6], [2, 1])
    assert sorted(compiling.extensions(list(values))) == [(0, 1), (0, 5), (1, 2), (1, 4), (3, 6)]


# -------------------------------------------------------------------------------------- the lengths


def test_expected_lengths_are_the_mean_over_all_texts(spy, odd):
    """Of a world small enough to write out every text: two sentences, of an employer and of its
    city."""
    data = settings(
        years=0,
        cities=0,
        universities=0,
        majors=0,
        first_names=3,
        middle_names=0,
        last_names=200,
        employers=40,
        templates_file=odd,
        vocab_size=90,
        n_people=600,
    )
    content = compiling.compile(data)
    companies = [line.split("; ") for line in lines_of(POOLS, "company")[:40]]
    names = [
        f"{a} {b}"
        for a in lines_of(POOLS, "first_name")[:3]
        for b in lines_of(POOLS, "last_name")[:200]
    ]
    lines, lengths = sections(odd), []

    def mean(
        line, subjects, values
    ):  # the length of a sentence is a sum of a subject's and a value's part
        with_subject = [
            len(spy[0].whole(" " + line.replace("{value}", values[0]).replace("{subject}", s)))
            for s in subjects
        ]
        with_value = [
            len(spy[0].whole(" " + line.replace("{value}", v).replace("{subject}", subjects[0])))
            for v in values
        ]
        return np.mean(with_subject) + np.mean(with_value) - with_value[0]

    for column, attribute in enumerate(("employer", "work_city")):
        values = [company[column] for company in companies]
        lengths.append(
            np.mean(
                [
                    mean(line, some, values)
                    for line in lines[attribute]
                    for some in (names, ("He", "She"))
                ]
            )
        )
    assert lexicon.Lexicon(content).mean_tokens(data) == pytest.approx(sum(lengths), abs=1e-9)


SMALL = {
    "first_names": 11,
    "last_names": 13,
    "cities": 7,
    "universities": 6,
    "majors": 5,
    "employers": 9,
    "years": 8,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"full_names": True},
        {"order": "fixed"},
        {"order": "pairs"},
        {"order": "fixed", "biographies": 2},
        {"middle_names": 0},
        {"majors": 0},
        {"years": 0, "cities": 0, "universities": 0, "employers": 0},
        {"years": 0, "cities": 0, "universities": 0, "majors": 0, "order": "pairs"},
        {"employers": 0, "order": "pairs"},
        {"tokenizer": "gpt2"},
        {"templates": 1},
        {"odd": True},
        {"odd": True, "vocab_size": 90},
        {"odd": True, "full_names": True, "vocab_size": 300},
        {"odd": True, "order": "pairs", "vocabulary": "world"},
        {"odd": True, "order": "fixed", "templates": 1, "vocab_size": 90},
    ],
    ids=str,
)
def test_expected_lengths_and_used_rows_are_those_of_rendered_texts(changes, odd):
    """The mean within three standard errors over people; the rows of the world are exactly those
    that ever appear."""
    changes = {**SMALL, "first_names": 110, "n_people": 1000, **changes}
    if changes.pop("odd", False):
        changes["templates_file"] = odd
    data, n = settings(**changes), 1000
    content = lexicons.of(data).content
    seen, means = set(), []
    for block in range(4):  # other people each time: the mean is over people and texts
        other = BiosWorld(data, lexicons.of(data), n, 6 + block, torch.device("cpu"))
        person = torch.arange(n).repeat_interleave(8)
        tokens, length = other.pieces.join(other.render(person, torch.arange(8).repeat(n)))
        seen |= set(tokens.unique().tolist())
        means.append(length.view(n, 8).double().mean(1) - 1)
    mean = torch.cat(means)
    error = float(mean.std()) / math.sqrt(len(mean))
    assert abs(float(mean.mean()) - lexicons.of(data).mean_tokens(data)) < 3 * error + 1e-9
    assert len(seen) == resolve.of(data).used_rows, [
        content["tokens"][row] for row in set(range(resolve.of(data).rows)) - seen
    ][:20]
    assert lexicons.of(data).shortest(data) <= float(min(len(lists.ATTRIBUTES) * 3, mean.min()))
