"""When what fixes a study's verdicts was fixed: results/studies/STUDY/expectations.jsonl.

A sweep appends a line before it trains anything, if there is none yet or the last one differs:

    date            UTC, ISO
    sha256          of `expectations`, as `digest` forms it
    finished_runs   runs of the study that had a result by then; null where that is not known
    source          sweep, or where else the line was taken from
    expectations    kind of study, rules (thresholds, choice of the best, level) and values: of each
                    published value its id, range, quantity, form, convention and selection

Words that decide nothing (source, evidence, note) are not among them, so that a sentence can be
mended without a trace. A line is whole or it is not there: one write under a lock of the file; what
a crash left of one is dropped by the next.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from capacity.analysis import convert
from capacity.base import files
from capacity.base.errors import ConfigError
from capacity.base.words import plural
from capacity.fitting.statistics import LEVEL

FILE = "expectations.jsonl"
WORDS = ("name", "source", "evidence", "note", "there")  # of an entry: these decide nothing
PATIENCE_S = 60.0  # wait for another writer of one line
NOT_RECORDED = (
    "when range and form were fixed is not recorded (the study began before this was kept)"
)
KEYS = {"date", "sha256", "finished_runs", "source", "expectations"}


@dataclass(frozen=True)
class Line:
    """A line of the file; sha256: of the expectations as they were written, which are given in
    the present names (`convert.called_models`)."""

    date: str
    sha256: str
    finished_runs: int | None
    source: str
    expectations: dict[str, Any]


def of(kind: str, values: Sequence[Mapping[str, Any]], rules: Mapping[str, Any]) -> dict[str, Any]:
    """What fixes the verdicts of a study, JSON-able.

    values: of `published.Value.expected` or `expects.check_expects`; rules: thresholds that decide
    which runs and numbers count, by name."""
    entries = [
        {key: value for key, value in entry.items() if key == "name" or key not in WORDS}
        for entry in values
    ]
    every = {"level": LEVEL, "verdict": "interval within the range: agrees, outside: differs"}
    return json.loads(json.dumps({"kind": kind, "rules": every | dict(rules), "values": entries}))


def digest(expectations: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON: keys sorted, no blanks, values without their names, in any
    order."""
    values = sorted(_canonical(_deciding(value)) for value in expectations["values"])
    content = _canonical({**expectations, "values": values})
    return hashlib.sha256(content.encode()).hexdigest()


def path_of(results: Path, study: str) -> Path:
    return results / "studies" / study / FILE


def read(results: Path, study: str) -> list[Line]:
    """The lines of a study's file, none where it has none. ConfigError with file and line."""
    path = path_of(results, study)
    try:
        return _lines(path.read_bytes(), path)
    except FileNotFoundError:
        return []


def record(
    results: Path,
    study: str,
    expectations: Mapping[str, Any],
    finished_runs: int,
    source: str = "sweep",
) -> bool:
    """Append these expectations, unless the last line has them already; whether one was written.
    ConfigError for a file with a line that is none, and where another writer takes too long."""
    path, sha256 = path_of(results, study), digest(expectations)
    files.make_folder(path.parent)
    with _locked(path) as file:
        content = file.read()
        lines = _lines(content, path)
        if lines and digest(lines[-1].expectations) == sha256:
            return False
        if (torn := len(content) - content.rfind(b"\n") - 1) and not _is_line(content[-torn:]):
            file.truncate(len(content) - torn)
            torn = 0
        line = {
            "date": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "sha256": sha256,
            "finished_runs": finished_runs,
            "source": source,
            "expectations": expectations,
        }
        text = json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n"
        file.write((b"\n" if torn else b"") + text.encode())
        return True


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file, alone, at its beginning; writes go to its end. On disk when the lock goes."""
    import os

    began = time.monotonic()
    with open(path, "a+b", buffering=0) as file:
        while not files.flock(file):
            if time.monotonic() - began > PATIENCE_S:
                raise ConfigError(f"{path}: somebody holds this file; nothing was begun, try again")
            time.sleep(0.02)
        file.seek(0)
        yield file
        os.fsync(file.fileno())


def _lines(content: bytes, path: Path) -> list[Line]:
    parts = content.split(b"\n")
    if parts and not _is_line(parts[-1]):
        parts.pop()  # empty, or what a crash left
    out = []
    for i, part in enumerate(parts, 1):
        try:
            tree = json.loads(part)
            if not isinstance(tree, dict) or tree.keys() != KEYS:
                raise ValueError(f"expected an object with {', '.join(sorted(KEYS))}")
            if digest(tree["expectations"]) != tree["sha256"]:
                raise ValueError("sha256 is not that of its expectations: it was edited")
            out.append(Line(**tree | {"expectations": convert.called_models(tree["expectations"])}))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: line {i}: not a line of expectations ({error})") from None
    return out


def _is_line(part: bytes) -> bool:
    try:
        return isinstance(json.loads(part), dict)
    except ValueError:
        return False


def _canonical(tree: Any) -> str:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _deciding(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key != "name"}


# --- what a verdict says of them
# --------------------------------------------------------------------------------------------------


def added(
    numbers: Mapping[str, Any], expectations: Mapping[str, Any], lines: Sequence[Line], runs: int
) -> dict[str, Any]:
    """The numbers of a study with `expectations` (hash, what was recorded, a sentence), and with
    `expected` (date, finished runs by then, a sentence) in each of its verdicts. runs: finished
    ones now."""
    rows = [
        row | {"expected": _of_value(_named(expectations, row), expectations, lines, runs)}
        for row in numbers["verdicts"]
    ]
    described = {
        "sha256": digest(expectations),
        "recorded": [
            {
                "date": line.date,
                "sha256": line.sha256,
                "finished_runs": line.finished_runs,
                "source": line.source,
            }
            for line in lines
        ],
        "told": _of_study(expectations, lines, runs),
    }
    return {**numbers, "verdicts": rows, "expectations": described}


def _named(expectations: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was expected of a verdict's value."""
    return next(value for value in expectations["values"] if value["name"] == row["name"])


def _of_study(expectations: Mapping[str, Any], lines: Sequence[Line], runs: int) -> str:
    if not lines:
        return NOT_RECORDED
    late = [line for line in lines[1:] if line.finished_runs != 0]
    text = f"expectations {_fixed(lines[0])}"
    text += "".join(f", changed on {line.date} after {_runs(line.finished_runs)}" for line in late)
    if digest(lines[-1].expectations) != digest(expectations):
        text += f", changed since the last sweep; {_runs(runs)}"
    return text


def _of_value(
    value: Mapping[str, Any], expectations: Mapping[str, Any], lines: Sequence[Line], runs: int
) -> dict[str, Any]:
    """Since when a value is expected as it is now: date (None where no line has it), finished runs
    by then, and a sentence."""
    if not lines:
        return {"date": None, "finished_runs": None, "told": NOT_RECORDED}
    now = _canonical([_deciding(value), expectations["rules"]])
    since = len(lines)
    while since and now in _values(lines[since - 1]):
        since -= 1
    if since == len(lines):
        why = _changes(lines[-1], value, expectations)
        text = f"expectations CHANGED after the sweep of {lines[-1].date}: {why}; {_runs(runs)}"
        return {"date": None, "finished_runs": runs, "told": text}
    line = lines[since]
    text = f"expectations {_fixed(line)}"
    if since:
        why = _changes(lines[since - 1], value, expectations)
        when = "before any run" if line.finished_runs == 0 else f"after {_runs(line.finished_runs)}"
        text = f"expectations changed on {line.date} {when}: {why}"
        text = text if line.finished_runs == 0 else text.replace("changed", "CHANGED", 1)
    return {"date": line.date, "finished_runs": line.finished_runs, "told": text}


def _fixed(first: Line) -> str:
    if first.finished_runs == 0:
        return f"fixed on {first.date} before any run"
    return f"first recorded on {first.date}, after {_runs(first.finished_runs)}"


def _runs(finished: int | None) -> str:
    if finished is None:
        return "an unknown number of runs existed"
    return f"{plural(finished, 'run')} existed"


def _values(line: Line) -> set[str]:
    rules = line.expectations["rules"]
    return {_canonical([_deciding(value), rules]) for value in line.expectations["values"]}


def _changes(line: Line, value: Mapping[str, Any], expectations: Mapping[str, Any]) -> str:
    """In what a value differs from a line, in words."""
    values, id = line.expectations["values"], value["published"]
    known = [v for v in values if v["name"] == value["name"]]
    known = known or [v for v in values if id is not None and v["published"] == id]
    if not known:
        return "it was not expected before"
    parts = [(known[0], value), (line.expectations["rules"], expectations["rules"])]
    out = [
        f"{key} was {_shown(before.get(key))}"
        for before, after in parts
        for key in dict.fromkeys([*before, *after])
        if key != "name" and before.get(key) != after.get(key)
    ]
    return ", ".join(out) or "another name"


def _shown(part: Any) -> str:
    return part if isinstance(part, str) else "none" if part is None else json.dumps(part)
