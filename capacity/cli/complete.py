"""What may stand at the end of a command line: verbs, options, studies, settings, their choices,
runs. A shell asks at every tab, so only the standard library is imported, and no study is planned.

    capacity complete bash LINE WORDBREAKS NAME    the scripts of `completion` call these
    capacity complete zsh|fish WORD...             the words behind the command, the last unfinished
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from capacity.base.files import shared_dir

OPEN = ("=", "/", ".", "@", ",")  # a word that ends so goes on
FORM = re.compile(r'Form\(\s*name="(\w+)"')


def run(argv: list[str], parser: argparse.ArgumentParser) -> int:
    """Print one candidate per line for the shell `argv[0]`. Returns 0, also where nothing fits: an
    error message would stand in the middle of what a person types."""
    shell, rest = (argv[0], argv[1:]) if argv else ("", [])
    if shell == "bash":
        line, breaks, name = (*rest, "", "", "capacity")[:3]
        words = _words(line)
        at = next((i for i, word in enumerate(words) if Path(word).name == Path(name).name), 0)
        words = words[at + 1 :]
    else:
        words, breaks = rest, ""
    words = words or [""]
    matches = candidates(words[:-1], words[-1], parser)
    # bash replaces what stands behind the last of its word breaks only
    kept = max((words[-1].rfind(c) + 1 for c in breaks if c in "=:@,"), default=0)
    for word in matches:
        print(word[kept:])
    return 0


def _words(line: str) -> list[str]:
    """A line as words, the last one as far as it is typed, also within quotes."""
    for close in ("", "'", '"'):
        try:
            words = shlex.split(line + close)
            break
        except ValueError:
            continue
    else:
        words = line.split()
    return words + [""] * (not line or (line[-1].isspace() and not close))


def candidates(before: list[str], current: str, parser: argparse.ArgumentParser) -> list[str]:
    """The words that begin with `current` and may stand behind `before`, in an order for people."""
    verbs = _verbs(parser)
    verb = next((word for word in before if word in verbs), None)
    if verb is None:
        return _begin([*verbs, *_options(parser)] if current[:1] == "-" else [*verbs], current)
    sub = verbs[verb]
    actions = sub._actions  # noqa: SLF001
    flags = {flag: action for action in actions for flag in action.option_strings}
    wanted = flags.get(before[-1])
    if wanted is not None and wanted.nargs != 0:
        return _of_option(wanted, current)
    if current.startswith("-"):
        option, equals, value = current.partition("=")
        if equals and option in flags:
            return [f"{option}={word}" for word in _of_option(flags[option], value)]
        return _begin(_options(sub), current)
    return _positionals(sub, verb, _given(before, verb, flags), current, _results(before))


def _verbs(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001  argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return action.choices
    return {}


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings]  # noqa: SLF001


def _given(before: list[str], verb: str, flags: Mapping[str, argparse.Action]) -> list[str]:
    """The positional words behind the verb, without options and what these take."""
    out, skip = [], False
    for word in before[before.index(verb) + 1 :]:
        if skip:
            skip = False
        elif word.startswith("-"):
            action = flags.get(word)
            skip = action is not None and action.nargs != 0
        else:
            out.append(word)
    return out


def _results(before: list[str]) -> Path:
    for option, value in zip(before, before[1:], strict=False):
        if option == "--results":
            return Path(value)
    return Path(os.environ.get("CAPACITY_RESULTS", "results"))


def _of_option(action: argparse.Action, current: str) -> list[str]:
    if action.choices:
        return _begin(map(str, action.choices), current)
    if action.metavar == "STUDY":
        return studies(current)
    if action.dest in ("a", "b"):
        return settings(current, with_groups=False)
    if action.dest == "form":
        return _begin(forms(), current)
    return files(current) if action.type is Path else []


def _positionals(
    sub: argparse.ArgumentParser, verb: str, given: list[str], current: str, results: Path
) -> list[str]:
    """Candidates for the next positional word of a verb."""
    actions = [a for a in sub._actions if not a.option_strings]  # noqa: SLF001
    place = min(len(given), len(actions) - 1)
    if place < 0:
        return []
    action = actions[place]
    if action.dest == "group":
        return _group(given[0], current, results)
    known: dict[str, Callable[[], list[str]]] = {
        "study": lambda: studies(current),
        "run_id": lambda: runs(results, current),
        "model": lambda: [*runs(results, current), *files(current)],
        "forms": lambda: _begin(forms(), current),
        "what": lambda: _begin(WHAT, current),
    }
    if action.dest in known:
        return known[action.dest]()
    if action.choices:
        return _begin(map(str, action.choices), current)
    if action.dest != "overrides":
        return files(current)
    named = str(action.metavar)
    matches = settings(current)
    if "=" not in current and "." not in current:
        matches += studies(current) if named.startswith("STUDY") else []
        matches += runs(results, current) if named.startswith("RUN") else []
    return matches


WHAT = ("studies", "runs", "settings", "forms", "measures")


def _group(what: str, current: str, results: Path) -> list[str]:
    from capacity.cli import catalogue  # reads all settings, which most tabs do not need

    if what in ("studies", "runs"):
        return studies(current)
    if what == "forms":
        return _begin(forms(), current)
    if what == "measures":
        from capacity.declare.registry import MEASURES

        return _begin(MEASURES, current)
    keys = dict.fromkeys(one.key for one in catalogue.settings())
    return _stepwise([*catalogue.sections(), *keys], current, ".")


def settings(current: str, with_groups: bool = True) -> list[str]:
    """Settings as key=, a section at a time, and behind = the values that one may have; behind a
    comma another value of an axis."""
    from capacity.cli import catalogue  # reads all settings, which most tabs do not need

    key, equals, value = current.partition("=")
    if equals:
        front, comma, last = value.rpartition(",")
        return [f"{key}={front}{comma}{word}" for word in _begin(_values(key), last)]
    keys = dict.fromkeys(f"{one.key}=" for one in catalogue.settings())
    groups = [f"{name}=" for name in catalogue.sections() if catalogue.presets(name)]
    return _stepwise([*keys, *(groups if with_groups else [])], current, ".")


def _values(key: str) -> list[str]:
    from capacity.cli import catalogue  # reads all settings, which most tabs do not need

    if "." not in key:
        return catalogue.presets(key) if key in catalogue.sections() else []
    values: dict[str, None] = {}
    for one in catalogue.settings():
        if one.key == key:
            words = [f"[{c}]" if one.is_list else c for c in one.choices]
            values |= dict.fromkeys([*words, *["null"] * one.allowed.endswith(" or null")])
    return [*values]


def studies(current: str) -> list[str]:
    """Studies with their presets, a folder at a time, and study files of the current folder."""
    names = []
    for folder in (Path("sweeps").resolve(), shared_dir("sweeps")):
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if not name.startswith(current.partition("@")[0]):
                continue
            names += [name, *(f"{name}@{preset}" for preset in presets_of(path))]
    own = [name for name in files(current) if name.endswith((".yaml", ".yml"))]
    return [*_stepwise(names, current, "/"), *own]


def presets_of(path: Path) -> list[str]:
    """The names below `presets:` of a study file, read by their indentation: a YAML reader takes
    longer than a person waits for a tab."""
    try:
        _, heading, block = path.read_text(encoding="utf-8").partition("\npresets:")
    except (OSError, ValueError):
        return []
    if not heading:
        return []
    names, depth = [], None
    for line in block.splitlines()[1:]:
        match = re.match(r"( *)([\w.-]+):", line)
        if line[:1] not in ("", " ", "#"):
            break  # the next entry
        if match and match[1]:
            depth = len(match[1]) if depth is None else depth
            names += [match[2]] * (len(match[1]) == depth)
    return names


def runs(results: Path, current: str) -> list[str]:
    """Ids of the runs that have a folder."""
    if not re.fullmatch(r"[0-9a-f]{0,12}", current):
        return []
    return sorted(path.name for path in (results / "runs").glob(f"{current}*"))


def forms() -> list[str]:
    """Names of forms, as their files spell them; importing them would import numpy."""
    folder = Path(__file__).resolve().parents[1] / "fitting"
    return [
        name
        for path in sorted(folder.glob("*_forms.py"))
        for name in FORM.findall(path.read_text(encoding="utf-8"))
    ]


def files(current: str) -> list[str]:
    """Files and folders that begin so."""
    folder, slash, name = current.rpartition("/")
    try:
        paths = sorted(Path(folder + slash or ".").iterdir())
    except OSError:
        return []
    return [
        f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"
        for path in paths
        if path.name.startswith(name) and (name or not path.name.startswith("."))
    ]


def _begin(words: Iterable[str], current: str) -> list[str]:
    return [word for word in words if word.startswith(current)]


def _stepwise(words: Iterable[str], current: str, step: str) -> list[str]:
    """Words that begin so, each up to the next `step`, so that a long list opens by its parts."""
    parts: dict[str, None] = {}
    for word in _begin(words, current):
        end = word.find(step, len(current))
        parts[word if end < 0 else word[: end + 1]] = None
    if len(parts) == 1 and (only := next(iter(parts))).endswith(step) and only != current:
        return _stepwise(words, only, step)  # nothing to choose at this step
    return [*parts]
