"""What has been submitted to a launcher, in results/submissions/<id>/:

    submission.json     study, launcher, job, who and where, and by element its pack file and runs
    pack-0000.json ...  the packs; beside each its logs and its state (see `sweep/pool.py`)
    submit.sbatch       what SLURM got
    lock                held (flock) by a sweep that runs here

A submission claims its runs while an element that holds them is alive. A submitter holds
results/submissions/lock from the look at what is alive until the job is known, so that two people
never submit the same run. The locks need a file system whose flock reaches all its machines (NFS
and GPFS do, Lustre if mounted with -o flock).
"""

from __future__ import annotations

import getpass
import importlib
import itertools
import json
import os
import re
import secrets
import shutil
import socket
import sys
import time
import unicodedata
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from capacity import records
from capacity.base import files
from capacity.base.errors import ConfigError, nearest
from capacity.sweep.packs import Job, write_pack

SCHEMA = 1
LAUNCHERS = {"slurm": "capacity.sweep.slurm"}
ERROR = "capacity: error: "  # what a command's last words begin with
TAIL = 4096  # bytes of a log that are read for them
NAMELESS_S = 10.0  # wait for the name of another submitter
PATIENCE_S = 120.0  # wait for another submitter; asking a busy queue can take a minute


@dataclass(frozen=True)
class Element:
    """What a queue reports on one array element that it still knows."""

    state: str  # queued, requeued or running
    words: str  # the queue's own, such as PENDING (Priority)
    job: str | None = None  # the number of its job, where it may differ from the submission's


@dataclass(frozen=True)
class Allowance:
    """What a queue allows a person, each with its name, None where it does not say. submitted:
    elements queued or running at once; running: of them, those that run; queued: elements that this
    person has there already."""

    submitted: tuple[int, str] | None = None
    running: tuple[int, str] | None = None
    queued: int = 0

    @property
    def free(self) -> int | None:
        """How many elements can be submitted now; None where nothing limits them."""
        return None if self.submitted is None else max(0, self.submitted[0] - self.queued)


@dataclass(frozen=True)
class Submission:
    """One array job, or one sweep on a machine; the same if its folder is."""

    folder: Path
    tree: dict = field(compare=False)

    @property
    def launcher(self) -> str:
        return self.tree["launcher"]

    @property
    def job(self) -> str | None:
        return self.tree["job"]

    @property
    def elements(self) -> list[dict]:
        """By array index: {"pack": file name, "runs": run ids, "seconds": expected, "end": how it
        ended, where known}."""
        return self.tree["elements"]

    def pack(self, index: int) -> Path:
        return self.folder / self.elements[index]["pack"]

    def log(self, index: int) -> Path:
        """What the element itself printed; its stacks' logs stand beside the pack."""
        return self.folder / f"{self.job}_{index}.log"

    def state(self, index: int) -> dict | None:
        """What the element last wrote about itself, see `sweep.pool`."""
        try:
            return json.loads(self.pack(index).with_suffix(".state.json").read_bytes())
        except (OSError, ValueError):
            return None

    def save(self, **changes) -> None:
        self.tree.update(changes)
        files.write_json(self.folder / "submission.json", self.tree)


Living = dict[tuple[Submission, int], Element]  # by submission and array index


def folder_of(results: Path) -> Path:
    return results / "submissions"


def read_all(results: Path, study: str | None = None) -> list[Submission]:
    """Submissions, the oldest first; of one study, or of all. ConfigError for a file that is
    none."""
    out = []
    for path in folder_of(results).glob("*/submission.json"):
        try:
            tree = json.loads(path.read_bytes())
            if tree["schema"] != SCHEMA:
                raise ValueError("of another version of capacity")
            submission = Submission(path.parent, tree)
            if study in (None, tree["study"]):
                out.append((tree["submitted_at"], path.parent.name, submission))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: not a submission ({error}); remove its folder if nothing of it is queued"
            ) from None
        except FileNotFoundError:  # withdrawn at this moment
            continue
    return [submission for _, _, submission in sorted(out, key=lambda entry: entry[:2])]


def launcher(name: str) -> ModuleType:
    """The module of a launcher: SLURM's, or one that a person wrote (see `sweep/slurm.py` for what
    it must have)."""
    if name != "local" and name not in LAUNCHERS:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            known = ["local", *LAUNCHERS]
            raise ConfigError(
                f"cluster.launcher={name}: {error}; allowed: {', '.join(known)}, or a module in "
                f"PYTHONPATH"
                f"{nearest(name, known)}"
            ) from None
        lacking = [
            f
            for f in ("submit", "elements", "end", "cancel")
            if not callable(getattr(module, f, None))
        ]
        if lacking:
            raise ConfigError(
                f"cluster.launcher={name}: {module.__file__} has no function {lacking[0]}; see "
                f"capacity/sweep/slurm.py"
            )
        return module
    return importlib.import_module(LAUNCHERS[name])


@contextmanager
def submitting(results: Path) -> Iterator[None]:
    """Only one submitter at a time, on all machines that share this folder. ConfigError if another
    takes too long."""
    folder = folder_of(results)
    files.make_folder(folder)
    began, noted = time.monotonic(), False
    with open(folder / "lock", "a+") as file:
        while not files.flock(file):
            file.seek(0)
            who = file.read().strip()
            if time.monotonic() - began > PATIENCE_S:
                raise ConfigError(
                    f"{folder / 'lock'}: {who or 'somebody'} has been submitting for "
                    f"{PATIENCE_S:.0f} s; nothing was submitted, try again"
                )
            # who has just taken the lock has not written a name yet
            if not noted and (who or time.monotonic() - began > NAMELESS_S):
                print(f"waiting: {who or 'somebody'} is submitting", file=sys.stderr)
                noted = True
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"{user()}@{socket.gethostname()} (process {os.getpid()})")
        file.flush()
        yield


@contextmanager
def held(submission: Submission) -> Iterator[None]:
    """The lock of a sweep on this machine: while it is held, the submission is alive."""
    with open(submission.folder / "lock", "a") as file:
        while not files.flock(file):  # `status` holds it for an instant when it looks
            time.sleep(0.02)
        yield


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a command ordered: the study's name, the word and settings of the command, and the
    launcher."""

    study: str
    name: str
    overrides: list[str]
    launcher: str


def draft(results: Path, order: Order, job: Job) -> Submission:
    """A job as a submission would hold it; nothing is written."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    folder = folder_of(results) / f"{_word(order.study)}-{stamp}-{secrets.token_hex(2)}"
    elements = [
        {
            "pack": f"pack-{i:04d}.json",
            "runs": [run.run_id for run in pack.runs],
            "seconds": seconds,
            "end": None,
        }
        for i, (pack, seconds) in enumerate(zip(job.packs, job.seconds, strict=True))
    ]
    tree = {
        "schema": SCHEMA,
        "study": order.study,
        "name": order.name,
        "overrides": order.overrides,
        "launcher": order.launcher,
        "job": None,
        "user": user(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "submitted_at": time.time(),
        "growth": job.growth,
        "over": False,
        "elements": elements,
    }
    return Submission(folder.resolve(), tree)


def new(results: Path, order: Order, job: Job) -> Submission:
    """A folder with the pack files of a job; not yet submitted."""
    submission = draft(results, order, job)
    try:
        for element, pack in zip(submission.elements, job.packs, strict=True):
            write_pack(submission.folder / element["pack"], pack)
        submission.save()
    except BaseException:
        withdraw(submission)
        raise
    return submission


def _word(study: str) -> str:
    """A study's name in at most 100 ASCII signs: it names a job, too, and queues pad, cut and
    filter other letters each in their own way."""
    plain = unicodedata.normalize("NFKD", study.replace("/", ".")).encode("ascii", "ignore")
    word = re.sub(r"[^\w.@+-]", "_", plain.decode(), flags=re.ASCII)[:100]
    return word if re.search(r"[A-Za-z0-9]", word) else "study"


def withdraw(submission: Submission) -> None:
    """Remove what was never submitted."""
    shutil.rmtree(submission.folder, ignore_errors=True)


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a passwd entry, or Windows
        return str(os.getuid()) if hasattr(os, "getuid") else "somebody"


def alive(results: Path, runs: Container[str] | None = None) -> Living:
    """All elements that are queued or running anywhere.

    Its queue, or the lock of a sweep on a machine, shows whether one has ended. ConfigError where a
    queue cannot be asked that holds something of the runs (None: of any): nobody knows then which
    of them are claimed. What else it may hold counts as queued.
    """
    open_ones = [s for s in read_all(results) if not s.tree["over"] and not settled(results, s)]
    living: Living = {}
    for name, group in itertools.groupby(
        sorted(open_ones, key=lambda s: s.launcher), key=lambda s: s.launcher
    ):
        submissions = list(group)
        if name == "local":
            for submission in submissions:
                if files.is_locked(submission.folder / "lock"):
                    words = f"on {submission.tree['host']}, process {submission.tree['pid']}"
                    living |= {
                        (submission, i): Element("running", words)
                        for i in range(len(submission.elements))
                    }
            continue
        try:
            known = launcher(name).elements(submissions)
        except ConfigError as error:
            asked = [s for s in submissions if runs is None or _has_any(s, runs)]
            if not asked:
                unknown = Element("queued", "unknown: its queue cannot be asked")
                living |= {(s, i): unknown for s in submissions for i in range(len(s.elements))}
                continue
            raise ConfigError(
                f"{asked[0].folder}: it may be queued or running, but its queue cannot be "
                f"asked: {error}; ask where its queue is, or, if nothing of it is queued any more, "
                "remove its folder"
            ) from None
        for submission in submissions:
            for i in range(len(submission.elements)):
                element = known.get((submission.folder.name, i))
                if element is not None:
                    living[submission, i] = element
    return living


def _has_any(submission: Submission, runs: Container[str]) -> bool:
    return any(run_id in runs for element in submission.elements for run_id in element["runs"])


def refusal(submission: Submission, index: int) -> str | None:
    """The reason with which an element of a queue ended before it could train, such as a node
    without the device that was asked for: the error in the last line of its log. Such runs have
    failed and left no record."""
    if submission.job is None:
        return None
    try:
        with open(submission.log(index), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            text = file.read().decode("utf-8", "replace").rstrip()
    except OSError:
        return None
    return text.rpartition("\n")[2].partition(ERROR)[2] or None


def last_places(results: Path) -> dict[str, tuple[Submission, int]]:
    """Run id -> the last submission that had it, and the index of its element there."""
    return {
        run_id: (s, i)
        for s in read_all(results)
        for i, element in enumerate(s.elements)
        for run_id in element["runs"]
    }


def settled(results: Path, submission: Submission) -> bool:
    """Whether every run of a submission to a queue has its final record, so that what the queue
    says of it no longer matters. A failure of before is not final: it is what was tried again."""
    if submission.launcher == "local":
        return False
    began = datetime.fromtimestamp(submission.tree["submitted_at"], UTC)
    kept = (
        records.read(results, run_id)
        for element in submission.elements
        for run_id in element["runs"]
    )
    return all(
        record is not None
        and (
            record["status"] == "finished" or datetime.fromisoformat(record["finished_at"]) > began
        )
        for record in kept
    )


def close(results: Path, living: Living) -> None:
    """Note how elements ended that are no longer alive, so that later looks need not ask; while
    `submitting`."""
    for submission in read_all(results):
        if submission.tree["over"]:
            continue
        if settled(results, submission):
            submission.save(over=True)
            continue
        if submission.job is None:  # its submitter died before it heard the number
            jobs = {e.job for (s, _), e in living.items() if s == submission and e.job}
            if len(jobs) == 1:
                submission.save(job=jobs.pop())
        dead = [i for i in range(len(submission.elements)) if (submission, i) not in living]
        if submission.launcher != "local" and submission.job is not None:
            queue = launcher(submission.launcher)
            for i in dead:
                if submission.elements[i]["end"] is None:
                    submission.elements[i]["end"] = queue.end(submission, i)
        over = len(dead) == len(submission.elements)
        if over or any(submission.elements[i]["end"] for i in dead):
            submission.save(over=over)
