"""The settings of training (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass

from capacity.settings.field import setting
from capacity.settings.quantize import LEVELS

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
WEIGHTS = ("fp32", "bf16_stochastic", "bf16_nearest")


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
        "format of the numbers that matrix products take and give, by explicit casts; a gradient "
        "of bf16 or fp16 is one such number. Sums of products and of parts of a batch, norms, "
        "routers, the head's softmax, clipping, moments and master weights are fp32 in all; tf32: "
        "operands with 10 bits of mantissa; fp16: with a loss scale per run",
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
    qat_only: str = setting(
        "all",
        "which maps train.qat rounds; experts: those of routed experts only",
        choices=("all", "experts"),
        neutral="all",
    )
    optimizer: str = setting(
        "adamw",
        "muon: Muon for the matrices inside blocks, AdamW for the rest",
        choices=("adamw", "muon"),
        neutral="adamw",
    )
    table_lr: float = setting(
        1.0,
        "learning rate of the tables of model.channel and model.memory / train.lr",
        above=0.0,
        high=1e6,
        neutral=1.0,
    )
    table_clip: float | None = setting(
        None,
        "largest gradient norm of those tables, and train.grad_clip then is that of all other "
        "weights; 0: no clipping; empty: one norm for both",
        low=0.0,
        neutral=None,
    )
    momentum: float = setting(0.95, "Muon's momentum", low=0.0, high=0.999999, neutral=0.95)
    start_from: str | None = setting(
        None,
        "id of a finished run with whose final weights training begins, its moments and schedule "
        "anew; NAME:ID where a study names it in its entry `starts`; empty: random weights",
        form=(
            r"([A-Za-z]\w*:)?[0-9a-f]{12}",
            "the id of a run, 12 of the digits 0 to 9 and a to f, or NAME:ID",
        ),
        neutral=None,
    )

    @property
    def start(self) -> str | None:
        """Id of the run with whose weights training begins."""
        return self.start_from and self.start_from.rpartition(":")[2]

    def __post_init__(self) -> None:
        if self.qat == "none":  # two spellings of one run have one identity
            object.__setattr__(self, "qat_embeddings", False)
            object.__setattr__(self, "qat_only", "all")
