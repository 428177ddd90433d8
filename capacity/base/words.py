"""Numbers, counts and names as people read them: one rule for every message, table, figure and
page."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 80  # columns of a terminal


def digits(x: float | None, significant: int = 3) -> str:
    """A number with so many significant digits, thousands separated; a dash where there is none.

    Whole numbers are written out up to a billion, because a reader compares them by their length;
    the exact value stands in the file beside.
    """
    if x is None or (isinstance(x, float) and math.isnan(x)):
        return "–"
    if math.isinf(x):
        return "inf" if x > 0 else "-inf"
    size = abs(x)
    if size and (size >= 1e9 or size < 1e-4):
        return f"{x:.{significant}g}"
    if size >= 10 ** max(3, significant):
        return f"{x:,.0f}"
    if size >= 1000 or x == 0:
        return f"{x:,.0f}"
    return f"{x:#.{significant}g}".rstrip(".")


def ends(interval: Sequence[float] | None, significant: int = 3) -> str:
    """An interval in brackets; empty where there is none."""
    if interval is None:
        return ""
    low, high = interval
    return f"[{digits(low, significant)}, {digits(high, significant)}]"


def count(x: float) -> str:
    """A count or a size in a few characters: 800, 50K, 1.5M, 3.4G, 5.6T."""
    step = next((i for i in (12, 9, 6, 3) if abs(x) >= 0.9995 * 10**i), 0)
    suffix = {0: "", 3: "K", 6: "M", 9: "G", 12: "T"}[step]
    return f"{x / 10**step:.3g}{suffix}"


def file_size(size: int) -> str:
    """Bytes of files in decimal units, as disks are sold and `du --si` counts: 812 B, 18.6 kB, 1.2
    GB."""
    step = next((i for i in (12, 9, 6, 3) if size >= 0.9995 * 10**i), 0)
    unit = {0: "B", 3: "kB", 6: "MB", 9: "GB", 12: "TB"}[step]
    return f"{size} {unit}" if not step else f"{size / 10**step:.3g} {unit}"


def span(low: float, high: float) -> str:
    """From the smallest to the largest of some counts, or the one that all are."""
    return count(low) if count(low) == count(high) else f"{count(low)} to {count(high)}"


def plural(n: int, noun: str, nouns: str | None = None) -> str:
    """A number with its noun: 1 run, 3 runs; nouns: a plural that is not formed with an s."""
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def joined(names: Iterable[object], last: str = "and") -> str:
    """a, b and c."""
    known = [str(name) for name in names]
    if len(known) < 2:
        return "".join(known)
    return f"{', '.join(known[:-1])} {last} {known[-1]}"


def some(names: Sequence[str], most: int = 6, rest: str = "") -> str:
    """The first few of many names and how many more there are; rest: where those stand."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more{rest}"


def byte_size(n: float) -> str:
    """A size of memory or of a file, in powers of ten: 1 MB where it is less, 35 MB, 1.2 GB."""
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB" if n >= 1e6 else "1 MB"


def flop_count(n: float) -> str:
    """Floating-point operations: 16.6TFLOP, 2.0e+15 FLOP from a thousand of them on."""
    return f"{f'{n:.1e} ' if n >= 1e15 else count(n)}FLOP"


def hours(h: float) -> str:
    """A duration in hours with two significant digits: 0.0073, 0.25, 12, 1,400."""
    return f"{h:,.0f}" if h >= 10 else f"{h:.2g}"


def clock(seconds: float) -> str:
    """Seconds as m:ss, h:mm:ss or d days h:mm:ss."""
    whole = int(seconds + 0.5)
    days, left = divmod(whole, 86400)
    h, m, s = left // 3600, left // 60 % 60, left % 60
    text = f"{h}:{m:02}:{s:02}" if h or days else f"{m}:{s:02}"
    return f"{days} d {text}" if days else text


def percent(part: float | None, decimals: int = 1) -> str:
    """A part of one in percent; a dash where there is none."""
    return "–" if part is None or math.isnan(part) else f"{part:.{decimals}%}"


def p_value(p: float | None) -> str:
    """Three digits, and no more zeros than a reader needs."""
    return "–" if p is None else f"{p:.3g}" if p >= 0.001 else "<0.001"


def capitalized(text: str) -> str:
    """With a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def wrap(text: str, first: str = "", rest: str | None = None, width: int = WIDTH) -> list[str]:
    """Lines of at most `width` columns; first, rest: what the first and the other lines begin with.

    Words are not broken at hyphens, because names of settings and runs have them.
    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
    )


def command(
    words: Sequence[str], first: str = "", rest: str = "  ", width: int = WIDTH
) -> list[str]:
    """A command as a shell takes it, quoted where it must be, in lines of at most `width` columns
    that end with a backslash where it goes on; a word is never divided, so that one which is longer
    makes a longer line."""
    lines, line = [], first
    for i, word in enumerate(map(shlex.quote, words)):
        begun = line not in (first, rest)
        room = width - 2 * (i + 1 < len(words))
        if begun and len(line) + 1 + len(word) > room:
            lines.append(f"{line} \\")
            line, begun = rest, False
        line += " " * begun + word
    return [*lines, line]
