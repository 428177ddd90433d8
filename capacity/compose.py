"""conf/ + overrides -> Config. The only module that imports hydra or omegaconf; nothing of theirs
leaves it.

Hydra's compose takes about 40 ms and reading one override about 1 ms, so a sweep composes once per
choice of config groups, reads each override once, and applies plain values to plain dictionaries; a
test holds the two ways equal.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from capacity.base.errors import ConfigError, nearest
from capacity.config import (
    COUPLED,
    SECTIONS,
    Config,
    check_section,
    from_dict,
    known_keys,
    takes_text,
    unknown_data_key,
    unknown_key,
)

GROUPS = ("data", "model", "train", "measure", "extraction", "quantize", "cluster")
_PARSED: dict[str, Override] = {}


def shared_dir(name: str) -> Path:
    """The folder `conf` or `sweeps`: beside the package in a checkout, inside it in an installed
    wheel."""
    package = Path(__file__).resolve().parent
    beside = package.parent / name
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    return package / name


@contextmanager
def _hydra() -> Iterator[OverridesParser]:
    with initialize_config_dir(version_base="1.3", config_dir=str(shared_dir("conf"))):
        yield OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())


def load(overrides: list[str]) -> Config:
    """One run from the command line's overrides. ConfigError for anything a person can correct."""
    return load_many([[overrides]])[0]


def load_many(runs: list[list[list[str]]]) -> list[Config]:
    """Each run is a list of layers of overrides; a later layer wins, also over the other of two
    coupled numbers."""
    with _hydra() as parser:
        return [_load_layers(parser, layers) for layers in runs]


MEASURES = ("measure", "extraction", "quantize")  # sections that a run may be measured by again


def measured_by(tree: dict, overrides: list[str]) -> Config:
    """The settings of a run that is there (`Config.as_dict`) with others of its measures.
    ConfigError for any other section."""
    tree = from_dict(tree).as_dict()
    with _hydra() as parser:
        parsed = [(text, _parse(parser, text)) for text in overrides]
        for text, override in sorted(
            parsed, key=lambda one: one[1].key_or_group not in GROUPS
        ):  # choices first, as Hydra has it
            key = override.key_or_group
            if key.partition(".")[0] not in MEASURES:
                raise ConfigError(
                    f"{text}: a finished run keeps its settings; to measure it again, give those "
                    f"of {', '.join(MEASURES)}"
                )
            if override.is_sweep_override():
                raise ConfigError(f"{text}: several values; a run is measured by one")
            if override.type is not OverrideType.CHANGE:
                raise ConfigError(f"{text}: expected {key}=value")
            if key in GROUPS and isinstance(override.value(), str):
                tree[key] = copy.deepcopy(_container((text,))[key])
            else:
                _update(tree, text, override)
    return from_dict(tree)


def expand(axes: list[str]) -> list[list[str]]:
    """Hydra sweep overrides -> one list of plain overrides per run; the last axis varies fastest.

    `model.d_model=8,16`, `seed=range(2)`, `train.lr=choice(0.01,0.02)` and `model=glob(*)` are
    axes, anything else is the same in every run. ConfigError for an axis that cannot be enumerated
    or whose values hold an interpolation.
    """
    with _hydra() as parser:
        columns = []
        for text in axes:
            override = _parse(parser, text)
            if not override.is_sweep_override():
                columns.append([text])
                continue
            if "${" in text:
                raise ConfigError(f"{text}: an axis cannot hold an interpolation; list the values")
            if "shuffle" in text:
                raise ConfigError(
                    f"{text}: a shuffled axis would name different runs each time; list the values"
                )
            try:
                values = list(override.sweep_string_iterator())
            except HydraException as error:
                raise ConfigError(f"{text}: {_one_line(error)}") from None
            columns.append([f"{override.get_key_element()}={value}" for value in values])
    return [list(run) for run in itertools.product(*columns)]


def to_yaml(config: Config) -> str:
    """The resolved settings as YAML, in the order of the dataclasses."""
    return OmegaConf.to_yaml(OmegaConf.create(config.as_dict()))


def read_yaml(path: Path) -> dict:
    """A YAML file as plain dictionaries and lists; ConfigError with the file and the reason."""
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or 'expected named entries'}") from None
    except Exception as error:  # yaml and omegaconf each raise their own families
        raise ConfigError(f"{path}: not valid YAML: {_one_line(error)}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected named entries, got a {type(tree).__name__}")
    return tree


def _load_layers(parser: OverridesParser, layers: list[list[str]]) -> Config:
    parsed = [[(text, _parse(parser, text)) for text in layer] for layer in layers]
    for text, override in itertools.chain(*parsed):
        if override.is_sweep_override():
            raise ConfigError(
                f"{text}: several values; one run takes one (a study file takes axes)"
            )
    flat = list(itertools.chain(*parsed))
    for text, override in flat:
        if override.key_or_group in GROUPS and not isinstance(override.value(), str):
            raise ConfigError(
                f"{text}: expected the name of a choice of {override.key_or_group}; allowed: "
                f"{', '.join(option_names(override.key_or_group))}"
            )
    if all(override.type is OverrideType.CHANGE for _, override in flat):
        tree = copy.deepcopy(
            _container(tuple(text for text, o in flat if o.key_or_group in GROUPS))
        )
        for text, override in flat:
            if override.key_or_group not in GROUPS:
                _update(tree, text, override)
    else:  # additions and deletions are rare: let Hydra do all of it
        tree = _plain(_compose([text for text, _ in flat]))
    _add_site(tree, flat)
    _let_later_layer_win(tree, [[o.key_or_group for _, o in layer] for layer in parsed])
    try:
        if _unresolved(tree):
            tree = _plain(OmegaConf.create(tree), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error)) from None
    return from_dict(tree)


def _add_site(tree: dict, flat: list[tuple[str, Override]]) -> None:
    """Put the values of conf/local.yaml below explicit ones: those under the chosen name of
    cluster=, and wandb's."""
    named = {override.key_or_group for _, override in flat}
    chosen = next(
        (str(o.value()) for _, o in reversed(flat) if o.key_or_group == "cluster"), "workstation"
    )
    site = site_settings()
    for section, values in (("cluster", site.get(chosen, {})), ("wandb", site.get("wandb", {}))):
        tree[section] |= {
            key: value for key, value in values.items() if f"{section}.{key}" not in named
        }


@lru_cache(maxsize=4)
def _site_settings(path: Path, stamp: int) -> dict:
    tree = read_yaml(path) if path.stat().st_size else {}
    allowed = [*option_names("cluster"), "wandb"]
    for section, values in tree.items():
        if section not in allowed:
            raise ConfigError(
                f"{path}: {section}: not a section of this file{nearest(str(section), allowed)}; "
                f"allowed: "
                f"{', '.join(allowed)}, each with settings of "
                f"{'cluster' if section != 'wandb' else 'wandb'}"
            )
        name = "wandb" if section == "wandb" else "cluster"
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {section}: expected named settings, such as partition: gpu")
        try:
            check_section(name, values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {section}: {str(error).removeprefix(name + '.')}") from None
    return tree


def site_settings() -> dict:
    """What conf/local.yaml says about this site: cluster choice (or wandb) -> setting -> value. The
    file of $CAPACITY_LOCAL, of the current folder, or of the checkout; it may hold nothing that
    changes what a run is. ConfigError with file and key."""
    named = os.environ.get("CAPACITY_LOCAL")
    places = (
        [Path(named)]
        if named
        else [Path("conf/local.yaml").resolve(), shared_dir("conf") / "local.yaml"]
    )
    path = next((path for path in places if path.exists()), None)
    if path is None:
        if named:
            raise ConfigError(f"CAPACITY_LOCAL={named}: no such file")
        return {}
    return _site_settings(path, path.stat().st_mtime_ns)


def _unresolved(tree: dict) -> bool:
    """Whether an interpolation or a missing value is left anywhere."""
    return any(
        _unresolved(v) if isinstance(v, dict) else isinstance(v, str) and ("${" in v or v == "???")
        for v in tree.values()
    )


def _find(tree: dict, key: str) -> tuple[dict, str]:
    """The dictionary in which a dotted key ends, and its last part."""
    *path, last = key.split(".")
    for part in path:
        tree = tree[part]
    return tree, last


def _let_later_layer_win(tree: dict, layers: list[list[str]]) -> None:
    """Clear the half of a coupled pair that only a lower layer (a preset, a pin) has set."""
    for pair in COUPLED:
        for keys in reversed(layers):
            named = [key for key in pair if key in keys and _value(tree, key) is not None]
            if named:
                for other in set(pair) - set(named):
                    if _value(tree, other) is not None:
                        at, last = _find(tree, other)
                        at[last] = None
                break


def _value(tree: dict, key: str) -> object:
    at, last = _find(tree, key)
    return at.get(last)


def _update(tree: dict, text: str, override: Override) -> None:
    key = override.key_or_group
    if key not in known_keys() or override.package is not None:
        if key in SECTIONS or any(known.startswith(key + ".") for known in known_keys()):
            raise ConfigError(
                f"{text}: {key} holds several settings; name one, such as "
                f"{next(k for k in known_keys() if k.startswith(key + '.'))}=..."
            )
        raise unknown_key(key)
    at, last = _find(tree, key)
    if last not in at:  # of another kind of data
        raise unknown_data_key(key, str(tree["data"].get("kind")))
    value = override.value()
    at[last] = (
        text.partition("=")[2]
        if takes_text(key) and isinstance(value, (int, float)) and not isinstance(value, bool)
        else value
    )


def _parse(parser: OverridesParser, text: str) -> Override:
    if text not in _PARSED:  # a grid says the same a thousand times
        _PARSED[text] = _parse_anew(parser, text)
    return _PARSED[text]


def _parse_anew(parser: OverridesParser, text: str) -> Override:
    try:
        (override,) = parser.parse_overrides(
            [text]
        )  # unlike parse_override, this also sets what glob needs
    except (HydraException, ValueError) as error:
        text = text if len(text) <= 60 else text[:57] + "..."
        if "=" not in text:
            hint = nearest(text, ["train", "sweep", "status", "fit-laws", "measure"])
            raise ConfigError(
                f"{text}: expected key=value, such as model.d_model=32{hint}"
            ) from None
        raise ConfigError(f"{text}: {_one_line(error)}") from None
    if not override.key_or_group:
        raise ConfigError(f"{text}: expected key=value, such as model.d_model=32")
    return override


@lru_cache(maxsize=256)
def _container(groups: tuple[str, ...]) -> dict:
    return _plain(_compose(list(groups)))


def _plain(node: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """OmegaConf's tree of named entries as plain dictionaries and lists."""
    tree = OmegaConf.to_container(node, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(tree, dict), f"named entries became a {type(tree).__name__}"
    return {str(key): value for key, value in tree.items()}


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose("config", overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        for text in overrides:
            key, _, value = text.partition("=")
            options = option_names(key)
            if options and value not in options:
                raise ConfigError(
                    f"{text}: no such choice of {key}; allowed: {', '.join(options)}"
                    f"{nearest(value, options)}"
                ) from None
        raise ConfigError(_one_line(error)) from None


def option_names(group: str) -> list[str]:
    """The YAML files of a config group, without their ending."""
    return (
        sorted(p.stem for p in (shared_dir("conf") / group).glob("*.yaml"))
        if group in GROUPS
        else []
    )


def _one_line(error: Exception) -> str:
    return " ".join(
        line.strip() for line in str(error).splitlines() if line.strip() and "hydra.cc" not in line
    )[:300]
