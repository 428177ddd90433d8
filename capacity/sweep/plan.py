"""A study file -> runs, what is left of them, and packs of runs of one shape.

    question: what the study asks, one sentence
    pins:     overrides that hold for every run (Hydra's grammar), as a list
    grids:    a list of grids; each is a product of axes. An axis is `key: [values]`, or `key: "range(0,4)"` in Hydra's sweep
              grammar, or a name of your own with a list of mappings that set several keys together (values that move as one)

A run that appears in two grids is planned once.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path

from capacity import counts, records
from capacity.compose import expand, load_many, read_yaml, shared_dir
from capacity.config import Config, ConfigError, nearest
from capacity.train.keys import stack_key

PACKS_PER_WORKER = 3  # more packs balance better, fewer start faster (a worker needs about 2 s to import torch)


@dataclass(frozen=True)
class Study:
    """A named set of runs."""

    name: str
    path: Path
    question: str
    runs: list[Config]


@dataclass(frozen=True)
class Pack:
    """Runs of one shape that one worker process trains as one stack."""

    name: str
    runs: list[Config]

    @property
    def seconds(self) -> float:
        return sum(estimate_seconds(c) for c in self.runs)


def load_study(name: str, overrides: list[str]) -> Study:
    """Read and expand a study; `overrides` come last and win over pins and axes. ConfigError with file and key."""
    path = find_study(name)
    tree = read_yaml(path)
    for key in tree:
        if key not in ("question", "pins", "grids"):
            raise ConfigError(f"{path}: {key}: no such entry{nearest(str(key), ['question', 'pins', 'grids'])}; allowed: "
                              "question, pins, grids")
    pins, grids = tree.get("pins") or [], tree.get("grids") or [{}]
    if not isinstance(pins, list) or not all(isinstance(p, str) for p in pins):
        raise ConfigError(f"{path}: pins: expected a list of overrides such as data.vocab_size=256")
    if not isinstance(grids, list) or not all(isinstance(g, dict) for g in grids):
        raise ConfigError(f"{path}: grids: expected a list of mappings from axis to values")
    try:
        layers = [[list(pins), point, list(overrides)] for grid in grids for point in _points(grid)]
        configs = load_many(layers)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    unique = {config.run_id: config for config in configs}
    study_name = path.stem if Path(name).suffix in (".yaml", ".yml") else name
    return Study(study_name, path, str(tree.get("question", "")), list(unique.values()))


def find_study(name: str) -> Path:
    """sweeps/NAME.yaml in the current folder or the package's own, or a path to a YAML file."""
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise ConfigError(f"{name}: no such file")
        return Path(name)
    folders = list(dict.fromkeys([Path("sweeps").resolve(), shared_dir("sweeps")]))
    for folder in folders:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    known = study_names(folders)
    raise ConfigError(f"{name}: no such study{nearest(name, known)}; allowed: {', '.join(known)}, or a path to a YAML file")


def study_names(folders: list[Path]) -> list[str]:
    """All studies below the folders, by name."""
    return sorted({str(p.relative_to(f).with_suffix("")) for f in folders if f.is_dir() for p in f.rglob("*.yaml")})


def _points(grid: dict) -> list[list[str]]:
    """The product of a grid's axes as lists of overrides; the last axis varies fastest."""
    axes: list[list[list[str]]] = []
    for key, values in grid.items():
        if isinstance(values, str):
            axes.append(expand([f"{key}={values}"]))
        elif isinstance(values, list) and values and all(isinstance(v, dict) for v in values):
            axes.append([[f"{k}={_literal(key, v)}" for k, v in value.items()] for value in values])
        elif isinstance(values, list) and values:
            axes.append([[f"{key}={_literal(key, v)}"] for v in values])
        elif not isinstance(values, (list, dict)) and values is not None:
            axes.append([[f"{key}={_literal(key, values)}"]])
        else:
            raise ConfigError(f"grids: {key}: expected a value, a list of values, or a list of mappings")
    return [list(itertools.chain(*point)) for point in itertools.product(*axes)]


def _literal(key: str, value: object) -> str:
    """A YAML scalar in Hydra's override grammar."""
    if isinstance(value, (list, dict)):
        raise ConfigError(f"grids: {key}: {value!r}: an axis takes plain values or mappings of key to plain value")
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def make_packs(runs: list[Config], workers: int, stack: int) -> list[Pack]:
    """Group runs by shape and cut the groups into packs of similar duration, the longest first.

    Cut from the whole study, before finished runs are taken out, so that a re-issued sweep forms the same stacks.
    """
    groups: dict[str, list[Config]] = {}
    for run in runs:
        groups.setdefault(stack_key(run), []).append(run)
    target = sum(estimate_seconds(run) for run in runs) / (PACKS_PER_WORKER * workers)
    packs = []
    for members in groups.values():
        cost = sum(estimate_seconds(run) for run in members)
        parts = max(math.ceil(len(members) / stack), min(len(members), math.ceil(cost / target)))
        size = math.ceil(len(members) / parts)
        packs += [members[i:i + size] for i in range(0, len(members), size)]
    packs.sort(key=lambda p: -sum(estimate_seconds(run) for run in p))
    return [Pack(f"{i:04d}", pack) for i, pack in enumerate(packs)]


def without_finished(packs: list[Pack], results: Path, retry_failed: bool) -> list[Pack]:
    """The packs minus runs that are finished (or failed, unless they are to be tried again); empty packs drop out."""
    out = []
    for pack in packs:
        todo = []
        for run in pack.runs:
            record = records.read(results, run.run_id)
            if record is None or (record["status"] == "failed" and retry_failed):
                todo.append(run)
        if todo:
            out.append(Pack(pack.name, todo))
    return out


def write_pack(path: Path, pack: Pack, study: str, results: Path, device: str, threads: int) -> None:
    """A pack as a JSON file that `capacity worker` reads; it needs neither hydra nor the study file."""
    records.write_json(path, {"schema": 1, "study": study, "pack": pack.name, "results": str(results.resolve()),
                              "device": device, "threads": threads, "runs": [run.as_dict() for run in pack.runs]})


def estimate_seconds(config: Config) -> float:
    """A guess of the time of one run on one CPU core: matrix work at 50 GFLOP/s, the rest per value it touches.

    Calibrated on one 2024 server core in fp32 for models of 3K to 40K parameters, where it is within about 30%.
    """
    model, V, S = config.model, config.data.vocab_size, config.data.seq_len
    per_token = 1.3 * V + model.n_layers * (45 * model.d_model + 9 * S * model.n_heads)
    return config.flops / 50e9 + config.tokens * per_token * 1e-9 + config.steps * 0.8e-3


def summary(study: Study, packs: list[Pack], done: int, failed: int, workers: int, device: str) -> str:
    """What a sweep will do, before it does it; at most 80 columns."""
    from capacity.progress import clock, count

    sizes = sorted(run.parameters["total"] for run in study.runs)
    loads = sorted(run.entropy_bits / run.parameters["total"] for run in study.runs)
    todo = [run for pack in packs for run in pack.runs]
    shapes = len(set(records.shape_labels(study.runs).values()))
    lines = [
        f"study       {study.name}",
        *textwrap.wrap(study.question, 80, initial_indent="question    ", subsequent_indent=" " * 12),
        f"runs        {len(study.runs)}, of {shapes} model shape{'s' * (shapes != 1)}: {done} finished, {failed} failed, {len(todo)} to do",
        f"parameters  {sizes[0]:,} to {sizes[-1]:,} (total); load {loads[0]:.2f} to {loads[-1]:.2f} bits per parameter",
        f"training    {count(sum(r.tokens for r in todo))} tokens, {count(sum(r.flops for r in todo))}FLOP to do"]
    if todo:
        memory = max(sum(counts.memory_bytes(r.model, r.data.vocab_size, r.data.seq_len, r.train.batch_size)
                         for r in p.runs) for p in packs)
        seconds = max(sum(p.seconds for p in packs) / workers, max(p.seconds for p in packs))
        guess = (f"about {clock(seconds)} (a guess for current CPU cores)" if device == "cpu"
                 else "time on a GPU is not predicted")
        lines.append(f"execution   {len(packs)} pack{'s' * (len(packs) != 1)} on {workers} {device} worker{'s' * (workers != 1)},"
                     f" largest about {memory / 1e6:.0f} MB beside torch;")
        lines.append(f"            {guess}")
    return "\n".join(lines)
