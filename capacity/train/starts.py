"""The runs with whose weights others begin (`train.start_from`): what has to be there of them, and
their weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from capacity import records
from capacity.base.errors import ConfigError
from capacity.config import Config, from_record
from capacity.data import cache as kept
from capacity.model.gpt import GPT
from capacity.settings.model import Model
from capacity.train import checkpoint, split_mlp


@dataclass(frozen=True)
class Start:
    """A finished run with whose weights another one begins."""

    config: Config
    record: dict[str, Any]

    def with_model(self, model: Model) -> Config:
        """Its settings with another model on the same items, as many as its own model had."""
        data = self.config.data
        given = self.config.resolved.given(self.config.items)
        given |= dict.fromkeys({"load", "tokens_per_parameter"} & data.__dataclass_fields__.keys())
        kept = dataclasses.replace(data, **given)
        return dataclasses.replace(self.config, model=model, data=kept)


def of(results: Path, config: Config) -> Start | None:
    """What a run begins with; None where that is random weights. ConfigError where the other run is
    not finished, its weights are gone, or they are those of another form."""
    start = config.train.start
    if start is None:
        return None
    at = f"train.start_from={start}"
    record = records.read(results, start)
    if record is None or record["status"] != "finished":
        state = records.status(results, start)
        raise ConfigError(
            f"{at}: this run is {state} in {records.runs_dir(results)}; expected a finished one"
        )
    kept.load(results, record["config"]["data"])
    found = Start(from_record(record["config"]), record)
    for what, here, there in (
        ("rows in its token table", config.rows, found.config.rows),
        ("a vector for the beginning of a sequence", config.data.bos, found.config.data.bos),
    ):
        if here != there:
            raise ConfigError(f"{at}: {what}: {there} there, {here} in this run; both must agree")
    _check_form(at, config, found.config)
    return found


def _check_form(at: str, here: Config, there: Config) -> None:
    """ConfigError where the two have another number of weights, with what differs."""
    sizes = [config.parameters["total"] for config in (here, there)]
    if sizes[0] == sizes[1] or split_mlp.applies(here, there):
        return  # names and shapes are compared as the weights are read
    settings = [
        {"data.seq_len": config.data.seq_len}
        | {f"model.{key}": value for key, value in dataclasses.asdict(config.model).items()}
        for config in (here, there)
    ]
    differ = [
        f"{key}={settings[1][key]} there, {settings[0][key]} here"
        for key in settings[0]
        if settings[0][key] != settings[1][key]
    ]
    raise ConfigError(
        f"{at}: it has {sizes[1]:,} weights, this run {sizes[0]:,}: {'; '.join(differ)}"
    )


def check(results: Path, configs: Iterable[Config]) -> None:
    """ConfigError where one of the runs cannot begin."""
    for config in configs:
        of(results, config)


def weights(results: Path, configs: list[Config], gpt: GPT) -> dict[int, Tensor]:
    """By member the fp32 weights [P] that it begins with, of those that do not begin at random; of
    one with experts, where the other run has an MLP, cut from that. ConfigError as `of`."""
    out = {}
    for m, config in enumerate(configs):
        start = config.train.start
        if start is None or (found := of(results, config)) is None:
            continue
        path = records.run_dir(results, start) / records.WEIGHTS
        if not split_mlp.applies(config, found.config):
            out[m] = checkpoint.load_weights(path, gpt, start)
            continue
        whole = GPT(found.config.model, config.rows, config.data.seq_len, config.data.bos)
        named = whole.named(checkpoint.load_weights(path, whole, start)[None])
        by_name = {name: one[0] for name, one in named.items()}
        out[m] = split_mlp.split(config, by_name, gpt, gpt.init([config.seed])[0])
    return out
