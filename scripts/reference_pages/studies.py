"""The page of studies: every study file and preset with its question, runs, cost as planned and
what is committed of it. Nothing depends on the machine: costs are those of a guessed device."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from capacity.analysis import kinds
from capacity.compose import read_yaml
from capacity.cost import device_time, guessed_hours
from capacity.run_table import table
from capacity.study import Study, find_study, load_study
from doc_pages import studies as committed
from doc_pages.studies import ROOT
from reference_pages import markdown

ABOUT = """\
Every study of `sweeps/`, with its presets (STUDY@PRESET), its question, and what it costs as
planned. *FLOP*: model FLOPs of all runs. *Time*: hours of one CPU core, above 1e15 FLOP of one
H100, each run alone, by the guesses of `capacity/cost.py`; nothing was measured on a GPU, and
`capacity sweep STUDY --dry-run` says what your machine would take. *Committed*: finished runs
that a fit in `results/studies` is of, and the minutes that they took two cores. A study of which
nothing is committed is planned to the run and was not run."""


@dataclass(frozen=True)
class Planned:
    """One study or preset: its runs, the kind of its analysis, and ids of published values that it
    is set beside."""

    name: str
    study: Study
    kind: str
    published: tuple[str, ...]


@functools.cache
def planned() -> tuple[Planned, ...]:
    """All of them, by name."""
    out = []
    for path in sorted((ROOT / "sweeps").rglob("*.yaml")):
        name = path.relative_to(ROOT / "sweeps").with_suffix("").as_posix()
        for preset in ("", *(read_yaml(path).get("presets") or {})):
            full = f"{name}@{preset}" if preset else name
            study = load_study(full, [])
            kind = kinds.kind_of(study, table(ROOT / "no results", study.runs))
            values = kinds.load(kind).expected(study)[0]
            ids = (id for one in values for id in str(one["published"]).split(", "))  # or several
            known = tuple(dict.fromkeys(ids))
            out.append(Planned(full, study, kind, tuple(id for id in known if id != "None")))
    return tuple(out)


def page() -> str:
    """Studies by folder, their questions below."""
    parts: dict[str, list[Planned]] = {}
    for one in planned():
        parts.setdefault(one.name.partition("/")[0] if "/" in one.name else "", []).append(one)
    return markdown.page("Studies", ABOUT, *(_part(title, some) for title, some in parts.items()))


def _part(title: str, some: list[Planned]) -> str:
    rows = [
        (
            f"[{one.name}](#{markdown.anchor(one.name)})",
            one.kind,
            one.study.scale,
            f"{len(one.study.runs):,}",
            _flop(one.study),
            _hours(one.study),
            _committed(one.name),
        )
        for one in some
    ]
    head = ("study", "kind", "scale", "runs", "FLOP", "time", "committed")
    lines = [f"## sweeps/{title}", markdown.table(head, rows, right=(3, 4, 5))]
    for one in some:
        lines.append(f"### {one.name}\n\n{markdown.words(_question(one.study))}\n\n{_about(one)}")
    return "\n\n".join(lines)


def _question(study: Study) -> str:
    asked = study.question or "(no question)"
    return asked[:1].upper() + asked[1:]


def _about(one: Planned) -> str:
    """What varies between its runs, and what it is set beside."""
    runs = one.study.runs
    sizes = sorted({run.parameters["total"] for run in runs})
    loads = sorted({run.entropy_bits / run.parameters["total"] for run in runs})
    seeds = len({run.seed for run in runs})
    lines = [
        f"- `sweeps/{find_study(one.name).relative_to(ROOT / 'sweeps').as_posix()}`, data "
        f"{', '.join(f'`{kind}`' for kind in sorted({run.data.kind for run in runs}))}",
        f"- {_range([f'{size:,}' for size in sizes])} parameters (total), "
        f"{_range([f'{load:.3g}' for load in loads])} bits of data per parameter, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}",
    ]
    if one.published:
        links = (f"[{id}](published.md#{markdown.anchor(id)})" for id in one.published)
        lines.append(f"- beside published: {', '.join(links)}")
    return "\n".join(lines)


def _range(ends: list[str]) -> str:
    return ends[0] if ends[0] == ends[-1] else f"{ends[0]} to {ends[-1]}"


def _flop(study: Study) -> str:
    return f"{sum(run.flops for run in study.runs):.1e}"


def _hours(study: Study) -> str:
    return device_time(*guessed_hours(study.runs))


def _committed(name: str) -> str:
    if name not in committed.fitted():
        kept = ROOT / "results" / "studies" / name
        files = sorted(path.name for path in kept.glob("*.csv")) if kept.is_dir() else []
        return f"no fit; {', '.join(map(markdown.code, files))}" if files else ""
    study = committed.get(name)
    finished = int((study.table("runs.csv").status == "finished").sum())
    link = f"[fit](../../results/studies/{name}/README.md)"
    return f"{link} of {finished:,} runs, {study.minutes:.0f} min"
