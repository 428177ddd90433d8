"""The page of settings: each with meaning, default and limits, and the presets of its group."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from capacity.config import SECTIONS, Config
from capacity.settings.data import KINDS
from capacity.settings.field import REQUIRED, Described, described
from doc_pages.studies import ROOT
from reference_pages import markdown

ABOUT = """\
Every setting: `capacity train model.d_model=32`, a pin or an axis of a study file, or an entry
of a preset. A choice of a group takes its preset (`model=llama`), single settings win over it.
*Default* is what a setting is where neither a preset nor a person says otherwise; empty: not
set. Settings of data depend on `data.kind`. *Added* settings joined after runs existed: at the
value shown a run keeps the id that it had without them. Settings of data, model and train and
the seed make a run's id, all others have no part in it."""
CONF = ROOT / "conf"


def page() -> str:
    """Groups in the order of `capacity train --print-config`."""
    parts = [_presets("data")]
    for kind, cls in KINDS.items():
        parts.append(f"### data.kind={kind}\n\n{_table('data', described(cls))}")
    for name, cls in SECTIONS.items():
        parts.append(f"{_presets(name)}\n\n{_table(name, described(cls))}")
    parts.append("## seed\n\n" + _table("", described(Config)))
    return markdown.page("Settings", ABOUT, *parts)


def _presets(group: str) -> str:
    """The heading of a group, and what its presets are for, by their first comment."""
    rows = []
    for path in sorted((CONF / group).glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        head = itertools.takewhile(lambda line: line.startswith("#"), lines)
        about = " ".join(line.lstrip("# ") for line in head)
        rows.append((markdown.code(f"{group}={path.stem}"), markdown.words(about)))
    title = f"## {group}"
    return f"{title}\n\n" + markdown.table(("preset", "what it is"), rows) if rows else title


def _table(group: str, settings: Iterable[Described]) -> str:
    rows = [
        (
            markdown.code(f"{group}.{one.name}" if group else one.name),
            markdown.code(written(one.default)),
            markdown.words(one.allowed + (" or null" if one.empty else "")),
            markdown.words(one.help) + _added(one),
        )
        for one in settings
    ]
    return markdown.table(("setting", "default", "allowed", "meaning"), rows)


def _added(one: Described) -> str:
    neutral, of = one.limits["neutral"], one.limits["of"]
    kinds = [markdown.code(f"model.{of[0]}={kind}") for kind in of[1]] if of else []
    only = f" (with {' or '.join(kinds)} only)" if kinds else ""
    if neutral is REQUIRED:
        return only
    shown = '""' if neutral == "" else written(neutral) or "null"
    return f"{only} (*added*: {markdown.code(shown)})"


def written(value: object) -> str:
    """As the command line takes it; empty for nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
