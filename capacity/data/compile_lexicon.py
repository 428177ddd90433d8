"""Pools, templates and a tokenizer -> the content of a lexicon (see `lexicon.Lexicon` for its
form)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from capacity.base.errors import ConfigError
from capacity.base.files import content_digest
from capacity.data import lists
from capacity.data.lexicon import EOS, SCHEMA, attributes_of, world_sizes
from capacity.data.lists import Pools, Template
from capacity.data.vocabulary import Encoder, gpt2, trained_bpe
from capacity.settings.data import BiodData, BiosData, CorpusData, WordedData


def key(data: WordedData) -> tuple:
    """What a lexicon depends on: settings, and the content of the files that they name."""
    if isinstance(data, CorpusData):
        return (
            "corpus",
            content_digest(Path(data.path)),
            data.n_people,
            data.tokenizer,
            data.vocab_size,
            data.missing_attributes,
            data.value_bits,
        )
    names = (data.first_names, data.middle_names, data.last_names)
    if isinstance(data, BiodData):
        return (
            "biod",
            _lists_of(data.pools_dir),
            names,
            data.attributes,
            data.alphabet,
            data.separator,
            data.chunks > 1,
            data.wording,
            data.rows,
        )
    # the lists are always checked against the sizes, so those belong to the key in both cases
    return (
        "bios",
        _lists_of(data.pools_dir),
        None if data.templates_file is None else content_digest(Path(data.templates_file)),
        data.tokenizer,
        data.vocab_size,
        data.vocabulary,
        data.questions,
        tuple(world_sizes(data).items()),
        data.months,
        data.days,
        data.years,
        data.templates,
    )


def _lists_of(folder: str | None) -> tuple[str, ...] | None:
    """The content of lists of one's own."""
    if folder is None:
        return None
    return tuple(content_digest(Path(folder) / name) for name in lists.FILES.values())


def compile(data: WordedData) -> dict:
    """Read the files of these settings and tokenize every piece; ConfigError names what is wrong
    and where."""
    return compiled(data)[0]


def compiled(data: WordedData) -> tuple[dict, Encoder, dict[int, int]]:
    """The content, the tokenizer that its pieces went through, and the row of each of its tokens
    that is in use."""
    if isinstance(data, CorpusData):
        from capacity.data.corpus import compile_corpus

        return compile_corpus(data)
    return _compile_biod(data) if isinstance(data, BiodData) else _compile_bios(data)


class Book:
    """Collects the distinct pieces of text; then all are tokenized and numbered."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {"": 0, EOS: 1}
        self.bio: set[str] = set()

    def add(self, text: str, bio: bool = True) -> int:
        """The number of a piece."""
        if bio:
            self.bio.add(text)
        return self.texts.setdefault(text, len(self.texts))

    def close(self, encoder: Encoder, alphabet: int = 0) -> tuple[dict, dict[int, int]]:
        """tokens, bio_rows and pieces over rows in use: EOS, then those of biographies in the order
        of their first use, then `alphabet` symbols, then those of questions only; and the row of
        each of the encoder's tokens."""
        ids = {text: encoder.encode(text) for text in self.texts if text != EOS}
        bio = dict.fromkeys(i for text in ids if text in self.bio for i in ids[text])
        others = [
            i for i in dict.fromkeys(i for tokens in ids.values() for i in tokens) if i not in bio
        ]
        row = {i: 1 + n for n, i in enumerate(bio)} | {
            i: 1 + len(bio) + alphabet + n for n, i in enumerate(others)
        }
        words = (
            [EOS]
            + [encoder.word(i) for i in bio]
            + [f" <{n}>" for n in range(alphabet)]
            + [encoder.word(i) for i in others]
        )
        pieces = [[0] if text == EOS else [row[i] for i in ids[text]] for text in self.texts]
        return {
            "schema": SCHEMA,
            "tokens": words,
            "bio_rows": 1 + len(bio) + alphabet,
            "pieces": pieces,
        }, row


def _encoder(tokenizer: str, size: int | None, texts: Iterable[str]) -> Encoder:
    return gpt2() if tokenizer == "gpt2" else trained_bpe([t for t in texts if t != EOS], size)


def _compile_bios(data: BiosData) -> tuple[dict, Encoder, dict[int, int]]:
    sizes, names = world_sizes(data), attributes_of(data)
    if data.vocabulary == "pools":
        names = lists.ATTRIBUTES
        sizes = {name: max(1, size) for name, size in sizes.items()}
    folder = Path(data.pools_dir) if data.pools_dir is not None else lists.OWN
    pools = lists.read_pools(folder, sizes)
    file = (
        Path(data.templates_file)
        if data.templates_file is not None
        else lists.OWN / "templates.txt"
    )
    templates = lists.read_templates(file, names)
    months, days, years = 12, 28, 200
    if data.vocabulary == "world":
        pools = _first(pools, sizes)
        templates = {name: some[: data.templates] for name, some in templates.items()}
        months, days, years = data.months, data.days, data.years
    asked = lists.read_templates(lists.OWN / "questions.txt", names) if data.questions else {}

    book = Book()
    all_templates = [(t, True) for some in templates.values() for t in some] + [
        (t, False) for s in asked.values() for t in s
    ]
    first = [book.add(" " + word) for word in pools.first_name]
    middle = [book.add(" " + word) for word in pools.middle_name]
    last, pronoun = {}, {}
    for template, bio in all_templates:
        glue = template.slot("subject").glue
        last.setdefault(glue, [book.add(" " + word + glue, bio) for word in pools.last_name])
        if bio:
            pronoun.setdefault(glue, [book.add(" " + word + glue) for word in lists.PRONOUNS])
    words = {name: list(getattr(pools, name)) for name in names if name != "birth_date"}
    words["birth_date"] = [str(lists.FIRST_YEAR + n) for n in range(years)]
    parts = {
        "birth_date": [
            [book.add(" " + month) for month in lists.MONTHS[:months]],
            [book.add(f" {day},") for day in range(1, days + 1)],
        ]
    }
    values: dict[str, dict[str, list[int]]] = {name: {} for name in names}
    for bio, group in ((True, templates), (False, asked)):
        for name, some in group.items():
            for template in some:
                glue = template.slot("value").glue
                values[name].setdefault(
                    glue, [book.add(f" {word}{glue}", bio) for word in words[name]]
                )
    numbered = {name: [_numbered(t, book, True) for t in some] for name, some in templates.items()}
    questions = {name: [_numbered(t, book, False) for t in some] for name, some in asked.items()}

    encoder = _encoder(data.tokenizer, data.vocab_size, book.texts)
    content, row = book.close(encoder)
    content |= {
        "kind": "bios",
        "first": first,
        "middle": middle,
        "templates": numbered,
        "questions": questions,
        "last": {
            glue: {"pieces": p, "lengths": _lengths(pools.last_name, glue, encoder)}
            for glue, p in last.items()
        },
        "pronoun": {
            glue: {"pieces": p, "lengths": _lengths(lists.PRONOUNS, glue, encoder)}
            for glue, p in pronoun.items()
        },
        "values": {
            name: {
                "parts": parts.get(name, [[], []]),
                "last": {
                    glue: {"pieces": p, "lengths": _lengths(words[name], glue, encoder)}
                    for glue, p in by_glue.items()
                },
            }
            for name, by_glue in values.items()
        },
        "headquarters": list(pools.headquarters),
        "extensions": {
            name: extensions([encoder.encode(" " + word) for word in words[name]]) for name in names
        },
    }
    return content, encoder, row


def _first(pools: Pools, sizes: dict[str, int]) -> Pools:
    """The first so many values of each list, and the headquarters of those employers only."""
    cut = {name: getattr(pools, name)[:size] for name, size in sizes.items()}
    places = pools.headquarters[: sizes["employer"]]
    return Pools(
        **cut, work_city=pools.work_city[: max(places, default=-1) + 1], headquarters=places
    )


def _numbered(template: Template, book: Book, bio: bool) -> list:
    return [
        book.add(template.before, bio),
        template.first.name == "subject",
        template.first.glue,
        book.add(template.between, bio),
        template.second.glue,
        book.add(template.after, bio),
    ]


def _lengths(words: Iterable[str], glue: str, encoder: Encoder) -> list[int]:
    """Tokens of each word without its glue; a token that holds both counts."""
    return [encoder.count_up_to(f" {word}{glue}", len(word) + 1) for word in words]


def extensions(values: list[list[int]]) -> list[tuple[int, int]]:
    """Pairs (v, u): the tokens of v start those of u, and no other such value lies between them."""
    where = {tuple(tokens): v for v, tokens in enumerate(values)}
    out = []
    for u, tokens in enumerate(values):
        for end in range(len(tokens) - 1, 0, -1):
            if (v := where.get(tuple(tokens[:end]))) is not None:
                out.append((v, u))
                break  # the longest one; what starts that one has it as its own extension
    return out


def _compile_biod(data: BiodData) -> tuple[dict, Encoder, dict[int, int]]:
    sizes = {
        "first_name": data.first_names,
        "middle_name": data.middle_names,
        "last_name": data.last_names,
    }
    pools = lists.read_pools(
        Path(data.pools_dir) if data.pools_dir is not None else lists.OWN, sizes
    )
    book = Book()
    first = [book.add(" " + word) for word in pools.first_name[: data.first_names]]
    middle = [book.add(" " + word) for word in pools.middle_name[: data.middle_names]]
    last = [book.add(f" {word}'s") for word in pools.last_name[: data.last_names]]
    told = data.wording == "sentences"
    pronoun = book.add(" Her") if told and data.attributes > 1 else 0
    heads = [book.add(f" ID {n} is") if told else 0 for n in range(1, data.attributes + 1)]
    comma = book.add(",") if data.separator == "comma" and data.chunks > 1 else 0
    stop = book.add(".") if told else 0
    encoder = _encoder("bpe", None, book.texts)
    marks = data.attributes if data.wording == "attributes" else 0  # a row for each
    content, row = book.close(encoder, data.alphabet + marks)
    first_mark = content["bio_rows"] - marks
    if marks:
        heads = [len(content["pieces"]) + k for k in range(marks)]
        content["pieces"] += [[first_mark + k] for k in range(marks)]
    used = content["bio_rows"]
    if data.rows is not None:
        if data.rows < used:
            raise ConfigError(
                f"data.rows={data.rows}: texts of this data use {used} rows; give data.rows={used} "
                "or more, or leave it out"
            )
        content["tokens"] += [f" <-{n}>" for n in range(data.rows - used)]
    content |= {
        "kind": "biod",
        "first": first,
        "middle": middle,
        "pronoun": pronoun,
        "heads": heads,
        "comma": comma,
        "stop": stop,
        "first_symbol": first_mark - data.alphabet,
        "last": {
            "'s": {
                "pieces": last,
                "lengths": _lengths(pools.last_name[: data.last_names], "'s", encoder),
            }
        },
    }
    return content, encoder, row
