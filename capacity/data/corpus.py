"""People and texts from a JSONL file: bioR or any other corpus that names people and their
attributes.

One person per line: {"person": "Anya Briar Forger", "attributes": {"major": "Biology", ...},
"texts": ["...", ...]}. All people have the same attributes; each value and the name should occur
word for word in the texts, there it is asked for.
"""

from __future__ import annotations

import json
from pathlib import Path

from capacity.base.errors import ConfigError
from capacity.data.lexicon import EOS, SCHEMA
from capacity.data.lists import read_lines
from capacity.data.vocabulary import Encoder, gpt2, trained_bpe
from capacity.settings.data import CorpusData

FIELDS = ("person", "attributes", "texts")


def read_people(path: Path, most: int | None) -> list[dict]:
    """Checked entries of the file, at most `most`; ConfigError with file and line for anything that
    is not a person."""
    people: list[dict] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        if most is not None and len(people) == most:
            break
        person = _person(line, f"{path}:{number}", people[0]["attributes"] if people else None)
        if person["person"] in seen:
            raise ConfigError(
                f"{path}:{number}: {person['person']!r} is there twice, first in line "
                f"{seen[person['person']]}"
            )
        seen[person["person"]] = number
        people.append(person)
    if len(people) < 4:
        raise ConfigError(f"{path}: {len(people)} people; expected at least 4")
    return people


def _person(line: str, at: str, attributes: dict | None) -> dict:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{at}: not JSON: {error}") from None
    if not isinstance(entry, dict):
        raise ConfigError(f"{at}: expected an object with {', '.join(FIELDS)}")
    for name in FIELDS:
        if name not in entry:
            raise ConfigError(f"{at}: no {name}; expected an object with {', '.join(FIELDS)}")
    if not (isinstance(entry["person"], str) and entry["person"].strip()):
        raise ConfigError(f"{at}: person={entry['person']!r}: expected a name")
    values = entry["attributes"]
    if not (
        isinstance(values, dict)
        and values
        and all(isinstance(v, str) and v.strip() for v in values.values())
    ):
        raise ConfigError(
            f'{at}: attributes: expected names with texts as values, such as {{"major": "Biology"}}'
        )
    if attributes is not None and sorted(values) != sorted(attributes):
        raise ConfigError(
            f"{at}: attributes {', '.join(sorted(values))}, but the first person has "
            f"{', '.join(sorted(attributes))}"
        )
    texts = entry["texts"]
    if not (
        isinstance(texts, list) and texts and all(isinstance(t, str) and t.strip() for t in texts)
    ):
        raise ConfigError(f"{at}: texts: expected a list of at least one text")
    return entry


def normalized(text: str) -> str:
    """One line with single spaces and a leading one, as all pieces have it."""
    return " " + " ".join(text.split())


def compile_corpus(data: CorpusData) -> tuple[dict, Encoder, dict[int, int]]:
    """The content of a lexicon, the tokenizer, and the row of each of its tokens that is in use.
    The content: texts as pieces, and where each value first stands in each text, in tokens.

    people; values: different values by attribute; texts: pieces by person; spans: by person and
    text, name or "person" -> [first token, tokens], or null where the text does not hold it.
    """
    people = read_people(Path(data.path), data.n_people)
    encoder = (
        gpt2()
        if data.tokenizer == "gpt2"
        else trained_bpe((normalized(t) for p in people for t in p["texts"]), data.vocab_size)
    )
    pieces: dict[str, int] = {"": 0, EOS: 1}
    ids: list[list[int]] = [[], []]
    texts, spans = [], []
    for person in people:
        texts.append([])
        spans.append([])
        for text in map(normalized, person["texts"]):
            if text not in pieces:
                pieces[text] = len(ids)
                ids.append(encoder.encode(text))
            texts[-1].append(pieces[text])
            asked = {"person": person["person"]} | person["attributes"]
            spans[-1].append(
                {name: encoder.span(text, normalized(value)) for name, value in asked.items()}
            )
    used = sorted({i for piece in ids for i in piece})
    row = {i: n + 1 for n, i in enumerate(used)}
    values = {
        name: sorted({p["attributes"][name] for p in people})
        for name in sorted(people[0]["attributes"])
    }
    for name in values:
        if not any(span[name] for some in spans for span in some):
            raise ConfigError(
                f"{data.path}: no text holds the value of {name!r} word for word, so it cannot be "
                f"asked for"
            )
    content = {
        "schema": SCHEMA,
        "kind": "corpus",
        "tokens": [EOS] + [encoder.word(i) for i in used],
        "bio_rows": 1 + len(used),
        "pieces": [[], [0]] + [[row[i] for i in piece] for piece in ids[2:]],
        "people": [p["person"] for p in people],
        "values": values,
        "texts": texts,
        "spans": spans,
    }
    return content, encoder, row
