"""The runs that a plan may choose from, and what they cost: a study file spans the space.

A cell is one model on one size of data for one length of training (and, for laws of precision, in
one format); a design says how many seeds of each cell are trained. Models, data sizes, lengths
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
from typing import Any

import numpy as np

from capacity import counts as closed
from capacity.analysis.precision.analysis import FEWEST_FORMATS
from capacity.analysis.precision.bit_widths import METHODS, trained_as
from capacity.base.errors import ConfigError, nearest
from capacity.base.words import plural
from capacity.config import COUPLED, Config
from capacity.cost import Speed, speed_of
from capacity.run_table import model_names
from capacity.settings.data import UniformData
from capacity.study import axes_of, load_study
from capacity.sweep.packs import Limits, make_stacks

MOST_SEEDS = 8


@dataclass(frozen=True)
class Cell:
    """All seeds of one model, data size and length. config: one of them; settings: what the study's
    axes say, seed apart."""

    model: str
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
        if isinstance(data, UniformData):
            return float(
                closed.uniform_ceiling_bits(
                    self.config.items, data.seq_len, data.vocab_size, "strict"
                )
            )
        return float(self.config.entropy_bits)

    @cached_property
    def trained_in(self) -> dict[str, Any]:
        """As `analysis.precision` has it: method, format, code_bits."""
        names = ("method", "format", "code_bits")
        return dict(zip(names, trained_as(self.config.train), strict=True))

    def run(self, seed: int) -> Config:
        """The run of this cell with a seed."""
        return dataclasses.replace(self.config, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a design costs. group [J]: cells that may share a stack; stack: most runs of one; hours
    [J]: of one run beside the steps that its stack has in common; shared_hours [J]: of the steps of
    a stack that is as long as this cell."""

    group: np.ndarray
    stack: int
    hours: np.ndarray
    shared_hours: np.ndarray

    def of(self, number: np.ndarray) -> np.ndarray:
        """Hours [...] of designs, runs by cell [..., J]: what each run computes, and for every
        stack the steps of its longest run."""
        by_group = np.argsort(self.group, kind="stable")
        first = np.flatnonzero(np.diff(self.group[by_group], prepend=-1))
        sorted_number = number[..., by_group]
        longest = np.maximum.reduceat(
            np.where(sorted_number > 0, self.shared_hours[by_group], 0.0), first, axis=-1
        )
        stacks = np.ceil(np.add.reduceat(sorted_number, first, axis=-1) / self.stack)
        return number @ self.hours + (stacks * longest).sum(-1)


@dataclass(frozen=True, kw_only=True)
class Space:
    """Cells [J] in order of size, load and length; pins of the study; its own seeds; most: seeds of
    one model that a plan may ask for; formats: whether cells differ by the format that they are
    trained in as well."""

    name: str
    path: Path
    pins: tuple[str, ...]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    most: int
    speed: Speed
    costs: Costs
    formats: bool = False

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Models, in order of size."""
        return tuple(dict.fromkeys(cell.model for cell in self.cells))

    @cached_property
    def cluster(self) -> np.ndarray:
        """[J] index of each cell's model in `models`."""
        return np.array([self.models.index(cell.model) for cell in self.cells])

    @property
    def unit(self) -> str:
        """What is counted: hours of one GPU, or of one core."""
        return "GPU-hours" if self.speed.device == "cuda" else "core-hours"

    def cost(self, number: np.ndarray) -> np.ndarray:
        """Hours [...] of designs, runs by cell [..., J]."""
        return self.costs.of(np.asarray(number, float))

    def runs(
        self, number: np.ndarray, done: dict[int, list[int]] | None = None
    ) -> list[tuple[int, Config]]:
        """(cell, run) of a design [J]; done: {cell: seeds that are there}. A model's new runs have
        seeds of their own, so that each is a replicate; with formats, whose law takes one number of
        a model and format, only those of one cell."""
        done, out = done or {}, []
        by_label = [
            [j for j, cell in enumerate(self.cells) if cell.model == model] for model in self.models
        ]
        for places in [[j] for j in range(len(self.cells))] if self.formats else by_label:
            used = set(itertools.chain.from_iterable(done.get(j, ()) for j in places))
            unused = (seed for seed in itertools.count(min(self.seeds)) if seed not in used)
            for j in places:
                out += [(j, self.cells[j].run(next(unused))) for _ in range(int(number[j]))]
        return out


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of a study a plan may choose from. only: one of its models; most: seeds of one model;
    formats: whether the target is about formats of training."""

    only: str | None = None
    most: int = MOST_SEEDS
    formats: bool = False


def space_of(
    study: str, overrides: list[str], results: Path, device: str, choice: Choice | None = None
) -> Space:
    """The space that a study spans. ConfigError where it mixes what one law cannot."""
    choice = choice or Choice()
    known = load_study(study, overrides)
    pins, points = axes_of(study)
    if any(run.data.kind == "text" for run in known.runs):
        raise ConfigError(f"{known.name}: runs on text; a plan is about random data or people")
    by_run = {_identity(run): run for run in known.runs}
    settings = _settings_of(pins, points, overrides)
    names = model_names(known.runs).values()
    name_of = {_identity(run): model for run, model in zip(known.runs, names, strict=True)}
    cells = [Cell(name_of[key], run, settings[key]) for key, run in by_run.items()]
    if choice.only is not None:
        models = list(dict.fromkeys(cell.model for cell in cells))
        if choice.only not in models:
            raise ConfigError(
                f"--only {choice.only}: no such model in {known.name}"
                f"{nearest(choice.only, models)}; allowed: {', '.join(models)}"
            )
        cells = [cell for cell in cells if cell.model == choice.only]
    cells = _in_formats(known.name, cells) if choice.formats else cells
    _check_uniform(known.name, cells)
    cells.sort(key=lambda cell: _order(cell, choice.formats))
    _check_recipes(known.name, cells, choice.formats)
    speed = speed_of(device, results)
    return Space(
        name=known.name,
        path=known.path,
        pins=tuple(pins),
        cells=tuple(cells),
        seeds=tuple(sorted({run.seed for run in known.runs})),
        most=choice.most,
        speed=speed,
        costs=_costs(cells, speed),
        formats=choice.formats,
    )


def _order(cell: Cell, formats: bool) -> tuple[float, str, float, float, int]:
    bits = -cell.trained_in["code_bits"] if formats else 0.0
    return cell.parameters, cell.model, bits, cell.load, cell.config.steps


def _check_uniform(name: str, cells: list[Cell]) -> None:
    """ConfigError where cells differ in what no law of capacity has a variable for."""
    for what, value in (
        ("data", lambda c: c.data.kind),
        ("vocabulary", lambda c: c.rows),
        ("length of a sequence", lambda c: c.data.seq_len),
        ("precision", lambda c: c.train.precision),
    ):
        if len(values := {value(cell.config) for cell in cells}) > 1:
            raise ConfigError(
                f"{name}: mixes {what} {', '.join(map(str, sorted(values)))}; one law needs one"
            )


def _check_recipes(name: str, cells: list[Cell], formats: bool) -> None:
    """ConfigError where one model and data set is trained by several recipes; cells in order."""

    def recipe(cell: Cell) -> tuple:
        exposures = 0.0 if formats else round(cell.config.exposures, 6)
        return cell.model, cell.config.items, exposures, formats and cell.trained_in

    for a, b in itertools.pairwise(cells):
        if recipe(a) == recipe(b):
            raise ConfigError(
                f"{name}: {a.model}, N = {a.config.items:,}: several recipes of one model and data "
                f"set; a plan needs one (give it as key=value behind the study)"
            )


def _in_formats(name: str, cells: list[Cell]) -> list[Cell]:
    """Cells trained in fp32 and those of the one method of training with quantized weights; others
    are not informative for its law."""
    base = [cell for cell in cells if cell.trained_in["format"] == "fp32"]
    quantized = [cell for cell in cells if cell.trained_in["method"] in METHODS]
    if not base:
        raise ConfigError(
            f"{name}: no run in fp32 to compare with; a law of precision needs "
            f"train.precision=fp32 and train.qat=none too"
        )
    if len(methods := sorted({cell.trained_in["method"] for cell in quantized})) > 1:
        raise ConfigError(
            f"{name}: mixes methods {', '.join(methods)}; one law needs one (give "
            f"train.qat_embeddings=.. behind the study)"
        )
    if (number := len({cell.trained_in["format"] for cell in quantized})) < FEWEST_FORMATS:
        raise ConfigError(
            f"{name}: {plural(number, 'value')} of train.qat beside none, a law of precision needs "
            f"{FEWEST_FORMATS}"
        )
    return base + quantized


def _costs(cells: list[Cell], speed: Speed) -> Costs:
    limits = Limits(most=len(cells), device=speed.device, speed=speed)
    stacks = make_stacks([cell.config for cell in cells], math.inf, limits)
    group = {config.run_id: g for g, stack in enumerate(stacks) for config in stack}
    shared = np.array([cell.config.steps * speed.shared_seconds(cell.config) for cell in cells])
    alone = np.array([speed.seconds([cell.config]) for cell in cells])
    return Costs(
        group=np.array([group[cell.config.run_id] for cell in cells]),
        stack=cells[0].config.cluster.stack,
        hours=(alone - shared) / 3600,
        shared_hours=shared / 3600,
    )


def _identity(run: Config) -> str:
    return json.dumps(run.identity | {"seed": None}, sort_keys=True)


def _settings_of(
    pins: list[str], points: list[list[str]], overrides: list[str]
) -> dict[str, tuple[tuple[str, str], ...]]:
    """By identity, the settings of the axes but the seed."""
    from capacity.compose import load_many

    runs = load_many([[pins, point, overrides] for point in points])
    given = dict(text.split("=", 1) for text in overrides)
    displaced = {a if b in given else b for a, b in COUPLED if a in given or b in given}
    out = {}
    for run, point in zip(runs, points, strict=True):
        axes = dict(text.split("=", 1) for text in point)
        kept = {key: value for key, value in axes.items() if key not in displaced}
        out[_identity(run)] = tuple(
            (key, value) for key, value in (kept | given).items() if key != "seed"
        )
    return out


def grid(space: Space, budget: float, cells: np.ndarray | None = None) -> np.ndarray:
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
    for key, numbers in seeds.items():
        grids.setdefault(tuple(sorted(numbers)), []).append(by_identity[key])
    lines = [
        f"question: {json.dumps(question)}",
        "pins:",
        *(f"  - {json.dumps(pin)}" for pin in space.pins),
        "grids:",
    ]
    for numbers, cells in grids.items():
        lines += [f"  - seed: [{', '.join(map(str, numbers))}]", "    run:"]
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
