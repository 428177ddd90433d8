"""`capacity status`: the state of every run of a study, from its record, its lock, its log, and the
queue that holds it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from capacity import archive, records
from capacity.base.errors import ConfigError
from capacity.base.words import WIDTH, clock, file_size, plural, wrap
from capacity.config import Config
from capacity.study import load_study
from capacity.sweep import submissions

STATES = ("finished", "running", "queued", "requeued", "interrupted", "failed", "missing")
MEANING = {
    "finished": "has a record",
    "running": "a process trains it",
    "queued": "waits in a queue, or in a pack that has begun",
    "requeued": "waits again, after a time limit, a preemption or a node's failure",
    "interrupted": "has a checkpoint, no process trains it",
    "failed": "has a record with the reason, or its job ended with one",
    "missing": "has nothing yet",
}
SHOWN = 20  # rows of a state, unless --all
WATCH_SECONDS = 5.0


def status(
    name: str, overrides: list[str], results: Path, as_json: bool, everything: bool, watch: bool
) -> int:
    """Print what is done of a study; returns 0 if every run is finished, else 1."""
    study = load_study(name, overrides)
    while True:
        rows, note = survey(study.trained, results)
        rows = [row | {"variant": study.variants.get(row["run_id"], "a start")} for row in rows]
        note = note or _kept(study.name, rows, results)
        note = note or _other_settings(name, overrides, study.name, results)
        totals = {
            state: n for state in STATES if (n := sum(row["status"] == state for row in rows))
        }
        if as_json:
            print(
                json.dumps(
                    {"study": study.name, "totals": totals, "note": note, "runs": rows}, indent=1
                )
            )
        else:
            if watch and sys.stdout.isatty():
                print("\x1b[H\x1b[2J", end="")
            print(report(study.name, rows, totals, note, everything))
            sys.stdout.flush()
        if not watch or not {"running", "queued", "requeued"} & totals.keys():
            return 0 if set(totals) == {"finished"} else 1
        time.sleep(WATCH_SECONDS)


def _kept(study: str, rows: list[dict], results: Path) -> str:
    """A hint where runs without a folder have a record beside the committed fit: a sweep trains
    them, while the laws are fitted to what is kept."""
    with archive.reading(results, [study]) as kept:
        n = sum(row["status"] == "missing" and row["run_id"] in kept.records for row in rows)
    if not n:
        return ""
    return (
        f"{n:,} of the missing {'has' if n == 1 else 'have'} a kept record in "
        f"{results / 'studies' / study / archive.RECORDS}, which fit-laws, compare, table and "
        "report read; sweep would train them"
    )


def _other_settings(name: str, overrides: list[str], study: str, results: Path) -> str:
    """A hint where the last submission of the study was made with other settings, which name other
    runs."""

    def kept(texts: list[str]) -> list[str]:
        return [text for text in texts if not text.lstrip("+").startswith(("cluster", "wandb"))]

    last = next(reversed(submissions.read_all(results, study)), None)
    if last is None or kept(last.tree["overrides"]) == kept(overrides):
        return ""
    settings = " ".join(kept(last.tree["overrides"]))
    return f"the last sweep had other settings; see: capacity status {name} {settings}".rstrip()


def survey(runs: list[Config], results: Path) -> tuple[list[dict], str]:
    """One row per run, and what could not be determined, else an empty text.

    Row: run_id, model, seed, items, status, bytes (by file, of the run's folder), step (last
    logged), steps, seconds_left (of its training, at its own pace), error, again (failed without a
    record: `sweep` trains it), where (the queue's words), log (a file to read), pruned (what was
    noted of a checkpoint that was removed), end (how its last job ended, according to the queue).
    """
    note = ""
    try:
        living = submissions.alive(results, {run.run_id for run in runs})
    except ConfigError as error:
        living, note = {}, f"the state of the queue is unknown: {error}"
    holder = {
        run_id: (s, i, element)
        for (s, i), element in living.items()
        for run_id in s.elements[i]["runs"]
    }
    last = submissions.last_places(results)
    states = {(s, i): s.state(i) for s, i in {*[(s, i) for s, i in living], *last.values()}}
    return [
        _row(run, results, holder.get(run.run_id), last.get(run.run_id), states) for run in runs
    ], note


Place = tuple[submissions.Submission, int]  # and array index


def _row(
    run: Config,
    results: Path,
    holder: tuple[submissions.Submission, int, submissions.Element] | None,
    last: Place | None,
    states: dict[Place, dict | None],
) -> dict:
    record = records.read(results, run.run_id)
    state = records.status_of(results, run.run_id, record)
    where = log = end = None
    if holder is not None and state not in ("finished", "running"):
        submission, index, element = holder
        last_state = states[submission, index] or {}
        busy = element.state == "running" and any(
            run.run_id in job["runs"] for job in last_state.get("running", [])
        )
        ended = last_state.get("outcome", {}).get(run.run_id) == "failed"
        state = (
            "running"
            if busy
            else "failed"
            if ended
            else "queued"
            if element.state == "running"
            else element.state
        )
    if last is not None:
        submission, index = last
        if submission.job is not None:
            where = f"{submission.launcher} {submission.job}_{index}"
            if holder is not None:
                where += f" {holder[2].words}"
        elif submission.launcher == "local" and holder is not None:
            where = holder[2].words
        log = _log(submission, index, run.run_id, states[submission, index])
        end = submission.elements[index]["end"]
    lines = (
        records.read_metrics(results, run.run_id)
        if state in ("running", "interrupted", "queued", "requeued")
        else []
    )
    error = record["error"]["reason"] if state == "failed" and record and record["error"] else None
    again = False
    if state in ("missing", "interrupted") and last is not None:
        error = submissions.refusal(*last)
        again = error is not None
        state = "failed" if again else state
    sizes = records.sizes(results, run.run_id)
    step, left = (lines[-1]["step"], None) if lines else (None, None)
    paced = [line for line in lines if "wall_s" in line]
    if state == "running" and paced and paced[-1]["step"]:
        left = paced[-1]["wall_s"] / paced[-1]["step"] * (run.steps - paced[-1]["step"])
    return {
        "run_id": run.run_id,
        "model": run.shape,
        "seed": run.seed,
        "items": run.items,
        "status": state,
        "bytes": sizes,
        "pruned": records.pruned(results, run.run_id, records.CHECKPOINT)
        if "pruned.json" in sizes  # a file that is not there is a question to the disk as well
        else None,
        "step": step,
        "steps": run.steps,
        "seconds_left": left,
        "error": error,
        "again": again,
        "where": where,
        "log": str(log) if log else None,
        "end": end,
    }


def _log(
    submission: submissions.Submission, index: int, run_id: str, state: dict | None
) -> Path | None:
    """The log with something in it: of the stack that trains the run, of its element, or of any
    stack of the pack."""
    pack = submission.pack(index)
    candidates = [
        Path(job["log"]) for job in (state or {}).get("running", []) if run_id in job["runs"]
    ]
    candidates += [submission.log(index)] if submission.job is not None else []
    candidates += sorted(pack.parent.glob(f"{pack.stem}.*.log"))
    return next((path for path in candidates if path.exists() and path.stat().st_size), None)


def report(name: str, rows: list[dict], totals: dict[str, int], note: str, everything: bool) -> str:
    """The rows for a terminal."""
    width = min(100, shutil.get_terminal_size().columns if sys.stdout.isatty() else 100)
    lines = [
        f"{name}: {plural(len(rows), 'run')}, "
        + ", ".join(f"{n} {state}" for state, n in totals.items())
    ]
    left = [row["seconds_left"] for row in rows if row["seconds_left"] is not None]
    if left:
        lines[0] += f"; running ones need up to {clock(max(left))} more"
    if files := _sizes(rows):
        lines += wrap(files, "", "  ", width)
    if note:
        lines += wrap(note, "", "  ", width)
    for state in STATES[1:]:
        group = [row for row in rows if row["status"] == state]
        if group:
            lines.append(f"{state} ({MEANING[state]})")
        log = None
        for row in group if everything else group[:SHOWN]:
            lines.append(_line(row))
            lines += [f"    {row['error']}"] if row["error"] else []
            lines += ["    it has no record, so sweep trains it again"] if row["again"] else []
            if row["pruned"] and state == "missing":
                lines.append("    its checkpoint was pruned, so that it begins again at step 0")
            if row["log"] not in (None, log) and state in (
                "running",
                "failed",
                "interrupted",
                "missing",
            ):
                log = row["log"]  # of a whole stack: once is enough
                lines.append(f"    {log}")
        if len(group) > SHOWN and not everything:
            lines.append(f"  and {len(group) - SHOWN:,} more; --all shows them")
    return "\n".join(lines)


def _sizes(rows: list[dict]) -> str:
    """What the folders of the runs hold, and of it what `capacity prune` could remove."""
    total = sum(size for row in rows for size in row["bytes"].values())
    if not total:
        return ""
    parts = {
        name: sum(row["bytes"].get(f"{file}.safetensors", 0) for row in rows)
        for name, file in (("weights", "weights"), ("checkpoints", "checkpoint"))
    }
    removable = [f"{name} {file_size(size)}" for name, size in parts.items() if size]
    of_which = f", of which {' and '.join(removable)}" if removable else ""
    return f"files: {file_size(total)}{of_which}"


def _line(row: dict) -> str:
    text = f"  {row['run_id']} {row['model']:>6s} N={row['items']:<6d} seed {row['seed']}"
    if row["step"] is not None:
        text += f"  {row['step']:,}/{row['steps']:,} steps"
    if row["seconds_left"] is not None:
        text += f", {clock(row['seconds_left'])} left"
    if row["where"] and row["status"] in ("running", "queued", "requeued"):
        text += f"  {row['where'].removesuffix(' RUNNING')}"
    elif row["end"]:
        text += f"  {row['where']} ended as {row['end']}"
    variant = row.get("variant") or ""
    if variant and len(text) + len(variant) + 2 > WIDTH:
        return "\n".join([text, *wrap(variant, "    ")])
    return f"{text}  {variant}".rstrip()
