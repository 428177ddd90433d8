"""What a model says of the next token, as tables that are the same on every machine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capacity.base.errors import ConfigError
from capacity.certify import tables
from capacity.certify.exact import exactly
from capacity.model.gpt import GPT
from capacity.settings import field as settings
from capacity.settings.model import Model
from capacity.train import checkpoint

NATS = 1 / 0.6931471805599453  # bits of a nat


@dataclass(frozen=True)
class Built:
    """All that a forward pass needs beside weights, as a header has it."""

    model: dict[str, Any]
    vocab_size: int
    seq_len: int
    bos: bool
    qat: str
    qat_embeddings: bool
    qat_only: str

    @classmethod
    def of(cls, gpt: GPT, qat: tuple[str, bool, str]) -> Built:
        """qat: the settings of quantized training of the run."""
        return cls(dataclasses.asdict(gpt.model), gpt.vocab_size, gpt.seq_len, gpt.bos, *qat)

    def gpt(self) -> GPT:
        """The model; products in fp64, whatever they were trained in."""
        model = settings.section(Model, "model", self.model, ConfigError)
        return GPT(
            model,
            self.vocab_size,
            self.seq_len,
            self.bos,
            False,
            self.qat,
            self.qat_embeddings,
            self.qat_only,
        )


class Predictor:
    """`loops.Next` of one model: fp64 products of its fp32 weights in the operations of `exact`."""

    def __init__(self, built: Built, weights: Path, run_id: str) -> None:
        self.gpt, self.run_id = built.gpt(), run_id
        self.flat_P = checkpoint.load_weights(weights, self.gpt, run_id)

    def closed(self, prefixes_nt: np.ndarray, who_n: np.ndarray) -> np.ndarray:
        """No row ends before the others."""
        return np.zeros(len(prefixes_nt), bool)

    def __call__(
        self, prefixes_nt: np.ndarray, who_n: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        n, t = prefixes_nt.shape
        after = t if self.gpt.bos else t - 1  # the number of the prediction that is asked for
        # the last token is a target, which no logit depends on
        tokens = np.concatenate([prefixes_nt, np.zeros((n, 1), np.int64)], axis=1)
        with exactly(f"run {self.run_id}"):
            logits = self.gpt.by_token(
                self.flat_P, torch.from_numpy(tokens), _logits, torch.float64, first=after
            )[:, 0]
            table, log_p = tables.of_logits(logits)
        return table, log_p.numpy() * -NATS


def _logits(logits: Tensor, _: Tensor) -> Tensor:
    return logits.clone()
