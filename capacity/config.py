"""What a run is: frozen settings, their checks, and the numbers that follow from them (standard library only).

A run is a pure function of data + model + train + seed; `run_id` is a hash of exactly those, after coupled numbers are
resolved. Device, threads, stacking, wandb and paths are settings of the execution, not of the run, and stay out of it.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, get_type_hints

from capacity import counts

IDENTITY_SCHEMA = 1  # raise it when the same settings would train a different model than before


class ConfigError(ValueError):
    """A setting that a person can correct: one line that names the key, the value and what is allowed."""

    def __init__(self, text: str):
        super().__init__(" ".join(text.split()))  # values may hold line breaks


def setting(default: Any, help: str, *, low=None, above=None, high=None, choices=None) -> Any:
    """A dataclass field with its help text and its allowed values: low <= value <= high, value > above, or choices."""
    limits = {"help": help, "low": low, "above": above, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=limits)


@dataclass(frozen=True)
class UniformData:
    """Sequences of independent, uniform tokens (Morris et al., arXiv 2505.24832, section 3): H = N S log2 V bits."""

    kind: str = setting("uniform", "which generator", choices=("uniform",))
    vocab_size: int = setting(256, "V, number of different tokens", low=2, high=2**31 - 1)
    seq_len: int = setting(32, "S, tokens per sequence", low=2, high=65536)
    n_sequences: int | None = setting(None, "N, sequences in the training set (or give data.load)", low=1, high=2**40)
    load: float | None = setting(None, "H/P: bits of data per parameter (total), instead of n_sequences", above=0.0, high=1e9)


@dataclass(frozen=True)
class Model:
    """A GPT: pre-norm, LayerNorm, GELU, a learned BOS vector in front so that every token is predicted."""

    n_layers: int = setting(1, "L, transformer blocks", low=1, high=1000)
    d_model: int = setting(32, "d, width", low=1, high=65536)
    n_heads: int = setting(2, "attention heads; must divide d_model", low=1, high=65536)
    mlp_ratio: float = setting(4.0, "hidden width of the MLP / d_model", above=0.0, high=1024.0)
    position: str = setting("learned", "position information", choices=("learned", "rotary"))
    tied: bool = setting(True, "the output head is the token embedding")
    bias: bool = setting(True, "biases in the linear maps (LayerNorm always has one)")
    init_std: float = setting(0.02, "standard deviation of the initial weights", above=0.0)


@dataclass(frozen=True)
class Train:
    """AdamW with linear warm-up, then cosine to final_lr_fraction; no dropout; batches in epoch permutations."""

    steps: int | None = setting(None, "optimizer steps (or give train.exposures)", low=1, high=2**40)
    exposures: float | None = setting(None, "times each sequence is seen, instead of steps", above=0.0, high=1e12)
    batch_size: int = setting(64, "sequences per step", low=1, high=2**31 - 1)
    lr: float = setting(0.02, "peak learning rate", above=0.0)
    warmup_steps: int = setting(200, "steps of linear warm-up; less than steps", low=0)
    final_lr_fraction: float = setting(0.02, "last learning rate / peak", low=0.0, high=1.0)
    beta1: float = setting(0.9, "AdamW first-moment decay", low=0.0, high=0.999999)
    beta2: float = setting(0.99, "AdamW second-moment decay", low=0.0, high=0.999999)
    eps: float = setting(1e-8, "AdamW epsilon", above=0.0)
    weight_decay: float = setting(0.0, "decoupled weight decay, on matrices and tables only", low=0.0)
    grad_clip: float = setting(1.0, "largest gradient norm; 0 = no clipping", low=0.0)
    precision: str = setting("fp32", "arithmetic; bf16 keeps fp32 master weights", choices=("fp32", "bf16"))


@dataclass(frozen=True)
class Measure:
    """What is measured and when; out of the run's identity, because it never changes the weights."""

    evaluations: int = setting(10, "full passes over the training set during training", low=1, high=1000)
    batch_tokens: int = setting(65536, "tokens per forward pass of an evaluation", low=1, high=2**31 - 1)


@dataclass(frozen=True)
class Cluster:
    """Where and how runs execute."""

    device: str = setting("auto", "auto takes CUDA where there is one", choices=("auto", "cpu", "cuda"))
    workers: int | None = setting(None, "processes of a sweep; empty: one per CPU core or GPU", low=1, high=1024)
    threads: int | None = setting(None, "CPU threads per process; empty: chosen from the size of a step", low=1, high=1024)
    stack: int = setting(16, "most runs of one shape that train together as one program", low=1, high=4096)
    checkpoint_seconds: float = setting(30.0, "time between checkpoints", above=0.0)


@dataclass(frozen=True)
class Wandb:
    """An optional mirror of the run's files; it can never stop or slow a run."""

    mode: str = setting("disabled", "where to send a copy", choices=("disabled", "offline", "online"))
    project: str = setting("capacity", "wandb project")
    entity: str | None = setting(None, "wandb user or team; empty: wandb's default")


@dataclass(frozen=True)
class Config:
    """Everything that `capacity train` needs."""

    data: UniformData = UniformData()
    model: Model = Model()
    train: Train = Train()
    measure: Measure = Measure()
    cluster: Cluster = Cluster()
    wandb: Wandb = Wandb()
    seed: int = setting(0, "changes data, initial weights and batch order together", low=0, high=2**63 - 1)

    @property
    def parameters(self) -> dict[str, int]:
        """Parameter counts by convention, see `counts.parameters`."""
        return counts.parameters(self.model, self.data.vocab_size, self.data.seq_len)

    @property
    def n_sequences(self) -> int:
        """N: as given, or the whole number of sequences nearest to the demanded load (at least 1)."""
        if self.data.n_sequences is not None:
            return self.data.n_sequences
        bits = self.data.load * self.parameters["total"]
        return max(1, round(bits / (self.data.seq_len * math.log2(self.data.vocab_size))))

    @property
    def entropy_bits(self) -> float:
        """H = N S log2 V, exact: every token is uniform and independent."""
        return self.n_sequences * self.data.seq_len * math.log2(self.data.vocab_size)

    @property
    def steps(self) -> int:
        """Optimizer steps: as given, or the fewest that show every sequence `exposures` times on average."""
        if self.train.steps is not None:
            return self.train.steps
        return max(1, math.ceil(self.train.exposures * self.n_sequences / self.train.batch_size))

    @property
    def exposures(self) -> float:
        """Realised mean number of times a sequence is seen."""
        return self.steps * self.train.batch_size / self.n_sequences

    @property
    def tokens(self) -> int:
        """Predicted tokens over the whole run (BOS is not predicted, so it does not count)."""
        return self.steps * self.train.batch_size * self.data.seq_len

    @property
    def flops(self) -> float:
        """Model FLOPs of training: 3 x forward, see `counts.forward_flops_per_token`."""
        return 3.0 * self.tokens * counts.forward_flops_per_token(self.model, self.data.vocab_size, self.data.seq_len)

    @property
    def shape(self) -> str:
        """Short name of the architecture, such as 1x16 (layers x width)."""
        return f"{self.model.n_layers}x{self.model.d_model}"

    @property
    def identity(self) -> dict:
        """The resolved settings that the result depends on; two spellings of one run have one identity."""
        data = dataclasses.asdict(self.data) | {"n_sequences": self.n_sequences}
        train = dataclasses.asdict(self.train) | {"steps": self.steps}
        del data["load"], train["exposures"]
        return {"schema": IDENTITY_SCHEMA, "data": data, "model": dataclasses.asdict(self.model), "train": train,
                "seed": self.seed}

    @property
    def run_id(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON of `identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_dict(self) -> dict:
        """Plain nested dictionaries; `from_dict` is the inverse."""
        return dataclasses.asdict(self)


SECTIONS: dict[str, type] = {"data": UniformData, "model": Model, "train": Train, "measure": Measure,
                             "cluster": Cluster, "wandb": Wandb}
COUPLED = (("data.n_sequences", "data.load"), ("train.steps", "train.exposures"))


def known_keys() -> list[str]:
    """Every dotted key that a configuration may hold."""
    return ["seed"] + [f"{s}.{f.name}" for s, cls in SECTIONS.items() for f in dataclasses.fields(cls)]


def nearest(word: str, allowed: list[str]) -> str:
    """' (did you mean X?)' for the closest allowed word, or an empty string."""
    near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    if not near and "." in word:  # the right field under the wrong group, such as data.d_model
        near = [key for key in allowed if key.rpartition(".")[2] == word.rpartition(".")[2]][:1]
    elif not near:
        near = [key for key in allowed if key.rpartition(".")[2] == word][:1]
    return f" (did you mean {near[0]}?)" if near else ""


def unknown_key(key: str) -> ConfigError:
    return ConfigError(f"{key}: no such setting{nearest(key, known_keys())}; `capacity train --print-config` shows all")


def from_dict(tree: dict) -> Config:
    """Nested dictionaries -> a checked Config. ConfigError (one line) for an unknown key, a wrong type, an impossible
    value, or both or neither of two coupled numbers."""
    if not isinstance(tree, dict):
        raise ConfigError(f"configuration: expected named settings, got {tree!r}")
    parts: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "seed":
            parts["seed"] = _checked("seed", value, Config.__dataclass_fields__["seed"], int)
        elif key not in SECTIONS:
            raise unknown_key(str(key))
        else:
            parts[key] = _section(key, value)
    config = Config(**parts)
    check(config)
    return config


def _section(name: str, tree: Any) -> Any:
    cls = SECTIONS[name]
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}={tree!r}: expected settings such as {name}.{dataclasses.fields(cls)[0].name}=...")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    types = get_type_hints(cls)
    for key in tree:
        if key not in fields:
            raise unknown_key(f"{name}.{key}")
    return cls(**{key: _checked(f"{name}.{key}", value, fields[key], types[key]) for key, value in tree.items()})


def _checked(key: str, value: Any, field: dataclasses.Field, kind: Any) -> Any:
    """The value in the field's type, or a ConfigError that says what is allowed."""
    optional = type(None) in getattr(kind, "__args__", ())
    base = kind.__args__[0] if optional else kind
    if value is None and optional:
        return None
    limits = field.metadata
    whole = base is int and not isinstance(value, bool) and isinstance(value, (int, float)) and value == value
    if whole and abs(value) != math.inf and value == int(value):
        value = int(value)
    elif base is float and not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value):
        value = float(value)
    elif not (base in (bool, str) and type(value) is base):
        raise ConfigError(f"{key}={_text(value)}: expected {_allowed(base, limits)}")
    wrong = ((limits["choices"] is not None and value not in limits["choices"])
             or (limits["low"] is not None and value < limits["low"])
             or (limits["above"] is not None and value <= limits["above"])
             or (limits["high"] is not None and value > limits["high"]))
    if wrong:
        near = nearest(value, list(limits["choices"])) if limits["choices"] else ""
        raise ConfigError(f"{key}={_text(value)}: expected {_allowed(base, limits)}{near}")
    return value


def _text(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _allowed(base: type, limits: Any) -> str:
    if limits["choices"] is not None:
        return "one of " + ", ".join(limits["choices"])
    if base is bool:
        return "true or false"
    words = {int: "a whole number", float: "a number", str: "a text"}[base]
    low, above, high = limits["low"], limits["above"], limits["high"]
    if low is not None and high is not None:
        return f"{words} from {low} to {high}"
    bounds = [f">= {low}"] * (low is not None) + [f"> {above}"] * (above is not None) + [f"<= {high}"] * (high is not None)
    return " ".join([words, " and ".join(bounds)]).strip()


def check(config: Config) -> None:
    """Checks that need more than one setting; ConfigError with the keys, the values and the remedy."""
    data, model, train = config.data, config.model, config.train
    for one, other in COUPLED:
        values = [getattr(getattr(config, key.split(".")[0]), key.split(".")[1]) for key in (one, other)]
        if values[0] is None and values[1] is None:
            raise ConfigError(f"{one}, {other}: give one of the two")
        if values[0] is not None and values[1] is not None:
            raise ConfigError(f"{one}={values[0]} and {other}={values[1]}: each follows from the other; give only one")
    if model.d_model % model.n_heads:
        raise ConfigError(f"model.n_heads={model.n_heads}: must divide model.d_model={model.d_model}; "
                          f"allowed: {_divisors(model.d_model)}")
    if model.position == "rotary" and (model.d_model // model.n_heads) % 2:
        raise ConfigError(f"model.position=rotary: needs an even head size, but model.d_model/model.n_heads = "
                          f"{model.d_model // model.n_heads}")
    if model.mlp_ratio * model.d_model != round(model.mlp_ratio * model.d_model):
        raise ConfigError(f"model.mlp_ratio={model.mlp_ratio}: times model.d_model={model.d_model} must be a whole width")
    if train.warmup_steps >= config.steps:
        raise ConfigError(f"train.warmup_steps={train.warmup_steps}: must be less than the {config.steps} training steps")
    # 2^48 tokens is far above any random-data study (the largest published run has 2^29) and far below overflow.
    if config.n_sequences * data.seq_len > 2**48:
        raise ConfigError(f"data: {config.n_sequences} sequences of {data.seq_len} tokens are more than 2^48 tokens")


def _divisors(n: int) -> str:
    found = [k for k in range(1, min(n, 4096) + 1) if n % k == 0]
    return ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
