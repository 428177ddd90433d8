"""From a certificate back to the data."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.certify import folder as certificates
from capacity.certify.coder import Reader, check
from capacity.certify.loops import code_list, code_set
from capacity.certify.predictor import Built, Predictor

ENDINGS = (".jsonl", ".npy")


def check_output(path: Path) -> None:
    """ConfigError for an ending that says no format."""
    if path.suffix not in ENDINGS:
        raise ConfigError(f"--output {path}: expected a file that ends in {' or '.join(ENDINGS)}")
    if path.is_dir():
        raise ConfigError(f"--output {path}: a folder; expected a file")


def restore(folder: Path) -> tuple[certificates.Header, np.ndarray]:
    """The header and the rows, int64 [N, T], of which all files, all blocks and the whole have the
    digests of the header. ConfigError for anything else: rows that look right are not enough."""
    header = certificates.read_header(folder)
    where = folder / certificates.CODE
    code = certificates.read(where)
    check(code, header["blocks"], str(where))
    certificates.checked(folder, header, certificates.CODE)
    certificates.checked(folder, header, certificates.WEIGHTS)
    shape = header["rows"], header["places"]
    given, coded = np.zeros(shape, np.int64), np.ones(shape, bool)
    if certificates.GIVEN in header["files"]:
        content = certificates.checked(folder, header, certificates.GIVEN)
        given, coded = certificates.read_given(content)
    made = certificates.other_machine(header["made"])
    reader = Reader(code, header["blocks"], str(where), made)
    predictor = Predictor(Built(**header["built"]), folder / certificates.WEIGHTS, header["run_id"])
    with one_thread():
        if header["order"] == "set":
            rows, _ = code_set(reader, predictor, *shape, None, header["batch_rows"])
        else:
            rows, _ = code_list(reader, predictor, given, coded, None, header["batch_rows"])
    reader.close()
    if certificates.rows_digest(rows) != header["restored_sha256"]:
        raise ConfigError(
            f"{folder}: what was decoded does not have the digest of the header ({made}); nothing "
            "was restored"
        )
    return header, rows


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


def write(path: Path, header: certificates.Header, rows: np.ndarray) -> None:
    """The rows as a file: JSONL with the tokens, and their text where the data have one, of each
    row, or an array int32 [N, T] as .npy."""
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, rows.astype(np.int32), allow_pickle=False)
        files.write_atomic(path, buffer.getvalue())
        return
    words = header["text"]
    lines = []
    for row in rows.tolist():
        line: dict[str, object] = {"tokens": row}
        if words is not None:
            line = {"text": "".join(words[token] for token in row)} | line
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    files.write_atomic(path, "".join(lines).encode())
