"""`capacity prune`: removes final weights or checkpoints of a study's runs, whose records stay.

What goes is listed with its size and asked for. Never touched are runs that a process trains or a
queue holds, and runs that another study has as well, unless that is named, too: a study has a run
if a record, a submission or a fit of the results folder says so, or a study file below ./sweeps.
What was removed is noted in the run's folder, so that a reader who misses it is told.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from capacity import archive, records
from capacity.base import table
from capacity.base.errors import ConfigError
from capacity.base.table import Column, Table
from capacity.base.words import file_size, plural, some, wrap
from capacity.config import Config
from capacity.records import CHECKPOINT, WEIGHTS
from capacity.study import Study, load_study, study_names
from capacity.sweep import submissions

SHOWN = 12  # runs that are listed by name, unless --all


@dataclass(frozen=True)
class Going:
    """A file that can go: of which run, its size, and of a checkpoint the step where it stands."""

    run: Config
    name: str
    size: int
    step: int | None = None


@dataclass
class Plan:
    """What goes, and of which runs that are there nothing does: id -> the reason."""

    going: list[Going] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(one.size for one in self.going)


def prune(
    names: list[str],
    overrides: list[str],
    results: Path,
    wanted: list[str],
    agreed: Callable[[str], bool],
) -> int:
    """Remove the files `wanted` (WEIGHTS, CHECKPOINT) of the runs of some studies; returns the exit
    code. agreed: is asked with the question, after the list was printed. ConfigError where a queue
    cannot be asked which runs it holds."""
    studies = [load_study(name, overrides) for name in names]
    plan = make_plan(studies, results, wanted)
    print(report(plan, studies, wanted))
    if not plan.going:
        return 0
    sys.stdout.flush()
    if not agreed(f"remove {plural(len(plan.going), 'file')}, {file_size(plan.size)}?"):
        print("nothing was removed")
        return 0
    gone, left = remove(plan, results)
    print(f"removed {plural(len(gone), 'file')}, {file_size(sum(one.size for one in gone))}")
    if left:
        print("\n".join(wrap(f"left alone, in use since: {', '.join(left)}", "", "  ")))
    return 0


def make_plan(studies: list[Study], results: Path, wanted: Iterable[str]) -> Plan:
    """What of these studies can go."""
    held = _held(results)
    elsewhere = others(results, {study.name for study in studies})
    plan = Plan()
    for run in {run.run_id: run for study in studies for run in study.trained}.values():
        sizes = records.sizes(results, run.run_id)
        present = [name for name in wanted if name in sizes]
        if not present:
            continue
        state = records.status(results, run.run_id)
        if run.run_id in held or state == "running":
            plan.kept[run.run_id] = "running or queued"
        elif run.run_id in elsewhere:
            plan.kept[run.run_id] = f"also of {some(sorted(elsewhere[run.run_id]), 3)}"
        else:
            for name in present:
                step = _step(results, run.run_id) if name == CHECKPOINT else None
                plan.going.append(Going(run, name, sizes[name], step))
    return plan


def _held(results: Path) -> set[str]:
    """Runs that a queue or a sweep on some machine holds."""
    return {
        run_id
        for submission, index in submissions.alive(results)
        for run_id in submission.elements[index]["runs"]
    }


def others(results: Path, names: set[str]) -> dict[str, set[str]]:
    """Run id -> studies but those named that have it."""
    by_run: dict[str, set[str]] = {}

    def add(run_id: str, study: str | None) -> None:
        if study and study not in names:
            by_run.setdefault(run_id, set()).add(study)

    for path in records.runs_dir(results).glob("*/record.json"):
        record = records.read(results, path.parent.name) or {}
        add(path.parent.name, record.get("study"))
    for submission in submissions.read_all(results):
        for element in submission.elements:
            for run_id in element["runs"]:
                add(run_id, submission.tree["study"])
    folder = results / "studies"
    for path in [*folder.rglob("runs.csv"), *folder.rglob(archive.RECORDS)]:
        for run_id in _of_fit(path):
            add(run_id, path.parent.relative_to(folder).as_posix())
    for name in study_names([Path("sweeps").resolve()]) if _own_studies() else []:
        for study in _of_file(name):
            for run in study.trained:
                add(run.run_id, study.name)
    return by_run


def _own_studies() -> bool:
    """Whether ./sweeps has a person's own studies; those of this package are known by what they
    left in the results folder, since reading them all takes ten seconds."""
    from capacity.compose import shared_dir

    own = Path("sweeps").resolve()
    return own.is_dir() and own != shared_dir("sweeps").resolve()


def _of_file(name: str) -> list[Study]:
    """A study of a file and all its presets; what cannot be read has no runs."""
    from capacity.compose import read_yaml
    from capacity.study import find_study

    studies = []
    try:
        presets = read_yaml(find_study(name)).get("presets") or {}
    except ConfigError:
        return []
    for full in [name, *(f"{name}@{preset}" for preset in presets)]:
        try:
            studies.append(load_study(full, []))
        except ConfigError:
            continue
    return studies


def _of_fit(path: Path) -> list[str]:
    """Run ids of a table of runs or of kept records."""
    try:
        if path.name == archive.RECORDS:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                return [json.loads(line)["run_id"] for line in lines]
        with open(path, newline="", encoding="utf-8") as file:
            return [row["run_id"] for row in csv.DictReader(file) if row.get("run_id")]
    except (OSError, EOFError, KeyError, ValueError, csv.Error) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}), so that nobody knows which runs this study needs; "
            "fit it again or remove the file"
        ) from None


def _step(results: Path, run_id: str) -> int | None:
    """The step at which a checkpoint stands, None where its head cannot be read."""
    path = records.run_dir(results, run_id) / CHECKPOINT
    try:
        with open(path, "rb") as file:
            head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return int(json.loads(head["__metadata__"]["capacity"])["step"])
    except (OSError, OverflowError, MemoryError, KeyError, TypeError, ValueError):
        return None


def report(plan: Plan, studies: list[Study], wanted: list[str]) -> str:
    """What goes and what that means, what stays and why, in lines of at most 80 columns."""
    names = ", ".join(study.name for study in studies)
    what = " and ".join({WEIGHTS: "weights", CHECKPOINT: "checkpoints"}[name] for name in wanted)
    summary = f"{plural(len(plan.going), 'file')} of {what} can go, {file_size(plan.size)}"
    lines = wrap(f"{names}: {summary if plan.going else f'no {what} that can go'}")
    if plan.going:
        columns = [
            Column("run", right=False),
            Column("model"),
            Column("seed"),
            Column("file", right=False),
            Column("size"),
        ]
        largest = sorted(plan.going, key=lambda one: -one.size)
        rows = [
            [
                one.run.run_id,
                one.run.shape,
                str(one.run.seed),
                one.name.partition(".")[0]
                + (f" at step {one.step:,} of {one.run.steps:,}" if one.step is not None else ""),
                file_size(one.size),
            ]
            for one in largest[:SHOWN]
        ]
        lines += table.text(Table(columns, rows))
        if (left := len(largest) - SHOWN) > 0:
            lines.append(f"  and {left:,} smaller ones")
        lines += _meaning(plan)
    reasons: dict[str, list[str]] = {}
    for run_id, why in plan.kept.items():
        reasons.setdefault(why, []).append(run_id)
    for why, run_ids in reasons.items():
        lines += wrap(f"stay: {plural(len(run_ids), 'run')}, {why} ({some(run_ids, 3)})", "", "  ")
    return "\n".join(lines)


def _meaning(plan: Plan) -> list[str]:
    out = []
    if any(one.name == WEIGHTS for one in plan.going):
        out += wrap(
            "records stay, so that fit-laws, report, compare and table work as before; these runs "
            "are neither measured again nor quantized nor exported any more, unless they are "
            "trained anew",
            "  ",
        )
    if any(one.name == CHECKPOINT for one in plan.going):
        out += wrap("without their checkpoints these runs begin again at step 0", "  ")
    return out


def remove(plan: Plan, results: Path) -> tuple[list[Going], list[str]]:
    """Remove the files, each under the claim of its run; returns those that are gone, and ids of
    runs that have been taken up since the plan was made."""
    gone: list[Going] = []
    left: list[str] = []
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with submissions.submitting(results):  # nobody takes up a run meanwhile
        held = _held(results)
        for one in plan.going:
            run_id = one.run.run_id
            with records.claim(results, run_id) as mine:
                if not mine or run_id in held:
                    left.append(run_id)
                    continue
                note = {"at": now, "bytes": one.size}
                if one.step is not None:
                    note["step"] = one.step
                # first the note: a crash in between leaves the file, which goes before the note
                records.note_pruned(results, run_id, one.name, note)
                (records.run_dir(results, run_id) / one.name).unlink(missing_ok=True)
                gone.append(one)
    return gone, list(dict.fromkeys(left))
