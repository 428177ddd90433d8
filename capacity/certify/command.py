"""The verb certify: weights and a coded file from which a run's data come back exactly, and back
again."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from capacity import records
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.certify import claims, data, folder, restore, wording
from capacity.certify.coder import Writer
from capacity.certify.loops import ROWS, code_list, code_set
from capacity.certify.predictor import Built, Predictor
from capacity.config import from_record
from capacity.data import cache as kept
from capacity.train.loop import Stack


def certify(results: Path, run: str, output: Path, as_set: bool, as_json: bool) -> int:
    """Write a certificate, and print what it claims after it was restored from its files."""
    folder.check_empty(output, "--output")
    run_id = records.find(results, run)
    record = records.read(results, run_id)
    if record is None or record["status"] != "finished":
        state = "has no record yet" if record is None else f"is {record['status']}"
        raise ConfigError(f"{run_id}: the run {state}; only a finished one has final weights")
    weights = records.run_dir(results, run_id) / records.WEIGHTS
    beside = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        header = _write(beside, results, record, weights, as_set)
        restore.restore(beside)  # what is not restored is not claimed
        if output.is_dir():
            output.rmdir()
        files.make_folder(output.parent)
        os.replace(beside, output)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if as_json:
        print(json.dumps(header["claims"], indent=1, allow_nan=False))
    else:
        print("\n".join(wording.lines(header, str(output))))
    return 0


def _write(
    place: Path, results: Path, record: dict[str, Any], weights: Path, as_set: bool
) -> folder.Header:
    """The files of a certificate; its header."""
    kept.load(results, record["config"]["data"])
    config = from_record(record["config"])
    stack = Stack([config], torch.device("cpu"))
    message = data.of_run(config, stack, results)
    if as_set and message.set_why is not None:
        raise ConfigError(f"--set: {message.set_why}")
    train = config.train
    built = Built.of(stack.gpt, (train.qat, train.qat_embeddings, train.qat_only))
    predictor = Predictor(built, weights, record["run_id"])
    writer, rows = Writer(), message.rows
    with restore.one_thread():
        if as_set:
            rows, ideal = code_set(writer, predictor, len(rows), rows.shape[1], rows)
        else:
            rows, ideal = code_list(writer, predictor, rows, message.coded, rows)
    contents = {folder.WEIGHTS: folder.read(weights), folder.CODE: writer.content()}
    if not message.whole:
        contents[folder.GIVEN] = folder.packed_given(message.rows, message.coded)
    header: folder.Header = {
        "format": folder.FORMAT,
        "kind": message.kind,
        "order": "set" if as_set else "list",
        "run_id": record["run_id"],
        "rows": rows.shape[0],
        "places": rows.shape[1],
        "batch_rows": ROWS,
        "built": asdict(built),
        "data": {"seed": config.seed, **record["config"]["data"]},
        "text": message.words,
        "made": folder.machine(),
        "files": {name: folder.about(content) for name, content in contents.items()},
        "blocks": writer.blocks,
        "restored_sha256": folder.rows_digest(rows),
        "claims": claims.of(
            message,
            as_set,
            {"ideal": ideal, "tables": writer.bits},
            len(contents[folder.CODE]),
            len(contents[folder.WEIGHTS]),
            record["parameters"],
            data.recorded(message, record),
        ),
    }
    for name, content in contents.items():
        files.write_atomic(place / name, content)
    files.write_atomic(place / folder.HEADER, folder.seal(header))
    return header


def restored(place: Path, output: Path | None, as_json: bool) -> int:
    """Restore a certificate, and write the data where that is asked for."""
    if output is not None:
        restore.check_output(output)
    header, rows = restore.restore(place)
    if output is not None:
        restore.write(output, header, rows)
    if as_json:
        out = {name: header[name] for name in ("run_id", "kind", "order", "restored_sha256")}
        print(json.dumps(out | {"rows": len(rows), "output": output and str(output)}, indent=1))
    else:
        name = None if output is None else str(output)
        print("\n".join(wording.restored(header, str(place), name)))
    return 0
