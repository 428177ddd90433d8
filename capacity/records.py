"""What a run leaves behind, in results/runs/<run_id>/:

    config.json             the resolved settings, written when the run is claimed
    metrics.jsonl           one line per log point and per evaluation; a mirror for people and wandb
    checkpoint.safetensors  the exact state of an unfinished run; gone when it ends
    weights.safetensors     final weights by name
    record.json             the outcome, written atomically and last: a run is done when this says
                            "finished"
    pruned.json             what `capacity prune` has removed, by file name
    lock                    held (flock) by the process that trains the run

Standard library only. Nothing is ever unpickled.
"""

from __future__ import annotations

import copy
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.base.errors import ConfigError
from capacity.base.files import flock, is_locked, make_folder, write_atomic, write_json
from capacity.declare import quantization, registry
from capacity.declare import record as declared
from capacity.declare.field import needed
from capacity.settings.quantize import Quantize

if TYPE_CHECKING:
    from capacity.config import Config

SCHEMA = 1
ID = re.compile(r"[0-9a-f]{12}")  # of a run; also the name of its folder
SHORTEST_PREFIX = 4  # digits that may stand for a run, as git has it
LISTED = 5  # runs that a message names
WEIGHTS, CHECKPOINT = "weights.safetensors", "checkpoint.safetensors"
# what a folder of a run holds -> what it is
FILES = {
    "config.json": "all settings",
    "metrics.jsonl": "a line per log point and per evaluation",
    CHECKPOINT: "the exact state of an unfinished run",
    WEIGHTS: "final weights; measure and export read them",
    "snapshots.safetensors": "scores of every sequence at some steps of the training",
    "scores.safetensors": "the scores of single sequences of text, or of single people",
    "record.json": "the outcome",
    "pruned.json": "what `capacity prune` has removed",
    "wandb.log": "messages of the wandb mirror",
}
_BESIDE: ContextVar[Mapping[str, dict] | None] = ContextVar(
    "records beside those of run folders", default=None
)


def runs_dir(results: Path) -> Path:
    return results / "runs"


def run_dir(results: Path, run_id: str) -> Path:
    return runs_dir(results) / run_id


def find(results: Path, text: str) -> str:
    """The run that an id, or the beginning of one, stands for, as git takes them: at least
    SHORTEST_PREFIX digits that begin one id in the results folder. ConfigError where no run begins
    so, or several do."""
    prefix = text.strip().lower()
    folder = runs_dir(results)
    if not re.fullmatch(r"[0-9a-f]{1,12}", prefix):
        raise ConfigError(
            f"{text}: not the id of a run: expected {SHORTEST_PREFIX} to 12 of the digits 0 to 9 "
            "and a to f; `capacity status STUDY` shows ids"
        )
    if len(prefix) < SHORTEST_PREFIX:
        raise ConfigError(
            f"{text}: too short for the id of a run; give at least {SHORTEST_PREFIX} digits"
        )
    if len(prefix) == 12 and (folder / prefix).is_dir():
        return prefix
    known = {path.name for path in folder.glob(f"{prefix}*") if ID.fullmatch(path.name)}
    known |= {run_id for run_id in _BESIDE.get() or {} if run_id.startswith(prefix)}
    matches = sorted(known)
    if not matches:
        raise ConfigError(f"{text}: no run in {folder} begins so")
    if len(matches) > 1:
        more = f" and {len(matches) - LISTED:,} more" if len(matches) > LISTED else ""
        raise ConfigError(
            f"{text}: {len(matches):,} runs begin so: {', '.join(matches[:LISTED])}{more}; give "
            "more digits"
        )
    return matches[0]


def sizes(results: Path, run_id: str) -> dict[str, int]:
    """Bytes by name of the files that a run has left, in the order of FILES; others behind. Empty
    where it has no folder."""
    by_name: dict[str, int] = {}
    try:
        with os.scandir(run_dir(results, run_id)) as entries:
            for entry in entries:
                if entry.name != "lock" and entry.is_file(follow_symlinks=False):
                    by_name[entry.name] = entry.stat(follow_symlinks=False).st_size
    except (FileNotFoundError, NotADirectoryError):
        return {}
    order = [*FILES, *sorted(by_name.keys() - FILES.keys())]
    return {name: by_name[name] for name in order if name in by_name}


def note_pruned(results: Path, run_id: str, name: str, about: dict) -> None:
    """Note that a file of a run is removed. about: when ("at"), its size ("bytes"), and of a
    checkpoint the step where it stood."""
    path = run_dir(results, run_id) / "pruned.json"
    write_json(path, _pruned(path) | {name: about})


def pruned(results: Path, run_id: str, name: str) -> dict | None:
    """What was noted of a file that has been removed; None where it was not, or is there again."""
    folder = run_dir(results, run_id)
    return None if (folder / name).exists() else _pruned(folder / "pruned.json").get(name)


def _pruned(path: Path) -> dict:
    try:
        tree = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # nothing depends on it
        return {}
    return tree if isinstance(tree, dict) else {}


def validate(record: dict) -> dict:
    """The record itself, or ValueError naming the first field that is missing or of a wrong
    type. Which fields are needed stands in `capacity.declare`."""
    needed(record, declared.ALWAYS)
    if record["status"] not in ("finished", "failed"):
        raise ValueError(f"record: status={record['status']!r}: expected finished or failed")
    if record["status"] == "failed":
        needed(record, declared.FAILED)
        return record
    needed(record, declared.FINISHED)
    measures = {
        name: measure for name, measure in registry.MEASURES.items() if name in record["measures"]
    }
    if not any(measure.main for measure in measures.values()):
        allowed = [name for name, measure in registry.MEASURES.items() if measure.main]
        raise ValueError(f"record: measures: expected one of {', '.join(allowed)}")
    for name, measure in measures.items():
        part = record["measures"][name]
        needed(part, measure.fields, f"measures.{name}.")
        if measure.rows:
            for row in [part.get("unquantized"), *part["rows"]]:
                if row:
                    needed(row, measure.rows, f"measures.{name}.rows: ")
    return record


def write(results: Path, record: dict) -> None:
    """Validate and write record.json atomically."""
    write_json(run_dir(results, validate(record)["run_id"]) / "record.json", record)


def read(results: Path, run_id: str) -> dict | None:
    """The record of a run, or None if it has none yet. ConfigError if the file is not a record.
    Within `beside` also one that is kept there."""
    path = run_dir(results, run_id) / "record.json"
    try:
        record = validate(json.loads(path.read_bytes()))
        if record["run_id"] != run_id:
            raise ValueError(f"it is the record of run {record['run_id']}")
        return record
    except FileNotFoundError:
        beside = _BESIDE.get() or {}
        return copy.deepcopy(beside.get(run_id))  # as if read from a file: callers may change it
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path}: not a record ({error}); remove the folder to train the run again"
        ) from None


@contextmanager
def beside(kept: Mapping[str, dict]) -> Iterator[None]:
    """While open, `read` takes records from `kept`, by run id, where a run has none in its folder;
    see `capacity.archive`."""
    token = _BESIDE.set(kept)
    try:
        yield
    finally:
        _BESIDE.reset(token)


def status(results: Path, run_id: str) -> str:
    """finished, failed, running (a live process holds it), interrupted (a checkpoint, no process)
    or missing."""
    return status_of(results, run_id, read(results, run_id))


def status_of(results: Path, run_id: str, record: dict | None) -> str:
    """`status` of a run whose record was read, None where it has none."""
    if record is not None and record["status"] == "finished":
        return "finished"
    folder = run_dir(results, run_id)
    if is_locked(folder / "lock"):
        return "running"
    if record is not None:
        return "failed"
    return "interrupted" if (folder / CHECKPOINT).exists() else "missing"


@contextmanager
def claim(results: Path, run_id: str) -> Iterator[bool]:
    """Hold the run while the context is open; yields False if another live process holds it.

    An flock dies with its process, so a killed worker never leaves a stale claim.
    """
    folder = run_dir(results, run_id)
    make_folder(folder)
    with open(folder / "lock", "a") as file:
        for _ in range(5):  # `status` holds the lock for an instant when it looks
            if flock(file):
                break
            time.sleep(0.05)
        else:
            yield False
            return
        for left in folder.glob(".*.tmp"):  # of a writer that was killed
            left.unlink(missing_ok=True)
        yield True


def append_metrics(results: Path, run_id: str, line: dict) -> None:
    """Add one line to metrics.jsonl."""
    with open(run_dir(results, run_id) / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def read_metrics(results: Path, run_id: str) -> list[dict]:
    """Lines of metrics.jsonl; a torn last line (killed while writing) is left out."""
    lines = []
    try:
        text = (run_dir(results, run_id) / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return lines
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def cut_metrics(results: Path, run_id: str, step: int) -> None:
    """Drop what was logged after `step`, which a resumed run will log again."""
    kept = [line for line in read_metrics(results, run_id) if line["step"] <= step]
    write_atomic(
        run_dir(results, run_id) / "metrics.jsonl",
        "".join(json.dumps(k) + "\n" for k in kept).encode(),
    )


def measured_otherwise(record: dict, config: Config) -> bool:
    """Whether the settings ask for measures that the record does not have in this form."""
    had, asked = record["config"], config.as_dict()
    names = ("people", "contexts", "context")
    return (
        any(had["measure"].get(name) != asked["measure"][name] for name in names)
        or config.extraction.mode != "none"
        and had.get("extraction") != asked["extraction"]
        or len(quantization.asked(config.quantize, record))
        > len(quantization.asked(Quantize(), record))
    )
