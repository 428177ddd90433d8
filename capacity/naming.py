"""What runs are called: the names that a study gives its variants, else the settings that tell them
apart, in words. Standard library only, so that `status` and a worker call a run what its law does.

A name is for people: it changes no run id, and no verdict reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from capacity.base.errors import ConfigError
from capacity.base.words import count
from capacity.config import known_keys
from capacity.settings.aliases import near_setting

if TYPE_CHECKING:
    from capacity.config import Config

Value = None | float | str  # of a setting, as `plain` gives it
Row = Mapping[str, Value]  # settings of a run by dotted key
Conditions = Mapping[str, Sequence[Value]]  # setting -> the values that a run of the name may have
Names = Mapping[str, Conditions]  # in the order of the study file

SIZES = ["model.n_layers", "model.d_model", "model.n_heads", "model.n_kv_heads"]
AMOUNTS = [
    "data.n_people",
    "data.n_rows",
    "data.n_sequences",
    "data.load",
    "data.tokens_per_parameter",
    "train.steps",
    "train.exposures",
]
FOLLOWS = ["data.lexicon", "data.pool"]  # digests of other settings of data
LONGEST_NAME = 40  # characters; legends and tables have no room for more
SECTIONS = ("data", "model", "train")  # of settings that make a run what it is, with the seed

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
# What none of them has otherwise; a row from before there was such a setting does not say it.
PLAIN = {
    "mixer": "attention",
    "channel": "mlp",
    "memory": "none",
    "canon": "",
    "map_rank": None,
    "loops": 1,
}


def plain(value: object) -> Value:
    """A setting as None, float or str, so that equal ones compare equal."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()  # text, because True == 1
    return float(value) if isinstance(value, (int, float)) else str(value)


def text(value: Value) -> str:
    """A plain value in words: none, 50K, 0.003, main."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return count(value) if value == int(value) else f"{value:.4g}"


def listed(parts: Sequence[str]) -> str:
    """The parts that are not empty, with commas between them."""
    return ", ".join(filter(None, parts))


def settings(run: Config) -> dict[str, Value]:
    """Every setting of data, model and training of a run by dotted key, as plain values."""
    tree = run.as_dict()
    return {
        key: plain(without_id(name, value))
        for section in SECTIONS
        for name, value in tree[section].items()
        if (key := f"{section}.{name}") not in FOLLOWS
    }


def without_id(name: str, value: Any) -> Any:
    """A setting as runs of other seeds have it: what a study begins with by its name there."""
    if name == "start_from" and isinstance(value, str) and ":" in value:
        return value.partition(":")[0]
    return value


def architecture(row: Row) -> str:
    """The published form that the plain settings `model.*` of a run describe, or an empty string;
    of a mixture with other than the published 32 experts, such as "MoE of 8"."""
    if any(row.get(f"model.{key}", value) not in (None, value) for key, value in PLAIN.items()):
        return ""
    experts = row.get("model.n_experts")
    if isinstance(experts, (int, float)) and experts and experts != EXPERTS:
        known = architecture({**row, "model.n_experts": float(EXPERTS)})
        return f"{known} of {experts:g}" if known else ""
    for name, form in ARCHITECTURES.items():
        if all(_equal(row.get(f"model.{key}"), value) for key, value in form.items()):
            return name
    return ""


def _equal(have: Value, published: Any) -> bool:
    if isinstance(published, float) and isinstance(have, float):
        return abs(have - published) < 1e-3
    return have == plain(published)


def given(names: Names, row: Row) -> str:
    """The name that a study gives a run, or an empty string. Of several that fit, those stand, with
    commas between them, which no narrower one repeats: of {GPT2: {mlp: standard}, quarter: {mlp:
    standard, mlp_ratio: 1}} only the second."""
    fit = [name for name, conditions in names.items() if fits(conditions, row)]
    kept = [
        name
        for name in fit
        if not any(_narrower(names[other], names[name]) for other in fit if other != name)
    ]
    return ", ".join(kept)


def fits(conditions: Conditions, row: Row) -> bool:
    """Whether a run has one of the named values of every setting, a number to four digits."""
    return all(
        any(_means(value, row.get(key)) for value in values) for key, values in conditions.items()
    )


def _means(wanted: Value, have: Value) -> bool:
    if isinstance(wanted, float) and isinstance(have, float):
        return math.isclose(wanted, have, rel_tol=5e-4)
    return wanted == have


def _narrower(one: Conditions, other: Conditions) -> bool:
    """Whether a run of one is always of the other, and not the other way."""
    within = all(key in one and set(one[key]) <= set(values) for key, values in other.items())
    return within and dict(one) != dict(other)


def variants(
    rows: Sequence[Row],
    family: Sequence[str],
    data: Sequence[str],
    recipe: Sequence[str],
    names: Names | None = None,
) -> list[str]:
    """What every run is called. A run with a name of the study: that name, and the settings that
    vary among the runs of that name. Without one: its published form, or the settings of the model
    in `family` where forms do not tell them apart, then the settings of data and of the recipe that
    vary. Runs that differ in any of these settings are never called the same."""
    called = [given(names, row) if names else "" for row in rows]
    forms = [""] * len(rows)
    if family:
        forms = [architecture(row) for row in rows]
    different = set(zip(forms, tuples(rows, family), strict=True))
    if "" in forms or len(different) > len(set(forms)) or set(forms) & set(called):
        # not all are published forms, or one form in several variants
        forms = distinguished(rows, family)
    parts = (forms, distinguished(rows, data), distinguished(rows, recipe))
    out = [listed(row) for row in zip(*parts, strict=True)]
    for name in dict.fromkeys(filter(None, called)):
        at = [i for i, one in enumerate(called) if one == name]
        more = distinguished([rows[i] for i in at], [*family, *data, *recipe])
        for i, words in zip(at, more, strict=True):
            out[i] = listed([name, words])
    return out


def distinguished(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """All of these settings that vary, as "norm=rmsnorm, activation=relu2": a variant that changes
    two settings is called by both."""
    varied = [c for c in columns if len({row.get(c) for row in rows}) > 1]
    return [", ".join(f"{c.split('.')[-1]}={text(row.get(c))}" for c in varied) for row in rows]


def tuples(rows: Sequence[Row], columns: Sequence[str]) -> list[tuple[Value, ...]]:
    """The values of these settings, a tuple per run."""
    return [tuple(row.get(c) for c in columns) for row in rows]


def splits(keys: Sequence[Hashable], values: Sequence[Hashable]) -> bool:
    """Whether several values occur at one key."""
    return len(set(zip(keys, values, strict=True))) > len(set(keys))


def of_runs(
    runs: Sequence[Config], names: Names | None = None, best_over: Sequence[str] = ()
) -> list[str]:
    """What the runs of a study are called beside their size, amount of data, exposures and seed;
    empty where nothing else varies. best_over: settings that are only tried out."""
    rows = [settings(run) for run in runs]
    keys = dict.fromkeys(key for row in rows for key in row)
    varied = [c for c in keys if len({row.get(c) for row in rows}) > 1]
    data = [c for c in varied if c.startswith("data.") and c not in AMOUNTS]
    model = [c for c in varied if c.startswith("model.")]
    family = [c for c in model if c not in SIZES]
    for c in SIZES[2:]:  # heads are a variant only where they vary at one depth and width
        if c in model and splits(tuples(rows, [*SIZES[:2], *family]), [row[c] for row in rows]):
            family.append(c)
    amounts = [(run.items, f"{run.exposures:.3g}") for run in runs]
    same = list(zip(amounts, tuples(rows, [*model, *data]), strict=True))
    # a setting of training that follows the size or the data is part of the recipe of a size
    recipe = [
        c
        for c in varied
        if c.startswith("train.")
        and c not in (*AMOUNTS, *best_over)
        and splits(same, [row[c] for row in rows])
    ]
    return variants(rows, family, data, recipe, names)


def read(at: str, tree: object) -> dict[str, dict[str, tuple[Value, ...]]]:
    """The entry `names` of a study file: name -> setting -> values. ConfigError, with the place
    `at`, for a setting that there is not."""
    example = "such as {ours: {model.norm: rmsnorm}}"
    if not isinstance(tree, dict):
        raise ConfigError(f"{at}: expected a mapping from name to settings, {example}")
    out: dict[str, dict[str, tuple[Value, ...]]] = {}
    for key, conditions in tree.items():
        name = str(key).strip()
        if not name or len(name) > LONGEST_NAME or re.search(r"[,=\n]", name):
            raise ConfigError(
                f"{at}: {name[:60]!r}: a name has 1 to {LONGEST_NAME} characters, without comma "
                "and ="
            )
        if not isinstance(conditions, dict) or not conditions:
            raise ConfigError(f"{at}: {name}: expected the settings of such a run, {example}")
        out[name] = {}
        for setting, value in conditions.items():
            if setting not in known_keys() or setting.partition(".")[0] not in SECTIONS:
                known = [k for k in known_keys() if k.partition(".")[0] in SECTIONS]
                raise ConfigError(
                    f"{at}: {name}: {setting}: no such setting of data, model or train"
                    f"{near_setting(str(setting), known)}"
                )
            values = value if isinstance(value, list) else [value]
            if not values or any(isinstance(one, (dict, list)) for one in values):
                raise ConfigError(
                    f"{at}: {name}: {setting}: {value!r}: expected a value or a list of values"
                )
            out[name][setting] = tuple(map(plain, values))
    return out


def check(at: str, names: Names, runs: Sequence[Config]) -> None:
    """ConfigError for a name that no run has: a slip in a value would hide behind it."""
    if not names:
        return
    rows = [settings(run) for run in runs]
    for name, conditions in names.items():
        for key, values in conditions.items():
            have = dict.fromkeys(row.get(key) for row in rows)
            if not any(fits({key: values}, row) for row in rows):
                listed = ", ".join(text(value) for value in list(have)[:8])
                raise ConfigError(f"{at}: {name}: {key}: no run has this; runs have {listed}")
        if not any(fits(conditions, row) for row in rows):
            raise ConfigError(f"{at}: {name}: no run has all of these settings")
