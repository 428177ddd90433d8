"""Names of runs: which settings tell them apart, as plain values and in words, for every kind of
study that groups runs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from capacity.base.words import count

if TYPE_CHECKING:
    import pandas as pd

    from capacity.config import Config

Value = None | float | str  # of a setting, as `plain` gives it

SIZES = ["model.n_layers", "model.d_model", "model.n_heads", "model.n_kv_heads"]
AMOUNTS = ["data.n_people", "data.n_sequences", "data.load", "train.steps", "train.exposures"]
FOLLOWS = ["data.lexicon"]  # a digest of the other settings of data

# The published forms (arXiv 2404.05405, section 7 and appendix B), whatever their size, rotary base
# and capacity of experts.
_GPT2 = {"mlp": "standard", "activation": "gelu", "norm": "layernorm", "bias": True, "tied": True}
_LLAMA = {"mlp": "gated", "activation": "silu", "norm": "rmsnorm", "bias": False, "tied": False}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "GPT2": _GPT2 | {"mlp_ratio": 4.0, "n_experts": 0},
    "GPT2 1/4": _GPT2 | {"mlp_ratio": 1.0, "n_experts": 0},
    "GPT2 no MLP": _GPT2 | {"mlp_ratio": 0.0, "n_experts": 0},
    "MoE": _GPT2 | {"mlp_ratio": 1.0, "n_experts": 32},
    "LLaMA": _LLAMA | {"mlp_ratio": 8 / 3},
    "Mistral": _LLAMA | {"mlp_ratio": 3.5},
}
EXPERTS = 32  # of the published mixture


def plain(value: object) -> Value:
    """A setting as None, float or str, so that equal ones compare equal however the table holds
    them."""
    frames = sys.modules.get("pandas")  # where it is not loaded, nothing is its NA
    if value is None or (frames and value is frames.NA):
        return None
    if isinstance(value, (float, np.floating)) and math.isnan(value):
        return None
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()  # text, because True == 1
    return float(value) if isinstance(value, (int, float, np.number)) else str(value)


def text(value: Value) -> str:
    """A plain value in words: none, 50K, 0.003, main."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return count(value) if value == int(value) else f"{value:.4g}"


def tuples(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The values of these columns, a tuple per row; empty tuples without columns."""
    if not columns:
        return [()] * len(frame)
    return list(zip(*(frame[c] for c in columns), strict=True))


def codes(keys: Sequence[Hashable]) -> list[int]:
    """Equal keys as equal numbers, from 0, in the order in which they first appear."""
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return [number[key] for key in keys]


def listed(parts: Sequence[str]) -> str:
    """The parts that are not empty, with commas between them."""
    return ", ".join(filter(None, parts))


def architecture(settings: Mapping[str, Value]) -> str:
    """The published form that the plain settings `model.*` of a run describe, or an empty string;
    of a mixture with other than the published 32 experts, such as "MoE of 8"."""
    experts = settings.get("model.n_experts")
    if isinstance(experts, (int, float)) and experts and experts != EXPERTS:
        known = architecture({**settings, "model.n_experts": float(EXPERTS)})
        return f"{known} of {experts:g}" if known else ""
    for name, form in ARCHITECTURES.items():
        if all(_equal(settings.get(f"model.{key}"), value) for key, value in form.items()):
            return name
    return ""


def apart(name: str, other: str) -> str:
    """What the name of a variant or curve says that the other's does not."""
    return ", ".join(part for part in name.split(", ") if part not in other.split(", "))


def _equal(have: Value, published: Any) -> bool:
    if isinstance(published, float) and isinstance(have, float):
        return abs(have - published) < 1e-3
    return have == plain(published)


def variants(
    settings: pd.DataFrame, family: Sequence[str], data: Sequence[str], recipe: Sequence[str]
) -> list[str]:
    """What distinguishes a run from the others, in words, for every row of plain settings: its
    published form, or the settings of the model in `family` where forms do not say it, then the
    settings of data and of the recipe that vary."""
    forms = [""] * len(settings)
    if family:
        forms = [architecture(row) for row in settings.to_dict("records")]
    different = set(zip(forms, tuples(settings, family), strict=True))
    if "" in forms or len(different) > len(set(forms)):
        # not all are published forms, or one form in several variants
        forms = distinguished(settings, family)
    parts = (forms, distinguished(settings, data), distinguished(settings, recipe))
    return [listed(row) for row in zip(*parts, strict=True)]


def distinguished(settings: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The fewest settings that distinguish all combinations, the last ones left out first, as
    "tag=main"."""
    kept = list(columns)
    for column in reversed(columns):
        rest = [c for c in kept if c != column]
        if len(set(tuples(settings, rest))) == len(set(tuples(settings, columns))):
            kept = rest
    return [
        ", ".join(f"{c.split('.')[1]}={text(v)}" for c, v in zip(kept, row, strict=True))
        for row in tuples(settings, kept)
    ]


def family(run: Config) -> str:
    """What a run is trained on, in words: random data, text or facts."""
    return {"uniform": "random data", "text": "text"}.get(run.data.kind, "facts")


def families(runs: Iterable[Config]) -> list[str]:
    """What runs are trained on, each once, in the order of the alphabet."""
    return sorted({family(run) for run in runs})
