"""A study file -> runs, what is left of them, and packs of runs of one shape.

    question: what the study asks, one sentence
    pins:     overrides that hold for every run (Hydra's grammar), as a list
    grids:    a list of grids; each is a product of axes. An axis is `key: [values]`, or `key: "range(0,4)"` in Hydra's sweep
              grammar, or a name of your own with a list of mappings that set several keys together (values that move as one)
    best_over: settings over which fit-laws keeps the best of otherwise equal runs, such as [train.lr]
    expects:  published values that fit-laws compares with what was measured, see `laws/expects.py`
    scale:    published or pocket; what a verdict is about
    presets:  name -> entries (all of the above) that take the place of the study's own; STUDY@NAME picks one

A run that appears in two grids is planned once.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from capacity import counts, records
from capacity.compose import expand, load_many, read_yaml, shared_dir
from capacity.config import Config, ConfigError, known_keys, nearest
from capacity.data import lexicon
from capacity.laws.expects import SCALES, check_expects
from capacity.train.keys import stack_key

ENTRIES = ("question", "pins", "grids", "best_over", "expects", "scale")
PACKS_PER_WORKER = 3  # more packs balance better, fewer start faster (a worker needs about 2 s to import torch)


@dataclass(frozen=True)
class Study:
    """A named set of runs."""

    name: str
    path: Path
    question: str
    runs: list[Config]
    best_over: list[str] = field(default_factory=list)  # dotted settings
    expects: list[dict] = field(default_factory=list)  # as `laws.expects.check_expects` returns them
    scale: str = "published"
    overrides: list[str] = field(default_factory=list)  # given with the command, not in the file


@dataclass(frozen=True)
class Pack:
    """Runs of one shape that one worker process trains as one stack."""

    name: str
    runs: list[Config]

    @property
    def seconds(self) -> float:
        return sum(estimate_seconds(c) for c in self.runs)


def load_study(name: str, overrides: list[str]) -> Study:
    """Read and expand a study or one of its presets (STUDY@PRESET); `overrides` come last and win over pins and axes.
    ConfigError with file and key."""
    path = find_study(name)
    base, preset = split_name(name)
    tree = _entries(path, preset)
    pins, grids = tree.get("pins") or [], tree.get("grids") or [{}]
    best_over, scale = tree.get("best_over") or [], tree.get("scale", "published")
    if not isinstance(pins, list) or not all(isinstance(p, str) for p in pins):
        raise ConfigError(f"{path}: pins: expected a list of overrides such as data.vocab_size=256")
    if not isinstance(grids, list) or not all(isinstance(g, dict) for g in grids):
        raise ConfigError(f"{path}: grids: expected a list of mappings from axis to values")
    if not isinstance(best_over, list) or not all(isinstance(key, str) for key in best_over):
        raise ConfigError(f"{path}: best_over: expected a list of settings such as train.lr")
    for key in best_over:
        if key not in known_keys() or key == "seed":
            raise ConfigError(f"{path}: best_over: {key}: no such setting{nearest(key, known_keys())}")
    if scale not in SCALES:
        near = nearest(str(scale), list(SCALES))
        raise ConfigError(f"{path}: scale: {scale}: expected one of {', '.join(SCALES)}{near}")
    try:
        expects = check_expects(tree.get("expects") or [])
        layers = [[list(pins), point, list(overrides)] for grid in grids for point in _points(grid)]
        configs = load_many(layers)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    unique = {config.run_id: config for config in configs}
    study_name = Path(base).stem if Path(base).suffix in (".yaml", ".yml") else base
    return Study(f"{study_name}@{preset}" if preset else study_name, path, str(tree.get("question", "")),
                 list(unique.values()), best_over, expects, scale, list(overrides))


def _entries(path: Path, preset: str | None) -> dict:
    """The entries of a study file; what a preset states takes the place of the study's own."""
    tree = read_yaml(path)
    presets = tree.pop("presets", None) or {}
    if not isinstance(presets, dict) or not all(isinstance(entries, dict) for entries in presets.values()):
        raise ConfigError(f"{path}: presets: expected a mapping from name to entries such as pins and grids")
    for where, entries in [("", tree)] + [(f"presets: {name}: ", entries) for name, entries in presets.items()]:
        allowed = [*ENTRIES, "presets"] if entries is tree else list(ENTRIES)
        for key in entries:
            if key not in allowed:
                raise ConfigError(f"{path}: {where}{key}: no such entry{nearest(str(key), allowed)}; allowed: "
                                  f"{', '.join(allowed)}")
    if preset is None:
        return tree
    if preset not in presets:
        known = [str(name) for name in presets]
        raise ConfigError(f"{path}: no preset {preset}{nearest(preset, known)}; "
                          + (f"allowed: {', '.join(known)}" if known else "this study has none"))
    return tree | presets[preset]


def split_name(name: str) -> tuple[str, str | None]:
    """STUDY@PRESET as (study, preset); (name, None) where there is no preset, also for a file with @ in its name."""
    base, at, preset = name.rpartition("@")
    if not at or "/" in preset or Path(preset).suffix in (".yaml", ".yml"):
        return name, None
    return base, preset


def find_study(name: str) -> Path:
    """sweeps/NAME.yaml in the current folder or the package's own, or a path to a YAML file, without @PRESET."""
    name, _ = split_name(name)
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


def make_packs(runs: list[Config], workers: int, stack: int, device: str = "cpu", room: float = math.inf) -> list[Pack]:
    """Group runs by shape and cut the groups into packs of similar duration, the longest first; in a pack are runs of
    similar length, at most `stack`, and no more than fit into `room` bytes.

    Cut from the whole study, before finished runs are taken out, so that a re-issued sweep forms the same stacks.
    """
    groups: dict[str, list[Config]] = {}
    for run in runs:
        groups.setdefault(stack_key(run), []).append(run)
    target = sum(estimate_seconds(run) for run in runs) / (PACKS_PER_WORKER * workers)
    packs = []
    for members in itertools.chain.from_iterable(map(_of_like_length, groups.values())):
        most = min(stack, _fitting(members[0], stack, device, room))
        cost = sum(estimate_seconds(run) for run in members)
        parts = max(math.ceil(len(members) / most), min(len(members), math.ceil(cost / target)))
        size = math.ceil(len(members) / parts)
        packs += [members[i:i + size] for i in range(0, len(members), size)]
    packs.sort(key=lambda p: -sum(estimate_seconds(run) for run in p))
    return [Pack(f"{i:04d}", pack) for i, pack in enumerate(packs)]


def _of_like_length(members: list[Config]) -> list[list[Config]]:
    """Runs of one shape, longest first, in groups whose longest takes at most twice the steps of the shortest: who ends
    leaves a smaller stack, which uses the device less well."""
    groups: list[list[Config]] = []
    for run in sorted(members, key=lambda run: -run.steps):
        if not groups or 2 * run.steps < groups[-1][0].steps:
            groups.append([])
        groups[-1].append(run)
    return groups


def stack_bytes(run: Config, members: int, device: str) -> float:
    """Predicted memory of a stack of runs of this shape."""
    return counts.memory_bytes(run.model, run.data.rows, run.data.seq_len, run.train.batch_size, members, device,
                               run.train.precision)


def _fitting(run: Config, stack: int, device: str, room: float) -> int:
    """The most members, up to `stack`, of a stack that fits; at least 1, since a single run cannot be divided."""
    return max((n for n in range(1, stack + 1) if stack_bytes(run, n, device) <= room), default=1)


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
    """A pack as a JSON file that `capacity worker` reads; it needs neither hydra, the study file, lists nor a tokenizer."""
    for run in pack.runs:
        if run.data.kind != "uniform":
            lexicon.keep(results, run.data.compiled)
    records.write_json(path, {"schema": 1, "study": study, "pack": pack.name, "results": str(results.resolve()),
                              "device": device, "threads": threads, "runs": [run.as_dict() for run in pack.runs]})


def estimate_seconds(config: Config) -> float:
    """A guess of the time of one run on one CPU core: matrix work at 50 GFLOP/s, the rest per value it touches.

    Calibrated on one 2024 server core in fp32 for models of 3K to 40K parameters, where it is within about 30%.
    """
    model, V, S = config.model, config.data.rows, config.data.seq_len
    per_token = 1.3 * V + model.n_layers * (45 * model.d_model + 9 * S * model.n_heads)
    return config.flops / 50e9 + config.tokens * per_token * 1e-9 + config.steps * 0.8e-3


def summary(study: Study, packs: list[Pack], done: int, failed: int, workers: int, device: str) -> str:
    """What a sweep will do, before it does it; at most 80 columns."""
    from capacity.progress import clock, count

    sizes = sorted(run.parameters["total"] for run in study.runs)
    loads = sorted(run.entropy_bits / run.parameters["total"] for run in study.runs)
    todo = [run for pack in packs for run in pack.runs]
    shapes = len(set(records.shape_labels(study.runs).values()))
    flops = sum(run.flops for run in todo)
    lines = [
        f"study       {study.name}",
        *textwrap.wrap(study.question, 80, initial_indent="question    ", subsequent_indent=" " * 12),
        f"runs        {len(study.runs)}, of {shapes} model shape{'s' * (shapes != 1)}: {done} finished, {failed} failed, "
        f"{len(todo)} to do",
        *textwrap.wrap(_data_line(study), 80, initial_indent="data        ", subsequent_indent=" " * 12),
        *textwrap.wrap(f"{sizes[0]:,} to {sizes[-1]:,} (total); load {loads[0]:.2f} to {loads[-1]:.2f} bits per "
                       "parameter", 80, initial_indent="parameters  ", subsequent_indent=" " * 12),
        f"training    {count(sum(r.tokens for r in todo))} tokens, "
        f"{f'{flops:.1e} ' if flops >= 1e15 else count(flops)}FLOP to do"]
    if todo:
        memory = max(stack_bytes(p.runs[0], len(p.runs), device) for p in packs)
        seconds = max(sum(p.seconds for p in packs) / workers, max(p.seconds for p in packs))
        guess = (f"about {clock(seconds)} (a guess for current CPU cores)" if device == "cpu"
                 else "time on a GPU is not predicted")
        lines.append(f"execution   {len(packs)} pack{'s' * (len(packs) != 1)} on {workers} {device} "
                     f"worker{'s' * (workers != 1)}, largest about {memory / 1e6:.0f} MB beside torch;")
        lines.append(f"            {guess}")
    return "\n".join(lines)


def _data_line(study: Study) -> str:
    """Sizes of the data sets and how often an item is seen, as "800 to 1,600 people, 50 to 200 exposures"."""
    parts = []
    for unit in dict.fromkeys(run.data.unit for run in study.runs):
        sizes = sorted({run.items for run in study.runs if run.data.unit == unit})
        parts.append(f"{sizes[0]:,}" + (f" to {sizes[-1]:,}" if len(sizes) > 1 else "") + f" {unit}")
    seen = sorted({f"{run.exposures:,.3g}" if run.exposures < 100 else f"{run.exposures:,.0f}" for run in study.runs},
                  key=lambda text: float(text.replace(",", "")))
    parts.append(seen[0] + (f" to {seen[-1]}" if len(seen) > 1 else "") + " exposures")
    layers = [run.as_dict() for run in study.runs]
    chosen = [key for key in study.best_over
              if len({tree[key.split(".")[0]].get(key.split(".")[1]) for tree in layers}) > 1]
    return ", ".join(parts) + (f"; the best of several {', '.join(chosen)} counts" if chosen else "")
