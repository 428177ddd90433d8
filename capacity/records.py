"""What a run leaves behind, in results/runs/<run_id>/:

    config.json             the resolved settings, written when the run is claimed
    metrics.jsonl           one line per log point and per evaluation; a mirror for people and wandb
    checkpoint.safetensors  the exact state of an unfinished run; gone when it ends
    weights.safetensors     final weights by name
    record.json             the outcome, written atomically and last: a run is done when this says
                            "finished"
    lock                    held (flock) by the process that trains the run

Standard library only. Nothing is ever unpickled.
"""

from __future__ import annotations

import copy
import fcntl
import json
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Iterator, Mapping

from capacity.base.errors import ConfigError
from capacity.base.files import flock, is_locked, make_folder, write_atomic, write_json

SCHEMA = 1
_BESIDE: ContextVar[Mapping[str, dict]] = ContextVar(
    "records beside those of run folders", default={}
)
OPTIONAL = type(None)
# Dotted key -> allowed types. A record has at least these; measures bring their own version number.
FIELDS: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "run_id": (str,),
    "status": (str,),
    "study": (str, OPTIONAL),
    "config": (dict,),
    "identity": (dict,),
    "parameters.total": (int,),
    "parameters.paper": (int,),
    "parameters.non_embedding": (int,),
    "data.entropy_bits": (float,),
    "data.load": (float,),
    "training.steps": (int,),
    "training.tokens": (int,),
    "training.flops": (float,),
    "training.wall_s": (float,),
    "training.stack": (int,),
    "training.device": (str,),
    "training.threads": (int,),
    "training.precision": (str,),
    "training.master_weights": (str,),
    "measures": (dict,),
    "convergence": (dict, OPTIONAL),
    "error": (dict, OPTIONAL),
    "environment": (dict,),
    "finished_at": (str,),
}

FAILED: dict[str, tuple[type, ...]] = {"error.reason": (str,)}
FINISHED: dict[str, tuple[type, ...]] = {
    "convergence.gain_last_tenth": (float, OPTIONAL),
    "training.exposures_min": (int,),
    "training.exposures_max": (int,),
}
MEASURED: dict[
    str, dict[str, tuple[type, ...]]
] = {  # by measure; a finished record has one of them
    "memorization": {
        f"{convention}.{name}": types
        for convention in ("strict", "paper")
        for name, types in {
            "bits": (float,),
            "ceiling_bits": (float,),
            "fraction_of_ceiling": (float, OPTIONAL),
            "bits_per_parameter.total": (float,),
            "bits_per_parameter.paper": (float,),
        }.items()
    },
    "knowledge": {
        name: (float,)
        for name in (
            "p1_nats",
            "p2_nats",
            "bits",
            "ceiling_bits",
            "fraction_of_ceiling",
            "accuracy",
            "bits_se_over_people",
            "bits_per_parameter.total",
            "bits_per_parameter.paper",
        )
    }
    | {"attributes": (dict,), "context": (str,)},
    "text": {
        name: (float,)
        for name in (
            "bits",
            "members.loss_bits_per_token",
            "held_out.loss_bits_per_token",
            "bag_of_words_auc",
            "tokens_per_parameter.total",
        )
    }
    | {"n_members": (int,), "n_held_out": (int,), "membership": (dict,)},
}

QUANTIZED: dict[
    str, tuple[type, ...]
] = {  # of the unquantized model and of each row of the measure "quantization"
    "held_bits": (float,),
    "fraction_of_unquantized": (float, OPTIONAL),
    "bits_per_parameter.total": (float,),
    "stored_bits": (int,),
    "stored_bits_per_weight": (float,),
    "bits_per_stored_bit": (float,),
}


def runs_dir(results: Path) -> Path:
    return results / "runs"


def run_dir(results: Path, run_id: str) -> Path:
    return runs_dir(results) / run_id


def validate(record: dict) -> dict:
    """The record itself, or ValueError naming the first field that is missing or of a wrong
    type."""
    for key, types in FIELDS.items():
        _check(record, key, types)
    if record["status"] not in ("finished", "failed"):
        raise ValueError(f"record: status={record['status']!r}: expected finished or failed")
    needed = FAILED if record["status"] == "failed" else FINISHED
    for key, types in needed.items():
        _check(record, key, types)
    if record["status"] == "finished":
        present = [name for name in MEASURED if name in record["measures"]]
        if not present:
            raise ValueError(f"record: measures: expected one of {', '.join(MEASURED)}")
        for name in present:
            for key, types in MEASURED[name].items():
                _check(record, f"measures.{name}.{key}", types)
        quantized = record["measures"].get("quantization", {"unquantized": None, "rows": []})
        for row in [
            *([quantized["unquantized"]] if quantized["unquantized"] else []),
            *quantized["rows"],
        ]:
            for key, types in QUANTIZED.items():
                _check(row, key, types)
    return record


def _check(record: Any, key: str, types: tuple[type, ...]) -> None:
    value = record
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"record: {key} is missing")
        value = value[part]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(
            f"record: {key}={value!r}: expected {' or '.join(t.__name__ for t in types)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"record: {key}={value!r}: expected a finite number")


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
        return copy.deepcopy(
            _BESIDE.get().get(run_id)
        )  # as if read from a file: the caller may change it
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
    record = read(results, run_id)
    if record is not None and record["status"] == "finished":
        return "finished"
    folder = run_dir(results, run_id)
    if is_locked(folder / "lock"):
        return "running"
    if record is not None:
        return "failed"
    return "interrupted" if (folder / "checkpoint.safetensors").exists() else "missing"


@contextmanager
def claim(results: Path, run_id: str) -> Iterator[bool]:
    """Hold the run while the context is open; yields False if another live process holds it.

    An flock dies with its process, so a killed worker never leaves a stale claim.
    """
    folder = run_dir(results, run_id)
    make_folder(folder)
    with open(folder / "lock", "a") as file:
        for _ in range(5):  # `status` holds the lock for an instant when it looks
            if flock(file, fcntl.LOCK_EX):
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
