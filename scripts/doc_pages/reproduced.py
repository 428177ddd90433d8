"""Every verdict of every committed study in one table: what was published, what these runs gave,
how large they were, how long they trained, and the command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from capacity.analysis import published_rows
from capacity.base import words
from capacity.published import values as published
from doc_pages import studies
from doc_pages.studies import Committed

PAPERS = {
    "morris": "How much do language models memorize? (arXiv 2505.24832)",
    "physics31": "Physics of Language Models 3.1 (arXiv 2309.14316)",
    "physics33": "Physics of Language Models 3.3 (arXiv 2404.05405)",
    "repeated": "Repeated data (arXiv 2205.10487)",
    "smi": "Beyond Scaling, SMI (arXiv 2502.04066)",
    "inside": "Inside-Out (arXiv 2503.15299)",
}
HEADS = ("published", "value", "ours, 95%", "parameters", "exposures", "verdict", "study", "hours")


def verdicts() -> Iterator[tuple[Committed, Mapping[str, Any]]]:
    """(study, row of `published.verdict`) in the order of published values, then of studies."""
    found = [
        (known.index(row["published"]["id"].partition(", ")[0]), name, i, row)
        for known in [[*published.values()]]
        for name in studies.fitted()
        for i, row in enumerate(studies.get(name).numbers.get("verdicts") or [])
    ]
    for _, name, _, row in sorted(found, key=lambda one: one[:3]):
        yield studies.get(name), row


def summary() -> str:
    """How many verdicts there are of each kind."""
    rows = [row for _, row in verdicts()]
    many = Counter(row["verdict"] for row in rows)
    told = words.joined(
        f"{many[kind]} {'say' if many[kind] != 1 else 'says'} *{kind}*"
        for kind in (published.AGREES, published.DIFFERS, published.UNKNOWN)
    )
    return f"Of {len(rows)} verdicts {told}."


def tables() -> str:
    """A table per paper."""
    parts = []
    for paper, title in PAPERS.items():
        rows = [one for one in verdicts() if one[1]["published"]["id"].startswith(f"{paper}/")]
        if rows:
            lines = [f"| {' | '.join(HEADS)} |", "|" + " --- |" * len(HEADS)]
            lines += [f"| {' | '.join(_cells(study, row))} |" for study, row in rows]
            parts.append(f"## {title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _cells(study: Committed, verdict: Mapping[str, Any]) -> list[str]:
    row, runs = published_rows.row(verdict), study.table("runs.csv")
    runs = runs[runs.status == "finished"]
    p = words.span(runs.parameters_total.min(), runs.parameters_total.max())
    e = _exposures(runs)
    return [
        row.name,
        row.published.replace("counts as agreement:", "range"),
        row.here,
        p,
        words.span(e.min(), e.max()),
        f"**{verdict['verdict']}**",
        f"`{study.name}`",
        words.digits(float(runs.wall_s.sum()) / 3600, 2),
    ]


def _exposures(runs: Any) -> Any:
    """How often a run saw each of its sequences or people."""
    if "exposures" in runs:
        return runs.exposures
    return runs.tokens / (runs.n_sequences * runs.seq_len)
