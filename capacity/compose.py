"""conf/ + overrides -> Config. The only module that imports hydra or omegaconf; nothing of theirs
leaves it.

Hydra's compose takes about 40 ms and reading one override about 1 ms, so a sweep composes once per
choice of config groups, reads each override once, and applies plain values to plain dictionaries; a
test holds the two ways equal.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from capacity.base import yaml_files
from capacity.base.errors import ConfigError, nearest, one_line
from capacity.base.files import shared_dir
from capacity.config import (
    COUPLED,
    SECTIONS,
    Config,
    check_questions,
    check_section,
    from_dict,
    is_known,
    known_keys,
    takes_text,
    takes_texts,
    unknown_data_key,
    unknown_key,
)
from capacity.origins import blame, in_quotes, list_items, origin_of, placed, to_write
from capacity.settings.aliases import without_dashes

GROUPS = ("data", "model", "train", "measure", "extraction", "quantize", "cluster")
_PARSED: dict[str, Override] = {}
Site = tuple[Path | None, dict]  # conf/local.yaml and what it says


@contextmanager
def _hydra() -> Iterator[OverridesParser]:
    with initialize_config_dir(version_base="1.3", config_dir=str(shared_dir("conf"))):
        yield OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())


def load(overrides: list[str]) -> Config:
    """One run from the command line's overrides. ConfigError for anything a person can correct."""
    return load_many([[overrides]])[0]


def load_many(runs: Sequence[Sequence[Sequence[str]]]) -> list[Config]:
    """Each run is a list of layers of overrides; a later layer wins, also over the other of two
    coupled numbers."""
    site = cache(site_settings)
    with _hydra() as parser:
        return [_load_layers(parser, layers, site) for layers in runs]


def defaults(kind: str) -> dict:
    """What `capacity train data=KIND` takes without any other setting, as nested dictionaries;
    settings that the files of conf/ leave out have the default of their field."""
    with _hydra():
        return yaml_files.copied(_container((f"data={kind}",)))


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
                tree[key] = yaml_files.copied(_container((text,))[key])
            else:
                _update(tree, text, override)
    config = from_dict(tree)
    check_questions(config)
    return config


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
                raise ConfigError(f"{text}: {one_line(error)}") from None
            columns.append([f"{override.get_key_element()}={value}" for value in values])
    return [list(run) for run in itertools.product(*columns)]


def to_yaml(config: Config) -> str:
    """The resolved settings as YAML, in the order of the dataclasses."""
    return OmegaConf.to_yaml(OmegaConf.create(config.as_dict()))


def read_yaml(path: Path) -> dict:
    """A YAML file as plain dictionaries and lists; ConfigError with the file and the reason."""
    entries = yaml_files.read(path)
    try:
        return _plain(OmegaConf.create(entries), resolve=True)
    except Exception as error:  # an interpolation, as ${oc.env:HOME}, has many ways to fail
        raise ConfigError(f"{path}: not valid YAML: {one_line(error)}") from None


def _load_layers(
    parser: OverridesParser, layers: Sequence[Sequence[str]], of_site: Callable[[], Site]
) -> Config:
    """One run; of_site: `site_settings`, which is asked once for many runs."""
    flat = [(text, _checked_one(parser, text)) for layer in layers for text in layer]
    site: dict[str, str] = {}
    try:
        tree = _tree(flat)
        site = _add_site(tree, flat, of_site())
        _let_later_layer_win(tree, [[_key(parser, text) for text in layer] for layer in layers])
        if _unresolved(tree):
            tree = _plain(OmegaConf.create(tree), resolve=True)
        config = from_dict(tree)
        check_questions(config)
    except OmegaConfBaseException as error:
        raise blame(ConfigError(one_line(error)), *_origins(flat, site)) from None
    except ConfigError as error:
        raise blame(error, *_origins(flat, site)) from None
    for text, override in flat:
        if override.type is OverrideType.DEL:
            _check_deletion(parser, layers, text, config)
    return config


def _key(parser: OverridesParser, text: str) -> str:
    return _parse(parser, text).key_or_group


def _checked_one(parser: OverridesParser, text: str) -> Override:
    """One override that may stand in the settings of one run."""
    try:
        override = _parse(parser, text)
        if override.is_sweep_override():
            raise ConfigError(
                f"{text}: several values; one run takes one (`capacity sweep` takes axes)"
                f"{_if_a_text(parser, text)}"
            )
        group = override.key_or_group
        if group in GROUPS and not (
            override.type is not OverrideType.DEL and isinstance(override.value(), str)
        ):
            raise ConfigError(
                f"{text}: expected the name of a choice of {group}, as {group}=...; allowed: "
                f"{', '.join(option_names(group))}"
            )
    except ConfigError as error:
        raise placed(error, origin_of(text)) from None
    return override


def _tree(flat: list[tuple[str, Override]]) -> dict:
    """The composed settings, before they are checked."""
    if not all(override.type is OverrideType.CHANGE for _, override in flat):
        # additions and deletions are rare: let Hydra do all of it
        for text, override in flat:
            key = override.key_or_group
            if override.type is OverrideType.DEL and key not in known_keys():
                raise placed(unknown_key(key), origin_of(text))
        return _plain(_compose([text for text, _ in flat]))
    tree = yaml_files.copied(
        _container(tuple(text for text, o in flat if o.key_or_group in GROUPS))
    )
    for text, override in flat:
        if override.key_or_group not in GROUPS:
            try:
                _update(tree, text, override)
            except ConfigError as error:
                raise placed(error, origin_of(text)) from None
    return tree


def _origins(
    flat: list[tuple[str, Override]], site: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Setting -> where it was given, and setting -> the preset that holds otherwise."""
    chosen = {group: str(option) for group, option in _defaults().items()}
    for _, override in flat:
        if override.key_or_group in GROUPS:
            chosen[override.key_or_group] = str(override.value())
    presets = {
        key: f"conf/{group}/{chosen[group]}.yaml"
        for key in known_keys()
        if (group := key.partition(".")[0]) in chosen
    }
    return site | {override.key_or_group: origin_of(text) for text, override in flat}, presets


@lru_cache(maxsize=1)
def _defaults() -> dict[str, str]:
    """Group -> its choice where none is made: the defaults of conf/config.yaml."""
    listed = read_yaml(shared_dir("conf") / "config.yaml")["defaults"]
    return {group: name for one in listed if isinstance(one, dict) for group, name in one.items()}


def _check_deletion(
    parser: OverridesParser, layers: Sequence[Sequence[str]], text: str, config: Config
) -> None:
    """ConfigError for a deletion without which the run would be the same."""
    rest = [[other for other in layer if other is not text] for layer in layers]
    try:
        if _load_layers(parser, rest, site_settings) != config:
            return
    except ConfigError:
        return
    error = ConfigError(
        f"{text}: changes nothing; leave it out, or give a value: {_key(parser, text)}=..."
    )
    raise placed(error, origin_of(text))


def _add_site(tree: dict, flat: list[tuple[str, Override]], site: Site) -> dict[str, str]:
    """Put the values of conf/local.yaml below explicit ones: those under the chosen name of
    cluster=, and wandb's. Returns setting -> file and section of what was put."""
    path, sections = site
    named = {override.key_or_group for _, override in flat}
    choices = (str(o.value()) for _, o in reversed(flat) if o.key_or_group == "cluster")
    chosen = next(choices, "workstation")
    origins: dict[str, str] = {}
    for section, name in (("cluster", chosen), ("wandb", "wandb")):
        values = sections.get(name, {})
        put = {key: value for key, value in values.items() if f"{section}.{key}" not in named}
        tree[section] = tree.get(section, {}) | put
        origins |= {f"{section}.{key}": f"{path}: {name}" for key in put}
    return origins


@lru_cache(maxsize=4)
def _site_settings(path: Path, stamp: int) -> dict:
    tree = read_yaml(path) if path.stat().st_size else {}
    allowed = [*option_names("cluster"), "wandb"]
    for section, values in tree.items():
        if section not in allowed:
            raise ConfigError(
                f"{path}: {section}: not a section of this file{nearest(str(section), allowed)}; "
                f"allowed: {', '.join(allowed)}, each with settings of "
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


def site_settings() -> Site:
    """What conf/local.yaml says about this site: its path, None where there is none, and cluster
    choice (or wandb) -> setting -> value. The file of $CAPACITY_LOCAL, of the current folder, or
    of the checkout; it may hold nothing that changes what a run is. ConfigError with file and
    key."""
    named = os.environ.get("CAPACITY_LOCAL")
    if named and not Path(named).exists():
        raise ConfigError(f"CAPACITY_LOCAL={named}: no such file")
    here = [Path("conf/local.yaml").resolve(), shared_dir("conf") / "local.yaml"]
    path = next((path for path in ([Path(named)] if named else here) if path.exists()), None)
    return path, {} if path is None else _site_settings(path, path.stat().st_mtime_ns)


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


def _let_later_layer_win(tree: dict, layers: Sequence[Sequence[str]]) -> None:
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
    if not is_known(key) or override.package is not None:
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
        override = _parse_one(parser, text)
    except (HydraException, ValueError) as error:
        override = _list_of_texts(parser, text)
        if override is None:
            raise _unreadable(parser, text, error) from None
    if not override.key_or_group:
        raise ConfigError(f"{text}: expected key=value, such as model.d_model=32")
    return override


def _parse_one(parser: OverridesParser, text: str) -> Override:
    # unlike parse_override, this also sets what glob needs
    (override,) = parser.parse_overrides([str(text)])
    return override


def _unreadable(parser: OverridesParser, text: str, error: Exception) -> ConfigError:
    """Why a text is no override, and what to write instead."""
    key, equals, _ = text.partition("=")
    short = text if len(text) <= 60 else text[:57] + "..."
    if not equals:
        verbs = ["train", "sweep", "status", "fit-laws", "measure"]
        hint = without_dashes(text, known_keys()) or nearest(text, verbs)
        return ConfigError(f"{short}: expected key=value, such as model.d_model=32{hint}")
    plain = key.lstrip("+~")
    if re.fullmatch(r"[\w.-]+", plain) and plain not in (*known_keys(), *GROUPS):
        return unknown_key(plain)
    if quoted := _quoted(parser, text):
        return ConfigError(f"{short}: this text needs quotes; {to_write(text, quoted)}")
    reason = re.sub(r"^LexerNoViableAltException: .*", "a character that needs quotes", str(error))
    return ConfigError(f"{short}: not in Hydra's grammar: {one_line(reason)}")


def _if_a_text(parser: OverridesParser, text: str) -> str:
    """What to write where several values may have been meant as one text with commas."""
    quoted = _quoted(parser, text)
    return f"; for one text with commas, {to_write(text, quoted)}" if quoted else ""


def _quoted(parser: OverridesParser, text: str) -> str | None:
    """The override with its value in quotes; None where its setting takes no text, or where the
    value would not be the same."""
    key, _, value = text.partition("=")
    if not takes_text(key.lstrip("+")) or "${" in value:
        return None
    return _same(parser, f"{key}={in_quotes(value)}", value)


def _list_of_texts(parser: OverridesParser, text: str) -> Override | None:
    """A list of texts as a person types it, such as cluster.options=[--exclude=node7], which
    Hydra's grammar has in quotes only; None for anything else."""
    key, _, value = text.partition("=")
    if not (takes_texts(key.lstrip("+")) and value[:1] + value[-1:] == "[]") or "${" in value:
        return None
    items = list_items(value[1:-1])
    try:
        override = _parse_one(parser, f"{key}=[{','.join(items)}]")
    except (HydraException, ValueError):
        return None
    return override if len(override.value()) == len(items) else None  # type: ignore[arg-type]


def _same(parser: OverridesParser, quoted: str, value: object) -> str | None:
    """The override, if Hydra reads that value from it."""
    try:
        return quoted if _parse_one(parser, quoted).value() == value else None
    except (HydraException, ValueError):
        return None


def literal(key: str, value: object) -> str:
    """A scalar of YAML as the override key=value: as it stands where Hydra's grammar has it, else
    in quotes."""
    if value is None:
        return f"{key}=null"
    word = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str) and not re.fullmatch(r"[\w.+-]+", word, re.ASCII):
        with _hydra() as parser:
            try:
                _parse_one(parser, f"{key}={word}")
            except (HydraException, ValueError):
                word = in_quotes(value)
    return f"{key}={word}"


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
                wrong = ConfigError(
                    f"{text}: no such choice of {key}; allowed: {', '.join(options)}"
                    f"{nearest(value, options)}"
                )
                raise placed(wrong, origin_of(text)) from None
            if text.startswith("~") and f"'{key.removeprefix('~')}' does not exist" in str(error):
                nothing = f"{text}: changes nothing; {key.removeprefix('~')} has no value here"
                raise placed(ConfigError(nothing), origin_of(text)) from None
        raise ConfigError(one_line(error)) from None


def option_names(group: str) -> list[str]:
    """The YAML files of a config group, without their ending."""
    return (
        sorted(p.stem for p in (shared_dir("conf") / group).glob("*.yaml"))
        if group in GROUPS
        else []
    )
