"""The folder of a certificate: what is written, and what is checked before anything is restored.

    header.json           all that decoding depends on, digests of all files, and the numbers
    weights.safetensors   the run's final weights, fp32, by name
    code.bin              the coded data
    given.safetensors     tokens that both sides know, where not all are coded

A header has the digest of itself, so that no field of it can change unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
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

FORMAT = 1
HEADER, WEIGHTS, CODE, GIVEN = (
    "header.json",
    "weights.safetensors",
    "code.bin",
    "given.safetensors",
)
FIELDS = ("kind", "order", "run_id", "built", "batch_rows", "rows", "places", "made", "files")
FIELDS += ("blocks", "restored_sha256", "claims", "data", "text")
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


def packed_given(rows: np.ndarray, coded: np.ndarray) -> bytes:
    """Tokens that are not coded (0 where they are), and which are."""
    given = np.where(coded, 0, rows).astype(np.int32)
    return save({"tokens": given, "coded": coded.astype(np.uint8)})


def read_given(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """`packed_given` again: tokens int64 and coded bool, [N, T]."""
    tensors = load(content)
    return tensors["tokens"].astype(np.int64), tensors["coded"].astype(bool)


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
