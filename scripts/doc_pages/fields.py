"""Fields of a template, `{{SOURCE: PATH | FORM}}`, and what stands in their place.

    {{pocket: strict/alpha/value}}                     a number, three digits
    {{pocket: strict/alpha/value | digits 4}}          and so many
    {{pocket: strict/plateaus[model=2x8]/seeds | count}}
    {{pocket: strict/alpha | estimate interval_models}} a number and its interval
    {{physics33/10_junk@pocket: verdicts[name=junk, equal exposures] | verdict}}
    {{pocket | answer rise with size}}                 the one answer that has these words
    {{pocket | study}}                                 question, command, answers, figures, verdicts
    {{morris/gpt2@pocket | crossing with STUDY ...}}   F1 = 0.75 over several studies together
    {{pocket | shown 5 What each model holds}}         lines of the terminal
    {{coverage | part coverage.md lie between}}        the paragraph or table that has these words
    {{bench/cpu.json: render/tokens | short}}          of a JSON file below results
    {{studies | reproduced}}                           every verdict of every study, and how many
    {{studies | reproduced summary}}                   there are of each kind
    {{compression | section together}}                 of `capacity compression` over all studies

SOURCE is a folder of results/studies; PATH leads through its fit, an entry of a list is picked by
an index or by [key=value]. What cannot be found is an error with the field; nothing is fitted
or typed here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from capacity.analysis import published_rows
from capacity.analysis.text import over_studies
from capacity.base import words
from capacity.report import markdown
from doc_pages import reproduced, rulers, studies
from doc_pages.rulers import Rulers
from doc_pages.studies import Committed

FIELD = re.compile(r"\{\{\s*(.+?)\s*\}\}", re.S)
STEP = re.compile(r"([^\[\]]*)((?:\[[^\]]*\])*)")


def render(template: str, target: Path) -> str:
    """The template with every field filled in; target: the file that it becomes, which links are
    relative to. ValueError with the field that says nothing."""

    def fill(found: re.Match[str]) -> str:
        try:
            return field(" ".join(found[1].split()), target)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{{{{{found[1]}}}}}: {type(error).__name__}: {error}") from error

    return FIELD.sub(fill, template)


def field(inner: str, target: Path) -> str:
    """What one field says."""
    source, _, form = inner.partition(" | ")
    name, _, path = source.partition(": ")
    verb, _, rest = (form or "digits").partition(" ")
    if name.endswith(".json"):
        tree = json.loads((studies.ROOT / "results" / name.strip()).read_bytes())
        return FORMS[verb](follow(tree, path.strip()), rest.strip())
    if name.strip() == "studies" and verb == "reproduced":
        return reproduced.summary() if rest.strip() == "summary" else reproduced.tables()
    study = rulers.get() if name.strip() == rulers.NAME else studies.get(name.strip())
    if verb in BLOCKS and not path:
        return BLOCKS[verb](study, rest.strip(), target)
    return FORMS[verb](follow(study.numbers, path.strip()), rest.strip())


def follow(tree: Any, path: str) -> Any:
    """The value at a path such as `strict/plateaus[model=2x8]/bits` or `arms[0]`."""
    for step in re.split(r"/(?![^\[]*\])", path):
        found = STEP.fullmatch(step)
        if found is None:
            raise ValueError(f"{step}: no step of a path")
        if found[1]:
            tree = tree[found[1]]
        for pick in re.findall(r"\[([^\]]*)\]", found[2]):
            tree = _picked(tree, pick)
    return tree


def _picked(entries: list[Any], pick: str) -> Any:
    key, equals, value = pick.partition("=")
    if not equals:
        return entries[int(pick)]
    wanted = [(k.strip(), v) for k, _, v in (part.partition("=") for part in pick.split(" & "))]
    found = [one for one in entries if all(str(one[k]) == v for k, v in wanted)]
    if len(found) != 1:
        known = words.some([str(one.get(key)) for one in entries], 8)
        raise ValueError(f"[{pick}] picks {len(found)} entries; there are: {known}")
    return found[0]


# ------------------------------------------------------------------ one value


def _digits(x: Any, rest: str) -> str:
    return words.digits(x, int(rest or 3))


def _estimate(x: Any, rest: str) -> str:
    """value and interval; rest: name of the interval, which may be a dict with ends."""
    at = x[rest or "interval"]
    ends = at["ends"] if isinstance(at, dict) else at
    return f"{words.digits(x['value'])} {words.ends(ends)}".strip()


def _measured(x: Any, _: str) -> str:
    return f"{words.digits(x['measured'])} {words.ends(x['interval'])}".strip()


def _verdict(x: Any, _: str) -> str:
    return x["verdict"]


def _joined(x: Any, rest: str) -> str:
    return words.joined(words.digits(one, int(rest or 3)) for one in x)


FORMS: dict[str, Callable[[Any, str], str]] = {
    "digits": _digits,
    "count": lambda x, _: f"{x:,}" if isinstance(x, int) else f"{x:,.0f}",
    "short": lambda x, _: words.count(x),
    "percent": lambda x, rest: words.percent(x, int(rest or 0)),
    "points": lambda x, rest: f"{x:.{int(rest or 0)}f}%",
    "estimate": _estimate,
    "interval": lambda x, _: words.ends(x["ends"] if isinstance(x, dict) else x),
    "measured": _measured,
    "verdict": _verdict,
    "word": lambda x, _: str(x),
    "list": _joined,
    "most": lambda x, rest: words.digits(max(x), int(rest or 3)),
    "size": lambda x, _: f"{len(x):,}",
}


# ------------------------------------------------------------------ of a whole study


def _answer(study: Committed | Rulers, rest: str, _target: Path) -> str:
    found = [one for one in study.document.answers if rest in one]
    if len(found) != 1:
        raise ValueError(f"{len(found)} answers have {rest!r}: {list(study.document.answers)}")
    return found[0]


def _answers(study: Committed | Rulers, _rest: str, _target: Path) -> str:
    return "\n".join(f"- {one}" for one in study.document.answers)


def _link(study: Committed | Rulers, rest: str, target: Path) -> str:
    return f"[{rest or 'all tables'}]({_relative(study.folder / 'README.md', target)})"


def _figures(study: Committed | Rulers, rest: str, target: Path) -> str:
    captions = study.document.figures
    names = (
        rest.split()
        or [n for n in captions if (study.folder / "figures" / f"{n}.png").exists()][:2]
    )
    lines = []
    for name in names:
        path = study.folder / "figures" / f"{name}.png"
        if not path.exists():
            raise ValueError(f"no figure {name} beside the fit")
        alt = captions.get(name, name)
        lines.append(f'<img src="{_relative(path, target)}" width="49%" alt="{alt}">')
    return " ".join(lines)


def _section(study: Committed | Rulers, rest: str, _target: Path) -> str:
    part = study.document.section(rest)
    if part is None:
        raise ValueError(f"sections: {[one.id for one in study.document.sections]}")
    return "\n\n".join("\n".join(markdown.block_lines(one)) for one in part.blocks)


def _verdicts(study: Committed, _rest: str, _target: Path) -> str:
    lines = ["| published value | published | here | verdict |", "| --- | --- | --- | --- |"]
    for one in study.numbers.get("verdicts") or []:
        row = published_rows.row(one)
        cells = (row.name, row.published, row.here, f"**{row.verdict}**: {row.reason}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _command(study: Committed, _rest: str, _target: Path) -> str:
    return f"    capacity sweep {study.name} && capacity fit-laws {study.name}"


def _minutes(study: Committed, _rest: str, _target: Path) -> str:
    return str(max(1, round(study.minutes)))


def _study(study: Committed, rest: str, target: Path) -> str:
    """Question, command, answers, figures, verdicts, and where all of it stands."""
    parts = [
        f"*{study.question}*",
        f"{_command(study, '', target)}    # {_minutes(study, '', target)} min on two cores",
        _answers(study, "", target),
        _figures(study, rest, target),
        _verdicts(study, "", target),
        f"{_link(study, 'All tables, flags and conventions', target)}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _terminal(study: Committed, rest: str, _target: Path) -> str:
    """Lines that fit-laws prints, from the first one that has no title."""
    return "\n".join(f"    {line}".rstrip() for line in study.terminal[: int(rest)])


def _shown(study: Committed, rest: str, _target: Path) -> str:
    """`N WORDS`: N lines that fit-laws prints, from the one line on that is, or else has, the
    words."""
    many, _, sought = rest.partition(" ")
    lines = [" ".join(line.split()) for line in study.terminal]
    begins = [i for i, line in enumerate(lines) if line == sought]
    begins = begins or [i for i, line in enumerate(lines) if sought in line]
    if len(begins) != 1:
        raise ValueError(f"{len(begins)} lines have {sought!r}")
    shown = study.terminal[begins[0] : begins[0] + int(many)]
    return "\n".join(["```text", *(line.rstrip() for line in shown), "```"])


def _part(study: Committed, rest: str, _target: Path) -> str:
    """`FILE WORDS`: the paragraph or table of a Markdown file beside the fit that has the words."""
    file, _, sought = rest.partition(" ")
    parts = (study.folder / file).read_text(encoding="utf-8").split("\n\n")
    found = [part for part in parts if sought in " ".join(part.split())]
    if len(found) != 1:
        raise ValueError(f"{len(found)} parts of {file} have {sought!r}")
    return found[0].strip("\n")


def _means(study: Committed, rest: str, _target: Path) -> str:
    """`COLUMN / COLUMN by COLUMN`: means over runs of a ratio, in the order of the last column."""
    ratio, _, by = rest.partition(" by ")
    top, _, below = ratio.partition("/")
    runs = study.table("runs.csv")
    runs = runs[runs.status == "finished"]
    value = runs[top.strip()] / (runs[below.strip()] if below else 1)
    means = value.groupby(runs[by.strip()]).mean()
    return (
        f"{words.joined(words.digits(x) for x in means)} at "
        f"{words.joined(f'{x:,.0f}' for x in means.index)}"
    )


def _gains(study: Committed, rest: str, _target: Path) -> str:
    """`COLUMN by COLUMN`: by shape, how much more the mean over runs is at the largest value of the
    last column than at the one before."""
    top, _, by = rest.partition(" by ")
    runs = study.table("runs.csv")
    runs = runs[runs.status == "finished"]
    told = []
    for model, rows in runs.groupby("model", sort=False):
        means = rows[top.strip()].groupby(rows[by.strip()].round(1)).mean()
        told.append((rows.parameters_total.iloc[0], model, means.iloc[-1] / means.iloc[-2] - 1))
    return words.joined(f"{words.percent(gain)} ({model})" for _, model, gain in sorted(told))


def _crossing(study: Committed, rest: str, _target: Path) -> str:
    """`[logarithmic] with STUDY ...`: where F1 has fallen to 0.75, over this study and others."""
    form, _, others = rest.partition("with ")
    names = [study.name, *others.split()]
    known = {
        name: one
        for name in names
        if (one := over_studies.crossing(studies.get(name).numbers, form.strip() or "f1_median"))
    }
    if len(known) < len(names):
        raise ValueError(f"no interval over runs in {sorted(set(names) - set(known))}")
    return over_studies.sentence(over_studies.together(known))


BLOCKS: dict[str, Callable[[Any, str, Path], str]] = {
    "answer": _answer,
    "answers": _answers,
    "command": _command,
    "crossing": _crossing,
    "figures": _figures,
    "gains": _gains,
    "link": _link,
    "means": _means,
    "minutes": _minutes,
    "part": _part,
    "question": lambda study, _, __: study.question,
    "section": _section,
    "shown": _shown,
    "study": _study,
    "terminal": _terminal,
    "verdicts": _verdicts,
}


def _relative(path: Path, target: Path) -> str:
    return Path(os.path.relpath(path, target.parent)).as_posix()
