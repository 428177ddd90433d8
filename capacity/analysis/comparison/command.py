"""The verb compare: prints the comparisons that were asked for, and writes them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capacity import naming
from capacity.analysis.comparison import pairs, sizes, verdicts, wording
from capacity.analysis.comparison import runs as compared_runs
from capacity.analysis.comparison.variants import CONVENTION
from capacity.analysis.finding import head
from capacity.base import files
from capacity.base.errors import nearest
from capacity.base.frames import Frame
from capacity.base.words import wrap
from capacity.figures.look import Look, using

if TYPE_CHECKING:
    from capacity.analysis.comparison.runs import Runs
    from capacity.study import Study

SCHEMA = 1


def compare(args: argparse.Namespace, look: Look) -> int:
    """`capacity compare`: prints every comparison and writes RESULTS/studies/STUDY/compare.json,
    with the figure beside it."""
    from capacity import archive, records, run_table
    from capacity.base.errors import ConfigError
    from capacity.study import load_study

    study = load_study(args.study, args.overrides)
    with archive.reading(args.results, [study.name]) as kept:
        table = run_table.table(args.results, study.runs, study.names)
        kept.tell(args.results, study)
    if "finished" not in set(table["status"]):
        raise ConfigError(
            f"{study.name}: no finished run in {records.runs_dir(args.results)}; run: capacity "
            f"sweep {args.study}"
        )
    try:
        runs = compared_runs.read(study, table, args.value)
        comparison = against(study, runs, args.a, args.b) if args.a and args.b else None
    except ValueError as error:
        raise ConfigError(f"{study.name}: {error}") from None
    if comparison is None:
        known = compared_runs.varies(runs)
        lines = [f"{name}: {', '.join(values)}" for name, values in known.items()]
        print("\n".join(lines) or "nothing varies but the seed")
        raise ConfigError(f"{study.name}: compare needs --a KEY=VALUE and --b KEY=VALUE")
    path = args.results / "studies" / study.name / "compare.json"
    lines = [*wrap(f"{study.name}: {runs.number}"), ""]
    for row in comparison["comparisons"]:
        lines += [*wording.full(row), ""]
    print("\n".join(lines), flush=True)  # first, for a folder may be another's, or full
    _write(path, comparison)
    print("\n".join([str(path), *map(str, _draw(comparison, path.parent, look))]))
    return 0


def _draw(comparison: dict[str, Any], folder: Path, look: Look) -> list[Path]:
    from capacity.analysis import finding
    from capacity.analysis.comparison.plots import compare_figure  # brings matplotlib

    with using(look):
        figure = compare_figure(comparison)
    figures = {} if figure is None else {"compare": figure}
    return finding.write_pictures(figures, folder, look, names=["compare"])


def _write(path: Path, comparison: dict[str, Any]) -> None:
    content = json.dumps(comparison, indent=1, allow_nan=False, ensure_ascii=False)
    files.write_atomic(path, (content + "\n").encode())


def _side(study: Study, runs: Runs, text: str) -> tuple[Frame, set[str]]:
    """The runs of a side, and the settings that select them."""
    if "=" in text:
        where = compared_runs.parse(text, runs)
        return compared_runs.select(runs, where), set(where)
    if text not in study.names:
        known = f"; named here: {', '.join(study.names)}" if study.names else ""
        raise ValueError(
            f"{text!r}: expected KEY=VALUE, several with commas between, or a name of the study"
            f"{nearest(text, list(study.names))}{known}"
        )
    rows = runs.table.to_dict("records")
    mine = [text in naming.given(study.names, row).split(", ") for row in rows]
    return runs.table[mine], set(study.names[text])


def against(study: Study, runs: Runs, a: str, bs: list[str]) -> dict[str, Any]:
    """A against every B as a dict that JSON can hold. a, bs: KEY=VALUE[,KEY=VALUE], or a name that
    the study gives; ValueError, in one line, where these are no sides."""
    one, by_a = _side(study, runs, a)
    rows = []
    for text in bs:
        other, by_b = _side(study, runs, text)
        named = by_a | by_b
        if "architecture" in named:
            named |= {f"model.{key}" for form in naming.ARCHITECTURES.values() for key in form}
        try:
            paired = pairs.pair(runs, one, other, named)
            row = verdicts.analyse(runs, paired) | {"by_size": sizes.by_size(runs, paired)}
            rows.append({"a": a, "b": text} | row)
        except ValueError as error:
            raise ValueError(f"--a {a} --b {text}: {error}") from None
    tested = sum(row["p"] is not None for row in rows)
    rows = [row | {"compared": tested} for row in verdicts.corrected(rows, runs.stores)]
    inputs_sha256 = compared_runs.inputs_hash(runs)
    return files.plain(
        {
            "schema": SCHEMA,
            "study": study.name,
            "overrides": study.overrides,
            "kind": runs.kind,
            "number": runs.number,
            "best_over": runs.best_over,
            "convention": CONVENTION,
            "comparisons": rows,
            "inputs_sha256": inputs_sha256,
            "versions": head("comparison", SCHEMA, study.name, inputs_sha256)["versions"],
        }
    )
