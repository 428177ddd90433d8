"""The verbs sweep, retry and cancel: look at what is done and claimed, submit the rest, withdraw
it."""

from __future__ import annotations

import dataclasses
import inspect
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

from capacity import records
from capacity.base.errors import ConfigError
from capacity.base.progress import Quiet
from capacity.base.words import plural, wrap
from capacity.study import Study, load_study
from capacity.sweep import plan as planning
from capacity.sweep import pool, submissions
from capacity.sweep.packs import Job
from capacity.sweep.plan_text import summary, unmeasured

Begin = Callable[[Study, Path], None]


def sweep(  # noqa: PLR0913 (independent options of one verb)
    name: str,
    overrides: list[str],
    results: Path,
    dry_run: bool,
    retry_failed: bool,
    only: set[str] | None = None,
    *,
    begin: Begin | None = None,
    quiet: bool = False,
) -> int:
    """Train what is not finished of a study, here or in a queue; returns the exit code. begin: is
    called with study and results folder before anything is submitted, but not in a dry run. quiet:
    without the plan and a bar."""
    study = load_study(name, overrides)
    launcher = study.runs[0].cluster.launcher
    # a wrong name costs nothing yet
    queue = None if launcher == "local" else submissions.launcher(launcher)
    order = submissions.Order(study=study.name, name=name, overrides=overrides, launcher=launcher)
    runs = {run.run_id for run in study.trained}
    if dry_run:
        living = submissions.alive(results, runs)
        plan = planning.make_plan(study, results, living, retry_failed, only)
        print(summary(plan))
        _print_script(plan, order, results, queue)
        return 0
    with submissions.submitting(results):
        living = submissions.alive(results, runs)
        submissions.close(results, living)
        if begin is not None:
            begin(study, results)
        plan = planning.make_plan(study, results, living, retry_failed, only)
        if not quiet:
            print(summary(plan))
            sys.stdout.flush()
        if queue is not None:
            return _submit(plan, order, results, queue)
        if not plan.todo:
            return _end(plan, results, {})
        job = _called(plan.jobs[0], study)
        submission = submissions.new(results, order, job)
        running = ExitStack()
        running.enter_context(submissions.held(submission))  # before the next submitter may look
    with running:
        progress = Quiet() if quiet else None
        outcome = pool.train(job.packs[0], submission.pack(0), study.trained, progress)
    if set(outcome.values()) <= {"finished"}:
        submissions.withdraw(submission)  # nothing in its logs
    return _end(plan, results, outcome)


def _called(job: Job, study: Study) -> Job:
    """The job with what its runs are called, where the mirror of wandb says it."""
    if study.runs[0].wandb.mode == "disabled":
        return job
    packs = [
        dataclasses.replace(
            pack,
            variants={
                run.run_id: name for run in pack.runs if (name := study.variants.get(run.run_id))
            },
        )
        for pack in job.packs
    ]
    return dataclasses.replace(job, packs=packs)


def _print_script(
    plan: planning.Plan, order: submissions.Order, results: Path, queue: ModuleType | None
) -> None:
    """What the queue would get, of the first job."""
    write = getattr(queue, "script", None)
    if write is None or not plan.jobs:
        return
    job = plan.jobs[0]
    written = write(submissions.draft(results, order, job), plan.cluster, job.time_s, job.mem)
    others = len(plan.jobs) - 1
    more = f" (and {others} more)" if others else ""
    print(f"\nsubmit.sbatch{more}\n\n{written}", end="")


def _submit(plan: planning.Plan, order: submissions.Order, results: Path, queue: ModuleType) -> int:
    if not plan.todo:
        print(f"nothing to submit; see: capacity status {order.name}")
        return 0
    _check_waiting(plan, queue)
    sent: list[tuple[Job, str]] = []
    for job in (_called(job, plan.study) for job in plan.jobs):
        submission = submissions.new(results, order, job)
        try:
            after = {"after": before} if (before := _before(plan, job, sent)) else {}
            number = queue.submit(submission, plan.cluster, job.time_s, job.mem, **after)
            submission.save(job=number)
            sent.append((job, number))
        except ConfigError:
            submissions.withdraw(submission)
            raise
        runs = sum(len(pack.runs) for pack in job.packs)
        print(
            f"submitted   job {submission.job}: {plural(runs, 'run')} in "
            f"{plural(len(job.packs), 'element')}\n"
            f"            {submission.folder}/submit.sbatch"
        )
    return 0


def _check_waiting(plan: planning.Plan, queue: ModuleType) -> None:
    """ConfigError, before anything is submitted, where a job has to wait for another one and the
    launcher cannot be told so."""
    waits = any(job.round > plan.jobs[0].round or _before(plan, job, []) for job in plan.jobs)
    if not waits or queue.__name__ in submissions.LAUNCHERS.values():
        return
    asked = inspect.signature(queue.submit).parameters.values()
    if not any(p.name == "after" or p.kind is inspect.Parameter.VAR_KEYWORD for p in asked):
        raise ConfigError(
            f"cluster.launcher={queue.__name__}: {queue.__file__}: submit has no argument after, "
            "and jobs of this study begin with the weights of others and have to wait for them; "
            "allowed: submit(submission, cluster, time_s, mem, after=()), see "
            "capacity/sweep/slurm.py"
        )


def _before(plan: planning.Plan, job: Job, sent: Sequence[tuple[Job, str]]) -> list[str]:
    """Jobs of the queue that have to end before one: of earlier rounds, and those that hold runs
    with whose weights it begins."""
    starts = {run.train.start for pack in job.packs for run in pack.runs}
    held = [plan.queued[run_id] for run_id in plan.queued if run_id in starts]
    return list(dict.fromkeys([*held, *(n for other, n in sent if other.round < job.round)]))


def _end(plan: planning.Plan, results: Path, outcome: dict[str, str]) -> int:
    runs, left = plan.study.trained, dict[str, list[str]]()
    for run in runs:
        state = records.status(results, run.run_id)
        if state != "finished":
            held = plan.claimed.get(run.run_id, state)
            busy = (
                outcome.get(run.run_id) == "busy"
                or run.run_id in plan.claimed
                and held == "running"
            )
            start = run.train.start
            if held == "missing" and start and records.status(results, start) != "finished":
                held = f"wait for run {start}, with whose weights they begin"
            left.setdefault("busy" if busy else held, []).append(run.run_id)
    print(f"{len(runs) - sum(map(len, left.values()))} of {len(runs)} runs finished")
    if runs[0].wandb.mode == "offline" and outcome:
        places = f"{results / 'wandb'}/offline-run-*"
        print(f"wandb offline; to send it, a minute from now:\n  wandb sync {places}")
    if plan.unmeasured:
        print("\n".join(wrap(unmeasured(plan), "", "  ")))
    for state, run_ids in left.items():
        if state == "failed":
            print(f"{len(run_ids)} failed:")
            for run_id in run_ids:
                record = records.read(results, run_id) or {}
                print(f"  {run_id}: {record['error']['reason']}")
        else:
            words = "are being trained by another process" if state == "busy" else state
            print(f"{len(run_ids)} {words}: {', '.join(run_ids)}")
    if "interrupted" in outcome.values():
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    return 1 if left else 0


def retry(
    name: str,
    overrides: list[str],
    results: Path,
    dry_run: bool,
    *,
    begin: Begin | None = None,
    quiet: bool = False,
) -> int:
    """Rerun runs of a study that failed or were lost with their job, by the settings of the last
    sweep and those given; runs that ran out of time or memory get more of it. begin, quiet:
    as of `sweep`."""
    before, overrides = settings_of_last(name, overrides, results)
    study = load_study(name, overrides)
    lost = {run_id for s in before for element in s.elements for run_id in element["runs"]}
    failed = set()
    for run in study.trained:
        record = records.read(results, run.run_id)
        if record["status"] == "failed" if record else run.run_id in lost:
            failed.add(run.run_id)
    if not failed:
        print(f"{study.name}: no run has failed or was lost")
        return 0
    return sweep(name, overrides, results, dry_run, True, failed, begin=begin, quiet=quiet)


def settings_of_last(
    name: str, overrides: list[str], results: Path
) -> tuple[list[submissions.Submission], list[str]]:
    """The submissions of a study, and the settings of the last one followed by those given now."""
    before = submissions.read_all(results, load_study(name, []).name)
    return before, (before[-1].tree["overrides"] if before else []) + overrides


def cancel(name: str, results: Path) -> int:
    """Remove a study's elements from the queue and stop its sweeps on this machine; what was
    trained stays."""
    study = load_study(name, [])
    living = {
        (s, i): e
        for (s, i), e in submissions.alive(results).items()
        if s.tree["study"] == study.name
    }
    for submission in dict.fromkeys(s for s, _ in living):
        indices = [i for s, i in living if s == submission]
        runs = sum(len(submission.elements[i]["runs"]) for i in indices)
        if submission.launcher == "local":
            _stop_here(submission)
        else:
            _withdraw(submission, {i: living[submission, i] for i in indices})
        print(
            f"cancelled   {submission.launcher} {submission.job or submission.tree['pid']}: "
            f"{plural(len(indices), 'element')}, {plural(runs, 'run')}; finished ones stay, others "
            f"keep their checkpoints"
        )
    if not living:
        print(f"{study.name}: nothing is queued or running")
    return 0


def _withdraw(submission: submissions.Submission, elements: dict[int, submissions.Element]) -> None:
    """Take elements out of their queue, each by the number under which the queue knows it: a person
    may have submitted the script again."""
    jobs: dict[str, list[int]] = {}
    for i, element in elements.items():
        job = element.job or submission.job
        if job is None:
            raise ConfigError(f"{submission.folder}: is being submitted; try again")
        jobs.setdefault(job, []).append(i)
    for job, indices in jobs.items():
        submissions.launcher(submission.launcher).cancel(job, indices)


def _stop_here(submission: submissions.Submission) -> None:
    """Ctrl-C for a sweep that holds its lock on this machine."""
    if submission.tree["host"] != socket.gethostname():
        raise ConfigError(
            f"{submission.folder}: runs on {submission.tree['host']}; cancel it there"
        )
    os.kill(submission.tree["pid"], signal.SIGTERM)
