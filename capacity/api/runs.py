"""`capacity.load`: a finished run as a model and the tokens that it was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from capacity import records
from capacity.api import html
from capacity.api.folders import results_folder
from capacity.base import snapshots
from capacity.base.errors import ConfigError
from capacity.base.hardware import pick_device
from capacity.base.words import digits
from capacity.config import Config, from_record
from capacity.data import cache as kept
from capacity.model.gpt import GPT
from capacity.train import checkpoint
from capacity.train.loop import Stack

if TYPE_CHECKING:
    import pandas

WINDOWS = 256  # of a stream of biographies, which has no end, that `Run.tokens` gives


class Model(nn.Module):
    """The model of a run as a module of torch, in the arithmetic that it was trained and measured
    in.

    `model(tokens [B, T])` gives logits [B, T, V], row t about token t + 1, as transformers has
    them: a loss is that of `logits[:, :-1]` about `tokens[:, 1:]`. What stands before the first
    token is the run's learned BOS vector (random data and text), which `nll` uses. Weights are the
    one parameter `flat`; `weights` has them by name."""

    def __init__(self, gpt: GPT, flat_P: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.gpt, self.dtype = gpt, dtype
        self.flat = nn.Parameter(flat_P)

    @property
    def vocab_size(self) -> int:
        """Rows of the token table, V."""
        return self.gpt.vocab_size

    @property
    def predicts_first(self) -> bool:
        """Whether the first token of a row is predicted too, from a learned BOS."""
        return self.gpt.bos

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights by name, as views."""
        return {name: w[0] for name, w in self.gpt.named(self.flat[None]).items()}

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits fp32 [B, T, V] of int64 tokens [B, T], row t about token t + 1. ConfigError where
        the model has no position for the last token: T is at most S - 1 behind a BOS, else S."""
        most = self.gpt.seq_len - self.gpt.bos
        if tokens.shape[1] > most:
            raise ConfigError(
                f"{tokens.shape[1]} tokens: the model has positions for {most}, to give logits "
                "about the next one; leave the last token out (tokens[:, :-1]), or call model.nll"
            )
        unused = torch.zeros_like(tokens[:, :1])  # a target that no logit depends on
        rows = torch.cat([tokens, unused], dim=1)
        logits = self.gpt.logits(self.flat[None], rows[None], self.dtype)[0]
        return logits[:, 1:] if self.gpt.bos else logits

    def nll(self, tokens: Tensor) -> Tensor:
        """Negative log-likelihood in nats of each predicted token, fp32: [B, T] behind a BOS, else
        [B, T - 1]; T is at most S, without a BOS S + 1."""
        return self.gpt.nll(self.flat[None], tokens[None], self.dtype)[0]


@dataclass(frozen=True)
class Run:
    """A finished run; `model, tokens = run` takes it apart.

    run_id, folder: where it lies. config: its settings. record: record.json. model: its final
    weights as a `Model`."""

    run_id: str
    folder: Path
    config: Config
    record: dict[str, Any]
    model: Model
    _stack: Stack = field(repr=False)

    @cached_property
    def tokens(self) -> Tensor:
        """The training set, int64 [N, S], of random data and text. Of people and corpora, whose
        biographies are rendered anew without end, the first 256 windows, [256, S + 1]."""
        whole = not hasattr(self._stack.feed, "members")
        return self._stack.feed.first_rows(0, self.config.items if whole else WINDOWS)

    @cached_property
    def snapshots(self) -> pandas.DataFrame:
        """The scores of every sequence at the steps of `measure.snapshots`, a row each: step, item
        (number of the sequence; of text its row of the pool, of a canary its number), kind
        (trained, held out, canary), nats of the whole sequence, and tail, the tokens at its end
        that greedy decoding writes exactly. Of people instead of the last two name_nats, value_nats
        and accuracy, as `scores.safetensors` has them. ConfigError for a run without them."""
        import numpy as np
        import pandas

        found = snapshots.read(self.folder)
        if found is None:
            raise ConfigError(
                f"{self.run_id}: no {snapshots.SNAPSHOTS}; a run with measure.snapshots=K has one"
            )
        steps, items = len(found["step"]), len(found["item"])
        kinds = np.array(snapshots.KINDS)[found["kind"]]
        return pandas.DataFrame(
            {
                "step": np.repeat(found["step"], items),
                "item": np.tile(found["item"], steps),
                "kind": np.tile(kinds, steps),
            }
            | {name: found[name].reshape(-1) for name in snapshots.SCORED if name in found}
        )

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.tokens))

    def __repr__(self) -> str:
        return f"Run({self.run_id}, {self.config.shape}, {self.config.data.kind} data)"

    def _repr_html_(self) -> str:
        p = self.record["parameters"]["total"]
        rows = [
            ["model", f"{self.config.shape}, {p:,} parameters (total)"],
            ["data", f"{self.config.data.kind}, {self.config.items:,} {self.config.data.size_key}"],
            ["seed", str(self.config.seed)],
            ["steps", f"{self.config.steps:,}"],
            ["folder", str(self.folder)],
        ]
        measured = self.record["measures"].get("memorization")
        for convention in ("strict", "paper") if measured else ():
            bits = measured[convention]
            rows.append(
                [
                    f"memorized ({convention} bits)",
                    f"{bits['bits']:,.0f} of {bits['ceiling_bits']:,.0f}, "
                    f"{digits(bits['bits_per_parameter']['total'], 4)} per parameter (total)",
                ]
            )
        return html.table(f"run {self.run_id}", [], rows)


def load(run: str, *, results: str | Path | None = None, device: str = "cpu") -> Run:
    """A finished run by its id, or by the first digits of it, from its final weights.

    device: cpu, cuda, or auto. ConfigError where there is no such run, where it is not finished,
    and where its weights were removed."""
    folder = results_folder(results)
    run_id = records.find(folder, run)
    record = records.read(folder, run_id)
    if record is None or record["status"] != "finished":
        state = "has no record yet" if record is None else f"is {record['status']}"
        raise ConfigError(f"{run_id}: the run {state}; only a finished one has final weights")
    kept.load(folder, record["config"]["data"])
    config = from_record(record["config"])
    place = pick_device(device)
    stack = Stack([config], place)
    where = records.run_dir(folder, run_id)
    flat_P = checkpoint.load_weights(where / records.WEIGHTS, stack.gpt, run_id).to(place)
    model = Model(stack.gpt, flat_P, stack.dtype).eval()
    return Run(run_id, where, config, record, model, stack)
