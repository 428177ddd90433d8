"""The page of the command line: every verb with its arguments, read from the parsers themselves."""

from __future__ import annotations

import argparse
import re

from capacity.cli.main import _parser
from reference_pages import markdown

ABOUT = """\
Every verb of `capacity`, its options and examples, as `capacity VERB --help` has them. Exit code
`0`: done; `1`: a run failed or is missing; `2`: bad input or environment, said in one line;
`130`: interrupted, the same command continues."""


def page() -> str:
    """All verbs, in the order of the help."""
    parser = _parser()
    (verbs,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    short = {one.dest: one.help or "" for one in verbs._choices_actions}
    overview = markdown.table(
        ("verb", "what it does"),
        ((f"[{name}](#{name})", markdown.words(short.get(name, ""))) for name in verbs.choices),
    )
    parts = [_verb(name, sub) for name, sub in verbs.choices.items()]
    return markdown.page("Command line", ABOUT, overview, *parts)


def _verb(name: str, parser: argparse.ArgumentParser) -> str:
    actions = [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]
    named = [one for one in actions if one.option_strings]
    places = [one for one in actions if not one.option_strings]
    usage = ["capacity", name, *(_placed(one) for one in places), *(["[options]"] if named else [])]
    rows = [
        (
            markdown.code(_written(one)),
            _default(one),
            markdown.words(_help(parser, one)),
        )
        for one in [*places, *named]
        if one.help is not argparse.SUPPRESS
    ]
    return "\n\n".join(
        [
            f"## {name}",
            f"```text\n{' '.join(usage)}\n```",
            _description(parser.description or ""),
            markdown.table(("argument", "default", "meaning"), rows) if rows else "",
        ]
    )


def _description(text: str) -> str:
    """Prose, and indented lines as they are typed."""
    out = []
    for part in re.split(r"\n\n+", text.strip("\n")):
        prose = [line for line in part.splitlines() if not line.startswith("  ")]
        typed = [line.removeprefix("  ") for line in part.splitlines() if line.startswith("  ")]
        if prose:
            out.append(markdown.words(" ".join(prose)))
        if typed:
            out.append("```text\n" + "\n".join(typed) + "\n```")
    return "\n\n".join(out)


def _placed(action: argparse.Action) -> str:
    name = _metavar(action)
    if action.nargs == "*":
        return f"[{name} ...]"
    if action.nargs == "+":
        return f"{name} [{name} ...]"
    return f"[{name}]" if action.nargs == "?" else name


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    if action.metavar:
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper() if action.option_strings else action.dest


def _written(action: argparse.Action) -> str:
    if not action.option_strings:
        return _placed(action)
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {_metavar(action)}"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    if action.metavar and action.choices is not None:
        text += f"{'; ' if text else ''}one of {', '.join(map(str, action.choices))}"
    if isinstance(action, argparse._AppendAction):
        text += f"{'; ' if text else ''}may be given several times"
    return text


def _default(action: argparse.Action) -> str:
    """Empty where there is none, or where the words say it, as of a folder of the environment."""
    empty = action.default in (None, False, argparse.SUPPRESS) or action.default == []
    if empty or action.nargs == 0 or "default:" in (action.help or ""):
        return ""
    return markdown.code(action.default)
