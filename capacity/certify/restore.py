"""From a certificate back to the data."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.certify import folder as certificates
from capacity.certify.coder import Reader, check
from capacity.certify.grammar import Grammar
from capacity.certify.loops import code_list, code_set
from capacity.certify.persons import People, nothing
from capacity.certify.predictor import Built, Predictor
from capacity.certify.spelling import STOP

ENDINGS = (".jsonl", ".npy")


def check_output(path: Path) -> None:
    """ConfigError for an ending that says no format."""
    if path.suffix not in ENDINGS:
        raise ConfigError(f"--output {path}: expected a file that ends in {' or '.join(ENDINGS)}")
    if path.is_dir():
        raise ConfigError(f"--output {path}: a folder; expected a file")


@dataclass(frozen=True)
class Restored:
    """header: of the certificate. rows: int64 [N, T]. coded: which of the tokens were decoded, bool
    [N, T]; the others were given. grammar: of people's texts, where names were coded."""

    header: certificates.Header
    rows: np.ndarray
    coded: np.ndarray
    grammar: Grammar | None


def restore(folder: Path) -> Restored:
    """What a certificate holds, of which all files, all blocks and the whole have the digests of
    the header. ConfigError for anything else: rows that look right are not enough."""
    header = certificates.read_header(folder)
    shape = header["rows"], header["places"]
    given, coded = np.zeros(shape, np.int64), np.ones(shape, bool)
    list_N, lists, grammar = None, [], None
    if certificates.GIVEN in header["files"]:
        content = certificates.checked(folder, header, certificates.GIVEN)
        given, coded, list_N, lists = certificates.read_given(content)
    if certificates.GRAMMAR in header["files"]:
        content = certificates.checked(folder, header, certificates.GRAMMAR)
        grammar = Grammar.of_json(content)
    made = certificates.other_machine(header["made"])
    for about, weights, code in streams(header):
        place = folder / code
        content = certificates.read(place)
        check(content, about["blocks"], str(place))
        certificates.checked(folder, header, code)
        certificates.checked(folder, header, weights)
    rows = given
    for about, weights, code in streams(header):
        content, place = certificates.read(folder / code), str(folder / code)
        reader = Reader(content, about["blocks"], place, made)
        model = Predictor(Built(**about["built"]), folder / weights, about["run_id"])
        spelled = coded, list_N, lists
        predictor = certificates.predictor(header["kind"], model, grammar, spelled)
        with one_thread():
            if header["order"] == "set":
                rows, _ = code_set(reader, predictor, *shape, None, header["batch_rows"])
            else:
                rows, _ = code_list(reader, predictor, given, coded, None, header["batch_rows"])
        reader.close()
        if certificates.rows_digest(rows) != header["restored_sha256"]:
            raise ConfigError(
                f"{place}: what was decoded does not have the digest of the header ({made}); "
                "nothing was restored"
            )
    return Restored(header, rows, coded, grammar)


def streams(header: certificates.Header) -> list[tuple[dict[str, Any], str, str]]:
    """The codes of a certificate: what its header says of each, and its two files."""
    out = [(header, certificates.WEIGHTS, certificates.CODE)]
    if header["reference"] is not None:
        names = certificates.REFERENCE_WEIGHTS, certificates.REFERENCE_CODE
        out.append((header["reference"], *names))
    return out


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch, whatever was set: numbers do not depend on it, and so small operations
    are not done sooner by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def write(path: Path, found: Restored) -> None:
    """The rows as a file: JSONL with the tokens, and their text where the data have one, of each
    row, of people a line each with the text of every value, of their texts besides which order and
    templates they have; or an array int32 [N, T] as .npy."""
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, found.rows.astype(np.int32), allow_pickle=False)
        files.write_atomic(path, buffer.getvalue())
        return
    lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in lines_of(found))
    files.write_atomic(path, "".join(lines).encode())


def lines_of(found: Restored) -> Iterator[dict[str, object]]:
    """The objects of a JSONL file, see `write`."""
    words, people = found.header["text"], found.header["people"]
    if found.grammar is not None:
        lines = _texts if found.header["kind"] == "texts" else _people
        yield from lines(found, found.grammar)
        return
    if people is None:
        for row in found.rows.tolist():
            line: dict[str, object] = {"tokens": row}
            if words is not None:
                line = {"text": "".join(words[token] for token in row)} | line
            yield line
        return
    values = [
        "".join(words[token] for token in row[mask] if token != STOP).strip()
        for row, mask in zip(found.rows, found.coded, strict=True)
    ]
    for i, name in enumerate(people):
        mine = dict(zip(found.header["attributes"], values[i :: len(people)], strict=True))
        yield {"person": name, "attributes": mine}


def _people(found: Restored, grammar: Grammar) -> Iterator[dict[str, object]]:
    layout, words = People(nothing, grammar), found.header["text"]
    for row in found.rows.tolist():
        name, *values = (_text(words, part) for part in layout.split(row))
        yield {
            "person": name,
            "attributes": dict(zip(found.header["attributes"], values, strict=True)),
        }


def _texts(found: Restored, grammar: Grammar) -> Iterator[dict[str, object]]:
    words = found.header["text"]
    for row in found.rows.tolist():
        text = tuple(row[: row.index(STOP)])
        (reading,) = grammar.readings(text)
        attributes: dict[str, str] = {}
        if reading.gender is not None:
            attributes["gender"] = _text(words, grammar.pronoun(reading.gender))
        for a, (name, choice) in enumerate(zip(grammar.attributes, reading.values, strict=True)):
            attributes[name] = _text(words, grammar.value(a, choice))
        yield {
            "person": _text(words, grammar.name_lists.join(reading.name)),
            "attributes": attributes,
            "order": [grammar.attributes[a] for a in grammar.orders[reading.order]],
            "templates": dict(zip(grammar.attributes, reading.templates, strict=True)),
            "text": _text(words, text),
            "tokens": list(text),
        }


def _text(words: list[str], tokens: Sequence[int]) -> str:
    return "".join(words[token] for token in tokens).strip()
