"""What a run is: frozen settings, their checks, and the numbers that follow from them (standard
library only).

A run is a pure function of data + model + train + seed; `run_id` is a hash of exactly those, after
coupled numbers are resolved. Device, threads, stacking, wandb and paths are settings of the
execution, not of the run, and stay out of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from capacity import counts
from capacity.base.errors import ConfigError, nearest
from capacity.data import (
    canaries,
    checks,
    inside,
    lexicons,
    prompts,
    questions,
    resolve,
    snapshots,
    text,
    timed_facts,
)
from capacity.data.tiers import Tiers
from capacity.parts import heads, registry, training
from capacity.settings import field as settings
from capacity.settings import quantize as quantization
from capacity.settings.aliases import near_setting
from capacity.settings.cluster import Cluster, Wandb, duration_seconds, owned_by
from capacity.settings.data import (
    KINDS,
    Data,
    TextData,
    UniformData,
    WordedData,
    worded_data,
)
from capacity.settings.field import checked, setting
from capacity.settings.fresh import FreshData
from capacity.settings.measure import Extraction, Measure
from capacity.settings.model import Model
from capacity.settings.quantize import Quantize
from capacity.settings.train import Train

IDENTITY_SCHEMA = 1  # raise it when the same settings would train a different model than before


@dataclass(frozen=True)
class Config:
    """Everything that `capacity train` needs."""

    data: Data = UniformData()
    model: Model = Model()
    train: Train = Train()
    measure: Measure = Measure()
    extraction: Extraction = Extraction()
    quantize: Quantize = Quantize()
    cluster: Cluster = Cluster()
    wandb: Wandb = Wandb()
    seed: int = setting(
        0, "changes data, initial weights and batch order together", low=0, high=2**63 - 1
    )

    @property
    def resolved(self) -> resolve.Resolved:
        """What the settings of data amount to; reads their files where it must."""
        return resolve.of(self.data)

    @property
    def rows(self) -> int:
        """V, rows of the token table."""
        return self.resolved.rows

    @property
    def parameters(self) -> dict[str, int]:
        """Parameter counts by convention, see `counts.parameters`."""
        data = self.resolved
        return counts.parameters(
            self.model, data.rows, self.data.seq_len, self.data.bos, data.used_rows
        )

    @property
    def idle_parameters(self) -> int:
        """Parameters that take no part in what is computed of one token: total - active."""
        return counts.idle_parameters(self.model, self.rows, self.data.bos)

    @property
    def items(self) -> int:
        """N, sequences or people: as given, or the number nearest to the demanded load."""
        if isinstance(self.data, FreshData):  # none is seen twice
            return self.steps * self.train.batch_size
        return self.resolved.items(self.parameters["total"])

    @property
    def trained_items(self) -> int:
        """Items that the run sees: N, but for reference and shadow models of text, see
        `TextData`."""
        return self.resolved.trained_items(self.items)

    @property
    def tiers(self) -> Tiers | None:
        """Classes of items that the run sees at different rates; None: all alike."""
        return self.resolved.tiers(self.items)

    @property
    def entropy_bits(self) -> float:
        """Bits of the data set: the entropy N S log2 V of uniform tokens, or R^max P of facts."""
        return self.resolved.bits(self.items)

    @property
    def steps(self) -> int:
        """Optimizer steps: as given, or the fewest that show every item `exposures` times on
        average."""
        if self.train.steps is not None:
            return self.train.steps
        assert self.train.exposures is not None  # one of the two is given: check
        tokens = self.train.exposures * self.trained_items * self.resolved.tokens_of(self.items)
        return max(1, math.ceil(tokens / (self.train.batch_size * self.data.seq_len) - 1e-9))

    @property
    def exposures(self) -> float:
        """Mean number of times an item is seen; of people the expected one, the record has the
        counted one."""
        return self.tokens / (self.trained_items * self.resolved.tokens_of(self.items))

    @property
    def tokens(self) -> int:
        """Predicted tokens over the whole run (BOS is not predicted, so it does not count)."""
        return self.steps * self.train.batch_size * self.data.seq_len

    @property
    def flops(self) -> float:
        """Model FLOPs of training: 3 x forward, see `counts.forward_flops_per_token`."""
        return (
            3.0
            * self.tokens
            * counts.forward_flops_per_token(self.model, self.rows, self.data.seq_len)
        )

    @property
    def shape(self) -> str:
        """Short name of the architecture, such as 1x16 (layers x width)."""
        return f"{self.model.n_layers}x{self.model.d_model}"

    @property
    def identity(self) -> dict:
        """The resolved settings that the result depends on; two spellings of one run have one
        identity."""
        train = settings.identity(self.train) | {"steps": self.steps}
        del train["exposures"]
        if self.train.start is not None:  # without the name that a study has for it
            train["start_from"] = self.train.start
        data = self.resolved.identity(self.items)
        if isinstance(self.data, TextData):
            data |= canaries.identity(self.data, self.steps)
        return {
            "schema": IDENTITY_SCHEMA,
            "data": data,
            "model": settings.identity(self.model),
            "train": train,
            "seed": self.seed,
        }

    @cached_property  # asked for a dozen times while a large study is planned
    def run_id(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON of `identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_dict(self) -> dict:
        """Plain nested dictionaries; `from_dict` is the inverse, also where the lists and templates
        are not at hand."""
        out: dict[str, Any] = {
            name: {key: getattr(part, key) for key in _keys_of(type(part))}
            for name, part in ((name, getattr(self, name)) for name in ("data", *SECTIONS))
        }
        out["seed"] = self.seed
        for section in ("cluster", "data", "measure", "model", "quantize"):
            out[section] = {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in out[section].items()
            }
        if isinstance(self.data, TextData):
            out["data"]["pool"] = text.pool_digest(self.data)
        elif isinstance(self.data, WordedData):
            out["data"]["lexicon"] = lexicons.of(self.data).digest
        return out


SECTIONS: dict[str, type] = {
    "model": Model,
    "train": Train,
    "measure": Measure,
    "extraction": Extraction,
    "quantize": Quantize,
    "cluster": Cluster,
    "wandb": Wandb,
}
MOST_CHECKED = 4096
_CHECKED: dict[tuple[str, str], Any] = {}  # sections that were read already, by what they say
COUPLED = (
    ("data.n_sequences", "data.load"),
    ("data.n_sequences", "data.tokens_per_parameter"),
    ("data.n_people", "data.load"),
    ("train.steps", "train.exposures"),
)


def known_keys() -> list[str]:
    """Every dotted key that a configuration may hold, those of all kinds of data among them."""
    return list(_known_keys())


def is_known(key: str) -> bool:
    """Whether a configuration may hold this dotted key."""
    return key in _known_keys()


@cache
def _known_keys() -> dict[str, None]:
    sections = [("data", cls) for cls in KINDS.values()] + list(SECTIONS.items())
    keys = (f"{s}.{f.name}" for s, cls in sections for f in dataclasses.fields(cls))
    return dict.fromkeys(["seed", *keys])


@cache
def _keys_of(section: type) -> tuple[str, ...]:
    return tuple(one.name for one in dataclasses.fields(section))


@cache
def takes_text(key: str) -> bool:
    """Whether a setting is a text, so that a number on the command line is one too:
    cluster.time=90."""
    return any(
        field.type in ("str", "str | None") and field.metadata["choices"] is None
        for field in _fields(key)
    )


@cache
def takes_texts(key: str) -> bool:
    """Whether a setting is a list of texts, such as cluster.options."""
    return any(
        field.type == "tuple[str, ...]" and field.metadata["choices"] is None
        for field in _fields(key)
    )


def _fields(key: str) -> list[dataclasses.Field]:
    """The setting of that name, for data in each kind that has it."""
    section, _, name = key.partition(".")
    owners = (
        KINDS.values() if section == "data" else [SECTIONS[section]] if section in SECTIONS else []
    )
    return [cls.__dataclass_fields__[name] for cls in owners if name in cls.__dataclass_fields__]


def unknown_key(key: str) -> ConfigError:
    return ConfigError(
        f"{key}: no such setting{near_setting(key, known_keys())}; `capacity train --print-config` "
        f"shows all"
    )


def unknown_data_key(key: str, kind: str) -> ConfigError:
    """The error for a setting that this kind of data does not have, though another one may."""
    owners = [
        k for k, cls in KINDS.items() if key.removeprefix("data.") in cls.__dataclass_fields__
    ]
    if not owners:
        return unknown_key(key)
    return ConfigError(
        f"{key}: a setting of data.kind={' or '.join(owners)}, but this run's data.kind is {kind}; "
        f"choose data={owners[0]}"
    )


def from_dict(tree: dict) -> Config:
    """Nested dictionaries -> a checked Config. ConfigError (one line) for an unknown key, a wrong
    type, an impossible value, or both or neither of two coupled numbers."""
    if not isinstance(tree, dict):
        raise ConfigError(f"configuration: expected named settings, got {tree!r}")
    parts: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "seed":
            parts["seed"] = checked("seed", value, Config.__dataclass_fields__["seed"], int)
        elif key != "data" and key not in SECTIONS:
            raise unknown_key(str(key))
        else:
            parts[key] = _section(key, value)
    config = Config(**parts)
    check(config)
    return config


def from_record(tree: dict) -> Config:
    """The settings of a record without those of its execution, which are no part of the run and may
    have had other values in its time."""
    return from_dict(
        {name: part for name, part in tree.items() if name not in ("cluster", "wandb")}
    )


def check_section(name: str, tree: dict) -> None:
    """ConfigError where a part of a section, such as a site's own values, holds anything
    impossible."""
    _section(name, tree)


def _section(name: str, tree: Any) -> Any:
    if not isinstance(tree, dict):
        first = dataclasses.fields(SECTIONS.get(name, UniformData))[0].name
        raise ConfigError(f"{name}={tree!r}: expected settings such as {name}.{first}=...")
    key = name, repr(tree)
    if key not in _CHECKED:  # runs of a study have most sections in common
        if len(_CHECKED) >= MOST_CHECKED:
            _CHECKED.clear()
        _CHECKED[key] = _checked_section(name, tree)
    return _CHECKED[key]


def _checked_section(name: str, tree: dict) -> Any:
    if name != "data":
        return settings.section(SECTIONS[name], name, tree, unknown_key)
    kind = tree.get("kind", "uniform")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(
            f"data.kind={kind}: expected one of {', '.join(KINDS)}{nearest(str(kind), list(KINDS))}"
        )

    return settings.section(KINDS[kind], "data", tree, lambda key: unknown_data_key(key, kind))


def check(config: Config) -> None:
    """Checks that need more than one setting; ConfigError with the keys, the values and the
    remedy."""
    if isinstance(config.data, FreshData):
        checks.check_seen_once(config.data, config.model, config.train, config.measure.lengths)
        if config.quantize.methods:
            raise ConfigError(
                f"quantize.methods=[{','.join(config.quantize.methods)}]: about what weights hold, "
                f"but those of data.kind={config.data.kind} hold no data; leave it out"
            )
    _check_coupled(config)
    checks.check(config.data, config.items)
    checks.check_held_out(config.data, config.items, config.measure, config.train)
    questions.check_words(config.extraction.mode, config.data)
    inside.check(config.measure.inside, config.data, config.items, config.extraction, config.train)
    if config.extraction.mode == "lora" and config.model.map_rank is not None:
        raise ConfigError(
            f"extraction.mode=lora: adds low-rank updates to maps, which with model.map_rank="
            f"{config.model.map_rank} are products; choose extraction.mode=full or none"
        )
    heads.check(config.model)
    registry.check(config.model)
    _check_parts(config.model, config.data)
    training.check(config.model, config.train)
    quantization.check(config.quantize, registry.inputs(config.model), config.train.qat)
    methods = sorted(set(config.quantize.methods) - set(quantization.CASTS))
    if methods and config.model.loops > 1:
        raise ConfigError(
            f"quantize.methods=[{','.join(methods)}]: rounds one block after the other, but with "
            f"model.loops={config.model.loops} every block is used several times; choose "
            f"{' or '.join(quantization.CASTS)}"
        )
    _check_execution(config.cluster, config.model, config.train)
    snapshots.check(config.measure, config.steps, config.data)
    prompts.check(config.measure, config.data, config.model, config.rows)
    if config.train.warmup_steps >= config.steps:
        given = config.train.exposures
        steps = f"the {config.steps} steps of train.exposures={given:g}" if given else ""
        raise ConfigError(
            f"train.warmup_steps={config.train.warmup_steps}: must be less than "
            f"{steps or f'train.steps={config.steps}'}; give train.warmup_steps="
            f"{config.steps // 10} (at most {config.steps - 1}), or train longer"
        )
    if isinstance(config.data, TextData):
        canaries.check(config.data, config.steps, config.train.batch_size)
        timed_facts.check(config.data, config.steps, config.train.batch_size)
        checks.check_views(config.data, config.steps, config.train.batch_size)


def check_questions(config: Config) -> None:
    """ConfigError where the model has too few positions for the questions that it will be asked
    about people. For settings that a person gives: of a run that is there, it is known."""
    if config.data.kind in ("bios", "mixed", "biod", "corpus"):
        measure = config.measure
        asked = config.extraction.mode != "none" or measure.inside > 0
        data, whole = worded_data(config.data), measure.wording
        questions.check(data, measure.context, measure.contexts, asked, whole)


def _check_coupled(config: Config) -> None:
    """Of two numbers that follow from each other exactly one is given."""
    for one, other in COUPLED:
        section, name = one.split(".")
        other_name = other.split(".")[1]
        part = getattr(config, section)
        if not {name, other_name} <= part.__dataclass_fields__.keys():
            continue  # of another kind of data
        values = [getattr(part, name), getattr(part, other_name)]
        if values[0] is None and values[1] is None:
            raise ConfigError(f"{one}, {other}: give one of the two")
        if values[0] is not None and values[1] is not None:
            raise ConfigError(
                f"{one}={values[0]} and {other}={values[1]}: each follows from the other; give "
                f"only one"
            )


def _check_parts(model: Model, data: Data) -> None:
    """Masks and experts have what they need."""
    registry.check_documents(model, data.kind, data.bos)
    registry.check_banks(model, data.kind, data.bos, data.seq_len)
    if model.n_experts and model.mlp_width == 0:
        raise ConfigError(
            f"model.n_experts={model.n_experts}: experts are MLPs, but model.mlp_ratio=0 means none"
        )
    if model.n_experts and model.top_k > model.n_experts:
        raise ConfigError(
            f"model.top_k={model.top_k}: a token can visit no more than all "
            f"model.n_experts={model.n_experts} experts"
        )


def _check_execution(cluster: Cluster, model: Model, train: Train) -> None:
    """Parts of a batch and time limits."""
    parts = cluster.micro_batches or 1
    if parts > train.batch_size:
        raise ConfigError(
            f"cluster.micro_batches={parts}: more parts than the rows of a batch, "
            f"train.batch_size={train.batch_size}"
        )
    if parts > 1 and model.n_experts:
        raise ConfigError(
            f"cluster.micro_batches={parts}: the places of experts depend on the whole batch; with "
            f"model.n_experts > 0 "
            "it must be 1"
        )
    _check_ranks(cluster, model, train)
    for option in cluster.options:
        if (owned := owned_by(option)) is not None:
            raise ConfigError(
                f"cluster.options: {option}: {owned[0]} is set by the sweep itself, from {owned[1]}"
            )
    if (
        cluster.time is not None
        and (seconds := duration_seconds(cluster.time)) <= cluster.signal_seconds
    ):
        raise ConfigError(
            f"cluster.time={cluster.time}: {seconds} s, must be longer than "
            f"cluster.signal_seconds={cluster.signal_seconds}"
        )


def _check_ranks(cluster: Cluster, model: Model, train: Train) -> None:
    """Parts of a batch divide into ranks, and ranks into nodes."""
    ranks, nodes, parts = cluster.ranks, cluster.nodes, cluster.micro_batches
    if nodes > 1 and (ranks is None or ranks % nodes or cluster.launcher == "local"):
        raise ConfigError(
            f"cluster.nodes={nodes}: needs cluster.launcher=slurm and cluster.ranks=N with N a "
            f"multiple of {nodes} (now {'empty' if ranks is None else ranks})"
        )
    if ranks is None:
        return
    if model.n_experts:
        raise ConfigError(
            f"cluster.ranks={ranks}: the places of experts depend on the whole batch; with "
            "model.n_experts > 0 leave it empty"
        )
    if ranks & (ranks - 1):
        raise ConfigError(f"cluster.ranks={ranks}: expected a power of two, such as 2, 4 or 8")
    if ranks > train.batch_size:
        raise ConfigError(
            f"cluster.ranks={ranks}: more ranks than the rows of a batch, "
            f"train.batch_size={train.batch_size}"
        )
    if parts is not None and (parts & (parts - 1) or parts % ranks):
        raise ConfigError(
            f"cluster.micro_batches={parts}: with cluster.ranks={ranks} expected a power of two of "
            f"at least {ranks}"
        )
    each = ranks // nodes
    if cluster.launcher != "local" and cluster.gpus and cluster.gpus < each:
        raise ConfigError(
            f"cluster.gpus={cluster.gpus}: {each} ranks on a node need as many GPUs; give "
            f"cluster.gpus={each}"
        )
