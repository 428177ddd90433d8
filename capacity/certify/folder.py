"""The folder of a certificate: what is written, and what is checked before anything is restored.

    header.json           all that decoding depends on, digests of all files, and the numbers
    weights.safetensors   the run's final weights, fp32, by name
    code.bin              the coded data
    given.safetensors     tokens that both sides know, where not all are coded
    grammar.json          lists, templates and orders of people's texts, where names are coded
    reference.safetensors, reference.bin    weights and code of the run that text is compared with

A header has the digest of itself, so that no field of it can change unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save

import capacity
from capacity.base.errors import ConfigError
from capacity.base.hardware import cpu_name
from capacity.certify.coder import digest
from capacity.certify.grammar import Grammar
from capacity.certify.loops import Next
from capacity.certify.message import KINDS, Message
from capacity.certify.persons import People, Texts
from capacity.certify.predictor import Predictor
from capacity.certify.spelling import Lists, Spelling

FORMAT = 1
# of the second model, where what a run holds is told by comparison
REFERENCE_WEIGHTS, REFERENCE_CODE = "reference.safetensors", "reference.bin"
HEADER, WEIGHTS, CODE, GIVEN, GRAMMAR = (
    "header.json",
    "weights.safetensors",
    "code.bin",
    "given.safetensors",
    "grammar.json",
)
FIELDS = ("kind", "order", "run_id", "built", "batch_rows", "rows", "places", "made", "files")
FIELDS += (
    "blocks",
    "restored_sha256",
    "claims",
    "data",
    "text",
    "noun",
    "people",
    "attributes",
    "reference",
)
Header = dict[str, Any]


def machine() -> dict[str, Any]:
    """What made a certificate, or reads it: versions and the processor as torch uses it."""
    return {
        "capacity": capacity.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "constriction": metadata.version("constriction"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def other_machine(made: dict[str, Any]) -> str:
    """Where a certificate was made and where it is read, as far as they differ, in words."""
    here = machine()
    parts = [
        f"{name} {made.get(name)} there, {here[name]} here"
        for name in here
        if made.get(name) != here[name]
    ]
    return "; ".join(parts) or "the same versions and processor as where it was made"


def rows_digest(rows: np.ndarray) -> str:
    """SHA-256 of rows of tokens [N, T] as two little-endian int32, N and T, and N T more."""
    shape = np.array(rows.shape, "<i4").tobytes()
    return hashlib.sha256(shape + rows.astype("<i4").tobytes()).hexdigest()


def packed_given(message: Message) -> bytes:
    """Tokens that are not coded (0 where they are), which are, and lists of values: of each row
    which one, and part by part its pieces."""
    given = np.where(message.coded, 0, message.rows).astype(np.int32)
    tensors = {"tokens": given, "coded": message.coded.astype(np.uint8)}
    if message.list_N is not None:
        tensors["list"] = message.list_N.astype(np.int32)
    for k, lists in enumerate(message.lists):
        for i, part in enumerate(lists.packed()):
            tensors[f"list.{k}.{i}"] = part
    return save(tensors)


def read_given(content: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, list[Lists]]:
    """`packed_given` again: tokens int64 and coded bool, [N, T], lists by row and the lists."""
    tensors = load(content)
    coded = tensors["coded"].astype(bool)
    if "list" not in tensors:
        return tensors["tokens"].astype(np.int64), coded, None, []
    list_N = tensors["list"].astype(np.int64)
    lists = []
    for k in range(int(list_N.max()) + 1):
        parts = sum(name.startswith(f"list.{k}.") for name in tensors)
        lists.append(Lists.unpacked([tensors[f"list.{k}.{i}"] for i in range(parts)]))
    return tensors["tokens"].astype(np.int64), coded, list_N, lists


def predictor(
    kind: str,
    model: Predictor,
    grammar: Grammar | None,
    spelled: tuple[np.ndarray, np.ndarray | None, Sequence[Lists]],
) -> Next:
    """What says the next token of rows of a kind: the model; where people are coded the model of
    them; and where values of lists are, the model within those. spelled: coded places, of each row
    which list, and lists; the first coded place of a row begins its value."""
    coded, list_N, lists = spelled
    if grammar is not None:
        return (Texts if kind == "texts" else People)(model, grammar)
    if list_N is None:
        return model
    return Spelling(model, lists, list_N, coded.argmax(1))


def seal(header: Header) -> bytes:
    """The header as bytes, with its own digest."""
    return (json.dumps(header | {"sha256": _own(header)}, indent=1) + "\n").encode()


def _own(header: Header) -> str:
    rest = {name: value for name, value in header.items() if name != "sha256"}
    return digest(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())


def read_header(folder: Path) -> Header:
    """The header of a certificate; ConfigError for what is none, is of another format, or was
    changed."""
    path = folder / HEADER
    header = None
    try:
        header = json.loads(read(path))
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not JSON ({error}); nothing was restored") from None
    if not isinstance(header, dict) or "format" not in header:
        raise ConfigError(f"{path}: not the header of a certificate; nothing was restored")
    if header["format"] != FORMAT:
        raise ConfigError(
            f"{path}: format {header['format']!r}; this version reads format {FORMAT}; nothing was "
            "restored"
        )
    if header.get("sha256") != _own(header) or any(name not in header for name in FIELDS):
        raise ConfigError(
            f"{path}: the header was changed: its digest is not its own; nothing was restored"
        )
    if header["kind"] not in KINDS:
        raise ConfigError(
            f"{path}: data of kind {header['kind']!r}; this version reads {', '.join(KINDS)}; "
            "nothing was restored"
        )
    return header


def read(path: Path) -> bytes:
    """A file of a certificate; ConfigError where there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{path}: no such file; a certificate is a folder with {HEADER}, {WEIGHTS} and {CODE}"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder; expected a file") from None


def checked(folder: Path, header: Header, name: str) -> bytes:
    """A file of a certificate whose digest is that of the header."""
    content, about = read(folder / name), header["files"][name]
    if digest(content) != about["sha256"]:
        size = (
            f"{len(content):,} bytes, the header says {about['bytes']:,}"
            if len(content) != about["bytes"]
            else "its bytes were changed"
        )
        raise ConfigError(f"{folder / name}: {size}; nothing was restored")
    return content


def about(content: bytes) -> dict[str, Any]:
    """What a header says of a file."""
    return {"bytes": len(content), "sha256": digest(content)}


def check_empty(folder: Path, option: str) -> None:
    """ConfigError for a folder that holds something."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{option} {folder}: there is something already; name a new or an empty folder"
        )
