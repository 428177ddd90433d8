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
from collections.abc import Container, Iterable, Sequence
from pathlib import Path, PurePosixPath

from capacity.base.errors import ConfigError
from capacity.settings.cluster import Cluster
from capacity.sweep.submissions import Allowance, Element, Submission, user

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
# characters, so cells are told apart by a sign behind each; the last two may hold that sign.
COLUMNS = (
    ("ArrayJobID", 20),
    ("ArrayTaskID", 24),
    ("State", 24),
    ("RestartCnt", 12),
    ("Reason", 80),
    ("Name", 400),
    ("Command", 2000),
)
CELL = "|"
SCRIPT = "submit.sbatch"


def submit(
    submission: Submission, cluster: Cluster, time_s: int, mem: str, after: Sequence[str] = ()
) -> str:
    """Write submit.sbatch and submit it; returns the job id. after: jobs that have to end first.
    ConfigError with SLURM's own words if it refuses."""
    path = submission.folder / SCRIPT
    path.write_bytes(os.fsencode(script(submission, cluster, time_s, mem)))  # it holds paths
    wait = [f"--dependency=afterany:{':'.join(after)}"] if after else []
    done = _run("sbatch", "--parsable", *wait, str(path))
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
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown.stdout, re.M)
    return int(match[1]) if match and int(match[1]) else None


def user_limits(cluster: Cluster) -> Allowance:
    """What the account and the quality of service of the person who submits allow, by the cluster's
    own accounting (sacctmgr); nothing where it keeps none or does not answer.

    The tightest of the QOS that the job gets (cluster.qos, or the person's default) and of the
    associations that it may run under counts; sacctmgr's names are MaxSubmitPU and MaxJobsPU of a
    QOS, MaxSubmit and MaxJobs of an association.
    """
    where = [f"user={user()}"] + [f"account={cluster.account}"] * bool(cluster.account)
    columns = ("Partition", "DefaultQOS", "MaxSubmit", "MaxJobs")
    own = [
        row
        for row in _accounting("association", where, columns)
        if row[0] in ("", cluster.partition)
    ]
    names = [cluster.qos] if cluster.qos else sorted({row[1] for row in own if row[1]})
    shared = []
    if names:
        where = [f"name={','.join(names)}"]
        shared = _accounting("qos", where, ("Name", "MaxSubmitPU", "MaxJobsPU"))
    limits = [(row[2:], ("MaxSubmitJobs", "MaxJobs"), "your account") for row in own]
    limits += [
        (row[1:], ("MaxSubmitJobsPerUser", "MaxJobsPerUser"), f"QOS {row[0]}") for row in shared
    ]
    submitted, running = (
        min(
            (
                (int(cells[i]), f"{names[i]} of {owner}")
                for cells, names, owner in limits
                if cells[i].isdigit()
            ),
            default=None,
        )
        for i in (0, 1)
    )
    if submitted is None and running is None:
        return Allowance()
    mine = _run("squeue", "--noheader", "--array", f"--user={user()}", "--Format=ArrayJobID:20")
    return Allowance(submitted, running, len(mine.stdout.split()))


def _accounting(what: str, where: list[str], columns: tuple[str, ...]) -> list[list[str]]:
    """Rows of the cluster's accounting; none where it keeps none."""
    try:
        words = ["--noheader", "--parsable2", "--readonly", "show", what]
        done = _run("sacctmgr", *words, *where, f"format={','.join(columns)}")
    except ConfigError:  # not installed, or no answer
        return []
    rows = [line.split("|") for line in done.stdout.splitlines()] if not done.returncode else []
    return [row for row in rows if len(row) == len(columns)]


def script(submission: Submission, cluster: Cluster, time_s: int, mem: str) -> str:
    """The batch script of an array whose element i trains pack i.

    The signal before the time limit, and the one of a preemption, end the worker, which
    checkpoints; then the element requeues itself. A SIGTERM alone (scancel, the limit itself) ends
    it without that: SLURM requeues what it preempts. The exit code is the worker's, so that the
    queue sees a member's failure.
    """
    folder = submission.folder
    prefix = [*shlex.split(cluster.prefix or ""), cluster.python or sys.executable]
    pack = """"$here/$(printf 'pack-%04d.json' "$SLURM_ARRAY_TASK_ID")" &"""
    worker = [*map(shlex.quote, [*prefix, "-m", "capacity", "worker"]), f"--pack {pack}"]
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
        f"# Written by capacity for study {submission.tree['study']}: element i trains pack i.",
        "# A person may submit it again.",
        "",
        *(
            f"export {name}={shlex.quote(value)}"
            for name, _, value in (text.partition("=") for text in cluster.environment)
        ),
        *cluster.setup,
        "",
        f"here={shlex.quote(str(folder))}",
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
{_wrapped(worker)}
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
    echo "this cluster does not let the job requeue itself;" \\
        "the sweep command continues it"
    exit 75
fi
exit "$code"
"""
    )


def _wrapped(words: Sequence[str]) -> str:
    """A command of quoted words in lines of at most 80 signs, where words are shorter."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < 78:  # a blank before it, and a blank and a sign behind
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}")
    return " \\\n".join(lines)


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
    # ranks of one node are started by the first of them, those of several by a step of srun
    spread = cluster.nodes > 1
    tasks = (cluster.ranks or 1) if spread else 1
    cpus = cluster.cpus if spread else cluster.cpus * (cluster.ranks or 1)
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
        f"--nodes={cluster.nodes}",
        f"--ntasks={tasks}",
        *([f"--ntasks-per-node={tasks // cluster.nodes}"] if spread else []),
        f"--cpus-per-task={cpus}",
        f"--mem={mem}",
        f"--time={minutes // 60}:{minutes % 60:02}:00",
        *cluster.options,
    ]


def elements(submissions: list[Submission]) -> dict[tuple[str, int], Element]:
    """(folder name, array index) -> what is queued or running. A submission is found by the job's
    name, which is its folder's, so that one whose submitter died before it heard the number is
    found too; and, where a person has renamed jobs, by its number, or among all jobs of the person
    who submitted it, together with the script that the job runs, which lies in the submission's
    folder. A number alone proves nothing: another cluster, or this one after its counter began
    again, gives it to another job."""
    names = {s.folder.name: s for s in submissions}
    numbers = [s.job for s in submissions if s.job is not None]
    queued = _elements_in(_queue("--name=" + ",".join(names)), names)
    queued |= _elements_in(_queue("--jobs=" + ",".join(numbers)), names) if numbers else {}
    # a renamed job may have another number: its submitter died early, or it was submitted again
    lost = [s for s in submissions if not any(name == s.folder.name for name, _ in queued)]
    if people := sorted({s.tree["user"] for s in lost}):
        queued |= _elements_in(_queue("--user=" + ",".join(people)), names)
    foreign = [
        s
        for s in submissions
        if s.tree["user"] != user() and not any(name == s.folder.name for name, _ in queued)
    ]
    if foreign and _hides_others():
        for s in foreign:
            for i in range(len(s.elements)):
                if (s.state(i) or {}).get("state") != "ended":
                    queued[s.folder.name, i] = Element(
                        "queued", f"hidden: a job of {s.tree['user']}"
                    )
    return queued


def _elements_in(
    rows: Iterable[list[str]], names: Container[str]
) -> dict[tuple[str, int], Element]:
    """Elements of submissions, known by name or script, among rows of the queue."""
    queued = {}
    for job, index, state, restarts, reason, name, command in rows:
        folder = name if name in names else _submitted_from(command) or ""
        if folder in names and index.isdigit():
            queued[folder, int(index)] = Element(
                _word(state, restarts, reason),
                f"{state} ({reason})" if state == "PENDING" else state,
                job,
            )
    return queued


def _queue(which: str) -> list[list[str]]:
    """The cells of COLUMNS of every element that squeue knows of some jobs."""
    fields = ",".join(f"{name}:{width}{CELL}" for name, width in COLUMNS)
    done = _run("squeue", "--noheader", "--array", which, f"--Format={fields}")
    if done.returncode and re.search("Invalid (job id|user)", done.stderr):  # over, or elsewhere
        return []
    if done.returncode:
        raise ConfigError(f"squeue: {done.stderr.strip() or f'ended with {done.returncode}'}")
    return [row for line in done.stdout.split("\n") if (row := _cells(line)) is not None]


def _cells(line: str) -> list[str] | None:
    """The cells of a line of squeue, None of another line. Name and command are told apart by the
    last sign between them, which no script's path here has behind it."""
    front = line.split(CELL, len(COLUMNS) - 2)
    if len(front) < len(COLUMNS) - 1:
        return None
    name, sign, command = front[-1].rstrip().removesuffix(CELL).rpartition(CELL)
    return [cell.strip() for cell in (*front[:-1], name, command)] if sign else None


def _submitted_from(command: str) -> str | None:
    """The name of the folder whose script a job runs; None where it is no submission's."""
    path = PurePosixPath(command)
    return path.parent.name if path.name == SCRIPT else None


def _word(state: str, restarts: str, reason: str) -> str:
    if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "PREEMPTED"):
        return "requeued" if restarts.isdigit() and int(restarts) else "queued"
    return "running"


def end(submission: Submission, index: int) -> str | None:
    """How an element ended, in SLURM's words (COMPLETED, FAILED, TIMEOUT, OUT_OF_MEMORY, ...); None
    if the cluster no longer knows, or its job of that number is another's: neither its name nor its
    script is the submission's."""
    name, job = submission.folder.name, f"{submission.job}_{index}"
    shown = _run("scontrol", "--oneliner", "show", "job", job)
    for line in shown.stdout.splitlines():
        job_fields = dict(re.findall(r"(\w+)=(\S*)", line))
        script = re.search(r" Command=(.*?)(?: \w+=|$)", line)
        ours = name in (job_fields.get("JobName"), _submitted_from(script[1]) if script else None)
        if job_fields.get("ArrayTaskId") == str(index) and ours:
            return job_fields.get("JobState")
    for fields in ("JobID,State,JobName,SubmitLine", "JobID,State,JobName"):  # newer, and older
        accounts = _run(
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--jobs={job}",
            f"--format={fields}",
        )
        for line in accounts.stdout.splitlines():
            known, state, *words = line.split("|", 2)
            # a folder's name is a study's with a time and random signs
            if known == job and state and words and name in words[0]:
                return state.split()[0]  # "CANCELLED by 0"
        if not accounts.returncode:
            break
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
