"""SLURM: an array job over pack files, through sbatch, squeue, scontrol and scancel. sacct is asked
where it answers, and never needed.

A launcher is a module with four functions, this one's: submit, elements, end, cancel. Another queue
is another file: write it, put it into PYTHONPATH, and name it in cluster.launcher.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from capacity.base.errors import ConfigError
from capacity.settings.cluster import Cluster
from capacity.sweep.submissions import Element, Submission, user

# Words of a refusal, in small letters, and the settings that help.
REMEDIES = {
    "array": "cluster.array_limit=N, the most elements of one array",
    "submit limit": "cluster.array_limit=N (fewer, longer elements) or cluster.qos=NAME",
    "qos": "cluster.qos=NAME",
    "account": "cluster.account=NAME",
    "partition": "cluster.partition=NAME",
    "time limit": "cluster.time=\"'h:mm:ss'\"",
    "memory": "cluster.mem=SIZE",
    "gres": "cluster.gres=NAME or cluster.gpus=N",
}
SECONDS = 60.0  # to wait for a client; a busy controller answers late
# What squeue is asked for, with the most characters of each. It pads by bytes and cuts by
# characters, so cells are told apart by a sign behind each; the last may hold that sign.
COLUMNS = (
    ("ArrayJobID", 20),
    ("ArrayTaskID", 24),
    ("State", 24),
    ("RestartCnt", 12),
    ("Reason", 80),
    ("Name", 400),
)
CELL = "|"
SCRIPT = "submit.sbatch"


def submit(submission: Submission, cluster: Cluster, time_s: int, mem: str) -> str:
    """Write submit.sbatch and submit it; returns the job id. ConfigError with SLURM's own words if
    it refuses."""
    path = submission.folder / SCRIPT
    path.write_bytes(os.fsencode(script(submission, cluster, time_s, mem)))  # it holds paths
    done = _run("sbatch", "--parsable", str(path))
    if done.returncode:
        words = "; ".join(
            line.removeprefix("sbatch: error: ").removeprefix("sbatch: ")
            for line in done.stderr.splitlines()
            if line.strip()
        )
        remedy = next(
            (setting for word, setting in REMEDIES.items() if word in words.lower()),
            "cluster.KEY=VALUE",
        )
        raise ConfigError(
            f"SLURM refused the job: {words or f'sbatch ended with {done.returncode}'} (asked for: "
            f"{' '.join(_request(submission, cluster, time_s, mem))}); change it in "
            f"conf/local.yaml or with {remedy}; nothing was submitted"
        )
    # "17" or "17;cluster"; some sites' sbatch prints more before it
    if not (numbers := re.findall(r"^(\d+)(?:;\S+)?$", done.stdout, re.M)):
        raise ConfigError(f"sbatch answered {done.stdout.strip()[:80]!r}, expected a job's number")
    return numbers[-1]


def array_limit() -> int | None:
    """Most elements of an array here, by the cluster's own word (MaxArraySize, which is one more
    than the largest index); None where it does not say."""
    try:
        shown = _run("scontrol", "show", "config")
    except ConfigError:  # a plan can be made where there is no queue
        return None
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown.stdout, re.M)
    return int(found[1]) if found and int(found[1]) else None


def script(submission: Submission, cluster: Cluster, time_s: int, mem: str) -> str:
    """The batch script of an array whose element i trains pack i.

    The signal before the time limit, and the one of a preemption, end the worker, which
    checkpoints; then the element requeues itself. A SIGTERM alone (scancel, the limit itself) ends
    it without that: SLURM requeues what it preempts. The exit code is the worker's, so that the
    queue sees a member's failure.
    """
    folder = submission.folder
    worker = shlex.join(
        [
            *shlex.split(cluster.prefix or ""),
            cluster.python or sys.executable,
            "-m",
            "capacity",
            "worker",
            "--pack",
        ]
    )
    lines = [
        "#!/bin/bash",
        *(
            f"#SBATCH {_quoted(option)}"
            for option in [
                f"--job-name={folder.name}",
                *_request(submission, cluster, time_s, mem),
                f"--signal=B:USR1@{cluster.signal_seconds}",
                "--requeue",
                "--open-mode=append",
                f"--output={_literal(folder)}/%A_%a.log",
            ]
        ),
        f"# Written by capacity: element i trains pack i of study {submission.tree['study']}. A "
        f"person may submit it again.",
        "",
        *(
            f"export {name}={shlex.quote(value)}"
            for name, _, value in (text.partition("=") for text in cluster.environment)
        ),
        *cluster.setup,
        "",
    ]
    return (
        "\n".join(lines)
        + f"""\
start=$((${{SLURM_RESTART_COUNT:-0}} + 1))
echo "$(date +%FT%T) element $SLURM_ARRAY_TASK_ID, start $start, on $(hostname)"
requeue=no
trap 'requeue=yes; kill -TERM "$worker" 2>/dev/null' USR1
trap 'kill -TERM "$worker" 2>/dev/null' TERM
{worker} {shlex.quote(str(folder))}/"$(printf 'pack-%04d.json' "$SLURM_ARRAY_TASK_ID")" &
worker=$!
while true; do
    wait "$worker"; code=$?  # a signal ends the wait, not the worker
    kill -0 "$worker" 2>/dev/null || break
done
wait "$worker"; last=$?
[ "$last" -eq 127 ] || code=$last
if [ "$requeue" = yes ] && [ "$code" -ge 128 ]; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {cluster.requeues} ]; then
        echo "requeued {cluster.requeues} times already (cluster.requeues);" \\
            "the sweep command continues it"
        exit 75
    fi
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}" && exit 0
    echo "this cluster does not let the job requeue itself; the sweep command continues it"
    exit 75
fi
exit "$code"
"""
    )


def _quoted(option: str) -> str:
    """An option as a line of a batch script has it: its value, after = or a blank, in quotes where
    it holds blanks or other signs that sbatch would read. One that a person has quoted counts as
    without these quotes."""
    if re.fullmatch(r"[^\s\"'\\#]+", option):
        return option
    name = re.split(r"[\s=]", option, maxsplit=1)[0]
    sign = "=" if option[len(name) :].startswith("=") else " "
    value = option[len(name) + 1 :]
    value = value if sign == "=" else value.strip()
    if re.fullmatch(r"([\"'])[^\"']*\1", value):
        value = value[1:-1]
    inner = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}{sign}"{inner}"' if value or sign == "=" else name


def _literal(folder: Path) -> str:
    """A path in a file name pattern of sbatch, where % begins a replacement."""
    return str(folder).replace("%", "%%")


def _request(submission: Submission, cluster: Cluster, time_s: int, mem: str) -> list[str]:
    """What the job asks for, as options of sbatch."""
    array = f"0-{len(submission.elements) - 1}" + (
        f"%{cluster.throttle}" if cluster.throttle else ""
    )
    named = {
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
    }
    gpus = (
        [f"--gres={cluster.gres}"]
        if cluster.gres
        else [f"--gpus-per-node={cluster.gpus}"]
        if cluster.gpus
        else []
    )
    minutes = -(-time_s // 60)
    return [
        f"--array={array}",
        *(f"--{key}={value}" for key, value in named.items() if value),
        *gpus,
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={cluster.cpus}",
        f"--mem={mem}",
        f"--time={minutes // 60}:{minutes % 60:02}:00",
        *cluster.options,
    ]


def elements(submissions: list[Submission]) -> dict[tuple[str, int], Element]:
    """(folder name, array index) -> what is queued or running. A submission is found by the job's
    name, which is its folder's, so that one whose submitter died before it heard the number is
    found too. A number alone proves nothing: another cluster gives it to another job."""
    names = {s.folder.name: s for s in submissions}
    rows = _queue("--name=" + ",".join(names))
    found = {}
    for _, index, state, restarts, reason, name in rows:
        if name in names and index.isdigit():
            found[name, int(index)] = Element(
                _word(state, restarts, reason),
                f"{state} ({reason})" if state == "PENDING" else state,
            )
    foreign = [
        s
        for s in submissions
        if s.tree["user"] != user() and not any(name == s.folder.name for name, _ in found)
    ]
    if foreign and _hides_others():
        for s in foreign:
            for i in range(len(s.elements)):
                if (s.state(i) or {}).get("state") != "ended":
                    found[s.folder.name, i] = Element(
                        "queued", f"hidden: a job of {s.tree['user']}"
                    )
    return found


def _queue(which: str) -> list[list[str]]:
    """The cells of COLUMNS of every element that squeue knows of some jobs."""
    fields = ",".join(f"{name}:{width}{CELL}" for name, width in COLUMNS)
    done = _run("squeue", "--noheader", "--array", which, f"--Format={fields}")
    if done.returncode and "Invalid job id" in done.stderr:  # one that is long over
        return []
    if done.returncode:
        raise ConfigError(f"squeue: {done.stderr.strip() or f'ended with {done.returncode}'}")
    rows = [line.split(CELL, len(COLUMNS) - 1) for line in done.stdout.splitlines()]
    return [[cell.strip(f" {CELL}") for cell in row] for row in rows if len(row) == len(COLUMNS)]


def _word(state: str, restarts: str, reason: str) -> str:
    if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "PREEMPTED"):
        return "requeued" if restarts.isdigit() and int(restarts) else "queued"
    return "running"


def end(job: str, index: int) -> str | None:
    """How an element ended, in SLURM's words (COMPLETED, FAILED, TIMEOUT, OUT_OF_MEMORY, ...); None
    if the cluster no longer knows."""
    shown = _run("scontrol", "--oneliner", "show", "job", f"{job}_{index}")
    for line in shown.stdout.splitlines():
        found = dict(re.findall(r"(\w+)=(\S*)", line))
        if found.get("ArrayTaskId") == str(index):
            return found.get("JobState")
    accounts = _run(
        "sacct",
        "--noheader",
        "--parsable2",
        "--allocations",
        f"--jobs={job}_{index}",
        "--format=JobID,State",
    )
    for line in accounts.stdout.splitlines():
        name, _, state = line.partition("|")
        if name == f"{job}_{index}" and state:
            return state.split()[0]  # "CANCELLED by 0"
    return None


def cancel(job: str, indices: list[int]) -> None:
    """Take elements out of the queue; running ones checkpoint first. ConfigError if SLURM
    refuses."""
    done = _run("scancel", *(f"{job}_{i}" for i in indices))
    if done.returncode:
        raise ConfigError(
            f"scancel {job}: {done.stderr.strip() or f'ended with {done.returncode}'}"
        )


def _hides_others() -> bool:
    """Whether this cluster shows people their own jobs only."""
    return any(
        "PrivateData" in line and "jobs" in line
        for line in _run("scontrol", "show", "config").stdout.splitlines()
    )


def _run(*command: str) -> subprocess.CompletedProcess:
    """A client of SLURM, in a plain locale. Of its variables in the environment those stay that say
    where the cluster is and who pays; others would override the script, or tell the job of the one
    that submits it."""
    stay = r"SLURM_(CONF|CLUSTERS)|SBATCH_(ACCOUNT|PARTITION|QOS|CONSTRAINT|RESERVATION|CLUSTERS)"
    environment = {
        k: v
        for k, v in os.environ.items()
        if not re.match(r"(SLURM|SBATCH|SQUEUE|SCANCEL|SACCT)_", k) or re.fullmatch(stay, k)
    }
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # names and paths of others may be of any encoding
            timeout=SECONDS,
            check=False,
            env=environment | {"LC_ALL": "C"},
        )
    except FileNotFoundError:
        if command[0] == "sacct":
            return subprocess.CompletedProcess(command, 127, "", "")
        raise ConfigError(
            f"{command[0]}: not found; cluster.launcher=slurm needs SLURM's commands on this "
            f"machine"
        ) from None
    except subprocess.TimeoutExpired:
        if command[0] == "sacct":
            return subprocess.CompletedProcess(command, 124, "", "")
        raise ConfigError(
            f"{command[0]}: no answer in {SECONDS:.0f} s; nothing was changed, try again"
        ) from None
