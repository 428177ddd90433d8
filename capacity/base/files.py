"""Files that are whole or absent, locks that die with their process, and data as bytes and JSON.

A file replaces its predecessor in one step; nothing here is ever unpickled. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from capacity.base.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    import pandas

LOCKED_BYTE = 2**30  # where Windows, whose locks forbid reading, locks: behind any content
ALWAYS_READ = 2**20  # bytes of a file, below which its times are not trusted
_DIGESTS: dict[tuple, str] = {}


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; ConfigError where that cannot be, such as below a file or a
    dangling link."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{folder}: cannot make this folder: {error.strerror}") from None


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new,
    never a part."""
    write_together([(path, data)])


def write_together(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Write several files, each as `write_atomic`, none of which replaces its predecessor before
    all are on disk: after a crash they are all old or all new, unless it falls between two
    renamings."""
    temporaries: dict[Path, Path] = {}
    path = Path()
    try:
        for path, data in contents:
            make_folder(path.parent)
            temporaries[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            with open(temporaries[path], "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None:  # else its words are all that it has
            error.filename = str(path)  # what was asked for, not the file beside it
        raise
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def write_json(path: Path, tree: Any) -> None:
    write_atomic(path, (json.dumps(tree, indent=1, allow_nan=False) + "\n").encode())


def shared_dir(name: str) -> Path:
    """The folder `conf` or `sweeps`: beside the package in a checkout, inside it in an installed
    wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / name
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    return package / name


def content_digest(path: Path) -> str:
    """A digest of a file's content, empty where it cannot be read: a name stands for another file
    in another folder, and a file may have changed since. A large one with the same place, size and
    times is not read again."""
    try:
        stat = path.stat()
        known = (path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if known not in _DIGESTS or stat.st_size < ALWAYS_READ:
            with open(path, "rb") as file:
                _DIGESTS[known] = hashlib.file_digest(file, "sha256").hexdigest()
        return _DIGESTS[known]
    except OSError:  # who reads it says why
        return ""


def flock(file: IO, shared: bool = False) -> bool:
    """Take a lock of an open file, if nobody else has it; shared: together with others that share
    it (on Windows nobody does). It ends with the file or the process."""
    if fcntl is None:
        return _lock_on_windows(file)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _lock_on_windows(file: IO) -> bool:
    import msvcrt

    place = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    os.lseek(file.fileno(), LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        return True
    except OSError:
        return False
    finally:
        os.lseek(file.fileno(), place, os.SEEK_SET)


def is_locked(path: Path) -> bool:
    try:
        with open(path) as file:
            return not flock(file, shared=True)
    except FileNotFoundError:
        return False


def csv(frame: pandas.DataFrame) -> bytes:
    """A table as bytes, the same for the same content."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def plain(x: Any) -> Any:
    """Python's own types for json; numbers that do not exist as None."""
    if isinstance(x, dict):
        return {str(key): plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(value) for value in x]
    if type(x).__module__ == "numpy" and hasattr(x, "item"):  # a scalar of numpy, known without it
        x = x.item()
    return None if isinstance(x, float) and not math.isfinite(x) else x
