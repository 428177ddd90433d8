"""The settings of where runs execute and what mirrors them: no part of a run's identity
(standard library only).
"""

from __future__ import annotations

from dataclasses import dataclass

from capacity.settings.field import setting

WORD = (r"\S+", "a text without spaces")
LINE = (r"[^\n\r]+", "one line of text")
DURATION = (
    r"\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d(:\d\d)?)?",
    "a time as SLURM has them, in quotes: minutes, 'h:mm:ss' or 'd-hh:mm:ss'",
)


@dataclass(frozen=True)
class Cluster:
    """Where and how runs execute. The settings from `partition` on are those of a queue."""

    launcher: str = setting(
        "local",
        "who runs a sweep: local (this machine), slurm, or the name of a Python module of yours",
        form=WORD,
    )
    device: str = setting(
        "auto",
        "auto takes CUDA where there is one; in a queue, where GPUs are asked for",
        choices=("auto", "cpu", "cuda"),
    )
    workers: int | None = setting(
        None,
        "processes of a sweep, or of one array element; empty: one per GPU or CPU core",
        low=1,
        high=1024,
    )
    threads: int | None = setting(
        None,
        "CPU threads per process, at most OMP_NUM_THREADS; empty: chosen from the size of a step",
        low=1,
        high=1024,
    )
    stack: int = setting(
        16, "most runs of one shape that train together as one program", low=1, high=4096
    )
    memory_gb: float | None = setting(
        None,
        "memory that a stack may be planned for; empty: 80% of the GPU's, or of this machine's "
        "shared by the processes of a sweep",
        above=0.0,
        high=1e6,
    )
    micro_batches: int | None = setting(
        None,
        "parts in which a batch is computed, one after the other, their gradients summed; empty: "
        "as "
        "many as memory asks for (memory_gb, or 80% of a GPU), with ranks at least as many",
        low=1,
    )
    ranks: int | None = setting(
        None,
        "processes that train a stack together, each some neighbouring parts of every batch, on "
        "as many GPUs; a power of two that divides micro_batches, on which alone bits depend; "
        "empty: one process, whose parts are summed one after the other",
        low=1,
        high=1024,
    )
    compile: str = setting(
        "never",
        "torch.compile the loss and its gradient, half a minute per shape and process, then a "
        "tenth to a "
        "fifth faster on a CPU; needs a C++ compiler; auto: where a stack trains long enough for "
        "that",
        choices=("never", "auto", "always"),
    )
    prefetch: str = setting(
        "never",
        "prepare the next block of data in a thread while training goes on; auto: on a GPU; the "
        "data are the same",
        choices=("never", "auto", "always"),
    )
    kernels: str = setting(
        "auto",
        "what computes head, attention of small heads and AdamW of a training step: torch's "
        "operations, or Triton's kernels on CUDA where one is made for the model's sizes; auto: "
        "torch's, until a GPU has shown equal results and a gain",
        choices=("auto", "torch", "triton"),
    )
    checkpoint_seconds: float = setting(
        30.0, "time between checkpoints; at least 20 times what writing one takes", above=0.0
    )
    partition: str | None = setting(None, "partition", form=WORD)
    account: str | None = setting(None, "account that pays", form=WORD)
    qos: str | None = setting(None, "quality of service", form=WORD)
    constraint: str | None = setting(None, "features that a node must have", form=WORD)
    gpus: int = setting(0, "GPUs per array element, each with a worker of its own", low=0, high=64)
    gres: str | None = setting(
        None, "how GPUs are asked for, such as gpu:a100:1; empty: --gpus-per-node", form=WORD
    )
    nodes: int = setting(
        1, "nodes per array element, which share its ranks evenly", low=1, high=1024
    )
    cpus: int = setting(
        1, "CPU cores per array element, with ranks those of each", low=1, high=1024
    )
    mem: str | None = setting(
        None,
        "memory per array element; empty: from the cost model",
        form=(r"\d+[KMGT]?", "a size such as 16G"),
    )
    time: str | None = setting(
        None,
        "time limit of an array element; empty: twice what the cost model expects and ten minutes",
        form=DURATION,
    )
    throttle: int | None = setting(None, "most array elements at once", low=1)
    pack_minutes: float = setting(
        60.0, "expected duration that runs are packed into array elements for", above=0.0
    )
    array_limit: int = setting(
        1000,
        "most elements of an array (SLURM's MaxArraySize); more work makes longer elements",
        low=1,
    )
    setup: tuple[str, ...] = setting(
        (),
        "shell lines before the worker, such as 'cluster.setup=[\"module load cuda\"]'",
        form=LINE,
    )
    environment: tuple[str, ...] = setting(
        (),
        "environment variables of the worker, such as "
        "'cluster.environment=[\"OMP_PROC_BIND=false\"]'",
        form=(r"[A-Za-z_]\w*=[^\n\r]*", "NAME=value"),
    )
    options: tuple[str, ...] = setting(
        (),
        "further options of sbatch, such as 'cluster.options=[\"--exclude=node7\"]'",
        form=(r"--?\w[^\n\r]*", "an option such as --exclude=node7"),
    )
    prefix: str | None = setting(
        None,
        "command before the worker, such as a container's: apptainer exec --nv image.sif",
        form=LINE,
    )
    python: str | None = setting(
        None, "interpreter on the node; empty: the one that submits", form=LINE
    )
    signal_seconds: int = setting(
        120,
        "time before the limit at which a job checkpoints and requeues itself",
        low=1,
        high=65535,
    )
    requeues: int = setting(100, "how often a job may requeue itself", low=0)


@dataclass(frozen=True)
class Wandb:
    """An optional mirror of the run's files; it can never stop or slow a run."""

    mode: str = setting(
        "disabled", "where to send a copy", choices=("disabled", "offline", "online")
    )
    project: str = setting("capacity", "wandb project")
    entity: str | None = setting(None, "wandb user or team; empty: wandb's default")


# Options of sbatch that the script sets itself, and what sets them here.
OWNED = {
    "--array -a": "cluster.throttle and cluster.array_limit",
    "--job-name -J": "the study's name",
    "--output -o --error -e --open-mode": "the submission's folder",
    "--signal": "cluster.signal_seconds",
    "--requeue --no-requeue": "cluster.requeues",
    "--nodes -N --ntasks -n --ntasks-per-node": "cluster.nodes and cluster.ranks",
    "--cpus-per-task -c": "cluster.cpus",
    "--mem --mem-per-cpu --mem-per-gpu": "cluster.mem",
    "--time -t": "cluster.time",
    "--partition -p": "cluster.partition",
    "--account -A": "cluster.account",
    "--qos -q": "cluster.qos",
    "--constraint -C": "cluster.constraint",
    "--gres": "cluster.gres",
    "--gpus -G --gpus-per-node --gpus-per-task": "cluster.gpus or cluster.gres",
    "--clusters --cluster -M": "SLURM_CLUSTERS in the environment",
    "--wrap --parsable --test-only --wait -W": "the sweep, which writes and submits the script",
}


def owned_by(option: str) -> tuple[str, str] | None:
    """(name, what sets it) where an option of sbatch is one that the script sets itself; short ones
    may have their value behind them, long ones may be cut, as getopt allows."""
    name = option.partition("=")[0].split()[0]
    for names, owner in OWNED.items():
        for known in names.split():
            if known.startswith("--"):
                owned = len(name) > len("--") and known.startswith(name)
            else:
                owned = name.startswith(known)
            if owned:
                return known, owner
    return None


def duration_seconds(text: str) -> int:
    """Seconds of a time limit in SLURM's forms (sbatch's manual, --time): m, m:s, h:m:s, d-h,
    d-h:m, d-h:m:s."""
    days, dash, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        parts = [*parts, 0, 0][:3]
    else:
        parts = [0, *parts, 0][:3] if len(parts) < 3 else parts
    return int(days or 0) * 86400 + parts[0] * 3600 + parts[1] * 60 + parts[2]
