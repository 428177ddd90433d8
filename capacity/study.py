"""A study file -> the runs of a study.

    question: what the study asks, one sentence
    pins:     overrides that hold for every run (Hydra's grammar), as a list
    grids:    a list of grids; each is a product of axes. An axis is `key: [values]`, or `key:
              "range(0,4)"` in Hydra's sweep grammar, or a name of your own with a list of mappings
              that set several keys together (values that move as one)
    references: runs that the others are compared with, as a list of mappings from setting to
              value, such as {data.trained_on: reference, data.n_reference: 8000}: each is trained
              once for all runs that differ only by size of the training set, length and seed
    best_over: settings over which fit-laws keeps the best of otherwise equal runs, such as
              [train.lr]
    random_data: for text, the study that measured what the same models hold of random data, such as
              pocket; fit-laws reads its fit
    starts:   runs with whose weights others begin, as a mapping from name to the overrides of data
              and train that make such a run, such as {facts: [data=bios_pocket,
              train=pocket_bios]}; a run of the grids with train.start_from: facts begins with a run
              of its own model and seed that has these settings, and is trained behind it
    names:    what variants are called in labels, legends and tables, as a mapping from name to the
              settings that such a run has, such as {ours: {model.norm: rmsnorm}}; a list of values
              means any of them. A name changes no run and no verdict
    expects:  published values that fit-laws compares with what was measured, see
              `published/expects.py`
    scale:    published or pocket; what a verdict is about
    presets:  name -> entries (all of the above) that take the place of the study's own; STUDY@NAME
              picks one

A run that appears in two grids is planned once. docs/reference/study_grammar.md has an example of
every entry.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from capacity import naming
from capacity.base.errors import ConfigError, nearest
from capacity.base.files import shared_dir
from capacity.compose import expand, literal, load_many, read_yaml
from capacity.config import Config, known_keys, takes_text
from capacity.origins import COMMAND_LINE, Given, PlacedError, in_quotes, placed
from capacity.published.expects import SCALES, check_expects
from capacity.settings.aliases import near_setting
from capacity.settings.data import TextData

ENTRIES = tuple(
    "question pins grids references starts best_over random_data names expects scale".split()
)
# settings that a run with whose weights another one begins has of that other one
SHARED_WITH_START = ("model", "seed", "cluster", "wandb")


@dataclass(frozen=True)
class Study:
    """A named set of runs."""

    name: str
    path: Path
    question: str
    runs: list[Config]
    best_over: list[str] = field(default_factory=list)  # dotted settings
    expects: list[dict] = field(
        default_factory=list
    )  # as `published.expects.check_expects` returns them
    scale: str = "published"
    random_data: str = ""  # name of a study
    overrides: list[str] = field(default_factory=list)  # given with the command, not in the file
    names: naming.Names = field(default_factory=dict)  # of variants, as `naming.given` reads them
    # runs with whose weights others begin, which are no runs of the question; a run stands behind
    # the one that it begins with
    starts: list[Config] = field(default_factory=list)

    @property
    def trained(self) -> list[Config]:
        """All that a sweep trains."""
        return [*self.starts, *self.runs]

    @property
    def rounds(self) -> list[list[Config]]:
        """All that a sweep trains, by how many runs of the study have to be finished first, one
        after the other."""
        behind = {run.run_id: run.train.start or "" for run in self.trained}
        depth = {run_id: _depth(run_id, behind) for run_id in behind}
        return [
            [run for run in self.trained if depth[run.run_id] == n]
            for n in range(max(depth.values()) + 1)
        ]

    @cached_property
    def variants(self) -> dict[str, str]:
        """run id -> what the run is called beside its size, data, exposures and seed."""
        called = naming.of_runs(self.runs, self.names, self.best_over)
        return {run.run_id: name for run, name in zip(self.runs, called, strict=True)}


def _depth(run_id: str, behind: Mapping[str, str]) -> int:
    """How many of these runs stand before this one. behind: id -> that of the run before."""
    before = behind[run_id]
    return 1 + _depth(before, behind) if before in behind else 0


def load_study(name: str, overrides: list[str]) -> Study:
    """Read and expand a study or one of its presets (STUDY@PRESET); `overrides` come last and win
    over pins and axes. One with several values, such as seed=0,1 in Hydra's sweep grammar, is an
    axis: every run of the study is planned once with each. ConfigError with file and key."""
    path = find_study(name)
    base, preset = split_name(name.replace("\\", "/"))
    tree, places = _entries(path, preset)
    pins, grids = tree.get("pins") or [], tree.get("grids") or [{}]
    references = tree.get("references") or []
    best_over, scale = tree.get("best_over") or [], tree.get("scale", "published")
    if not isinstance(pins, list) or not all(isinstance(p, str) for p in pins):
        raise ConfigError(f"{path}: pins: expected a list of overrides such as data.vocab_size=256")
    if not isinstance(grids, list) or not all(isinstance(g, dict) for g in grids):
        raise ConfigError(f"{path}: grids: expected a list of mappings from axis to values")
    if not isinstance(references, list) or not all(
        isinstance(r, dict) and "data.trained_on" in r for r in references
    ):
        raise ConfigError(
            f"{path}: references: expected a list of mappings with data.trained_on, such as "
            f"{{data.trained_on: reference, data.n_reference: 8000}}"
        )
    if not isinstance(best_over, list) or not all(isinstance(key, str) for key in best_over):
        raise ConfigError(f"{path}: best_over: expected a list of settings such as train.lr")
    for key in best_over:
        if key not in known_keys() or key == "seed":
            raise ConfigError(
                f"{path}: best_over: {key}: no such setting{near_setting(key, known_keys())}"
            )
    if scale not in SCALES:
        near = nearest(str(scale), list(SCALES))
        raise ConfigError(f"{path}: scale: {scale}: expected one of {', '.join(SCALES)}{near}")
    try:
        expects = check_expects(tree.get("expects") or [])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    configs, begun = _configs(path, tree, places, _typed(overrides))
    names = naming.read(places["names"], tree.get("names") or {})
    if not overrides and places["names"].startswith(_own_place(path, preset)):
        naming.check(places["names"], names, configs)
    unique = {config.run_id: config for config in configs}
    study_name = Path(base).stem if Path(base).suffix in (".yaml", ".yml") else base
    return Study(
        f"{study_name}@{preset}" if preset else study_name,
        path,
        str(tree.get("question", "")),
        list(unique.values()),
        best_over,
        expects,
        scale,
        _random_data(path, tree.get("random_data", "")),
        list(overrides),
        names,
        [run for run_id, run in begun.items() if run_id not in unique],
    )


def _typed(overrides: list[str]) -> list[list[str]]:
    """What was typed, as one list of settings for each point of its axes. ConfigError for an axis
    over settings that change no run, and for a text with commas, which may be meant as one."""
    for text in overrides:
        key, _, value = text.partition("=")
        try:
            if expand([text]) == [[text]]:
                continue
        except ConfigError as error:
            raise placed(error, COMMAND_LINE) from None
        if key.partition(".")[0] not in (*naming.SECTIONS, "seed"):
            raise ConfigError(
                f"{text}: several values; {key} is no part of what a run is, so it takes one"
            )
        if takes_text(key) and not value.startswith(("choice(", "glob(")):
            raise ConfigError(
                f"{text}: several values, or one text with commas? write {key}=choice({value}) or, "
                f"in a shell, {shlex.quote(f'{key}={in_quotes(value)}')}"
            )
    return [[Given(text, COMMAND_LINE) for text in point] for point in (expand(overrides) or [[]])]


def _own_place(path: Path, preset: str | None) -> str:
    """Where the entries stand that were written for these runs, and not for others too."""
    return f"{path}: presets: {preset}: " if preset else f"{path}: names"


def _configs(
    path: Path, tree: dict, places: dict[str, str], typed: Sequence[Sequence[str]]
) -> tuple[list[Config], dict[str, Config]]:
    """The runs of a study with each of what was typed last, reference models behind the others; and
    by id those with whose weights they begin."""
    starts = _Starts(tree.get("starts") or {}, places["starts"])
    pins, references = tree.get("pins") or [], tree.get("references") or []
    given = [Given(pin, f"{places['pins']}: {i}") for i, pin in enumerate(pins, 1)]
    try:
        points = _points(tree.get("grids") or [{}], places["grids"])
        layers = [[given, point, last] for point in points for last in typed]
        configs = starts.load(layers)
        if references and not _largest(configs):
            raise PlacedError(
                f"{places['references']}: are for runs on text with data.trained_on=members, and "
                f"the study has none"
            )
        runs = [
            [Given(_literal(at, key, value), at) for key, value in one.items()]
            for i, one in enumerate(references, 1)
            if (at := f"{places['references']}: {i}")
        ]
        configs += starts.load(
            [[*layers[i][:2], run, layers[i][2]] for i in _largest(configs) for run in runs]
        )
    except PlacedError:
        raise
    except ConfigError as error:
        if Path(str(error).partition(":")[0]).exists():
            raise  # about a file that the runs read, by its name
        raise ConfigError(f"{path}: {error}") from None  # what the study leaves out
    return configs, starts.begun


class _Starts:
    """The entry `starts` of a study, and the runs that were made of it, by id."""

    def __init__(self, entry: object, at: str) -> None:
        example = "such as {facts: [data=bios_pocket, train=pocket_bios]}"
        if not isinstance(entry, dict) or not all(
            isinstance(texts, list) and all(isinstance(text, str) for text in texts)
            for texts in entry.values()
        ):
            raise PlacedError(f"{at}: expected a mapping from name to overrides, {example}")
        self.at, self.begun = at, dict[str, Config]()
        self.entry = {
            str(name): [Given(text, f"{at}: {name}: {i}") for i, text in enumerate(texts, 1)]
            for name, texts in entry.items()
        }
        for name, texts in self.entry.items():
            if not re.fullmatch(r"[A-Za-z]\w*", name):
                raise PlacedError(f"{at}: {name!r}: a name has letters, digits and _")
            for text in texts:
                if _section(text) in SHARED_WITH_START:
                    raise PlacedError(
                        f"{text.origin}: {text}: the run has the {_section(text)} of the one that "
                        "begins with it; expected settings of data, train and measures"
                    )

    def load(self, layers: Sequence[Sequence[Sequence[str]]], depth: int = 0) -> list[Config]:
        """The runs of these layers of overrides; those with whose weights they begin are loaded
        before, and come into `begun`."""
        named = {i: name for i, one in enumerate(layers) if (name := self._name(one))}
        if depth > len(self.entry):
            raise PlacedError(
                f"{self.at}: {', '.join(self.entry)}: one begins with another in turn"
            )
        parents = (
            self.load(
                [
                    [
                        [text for layer in layers[i] for text in layer if _is_shared(text)],
                        self.entry[name],
                    ]
                    for i, name in named.items()
                ],
                depth + 1,
            )
            if named
            else []
        )
        self.begun |= {run.run_id: run for run in parents}
        given = {
            i: [Given(f"train.start_from='{name}:{run.run_id}'", self.at)]
            for (i, name), run in zip(named.items(), parents, strict=True)
        }
        return load_many([[*one, given[i]] if i in given else one for i, one in enumerate(layers)])

    def _name(self, layers: Sequence[Sequence[str]]) -> str:
        """The name that train.start_from has in the last layer that sets it; empty for an id, which
        needs none, and for random weights."""
        key = "train.start_from="
        texts = [text for layer in layers for text in layer if text.startswith(key)]
        if not texts:
            return ""
        value = texts[-1].removeprefix(key).strip("'\"")
        if value in self.entry or value in ("null", "") or re.search(r"[0-9a-f]{12}$", value):
            return value if value in self.entry else ""
        raise placed(
            ConfigError(
                f"{texts[-1]}: expected the id of a run or a name of the study's entry starts"
                f"{nearest(value, list(self.entry))}; it has {', '.join(self.entry) or 'none'}"
            ),
            getattr(texts[-1], "origin", ""),
        )


def _section(text: str) -> str:
    """What an override is about: model of model.d_model=8 and of model=gpt."""
    return re.split(r"[.=@]", text.lstrip("+~"), maxsplit=1)[0]


def _is_shared(text: str) -> bool:
    return _section(text) in SHARED_WITH_START


def _random_data(path: Path, name: object) -> str:
    """The entry random_data: the name of a study that exists."""
    if name == "":
        return ""
    if not isinstance(name, str):
        raise ConfigError(f"{path}: random_data: expected the name of a study such as pocket")
    try:
        find_study(name)
    except ConfigError as error:
        raise ConfigError(f"{path}: random_data: {error}") from None
    return name


def entries_of(name: str) -> dict:
    """The entries of a study or preset that `load_study` has read, as its file has them."""
    return _entries(find_study(name), split_name(name)[1])[0]


def axes_of(name: str) -> tuple[list[str], list[list[str]]]:
    """The pins of a study that `load_study` has read, and the settings of its axes, one list of
    overrides per run of its grids."""
    path = find_study(name)
    tree, places = _entries(path, split_name(name)[1])
    return list(tree.get("pins") or []), _points(tree.get("grids") or [{}], places["grids"])


def points_of(tree: dict) -> int:
    """How many runs the grids of these entries have, without planning them: points that set the
    same are counted once, reference models are not counted. ConfigError for a grid that is none."""
    points = _points(tree.get("grids") or [{}], "grids")
    return len({tuple(sorted(map(str, point))) for point in points})


def _largest(configs: list[Config]) -> list[int]:
    """Of runs on text that differ only by size of the training set, length and seed, the place of
    the one that is trained on most."""
    kin: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        if isinstance(config.data, TextData) and config.data.trained_on == "members":
            identity = config.identity
            for section, key in (("data", "n_sequences"), ("train", "steps")):
                del identity[section][key]
            del identity["seed"]
            kin.setdefault(json.dumps(identity, sort_keys=True), []).append(i)
    return [max(places, key=lambda i: configs[i].items) for places in kin.values()]


def _entries(path: Path, preset: str | None) -> tuple[dict, dict[str, str]]:
    """The entries of a study file, and where each stands; what a preset states takes the place of
    the study's own."""
    tree = read_yaml(path)
    if not tree:
        raise ConfigError(f"{path}: no entry; a study has {', '.join(ENTRIES)} or presets")
    presets = tree.pop("presets", None) or {}
    if not isinstance(presets, dict) or not all(
        isinstance(entries, dict) for entries in presets.values()
    ):
        raise ConfigError(
            f"{path}: presets: expected a mapping from name to entries such as pins and grids"
        )
    for where, entries in [("", tree)] + [
        (f"presets: {name}: ", entries) for name, entries in presets.items()
    ]:
        allowed: list[str] = [*ENTRIES, "presets"] if entries is tree else [*ENTRIES]
        for key in entries:
            if key not in allowed:
                raise ConfigError(
                    f"{path}: {where}{key}: no such entry{nearest(str(key), allowed)}; allowed: "
                    f"{', '.join(allowed)}"
                )
    places = {key: f"{path}: {key}" for key in ENTRIES}
    if preset is None:
        return tree, places
    if preset not in presets:
        known = [str(name) for name in presets]
        raise ConfigError(
            f"{path}: no preset {preset}{nearest(preset, known)}; "
            + (f"allowed: {', '.join(known)}" if known else "this study has none")
        )
    return tree | presets[preset], places | {
        key: f"{path}: presets: {preset}: {key}" for key in presets[preset]
    }


def split_name(name: str) -> tuple[str, str | None]:
    """STUDY@PRESET as (study, preset); (name, None) where there is no preset, also for a file with
    @ in its name."""
    base, at, preset = name.rpartition("@")
    if not at or "/" in preset or Path(preset).suffix in (".yaml", ".yml"):
        return name, None
    return base, preset


def find_study(name: str) -> Path:
    """sweeps/NAME.yaml in the current folder or the package's own, or a path to a YAML file,
    without @PRESET."""
    name, _ = split_name(name)
    if "\\" in name and not Path(name).is_file():
        name = name.replace("\\", "/")  # Windows writes paths so, and no study has it in its name
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
    raise ConfigError(
        f"{name}: no such study{nearest(name, known)}; allowed: {', '.join(known)}, or a path to a "
        f"YAML file"
    )


def study_names(folders: list[Path]) -> list[str]:
    """All studies below the folders, by name."""
    return sorted(
        {
            p.relative_to(f).with_suffix("").as_posix()
            for f in folders
            if f.is_dir()
            for p in f.rglob("*.yaml")
        }
    )


def _points(grids: list[dict], at: str) -> list[list[str]]:
    """The products of the axes of grids as lists of overrides; the last axis varies fastest. `at`
    is the place of the grids."""
    return [
        list(itertools.chain(*point))
        for number, grid in enumerate(grids, 1)
        for point in itertools.product(
            *(_axis(key, values, f"{at}: {number}") for key, values in grid.items())
        )
    ]


def _axis(key: str, values: object, at: str) -> list[list[str]]:
    """The settings of each point of an axis, with their origin `at`."""
    if isinstance(values, str):
        return [[Given(text, at) for text in one] for one in _expanded(key, values, at)]
    if isinstance(values, list) and values and all(isinstance(v, dict) for v in values):
        where = f"{at}: {key}"
        return [[Given(_literal(where, k, v), at) for k, v in value.items()] for value in values]
    if isinstance(values, list) and values:
        return [[Given(_literal(at, key, v), at)] for v in values]
    if not isinstance(values, (list, dict)) and values is not None:
        return [[Given(_literal(at, key, values), at)]]
    raise PlacedError(f"{at}: {key}: expected a value, a list of values, or a list of mappings")


def _expanded(key: str, values: str, at: str) -> list[list[str]]:
    try:
        return expand([f"{key}={values}"])
    except ConfigError as error:
        if key in known_keys() and takes_text(key):
            as_yaml = values.replace("'", "''")
            raise PlacedError(
                f"{at}: {key}: {values}: not in Hydra's sweep grammar; write a list for a text: "
                f"{key}: ['{as_yaml}']"
            ) from None
        raise PlacedError(f"{at}: {error}") from None


def _literal(at: str, key: str, value: object) -> str:
    """A YAML scalar of a setting in Hydra's override grammar."""
    if isinstance(value, (list, dict)):
        raise PlacedError(
            f"{at}: {key}: {value!r}: an axis takes plain values or mappings of key to plain value"
        )
    return literal(key, value)
