"""All settings and presets of settings, as lists, completion and the schema of study files show
them (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from capacity.base.files import shared_dir
from capacity.config import SECTIONS, Config
from capacity.settings.data import KINDS
from capacity.settings.field import Described, described


@dataclass(frozen=True)
class Setting:
    """A setting by its dotted key. kind: of data, empty for other settings; default: as it would be
    written on the command line, null where it is empty."""

    key: str
    group: str
    kind: str
    default: str
    allowed: str
    choices: tuple[str, ...]
    is_list: bool
    help: str


@cache
def settings() -> tuple[Setting, ...]:
    """Every setting, in the order of `capacity train --print-config`; those of data once for each
    kind that has them."""
    out = [_setting(one, "data", kind) for kind, cls in KINDS.items() for one in described(cls)]
    out += [_setting(one, name) for name, cls in SECTIONS.items() for one in described(cls)]
    return (*out, *(_setting(one, "") for one in described(Config)))


def sections() -> tuple[str, ...]:
    """What `list settings` takes as a group."""
    return tuple(dict.fromkeys(one.group or "seed" for one in settings()))


def _setting(one: Described, group: str, kind: str = "") -> Setting:
    return Setting(
        f"{group}.{one.name}" if group else one.name,
        group,
        kind,
        written(one.default),
        one.allowed + (" or null" if one.empty else ""),
        one.choices,
        one.element is not None,
        one.help,
    )


def written(value: object) -> str:
    """A value as the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def presets(group: str) -> list[str]:
    """The choices of a group of settings, such as gpt and llama of model."""
    return sorted(path.stem for path in (shared_dir("conf") / group).glob("*.yaml"))


def studies() -> list[str]:
    """The names of all studies, without their presets."""
    names = set[str]()
    for folder in (Path("sweeps").resolve(), shared_dir("sweeps")):
        names |= {
            path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
        }
    return sorted(names)
