"""The verb certify: weights and a coded file from which a run's data come back exactly, and back
again."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capacity import records
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.certify import claims, data, folder, restore, wording
from capacity.certify.coder import Writer
from capacity.certify.loops import ROWS, code_list, code_set
from capacity.certify.message import Message
from capacity.certify.predictor import Built, Predictor
from capacity.config import Config, from_record
from capacity.data import cache as kept
from capacity.model.gpt import GPT
from capacity.train.loop import Stack


@dataclass(frozen=True)
class Asked:
    """What `capacity certify RUN` was asked for."""

    results: Path
    run: str
    output: Path
    as_set: bool = False
    whole_texts: bool = False
    reference: str | None = None
    as_json: bool = False


@dataclass(frozen=True)
class _Run:
    """A finished run: record, settings, and where its weights lie."""

    record: dict[str, Any]
    config: Config
    weights: Path

    @classmethod
    def of(cls, results: Path, name: str) -> _Run:
        run_id = records.find(results, name)
        record = records.read(results, run_id)
        if record is None or record["status"] != "finished":
            state = "has no record yet" if record is None else f"is {record['status']}"
            raise ConfigError(f"{run_id}: the run {state}; only a finished one has final weights")
        kept.load(results, record["config"]["data"])
        weights = records.run_dir(results, run_id) / records.WEIGHTS
        return cls(record, from_record(record["config"]), weights)

    def built(self, gpt: GPT) -> Built:
        train = self.config.train
        return Built.of(gpt, (train.qat, train.qat_embeddings, train.qat_only))


@dataclass(frozen=True)
class _Coded:
    """A message by one model: what the header says of it, its bytes, rows as they come back, and
    ideal bits and those of the tables, of people those of names alone."""

    about: dict[str, Any]
    content: bytes
    rows: np.ndarray
    ideal: float
    tables: float
    names: float


def certify(asked: Asked) -> int:
    """Write a certificate, and print what it claims after it was restored from its files."""
    output = asked.output
    folder.check_empty(output, "--output")
    beside = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        began = time.perf_counter()
        header = _write(beside, asked)
        coded = time.perf_counter()
        restore.restore(beside)  # what is not restored is not claimed
        back = time.perf_counter()
        if output.is_dir():
            output.rmdir()
        files.make_folder(output.parent)
        os.replace(beside, output)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if asked.as_json:
        print(json.dumps(header["claims"], indent=1, allow_nan=False))
    else:
        took = wording.seconds(coded - began, back - coded)
        print("\n".join([*wording.lines(header, str(output)), *took]))
    return 0


def _write(place: Path, asked: Asked) -> folder.Header:
    """The files of a certificate; its header."""
    run = _Run.of(asked.results, asked.run)
    other = None if asked.reference is None else _Run.of(asked.results, asked.reference)
    stack = Stack([run.config], torch.device("cpu"))
    theirs = None if other is None else other.config
    message = data.of_run(run.config, stack, theirs, asked.as_set, asked.whole_texts)
    coded = _code(run, stack.gpt, message, asked.as_set)
    contents = {folder.WEIGHTS: folder.read(run.weights), folder.CODE: coded.content}
    reference = None
    if other is not None:
        gpt = Stack([other.config], torch.device("cpu")).gpt
        reference = _code(other, gpt, message, asked.as_set)
        contents[folder.REFERENCE_WEIGHTS] = folder.read(other.weights)
        contents[folder.REFERENCE_CODE] = reference.content
        message = replace(message, bits=8.0 * len(reference.content))
    if not message.whole:
        contents[folder.GIVEN] = folder.packed_given(message)
    if message.grammar is not None:
        contents[folder.GRAMMAR] = message.grammar.to_json()
    header: folder.Header = {
        "format": folder.FORMAT,
        "kind": message.kind,
        "order": "set" if asked.as_set else "list",
        "rows": coded.rows.shape[0],
        "places": coded.rows.shape[1],
        "batch_rows": ROWS,
        **coded.about,
        "reference": None if reference is None else reference.about,
        "data": {"seed": run.config.seed, **run.record["config"]["data"]},
        "text": message.words,
        "people": message.people,
        "attributes": message.attributes,
        "noun": message.noun,
        "made": folder.machine(),
        "files": {name: folder.about(content) for name, content in contents.items()},
        "restored_sha256": folder.rows_digest(coded.rows),
        "claims": claims.of(
            message,
            asked.as_set,
            {"ideal": coded.ideal, "tables": coded.tables, "names": coded.names},
            sum(block["symbols"] for block in coded.about["blocks"]),
            len(contents[folder.CODE]),
            len(contents[folder.WEIGHTS]),
            run.record["parameters"],
            data.recorded(message, run.record),
        ),
    }
    for name, content in contents.items():
        files.write_atomic(place / name, content)
    files.write_atomic(place / folder.HEADER, folder.seal(header))
    return header


def _code(run: _Run, gpt: GPT, message: Message, as_set: bool) -> _Coded:
    """The message by the model of a run."""
    built, run_id = run.built(gpt), run.record["run_id"]
    model = Predictor(built, run.weights, run_id)
    spelled = message.coded, message.list_N, message.lists
    predictor = folder.predictor(message.kind, model, message.grammar, spelled)
    writer, rows = Writer(), message.rows
    with restore.one_thread():
        if as_set:
            rows, ideal = code_set(writer, predictor, len(rows), rows.shape[1], rows)
        else:
            rows, ideal = code_list(writer, predictor, rows, message.coded, rows)
    content = writer.content()
    about = {"run_id": run_id, "built": asdict(built), "blocks": writer.blocks}
    # of people a name is told in so many places as the longest has
    places = message.grammar.name_lists.longest if message.grammar is not None else 0
    names = sum(writer.block_bits[:places])
    return _Coded(about, content, rows, ideal, writer.bits, names)


def restored(place: Path, output: Path | None, as_json: bool) -> int:
    """Restore a certificate, and write the data where that is asked for."""
    if output is not None:
        restore.check_output(output)
    found = restore.restore(place)
    header = found.header
    if output is not None:
        restore.write(output, found)
    if as_json:
        out = {name: header[name] for name in ("run_id", "kind", "order", "restored_sha256")}
        print(
            json.dumps(out | {"rows": len(found.rows), "output": output and str(output)}, indent=1)
        )
    else:
        name = None if output is None else str(output)
        print("\n".join(wording.restored(header, str(place), name)))
    return 0
