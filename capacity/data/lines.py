"""Text files as lines, and JSONL as objects: one rule for every file that a person brings (standard
library; pyarrow where a file is packed by zstd).

Lines end at \\n or \\r\\n only, so U+2028, U+0085, \\x0b, \\x0c and a \\r inside are content. The
byte order mark of UTF-8 at the start is dropped. Files that gzip or zstd have packed are known
by their first bytes and read as what they hold. Memory holds a block and a line, whatever the size
of the file.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple

from capacity.base.errors import ConfigError

BLOCK = 2**20  # bytes
# First bytes, which no UTF-8 text has: RFC 1952 section 2.3.1, RFC 8878 section 3.1.1.
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PACKED = {GZIP: "gzip", ZSTD: "zstd"}
FOREIGN = {
    codecs.BOM_UTF16_LE: "UTF-16 text",
    codecs.BOM_UTF16_BE: "UTF-16 text",
    b"\xfd7zXZ\x00": "packed by xz",
    b"BZh91AY&SY": "packed by bzip2",
    b"PK\x03\x04": "a zip archive",
}
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}


class Line(NamedTuple):
    """One line without its end. number: from 1 on; offset: of its first byte in the (unpacked)
    file; ended: whether a line end follows."""

    number: int
    offset: int
    text: str
    ended: bool


class Entry(NamedTuple):
    """One object of a JSONL file. at: its file and line, for messages."""

    number: int
    at: str
    value: dict[str, Any]


def kind(value: object) -> str:
    """What a value of JSON or of a table is, in words."""
    if value is None:
        return "null"
    named = "a number" if isinstance(value, float) else f"a value of type {type(value).__name__}"
    return KINDS.get(type(value), named)


def blocks(path: str | Path, *, bom: bool = False) -> Iterator[bytes]:
    """The bytes of a file, unpacked, without the byte order mark of UTF-8 unless `bom` asks for it;
    ConfigError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
            file.seek(0)
            for mark, words in FOREIGN.items():
                if head.startswith(mark):
                    raise ConfigError(
                        f"{path}: {words}; expected UTF-8 text, plain or packed by gzip or zstd"
                    )
            packed = next((name for mark, name in PACKED.items() if head.startswith(mark)), None)
            with closing(_unpacked(file, packed)) as stream:
                block = stream.read(BLOCK)
                if not bom:
                    block = block.removeprefix(codecs.BOM_UTF8) or stream.read(BLOCK)
                while block:
                    yield block
                    block = stream.read(BLOCK)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, expected a file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path}: its gzip data are cut off or damaged ({error})") from None
    except OSError as error:  # pyarrow says damaged zstd data in the same family
        words = error.strerror or f"its zstd data are cut off or damaged ({error})"
        raise ConfigError(f"{path}: {words}") from None


def _unpacked(file: IO[bytes], packed: str | None) -> Any:
    """A stream with read(n) and close(). An empty read before the end never happens."""
    if packed == "gzip":
        return gzip.GzipFile(fileobj=file)
    if packed == "zstd":
        try:
            import pyarrow
        except ImportError:
            raise ConfigError(
                f"{file.name}: packed by zstd, which needs the package pyarrow; pip install pyarrow"
            ) from None
        return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
    return file


def lines(path: str | Path) -> Iterator[Line]:
    """The lines of a UTF-8 file, one by one; ConfigError with line and byte where it is not
    UTF-8."""
    number, offset, begun = 1, 0, []
    for block in blocks(path, bom=True):
        first, *others = block.split(b"\n")
        begun.append(first)
        for part in others:
            raw = b"".join(begun)
            yield _line(path, number, offset, raw, ended=True)
            number, offset, begun = number + 1, offset + len(raw) + 1, [part]
    if raw := b"".join(begun):
        yield _line(path, number, offset, raw, ended=False)


def _line(path: str | Path, number: int, offset: int, raw: bytes, *, ended: bool) -> Line:
    if number == 1 and raw.startswith(codecs.BOM_UTF8):
        raw, offset = raw[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
    if ended and raw.endswith(b"\r"):
        raw = raw[:-1]
    try:
        return Line(number, offset, raw.decode(), ended)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}:{number}: not UTF-8 text: 0x{raw[error.start]:02x} at byte "
            f"{offset + error.start} of the file; if it is Latin-1, iconv -f latin1 -t utf-8 "
            f"makes it UTF-8"
        ) from None


def objects(path: str | Path) -> Iterator[Entry]:
    """The objects of a JSONL file, one per line, empty lines left out; ConfigError with file, line
    and byte for anything else."""
    begun = False
    for line in lines(path):
        if not line.text.strip():
            continue
        if not begun and line.text.lstrip().startswith("["):
            raise ConfigError(
                f"{path}:{line.number}: a JSON array, expected one object per line; "
                f"jq -c '.[]' {path} writes it so"
            )
        begun = True
        at = f"{path}:{line.number}"
        value = parsed(line.text, at, line.offset)
        if not isinstance(value, dict):
            raise ConfigError(f"{at}: {kind(value)}, expected an object on every line")
        yield Entry(line.number, at, value)


def parsed(text: str, at: str, offset: int) -> Any:
    """The value of JSON text; control characters inside a text are content. ConfigError where it
    is not JSON, an object has a key twice, or half a surrogate pair stands alone.

    at: where it stands, for messages; offset: of its first byte in the file.
    """
    try:
        value = json.loads(text, strict=False, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        byte = offset + len(text[: error.pos].encode())
        raise ConfigError(
            f"{at}: not JSON: {error.msg.removesuffix(' at')} at byte {byte} of the file, "
            f"column {error.pos + 1}; expected one whole object per line"
        ) from None
    except RecursionError:
        raise ConfigError(f"{at}: not JSON that can be read: nested too deeply") from None
    except ValueError as error:  # a key twice; a number of thousands of digits
        raise ConfigError(f"{at}: {error}") from None
    if "\\u" in text:  # only an escape can bring half a pair
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"{at}: \\u{ord(error.object[error.start]):04x} is half of a surrogate pair, "
                f"which is no character"
            ) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return out
