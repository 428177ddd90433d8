"""The verb new: a commented study file of one's own, made from a study that there is."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from capacity.base.errors import ConfigError
from capacity.cli import arguments
from capacity.cli.help import NEW_HELP

# Of each entry, in the order of a file, what it is for.
WORDS = {
    "question": "one sentence that a reader can answer with the result",
    "scale": "what a verdict is about: pocket or published",
    "pins": "settings of every run, as on the command line; capacity list settings",
    "grids": "each grid is a product of its axes, every combination a run: key: [values], or a\n"
    "name of your own with mappings of settings that move together; seeds are replicates",
    "references": "runs that the others are compared with, each trained once",
    "best_over": "settings of which fit-laws keeps the best of otherwise equal runs",
    "starts": "runs with whose weights others begin, by name",
    "random_data": "the study that says what the same models hold of random data",
    "names": "what variants are called in legends and tables",
    "expects": "published values that are put beside what was measured",
}
EXAMPLES = {
    "best_over": "best_over: [train.lr]",
    "names": "names: {ours: {model.norm: rmsnorm}, theirs: {model.norm: layernorm}}",
}


def add_new(verb: arguments.Verb) -> None:
    """The arguments of `capacity new`."""
    new = verb("new", _new, "write a study of your own", NEW_HELP)
    new.add_argument("file", type=Path, metavar="FILE", help="a .yaml file that is not there yet")
    new.add_argument(
        "--like",
        default="pocket",
        metavar="STUDY",
        help="the study, or STUDY@PRESET, to begin with (default: pocket)",
    )


def _new(args: argparse.Namespace) -> int:
    from capacity.base.files import make_folder
    from capacity.study import load_study

    path = args.file
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{path}: a study is a .yaml file: {path}.yaml")
    study = load_study(args.like, [])
    text = _text(args.like, path)
    make_folder(path.parent)
    try:
        with open(path, "x", encoding="utf-8") as file:  # never over another one
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: is there already; name a new file") from None
    print(
        f"{path}: {len(study.runs)} runs, as {study.name}\n"
        f"  capacity sweep --show {path}       its runs\n"
        f"  capacity sweep {path} --dry-run    what they cost\n"
        f"  capacity sweep {path}              train them"
    )
    return 0


def _text(like: str, path: Path) -> str:
    """The file: every entry of the study with what it is for, others as comments."""
    from capacity.study import entries_of

    tree = entries_of(like)
    lines = [
        f"# As {like}; change what you like. All entries: docs/reference/study_grammar.md",
        f"# capacity sweep --show {path} lists the runs.",
    ]
    for entry, words in WORDS.items():
        comment = [f"# {line}" for line in words.split("\n")]
        if tree.get(entry):
            lines += ["", *comment, *_entry(entry, tree[entry])]
        elif entry in EXAMPLES:
            lines += ["", *comment, f"# {EXAMPLES[entry]}"]
    return "\n".join(lines) + "\n"


def _entry(name: str, value: Any) -> list[str]:
    """An entry in YAML: a mapping or a list one element per line, what is inside on one."""
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        lines = [f"{name}:"]
        for mapping in value:
            for i, (key, inner) in enumerate(mapping.items()):
                lines += _axis(key, inner, "  - " if i == 0 else "    ")
            if not mapping:
                lines.append("  - {}")
        return lines
    if isinstance(value, list):
        return [f"{name}:", *(f"  - {_flow(one)}" for one in value)]
    if isinstance(value, dict):
        return [f"{name}:", *(f"  {_flow(key)}: {_flow(one)}" for key, one in value.items())]
    return [f"{name}: {_flow(value)}"]


def _axis(key: str, value: Any, indent: str) -> list[str]:
    """key: value, a list of mappings one per line."""
    front = f"{indent}{_flow(key)}:"
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return [front, *(f"{' ' * len(indent)}  - {_flow(one)}" for one in value)]
    return [f"{front} {_flow(value)}"]


def _flow(value: Any) -> str:
    """A value on one line, as YAML reads it again."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(k)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    # what YAML could take for a number, a truth value or a mapping stands in quotes
    plain = re.fullmatch(r"[A-Za-z][\w./@+ ?=-]*", value) and not value.endswith(" ")
    word = value.lower() in (
        "null",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "inf",
        "nan",
    )
    return value if plain and not word else json.dumps(value, ensure_ascii=False)
