"""The bits of a file of facts: what a model has to hold to know all of it (see docs, corpora)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from capacity import compose
from capacity.base.errors import ConfigError
from capacity.config import Config
from capacity.data import entropy
from capacity.data.resolve import CorpusResolved
from capacity.design.needs import Facts
from capacity.settings.data import BiodData, BiosData, CorpusData, MixedData

WINDOWS = (4096, 256, 128, 64, 32, 16, 8)  # tried where the default does not suit


def of_file(path: Path, overrides: Sequence[str]) -> Facts:
    """The facts of a file of people (`data=corpus`); overrides: settings of the data.
    ConfigError for a file that cannot be read."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected people, one a line, see docs/how-to")
    return of_data(["data=corpus", f"data.path={path}", *overrides])


def of_data(overrides: Sequence[str]) -> Facts:
    """The facts that data of these settings tell. ConfigError for data without people."""
    config = _load(list(overrides))
    data, n = config.data, config.items
    if isinstance(data, MixedData):
        raise ConfigError("data=mixed: expected data about people alone: corpus or bios")
    tokens = n * config.resolved.tokens_of(n)
    if isinstance(data, BiosData):
        return Facts(
            config.entropy_bits,
            n,
            entropy.name_bits(data.n_names, n),
            config.entropy_bits,
            data.n_names,
            data.attribute_bits,
            tokens,
            0,
            tuple((k, v, n, data.value_bits(k)) for k, v in data.attribute_sizes.items()),
        )
    if isinstance(data, BiodData) or not isinstance(data, CorpusData):
        raise ConfigError(f"data={data.kind}: expected data about people: corpus or bios")
    resolved = config.resolved
    assert isinstance(resolved, CorpusResolved)
    about = resolved.facts.attributes
    names = resolved.name_bits(n) if data.n_names is not None else None
    return Facts(
        resolved.bits(n),
        n,
        names,
        resolved.uniform_bits(n),
        data.n_names,
        resolved.facts.bits / n,
        tokens,
        resolved.facts.unasked(names is not None),
        tuple((k, len(one.all_counts), one.having, one.all_bits) for k, one in about.items()),
    )


def _load(overrides: list[str]) -> Config:
    """The config, in windows that suit its people: how long they are matters to training alone."""
    given = any(one.startswith("data.seq_len=") for one in overrides)
    for length in (None,) if given else (None, *WINDOWS):
        window = [] if length is None else [f"data.seq_len={length}"]
        try:
            return compose.load([*overrides, *window])
        except ConfigError as error:
            if "data.seq_len" not in str(error) or given or length == WINDOWS[-1]:
                raise
    raise AssertionError("the last window returns or raises")
