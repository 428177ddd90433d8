"""A finished run of this project as a checkpoint, in the arithmetic that it was measured in."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from capacity import counts, records
from capacity.audit.logits import Checkpoint, with_first
from capacity.base.errors import ConfigError
from capacity.base.files import content_digest
from capacity.config import Config, from_record
from capacity.data import cache as kept
from capacity.export import tokenizer
from capacity.measure.sequence_scores import of_tokens
from capacity.settings.fresh import FreshData
from capacity.train import checkpoint
from capacity.train.loop import Stack


class RunCheckpoint(Checkpoint):
    """A run. opens_with names its learned BOS by the token that stands for it in an export."""

    def __init__(self, results: Path, name: str, device: torch.device) -> None:
        run_id = records.find(results, name)
        record = records.read(results, run_id)
        if record is None or record["status"] != "finished":
            state = "has no record yet" if record is None else f"is {record['status']}"
            raise ConfigError(f"{run_id}: the run {state}; only a finished one can be audited")
        kept.load(results, record["config"]["data"])
        self.run_config: Config = from_record(record["config"])
        if isinstance(self.run_config.data, FreshData):
            raise ConfigError(
                f"{run_id}: data.kind={self.run_config.data.kind}: an audit scores texts, and such "
                "a run has none; its record says what it holds in context"
            )
        self.stack = Stack([self.run_config], device)
        path = records.run_dir(results, run_id) / records.WEIGHTS
        self.flat_P = checkpoint.load_weights(path, self.stack.gpt, run_id).to(device)
        self.device = device
        data, model = self.run_config.data, self.run_config.model
        start = 0 if model.position == "learned" else self.run_config.rows
        super().__init__(
            name=run_id,
            sha256=content_digest(path),
            hashed=path.name,
            function=f"run {run_id}",
            model_type=f"capacity {self.run_config.shape}",
            parameters=self.run_config.parameters["total"],
            vocab_size=self.run_config.rows,
            rows=self.run_config.rows,
            context=data.seq_len,
            opens_with=start if data.bos else None,
            unused=(),
            dtype=str(self.stack.dtype).removeprefix("torch."),
            weight_bytes=self.flat_P.numel() * 4,
            flops_per_token=2.0 * self.run_config.parameters["total"],
        )

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        start = 0 if self.opens_with is None else self.opens_with
        return Tokenizer.from_str(tokenizer.files(self.run_config.data, start)["tokenizer.json"])

    def _ids(self, texts: list[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [one.ids for one in encoded]

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def decoded_flops(self, length: int) -> float | None:
        return counts.decoded_flops_per_token(self.run_config.model, self.rows, length)

    def numbers(self, tokens_BT: Tensor, first: int = 0) -> Tensor:
        gpt, missing = self.stack.gpt, not self.predicts_first
        if missing and tokens_BT.shape[1] < 2:
            return with_first(torch.empty(len(tokens_BT), 0, 3), first == 0)
        with torch.no_grad():
            found = gpt.by_token(
                self.flat_P,
                tokens_BT.to(self.device),
                of_tokens,
                self.stack.dtype,
                max(0, first - missing),
            ).cpu()
        return with_first(found, missing and first == 0)

    def memory(self, tokens: int, sequence: int) -> int:
        config = self.run_config
        per_token = 16 * config.model.d_model + 4 * config.model.mlp_width
        return int(self.weight_bytes + 4 * tokens * per_token + 16 * counts.HEAD_CHUNK["cpu"])
