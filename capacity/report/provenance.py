"""Where the numbers of a page come from: the commands that make them again, the versions and the
machines of the runs."""

from __future__ import annotations

import platform
import shlex
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import capacity
from capacity.study import Study
from capacity.sweep import submissions

# Of a record: name on the page -> section and key.
FIELDS = {
    "capacity": ("environment", "capacity"),
    "git commit": ("environment", "git"),
    "Python": ("environment", "python"),
    "torch": ("environment", "torch"),
    "numpy": ("environment", "numpy"),
    "safetensors": ("environment", "safetensors"),
    "tokenizers": ("environment", "tokenizers"),
    "platform": ("environment", "platform"),
    "hardware": ("environment", "hardware"),
    "cores": ("environment", "cores"),
    "device": ("training", "device"),
    "threads": ("training", "threads"),
    "precision": ("training", "precision"),
    "master weights": ("training", "master_weights"),
}


def commands(asked: str, study: Study, records: list[dict], extra: list[str]) -> list[str]:
    """Lines for a shell: the source that trained the runs, then sweep, fit and report. asked: the
    study as the command named it; extra: options of the fit."""
    settings = [shlex.quote(text) for text in study.overrides]
    commits = Counter(record["environment"].get("git") for record in records)
    lines = []
    for commit, n in (ranked := sorted(commits.items(), key=lambda pair: (-pair[1], str(pair[0])))):
        of = f"# {n} of {len(records)} records are from"
        if commit is None:
            installed = sorted(
                {
                    record["environment"].get("capacity", "?")
                    for record in records
                    if record["environment"].get("git") is None
                }
            )
            lines.append(
                f"{of} an installed capacity {' and '.join(installed)}; no commit is known"
            )
        else:
            lines.append(
                f"{of} commit {commit.rstrip('+')}"
                + (
                    " with changes that were not committed: it alone need not give the same bits"
                    if commit.endswith("+")
                    else ""
                )
            )
    lines += [f"git checkout {commit.rstrip('+')}" for commit, _ in ranked[:1] if commit]
    lines += [
        " ".join(
            ["capacity", verb, shlex.quote(asked), *settings, *(extra if verb != "sweep" else [])]
        )
        for verb in ("sweep", "fit-laws", "report")
    ]
    return lines


def sweeps(results: Path, study: Study, asked: str) -> list[str]:
    """The sweeps of this study that the results folder knows of, as they were issued, with date and
    launcher."""
    out = []
    for submission in submissions.read_all(results, study.name):
        words = " ".join(
            [
                "capacity",
                "sweep",
                shlex.quote(asked),
                *map(shlex.quote, submission.tree["overrides"]),
            ]
        )
        day = datetime.fromtimestamp(submission.tree["submitted_at"], UTC)
        out.append(f"{words}  # {day:%Y-%m-%d %H:%M} UTC, {submission.launcher}")
    return out


def versions(records: list[dict]) -> list[tuple[str, str]]:
    """Name and value of everything a run's result may hang on; where runs differ, all values with
    their counts."""
    out = []
    for name, (section, key) in FIELDS.items():
        counts = Counter(
            str(record[section][key]) for record in records if record[section].get(key) is not None
        )
        if counts:
            several = [
                f"{value} ({n} runs)"
                for value, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            ]
            out.append(
                (
                    name,
                    next(iter(counts))
                    if len(counts) == 1 and sum(counts.values()) == len(records)
                    else "; ".join(several),
                )
            )
    return out


def fitted_with() -> str:
    """Versions of what fits and draws, here and now."""
    software = {"capacity": capacity.__version__, "Python": platform.python_version()} | {
        name: metadata.version(name) for name in ("numpy", "pandas", "scipy", "matplotlib")
    }
    return ", ".join(f"{name} {version}" for name, version in software.items())
