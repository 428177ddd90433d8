"""Where a setting comes from, so that an error blames the command line, the study file, the site's
file or the preset that said it (standard library only)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

from capacity.base.errors import ConfigError
from capacity.config import known_keys

COMMAND_LINE = "command line"
# an item of a list, in quotes or up to the next comma
ITEM = re.compile(r"""\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^,]*?)\s*,""")


class Given(str):
    """An override as a text that remembers where it was given, such as `s.yaml: pins: 2`."""

    __slots__ = ("origin",)
    origin: str

    def __new__(cls, text: str, origin: str) -> Given:
        made = super().__new__(cls, text)
        made.origin = origin
        return made


class PlacedError(ConfigError):
    """An error whose text says already where the blamed setting was given."""


def origin_of(text: str) -> str:
    """Where an override was given; empty for a plain text, which a person has just typed."""
    return text.origin if isinstance(text, Given) else ""


def placed(error: ConfigError, origin: str) -> ConfigError:
    """The error with its origin in front, unless it has one or needs none."""
    if not origin or isinstance(error, PlacedError):
        return error
    return PlacedError(f"{origin}: {error}")


def blame(error: ConfigError, given: Mapping[str, str], presets: Mapping[str, str]) -> ConfigError:
    """The error of a check of whole settings with the origins of the settings that it names.

    given: setting -> where it was given, empty for what a person has just typed; presets: setting
    -> the file of the default that holds otherwise. Where all named settings have one origin it
    stands in front, else each is listed behind. An error that names no given setting stays as it
    is.
    """
    if isinstance(error, PlacedError):
        return error
    named = _named(str(error))
    if not any(key in given for key in named):
        return error
    origins = {key: given.get(key, presets.get(key)) for key in named}
    known = {key: origin for key, origin in origins.items() if origin is not None}
    if len(set(known.values())) == 1:
        return placed(error, next(iter(known.values())))
    places: dict[str, list[str]] = {}
    for key, origin in known.items():
        places.setdefault(origin or COMMAND_LINE, []).append(key)
    each = "; ".join(f"{', '.join(keys)}: {origin}" for origin, keys in places.items())
    return PlacedError(f"{error} ({each})")


def _named(message: str) -> list[str]:
    """The settings that a message is about, in its order: those in front of its first colon, and
    those with a value, but not what its remedy, behind a semicolon, proposes."""
    matches = re.finditer(r"(?<![\w.~])(~?[a-z_]+(?:\.[a-z_0-9]+)?)(=)?", message)
    head = message.partition(": ")[0]
    statement = message.partition("; ")[0] if "; " in message else message
    known = set(known_keys())
    out: Iterable[str] = (
        match[1].removeprefix("~")
        for match in matches
        if match.end() <= len(head) or (match[2] and match.end() <= len(statement))
    )
    return [key for key in dict.fromkeys(out) if key in known]


def to_write(text: str, quoted: str) -> str:
    """What a person should put in the place of `text`: in a shell, or in a YAML file."""
    if not origin_of(text):
        return f"in a shell: {shlex.quote(quoted)}"
    as_yaml = "'" + quoted.replace("'", "''") + "'"
    return f"in the file: {as_yaml}"


def in_quotes(text: str) -> str:
    """A text in double quotes of Hydra's grammar, where a backslash counts in front of a quote
    only."""
    return '"' + re.sub(r'(\\*)("|$)', r"\1\1\2", text).replace('"', '\\"') + '"'


def list_items(text: str) -> list[str]:
    """The items of a list as Hydra's grammar has them: in quotes, or up to the next comma and put
    into quotes here."""
    items = [item.strip() for item in ITEM.findall(f"{text},")]
    return [item if item[:1] in ("'", '"') else in_quotes(item) for item in items]
