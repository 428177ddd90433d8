"""One setting of a run: its default, its help text, its allowed values, and the check of a value
that a person gave.

Standard library only; every section of a configuration is a frozen dataclass of such settings.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeGuard, get_type_hints

from capacity.base.errors import ConfigError, nearest

REQUIRED = object()  # a setting that is always part of the identity


def setting(  # noqa: PLR0913  each keyword is one limit of a setting
    default: Any,
    help: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    form: tuple[str, str] | None = None,
    neutral: Any = REQUIRED,
    of: tuple[str, tuple[str, ...]] | None = None,
) -> Any:
    """A dataclass field with its help text and its allowed values: low <= value <= high, value >
    above, choices, or for texts (and each text of a list) `form`, a regular expression and the
    words that say what it allows.

    A setting that joined after runs existed names the `neutral` value that trains what was trained
    before: `identity` leaves it out at that value, so that those runs keep their ids.

    of: the setting of the section that chooses a kind, and the kinds of which this is a setting;
    with another kind it may only have its default.
    """
    limits = {
        "help": help,
        "low": low,
        "above": above,
        "high": high,
        "choices": choices,
        "form": form,
        "neutral": neutral,
        "of": of,
    }
    return dataclasses.field(default=default, metadata=limits)


def checked(key: str, value: Any, field: dataclasses.Field, kind: Any) -> Any:
    """The value in the field's type, or a ConfigError that says what is allowed."""
    optional = type(None) in getattr(kind, "__args__", ())
    base = kind.__args__[0] if optional else kind
    if value is None and optional:
        return None
    limits = field.metadata
    if getattr(base, "__origin__", None) is tuple:
        return _checked_list(key, value, limits, base.__args__[0])
    if base is int and _is_whole(value):
        value = int(value)
    elif base is float and _is_finite(value):
        value = float(value)
    elif not (base in (bool, str) and type(value) is base):
        quotes = "; in quotes it is a text" if base is str and value is not None else ""
        raise ConfigError(f"{key}={_text(value)}: expected {_allowed(base, limits)}{quotes}")
    wrong = (
        (limits["choices"] is not None and value not in limits["choices"])
        or (limits["low"] is not None and value < limits["low"])
        or (limits["above"] is not None and value <= limits["above"])
        or (limits["high"] is not None and value > limits["high"])
    )
    if wrong:
        near = nearest(str(value), list(limits["choices"])) if limits["choices"] else ""
        raise ConfigError(f"{key}={_text(value)}: expected {_allowed(base, limits)}{near}")
    if isinstance(value, str):
        _check_form(key, value, limits)
    return value


@dataclasses.dataclass(frozen=True)
class Described:
    """What a person may know of a setting: its name in its section, its type (bool, int, float, str
    or tuple), the type of the elements of a list, whether it may be empty, its default, its limits
    (`setting`) and what they allow in words."""

    name: str
    type: type
    element: type | None
    empty: bool
    default: Any
    limits: Any
    allowed: str

    @property
    def help(self) -> str:
        return self.limits["help"]

    @property
    def choices(self) -> tuple[str, ...]:
        """All values that a text may have, or an element of a list; empty where that is open."""
        if bool in (self.type, self.element):
            return ("true", "false")
        return self.limits["choices"] or ()


def described(cls: type) -> list[Described]:
    """The settings of a section, in its order."""
    out = []
    for f in dataclasses.fields(cls):
        if not f.metadata:
            continue  # a section
        kind = _types(cls)[f.name]
        parts: tuple[Any, ...] = getattr(kind, "__args__", ())
        empty = type(None) in parts
        base = parts[0] if empty else kind
        element = base.__args__[0] if getattr(base, "__origin__", None) is tuple else None
        allowed = _allowed(element or base, f.metadata)
        if element:
            allowed = f"a list, each {allowed}"
        default = f.default_factory() if callable(f.default_factory) else f.default
        out.append(
            Described(
                f.name, tuple if element else base, element, empty, default, f.metadata, allowed
            )
        )
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: Any) -> TypeGuard[float]:
    """Whether a value is a number that a double can hold."""
    try:
        return _is_number(value) and math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        return False


def _is_whole(value: Any) -> TypeGuard[float]:
    return isinstance(value, int) and _is_number(value) or _is_finite(value) and value == int(value)


def _checked_list(key: str, value: Any, limits: Any, kind: type) -> tuple:
    """A list of texts, of different whole numbers, or of different truth values."""
    choices, low, high = limits["choices"], limits["low"] or 0, limits["high"]
    if kind is str and limits["form"] and isinstance(value, (list, tuple)):
        value = [f"{one:g}" if _is_finite(one) else one for one in value]  # shares read as numbers
    sound = isinstance(value, (list, tuple)) and all(type(one) is kind for one in value)
    if kind is str and not choices:
        if not sound:
            raise ConfigError(f"{key}={_text(value)}: expected a list of texts, such as [one,two]")
        for text in value:
            _check_form(key, text, limits)
        return tuple(value)
    sound = sound and len(set(value)) == len(value)
    if kind is int and not (
        sound and all(low <= n <= (n if high is None else high) for n in value)
    ):
        reach, example = (
            (f"from {low} on", "[0,1,4]")
            if high is None
            else (f"from {low} to {high}", f"[{low},{high}]")
        )
        raise ConfigError(
            f"{key}={_text(value)}: expected a list of different whole numbers {reach}, such as "
            f"{example}"
        )
    if kind is bool and not sound:
        raise ConfigError(
            f"{key}={_text(value)}: expected a list of truth values: [false], [true] or "
            f"[false,true]"
        )
    if kind is str and not (sound and set(value) <= set(choices)):
        wrong = (
            next((one for one in value if one not in choices), "")
            if isinstance(value, (list, tuple))
            else ""
        )
        near = nearest(wrong, list(choices)) if isinstance(wrong, str) and wrong else ""
        raise ConfigError(
            f"{key}={_text(value)}: expected a list of different ones of {', '.join(choices)}{near}"
        )
    return tuple(value)


def _check_form(key: str, text: str, limits: Any) -> None:
    if limits["form"] is not None and not re.fullmatch(limits["form"][0], text):
        raise ConfigError(f"{key}={_text(text)}: expected {limits['form'][1]}")


def _text(value: Any) -> str:
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
    if isinstance(value, str) and re.fullmatch(r"[-+]?[\d._]+(?:[eE][-+]?\d+)?", text):
        text = f'"{text}"'  # a text, or it would have been a number
    return text if len(text) <= 60 else text[:57] + "..."


def _allowed(base: type, limits: Any) -> str:
    if limits["choices"] is not None:
        return "one of " + ", ".join(limits["choices"])
    if base is bool:
        return "true or false"
    if limits["form"] is not None:
        return limits["form"][1]
    words = {int: "a whole number", float: "a number", str: "a text"}[base]
    low, above, high = limits["low"], limits["above"], limits["high"]
    if low is not None and high is not None:
        return f"{words} from {low} to {high}"
    bounds = (
        [f">= {low}"] * (low is not None)
        + [f"> {above}"] * (above is not None)
        + [f"<= {high}"] * (high is not None)
    )
    return " ".join([words, " and ".join(bounds)]).strip()


@cache
def _types(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def section(
    cls: type, name: str, tree: dict[str, Any], unknown: Callable[[str], ConfigError]
) -> Any:
    """A dataclass of settings from a dictionary; `unknown(key)` makes the error for a key that it
    does not have."""
    fields = {f.name: f for f in dataclasses.fields(cls)}
    types = _types(cls)
    for key in tree:
        if key not in fields:
            raise unknown(f"{name}.{key}")
    return cls(
        **{
            key: checked(f"{name}.{key}", value, fields[key], types[key])
            for key, value in tree.items()
        }
    )


def identity(part: Any) -> dict:
    """The settings of a section that its result depends on: all but those at their neutral
    value."""
    return {
        f.name: getattr(part, f.name)
        for f in dataclasses.fields(part)
        if f.metadata["neutral"] is REQUIRED or getattr(part, f.name) != f.metadata["neutral"]
    }


def applies(part: Any, field: dataclasses.Field) -> bool:
    """Whether a setting of a section is one of the kind that the section has chosen."""
    owner = field.metadata["of"]
    return owner is None or getattr(part, owner[0]) in owner[1]
