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
from typing import Any

from capacity import counts
from capacity.base.errors import ConfigError, nearest
from capacity.data.kinds import KINDS, BiodData, BiosData, CorpusData, TextData, UniformData
from capacity.settings import field as settings
from capacity.settings import quantize as quantization
from capacity.settings.field import checked, setting
from capacity.settings.quantize import LEVELS, Quantize

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
WEIGHTS = ("fp32", "bf16_stochastic", "bf16_nearest")
IDENTITY_SCHEMA = 1  # raise it when the same settings would train a different model than before


@dataclass(frozen=True)
class Model:
    """A GPT: pre-norm blocks of causal attention and an MLP. The defaults are GPT-2's form; the
    fields with a neutral value are the variants of Physics of Language Models 3.3 (arXiv
    2404.05405, sections 7 and 9 and appendix B)."""

    n_layers: int = setting(1, "L, transformer blocks", low=1, high=1000)
    d_model: int = setting(32, "d, width", low=1, high=65536)
    n_heads: int = setting(2, "attention heads; must divide d_model", low=1, high=65536)
    mlp_ratio: float = setting(
        4.0, "hidden width of the MLP / d_model; 0: no MLP", low=0.0, high=1024.0
    )
    position: str = setting("learned", "position information", choices=("learned", "rotary"))
    tied: bool = setting(True, "the output head is the token embedding")
    bias: bool = setting(True, "biases in the linear maps (of norms: see model.norm)")
    init_std: float = setting(0.02, "standard deviation of the initial weights", above=0.0)
    n_kv_heads: int | None = setting(
        None,
        "heads of keys and values (grouped-query attention); must divide n_heads; empty: n_heads",
        low=1,
        high=65536,
        neutral=None,
    )
    norm: str = setting(
        "layernorm",
        "layernorm has gain and bias, the others a gain; eps is 1e-5",
        choices=("layernorm", "layernorm_no_bias", "rmsnorm"),
        neutral="layernorm",
    )
    mlp: str = setting(
        "standard",
        "down(act(up x)), or gated: down(act(gate x) * up x)",
        choices=("standard", "gated"),
        neutral="standard",
    )
    mlp_multiple_of: int = setting(
        1,
        "the hidden width of the MLP is rounded up to a multiple of this",
        low=1,
        high=65536,
        neutral=1,
    )
    activation: str = setting(
        "gelu",
        "act; gelu_tanh: GPT-2's approximation, relu2: the square of relu",
        choices=("gelu", "gelu_tanh", "silu", "relu", "relu2"),
        neutral="gelu",
    )
    rotary_base: float = setting(
        10000.0,
        "base of the rotary frequencies, with model.position=rotary",
        above=1.0,
        high=1e12,
        neutral=10000.0,
    )
    document_mask: bool = setting(
        False, "attention within a document only, which EOS starts", neutral=False
    )
    n_experts: int = setting(
        0,
        "MLPs per block, of which a token visits top_k; 0: one that all tokens visit",
        low=0,
        high=65536,
        neutral=0,
    )
    top_k: int = setting(1, "experts per token", low=1, high=65536, neutral=1)
    capacity_factor: float = setting(
        2.0,
        "places per expert in training / its even share of tokens; a token beyond "
        "them skips the expert",
        above=0.0,
        high=65536.0,
        neutral=2.0,
    )
    eval_capacity_factor: float = setting(
        8.0,
        "the same in evaluation; from n_experts / top_k on, no token is skipped",
        above=0.0,
        high=65536.0,
        neutral=8.0,
    )
    balance_weight: float = setting(
        0.01,
        "weight of the load-balance loss in training; 3.3 states none",
        low=0.0,
        high=1000.0,
        neutral=0.01,
    )

    def __post_init__(self):
        if self.n_kv_heads == self.n_heads:  # two spellings of one model have one identity
            object.__setattr__(self, "n_kv_heads", None)

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def mlp_width(self) -> int:
        """F, hidden width of an MLP: mlp_ratio d_model, rounded up to a multiple of
        mlp_multiple_of; 0: no MLP."""
        exact = self.mlp_ratio * self.d_model / self.mlp_multiple_of
        return self.mlp_multiple_of * math.ceil(
            exact * (1 - 1e-9)
        )  # 8/3 x 192 is 512, however 8/3 is rounded


@dataclass(frozen=True)
class Train:
    """AdamW or Muon with linear warm-up, then cosine to final_lr_fraction; no dropout; batches in
    epoch permutations."""

    steps: int | None = setting(
        None, "optimizer steps (or give train.exposures)", low=1, high=2**40
    )
    exposures: float | None = setting(
        None, "times each sequence is seen, instead of steps", above=0.0, high=1e12
    )
    batch_size: int = setting(64, "sequences per step", low=1, high=2**31 - 1)
    lr: float = setting(0.02, "peak learning rate", above=0.0)
    warmup_steps: int = setting(200, "steps of linear warm-up; less than steps", low=0)
    final_lr_fraction: float = setting(0.02, "last learning rate / peak", low=0.0, high=1.0)
    beta1: float = setting(0.9, "AdamW first-moment decay", low=0.0, high=0.999999)
    beta2: float = setting(0.99, "AdamW second-moment decay", low=0.0, high=0.999999)
    eps: float = setting(1e-8, "AdamW epsilon", above=0.0)
    weight_decay: float = setting(
        0.0, "decoupled weight decay, on matrices and tables only", low=0.0
    )
    grad_clip: float = setting(1.0, "largest gradient norm; 0 = no clipping", low=0.0)
    precision: str = setting(
        "fp32",
        "arithmetic of matrix products, by explicit casts; norms, routers, softmax of the head, "
        "gradients of weights "
        "and moments are fp32 in all; tf32: operands with 10 bits of mantissa; fp16: with a loss "
        "scale per run",
        choices=PRECISIONS,
    )
    weights: str = setting(
        "fp32",
        "what weights are kept in between steps; bf16_stochastic: bf16, each update rounded up or "
        "down at random "
        "without bias; bf16_nearest: rounded to nearest, which loses updates below half a step",
        choices=WEIGHTS,
        neutral="fp32",
    )
    qat: str = setting(
        "none",
        "quantization-aware training: the values that weights have in the forward pass, one scale "
        "per output; "
        "straight-through in the backward pass",
        choices=("none", *LEVELS),
        neutral="none",
    )
    qat_embeddings: bool = setting(
        False, "train.qat for token and position tables and an untied head too", neutral=False
    )
    optimizer: str = setting(
        "adamw",
        "muon: Muon for the matrices inside blocks, AdamW for the rest",
        choices=("adamw", "muon"),
        neutral="adamw",
    )
    momentum: float = setting(0.95, "Muon's momentum", low=0.0, high=0.999999, neutral=0.95)

    def __post_init__(self):
        if self.qat == "none":  # two spellings of one run have one identity
            object.__setattr__(self, "qat_embeddings", False)


@dataclass(frozen=True)
class Measure:
    """What is measured and when; out of the run's identity, because it never changes the
    weights."""

    evaluations: int = setting(
        10, "full passes over the training set during training", low=1, high=1000
    )
    batch_tokens: int = setting(
        65536, "tokens per forward pass of an evaluation", low=1, high=2**31 - 1
    )
    people: int | None = setting(None, "people who are asked, drawn evenly; empty: all", low=2)
    contexts: int = setting(
        4, "templates or texts in which each value of a person is asked", low=1, high=1000
    )
    context: str = setting(
        "auto",
        "first: the sentence comes first, behind the name; text: the person's own text; auto: by "
        "the data (see measure/knowledge.py)",
        choices=("auto", "first", "text"),
    )


@dataclass(frozen=True)
class Extraction:
    """Whether stored facts can be asked for (Physics of Language Models 3.1, arXiv 2309.14316,
    sections 3 to 5): fine-tune on questions about one half of the people, ask about the other half.
    A measure: out of the run's identity."""

    mode: str = setting(
        "none",
        "full: all weights; lora: low-rank updates of the embedding and of queries and values",
        choices=("none", "full", "lora"),
    )
    steps: int = setting(2000, "optimizer steps of the fine-tuning", low=1)
    batch_size: int = setting(48, "questions per step", low=1)
    lr: float = setting(3e-4, "peak learning rate; cosine to a tenth, no warm-up", above=0.0)
    weight_decay: float = setting(0.01, "decoupled weight decay", low=0.0)
    rank_embedding: int = setting(128, "rank of the update of the embedding (lora)", low=1)
    rank_attention: int = setting(16, "rank of the updates of queries and values (lora)", low=1)


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
        "many as memory asks for (memory_gb, or 80% of a GPU)",
        low=1,
    )
    compile: str = setting(
        "never",
        "torch.compile the loss and its gradient, half a minute per shape and process, then a "
        "tenth to a "
        "fifth faster on a CPU; needs a C++ compiler; auto: where a stack trains long enough for "
        "that",
        choices=("never", "auto", "always"),
    )
    checkpoint_seconds: float = setting(30.0, "time between checkpoints", above=0.0)
    partition: str | None = setting(None, "partition", form=WORD)
    account: str | None = setting(None, "account that pays", form=WORD)
    qos: str | None = setting(None, "quality of service", form=WORD)
    constraint: str | None = setting(None, "features that a node must have", form=WORD)
    gpus: int = setting(0, "GPUs per array element, each with a worker of its own", low=0, high=64)
    gres: str | None = setting(
        None, "how GPUs are asked for, such as gpu:a100:1; empty: --gpus-per-node", form=WORD
    )
    cpus: int = setting(1, "CPU cores per array element", low=1, high=1024)
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
        (), "shell lines before the worker, such as [module load cuda]", form=LINE
    )
    environment: tuple[str, ...] = setting(
        (),
        "environment variables of the worker, such as [OMP_PROC_BIND=false]",
        form=(r"[A-Za-z_]\w*=[^\n\r]*", "NAME=value"),
    )
    options: tuple[str, ...] = setting(
        (),
        "further options of sbatch, such as [--exclude=node7]",
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


@dataclass(frozen=True)
class Config:
    """Everything that `capacity train` needs."""

    data: UniformData | BiosData | BiodData | CorpusData | TextData = UniformData()
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
    def parameters(self) -> dict[str, int]:
        """Parameter counts by convention, see `counts.parameters`."""
        return counts.parameters(
            self.model, self.data.rows, self.data.seq_len, self.data.bos, self.data.used_rows
        )

    @property
    def items(self) -> int:
        """N, sequences or people: as given, or the number nearest to the demanded load."""
        return self.data.items(self.parameters["total"])

    @property
    def trained_items(self) -> int:
        """Items that the run sees: N, but for reference and shadow models of text, see
        `TextData`."""
        return self.data.trained_items(self.items) if self.data.kind == "text" else self.items

    @property
    def entropy_bits(self) -> float:
        """Bits of the data set: the entropy N S log2 V of uniform tokens, or R^max P of facts."""
        return self.data.bits(self.items)

    @property
    def steps(self) -> int:
        """Optimizer steps: as given, or the fewest that show every item `exposures` times on
        average."""
        if self.train.steps is not None:
            return self.train.steps
        tokens = self.train.exposures * self.trained_items * self.data.tokens_per_item
        return max(1, math.ceil(tokens / (self.train.batch_size * self.data.seq_len) - 1e-9))

    @property
    def exposures(self) -> float:
        """Mean number of times an item is seen; of people the expected one, the record has the
        counted one."""
        return self.tokens / (self.trained_items * self.data.tokens_per_item)

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
            * counts.forward_flops_per_token(self.model, self.data.rows, self.data.seq_len)
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
        return {
            "schema": IDENTITY_SCHEMA,
            "data": self.data.identity(self.items),
            "model": settings.identity(self.model),
            "train": train,
            "seed": self.seed,
        }

    @property
    def run_id(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON of `identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_dict(self) -> dict:
        """Plain nested dictionaries; `from_dict` is the inverse, also where the lists and templates
        are not at hand."""
        out = dataclasses.asdict(self)
        for section in ("cluster", "data", "quantize"):
            out[section] = {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in out[section].items()
            }
        if "lexicon" in out["data"]:
            out["data"]["lexicon"] = self.data.compiled.digest
        if "pool" in out["data"]:
            out["data"]["pool"] = self.data.pool_digest
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
COUPLED = (
    ("data.n_sequences", "data.load"),
    ("data.n_sequences", "data.tokens_per_parameter"),
    ("data.n_people", "data.load"),
    ("train.steps", "train.exposures"),
)


def known_keys() -> list[str]:
    """Every dotted key that a configuration may hold, those of all kinds of data among them."""
    sections = [("data", cls) for cls in KINDS.values()] + list(SECTIONS.items())
    return ["seed"] + list(
        dict.fromkeys(f"{s}.{f.name}" for s, cls in sections for f in dataclasses.fields(cls))
    )


def takes_text(key: str) -> bool:
    """Whether a setting is a text, so that a number on the command line is one too:
    cluster.time=90."""
    section, _, name = key.partition(".")
    field = SECTIONS[section].__dataclass_fields__.get(name) if section in SECTIONS else None
    return (
        field is not None
        and field.type in ("str", "str | None")
        and field.metadata["choices"] is None
    )


def unknown_key(key: str) -> ConfigError:
    return ConfigError(
        f"{key}: no such setting{nearest(key, known_keys())}; `capacity train --print-config` "
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
    data, model, train = config.data, config.model, config.train
    for one, other in COUPLED:
        section, name = one.split(".")
        part = getattr(config, section)
        if (
            name not in part.__dataclass_fields__
            or other.split(".")[1] not in part.__dataclass_fields__
        ):
            continue  # of another kind of data
        values = [getattr(part, name), getattr(part, other.split(".")[1])]
        if values[0] is None and values[1] is None:
            raise ConfigError(f"{one}, {other}: give one of the two")
        if values[0] is not None and values[1] is not None:
            raise ConfigError(
                f"{one}={values[0]} and {other}={values[1]}: each follows from the other; give "
                f"only one"
            )
    data.check(config.items)
    if config.extraction.mode != "none" and not getattr(data, "questions", False):
        raise ConfigError(
            f"extraction.mode={config.extraction.mode}: needs data.kind=bios and "
            f"data.questions=true, so that the "
            "vocabulary has the words of the questions"
        )
    quantization.check(config.quantize, model, train.qat)
    if model.d_model % model.n_heads:
        raise ConfigError(
            f"model.n_heads={model.n_heads}: must divide model.d_model={model.d_model}; "
            f"allowed: {_divisors(model.d_model)}"
        )
    if model.position == "rotary" and (model.d_model // model.n_heads) % 2:
        raise ConfigError(
            f"model.position=rotary: needs an even head size, but model.d_model/model.n_heads = "
            f"{model.d_model // model.n_heads}"
        )
    if model.n_heads % model.kv_heads:
        raise ConfigError(
            f"model.n_kv_heads={model.n_kv_heads}: must divide model.n_heads={model.n_heads}; "
            f"allowed: {_divisors(model.n_heads)}"
        )
    if model.document_mask and data.bos:
        raise ConfigError(
            f"model.document_mask=true: sequences of data.kind={data.kind} hold no EOS to start a "
            "document; set model.document_mask=false"
        )
    if model.n_experts and model.mlp_width == 0:
        raise ConfigError(
            f"model.n_experts={model.n_experts}: experts are MLPs, but model.mlp_ratio=0 means none"
        )
    if model.n_experts and model.top_k > model.n_experts:
        raise ConfigError(
            f"model.top_k={model.top_k}: a token can visit no more than all "
            f"model.n_experts={model.n_experts} experts"
        )
    parts = config.cluster.micro_batches or 1
    if parts > train.batch_size:
        raise ConfigError(
            f"cluster.micro_batches={parts}: more parts than the {train.batch_size} rows of "
            f"train.batch_size"
        )
    if parts > 1 and model.n_experts:
        raise ConfigError(
            f"cluster.micro_batches={parts}: the places of experts depend on the whole batch; with "
            f"model.n_experts > 0 "
            "it must be 1"
        )
    if (
        config.cluster.time is not None
        and (seconds := duration_seconds(config.cluster.time)) <= config.cluster.signal_seconds
    ):
        raise ConfigError(
            f"cluster.time={config.cluster.time}: {seconds} s, must be longer than "
            f"cluster.signal_seconds={config.cluster.signal_seconds}"
        )
    if train.warmup_steps >= config.steps:
        raise ConfigError(
            f"train.warmup_steps={train.warmup_steps}: must be less than the {config.steps} "
            f"training steps"
        )
    if data.kind == "text" and data.last_view is not None:
        data.check_views(config.steps, train.batch_size)


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


def _divisors(n: int) -> str:
    found = [k for k in range(1, min(n, 4096) + 1) if n % k == 0]
    return ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
