"""Settings of a run beside those that `capacity train` takes by itself, and as they are typed."""

from __future__ import annotations

import json
from typing import Any

from capacity import compose
from capacity.config import SECTIONS
from capacity.settings.data import KINDS

RUN = ("data", "model", "train", "measure", "extraction", "quantize")  # not where it executed
FILLED = ("data.kind", "data.lexicon", "data.pool")  # by the choice of data, and by the program


def changed(tree: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """(value, default) by dotted setting, where the two differ. tree: settings of a run; default:
    what `capacity train data=KIND` takes. A setting that the run does not know yet is left out: it
    did not exist, and its default trains what was trained before."""
    kind = tree["data"].get("kind", "uniform")
    preset = compose.defaults(kind)
    out: dict[str, tuple[Any, Any]] = {}
    for section in RUN:
        fields = (KINDS[kind] if section == "data" else SECTIONS[section]).__dataclass_fields__
        for name, value in tree.get(section, {}).items():
            key = f"{section}.{name}"
            if key in FILLED or name not in fields:
                continue
            default = preset.get(section, {}).get(name, fields[name].default)
            if _plain(value) != _plain(default):
                out[key] = value, default
    if tree["seed"] != preset.get("seed", 0):
        out["seed"] = tree["seed"], preset.get("seed", 0)
    return out


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def as_text(value: Any) -> str:
    """A value as the command line takes it behind `key=`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(as_text(one) for one in value)}]"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, str) and not _is_bare(value):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _is_bare(text: str) -> bool:
    """Whether a text needs no quotes in Hydra's grammar."""
    return bool(text) and all(c.isalnum() or c in "_-./@:+%?" for c in text)
