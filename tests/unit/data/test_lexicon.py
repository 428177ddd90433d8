"""Compiled vocabularies: pieces joined are the text tokenized whole, and what they depend on."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from capacity.base.errors import ConfigError
from capacity.data import compile_lexicon as compiling
from capacity.data import lexicon, lexicons, resolve, vocabulary
from capacity.data.biographies import BiosWorld
from vocabularies import ODD, POOLS, lines_of, odd, sections, settings, spy, values_of  # noqa: F401
from waiting import patience

OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "physicslm4_fields"


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
