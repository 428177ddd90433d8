"""What a person asks of figures: their width, a style of matplotlib over the built-in one, and the
files to write. Nothing here imports matplotlib before a style file is read.

with using(Look(width=inches("89mm"))):
    figure = ...                     # every function that draws asks `current()` for it
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capacity.base.errors import ConfigError, nearest

FORMATS = ("png", "pdf", "svg")
# inches. A column of two-column papers is 3.25 (ICML) to 3.5 (IEEE, Nature), both together 6.75 to
# 7.2, the text of one-column papers 5.5 (NeurIPS).
WIDTHS = {"single": 3.4, "text": 5.5, "double": 7.0}
LEAST, MOST = 2.5, 12.0  # inches; below, no legend and no label fits
UNITS = {"mm": 25.4, "cm": 2.54, "in": 1.0, "pt": 72.27}  # of an inch; points as TeX counts them
LENGTH = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(mm|cm|in|pt)\s*")
# settings of matplotlib, by their beginnings, that are about windows and programs, not about looks
BESIDES = (
    "backend",
    "interactive",
    "toolbar",
    "timezone",
    "webagg.",
    "tk.",
    "docstring.",
    "keymap.",
)
BESIDES = (*BESIDES, "date.epoch", "figure.max_open", "figure.raise_window", "savefig.directory")
SETTING = re.compile(r"\s*([^:\s]+)\s*:(.*)")
COMMENT = re.compile(r'^((?:[^#"]|"[^"]*")*)#.*')  # what stands before a comment


@dataclass(frozen=True)
class Look:
    """width: of a figure, inches; None for that of the style, else one column. rc: settings of
    matplotlib that replace the built-in ones. formats: of the files, in the order in which a page
    prefers them."""

    width: float | None = None
    rc: Mapping[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ("png", "pdf")

    @property
    def inches(self) -> float:
        """The width in inches."""
        if self.width is not None:
            return self.width
        own = self.rc.get("figure.figsize")
        return min(max(float(own[0]), LEAST), MOST) if own else WIDTHS["single"]

    @property
    def shown(self) -> str:
        """The format that a page of Markdown shows, or else links."""
        return next((kind for kind in self.formats if kind != "pdf"), "pdf")


BUILT_IN = Look()
_CURRENT: ContextVar[Look | None] = ContextVar("look", default=None)


def current() -> Look:
    """The look that figures are drawn in now."""
    return _CURRENT.get() or BUILT_IN


@contextmanager
def using(look: Look | None) -> Iterator[None]:
    """Figures that are drawn within have this look; None: the one that they have anyway."""
    token = _CURRENT.set(look or current())
    try:
        yield
    finally:
        _CURRENT.reset(token)


def read(width: str | None, style: str | None, formats: str | None) -> Look:
    """A look from what a command line says; ConfigError, in one line, for what is none."""
    return Look(
        width=inches(width) if width else None,
        rc=style_of(style) if style else {},
        formats=formats_of(formats) if formats else Look.formats,
    )


def inches(text: str) -> float:
    """A width such as single, double, 89mm or 3.25in, in inches."""
    if text in WIDTHS:
        return WIDTHS[text]
    match = LENGTH.fullmatch(text)
    value = float(match[1]) / UNITS[match[2]] if match else math.nan
    if not LEAST <= value <= MOST:
        raise ConfigError(
            f"--width {text}: expected {', '.join(WIDTHS)}, or a length of {LEAST:g}in to "
            f"{MOST:g}in such as 89mm, 8.5cm, 3.25in or 240pt"
        )
    return value


def formats_of(text: str) -> tuple[str, ...]:
    """Formats such as "pdf,svg", each once."""
    asked = [part.strip().lower() for part in text.split(",")]
    for one in asked:
        if one not in FORMATS:
            raise ConfigError(
                f"--format {text}: {one or 'nothing'!r} is no format; allowed: "
                f"{', '.join(FORMATS)}, several with commas"
            )
    return tuple(name for name in FORMATS if name in asked)


def style_of(text: str) -> dict[str, Any]:
    """The settings of a style file of matplotlib, or of one of its own styles by name."""
    path = Path(text)
    if not path.exists() and path.suffix != ".mplstyle" and path.name == text:
        return _named(text)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"--style {text}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"--style {text}: a folder; name a file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--style {text}: not text in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"--style {text}: {error.strerror}") from None
    return _usable(f"--style {text}", _settings(text, lines))


def _named(name: str) -> dict[str, Any]:
    from matplotlib import style

    if name not in style.library:
        raise ConfigError(
            f"--style {name}: no such file, and no style of matplotlib"
            f"{nearest(name, [*style.library])}"
        )
    own: Any = style.library[name]
    return _usable(f"--style {name}", dict(own))


def _settings(name: str, lines: list[str]) -> dict[str, Any]:
    """Settings by key, checked by matplotlib one by one, so that a fault has its line."""
    import warnings

    from matplotlib import RcParams, rcParamsDefault

    out: dict[str, Any] = {}
    for number, line in enumerate(lines, 1):
        text = COMMENT.sub(r"\1", line).strip()
        if not text:
            continue
        where, match = f"--style {name}:{number}", SETTING.fullmatch(text)
        if match is None:
            raise ConfigError(f"{where}: {text!r}: expected KEY: VALUE")
        key, value = match[1], match[2].strip()
        if key.startswith(BESIDES):
            raise ConfigError(f"{where}: {key}: no setting of how a figure looks; leave it out")
        if key not in rcParamsDefault:
            raise ConfigError(
                f"{where}: {key}: no setting of matplotlib{nearest(key, [*rcParamsDefault])}"
            )
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        one: Any = RcParams()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one[key] = value
        except ValueError as error:
            why = " ".join(str(error).split())
            raise ConfigError(f"{where}: {key}: {why}") from None
        out[key] = one[key]
    return out


def _usable(where: str, rc: dict[str, Any]) -> dict[str, Any]:
    if rc.get("text.usetex") and not shutil.which("latex"):
        raise ConfigError(
            f"{where}: text.usetex: True needs the program latex, which is not here; "
            f"set it to False"
        )
    return rc
