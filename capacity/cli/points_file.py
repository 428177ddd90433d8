"""A table of points from a file or from standard input: text with any separator, packed by gzip or
not, or Parquet. What had to be understood is told in notes, what cannot be is refused by line."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from capacity.base.errors import ConfigError
from capacity.base.words import plural, some
from capacity.cli import cell_numbers

if TYPE_CHECKING:
    import pandas

STDIN = "-"
SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "vertical bars"}
SPACES = " "
LOOKED_AT = 50  # records from which the separator is told
SAMPLE = 40  # characters of a line that a message quotes
OTHER_KINDS = (  # by how a file begins
    (b"PK\x03\x04", "a spreadsheet or a zip archive: save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet: save the sheet as CSV"),
    (b"SQLite format 3", "a database: export the table as CSV"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it, as by zstd -d"),
    (b"BZh", "packed by bzip2: unpack it"),
    (b"\xfd7zXZ", "packed by xz: unpack it"),
)
Record = tuple[int, list[str]]  # line on which it begins, cells


def read(path: Path, notes: list[str]) -> pandas.DataFrame:
    """A table, one row per record, its index the line (or, of Parquet, the row) in the file.

    Columns whose cells are all plain numbers are numbers, others text, which `cell_numbers.parse`
    reads where a fit needs it. path: `-` for standard input. notes gains what had to be understood.
    ConfigError, in one line, names the file, the line and what to change."""
    name = label(path)
    content = _content(path, name)
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError(f"{name}: gzip cannot be unpacked: {error}") from None
    if content[:4] == b"PAR1":
        return _parquet(content, name)
    for head, what in OTHER_KINDS:
        if content.startswith(head):
            raise ConfigError(f"{name}: {what}")
    text = _text(content, name, notes)
    if text.lstrip()[:1] in ("{", "["):
        raise ConfigError(f"{name}: JSON, expected a table: write it as CSV, one row per point")
    return _table(text, name, notes)


def label(path: Path) -> str:
    """How messages name a file."""
    return "standard input" if str(path) == STDIN else str(path)


def _content(path: Path, name: str) -> bytes:
    try:
        content = sys.stdin.buffer.read() if str(path) == STDIN else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror or error}") from None
    if not content.strip():
        raise ConfigError(f"{name}: empty, expected a line of column names and rows of points")
    return content


def _parquet(content: bytes, name: str) -> pandas.DataFrame:
    import pandas as pd

    try:
        table = pd.read_parquet(io.BytesIO(content))
    except ImportError:
        raise ConfigError(f"{name}: Parquet needs pyarrow: pip install pyarrow") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: not a table: {str(error).splitlines()[0]}") from None
    if table.empty:
        raise ConfigError(f"{name}: no rows")
    if names := [level for level in table.index.names if level is not None]:
        table = table.reset_index(names)  # pandas writes what a person made the index apart
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return table


def _text(content: bytes, name: str, notes: list[str]) -> str:
    """Content as text: UTF-8, UTF-16 where its mark says so, else Windows-1252 (what Latin-1 is in
    practice)."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            text = content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name}: UTF-16 that ends early or is damaged: {error}") from None
        notes.append("read as UTF-16, which its first two bytes announce")
        return text
    if (zero := content.find(b"\0")) >= 0:
        raise ConfigError(f"{name}: byte {zero + 1} is 0: not a text file; save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{content[error.start]:02x} in line {line} is not UTF-8"
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    notes.append(f"{byte}: read as Latin-1")
    return text


def _table(text: str, name: str, notes: list[str]) -> pandas.DataFrame:
    import pandas as pd

    lines = list(io.StringIO(text, newline=None))
    separator, records, comments = _separated(lines, name)
    header, rows = _header(records, comments, separator, name)
    if separator != ",":
        notes.append(f"columns separated by {SEPARATORS.get(separator, 'spaces')}")
    hidden = [line for line, _ in comments if line != header[0]]
    if hidden:
        notes.append(f"{plural(len(hidden), 'comment line')} left out (line {_lines(hidden)})")
    blank = [line for line, cells in rows if not any(cells)]
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if blank:
        notes.append(f"{plural(len(blank), 'row')} of empty cells left out (line {_lines(blank)})")
    if not rows:
        raise ConfigError(f"{name}: no rows below the column names {', '.join(header[1])}")
    _check_shape(header, rows, separator, name)
    index = pd.Index([line for line, _ in rows], name="line")
    columns = [list(cells) for cells in zip(*(cells for _, cells in rows), strict=True)]
    decimal = cell_numbers.has_decimal_commas(itertools.chain.from_iterable(columns))
    kept = [(n, c) for n, c in zip(header[1], columns, strict=True) if n or any(c)]
    series = [pd.Series(_typed(cells, decimal), index=index) for _, cells in kept]
    table = pd.concat(series, axis=1)
    table.columns = [column for column, _ in kept]
    table.attrs["commas"] = "decimal" if decimal and separator != "," else separator
    return table


def _typed(cells: list[str], decimal: bool) -> np.ndarray:
    """A column as numbers where every cell is a plain number or missing; else as text, in which NA
    or None may be a name. decimal: the table has decimal commas, so that 4.072 may be 4072."""
    missing = [cell_numbers.is_missing(cell) for cell in cells]
    known = [cell for cell, none in zip(cells, missing, strict=True) if not none]
    if all(cell_numbers.is_plain(c) for c in known) and not (
        decimal and any(cell_numbers.is_dotted(c) for c in known)
    ):
        if known and not any(missing) and all(re.fullmatch(r"[+-]?\d{1,15}", c) for c in known):
            return np.array([int(c) for c in known])
        pairs = zip(cells, missing, strict=True)
        return np.array([np.nan if none else float(cell) for cell, none in pairs])
    return np.array([cell.strip() for cell in cells], object)


# --- lines to records
# --------------------------------------------------------------------------------------------------


def _separated(lines: list[str], name: str) -> tuple[str, list[Record], list[Record]]:
    """The separator, under which most of the first records have as many cells as the first of them;
    of several the one with most cells. And all records and comments by it."""
    best, chosen = (0.0, 0), None
    for separator in (*SEPARATORS, SPACES):
        if separator == SPACES and chosen:
            break  # names of columns hold spaces, so it takes more to believe in them
        try:
            first = list(itertools.islice(_records(lines, separator, name, []), LOOKED_AT))
        except ConfigError:
            continue  # a quote that only this separator leaves open
        widths = [len(cells) for _, cells in first]
        if not widths or widths[0] < 2:
            continue
        alike = sum(width == widths[0] for width in widths) / len(widths)
        if (alike, widths[0]) > best and (separator != SPACES or alike == 1):
            best, chosen = (alike, widths[0]), separator
    comments: list[Record] = []
    separator = chosen or ","
    return separator, list(_records(lines, separator, name, comments)), comments


def _records(
    lines: Sequence[str], separator: str, name: str, comments: list[Record]
) -> Iterator[Record]:
    """Records that are neither blank nor comments. A line that begins with # is a comment, kept
    with its cells in `comments`, but in a quoted cell."""
    place = 0
    while place < len(lines):
        line, start = lines[place], place + 1
        if not line.strip():
            place += 1
        elif line.lstrip().startswith("#"):
            comments.append((start, _cells(line.lstrip().lstrip("#"), separator)))
            place += 1
        elif separator == SPACES:
            yield start, line.split()
            place += 1
        else:
            cells, taken = _quoted(lines, place, separator, name)
            place += taken
            yield start, [cell.strip() for cell in cells]


def _quoted(lines: Sequence[str], place: int, separator: str, name: str) -> tuple[list[str], int]:
    """Cells of the record that begins there, and how many lines it takes."""
    blanks = re.compile(rf'" +(?={re.escape(separator)}|$)')  # between a quote and the separator
    for clean in (False, True):
        reader = csv.reader(
            (
                blanks.sub('"', line) if clean else line
                for line in (lines[i] for i in range(place, len(lines)))
            ),
            delimiter=separator,
            strict=True,
            skipinitialspace=separator != "\t",
        )
        try:
            return next(reader), reader.line_num
        except csv.Error as error:
            problem = error
    raise ConfigError(
        f"{name}: line {place + 1}: {problem} ({_sample(lines[place])}); a quote inside of a "
        f"quoted cell is written twice"
    )


def _cells(line: str, separator: str) -> list[str]:
    return line.split() if separator == SPACES else [c.strip() for c in line.split(separator)]


def _header(
    records: list[Record], comments: list[Record], separator: str, name: str
) -> tuple[Record, list[Record]]:
    """Names of columns and the rows below them. Names behind a #, as numpy writes them, are names
    where the first record is numbers and the last line above it has as many cells."""
    if not records:
        raise ConfigError(f"{name}: comments only, expected column names and rows of points")
    first, cells = records[0]
    above = [comment for comment in comments if comment[0] < first]
    numbers = [c for c in cells if cell_numbers.is_plain(c)]
    if len(numbers) == len(cells):
        if above and len(above[-1][1]) == len(cells):
            return above[-1], records
        raise ConfigError(
            f"{name}: line {first} holds numbers only ({_sample(', '.join(cells))}), expected "
            f"column names: add a line such as parameters,tokens,loss above it"
        )
    for line, hidden in comments:  # a row that someone switched off, or a cell such as #ff0000?
        if line > first and len(hidden) == len(cells) > 1:
            raise ConfigError(
                f"{name}: line {line} begins with # and has as many cells as the header "
                f"({_sample(separator.join(hidden))}): delete it if it is no row, quote its first "
                f"cell if it is one"
            )
    return records[0], records[1:]


def _check_shape(header: Record, rows: list[Record], separator: str, name: str) -> None:
    """ConfigError for the first row with more or fewer cells than there are columns."""
    width = len(header[1])
    for line, cells in rows:
        if len(cells) == width:
            continue
        remedy = "fill or delete cells"
        if len(cells) > width and separator == ",":
            remedy = "put a cell that holds a comma in double quotes"
        if len(cells) > width == 1:
            remedy = "put # before a line that is a title"
        raise ConfigError(
            f"{name}: line {line} has {plural(len(cells), 'cell')}, the header in line {header[0]} "
            f"has {width} ({_sample(separator.join(cells))}): {remedy}"
        )


def _lines(numbers: Sequence[int]) -> str:
    return some([str(n) for n in numbers], 5)


def _sample(text: str) -> str:
    text = text.strip()
    return text if len(text) <= SAMPLE else f"{text[:SAMPLE]}..."
