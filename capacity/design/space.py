"""The runs that a plan may choose from, and what they cost: a study file spans the space.

A cell is one model on one size of data for one length of training (and, on a ladder of precision,
in one format); a design says how many seeds of each cell are trained. Models, data sizes, lengths
and formats are those of the study, for a recipe (learning rate, batch) belongs to each; only seeds
may go beyond it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from capacity import counts as closed
from capacity.analysis.precision.analysis import FEWEST_RUNGS
from capacity.analysis.precision.bit_widths import LADDERS, trained_as
from capacity.base.errors import ConfigError
from capacity.config import COUPLED, Config
from capacity.cost import Speed, speed_of
from capacity.run_table import shape_labels
from capacity.study import axes_of, load_study
from capacity.sweep.packs import make_stacks

MOST_SEEDS = 8


@dataclass(frozen=True)
class Cell:
    """All seeds of one model, data size and length. config: one of them; settings: what the study's
    axes say, seed apart."""

    label: str
    config: Config
    settings: tuple[tuple[str, str], ...]

    @cached_property
    def parameters(self) -> float:
        """Trained numbers, the total count."""
        return float(self.config.parameters["total"])

    @property
    def load(self) -> float:
        """Data bits per parameter."""
        return self.config.entropy_bits / self.parameters

    @cached_property
    def ceiling(self) -> float:
        """Bits that a perfect memorizer of the data would have, strict convention for random
        data."""
        data = self.config.data
        if data.kind == "uniform":
            return float(
                closed.uniform_ceiling_bits(
                    self.config.items, data.seq_len, data.vocab_size, "strict"
                )
            )
        return float(self.config.entropy_bits)

    @cached_property
    def rung(self) -> dict:
        """What it is trained in, as `laws.precision` has it: way, rung, code_bits."""
        return dict(zip(("way", "rung", "code_bits"), trained_as(self.config.train)))

    def run(self, seed: int) -> Config:
        """The run of this cell with a seed."""
        return dataclasses.replace(self.config, seed=seed)


@dataclass(frozen=True)
class Space:
    """Cells [J] in order of size, load and length; pins of the study; its own seeds; the most seeds
    of one model that a plan may ask for."""

    name: str
    path: Path
    pins: tuple[str, ...]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    most: int
    speed: Speed
    group: np.ndarray  # [J] cells that may share a stack
    stack: int  # most runs of one
    hours: np.ndarray  # [J] of one run beside the steps that its stack has in common
    shared_hours: np.ndarray  # [J] of the steps of a stack that is as long as this cell
    ladder: bool = False  # cells differ by the format that they are trained in as well

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Models, in order of size."""
        return tuple(dict.fromkeys(cell.label for cell in self.cells))

    @cached_property
    def cluster(self) -> np.ndarray:
        """[J] place of each cell's model in `labels`."""
        return np.array([self.labels.index(cell.label) for cell in self.cells])

    @property
    def unit(self) -> str:
        """What is counted: hours of one GPU, or of one core."""
        return "GPU-hours" if self.speed.device == "cuda" else "core-hours"

    def cost(self, number) -> np.ndarray:
        """Hours [...] of a design, runs by cell [..., J]: what each run computes, and for every
        stack the steps of its longest run."""
        number = np.asarray(number, float)
        by_group = np.argsort(self.group, kind="stable")
        first = np.flatnonzero(np.diff(self.group[by_group], prepend=-1))
        sorted_number = number[..., by_group]
        longest = np.maximum.reduceat(
            np.where(sorted_number > 0, self.shared_hours[by_group], 0.0), first, axis=-1
        )
        stacks = np.ceil(np.add.reduceat(sorted_number, first, axis=-1) / self.stack)
        return number @ self.hours + (stacks * longest).sum(-1)

    def runs(self, number, done=None) -> list[tuple[int, Config]]:
        """(cell, run) of a design [J]; done: {cell: seeds that are there}. A model's new runs have
        seeds of their own, so that each is a replicate; on a ladder, whose law takes one number of
        a model and format, only those of one cell."""
        done, out = done or {}, []
        by_label = [
            [j for j, cell in enumerate(self.cells) if cell.label == label] for label in self.labels
        ]
        for places in [[j] for j in range(len(self.cells))] if self.ladder else by_label:
            used = set(itertools.chain.from_iterable(done.get(j, ()) for j in places))
            fresh = (seed for seed in itertools.count(min(self.seeds)) if seed not in used)
            for j in places:
                out += [(j, self.cells[j].run(next(fresh))) for _ in range(int(number[j]))]
        return out

    def cost_of_runs(self, runs: list[Config]) -> float:
        """Hours of runs, cut into stacks as a sweep cuts them."""
        stacks = make_stacks(runs, math.inf, self.stack, self.speed.device, speed=self.speed)
        return sum(self.speed.seconds(stack) for stack in stacks) / 3600


def space_of(
    study: str,
    overrides: list[str],
    results: Path,
    device: str,
    only: str | None = None,
    most: int = MOST_SEEDS,
    ladder: bool = False,
) -> Space:
    """The space that a study spans; only: one of its models; ladder: whether the question is one of
    formats of training. ConfigError where it mixes what one law cannot."""
    known = load_study(study, overrides)
    pins, points = axes_of(study)
    if any(run.data.kind == "text" for run in known.runs):
        raise ConfigError(f"{known.name}: runs on text; a plan is about random data or people")
    by_run = {_identity(run): run for run in known.runs}
    settings = _settings_of(pins, points, overrides)
    labels = {
        _identity(run): label for run, label in zip(known.runs, shape_labels(known.runs).values())
    }
    cells = [Cell(labels[key], run, settings[key]) for key, run in by_run.items()]
    if only is not None:
        if only not in {cell.label for cell in cells}:
            raise ConfigError(
                f"--only {only}: no such model in {known.name}; allowed: "
                f"{', '.join(dict.fromkeys(c.label for c in cells))}"
            )
        cells = [cell for cell in cells if cell.label == only]
    cells = _on_ladder(known.name, cells) if ladder else cells
    for what, value in (
        ("data", lambda c: c.data.kind),
        ("vocabulary", lambda c: c.rows),
        ("length of a sequence", lambda c: c.data.seq_len),
        ("precision", lambda c: c.train.precision),
    ):
        if len(found := {value(cell.config) for cell in cells}) > 1:
            raise ConfigError(
                f"{known.name}: mixes {what} {', '.join(map(str, sorted(found)))}; one law needs "
                f"one"
            )
    cells.sort(
        key=lambda c: (
            c.parameters,
            c.label,
            -c.rung["code_bits"] if ladder else 0.0,
            c.load,
            c.config.steps,
        )
    )
    for a, b in itertools.pairwise(cells):
        one, other = (
            (
                c.label,
                c.config.items,
                0.0 if ladder else round(c.config.exposures, 6),
                ladder and c.rung,
            )
            for c in (a, b)
        )
        if one == other:
            raise ConfigError(
                f"{known.name}: {a.label}, N = {a.config.items:,}: several recipes of one model "
                f"and data set; a plan needs one (give it as "
                "key=value behind the study)"
            )
    return of_cells(
        known.name,
        known.path,
        pins,
        cells,
        sorted({run.seed for run in known.runs}),
        speed_of(device, results),
        most,
        ladder,
    )


def _on_ladder(name: str, cells: list[Cell]) -> list[Cell]:
    """Cells trained in fp32 and those of the one ladder of training with quantized weights; what is
    on no rung tells its law nothing."""
    base = [cell for cell in cells if cell.rung["rung"] == "fp32"]
    quantized = [cell for cell in cells if cell.rung["way"] in LADDERS]
    if not base:
        raise ConfigError(
            f"{name}: no run in fp32 to compare with; a law of precision needs "
            f"train.precision=fp32 and train.qat=none too"
        )
    if len(ways := sorted({cell.rung["way"] for cell in quantized})) > 1:
        raise ConfigError(
            f"{name}: mixes ladders {', '.join(ways)}; one law needs one (give "
            f"train.qat_embeddings=.. behind the study)"
        )
    if (rungs := len({cell.rung["rung"] for cell in quantized})) < FEWEST_RUNGS:
        raise ConfigError(
            f"{name}: {rungs} values of train.qat beside none, a law of precision needs "
            f"{FEWEST_RUNGS}"
        )
    return base + quantized


def of_cells(
    name: str,
    path: Path,
    pins: list[str],
    cells: list[Cell],
    seeds: list[int],
    speed: Speed,
    most: int = MOST_SEEDS,
    ladder: bool = False,
) -> Space:
    """A space with the costs of its cells."""
    stacks = make_stacks(
        [cell.config for cell in cells], math.inf, len(cells), speed.device, speed=speed
    )
    group = {config.run_id: g for g, stack in enumerate(stacks) for config in stack}
    shared = np.array([cell.config.steps * speed.step_s for cell in cells])
    alone = np.array([speed.seconds([cell.config]) for cell in cells])
    return Space(
        name,
        path,
        tuple(pins),
        tuple(cells),
        tuple(seeds),
        most,
        speed,
        np.array([group[cell.config.run_id] for cell in cells]),
        cells[0].config.cluster.stack,
        (alone - shared) / 3600,
        shared / 3600,
        ladder,
    )


def _identity(run: Config) -> str:
    return json.dumps(run.identity | {"seed": None}, sort_keys=True)


def _settings_of(pins, points, overrides) -> dict[str, tuple[tuple[str, str], ...]]:
    """By identity, the settings of the axes but the seed."""
    from capacity.compose import load_many

    runs = load_many([[pins, point, overrides] for point in points])
    given = dict(text.split("=", 1) for text in overrides)
    displaced = {a if b in given else b for a, b in COUPLED if a in given or b in given}
    out = {}
    for run, point in zip(runs, points):
        said = {
            key: value
            for key, value in (text.split("=", 1) for text in point)
            if key not in displaced
        }
        out[_identity(run)] = tuple(
            (key, value) for key, value in (said | given).items() if key != "seed"
        )
    return out


def grid(space: Space, budget: float, cells=None) -> np.ndarray:
    """The naive grid that a budget of hours affords, runs by cell [J]: every data size and length
    of as many models as fit, evenly spaced from the smallest to the largest, with the study's
    number of seeds; fewer seeds only where not even three models fit, more once all models do.
    cells: [J] which may be used. All 0 where not even two models with one seed fit."""
    cells = np.ones(len(space.cells), bool) if cells is None else cells
    cluster, usable = space.cluster, np.unique(space.cluster[cells])
    best = np.zeros(len(space.cells))
    for seeds, fewest in [
        (len(space.seeds), 3),
        *((seeds, 3) for seeds in range(len(space.seeds) - 1, 0, -1)),
        (1, 2),
    ]:
        for models in range(min(fewest, len(usable)), len(usable) + 1):
            chosen = usable[
                np.unique(np.round(np.linspace(0, len(usable) - 1, models)).astype(int))
            ]
            number = np.where(cells & np.isin(cluster, chosen), seeds, 0)
            if space.cost(number) > budget:
                break
            best = number
        if best.any():
            break
    for more in (
        itertools.count(len(space.seeds) + 1) if np.isin(usable, cluster[best > 0]).all() else ()
    ):
        if space.cost(np.where(cells, more, 0)) > budget:
            break
        best = np.where(cells, more, 0)
    return best


def write_yaml(space: Space, runs: list[Config], question: str) -> str:
    """A study file with exactly these runs of the space: its pins, and grids of the axes' settings
    by seeds."""
    by_identity = {_identity(cell.config): cell for cell in space.cells}
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(_identity(run), []).append(run.seed)
    grids: dict[tuple[int, ...], list[Cell]] = {}
    for key, found in seeds.items():
        grids.setdefault(tuple(sorted(found)), []).append(by_identity[key])
    lines = [
        f"question: {json.dumps(question)}",
        "pins:",
        *(f"  - {json.dumps(pin)}" for pin in space.pins),
        "grids:",
    ]
    for found, cells in grids.items():
        lines += [f"  - seed: [{', '.join(map(str, found))}]", "    run:"]
        lines += [
            "      - {"
            + ", ".join(f"{key}: {_scalar(value)}" for key, value in dict(cell.settings).items())
            + "}"
            for cell in cells
        ]
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    """A value of Hydra's grammar as a YAML scalar that a study file turns back into the same
    text."""
    if text in ("null", "true", "false"):
        return text
    try:
        return text if str(json.loads(text)) == text else json.dumps(text)
    except ValueError:
        return json.dumps(text)
